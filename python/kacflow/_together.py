"""kacflow and kacflow_core are of one installation or of one source tree; else an ImportError.

Python started in a source tree finds that tree's ``kacflow_core`` beside an installed ``kacflow``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

_OWN = Path(__file__).resolve().parents[1]
_CORE = importlib.util.find_spec("kacflow_core")

if _CORE is not None and _CORE.origin is not None:
    _FOUND = Path(_CORE.origin).resolve().parents[1]
    if _OWN not in (_FOUND, _FOUND / "python"):
        raise ImportError(
            f"kacflow is in {_OWN}, kacflow_core in {_FOUND}: two installations are mixed. "
            "Start Python in a folder that holds neither, and see PYTHONPATH"
        )

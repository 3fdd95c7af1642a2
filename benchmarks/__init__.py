"""Benchmarks: one file per question over one timing module; speed is measured here, not in tests.

``python -m benchmarks`` from the repository's root, or ``make bench``; see README.md beside.
"""

from __future__ import annotations

import pathlib
import sys

# The root is on the path for the sake of this package.  An installed kacflow goes before the source
# tree, which holds no compiled core unless it was built in place.
_ROOT = pathlib.Path(__file__).resolve().parent.parent
_OWN = [str(_ROOT), str(_ROOT / "python")]
sys.path[:] = [*(p for p in sys.path if p not in ("", *_OWN)), *_OWN]

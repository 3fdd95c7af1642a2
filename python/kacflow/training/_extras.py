"""Optional packages of ``kacflow[train]``, imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

_PIP_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow"}


def require(module: str) -> Any:
    """Import and return ``module``, for example ``"PIL.Image"``.

    Raises
    ------
    ImportError
        If it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise  # the package is there and misses something of its own
        raise ModuleNotFoundError(
            f"this needs the package {_PIP_NAMES.get(top, top)!r}, which is not installed; "
            "run: pip install 'kacflow[train]'",
            name=error.name,
        ) from None

"""The library behind an adapter, or an ImportError that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

#: How to install each library; torchcfm asks for torchvision, which replaces torch, so without its
#: requirements.
INSTALL = {
    "torchcfm": "pip install --no-deps torchcfm pot",
    "flow_matching": "pip install flow_matching",
    "diffusers": "pip install diffusers",
}


def require(module: str) -> Any:
    """Import and return ``module``, for example ``"flow_matching.path"``.

    Raises
    ------
    ImportError
        If the library, or a package that it needs, is not installed.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"kacflow.adapters.{library} needs {library}, and {error.name!r} is not installed; "
            f"run: {INSTALL[library]}",
            name=error.name,
        ) from error

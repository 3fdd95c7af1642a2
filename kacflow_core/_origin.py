"""Where this package runs from, an installation or a source tree, and what is not built there."""

from __future__ import annotations

import json
import re
import sys
import warnings
from importlib import machinery, metadata
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _stated_version() -> str | None:
    """The version in the source tree's pyproject.toml; None in an installation."""
    project = _PACKAGE.parent / "pyproject.toml"
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    found = re.search(r'^name = "kacflow"\nversion = "(.*)"$', text, re.MULTILINE)
    return found and found[1]


def version() -> str:
    """The version of this package: of the source tree that it runs from, else as installed."""
    try:
        return _stated_version() or metadata.version("kacflow")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def why_not_built(module: str, variable: str) -> str:
    """Why there is no such compiled module, ``_native`` or ``_cuda``, and what to do; ``variable``
    of the environment makes its absence an error.
    """
    if _stated_version():
        return (
            f"it is not built in the source tree {_PACKAGE.parent}: build it with `make develop`, "
            "or start Python in another folder to use an installed kacflow"
        )
    record = _PACKAGE / "_not_built.json"  # by setup.py
    reasons = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    reason = reasons.get(module, f"no compiler, or {variable}=0")
    return (
        f"it was not built when kacflow was installed ({reason}): reinstall with "
        f"{variable}=1, which makes that an error"
    )


def _has_core(package: Path) -> bool:
    return any((package / f"_native{end}").is_file() for end in machinery.EXTENSION_SUFFIXES)


def _warn_if_hiding() -> None:
    """One RuntimeWarning where a source tree without the compiled core hides an installation."""
    if not _stated_version() or _has_core(_PACKAGE):
        return
    for entry in sys.path:
        package = Path(entry or ".").resolve() / _PACKAGE.name
        if package != _PACKAGE and _has_core(package):
            warnings.warn(
                f"kacflow_core is the source tree {_PACKAGE.parent}, in which the compiled core is "
                f"not built, and hides the installed {package}: start Python in another folder, "
                "or build it here with `make develop`",
                RuntimeWarning,
                stacklevel=2,
            )
            return


_warn_if_hiding()

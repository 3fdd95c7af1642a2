"""The public names of the two packages, read off the packages themselves.

A module is public if no part of its path begins with an underscore and it has an ``__all__``, or if
such an ``__all__`` names it: then what it defines itself under a name without an underscore is
public.  Nothing here needs Sphinx, so that the tests ask the same question as the site.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator
from typing import Any

PACKAGES = ("kacflow", "kacflow_core")
#: Protocols and helpers that the guides speak of, in modules without an ``__all__``.
ALSO = {
    "kacflow.likelihood": ["bits_per_dim"],
    "kacflow.schedules": ["Schedule"],
}


def _listing(package: str) -> Iterator[str]:
    """Names of the modules of a package that have an ``__all__`` and are not private."""
    yield package
    search = importlib.import_module(package).__path__
    for found in pkgutil.walk_packages(search, f"{package}."):
        if any(part.startswith("_") for part in found.name.split(".")):
            continue
        spec = importlib.util.find_spec(found.name)
        if spec and spec.origin and spec.origin.endswith(".py"):
            with open(spec.origin, encoding="utf-8") as source:
                if re.search(r"^__all__\b", source.read(), re.MULTILINE):
                    yield found.name


def _own(module: types.ModuleType) -> list[str]:
    """Functions and classes that a module defines under a public name."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(value))
        and getattr(value, "__module__", None) == module.__name__
    ]


def has_list(module: str) -> bool:
    """Whether a module says itself what is public."""
    return hasattr(importlib.import_module(module), "__all__")


def public_names() -> dict[str, list[str]]:
    """For every public module its public names, without ``__version__``, in order."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for name in _listing(package):
            module = importlib.import_module(name)
            listed = [entry for entry in module.__all__ if not entry.startswith("__")]
            found[name] = listed
            for entry in listed:
                value = getattr(module, entry)
                if inspect.ismodule(value) and not has_list(value.__name__):
                    found[value.__name__] = _own(value)
    for name, names in ALSO.items():
        found[name] = list(names)
    return dict(sorted(found.items()))


def homes(names: dict[str, list[str]]) -> dict[str, str]:
    """The page of every public name: the shortest of the names that stand for the same object."""
    pages: dict[str, str] = {}
    first: dict[int, str] = {}
    every = [f"{module}.{name}" for module, listed in names.items() for name in listed]
    for name in sorted(every, key=lambda name: (name.count("."), name)):
        value = resolve(name)
        if inspect.ismodule(value):
            pages[name] = value.__name__
        else:
            pages[name] = first.setdefault(id(value), name)
    return pages


def resolve(name: str) -> Any:
    """What a dotted name of :func:`public_names` stands for."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)

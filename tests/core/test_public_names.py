"""What ``__all__`` lists can be imported, and lists all there is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types

import pytest

import kacflow_core

PACKAGES = ["kacflow_core", "kacflow_core.reference", "kacflow_core.testing"]


@pytest.mark.parametrize("name", PACKAGES)
def test_listed_names_can_be_imported(name: str):
    package = importlib.import_module(name)
    assert sorted(package.__all__) == list(package.__all__) == sorted(set(package.__all__))
    scope: dict = {}
    exec(f"from {name} import *", scope)
    assert scope.keys() - {"__builtins__"} == set(package.__all__)
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", PACKAGES)
def test_importable_names_are_listed(name: str):
    """Every public function and class in a package's namespace, modules aside."""
    package = importlib.import_module(name)
    found = {
        key
        for key, value in vars(package).items()
        if not key.startswith("_")
        and isinstance(value, (type, types.FunctionType))
        and value.__module__.startswith("kacflow_core")
    }
    assert found <= {*package.__all__, "version"}  # which makes __version__


def test_functions_of_the_interface_are_listed():
    """Every function of the modules that check arguments, kacflow_core._api* and _law*."""
    for module in pkgutil.iter_modules(kacflow_core.__path__):
        if not module.name.startswith(("_api", "_law")):
            continue
        for name, value in vars(importlib.import_module(f"kacflow_core.{module.name}")).items():
            own = getattr(value, "__module__", "").endswith("." + module.name)
            if inspect.isfunction(value) and own and not name.startswith("_"):
                assert name in kacflow_core.__all__, f"{module.name}.{name}"


def test_every_public_function_is_documented():
    for name in kacflow_core.__all__:
        value = getattr(kacflow_core, name)
        text = inspect.getdoc(value)
        assert text, name
        if inspect.isfunction(value):
            assert "Examples\n--------" in text and ">>> " in text, name


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="'kacflow_core' has no attribute 'none_such'"):
        kacflow_core.none_such  # noqa: B018

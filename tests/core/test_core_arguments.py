"""Strange values for every argument of every public function of the core."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from functions import FUNCTIONS, arguments
from strange import Case, complaints

import kacflow_core as kc

X = np.full((2, 3), 0.25)
EVENTS = kc.simulate_events(1.0, (2, 3), a=9.0, c=3.0, seed=0)
#: What is looked at of a result, where not all of it.
SEEN: dict[str, Callable[[Any], Any]] = {
    "logpdf": lambda found: np.nan_to_num(found, neginf=0.0),  # right outside the light cone
    "simulate_events": lambda found: found.directions,
}


def case(name: str) -> Case:
    """A function of the table, with all of its arguments."""
    function, seen = getattr(kc, name), SEEN.get(name, lambda found: found)
    defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
    good = {**defaults, **arguments(name, X, 0.5)}
    draws = {"shape", "times", "x0"} & good.keys()  # whose parameters align with these
    reshapes = draws or good.keys() - {"backend", "threads"}
    data = {"x0", "x", "q"} & good.keys()
    return Case(name, lambda **given: seen(function(**given)), good, (*reshapes,), (*data,))


CASES = [
    *map(case, FUNCTIONS),
    Case("Events.at", EVENTS.at, {"times": np.array([0.5, 0.75]), "c": 3.0}, reshapes=("times",)),
]


@pytest.mark.parametrize(
    ("case", "argument"),
    [pytest.param(case, name, id=f"{case.name}: {name}") for case in CASES for name in case.good],
)
def test_strange_values(case: Case, argument: str):
    assert complaints(case, argument) == []


def test_the_walk_is_complete():
    functions = {name for name in kc.__all__ if callable(getattr(kc, name))}
    others = {"Events", "available_backends", "build_info"}
    assert functions - others == {case.name for case in CASES} - {"Events.at"}

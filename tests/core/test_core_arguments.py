"""Strange values for every argument of every public function of the core."""

from __future__ import annotations

import numpy as np
import pytest
from strange import Case, complaints

import kacflow_core as kc

T = np.array([0.5, 0.75])
X = np.full((2, 3), 0.25)
PROCESS = {"a": 9.0, "c": 3.0}
RUN = {"backend": None, "threads": None}
DRAW = {**PROCESS, "seed": 0, "offset": 0, **RUN}
TYPED = {**DRAW, "dtype": "float32"}
EVENTS = kc.simulate_events(1.0, (2, 3), a=9.0, c=3.0, seed=0)
SCHEDULES = {"signal": 0.5, "dsignal": -1.0, "clock": 0.5, "dclock": 1.0}


def points(name: str, x: str = "x") -> Case:
    """A function of the position."""
    broadcast = (x, "t", "a", "c")
    good = {x: X, "t": 0.5, **PROCESS, **RUN}
    return Case(name, getattr(kc, name), good, reshapes=broadcast, data=(x,))


CASES = [
    Case("sample", kc.sample, {"t": 0.5, "shape": (2, 3), **TYPED}, reshapes=("shape",)),
    Case("sample_pair", kc.sample_pair, {"x0": X, **SCHEDULES, **DRAW}, ("x0",), ("x0",)),
    Case("sample_path", kc.sample_path, {"times": T, "shape": 2, **TYPED}, ("shape", "times")),
    Case(
        "simulate_events",
        lambda **given: kc.simulate_events(**given).directions,
        {"t_max": 1.0, "shape": (2, 3), **DRAW},
        reshapes=("shape",),
    ),
    Case("Events.at", EVENTS.at, {"times": T, "c": 3.0}, reshapes=("times",)),
    *map(points, ("velocity", "velocity_grad", "pdf", "cdf")),
    Case(
        "logpdf",  # -inf is right outside the light cone
        lambda **given: np.nan_to_num(kc.logpdf(**given), neginf=0.0),
        points("logpdf").good,
        reshapes=("x", "t", "a", "c"),
        data=("x",),
    ),
    points("ppf", "q"),
    Case(
        "transport",
        kc.transport,
        {**points("cdf").good, "s": 0.3},
        reshapes=("x", "t", "s", "a", "c"),
        data=("x",),
    ),
    Case("variance", kc.variance, {"t": T, **PROCESS}, reshapes=("t", "a", "c")),
    Case("atom_mass", kc.atom_mass, {"t": T, "a": 9.0}, reshapes=("t", "a")),
    Case("char_fn", kc.char_fn, {"k": 1.0, "t": T, **PROCESS}, reshapes=("k", "t", "a", "c")),
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

"""Wrong input is refused with a ValueError or TypeError that names the argument and what it got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from functions import FUNCTIONS, KERNELS, LAW, arguments, parts

import kacflow_core
from kacflow_core._dispatch import POINT_FUNCTIONS


def call(name: str, **changes: Any) -> Any:
    """The function with sound arguments, some of them changed."""
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    return getattr(kacflow_core, name)(**{**arguments(name, x, 1.0), **changes})


DRAWS = ("sample", "sample_pair")
AT_POINTS = [name for name in KERNELS if name in POINT_FUNCTIONS]
AT_PLACES = [name for name in AT_POINTS if name != "ppf"]
CLOSED = [name for name in FUNCTIONS if name not in KERNELS]
NOT_NUMBERS = ["1", None, 1j, True, object(), np.array(["a"]), np.array([True]), [1 + 0j]]
INFINITE = [np.nan, np.inf, -np.inf]


class Elsewhere:
    """Looks like an array on another device."""

    dtype = np.dtype("float32")
    shape = (4, 3)
    __cuda_array_interface__ = {  # noqa: RUF012
        "shape": (4, 3), "typestr": "<f4", "data": (0, False), "version": 3,
    }  # fmt: skip


def cases() -> list[tuple[str, str, Any]]:
    """(function, argument, bad value)."""
    found: list[tuple[str, str, Any]] = []

    def add(functions: Sequence[str], argument: str, values: list[Any]) -> None:
        found.extend((f, argument, value) for f in functions for value in values)

    positive = [0.0, -0.0, -1.0, *INFINITE, np.array([1.0, 0.0, 1.0, 1.0]), *NOT_NUMBERS]
    positive += [np.longdouble(1)]
    add(list(FUNCTIONS), "a", positive)
    add((*KERNELS, "variance", "char_fn"), "c", positive)
    at_least_zero = [-1e-300, -1.0, *INFINITE, np.array([1.0, -1.0, 1.0, 1.0]), *NOT_NUMBERS]
    add(("sample", *AT_POINTS, *CLOSED), "t", at_least_zero)
    add(("sample_pair",), "clock", at_least_zero)
    add(("transport",), "s", [*at_least_zero, np.ones(4), np.ones((2, 1))])
    for argument in ("signal", "dsignal", "dclock"):
        add(("sample_pair",), argument, [*INFINITE, *NOT_NUMBERS])
    add(("char_fn",), "k", [*INFINITE, *NOT_NUMBERS])
    add(DRAWS, "seed", [-1, 2**64, 1.0, "0", None, True, np.arange(2)])
    add(DRAWS, "offset", [-1, 2**64, 0.5, "0", None, True])
    add(("sample",), "shape", [-1, (2, -1), 2.0, (2.0,), "34", None, ("3",), True, 2**62])
    add(
        ("sample",),
        "dtype",
        ["float16", "int32", "complex64", "longdouble", ">f4", "bool", "nonsense", 3],
    )
    add(KERNELS, "threads", [0, -1, 1.5, "2", True])
    add(KERNELS, "backend", ["nonsense", 3, ""])
    data = [
        "1", None, 1j, True, object(), Elsewhere(),
        np.arange(12).reshape(4, 3),
        np.zeros((4, 3), bool), np.zeros((4, 3), complex), np.zeros((4, 3), object),
        np.zeros((4, 3), "longdouble"), np.zeros((4, 3), ">f4"), np.zeros((4, 3), "<M8[s]"),
    ]  # fmt: skip
    add(AT_PLACES, "x", data)
    add([name for name in AT_PLACES if name in LAW], "x", [np.zeros((4, 3), "float16")])
    add(("ppf",), "q", [*data, np.zeros((4, 3), "float16")])
    add(("ppf",), "q", [-1e-300, 1 + 1e-15, 2.0, *INFINITE, np.array([0.5, np.nan, 0.5])])
    add(("sample_pair",), "x0", data)
    # shapes: parameters of draws align with the leading axes, those of the rest as in NumPy
    wrong_for_draws = [np.ones(3), np.ones((1, 4)), np.ones((4, 3, 2)), np.ones((2, 3))]
    for argument in ("t", "a", "c"):
        add(("sample",), argument, wrong_for_draws)
        add(AT_POINTS, argument, [np.ones(4), np.ones((2, 1))])
    for argument in ("a", "c", "signal", "dsignal", "clock", "dclock"):
        add(("sample_pair",), argument, wrong_for_draws)
    # finite in float64, but neither finite nor positive in the working type
    add(("sample",), "a", [1e39, 1e-60])
    add(("sample",), "c", [1e39, 1e-60])
    add(("sample",), "t", [1e39])
    return found


def label(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array{value.shape}{value.dtype}"
    return (
        type(value).__name__
        if isinstance(value, (object, Elsewhere))
        and not isinstance(value, (str, int, float, complex, tuple, list, type(None)))
        else repr(value)
    )


@pytest.mark.parametrize(
    ("function", "argument", "value"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{label(case[2])}") for case in cases()],
)
def test_refused_by_name(function: str, argument: str, value: Any):
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        call(function, **{argument: value})
    assert len(str(caught.value)) > len(argument) + 10  # and says what was given, what is allowed


@pytest.mark.parametrize("function", KERNELS)
def test_ragged_lists_are_refused(function: str):
    with pytest.raises((ValueError, TypeError)):
        call(function, a=[[1.0], [2.0, 3.0]])


@pytest.mark.parametrize("function", KERNELS)
def test_arguments_left_out(function: str):
    with pytest.raises(TypeError, match="missing"):
        getattr(kacflow_core, function)()


def test_a_message_gives_the_value_and_the_range():
    with pytest.raises(ValueError, match=r"a: got -2.*> ?0"):
        call("sample", a=-2.0)
    with pytest.raises(ValueError, match=r"t: got -3.*>= ?0"):
        call("sample", t=-3.0)
    with pytest.raises(
        ValueError, match=r"a\*t: got up to 9e\+15; allowed: at most 1e\+15 in float32"
    ):
        call("sample", a=9e15)
    with pytest.raises(ValueError, match=r"c\*t: got up to 1e\+38 \* 1; allowed: at most 8.5"):
        call("sample", c=1e38)
    with pytest.raises(
        ValueError, match=r"a\*c\*t: got up to 9 \* 1e\+37 \* 1; allowed: at most 8.5"
    ):
        call("sample", c=1e37)
    with pytest.raises(ValueError, match=r"backend.*'nonsense'.*reference"):
        call("velocity", backend="nonsense")


def test_wrong_backend_in_the_environment(monkeypatch: pytest.MonkeyPatch):
    """A bad thread count in the environment is an error too, not a silent default."""
    monkeypatch.setenv("KACFLOW_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="KACFLOW_NUM_THREADS"):
        call("sample")


def test_input_is_never_changed(backend: str):
    x = np.array([np.nan, np.inf, 0.5, -0.25])
    t = a = np.array([1.0, 2.0, 3.0, 4.0])
    for name in KERNELS:
        given = arguments(name, x, t, a, 1.0)
        kept = {key: value.copy() for key, value in given.items() if isinstance(value, np.ndarray)}
        getattr(kacflow_core, name)(**given, backend=backend)
        for key, value in kept.items():
            np.testing.assert_array_equal(given[key], value, f"{name}: {key}")


MASKED = np.ma.masked_array([0.5, 0.25, 0.75, 1.0], [False, True, False, False])


@pytest.mark.parametrize("value", [MASKED, MASKED[1], [MASKED], np.ma.masked])
@pytest.mark.parametrize(
    ("function", "argument"), [("velocity", "x"), ("sample", "t"), ("ppf", "q")]
)
def test_masks_are_not_forgotten(function: str, argument: str, value: Any):
    with pytest.raises(TypeError, match=f"{argument}: got a masked array"):
        call(function, **{argument: value})


def test_strides_that_are_no_whole_elements(backend: str):
    """Columns of records are read as their copies are."""
    for record in ([("b", "u1"), ("a", "f8"), ("c", "i4")], [("a", "f4"), ("b", "u1")]):
        table = np.zeros((6, 2), record)
        column = table["a"]
        column[...] = np.linspace(0.1, 0.9, 12).reshape(6, 2)
        grid, copy = table["a"][:, 0], column.copy()
        assert column.strides[-1] % column.itemsize
        for name in KERNELS:
            got, want = (
                parts(getattr(kacflow_core, name)(**arguments(name, v, v, v), backend=backend))
                for v in (column, copy)
            )
            for part, expected in zip(got, want, strict=True):
                np.testing.assert_array_equal(part, expected, name)
        draw = dict(a=9.0, c=3.0, seed=0, backend=backend)
        got, want = (kacflow_core.sample_path(v, 3, **draw) for v in (grid, grid.copy()))
        np.testing.assert_array_equal(got, want)

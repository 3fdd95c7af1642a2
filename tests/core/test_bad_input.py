"""Wrong input is refused with a ValueError or TypeError that names the argument and what it got."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kacflow_core


def call(name: str, **changes: Any) -> Any:
    """The function with sound arguments, some of them changed."""
    x = np.linspace(-1, 1, 12).reshape(4, 3)
    sound: dict[str, dict[str, Any]] = {
        "sample": dict(t=1.0, shape=(4, 3), a=9.0, c=3.0, seed=0),
        "sample_pair": dict(
            x0=x, a=9.0, c=3.0, signal=0.5, dsignal=-1.0, clock=0.5, dclock=1.0, seed=0
        ),
        "velocity": dict(x=x, t=1.0, a=9.0, c=3.0),
        "velocity_grad": dict(x=x, t=1.0, a=9.0, c=3.0),
        "pdf": dict(x=x, t=1.0, a=9.0, c=3.0),
        "logpdf": dict(x=x, t=1.0, a=9.0, c=3.0),
        "cdf": dict(x=x, t=1.0, a=9.0, c=3.0),
        "ppf": dict(q=abs(x), t=1.0, a=9.0, c=3.0),
        "transport": dict(x=x, t=1.0, s=0.5, a=9.0, c=3.0),
        "variance": dict(t=1.0, a=9.0, c=3.0),
        "atom_mass": dict(t=1.0, a=9.0),
        "char_fn": dict(k=0.5, t=1.0, a=9.0, c=3.0),
    }
    return getattr(kacflow_core, name)(**{**sound[name], **changes})


DRAWS = ("sample", "sample_pair")
DISTRIBUTION = ("pdf", "logpdf", "cdf")
AT_PLACES = ("velocity", "velocity_grad", *DISTRIBUTION, "transport")
AT_POINTS = (*AT_PLACES, "ppf")
KERNELS = (*DRAWS, *AT_POINTS)
LAW = ("variance", "atom_mass", "char_fn")
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

    def add(functions: tuple[str, ...], argument: str, values: list[Any]) -> None:
        found.extend((f, argument, value) for f in functions for value in values)

    positive = [0.0, -0.0, -1.0, *INFINITE, np.array([1.0, 0.0, 1.0, 1.0]), *NOT_NUMBERS]
    positive += [np.longdouble(1)]
    add((*KERNELS, *LAW), "a", positive)
    add((*KERNELS, "variance", "char_fn"), "c", positive)
    at_least_zero = [-1e-300, -1.0, *INFINITE, np.array([1.0, -1.0, 1.0, 1.0]), *NOT_NUMBERS]
    add(("sample", *AT_POINTS, *LAW), "t", at_least_zero)
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
    add((*DISTRIBUTION, "transport"), "x", [np.zeros((4, 3), "float16")])
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
    a = np.array([1.0, 2.0, 3.0, 4.0])
    kept = x.copy(), a.copy()
    kacflow_core.velocity(x, 1.0, a=a, c=1.0, backend=backend)
    kacflow_core.velocity_grad(x, 1.0, a=a, c=1.0, backend=backend)
    kacflow_core.sample_pair(
        x, a=a, c=1.0, signal=a, dsignal=a, clock=a, dclock=a, seed=0, backend=backend
    )
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(a, kept[1])


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
        keys = dict(c=3.0, backend=backend)
        for name, first in (("velocity", "x"), ("velocity_grad", "x"), ("cdf", "x"), ("ppf", "q")):
            function = getattr(kacflow_core, name)
            got, want = (function(**{first: v}, t=v, a=v, **keys) for v in (column, copy))
            np.testing.assert_array_equal(got, want)
        draw = dict(keys, seed=0)
        got, want = (kacflow_core.sample(v, (6, 2), a=v, **draw) for v in (column, copy))
        np.testing.assert_array_equal(got, want)
        rows = dict(signal=0.5, dsignal=-1.0, dclock=1.0, **draw)
        got, want = (kacflow_core.sample_pair(v, a=v, clock=v, **rows) for v in (column, copy))
        np.testing.assert_array_equal(got, want)
        got, want = (kacflow_core.sample_path(v, 3, a=9.0, **draw) for v in (grid, grid.copy()))
        np.testing.assert_array_equal(got, want)
        got, want = (kacflow_core.simulate_events(v, (6, 2), a=v, **draw) for v in (column, copy))
        np.testing.assert_array_equal(got.times, want.times)

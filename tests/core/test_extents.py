"""The least and the most of numbers that the compiled core finds, against NumPy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kacflow_core import _validate
from kacflow_core._layout import Layout
from kacflow_core.backends import _jobs
from kacflow_core.backends._jobs import Parameter

_native = pytest.importorskip("kacflow_core._native", reason="the compiled core was not built")

SHAPES = [
    (), (1,), (15,), (16,), (17,), (130,), (0,), (3, 0), (7, 5), (1, 9), (9, 1), (4, 1, 6),
    (2, 3, 4, 5),
]  # fmt: skip


def views(array: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """The array, and others whose elements lie otherwise."""
    found = [array, array.T, array[..., ::-1] if array.ndim else array]
    if array.ndim:
        found += [array[::2], np.broadcast_to(array, (3, *array.shape)), array[..., 1:]]
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_numpy(shape: tuple[int, ...], dtype: type):
    drawn = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    for array in views(drawn):
        if array.size:
            assert _validate.extent(array) == (array.min(), array.max())
        else:
            assert _validate.extent(array) == (math.inf, -math.inf)
    for at in np.ndindex(shape):
        array = drawn.copy()
        array[at] = math.nan
        assert all(map(math.isnan, _validate.extent(array)))
        array[at] = -math.inf
        assert _validate.extent(array)[0] == -math.inf


def job(n0: int, n1: int, t: np.ndarray[Any, Any]) -> tuple[int, bytes]:
    """A job of the velocity whose times are those of ``t``, and its number."""
    s0, s1 = (s // t.itemsize for s in t.strides)
    times = Parameter(t.ctypes.data, 0.0, t.dtype == np.float64, s0, s1)
    made = _jobs.point(
        "velocity", "float32", Layout(n0, n1, 1), 0, (0,), times, Parameter(), Parameter(),
        host=True,
    )  # fmt: skip
    return _native.find_kernel("velocity", "float32"), made.job


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (17, 1), (1, 17), (5, 40), (40, 5)])
def test_of_a_job(shape: tuple[int, int], dtype: type):
    whole = np.random.default_rng(2).random((2 * shape[0], 2 * shape[1])).astype(dtype)
    for t in (whole[::2, ::2], np.broadcast_to(whole[:1, : shape[1]], shape)):
        number, made = job(*shape, t)
        low, high = t.min(), t.max()
        x, out = np.ones(shape, np.float32), np.zeros(shape, np.float32)
        words = 1, t.ctypes.data, 9.0, 3.0, x.ctypes.data, out.ctypes.data, 0
        found = _native.run(number, made, (), *words)
        assert found == ((low, high), (9.0, 9.0), (3.0, 3.0))
        outside = ((low, high), (9.5, 10.0), (3.0, 3.0)), ((low, high), (9.0, 9.0), (1.0, 2.0))
        for box in (*outside, ((low + 1.0, high + 1.0), (9.0, 9.0), (3.0, 3.0))):
            assert _native.run(number, made, box, *words) == found
        assert not out.any()  # nothing ran
        for box in (None, found, ((0.0, 2.0), (1.0, 9.0), (3.0, 4.0))):
            out[...] = 0.0
            assert _native.run(number, made, box, *words) is None
            assert out.all()


def test_what_is_refused():
    t = np.ones((2, 1), np.float32)
    number, made = job(2, 1, t)
    data = t.ctypes.data, t.copy().ctypes.data, 0
    for arguments, error in (
        ((), TypeError), ((number, made, None), TypeError), ((number, b"", None, 1), ValueError),
        ((10**6, made, None, 1), ValueError), ((number, made, None, 1, "x", *data), TypeError),
        ((number, made, 5, 1, 1.0, *data), TypeError),
        ((number, made, ((1.0, 1.0),) * 2, 1, 1.0, *data), TypeError),
        ((number, made, (5,), 1, 1.0, *data), TypeError),
        ((number, made, ((0.0,),), 1, 1.0, *data), TypeError),
        ((number, made, ((0.0, "x"),), 1, 1.0, *data), TypeError),
        ((number, made, None, "x", 1.0, *data), TypeError),
        ((number, made, None, 1, *[1.0] * 5, *data), TypeError),
        ((number, made, None, 1, 1.0, *data[:1]), TypeError),
        ((number, made, None, 1, *data[:2], 2**64), OverflowError),
    ):  # fmt: skip
        with pytest.raises(error):
            _native.run(*arguments)
    for arguments in ((), (0, 4, [1], (1,), 4), (0, 4, (1,), (), 4), ("x", 4, (), (), 4)):
        with pytest.raises(TypeError):
            _native.extent(*arguments)

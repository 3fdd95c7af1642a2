"""The public Hypothesis strategies draw what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kacflow_core
from kacflow_core.testing import strategies

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@SETTINGS
@given(data=st.data(), dtype=strategies.dtypes())
def test_strategies_keep_their_ranges(data, dtype):
    for strategy, low, high in (
        (strategies.rates, 1e-4, 1e5),
        (strategies.speeds, 1e-3, 1e3),
        (strategies.times, 1e-5, 1e2),
        (strategies.taus, 1e-6, 1e6),
    ):
        value = data.draw(strategy(dtype))
        kind = np.dtype(dtype).type
        assert kind(low) <= value <= kind(high) and float(kind(value)) == value
    shape = data.draw(strategies.shapes())
    for kind in ("float32", "float64", "float16", "bfloat16"):
        x = data.draw(strategies.data(shape, kind))
        assert x.shape == shape and x.dtype.itemsize == {"float64": 8, "float32": 4}.get(kind, 2)
    a = data.draw(strategies.parameters(shape, strategies.rates(dtype), dtype))
    kacflow_core.sample(1.0, shape, a=a, c=1.0, seed=0, dtype=dtype)  # it is aligned


@SETTINGS
@given(data=st.data(), dtype=strategies.dtypes())
def test_points_without_beyond_lie_inside(data, dtype):
    p = data.draw(strategies.points(dtype, beyond=False))
    edge = np.dtype(dtype).type(p.c) * np.dtype(dtype).type(p.t)
    assert p.x.dtype == dtype and np.all(np.abs(p.x) < edge)


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_points_lie_an_ulp_beside_the_edge(dtype: str, steps: int):
    def beside(p: strategies.Points) -> bool:
        edge = p.x.dtype.type(p.c) * p.x.dtype.type(p.t)
        toward = np.full_like(edge, np.inf * steps if steps else edge)
        return np.nextafter(edge, toward) in p.x

    p = strategies.smallest(strategies.points(dtype), beside)
    assert p.x.size == 1


def test_offsets_lie_below_the_ends_of_the_words():
    for end in (2**32, 2**64):
        assert end - 300 <= strategies.smallest(
            strategies.offsets(), lambda offset, end=end: end - 300 <= offset < end
        )


def test_float64_numbers_are_stored_in_one_rounding():
    one, step = 1.0, 2.0**-7  # of bfloat16
    values = np.array([
        one + 0.5 * step, one + 0.5 * step * (1 + 2.0**-40), one + 1.5 * step * (1 - 2.0**-40),
        -(one + 0.5 * step * (1 + 2.0**-40)), 1e300, -np.inf, 1e-300, 0.0,
    ])  # fmt: skip
    got = strategies.stored(values, "bfloat16").view(np.uint16).astype(np.uint32) << 16
    want = [one, one + step, one + step, -(one + step), np.inf, -np.inf, 0.0, 0.0]
    np.testing.assert_array_equal(got.view(np.float32), np.array(want, np.float32))
    assert np.isnan(
        (
            strategies.stored(np.array([np.nan]), "bfloat16").view(np.uint16).astype(np.uint32)
            << 16
        ).view(np.float32)
    )

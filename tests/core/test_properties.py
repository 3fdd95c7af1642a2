"""Properties that hold for all inputs, searched by Hypothesis, and agreement of the backends."""

from __future__ import annotations

import numpy as np
import pytest
from cores import Core
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kacflow_core
from kacflow_core.testing import strategies

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True, database=None)
DTYPES = ("float32", "float64")
#: Backends agree on xi to this many eps min(1, tau^-1/2): a few units in the last place of c t.
AGREEMENT_ULPS = 8
#: ... and on derivatives relatively; test_velocity_accuracy allows each 1e-5 and 1e-10.
GRADIENT_AGREEMENT = {"float32": 2e-5, "float64": 1e-12}

seeds, offsets, taus = strategies.seeds(), strategies.offsets(), strategies.taus()
rates, speeds, times = strategies.rates(), strategies.speeds(), strategies.times()


def working(value: float, dtype: str) -> np.ndarray:
    return np.asarray(value, dtype=dtype)


@SETTINGS
@given(data=st.data())
def test_velocity_is_bounded_odd_and_increasing(core: Core, dtype: str, data):
    x, t, a, c = data.draw(strategies.points(dtype))
    x = np.sort(x)
    v = core.velocity(x, t, a=a, c=c)
    assert np.all(np.abs(v) <= working(c, dtype))
    assert np.all(v * np.sign(x) >= 0)
    np.testing.assert_array_equal(core.velocity(-x, t, a=a, c=c), -v)
    assert np.all(np.diff(v) >= -8 * np.finfo(dtype).eps * np.abs(v[1:]))
    # the joint speed of many components: |v| <= c sqrt(d)
    assert np.linalg.norm(v.astype(float)) <= float(c) * np.sqrt(v.size) * (1 + 1e-12)


@SETTINGS
@given(data=st.data(), i=st.integers(-8, 8), j=st.integers(-8, 8))
def test_velocity_scales(core: Core, dtype: str, data, i, j):
    """(t, x, a, c) -> (T t, X x, a/T, c X/T): exact for powers of two, else to a few ulps."""
    x, *parameters = data.draw(strategies.points(dtype))
    t, a, c = (working(p, dtype) for p in parameters)
    x[np.abs(x) < 1e-12 * c * t] = 0  # keeps every product normal
    v = core.velocity(x, t, a=a, c=c)
    long, wide = working(2.0**i, dtype), working(2.0**j, dtype)
    scaled = core.velocity(wide * x, long * t, a=a / long, c=c * wide / long)
    np.testing.assert_array_equal(scaled, v * (wide / long))
    dv = core.velocity_grad(x, t, a=a, c=c)
    scaled_dv = core.velocity_grad(wide * x, long * t, a=a / long, c=c * wide / long)
    np.testing.assert_array_equal(scaled_dv[0], dv[0] / long)
    np.testing.assert_array_equal(scaled_dv[1], dv[1] * (wide / long**2))


@SETTINGS
@given(xi=hnp.arrays(float, 5, elements=st.floats(-0.99, 0.99)), t=times, a=rates, c=speeds)
def test_velocity_in_dimensionless_form(core: Core, xi, t, a, c):
    """v(t, x; a, c) = c v(1, xi; tau, 1), to what the rounding of xi and tau leaves."""
    v = core.velocity(xi * (c * t), t, a=a, c=c)
    dimensionless = core.velocity(xi, 1.0, a=a * t, c=1.0)
    np.testing.assert_allclose(v, c * dimensionless, rtol=2e-13, atol=1e-300)


@SETTINGS
@given(tau=taus, seed=seeds, offset=offsets, i=st.integers(-8, 8), j=st.integers(-8, 8))
def test_sample_scales(core: Core, dtype: str, tau, seed, offset, i, j):
    """The same words give the same xi for every (t, a, c) of the same a t, scaled by c t."""
    a = working(tau, dtype)
    x = core.sample(1.0, 40, a=a, c=1.0, seed=seed, offset=offset, dtype=dtype)
    scaled = core.sample(
        2.0**i, 40, a=a / working(2.0**i, dtype), c=2.0**j, seed=seed, offset=offset, dtype=dtype
    )
    np.testing.assert_array_equal(scaled, x * working(2.0 ** (i + j), dtype))


@SETTINGS
@given(
    n=st.integers(0, 3000),
    split=st.integers(0, 3000),
    tau=taus,
    seed=seeds,
    offset=offsets,
    threads=st.integers(1, 5),
)
def test_splits_and_threads_change_nothing(
    core: Core, dtype: str, n, split, tau, seed, offset, threads
):
    split = min(split, n)
    keys = dict(a=tau, c=2.0, seed=seed, dtype=dtype)
    whole = core.sample(1.0, n, offset=offset, threads=1, **keys)
    parts = [
        core.sample(1.0, split, offset=offset, threads=threads, **keys),
        core.sample(1.0, n - split, offset=(offset + split) % 2**64, threads=1, **keys),
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(
        core.sample(1.0, n, offset=offset, threads=threads, **keys), whole
    )


@SETTINGS
@given(n=st.integers(2, 40), width=st.integers(1, 40), seed=seeds, offset=offsets, data=st.data())
def test_a_split_batch_gives_the_same_pair(core: Core, dtype: str, n, width, seed, offset, data):
    split = data.draw(st.integers(1, n - 1))
    rng = np.random.default_rng(seed)
    x_0 = rng.normal(size=(n, width)).astype(dtype)
    t = rng.random(n).astype(dtype)
    a = (9 * rng.random((n, width)) + 0.1).astype(dtype)

    def pair(rows: slice, **changes):
        start = (offset + rows.start * width) % 2**64
        keys = dict(a=a[rows], c=3.0, signal=1 - t[rows], dsignal=-1.0, clock=t[rows], dclock=1.0)
        return core.sample_pair(x_0[rows], **keys, seed=seed, offset=start, **changes)

    whole = pair(slice(0, n), threads=1)
    first, second = pair(slice(0, split), threads=3), pair(slice(split, n), threads=1)
    for got, *parts in zip(whole, first, second, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), got)


@SETTINGS
@given(tau=taus, seed=seeds, offset=offsets)
def test_float64_refines_float32(core: Core, tau, seed, offset):
    """The uniforms agree to 2^-32, which moves xi by at most about sqrt(2^-31) (u1 next to 1)."""
    tau = float(np.float32(tau))
    keys = dict(a=tau, c=1.0, seed=seed, offset=offset)
    coarse = core.sample(1.0, 500, dtype="float32", **keys)
    fine = core.sample(1.0, 500, dtype="float64", **keys)
    np.testing.assert_array_equal(np.abs(coarse) == 1, np.abs(fine) == 1)
    assert np.max(np.abs(coarse - fine)) <= 3e-5 * min(1, tau**-0.5)


# --- backends against each other -----------------------------------------------------------------


def first_core() -> str:
    return kacflow_core.available_backends()[0]


@SETTINGS
@given(tau=taus, seed=seeds, offset=offsets)
def test_backends_draw_the_same_noise(core: Core, dtype: str, tau, seed, offset):
    a = working(tau, dtype)
    keys = dict(a=a, c=1.0, seed=seed, offset=offset, dtype=dtype)
    here = core.sample(1.0, 300, **keys)
    there = kacflow_core.sample(1.0, 300, backend=first_core(), **keys)
    np.testing.assert_array_equal(np.abs(here) == 1, np.abs(there) == 1)
    allowed = AGREEMENT_ULPS * np.finfo(dtype).eps * min(1, tau**-0.5)
    assert np.max(np.abs(here.astype(float) - there)) <= allowed


@SETTINGS
@given(data=st.data())
def test_backends_agree_on_velocities(core: Core, dtype: str, data):
    x, t, a, c = data.draw(strategies.points(dtype))
    here = core.velocity(x, t, a=a, c=c)
    there = kacflow_core.velocity(x, t, a=a, c=c, backend=first_core())
    np.testing.assert_array_max_ulp(here, there, maxulp=AGREEMENT_ULPS)
    gradients = core.velocity_grad(x, t, a=a, c=c)
    expected = kacflow_core.velocity_grad(x, t, a=a, c=c, backend=first_core())
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=GRADIENT_AGREEMENT[dtype], atol=1e-37)


@pytest.mark.parametrize("kind", DTYPES)
def test_backends_agree_on_the_pair(core: Core, kind: str):
    rng = np.random.default_rng(23)
    t = rng.random(50).astype(kind)
    x_0 = rng.normal(size=(50, 3, 8)).astype(kind)
    keys = dict(a=9.0, c=3.0, signal=1 - t, dsignal=-1.0, clock=t**2, dclock=2 * t, seed=4)
    here = core.sample_pair(x_0, **keys)
    there = kacflow_core.sample_pair(x_0, **keys, backend=first_core())
    for got, want in zip(here, there, strict=True):
        allowed = AGREEMENT_ULPS * np.finfo(kind).eps * (3 + np.abs(x_0).max())
        assert np.max(np.abs(got.astype(float) - want)) <= allowed

"""The ends of the ranges that the public functions accept: a t up to 1e150, products that overflow
or vanish on the way, rates and times of any size."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from cores import Core

import kacflow_core
from kacflow_core import reference
from kacflow_core.testing.oracles import distribution, law

N = 300
SEED = 20250620
MOST, LEAST = np.finfo(np.float64).max, np.finfo(np.float64).tiny


def processes(tau: float) -> list[tuple[float, float, float]]:
    """(t, a, c) with a t near tau, in the accepted range."""
    found = []
    for t in (1e-290, 1e-140, 1.0, 3.7e3, 1e140, 1.3e305):
        a = tau * (1 - 1e-9) / t
        if LEAST <= a <= MOST:
            found.append((t, a, min(2.5, 1e300 / t, 1e300 / t / a)))
    return found


@pytest.mark.parametrize("tau", [9.0, 1e28, 1e29, 1e31, 1e38, 1e40, 1e60, 1e100, 1e150])
def test_draws_are_those_of_the_reference(core: Core, tau: float):
    for t, a, c in processes(tau):
        scale = c * t * min(1.0, tau**-0.5)
        if scale < 1e-280:  # among the denormal numbers
            continue
        draw = dict(a=a, c=c, seed=SEED)
        want = reference.sample(t, N, **draw)
        got = core.sample(t, N, **draw, dtype="float64")
        np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=4e-15)
        schedule = dict(signal=1.0, dsignal=0.0, clock=t, dclock=1.0)
        got_x, got_v = core.sample_pair(np.zeros(N), **schedule, **draw)
        _, want_v = reference.sample_pair(np.zeros(N), **schedule, **draw)
        np.testing.assert_array_equal(got_x, got)
        size = c * min(1.0, tau**-0.5)
        np.testing.assert_allclose(got_v / size, want_v / size, rtol=0, atol=4e-15)
        times = t * np.array([0.25, 0.5, 1.0])
        (x, d), (want_x, want_d) = (
            f(times, N, **draw, dtype="float64") for f in (core.sample_path, reference.sample_path)
        )
        np.testing.assert_array_equal(d, want_d)
        np.testing.assert_allclose(x / scale, want_x / scale, rtol=0, atol=4e-15)


@pytest.mark.parametrize("tau", [1e29, 1e40, 1e100, 1e150])
def test_the_law_is_that_of_the_reference(core: Core, tau: float):
    rng = np.random.default_rng(SEED)
    for t, a, c in processes(tau):
        scale = c * t * tau**-0.5
        if scale < 1e-280:
            continue
        x, at = rng.normal(size=N) * scale, dict(a=a, c=c)
        for name in ("logpdf", "cdf", "velocity"):
            got, want = (getattr(f, name)(x, t, **at) for f in (core, reference))
            np.testing.assert_allclose(got, want, rtol=1e-13, atol=0, err_msg=name)
        with np.errstate(over="ignore"):
            want = reference.pdf(x, t, **at)
        got = core.pdf(x, t, **at)
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-300)
        q = rng.random(N)
        got, want = (f.ppf(q, t, **at) / scale for f in (core, reference))
        np.testing.assert_allclose(got, want, rtol=0, atol=4e-14)


def test_logarithms_of_a_and_c_do_not_cancel(core: Core):
    """ln p is of the order of 1, and ln a and ln c are hundreds."""
    for t, a, c in (
        (1e-275, 1.6e276, 4.9e240),
        (1.5e249, 7.3e-249, 1.8e-251),
        (1e-280, 1e283, 3e280),
    ):
        x = np.array([-0.7, -0.1, 0.0, 0.3, 0.8]) * c * t * min(1.0, (a * t) ** -0.5)
        want = [float(distribution.values(v, t, a, c).logpdf) for v in map(float, x)]
        for module in (core, reference):
            got = module.logpdf(x, t, a=a, c=c)
            np.testing.assert_allclose(got, want, rtol=2e-15, atol=4e-15)


def test_rates_and_times_at_the_end_of_their_range(core: Core):
    """The error of a t comes from an exact product, which must not overflow on the way."""
    for a, t in ((MOST, 5.0 / MOST), (1e305, 1e-304), (1e-304, 1e305), (3e-307, 1e307)):
        c = min(1.0, 1.0 / t, 1.0 / t / a)
        got, want = (
            f(t, N, a=a, c=c, seed=1, dtype="float64") for f in (core.sample, reference.sample)
        )
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-14 * c * t)
        got, want = (f.cdf(0.3 * c * t, t, a=a, c=c) for f in (core, reference))
        np.testing.assert_allclose(got, want, rtol=1e-14)


# --- c t below the least number ------------------------------------------------------------------

VANISHING = {"float32": (1e-25, 1e25, 1e-25), "float64": (1e-200, 1e200, 1e-200)}


def test_where_c_t_vanishes(core: Core, dtype: str):
    t, a, c = VANISHING[dtype]
    q = np.array([0.0, 1e-3, 0.3, 0.5, 0.7, 1.0], dtype)
    np.testing.assert_array_equal(core.ppf(q, t, a=a, c=c), np.zeros_like(q))
    x = np.array([-1e-3, 0.0, 1e-3], dtype)
    np.testing.assert_array_equal(core.cdf(x, t, a=a, c=c), [0, 1, 1])
    np.testing.assert_array_equal(core.velocity(x, t, a=a, c=c), np.array([-c, 0, c], dtype))
    # the density of the middle, (a/2c) e^-1 (I0(1) + I1(1)), which overflows in either type
    a, c = np.float64(a), np.float64(c)
    middle = mp.mpf(a) / (2 * mp.mpf(c)) * mp.exp(-1) * (mp.besseli(0, 1) + mp.besseli(1, 1))
    got = core.logpdf(x, t, a=a, c=c)
    np.testing.assert_allclose(got[1], float(mp.log(middle)), rtol=4 * np.finfo(dtype).eps)
    assert got[0] == got[2] == -np.inf
    np.testing.assert_array_equal(core.pdf(x, t, a=a, c=c), np.array([0, np.inf, 0], dtype))


@pytest.mark.parametrize("name", ["pdf", "logpdf", "cdf", "ppf"])
def test_no_nan_among_denormal_lengths(core: Core, dtype: str, name: str):
    least = float(np.finfo(dtype).tiny)
    for c in (1e3 * least, 1.0):
        for t in (least / c * f for f in (1e-6, 1e-3, 1.0, 1e6)):
            for a in (1.0, min(0.5 / t, 1e4)):
                x = np.array([0.0, 0.25, 0.5, 1.0]).astype(dtype)
                if name != "ppf":
                    x *= np.dtype(dtype).type(c) * np.dtype(dtype).type(t)
                assert not np.isnan(getattr(core, name)(x, t, a=a, c=c)).any(), (t, a, c)


# --- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [kacflow_core, reference])
def test_the_variance_overflows_only_where_it_does(module):
    rng = np.random.default_rng(SEED)
    for _ in range(500):
        tau, t, c = (10.0 ** rng.uniform((-20, -300, -300), (149, 300, 300))).tolist()
        a = tau / t
        if not (LEAST <= a <= MOST and c * t <= 1e300 and c * t * a <= 1e300):
            continue
        want = law.variance(t, a, c)
        if 1e-290 < want < 1e307:
            assert module.variance(t, a=a, c=c) == pytest.approx(float(want), rel=4e-15)
    assert module.variance(3.04e281, a=4.13e-136, c=1.58e-86) == pytest.approx(1.8375e245, rel=1e-4)


@pytest.mark.parametrize("module", [kacflow_core, reference])
def test_the_characteristic_function_stays_within_one(module):
    rng = np.random.default_rng(SEED)
    k = 10.0 ** rng.uniform(-300, 308, 4000) * rng.choice([-1, 1], 4000)
    for t, a, c in (
        (1.0, 1.0, 1.0),
        (1e-300, 1e300, 1e-5),
        (1e150, 1.0, 1e-100),
        (0.0, 1.0, 1e300),
    ):
        phi = module.char_fn(k, t, a=a, c=c)
        assert np.all(np.abs(phi) <= 1), (t, a, c)  # NaN is not
    assert abs(module.char_fn(1e155, 1.0, a=1.0, c=1.0)) <= np.exp(-1) * (1 + 1e-15)
    # overdamped, and the phase is large: exp(-phase^2/(2 tau))
    got = module.char_fn(1e75, 1.0, a=1e150, c=1.0)
    assert got == pytest.approx(np.exp(-0.5), rel=1e-14)

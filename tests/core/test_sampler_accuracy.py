"""The endpoint sampler against the same map in 40 digits on the same words.

Required of xi = K/(c t): an error below 1e-5 min(1, tau^-1/2) in float32 and 1e-11 min(1, tau^-1/2)
in float64, the cases decided at the exact integer thresholds, for tau from 1e-6 to 1e6.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import mpmath as mp
import numpy as np
import pytest
from cores import Core

from kacflow_core.testing.oracles import endpoint, philox

TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
ROWS, PER_ROW = 1000, 100
SEED, OFFSET = 0x9E3779B97F4A7C15, 2**32 - 50_000  # the counter crosses 2^32


class Bulk(NamedTuple):
    a: np.ndarray  # (ROWS,)
    c: np.ndarray
    t: np.ndarray
    xi: np.ndarray  # (ROWS, PER_ROW)
    atom: np.ndarray


@functools.cache
def bulk(dtype: str) -> Bulk:
    """1e5 draws, tau log-uniform from 1e-6 to 1e6, a, c and t exact numbers of ``dtype``."""
    rng = np.random.default_rng(31)
    tau = 10 ** rng.uniform(-6, 6, ROWS)
    tau[:2] = 1.01e-6, 0.99e6
    t = (10 ** rng.uniform(-3, 1, ROWS)).astype(dtype)
    a = (tau / t).astype(dtype)
    c = (10 ** rng.uniform(-2, 2, ROWS)).astype(dtype)
    draws = philox.many_uniforms(SEED, OFFSET, ROWS * PER_ROW, dtype)
    exact = [mp.mpf(float(a[i])) * float(t[i]) for i in range(ROWS)]
    points = endpoint.endpoints(draws, (exact[i // PER_ROW] for i in range(len(draws))))
    xi = np.array([float(p.xi) for p in points]).reshape(ROWS, PER_ROW)
    atom = np.array([p.case == "atom" for p in points]).reshape(ROWS, PER_ROW)
    return Bulk(a, c, t, xi, atom)


def tolerance(tau: np.ndarray | float, dtype: str) -> np.ndarray | float:
    return TOLERANCE[dtype] * np.minimum(1.0, np.asarray(tau, dtype=float) ** -0.5)


def test_random_draws(core: Core, dtype: str):
    want = bulk(dtype)
    x = core.sample(
        want.t, want.xi.shape, a=want.a, c=want.c, seed=SEED, offset=OFFSET, dtype=dtype
    )
    assert x.dtype == dtype
    ct = want.c * want.t  # rounded in dtype
    exact_ct = want.c.astype(np.longdouble) * want.t.astype(np.longdouble)
    got = (x / exact_ct[:, None]).astype(float)
    tau = want.a.astype(float) * want.t.astype(float)
    ratio = np.abs(got - want.xi) / tolerance(tau, dtype)[:, None]
    worst = np.unravel_index(np.argmax(ratio), ratio.shape)
    assert ratio.max() <= 1, (
        f"error {ratio.max():.3g} x the tolerance at tau = {tau[worst[0]]!r}, "
        f"seed {SEED}, counter {OFFSET + worst[0] * PER_ROW + worst[1]}: "
        f"got {got[worst]!r}, expected {want.xi[worst]!r}"
    )
    # atoms are exactly +-ct, with the sign of the map; nothing lies outside the light cone
    edge = np.broadcast_to(ct[:, None], x.shape)
    np.testing.assert_array_equal(x[want.atom], (edge * want.xi)[want.atom].astype(dtype))
    assert np.all(np.abs(x) <= edge)
    beside = np.abs(want.xi) > 1 - np.finfo(dtype).eps
    assert not np.any((np.abs(x) == edge) & ~want.atom & ~beside)


def draw(core: Core, counter: int, a: float, t: float, dtype: str) -> float:
    """xi of one counter of seed 0, with c = 1."""
    one = np.array([1], dtype=dtype)
    x = core.sample(one * t, (1,), a=one * a, c=one, seed=0, offset=counter, dtype=dtype)
    return float(x[0]) / t


def check(core: Core, counter: int, a: float, t: float, dtype: str) -> None:
    """One draw with tau = a t, the numbers a and t being exact in ``dtype``."""
    tau = mp.mpf(a) * t
    [want] = endpoint.endpoints([philox.element_uniforms(0, counter, dtype)], [tau])
    got = draw(core, counter, a, t, dtype)
    allowed = tolerance(float(tau), dtype)
    assert abs(got - float(want.xi)) <= allowed, (
        f"counter {counter}, a = {a!r}, t = {t!r}, tau = {float(tau)!r}: got xi = {got!r}, "
        f"expected {float(want.xi)!r} ({want.case}), error {abs(got - float(want.xi)):.3g}, "
        f"allowed {allowed:.3g}"
    )
    assert (abs(got) == 1) == (want.case == "atom") or 1 - abs(want.xi) < np.finfo(dtype).eps


@pytest.mark.parametrize("name", philox.EXTREME_COUNTERS)
def test_extreme_uniforms(core: Core, dtype: str, name: str):
    """Every power of ten, and tau on both sides of where a formula may change its form."""
    taus = {10.0**k for k in range(-6, 7)} | {3 * 10.0**k for k in range(-6, 6)}
    taus |= {0.5, 0.99, 1.01, 2.0, 15.9, 16.1, 22.0, 22.9, 39.999, 40.001, 43.6, 44.4, 87.0, 89.0}
    taus |= {103.0, 104.5, 299.99, 300.01, 354.0, 356.0, 708.0, 709.5, 710.5, 745.0, 746.0}
    for tau in sorted(taus):
        check(core, philox.EXTREME_COUNTERS[name], float(np.dtype(dtype).type(tau)), 1.0, dtype)


def factors(tau: mp.mpf, dtype: str) -> tuple[float, float]:
    """Numbers (a, t) of ``dtype`` whose exact product is next to tau."""
    kind = np.dtype(dtype).type
    t = 1 + np.arange(2048).astype(dtype) * kind(2.0**-12)
    t = t.astype(np.longdouble)
    # the float64 product carries enough digits for float32 factors; for float64, long double
    a = (np.longdouble(mp.nstr(tau, 25)) / t).astype(dtype)
    best = int(np.argmin(np.abs(a * t - np.longdouble(mp.nstr(tau, 25)))))
    return float(a[best]), float(t[best])


def boundary_tau(words: mp.mpf, bits: int, even: bool) -> mp.mpf | None:
    """tau at which the number of words of the case (turned, or even) is the real number given."""
    share = words / mp.mpf(2) ** bits
    turned = mp.sqrt(2 * share) if even else share
    return -mp.log1p(-turned) if 0 < turned < 1 else None


@pytest.mark.parametrize("even", [False, True], ids=["atom-odd", "odd-even"])
def test_case_boundaries(core: Core, dtype: str, even: bool):
    """tau one step on either side of where the case of a word changes.

    In float32 the count of words is exact, so that 2^-32 is met.  In float64 the probability is
    good to 2^-53, or 2^11 words of 2^64: only nearer than that may the case differ.
    """
    bits = 32 if dtype == "float32" else 64
    slack = mp.mpf("0.001") if bits == 32 else 2**11 + mp.mpf("0.25")  # 1/4: no count is a tie
    counters = [*philox.EXTREME_COUNTERS.values(), *range(60)]
    tried = 0
    for counter in counters:
        word = philox.element_uniforms(0, counter, dtype).word
        with mp.workprec(200):
            needed = 2**bits - word - mp.mpf("0.5")  # the count must round to 2^bits - word
            for step in (-6, -2, -1.1, 1.1, 2, 6):
                tau = boundary_tau(needed + step * slack, bits, even)
                if tau is None or not 1e-6 <= tau <= 1e6:
                    continue
                a, t = factors(tau, dtype)
                turned = -mp.expm1(-mp.mpf(a) * t)
                count = mp.mpf(2) ** bits * (turned * turned / 2 if even else turned)
                if abs(count - needed) > slack:
                    check(core, counter, a, t, dtype)
                    tried += 1
    assert tried > 60


def test_atoms_vanish_where_no_word_is_left_for_them(core: Core):
    """In float32 the count of turning words is 2^32 from tau = 33 ln 2 on: not even word 0."""
    counter = philox.EXTREME_COUNTERS["u0 bottom"]  # word 2: an atom while 2^32 e^-tau > 2.5
    assert abs(draw(core, counter, math.log(2**32 / 2.51), 1.0, "float32")) == 1
    assert abs(draw(core, counter, math.log(2**32 / 2.49), 1.0, "float32")) < 1
    for tau in (23.0, 50.0, 1e3, 1e6):
        assert abs(draw(core, counter, tau, 1.0, "float32")) < 1


def test_time_zero_and_tiny_tau_are_all_atoms(core: Core, dtype: str):
    for t in (0.0, 1e-30):
        x = core.sample(t, (200,), a=1.0, c=2.0, seed=3, dtype=dtype)
        np.testing.assert_array_equal(np.abs(x), np.full(200, 2 * np.dtype(dtype).type(t)))

"""The law of the draws, by statistics with fixed seeds, and the closed forms of the law.

Every check returns a p-value.  Checks are two-sided (a fit that is too good fails too), and the
limit for one p-value is ``FAMILY`` divided by the number of p-values that the whole file computes
on a backend.  For every check, samplers with a known defect must fall below that limit by far.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from cores import Core
from scipy import stats

import kacflow_core
from kacflow_core.testing.oracles import events, law

A, C = 2.0, 3.0
N = 300_000
TAUS = (0.4, 3.0, 30.0)
FAMILY = 0.01
SEED = 20250620

Check = Callable[[np.ndarray, float], float]


def two_sided(tail: float) -> float:
    """p-value that is small for a bad fit and for one too good to be true."""
    return min(1.0, 2 * min(tail, 1 - tail))


def normal(z: float) -> float:
    return 2 * float(stats.norm.sf(abs(z)))


def turned(x: np.ndarray, tau: float) -> np.ndarray:
    """xi of the particles that have turned."""
    xi = np.asarray(x, dtype=float) / (C * tau / A)
    return xi[np.abs(np.asarray(x)) < np.asarray(C * (tau / A), x.dtype)]


@functools.cache
def simulated(tau: float) -> np.ndarray:
    x = events.simulate(A, C, tau / A, N, 99)
    return turned(x, tau)


def against_events(x: np.ndarray, tau: float) -> float:
    """Kolmogorov-Smirnov of the continuous part against an event-by-event simulation."""
    return two_sided(float(stats.ks_2samp(turned(x, tau), simulated(tau), method="asymp").pvalue))


def against_density(x: np.ndarray, tau: float) -> float:
    """Kolmogorov-Smirnov of the continuous part against the quadrature of its density."""
    return two_sided(float(stats.kstest(turned(x, tau), law.continuous_cdf(tau)).pvalue))


def atom_count(x: np.ndarray, tau: float) -> float:
    """Number of atoms, binomial with probability e^-tau."""
    atoms = int(x.size - turned(x, tau).size)
    return float(stats.binomtest(atoms, x.size, np.exp(-tau)).pvalue)


def atom_signs(x: np.ndarray, tau: float) -> float:
    """Half of the atoms go right."""
    edge = np.asarray(C * (tau / A), x.dtype)
    right, left = int(np.sum(x >= edge)), int(np.sum(x <= -edge))
    return float(stats.binomtest(right, max(right + left, 1), 0.5).pvalue)


def mean(x: np.ndarray, tau: float) -> float:
    xi = np.asarray(x, dtype=float) / (C * tau / A)
    return normal(float(np.mean(xi)) / np.sqrt(law.moment(2, tau) / x.size))


def moment_check(order: int) -> Check:
    def check(x: np.ndarray, tau: float) -> float:
        xi = np.asarray(x, dtype=float) / (C * tau / A)
        spread = np.sqrt((law.moment(2 * order, tau) - law.moment(order, tau) ** 2) / x.size)
        return normal((float(np.mean(xi**order)) - law.moment(order, tau)) / spread)

    check.__doc__ = f"Moment of order {order} against the Poisson sum of closed moments."
    return check


variance_of_draws, fourth_moment = moment_check(2), moment_check(4)


def characteristic_function(x: np.ndarray, tau: float) -> float:
    """Mean of exp(i k K) at six k, real and imaginary part, Bonferroni."""
    t = tau / A
    sd = float(mp.sqrt(law.variance(t, A, C)))
    pvalues = []
    for scaled in (0.3, 0.7, 1.2, 2.0, 3.5, 7.0):
        k = scaled / sd
        phi, phi2 = float(law.char_fn(k, t, A, C)), float(law.char_fn(2 * k, t, A, C))
        phase = k * np.asarray(x, dtype=float)
        for value, center, square in (
            (np.cos(phase), phi, (1 + phi2) / 2),
            (np.sin(phase), 0.0, (1 - phi2) / 2),
        ):
            spread = np.sqrt((square - center**2) / x.size)
            pvalues.append(normal(float(np.mean(value) - center) / spread))
    return min(1.0, len(pvalues) * min(pvalues))


def neighbours(x: np.ndarray, tau: float) -> float:
    """Correlation of x and of x^2 at lags 1, 2, 4 and 32, and between halves; Bonferroni."""
    pvalues = []
    for y in (np.asarray(x, dtype=float), np.asarray(x, dtype=float) ** 2):
        y = (y - y.mean()) / y.std()
        for lag in (1, 2, 4, 32, x.size // 2):
            pvalues.append(normal(float(np.mean(y[lag:] * y[:-lag])) * np.sqrt(x.size - lag)))
    return min(1.0, len(pvalues) * min(pvalues))


def bits(x: np.ndarray, tau: float) -> float:
    """The distribution function maps the turned draws to uniforms: their twelve leading bits.

    A chi-square over all 4096 patterns, two-sided: digits missing from the uniforms show, and so
    does a lattice that fills the patterns too evenly.
    """
    u = law.continuous_cdf(tau, 20_000)(turned(x, tau))
    counts = np.bincount(np.minimum((u * 4096).astype(int), 4095), minlength=4096)
    return two_sided(float(stats.chisquare(counts).pvalue))


#: Every check with the defects it must expose.
CHECKS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "continuous part, events": (against_events, ("turn parity ignored", "S uniform", "sign lost")),
    "continuous part, density": (against_density, ("turn parity ignored", "S uniform")),
    "atom count": (atom_count, ("atoms dropped", "speed 1 % off")),
    "atom signs": (atom_signs, ("sign lost",)),
    "mean": (mean, ("sign lost",)),
    "variance": (variance_of_draws, ("turn parity ignored", "S uniform", "speed 1 % off")),
    "fourth moment": (fourth_moment, ("turn parity ignored", "S uniform", "speed 1 % off")),
    "characteristic function": (
        characteristic_function,
        ("turn parity ignored", "S uniform", "sign lost", "speed 1 % off", "atoms dropped"),
    ),
    "neighbours": (neighbours, ("neighbours alike",)),
    "bits": (bits, ("coarse uniforms", "S uniform")),
}
LIMIT = FAMILY / (len(CHECKS) * len(TAUS) * 2 + 8)
DEFECT_TAU = 3.0


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("name", CHECKS)
def test_law(core: Core, dtype: str, name: str, tau: float):
    x = draws(core, dtype, tau)
    assert CHECKS[name][0](x, tau) > LIMIT


_drawn: dict[tuple[str, str, float], np.ndarray] = {}


def draws(core: Core, dtype: str, tau: float) -> np.ndarray:
    key = core.name, dtype, tau
    if key not in _drawn:
        seed = SEED + TAUS.index(tau)
        _drawn[key] = core.sample(tau / A, (N,), a=A, c=C, seed=seed, dtype=dtype)
    return _drawn[key]


@pytest.mark.parametrize("name", CHECKS)
def test_checks_pass_a_sound_sampler(name: str):
    x = events.plain_sampler(A, C, DEFECT_TAU / A, N, 5)
    assert CHECKS[name][0](x, DEFECT_TAU) > LIMIT


@pytest.mark.parametrize(
    ("name", "defect"), [(name, defect) for name, (_, found) in CHECKS.items() for defect in found]
)
def test_checks_fail_a_broken_sampler(name: str, defect: str):
    x = events.plain_sampler(A, C, DEFECT_TAU / A, N, 5, defect)
    assert CHECKS[name][0](x, DEFECT_TAU) < LIMIT / 100


def test_every_defect_is_found_by_some_check():
    assert {d for _, found in CHECKS.values() for d in found} == set(events.DEFECTS)


# --- limits of the law ---------------------------------------------------------------------------


def uniform_limit(x: np.ndarray) -> float:
    return two_sided(float(stats.kstest(x, stats.uniform(-1, 2).cdf).pvalue))


def gaussian_limit(x: np.ndarray) -> float:
    return two_sided(float(stats.kstest(x, stats.norm.cdf).pvalue))


def test_uniform_limit(core: Core, dtype: str):
    """As a t -> 0 the particles that turned once are uniform on the cone."""
    tau = 0.01
    x = core.sample(1.0, (6_000_000,), a=tau, c=1.0, seed=SEED, dtype=dtype)
    inside = x[np.abs(x) < 1].astype(float)
    assert inside.size > 50_000
    assert uniform_limit(inside) > LIMIT


def test_gaussian_limit(core: Core, dtype: str):
    """With a = c^2 -> infinity K(t) is Gaussian of variance t."""
    x = core.sample(1.0, (N,), a=1e8, c=1e4, seed=SEED + 1, dtype=dtype).astype(float)
    assert gaussian_limit(x) > LIMIT


def test_limit_checks_fail_a_broken_sampler():
    rng = np.random.default_rng(3)
    u0, u1 = rng.random((2, 60_000))
    assert uniform_limit(np.sqrt(1 - u0) * np.cos(2 * np.pi * u1)) < LIMIT / 100  # S = sqrt u
    assert uniform_limit(1.02 * (2 * u0 - 1)) < LIMIT / 100
    assert gaussian_limit(1.01 * rng.normal(size=10 * N)) < LIMIT / 100
    assert gaussian_limit(np.abs(rng.normal(size=N))) < LIMIT / 100


def test_seeds_and_offsets_give_unrelated_draws(core: Core):
    """Seeds that differ in one bit, and far offsets, share nothing."""
    base = core.sample(1.0, (N,), a=3.0, c=1.0, seed=1)
    others = [
        core.sample(1.0, (N,), a=3.0, c=1.0, seed=seed, offset=offset)
        for seed, offset in ((0, 0), (3, 0), (1 + 2**32, 0), (1 + 2**63, 0), (1, 2**32), (1, 2**63))
    ]
    pvalues = [normal(float(np.corrcoef(base, other)[0, 1]) * np.sqrt(N)) for other in others]
    assert min(pvalues) * len(pvalues) > LIMIT
    shifted = core.sample(1.0, (N,), a=3.0, c=1.0, seed=1, offset=7)
    np.testing.assert_array_equal(shifted[:-7], base[7:])


# --- closed forms --------------------------------------------------------------------------------

POINTS = [
    (t, a, c)
    for t in (1e-5, 0.1, 1.0, 100.0)
    for a in (1e-4, 0.5, 9.0, 1e5)
    for c in (1e-3, 3.0, 1e3)
]


def test_variance():
    t, a, c = np.array(POINTS).T
    got = kacflow_core.variance(t, a=a, c=c)
    want = np.array([float(law.variance(*point)) for point in POINTS])
    np.testing.assert_allclose(got, want, rtol=4e-15)
    assert kacflow_core.variance(0.0, a=1.0, c=1.0) == 0
    assert kacflow_core.variance(np.ones((3, 1)), a=np.ones(2), c=1.0).shape == (3, 2)


def test_variance_beside_where_a_formula_may_change_its_form():
    taus = np.concatenate([np.exp2(np.arange(-60, 8)) * (1 + d) for d in (-1e-15, 0, 1e-15)])
    want = [float(law.variance(1.0, tau, 1.0)) for tau in taus]
    np.testing.assert_allclose(kacflow_core.variance(1.0, a=taus, c=1.0), want, rtol=4e-15)


def test_atom_mass():
    t, a, _ = np.array(POINTS).T
    want = [float(mp.exp(-mp.mpf(p[0]) * p[1])) for p in POINTS]
    tau = t * a
    np.testing.assert_allclose(
        kacflow_core.atom_mass(t, a=a), want, rtol=4e-16 * (2 + tau.max()), atol=1e-320
    )
    assert kacflow_core.atom_mass(0.0, a=1.0) == 1


def test_char_fn():
    """Absolute error of a few units of 1, growing with the phase c k t that is itself rounded."""
    rng = np.random.default_rng(2)
    for t, a, c in POINTS:
        sd = float(mp.sqrt(law.variance(t, a, c)))
        k = np.concatenate([[0.0, a / c], rng.uniform(-12, 12, 30) / sd])  # a / c: double root
        got = kacflow_core.char_fn(k, t, a=a, c=c)
        want = np.array([float(law.char_fn(float(v), t, a, c)) for v in k])
        allowed = 1e-15 * (4 + np.minimum(np.abs(c * k * t), 1 + np.square(k * sd)))
        assert np.all(np.abs(got - want) <= allowed), (t, a, c, np.abs(got - want) / allowed)
        assert np.all(np.abs(got) <= 1)


def test_char_fn_beside_the_double_root():
    for tau in (1e-6, 0.3, 5.0, 40.0):
        k = tau * (1 + np.concatenate([[0.0], *[s * np.logspace(-16, -1, 40) for s in (-1, 1)]]))
        got = kacflow_core.char_fn(k, 1.0, a=tau, c=1.0)
        want = np.array([float(law.char_fn(float(v), 1.0, tau, 1.0)) for v in k])
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-15 * (1 + tau))

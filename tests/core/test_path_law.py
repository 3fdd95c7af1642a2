"""The joint law of whole paths, by statistics with fixed seeds.

The same checks run on three independent things: the closed-form step of every core, the core's
event-by-event simulation read off at the same times, and an event-by-event simulation of the tests'
own.  A check returns a p-value, two-sided; the limit for one is ``FAMILY`` divided by the number of
p-values that this file computes on a core.  Steps with a known defect must fall far below it.

A path whose direction is D_s at s has the displacement (K_t - K_s) D_s in the frame of its motion;
that is independent of everything before s, and has the same law from any s.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from cores import Core
from scipy import stats

from kacflow_core.testing.oracles import law, path

A, C = 2.0, 3.0
#: a times the intervals: 0.5, 0.1, 1.4, 4.0
TIMES = np.array([0.25, 0.3, 1.0, 3.0])
N = 60_000
FAMILY = 0.01
SEED = 7


class Paths(NamedTuple):
    """Positions and directions at TIMES; float64 (N, 4)."""

    positions: np.ndarray
    directions: np.ndarray

    def moves(self) -> np.ndarray:
        """Displacements of the intervals."""
        return np.diff(self.positions, axis=1, prepend=0.0)

    def framed(self, j: int) -> np.ndarray:
        """Displacement over interval j >= 1 in the frame of its first direction, over c times it.

        For interval 0 it is the last direction: by reversal of time, the law is the same.
        """
        frame = self.directions[:, max(j - 1, 0)]
        return self.moves()[:, j] * frame / (C * LENGTHS[j])


Check = Callable[[Paths], float]
LENGTHS = np.diff(TIMES, prepend=0.0)


def two_sided(tail: float) -> float:
    """p-value that is small for a bad fit and for one too good to be true."""
    return min(1.0, 2 * min(tail, 1 - tail))


def center(values: np.ndarray, mean: float) -> float:
    """p-value of the mean of independent numbers."""
    z = (float(np.mean(values)) - mean) / (float(np.std(values)) / np.sqrt(values.size))
    return 2 * float(stats.norm.sf(abs(z)))


def combined(pvalues: list[float]) -> float:
    return min(1.0, len(pvalues) * min(pvalues))


@functools.cache
def simulated() -> Paths:
    return Paths(*path.simulate(A, C, TIMES, N, 99))


continuous_cdf = functools.cache(law.continuous_cdf)


def inside(xi: np.ndarray) -> np.ndarray:
    """Those that have turned: float32 positions are this near to the edge without."""
    return xi[np.abs(xi) < 1 - 1e-4]


def covariance(s: float, t: float) -> float:
    """E K_s K_t for s <= t (math of the process: integrate E D_u D_v = e^(-2a|u-v|))."""
    decay = -np.expm1(-2 * A * s)
    return C**2 / A * (s - decay / (2 * A)) + C**2 * decay * -np.expm1(-2 * A * (t - s)) / (
        4 * A**2
    )


# --- the checks ----------------------------------------------------------------------------------


def marginals(p: Paths) -> float:
    """K at each time: Kolmogorov-Smirnov of the continuous part against its density."""
    pvalues = []
    for j, t in enumerate(TIMES):
        turned = inside(p.positions[:, j] / (C * t))
        pvalues.append(two_sided(float(stats.kstest(turned, continuous_cdf(A * t)).pvalue)))
    return combined(pvalues)


def straight_paths(p: Paths) -> float:
    """No turn up to each time: binomial with probability e^(-a t)."""
    pvalues = []
    for j, t in enumerate(TIMES):
        straight = int(N - inside(p.positions[:, j] / (C * t)).size)
        share = np.exp(-A * t) + 1e-4 * 2 * edge_density(A * t)
        pvalues.append(float(stats.binomtest(straight, N, share).pvalue))
    return combined(pvalues)


def edge_density(tau: float) -> float:
    """Density of xi next to the edge, (tau/2) e^-tau (1 + tau/2)."""
    return tau / 2 * np.exp(-tau) * (1 + tau / 2)


def covariances(p: Paths) -> float:
    pvalues = [
        center(p.positions[:, i] * p.positions[:, j], covariance(TIMES[i], TIMES[j]))
        for i in range(4)
        for j in range(i, 4)
    ]
    return combined(pvalues)


def direction_chain(p: Paths) -> float:
    """P(D_t = D_s) = (1 + e^(-2a(t-s)))/2, for all pairs of times."""
    pvalues = []
    for i in range(4):
        for j in range(i + 1, 4):
            alike = int(np.sum(p.directions[:, i] == p.directions[:, j]))
            share = (1 + np.exp(-2 * A * (TIMES[j] - TIMES[i]))) / 2
            pvalues.append(float(stats.binomtest(alike, N, share).pvalue))
    return combined(pvalues)


def direction_balance(p: Paths) -> float:
    """Each direction has probability 1/2."""
    right = np.sum(p.directions > 0, axis=0)
    return combined([float(stats.binomtest(int(n), N, 0.5).pvalue) for n in right])


def position_with_direction(p: Paths) -> float:
    """E K_s D_t, all s and t: c times the integral of e^(-2a|u-t|) over u from 0 to s."""
    pvalues = []
    for i, s in enumerate(TIMES):
        for j, t in enumerate(TIMES):
            past = np.exp(-2 * A * max(t - s, 0)) - np.exp(-2 * A * t)
            future = -np.expm1(-2 * A * max(s - t, 0))
            product = p.positions[:, i] * p.directions[:, j]
            pvalues.append(center(product, C * (past + future) / (2 * A)))
    return combined(pvalues)


def framed_displacements(p: Paths) -> float:
    """Law of each interval's displacement in the frame of its direction, against events."""
    pvalues = []
    for j in range(4):
        ks = stats.ks_2samp(inside(p.framed(j)), inside(simulated().framed(j)), method="asymp")
        pvalues.append(two_sided(float(ks.pvalue)))
    return combined(pvalues)


def framed_given_the_parity(p: Paths) -> float:
    """The same, given that the direction at the end is the first one, and that it is not."""
    pvalues = []
    for j in range(1, 4):
        for same in (True, False):
            parts = []
            for q in (p, simulated()):
                kept = q.directions[:, j] == q.directions[:, j - 1]
                parts.append(inside(q.framed(j)[kept == same]))
            if min(part.size for part in parts) < 100:
                return 0.0
            pvalues.append(two_sided(float(stats.ks_2samp(*parts, method="asymp").pvalue)))
    return combined(pvalues)


def straight_intervals(p: Paths) -> float:
    """Intervals without a turn go forwards: eta = 1 with probability e^-tau, and never eta = -1."""
    pvalues = []
    for j in range(4):
        tau = A * LENGTHS[j]
        # Within 1e-4 of the edges there are turned ones as well: even ones, nearly all forwards.
        forwards = np.exp(-tau) + 1e-4 * tau * np.exp(-tau) * (tau / 2 + 0.5)
        backwards = 1e-4 * tau * np.exp(-tau) * 0.5
        for eta, share in ((p.framed(j), forwards), (-p.framed(j), backwards)):
            near = int(np.sum(eta > 1 - 1e-4))
            pvalues.append(float(stats.binomtest(near, N, share).pvalue))
    return combined(pvalues)


def independent_intervals(p: Paths) -> float:
    """Displacements in their frames, and their squares, are uncorrelated between intervals."""
    pvalues = []
    for i in range(4):
        for j in range(i + 1, 4):
            for power in (1, 2):
                x, y = p.framed(i) ** power, p.framed(j) ** power
                pvalues.append(center((x - x.mean()) * (y - y.mean()), 0.0))
    return combined(pvalues)


def neighbouring_paths(p: Paths) -> float:
    """Paths beside each other, and intervals beside each other on them, share nothing."""
    pvalues = []
    for j in range(4):
        x = p.framed(j) - p.framed(j).mean()
        for k in range(4):
            y = p.framed(k) - p.framed(k).mean()
            for lag in (1, 2, 64):
                pvalues.append(center(x[lag:] * y[:-lag], 0.0))
    return combined(pvalues)


EVEN_ALONG, EVEN_ALIKE, KEPT, XI_ALONG, SIGN_OF_X, OPPOSITE, FIXED, ALIKE, NO_TURN = path.DEFECTS

#: Every check with the defects that it must expose.
CHECKS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "marginals": (marginals, (EVEN_ALONG, EVEN_ALIKE, KEPT, XI_ALONG, OPPOSITE, FIXED)),
    "straight paths": (straight_paths, (OPPOSITE, FIXED, NO_TURN)),
    "covariances": (covariances, (EVEN_ALIKE, KEPT, XI_ALONG, OPPOSITE, FIXED, NO_TURN)),
    "direction chain": (direction_chain, (KEPT, ALIKE)),
    "position with direction": (
        position_with_direction,
        (EVEN_ALONG, EVEN_ALIKE, KEPT, XI_ALONG, SIGN_OF_X, OPPOSITE, FIXED, NO_TURN),
    ),
    "framed displacements": (
        framed_displacements,
        (EVEN_ALONG, EVEN_ALIKE, XI_ALONG, SIGN_OF_X, OPPOSITE, FIXED),
    ),
    "framed, given the parity": (
        framed_given_the_parity,
        (EVEN_ALONG, EVEN_ALIKE, KEPT, XI_ALONG, FIXED),
    ),
    "straight intervals": (straight_intervals, (OPPOSITE, FIXED, NO_TURN)),
    "independent intervals": (independent_intervals, (ALIKE,)),
    "direction balance": (direction_balance, ()),
    "neighbouring paths": (neighbouring_paths, ()),
}
#: Both dtypes, the fine grid in both, and the events.
LIMIT = FAMILY / (len(CHECKS) * 5)


def paths(positions: np.ndarray, directions: np.ndarray) -> Paths:
    return Paths(positions.astype(float), directions.astype(float))


_drawn: dict[tuple[str, str, str], Paths] = {}


def drawn(core: Core, dtype: str, how: str) -> Paths:
    """Paths on TIMES: directly, from a finer grid, or from the turning times."""
    key = core.name, dtype, how
    if key not in _drawn:
        keys = dict(a=A, c=C, seed=SEED)
        if how == "events":
            events = core.simulate_events(TIMES[-1], N, **keys)
            _drawn[key] = paths(*events.at(TIMES, c=C))
        elif how == "fine":
            fine = np.sort(np.concatenate([TIMES, np.linspace(0.02, 2.9, 13)]))
            x, d = core.sample_path(fine, N, dtype=dtype, **{**keys, "seed": SEED + 1})
            at = np.searchsorted(fine, TIMES)
            _drawn[key] = paths(x[:, at], d[:, at])
        else:
            _drawn[key] = paths(*core.sample_path(TIMES, N, dtype=dtype, **keys))
    return _drawn[key]


@pytest.mark.parametrize("name", CHECKS)
def test_law(core: Core, dtype: str, name: str):
    assert CHECKS[name][0](drawn(core, dtype, "coarse")) > LIMIT


@pytest.mark.parametrize("name", CHECKS)
def test_a_finer_grid_has_the_same_law(core: Core, dtype: str, name: str):
    assert CHECKS[name][0](drawn(core, dtype, "fine")) > LIMIT


@pytest.mark.parametrize("name", CHECKS)
def test_events_have_the_same_law(core: Core, name: str):
    assert CHECKS[name][0](drawn(core, "float64", "events")) > LIMIT


@functools.cache
def broken(defect: str | None) -> Paths:
    return Paths(*path.plain_steps(A, C, TIMES, N, 5, defect))


@pytest.mark.parametrize("name", CHECKS)
def test_checks_pass_sound_samplers(name: str):
    assert CHECKS[name][0](broken(None)) > LIMIT
    other = Paths(*path.simulate(A, C, TIMES, N, 3))
    assert CHECKS[name][0](other) > LIMIT


@pytest.mark.parametrize(
    ("name", "defect"), [(name, defect) for name, (_, found) in CHECKS.items() for defect in found]
)
def test_checks_fail_a_broken_step(name: str, defect: str):
    assert CHECKS[name][0](broken(defect)) < LIMIT / 100


def test_every_defect_is_found_by_some_check():
    assert {d for _, found in CHECKS.values() for d in found} == set(path.DEFECTS)


def test_the_remaining_checks_fail_broken_paths():
    p = broken(None)
    assert direction_balance(Paths(p.positions, np.abs(p.directions))) < LIMIT / 100
    beside = p.positions.copy(), p.directions.copy()
    for part in beside:
        part[1::20] = part[::20]
    assert neighbouring_paths(Paths(*beside)) < LIMIT / 100

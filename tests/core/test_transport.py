"""The flow of the conditional velocity against 40 digits, at its branches, edges and ends."""

from __future__ import annotations

import functools
from typing import NamedTuple

import mpmath as mp
import numpy as np
import pytest
from cores import Core
from scipy import stats

import kacflow_core
from kacflow_core import reference
from kacflow_core.testing.oracles import distribution

#: Of |X| and the standard deviations at both times, the first one's times dX/dx.
TOLERANCE = {"float32": 3e-7, "float64": 8e-16}
REFERENCE = 4e-14  #: which integrates for large a t


class Problem(NamedTuple):
    x: np.ndarray
    t: np.ndarray
    s: np.ndarray
    a: np.ndarray
    c: np.ndarray


class Exact(NamedTuple):
    place: np.ndarray
    slope: np.ndarray


def random_problem(n: int, dtype: str, seed: int) -> Problem:
    """Times together or apart; for many a t or a s is beside 1, where the form changes."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype).type
    tau, end = 10 ** rng.uniform(-6, 5, (2, n))
    tau[: n // 3] = 10 ** rng.uniform(-1, 1.5, n // 3)
    end[: n // 2] = tau[: n // 2] * rng.choice([0.0, 0.3, 0.9, 1.0, 1.7], n // 2)
    a, c = np.exp(rng.uniform(np.log(0.05), np.log(20), (2, n))).astype(dtype)
    t, s = (tau / a).astype(dtype), (end / a).astype(dtype)
    beside = (kind(1) + np.arange(-2, 3) * np.finfo(dtype).epsneg).astype(dtype)
    k = n // 8
    a[-2 * k :] = 1
    t[-2 * k : -k], s[-k:] = rng.choice(beside, (2, k))
    ct = c * t
    width = np.where(rng.random(n) < 0.5, 1.0, np.minimum(1.0, 6 * np.maximum(a * t, 1e-9) ** -0.5))
    x = (ct * width * rng.uniform(-1, 1, n) ** rng.choice([1, 3, 9], n)).astype(dtype)
    return Problem(np.clip(x, -np.nextafter(ct, kind(0)), np.nextafter(ct, kind(0))), t, s, a, c)


def exact(p: Problem) -> Exact:
    found = [distribution.transport(*map(float, row)) for row in zip(*p, strict=True)]
    return Exact(*(np.array([float(v) for v in column]) for column in zip(*found, strict=True)))


@functools.cache
def table(dtype: str) -> tuple[Problem, Exact]:
    p = random_problem(400, dtype, 8)
    return p, exact(p)


def spread(t: np.ndarray, p: Problem) -> np.ndarray:
    tau = p.a.astype(float) * t
    return p.c.astype(float) * t * np.minimum(1.0, np.maximum(tau, 1e-300) ** -0.5)


def test_against_40_digits(core: Core, dtype: str):
    p, want = table(dtype)
    got = core.transport(p.x, p.t, p.s, a=p.a, c=p.c)
    assert got.dtype == dtype and got.shape == p.x.shape
    assert 0.1 < np.mean(np.abs(got) >= p.c * p.s) < 0.6  # atoms among them
    scale = np.abs(want.place) + spread(p.s, p) + want.slope * spread(p.t, p)
    tolerance = max(TOLERANCE[dtype], REFERENCE if core.name == "reference" else 0.0)
    error = np.abs(got.astype(float) - want.place) / np.maximum(scale, 1e-300)
    worst = int(np.argmax(error))
    assert error[worst] <= tolerance, [column[worst] for column in p]


def test_places_are_kept_to_their_digits_where_nearly_all_of_the_law_is_in_the_atoms(
    core: Core, dtype: str
):
    """F is 1/2 there to a part in a million, and X is x."""
    t = np.dtype(dtype).type(1e-6)
    x = t * np.array([-0.9, -1e-3, 1e-9, 0.3, 0.999], dtype)
    got = core.transport(x, t, 2 * t, a=1.0, c=1.0)
    np.testing.assert_allclose(got, x, rtol=3e-6)
    np.testing.assert_allclose(core.transport(x, t, t, a=1.0, c=1.0), x, rtol=2e-7)


def test_atoms_and_the_edge(core: Core, dtype: str):
    kind = np.dtype(dtype).type
    for tau, end in ((0.3, 0.1), (0.3, 7.0), (9.0, 5.0), (9.0, 0.5), (40.0, 90.0), (2.0, 0.0)):
        a, c = kind(9), kind(3)
        t, s = kind(tau) / a, kind(end) / a
        edge, to = c * t, c * s
        outside = np.array([edge, np.nextafter(edge, kind(np.inf)), 2 * edge, np.inf], dtype)
        for sign in (1, -1):
            got = core.transport(sign * outside, t, s, a=a, c=c)
            np.testing.assert_array_equal(got, np.full(4, sign * to))
        inside = core.transport(np.nextafter(edge, kind(0)), t, s, a=a, c=c)
        assert inside == to if end < tau else inside < to
        assert core.transport(kind(0), t, s, a=a, c=c) == 0
    np.testing.assert_array_equal(core.transport(np.zeros(3, dtype), 0.0, 0.5, a=a, c=c), 0.0)
    got = core.transport(np.array([-1e-9, 1e-9], dtype), 0.0, 0.5, a=a, c=c)
    np.testing.assert_array_equal(got, [-1.5, 1.5])


def test_far_tails_do_not_underflow(core: Core, dtype: str):
    """F is e^-10000 here, which no floating type holds."""
    x = np.array([-30.0, 30.0], dtype)
    got = core.transport(x, 1.0, 0.9, a=1e5, c=100.0).astype(float)
    s = float(np.dtype(dtype).type(0.9))
    want = [float(distribution.transport(v, 1.0, s, 1e5, 100.0).place) for v in x.tolist()]
    np.testing.assert_allclose(got, want, rtol=8 * np.finfo(dtype).eps, atol=0)


def test_there_and_back(core: Core):
    """To a later time and back; and in two steps as in one."""
    p, _ = table("float64")
    later = p.t * 1.7 + 0.1 / p.a
    there = core.transport(p.x, p.t, later, a=p.a, c=p.c)
    np.testing.assert_array_equal(np.abs(there) < p.c * later, np.abs(p.x) < p.c * p.t)
    back = core.transport(there, later, p.t, a=p.a, c=p.c)
    slope = exact(Problem(p.x, p.t, later, p.a, p.c)).slope
    allowed = 1e-13 * (spread(p.t, p) + spread(later, p) / np.maximum(slope, 1e-9) + np.abs(p.x))
    assert np.all(np.abs(back - p.x) <= allowed)
    middle = 0.5 * (p.t + later)
    twice = core.transport(
        core.transport(p.x, p.t, middle, a=p.a, c=p.c), middle, later, a=p.a, c=p.c
    )
    assert np.all(np.abs(twice - there) <= 2e-13 * (np.abs(there) + spread(later, p)))


@pytest.mark.parametrize("tau", [0.4, 3.0, 60.0])
def test_it_is_the_flow_of_the_velocity(tau: float):
    """dX/ds = v(s, X), by a difference quotient of fourth order."""
    x, step = np.linspace(-0.9, 0.9, 19) * min(1.0, 3 * tau**-0.5), 1e-3
    at = dict(a=tau, c=1.0, backend="reference")
    places = [kacflow_core.transport(x, 1.0, 1.2 + k * step, **at) for k in (-2, -1, 1, 2)]
    slope = (places[0] - 8 * places[1] + 8 * places[2] - places[3]) / (12 * step)
    middle = kacflow_core.transport(x, 1.0, 1.2, **at)
    np.testing.assert_allclose(slope, kacflow_core.velocity(middle, 1.2, **at), atol=1e-9)


@pytest.mark.parametrize(("tau", "end"), [(9.0, 2.0), (25.0, 0.7), (0.8, 0.3)])
def test_the_law_of_draws_that_were_moved(core: Core, dtype: str, tau: float, end: float):
    """Draws of K(t) become draws of K(s), atoms included, at an earlier time."""
    n, a, c = 20_000, 9.0, 3.0
    t, s = tau / a, end / a
    drawn = core.sample(t, n, a=a, c=c, seed=4, dtype=dtype)
    got = core.transport(drawn, t, s, a=a, c=c)
    edge = np.dtype(dtype).type(c) * np.dtype(dtype).type(s)
    atoms = np.count_nonzero(np.abs(got) == edge)
    assert stats.binomtest(atoms, n, float(np.exp(-end))).pvalue > 1e-4
    inner = got[np.abs(got) < edge].astype(float)
    mass = np.exp(-end)
    law = lambda x: (reference.cdf(x, s, a=a, c=c) - mass / 2) / (1 - mass)  # noqa: E731
    assert stats.kstest(inner, law).pvalue > 1e-4


def test_layouts(core: Core, dtype: str):
    """Elements do not depend on sizes, strides or on who shares their row."""
    p = random_problem(129, dtype, 3)
    whole = core.transport(*p[:3], a=p.a, c=p.c)
    for n in (0, 1, 2, 63, 64, 65, 128):
        part = core.transport(*(v[:n] for v in p[:3]), a=p.a[:n], c=p.c[:n])
        np.testing.assert_array_equal(part, whole[:n])
    back = core.transport(*(v[::-1] for v in p[:3]), a=p.a[::-1], c=p.c[::-1])
    np.testing.assert_array_equal(back, whole[::-1])
    rows = np.broadcast_to(p.x[:40, None], (40, 5))
    for ends in (p.s[:40, None], p.s[None, 40:45], 0.3):
        at = dict(a=p.a[:40, None], c=p.c[:40, None])
        got = core.transport(rows, p.t[:40, None], ends, **at)
        spread_out = [
            np.broadcast_to(v, rows.shape).astype(dtype).reshape(-1)
            for v in (rows, p.t[:40, None], ends, *at.values())
        ]
        want = core.transport(*spread_out[:3], a=spread_out[3], c=spread_out[4])
        np.testing.assert_array_equal(got.reshape(-1), want)


@pytest.mark.parametrize(("nodes", "unit"), [(5, 2.0**-24), (8, 2.0**-53)])
def test_the_middle_by_midpoints(nodes: int, unit: float):
    """1 - 2F = tau xi mean phi(w) of csrc/kac/transport.h, in 40 digits, with that many nodes."""
    with mp.workdps(45):
        for tau in (mp.mpf("1e-6"), mp.mpf("0.3"), mp.mpf(1)):
            for xi in (mp.mpf("1e-9"), mp.mpf("0.2"), mp.mpf("0.9"), 1 - mp.mpf("1e-12")):
                zeta = mp.sqrt((1 - xi) * (1 + xi))
                angles = [(j + mp.mpf(1) / 2) * mp.pi / nodes for j in range(nodes)]
                w = [tau * (1 - zeta * mp.cos(angle)) for angle in angles]
                mean = mp.fsum(-mp.expm1(-v) / v for v in w) / nodes
                there = distribution.factors(tau, tau * xi)
                want = 1 - 2 * mp.exp(-there.decay) * there.tail
                assert abs(tau * xi * mean / want - 1) < unit / 4

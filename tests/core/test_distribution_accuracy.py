"""pdf, logpdf, cdf and ppf against 40 digits.

Required: in float64 the density to 1e-10 relative, the distribution function to 1e-10 absolute and
quantiles to 1e-9 c t (or to what the rounding of F leaves of them), for a t from 1e-6 to 1e6.  The
limits here are far tighter: with D = tau - z, the exponent of the decay, p and the lower tail of F
are held to TOLERANCE (1 + D) relative, and quantiles to the same backward error.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import NamedTuple

import mpmath as mp
import numpy as np
import pytest
from cores import Core
from scipy import stats

from kacflow_core.testing.oracles import distribution, law, velocity

TOLERANCE = {"float32": 6e-7, "float64": 6e-15}  # 4 times the largest error of any backend
ABSOLUTE = {"float32": 3e-7, "float64": 4e-15}


class Points(NamedTuple):
    """Exact numbers of the dtype; all arrays (n,)."""

    x: np.ndarray
    t: np.ndarray
    a: np.ndarray
    c: np.ndarray


def processes(taus: np.ndarray, dtype: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(t, a, c) with a t close to the given values."""
    t, c = np.exp(rng.uniform(-3, 3, (2, taus.size))).astype(dtype)
    return t, (taus / t).astype(dtype), c


def inside(share: np.ndarray, t: np.ndarray, c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """share c t of either sign, strictly inside the cone."""
    edge = c * t
    x = np.minimum((share * edge).astype(edge.dtype), np.nextafter(edge, np.zeros_like(edge)))
    return x * rng.choice([-1, 1], x.size, p=[0.7, 0.3]).astype(x.dtype)


def random_points(n: int, dtype: str, seed: int) -> Points:
    """tau log-uniform; D log-uniform, uniform up to 700, uniform in the cone, and at the centre."""
    rng = np.random.default_rng(seed)
    taus = 10 ** rng.uniform(-6, 6, n)
    taus[:8] = [1e-6, 1e6, 0.5, 1.0, 2.0, 100.0, 1e3, 1e4]
    t, a, c = processes(taus, dtype, rng)
    far = np.minimum(taus, 700 if dtype == "float64" else 85) / taus
    u = rng.random(n)
    delta = np.choose(np.arange(n) % 3, [far * u, far * np.exp(-40 * u), u])
    return Points(inside(np.sqrt(delta * (2 - delta)), t, c, rng), t, a, c)


def edge_points(n: int, dtype: str, seed: int) -> Points:
    """The last 1, 2, 3, 10 and 1000 numbers inside the cone, for tau up to 100."""
    rng = np.random.default_rng(seed)
    steps = np.array([1, 2, 3, 10, 1000])
    t, a, c = (np.repeat(p, steps.size) for p in processes(10 ** rng.uniform(-6, 2, n), dtype, rng))
    integer = np.dtype(dtype.replace("float", "int"))
    x = ((c * t).view(integer) - np.tile(steps, n).astype(integer)).view(dtype)
    return Points(x * rng.choice([-1, 1], x.size).astype(dtype), t, a, c)


def tiny_points(dtype: str, seed: int) -> Points:
    """Powers of two down to the smallest denormal number, and zero."""
    rng = np.random.default_rng(seed)
    least = np.log2(float(np.finfo(dtype).smallest_subnormal))
    x = np.exp2(np.concatenate([np.arange(least, -30, 7), np.arange(-30, -3)])).astype(dtype)
    x = np.concatenate([-x, np.zeros(3, dtype)])
    t, a, c = processes(10 ** rng.uniform(-6, 6, x.size), dtype, rng)
    return Points(np.clip(x, -c * t / 2, c * t / 2), t, a, c)


#: Nodes on one side and L of csrc/kac/law.h.
QUADRATURE = {"float32": (11, 19), "float64": (24, 40)}


def switch_points(dtype: str) -> Points:
    """Beside the places where the kernels change their form.

    z where the step of the quadrature begins to shrink, |y| = N where its pole goes, z = 2 of the
    Bessel ratio, z = 30 and tau = 1000 of the reference.
    """
    nodes, length = QUADRATURE[dtype]
    switch = 2 * nodes**2 / length - length / 6
    rows = []
    for z in (switch, 2.0, 30.0):
        rows += [(np.hypot(z, y), y) for y in (z * 1e-4, z / 9, z, 9 * z)]
    rows += [(1000.0, y) for y in (0.0, 3.0, 500.0)]
    for z in (0.1, switch / 2, switch, 2 * switch, 300.0, 1e4):
        big_n = max(2.0 * nodes, np.sqrt(2 * length * (z + length / 6)))
        rows.append((np.hypot(z, big_n), big_n))
    kind = np.dtype(dtype).type
    integer = np.dtype(dtype.replace("float", "int"))
    found = []
    for tau, y in rows:
        t = kind(1.5)
        rate = np.array(kind(tau / 1.5)).view(integer)
        for step in (-3, -2, -1, 0, 1, 2, 3):
            a = (rate + integer.type(step)).view(dtype)[()]
            for wider in (1 - 1e-5, 1.0, 1 + 1e-5):
                x = min(kind(wider * 1.5 * y / tau), np.nextafter(t, kind(0)))
                found.append((-x, t, a, kind(1)))
    return Points(*np.array(found, dtype=dtype).T)


class Exact(NamedTuple):
    """The 40-digit values, rounded to float64."""

    decay: np.ndarray
    pdf: np.ndarray
    logpdf: np.ndarray
    lower: np.ndarray
    cdf: np.ndarray


def exact(points: Points) -> Exact:
    rows = [distribution.values(*map(float, row)) for row in zip(*points, strict=True)]
    return Exact(*(np.array([float(v) for v in column]) for column in zip(*rows, strict=True)))


@functools.cache
def table(dtype: str) -> tuple[Points, Exact]:
    parts = [
        random_points(900, dtype, 1),
        edge_points(30, dtype, 2),
        tiny_points(dtype, 3),
        switch_points(dtype),
    ]
    points = Points(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    assert np.all(np.abs(points.x) < points.c * points.t)
    return points, exact(points)


def within(error: np.ndarray, allowed: np.ndarray, points: Points) -> None:
    worst = np.nan_to_num(error / allowed, nan=np.inf)
    i = int(np.argmax(worst))
    assert worst[i] <= 1, (
        f"{np.sum(worst > 1)} points beyond the tolerance; worst {worst[i]:.3g} times at "
        f"x = {points.x[i]!r}, t = {points.t[i]!r}, a = {points.a[i]!r}, c = {points.c[i]!r}"
    )


def only(points: Points, chosen: np.ndarray) -> Points:
    return Points(*(column[chosen] for column in points))


def test_density(core: Core, dtype: str):
    points, want = table(dtype)
    got = core.pdf(points.x, points.t, a=points.a, c=points.c)
    assert got.dtype == dtype
    normal = want.pdf > np.finfo(dtype).tiny
    assert normal.sum() > 0.8 * got.size
    error = np.abs(got[normal].astype(float) / want.pdf[normal] - 1)
    within(error, TOLERANCE[dtype] * (1 + want.decay[normal]), only(points, normal))
    lost = got[~normal].astype(float) - want.pdf[~normal]  # denormal numbers: a few of their ulps
    assert np.all(np.abs(lost) <= np.finfo(dtype).tiny * 2 * np.finfo(dtype).eps * 800)
    mirrored = core.pdf(-points.x, points.t, a=points.a, c=points.c)
    np.testing.assert_array_equal(mirrored, got)


def test_logarithm_of_the_density(core: Core, dtype: str):
    points, want = table(dtype)
    got = core.logpdf(points.x, points.t, a=points.a, c=points.c)
    assert got.dtype == dtype
    assert want.decay.max() > 1e5  # far beyond where the density underflows
    allowed = TOLERANCE[dtype] * (1 + want.decay + np.abs(want.logpdf))
    within(np.abs(got.astype(float) - want.logpdf), allowed, points)


def test_distribution_function(core: Core, dtype: str):
    points, want = table(dtype)
    got = core.cdf(points.x, points.t, a=points.a, c=points.c)
    assert got.dtype == dtype
    within(np.abs(got.astype(float) - want.cdf), np.full(got.size, ABSOLUTE[dtype]), points)
    low = core.cdf(-np.abs(points.x), points.t, a=points.a, c=points.c)
    normal = want.lower > np.finfo(dtype).tiny
    assert np.min(want.lower[normal]) < 1e-30
    error = np.abs(low[normal].astype(float) / want.lower[normal] - 1)
    within(error, TOLERANCE[dtype] * (1 + want.decay[normal]), only(points, normal))
    high = core.cdf(np.abs(points.x), points.t, a=points.a, c=points.c)
    moved = points.x != 0
    np.testing.assert_allclose(high[moved], 1 - low[moved], rtol=0, atol=np.finfo(dtype).eps)
    np.testing.assert_array_equal(got[~moved], np.full(np.sum(~moved), 0.5))


def random_probabilities(n: int, dtype: str, seed: int) -> tuple[np.ndarray, ...]:
    """(q, t, a, c): between the atoms, in the tail, beside the plateau and beside 1/2."""
    rng = np.random.default_rng(seed)
    taus = 10 ** rng.uniform(-6, 6, n)
    taus[: n // 3] = 10 ** rng.uniform(-2, 3, n // 3)
    t, a, c = processes(taus, dtype, rng)
    atom = np.exp(-a.astype(float) * t) / 2
    u = rng.random(n)
    far = np.minimum(taus, 700 if dtype == "float64" else 85)
    kinds = [
        atom + (0.5 - atom) * u,
        np.exp(-far * u) / 2,
        atom + (0.5 - atom) * np.exp(-36 * u),
        0.5 - (0.5 - atom) * np.exp(-36 * u),
    ]
    q = np.choose(np.arange(n) % 4, kinds).astype(dtype)
    keep = (q > atom * (1 + 8 * np.finfo(dtype).eps)) & (q < 0.5)
    flip = rng.random(n) < 0.3
    return tuple(v[keep] for v in (np.where(flip, 1 - q, q), t, a, c))


@functools.cache
def probabilities(dtype: str) -> tuple[np.ndarray, ...]:
    return random_probabilities(400, dtype, 5)


def test_quantiles_have_their_probability(core: Core, dtype: str):
    """F(ppf(q)) = q in 40 digits, to the rounding of F and of x."""
    q, t, a, c = probabilities(dtype)
    low = np.minimum(q, 1 - q).astype(float)
    inner = (low > np.exp(-a.astype(float) * t) / 2) & (low < 0.5)  # 1 - q is rounded as well
    q, t, a, c, low = (v[inner] for v in (q, t, a, c, low))
    assert q.size > 250
    x = core.ppf(q, t, a=a, c=c)
    assert x.dtype == dtype and np.all(np.abs(x) < c * t)
    assert np.all(np.sign(x) * (q.astype(float) - 0.5) >= 0)
    points = Points(x, t, a, c)
    there = exact(points)
    scale = there.lower * (1 + there.decay) + there.pdf * np.abs(x.astype(float))
    within(np.abs(there.lower - low), TOLERANCE[dtype] * scale, points)
    assert np.max(np.abs(there.cdf - q)) < {"float32": 1e-6, "float64": 1e-10}[dtype]


def test_quantile_of_the_distribution_function(core: Core, dtype: str):
    """ppf(cdf(x)) = x to 1e-9 c t, or to what the rounding of F leaves of x."""
    points, want = table(dtype)
    lower = want.lower > np.finfo(dtype).tiny
    atom = np.exp(-points.a.astype(float) * points.t) / 2
    eps = float(np.finfo(dtype).eps)
    lower &= want.lower > atom * (1 + 4 * eps * (1 + want.decay))
    points, want = only(points, lower), Exact(*(column[lower] for column in want))
    x = -np.abs(points.x)
    q = core.cdf(x, points.t, a=points.a, c=points.c)
    back = core.ppf(q, points.t, a=points.a, c=points.c)
    edge = points.c.astype(float) * points.t
    conditioning = eps * (1 + want.decay) * want.lower / want.pdf + eps * np.abs(x)
    allowed = {"float32": 1e-6, "float64": 1e-9}[dtype] * edge + 8 * conditioning
    within(np.abs(back.astype(float) - x), allowed, points)
    tight = 8 * conditioning if core.name != "reference" else 40 * conditioning
    within(np.abs(back.astype(float) - x), tight, points)


def plateau(tau: float) -> Fraction:
    """e^-tau/2 exactly to 60 digits, as a fraction."""
    with mp.workdps(60):
        value = mp.exp(-mp.mpf(tau)) / 2
        return Fraction(int(mp.nint(mp.ldexp(value, 250))), 2**250)


@pytest.mark.parametrize("tau", [1e-3, 0.25, 1.0, 3.0, 20.0])
def test_ends_of_the_plateaus(core: Core, dtype: str, tau: float):
    """Probabilities beside e^-tau/2 and 1 - e^-tau/2, decided without cancellation."""
    kind = np.dtype(dtype).type
    tau = float(kind(tau))
    end = plateau(tau)
    near = kind(float(end))
    low = near * (1 + np.arange(-40, 41) * np.finfo(dtype).eps).astype(dtype)
    high = (1 - low).astype(dtype)
    for q, distance, side in ((low, low, -1), (high, 1 - high, 1)):
        x = core.ppf(q, 1.0, a=tau, c=2.0)
        gap = np.array([float(Fraction(float(d)) / end - 1) for d in distance])
        sure = np.abs(gap) > 2.5e-16  # float64 rounds e^-tau/2 itself
        np.testing.assert_array_equal(np.abs(x[sure]) == 2.0, gap[sure] < 0)
        assert np.all(np.sign(x) == side)
        # beyond the end x leaves the edge at the rate atom/p = (c/a)/(1 + tau/2)
        moved = (np.maximum(gap, 0) + 8 * np.finfo(dtype).eps) * (2.0 / tau) / (1 + tau / 2)
        assert np.all(2.0 - np.abs(x) <= moved + 2 * np.finfo(dtype).eps)


def test_far_quantiles(core: Core, dtype: str):
    """Probabilities down to the smallest denormal number, where the atoms have none."""
    least = np.finfo(dtype).smallest_subnormal
    q = np.array([least, 3 * least, np.finfo(dtype).tiny, 1e-30], dtype)
    for tau in (1e3, 1e6):
        x = core.ppf(q, 1.0, a=tau, c=1.0).astype(float)
        got = [float(mp.log(distribution.values(v, 1.0, tau, 1.0).lower)) for v in x]
        np.testing.assert_allclose(
            got, np.log(q.astype(float)), rtol=1e-12 + 8 * np.finfo(dtype).eps
        )
        np.testing.assert_array_equal(core.ppf(np.zeros(1, dtype), 1.0, a=tau, c=1.0), [-1.0])


# --- the method of csrc/kac/law.h, in 40 digits --------------------------------------------------


def midpoint_rule(tau: mp.mpf, y: mp.mpf, nodes: int, length: int) -> tuple[mp.mpf, mp.mpf]:
    """(e^-z I0, 2 F e^D) by that many nodes."""
    z = mp.sqrt((tau - y) * (tau + y))
    xi, zeta, decay = y / tau, z / tau, y * y / (tau + z)
    step = 2 * mp.pi / max(2 * nodes, mp.sqrt(2 * length * (z + mp.mpf(length) / 6)))
    bessel = tail = mp.mpf(0)
    for j in range(nodes):
        cosine = mp.cos((j + mp.mpf(1) / 2) * step)
        e = mp.exp(-z * (1 - cosine)) * step / mp.pi
        bessel += e
        tail += e * xi / (1 - zeta * cosine)
    n = 2 * mp.pi / step
    if y < n:
        tail += 2 * mp.exp(decay) / (1 + ((1 + xi) / zeta) ** n)
    return bessel, tail


@pytest.mark.parametrize(("dtype", "stated"), [("float32", 6e-8), ("float64", 1e-16)])
def test_error_of_the_quadrature(dtype: str, stated: float):
    rng = np.random.default_rng(8)
    nodes, length = QUADRATURE[dtype]
    worst = 0.0
    with mp.workprec(distribution.PRECISION):
        for z in np.concatenate([10 ** rng.uniform(-3, 4.5, 60), rng.uniform(5, 60, 60)]):
            big_n = max(2.0 * nodes, np.sqrt(2 * length * (z + length / 6)))
            y = mp.mpf(big_n * (10 ** rng.uniform(-3, 1) if rng.random() < 0.5 else 1.0001))
            tau = mp.sqrt(mp.mpf(z) ** 2 + y**2)
            exact = distribution.factors(tau, y)
            bessel, tail = midpoint_rule(tau, y, nodes, length)
            worst = max(worst, float(abs(tail / (2 * exact.tail) - 1)))
            at_zero = distribution.factors(mp.mpf(z), mp.mpf(0)).tail * 2  # 1 = 2 F(0)
            assert abs(at_zero - 1) < mp.mpf(10) ** -35
            q = velocity.bessel_ratio(mp.mpf(z) ** 2)
            worst = max(worst, float(abs(bessel * (1 + tau / q) / exact.density - 1)))
    assert stated / 8 < worst < stated


@pytest.mark.parametrize(("steps", "stated"), [(4, 1e-12), (5, 1e-24)])
def test_error_of_newtons_iteration(steps: int, stated: float):
    """From e^-D/2 = q it climbs towards the root from outside, in units of c t min(1, tau^-1/2)."""
    worst = 0.0
    with mp.workprec(distribution.PRECISION):
        for tau in (1e-3, 0.3, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 40.0, 1e3):
            t = mp.mpf(tau)
            for share in (0.02, 0.1, 0.3, 0.6, 0.9):
                root = min(1, 2 / mp.sqrt(t)) * share
                exact = distribution.factors(t, t * root)
                q = exact.tail * mp.exp(-exact.decay)
                delta = -mp.log(2 * q) / t
                xi = mp.sqrt(delta * (2 - delta))
                assert xi > root
                for _ in range(steps):
                    decay, density, tail = distribution.factors(t, t * xi)
                    gap = mp.log(tail / q) - decay
                    new = xi + gap * 2 * tail / (t * density)
                    assert root - mp.mpf(10) ** -30 < new <= xi + mp.mpf(10) ** -30
                    xi = new
                worst = max(worst, float((xi - root) * max(1, mp.sqrt(t))))
    assert stated / 100 < worst < stated


# --- calculus ------------------------------------------------------------------------------------


@functools.cache
def integrated() -> list[tuple[float, float, float]]:
    """(tau, xi, F): the quadrature of the density, plus the atom."""
    rows = []
    with mp.workdps(25):
        for tau in (1e-6, 0.3, 4.0, 60.0, 900.0):
            for xi in (-0.97, -0.4, -0.03):
                t = mp.mpf(tau)
                # from where the density is e^-60 of that at xi, or from the atom
                delta = min(1, 1 - mp.sqrt(1 - mp.mpf(xi) ** 2) + 60 / t)
                start = -mp.sqrt(delta * (2 - delta))
                cuts = mp.linspace(start, mp.mpf(xi), 7)
                cuts[0] += (cuts[1] - cuts[0]) * mp.mpf(10) ** -22  # I1(z)/z at z = 0
                scale = law.density(
                    mp.mpf(xi), 1, t, mp.mpf(1)
                )  # mp.quad has an absolute tolerance
                share = mp.quad(lambda v, t=t, s=scale: law.density(v, 1, t, mp.mpf(1)) / s, cuts)
                atom = mp.exp(-t) / 2 if delta == 1 else 0
                rows.append((tau, xi, float(scale * share + atom)))
    return rows


def test_distribution_function_is_the_integral_of_the_density(core: Core):
    tau, xi, want = np.array(integrated()).T
    got = core.cdf(xi, 1.0, a=tau, c=1.0)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert want.min() < 1e-50


@pytest.mark.parametrize("tau", [1e-3, 0.5, 5.0, 300.0, 1e5])
def test_density_is_the_derivative(core: Core, tau: float):
    """Central differences of F with Richardson's extrapolation; F is held to few ulps."""
    scale = min(1.0, tau**-0.5)
    x = np.linspace(-0.9, 0.9, 31) * min(1.0, 4 * scale)
    h = 0.02 * scale

    def slope(step: float) -> np.ndarray:
        ends = (core.cdf(x + s * step, 1.0, a=tau, c=1.0) for s in (1, -1))
        return np.subtract(*ends) / (2 * step)

    got = (slope(2 * h) - 20 * slope(h) + 64 * slope(h / 2)) / 45
    want = core.pdf(x, 1.0, a=tau, c=1.0)
    allowed = 1e-8 * want + 2e-13 / scale  # truncation, and the rounding of F over h
    assert np.all(np.abs(got - want) <= allowed)


@pytest.mark.parametrize("tau", [1e15, 1e60, 1e140])
def test_normal_limit(core: Core, tau: float):
    """Far beyond 1e6 as well: normal of variance c^2 t/a, up to a relative x^4/(8 tau)."""
    dtype = "float64" if tau > 1e15 else "float32"
    u = np.linspace(-6, 6, 25).astype(dtype)
    rate = np.asarray(np.sqrt(tau), dtype)  # = time, so that the variance is 1
    tight = 100 * np.finfo(dtype).eps
    for function, normal in ((core.cdf, stats.norm.cdf), (core.pdf, stats.norm.pdf)):
        got = function(u, rate, a=rate, c=1.0)
        np.testing.assert_allclose(got, normal(u.astype(float)), rtol=tight)
    q = np.array([1e-20, 1e-3, 0.3, 0.5, 0.9], dtype)
    want = stats.norm.ppf(q.astype(float))
    np.testing.assert_allclose(core.ppf(q, rate, a=rate, c=1.0), want, rtol=tight, atol=tight)

"""pdf, logpdf, cdf and ppf: edges, symmetry, shapes, splits, and the law of the draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cores import Core
from scipy import stats

import kacflow_core
from kacflow_core.testing.oracles import events

FUNCTIONS = ("pdf", "logpdf", "cdf", "ppf")
A, C = 2.0, 3.0


def argument(name: str, n: int, dtype: str, reach: float = 1.25, seed: int = 0) -> np.ndarray:
    """Places on both sides of every edge up to ``reach``, or probabilities with both ends."""
    rng = np.random.default_rng(seed)
    if name == "ppf":
        q = rng.random(n).astype(dtype)
        q[:2] = [0, 1][: min(n, 2)]
        return q
    return (reach * rng.uniform(-1, 1, n)).astype(dtype)


def parameters(n: int, dtype: str, seed: int = 1) -> dict[str, np.ndarray]:
    """t, a, c of n processes, tau from 1e-3 to 1e3."""
    rng = np.random.default_rng(seed)
    t, c = np.exp(rng.uniform(-2, 2, (2, n)))
    return {
        "t": t.astype(dtype),
        "a": (10 ** rng.uniform(-3, 3, n) / t).astype(dtype),
        "c": c.astype(dtype),
    }


def call(core: Core, name: str, x: Any, t: Any, **keys: Any) -> np.ndarray:
    return getattr(core, name)(x, t, **keys)


# --- edges ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edges() -> dict[str, dict[str, np.ndarray]]:
    """200 processes per dtype with their c t."""
    found = {}
    for dtype in ("float32", "float64"):
        p = parameters(200, dtype)
        found[dtype] = {**p, "edge": p["c"] * p["t"]}
    return found


def test_at_and_beyond_the_edge(core: Core, dtype: str, edges):
    t, a, c, edge = (edges[dtype][k] for k in ("t", "a", "c", "edge"))
    tau = a.astype(float) * t
    atom = np.exp(-tau) / 2
    far = np.full_like(edge, np.inf)
    for side in (1, -1):
        for x in (np.nextafter(edge, far), 2 * edge, far):
            x = side * x
            np.testing.assert_array_equal(core.pdf(x, t, a=a, c=c), np.zeros_like(edge))
            np.testing.assert_array_equal(core.logpdf(x, t, a=a, c=c), -far)
            np.testing.assert_array_equal(core.cdf(x, t, a=a, c=c), np.full_like(edge, side > 0))
    np.testing.assert_array_equal(core.cdf(edge, t, a=a, c=c), np.ones_like(edge))
    got = core.cdf(-edge, t, a=a, c=c)
    rounding = 4 * float(np.finfo(dtype).eps) + tau * np.finfo(float).eps  # of tau here
    assert np.all(np.abs(got - atom) <= rounding * atom + np.finfo(dtype).smallest_subnormal)
    # The limit from inside: z is small but for the rounding of c t, which moves it by an ulp.
    some = tau < 20
    limit = a / (2 * c.astype(float)) * np.exp(-tau) * (1 + tau / 2)
    for x in (edge, -edge):
        got = core.pdf(x, t, a=a, c=c)[some]
        np.testing.assert_allclose(got, limit[some], rtol=200 * np.finfo(dtype).eps)
        got = core.logpdf(x, t, a=a, c=c)[some]
        np.testing.assert_allclose(got, np.log(limit[some]), rtol=0, atol=4e3 * np.finfo(dtype).eps)


def test_the_jumps_are_the_atoms(core: Core, dtype: str, edges):
    """Just inside -c t the distribution function is e^-tau/2, just inside c t 1 - e^-tau/2."""
    t, a, c, edge = (edges[dtype][k] for k in ("t", "a", "c", "edge"))
    tau = a.astype(float) * t
    last = np.nextafter(edge, np.zeros_like(edge))
    low, high = core.cdf(-last, t, a=a, c=c), core.cdf(last, t, a=a, c=c)
    assert np.all(low >= core.cdf(-edge, t, a=a, c=c))
    step = (1 + tau) * np.finfo(dtype).eps  # F' = (a/2c) e^-tau (1 + tau/2), over an ulp
    np.testing.assert_allclose(low, np.exp(-tau) / 2, rtol=4 * step.max(), atol=1e-37)
    np.testing.assert_allclose(high, 1 - np.exp(-tau) / 2, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_time_zero(core: Core, dtype: str):
    """K(0) = 0: a step at 0 and all quantiles 0; the density keeps its interior limit a/2c."""
    x = np.array([-1.0, -1e-30, 0.0, 1e-30, 1.0], dtype)
    np.testing.assert_array_equal(core.cdf(x, 0.0, a=A, c=C), [0, 0, 1, 1, 1])
    np.testing.assert_allclose(core.pdf(x, 0.0, a=A, c=C), [0, 0, A / (2 * C), 0, 0], rtol=1e-6)
    assert np.all(np.isneginf(core.logpdf(x[[0, 1, 3, 4]], 0.0, a=A, c=C)))
    q = np.array([0.0, 0.2, 0.5, 0.7, 1.0], dtype)
    np.testing.assert_array_equal(core.ppf(q, 0.0, a=A, c=C), np.zeros(5))


def test_not_a_number_spoils_its_own_element_only(core: Core, dtype: str):
    for name in ("pdf", "logpdf", "cdf"):
        x = argument(name, 150, dtype)
        spoilt = x.copy()
        spoilt[[0, 17, 64, 149]] = np.nan
        got, want = (call(core, name, v, 0.5, a=A, c=C) for v in (spoilt, x))
        assert np.all(np.isnan(got[[0, 17, 64, 149]]))
        sound = ~np.isnan(spoilt)
        np.testing.assert_array_equal(got[sound], want[sound])


def test_probabilities_that_are_none_give_nan_in_the_kernel(backend: str, dtype: str):
    """The public function refuses them; the backend itself answers NaN."""
    from kacflow_core._dispatch import get_backend
    from kacflow_core._layout import Layout

    q = np.array([-0.1, 1.5, np.nan, -np.inf, np.inf, 0.3], dtype)
    out = np.empty_like(q)
    one = np.ones((1, 1))
    get_backend(backend).distribution("ppf", q, out, Layout(1, 1, q.size), one, one, one, threads=1)
    assert np.all(np.isnan(out[:5])) and np.isfinite(out[5])


# --- symmetry, order, ends -----------------------------------------------------------------------


def test_distribution_function_rises_from_0_to_1(core: Core, dtype: str):
    for tau in (1e-3, 0.7, 30.0, 1e4):
        x = np.sort(argument("cdf", 4001, dtype, reach=min(1.1, 8 / np.sqrt(tau))))
        f = core.cdf(x, 1.0, a=tau, c=1.0).astype(float)
        assert np.all(np.diff(f) >= -4 * np.finfo(dtype).eps * f[1:])
        assert f[0] < 1e-6 and f[-1] > 1 - 1e-6
        p = core.pdf(x, 1.0, a=tau, c=1.0)
        assert np.all(p >= 0) and np.all(np.isfinite(p))
        mass = np.diff(f)[np.abs(x[1:]) < 1]  # what F gains inside is the integral of p
        inside = (np.abs(x[1:]) < 1) & (np.abs(x[:-1]) < 1)
        trapezoid = (np.diff(x) * (p[1:] + p[:-1]) / 2)[inside].sum()
        assert mass.size and trapezoid == pytest.approx(np.diff(f)[inside].sum(), abs=3e-3)


def test_quantiles_at_the_ends_and_in_the_middle(core: Core, dtype: str, edges):
    t, a, c, edge = (edges[dtype][k] for k in ("t", "a", "c", "edge"))
    for q, want in ((0.0, -edge), (1.0, edge), (0.5, np.zeros_like(edge))):
        np.testing.assert_array_equal(core.ppf(np.full_like(t, q), t, a=a, c=c), want)


def test_quantiles_are_odd(core: Core, dtype: str, edges):
    """ppf(1 - q) = -ppf(q) where 1 - q is exact."""
    t, a, c = (edges[dtype][k] for k in ("t", "a", "c"))
    bits = 20 if dtype == "float32" else 50
    q = (np.random.default_rng(2).integers(0, 2**bits, t.size) / 2**bits).astype(dtype)
    x, y = core.ppf(q, t, a=a, c=c), core.ppf(1 - q, t, a=a, c=c)
    np.testing.assert_array_equal(y, -x)
    assert np.unique(np.sign(x)).size == 3 or np.all(q != 0.5)


@pytest.mark.parametrize(
    ("a", "c", "tau"),
    [(1e30, 5e-11, 1e6), (2e38, 1e-2, 1e6), (1e36, 1e-3, 1e6), (1e-23, 1e16, 0.02)],
)
def test_rates_beyond_the_range_of_the_type(core: Core, a: float, c: float, tau: float):
    """a/2c may overflow or be denormal in float32: the density need not, and then does not."""
    rate = a / (2 * c)
    assert not float(np.finfo(np.float32).tiny) < rate < float(np.finfo(np.float32).max)
    a, c = np.float32(a), np.float32(c)
    t = np.float32(tau / float(a))
    x = -np.float32(min(0.8, np.sqrt(24 / tau))) * (c * t)  # D = 12 where tau is large
    want, logarithm = (
        float(f(float(x), float(t), a=float(a), c=float(c))) for f in (core.pdf, core.logpdf)
    )
    assert np.log(want) == pytest.approx(logarithm, rel=1e-12)
    got = core.pdf(x, t, a=a, c=c)
    least = 2 * float(np.finfo(np.float32).smallest_subnormal)
    assert 0 < got < np.inf and got == pytest.approx(want, rel=2e-5, abs=least)
    assert core.logpdf(x, t, a=a, c=c) == pytest.approx(logarithm, abs=2e-5)


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_size_is_a_prefix_of_the_longest(core: Core, dtype: str, name: str):
    longest = 1025
    x, p = argument(name, longest, dtype), parameters(longest, dtype)
    whole = call(core, name, x, p["t"], a=p["a"], c=p["c"])
    shared = call(core, name, x, 0.5, a=A, c=C)
    for n in (0, 1, 2, 31, 63, 64, 65, 129, longest):
        for threads in (1, 3):
            keys = dict(a=p["a"][:n], c=p["c"][:n], threads=threads)
            got = call(core, name, x[:n], p["t"][:n], **keys)
            assert got.shape == (n,) and got.dtype == dtype
            np.testing.assert_array_equal(got, whole[:n])
            got = call(core, name, x[:n], 0.5, a=A, c=C, threads=threads)
            np.testing.assert_array_equal(got, shared[:n])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_threads_change_nothing(core: Core, dtype: str, name: str):
    n = 20_000 if core.name != "reference" else 2_000
    x = argument(name, n, dtype)
    want = call(core, name, x, 0.5, a=9.0, c=C, threads=1)
    for threads in (2, 7):
        got = call(core, name, x, 0.5, a=9.0, c=C, threads=threads)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_broadcast_as_in_numpy(core: Core, dtype: str, name: str):
    x = argument(name, 30, dtype).reshape(5, 1, 6)
    p = parameters(5, dtype)
    t, a, c = p["t"].reshape(5, 1, 1), p["a"][:4].reshape(4, 1), np.asarray(p["c"][0])
    got = call(core, name, x, t, a=a, c=c)
    assert got.shape == (5, 4, 6) and got.dtype == dtype
    full = [np.ascontiguousarray(np.broadcast_to(v, got.shape)) for v in (x, t, a, c)]
    np.testing.assert_array_equal(got, call(core, name, full[0], full[1], a=full[2], c=full[3]))
    for i, j, k in ((0, 0, 0), (4, 3, 5), (2, 1, 3)):
        one = call(core, name, x[i, 0, k], t[i, 0, 0], a=a[j, 0], c=c)
        assert one.shape == () and got[i, j, k] == one


@pytest.mark.parametrize("name", FUNCTIONS)
def test_views_equal_their_contiguous_copy(backend: str, dtype: str, name: str):
    core = Core(backend)
    base = argument(name, 120, dtype).reshape(12, 10)
    kept = base.copy()
    t = np.linspace(0.1, 1, 12)[::-1]
    for x in (base[:, ::3], base[::-1, ::-1], np.asfortranarray(base), base.view(np.matrix)):
        got = call(core, name, x, t[:, None], a=A, c=C)
        want = call(core, name, np.array(x, order="C", subok=False), t.copy()[:, None], a=A, c=C)
        np.testing.assert_array_equal(np.asarray(got), want)
    np.testing.assert_array_equal(base, kept)


def test_python_numbers_become_float64(core: Core):
    for name in FUNCTIONS:
        got = call(core, name, 1, 0.5, a=9, c=3)
        assert got.dtype == np.float64 and got.shape == ()
        assert call(core, name, np.float32(0.25), 0.5, a=9, c=3).dtype == np.float32


@pytest.mark.parametrize("name", FUNCTIONS)
def test_levels_and_backends_agree(core: Core, dtype: str, name: str):
    """To the rounding of x times the slope, with the fastest backend as the other side."""
    x, p = argument(name, 2000, dtype), parameters(2000, dtype)
    scale = p["c"] * p["t"]
    x = x * scale if name != "ppf" else x
    got, want = (
        call(other, name, x, p["t"], a=p["a"], c=p["c"]).astype(float)
        for other in (core, Core(kacflow_core.available_backends()[0]))
    )
    eps = float(np.finfo(dtype).eps)
    if name == "ppf":  # the density between the atoms is at least about tau e^-tau/(2 c t)
        tau = p["a"].astype(float) * p["t"]
        allowed = 40 * eps * scale * (1 + 1 / np.minimum(tau, 1.0))
    elif name == "logpdf":
        allowed = 20 * eps * (10 + np.abs(np.where(np.isfinite(want), want, 0)))
    else:
        allowed = 20 * eps * np.abs(want) * (10 + np.abs(np.log(np.maximum(want, 1e-300))))
        allowed += 10 * float(np.finfo(dtype).tiny)
    with np.errstate(invalid="ignore"):  # inf - inf
        same = (got == want) | (np.abs(got - want) <= allowed)
    assert np.all(same), (x[~same], got[~same], want[~same])


# --- the law of the draws -----------------------------------------------------------------------

TAUS = (0.4, 3.0, 30.0, 2000.0)
N = 40_000
LIMIT = 0.01 / (2 * len(TAUS))  # for each core


def fits(core: Core, x: np.ndarray, tau: float) -> float:
    """Two-sided p-value of Kolmogorov and Smirnov's statistic of the turned draws under cdf."""
    edge = np.asarray(C * (tau / A), x.dtype)
    f = core.cdf(x[np.abs(x) < edge], tau / A, a=A, c=C).astype(float)
    atom = np.exp(-tau) / 2
    tail = float(stats.kstest((f - atom) / (1 - 2 * atom), "uniform").pvalue)
    return min(1.0, 2 * min(tail, 1 - tail))


@pytest.mark.parametrize("tau", TAUS)
def test_draws_have_the_distribution_function(core: Core, dtype: str, tau: float):
    x = core.sample(tau / A, N, a=A, c=C, seed=77 + TAUS.index(tau), dtype=dtype)
    edge = np.asarray(C * (tau / A), x.dtype)
    atoms = [np.sum(x <= -edge), np.sum(x >= edge)]
    expected = [
        float(core.cdf(-edge, tau / A, a=A, c=C)),
        1 - float(core.cdf(np.nextafter(edge, np.zeros_like(edge)), tau / A, a=A, c=C)),
    ]
    for count, share in zip(atoms, expected, strict=True):
        assert stats.binomtest(int(count), N, min(max(share, 0.0), 1.0)).pvalue > LIMIT / 2
    assert fits(core, x, tau) > LIMIT


@pytest.mark.parametrize("defect", ["turn parity ignored", "S uniform", "sign lost"])
def test_the_statistic_fails_a_broken_sampler(core: Core, defect: str):
    tau = 3.0
    sound = events.plain_sampler(A, C, tau / A, N, 5)
    broken = events.plain_sampler(A, C, tau / A, N, 5, defect)
    assert fits(core, sound, tau) > LIMIT
    assert fits(core, broken, tau) < LIMIT / 100


def test_quantiles_of_uniforms_are_draws(core: Core, dtype: str):
    """The inverse transform: its moments are those of the law, its atoms have their share."""
    n = 4000
    q = ((np.arange(n) + 0.5) / n).astype(dtype)
    for tau in (0.4, 3.0, 30.0):
        x = core.ppf(q, tau / A, a=A, c=C).astype(float)
        want = float(kacflow_core.variance(tau / A, a=A, c=C))
        assert np.mean(x**2) == pytest.approx(want, rel=2e-3)
        assert abs(np.mean(x)) < 1e-4 * np.sqrt(want)
        edge = float(np.asarray(C * (tau / A), dtype))
        assert np.mean(np.abs(x) == edge) == pytest.approx(np.exp(-tau), abs=2 / n)

"""The errors printed next to the times, against oracles that share no code with what they check.

Three kinds:

law
    Largest distance between the distribution function drawn from and the exact one.  For the table
    it is found from the quantiles it holds.  Of a simulation, exact but for rounding, only the
    statistic of a finite sample can be had; :func:`sample_law` gives it with its 1 % limit.
velocity
    Largest error of v over c against 40-digit arithmetic, at points that the law draws and on the
    atoms.
identity
    Largest violation of an equation that the outputs satisfy exactly.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import mpmath as mp
import numpy as np
import torch
from scipy import special
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor

import kacflow.ops  # noqa: F401  registers torch.ops.kacflow
import kacflow_core as kc
from benchmarks.competitors.table import TableSampler
from kacflow_core import reference
from kacflow_core.testing.oracles import velocity as oracle

LAW = "largest distance of the distribution function from the exact one"
VELOCITY = "largest error of v over c, against 40 digits"
COPY = "largest difference from the source"
WORDS = "largest difference from the reference's uniforms"
GAUSSIAN = "largest |x_t - t dx_t - x_0|"

#: 1 % point of the Kolmogorov distribution.
_LIMIT = 1.628

_SEED = 11


class ExactLaw:
    """Distribution function of |xi| = |K|/(c t) given at least one turn, for one tau = a t.

    The density tau e^(z - tau) (I0 + tau I1/z)(scaled by e^-z) is integrated by Gauss-Legendre with
    8 nodes on 2,000 cells; between their edges a cubic with the right slopes.
    """

    def __init__(self, tau: float, cells: int = 2000) -> None:
        self.tau = tau
        edge = min(1.0, 14.0 / math.sqrt(tau))
        edges = np.linspace(0.0, edge, cells + 1)
        nodes, weights = np.polynomial.legendre.leggauss(8)
        middle = (edges[:-1, None] + edges[1:, None]) / 2.0
        values = self._density(middle + edge / (2 * cells) * nodes)
        steps = (values * weights).sum(axis=1) * (edge / (2 * cells))
        total = np.concatenate([[0.0], np.cumsum(steps)])
        self._spline = CubicHermiteSpline(
            edges, total / total[-1], self._density(edges) / total[-1]
        )
        self._edge = edge

    def _density(self, xi: np.ndarray) -> np.ndarray:
        root = np.sqrt((1.0 - xi) * (1.0 + xi))
        z = self.tau * root
        gap = -self.tau * xi * xi / (1.0 + root)  # z - tau
        ratio = np.divide(special.i1e(z), z, out=np.full_like(z, 0.5), where=z > 1e-8)
        return self.tau * np.exp(gap) * (special.i0e(z) + self.tau * ratio)

    def cdf(self, xi: np.ndarray) -> np.ndarray:
        """P(|K|/(c t) <= xi | at least one turn) for xi in [0, 1]."""
        return self._spline(np.minimum(xi, self._edge))


@functools.lru_cache(maxsize=64)
def exact_law(tau: float) -> ExactLaw:
    """The law for one tau; kept, since questions ask for the same few."""
    return ExactLaw(tau)


def table_law(sampler: TableSampler, fractions: tuple[float, ...] = ()) -> float:
    """Law error of a table, at times that lie between its points; ``fractions`` of the horizon."""
    worst = 0.0
    for fraction in fractions or (0.03, 0.11, 0.29, 0.53, 0.77, 1.0):
        step = sampler.horizon / sampler.times
        t = min(sampler.horizon, (math.floor(fraction * sampler.times) + 0.5) * step)
        u = (np.arange(2 * sampler.quantiles + 1) + 0.25) / (2 * sampler.quantiles + 1)
        drawn = sampler.look_up(
            torch.full((u.size,), t, device=sampler.table.device),
            torch.tensor(u, dtype=torch.float32, device=sampler.table.device),
        )
        tau = sampler.a * t
        xi = np.clip(drawn.double().cpu().numpy() / (sampler.c * t), 0.0, 1.0)
        turned = -math.expm1(-tau)
        worst = max(worst, turned * float(np.abs(exact_law(tau).cdf(xi) - u).max()))
    return worst


def core_law(
    dtype: torch.dtype, tau: float, *, device: torch.device | str = "cpu", n: int = 20_000
) -> float:
    """Law error of kacflow's draw: the exact distribution function at its numbers, minus that at
    the numbers of the textbook sampler in float64 from the same words.

    That one follows the exact law; so the difference is how far rounding moves the law.
    """
    one, rate = torch.ones((), dtype=dtype), torch.tensor(tau, dtype=dtype)
    seed = torch.tensor(_SEED)
    drawn = torch.ops.kacflow.sample(
        *(v.to(device) for v in (one, rate, one, seed)), 0, (n,), dtype
    )
    return law_distance(drawn.double().cpu().numpy(), dtype, tau)


def law_distance(draws: np.ndarray, dtype: torch.dtype, tau: float) -> float:
    """Largest difference of the distribution function between draws of seed :data:`_SEED` with
    c t = 1 and the reference's; 1 if a sign differs."""
    name = str(dtype).removeprefix("torch.")
    rounded = float(torch.tensor(tau, dtype=dtype))
    exact = reference.sample(1.0, draws.size, a=rounded, c=1.0, seed=_SEED, dtype=name)
    law = exact_law(tau)
    moved = np.abs(law.cdf(np.abs(draws)) - law.cdf(np.abs(exact)))
    flipped = (np.sign(draws) != np.sign(exact)) & (np.abs(draws) > 1e-6)
    return float(np.where(flipped, 1.0, moved).max())


def sample_law(
    draws: np.ndarray, a: float, c: float, t: float, *, edge: float = 1e-9
) -> tuple[float, str]:
    """The Kolmogorov-Smirnov statistic of draws of K(t), and its kind with the 1 % limit.

    What lies within ``edge`` of c t, relatively, is counted but not placed: atoms may be rounded.
    """
    tau, size = a * t, np.sort(np.abs(np.asarray(draws, np.float64).ravel())) / (c * t)
    turned, law = -math.expm1(-tau), exact_law(tau)
    inside = size[size < 1.0 - edge]
    exact = turned * law.cdf(inside)
    beyond = 1.0 - turned * float(law.cdf(np.array([1.0 - edge]))[0])
    rank = np.arange(inside.size + 1) / size.size
    worst = max(
        float(np.abs(exact - rank[:-1]).max(initial=0.0)),
        float(np.abs(exact - rank[1:]).max(initial=0.0)),
        abs(1.0 - rank[-1] - beyond),
    )
    limit = _LIMIT / math.sqrt(size.size)
    return worst, f"Kolmogorov-Smirnov statistic of {size.size} draws, 1 % limit {limit:.1e}"


def exact_velocity(x: float, t: float, a: float, c: float) -> float:
    """v(t, x) inside the light cone from Bessel functions in 40 digits; c sign(x) on its edge."""
    with mp.workprec(oracle.PRECISION):
        if abs(mp.mpf(x)) >= mp.mpf(c) * mp.mpf(t):
            return math.copysign(float(c), x)
        return float(oracle.velocity(float(x), float(t), float(a), float(c)))


@functools.lru_cache(maxsize=64)
def _velocity_points(
    dtype: str, t: float, a: float, c: float, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the law with the atoms, and the exact velocity there."""
    x = kc.sample(t, n, a=a, c=c, seed=5, dtype=dtype)
    reach = np.dtype(dtype).type(c) * np.dtype(dtype).type(t)
    x[:2] = -reach, reach
    exact = np.array([
        math.copysign(c, v) if abs(v) >= reach else exact_velocity(v, t, a, c)
        for v in map(float, x)
    ])  # fmt: skip
    return x, exact


def velocity_error(
    velocity: Callable[[np.ndarray, np.ndarray], np.ndarray],
    a: float,
    c: float,
    *,
    dtype: str = "float32",
    times: tuple[float, ...] = (0.0625, 0.5, 1.0),
    n: int = 200,
) -> float:
    """Velocity error of ``velocity(x, t)``, arrays of one shape.

    The times are dyadic, so that every precision sees the same ones.
    """
    worst = 0.0
    for t in times:
        x, exact = _velocity_points(dtype, t, a, c, n)
        got = np.asarray(velocity(x, np.full_like(x, t)), np.float64)
        worst = max(worst, float(np.abs(got - exact).max()) / c)
    return worst


def pair_error(
    pair: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    a: float,
    c: float,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    n: int = 300,
) -> float:
    """Velocity error of a Kac pair: with data 0, dx_t is the velocity at x_t.

    Every number has a dyadic time of its own.  Includes what rounding x_t to the dtype moves v.
    """
    t = torch.tensor((np.arange(n) % 16 + 1) / 16.0, dtype=dtype, device=device)
    x_t, dx_t = pair(torch.zeros((n, 1), dtype=dtype, device=device), t)
    worst = 0.0
    times = t.double().cpu().numpy()
    for x, v, time in zip(
        x_t[:, 0].double().cpu().numpy(), dx_t[:, 0].double().cpu().numpy(), times, strict=True
    ):
        worst = max(worst, abs(v - exact_velocity(x, time, a, c)) / c)
    return worst


def gaussian_error(
    pair: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x_0: Tensor, t: Tensor
) -> float:
    """Identity x_t - t dx_t = x_0 of the Gaussian pair; ``t`` has trailing axes of length one."""
    x_t, dx_t = pair(x_0, t)
    return float((x_t.double() - t.double() * dx_t.double() - x_0.double()).abs().max())


def copy_error(copy: Callable[[Tensor], Tensor], source: Tensor) -> float:
    """Largest difference of a copy from its source; infinite if it is not a copy."""
    made = copy(source)
    if made.data_ptr() == source.data_ptr():
        return math.inf
    return float((made.double() - source.double()).abs().max())


def philox_error(draw: Callable[[int], np.ndarray], n: int = 2000) -> float:
    """The floor's numbers against the same combination of the reference's uniforms."""
    got = draw(1)[:n].astype(np.float64)
    dtype = "float32" if draw(1).dtype == np.float32 else "float64"
    u = reference.philox.uniforms(0, reference.philox.counters(0, got.size), dtype)
    bits, kept = (32, 23) if dtype == "float32" else (64, 52)
    u0 = (u.word >> np.uint64(bits - kept)).astype(np.float64) * 2.0**-kept
    exact = u.u1 + np.sin(np.pi * u.v / 2.0) ** 2 * u.direction + u0 * u.one_less_u1
    return float(np.abs(got - exact).max())

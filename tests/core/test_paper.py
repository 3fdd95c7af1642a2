"""Properties of the Kac flow that the paper proves or relies on, beside those of diffusion.

Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641.  The distribution functions are checked against
independent oracles elsewhere; here they serve as the yardstick.
"""

from __future__ import annotations

import numpy as np
import pytest
from cores import Core
from scipy import stats

import kacflow_core as kc

A, C = 9.0, 3.0


def quantiles(t: float, levels: np.ndarray) -> np.ndarray:
    return kc.ppf(levels, t, a=A, c=C)


@pytest.mark.parametrize("dimensions", [1, 3072])
def test_wasserstein_distance_is_lipschitz_in_time(dimensions: int):
    """W2(K(s), K(t)) <= c sqrt(d) |t - s|; W2 of a product is sqrt(d) times that of a component."""
    levels = (np.arange(40_000) + 0.5) / 40_000
    for s, t in ((0.0, 1e-3), (1e-4, 2e-3), (0.01, 0.02), (0.1, 0.5), (0.5, 1.0), (1.0, 4.0)):
        one = np.sqrt(np.mean((quantiles(t, levels) - quantiles(s, levels)) ** 2))
        distance, allowed = np.sqrt(dimensions) * one, C * np.sqrt(dimensions) * (t - s)
        assert distance <= allowed * (1 + 1e-9)
        assert distance >= 0.05 * allowed  # and not because it vanishes
    # Brownian motion of the same diffusivity breaks the bound near 0
    sigma = C / np.sqrt(A)
    assert sigma * (np.sqrt(2e-3) - np.sqrt(1e-4)) > C * (2e-3 - 1e-4)


@pytest.mark.parametrize("dimensions", [1, 2, 64])
def test_velocity_is_bounded_where_that_of_diffusion_blows_up(core: Core, dimensions: int):
    times = np.array([1e-6, 1e-4, 1e-2, 1.0])
    zeros = np.zeros((times.size, 4000, dimensions))
    _, v = core.sample_pair(
        zeros, a=A, c=C, signal=0.0, dsignal=0.0, clock=times, dclock=1.0, seed=3
    )
    norm = np.linalg.norm(v, axis=2)
    assert norm.max() <= C * np.sqrt(dimensions) * (1 + 1e-12)
    root_mean_square = np.sqrt((v**2).mean((1, 2)))
    assert root_mean_square[0] == pytest.approx(C, rel=1e-3)  # all on the atoms as t -> 0
    diffusion = C / np.sqrt(A) / (2 * np.sqrt(times))  # of x/(2 t), x ~ N(0, c^2 t/a)
    assert diffusion[0] > 100 * C
    assert root_mean_square[-1] == pytest.approx(diffusion[-1], rel=0.15)


def observed_order(tau: np.ndarray, error: np.ndarray) -> float:
    return float(np.polyfit(np.log(tau), np.log(error), 1)[0])


def test_convergence_to_diffusion():
    """a = c^2/sigma^2, c -> infinity: law and velocity tend to diffusion's as 1/tau."""
    sigma, t = 0.7, 1.3
    c = sigma * np.sqrt(np.array([40.0, 80.0, 160.0, 320.0, 640.0, 1280.0]) / t)
    a = (c / sigma) ** 2
    x = np.linspace(-2.5, 2.5, 101)[:, None] * sigma * np.sqrt(t)
    gauss = stats.norm.cdf(x, scale=sigma * np.sqrt(t))
    law = np.abs(kc.cdf(x, t, a=a, c=c) - gauss).max(0)
    velocity = np.abs(kc.velocity(x, t, a=a, c=c) - x / (2 * t)).max(0)
    for error in (law, velocity):
        assert error[-1] < 2e-3
        assert observed_order(a * t, error) == pytest.approx(-1.0, abs=0.1)
    kurtosis = [stats.kurtosis(kc.sample(t, 400_000, a=v * v / sigma**2, c=v, seed=4)) for v in c]
    assert abs(kurtosis[0]) > 4 * np.sqrt(24 / 400_000) > abs(kurtosis[-1]) / 1.5


def test_velocity_acts_componentwise():
    """In d dimensions the field (v(t, x_1), ..., v(t, x_d)) solves the continuity equation.

    div(p v) + dp/dt = 0 for the product density p, by central differences in the interior.
    """
    rng = np.random.default_rng(5)
    t, h = 0.6, 1e-5
    points = rng.uniform(-0.8, 0.8, (200, 3)) * C * t

    def density(x: np.ndarray, time: float) -> np.ndarray:
        return kc.pdf(x, time, a=A, c=C).prod(-1)

    def flux(x: np.ndarray, axis: int) -> np.ndarray:
        return density(x, t) * kc.velocity(x[..., axis], t, a=A, c=C)

    divergence = 0.0
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = h
        divergence = divergence + (flux(points + step, axis) - flux(points - step, axis)) / (2 * h)
    slope = (density(points, t + h) - density(points, t - h)) / (2 * h)
    np.testing.assert_allclose(slope, -divergence, atol=1e-7 * np.abs(slope).max())


def integrate(x: np.ndarray, start: float, end: float, steps: int) -> np.ndarray:
    """dx/dt = v(t, x) by the classical Runge-Kutta method."""

    def v(x: np.ndarray, t: float) -> np.ndarray:
        return kc.velocity(x, max(t, 0.0), a=A, c=C)

    h = (end - start) / steps
    for i in range(steps):
        t = start + i * h
        k1 = v(x, t)
        k2 = v(x + h / 2 * k1, t + h / 2)
        k3 = v(x + h / 2 * k2, t + h / 2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + v(x + h * k3, t + h))
    return x


def test_interior_trajectories_keep_their_quantile():
    s, t = 0.2, 1.5
    levels = np.linspace(0.5 * np.exp(-A * s) + 1e-3, 0.5, 60)
    start = quantiles(s, levels)
    end = integrate(start, s, t, 400)
    np.testing.assert_allclose(kc.cdf(end, t, a=A, c=C), levels, atol=1e-8)


def test_the_flow_transports_the_law():
    """Integrated backwards, the law of K(T) becomes that of K(s), its atoms included.

    (Forwards the flow is not unique at the atoms, which lose mass to the interior.)
    """
    horizon, s, n = 1.0, 0.15, 20_000
    x = integrate(kc.sample(horizon, n, a=A, c=C, seed=6, dtype="float64"), horizon, s, 1500)
    edge = C * s
    atoms = np.abs(x) >= edge * (1 - 2e-3)
    mass = float(kc.atom_mass(s, a=A))
    near = mass + 2e-3 * edge * 2 * float(kc.pdf(edge, s, a=A, c=C))
    assert abs(atoms.mean() - near) < 4 * np.sqrt(mass * (1 - mass) / n)
    interior = x[~atoms]
    low, high = kc.cdf(np.array([-1.0, 1.0]) * edge * (1 - 2e-3), s, a=A, c=C)
    result = stats.kstest(interior, lambda y: (kc.cdf(y, s, a=A, c=C) - low) / (high - low))
    assert result.pvalue > 1e-3
    # the test can tell: the law at another time is rejected
    other = stats.kstest(interior, lambda y: (kc.cdf(y, 1.3 * s, a=A, c=C) - low) / (high - low))
    assert other.pvalue < 1e-6

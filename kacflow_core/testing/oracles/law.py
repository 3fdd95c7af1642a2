"""The law of K(t): moments, characteristic function, density (40 digits) and cdf (quadrature)."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np
from scipy import special


def density(x: mp.mpf, t: mp.mpf, a: mp.mpf, c: mp.mpf) -> mp.mpf:
    """Density of the continuous part, (a/2c) e^-tau (I0(z) + tau I1(z)/z), |x| < c t."""
    tau = a * t
    z = mp.sqrt(tau * tau - (a * x / c) ** 2)
    return a / (2 * c) * mp.exp(-tau) * (mp.besseli(0, z) + tau * mp.besseli(1, z) / z)


def char_fn(k: float, t: float, a: float, c: float) -> mp.mpf:
    """E exp(i k K(t)), real: e^-tau (cosh m + tau sinh(m)/m), m^2 = tau^2 - (c k t)^2."""
    with mp.workdps(40):
        tau, phase = mp.mpf(a) * t, mp.mpf(c) * k * t
        m = mp.sqrt(mp.mpc(tau * tau - phase * phase))
        ratio = mp.sinh(m) / m if m else mp.mpf(1)
        return mp.re(mp.exp(-tau) * (mp.cosh(m) + tau * ratio))


def variance(t: float, a: float, c: float) -> mp.mpf:
    """(c^2/a)(t - (1 - e^(-2 a t))/(2 a))."""
    with mp.workdps(60):
        a, c, t = mp.mpf(a), mp.mpf(c), mp.mpf(t)
        return c * c / a * (t + mp.expm1(-2 * a * t) / (2 * a)) if t else mp.mpf(0)


def moment(order: int, tau: float) -> float:
    """E xi^order for order 2, 4 or 8, summed over the Poisson number n of turns.

    Given n >= 1 and k = ceil(n/2), xi has density proportional to (1 - xi^2)^(k-1), whose moments
    are 1 3 5 ... (order - 1) / ((2k + 1)(2k + 3) ...).
    """
    n = np.arange(1, int(tau + 20 * np.sqrt(tau) + 60))
    weight = np.exp(n * np.log(tau) - tau - special.gammaln(n + 1))
    k = (n + 1) // 2
    value = np.ones(n.size)
    for j in range(1, order, 2):
        value *= j / (2 * k + j)
    return float(np.exp(-tau) + np.sum(weight * value))


def continuous_cdf(tau: float, cells: int = 2000) -> Callable[[np.ndarray], np.ndarray]:
    """Distribution function of xi given at least one turn, by quadrature of the density.

    Gauss-Legendre with 8 nodes on every cell, linear between cell edges in xi (error < 1e-6).
    """
    edge = min(1.0, 14 / np.sqrt(tau))
    edges = np.linspace(-edge, edge, cells + 1)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    xi = (edges[:-1, None] + edges[1:, None]) / 2 + (edge / cells) * nodes
    z = tau * np.sqrt((1 - xi) * (1 + xi))
    # ive is I scaled by e^-z, and tau - z loses nothing that matters at tau < 1e4
    p = tau / 2 * np.exp(z - tau) * (special.ive(0, z) + tau * special.ive(1, z) / z)
    total = np.concatenate([[0.0], np.cumsum((p * weights).sum(1) * (edge / cells))])
    mass = -np.expm1(-tau)
    if abs(total[-1] / mass - 1) > 1e-9:
        raise ArithmeticError(f"quadrature lost mass: {total[-1]} of {mass}")
    return lambda x: np.interp(x, edges, total / total[-1])

"""Closed forms of the law of K(t), as plain NumPy in float64.  Everything broadcasts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kacflow_core.reference._exact import Array


def atom_mass(t: ArrayLike, *, a: ArrayLike) -> Array:
    """Probability e^(-a t) of no turn: the mass of the two atoms at +-c t together.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> float(reference.atom_mass(0.0, a=9.0))
    1.0
    """
    return np.exp(-np.asarray(a, np.float64) * np.asarray(t, np.float64))


def variance(t: ArrayLike, *, a: ArrayLike, c: ArrayLike) -> Array:
    """Variance of K(t), (c^2/a) (t - (1 - e^(-2 a t))/(2 a)).

    Below a t = 1/2, where that cancels, by its power series
    (c t)^2 sum_k 2 (-2 a t)^k/(k + 2)!.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> round(float(reference.variance(1.0, a=1e6, c=1e3)), 5)
    1.0
    """
    t, a, c = (np.asarray(p, np.float64) for p in (t, a, c))
    tau = np.asarray(a * t)
    with np.errstate(all="ignore"):
        term = series = np.ones_like(tau)
        for k in range(1, 20):
            term = term * np.minimum(tau, 0.5) * (-2.0 / (k + 2))
            series = series + term
        closed = (1.0 + 0.5 * np.expm1(-2.0 * tau) / tau) / tau
        return c * t * (c * t * np.where(tau < 0.5, series, closed))  # (c t)^2 may overflow


def char_fn(k: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike) -> Array:
    """Characteristic function E exp(i k K(t)) = e^-tau (cosh m + (tau/m) sinh m).

    tau = a t and m^2 = tau^2 - (c k t)^2; the root may be imaginary and the expression is even in
    it.  e^-tau is taken into both exponentials, e^(m - tau) and e^(-m - tau), so that nothing
    overflows; real, since the law is symmetric.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> float(reference.char_fn(0.0, 0.5, a=9.0, c=3.0))
    1.0
    """
    k, t, a, c = (np.asarray(p, np.float64) for p in (k, t, a, c))
    with np.errstate(all="ignore"):
        # No digit of a phase beyond 1e307 is known.
        tau, phase = np.broadcast_arrays(a * t, np.minimum(np.abs(c * t * k), 1e307))
        m = np.sqrt((tau - phase).astype(np.complex128)) * np.sqrt(tau + phase)
        m2 = np.real(m * m)
        # m - tau = -phase^2/(m + tau) does not cancel when m is near tau.
        slow = np.exp(np.where(tau >= phase, -phase * (phase / (m.real + tau)), m - tau))
        slow = np.where(m + tau == 0.0, 1.0, slow)
        fast = np.exp(-(m + tau))
        series = np.exp(-tau) * (1.0 + m2 / 6.0 * (1.0 + m2 / 20.0 * (1.0 + m2 / 42.0)))
        # sinh(m)/m by its power series about m = 0: the next term is m^8/9!.
        sinh_over_m = np.where(np.abs(m2) < 1e-3, series, (slow - fast) / (2.0 * m))
        return np.clip(np.real(0.5 * (slow + fast) + tau * sinh_over_m), -1.0, 1.0)

"""The characteristic function of K(t) and its derivative in t.

phi = e^-tau (cosh m + (tau/m) sinh m) with m^2 = tau^2 - (c k t)^2, and
dphi/dt = -(c k)^2 t e^-tau sinh(m)/m.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kacflow_core._layout import Array

#: Phases and wave numbers times c beyond it are taken there: no digit of such a phase is known.
_LARGEST = 1e307


def with_slope(
    waves: ArrayLike, times: ArrayLike, rates: ArrayLike, speeds: ArrayLike
) -> tuple[Array, Array]:
    """phi and dphi/dt for float64 arguments that broadcast and are not checked here."""
    waves, times, rates, speeds = (np.asarray(v, np.float64) for v in (waves, times, rates, speeds))
    with np.errstate(over="ignore", under="ignore"):
        phase = np.minimum(np.abs(speeds * times * waves), _LARGEST)
        rise = np.minimum(np.abs(speeds * waves), _LARGEST)
    tau, phase = np.broadcast_arrays(rates * times, phase)
    m = np.sqrt(np.abs(tau - phase)) * np.sqrt(tau + phase)  # m^2 may overflow
    # Real root, scaled by e^-tau inside: m - tau = -phase^2/(m + tau) without cancellation.
    slow = np.exp(-phase * (phase / np.maximum(m + tau, np.finfo(float).tiny)))
    fast = np.exp(-(m + tau))
    near = np.exp(-tau) * _sinhc(np.minimum(m, 1.0) ** 2)
    real = np.where(m > 1.0, (slow - fast) / (2.0 * np.maximum(m, 1.0)), near)
    overdamped = tau >= phase
    sinhc = np.where(overdamped, real, np.exp(-tau) * np.sinc(m / np.pi))
    cosh = np.where(overdamped, 0.5 * (slow + fast), np.exp(-tau) * np.cos(m))
    return np.clip(cosh + tau * sinhc, -1.0, 1.0), -phase * sinhc * rise


def _sinhc(square: Array) -> Array:
    """sinh(m)/m = sum_k m^(2k)/(2k + 1)! for 0 <= m^2 <= 1, to rounding."""
    series = np.ones_like(square)
    for k in range(9, 0, -1):
        series = 1.0 + square / (2 * k * (2 * k + 1)) * series
    return series

"""Closed forms of the law of K(t): elementwise, float64, NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kacflow_core import _validate
from kacflow_core._characteristic import with_slope
from kacflow_core._layout import Array

_FLOAT64 = np.dtype(np.float64)


def _float64(t: ArrayLike, a: ArrayLike, c: ArrayLike, **others: Array) -> list[Array]:
    """The checked parameters in float64, then ``others``; all broadcast."""
    times, rates, speeds = _validate.process(t, a, c, _FLOAT64)
    _validate.together(t=times, a=rates, c=speeds, **others)
    return [v.astype(np.float64) for v in (times, rates, speeds, *others.values())]


def atom_mass(t: ArrayLike, *, a: ArrayLike) -> Array:
    """Probability e^(-a t) that there was no turn yet: the two atoms at ±c t together.

    Parameters
    ----------
    t, a : array_like
        Time >= 0 and jump rate > 0; they broadcast.

    Returns
    -------
    numpy.ndarray
        float64, in [0, 1].

    Examples
    --------
    >>> import kacflow_core as kc
    >>> float(kc.atom_mass(0.0, a=9.0))
    1.0
    """
    times, rates, _ = _float64(t, a, 1.0)
    return np.exp(-(rates * times))


def variance(t: ArrayLike, *, a: ArrayLike, c: ArrayLike) -> Array:
    """Variance of K(t): (c^2/a) (t - (1 - e^(-2 a t))/(2 a)).

    Parameters
    ----------
    t, a, c : array_like
        Time >= 0, jump rate > 0 and speed > 0; they broadcast.

    Returns
    -------
    numpy.ndarray
        float64; c^2 t^2 for small a t and c^2 t/a for large, to a few units in the last place.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed; also where the variance is beyond
        float64.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> round(float(kc.variance(1.0, a=1e6, c=1e3)), 5)
    1.0
    """
    times, rates, speeds = _float64(t, a, c)
    reach = speeds * times
    with np.errstate(over="ignore", under="ignore"):
        # not reach**2, which may be beyond float64 where the variance is not
        variances = reach * (reach * _relative_variance(rates * times))
    if not np.isfinite(variances).all():
        raise ValueError("c*t: got a variance beyond float64; allowed: what keeps it finite")
    return variances


def _relative_variance(tau: Array) -> Array:
    """Var(K)/(c t)^2 = (tau - (1 - e^(-2 tau))/2)/tau^2 = sum_k (-2)^k 2 tau^k/(k + 2)! ."""
    small = np.minimum(tau, 0.5)
    series = np.zeros_like(small)
    for k in range(18, -1, -1):  # Horner: ratio of the terms k + 1 and k is -2 tau/(k + 3)
        series = 1.0 - 2.0 * small / (k + 3) * series
    large = np.maximum(tau, 0.5)
    closed = (1.0 + 0.5 * np.expm1(-2.0 * large) / large) / large
    return np.where(tau < 0.5, series, closed)


def char_fn(k: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike) -> Array:
    """Characteristic function E exp(i k K(t)) = e^-tau (cosh m + (tau/m) sinh m).

    Here tau = a t and m^2 = tau^2 - (c k t)^2, of either sign; the expression is even in m.  It is
    real, since the law is symmetric.

    Parameters
    ----------
    k : array_like
        Wave number (1/length), real and finite.
    t, a, c : array_like
        Time >= 0, jump rate > 0 and speed > 0; everything broadcasts.

    Returns
    -------
    numpy.ndarray
        float64, in [-1, 1].

    Examples
    --------
    >>> import kacflow_core as kc
    >>> float(kc.char_fn(0.0, 0.5, a=9.0, c=3.0))
    1.0
    """
    times, rates, speeds, waves = _float64(t, a, c, k=_validate.parameter("k", k))
    return with_slope(waves, times, rates, speeds)[0]

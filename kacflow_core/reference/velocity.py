"""The conditional velocity of the Kac flow from a point, and its derivatives, in float64.

    v(t, x) = a x/(tau + q(z)),   tau = a t,  z = (a/c) sqrt(c^2 t^2 - x^2),   |x| < c t
    v(t, x) = c sign(x)                                                        |x| >= c t

with q(z) = z I0(z)/I1(z), I0 and I1 the modified Bessel functions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ive

Floats = NDArray[np.float64]


def bessel_ratio(z: ArrayLike) -> Floats:
    """q(z) = z I0(z)/I1(z) for z >= 0; q(0) = 2, q(z) = z + 1/2 + 3/(8z) + ... for large z."""
    z = np.asarray(z, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = z * ive(0, z) / ive(1, z)
    small = 2.0 + z * z / 4.0 - z**4 / 96.0
    return np.where(z < 1e-3, small, np.where(z > 1e8, z + 0.5, ratio))


def bessel_ratio_slope(z: ArrayLike) -> Floats:
    """rho(z) = q'(z)/z = 1 + q (2 - q)/z^2 (Riccati); 1/2 at 0, 1/z + 3/(8 z^3) for large z."""
    z = np.asarray(z, dtype=np.float64)
    y = z * z
    series = 0.5 - y / 24.0 * (1.0 - y / 16.0 * (1.0 - y * 11.0 / 180.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        # rho = 1 - I0 I2/I1^2, from q = 2 + z I2/I1
        middle = 1.0 - ive(0, z) * ive(2, z) / ive(1, z) ** 2
        # q = z + 1/2 + h:  rho = ((1 - 2h) z + (1/2 + h)(3/2 - h))/z^2 without cancellation
        h = _remainder(np.maximum(z, 20.0))
        large = ((1.0 - 2.0 * h) * z + (0.5 + h) * (1.5 - h)) / y
    return np.where(z < 0.05, series, np.where(z > 20.0, large, middle))


def _remainder(z: Floats) -> Floats:
    """h(z) = q(z) - z - 1/2 for z >= 20, by its asymptotic series.

    With q = sum_k c_k z^-k the Riccati equation gives the coefficients one after the other.
    """
    c = {-1: 1.0, 0: 0.5}
    for k in range(1, 24):
        pairs = sum(c[i] * c[k - 1 - i] for i in range(k))
        c[k] = ((k + 1) * c[k - 1] - pairs) / 2.0
    return np.sum([c[k] * z**-k for k in range(23, 0, -1)], axis=0)


def _cone(x: Floats, t: Floats, a: Floats, c: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """z, and where |x| >= c t (the product rounded); c t - |x| from an exact product."""
    ct = c * t
    gap = np.maximum((ct - np.abs(x)) + _product_error(c, t, ct), 0.0)
    return a / c * np.sqrt(gap * (ct + np.abs(x))), np.abs(x) >= ct


def _product_error(x: Floats, y: Floats, product: Floats) -> Floats:
    """x y - fl(x y), exactly (Dekker 1971)."""
    x_hi, y_hi = _high(x), _high(y)
    x_lo, y_lo = x - x_hi, y - y_hi
    return ((x_hi * y_hi - product) + x_hi * y_lo + x_lo * y_hi) + x_lo * y_lo


def _high(x: Floats) -> Floats:
    """The upper 26 bits of x (Veltkamp)."""
    split = 134217729.0 * x
    return split - (split - x)


def velocity(x: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike) -> Floats:
    """v(t, x); everything broadcasts as in NumPy."""
    x, t, a, c = (np.asarray(v, dtype=np.float64) for v in (x, t, a, c))
    z, atom = _cone(x, t, a, c)
    return np.where(atom, c * np.sign(x), a * x / (a * t + bessel_ratio(z)))


def velocity_grad(
    x: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike
) -> tuple[Floats, Floats]:
    """(dv/dx, dv/dt), both 0 on the atoms::

    dv/dx =  a (tau + q + y^2 rho)/(tau + q)^2,  y = a x/c
    dv/dt = -a c y (1 + tau rho)/(tau + q)^2
    """
    x, t, a, c = (np.asarray(v, dtype=np.float64) for v in (x, t, a, c))
    z, atom = _cone(x, t, a, c)
    tau, y, rho = a * t, a * x / c, bessel_ratio_slope(z)
    total = tau + bessel_ratio(z)
    dv_dx = a * (total + y * y * rho) / total**2
    dv_dt = -a * c * y * (1.0 + tau * rho) / total**2
    return np.where(atom, 0.0, dv_dx), np.where(atom, 0.0, dv_dt)

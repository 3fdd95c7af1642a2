"""The conditional velocity of the Kac flow that starts at a point, and its derivatives.

With tau = a t, y = a x/c and z^2 = (tau - y)(tau + y)::

    v(t, x) = a x/(tau + q(z)),  q(z) = z I0(z)/I1(z),      |x| < c t
    v(t, x) = c sign(x),                                    |x| >= c t  (the atoms)

the quotient of flux and density of the telegrapher's equation (arXiv 2506.20641).  q is even and
smooth with q(0) = 2, and solves the Riccati equation q' = z + (2 q - q^2)/z, which closes every
derivative.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from kacflow_core.reference._exact import Array, exact_product

_SWITCH = 30.0  # between the two forms of q; both are good to rounding from 20 to 40
_LEVELS = 64  # of the continued fraction: converged to rounding for z <= 40
_TERMS = 24  # of the asymptotic series: converged to rounding for z >= 20


class BesselRatio(NamedTuple):
    """q(z) and rho(z) = q'(z)/z = 1 + q (2 - q)/z^2."""

    q: Array
    rho: Array


def _asymptotic_coefficients(n: int) -> list[float]:
    """b_1 ... b_n of q(z) = z + 1/2 + sum_k b_k z^-k, from the Riccati equation.

    Comparing powers, 2 b_(k+1) = (k + 2) b_k - sum_(i+j=k) b_i b_j over i, j >= 0, with b_0 = 1/2.
    """
    b = [0.5]
    for k in range(n):
        b.append(((k + 2) * b[k] - sum(b[i] * b[k - i] for i in range(k + 1))) / 2)
    return b[1:]


_B = _asymptotic_coefficients(_TERMS)


def bessel_ratio(z: ArrayLike) -> BesselRatio:
    """q(z) = z I0(z)/I1(z) and rho(z) = q'(z)/z for z >= 0, to a few units in the last place.

    Up to z = 30 by the continued fraction of consecutive Bessel functions (DLMF 10.33.1), all of
    whose terms are positive::

        q(z) = 2 + z^2 g,    g = 1/(4 + z^2/(6 + z^2/(8 + ...))),    rho = 1 - q g

    and beyond by the asymptotic series q(z) = z + 1/2 + h, h = 3/(8 z) + 3/(8 z^2) + ... with
    rho = ((1 - 2 h) z + (1/2 + h)(3/2 - h))/z^2.
    """
    z = np.asarray(z, dtype=np.float64)
    with np.errstate(all="ignore"):
        z2 = np.where(z < _SWITCH, z, _SWITCH) ** 2
        tail = np.full_like(z, 2.0 * _LEVELS)
        for k in range(_LEVELS - 1, 1, -1):
            tail = 2.0 * k + z2 / tail
        g = 1.0 / tail
        near = BesselRatio(2.0 + z2 * g, 1.0 - (2.0 + z2 * g) * g)

        big = np.where(z < _SWITCH, _SWITCH, z)
        h = np.zeros_like(z)
        for b in reversed(_B):
            h = (b + h) / big
        rho = ((1.0 - 2.0 * h) + (0.5 + h) * (1.5 - h) / big) / big
        far = BesselRatio(big + (0.5 + h), rho)
        return BesselRatio(*(np.where(z < _SWITCH, n, f) for n, f in zip(near, far, strict=True)))


class Cone(NamedTuple):
    """A point in the light cone."""

    tau: Array  #: a t rounded,
    tau_low: Array  #: and its rounding error
    y: Array  #: a x/c
    z: Array
    edge: Array  #: c t rounded in the working type
    atom: NDArray[np.bool_]


def cone(x: Array, t: Array, a: Array, c: Array, dtype: DTypeLike) -> Cone:
    """z from the exact product c t, so that it keeps its relative accuracy up to the edge."""
    edge = (c * t).astype(dtype).astype(np.float64)
    tau, tau_low = exact_product(a, t)
    # Lengths in units of 2^(c_exponent + t_exponent), in which c t does not underflow.
    (speed, c_exponent), (time, t_exponent) = np.frexp(c), np.frexp(t)
    place = np.ldexp(x, -c_exponent - t_exponent)
    ct, ct_low = exact_product(speed, time)
    gap = np.maximum((ct - np.abs(place)) + ct_low, 0.0)
    root = np.sqrt(gap * (ct + np.abs(place)))
    slope = np.ldexp(a, np.where(t > 0.0, t_exponent, -1)) / speed
    return Cone(tau, tau_low, slope * place, slope * root, edge, np.abs(x) >= edge)


def arrays(*values: ArrayLike) -> list[Array]:
    return list(np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values)))


def velocity(
    x: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike, dtype: DTypeLike = "float64"
) -> Array:
    """Conditional velocity v(t, x): :func:`kacflow_core.velocity` as plain NumPy.

    Parameters
    ----------
    x, t, a, c : array_like
        Positions, times >= 0, rates > 0 and speeds > 0; everything broadcasts.
    dtype : {"float64", "float32"}
        Type in which the product c t is rounded before points with |x| >= c t are called atoms.

    Returns
    -------
    numpy.ndarray
        float64, in [-c, c]; NaN for NaN, and v(0, 0) = 0.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> float(reference.velocity(0.0, 0.5, a=9.0, c=3.0))
    0.0
    """
    x, t, a, c = arrays(x, t, a, c)
    with np.errstate(all="ignore"):
        tau, tau_low, _, z, _, atom = cone(x, t, a, c, dtype)
        inside = a * x / (tau + (bessel_ratio(z).q + tau_low))
        return np.where(atom, c * np.sign(x), inside)


def velocity_grad(
    x: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike, dtype: DTypeLike = "float64"
) -> tuple[Array, Array]:
    """Derivatives (dv/dx, dv/dt): :func:`kacflow_core.velocity_grad` as plain NumPy.

    ::

        dv/dx =  a (tau + q + y^2 rho)/(tau + q)^2
        dv/dt = -a^2 x (1 + tau rho)/(tau + q)^2

    and both 0 on the atoms.  Arguments as in :func:`velocity`.
    """
    x, t, a, c = arrays(x, t, a, c)
    with np.errstate(all="ignore"):
        tau, _, y, z, _, atom = cone(x, t, a, c, dtype)
        q, rho = bessel_ratio(z)
        inverse = 1.0 / (tau + q)
        dv_dx = a * inverse * (1.0 + y * inverse * y * rho)
        dv_dt = -(a * inverse) * (a * x * inverse) * (1.0 + tau * rho)
        return np.where(atom, 0.0, dv_dx), np.where(atom, 0.0, dv_dt)

"""The law of K(t) at points: density, distribution function, quantiles, transport in time.

With tau = a t, y = a x/c, z^2 = (tau - y)(tau + y) and D = tau - z, on |x| < c t::

    p(x) = (a/2c) e^-tau (I0(z) + tau I1(z)/z)                                  (arXiv 2506.20641)
    F(x) = e^-tau (I0(z)/2 + sum_(k >= 1) r^k I_k(z)),  r = z/(tau - y),            for x <= 0
    F(x) = 1 - F(-x)                                                                for x > 0

The turns while moving right and while moving left are two Poisson counts of means (tau + y)/2 and
(tau - y)/2; F is the probability that the first is the larger, with half of that of a draw: the
tail of Skellam's law.  The atoms at +-c t, e^-tau/2 each, belong to F and not to p.  All sums are
of positive terms, scaled by e^-z, so that the lower tail keeps its relative accuracy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kacflow_core.reference._exact import Array, exact_product
from kacflow_core.reference.velocity import arrays, cone

_SWITCH = 30.0  # between the two series; both are good to rounding from 20 to 40
_SERIES = 64  # terms of the power series: converged to rounding for z <= 40
_TERMS = 24  # of the asymptotic series: converged to rounding for z >= 20
_LARGE_TAU = 1000.0  # above it F is an integral: the sum needs about 9 sqrt(z) terms
_REACH = 39.0  # e^-39 ends an integral: below rounding
_NEWTON_STEPS = 8  # five are enough
_CENTRAL = 1.0  # tau up to which the middle of the law is known better than its tail


def _gauss_legendre(n: int) -> tuple[Array, Array]:
    """Nodes and weights of Gauss' rule on [-1, 1], by Newton's iteration on P_n(cos theta).

    The weights are 2/(dP_n/d theta)^2 (DLMF 3.5).  NumPy's lose three digits more, as many as the
    linear algebra beneath it happens to.
    """
    theta = np.pi * (np.arange(n, 0, -1) - 0.25) / (n + 0.5)
    for _ in range(5):
        x = np.cos(theta)
        before, p = np.ones(n), x
        for k in range(2, n + 1):
            before, p = p, ((2 * k - 1) * x * p - (k - 1) * before) / k
        slope = n * (x * p - before) / np.sin(theta)
        theta = theta - p / slope
    return np.cos(theta), 2.0 / slope**2


_NODES, _WEIGHTS = _gauss_legendre(80)


class ScaledBessel(NamedTuple):
    """e^-z I0(z) and e^-z I1(z)/z."""

    i0: Array
    i1_over_z: Array


def scaled_bessel(z: ArrayLike) -> ScaledBessel:
    """e^-z I0(z) and e^-z I1(z)/z for z >= 0, to a few units in the last place.

    Up to z = 30 by the power series (DLMF 10.25.2), beyond by the asymptotic series (10.40.1)::

        I0(z) = sum_k (z^2/4)^k/(k!)^2,    I1(z)/z = 1/2 sum_k (z^2/4)^k/(k! (k + 1)!)
        I_n(z) = e^z (2 pi z)^-1/2 (1 - (4 n^2 - 1)/(8 z) + (4 n^2 - 1)(4 n^2 - 9)/(2! (8 z)^2) ...)
    """
    z = np.asarray(z, dtype=np.float64)
    near = z < _SWITCH
    i0, i1_over_z = np.empty_like(z), np.empty_like(z)
    small, big = z[near], z[~near]
    zero, one = np.ones((2, small.size))
    for k in range(_SERIES, 0, -1):
        zero = 1.0 + small * small / (4.0 * k * k) * zero
        one = 1.0 + small * small / (4.0 * k * (k + 1.0)) * one
    i0[near], i1_over_z[near] = np.exp(-small) * zero, 0.5 * np.exp(-small) * one
    zero, one = np.ones((2, big.size))
    for k in range(_TERMS, 0, -1):
        zero = 1.0 + (2.0 * k - 1.0) ** 2 / (8.0 * k * big) * zero
        one = 1.0 + ((2.0 * k - 1.0) ** 2 - 4.0) / (8.0 * k * big) * one
    scale = 1.0 / np.sqrt(2.0 * np.pi * big)
    i0[~near], i1_over_z[~near] = scale * zero, scale * one / big
    return ScaledBessel(i0, i1_over_z)


def _density(tau: Array, z: Array) -> Array:
    """e^-z (I0(z) + tau I1(z)/z): the density but for (a/2c) e^-D."""
    i0, i1_over_z = scaled_bessel(z)
    return i0 + tau * i1_over_z


class _Place(NamedTuple):
    """The place -|x| in the cone."""

    tau: Array
    z: Array
    decay: Array  #: D = tau - z
    r: Array


def _place(tau: Array, y: Array, z: Array) -> _Place:
    y = np.abs(y)
    with np.errstate(all="ignore"):
        decay = np.where(tau > 0.0, y * (y / (tau + z)), 0.0 * y)  # keeps a NaN
        r = np.where(tau > 0.0, z / (tau + y), 0.0)
    return _Place(tau, z, decay, r)


def _skellam(place: _Place) -> Array:
    """e^-z (I0/2 + sum r^k I_k) by the ratios R_k = I_k/I_(k-1) = z/(2 k + z R_(k+1)).

    Both sums are evaluated from the far end; e^z = I0 + 2 sum I_k fixes the scale.
    """
    z, r = place.z, place.r
    largest = np.max(z[z >= 0.0], initial=0.0)  # of those that are not NaN
    last = int(9.2 * np.sqrt(largest)) + 50  # I_k/I_0 < e^-42 from here on
    ratio, tail, total = np.zeros((3, *z.shape))
    for k in range(last, 0, -1):
        ratio = z / (2.0 * k + z * ratio)
        tail = r * ratio * (1.0 + tail)
        total = ratio * (1.0 + total)
    return (0.5 + tail) / (1.0 + 2.0 * total)


def _integral(place: _Place) -> Array:
    """The same as the integral of e^(D - D') _density/2 over y' below, where D' - D < 39, and what
    the atom adds.
    """
    tau, _, decay, _ = place
    top = np.sqrt(decay * (2.0 * tau - decay))
    gap = np.minimum(_REACH, tau - decay)
    end = decay + gap
    width = gap * (2.0 * tau - end - decay) / (np.sqrt(end * (2.0 * tau - end)) + top)
    total = np.zeros_like(tau)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        offset = width * (0.5 + 0.5 * node)
        y = top + offset
        z = np.sqrt(np.maximum((tau - y) * (tau + y), 0.0))
        step = offset * ((y + top) / (z + tau - decay))  # D' - D
        total = total + weight * np.exp(-step) * _density(tau, z)
    return total * (0.25 * width) + 0.5 * np.exp(decay - tau)


def _tail(place: _Place) -> Array:
    """F(-|x|) e^D, in (0, 1/2]."""
    result = np.empty_like(place.tau)
    large = place.tau > _LARGE_TAU
    for where, function in ((large, _integral), (~large, _skellam)):
        if np.any(where):
            with np.errstate(all="ignore"):
                result[where] = function(_Place(*(value[where] for value in place)))
    return result


def _atom(a: Array, t: Array) -> Array:
    """e^-tau/2, with the rounding error of tau = a t taken into account."""
    tau, low = exact_product(a, t)
    return np.where(tau < 1e4, 0.5 * np.exp(-tau) * (1.0 - np.where(tau < 1e4, low, 0.0)), 0.0)


def logpdf(
    x: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike, dtype: DTypeLike = "float64"
) -> Array:
    """Logarithm of the density: :func:`kacflow_core.logpdf` as plain NumPy.

    Arguments as in :func:`cdf`.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> round(float(reference.logpdf(0.0, 1000.0, a=9.0, c=3.0)), 4)  # normal: -ln(2 pi 1000)/2
    -4.3728
    """
    x, t, a, c = arrays(x, t, a, c)
    with np.errstate(all="ignore"):
        at = cone(x, t, a, c, dtype)
        place = _place(at.tau, at.y, at.z)
        # ln(fraction 2^exponent) of the whole factor: logarithms of a and c alone would cancel
        (rate, up), (speed, down) = np.frexp(a), np.frexp(c)
        fraction, exponent = np.frexp(rate / speed * 0.5 * _density(place.tau, place.z))
        inside = np.log(fraction) + (exponent + up - down) * np.log(2.0) - place.decay
        return np.where(np.abs(x) > at.edge, -np.inf, inside)


def pdf(
    x: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike, dtype: DTypeLike = "float64"
) -> Array:
    """Density of the continuous part: :func:`kacflow_core.pdf` as plain NumPy.

    Arguments as in :func:`cdf`.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> round(float(reference.pdf(0.0, 0.5, a=9.0, c=3.0)), 6)
    0.547736
    """
    x, t, a, c = arrays(x, t, a, c)
    with np.errstate(all="ignore"):
        at = cone(x, t, a, c, dtype)
        place = _place(at.tau, at.y, at.z)
        # the square of its root: no factor over- or underflows unless the density does
        root = np.exp(-0.5 * place.decay) * np.sqrt(0.5 * _density(place.tau, place.z))
        inside = (np.sqrt(a) / np.sqrt(c) * root) ** 2
        return np.where(np.abs(x) > at.edge, 0.0, inside)


def cdf(
    x: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike, dtype: DTypeLike = "float64"
) -> Array:
    """Distribution function P(K(t) <= x): :func:`kacflow_core.cdf` as plain NumPy.

    Parameters
    ----------
    x, t, a, c : array_like
        Places, times >= 0, rates > 0 and speeds > 0; everything broadcasts.
    dtype : {"float64", "float32"}
        Type in which the product c t is rounded before x is compared with it.

    Returns
    -------
    numpy.ndarray
        float64; NaN for NaN.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> float(reference.cdf(0.0, 0.5, a=9.0, c=3.0)), float(reference.cdf(1.5, 0.5, a=9.0, c=3.0))
    (0.5, 1.0)
    """
    x, t, a, c = arrays(x, t, a, c)
    with np.errstate(all="ignore"):
        at = cone(x, t, a, c, dtype)
        place = _place(at.tau, at.y, at.z)
        atom = _atom(a, t)
        low = np.maximum(np.exp(-place.decay) * _tail(place), atom)
        inside = np.where(x == 0.0, 0.5, np.where(x > 0.0, 1.0 - low, low))
        below = np.where(x < -at.edge, 0.0, np.where(x == -at.edge, atom, inside))
        return np.where(x >= at.edge, 1.0, below)


def _solve_tail(tau: Array, log_2q: Array) -> Array:
    """The xi where ln 2F(-xi c t) is ``log_2q``, by Newton's iteration; 1 from the atom on."""
    delta = np.where(tau > 0.0, np.minimum(-log_2q, tau) / tau, 0.0)
    xi = np.sqrt(delta * (2.0 - delta))
    for _ in range(_NEWTON_STEPS):
        place = _place(tau, tau * xi, tau * np.sqrt((1.0 - xi) * (1.0 + xi)))
        tail = 2.0 * _tail(place)  # 2 F e^D; and d(ln F)/d(xi) = -tau density/tail
        gap = np.log(tail) - place.decay - log_2q
        xi = np.clip(xi + gap * tail / (tau * _density(tau, place.z)), 0.0, 1.0)
    return xi


def _middle(tau: Array, xi: Array) -> Array:
    """1 - 2F(-xi c t), the integral of twice the density from 0, for tau of a few units."""
    total = np.zeros_like(tau)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        share = xi * (0.5 + 0.5 * node)
        z = tau * np.sqrt((1.0 - share) * (1.0 + share))
        total = total + weight * np.exp(z - tau) * _density(tau, z)
    return 0.5 * tau * xi * total


def _solve_middle(tau: Array, middle: Array) -> Array:
    """The xi where :func:`_middle` is ``middle``; 1 from the atom on."""
    xi = np.ones_like(tau)
    for _ in range(_NEWTON_STEPS):
        z = tau * np.sqrt((1.0 - xi) * (1.0 + xi))
        slope = tau * np.exp(z - tau) * _density(tau, z)
        xi = np.clip(xi + (middle - _middle(tau, xi)) / slope, 0.0, 1.0)
    return xi


def ppf(
    q: ArrayLike, t: ArrayLike, *, a: ArrayLike, c: ArrayLike, dtype: DTypeLike = "float64"
) -> Array:
    """Quantiles, the least x with P(K(t) <= x) >= q: :func:`kacflow_core.ppf` as plain NumPy.

    By Newton's iteration on ln F in the lower half.  ln F is concave, and F <= e^-D/2, so from the
    place where e^-D/2 = q it climbs to the root and never passes it.  ``dtype`` is that of the
    product c t; other arguments as in :func:`cdf`.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> float(reference.ppf(0.5, 0.5, a=9.0, c=3.0)), float(reference.ppf(1.0, 0.5, a=9.0, c=3.0))
    (0.0, 1.5)
    """
    q, t, a, c = arrays(q, t, a, c)
    with np.errstate(all="ignore"):
        edge = (c * t).astype(dtype).astype(np.float64)
        low = np.where(q < 0.5, q, 1.0 - q)
        tau = np.asarray(a * t)
        target = np.log(2.0 * low)
        xi = _solve_tail(tau, target)
        last = np.nextafter(edge.astype(dtype), np.zeros((), dtype)).astype(np.float64)
        inside = np.minimum(edge * xi, last)  # not an atom
        distance = np.where(low <= _atom(a, t), edge, inside)
        x = np.where(low == 0.5, 0.0, np.where(q < 0.5, -distance, distance))
        return np.where((q >= 0.0) & (q <= 1.0), x, np.nan)


def transport(
    x: ArrayLike, t: ArrayLike, s: ArrayLike, *, a: ArrayLike, c: ArrayLike,
    dtype: DTypeLike = "float64",
) -> Array:  # fmt: skip
    """Q_s(F_t(x)): :func:`kacflow_core.transport` as plain NumPy.

    Where a t <= 1, F is known by 1 - 2F, which is an integral of the density, else by ln 2F.
    ``dtype`` is that of the products c t and c s; other arguments as in :func:`cdf`.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> float(reference.transport(1.5, 0.5, 0.2, a=9.0, c=3.0).round(12))  # from edge to edge
    0.6
    """
    x, t, s, a, c = arrays(x, t, s, a, c)
    with np.errstate(all="ignore"):
        at = cone(x, t, a, c, dtype)
        tau, end = np.asarray(a * t), np.asarray(a * s)
        edge = (c * s).astype(dtype).astype(np.float64)
        log_2f, middle, xi = (np.empty(x.shape) for _ in range(3))
        near = tau <= _CENTRAL
        start = np.minimum(np.abs(at.y) / np.where(tau > 0.0, tau, 1.0), 1.0)
        middle[near] = _middle(tau[near], start[near])
        log_2f[near] = np.log1p(-middle[near])
        place = _Place(*(value[~near] for value in _place(at.tau, at.y, at.z)))
        log_2f[~near] = np.minimum(np.log(2.0 * _tail(place)) - place.decay, 0.0)
        middle[~near] = -np.expm1(log_2f[~near])
        near = end <= _CENTRAL
        xi[near] = _solve_middle(end[near], middle[near])
        xi[~near] = _solve_tail(end[~near], log_2f[~near])
        atom = np.where(near, middle >= -np.expm1(-end), log_2f <= -end)
        last = np.nextafter(edge.astype(dtype), np.zeros((), dtype)).astype(np.float64)
        inside = np.minimum(edge * xi, last)  # not an atom
        distance = np.where(atom | (np.abs(x) >= at.edge), edge, inside)
        moved = np.where(x == 0.0, 0.0, np.sign(x) * distance)
        return np.where(np.isnan(x), x, moved)

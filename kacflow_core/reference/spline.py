"""Monotone rational-quadratic splines with linear tails, their derivatives and their inverse.

On a bin of width w and height h, with slopes d, e at its ends, s = h/w, r = (x - x_k)/w and
v = 1 - r, which beside the end of the bin is a quotient of its own::

    y  = y_k + h N/B,     N = s r^2 + d r v,    B = s + (d + e - 2 s) r v
    y' = s^2 M/B^2,       M = e r^2 + 2 s r v + d v^2

and beyond the first and the last knot y goes on with the slope there.  Gregory and Delbourgo, IMA
J. Numer. Anal. 2 (1982); arXiv 1906.04032, equations 4 and 5.

Data are (n0, C, inner), entry (i, j, k) being of spline j, and knots (C, bins + 1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kacflow_core.reference._exact import Array


class Bin(NamedTuple):
    """The numbers of the bin that each element lies in."""

    number: NDArray[np.int64]
    x_0: Array
    x_1: Array
    y_0: Array
    y_1: Array
    d: Array
    e: Array


def find(points: ArrayLike, at: Array, edges: Array, values: Array, slopes: Array) -> Bin:
    """The bins of ``points`` among ``at``, which are the edges or the values: from one knot to
    before the next, the last one's end included.
    """
    points = np.asarray(points, dtype=np.float64)
    number: NDArray[Any] = np.zeros(points.shape, np.int64)
    for j in range(points.shape[1]):
        number[:, j] = np.searchsorted(at[j, 1:-1], points[:, j], side="right")
    spline = np.arange(points.shape[1])[:, None]
    x, y, slope = (np.asarray(v, dtype=np.float64) for v in (edges, values, slopes))
    right = number + 1
    return Bin(
        number, x[spline, number], x[spline, right], y[spline, number], y[spline, right],
        slope[spline, number], slope[spline, right],
    )  # fmt: skip


def _quadratics(r: Array, v: Array, s: Array, d: Array, e: Array) -> tuple[Array, Array, Array]:
    """N, B and M."""
    q = r * v
    return s * r**2 + d * q, s + (d + e - 2 * s) * q, e * r**2 + 2 * s * q + d * v**2


def spline(x: ArrayLike, edges: Array, values: Array, slopes: Array) -> tuple[Array, Array]:
    """y and y' at ``x``."""
    x = np.asarray(x, dtype=np.float64)
    b = find(x, edges, edges, values, slopes)
    with np.errstate(all="ignore"):
        within = np.clip(x, b.x_0, b.x_1)
        w, h = b.x_1 - b.x_0, b.y_1 - b.y_0
        r, v = (within - b.x_0) / w, (b.x_1 - within) / w
        n, below, m = _quadratics(r, v, h / w, b.d, b.e)
        slope = np.where(x < b.x_0, b.d, np.where(x > b.x_1, b.e, (h / w) ** 2 * m / below**2))
        return b.y_0 + h * n / below + slope * (x - within), slope


def spline_inverse(y: ArrayLike, edges: Array, values: Array, slopes: Array) -> Array:
    """The x where the splines are ``y``: the root of a quadratic equation for r."""
    y = np.asarray(y, dtype=np.float64)
    b = find(y, values, edges, values, slopes)
    with np.errstate(all="ignore"):
        within = np.clip(y, b.y_0, b.y_1)
        w, h = b.x_1 - b.x_0, b.y_1 - b.y_0
        s, q, rest = h / w, (within - b.y_0) / h, (b.y_1 - within) / h
        m, product = b.d * rest - b.e * q, 4 * s**2 * q * rest
        root = np.sqrt(m**2 + product)
        p = np.where(m < 0, product / (root - m), m + root)
        beyond = (y - within) / np.where(y < within, b.d, b.e)
        return b.x_0 + w * 2 * s * q / (p + 2 * s * q) + beyond


def spline_terms(
    x: ArrayLike, grad_y: ArrayLike, grad_slope: ArrayLike, edges: Array, values: Array,
    slopes: Array,
) -> tuple[Bin, Array]:  # fmt: skip
    """The bins of ``x``, and the derivatives of grad_y y + grad_slope y' in x, x_0, x_1, y_0, y_1,
    d and e of them, (7, n0, C, inner): one direction after the other, by the product rule.
    """
    x, f, g = (np.asarray(v, dtype=np.float64) for v in (x, grad_y, grad_slope))
    b = find(x, edges, edges, values, slopes)
    found = np.empty((7, *x.shape))
    with np.errstate(all="ignore"):
        within = np.clip(x, b.x_0, b.x_1)
        beyond = x - within
        w, h = b.x_1 - b.x_0, b.y_1 - b.y_0
        s, r, v = h / w, (within - b.x_0) / w, (b.x_1 - within) / w
        q = r * v
        n, below, m = _quadratics(r, v, s, b.d, b.e)
        slope = s**2 * m / below**2
        for i, (dx, dx_0, dx_1, dy_0, dy_1, dd, de) in enumerate(np.eye(7)):
            dwithin = np.where(beyond < 0, dx_0, np.where(beyond > 0, dx_1, dx))
            dw, dh = dx_1 - dx_0, dy_1 - dy_0
            ds, dr = (dh - s * dw) / w, (dwithin - dx_0 - r * dw) / w
            dq = (v - r) * dr
            dn = ds * r**2 + 2 * s * r * dr + dd * q + b.d * dq
            dbelow = ds + (dd + de - 2 * ds) * q + (b.d + b.e - 2 * s) * dq
            dm = de * r**2 + 2 * b.e * r * dr + 2 * ds * q + 2 * s * dq
            dm = dm + dd * v**2 - 2 * b.d * v * dr
            dy = dy_0 + dh * n / below + h * (dn - n / below * dbelow) / below
            dslope = (2 * s * ds * m + s**2 * dm) / below**2 - 2 * slope * dbelow / below
            far = np.where(dslope == 0, 0, dslope * beyond) + slope * (dx - dwithin)
            found[i] = f * (dy + far) + g * dslope
    return b, found


def spline_grad(
    x: ArrayLike, grad_y: ArrayLike, grad_slope: ArrayLike, edges: Array, values: Array,
    slopes: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Gradients of sum(grad_y y + grad_slope y') in ``x``, and in the knots, (C, 3, bins + 1)."""
    b, terms = spline_terms(x, grad_y, grad_slope, edges, values, slopes)
    return terms[0], knot_sums(b, terms, np.asarray(edges).shape)


def knot_sums(b: Bin, terms: Array, shape: tuple[int, ...]) -> Array:
    """Terms of :func:`spline_terms` added up for knots of a shape (C, bins + 1)."""
    sums = np.zeros((shape[0], 3, shape[1]))
    spline = np.broadcast_to(np.arange(shape[0])[:, None], b.number.shape)
    for quantity in range(3):
        for side in (0, 1):
            values = terms[1 + 2 * quantity + side]
            np.add.at(sums[:, quantity], (spline, b.number + side), values)
    return sums

"""Splines, their inverse and their gradients: ``csrc/kac/spline.h``, whose comments hold here, and
``level_spline.h``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
from numba import types

from kacflow_core.backends._numba.arithmetic import fma, select, smaller, sqrt
from kacflow_core.backends._numba.compiler import element, kernel, template


@element
def bin_of(knots, c, x):
    """The last bin of spline ``c`` that begins at or before ``x``, or else the first."""
    last = knots.shape[1] - 2
    step = 1
    while 2 * step <= last:
        step *= 2
    found = 0
    while step > 0:
        following = min(found + step, last)
        if x >= knots[c, following]:
            found = following
        step //= 2
    return found


class Bin(NamedTuple):
    """Knots at the ends of a bin, and the slopes there."""

    x_0: Any
    x_1: Any
    y_0: Any
    y_1: Any
    d: Any
    e: Any


@element
def bin_at(edges, values, slopes, c, k):
    """Bin ``k`` of spline ``c``."""
    return Bin(
        edges[c, k], edges[c, k + 1], values[c, k], values[c, k + 1], slopes[c, k],
        slopes[c, k + 1],
    )  # fmt: skip


class Place(NamedTuple):
    """See ``SplinePlace``."""

    u: Any
    v: Any
    uv: Any
    beyond: Any
    w: Any
    h: Any
    s: Any
    inverse: Any
    share: Any
    squares: Any
    slope: Any


@template
def place(real: Any) -> Any:
    """What all that is asked of a point is made of."""
    one = real(1)

    @element
    def place(b, x):
        within = select(x < b.x_0, b.x_0, select(x > b.x_1, b.x_1, x))
        w, h = b.x_1 - b.x_0, b.y_1 - b.y_0
        s = h / w
        u, v = (within - b.x_0) / w, (b.x_1 - within) / w
        uv = u * v
        inverse = one / fma(b.d + b.e, uv, s * fma(u, u, v * v))
        share = u * fma(s, u, b.d * v) * inverse
        squares = fma(b.e * u, u, fma(s + s, uv, b.d * v * v))
        ratio = s * inverse
        slope = select(x < b.x_0, b.d, select(x > b.x_1, b.e, ratio * ratio * squares))
        return Place(u, v, uv, x - within, w, h, s, inverse, share, squares, slope)

    return place


class Gradient(NamedTuple):
    """Derivatives in x and in the numbers of the bin."""

    x: Any
    x_0: Any
    x_1: Any
    y_0: Any
    y_1: Any
    d: Any
    e: Any


@template
def gradient(real: Any) -> Any:
    """Derivatives of f y + g y' in x and in the numbers of the bin."""
    placed, zero, two = place(real), real(0), real(2)

    @element
    def gradient(b, x, f, g):
        p = placed(b, x)
        ratio, total = p.s * p.inverse, b.d + b.e
        ratio2 = ratio * ratio
        rest = p.v * fma(p.s, p.v, b.e * p.u) * p.inverse
        step = p.uv * p.inverse
        twice, fh = two * p.slope * step, f * p.h
        in_d = fma(fh, step * rest, g * (ratio2 * p.v * p.v - twice))
        in_e = g * (ratio2 * p.u * p.u - twice) - fh * (step * p.share)
        y_s = step * p.inverse * (b.e * p.u * p.u - b.d * p.v * p.v)
        slope_s = two * ratio * step * fma(p.squares * p.inverse, total, p.s)
        in_s = fma(fh, y_s, g * slope_s) / p.w
        squares_u = fma(p.u, b.e - p.s, p.v * (p.s - b.d))
        below_u = (total - (p.s + p.s)) * (p.v - p.u)
        bend = two * ratio2 * fma(-p.squares * p.inverse, below_u, squares_u) / p.w
        before, after = p.beyond < zero, p.beyond > zero
        in_x = fma(f, p.slope, select(before | after, zero, g * bend))
        return Gradient(
            in_x,
            fma(p.s, in_s, -in_x * p.v),
            -fma(p.s, in_s, in_x * p.u),
            fma(f, rest, -in_s),
            fma(f, p.share, in_s),
            in_d + select(before, f * p.beyond, zero),
            in_e + select(after, f * p.beyond, zero),
        )

    return gradient


@template
def inverse_at(real: Any) -> Any:
    """The x where the spline is y, for the bin of y."""
    zero, one, two, four = (real(v) for v in (0, 1, 2, 4))

    @element
    def inverse_at(b, y):
        within = select(y < b.y_0, b.y_0, select(y > b.y_1, b.y_1, y))
        w, inverse = b.x_1 - b.x_0, one / (b.y_1 - b.y_0)
        p, q = (within - b.y_0) * inverse, (b.y_1 - within) * inverse
        m, both = (b.d * q - b.e * p) * (w * inverse), four * p * q
        root = sqrt(fma(m, m, both))
        k = select(m < zero, both / (root - smaller(m, zero)), m + root)
        u = two * p / fma(two, p, k)
        return fma(w, u, b.x_0) + (y - within) / select(y < b.y_0, b.d, b.e)

    return inverse_at


def _kinds(real: Any) -> tuple[Any, Any, Any]:
    """Types of data that is read and written, and of tables."""
    kind = numba.from_dtype(real)
    return (
        types.Array(kind, 1, "C", readonly=True),
        types.Array(kind, 1, "C"),
        types.Array(kind, 2, "C", readonly=True),
    )


@template
def spline(real: Any) -> Any:
    """Kernel ``(x, y, slope, begin, end, n1, inner, edges, values, slopes)`` for elements
    [begin, end), the first of which is the first of its arrays.
    """
    placed, (read, written, table), i64 = place(real), _kinds(real), types.int64

    @kernel(read, written, written, i64, i64, i64, i64, table, table, table)
    def spline(x, y, slope, begin, end, n1, inner, edges, values, slopes):
        row = begin // inner
        skipped, c = begin - row * inner, row % n1
        for i in range(end - begin):
            b = bin_at(edges, values, slopes, c, bin_of(edges, c, x[i]))
            p = placed(b, x[i])
            y[i] = fma(p.h, p.share, b.y_0) + p.slope * p.beyond
            slope[i] = p.slope
            skipped += 1
            if skipped == inner:
                skipped = 0
                c = c + 1 if c + 1 < n1 else 0

    return spline


@template
def spline_inverse(real: Any) -> Any:
    """Kernel ``(y, x, begin, end, n1, inner, edges, values, slopes)``, as :func:`spline`."""
    inverse, (read, written, table), i64 = inverse_at(real), _kinds(real), types.int64

    @kernel(read, written, i64, i64, i64, i64, table, table, table)
    def spline_inverse(y, x, begin, end, n1, inner, edges, values, slopes):
        row = begin // inner
        skipped, c = begin - row * inner, row % n1
        for i in range(end - begin):
            b = bin_at(edges, values, slopes, c, bin_of(values, c, y[i]))
            x[i] = inverse(b, y[i])
            skipped += 1
            if skipped == inner:
                skipped = 0
                c = c + 1 if c + 1 < n1 else 0

    return spline_inverse


@template
def spline_grad(real: Any) -> Any:
    """Kernel ``(x, f, g, grad_x, sums, begin, end, part, edges, values, slopes)`` for the parts
    [begin, end) of splines, the first of which is the first of ``sums``; data are (rows, n1,
    inner), and a part has ``part`` rows of one spline.
    """
    kind, i64, zero = numba.from_dtype(real), types.int64, real(0)
    read = types.Array(kind, 3, "C", readonly=True)
    written, table = types.Array(kind, 3, "C"), types.Array(kind, 2, "C", readonly=True)
    of = gradient(real)

    @kernel(read, read, read, written, written, i64, i64, i64, table, table, table)
    def spline_grad(x, f, g, grad_x, sums, begin, end, part, edges, values, slopes):
        for i in range(end - begin):
            first, c = (begin + i) // x.shape[1] * part, (begin + i) % x.shape[1]
            for q in range(3):
                for k in range(sums.shape[2]):
                    sums[i, q, k] = zero
            for row in range(first, min(first + part, x.shape[0])):
                for j in range(x.shape[2]):
                    k = bin_of(edges, c, x[row, c, j])
                    b = bin_at(edges, values, slopes, c, k)
                    t = of(b, x[row, c, j], f[row, c, j], g[row, c, j])
                    grad_x[row, c, j] = t.x
                    sums[i, 0, k] += t.x_0
                    sums[i, 0, k + 1] += t.x_1
                    sums[i, 1, k] += t.y_0
                    sums[i, 1, k + 1] += t.y_1
                    sums[i, 2, k] += t.d
                    sums[i, 2, k + 1] += t.e

    return spline_grad

"""The conditional velocity and its derivatives: ``csrc/kac/velocity.h``, whose comments hold here.

The constants of a row are a table; the names below are its lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kacflow_core.backends._numba.arithmetic import (
    FORMATS,
    fma,
    larger,
    magnitude,
    polynomial,
    product_minus,
    same_bits,
    select,
    smaller,
    speed_of,
    sqrt,
    with_sign,
)
from kacflow_core.backends._numba.compiler import element, part, template
from kacflow_core.backends._numba.rows import process_rows, row_kernel

A = 0
C = 1
T = 2
TAU = 3  # a t
CT = 4  # c t, rounded: |x| >= ct is an atom
UNIT = 5  # the power of two in (1/(c t), 2/(c t)]: lengths times it neither over- nor underflow
SLOPE = 6  # a/(c unit)
CONE_LINES = 7

#: End of the fitted range of h(z) = q(z) - z - 1/2; beyond it h is below an ulp of q.
Z_MAX = {np.float32: 8192.0, np.float64: 1e8}
#: End that the velocity of a draw uses: h is below an ulp of tau + q there.
Z_FAST = {np.float32: 2048.0, np.float64: 1e8}


@template
def bessel_remainder(real: Any) -> Any:
    """h(z) = q(z) - z - 1/2 as (numerator, denominator), q(z) = z I0(z)/I1(z), z >= 0."""
    numerator = polynomial("bessel_remainder_num", real)
    denominator = polynomial("bessel_remainder_den", real)
    zero, z_max = real(0), real(Z_MAX[real])

    @element
    def bessel_remainder(z):
        clipped = larger(smaller(z, z_max), z * zero)  # keeps a NaN
        return numerator(clipped), denominator(clipped)

    return bessel_remainder


@template
def bessel_ratio_terms(real: Any) -> Any:
    """(linear, rest) with q(z) = linear z + rest and linear = 0 or 1.

    2 + z^2 g(z^2) for z < 2, where that loses least, and z + (1/2 + h(z)) above.
    """
    remainder, series = bessel_remainder(real), polynomial("bessel_series", real)
    zero, half, one, two, four = (real(v) for v in (0, 0.5, 1, 2, 4))

    @element
    def bessel_ratio_terms(z):
        num, den = remainder(z)
        y = smaller(z * z, four)
        small = z < two
        rest = select(small, fma(y, series(y), two), half + num / den)
        return select(small, zero, one), rest

    return bessel_ratio_terms


@template
def fast_interior_velocity(real: Any) -> Any:
    """v/c inside the light cone for a x/c = y, with one division.

    Up to twice the error of ``velocity``, which is far below that of the draw it is used with.
    """
    numerator = polynomial("bessel_remainder_num", real)
    denominator = polynomial("bessel_remainder_den", real)
    half, z_fast = real(0.5), real(Z_FAST[real])

    @element
    def fast_interior_velocity(y, tau, z):
        clipped = smaller(z, z_fast)
        num, den = numerator(clipped), denominator(clipped)
        return y * den / fma(tau + (z + half), den, num)

    return fast_interior_velocity


@template
def cone(real: Any) -> Any:
    """The constants of a row, for a, c and t in the working type, into place ``j`` of the table."""
    word, _, mantissa, bias, _ = FORMATS[real]
    exponents = word((2 * bias + 1) << mantissa)
    twice_bias = word((2 * bias) << mantissa)
    speed_at = speed_of(real)

    @element
    def cone(a, c, t, table, j):
        c = speed_at(a, c, t)
        ct = c * t
        unit = same_bits(word(twice_bias - (same_bits(ct) & exponents)))
        table[A, j], table[C, j], table[T, j] = a, c, t
        table[TAU, j] = real(np.float64(a) * np.float64(t))
        table[CT, j] = ct
        table[UNIT, j] = unit
        table[SLOPE, j] = real(np.float64(a) / (np.float64(c) * np.float64(unit)))

    return cone


@template
def cone_root(real: Any) -> Any:
    """sqrt((c t - |x|)(c t + |x|)) times the unit, the first factor from an exact product."""
    exact, zero = product_minus(real), real(0)

    @element
    def cone_root(k, i, x):
        gap = larger(exact(k[C, i], k[T, i], magnitude(x)), zero)
        return sqrt((gap * k[UNIT, i]) * ((k[CT, i] + magnitude(x)) * k[UNIT, i]))

    return cone_root


@template
def velocity_at(real: Any) -> Any:
    """v(t, x) with the constants of lane ``i``.

    0 at x = 0 for t = 0 as well; c sign(x) on and outside the cone; NaN for NaN.
    """
    root_of, terms, zero = cone_root(real), bessel_ratio_terms(real), real(0)

    @element
    def velocity_at(k, i, x):
        root = root_of(k, i, x)
        linear, rest = terms(k[SLOPE, i] * root)
        # tau + q(z), with a t and z rounded only together with the sums they enter
        total = fma(k[A, i], k[T, i], fma(k[SLOPE, i], linear * root, rest))
        inside = k[A, i] * x / total
        atom = select(x == zero, zero, with_sign(k[C, i], x))
        return select(magnitude(x) >= k[CT, i], atom, inside)

    return velocity_at


@template
def bessel_ratio_slope(real: Any) -> Any:
    """rho(z) = q'(z)/z = 1 + q (2 - q)/z^2: 1/2 at 0, 1/z for large z."""
    remainder, series = bessel_remainder(real), polynomial("bessel_series", real)
    half, one, two, four, minus_two = (real(v) for v in (0.5, 1, 2, 4, -2))
    three_halves, z_max = real(1.5), real(Z_MAX[real])

    @element
    def bessel_ratio_slope(z):
        y = z * z
        num, den = remainder(z)
        h = (num / den) * smaller(z_max / z, one)  # 3/(8z) past the fit
        large = (fma(minus_two * h, z, z) + (half + h) * (three_halves - h)) / y
        near = smaller(y, four)
        g = series(near)
        return select(y < four, one - g * fma(near, g, two), large)

    return bessel_ratio_slope


class Gradient(NamedTuple):
    """Derivatives of the velocity."""

    dx: Any
    dt: Any


@template
def gradient_at(real: Any) -> Any:
    """(dv/dx, dv/dt) inside the cone, (0, 0) on the atoms, with the constants of lane ``i``::

    dv/dx =  a (tau + q + y^2 rho)/(tau + q)^2,   y = a x/c
    dv/dt = -a^2 x (1 + tau rho)/(tau + q)^2
    """
    root_of, terms, slope = cone_root(real), bessel_ratio_terms(real), bessel_ratio_slope(real)
    zero, one = real(0), real(1)

    @element
    def gradient_at(k, i, x):
        z = k[SLOPE, i] * root_of(k, i, x)
        y = k[SLOPE, i] * (x * k[UNIT, i])
        rho = slope(z)
        linear, rest = terms(z)
        inverse = one / (k[TAU, i] + fma(linear, z, rest))
        atom = magnitude(x) >= k[CT, i]
        dx = k[A, i] * inverse * fma(y * inverse, y * rho, one)
        dt = -(k[A, i] * inverse) * (k[A, i] * x * inverse) * fma(k[TAU, i], rho, one)
        return Gradient(select(atom, zero, dx), select(atom, zero, dt))

    return gradient_at


def _kernel(real: Any, evaluate: Any, outputs: int) -> Any:
    return row_kernel(
        real, inputs=1, outputs=outputs, parameters=3, words=0, constants=CONE_LINES,
        prepare=process_rows(real, cone(real)), evaluate=evaluate,
    )  # fmt: skip


@template
def velocity(real: Any) -> Any:
    """Kernel with data (x, v), parameters (t, a, c) and no words."""
    value = velocity_at(real)

    @part
    def evaluate(data, first, e, n, lanes, words):
        x, v = data[0][first : first + n], data[1][first : first + n]
        for i in range(n):
            v[i] = value(lanes, i, x[i])

    return _kernel(real, evaluate, 1)


@template
def velocity_grad(real: Any) -> Any:
    """Kernel with data (x, dv_dx, dv_dt), parameters (t, a, c) and no words."""
    value = gradient_at(real)

    @part
    def evaluate(data, first, e, n, lanes, words):
        x = data[0][first : first + n]
        dv_dx, dv_dt = data[1][first : first + n], data[2][first : first + n]
        for i in range(n):
            gradient = value(lanes, i, x[i])
            dv_dx[i] = gradient.dx
            dv_dt[i] = gradient.dt

    return _kernel(real, evaluate, 2)

"""Density, distribution function and quantiles: ``csrc/kac/law.h``, whose comments hold here.

The constants of a row are a table: those of its cone, and the lines named below.  Loops over lanes
stand inside the loop over the nodes of the quadrature, so that they become vector instructions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import carray

from kacflow_core.backends._numba.arithmetic import (
    FORMATS,
    bits_of,
    fma,
    larger,
    local,
    magnitude,
    product_minus,
    same_bits,
    select,
    smaller,
    sqrt,
    with_sign,
)
from kacflow_core.backends._numba.compiler import element, part, template
from kacflow_core.backends._numba.logarithm import (
    exponential,
    exponential_times,
    log_scaled,
    log_sum,
)
from kacflow_core.backends._numba.rows import BLOCK, process_rows, row_kernel
from kacflow_core.backends._numba.velocity import (
    CONE_LINES,
    CT,
    TAU,
    UNIT,
    bessel_ratio_terms,
    cone,
    cone_root,
)

REACH = CONE_LINES  # c t in units of 1/UNIT
RATE = CONE_LINES + 1  # a/(2c) = RATE 2^POWER
POWER = CONE_LINES + 2
ATOM = CONE_LINES + 3  # e^-tau/2
LAST_ATOM = CONE_LINES + 4  # the largest number <= e^-tau/2
LAW_LINES = CONE_LINES + 5


class Nodes(NamedTuple):
    """See the struct of this name in law.h."""

    number: int  #: on each side
    newton_steps: int
    exponent: float


NODES = {np.float32: Nodes(11, 4, 19.0), np.float64: Nodes(24, 5, 40.0)}

_FRACTION, _ONE_BITS = np.uint64(2**52 - 1), np.uint64(bits_of(1.0, np.float64))
_INTEGER, _SHIFT = np.uint64(bits_of(2.0**52, np.float64)), np.uint64(52)


@element
def _exponent_of(x):
    return same_bits(_INTEGER | same_bits(x) >> _SHIFT) - 4503599627371519.0


@element
def _fraction_of(x):
    return same_bits(same_bits(x) & _FRACTION | _ONE_BITS)


@template
def law_constants(real: Any) -> Any:
    """The constants of a row, for a, c and t in the working type, into place ``j`` of the table."""
    cone_constants, word = cone(real), FORMATS[real].word
    exact, times = product_minus(np.float64), exponential_times(np.float64)
    zero, one, unit_bit = real(0), real(1), word(1)

    @element
    def law_constants(a, c, t, table, j):
        cone_constants(a, c, t, table, j)
        ct = table[CT, j]
        table[REACH, j] = select(ct > zero, ct * table[UNIT, j], one)
        rate, speed, time = np.float64(a), np.float64(c), np.float64(t)
        table[RATE, j] = real(_fraction_of(rate) / _fraction_of(speed))
        table[POWER, j] = real(_exponent_of(rate) - _exponent_of(speed) - 1.0)
        tau = rate * time
        atom = larger(times(tau, fma(-0.5, exact(rate, time, tau), 0.5), 0.0), 0.0)
        near = real(atom)
        below = same_bits(word(same_bits(near) - unit_bit))
        table[ATOM, j] = near
        table[LAST_ATOM, j] = select(np.float64(near) > atom, below, near)

    return law_constants


# Lines of the array of lanes that the quadrature works on.
XI, ZETA, DELTA, Z, HALF_STEP, BESSEL, TAIL, _S, _RISE, _CURVATURE, LOG_2Q = range(11)
PLACE_LINES = 11


@template
def put_place(real: Any) -> Any:
    """xi, zeta, delta and z of lane ``i`` from its xi and zeta."""
    one = real(1)

    @element
    def put_place(p, i, tau, xi, zeta):
        p[XI, i], p[ZETA, i] = xi, zeta
        p[DELTA, i] = xi * xi / (one + zeta)
        p[Z, i] = tau * zeta

    return put_place


@template
def places(real: Any) -> Any:
    """The places of n numbers x."""
    put, root_of, zero, one = put_place(real), cone_root(real), real(0), real(1)

    @element
    def places(k, x, n, p):
        for i in range(n):
            xi = magnitude(x[i]) * k[UNIT, i] / k[REACH, i]
            zeta = select(k[CT, i] == zero, one, root_of(k, i, x[i]) / k[REACH, i])
            put(p, i, k[TAU, i], xi, zeta)

    return places


@template
def sum_nodes(real: Any) -> Any:
    """Sums over the nodes of one side: e = e^(-z (1 - cos th_j)), and e/(1 - zeta cos th_j)."""
    decayed = exponential(real)
    count, _, exponent = NODES[real]
    pi2 = real(math.pi**2)
    most = real(pi2 / (real(4) * real(count) * real(count)))
    scaled = real(pi2 / (real(2) * real(exponent)))
    shift = real(real(exponent) / real(6))
    c0, c1, c2, c3 = (real(real(1) / real(v)) for v in (1814400, -20160, 360, -12))
    zero, half, one, two, four = (real(v) for v in (0, 0.5, 1, 2, 4))

    @part
    def sum_nodes(p, n):
        for i in range(n):
            g = smaller(most, scaled / (p[Z, i] + shift))
            upper = fma(fma(g, c0, c1), g, c2)
            s = half * g * fma(fma(upper, g, c3), g, one)
            curvature = four * s * (two - s)
            p[_S, i], p[_CURVATURE, i], p[_RISE, i] = s, curvature, curvature * (one - s)
            p[HALF_STEP, i], p[BESSEL, i], p[TAIL, i] = sqrt(g), zero, zero
        for _ in range(count):
            for i in range(n):
                s = p[_S, i]
                e = decayed(p[Z, i] * s)
                p[BESSEL, i] += e
                p[TAIL, i] += e / fma(p[ZETA, i], s, p[DELTA, i])
                s += p[_RISE, i]
                p[_S, i] = s
                p[_RISE, i] = fma(p[_CURVATURE, i], one - s, p[_RISE, i])

    return sum_nodes


@template
def density_factor(real: Any) -> Any:
    """A from the node sums."""
    terms, two_over_pi = bessel_ratio_terms(real), real(2 / math.pi)

    @element
    def density_factor(p, i, tau):
        i0e = p[BESSEL, i] * p[HALF_STEP, i] * two_over_pi
        linear, rest = terms(p[Z, i])
        return fma(i0e, tau / fma(linear, p[Z, i], rest), i0e)

    return density_factor


@template
def tail_factor(real: Any) -> Any:
    """M from the node sums."""
    log, decayed = log_sum(real), exponential(real)
    zero, one, two, pi, two_over_pi, big = (
        real(v) for v in (0, 1, 2, math.pi, 2 / math.pi, 2.0**100)
    )

    @element
    def tail_factor(p, i, tau):
        big_n = pi / p[HALF_STEP, i]
        ratio = smaller(big, (p[XI, i] + p[DELTA, i]) / p[ZETA, i])
        turns = big_n * log(one, ratio)
        pole = two * decayed(fma(-tau, p[DELTA, i], turns)) / (one + decayed(turns))
        kept = select(tau * p[XI, i] < big_n, pole, zero)
        return fma(p[TAIL, i] * p[HALF_STEP, i] * two_over_pi, p[XI, i], kept)

    return tail_factor


def _kernel(real: Any, evaluate: Any) -> Any:
    return row_kernel(
        real, inputs=1, outputs=1, parameters=3, words=0, constants=LAW_LINES,
        prepare=process_rows(real, law_constants(real)), evaluate=evaluate,
    )  # fmt: skip


def _at_places(real: Any, value: Any) -> Any:
    """Kernel of a function of x: ``value(k, p, i, x)`` after the sums."""
    new_places, shape = local(real, PLACE_LINES * BLOCK), (PLACE_LINES, BLOCK)
    locate, add = places(real), sum_nodes(real)

    @part
    def evaluate(data, first, e, n, lanes, words):
        p = carray(new_places(), shape)
        x, out = data[0][first : first + n], data[1][first : first + n]
        locate(lanes, x, n, p)
        add(p, n)
        for i in range(n):
            out[i] = value(lanes, p, i, x[i])

    return _kernel(real, evaluate)


@template
def pdf(real: Any) -> Any:
    """Kernel with data (x, density), parameters (t, a, c) and no words."""
    factor, times, zero = density_factor(real), exponential_times(real), real(0)

    @element
    def value(k, p, i, x):
        tau = k[TAU, i]
        inside = times(tau * p[DELTA, i], k[RATE, i] * factor(p, i, tau), k[POWER, i])
        return select(magnitude(x) > k[CT, i], zero, inside)

    return _at_places(real, value)


@template
def logpdf(real: Any) -> Any:
    """Kernel with data (x, logarithm of the density), parameters (t, a, c) and no words."""
    factor, log, outside = density_factor(real), log_scaled(real), real(-np.inf)

    @element
    def value(k, p, i, x):
        tau = k[TAU, i]
        inside = fma(-tau, p[DELTA, i], log(k[RATE, i] * factor(p, i, tau), k[POWER, i]))
        return select(magnitude(x) > k[CT, i], outside, inside)

    return _at_places(real, value)


@template
def cdf(real: Any) -> Any:
    """Kernel with data (x, distribution function), parameters (t, a, c) and no words."""
    factor, times = tail_factor(real), exponential_times(real)
    zero, half, one = real(0), real(0.5), real(1)

    @element
    def value(k, p, i, x):
        tau, ct = k[TAU, i], k[CT, i]
        tail = times(tau * p[DELTA, i], half * factor(p, i, tau), zero)
        low = larger(k[ATOM, i], tail)
        inside = select(x > zero, one - low, low)
        below = select(x <= -ct, select(x < -ct, zero, k[ATOM, i]), inside)
        return select(x >= ct, one, below)

    return _at_places(real, value)


@template
def solve_tail(real: Any) -> Any:
    """XI of n lanes from LOG_2Q, ``line`` of the lanes' constants being tau."""
    put, add, log = put_place(real), sum_nodes(real), log_sum(real)
    density, tail, steps = density_factor(real), tail_factor(real), NODES[real].newton_steps
    zero, one, two = (real(v) for v in (0, 1, 2))

    @part
    def solve_tail(lanes, line, n, p):
        for i in range(n):
            tau = lanes[line, i]
            delta = smaller(-p[LOG_2Q, i], tau) / tau
            p[XI, i] = sqrt(delta * (two - delta))
        for _ in range(steps):
            for i in range(n):
                xi = p[XI, i]
                put(p, i, lanes[line, i], xi, sqrt((one - xi) * (one + xi)))
            add(p, n)
            for i in range(n):
                tau = lanes[line, i]
                m = tail(p, i, tau)
                gap = log(zero, m) - fma(tau, p[DELTA, i], p[LOG_2Q, i])  # log F - log q
                step = fma(gap, m / (tau * density(p, i, tau)), p[XI, i])
                p[XI, i] = larger(smaller(step, one), zero)

    return solve_tail


@template
def ppf(real: Any) -> Any:
    """Kernel with data (q, quantile), parameters (t, a, c) and no words."""
    new_places, shape = local(real, PLACE_LINES * BLOCK), (PLACE_LINES, BLOCK)
    solve, log_power, word = solve_tail(real), log_scaled(real), FORMATS[real].word
    unit_bit, not_a_number = word(1), real(np.nan)
    zero, half, one, least = (real(v) for v in (0, 0.5, 1, 1e-30))
    up, down = real(2.0**64), real(-63)

    @part
    def evaluate(data, first, e, n, lanes, words):
        p = carray(new_places(), shape)
        q, out = data[0][first : first + n], data[1][first : first + n]
        for i in range(n):
            low = smaller(q[i], one - q[i])
            tiny = low < least  # it may be denormal
            p[LOG_2Q, i] = log_power(select(tiny, low * up, low), select(tiny, down, one))
        solve(lanes, TAU, n, p)
        for i in range(n):
            ct = lanes[CT, i]
            low = smaller(q[i], one - q[i])
            inside = smaller(same_bits(word(same_bits(ct) - unit_bit)), p[XI, i] * ct)
            distance = select(low <= lanes[LAST_ATOM, i], ct, inside)
            x = select(low == half, zero * ct, with_sign(distance, q[i] - half))
            out[i] = select(low >= zero, x, not_a_number)

    return _kernel(real, evaluate)

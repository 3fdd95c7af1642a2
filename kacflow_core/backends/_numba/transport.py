"""The flow of the conditional velocity: ``csrc/kac/transport.h``, whose comments hold here."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from kacflow_core.backends._numba.arithmetic import (
    FORMATS,
    fma,
    larger,
    local,
    magnitude,
    polynomial,
    same_bits,
    select,
    smaller,
    sqrt,
    with_sign,
)
from kacflow_core.backends._numba.compiler import element, part, template
from kacflow_core.backends._numba.law import (
    DELTA,
    LOG_2Q,
    PLACE_LINES,
    REACH,
    XI,
    ZETA,
    places,
    solve_tail,
    sum_nodes,
    tail_factor,
)
from kacflow_core.backends._numba.logarithm import exponential, log_scaled, log_sum
from kacflow_core.backends._numba.rows import BLOCK, load, process_rows, row_kernel
from kacflow_core.backends._numba.velocity import (
    CONE_LINES,
    CT,
    TAU,
    UNIT,
    A,
    C,
    bessel_ratio_terms,
    cone,
)

# Constants of a row: its cone at t, REACH, and tau and c s at the other time.
END_TAU = CONE_LINES + 1
END_CT = CONE_LINES + 2
_LINES = CONE_LINES + 3


class Midpoints(NamedTuple):
    """See the struct of this name in transport.h."""

    number: int
    newton_steps: int
    first: float


MIDPOINTS = {
    np.float32: Midpoints(5, 2, 0.0489434837),
    np.float64: Midpoints(8, 3, 0.019214719596769550),
}


def _rows(real: Any) -> Any:
    """prepare of a kernel with the parameters (t, a, c, s)."""
    constants, new_values, new_cone = cone(real), local(real, BLOCK), local(real, CONE_LINES)
    at_t, zero, one = process_rows(real, constants), real(0), real(1)

    @part
    def prepare(block, n1, parameters, table):
        ends, to = carray(new_values(), BLOCK), carray(new_cone(), (CONE_LINES, 1))
        at_t(block, n1, parameters, table)
        load(parameters[3], n1, block, ends)
        for j in range(block.new_rows):
            ct, speed = table[CT, j], table[C, j]
            constants(table[A, j], speed, ends[j], to, 0)
            table[REACH, j] = select(ct > zero, ct * table[UNIT, j], one)
            table[END_TAU, j] = to[TAU, 0]
            table[END_CT, j] = select(speed > zero, to[CT, 0], speed)

    return prepare


@template
def means(real: Any) -> Any:
    """The means of phi(w) and e^-w over half the circle."""
    ratio, (count, _, first) = polynomial("decay_ratio", real), MIDPOINTS[real]
    zero, one, start = real(0), real(1), real(first)
    curvature = real(real(4) * start * (real(2) - start))
    begin, weight = real(curvature * (one - start)), real(one / real(count))

    @element
    def means(tau, zeta, delta):
        s, rise, phis, exps = start, begin, zero, zero
        for _ in range(count):
            w = tau * fma(zeta, s, delta)
            phi = ratio(w)
            phis += phi
            exps += fma(-w, phi, one)
            s += rise
            rise = fma(curvature, one - s, rise)
        return phis * weight, exps * weight

    return means


@template
def solve_middle(real: Any) -> Any:
    """The xi of a middle >= 0, for tau <= 1."""
    mean, terms, ratio = means(real), bessel_ratio_terms(real), polynomial("decay_ratio", real)
    steps, zero, one = MIDPOINTS[real].newton_steps, real(0), real(1)

    @element
    def solve_middle(tau, middle):
        xi = smaller(middle / (tau * ratio(tau)), one)
        for _ in range(steps):
            zeta = sqrt((one - xi) * (one + xi))
            phi, exp = mean(tau, zeta, xi * xi / (one + zeta))
            linear, rest = terms(tau * zeta)
            slope = fma(tau, one / fma(linear, tau * zeta, rest), one) * exp
            xi = larger(smaller(xi + fma(-xi, phi, middle / tau) / slope, one), zero)
        return xi

    return solve_middle


@template
def transport(real: Any) -> Any:
    """Kernel with data (x, X), parameters (t, a, c, s) and no words."""
    lines = PLACE_LINES + 1
    new_places, shape, middle_line = local(real, lines * BLOCK), (lines, BLOCK), PLACE_LINES
    locate, add, tail, mean = places(real), sum_nodes(real), tail_factor(real), means(real)
    solve, solve_near, ratio = solve_tail(real), solve_middle(real), polynomial("decay_ratio", real)
    log, log_power, decayed = log_sum(real), log_scaled(real), exponential(real)
    word, zero, one, most = FORMATS[real].word, real(0), real(1), real(0.75)
    unit_bit = word(1)

    @part
    def evaluate(data, first, e, n, lanes, words):
        p = carray(new_places(), shape)
        x, out = data[0][first : first + n], data[1][first : first + n]
        locate(lanes, x, n, p)
        from_tail = from_middle = to_tail = to_middle = False
        for i in range(n):
            from_tail |= lanes[TAU, i] > one
            from_middle |= not lanes[TAU, i] > one
            to_tail |= lanes[END_TAU, i] > one
            to_middle |= not lanes[END_TAU, i] > one
            p[LOG_2Q, i] = p[middle_line, i] = zero
        if from_tail:
            add(p, n)
            for i in range(n):
                tau = lanes[TAU, i]
                found = smaller(fma(-tau, p[DELTA, i], log(zero, tail(p, i, tau))), zero)
                p[LOG_2Q, i], p[middle_line, i] = found, one - decayed(-found)
        if from_middle:
            for i in range(n):
                tau = lanes[TAU, i]
                found = tau * p[XI, i] * mean(tau, p[ZETA, i], p[DELTA, i])[0]
                log_tail = log_power(one - smaller(found, most), zero)
                p[LOG_2Q, i] = select(tau > one, p[LOG_2Q, i], log_tail)
                p[middle_line, i] = select(tau > one, p[middle_line, i], found)
        if to_tail:
            solve(lanes, END_TAU, n, p)
        for i in range(n):
            tau, ct, middle = lanes[END_TAU, i], lanes[END_CT, i], p[middle_line, i]
            near = to_middle and not tau > one
            xi, edge = p[XI, i], p[LOG_2Q, i] <= -tau
            if near:
                xi, edge = solve_near(tau, middle), middle >= tau * ratio(tau)
            inside = smaller(same_bits(word(same_bits(ct) - unit_bit)), xi * ct)
            distance = select(edge or magnitude(x[i]) >= lanes[CT, i], ct, inside)
            found = select(x[i] == zero, zero * ct, with_sign(distance, x[i]))
            out[i] = select(x[i] == x[i], found, x[i])

    return row_kernel(
        real, inputs=1, outputs=1, parameters=4, words=0, constants=_LINES,
        prepare=_rows(real), evaluate=evaluate,
    )  # fmt: skip

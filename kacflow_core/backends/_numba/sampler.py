"""Three uniforms to K(t), in closed form: ``csrc/kac/sampler.h``, whose comments hold here.

The constants of a row are a table; the names below are its lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from kacflow_core.backends._numba.arithmetic import (
    FORMATS,
    bits_of,
    fma,
    larger,
    local,
    product_minus,
    same_bits,
    select,
    smaller,
    speed_of,
    sqrt,
    with_sign,
)
from kacflow_core.backends._numba.compiler import element, part, template
from kacflow_core.backends._numba.logarithm import decay, log_sum
from kacflow_core.backends._numba.philox import LINES, draw, fill
from kacflow_core.backends._numba.rows import BLOCK, process_rows, row_kernel

# Lines of the table; the first three are words, as the bits of reals.
LAST_ATOM = 0  # atom if and only if (w0 | never) <= last_atom
NEVER = 1  # 1 if no word is an atom (e^-tau below half a unit of u0), else 0
LAST_ODD = 2  # even number of turns >= 2 if and only if w0 > last_odd
INVERSE_EVEN = 3  # 1 / (number of words of the even case), 0 if there is none
D_MAX = 4  # s (cosh tau - 1)
S = 5  # the scale: 1 or e^-tau, 0 where that is subnormal
INVERSE_S = 6
M = 7  # -ln s: 0 or tau
TAU = 8  # a t
C = 9
CT = 10  # c t
NOISE_LINES = 11


class Range(NamedTuple):
    """See the struct of this name in sampler.h."""

    tau_scaled: float
    tau_least: float
    tail: float


RANGES = {
    np.float32: Range(40.0, 1e-8, 3.0e38),
    np.float64: Range(300.0, 1e-12, 1.0e300),
}


@template
def word_count(real: Any) -> Any:
    """Number of words out of 2^bits that a probability <= 1/2 stands for, to nearest."""
    if real is np.float32:

        @element
        def count32(probability):
            return np.uint32(same_bits(fma(probability, 2.0**32, 2.0**52)))

        return count32

    @element
    def count64(probability):
        words = probability * 2.0**64  # exact; an integer from 2^52 on
        return np.uint64(select(words < 2.0**52, words + 0.5, words))

    return count64


@template
def map_constants(real: Any) -> Any:
    """What the map needs of tau = a t, in float64, into place ``j`` of the table.

    Thresholds are counted from whichever end of the interval is nearer, so that each is right to
    half a word or 2^-53 of its distance from that end.  tau enters as an exact product of two
    numbers, since e^-tau amplifies its rounding by tau.
    """
    word, bits = FORMATS[real].word, FORMATS[real].bits
    tau_scaled, tau_least, tail = RANGES[real]
    least_normal = float(np.finfo(real).tiny)
    half, every = word(1 << (bits - 1)), word((1 << bits) - 1)
    none, one = word(0), word(1)
    count = word_count(real)
    exact_product_minus = product_minus(np.float64)

    @element
    def map_constants(a, t, table, j):
        tau = a * t
        q, p = decay(tau, exact_product_minus(a, t, tau))
        late = q < 0.5
        turned = count(select(late, q, p))
        counted = count(select(late, q * (1.0 - 0.5 * q), 0.5 * p * p))
        above_half = larger(counted, one)  # late: first even word, minus half of all
        n_even = select(late, word(half - above_half), counted)
        least = larger(p, tau_least)
        square = 0.5 * least * least
        scaled = tau > tau_scaled
        s = select(scaled, q, 1.0)
        last_atom = select(late, word(larger(turned, one) - one), word(turned ^ every))
        table[LAST_ATOM, j] = same_bits(last_atom)
        table[NEVER, j] = same_bits(select(late & (turned == none), one, none))
        table[LAST_ODD, j] = same_bits(word(n_even ^ every))
        table[INVERSE_EVEN, j] = real(select(n_even > none, 1.0 / np.float64(n_even), 0.0))
        table[D_MAX, j] = real(select(scaled, square, square / q))
        table[S, j] = real(select(s < least_normal, 0.0, s))
        table[INVERSE_S, j] = real(smaller(1.0 / s, tail))
        table[M, j] = real(select(scaled, tau, 0.0))

    return map_constants


@template
def noise_constants(real: Any) -> Any:
    """Everything that a row of draws needs, for a, c and t in the working type."""
    constants, speed_at = map_constants(real), speed_of(real)

    @element
    def noise_constants(a, c, t, table, j):
        speed = speed_at(a, c, t)
        constants(np.float64(a), np.float64(t), table, j)
        table[TAU, j] = real(np.float64(a) * np.float64(t))
        table[C, j] = speed
        table[CT, j] = speed * t

    return noise_constants


@template
def even_position(real: Any) -> Any:
    """Position of an even-case word in its interval, in (0, 1]; ``j`` in [1, 2^(bits - 1))."""
    if real is np.float32:
        half = real(0.5)

        @element
        def position32(j, inverse_even):
            return (np.float32(np.int32(j)) - half) * inverse_even

        return position32

    exponent, low_half, shift = (
        np.uint64(bits_of(2.0**52, real)),
        np.uint64(2**32 - 1),
        np.uint64(32),
    )

    @element
    def position64(j, inverse_even):
        high = same_bits(exponent | j >> shift) - 2.0**52
        low = same_bits(exponent | j & low_half) - 2.0**52
        return fma(high, 2.0**32, low - 0.5) * inverse_even

    return position64


class Endpoint(NamedTuple):
    """A draw of xi = K(t)/(c t)."""

    xi: Any  #: in [-1, 1]; +-1 exactly on the atoms
    one_minus_xi2: Any  #: 1 - xi^2 to a few ulp; 0 on the atoms
    atom: Any


@template
def endpoint(real: Any) -> Any:
    """The map from uniforms to xi, with the constants of lane ``i``."""
    word = FORMATS[real].word
    position, log = even_position(real), log_sum(real)
    zero, one, two, four, minus_two = (real(v) for v in (0, 1, 2, 4, -2))

    @element
    def endpoint(u, k, i):
        last_odd, s = same_bits(k[LAST_ODD, i]), k[S, i]
        atom = (u.w0 | same_bits(k[NEVER, i])) <= same_bits(k[LAST_ATOM, i])
        place = position(word(u.w0 - last_odd), k[INVERSE_EVEN, i])
        w = select(u.w0 > last_odd, place, one)

        d = w * k[D_MAX, i]
        b = sqrt(d * (d + two * s))
        a = d + s
        e = a + b
        x = u.u1 * b
        q = sqrt(fma(x, x, s * s))
        r = x + q

        low = r * r < e * s  # S < 1/2
        num = select(low, (x * k[INVERSE_S, i]) * (r + s), (b * u.one_less_u1) * (e + r))
        den = select(low, q + s, (a + q) * r)
        tau_prime = k[M, i] + log(s, d + b)
        part = log(one, num / den) / tau_prime
        big_s = select(low, part, one - part)
        less_s = select(low, one - part, part)

        rho2 = less_s * (one + big_s)  # 1 - S^2
        cosine = fma(minus_two, u.h, one)
        sine2 = four * u.h * (one - u.h)
        return Endpoint(
            select(atom, u.direction, with_sign(sqrt(rho2) * cosine, u.direction)),
            select(atom, zero, fma(big_s, big_s, rho2 * sine2)),
            atom,
        )

    return endpoint


@template
def sample(real: Any) -> Any:
    """Kernel with data (out,), parameters (t, a, c) and words (seed, offset): K(t)."""
    fill_words, uniforms, place = fill(real), draw(real), endpoint(real)
    new_words, shape = local(np.uint32, LINES[real] * BLOCK), (LINES[real], BLOCK)

    @part
    def evaluate(data, first, e, n, lanes, words):
        raw = carray(new_words(), shape)
        fill_words(raw, words[0], words[1] + np.uint64(e), np.uint64(0), n)
        out = data[0][first : first + n]
        for i in range(n):
            out[i] = lanes[CT, i] * place(uniforms(raw, i), lanes, i).xi

    return row_kernel(
        real, inputs=0, outputs=1, parameters=3, words=2, constants=NOISE_LINES,
        prepare=process_rows(real, noise_constants(real)), evaluate=evaluate,
    )  # fmt: skip

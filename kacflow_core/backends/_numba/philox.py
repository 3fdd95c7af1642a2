"""Words of a counter, and their uniforms: ``csrc/kac/philox.h`` and ``csrc/kac/uniform.h``.

The layout of key and counter and the uniforms are stated there, and in
:mod:`kacflow_core.reference.philox`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kacflow_core.backends._numba.arithmetic import bits_of, fma, polynomial, same_bits
from kacflow_core.backends._numba.compiler import element, template

_U32, _U64 = np.uint32, np.uint64
_MASK, _HALF = _U64(0xFFFFFFFF), _U64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = _U64(0xD2511F53), _U64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = _U64(0x9E3779B9), _U64(0xBB67AE85)
_ZERO, _ONE = _U64(0), _U64(1)


@element
def words(seed, i, block, stream):
    """The four words of one counter: uint64 below 2^32, as everything here.

    32-bit numbers are kept in 64 bits, so that a product has both its halves.
    """
    c0, c1, c2, c3 = i & _MASK, i >> _HALF, block, stream
    k0, k1 = seed & _MASK, seed >> _HALF
    for _ in range(10):
        p0, p1 = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c2 = (p1 >> _HALF) ^ c1 ^ k0, (p0 >> _HALF) ^ c3 ^ k1
        c1, c3 = p1 & _MASK, p0 & _MASK
        k0, k1 = (k0 + _WEYL_0) & _MASK, (k1 + _WEYL_1) & _MASK
    return c0, c1, c2, c3


#: Lines of the array that ``fill`` writes: the words of block 0, in float64 also those of block 1.
LINES = {np.float32: 3, np.float64: 6}


@template
def fill(real: Any, direction: bool = False) -> Any:
    """Words of ``n`` elements from counter ``first`` on, as uint32, a line per word; with
    ``direction``, for an interval of a path, also the direction word in lines of its own.
    """
    lines = LINES[real]

    @element
    def fill_block(out, seed, first, block, stream, n, line, last):
        for i in range(n):
            w0, w1, w2, w3 = words(seed, first + _U64(i), block, stream)
            out[line, i], out[line + 1, i], out[line + 2, i] = _U32(w0), _U32(w1), _U32(w2)
            if direction:
                out[last, i] = _U32(w3)

    @element
    def high(out, seed, first, stream, n):
        fill_block(out, seed, first, _ZERO, stream, n, 0, lines)

    if real is np.float32:
        return high

    @element
    def both(out, seed, first, stream, n):
        high(out, seed, first, stream, n)
        fill_block(out, seed, first, _ONE, stream, n, 3, lines + 1)

    return both


class Draw(NamedTuple):
    """The random part of one element, before any parameter is known."""

    w0: Any  #: decides the case, and the turn count within it
    u1: Any  #: radius, in (0, 1]: may round to 1, so 1 - u1 is carried beside it
    one_less_u1: Any  #: 1 - u1 > 0
    h: Any  #: sin^2(phi/2) in (0, 1/2], where 2 pi u2 = phi + pi k, |phi| < pi/2
    direction: Any  #: +1 or -1: the sign of cos(2 pi u2) = (-1)^k


@template
def draw(real: Any) -> Any:
    """The uniforms of element ``i`` from the lines of ``fill``."""
    sin2_ratio = polynomial("sin2_ratio", real)
    quarter, sign = _U32(0x40000000), _U32(0x80000000)

    if real is np.float32:
        unit, half_unit = real(2.0**-31), real(2.0**-32)
        one = _U32(bits_of(1.0, real))

        @element
        def narrow(w, i):
            radius, w2 = np.int32(w[1, i] >> _U32(1)), w[2, i]
            turn = np.int32(w2 << _U32(1) | _U32(1))  # 2 w2 + 1 modulo 2^32, signed
            v = np.float32(turn) * half_unit
            return Draw(
                w[0, i],
                fma(np.float32(radius), unit, half_unit),
                fma(np.float32(np.int32(0x7FFFFFFF - radius)), unit, half_unit),
                (v * v) * sin2_ratio(v * v),
                same_bits(_U32(one | _U32(w2 + quarter) & sign)),
            )

        return narrow

    unity, integer = _U64(bits_of(1.0, real)), _U64(bits_of(2.0**52, real))

    @element
    def wide(w, i):
        high, low = np.int32(w[1, i] >> _U32(1)), np.int32(w[4, i] >> _U32(1))
        w2, v2 = w[2, i], w[5, i]
        # 2 W2 + 1 modulo 2^64 as a signed 64-bit number, in two halves that convert exactly
        turn_high = np.int32(w2 << _U32(1) | v2 >> _U32(31))
        turn_low = same_bits(integer | _U64(_U32(v2 << _U32(1) | _U32(1)))) - 2.0**52
        v = fma(np.float64(turn_high), 2.0**-32, turn_low * 2.0**-64)
        rest_high, rest_low = np.int32(0x7FFFFFFF - high), np.int32(0x7FFFFFFF - low)
        return Draw(
            _U64(w[0, i]) << _HALF | _U64(w[3, i]),
            fma(np.float64(high), 2.0**-31, fma(np.float64(low), 2.0**-62, 2.0**-63)),
            fma(np.float64(rest_high), 2.0**-31, fma(np.float64(rest_low), 2.0**-62, 2.0**-63)),
            (v * v) * sin2_ratio(v * v),
            same_bits(unity | _U64(_U32(w2 + quarter) & sign) << _HALF),
        )

    return wide

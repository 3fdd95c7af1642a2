"""Whole paths on a time grid: ``csrc/kac/path.h``, whose comments hold here.

Lanes are paths, and the intervals follow one another inside.  The constants of an interval are
computed once per row of a block.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray, types

from kacflow_core.backends._numba.arithmetic import (
    FORMATS,
    bits_of,
    fma,
    larger,
    local,
    magnitude,
    same_bits,
    select,
    smaller,
    speed_of,
    with_sign,
)
from kacflow_core.backends._numba.compiler import element, kernel, template
from kacflow_core.backends._numba.philox import LINES, draw, fill
from kacflow_core.backends._numba.rows import BLOCK
from kacflow_core.backends._numba.sampler import (
    LAST_ATOM,
    LAST_ODD,
    NEVER,
    endpoint,
    map_constants,
)

CONE = 8  # c Delta as the working type evaluates it; the lines before it are the sampler's
_STEP_LINES = 9

_U32, _U64 = np.uint32, np.uint64
_SIGN, _ONE = _U32(0x80000000), _U32(1)


@template
def direction_uniform(real: Any) -> Any:
    """(u3, coin) of lane ``i``: u3 in (0, 1), the coin +1 or -1 with the top bit of w3."""
    lines = LINES[real]
    unity = FORMATS[real].word(bits_of(1.0, real))

    if real is np.float32:
        unit, half_unit = real(2.0**-31), real(2.0**-32)

        @element
        def narrow(w, i):
            w3 = w[lines, i]
            u3 = fma(np.float32(np.int32(w3 >> _ONE)), unit, half_unit)
            return u3, same_bits(_U32(unity | (_U32(~w3) & _SIGN)))

        return narrow

    shift = _U64(32)

    @element
    def wide(w, i):
        w3 = w[lines, i]
        high, low = np.int32(w3 >> _ONE), np.int32(w[lines + 1, i] >> _ONE)
        u3 = fma(np.float64(high), 2.0**-31, fma(np.float64(low), 2.0**-62, 2.0**-63))
        return u3, same_bits(unity | _U64(_U32(~w3) & _SIGN) << shift)

    return wide


@template
def turned_oddly(real: Any) -> Any:
    """Whether the case word stands for an odd number of turns, in lane ``i``."""
    word = FORMATS[real].word
    one = word(1)

    @element
    def turned_oddly(k, i, w0):
        last_atom, never = same_bits(k[LAST_ATOM, i]), same_bits(k[NEVER, i])
        n_odd = word(word(same_bits(k[LAST_ODD, i]) - last_atom) + never)
        return word(word(w0 - last_atom) - word(one - never)) < n_odd

    return turned_oddly


@template
def limited(real: Any) -> Any:
    """The number in [start - cap, start + cap] nearest to ``target``: the light cone, strictly."""
    word, bits = FORMATS[real].word, FORMATS[real].bits
    unit = real(2.0**-24 if real is np.float32 else 2.0**-53)
    least = real(2.0**-149 if real is np.float32 else 2.0**-1074)
    minus_four_units, two_least = real(-4) * unit, real(2) * least
    zero, one, minus_one = real(0), real(1), real(-1)
    shift, word_one = word(bits - 1), word(1)

    @element
    def limited(start, target, cone):
        margin = fma(minus_four_units, cone, cone) - two_least
        up = target > start
        step = with_sign(larger(zero, margin), select(up, one, minus_one))  # keeps a NaN
        total = start + step
        taken = total - start
        error = (start - (total - taken)) + (step - taken)
        own = same_bits(total)
        differ = word(word(own ^ same_bits(step)) >> shift)
        back = same_bits(word(word(own - word_one) + word(differ << word_one)))
        edge = select(select(up, error, -error) < zero, back, total)
        return select(up, smaller(target, edge), larger(target, edge))

    return limited


@template
def sample_path(real: Any) -> Any:
    """Kernel ``(positions, directions, begin, end, n1, inner, times, a, c, seed, offset)``.

    ``positions`` and ``directions`` are (paths, T) and begin with path ``begin``; ``times`` is
    (n0 or 1, n1 or 1, T), ``a`` and ``c`` (n0 or 1, n1 or 1).
    """
    word_lines = LINES[real] + (1 if real is np.float32 else 2)
    new_words = local(np.uint32, word_lines * BLOCK)
    new_table, new_values = local(real, _STEP_LINES * BLOCK), local(real, BLOCK)
    new_sums, new_places = local(np.float64, BLOCK), local(np.int64, BLOCK)
    constants, draw_at, direction_at = map_constants(real), draw(real), direction_uniform(real)
    place, odd_at, limit = endpoint(real), turned_oddly(real), limited(real)
    fill_words, speed_at = fill(real, True), speed_of(real)
    zero, one, two = real(0), real(1), real(2)
    kind = numba.from_dtype(real)
    out = types.Array(kind, 2, "C")
    given = types.Array(kind, 2, "A", readonly=True)
    grids = types.Array(kind, 3, "A", readonly=True)
    i64, u64 = types.int64, types.uint64

    @kernel(out, out, i64, i64, i64, i64, grids, given, given, u64, u64)
    def sample_path(
        positions, directions, begin, end, n1, inner, times, rates, speeds, seed, offset
    ):  # fmt: skip
        raw = carray(new_words(), (word_lines, BLOCK))
        table = carray(new_table(), (_STEP_LINES, BLOCK))
        lanes = carray(new_table(), (_STEP_LINES, BLOCK))
        row_lengths, lengths = carray(new_sums(), BLOCK), carray(new_sums(), BLOCK)
        sums, rows = carray(new_sums(), BLOCK), carray(new_places(), BLOCK)
        position, direction = carray(new_values(), BLOCK), carray(new_values(), BLOCK)
        n_times = times.shape[2]
        a0, a1 = np.int64(rates.shape[0] > 1), np.int64(rates.shape[1] > 1)
        c0, c1 = np.int64(speeds.shape[0] > 1), np.int64(speeds.shape[1] > 1)
        t0, t1 = np.int64(times.shape[0] > 1), np.int64(times.shape[1] > 1)
        for e in range(begin, end, BLOCK):
            n = min(BLOCK, end - e)
            first_row = e // inner
            n_rows = (e + n - 1) // inner - first_row + 1
            for i in range(n):
                rows[i] = (e + i) // inner - first_row
            for j in range(n_times):
                for r in range(n_rows):
                    i0 = (first_row + r) // n1
                    i1 = first_row + r - i0 * n1
                    a, c = rates[i0 * a0, i1 * a1], speeds[i0 * c0, i1 * c1]
                    until = times[i0 * t0, i1 * t1, j]
                    since = times[i0 * t0, i1 * t1, j - 1] if j > 0 else zero
                    delta = np.float64(until) - np.float64(since)
                    c = speed_at(a, c, until - since)
                    constants(np.float64(a), delta, table, r)
                    table[CONE, r] = c * (until - since)
                    row_lengths[r] = np.float64(c) * delta
                for k in range(_STEP_LINES):
                    for i in range(n):
                        lanes[k, i] = table[k, rows[i]]
                for i in range(n):
                    lengths[i] = row_lengths[rows[i]]
                fill_words(raw, seed, offset + _U64(e), _U64(j), n)
                if j == 0:
                    for i in range(n):
                        u = draw_at(raw, i)
                        p = place(u, lanes, i)
                        u3, coin = direction_at(raw, i)
                        turned = u3 * fma(two, magnitude(p.xi), two) < p.one_minus_xi2
                        kept = select(turned, -p.xi, p.xi)
                        sums[i] = lengths[i] * np.float64(p.xi)
                        position[i] = limit(zero, lanes[CONE, i] * p.xi, lanes[CONE, i])
                        sign = select(odd_at(lanes, i, u.w0), coin, kept)
                        direction[i] = with_sign(fma(zero, lanes[CONE, i], one), sign)
                else:
                    for i in range(n):
                        u = draw_at(raw, i)
                        p = place(u, lanes, i)
                        u3, _ = direction_at(raw, i)
                        size = magnitude(p.xi)
                        turned = u3 * fma(two, size, two) < p.one_minus_xi2
                        odd = odd_at(lanes, i, u.w0)
                        eta = select(odd, p.xi, select(turned, -size, size))
                        sums[i] += lengths[i] * np.float64(direction[i] * eta)
                        position[i] = limit(position[i], real(sums[i]), lanes[CONE, i])
                        sign = select(odd, -direction[i], direction[i])
                        direction[i] = fma(zero, lanes[CONE, i], one) * sign
                for i in range(n):
                    positions[e - begin + i, j] = position[i]
                    directions[e - begin + i, j] = direction[i]

    return sample_path

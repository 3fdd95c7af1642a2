"""Turning times, event by event: ``csrc/kac/events.h``, whose comments hold here.

Two passes over the same random numbers: one counts the events, the other writes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from kacflow_core.backends._numba.arithmetic import bits_of, same_bits
from kacflow_core.backends._numba.compiler import element, kernel, template
from kacflow_core.backends._numba.logarithm import log_sum
from kacflow_core.backends._numba.philox import words

_U64 = np.uint64
_STREAM, _ZERO, _ONE = _U64(0xFFFFFFFF), _U64(0), _U64(1)
_UNITY = _U64(bits_of(1.0, np.float64))
_SIGN, _HALF, _HIGH, _LOW = _U64(0x80000000), _U64(32), _U64(20), _U64(12)
_BELOW_ONE = 1.0 - 2.0**-53
_log = log_sum(np.float64)


@element
def _first_direction(seed, i):
    w0, _, _, _ = words(seed, i, _ZERO, _STREAM)
    return same_bits(_UNITY | ((w0 & _SIGN) ^ _SIGN) << _HALF)


@element
def _exponential(high, low):
    u = same_bits(_UNITY | high << _HIGH | low >> _LOW) - _BELOW_ONE
    return -_log(0.0, u)


_i64, _u64 = types.int64, types.uint64
_counts, _reals = types.Array(_i64, 1, "C"), types.Array(types.float64, 1, "C")
_read_counts = types.Array(_i64, 1, "C", readonly=True)
_given = types.Array(types.float64, 2, "A", readonly=True)


@template
def count_events(_: Any) -> Any:
    """Kernel ``(counts, directions, begin, end, n1, inner, t_max, a, seed, offset)``."""

    @kernel(_counts, _reals, _i64, _i64, _i64, _i64, _given, _given, _u64, _u64)
    def count_events(counts, directions, begin, end, n1, inner, ends, rates, seed, offset):
        t0, t1 = np.int64(ends.shape[0] > 1), np.int64(ends.shape[1] > 1)
        a0, a1 = np.int64(rates.shape[0] > 1), np.int64(rates.shape[1] > 1)
        for e in range(begin, end):
            i0 = (e // inner) // n1
            i1 = e // inner - i0 * n1
            t_max, a = ends[i0 * t0, i1 * t1], rates[i0 * a0, i1 * a1]
            path = offset + _U64(e)
            directions[e - begin] = _first_direction(seed, path)
            count, t, block = 0, 0.0, _ONE
            while True:
                w0, w1, w2, w3 = words(seed, path, block, _STREAM)
                t += _exponential(w0, w1) / a
                if not t <= t_max:
                    break
                count += 1
                t += _exponential(w2, w3) / a
                if not t <= t_max:
                    break
                count += 1
                block += _ONE
            counts[e - begin] = count

    return count_events


@template
def fill_events(_: Any) -> Any:
    """Kernel ``(times, offsets, begin, end, n1, inner, a, seed, offset)`` after the counts."""

    @kernel(_reals, _read_counts, _i64, _i64, _i64, _i64, _given, _u64, _u64)
    def fill_events(times, offsets, begin, end, n1, inner, rates, seed, offset):
        a0, a1 = np.int64(rates.shape[0] > 1), np.int64(rates.shape[1] > 1)
        for e in range(begin, end):
            i0 = (e // inner) // n1
            i1 = e // inner - i0 * n1
            a, path = rates[i0 * a0, i1 * a1], offset + _U64(e)
            t, block = 0.0, _ONE
            for m in range(offsets[e], offsets[e + 1], 2):
                w0, w1, w2, w3 = words(seed, path, block, _STREAM)
                t += _exponential(w0, w1) / a
                times[m] = t
                t += _exponential(w2, w3) / a
                if m + 1 < offsets[e + 1]:
                    times[m + 1] = t
                block += _ONE

    return fill_events

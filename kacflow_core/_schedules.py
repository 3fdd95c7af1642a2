"""The named schedules: signals f and noise clocks g with their derivatives, in float64 NumPy.

The readable twin of ``csrc/kac/schedules.h``, where the formulas, their source, their domain and
their accuracy stand; for backends that take arrays, and for tests.
"""

from __future__ import annotations

import math

import numpy as np

from kacflow_core._layout import Array
from kacflow_core.backends._jobs import Schedules

#: The numbers by which a job names them; 0 is a schedule whose values are given.
SIGNALS = {"constant": 1, "linear": 2, "exp": 3, "cosine": 4, "lambda": 5}
CLOCKS = {"linear": 1, "square": 2}


def signal(kind: int, t: Array, T: float) -> tuple[Array, Array]:
    """(f(t), f'(t)) of the signal with that number."""
    t = _within(t, T)
    if kind == SIGNALS["constant"]:
        return 1.0 + 0.0 * t, 0.0 * t
    if kind == SIGNALS["linear"]:
        return 1.0 - t / T, 0.0 * t - 1.0 / T
    if kind == SIGNALS["exp"]:
        return np.exp(-t), -np.exp(-t)
    sine, cosine = _quarter(t / T)
    omega = math.pi / 2.0 / T
    if kind == SIGNALS["cosine"]:
        return cosine, -omega * sine
    scale = math.exp(-1.0)
    total = scale * cosine + sine
    return scale * cosine / total, -omega * scale / total**2


def clock(kind: int, t: Array, T: float) -> tuple[Array, Array]:
    """(g(t), g'(t)) of the clock with that number."""
    t = _within(t, T)
    if kind == CLOCKS["linear"]:
        return t, 1.0 + 0.0 * t
    return t * (t / T), 2.0 * (t / T)


def _within(t: Array, T: float) -> Array:
    """t in [0, T (1 + 2^-8)], else NaN."""
    t = np.asarray(t, np.float64)
    return np.where((t >= 0.0) & (t <= T * (1.0 + 2.0**-8)), t, np.nan)


def _quarter(u: Array) -> tuple[Array, Array]:
    """(sin, cos) of pi u/2, each 0 exactly at its zero."""
    late = u > 0.5
    x = 0.5 * math.pi * np.where(late, 1.0 - u, u)
    sine, cosine = np.sin(x), np.cos(x)
    return np.where(late, cosine, sine), np.where(late, sine, cosine)


def rows(schedules: Schedules, g: Array, *others: Array) -> tuple[Array, Array, Array, Array]:
    """(f, f', g, g') of a pair with the clock's values ``g`` and f, f' and g' as ``others``, or
    with times in the place of the values of a named clock, or of a named signal alone.
    """
    f, df, dg = others or (g, g, g)
    if schedules.signal:
        f, df = signal(schedules.signal, g if schedules.clock else f, schedules.horizon)
    if schedules.clock:
        g, dg = clock(schedules.clock, g, schedules.horizon)
    return f, df, g, dg

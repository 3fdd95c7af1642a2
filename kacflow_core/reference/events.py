"""The Kac process event by event: exponential waiting times of rate a, and their running sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kacflow_core._events import Events
from kacflow_core.reference import philox
from kacflow_core.reference._exact import Array
from kacflow_core.reference.sampler import aligned


def turning_times(
    t_max: Array, a: Array, seed: int, counters: NDArray[np.uint64]
) -> tuple[Array, NDArray[np.int64]]:
    """The turning times of each path up to ``t_max``, one after another, and their numbers (n,).

    ::

        t_m = t_(m-1) - ln(u_m)/a
    """
    expected = float(np.max(a * t_max))
    width = int(expected + 6.0 * np.sqrt(expected)) + 8
    while True:
        times = np.cumsum(-np.log(philox.waiting(seed, counters, width)) / a[:, None], axis=1)
        if np.all(times[:, -1] > t_max):
            break
        width *= 2
    before = times <= t_max[:, None]
    return times[before], before.sum(axis=1)


def simulate_events(
    t_max: ArrayLike, shape: int | Sequence[int], *, a: ArrayLike, seed: int, offset: int = 0
) -> Events:
    """Simulate every turning time: :func:`kacflow_core.simulate_events` as plain NumPy.

    Parameters
    ----------
    t_max, a : array_like
        Time up to which events are simulated, and jump rate; aligned with the leading axes of
        ``shape``.
    shape : int or sequence of int
        Shape of the paths.
    seed, offset : int
        As in :func:`kacflow_core.reference.sample`, in a stream of their own.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> events = reference.simulate_events(1.0, (2, 3), a=9.0, seed=0)
    >>> events.offsets.shape, events.directions.shape
    ((7,), (2, 3))
    """
    extents: tuple[int, ...] = (shape,) if isinstance(shape, int) else tuple(shape)
    ends, rates = aligned(t_max, extents), aligned(a, extents)
    counters = philox.counters(offset, rates.size)
    times, counts = turning_times(ends, rates, seed, counters)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Events(times, offsets, philox.first_directions(seed, counters).reshape(extents))

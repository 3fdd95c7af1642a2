"""Event-by-event simulation of the Kac process, vectorised in NumPy and compiled by numba.

Every particle is followed from turn to turn: waiting times are exponential of rate a, the direction
is reversed at each turn.  The cost grows with a t.  Positions at the times of a grid are read off
the polygon of the turns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np


def endpoints_numpy(t: np.ndarray, a: float, c: float, rng: np.random.Generator) -> np.ndarray:
    """K(t) of a particle for each time of ``t``, float64 (n,); float64 (n,)."""
    n = t.size
    direction = rng.integers(0, 2, n) * 2.0 - 1.0
    result = np.empty(n)
    position, left = np.zeros(n), t.copy()
    moving = np.arange(n)
    while moving.size:
        wait = rng.standard_exponential(moving.size) / a
        last = wait >= left
        done = moving[last]
        result[done] = position[last] + direction[last] * (c * left[last])
        on = ~last
        wait, moving = wait[on], moving[on]
        position = position[on] + direction[on] * (c * wait)
        left, direction = left[on] - wait, -direction[on]
    return result


def paths_numpy(
    times: np.ndarray, n: int, a: float, c: float, rng: np.random.Generator
) -> np.ndarray:
    """Positions of n particles at increasing times >= 0; float64 (n, len(times)).

    Enough waiting times for every particle to pass the end are drawn together; one interpolation
    over the concatenated polygons, each shifted into a time interval of its own, reads them all.
    """
    end = float(times[-1])
    mean = a * end
    count = int(mean + 6.0 * np.sqrt(mean) + 8.0)
    turn = np.cumsum(rng.standard_exponential((n, count)) / a, axis=1)
    while turn[:, -1].min() <= end:
        more = turn[:, -1:] + np.cumsum(rng.standard_exponential((n, count)) / a, axis=1)
        turn = np.concatenate([turn, more], axis=1)
    turn = np.concatenate([np.zeros((n, 1)), turn], axis=1)
    sign = np.where(np.arange(turn.shape[1] - 1) % 2 == 0, c, -c)
    place = np.zeros_like(turn)
    np.cumsum(np.diff(turn, axis=1) * sign, axis=1, out=place[:, 1:])
    place *= (rng.integers(0, 2, n) * 2.0 - 1.0)[:, None]
    shift = (np.arange(n) * (turn[:, -1].max() * 1.5))[:, None]
    return np.interp((times + shift).ravel(), (turn + shift).ravel(), place.ravel()).reshape(
        n, len(times)
    )


#: Particles that one seed stands for, so that results do not depend on numba's threads.
CHUNK = 1024


@functools.cache
def _compiled() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(endpoints, paths), compiled on first use."""
    import numba

    @numba.njit(parallel=True)
    def endpoints(t: np.ndarray, a: float, c: float, seed: int) -> np.ndarray:
        result = np.empty(t.size)
        for chunk in numba.prange((t.size + CHUNK - 1) // CHUNK):
            np.random.seed(seed + chunk)
            for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, t.size)):
                velocity = c if np.random.random() < 0.5 else -c
                left, position = t[i], 0.0
                while True:
                    wait = np.random.exponential(1.0 / a)
                    if wait >= left:
                        break
                    position += velocity * wait
                    left -= wait
                    velocity = -velocity
                result[i] = position + velocity * left
        return result

    @numba.njit(parallel=True)
    def paths(times: np.ndarray, n: int, a: float, c: float, seed: int) -> np.ndarray:
        result = np.empty((n, times.size))
        for chunk in numba.prange((n + CHUNK - 1) // CHUNK):
            np.random.seed(seed + chunk)
            for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n)):
                velocity = c if np.random.random() < 0.5 else -c
                now, position = 0.0, 0.0
                turn = np.random.exponential(1.0 / a)
                for j in range(times.size):
                    while turn < times[j]:
                        position += velocity * (turn - now)
                        now = turn
                        velocity = -velocity
                        turn += np.random.exponential(1.0 / a)
                    position += velocity * (times[j] - now)
                    now = times[j]
                    result[i, j] = position
        return result

    return endpoints, paths


def endpoints_numba(t: np.ndarray, a: float, c: float, seed: int = 0) -> np.ndarray:
    """K(t) of a particle for each time of ``t``, float64 (n,), on numba's threads; float64 (n,)."""
    return _compiled()[0](t, a, c, seed)


def paths_numba(times: np.ndarray, n: int, a: float, c: float, seed: int = 0) -> np.ndarray:
    """Positions of n particles at increasing times >= 0; float64 (n, len(times))."""
    return _compiled()[1](times, n, a, c, seed)

"""Whole paths: one closed-form step per interval of a time grid, whatever the turns inside it.

(K(t), direction) is a Markov process.  Over an interval of length D, with xi the endpoint of
:mod:`~kacflow_core.reference.sampler` for tau = a D, the displacement is c D eta in the frame of
the current direction::

    no turn      eta = 1                                            direction kept
    odd          eta = xi, symmetric                                direction reversed
    even >= 2    eta = +-|xi|, + with probability (1 + |xi|)/2      direction kept

since given 2 k turns the time spent in the first direction is a Beta(k + 1, k) share of D, whose
density at (1 + eta)/2 is to that at (1 - eta)/2 as 1 + eta to 1 - eta, for every k.

Interval 0 starts in a random direction.  Its displacement is the endpoint itself, and the direction
at its end follows by Bayes' rule: sign(xi) without a turn; sign(xi) with probability (1 + |xi|)/2
for even turns; either with probability 1/2, whatever xi, for odd ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from kacflow_core.reference import philox
from kacflow_core.reference._exact import Array
from kacflow_core.reference.sampler import aligned, cases, endpoint


class Step(NamedTuple):
    """One interval of each path; arrays of shape (n,)."""

    length: Array  #: of the interval in time
    xi: Array  #: displacement over c times the length, in [-1, 1]
    direction: Array  #: +1 or -1, at the end of the interval


def against(xi: Array, one_minus_xi2: Array, u3: Array) -> NDArray[np.bool_]:
    """Whether an even number of turns led against the direction: probability (1 - |xi|)/2.

    That is (1 - xi^2)/(2 (1 + |xi|)) without cancellation, and 0 for an atom.
    """
    return u3 < one_minus_xi2 / (2.0 * (1.0 + np.abs(xi)))


def steps(
    times: Array, a: Array, seed: int, counters: NDArray[np.uint64], dtype: DTypeLike
) -> Iterator[Step]:
    """The intervals of paths, in order: ``times`` (n, T) or (1, T), ``a`` and ``counters`` (n,)."""
    direction = np.ones(counters.shape)
    before = np.zeros(times.shape[:1])
    for j in range(times.shape[1]):
        length = np.broadcast_to(times[:, j] - before, counters.shape)
        before = times[:, j]
        u = philox.uniforms(seed, counters, dtype, stream=j)
        u3, coin = philox.signs(seed, counters, dtype, stream=j)
        xi, one_minus_xi2, atom = endpoint(u, a, length)
        with np.errstate(all="ignore"):  # branches that are not taken
            odd = ~atom & ~cases(u.word, u.bits, a, length).even
        sign = np.where(against(xi, one_minus_xi2, u3), -1.0, 1.0)
        if j == 0:
            direction = np.where(odd, coin, sign * np.sign(xi))
        else:
            xi = direction * np.where(odd, xi, sign * np.abs(xi))
            direction = np.where(odd, -direction, direction)
        yield Step(length, xi, direction)


def limited(start: Array, target: Array, cone: Array) -> Array:
    """The number nearest to ``target`` that keeps strictly within the light cone of ``start``.

    Arrays of one working type of unit roundoff u; ``cone`` is c D as that type evaluates it.  The
    cap cone (1 - 4 u), less two of the least numbers for products among the denormal ones, is below
    c D in exact arithmetic, and start +- cap is rounded towards ``start``.
    """
    kind = np.finfo(cone.dtype)
    u, least = kind.epsneg, kind.smallest_subnormal
    cap = np.maximum(cone - 4 * u * cone - 2 * least, 0)
    step = np.where(target > start, cap, -cap)
    edge = start + step
    taken = edge - start
    error = (start - (edge - taken)) + (step - taken)  # edge + error = start + step: Knuth's TwoSum
    beyond = np.where(step > 0, error, -error) < 0
    edge = np.where(beyond, np.nextafter(edge, start), edge)
    return np.where(target > start, np.minimum(target, edge), np.maximum(target, edge))


def grids(times: ArrayLike, shape: Sequence[int]) -> Array:
    """Time grids (T,) or (leading axes..., T) as one per path, shape (n, T), or (1, T) for all."""
    array = np.asarray(times, dtype=np.float64)
    if array.ndim == 1:
        return array[None]
    *lead, n = array.shape
    array = array.reshape(*lead, *[1] * (len(shape) - len(lead)), n)
    return np.broadcast_to(array, (*shape, n)).reshape(math.prod(shape), n)


def sample_path(
    times: ArrayLike,
    shape: int | Sequence[int],
    *,
    a: ArrayLike,
    c: ArrayLike,
    seed: int,
    offset: int = 0,
    dtype: DTypeLike = "float64",
) -> tuple[Array, Array]:
    """Draw whole paths: :func:`kacflow_core.sample_path` as plain NumPy, without its rounding.

    Parameters
    ----------
    times : array_like
        Strictly increasing times >= 0, ``(T,)`` or leading axes of ``shape`` and T.
    shape : int or sequence of int
        Shape of the paths.
    a, c : array_like
        Aligned with the leading axes of ``shape``.
    seed, offset, dtype
        As in :func:`kacflow_core.reference.sample`; interval j uses the stream j.

    Returns
    -------
    tuple of numpy.ndarray
        ``(positions, directions)``, float64, of shape ``shape + (T,)``.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> x, d = reference.sample_path([0.5, 1.0], 3, a=9.0, c=3.0, seed=0)
    >>> bool((x[:, 0] == reference.sample(0.5, 3, a=9.0, c=3.0, seed=0)).all())
    True
    """
    extents: tuple[int, ...] = (shape,) if isinstance(shape, int) else tuple(shape)
    rates, speeds = aligned(a, extents), aligned(c, extents)
    counters = philox.counters(offset, rates.size)
    when = grids(times, extents)
    positions = np.empty((rates.size, when.shape[-1]))
    directions = np.empty_like(positions)
    place = np.zeros(rates.size)
    for j, step in enumerate(steps(when, rates, seed, counters, dtype)):
        place = place + speeds * step.length * step.xi
        positions[:, j], directions[:, j] = place, step.direction
    whole = (*extents, when.shape[-1])
    return positions.reshape(whole), directions.reshape(whole)

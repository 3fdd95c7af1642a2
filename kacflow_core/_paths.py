"""The public functions that draw whole paths: on a time grid, and event by event."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kacflow_core import _layout, _run, _validate
from kacflow_core._arrays import NUMPY
from kacflow_core._call import Call, noise
from kacflow_core._dispatch import get_backend, method
from kacflow_core._events import Events
from kacflow_core._layout import Array
from kacflow_core._threads import resolve

_FLOAT64 = np.dtype(np.float64)
_MAX_PATH_EVENTS = 2.0**32  # half of the waiting times that one path has words for
_MAX_EVENTS = 2.0**40


def sample_path(
    times: ArrayLike,
    shape: int | Sequence[int],
    *,
    a: ArrayLike,
    c: ArrayLike,
    seed: int,
    offset: int = 0,
    dtype: DTypeLike = "float32",
    backend: str | None = None,
    threads: int | None = None,
) -> tuple[Array, Array]:
    """Draw whole paths of the Kac process on a time grid: positions and directions.

    (K(t), direction) is a Markov process, so each interval of the grid takes one closed-form step,
    whatever the number of turns inside it; the joint law is exact on every grid.  With xi the
    endpoint of :func:`sample` for an interval of length D, the displacement in the direction of
    motion is ::

        no turn    c D                                                    direction kept
        odd        c D xi                                                 direction reversed
        even >= 2  +-c D |xi|, with + of probability (1 + |xi|)/2         direction kept

    Parameters
    ----------
    times : array_like
        Times >= 0, strictly increasing along the last axis: one grid ``(T,)`` for all paths, or
        leading axes of ``shape`` and then T (``(shape[0], T)`` is a grid per sample).  Paths start
        in 0 at time 0, which may be the first time of the grid.  T is at most 2**31.  Grids on a
        GPU are drawn there, see the notes of :func:`sample`; whether they increase is not checked.
    shape : int or sequence of int
        Shape of the paths: each element is an independent path.
    a, c : array_like
        Jump rate (1/time) and speed (length/time), > 0; aligned with the leading axes of ``shape``
        as in :func:`sample`.
    seed : int
        Key of the generator, in [0, 2**64).
    offset : int
        Path e of the flattened shape uses the counter ``(offset + e) mod 2**64`` and nothing else,
        interval j of it the stream j.
    dtype : {"float32", "float64"}
        Working type and type of the results; ``times``, ``a`` and ``c`` are rounded to it, and the
        grid must be strictly increasing after that.
    backend, threads
        As in :func:`sample`.

    Returns
    -------
    positions : numpy.ndarray
        K at each time, of shape ``shape + (T,)``.  ``positions[..., 0]`` is ``sample(times[0])`` of
        the same seed, within the light cone below.
    directions : numpy.ndarray
        +1 or -1, the direction of motion at each time, of the same shape and dtype.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    The light cone holds strictly for the returned numbers, in exact arithmetic and as ``dtype``
    evaluates it: ``|x[j+1] - x[j]| <= c (times[j+1] - times[j])``, from 0 at time 0 on, hence
    between any two times.  Positions are summed in float64 and rounded to ``dtype`` once; then each
    is limited to what the last one can reach at c (1 - 7 u), u = 2**-24 or 2**-53.  A run of n
    intervals without a turn therefore lags behind by up to 7 u of its length and n spacings of
    ``dtype`` at x, 2**-23 |x| each in float32, until the path turns; where c D is below that
    spacing the position stands still.  Grids of many thousand intervals ask for float64.

    Accuracy of each interval's displacement as in :func:`sample`; the probability of its sign is
    right to a few units in the last place.

    References
    ----------
    Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641, for the process.

    Examples
    --------
    >>> import numpy as np, kacflow_core as kc
    >>> times = np.linspace(0.1, 1.0, 10, dtype=np.float32)
    >>> x, d = kc.sample_path(times, (4, 3), a=9.0, c=3.0, seed=0)
    >>> x.shape, bool(np.all(np.abs(np.diff(x)) <= 3 * np.diff(times)))
    ((4, 3, 10), True)
    >>> np.unique(d).tolist()
    [-1.0, 1.0]
    """
    with Call("times", times, backend, threads) as call:
        extents, kind = _validate.shape(shape), _validate.real_dtype(dtype)
        name = NUMPY.names[kind]
        given, rates, speeds = call.process(times, a, c, name, "times")
        _validate.grid(given)
        if call.on_host:
            grids = _validate.increasing(given, kind)
        else:
            grids = call.library.cast(given, name)
        _validate.shape((*extents, grids.shape[-1]))
        key, parameters = noise(seed, offset), {"a": rates, "c": speeds}
        results = _run.path(call.target, grids, extents, name, parameters, key)
        positions, directions = call.give_back(results)
        return positions, directions


def simulate_events(
    t_max: ArrayLike,
    shape: int | Sequence[int],
    *,
    a: ArrayLike,
    c: ArrayLike,
    seed: int,
    offset: int = 0,
    backend: str | None = None,
    threads: int | None = None,
) -> Events:
    """Simulate the Kac process event by event: every turning time up to ``t_max``.

    The turns are the events of a Poisson process of rate a: the waiting times between them are
    independent, -ln(u)/a with u uniform.

    Parameters
    ----------
    t_max : array_like
        Time up to which events are simulated, >= 0; aligned with the leading axes of ``shape``.
    shape : int or sequence of int
        Shape of the paths.
    a, c : array_like
        Jump rate (1/time) and speed (length/time), > 0; aligned likewise.  The turning times do not
        depend on ``c``; it is checked here and used in :meth:`Events.at`.
    seed, offset : int
        Path e of the flattened shape uses the counter ``(offset + e) mod 2**64``, in a stream that
        no other function reads.
    backend, threads
        As in :func:`sample`.

    Returns
    -------
    Events
        ``(times, offsets, directions)``: path e turns at ``times[offsets[e]:offsets[e + 1]]`` and
        starts in the direction ``directions.flat[e]``; float64, int64 and float64 of ``shape``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.  ``t_max``: also where more than
        2**32 events are expected on a path, or 2**40 in all.
    MemoryError
        If there is no memory for the expected number of events.

    Notes
    -----
    u = (2 n + 1) 2**-53 with n of 52 bits, so that waiting times lie in [2**-53, 36.74]/a; they are
    right to a few units in the last place and summed in float64 in order of time.

    The time is proportional to the number of events; :func:`sample_path` takes one step per
    interval of a grid instead, and is the form to use where the turns themselves do not matter.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> events = kc.simulate_events(1.0, 1000, a=9.0, c=3.0, seed=0)
    >>> events.offsets.shape, bool(8000 < events.times.size < 10000)
    ((1001,), True)
    >>> positions, directions = events.at([0.5, 1.0], c=3.0)
    >>> positions.shape, bool(abs(positions).max() <= 3.0)
    ((1000, 2), True)
    """
    extents = _validate.shape(shape)
    ends, rates, speeds = _validate.process(t_max, a, c, _FLOAT64, "t_max")
    layout, (t_rows, a_rows, _) = _layout.leading(extents, {"t_max": ends, "a": rates, "c": speeds})
    seed, offset = _validate.word64("seed", seed), _validate.word64("offset", offset)
    kernels = get_backend(backend)
    count = resolve(threads)
    if not layout.size:
        return Events(np.empty(0), np.zeros(1, np.int64), np.empty(extents))
    expected = np.multiply(a_rows, t_rows, dtype=np.float64)
    total = float(expected.mean()) * layout.size
    if expected.max() > _MAX_PATH_EVENTS or total > _MAX_EVENTS:
        raise ValueError(
            f"t_max: a t_max is up to {expected.max():g} and {total:g} events are expected in all; "
            "allowed: 2**32 on a path and 2**40 in all"
        )
    _ask_for(total)
    times, offsets, directions = method(kernels, "simulate_events")(
        layout, t_rows, a_rows, seed=seed, offset=offset, threads=count
    )
    return Events(times, offsets, directions.reshape(extents))


def physical_memory() -> float:
    """Bytes of memory that the machine has; infinity if unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this system
        return math.inf


def _ask_for(events: float) -> None:
    """MemoryError if there is no memory for so many turning times: before they are counted, which
    may take minutes.
    """
    size = 8 * int(events)
    try:
        if size > physical_memory():
            raise MemoryError
        np.empty(size // 8)  # what the system does not promise it refuses here
    except MemoryError:
        raise MemoryError(
            f"t_max: {events:g} events are expected in all, which take {size / 2**30:.3g} GiB"
        ) from None

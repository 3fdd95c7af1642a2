"""A kernel over a range of elements: pieces, threads, 16-bit data.

Threads are Python's, started for the call and joined before it returns, while the kernels run
without the GIL: numba's own threads would not survive a fork, nor calls from several threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from kacflow_core._layout import Array
from kacflow_core.backends._storage import store, widen

#: Elements of 16-bit data that are converted at a time, so that they stay in the cache.
_CONVERTED = 1 << 14
#: Pieces of at most so many times what is worth a thread: between two of them Python sees Ctrl-C.
_LOOK = 1 << 10

#: What runs a kernel on arrays in the working type: data, begin, end.
Run = Callable[[tuple[Array, ...], int, int], None]


def run_in_pieces(
    run: Run,
    size: int,
    inputs: tuple[Array, ...],
    outputs: tuple[Array, ...],
    *,
    threads: int,
    grain: int,
) -> None:
    """Call ``run`` with the elements [begin, end) of all arrays, for pieces that make up [0, size).

    It is called on at most ``threads`` threads, the caller's included, and on fewer if each would
    get less than ``grain`` elements.  16-bit data is converted on the way.
    """
    team = min(threads, max(1, size // grain))
    converted = outputs[0].itemsize == 2
    if team == 1 and not converted and size <= _LOOK * grain:
        run((*inputs, *outputs), 0, size)
        return
    length = min(max(grain // 4, size // (8 * team)), _LOOK * grain)
    if converted:
        run = _converting(run, len(inputs))
        length = min(length, _CONVERTED)
    length = max(64, length - length % 64)

    def work(begin: int) -> None:
        end = min(begin + length, size)
        run(tuple(array[begin:end] for array in (*inputs, *outputs)), begin, end)

    _on_threads(team, deque(range(0, size, length)), work)


def _converting(run: Run, inputs: int) -> Run:
    """``run`` for 16-bit data."""

    def run_wide(data: tuple[Array, ...], begin: int, end: int) -> None:
        results = [np.empty(end - begin, np.float32) for _ in data[inputs:]]
        run((*map(widen, data[:inputs]), *results), begin, end)
        for result, out in zip(results, data[inputs:], strict=True):
            store(result, out)

    return run_wide


def _on_threads(team: int, starts: deque[int], work: Callable[[int], None]) -> None:
    """``work`` on everything in ``starts``: whoever is free takes the next."""
    errors: list[BaseException] = []

    def take_all() -> None:
        while starts:
            try:
                start = starts.popleft()
            except IndexError:  # another thread took the last
                return
            work(start)

    def take_all_elsewhere() -> None:
        try:
            take_all()
        except BaseException as error:
            errors.append(error)

    others = []
    with contextlib.suppress(RuntimeError):  # no thread to be had: those that started do the work
        for _ in range(team - 1):
            thread = threading.Thread(target=take_all_elsewhere)
            thread.start()
            others.append(thread)
    try:
        take_all()
    finally:
        starts.clear()  # after an error or Ctrl-C here there is nothing left to do for the others
        for thread in others:
            thread.join()
    if errors:
        raise errors[0]

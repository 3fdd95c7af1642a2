"""A kernel over a range of elements: pieces, threads, 16-bit data.

Threads are Python's, started for the call and joined before it returns, while the kernels run
without the GIL: numba's own threads would not survive a fork, nor calls from several threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from kacflow_core._layout import Array, working_dtype
from kacflow_core.backends._storage import store, widen

#: Elements below which a further thread costs more than it saves, and the least that one takes.
GRAIN = 1 << 16
#: Elements of 16-bit data that are converted at a time, so that they stay in the cache.
_CONVERTED = 1 << 14


def run_in_pieces(
    run: Callable[[tuple[Array, ...], int, int], None],
    size: int,
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    threads: int,
) -> None:
    """Call ``run(data, begin, end)`` over pieces of [0, size) on at most ``threads`` threads.

    ``data`` are the inputs' and outputs' elements [begin, end) in the working type.
    """

    def piece(begin: int, end: int) -> None:
        given, wanted = ([array[begin:end] for array in side] for side in (inputs, outputs))
        working = working_dtype(outputs[0].dtype)
        if working == outputs[0].dtype:
            run((*given, *wanted), begin, end)
            return
        results = [np.empty(end - begin, working) for _ in wanted]
        run((*map(widen, given), *results), begin, end)
        for result, out in zip(results, wanted, strict=True):
            store(result, out)

    team = min(threads, max(1, size // GRAIN))
    length = size if team == 1 else max(GRAIN // 4, size // (8 * team))
    if outputs[0].itemsize == 2:
        length = min(length, _CONVERTED)
    length -= length % 64 if length > 64 else 0
    _on_threads(team, deque(range(0, size, length)), lambda i: piece(i, min(i + length, size)))


def _on_threads(team: int, starts: deque[int], work: Callable[[int], Any]) -> None:
    """``work`` on everything in ``starts``: whoever is free takes the next."""

    def take_all() -> None:
        while starts:
            try:
                start = starts.popleft()
            except IndexError:  # another thread took the last
                return
            work(start)

    if team == 1:
        take_all()
        return
    with ThreadPoolExecutor(team - 1) as pool:
        others = []
        try:
            for _ in range(team - 1):
                others.append(pool.submit(take_all))
        except RuntimeError:
            pass  # no more threads to be had: those that started, and this one, do the work
        take_all()
        for other in others:
            other.result()

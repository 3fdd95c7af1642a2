"""Number of CPU threads when the caller names none."""

from __future__ import annotations

import operator
import os

from kacflow_core._validate import shown

_END = 2**31
#: As many as are ever started for a call: a runtime that cannot start more may end the process.
_MOST = max(64, os.cpu_count() or 1)


def default_threads() -> int:
    """``KACFLOW_NUM_THREADS`` if set (ValueError unless a positive integer below 2**31), else the
    number of CPUs this process may run on.
    """
    text = os.environ.get("KACFLOW_NUM_THREADS")
    if text:
        if not text.isdecimal() or len(text) > 10 or not 1 <= int(text) < _END:
            raise ValueError(
                f"KACFLOW_NUM_THREADS is {text[:60]!r}; allowed: a positive integer below 2**31"
            )
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve(threads: int | None) -> int:
    """A checked thread count: ``threads``, or :func:`default_threads` for None; at most 64, or as
    many as there are processors.
    """
    if threads is None:
        return min(default_threads(), _MOST)
    try:
        count = operator.index(threads)
        if isinstance(threads, bool):
            raise TypeError
    except TypeError:
        raise TypeError(
            f"threads: got {type(threads).__name__}; allowed: a positive int or None"
        ) from None
    if not 1 <= count < _END:
        raise ValueError(f"threads: got {shown(count)}; allowed: a positive int or None")
    return min(count, _MOST)

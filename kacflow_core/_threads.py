"""Number of CPU threads when the caller names none."""

from __future__ import annotations

import operator
import os


def default_threads() -> int:
    """``KACFLOW_NUM_THREADS`` if set, else the number of CPUs this process may run on.

    Raises
    ------
    ValueError
        If the variable is not a positive integer.
    """
    text = os.environ.get("KACFLOW_NUM_THREADS")
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"KACFLOW_NUM_THREADS is {text!r}; allowed: a positive integer")
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve(threads: int | None) -> int:
    """A checked thread count: ``threads``, or :func:`default_threads` for None."""
    if threads is None:
        return default_threads()
    try:
        count = operator.index(threads)
        if isinstance(threads, bool):
            raise TypeError
    except TypeError:
        raise TypeError(
            f"threads: got {type(threads).__name__}; allowed: a positive int or None"
        ) from None
    if not 1 <= count < 2**31:
        raise ValueError(f"threads: got {count}; allowed: a positive int or None")
    return count

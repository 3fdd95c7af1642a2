"""Timing that a small machine with noise cannot fool.

Competitors run in one process, interleaved call by call, in every round in another order: a call
is faster after one like it, whose code and tables are in the caches.  A warm-up goes before.
A figure is the median of the calls with its quartiles; a ratio is the median of the ratios of calls
of the same round, so that what slows the machine down for a while slows both.  Slow competitors sit
out rounds, so that they do not starve the fast ones of calls.  On a GPU device events are used.
Arguments that a real loop would find outside the caches come from a ring of buffers larger than
they are.  The allocator is brought to its steady state first (:func:`settle_allocator`).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import math
import os
import pathlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

#: A competitor may use this many times the time of the reference before it sits out a round.
SHARE = 4.0

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

#: Arguments smaller than this are taken to be in the caches of a real loop as well.
SMALL_BYTES = 64 * 1024


class Spread(NamedTuple):
    """Lower quartile, median, upper quartile."""

    low: float
    mid: float
    high: float


def spread(values: list[float]) -> Spread:
    """Quartiles of at least one value."""
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True)
class Timing:
    """The calls of one competitor: their seconds, and the rounds in which they were made."""

    seconds: tuple[float, ...]
    rounds: tuple[int, ...]

    @property
    def spread(self) -> Spread:
        return spread(list(self.seconds))


def ratio(over: Timing, under: Timing) -> Spread:
    """Quartiles of the ratio of calls of the same round."""
    base = dict(zip(under.rounds, under.seconds, strict=True))
    pairs = [s / base[r] for r, s in zip(over.rounds, over.seconds, strict=True) if r in base]
    return spread(pairs)


def find_device(name: str) -> torch.device:
    """The device of that name; ValueError if there is none here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"got {name}; allowed: cpu, cuda, cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ValueError(f"got {name}; torch {torch.__version__} finds {count} CUDA GPUs here")
    return device


def _clock(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """A function that runs a call and returns its seconds on ``device``."""
    if device.type == "cuda":
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def on_gpu(call: Callable[[], object]) -> float:
            start.record()
            call()
            stop.record()
            stop.synchronize()
            return start.elapsed_time(stop) * 1e-3

        return on_gpu

    def on_cpu(call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    return on_cpu


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection inside; what is there is collected before."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def measure(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    least: int = 9,
    warm_up: int = 2,
    device: torch.device | str = "cpu",
) -> dict[str, Timing]:
    """Time the calls, mixed, for ``seconds``, each at least ``least`` times.

    The first of them is the reference: it is called in every round, the others as long as they have
    not used more than :data:`SHARE` times its time.
    """
    clock = _clock(torch.device(device))
    names = list(calls)
    reference = names[0]
    taken: dict[str, list[float]] = {name: [] for name in names}
    rounds: dict[str, list[int]] = {name: [] for name in names}
    used = dict.fromkeys(names, 0.0)
    order = random.Random(0)
    with _no_collection():
        for _ in range(warm_up):
            for name in names:
                clock(calls[name])
        end = time.perf_counter() + seconds
        number = 0
        while True:
            in_time = time.perf_counter() < end
            short = [name for name in names if len(taken[name]) < least]
            if not in_time and not short:
                break
            if in_time:
                due = [n for n in names if used[n] <= SHARE * used[reference] or n == reference]
            else:
                due = [n for n in names if n in short or n == reference]
            order.shuffle(due)
            for name in due:
                used_now = clock(calls[name])
                taken[name].append(used_now)
                rounds[name].append(number)
                used[name] += used_now
            number += 1
    return {name: Timing(tuple(taken[name]), tuple(rounds[name])) for name in names}


def settle_allocator() -> None:
    """Makes glibc keep freed arrays of up to 32 MB, and 1 GB of them, instead of returning them to
    the system: a loop that has run for a while has no page faults.

    A process in its first steps has them in every call, as has one that shares its heap with a
    competitor that frees much at once: on 128 x 3072 numbers up to several times the time of
    either pair.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 2**25)
        mallopt(_M_TRIM_THRESHOLD, 2**30)


def _trim() -> None:
    """Returns what the allocator holds to the system, where that is possible."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Torch and numba compute on n threads inside; kacflow follows torch."""
    import numba

    torch_before, numba_before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(n)
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        torch.set_num_threads(torch_before)
        numba.set_num_threads(numba_before)


def cache_bytes(device: torch.device | str = "cpu") -> int:
    """Size of the last-level cache; 32 MiB where the system does not tell."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = [32 * 1024 * 1024]
    for file in pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        unit = {"K": 1024, "M": 1024**2}.get(text[-1:])
        if unit and text[:-1].isdecimal():
            sizes.append(int(text[:-1]) * unit)
    return max(sizes)


def buffers(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> int:
    """How many arrays of ``shape`` exceed the last-level cache twice; one of small arrays, which a
    real loop has just written."""
    size = max(1, math.prod(shape)) * torch.empty((), dtype=dtype).element_size()
    count = 1 if size < SMALL_BYTES else math.ceil(2 * cache_bytes(device) / size)
    return max(1, min(count, int(free_bytes(device) / (8 * size))))


def rotate(items: Sequence[T]) -> Callable[[], T]:
    """A call that returns the items in turn."""
    return itertools.cycle(items).__next__


def fresh(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Callable[[], Tensor]:
    """A call that returns normal data that has left the caches since it was last returned."""
    count = buffers(shape, dtype, device)
    return rotate(list(torch.randn((count, *shape), dtype=dtype, device=device)))


def free_bytes(device: torch.device | str = "cpu") -> int:
    """Memory that can still be allocated."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    info = pathlib.Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def peak_bytes(call: Callable[[], object], device: torch.device | str = "cpu") -> int | None:
    """Runs ``call``; the largest additional memory meanwhile, None where that is not told."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    _trim()
    status, reset = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
    try:
        reset.write_text("5")  # the high-water mark starts again from what is resident
    except OSError:
        call()
        return None
    before = _status_bytes(status, "VmRSS")
    call()
    return max(0, _status_bytes(status, "VmHWM") - before)


def _status_bytes(status: pathlib.Path, field: str) -> int:
    for line in status.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{status} has no {field}")

"""What a run measures: its mode, device, thread counts and time, and what the questions share."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from benchmarks import timing
from benchmarks.competitors.floors import Missing
from benchmarks.competitors.table import TableSampler
from benchmarks.results import Row

MODES = ("smoke", "short", "full")

#: The process of the paper's experiments in the plane.
RATE, SPEED, HORIZON = 9.0, 3.0, 1.0

T = TypeVar("T")


@dataclass
class Plan:
    """One run of the suite.

    Attributes
    ----------
    mode : {"smoke", "short", "full"}
        "smoke" only shows that everything runs.
    device : torch.device
    threads : tuple of int
        Thread counts to measure at, on the CPU.
    seconds : float
        Time per comparison.
    """

    mode: str = "short"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: tuple[int, ...] = ()
    seconds: float = 0.0
    progress: bool = True
    skipped: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if not self.threads:
            cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
            self.threads = (1,) if cpus == 1 or self.mode == "smoke" else (1, min(cpus, 2))
        if self.device.type == "cuda":
            self.threads = (1,)
        if not self.seconds:
            self.seconds = self.pick(smoke=0.02, short=0.5, full=4.0)

    def pick(self, *, smoke: T, short: T, full: T) -> T:
        """The value for this run's mode."""
        return {"smoke": smoke, "short": short, "full": full}[self.mode]

    def threads_for(self, numbers: int) -> tuple[int, ...]:
        """Thread counts to measure a batch at; a short run takes the first alone if it is small."""
        small = numbers < timing.SMALL_BYTES // 4
        return self.threads[:1] if small and self.mode == "short" else self.threads

    @property
    def least(self) -> int:
        """Fewest calls of a competitor."""
        return self.pick(smoke=2, short=5, full=15)

    def say(self, text: str) -> None:
        """A line of progress on standard error."""
        if self.progress:
            passed = time.perf_counter() - self._began
            print(f"[{passed:5.1f} s]   {text}", file=sys.stderr, flush=True)

    def skip(self, text: str) -> None:
        """Record and show what is left out, and why."""
        self.skipped.append(text)
        self.say(f"skipped: {text}")

    def has(self, name: str, make: Callable[[], T]) -> T | None:
        """What ``make`` returns, or None with a line that ``name`` is left out and why."""
        try:
            return make()
        except Missing as error:
            self.skip(f"{name}: {error}")
            return None

    def rows(
        self,
        case: str,
        calls: Mapping[str, Callable[[], object]],
        *,
        threads: int,
        numbers: int,
        errors: Mapping[str, tuple[float, str]] | None = None,
        least: int | None = None,
        **more: Any,
    ) -> list[Row]:
        """Measure the calls, the first being the reference, and describe each as a row.

        ``errors`` has the error of each, with its kind; ``more`` goes into every row.
        """
        label = f"{threads} thread{'s' * (threads > 1)}" if self.device.type == "cpu" else "GPU"
        self.say(f"{case}, {label}")
        with timing.threads(threads):
            taken = timing.measure(
                calls,
                seconds=self.seconds,
                least=least or self.least,
                warm_up=2 if least is None else 1,
                device=self.device,
            )
        reference = taken[next(iter(calls))]
        result = []
        for name, timed in taken.items():
            error, kind = (errors or {}).get(name, (None, ""))
            result.append(
                Row(
                    case=case,
                    name=name,
                    device=self.device.type,
                    threads=threads,
                    numbers=numbers,
                    calls=len(timed.seconds),
                    seconds=timed.spread,
                    ratio=timing.ratio(timed, reference),
                    error=error,
                    error_kind=kind,
                    more=dict(more),
                )
            )
        return result

    @functools.cached_property
    def table(self) -> TableSampler:
        """The table sampler of the run's process, built once; its size depends on the mode."""
        times = self.pick(smoke=200, short=10_000, full=50_000)
        quantiles = self.pick(smoke=512, short=4096, full=4096)
        self.say(f"building the table of {quantiles} quantiles at {times} times")
        return TableSampler(
            RATE, SPEED, HORIZON, times=times, quantiles=quantiles, device=self.device
        )

    @property
    def table_name(self) -> str:
        """Name of the table sampler in results, with its size."""
        return f"table {self.table.quantiles}x{self.table.times}"

    @property
    def compiles(self) -> bool:
        """Whether torch.compile is part of the run: its set-up takes tens of seconds."""
        return self.mode != "smoke"

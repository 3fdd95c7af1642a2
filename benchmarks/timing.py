"""Timing that a two-core machine with noise cannot fool.

Competitors run in one process, interleaved call by call as in a user's loop, after a warm-up; the
figure is the median of the ratios of neighbouring calls, with its quartiles.  Every result carries
the machine, versions, commit and command.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent


def interleaved(
    competitors: Mapping[str, Callable[[], object]], *, seconds: float = 3.0, warm_up: int = 5
) -> dict[str, list[float]]:
    """Times in seconds of each competitor, called in turn until ``seconds`` have passed."""
    for _ in range(warm_up):
        for call in competitors.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in competitors}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 9:
        for name, call in competitors.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return times


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, mid, high = statistics.quantiles(values, n=4)
    return low, mid, high


def ratio(times: Mapping[str, Sequence[float]], over: str, under: str) -> dict[str, float]:
    """Median and quartiles of the ratio of neighbouring calls."""
    pairs = [a / b for a, b in zip(times[over], times[under], strict=True)]
    low, mid, high = quartiles(pairs)
    return {"median": mid, "lower_quartile": low, "upper_quartile": high}


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Short hash, with a plus sign if the tree differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        )
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "csrc", "kacflow_core"])
    except OSError:
        return "unknown"
    return (head.stdout.strip() or "unknown") + ("+" if changed.returncode else "")


def environment() -> dict[str, Any]:
    """What a reader needs to judge a figure."""
    import numpy
    import torch

    import kacflow_core

    info = kacflow_core.build_info()
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "simd": info["simd"],
        "compiler": info["compiler"],
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "torch": torch.__version__,
        "kacflow": info["version"],
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--seconds", type=float, default=3.0, help="time per comparison")
    options.add_argument("--json", type=pathlib.Path, help="also write the result here")
    return options


def report(options: argparse.Namespace, name: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table and write them with their environment where asked to."""
    columns = list(rows[0])
    cells = [[_cell(row[c]) for c in columns] for row in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(columns)]
    for line in (columns, *cells):
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    if options.json:
        record = {
            "benchmark": name,
            "command": f"python -m benchmarks.{name}",
            "environment": environment(),
            "rows": rows,
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n")
        print(f"written to {options.json}", file=sys.stderr)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

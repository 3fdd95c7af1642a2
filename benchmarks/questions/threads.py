"""The training pair against the number of threads."""

from __future__ import annotations

import os
from typing import Any

import torch

from benchmarks import checks, pictures, timing
from benchmarks.competitors import floors, gaussian
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row

TITLE = "The training pair against the number of threads"


def run(plan: Plan) -> list[Row]:
    """1, 2, 4, ... threads up to the CPUs of this process."""
    if plan.device.type != "cpu":
        plan.skip("threads: of the CPU")
        return []
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = sorted({*(2**k for k in range(cpus.bit_length()) if 2**k <= cpus), cpus})
    shape, path = _cases.shapes(plan)[0], _cases.path()
    t = _cases.times(shape, plan)
    time = _cases.trailing(t, shape)
    x_0 = timing.fresh(shape, torch.float32)
    source = timing.fresh((3 * _cases.numbers(shape) // 2,), torch.float32)

    def kac(x: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = path.sample(x, at)
        return drawn.x_t, drawn.dx_t

    calls = {
        "kacflow": lambda: path.sample(x_0(), t),
        "Gaussian eager": lambda: gaussian.pair_eager(x_0(), time),
        plan.table_name: lambda: plan.table.pair(x_0(), t),
        "floor: copy": lambda: floors.copy(source()),
    }
    found = {
        "kacflow": (checks.pair_error(kac, RATE, SPEED), checks.VELOCITY),
        "Gaussian eager": (
            checks.gaussian_error(gaussian.pair_eager, x_0(), time), checks.GAUSSIAN
        ),
        plan.table_name: (checks.pair_error(plan.table.pair, RATE, SPEED), checks.VELOCITY),
        "floor: copy": (checks.copy_error(floors.copy, source()), checks.COPY),
    }  # fmt: skip
    rows: list[Row] = []
    for count in counts:
        rows += plan.rows(
            f"{count} of {cpus} CPUs", calls, threads=count, numbers=_cases.numbers(shape),
            errors=found, count=count,
        )  # fmt: skip
    return rows


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per number against threads."""
    series = pictures.by_name(rows, "count", lambda row: row.seconds.mid / row.numbers * 1e9)
    pictures.lines(axes, series, "threads", "time per number, ns")

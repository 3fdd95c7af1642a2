"""Accuracy against time, of samplers and of velocities, as one picture."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks import checks, pictures, timing
from benchmarks.competitors import bessel
from benchmarks.competitors.table import TableSampler
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row

TITLE = "Error against time per number"


def run(plan: Plan) -> list[Row]:
    """Tables of several sizes and our draws; the Bessel velocity and ours."""
    return [*_samplers(plan), *_velocities(plan)]


def _samplers(plan: Plan) -> list[Row]:
    shape, process = _cases.shapes(plan)[0], _cases.process()
    t, wide = _cases.times(shape, plan), _cases.times(shape, plan, torch.float64)
    calls: dict[str, Any] = {
        "kacflow float32": lambda: process.sample(t, shape),
        "kacflow float64": lambda: process.sample(wide, shape),
    }
    found = {
        "kacflow float32": (checks.core_law(torch.float32, RATE, device=plan.device), checks.LAW),
        "kacflow float64": (checks.core_law(torch.float64, RATE, device=plan.device), checks.LAW),
    }
    sizes = ((64, 64), (256, 512), (1024, 2048))
    tables = [
        TableSampler(RATE, SPEED, quantiles=k, times=m, device=plan.device)
        for k, m in plan.pick(smoke=sizes[:1], short=sizes, full=sizes)
    ]
    for table in (*tables, plan.table):
        name = f"table {table.quantiles}x{table.times}"
        calls[name] = lambda table=table: table.sample(t, shape[1])
        found[name] = (checks.table_law(table), checks.LAW)
    return plan.rows(
        f"endpoint {_cases.label(shape)}", calls, threads=plan.threads[0],
        numbers=_cases.numbers(shape), errors=found, what="sampler",
    )  # fmt: skip


def _velocities(plan: Plan) -> list[Row]:
    shape, process = _cases.shapes(plan)[0], _cases.process()
    rings, times = {}, {}
    for dtype in (torch.float32, torch.float64):
        at = _cases.times(shape, plan, dtype)
        count = timing.buffers(shape, dtype, plan.device)
        rings[dtype] = timing.rotate([process.sample(at, shape) for _ in range(count)])
        times[dtype] = _cases.trailing(at, shape)
    single, double = torch.float32, torch.float64
    calls: dict[str, Any] = {
        "kacflow float32": lambda: process.velocity(rings[single](), times[single]),
        "kacflow float64": lambda: process.velocity(rings[double](), times[double]),
        "torch float64 Bessel": lambda: bessel.velocity_eager(
            rings[single](), times[single], RATE, SPEED
        ),
    }

    def error(call: Any, dtype: str) -> tuple[float, str]:
        def on_device(x: Any, t: Any) -> Any:
            moved = (torch.from_numpy(v).to(plan.device) for v in (x, t))
            return call(*moved).cpu().numpy()

        return checks.velocity_error(on_device, RATE, SPEED, dtype=dtype), checks.VELOCITY

    found = {
        "kacflow float32": error(process.velocity, "float32"),
        "kacflow float64": error(process.velocity, "float64"),
        "torch float64 Bessel": error(
            lambda x, t: bessel.velocity_eager(x, t, RATE, SPEED), "float32"
        ),
    }
    return plan.rows(
        f"velocity {_cases.label(shape)}", calls, threads=plan.threads[0],
        numbers=_cases.numbers(shape), errors=found, what="velocity",
    )  # fmt: skip


def draw(axes: Any, rows: list[Row]) -> None:
    """A point per competitor: down and to the left is better."""
    for what, marker in (("sampler", "o"), ("velocity", "s")):
        points = [row for row in rows if row.more["what"] == what]
        for row in points:
            place = (row.seconds.mid / row.numbers * 1e9, max(row.error or 0.0, 1e-17))
            axes.plot(*place, marker, color=pictures.colour(row.name))
            axes.annotate(f" {row.name}", place, fontsize=7, va="bottom")
        axes.plot([], [], marker, color="black", label=f"{what}: {points[0].error_kind}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(left, right * 6.0)
    axes.set_xlabel("time per number, ns")
    axes.set_ylabel("error")
    axes.legend(fontsize=7, loc="lower right")

"""Cost against a t, from no turns at all to a million."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import checks, pictures
from benchmarks.competitors import events
from benchmarks.competitors.table import TableSampler
from benchmarks.plan import Plan
from benchmarks.questions import _cases
from benchmarks.results import Row
from kacflow import KacProcess

ALONE = "kacflow alone"
TITLE = "Endpoint sampling against a t"
SOME = (1e-6, 1e-3, 1.0, 9.0, 1e2, 1e4, 1e6)
TAUS = (1e-6, 1e-4, 1e-2, 1.0, 9.0, 1e2, 1e3, 1e4, 1e5, 1e6)


def run(plan: Plan) -> list[Row]:
    """kacflow, a table made for each a, and event simulation as far as it goes."""
    rows: list[Row] = []
    rng = np.random.default_rng(0)
    shape = plan.pick(smoke=(4, 512), short=(32, 3072), full=_cases.IMAGES)
    n = _cases.numbers(shape)
    most = plan.pick(smoke=1e5, short=1e7, full=5e8)  # turns that a call may simulate
    size = plan.pick(smoke=(64, 256), short=(256, 4096), full=(1024, 4096))
    t = torch.ones(shape[0], device=plan.device)
    each = np.full(n, 1.0)
    stopped = False
    for tau in plan.pick(smoke=TAUS[::3], short=SOME, full=TAUS):
        process = KacProcess(tau, 1.0)
        table = TableSampler(tau, 1.0, times=size[0], quantiles=size[1], device=plan.device)
        calls: dict[str, Any] = {"kacflow": lambda process=process: process.sample(t, shape)}
        found = {"kacflow": (checks.core_law(torch.float32, tau, device=plan.device), checks.LAW)}
        name = f"table {size[1]}x{size[0]}"
        calls[name] = lambda table=table: table.sample(t, shape[1])
        found[name] = (checks.table_law(table, fractions=(1.0,)), checks.LAW)
        if plan.device.type == "cpu" and n * (1.0 + tau) <= most:
            numpy = events.endpoints_numpy
            calls["events NumPy"] = lambda tau=tau, f=numpy: f(each, tau, 1.0, rng)
            calls["events numba"] = lambda tau=tau: events.endpoints_numba(each, tau, 1.0)
            found["events NumPy"] = checks.sample_law(numpy(each, tau, 1.0, rng), tau, 1.0, 1.0)
            found["events numba"] = checks.sample_law(
                events.endpoints_numba(each, tau, 1.0), tau, 1.0, 1.0
            )
        elif not stopped:
            plan.skip(f"event simulation from a t = {tau:g} on: over {most:g} turns a call")
            stopped = True
        rows += plan.rows(
            f"a t = {tau:g}", calls, threads=plan.threads[0], numbers=n, errors=found, tau=tau
        )
    rows.sort(key=lambda row: row.more["tau"])
    return rows + _alone(plan, shape, t)


def _alone(plan: Plan, shape: tuple[int, int], t: torch.Tensor) -> list[Row]:
    """kacflow at every a t in turn, with nothing in between that empties the caches."""

    def call(tau: float) -> Callable[[], torch.Tensor]:
        process = KacProcess(tau, 1.0)
        return lambda: process.sample(t, shape)

    names = {f"kacflow, a t = {tau:g}": tau for tau in TAUS}
    return plan.rows(
        ALONE, {name: call(tau) for name, tau in names.items()},
        threads=plan.threads[0], numbers=_cases.numbers(shape),
        errors={
            name: (checks.core_law(torch.float32, tau, device=plan.device), checks.LAW)
            for name, tau in names.items()
        },
    )  # fmt: skip


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per number against a t."""
    rows = [row for row in rows if row.case != ALONE]
    series = pictures.by_name(rows, "tau", lambda row: row.seconds.mid / row.numbers * 1e9)
    pictures.lines(axes, series, "a t, turns on average", "time per number, ns")

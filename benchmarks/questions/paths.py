"""Whole paths on a grid of times, against the length of the grid and against a t."""

from __future__ import annotations

from typing import Any

import numpy as np

import kacflow_core as kc
from benchmarks import checks, pictures
from benchmarks.competitors import events
from benchmarks.plan import Plan
from benchmarks.results import Row

TITLE = "Paths on a grid of times"
GRIDS = (1, 4, 16, 64, 256, 1024)
TAUS = (0.1, 1.0, 9.0, 100.0, 1e3, 1e4)


def run(plan: Plan) -> list[Row]:
    """kacflow against event simulation; the law is checked at the end of the grid."""
    if plan.device.type != "cpu":
        plan.skip("paths: kacflow_core.sample_path is on the CPU here")
        return []
    if not hasattr(kc, "sample_path"):
        plan.skip("paths: this kacflow_core has no sample_path")
        return []
    n = plan.pick(smoke=200, short=4_000, full=50_000)
    numbers = plan.pick(smoke=1e4, short=5e5, full=2e7)  # positions that a call may produce
    turns = plan.pick(smoke=1e5, short=5e6, full=2e8)
    rows: list[Row] = []
    for length in plan.pick(smoke=GRIDS[1:3], short=(*GRIDS[::2], 1024), full=GRIDS):
        if n * length <= numbers:
            rows += _compare(plan, n, length, 9.0, f"grid of {length}, a T = 9", "length", True)
    for tau in plan.pick(smoke=TAUS[1:3], short=(0.1, *TAUS[2:]), full=TAUS):
        simulated = n * (1.0 + tau) <= turns
        if not simulated:
            plan.skip(f"event simulation of paths at a T = {tau:g}: over {turns:g} turns a call")
        rows += _compare(plan, n, 16, tau, f"grid of 16, a T = {tau:g}", "tau", simulated)
    return rows


def _compare(
    plan: Plan, n: int, length: int, tau: float, case: str, axis: str, simulated: bool
) -> list[Row]:
    """n paths to time 1, at every thread count."""
    times = np.linspace(0.0, 1.0, length + 1)[1:]
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for threads in plan.threads:
        calls: dict[str, Any] = {
            "kacflow": lambda threads=threads: kc.sample_path(
                times, (n,), a=tau, c=1.0, seed=1, threads=threads
            )[0]
        }
        if simulated:
            calls["events NumPy"] = lambda: events.paths_numpy(times, n, tau, 1.0, rng)
            calls["events numba"] = lambda: events.paths_numba(times, n, tau, 1.0)
        found = {
            name: checks.sample_law(call()[:, -1], tau, 1.0, 1.0, edge=1e-3)
            for name, call in calls.items()
        }
        rows += plan.rows(
            case, calls, threads=threads, numbers=n * length, errors=found,
            axis=axis, length=length, tau=tau,
        )  # fmt: skip
    return rows


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per path and grid time against a T, on the most threads."""
    most = max(row.threads for row in rows)
    shown = [row for row in rows if row.more["axis"] == "tau" and row.threads == most]
    shown.sort(key=lambda row: row.more["tau"])
    series = pictures.by_name(shown, "tau", lambda row: row.seconds.mid / row.numbers * 1e9)
    pictures.lines(axes, series, "a T, turns on average", "time per position, ns (grid of 16)")

"""Whole paths on a grid of times, against the length of the grid and against a t."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import kacflow_core as kc
from benchmarks import checks, pictures
from benchmarks.competitors import events
from benchmarks.plan import Plan
from benchmarks.results import Row
from kacflow import KacProcess

TITLE = "Paths on a grid of times"
GRIDS = (1, 4, 8, 16, 64, 256)
TAUS = (0.1, 1.0, 9.0, 100.0, 1e3, 1e4)
RATE = 9.0  #: a T at which the length of the grid is varied
LENGTH = 8  #: of the grid on which a T is varied


def run(plan: Plan) -> list[Row]:
    """kacflow's draw against event simulation, others' and its own; the law is checked at T."""
    n = plan.pick(smoke=200, short=4_000, full=20_000)
    turns = plan.pick(smoke=1e5, short=5e6, full=3e7)  # that a call may simulate
    threads = plan.threads if plan.mode == "full" else plan.threads[:1]
    cases = [(length, RATE) for length in plan.pick(smoke=GRIDS[1:3], short=GRIDS, full=GRIDS)]
    taus = plan.pick(smoke=TAUS[1:2], short=(0.1, *TAUS[3:]), full=TAUS)
    cases += [(LENGTH, tau) for tau in taus if tau != RATE]
    rows: list[Row] = []
    for length, tau in cases:
        simulated = plan.device.type == "cpu" and n * (1.0 + tau) <= turns
        if not simulated:
            why = f"over {turns:g} turns a call" if plan.device.type == "cpu" else "on the CPU only"
            plan.skip(f"event simulation of {n} paths at a T = {tau:g}: {why}")
        for count in threads:
            rows += _compare(plan, n, length, tau, count, simulated)
    return rows


def _compare(
    plan: Plan, n: int, length: int, tau: float, threads: int, simulated: bool
) -> list[Row]:
    """n paths to time 1."""
    times = np.linspace(0.0, 1.0, length + 1)[1:]
    grid = torch.tensor(times, dtype=torch.float32, device=plan.device)
    process, rng = KacProcess(tau, 1.0), np.random.default_rng(0)

    def simulate() -> np.ndarray:
        found = kc.simulate_events(1.0, n, a=tau, c=1.0, seed=1, threads=threads)
        return found.at(times, c=1.0)[0]

    calls: dict[str, Any] = {"kacflow": lambda: process.sample_path(grid, (n,))[0]}
    if simulated:
        calls["events NumPy"] = lambda: events.paths_numpy(times, n, tau, 1.0, rng)
        calls["events numba"] = lambda: events.paths_numba(times, n, tau, 1.0)
        calls["kacflow simulate_events"] = simulate
    found = {}
    for name, call in calls.items():
        made = call()
        last = made.cpu().numpy() if isinstance(made, torch.Tensor) else made
        found[name] = checks.sample_law(last[:, -1], tau, 1.0, 1.0, edge=1e-3)
    return plan.rows(
        f"grid of {length}, a T = {tau:g}", calls, threads=threads, numbers=n * length,
        errors=found, length=length, tau=tau,
    )  # fmt: skip


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per position against a T, on the most threads."""
    most = max(row.threads for row in rows)
    length = min(LENGTH, max(row.more["length"] for row in rows))
    shown = [row for row in rows if row.more["length"] == length and row.threads == most]
    shown.sort(key=lambda row: row.more["tau"])
    series = pictures.by_name(shown, "tau", lambda row: row.seconds.mid / row.numbers * 1e9)
    pictures.lines(
        axes, series, "a T, turns on average", f"time per position, ns (grid of {length})"
    )

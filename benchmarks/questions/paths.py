"""Whole paths on a grid of times, against the length of the grid and against a t."""

from __future__ import annotations

from collections.abc import Callable
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
ALONE = f"kacflow alone, grid of {LENGTH}"


def run(plan: Plan) -> list[Row]:
    """kacflow's draw against event simulation, others' and its own; the law is checked at T."""
    n = plan.pick(smoke=200, short=10_000, full=20_000)
    turns = plan.pick(smoke=1e5, short=1.1e7, full=3e7)  # that a call may simulate
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
    rows += _alone(plan, n, [tau for tau in TAUS if tau >= RATE])
    return rows


def _draw(plan: Plan, n: int, length: int, tau: float, threads: int) -> Callable[[], Any]:
    """A call that draws n paths to time 1, their positions."""
    times = np.linspace(0.0, 1.0, length + 1, dtype=np.float32)[1:]
    if plan.device.type != "cpu":
        grid, process = torch.from_numpy(times).to(plan.device), KacProcess(tau, 1.0)
        return lambda: process.sample_path(grid, (n,))[0]
    return lambda: kc.sample_path(times, (n,), a=tau, c=1.0, seed=1, threads=threads)[0]


def _law(call: Callable[[], Any], tau: float) -> tuple[float, str]:
    """How far the positions at the last time are from the law."""
    made = call()
    last = made.cpu().numpy() if isinstance(made, torch.Tensor) else made
    return checks.sample_law(last[:, -1], tau, 1.0, 1.0, edge=1e-3)


def _alone(plan: Plan, n: int, taus: list[float]) -> list[Row]:
    """kacflow at every a T in turn, with nothing in between that empties the caches."""
    names = {f"kacflow, a T = {tau:g}": tau for tau in taus}
    calls = {name: _draw(plan, n, LENGTH, tau, plan.threads[0]) for name, tau in names.items()}
    return plan.rows(
        ALONE, calls, threads=plan.threads[0], numbers=n * LENGTH,
        errors={name: _law(calls[name], tau) for name, tau in names.items()},
        length=LENGTH,
    )  # fmt: skip


def _compare(
    plan: Plan, n: int, length: int, tau: float, threads: int, simulated: bool
) -> list[Row]:
    """n paths to time 1."""
    times = np.linspace(0.0, 1.0, length + 1)[1:]
    rng = np.random.default_rng(0)

    def simulate() -> np.ndarray:
        found = kc.simulate_events(1.0, n, a=tau, c=1.0, seed=1, threads=threads)
        return found.at(times, c=1.0)[0]

    calls: dict[str, Any] = {"kacflow": _draw(plan, n, length, tau, threads)}
    if simulated:
        calls["events NumPy"] = lambda: events.paths_numpy(times, n, tau, 1.0, rng)
        calls["events numba"] = lambda: events.paths_numba(times, n, tau, 1.0)
        calls["kacflow simulate_events"] = simulate
    found = {name: _law(call, tau) for name, call in calls.items()}
    return plan.rows(
        f"grid of {length}, a T = {tau:g}", calls, threads=threads, numbers=n * length,
        errors=found, length=length, tau=tau,
    )  # fmt: skip


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per position against a T, on the most threads."""
    rows = [row for row in rows if row.case != ALONE]
    most = max(row.threads for row in rows)
    length = min(LENGTH, max(row.more["length"] for row in rows))
    shown = [row for row in rows if row.more["length"] == length and row.threads == most]
    shown.sort(key=lambda row: row.more["tau"])
    series = pictures.by_name(shown, "tau", lambda row: row.seconds.mid / row.numbers * 1e9)
    pictures.lines(
        axes, series, "a T, turns on average", f"time per position, ns (grid of {length})"
    )

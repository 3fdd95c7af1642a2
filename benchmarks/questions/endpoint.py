"""Endpoint sampling: K(t) with a time per row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks import checks, pictures
from benchmarks.competitors import events, floors
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row

TITLE = "Endpoint sampling: K(t) of a batch, a time per row"


def run(plan: Plan) -> list[Row]:
    """kacflow against the table, event simulation and the floors."""
    rows: list[Row] = []
    process, rng = _cases.process(), np.random.default_rng(0)
    sample = plan.pick(smoke=2_000, short=100_000, full=1_000_000)
    errors = {
        "float32": (checks.core_law(torch.float32, RATE, device=plan.device), checks.LAW),
        "float64": (checks.core_law(torch.float64, RATE, device=plan.device), checks.LAW),
        "table": (checks.table_law(plan.table), checks.LAW),
        "numpy": checks.sample_law(
            events.endpoints_numpy(np.full(sample, 1.0), RATE, SPEED, rng), RATE, SPEED, 1.0
        ),
        "numba": checks.sample_law(
            events.endpoints_numba(np.full(sample, 1.0), RATE, SPEED), RATE, SPEED, 1.0
        ),
    }
    for shape in _cases.shapes(plan):
        n = _cases.numbers(shape)
        for dtype in (torch.float32, torch.float64):
            t = _cases.times(shape, plan, dtype)
            each = np.repeat(t.double().cpu().numpy(), shape[1])
            half = torch.randn(max(1, n // 2), dtype=dtype, device=plan.device)
            name = str(dtype).removeprefix("torch.")
            philox = plan.has("Philox floor", lambda n=n, name=name: floors.philox(n, name))
            for threads in plan.threads_for(n):
                calls: dict[str, Any] = {
                    "kacflow": lambda t=t, shape=shape: process.sample(t, shape)
                }
                found = {"kacflow": errors[name]}
                if dtype == torch.float32:
                    calls[plan.table_name] = lambda t=t, m=shape[1]: plan.table.sample(t, m)
                    found[plan.table_name] = errors["table"]
                elif plan.device.type == "cpu":
                    calls["events NumPy"] = lambda each=each: events.endpoints_numpy(
                        each, RATE, SPEED, rng
                    )
                    calls["events numba"] = lambda each=each: events.endpoints_numba(
                        each, RATE, SPEED
                    )
                    found["events NumPy"], found["events numba"] = errors["numpy"], errors["numba"]
                if philox and plan.device.type == "cpu":
                    calls["floor: Philox"] = lambda f=philox, k=threads: f(k)
                    found["floor: Philox"] = (checks.philox_error(philox), checks.WORDS)
                calls["floor: copy"] = lambda half=half: floors.copy(half)
                found["floor: copy"] = (checks.copy_error(floors.copy, half), checks.COPY)
                rows += plan.rows(
                    _cases.label(shape, dtype), calls, threads=threads, numbers=n, errors=found
                )
    return rows


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per number of the image batch."""
    pictures.bars(axes, [r for r in rows if r.case == rows[0].case], "time per number")

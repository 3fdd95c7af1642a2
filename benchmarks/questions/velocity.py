"""The conditional velocity v(t, x) alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks import checks, pictures, timing
from benchmarks.competitors import bessel, floors
from benchmarks.plan import HORIZON, RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row

TITLE = "The conditional velocity alone: positions in, velocities out"


def run(plan: Plan) -> list[Row]:
    """kacflow against the published float64 Bessel velocity: eager, compiled and in SciPy."""
    process, rows = _cases.process(), []
    compiled = bessel.velocity_compiled() if plan.compiles else None

    def error(call: Any, dtype: str = "float32") -> tuple[float, str]:
        found = checks.velocity_error(
            lambda x, t: call(
                torch.from_numpy(x).to(plan.device), torch.from_numpy(t).to(plan.device)
            ).cpu().numpy(),
            RATE, SPEED, dtype=dtype,
        )  # fmt: skip
        return found, checks.VELOCITY

    def eager(x: Tensor, t: Tensor) -> Tensor:
        return bessel.velocity_eager(x, t, RATE, SPEED, horizon=HORIZON)

    errors = {
        "float32": error(process.velocity),
        "float64": error(process.velocity, "float64"),
        "torch float64 Bessel": error(eager),
        "SciPy": (
            checks.velocity_error(
                lambda x, t: bessel.velocity_scipy(x, t, RATE, SPEED), RATE, SPEED
            ),
            checks.VELOCITY,
        ),
    }
    if compiled:
        plan.say("torch.compile of the velocity")
        errors["torch.compile"] = error(lambda x, t: compiled(x, t, RATE, SPEED))
    for shape in _cases.shapes(plan):
        for dtype in (torch.float32, torch.float64):
            rows += _compare(plan, shape, dtype, eager, compiled, errors)
    return rows


def _compare(
    plan: Plan, shape: tuple[int, int], dtype: torch.dtype, eager: Any, compiled: Any, errors: Any
) -> list[Row]:
    """One batch, at every thread count."""
    process, rows = _cases.process(), []
    t = _cases.times(shape, plan, dtype)
    time, rate = _cases.trailing(t, shape), RATE
    count = timing.buffers(shape, dtype, plan.device)
    x = timing.rotate([process.sample(t, shape) for _ in range(count)])
    calls: dict[str, Any] = {"kacflow": lambda: process.velocity(x(), time)}
    found = {"kacflow": errors[str(dtype).removeprefix("torch.")]}
    if dtype == torch.float32:
        calls["torch float64 Bessel"] = lambda: eager(x(), time)
        found["torch float64 Bessel"] = errors["torch float64 Bessel"]
        if compiled:
            calls["torch.compile"] = lambda: compiled(x(), time, rate, SPEED, horizon=HORIZON)
            found["torch.compile"] = errors["torch.compile"]
        if plan.device.type == "cpu":
            column = time.numpy()
            calls["SciPy"] = lambda: bessel.velocity_scipy(x().numpy(), column, RATE, SPEED)
            found["SciPy"] = errors["SciPy"]
    calls["floor: copy"] = lambda: floors.copy(x())
    found["floor: copy"] = (checks.copy_error(floors.copy, x()), checks.COPY)
    for threads in plan.threads_for(_cases.numbers(shape)):
        rows += plan.rows(
            _cases.label(shape, dtype),
            calls,
            threads=threads,
            numbers=_cases.numbers(shape),
            errors=found,
        )
    return rows


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per number of the image batch."""
    pictures.bars(axes, [r for r in rows if r.case == rows[0].case], "time per number")

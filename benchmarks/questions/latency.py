"""One small call, and where its time goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import kacflow_core as kc
from benchmarks import checks, pictures
from benchmarks.competitors import gaussian
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row
from kacflow_core._dispatch import get_backend
from kacflow_core._layout import Layout

TITLE = "A small call: the pair of 256 points of the plane"


def run(plan: Plan) -> list[Row]:
    """The whole call, then each layer below it alone.

    The whole call is schedules, seed and time checks on top of ``kacflow_core.sample_pair``; that
    is checks and layout on top of the kernel; the kernel on one number is what entering it costs.
    Through the dispatcher of torch, as under torch.compile, it is the operator.
    """
    shape, path = _cases.POINTS, _cases.path()
    x_0 = torch.randn(shape, device=plan.device)
    t = _cases.times(shape, plan)
    time = _cases.trailing(t, shape)
    process = path.process
    a, c = process._parameters(plan.device, torch.float32)
    f, one = 1.0 - t, torch.ones((), device=plan.device)
    seed = torch.tensor(7)

    def kac(x: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = path.sample(x, at)
        return drawn.x_t, drawn.dx_t

    calls: dict[str, Any] = {
        "kacflow": lambda: path.sample(x_0, t),
        "Gaussian eager": lambda: gaussian.pair_eager(x_0, time),
        plan.table_name: lambda: plan.table.pair(x_0, t),
        "part: torch operator": lambda: torch.ops.kacflow.sample_pair(
            x_0, a, c, f, -one, t, one, seed, 0
        ),
    }
    found = {
        "kacflow": (checks.pair_error(kac, RATE, SPEED, device=plan.device), checks.VELOCITY),
        "Gaussian eager": (checks.gaussian_error(gaussian.pair_eager, x_0, time), checks.GAUSSIAN),
        plan.table_name: (
            checks.pair_error(plan.table.pair, RATE, SPEED, device=plan.device), checks.VELOCITY
        ),
    }  # fmt: skip
    if plan.device.type == "cpu":
        calls.update(_below(x_0.numpy(), t.numpy()))
    return plan.rows(
        "x".join(map(str, shape)), calls, threads=1, numbers=_cases.numbers(shape), errors=found
    )


def _below(x_0: np.ndarray, t: np.ndarray) -> dict[str, Any]:
    """The layers below torch: checks and layout, and the kernel alone."""
    f, one = 1.0 - t, np.ones((1, 1), np.float32)
    a, c = np.full((1, 1), RATE), np.full((1, 1), SPEED)
    flat, times = x_0.reshape(-1), t.reshape(-1, 1)
    x_t, dx_t = np.empty_like(flat), np.empty_like(flat)
    backend = get_backend()

    def kernel(n0: int, inner: int) -> None:
        at = times if n0 > 1 else one
        backend.sample_pair(
            flat[: n0 * inner], x_t[: n0 * inner], dx_t[: n0 * inner], Layout(n0, 1, inner),
            a, c, at, -one, at, one, seed=7, offset=0, threads=1,
        )  # fmt: skip

    return {
        "part: kacflow_core.sample_pair": lambda: kc.sample_pair(
            x_0, a=RATE, c=SPEED, signal=f, dsignal=-1.0, clock=t, dclock=1.0, seed=7, threads=1
        ),
        "part: kernel": lambda: kernel(*x_0.shape),
        "part: kernel, one number": lambda: kernel(1, 1),
    }


def draw(axes: Any, rows: list[Row]) -> None:
    """A bar per layer and competitor, in microseconds a call."""
    rows = rows[::-1]
    values = [row.seconds.mid * 1e6 for row in rows]
    axes.barh(
        [row.name for row in rows],
        values,
        color=[
            pictures.FLOOR if row.name.startswith("part") else pictures.colour(row.name)
            for row in rows
        ],
    )
    axes.set_xscale("log")
    axes.set_xlabel("time per call, us")
    for place, value in enumerate(values):
        axes.annotate(f"  {value:.3g}", (value, place), va="center", fontsize=8)

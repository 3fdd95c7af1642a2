"""One small call, and where its time goes."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    seed = torch.tensor(7, device=plan.device)

    def kac(x: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = path.sample(x, at)
        return drawn.x_t, drawn.dx_t

    def operator(x: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ops.kacflow.sample_pair(x, a, c, 1.0 - at, -one, at, one, seed, 0)

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
        "part: torch operator": (
            checks.pair_error(operator, RATE, SPEED, device=plan.device), checks.VELOCITY
        ),
    }  # fmt: skip
    if plan.device.type == "cpu":
        below, pairs = _below(x_0.numpy(), t.numpy())
        calls.update(below)
        found.update({
            name: (checks.pair_error(pair, RATE, SPEED), checks.VELOCITY)
            for name, pair in pairs.items()
        })  # fmt: skip
    return plan.rows(
        "x".join(map(str, shape)), calls, threads=1, numbers=_cases.numbers(shape), errors=found
    )


def _below(x_0: np.ndarray, t: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """The layers below torch: checks and layout, and the kernel alone.

    Calls on the batch, and each as a pair of tensors whose error can be measured.
    """
    one = np.ones((1, 1), np.float32)
    a, c = np.full((1, 1), RATE), np.full((1, 1), SPEED)
    backend = get_backend()

    def core(x: np.ndarray, f: np.ndarray, at: np.ndarray) -> Any:
        return kc.sample_pair(
            x, a=RATE, c=SPEED, signal=f, dsignal=-1.0, clock=at, dclock=1.0, seed=7, threads=1
        )

    def kernel(x: np.ndarray, at: np.ndarray) -> Callable[[], Any]:
        flat, times, layout = x.reshape(-1), at.reshape(-1, 1), Layout(*_split(x.shape))
        x_t, dx_t = np.empty_like(flat), np.empty_like(flat)

        def call() -> Any:
            backend.sample_pair(
                flat, x_t, dx_t, layout, a, c, times, -one, times, one, seed=7, offset=0, threads=1
            )
            return x_t.reshape(x.shape), dx_t.reshape(x.shape)

        return call

    def tensors(call: Callable[[np.ndarray, np.ndarray], Any]) -> Any:
        return lambda x, at: tuple(torch.from_numpy(y) for y in call(x.numpy(), at.numpy()))

    f = 1.0 - t
    calls = {
        "part: kacflow_core.sample_pair": lambda: core(x_0, f, t),
        "part: kernel": kernel(x_0, t),
        "part: kernel, one number": kernel(x_0[:1, :1], t[:1]),
    }
    on_kernel = tensors(lambda x, at: kernel(x, at)())
    pairs = {
        "part: kacflow_core.sample_pair": tensors(lambda x, at: core(x, 1.0 - at, at)),
        "part: kernel": on_kernel,
        "part: kernel, one number": on_kernel,
    }
    return calls, pairs


def _split(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Rows of a batch, and the numbers that share a row."""
    return shape[0], 1, math.prod(shape[1:])


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

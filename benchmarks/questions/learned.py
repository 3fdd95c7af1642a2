"""The share of a training step that a learned noise takes, drawn and learned in that step.

The floor is a step of the default perceptron on a batch of CIFAR's size, forward, back and Adam.
Beside it stands one draw of :class:`kacflow.QuantileProcess` with the logarithm of its slope, and
the gradient of both in the parameters of the splines: by kacflow's kernels, and by the same
formulas composed of torch's operators.  One spline for all components, and one for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import pictures
from benchmarks.plan import Plan
from benchmarks.questions import _cases
from benchmarks.results import Row
from kacflow import QuantileProcess
from kacflow._normal import normal
from kacflow.ops import _spline_formulas as formulas
from kacflow.training import TrainConfig
from kacflow.training.networks import build_network

TITLE = "Share of a training step that a learned noise takes"
ERROR = "largest relative error of a gradient in the knots, against float64"
STEP = "floor: no noise"
Evaluate = Callable[..., tuple[Tensor, Tensor]]


def _step(network: nn.Module, x: Tensor, t: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.0, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(network(torch.randn_like(x), t), x).backward()
        optimizer.step()

    return step


def _noise(process: QuantileProcess, shape: tuple[int, int], evaluate: Evaluate) -> Any:
    """A draw and the gradient of what is learned of it."""

    def noise() -> None:
        process.zero_grad()
        n = normal(shape, dtype=torch.float32, device=process.middle.device)
        rows, back = process._rows(n)
        value, slope = evaluate(rows, *process._knots(torch.float32))
        (back(value).square().mean() - back(slope.log()).mean()).backward()

    return noise


def _error(process: QuantileProcess, shape: tuple[int, int], evaluate: Evaluate) -> float:
    rows, _ = process._rows(torch.randn(shape, device=process.middle.device))
    found = []
    for dtype, call in ((torch.float32, evaluate), (torch.float64, formulas.spline)):
        knots = [v.detach().to(dtype).requires_grad_() for v in process._knots(torch.float32)]
        y, slope = call(rows.to(dtype), *knots)
        (y.square().sum() - slope.log().sum()).backward()
        found.append([v.grad for v in knots])
    return max(float((g - w).abs().max() / w.abs().max()) for g, w in zip(*found, strict=True))


def run(plan: Plan) -> list[Row]:
    """Steps, and the noise in both ways, interleaved."""
    shape = _cases.shapes(plan)[0]
    network = build_network(TrainConfig(), shape[1:], 0).to(plan.device)
    x, t = torch.randn(shape, device=plan.device), _cases.times(shape, plan)
    ways: dict[str, Evaluate] = {
        "kacflow": torch.ops.kacflow._spline, "composed of torch": formulas.spline,
    }  # fmt: skip
    rows: list[Row] = []
    for case, own in (("one spline", ()), ("a spline for each component", shape[1:])):
        process = QuantileProcess(own).to(plan.device)
        calls: dict[str, Callable[[], object]] = {STEP: _step(network, x, t)}
        errors = {}
        for name, evaluate in ways.items():
            calls[name] = _noise(process, shape, evaluate)
            errors[name] = _error(process, shape, evaluate), ERROR
        for threads in plan.threads:
            made = plan.rows(
                f"{case}, {_cases.label(shape)}", calls, threads=threads, numbers=x.numel(),
                errors=errors,
            )  # fmt: skip
            for row in made[1:]:
                share = row.seconds.mid / made[0].seconds.mid
                row.more.update(share=share, note=f"{share:.1%} of a step of the network")
            rows += made
    return rows


def draw(axes: Any, rows: list[Row]) -> None:
    """The shares."""
    rows = [row for row in rows if "share" in row.more][::-1]
    axes.barh(
        [f"{row.case}: {row.name} ({row.threads})" for row in rows],
        [row.more["share"] for row in rows],
        color=[pictures.colour(row.name) for row in rows],
    )
    axes.set_xlabel("time over that of a step of the network (threads)")

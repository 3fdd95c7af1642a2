"""The share of a training step that the noise takes.

A step draws data and times, makes a pair (x_t, dx_t), and goes forward and back through the
network; Adam follows.  With kacflow's pair, the table sampler's and the Gaussian pair; eager, and
with pair, network and loss as one compiled function.  Beside each step its pair alone is measured,
and the share is the ratio of the two.  Cases: the perceptron of the paper's plane on 256 points,
and the network of the demonstration on 256 digits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import checks, pictures
from benchmarks.competitors import gaussian
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.questions.training import network as perceptron
from benchmarks.results import Row
from kacflow.training import TrainConfig
from kacflow.training.networks import build_network

TITLE = "Share of a training step that the noise takes, batch 256"
BATCH = 256
Pair = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class _Plane(nn.Module):
    """The perceptron of the plane as a network of x and t."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = perceptron()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        found: Tensor = self.layers(torch.cat([x, t.unsqueeze(1)], dim=1))
        return found


def _networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """{case: (network, shape of the batch)}."""
    digits = build_network(TrainConfig(data="digits"), (1, 8, 8), 0)
    return {"plane": (_Plane(), (BATCH, 2)), "digits": (digits, (BATCH, 1, 8, 8))}


def _step(network: nn.Module, pair: Pair, x_0: Tensor, backend: str) -> Callable[[], object]:
    """A step of training on batches like ``x_0``, compiled if there is a backend for it."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.0, fused=True)

    def loss(x_0: Tensor, t: Tensor) -> Tensor:
        x_t, dx_t = pair(x_0, t)
        return nn.functional.mse_loss(network(x_t, t), dx_t)

    called = torch.compile(loss, dynamic=False, backend=backend) if backend else loss

    def step() -> None:
        optimizer.zero_grad()
        fresh = torch.randn_like(x_0)
        called(fresh, torch.rand(len(x_0), device=x_0.device)).backward()
        optimizer.step()

    return step


def run(plan: Plan) -> list[Row]:
    """Steps and pairs, interleaved, eager and compiled."""
    path = _cases.path()

    def kac(x_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        drawn = path.sample(x_0, t)
        return drawn.x_t, drawn.dx_t

    def normal(x_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return gaussian.pair_eager(x_0, t.reshape(-1, *(1,) * (x_0.ndim - 1)))

    x_0, t = torch.zeros(64, 8, device=plan.device), _cases.times((64, 8), plan)
    of_normal = checks.gaussian_error(normal, x_0, _cases.trailing(t, x_0.shape))
    of = {
        "kacflow": (checks.pair_error(kac, RATE, SPEED, device=plan.device), checks.VELOCITY),
        plan.table_name: (
            checks.pair_error(plan.table.pair, RATE, SPEED, device=plan.device), checks.VELOCITY
        ),
        "Gaussian": (of_normal, checks.GAUSSIAN),
    }  # fmt: skip
    error = {**of, **{f"{name}, pair alone": found for name, found in of.items()}}
    compiler = plan.pick(smoke="aot_eager", short="inductor", full="inductor")
    rows: list[Row] = []
    for case, (network, shape) in _networks().items():
        network = network.to(plan.device)
        x_0 = torch.zeros(shape, device=plan.device)
        t = _cases.times(shape, plan)
        pairs: dict[str, Pair] = {
            "kacflow": kac, plan.table_name: plan.table.pair, "Gaussian": normal,
        }  # fmt: skip
        for how, backend in {"eager": "", "compiled": compiler}.items():
            torch.compiler.reset()
            for threads in plan.threads:
                calls: dict[str, Callable[[], object]] = {}
                for name, pair in pairs.items():
                    alone = pair
                    if backend:
                        alone = torch.compile(pair, dynamic=False, backend=backend)
                    calls[name] = _step(network, pair, x_0, backend)
                    calls[f"{name}, pair alone"] = partial(alone, x_0, t)
                made = plan.rows(
                    f"{case}, {how}", calls, threads=threads, numbers=x_0.numel(),
                    errors=error,
                )  # fmt: skip
                mid = {row.name: row.seconds.mid for row in made}
                for row in made:
                    if row.name in pairs:
                        share = mid[f"{row.name}, pair alone"] / mid[row.name]
                        row.more.update(share=share, note=f"the noise takes {share:.1%}")
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
    axes.set_xlabel("share of a step (threads)")

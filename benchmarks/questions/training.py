"""Whole training steps: what the noise costs, and what the training loop costs.

The nine-mode grid, with the network and settings of the paper.

Data: nine points {-1, 0, 1}^2, blurred by 1e-4.  Network: three hidden layers of 256 rectified
units on (x_t, t).  Adam at 5e-4, gradients clipped to norm 1, batches of 256, a = 9, c = 3, T = 1,
x_t = x_0 + K(t).  The competitors differ in where (x_t, dx_t) comes from and in nothing else; each
has a network of its own, and they take their steps in turn.

The digits of the demonstration: a step of :func:`kacflow.train`, which draws the batch, its times
and its noise and keeps its books, and a bare loop of the same network, optimiser, clipping and
average that is handed one ready batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import checks, pictures
from benchmarks.plan import HORIZON, RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row
from kacflow.training import TrainConfig, load_dataset, loop, processes
from kacflow.training.ema import Average
from kacflow.training.networks import build_network

TITLE = "Training steps, batch 256"
BATCH, WIDTH, LEARNING_RATE, BLUR = 256, 256, 5e-4, 1e-4

Pair = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def network() -> nn.Module:
    """The perceptron of the paper's experiments in the plane."""
    return nn.Sequential(
        nn.Linear(3, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, 2),
    )


class Trainer:
    """A network in training on the pairs that ``pair(x_0, t)`` draws."""

    def __init__(self, pair: Pair, device: torch.device) -> None:
        self.pair, self.device = pair, device
        torch.manual_seed(0)
        self.network = network().to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        side = torch.tensor([-1.0, 0.0, 1.0], device=device)
        self.centres = torch.cartesian_prod(side, side)
        self.losses: list[Tensor] = []

    def step(self) -> None:
        """One step of the optimiser."""
        self.optimizer.zero_grad()
        index = torch.randint(9, (BATCH,), device=self.device)
        x_0 = self.centres[index] + BLUR * torch.randn(BATCH, 2, device=self.device)
        t = torch.rand(BATCH, device=self.device) * HORIZON
        x_t, dx_t = self.pair(x_0, t)
        out = self.network(torch.cat([x_t, t.unsqueeze(1)], dim=1))
        loss = nn.functional.mse_loss(out, dx_t)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.losses.append(loss.detach())

    def loss(self) -> float:
        """Mean over the second half of the steps."""
        kept = self.losses[len(self.losses) // 2 :]
        return float(torch.stack(kept).mean())


def run(plan: Plan) -> list[Row]:
    """Steps with kacflow, with the table sampler, and with pairs that cost nothing."""
    path = _cases.path("constant")

    def kac(x_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        drawn = path.sample(x_0, t)
        return drawn.x_t, drawn.dx_t

    def table(x_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return plan.table.pair(x_0, t, signal="constant")

    ready = kac(torch.zeros(BATCH, 2, device=plan.device), _cases.times((BATCH, 2), plan))

    def nothing(x_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return ready

    def error(pair: Pair) -> tuple[float, str]:
        return checks.pair_error(pair, RATE, SPEED, device=plan.device), checks.VELOCITY

    found = {"kacflow": error(kac), plan.table_name: error(table)}
    rows: list[Row] = []
    for threads in plan.threads:
        trainers = {
            "kacflow": Trainer(kac, plan.device),
            plan.table_name: Trainer(table, plan.device),
            "floor: no pair": Trainer(nothing, plan.device),
        }
        made = plan.rows(
            "steps",
            {name: trainer.step for name, trainer in trainers.items()},
            threads=threads,
            numbers=2 * BATCH,
            errors=found,
        )
        for row in made:
            row.more["steps_per_second"] = 1.0 / row.seconds.mid
            note = f"{1.0 / row.seconds.mid:.0f} steps/s"
            if row.name in found:
                row.more["loss"] = trainers[row.name].loss()
                note += f", loss {row.more['loss']:.2f}"
            row.more["note"] = note
        rows += made + _loop(plan, threads, found["kacflow"])
    return rows


def _loop(plan: Plan, threads: int, error: tuple[float, str]) -> list[Row]:
    """A step of the training loop beside one that is handed its batch."""
    config = TrainConfig(data="digits", labels=True, device=plan.device.type, validate_every=0)
    data = load_dataset(config)
    torch.manual_seed(0)
    run = loop._Run(config, data, processes.accelerator(config.device), None)
    network = build_network(config, data.sample_shape, data.classes).to(plan.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
    average = Average(network, config.ema)
    x_t, t, target, labels = run.batch()

    def bare() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(network(x_t, t, labels), target).backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimizer.step()
        average.update(network)

    rows = plan.rows(
        "digits", {"floor: bare loop": bare, "kacflow.train": run.one_step}, threads=threads,
        numbers=x_t.numel(), errors={"kacflow.train": error},
    )  # fmt: skip
    run.feed.close()
    for row in rows:
        row.more["steps_per_second"] = 1.0 / row.seconds.mid
        row.more["note"] = f"{1.0 / row.seconds.mid:.0f} steps/s"
    return rows


def draw(axes: Any, rows: list[Row]) -> None:
    """Steps per second on the nine-mode grid."""
    rows = [row for row in rows if row.case == "steps"][::-1]
    axes.barh(
        [f"{row.name} ({row.threads})" for row in rows],
        [row.more["steps_per_second"] for row in rows],
        color=[pictures.colour(row.name) for row in rows],
    )
    axes.set_xlabel("steps per second (threads)")
    for place, row in enumerate(rows):
        axes.annotate(
            f" {row.more['steps_per_second']:.0f}",
            (row.more["steps_per_second"], place),
            va="center",
            fontsize=8,
        )

"""One small training run, to be repeated through every adapter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kacflow import KacPath, KacProcess

ROOT = str(Path(__file__).parents[2])  # whose kacflow_core is not the installed one

STEPS, BATCH, SIZE = 10, 32, 6


class Field(nn.Module):
    """A small velocity field model(x, t), data at t = 0, t of shape (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(SIZE + 1, 16), nn.Tanh(), nn.Linear(16, SIZE))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layers(torch.cat((x, t[:, None].to(x.dtype)), dim=1))


Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Run:
    """Trains a fresh float64 model on ``loss(model, x_0, t)`` with t in kacflow's own direction.

    Data, times, first weights and the state of torch's generator in each step are always the same.
    """

    def __init__(self, T: float, signal: str, clock: str) -> None:
        self.T, self.signal, self.clock = T, signal, clock
        self.a, self.c = 9.0, 3.0
        self.path = KacPath(KacProcess(self.a, self.c), T, signal, clock)

    def losses(self, loss: Loss) -> Tensor:
        torch.manual_seed(0)
        model = Field().double()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        values = []
        for step in range(STEPS):
            generator = torch.Generator().manual_seed(step)
            x_0 = torch.randn(BATCH, SIZE, dtype=torch.float64, generator=generator)
            t = self.T * torch.rand(BATCH, dtype=torch.float64, generator=generator)
            torch.manual_seed(1000 + step)
            value = loss(model, x_0, t)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.detach())
        return torch.stack(values)

    def reference(self) -> Tensor:
        """The losses through KacPath."""

        def loss(model: nn.Module, x_0: Tensor, t: Tensor) -> Tensor:
            sample = self.path.sample(x_0, t)
            return nn.functional.mse_loss(model(sample.x_t, sample.t), sample.dx_t)

        return self.losses(loss)


@pytest.fixture(
    params=[(1.0, "linear", "linear"), (1.7, "cosine", "square")], ids=["linear", "cosine"]
)
def run(request: pytest.FixtureRequest) -> Run:
    return Run(*request.param)


@pytest.fixture
def child_environment() -> dict[str, str]:
    """Environment for a subprocess: this process's import path, one thread."""
    path = os.pathsep.join(entry for entry in sys.path if entry not in ("", ROOT))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """These networks are too small to gain from more threads, whose number changes last bits."""
    torch.set_num_threads(1)

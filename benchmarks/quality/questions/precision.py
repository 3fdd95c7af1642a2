"""What rounding does: networks in bfloat16 and float16, and with noise on their weights.

The networks of the question ``digits`` that predict the velocity.  In 16 bits weights and
activations of the network are; the integration stays in float32.  Noise multiplies each weight by
1 + sigma e, with e standard normal.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.quality import measures, pictures, solvers
from benchmarks.quality.questions import digits
from benchmarks.quality.questions._noises import LABELS, styles
from kacflow.training import TrainedModel
from kacflow.training.paths import build_path

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Rounded networks on handwritten digits"
TRAINING, STEPS = "digits", digits.STEPS
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NOISES = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
STEPS_TAKEN, METHOD = 32, "ab2"
MEASURES = {
    "rounded": "Frechet distance to held-out digits at 32 evaluations, by type of the network",
    "noisy": "the same in float32, by relative noise on the weights",
}
CONDITIONS = {f"{noise}-velocity": label for noise, label in LABELS.items()}
REFERENCE = "flow-matching-velocity"
SAMPLES = 1000
configuration = digits.configuration


class _Rounded(nn.Module):
    """A network whose weights and activations have a type; float32 goes in and comes out."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = copy.deepcopy(network).to(dtype), dtype

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        found: Tensor = self.network(x.to(self.dtype), t.to(self.dtype), labels)
        return found.to(x.dtype)


def noisy(network: nn.Module, sigma: float, seed: int) -> nn.Module:
    """A copy whose weights are multiplied by 1 + sigma e."""
    copied, generator = copy.deepcopy(network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in copied.parameters():
            e = torch.randn(weights.shape, generator=generator).to(weights.device)
            weights.mul_(1.0 + sigma * e)
    return copied


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """Distances with each type and each noise."""
    n = task.samples
    labels, path = digits.even_labels(n), build_path(model.config)

    def distance(network: nn.Module) -> float | None:
        changed = TrainedModel(network, model.config, model.sample_shape, model.classes, model.step)
        field = solvers.field_of(changed, labels)
        shape = (n, *model.sample_shape)
        how = {"method": METHOD, "steps": STEPS_TAKEN}
        return digits.distance(solvers.integrated(field, path, shape, task.seed, **how)[0])

    return {
        "rounded": {name: distance(_Rounded(model.network, kind)) for name, kind in TYPES.items()},
        "noisy": {f"{s:g}": distance(noisy(model.network, s, task.seed)) for s in NOISES},
    }


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Of training digits."""
    values = digits.real(task, seeds)["frechet_distance"]
    return {"rounded": values, "noisy": values}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distance against the noise."""
    axes = figure.add_subplot()
    pictures.curves(axes, content, "noisy", CONDITIONS, styles(CONDITIONS), scale="symlog")
    axes.set(yscale="log", xlabel="relative noise on the weights",
             ylabel="Frechet distance to held-out digits")  # fmt: skip

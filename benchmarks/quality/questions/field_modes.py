"""Norm and Lipschitz constant of the learned field as t goes to 0, on nine modes in the plane.

The networks of the question ``modes``, and beside each the exact field of the nine points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.quality import fields, measures, solvers
from benchmarks.quality.questions import modes, steps_modes
from benchmarks.quality.questions._noises import LABELS, noise_of, styles, with_exact
from kacflow import EmpiricalField
from kacflow.training import TrainedModel
from kacflow.training.paths import build_path

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Size and steepness of the field on nine modes in the plane"
TRAINING, STEPS = "modes", modes.STEPS
MEASURES, COMPARED = fields.MEASURES, ()
CONDITIONS = with_exact(dict(LABELS))
REFERENCE = modes.REFERENCE
SAMPLES, METHOD = 900, "none"
configuration = steps_modes.configuration


def measure(model: TrainedModel | None, task: Task) -> measures.Measured:
    """Of a network, or of the exact field, around real points."""
    points = modes.real_points(task.samples, task.seed, even=True)
    x_0 = torch.as_tensor(points, dtype=torch.float32)
    if model is not None:
        return fields.measured(
            solvers.field_of(model, None), build_path(model.config), x_0, task.seed
        )
    path = solvers.path_of(noise_of(task.condition))
    exact = EmpiricalField(torch.tensor(modes.MODES, dtype=torch.float32), path)
    return fields.measured(exact, path, x_0, task.seed, lipschitz=False)


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Nothing."""
    return {}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Both against t."""
    fields.draw(figure, content, CONDITIONS, styles(CONDITIONS))

"""How many evaluations each solver needs, on nine modes in the plane.

The networks of the question ``modes``, and beside each the exact field of the nine points with the
same noise, which has no error but the solver's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.quality import measures, solvers
from benchmarks.quality.questions import modes
from benchmarks.quality.questions._noises import EXACT, LABELS, noise_of, styles, with_exact
from kacflow import EmpiricalField
from kacflow.training import TrainConfig, TrainedModel
from kacflow.training.paths import build_path

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Solvers on nine modes in the plane"
TRAINING = "modes"
MEASURES = solvers.measures_of("w2", "exact 2-Wasserstein distance to as many real points")
COMPARED = ("w2_ab2",)
CONDITIONS = with_exact(dict(LABELS))
REFERENCE = modes.REFERENCE
SAMPLES, METHOD = 1000, "as named"
STEPS = modes.STEPS


def configuration(task: Task) -> TrainConfig | None:
    """That of the modes; nothing is trained for an exact field."""
    return None if task.condition.endswith(EXACT) else modes.configuration(task)


def measure(model: TrainedModel | None, task: Task) -> measures.Measured:
    """Distances by solver and evaluations."""
    if model is not None:
        field, path = solvers.field_of(model, None), build_path(model.config)
    else:
        path = solvers.path_of(noise_of(task.condition))
        field = EmpiricalField(torch.tensor(modes.MODES, dtype=torch.float32), path)

    def judge(samples: np.ndarray) -> dict[str, float | None]:
        points = modes.real_points(len(samples), task.seed, even=True)
        return {"w2": measures.of_finite(measures.w2, samples, points)}

    return solvers.measured(field, path, (task.samples, 2), task, solvers.SOLVERS, judge)


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Of independent real points."""
    values = modes.real(task, seeds)["w2"]
    return {name: values for name in MEASURES if name.startswith("w2")}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """A panel per solver."""
    solvers.panels(figure, content, "w2", CONDITIONS, styles(CONDITIONS), "2-Wasserstein distance")

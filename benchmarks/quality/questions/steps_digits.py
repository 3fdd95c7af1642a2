"""How many evaluations each solver needs, on handwritten digits.

The networks of the question ``digits`` that predict the velocity, and beside each the exact field
of the training digits with the same noise (:class:`kacflow.EmpiricalField`, of the class that is
generated), which has no error but the solver's.  The exact field ends at training digits: its
distance to held-out ones is what a perfect memory would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality import measures, solvers
from benchmarks.quality.questions import digits
from benchmarks.quality.questions._noises import EXACT, LABELS, noise_of, styles, with_exact
from kacflow import EmpiricalField
from kacflow.path import Path
from kacflow.training import TrainConfig, TrainedModel
from kacflow.training.data import digits_split
from kacflow.training.paths import build_path

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Solvers on handwritten digits"
TRAINING, STEPS = "digits", digits.STEPS
MEASURES = solvers.measures_of("frechet_distance", "Frechet distance to held-out digits")
COMPARED = ("frechet_distance_ab2",)
CONDITIONS = with_exact({f"{noise}-velocity": label for noise, label in LABELS.items()})
REFERENCE = "flow-matching-velocity"
SAMPLES, METHOD = 500, "as named"
#: Of exact fields, which cost as much as the data is large.
EXACT_SOLVERS, EXACT_EVALUATIONS = ("ab2",), 32


def configuration(task: Task) -> TrainConfig | None:
    """That of the digits; nothing is trained for an exact field."""
    return None if task.condition.endswith(EXACT) else digits.configuration(task)


class _ByClass:
    """The exact field, where sample i is of class i modulo 10: each class has its own points."""

    def __init__(self, path: Path) -> None:
        images, labels, _, _ = digits_split()
        self._fields = [EmpiricalField(images[labels == k], path) for k in range(digits.CLASSES)]

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        found = torch.empty_like(x)
        for k, field in enumerate(self._fields):
            found[k :: digits.CLASSES] = field(x[k :: digits.CLASSES], t[k :: digits.CLASSES])
        return found


def measure(model: TrainedModel | None, task: Task) -> measures.Measured:
    """Distances by solver and evaluations."""
    n = task.samples
    if model is not None:
        labels = digits.even_labels(n)
        field = solvers.field_of(model, labels)
        shape, path = model.sample_shape, build_path(model.config)
        names: Sequence[str] = solvers.SOLVERS
    else:
        path = solvers.path_of(noise_of(task.condition))
        field, shape, names = _ByClass(path), tuple(digits_split()[0].shape[1:]), EXACT_SOLVERS

    def judge(samples: np.ndarray) -> dict[str, float | None]:
        return {"frechet_distance": digits.distance(samples)}

    most = EXACT_EVALUATIONS if model is None else max(task.amount.evaluations)
    return solvers.measured(field, path, (n, *shape), task, names, judge, most)


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Of as many training digits."""
    [value] = digits.real(task, seeds)["frechet_distance"]
    return {name: [value] for name in MEASURES if name.startswith("frechet_distance")}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """A panel per solver."""
    solvers.panels(figure, content, "frechet_distance", CONDITIONS, styles(CONDITIONS),
                   "Frechet distance")  # fmt: skip

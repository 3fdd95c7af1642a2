"""Norm and Lipschitz constant of the learned field as t goes to 0, on handwritten digits.

The networks of the question ``digits`` that predict the velocity, at noised held-out digits with
their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.quality import fields, measures, solvers
from benchmarks.quality.questions import digits
from benchmarks.quality.questions._noises import LABELS, styles
from kacflow.training import TrainedModel
from kacflow.training.data import digits_split
from kacflow.training.paths import build_path

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Size and steepness of the field on handwritten digits"
TRAINING, STEPS = "digits", digits.STEPS
MEASURES, COMPARED = fields.MEASURES, ()
CONDITIONS = {f"{noise}-velocity": label for noise, label in LABELS.items()}
REFERENCE = "flow-matching-velocity"
SAMPLES, METHOD = 256, "none"
configuration = digits.configuration


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """Of the network on held-out digits."""
    _, _, images, labels = digits_split()
    field = solvers.field_of(model, labels[: task.samples])
    return fields.measured(field, build_path(model.config), images[: task.samples], task.seed)


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Nothing."""
    return {}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Both against t."""
    fields.draw(figure, content, CONDITIONS, styles(CONDITIONS))

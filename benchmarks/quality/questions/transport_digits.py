"""Transport steps against Adams-Bashforth, on handwritten digits.

The networks of the question ``digits`` that predict the data; see
:mod:`benchmarks.quality.transport`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from benchmarks.quality import measures, transport
from benchmarks.quality.questions import digits
from benchmarks.quality.questions._noises import LABELS, styles
from kacflow.training import TrainedModel

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Transport steps on handwritten digits"
TRAINING, STEPS = "digits", digits.STEPS
MEASURES = transport.measures_of("Frechet distance to held-out digits")
COMPARED = ()
CONDITIONS = {f"{noise}-data": LABELS[noise] for noise in ("kac-25-2", "flow-matching")}
REFERENCE = "flow-matching-data"
SAMPLES, METHOD = 1000, "as named"
configuration = digits.configuration


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """Distances by method and evaluations."""
    labels = digits.even_labels(task.samples)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        found: Tensor = model.network(x, t, labels)
        return found

    def judge(samples: np.ndarray) -> float | None:
        return digits.distance(samples)

    return transport.measured(model, predict, task, judge)


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Nothing."""
    return {}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Differences from Adams-Bashforth."""
    transport.draw(figure, content, CONDITIONS, styles(CONDITIONS))

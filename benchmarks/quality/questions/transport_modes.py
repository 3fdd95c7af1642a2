"""Transport steps against Adams-Bashforth, on nine modes in the plane.

The network and settings of the question ``modes``, predicting the data; see
:mod:`benchmarks.quality.transport`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from benchmarks.quality import measures, transport
from benchmarks.quality.questions import modes
from benchmarks.quality.questions._noises import LABELS, styles
from kacflow.training import TrainConfig, TrainedModel

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Transport steps on nine modes in the plane"
STEPS = modes.STEPS
MEASURES = transport.measures_of("exact 2-Wasserstein distance to as many real points")
COMPARED = ()
CONDITIONS = {noise: LABELS[noise] for noise in ("kac-9-3", "kac-25-2", "flow-matching")}
REFERENCE = "flow-matching"
SAMPLES, METHOD = 1000, "as named"


def configuration(task: Task) -> TrainConfig:
    """That of the modes, predicting the data."""
    return dataclasses.replace(modes.configuration(task), prediction="data")


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """Distances by method and evaluations."""
    points = modes.real_points(task.samples, task.seed, even=True)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        found: Tensor = model.network(x, t)
        return found

    def judge(samples: np.ndarray) -> float | None:
        return measures.of_finite(measures.w2, samples, points)

    return transport.measured(model, predict, task, judge)


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Nothing."""
    return {}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Differences from Adams-Bashforth."""
    transport.draw(figure, content, CONDITIONS, styles(CONDITIONS))

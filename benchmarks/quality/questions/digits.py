"""Prediction and process on handwritten digits.

The class-conditional network, data and optimiser of the demonstration (:mod:`kacflow.demo`), for
four noises, each predicting the velocity or the data.  Quality: Frechet distance over the 64 pixels
of 1,000 generated digits, equally many of each class, without guidance, to the 500 held-out ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality import measures, pictures
from benchmarks.quality.questions._noises import LABELS, NOISES, styles
from kacflow.demo import configurations
from kacflow.metrics import frechet_distance
from kacflow.training import TrainConfig, TrainedModel
from kacflow.training.data import digits_split

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Prediction and process on handwritten digits"
MEASURES = {"frechet_distance": "Frechet distance to held-out digits, by evaluations"}
PREDICTIONS = ("velocity", "data")
CONDITIONS = {
    f"{noise}-{prediction}": f"{LABELS[noise]}; {prediction}"
    for noise in NOISES
    for prediction in PREDICTIONS
}
REFERENCE = "flow-matching-velocity"
SAMPLES, METHOD, CLASSES = 1000, "ab2", 10
STEPS = {"short": 3_000}


def configuration(task: Task) -> TrainConfig:
    """The demonstration's configuration with another noise and prediction."""
    noise, _, prediction = task.condition.rpartition("-")
    base = configurations(task.folder, task.steps)["flow_matching"]
    return dataclasses.replace(
        base, out=str(task.folder), prediction=prediction, seed=task.seed, device=task.device,
        evaluate_every=max(1, task.steps // 10), evaluate_samples=task.samples, **NOISES[noise],
    )  # fmt: skip


def even_labels(n: int) -> Tensor:
    """Labels of ``n`` digits, as many of each class as can be."""
    return torch.arange(n) % CLASSES


def distance(samples: np.ndarray) -> float | None:
    """Frechet distance to the held-out digits, None for samples that are not finite."""
    return measures.of_finite(frechet_distance, samples, digits_split()[2].numpy())


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """Distances of what the model generates to the held-out digits."""
    n, found = task.samples, {}
    for steps in task.amount.evaluations:
        drawn = measures.draw(
            model, n, steps=steps, method=METHOD, seed=task.seed, labels=even_labels(n)
        )
        found[str(drawn.evaluations)] = distance(drawn.samples)
    return {"frechet_distance": found}


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """The same of as many training digits, once."""
    train, _, held_out, _ = digits_split()
    return {"frechet_distance": [frechet_distance(train[: task.samples].numpy(), held_out.numpy())]}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distance against evaluations: a colour per noise, dashes where the data is predicted."""
    axes = figure.add_subplot()
    pictures.curves(axes, content, "frechet_distance", CONDITIONS, styles(CONDITIONS))
    axes.set(yscale="log", xlabel="evaluations of the network",
             ylabel="Frechet distance to held-out digits")  # fmt: skip

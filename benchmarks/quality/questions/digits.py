"""Prediction and process on handwritten digits.

The class-conditional network, data and optimiser of the demonstration (:mod:`kacflow.demo`), for
four noises, each predicting the velocity or the data.  Quality: Frechet distance over the 64 pixels
of 1,000 generated digits, equally many of each class, without guidance, to the 500 held-out ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.quality import measures, pictures
from benchmarks.quality.questions._noises import COLOURS, LABELS, NOISES
from kacflow.demo import configurations
from kacflow.metrics import frechet_distance
from kacflow.training import TrainConfig, TrainedModel
from kacflow.training.data import digits_split

if TYPE_CHECKING:
    from benchmarks.quality.plan import Budget

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


def configuration(condition: str, **options: Any) -> TrainConfig:
    """The demonstration's configuration with another noise and prediction."""
    noise, _, prediction = condition.rpartition("-")
    base = configurations(Path(options["out"]), options["steps"])["flow_matching"]
    return dataclasses.replace(base, prediction=prediction, **NOISES[noise], **options)


def measure(model: TrainedModel, budget: Budget, seed: int) -> measures.Measured:
    """Distances of what the model generates to the held-out digits."""
    _, _, held_out, _ = digits_split()
    n = budget.samples(SAMPLES)
    labels = torch.arange(n) % CLASSES
    found: dict[str, float | None] = {}
    for steps in budget.evaluations:
        drawn = measures.draw(model, n, steps=steps, method=METHOD, seed=seed, labels=labels)
        found[str(drawn.evaluations)] = measures.of_finite(
            frechet_distance, drawn.samples, held_out.numpy()
        )
    return {"frechet_distance": found}


def real(budget: Budget, seeds: Sequence[int]) -> dict[str, list[float]]:
    """The same of as many training digits, once."""
    train, _, held_out, _ = digits_split()
    kept = train[: budget.samples(SAMPLES)]
    return {"frechet_distance": [frechet_distance(kept.numpy(), held_out.numpy())]}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distance against evaluations: a colour per noise, dashes where the data is predicted."""
    axes = figure.add_subplot()
    styles = {
        condition: {
            "color": COLOURS[condition.rpartition("-")[0]],
            "linestyle": "--" if condition.endswith("data") else "-",
        }
        for condition in CONDITIONS
    }
    pictures.curves(axes, content, "frechet_distance", CONDITIONS, styles)
    axes.set(yscale="log", xlabel="evaluations of the network",
             ylabel="Frechet distance to held-out digits")  # fmt: skip
    axes.legend(fontsize=7)

"""Guidance from 0 to 20 on class-conditional digits.

The networks of the question ``digits`` that predict the velocity; 32 steps of Adams-Bashforth, each
with one evaluation with the label and one without.  The digits lie in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.quality import measures, pictures
from benchmarks.quality.questions import digits
from benchmarks.quality.questions._noises import LABELS, styles
from kacflow.metrics import ClassJudge
from kacflow.training import TrainedModel
from kacflow.training.data import digits_split
from kacflow.training.sampling import draw_samples

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Guidance on handwritten digits"
TRAINING, STEPS = "digits", digits.STEPS
WEIGHTS, STEPS_TAKEN, METHOD = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0), 32, "ab2"
BEYOND = 0.1  #: of the range, that counts as out of it
MEASURES = {
    "frechet_distance": "Frechet distance to held-out digits, by weight of guidance",
    "accuracy": "share that a classifier of real digits takes for the class asked for, by weight",
    "out_of_range": f"share of pixels more than {BEYOND} outside [-1, 1], by weight",
    "not_finite": "share of digits with NaN or infinity, by weight",
    "largest": "largest |pixel|, by weight",
}
COMPARED = ("frechet_distance", "accuracy")
CONDITIONS = {f"{noise}-velocity": label for noise, label in LABELS.items()}
REFERENCE = "flow-matching-velocity"
SAMPLES = 1000
configuration = digits.configuration


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """All measures by weight."""
    images, classes, _, _ = (part.numpy() for part in digits_split())
    judge, n = ClassJudge(images, classes), task.samples
    labels = digits.even_labels(n)
    found: measures.Measured = {name: {} for name in MEASURES}
    for weight in WEIGHTS:
        samples = draw_samples(
            model, n, steps=STEPS_TAKEN, method=METHOD, seed=task.seed, labels=labels,
            guidance=weight,
        ).numpy()  # fmt: skip
        fine = bool(np.isfinite(samples).all())
        values = {
            "frechet_distance": digits.distance(samples),
            "accuracy": float(judge.accuracy(samples, labels.numpy())) if fine else None,
            "out_of_range": float(np.mean(~(np.abs(samples) <= 1.0 + BEYOND))),
            "not_finite": float(np.mean(~np.isfinite(samples.reshape(n, -1)).all(1))),
            "largest": measures.finite(float(np.abs(samples).max())),
        }
        for name, value in values.items():
            found[name][f"{weight:g}"] = value
    return found


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Of training digits, and the classifier's accuracy on held-out ones."""
    images, classes, held_out, labels = (part.numpy() for part in digits_split())
    return {
        **digits.real(task, seeds),
        "accuracy": [float(ClassJudge(images, classes).accuracy(held_out, labels))],
    }


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distance, accuracy and pixels out of range against the weight."""
    shown = {"frechet_distance": "Frechet distance", "accuracy": "accuracy",
             "out_of_range": "pixels out of range"}  # fmt: skip
    for number, (name, y_label) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, 3, number)
        pictures.curves(axes, content, name, CONDITIONS, styles(CONDITIONS), scale="symlog")
        axes.set(xlabel="weight of guidance", ylabel=y_label)
        if number == 1:
            axes.set_yscale("log")

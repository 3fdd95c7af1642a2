"""Learning rates from 1 to 30 times the usual one, on handwritten digits.

The network of the question ``digits`` for few steps, gradients clipped as there, with
the learning rate constant after a warm-up of 50 steps.  A run has diverged if a loss or gradient is
not finite, or if it ends with a loss above that of the first step, where the network returns 0.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.quality import measures, pictures
from benchmarks.quality.questions import digits
from benchmarks.quality.questions._noises import LABELS, styles
from kacflow.plotting import read_log
from kacflow.training import TrainConfig, TrainedModel, load_model, train
from kacflow.training.checkpoint import FILE_NAME
from kacflow.training.sampling import draw_samples

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Learning rates on handwritten digits"
FACTORS, WARMUP = (1, 3, 10, 30), 50
MEASURES = {
    "diverged": "share of runs that diverge, by factor of the learning rate",
    "frechet_distance": "Frechet distance to held-out digits at 32 evaluations, by factor",
    "loss_ratio": "mean loss of the last tenth of the steps over that of the first, by factor",
    "gradient_norm": "median over the second half of the steps of the gradient's norm before "
    "clipping, by factor",
    "largest_gradient_norm": "largest norm of the gradient after the warm-up, by factor",
}
COMPARED = ("frechet_distance",)
CONDITIONS = dict(LABELS)
REFERENCE = "flow-matching"
SAMPLES, METHOD, STEPS_TAKEN = 1000, "ab2", 32
STEPS = {"short": 200, "long": 2_000, "full": 10_000}


def configuration(task: Task) -> None:
    """None: there are several trainings, and those that diverge count too."""


def _config(task: Task, factor: int) -> TrainConfig:
    """A training with ``factor`` times the learning rate, every step in its log."""
    named = dataclasses.replace(task, condition=f"{task.condition}-velocity")
    base = digits.configuration(named)
    return dataclasses.replace(
        base, out=str(task.folder / f"x{factor}"), lr=base.lr * factor, warmup=WARMUP,
        lr_schedule="constant", ema=0.99, log_every=1, validate_every=0, evaluate_every=0,
    )  # fmt: skip


def _train(config: TrainConfig) -> TrainedModel | None:
    """The model, None of a run whose loss or gradient was not finite."""
    try:
        train(config, resume=(Path(config.out) / FILE_NAME).exists(), progress=False)
    except FloatingPointError:
        return None
    return load_model(config.out)


def _measured(config: TrainConfig, task: Task) -> dict[str, float | None]:
    """All measures of one training."""
    model, lines = _train(config), read_log(config.out)
    norms = [line["grad_norm"] for line in lines if line["step"] > WARMUP]
    last = [line["loss"] for line in lines[-max(1, len(lines) // 10) :]]
    ratio = (
        statistics.fmean(last) / lines[0]["loss"]
    )  # of a network that returns 0: its last layer starts so
    found: dict[str, float | None] = {
        "diverged": float(model is None or ratio > 1.0),
        "frechet_distance": None,
        "loss_ratio": None if model is None else ratio,
        "gradient_norm": statistics.median(norms[len(norms) // 2 :]) if norms else None,
        "largest_gradient_norm": max(norms) if norms else None,
    }
    if model is not None:
        n = task.samples
        samples = draw_samples(
            model, n, steps=STEPS_TAKEN, method=METHOD, seed=task.seed,
            labels=digits.even_labels(n),
        )  # fmt: skip
        found["frechet_distance"] = digits.distance(samples.numpy())
    return found


def measure(model: None, task: Task) -> measures.Measured:
    """Train with each factor, and measure."""
    found: measures.Measured = {name: {} for name in MEASURES}
    for factor in FACTORS:
        for name, value in _measured(_config(task, factor), task).items():
            found[name][str(factor)] = value
    return found


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """The distance of training digits."""
    return digits.real(task, seeds)


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distance and gradients against the factor."""
    shown = {"frechet_distance": "Frechet distance", "gradient_norm": "norm of the gradient"}
    for number, (name, y_label) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, 2, number)
        pictures.curves(axes, content, name, CONDITIONS, styles(CONDITIONS))
        axes.set(yscale="log", xlabel="learning rate over the usual", ylabel=y_label)

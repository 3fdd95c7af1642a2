"""Time until a given distance is reached, on handwritten digits.

From the logs of the trainings of the question ``digits`` that predict the velocity, which evaluate
themselves ten times.  Time is that of training, without evaluations and pictures, on one CPU
thread; it depends on what else the machine does, while the steps do not.  How much of a step the
noise takes is a question of the benchmarks (``python -m benchmarks --only training``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.quality import measures, pictures
from benchmarks.quality.questions import digits
from benchmarks.quality.questions._noises import LABELS, styles
from kacflow.plotting import read_log
from kacflow.training import TrainedModel

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Time until a distance is reached on handwritten digits"
TRAINING, STEPS = "digits", digits.STEPS
DISTANCES = (2.0, 1.0, 0.7, 0.6, 0.5)
MEASURES = {
    "distance": "Frechet distance of 1,000 digits to held-out ones at 50 evaluations, by steps",
    "steps_to": "steps until that distance is reached, between two evaluations by interpolation, "
    "by distance",
    "seconds_to": "seconds of training until then, by distance",
    "seconds_per_step": "seconds per step, by steps",
}
COMPARED = ("distance", "steps_to")
CONDITIONS = {f"{noise}-velocity": label for noise, label in LABELS.items()}
REFERENCE = "flow-matching-velocity"
SAMPLES, METHOD = digits.SAMPLES, "ab2"
configuration = digits.configuration


def reached(points: Sequence[tuple[float, float]], distance: float) -> float | None:
    """Where a curve of (x, value) first falls to ``distance``, linearly between points; or None."""
    before: tuple[float, float] | None = None
    for x, value in points:
        if value <= distance:
            if before is None:
                return x
            share = (before[1] - distance) / (before[1] - value)
            return before[0] + share * (x - before[0])
        before = x, value
    return None


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """Distances of the log, and when each was reached."""
    steps, seconds, before, total = [], [], 0.0, 0.0
    for line in read_log(task.folder):
        total += (line["step"] - before) * model.config.batch / line["samples_per_second"]
        before = line["step"]
        if "frechet_distance" in line:
            steps.append((line["step"], line["frechet_distance"]))
            seconds.append((total, line["frechet_distance"]))
    return {
        "distance": {f"{step:g}": value for step, value in steps},
        "steps_to": {f"{d:g}": reached(steps, d) for d in DISTANCES},
        "seconds_to": {f"{d:g}": reached(seconds, d) for d in DISTANCES},
        "seconds_per_step": {f"{before:g}": total / before},
    }


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """The distance of training digits."""
    return {"distance": digits.real(task, seeds)["frechet_distance"]}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distance against steps."""
    axes = figure.add_subplot()
    pictures.curves(axes, content, "distance", CONDITIONS, styles(CONDITIONS))
    axes.set(yscale="log", xlabel="steps", ylabel="Frechet distance to held-out digits")

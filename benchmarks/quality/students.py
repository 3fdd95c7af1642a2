"""Students of a trained network: how they compare with their teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from benchmarks.quality import measures, pictures, worker
from kacflow.training import TrainedModel, distill, load_model
from kacflow.training.sampling import draw_samples

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

STEPS = (20, 4, 2, 1)
TEACHER, STUDENTS = "teacher", "students"


def measures_of(label: str) -> dict[str, str]:
    """Names and labels of what :func:`measured` finds."""
    return {
        TEACHER: f"{label} of the teacher, by evaluations",
        STUDENTS: f"{label} of the students, by their steps",
        "ratio": "the same over that of the teacher at 100 evaluations, by the students' steps",
    }


def teacher_of(task: Task, question: str, condition: str) -> tuple[Task, TrainedModel]:
    """The trained teacher of the same seed and budget; trained now, if it is not yet."""
    other = dataclasses.replace(task, question=question, condition=condition)
    model, _ = worker.trained(other)
    if model is None:
        raise RuntimeError(f"{other.name}: diverged, so that there is nothing to distil")
    return other, model


def measured(
    task: Task,
    teacher: tuple[Task, TrainedModel],
    judge: Callable[[np.ndarray], float | None],
    *,
    guidance: float,
    labels: Tensor | None,
    **how: Any,
) -> measures.Measured:
    """Distil, and judge samples of teacher and students from the same noise."""
    place, model = teacher
    distill(
        place.folder, task.folder, STEPS, guidance=guidance, progress=False, evaluate_every=0,
        validate_every=0, **how,
    )  # fmt: skip
    n = task.samples

    def judged(of: TrainedModel, weight: float, **solver: Any) -> float | None:
        samples = draw_samples(
            of, n, seed=task.seed, labels=labels, guidance=weight, chunk=n, **solver
        )
        return judge(samples.numpy())

    of_teacher: Mapping[int, float | None] = {
        steps: judged(model, guidance, steps=steps, method="ab2")
        for steps in (*reversed(STEPS), 100)
    }
    of_students = {
        steps: judged(load_model(task.folder / f"steps-{steps}"), 0.0) for steps in reversed(STEPS)
    }
    best = of_teacher[100]
    return {
        TEACHER: {str(steps): value for steps, value in of_teacher.items()},
        STUDENTS: {str(steps): value for steps, value in of_students.items()},
        "ratio": {
            str(steps): value / best for steps, value in of_students.items() if value and best
        },
    }


def draw(
    figure: Any,
    content: Mapping[str, Any],
    labels: Mapping[str, str],
    styles: Mapping[str, Mapping[str, Any]],
    y_label: str,
) -> None:
    """Teachers beside students, on one scale."""
    for number, name in enumerate((TEACHER, STUDENTS), 1):
        axes = figure.add_subplot(1, 2, number)
        pictures.curves(axes, content, name, labels, styles)
        axes.set(yscale="log", xlabel="evaluations", ylabel=y_label, title=name)
        axes.sharey(figure.axes[0])

"""Few steps by distillation, on nine modes in the plane.

Teachers are the networks of the question ``modes``; each teaches students of 20, 4, 2 and 1 Euler
steps, 500 steps of 256 points each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.quality import measures, students
from benchmarks.quality.questions import modes
from benchmarks.quality.questions._noises import LABELS, styles

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Few steps by distillation on nine modes in the plane"
MEASURES = students.measures_of("exact 2-Wasserstein distance to as many real points")
COMPARED = (students.STUDENTS,)
CONDITIONS = {name: LABELS[name] for name in ("kac-9-3", "kac-25-2", "flow-matching")}
REFERENCE = "flow-matching"
SAMPLES, METHOD = modes.SAMPLES, "ab2 for the teacher, euler for students"
#: Of the students; teachers have those of the question "modes".
STEPS = {"short": 500, "long": 10_000, "full": 50_000}


def configuration(task: Task) -> None:
    """None: the students' configurations are made of their teacher's."""


def measure(model: None, task: Task) -> measures.Measured:
    """Distil and compare."""
    points = modes.real_points(task.samples, task.seed, even=True)

    def judge(samples: np.ndarray) -> float | None:
        return measures.of_finite(measures.w2, samples, points)

    teacher = students.teacher_of(task, "modes", task.condition)
    return students.measured(
        task, teacher, judge, guidance=0.0, labels=None, train_steps=task.steps,
        lr_schedule="cosine",
    )  # fmt: skip


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Of independent real points."""
    values = modes.real(task, seeds)["w2"]
    return {students.TEACHER: values, students.STUDENTS: values}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Teachers beside students."""
    students.draw(figure, content, CONDITIONS, styles(CONDITIONS), "2-Wasserstein distance")

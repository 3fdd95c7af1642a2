"""Few steps by distillation, on handwritten digits with guidance.

Teachers are the networks of the question ``digits`` that predict the velocity, with guidance 1;
each teaches students of 20, 4, 2 and 1 Euler steps (:func:`kacflow.training.distill`), 300 steps of
64 digits each, integrated by Adams-Bashforth.  The distance falls with guidance or rises: teacher
and students are compared at the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.quality import measures, students
from benchmarks.quality.questions import digits
from benchmarks.quality.questions._noises import LABELS, styles

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Few steps by distillation on handwritten digits"
GUIDANCE = 1.0
MEASURES = students.measures_of("Frechet distance to held-out digits")
COMPARED = (students.STUDENTS,)
CONDITIONS = {name: LABELS[name] for name in ("kac-9-3", "kac-25-2", "flow-matching")}
REFERENCE = "flow-matching"
SAMPLES, METHOD = 1000, "ab2 for the teacher, euler for students"
#: Of the students; teachers have those of the question "digits".
STEPS = {"short": 300, "long": 5_000, "full": 20_000}


def configuration(task: Task) -> None:
    """None: the students' configurations are made of their teacher's."""


def measure(model: None, task: Task) -> measures.Measured:
    """Distil and compare."""
    teacher = students.teacher_of(task, "digits", f"{task.condition}-velocity")
    return students.measured(
        task, teacher, digits.distance, guidance=GUIDANCE, labels=digits.even_labels(task.samples),
        train_steps=task.steps, batch=64,
    )  # fmt: skip


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Of training digits."""
    values = digits.real(task, seeds)["frechet_distance"]
    return {students.TEACHER: values, students.STUDENTS: values}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Teachers beside students."""
    students.draw(figure, content, CONDITIONS, styles(CONDITIONS), "Frechet distance")

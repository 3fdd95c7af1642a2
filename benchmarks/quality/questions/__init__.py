"""The questions about quality, one file each.

A question has

- ``TITLE``, one line, and ``MEASURES``, the label of each measure by name; ``COMPARED``, those
  whose differences from the reference have a table of their own (default: all);
- ``CONDITIONS``, the label of each condition by name, and ``REFERENCE``, the one that the others
  are compared with;
- ``SAMPLES``, generated for each measurement, and ``METHOD``, the solver;
- ``configuration(task)``, a :class:`kacflow.TrainConfig`, or None where nothing is to be trained;
  ``TRAINING``, the question whose trainings these are (default: its own), ``STEPS``, the optimiser
  steps by budget (default: those of the budget), ``NEEDS_DATA`` if there is a file to name;
- ``measure(model, task)``, {measure: {point: number or None}} of a trained model, None if there is
  none or it diverged; a point is a number of evaluations unless the measure says otherwise;
- ``real(task, seeds)``, {measure: [number, ...]}: the same of real data in place of generated;
- ``draw(figure, content)``, which pictures a record.
"""

from __future__ import annotations

import importlib
from typing import Any

#: In the order in which they are asked.
NAMES = (
    "digits", "modes", "steps_digits", "steps_modes", "field_digits", "field_modes", "precision",
    "guidance", "learning_rate", "cost", "few_steps_digits", "few_steps_modes",
    "transport_digits", "transport_modes", "cifar10", "dimension",
    "noises_checkerboard", "noises_gaussians", "noises_funnel",
)  # fmt: skip


def load(name: str) -> Any:
    """The module of a question."""
    return importlib.import_module(f"benchmarks.quality.questions.{name}")

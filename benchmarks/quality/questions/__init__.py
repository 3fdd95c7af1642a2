"""The questions about quality, one file each.

A question has

- ``TITLE``, one line, and ``MEASURES``, the label of each measure by name;
- ``CONDITIONS``, the label of each condition by name, and ``REFERENCE``, the one that the others
  are compared with;
- ``SAMPLES``, generated for each measurement, and ``METHOD``, the solver;
- ``configuration(condition, *, steps, seed, device, out)``, a :class:`kacflow.TrainConfig`;
- ``measure(model, budget, seed)``, {measure: {point: number or None}} of a trained model, where a
  point is a number of evaluations unless the measure says otherwise;
- ``real(budget, seeds)``, {measure: [number, ...]}: the same of real data in place of generated;
- ``draw(figure, content)``, which pictures a record.
"""

from __future__ import annotations

import importlib
from typing import Any

#: In the order in which they are asked.
NAMES = ("digits", "modes")


def load(name: str) -> Any:
    """The module of a question."""
    return importlib.import_module(f"benchmarks.quality.questions.{name}")

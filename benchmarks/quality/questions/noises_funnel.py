"""One-dimensional noises on Neal's funnel; see :mod:`benchmarks.quality.laws`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.quality import laws
from kacflow.training import TrainConfig

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "One-dimensional noises on Neal's funnel"
MEASURES, COMPARED = laws.MEASURES, laws.COMPARED
CONDITIONS, REFERENCE = laws.CONDITIONS, laws.REFERENCE
STEPS, SAMPLES, METHOD = laws.STEPS, laws.SAMPLES, laws.METHOD
measure, real, draw = laws.measure, laws.real, laws.draw


def configuration(task: Task) -> TrainConfig:
    """The network and settings that were fixed beforehand, with one of the noises."""
    return laws.configuration(task, "funnel")

"""What is trained: budgets, and one training of one question as a task."""

from __future__ import annotations

import functools
import pathlib
from dataclasses import dataclass
from typing import Any

from benchmarks.quality import questions

RESULT = "measured.json"  #: beside the checkpoint of a run


@dataclass(frozen=True)
class Budget:
    """How much is done.

    Attributes
    ----------
    steps : int
        Optimiser steps of each training.
    evaluations : tuple of int
        Evaluations of the network per generated sample, each of which is measured.
    share : float
        Of the generated samples that a question asks for, in (0, 1].
    """

    steps: int
    evaluations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 100)
    share: float = 1.0

    def samples(self, number: int) -> int:
        """How many samples to generate where a whole run generates ``number``."""
        return round(self.share * number)


#: "smoke" only shows that everything runs.
BUDGETS = {
    "smoke": Budget(20, (1, 2, 4), 0.1),
    "short": Budget(5_000),
    "long": Budget(20_000),
    "full": Budget(100_000),
}


@dataclass(frozen=True)
class Task:
    """One training, and the measurements of what it generates.

    Attributes
    ----------
    question, condition : str
    seed : int
        Decides weights, order of the data, times, noise and where generation starts: trainings of
        one seed differ in their condition alone.
    budget : str
    device : {"cpu", "cuda"}
    out : pathlib.Path
        Folder of all runs.
    """

    question: str
    condition: str
    seed: int
    budget: str
    device: str
    out: pathlib.Path

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.question}, {self.condition}, seed {self.seed}"

    @property
    def folder(self) -> pathlib.Path:
        """Folder of the run."""
        return self.out / self.question / self.budget / f"{self.condition}-seed{self.seed}"

    @functools.cached_property
    def config(self) -> Any:
        """The :class:`kacflow.TrainConfig`."""
        return questions.load(self.question).configuration(
            self.condition,
            steps=BUDGETS[self.budget].steps,
            seed=self.seed,
            device=self.device,
            out=str(self.folder),
        )

    @property
    def description(self) -> dict[str, Any]:
        """What decides the numbers, as JSON holds it: results of another are not used."""
        decided = {k: v for k, v in self.config.to_dict().items() if k not in ("out", "device")}
        budget = BUDGETS[self.budget]
        return {
            "config": decided,
            "evaluations": list(budget.evaluations),
            "samples": budget.samples(questions.load(self.question).SAMPLES),
        }

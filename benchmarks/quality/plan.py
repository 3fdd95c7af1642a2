"""What is trained: budgets, and one training of one question as a task."""

from __future__ import annotations

import functools
import pathlib
from dataclasses import dataclass
from typing import Any

from benchmarks.quality import questions


@dataclass(frozen=True)
class Budget:
    """How much is done.

    Attributes
    ----------
    steps : int
        Optimiser steps of each training, where a question does not say otherwise.
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
    """One condition of one question with one seed: a training, if it needs one, and measurements.

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
    data : str
        File of the data, of a question that needs one.
    """

    question: str
    condition: str
    seed: int
    budget: str
    device: str
    out: pathlib.Path
    data: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.question}, {self.condition}, seed {self.seed}"

    @property
    def asked(self) -> Any:
        """The module of the question."""
        return questions.load(self.question)

    @property
    def amount(self) -> Budget:
        """How much is done."""
        return BUDGETS[self.budget]

    @property
    def steps(self) -> int:
        """Optimiser steps of the training."""
        found: int = getattr(self.asked, "STEPS", {}).get(self.budget, self.amount.steps)
        return found

    @property
    def samples(self) -> int:
        """Samples that are generated for a measurement."""
        return self.amount.samples(self.asked.SAMPLES)

    @property
    def folder(self) -> pathlib.Path:
        """Folder of the run: questions about the same trainings share it."""
        training = getattr(self.asked, "TRAINING", self.question)
        return self.out / training / self.budget / f"{self.condition}-seed{self.seed}"

    @property
    def result(self) -> pathlib.Path:
        """What was measured."""
        return self.folder / f"measured-{self.question}.json"

    @functools.cached_property
    def config(self) -> Any:
        """The :class:`kacflow.TrainConfig`; None for a condition that needs no training."""
        return self.asked.configuration(self)

    @property
    def description(self) -> dict[str, Any]:
        """What decides the numbers, as JSON holds it: results of another are not used."""
        config = None if self.config is None else self.config.to_dict()
        for name in ("out", "device", "data") if self.data else ("out", "device"):
            (config or {}).pop(name, None)
        return {
            "config": config,
            "evaluations": list(self.amount.evaluations),
            "samples": self.samples,
        }

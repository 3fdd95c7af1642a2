"""What is seen of a run: losses on held-out samples, distances to them, pictures, trackers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kacflow import plotting
from kacflow._arguments import must
from kacflow._optional import require
from kacflow.training._uniforms import Uniforms
from kacflow.training.checkpoint import TrainedModel
from kacflow.training.config import TrainConfig
from kacflow.training.data import Dataset
from kacflow.training.objective import Objective
from kacflow.training.sampling import balanced_labels, draw_samples

LOG_FILE = "log.jsonl"
PICTURES = "samples"
MOST_VALIDATED = 512  #: held-out samples that the loss is taken over
PICTURED, PICTURE_STEPS = 64, 50


class Validation:
    """The loss on the same held-out samples, times and noise each time, whatever the seed;
    ``objective`` is that of the training.
    """

    def __init__(self, objective: Objective, held_out: Dataset, device: torch.device) -> None:
        n = min(held_out.size, MOST_VALIDATED)
        indices = torch.randperm(held_out.size, generator=torch.Generator().manual_seed(0))[:n]
        self._objective = objective
        self._labels = held_out.labels(indices).to(device) if objective.classes else None
        self._raw = held_out.raw(indices).to(device)
        [uniforms] = Uniforms(0, range(n), device)(0)
        times, numbers, dropped = objective.random(uniforms, range(n), n)
        self._random = times, numbers, torch.zeros_like(dropped)  # no label is left out

    @torch.no_grad()
    def loss(self, network: nn.Module) -> float:
        """The mean over the samples, computed in pieces of a batch."""
        n, size = len(self._raw), self._objective.config.batch
        total = 0.0
        for first in range(0, n, size):
            here = slice(first, min(first + size, n))
            labels = None if self._labels is None else self._labels[here]
            random = tuple(value[..., here] for value in self._random)
            drawn = self._objective.draw(self._raw[here], labels, random, first, seed=0, step=0)
            total += float(self._objective.loss(network, drawn)) * (here.stop - first)
        return total / n


def _samples(model: TrainedModel, n: int) -> Tensor:
    """Of a network as it is now, from the same noise each time."""
    how: dict[str, Any] = {"steps": PICTURE_STEPS, "method": "ab2"}
    labels = balanced_labels(n, model.classes)
    return draw_samples(
        model, n, labels=labels, seed=model.config.seed, **({} if model.config.teacher else how)
    )


class Pictures:
    """Samples of the network as it is now, from the same noise each time: ``samples/*.png``.

    With classes there is a row, or more, of each.
    """

    def __init__(self, model: TrainedModel) -> None:
        self._model, self._folder = model, Path(model.config.out) / PICTURES
        require("matplotlib")

    def draw(self, step: int) -> Path:
        """Write the picture of ``step``."""
        samples = _samples(self._model, PICTURED)
        return plotting.plot_samples(samples, self._folder / f"step-{step:07d}.png")


class Evaluation:
    """Distances of samples of the network as it is now, ``average``, to ``data``; the same noise
    each time.
    """

    def __init__(self, model: TrainedModel, data: Dataset, device: torch.device) -> None:
        from kacflow import evaluation  # builds on training

        self._model, self._evaluation = model, evaluation
        with torch.random.fork_rng(devices=[]):  # weights are drawn before they are read
            self._extract = evaluation.Features(model.config.evaluate_features, device=device)
        self._extract.check(data.sample_shape)
        self._real = self._extract(evaluation.everything(data, model.config.seed)[0])

    def distances(self) -> dict[str, float]:
        """``frechet_distance``, ``kid``, ``precision`` and ``recall``, if all samples are finite.

        And the share of the samples that are, ``finite``.
        """
        config = self._model.config
        samples = _samples(self._model, config.evaluate_samples)
        finite = float(samples.flatten(1).isfinite().all(1).double().mean())
        if finite < 1.0:
            return {"finite": finite}
        found = self._evaluation.compared(self._extract(samples), self._real, config.seed)
        names = ("frechet_distance", "kid", "precision", "recall")
        return {"finite": finite, **{name: found[name] for name in names}}


class Stopwatch:
    """Adds up the time of what runs within, on a GPU by events, which nothing waits for."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds, self._events = 0.0, []  # type: ignore[var-annotated]

    def __enter__(self) -> None:
        if self._cuda:
            self._events.append(tuple(torch.cuda.Event(enable_timing=True) for _ in range(2)))
            self._events[-1][0].record()
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        if self._cuda:
            self._events[-1][1].record()
        self._seconds += time.perf_counter() - self._began

    def seconds(self) -> float:
        """So far; to be asked when the device is idle."""
        if self._cuda:
            return sum(begin.elapsed_time(end) for begin, end in self._events) * 1e-3
        return self._seconds


class Monitor:
    """Log, progress bar, tracker, validation and pictures of a run, in its main process.

    The others take part in the lines of the log, whose means are taken over all.  ``average`` has
    the averaged weights, which are validated on ``held_out`` and pictured; ``step`` is how many
    steps were done before, and ``parameters`` the number of trained ones.
    """

    def __init__(
        self, objective: Objective, accelerator: Any, average: nn.Module, data: Dataset,
        held_out: Dataset | None, *, step: int, parameters: int, progress: bool,
    ) -> None:  # fmt: skip
        config, device = objective.config, accelerator.device
        self._config, self._objective, self._accelerator = config, objective, accelerator
        self._average, self._parameters = average, parameters
        self._noise: Stopwatch | None = Stopwatch(device)
        self._validation, self._pictures, self._evaluation = None, None, None
        main = accelerator.is_main_process
        if main and config.validate_every and held_out is not None:
            self._validation = Validation(objective, held_out, device)
        model = TrainedModel(
            average, config, data.sample_shape, objective.classes, step, objective.path
        )
        if main and config.sample_every:
            self._pictures = Pictures(model)
        if main and config.evaluate_every:
            self._evaluation = Evaluation(model, data if held_out is None else held_out, device)
        if config.tracker != "none":
            accelerator.init_trackers("kacflow", config=config.to_dict())
        file = Path(config.out) / LOG_FILE if main else os.devnull
        self._file = open(file, "a")  # noqa: SIM115 - closed on leaving the monitor
        self._bar = require("tqdm.auto").tqdm(
            total=config.steps, initial=step, disable=not (progress and main), unit="step",
            desc=Path(config.out).name,
        )  # fmt: skip
        self._marked = self._first = step
        self._time = time.perf_counter()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._file.close()
        for tracker in self._accelerator.trackers:
            tracker.finish()  # end_training would leave the group of processes as well

    def after(self, step: int, means: Callable[[], dict[str, float]]) -> None:
        """To be called when a step is done, by all processes; ``means`` gives a line of the log."""
        config, last = self._config, step == self._config.steps
        validates = bool(config.validate_every) and step % config.validate_every == 0
        evaluates = bool(config.evaluate_every) and step % config.evaluate_every == 0
        if step % config.log_every == 0 or last or validates or evaluates:
            self._log(step, means(), validates or last, evaluates or last)
        if self._pictures is not None and (step % config.sample_every == 0 or last):
            self._pictures.draw(step)
        if step == self._first + 1 and self._noise is not None:  # the first one compiles and loads
            self._objective.timer, self._timed = self._noise, (step, time.perf_counter())
        self._bar.update()

    def _log(self, step: int, line: dict[str, float], validates: bool, evaluates: bool) -> None:
        now = time.perf_counter()
        samples = (step - self._marked) * self._config.batch
        line["samples_per_second"] = samples / max(now - self._time, 1e-9)
        if self._noise is not None and step > self._first + 1:
            since, began = self._timed
            share = self._noise.seconds() / max(now - began, 1e-9)
            if not self._bar.disable:
                self._bar.write(
                    f"{self._parameters:,} parameters; the noise takes {share:.1%} of a step "
                    f"(over {step - since} steps)", file=sys.stderr,
                )  # fmt: skip
            self._objective.timer, self._noise = nullcontext(), None
        if validates and self._validation is not None:
            line["validation_loss"] = self._validation.loss(self._average)
        if evaluates and self._evaluation is not None:
            line.update(self._evaluation.distances())
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._accelerator.log(line, step=step)
        shown = {"loss": f"{line['loss']:.4f}", "samples": f"{line['samples_per_second']:.0f}/s"}
        if self._accelerator.device.type == "cuda":
            most = torch.cuda.max_memory_allocated(self._accelerator.device)
            shown["memory"] = f"{most / 2**30:.1f} GiB"
        self._bar.set_postfix(shown, refresh=False)
        self._marked, self._time = step, time.perf_counter()


def check_tracker(config: TrainConfig) -> None:
    """ValueError if the tracker of ``config`` is not installed."""
    if config.tracker == "none":
        return
    tracking = require("accelerate.tracking")
    there, got = getattr(tracking, f"is_{config.tracker}_available")(), repr(config.tracker)
    allowed = f"'none', or pip install {config.tracker}"
    must(there, "tracker", f"{got}, which is not installed", allowed)

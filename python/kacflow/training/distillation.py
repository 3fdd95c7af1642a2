"""Endpoint distillation: a student's one step is to end where a teacher's many do.

On the grid of M equal steps from T to 0, a sample is noised to one of the times t = T/M, ..., T;
the teacher leads from there to t - T/M, at y, and the student's Euler step x_t - (T/M) v(x_t, t) is
to land on y: Han, Meng, Manning, Ermon, *DistillKac*, arXiv 2509.21513.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kacflow._arguments import must
from kacflow.generate import generate
from kacflow.path import PathSample
from kacflow.time_grids import time_grid
from kacflow.training.checkpoint import TrainedModel, checkpoint_file, load_model
from kacflow.training.config import TrainConfig
from kacflow.training.data import Dataset
from kacflow.training.objective import Objective, Weight


def digest(place: str | Path) -> str:
    """SHA-256 of the checkpoint of a run."""
    return hashlib.sha256(checkpoint_file(place).read_bytes()).hexdigest()


def load_teacher(
    config: TrainConfig, device: torch.device, network: nn.Module | None = None
) -> TrainedModel:
    """The teacher that ``config`` names, with averaged weights; ValueError for another one."""
    wanted = config.teacher_sha256
    got = f"{config.teacher!r}, whose checkpoint is not the one that this student began with"
    same = not wanted or digest(config.teacher) == wanted
    must(same, "teacher", got, f"that of SHA-256 {wanted[:16]}...")
    model = load_model(config.teacher, device=device, network=network)
    if config.compile:
        model.network.compile()
    return model


class _Interval:
    """A path from the beginnings (B,) of intervals on: its time is that since the beginning."""

    def __init__(self, path: Any, network: nn.Module, start: Tensor, T: float) -> None:
        self.T, self._path, self._network, self._start = T, path, network, start

    def _time(self, since: Tensor) -> Tensor:
        start = self._start.repeat(len(since) // len(self._start))  # guidance doubles the batch
        return (start + since).clamp(0.0, self._path.T)

    def __call__(self, x: Tensor, since: Tensor, *labels: Tensor) -> Tensor:
        return self._network(x, self._time(since), *labels)

    def velocity(self, x: Tensor, since: Tensor, x_0: Tensor) -> Tensor:
        return self._path.velocity(x, self._time(since), x_0)


class Distillation(Objective):
    """Squared distance of the end of a student's step from that of the teacher's integration.

    The target is the mean velocity (x_t - y)/h of the teacher over the step h = T/M, and with the
    loss "velocity" the error is that of velocities; "position" is h^2 times as much.

    The teacher, on the device that trains, is asked as :func:`kacflow.generate` would ask it, on
    the way to t = 0.  There heun and rk4 evaluate the field, which a teacher that predicts the data
    does not have: it takes another solver.

    A student that predicts the data is compared in the velocity that ``generate`` makes of it.  At
    its times, >= h, that is affine in the data on a Gaussian path.  On the Kac path it is not: at
    the edge of the light cone it leaps by 2 c/(a g + 2), so that no data gives what lies between,
    and beyond it is +-c plus the signal's part, whatever the noise.  A student there predicts the
    velocity, whatever its teacher does.

    ValueError, which names the field, if the teacher cannot teach this student.
    """

    def __init__(
        self, config: TrainConfig, data: Dataset, classes: int, weight: Weight | None,
        teacher: TrainedModel,
    ) -> None:  # fmt: skip
        super().__init__(config, data, classes, weight)
        _check(config, tuple(data.sample_shape), classes, teacher)
        self.path = teacher.path  # with the noise that it learned
        grid = time_grid("uniform", self.path, config.student_steps)
        self.teacher, self.length = teacher, config.T / config.student_steps
        self._ends = torch.tensor(grid[-2::-1])  # T/M, ..., T
        self._guidance = 0.0 if teacher.config.teacher else config.student_guidance

    def times(self, share: Tensor) -> Tensor:
        steps = self.config.student_steps
        number = (share * steps).to(torch.int64).clamp(0, steps - 1)
        return self._ends.to(share.device)[number]

    @torch.no_grad()
    def endpoint(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Where the teacher leads from x_t in a time T/M."""
        config = self.config
        interval = _Interval(self.path, self.teacher.network, t - self.length, self.length)
        with self.precision(x_t):
            return generate(
                interval, x_t, interval, steps=config.teacher_substeps,
                method=config.teacher_solver, labels=labels,
                guidance=self._guidance if labels is not None else 0.0,
                prediction=self.teacher.config.prediction,
            )  # fmt: skip

    def target(self, sample: PathSample, *labels: Tensor) -> Tensor:
        return (sample.x_t - self.endpoint(sample.x_t, sample.t, *labels)) / self.length

    def compared(self, predicted: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        if self.config.prediction == "velocity":
            return predicted
        return self.path.velocity(x_t, t, predicted)

    def loss(self, network: nn.Module, drawn: Any) -> Tensor:
        """The mean over what :meth:`draw` gave, in float32."""
        found = super().loss(network, drawn)
        return found * self.length**2 if self.config.student_loss == "position" else found


def _check(
    config: TrainConfig, sample_shape: tuple[int, ...], classes: int, teacher: TrainedModel
) -> None:
    """ValueError unless ``teacher`` can teach the student of ``config``."""
    of, must = teacher.config, config._must

    for name in ("path", "a", "c", "b", "T", "signal", "clock", "noise_start", "noise_components",
                 "noise_bins", "noise_bound", "noise_tails"):  # fmt: skip
        must(getattr(config, name) == getattr(of, name), name, f"{getattr(of, name)!r}, as of the "
             "teacher")  # fmt: skip
    must(teacher.sample_shape == sample_shape, "data", f"samples of shape {teacher.sample_shape}, "
         "as of the teacher")  # fmt: skip
    must(classes in (0, teacher.classes), "labels", f"the {teacher.classes} classes of the teacher")
    must(classes > 0 or not config.student_guidance, "student_guidance", "0, without labels")
    if of.teacher:
        steps = of.student_steps
        must(config.teacher_solver == "euler", "teacher_solver", "'euler', for a student's student")
        must(config.teacher_substeps * config.student_steps == steps, "teacher_substeps",
             f"{steps} / student_steps, for a teacher of {steps} steps")  # fmt: skip
        must(config.student_guidance == of.student_guidance, "student_guidance",
             f"{of.student_guidance}, which is in the teacher")  # fmt: skip
    if config.path == "kac":
        must(config.prediction == "velocity", "prediction", "'velocity', for a student on the Kac "
             "path")  # fmt: skip
    if of.prediction == "data":
        must(config.teacher_solver not in ("heun", "rk4"), "teacher_solver", "euler, ab2 or "
             "midpoint, since data gives no velocity at t = 0")  # fmt: skip

"""What a step trains on, drawn where the samples are, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from kacflow import _arguments
from kacflow.training.config import TrainConfig
from kacflow.training.data import Dataset, torch_generator
from kacflow.training.paths import build_path

#: A loss weight: of times (B,), the factors (B,) of the samples' squared errors.
Weight = Callable[[Tensor], Tensor]


class Objective:
    """Mean squared error of a network against the conditional velocity, or the data.

    Parameters
    ----------
    config : TrainConfig
    data : Dataset
        What turns stored samples into numbers.
    classes : int
        Number of classes, 0 for a network without labels.
    weight : callable, optional
        Factor of each sample's squared error as a function of the times.
    """

    def __init__(
        self, config: TrainConfig, data: Dataset, classes: int, weight: Weight | None = None
    ) -> None:
        self.config, self.data, self.classes, self.weight = config, data, classes, weight
        self.path = build_path(config)
        self.timer: AbstractContextManager[object] = nullcontext()  #: around the noise

    def random(self, uniforms: Tensor, rows: range, of: int) -> tuple[Tensor, Tensor, Tensor]:
        """Times, two numbers for the samples, and which labels are left out, of ``rows`` of a batch
        ``of`` so many: of shapes (..., rows), (2, ..., rows) and (..., rows).

        ``uniforms``, of shape (4, ..., rows), are in [0, 1); the times are stratified over a batch.
        """
        strata = torch.arange(rows.start, rows.stop, device=uniforms.device)
        times = self.config.time_of((strata + uniforms[0]) / of)
        return times, uniforms[1:3], uniforms[3] < self.config.label_dropout

    def draw(
        self, raw: Tensor, labels: Tensor | None, random: tuple[Tensor, ...], first: int,
        *, seed: int, step: int,
    ) -> list[Tensor]:  # fmt: skip
        """x_t, t, what the network is to return and, with labels, the classes.

        Parameters
        ----------
        raw : Tensor
            Samples number ``first`` and on of a batch, as the data set stores them, on the device.
        labels : Tensor or None
            Their classes, int64 of shape (rows,).
        random : tuple of Tensor
            What :meth:`random` gives, for one step.
        seed, step : int
            Decide the noise, together with the number of a sample in the batch.
        """
        t, numbers, dropped = random
        x_0 = self.data.samples(raw, numbers)
        noise = torch_generator(seed, "noise", step)
        with self.timer:
            sample = self.path.sample(x_0, t, generator=noise, first=first)
        drawn = [sample.x_t, t, x_0 if self.config.prediction == "data" else sample.dx_t]
        if labels is not None:
            drawn.append(torch.where(dropped, -1, labels))
        return drawn

    def loss(self, network: nn.Module, drawn: Sequence[Tensor]) -> Tensor:
        """The mean over what :meth:`draw` gave, in float32."""
        x_t, t, target, *labels = drawn
        half = self.config.precision == "bf16"
        # Not accelerate's autocast: its precision is fixed for the life of the process.
        with torch.autocast(x_t.device.type, torch.bfloat16) if half else nullcontext():
            predicted = network(x_t, t, *labels)
        if predicted.shape != target.shape:
            raise ValueError(
                f"network: returned shape {tuple(predicted.shape)}; allowed: that of x_t, "
                f"{tuple(target.shape)}"
            )
        predicted = predicted.to(target.dtype)
        if self.weight is None:
            return nn.functional.mse_loss(predicted, target)
        factors = self.weight(t)
        if not isinstance(factors, Tensor) or factors.shape != t.shape:
            raise ValueError(
                f"weight: returned {_arguments.given(factors)}; allowed: a tensor of shape "
                f"{tuple(t.shape)}, that of the times"
            )
        return ((predicted - target).square().flatten(1).mean(1) * factors).mean()

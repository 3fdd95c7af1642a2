"""What a step trains on, drawn where the samples are, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from kacflow._arguments import answer, given
from kacflow.path import PathSample
from kacflow.training.config import TrainConfig
from kacflow.training.data import Dataset, stream
from kacflow.training.paths import build_path

_STEPS = 64

#: A loss weight: of times (B,), the factors (B,) of the samples' squared errors.
Weight = Callable[[Tensor], Tensor]


class Objective:
    """Mean squared error of a network against the conditional velocity, or the data.

    ``data`` turns stored samples into numbers, ``classes`` is 0 for a network without labels, and
    ``weight`` the factor of each sample's squared error as a function of the times.
    """

    def __init__(
        self, config: TrainConfig, data: Dataset, classes: int, weight: Weight | None = None
    ) -> None:
        self.config, self.data, self.classes, self.weight = config, data, classes, weight
        self.path = build_path(config, data.sample_shape)
        self._generator, self._block = torch.Generator(), (-1, -1)
        self._words: list[int] = []
        self.timer: AbstractContextManager[object] = nullcontext()  #: around the noise
        self.terms: dict[str, Tensor] = {}  #: what the log tells of the last batch beside the loss

    def times(self, share: Tensor) -> Tensor:
        """Times to train on, whose distribution function has the values ``share`` in [0, 1]."""
        return self.config.time_of(share)

    def target(self, sample: PathSample, *labels: Tensor) -> Tensor:
        """What :meth:`compared` is to be."""
        return sample.x_0 if self.config.prediction == "data" else sample.dx_t

    def compared(self, predicted: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """What is made of the network's prediction before it is compared with the target."""
        return predicted

    def precision(self, where: Tensor) -> AbstractContextManager[object]:
        """Within, networks run in the precision of the configuration."""
        if self.config.precision != "bf16":
            return nullcontext()
        # Not accelerate's autocast: its precision is fixed for the life of the process.
        return torch.autocast(where.device.type, torch.bfloat16)

    def random(self, uniforms: Tensor, rows: range, of: int) -> tuple[Tensor, Tensor, Tensor]:
        """Times, two numbers for the samples, and which labels are left out, of ``rows`` of a batch
        ``of`` so many: of shapes (..., rows), (2, ..., rows) and (..., rows).

        ``uniforms``, of shape (4, ..., rows), are in [0, 1); the times are stratified over a batch.
        """
        strata = torch.arange(rows.start, rows.stop, device=uniforms.device)
        times = self.times((strata + uniforms[0]) / of)
        return times, uniforms[1:3], uniforms[3] < self.config.label_dropout

    def _noise(self, seed: int, step: int) -> torch.Generator:
        """A generator for the noise of a step; seeds are made for many steps at once."""
        block, place = divmod(step, _STEPS)
        if self._block != (seed, block):
            self._block = seed, block
            self._words = stream(seed, "noise", block).integers(2**63, size=_STEPS).tolist()
        return self._generator.manual_seed(self._words[place])

    def draw(
        self, raw: Tensor, labels: Tensor | None, random: tuple[Tensor, ...], first: int,
        *, seed: int, step: int,
    ) -> list[Tensor]:  # fmt: skip
        """x_t, t, the target and, with labels, the classes.

        ``raw`` are the samples number ``first`` and on of a batch, as the data set stores them, on
        the device, ``labels`` their classes, int64 of shape (rows,), and ``random`` what
        :meth:`random` gives for one step.  ``seed`` and ``step`` decide the noise, together with
        the number of a sample in the batch.
        """
        t, numbers, dropped = random
        x_0 = self.data.samples(raw, numbers)
        noise = self._noise(seed, step)
        with self.timer:
            sample = self.path.sample(x_0, t, generator=noise, first=first)
        classes = [] if labels is None else [torch.where(dropped, -1, labels)]
        return [sample.x_t, t, self.target(sample, *classes), *classes]

    def loss(self, network: nn.Module, drawn: Sequence[Tensor]) -> Tensor:
        """The mean over what :meth:`draw` gave, in float32."""
        x_t, t, target, *labels = drawn
        with self.precision(x_t):
            predicted = network(x_t, t, *labels)
        answer("network: returned", predicted, target)
        return self.mean_error(self.compared(predicted.to(target.dtype), x_t, t), t, target)

    def add_gradient(self, drawn: Sequence[Tensor]) -> None:
        """Add what has not gone through the network to the gradients, after those of :meth:`loss`.

        ``drawn`` is what the last :meth:`draw` gave.
        """

    def mean_error(self, predicted: Tensor, t: Tensor, target: Tensor) -> Tensor:
        """The mean squared error, with the factors of ``weight``."""
        if self.weight is None:
            return nn.functional.mse_loss(predicted, target)
        factors = self.weight(t)
        if not isinstance(factors, Tensor) or factors.shape != t.shape:
            allowed = f"a tensor of shape {tuple(t.shape)}, that of the times"
            raise ValueError(f"weight: returned {given(factors)}; allowed: {allowed}")
        return ((predicted - target).square().flatten(1).mean(1) * factors).mean()

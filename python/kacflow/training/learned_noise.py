"""Training on a noise that is learned along with the network.

Chemseddine, Kornhardt, Duong, Steidl, *Adapting Noise to Data*, arXiv 2510.12636.  With data X,
noise Z = Q(U), the scale s = g(T) of the noise at T and means over samples and components, a step
minimises

    (|v|^2 - 2 v . v_target + |v_target|^2) + lambda |s Z - X|^2 - beta log dQ/du

over the network v, and over Q in its first ``noise_steps`` steps, with X and Z paired by optimal
transport.  Of the first term Q feels -2 v . v_target alone: the point that the network sees and
|v_target|^2 are numbers to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kacflow._optional import require
from kacflow._times import as_tensor
from kacflow.ops._rules import leading
from kacflow.quantile import QuantileProcess
from kacflow.training.config import TrainConfig
from kacflow.training.data import Dataset
from kacflow.training.objective import Objective, Weight

#: What the log tells: squared Wasserstein distance and entropy of the noise, per component.
TERMS = ("ot", "entropy")
_PURPOSE = "learning the noise by optimal transport"
_MOST = 10**7  #: iterations; batches of 4096 take less


def optimal_pairs(data: Tensor, noise: Tensor) -> Tensor:
    """For each row of ``noise`` the row of ``data`` that it goes to, (n,) int64 on their device.

    Exact optimal transport, for the squared Euclidean distance, between n points of equal weight
    each: a permutation.  Computed on the CPU in float64 by POT's network simplex.

    Examples
    --------
    >>> import torch
    >>> from kacflow.training.learned_noise import optimal_pairs
    >>> optimal_pairs(torch.tensor([[3.0], [1.0], [2.0]]), torch.tensor([[0.5], [0.7], [0.9]]))
    tensor([1, 2, 0])
    """
    ot = require("ot", _PURPOSE)
    points, goals = (v.detach().flatten(1).to("cpu", torch.float64) for v in (noise, data))
    costs = torch.cdist(points, goals).square().numpy()
    plan = torch.from_numpy(ot.emd([], [], costs, numItermax=_MOST))
    return plan.argmax(1).to(data.device)


class LearnedNoise(Objective):
    """The objective of path "quantile"; arguments as of :class:`Objective`.

    Its noise is a module, whose parameters are trained by whoever calls :meth:`loss` and
    :meth:`add_gradient`; in validation, without gradients, the pairs are made all the same.
    """

    def __init__(
        self, config: TrainConfig, data: Dataset, classes: int, weight: Weight | None = None
    ) -> None:
        super().__init__(config, data, classes, weight)
        self.noise: QuantileProcess = self.path.noise
        if config.noise_ot:
            require("ot", _PURPOSE)
        self._learning: tuple[Tensor, Tensor] | None = None

    def draw(
        self, raw: Tensor, labels: Tensor | None, random: tuple[Tensor, ...], first: int,
        *, seed: int, step: int,
    ) -> list[Tensor]:  # fmt: skip
        t, numbers, dropped = random
        x_0 = self.data.samples(raw, numbers)
        generator = self._noise(seed, step)
        with self.timer, torch.set_grad_enabled(self.learns(step) and torch.is_grad_enabled()):
            z, log_slope = self.noise.base_pair(
                x_0.shape, generator=generator, first=first, dtype=x_0.dtype, device=x_0.device
            )
            end = as_tensor(self.path.clock.value(as_tensor(self.path.T, t)), t) * z
            if self.config.noise_ot:
                order = optimal_pairs(x_0, end)
                x_0 = x_0[order]
                labels = None if labels is None else labels[order]
            scale, rate = self.noise.scales(
                leading(as_tensor(self.path.clock.value(t), t), x_0.ndim)
            )
            sample = self.path._joined(x_0, t, scale * z, rate * z)
            terms = torch.stack(((end - x_0).square().mean(), log_slope.mean()))
        self.terms = dict(zip(TERMS, terms.detach(), strict=True))
        classes = [] if labels is None else [torch.where(dropped, -1, labels)]
        target = self.target(sample, *classes)
        self._learning = (target, terms) if terms.requires_grad else None
        leaf = target.detach().requires_grad_(target.requires_grad)
        return [sample.x_t.detach(), t, leaf, *classes]

    def learns(self, step: int) -> bool:
        """Whether the noise is learned in this step."""
        return step < self.config.learned_steps

    def mean_error(self, predicted: Tensor, t: Tensor, target: Tensor) -> Tensor:
        error = super().mean_error(predicted, t, target.detach())
        if not target.requires_grad:
            return error
        # Of no size, and with the gradient of the cross term.
        cross = -2.0 * predicted.detach() * (target - target.detach())
        if self.weight is not None:
            cross = leading(self.weight(t), cross.ndim) * cross
        return error + cross.mean()

    def add_gradient(self, drawn: Sequence[Tensor]) -> None:
        if self._learning is None:
            return
        (target, terms), self._learning = self._learning, None
        weights = torch.stack((terms.new_tensor(self.config.noise_ot),
                               terms.new_tensor(-self.config.noise_entropy)))  # fmt: skip
        of, gradients = [terms], [weights]
        if drawn[2].grad is not None:
            of, gradients = [*of, target], [*gradients, drawn[2].grad]
        torch.autograd.backward(of, gradients)

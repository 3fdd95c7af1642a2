"""Exponential moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Average:
    """A copy of a network, in evaluation mode, whose weights follow the trained ones.

    The decay at the n-th update is min(decay, (1 + n) / (10 + n)): it rises, so that short runs are
    not dominated by the initial weights, which the first update replaces; 0 keeps a plain copy.
    With ``foreach`` all weights are updated in few launches.  Nothing is read back from the device:
    torch's ``AveragedModel`` reads its counter in every update.
    """

    def __init__(self, network: nn.Module, decay: float, *, foreach: bool = True) -> None:
        self.module = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay, self.foreach, self.updates = decay, foreach, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards ``network``; buffers are copied."""
        n = self.updates
        weight = 1.0 - min(self.decay, (1.0 + n) / (10.0 + n)) if n else 1.0
        averaged: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(network.parameters())
        if self.foreach:
            torch._foreach_lerp_(averaged, current, weight)
        else:
            for target, source in zip(averaged, current, strict=True):
                target.lerp_(source, weight)
        for target, source in zip(self.module.buffers(), network.buffers(), strict=True):
            target.copy_(source)
        self.updates = n + 1

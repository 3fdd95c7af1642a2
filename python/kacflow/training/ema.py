"""Exponential moving average of the weights, on :class:`torch.optim.swa_utils.AveragedModel`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def _warmed_up(decay: float) -> Callable[..., None]:
    """Averaging rule with decay min(decay, (1 + n) / (10 + n)) at the n-th update.

    The rising decay forgets the initial weights, so that short runs are not dominated by them.
    """

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averaged, current, 1.0 - min(decay, (1.0 + n) / (10.0 + n)))

    return update


def averaged_model(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``network`` whose ``update_parameters(network)`` moves it by the average.

    Parameters
    ----------
    network : nn.Module
    decay : float
        Weight of the past per update, in [0, 1); 0 keeps a plain copy.
    """
    return AveragedModel(network, multi_avg_fn=_warmed_up(decay))

"""Shapes that several questions share, and the calls of kacflow on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.plan import HORIZON, RATE, SPEED, Plan
from kacflow import KacPath, KacProcess

IMAGES = (128, 3072)  #: a batch of CIFAR's size, flat
POINTS = (256, 2)  #: the batch of the paper's experiments in the plane


def shapes(plan: Plan) -> tuple[tuple[int, int], ...]:
    """The two batches; a small one in place of the images where a run must only be quick."""
    return plan.pick(smoke=((16, 3072), POINTS), short=(IMAGES, POINTS), full=(IMAGES, POINTS))


def label(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> str:
    """The shape and type as text."""
    return f"{'x'.join(map(str, shape))} {str(dtype).removeprefix('torch.')}"


def process() -> KacProcess:
    """The process of the paper's experiments in the plane."""
    return KacProcess(RATE, SPEED)


def path(signal: str = "linear") -> KacPath:
    """Its path, data at t = 0."""
    return KacPath(process(), HORIZON, signal=signal)


def times(shape: tuple[int, ...], plan: Plan, dtype: torch.dtype = torch.float32) -> Tensor:
    """A time per row, in (0, 1]."""
    made = torch.Generator().manual_seed(3)
    drawn = torch.rand(shape[0], generator=made, dtype=dtype).clamp(min=1e-3) * HORIZON
    return drawn.to(plan.device)


def trailing(t: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``t`` with trailing axes of length one."""
    return t.reshape(-1, *(1,) * (len(shape) - 1))


def numbers(shape: tuple[int, ...]) -> int:
    """How many numbers a batch holds."""
    return math.prod(shape)

"""Arguments of libraries that run from noise at 0 to data at 1."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kacflow._arguments import given, must, real, same_shape, tensor, wrong_type
from kacflow._times import batch_times
from kacflow.ops import _tensors


def own_time(t: float | Tensor, x: Tensor, T: float) -> Tensor:
    """kacflow's time T (1 - t) of a batch, shape () or (B,); checks that t is in [0, 1].

    Rounding of ``t`` above 1, which the check lets through, does not take it below 0.
    """
    if not isinstance(t, Tensor):
        t = real("t", t, "a number in [0, 1] or a float tensor")
        must(0 <= t <= 1 + 1e-6, "t", t, "0 <= t <= 1")
    return (T * (1.0 - batch_times(t, x, 1.0))).clamp(min=0.0)


def check_pair(noise_name: str, noise: Any, data_name: str, data: Any, t: Any) -> Tensor:
    """The times, with an axis; checked with data of shape (B, ...) and a noise slot like it."""
    tensor(data_name, data)
    must(data.ndim, data_name, "shape ()", "(B, ...)")
    dense = isinstance(noise, Tensor) and not noise.is_nested
    if not dense or noise.shape != data.shape:
        got = tuple(noise.shape) if dense else given(noise)
        raise ValueError(f"{noise_name}: got {got}; allowed: a tensor of shape {tuple(data.shape)}")
    if not tensor("t", t).ndim:
        raise wrong_type("t", t, f"a tensor of shape ({data.shape[0]},)")
    return t


def check_points(name: str, x: Any, data_name: str, data: Any) -> None:
    """Points of a path and data of their shape, beside them."""
    tensor(name, x)
    same_shape(data_name, tensor(data_name, data), x.shape, name)
    _tensors.check_same_device(data_name, data, name, x.device)

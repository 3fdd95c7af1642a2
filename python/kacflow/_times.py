"""Times of a batch beside its data, and what schedules make of them."""

from __future__ import annotations

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow.ops import _kernels
from kacflow.ops._rules import leading
from kacflow.ops._tensors import check_same_device, form, move, plain, scalar, working_dtype

#: By how much of itself a time may exceed T: the rounding of its type.
_SLACK = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}


def slack(t: object) -> float:
    """By how much of T a time may exceed it."""
    return _SLACK.get(t.dtype, 1e-6) if isinstance(t, Tensor) else 1e-6


def batch_times(
    t: float | Tensor, x: Tensor, T: float, *, check: bool = True, known: bool = False,
    name: str = "t",
) -> Tensor:  # fmt: skip
    """Times of a batch as a tensor of shape () or (B,) in the working type of ``x``.

    On the CPU 0 <= t <= T is checked, unless a kernel will; on another device that would wait for
    it, and times outside give NaN there.  ``known``: that x is on the CPU, and eager mode; ``name``
    is what messages call it.
    """
    working = working_dtype(x.dtype)
    if not isinstance(t, Tensor):
        value = _arguments.real(name, t, "a float or a float tensor")
        if not 0 <= value <= T * (1 + slack(t)):
            raise ValueError(
                f"{name}: got values from {value:g} to {value:g}; allowed: 0 <= {name} <= T = {T:g}"
            )
        return scalar(value, working, x.device)
    found = form(t) if known else None
    if found is not None:
        dtype, own, _, on_cpu = found[0]
        if dtype is working and on_cpu and own == x.shape[:1]:
            return _checked(t, T * (1 + 1e-6), T, True, name) if check else t
    own = _arguments.tensor(name, t).shape
    if t.dtype is working and own == x.shape[:1] and t.device == x.device:
        return _checked(t, T * (1 + 1e-6), T, False, name) if check else t
    if own:
        if x.ndim == 0 or own[0] != x.shape[0] or t.numel() != own[0]:
            raise ValueError(
                f"{name}: got shape {tuple(own)}; allowed: () or ({x.shape[0] if x.ndim else 0},), "
                "one time per sample"
            )
        if len(own) > 1:
            t = t.reshape(-1)
    limit = T * (1 + slack(t))
    if t.device != x.device:
        check_same_device(name, t, "x_0", x.device)
    if t.device != x.device or t.dtype != working:
        t = move(t, x.device, working)
    return _checked(t, limit, T, False, name) if check else t


def _checked(t: Tensor, limit: float, T: float, known: bool, name: str) -> Tensor:
    """The times, which lie in [0, limit] as far as that can be seen here."""
    if known or plain(t):
        low, high = _kernels.extent(t if known else _kernels.readable(t))
        if not (low >= 0 and high <= limit):
            raise ValueError(
                f"{name}: got values from {low:g} to {high:g}; allowed: 0 <= {name} <= T = {T:g}"
            )
    return t


def spread(value: Tensor | float, x: Tensor) -> Tensor | float:
    """A per-sample value with trailing axes of length one, to multiply data with."""
    return leading(value, x.ndim).to(x.dtype) if isinstance(value, Tensor) else value


def as_tensor(value: Tensor | float, like: Tensor) -> Tensor:
    """A schedule's value as a tensor beside ``like``."""
    if isinstance(value, Tensor):
        return value
    return torch.full((), value, dtype=like.dtype, device=like.device)

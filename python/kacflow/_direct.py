"""The short way of an eager pair on the CPU: from two tensors to the compiled kernel in one call.

In a training step on points the kernel takes a few microseconds and what surrounds it more, all
the more as the network's step has emptied the caches in between.  :class:`DirectPair` goes by
addresses, without arrays, and has the schedules computed inside.  Whatever it is not made for takes
the general way, which also words all errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from kacflow import _bridge
from kacflow.schedules import ConstantSignal, LinearClock, LinearSignal
from kacflow_core._dispatch import get_backend, native_module

if TYPE_CHECKING:
    from kacflow.path import KacPath


class DirectPair:
    """Pairs of one path: rate and speed as floats, clock t, signal 1 or 1 - t/T."""

    __slots__ = ("_T", "_call", "_clock", "_process", "_signal")

    def __init__(self, path: KacPath) -> None:
        self._process, self._signal, self._clock = path.process, path.signal, path.clock
        self._T = path.T
        self._call: Any = None  # for paths that it is not made for
        arrays, signal, clock = path.process._arrays, path.signal, path.clock
        if (
            arrays is not None
            and type(signal) in (ConstantSignal, LinearSignal)
            and type(clock) is LinearClock
            and get_backend().name == "native"
        ):
            slope = -1.0 / signal.T if type(signal) is LinearSignal else 0.0
            self._call = native_module().AffinePair(*arrays, path.T, slope)

    def serves(self, path: KacPath) -> bool:
        """Whether this was made for ``path`` as it is now: attributes can be replaced."""
        return (
            path.process is self._process
            and path.signal is self._signal
            and path.clock is self._clock
            and path.T == self._T
        )

    def __call__(
        self, x_0: Tensor, t: Any, generator: torch.Generator | None, offset: int
    ) -> tuple[Tensor, Tensor] | None:
        """(x_t, dx_t), or None where the general way has to be taken."""
        if self._call is None or type(offset) is not int or offset != 0:
            return None
        if (
            type(x_0) is not Tensor
            or type(t) is not Tensor
            or torch._C._are_functorch_transforms_active()
            or torch._C._len_torch_dispatch_stack()
            or forward_ad._current_level >= 0
        ):
            return None
        dtype, rows = x_0.dtype, t.numel()
        if (
            (dtype is not torch.float32 and dtype is not torch.float64)
            or t.dtype is not dtype
            or not x_0.is_cpu
            or not t.is_cpu
            or x_0.requires_grad
            or t.requires_grad
            or t.dim() != 1
            or x_0.dim() == 0
            or rows == 0
            or x_0.shape[0] != rows
            or not x_0.is_contiguous()
            or not t.is_contiguous()
        ):
            return None
        x_t, dx_t = torch.empty_like(x_0), torch.empty_like(x_0)
        done = self._call(
            x_0.data_ptr(), t.data_ptr(), x_t.data_ptr(), dx_t.data_ptr(),
            rows, x_0.numel() // rows, dtype is torch.float64,
            int(_bridge.draw_seed(generator)), 0, torch.get_num_threads(),
        )  # fmt: skip
        return (x_t, dx_t) if done else None

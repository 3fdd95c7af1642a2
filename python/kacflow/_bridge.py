"""Tensors to the arrays of kacflow_core and back, on the CPU, without copies where possible."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

import kacflow_core
from kacflow_core._layout import BFLOAT16, Array

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_CPU = torch.device("cpu")
#: Tensors that are what they seem to be: memory at an address.
_BARE = (Tensor, torch.nn.Parameter)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that data of ``dtype`` computes in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def plain(*values: object) -> bool:
    """Whether the numbers of these tensors may be read here and now, without waiting for a device.

    Only in eager mode on the CPU, outside ``torch.func`` transforms and forward-mode derivatives.
    """
    return addressable(*values) and all(
        v.device.type == "cpu" for v in values if isinstance(v, Tensor)
    )


def addressable(*values: object) -> bool:
    """Whether a kernel may take the addresses of these tensors here and now, the dispatcher aside.

    Not in a trace, under a transform, a forward-mode derivative or a dispatch mode, and not for
    subclasses, such as fake or distributed tensors.
    """
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._len_torch_dispatch_stack()
        and forward_ad._current_level < 0
        and all(type(v) in _BARE for v in values if isinstance(v, Tensor))
    )


def known(value: Tensor) -> bool:
    """Whether a tensor is a number on the CPU that no derivative or trace asks about."""
    return value.ndim == 0 and not value.requires_grad and plain(value)


def number(value: float) -> Tensor:
    """A number as a 0-d tensor on the CPU, whatever torch's default device is."""
    return torch.tensor(float(value), dtype=torch.float64, device=_CPU)


def resolved(device: torch.device | str) -> torch.device:
    """The device with its number: ``"cuda"`` is the current one."""
    found = torch.device(device)
    if found.type == "cpu" or found.index is not None:
        return found
    return torch.empty(0, device=found).device


def scalar(value: float, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    """A 0-d tensor, filled on the device."""
    return torch.full((), value, dtype=dtype, device=device)


def move(value: Tensor, device: torch.device | None, dtype: torch.dtype) -> Tensor:
    """A parameter beside the data: only 0-d ones change device, from the CPU, without waiting.

    A number that is known here is filled in on the device, which a captured graph allows as well.
    """
    if device is not None and device.type == "cuda" and known(value):
        return scalar(float(value), dtype, device)
    return value.to(device=device, dtype=dtype, non_blocking=value.device.type == "cpu")


def check_data(name: str, x: Tensor) -> None:
    """TypeError unless ``x`` is a tensor of a floating type; ValueError unless on the CPU."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: got {type(x).__name__}; allowed: a floating-point tensor")
    if x.dtype not in FLOATS:
        raise TypeError(
            f"{name}: got dtype {x.dtype}; allowed: float32, float64, bfloat16 or float16"
        )


def check_same_device(name: str, value: Tensor, other: str, device: torch.device) -> None:
    """ValueError unless both are on one device; 0-d tensors on the CPU go anywhere."""
    if value.device != device and not (value.ndim == 0 and value.device.type == "cpu"):
        raise ValueError(f"{name}: is on {value.device}; allowed: {device}, where {other} is")


def to_array(x: Tensor) -> Array:
    """A CPU tensor as an array, sharing memory; bfloat16 as :data:`BFLOAT16`."""
    if x.requires_grad:
        x = x.detach()
    if x.dtype == torch.bfloat16:
        return x.contiguous().view(torch.int16).numpy().view(BFLOAT16)
    return x.numpy()


def to_tensor(x: Array) -> Tensor:
    """The inverse of :func:`to_array`."""
    if x.dtype == BFLOAT16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def draw_seed(generator: torch.Generator | None, device: torch.device | None = None) -> Tensor:
    """A 0-d int64 seed in [0, 2**63 - 1): one 64-bit number of torch's generator.

    Without a generator it is the default one of the data's device (the CPU, if None), as for
    ``torch.randn``.
    """
    if generator is not None:
        device = generator.device
    elif device is None:
        device = _CPU
    return torch.randint(0x7FFFFFFFFFFFFFFF, (), generator=generator, device=device)


def first_element(offset: int, shape: Sequence[int]) -> int:
    """Number of the first element of a batch whose first sample is number ``offset``."""
    if isinstance(offset, bool) or not isinstance(offset, (int, torch.SymInt)):
        raise TypeError(f"offset: got {type(offset).__name__}; allowed: an int >= 0")
    if offset < 0:
        raise ValueError(f"offset: got {offset}; allowed: an int >= 0")
    return offset * math.prod(shape[1:])


def sample(
    t: Tensor, a: Tensor, c: Tensor, seed: int, offset: int, shape: tuple[int, ...],
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """K(t) of a CPU dtype float32 or float64."""
    return to_tensor(
        kacflow_core.sample(
            to_array(t), shape, a=to_array(a), c=to_array(c), seed=seed, offset=offset,
            dtype="float64" if dtype == torch.float64 else "float32",
            threads=torch.get_num_threads(),
        )
    )  # fmt: skip


def pair_of_arrays(
    x_0: Tensor, a: Array, c: Array, signal: Tensor | float, dsignal: Tensor | float,
    clock: Tensor | float, dclock: Tensor | float, seed: int, offset: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair on the CPU; schedules are tensors or floats."""
    x_t, dx_t = kacflow_core.sample_pair(
        to_array(x_0), a=a, c=c,
        signal=to_array(signal) if isinstance(signal, Tensor) else signal,
        dsignal=to_array(dsignal) if isinstance(dsignal, Tensor) else dsignal,
        clock=to_array(clock) if isinstance(clock, Tensor) else clock,
        dclock=to_array(dclock) if isinstance(dclock, Tensor) else dclock,
        seed=seed, offset=offset, threads=torch.get_num_threads(),
    )  # fmt: skip
    return to_tensor(x_t), to_tensor(dx_t)


def sample_pair(
    x_0: Tensor, a: Tensor, c: Tensor, signal: Tensor, dsignal: Tensor, clock: Tensor,
    dclock: Tensor, seed: int, offset: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair on the CPU."""
    return pair_of_arrays(
        x_0, to_array(a), to_array(c), signal, dsignal, clock, dclock, seed, offset
    )


def velocity(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """v(t, x) on the CPU; everything broadcasts."""
    return to_tensor(
        kacflow_core.velocity(
            to_array(x), to_array(t), a=to_array(a), c=to_array(c),
            threads=torch.get_num_threads(),
        )
    )  # fmt: skip


def velocity_grad(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """(dv/dx, dv/dt) on the CPU."""
    dx, dt = kacflow_core.velocity_grad(
        to_array(x), to_array(t), a=to_array(a), c=to_array(c), threads=torch.get_num_threads()
    )
    return to_tensor(dx), to_tensor(dt)


def sample_path(
    times: Tensor, a: Tensor, c: Tensor, seed: int, offset: int, shape: tuple[int, ...],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(positions, directions) of paths on the CPU."""
    positions, directions = kacflow_core.sample_path(
        to_array(times), shape, a=to_array(a), c=to_array(c), seed=seed, offset=offset,
        dtype="float64" if dtype == torch.float64 else "float32",
        threads=torch.get_num_threads(),
    )  # fmt: skip
    return to_tensor(positions), to_tensor(directions)


def distribution(kind: str) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """``"logpdf"``, ``"cdf"`` or ``"ppf"`` on the CPU, a function of (x, t, a, c)."""
    function = getattr(kacflow_core, kind)

    def on_cpu(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> Tensor:
        return to_tensor(
            function(
                to_array(x), to_array(t), a=to_array(a), c=to_array(c),
                threads=torch.get_num_threads(),
            )
        )  # fmt: skip

    return on_cpu

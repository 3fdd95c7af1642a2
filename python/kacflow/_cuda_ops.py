"""``torch.ops.kacflow.*`` for tensors on a GPU: one kernel each on torch's current stream.

Nothing here waits for the device.  A seed that is on the device is read by the kernel itself, so a
captured graph draws fresh noise at every replay; one on the CPU goes by value, and so do parameters
that are 0-d tensors on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from kacflow_core import _gpu, _gpu_arrays
from kacflow_core._dispatch import get_gpu_backend
from kacflow_core._layout import Array
from kacflow_core._validate import word64
from kacflow_core.backends._jobs import Noise

PARAMETERS = ("a", "c", "signal", "dsignal", "clock", "dclock")  #: of a pair
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


def _library() -> _gpu_arrays.Library:
    return _gpu_arrays.library("torch")


def _noise(seed: Tensor, offset: int, device: torch.device) -> tuple[Noise, Tensor]:
    """Key and counter, and the tensor that holds the key until the kernel has started."""
    if seed.numel() != 1 or seed.dtype.is_floating_point:
        raise ValueError(
            f"seed: got shape {tuple(seed.shape)} of {seed.dtype}; allowed: one integer"
        )
    if seed.device.type == "cpu":
        return Noise(word64("seed", int(seed)), offset % 2**64), seed
    here = seed.to(device, torch.int64)  # the kernel reads 64 bits
    return Noise(0, offset % 2**64, here.data_ptr()), here


def _parameter(name: str, value: Tensor | float, device: torch.device) -> Tensor | Array:
    """A parameter as :mod:`kacflow_core._gpu` takes it: on the device, or a number."""
    if not isinstance(value, Tensor):
        return np.array(float(value))
    value = _plain(value)
    if value.device == device:
        return value if value.dtype in _DTYPES else value.to(torch.float32)
    if value.device.type == "cpu" and value.numel() == 1:
        return np.array(float(value))
    raise ValueError(f"{name}: is on {value.device}; allowed: {device}, where the data is")


def _plain(value: Tensor) -> Tensor:
    """A tensor whose numbers are those in memory, without a gradient."""
    if value.is_neg():
        value = value.resolve_neg()
    return value.detach() if value.requires_grad else value


def _on_gpu(name: str, value: Tensor) -> torch.device:
    """The device of the tensor that decides where the result is."""
    if value.device.type != "cuda":
        raise ValueError(f"{name}: is on {value.device}; allowed: the GPU of the other arguments")
    return value.device


def sample(
    t: Tensor, a: Tensor, c: Tensor, seed: Tensor, offset: int, shape: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """K(t) on the device of ``t``."""
    device = _on_gpu("t", t)
    parameters = {n: _parameter(n, v, device) for n, v in (("t", t), ("a", a), ("c", c))}
    noise, _kept = _noise(seed, offset, device)
    flat = _gpu.run_sample(
        get_gpu_backend(), _library(), device.index, shape, _DTYPES[dtype], parameters, noise
    )
    return flat.reshape(tuple(shape))


def pair(
    x_0: Tensor, given: dict[str, Tensor | float], seed: Tensor, offset: int
) -> tuple[Tensor, Tensor]:
    """The training pair on the device of ``x_0``; ``given`` are :data:`PARAMETERS`, tensors or
    numbers.
    """
    device = _on_gpu("x_0", x_0)
    parameters = {name: _parameter(name, value, device) for name, value in given.items()}
    noise, _kept = _noise(seed, offset, device)
    return _gpu.run_pair(
        get_gpu_backend(), _library(), device.index, _plain(x_0), parameters, noise
    )


def sample_pair(
    x_0: Tensor, a: Tensor, c: Tensor, signal: Tensor, dsignal: Tensor, clock: Tensor,
    dclock: Tensor, seed: Tensor, offset: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair on the device of ``x_0``."""
    values: tuple[Tensor | float, ...] = (a, c, signal, dsignal, clock, dclock)
    return pair(x_0, dict(zip(PARAMETERS, values, strict=True)), seed, offset)


def sample_path(
    times: Tensor, a: Tensor, c: Tensor, seed: Tensor, offset: int, shape: Sequence[int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(positions, directions) of paths on the device of ``times``."""
    device = _on_gpu("times", times)
    parameters = {n: _parameter(n, v, device) for n, v in (("a", a), ("c", c))}
    noise, _kept = _noise(seed, offset, device)
    grid = _plain(times).to(dtype)
    positions, directions = _gpu.run_path(
        get_gpu_backend(), _library(), device.index, grid, shape, _DTYPES[dtype], parameters, noise
    )
    whole = (*shape, times.shape[-1])
    return positions.reshape(whole), directions.reshape(whole)


def _points(
    operation: str, x: Tensor, t: Tensor, a: Tensor, c: Tensor, outputs: int = 1
) -> list[Tensor]:
    """A function of the position on the device of ``x``."""
    device = _on_gpu("x", x)
    parameters = {n: _parameter(n, v, device) for n, v in (("t", t), ("a", a), ("c", c))}
    results, shape = _gpu.run_points(
        get_gpu_backend(), _library(), device.index, operation, "x", _plain(x), parameters, outputs
    )
    return [result.reshape(shape) for result in results]


def _one(operation: str) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    def implementation(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> Tensor:
        return _points(operation, x, t, a, c)[0]

    return implementation


def velocity_grad(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """(dv/dx, dv/dt) on the device of ``x``."""
    dv_dx, dv_dt = _points("velocity_grad", x, t, a, c, outputs=2)
    return dv_dx, dv_dt


def register(library: torch.library.Library) -> None:
    """Implement the operators of ``library`` for CUDA tensors."""
    library.impl("sample", sample, "CUDA")
    library.impl("sample_pair", sample_pair, "CUDA")
    library.impl("sample_path", sample_path, "CUDA")
    library.impl("velocity_grad", velocity_grad, "CUDA")
    for operation in ("velocity", "logpdf", "cdf", "ppf"):
        library.impl(operation, _one(operation), "CUDA")

"""What a tensor is, here and now: its working type, and whether a kernel may take its address."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from kacflow import _arguments
from kacflow_core import _validate

_CPU = torch.device("cpu")
_LAST_SEED = 0x7FFFFFFFFFFFFFFF
_LOW = 2**40  #: where memory hardly ever is; zeros that torch defers are, from address 0 on
#: Tensors that are what they seem to be: memory at an address.
_BARE = (Tensor, torch.nn.Parameter)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that data of ``dtype`` computes in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def eager() -> bool:
    """Whether what Python sees are the numbers themselves: not in a trace, under a transform, a
    forward-mode derivative or a dispatch mode.
    """
    return (
        not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._len_torch_dispatch_stack()
        and forward_ad._current_level < 0
    )


def addressable(*values: object) -> bool:
    """Whether a kernel may take the addresses of these tensors in :func:`eager` mode, the
    dispatcher aside, and no derivative of them is asked for.

    Not for subclasses, such as fake or distributed tensors, and not for what torch defers: a sign,
    zeros without memory, wrappers of functorch and of functionalisation.
    """
    return form(*values) is not None


def form(*values: Any) -> tuple[list[Any], list[Any]] | None:
    """What a kernel's job depends on where its arguments are these: (traits, words), a word for
    each, or None unless they are :func:`addressable`.

    A tensor's traits are its type, its shape, True if it is contiguous or else its strides, and
    whether it is on the CPU, and its word where its numbers are.
    """
    grad = torch.is_grad_enabled()
    traits: list[Any] = []
    words: list[Any] = []
    for value in values:
        kind = type(value)
        if kind is float:
            traits.append(kind)
            words.append(value)
        elif kind in _BARE:
            if (grad and value.requires_grad) or value.is_neg():
                return None
            try:
                address, shape = value.data_ptr(), value.shape
            except RuntimeError:  # of wrappers and sparse tensors, and of nested ones
                return None
            if (address & 7 or address < _LOW) and (
                address % value.element_size() or not _in_memory(value)
            ):
                return None
            traits += value.dtype, shape, value.is_contiguous() or value.stride(), value.is_cpu
            words.append(address)
        elif isinstance(value, Tensor) or value is None:
            return None
        else:
            traits.append(kind)
            words.append(value)
    return traits, words


def plain(*values: object) -> bool:
    """Whether the numbers of these tensors may be read here and now, without waiting for a device:
    in eager mode on the CPU, in memory.
    """
    return eager() and all(
        type(v) in _BARE and v.is_cpu and v.layout is torch.strided and _in_memory(v)
        for v in values
        if isinstance(v, Tensor)
    )


def _in_memory(value: Tensor) -> bool:
    """Whether a tensor on the CPU has an address, unlike wrappers and zeros that torch defers."""
    try:
        return not value.numel() or (value.data_ptr() != 0 and not value._is_zerotensor())
    except RuntimeError:
        return False


def number(value: float) -> Tensor:
    """A number as a 0-d tensor on the CPU, whatever torch's default device is."""
    return torch.tensor(float(value), dtype=torch.float64, device=_CPU)


def scalar(value: float, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    """A 0-d tensor, filled on the device."""
    return torch.full((), value, dtype=dtype, device=device)


def move(value: Tensor, device: torch.device | None, dtype: torch.dtype) -> Tensor:
    """A parameter beside the data: only 0-d ones change device, from the CPU, without waiting.

    A number that is known here is filled in on the device, which a captured graph allows as well.
    """
    if value.dtype is dtype and (device is None or value.device == device):
        return value
    if device is not None and device.type == "cuda" and known(value):
        return scalar(float(value), dtype, device)
    return value.to(device=device, dtype=dtype, non_blocking=value.device.type == "cpu")


def known(value: Tensor) -> bool:
    """Whether a tensor is a number on the CPU that no derivative or trace asks about."""
    return value.ndim == 0 and not value.requires_grad and plain(value)


def rounded(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """What was computed of data called ``name``, in its type.

    ValueError for what is beyond float16, on the CPU: on a GPU that would wait for it.
    """
    found = value.to(dtype)
    seen = dtype is torch.float16 and found.is_cpu and plain(found) and found.numel() > 0
    if seen and math.inf in (abs(extreme.item()) for extreme in found.detach().aminmax()):
        raise ValueError(
            f"{name}: got dtype {dtype}, and values beyond its 65504 follow; allowed: another type"
        )
    return found


def check_same_device(name: str, value: Tensor, other: str, device: torch.device) -> None:
    """ValueError unless both are on one device; 0-d tensors on the CPU go anywhere."""
    if value.device != device and not (value.ndim == 0 and value.device.type == "cpu"):
        raise ValueError(f"{name}: is on {value.device}; allowed: {device}, where {other} is")


def check_labels(labels: object, samples: Tensor, other: str) -> None:
    """TypeError or ValueError unless there is a class for each sample, on their device."""
    classes = _arguments.tensor("labels", labels, (torch.int64,))
    _arguments.must(samples.ndim, "labels", "some", f"None, since {other} has no axis of samples")
    _arguments.same_shape("labels", classes, samples.shape[:1], f"the samples of {other}")
    check_same_device("labels", classes, other, samples.device)


def times(
    t: float | Tensor, device: torch.device | None, dtype: torch.dtype, name: str = "t"
) -> Tensor:
    """A time, or times, as a tensor of the working type of ``dtype`` beside the data.

    A number must be finite and >= 0; the values of a tensor are left to whoever can read them.
    Messages call it ``name``.
    """
    working = working_dtype(dtype)
    if isinstance(t, Tensor):
        _arguments.tensor(name, t)
        if device is not None:
            check_same_device(name, t, "the data", device)
        return move(t, device, working)
    value = _arguments.real(name, t, "a float or a float tensor")
    if not 0 <= value <= torch.finfo(working).max:
        raise ValueError(
            f"{name}: got {value}; allowed: finite numbers >= 0 in the range of {working}"
        )
    return scalar(value, working, device)


def known_times(
    t: float | Tensor, device: torch.device | None, dtype: torch.dtype, name: str = "t"
) -> Tensor:
    """:func:`times`, whose values are checked where they can be read here."""
    found = times(t, device, dtype, name)
    if plain(found) and not bool(((found >= 0) & (found < math.inf)).all()):
        raise ValueError(f"{name}: got {t}; allowed: finite numbers >= 0")
    return found


def drawn_dtype(dtype: torch.dtype | None, t: object) -> torch.dtype:
    """The type of a draw: ``dtype``, else that of the time if it is a tensor, else torch's default;
    float32 where that has 16 bits.
    """
    if dtype is not None:
        return _arguments.dtype(dtype)
    found = t.dtype if isinstance(t, Tensor) else torch.get_default_dtype()
    return working_dtype(found)


def place(device: torch.device | str | None, *values: object) -> torch.device:
    """Where to draw: ``device``, else the one that any of the tensors is on, else the CPU."""
    if device is not None:
        return _arguments.device(device)
    for value in values:
        if isinstance(value, Tensor) and value.device != _CPU:
            return value.device
    return _CPU


def draw(
    t: Tensor, a: Tensor, c: Tensor, seed: Tensor, offset: int, shape: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """The operator ``sample``; in a graph of ``torch.jit.trace``, which holds no list of extents,
    what is the same: ``sample_pair`` of zeros.
    """
    if torch._C._get_tracing_state() is None:
        return torch.ops.kacflow.sample(t, a, c, seed, offset, shape, dtype)
    data = torch.zeros(tuple(shape), dtype=dtype, device=t.device)
    zero = torch.zeros((), dtype=dtype, device=t.device)
    return torch.ops.kacflow.sample_pair(data, a, c, zero, zero, t, zero, seed, offset)[0]


_LOCAL = threading.local()


def drawn_seed(generator: torch.Generator | None, device: torch.device) -> Tensor | int:
    """:func:`draw_seed` in eager mode, on the CPU as a number."""
    if not (device is _CPU or device == _CPU) or not (
        generator is None or _arguments.generator(generator).device == _CPU  # type: ignore[union-attr]
    ):
        seed = draw_seed(generator, device)
        return int(seed) if seed.is_cpu else seed
    scratch = getattr(_LOCAL, "seed", None)
    if scratch is None:
        with torch.inference_mode(False):
            scratch = _LOCAL.seed = torch.empty((), dtype=torch.int64, device=_CPU)
    return scratch.random_(_LAST_SEED, generator=generator).item()  # type: ignore[return-value]


def draw_seed(generator: torch.Generator | None, device: torch.device | None = None) -> Tensor:
    """A 0-d int64 seed in [0, 2**63 - 1): one 64-bit number of torch's generator.

    Without a generator it is the default one of the data's device (the CPU, if None), as for
    ``torch.randn``.
    """
    if generator is not None:
        device = _arguments.generator(generator).device  # type: ignore[union-attr]
    elif device is None:
        device = _CPU
    return torch.randint(_LAST_SEED, (), generator=generator, device=device)


def first_element(first: int, shape: Sequence[int]) -> int:
    """Number of the first element of a batch whose first sample is number ``first``."""
    if type(first) is int and first == 0:
        return 0
    element = _arguments.integer("first", first) * math.prod(shape[1:])
    if type(element) is not int or element <= _LAST_SEED:
        return element
    if element >= 2**64:
        raise ValueError(
            f"first: got {_validate.shown(first)}; allowed: such that elements count below 2**64"
        )
    return element - 2**64  # operators take int64

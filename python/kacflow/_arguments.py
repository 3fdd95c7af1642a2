"""What an argument of the torch layer may be: each kind is checked here, and nowhere else.

Messages name the argument, what was given and what is allowed.  Numbers may be Python's or NumPy's,
whatever ``operator.index`` or ``float`` takes without loss; a bool or a string is no number.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kacflow_core._validate import shown

#: Types of data, and those that are computed in.
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
WORKING = (torch.float32, torch.float64)
#: Types of integers, and of real numbers.
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
NUMBERS = (*FLOATS, *INTEGERS)
_CPU = torch.device("cpu")


def given(value: object) -> str:
    """What a message says of a value of the wrong kind: its type, and if short its value."""
    name = type(value).__name__
    if isinstance(value, Tensor):
        where = "" if value.device.type == "cpu" else f" on {value.device}"
        if value.is_nested:
            return f"nested {name} of dtype {value.dtype}"
        layout = "" if value.layout is torch.strided else f" of layout {value.layout}"
        return f"{name} of shape {tuple(value.shape)} and dtype {value.dtype}{layout}{where}"
    if isinstance(value, (bool, int, float, complex, str, bytes)):
        return f"{name} {shown(value)}"
    return name


def must(good: object, name: str, got: object, allowed: object) -> None:
    """ValueError, in the form that all of them have, unless an argument is ``good``.

    Not for numbers in a format or open extents where ``torch.compile`` leads: it makes the texts.
    """
    if not good:
        raise ValueError(f"{name}: got {got}; allowed: {allowed}")


def wrong_type(name: str, value: object, allowed: str) -> TypeError:
    """What is raised for a value of the wrong kind."""
    return TypeError(f"{name}: got {given(value)}; allowed: {allowed}")


def integer(name: str, value: Any, least: int = 0, most: int | None = None) -> int:
    """An integer in [least, most]; symbolic ones of a compiled graph pass."""
    if type(value) is int and least <= value and (most is None or value <= most):
        return value
    allowed = f"an int >= {least}" if most is None else f"an int in [{least}, {most}]"
    if type(value) is not int and not isinstance(value, torch.SymInt):
        if isinstance(value, (bool, np.bool_, Tensor)):
            raise wrong_type(name, value, allowed)
        try:
            value = operator.index(value)
        except TypeError:
            raise wrong_type(name, value, allowed) from None
    if value < least or (most is not None and value > most):
        raise ValueError(f"{name}: got {shown(value)}; allowed: {allowed}")
    return value


def real(
    name: str, value: Any, allowed: str = "a float", good: Callable[[float], bool] | None = None
) -> float:
    """A real number as a float, NaN and infinities included if ``good`` allows them."""
    if type(value) is not float:
        refused = isinstance(value, (bool, np.bool_, np.timedelta64))
        if refused or not isinstance(value, numbers.Real):
            raise wrong_type(name, value, allowed)
        try:
            value = float(value)
        except OverflowError:
            raise ValueError(f"{name}: got a number beyond float64; allowed: {allowed}") from None
    if good is not None:
        must(good(value), name, value, allowed)
    return value


def positive(name: str, value: Any, allowed: str = "a finite float > 0") -> float:
    """A finite number > 0."""
    return real(name, value, allowed, lambda number: 0 < number < math.inf)


def at_least_zero(name: str, value: Any, below: float = math.inf) -> float:
    """A number in [0, below)."""
    allowed = "a finite float >= 0" if below == math.inf else f"a float in [0, {below})"
    return real(name, value, allowed, lambda number: 0 <= number < below)


def scale(name: str, value: Any) -> float:
    """A horizon or a scale of noise: products of two and their squares stay in float32's range, and
    so do quotients.
    """
    return real(name, value, "a float in [1e-18, 1e18]", lambda number: 1e-18 <= number <= 1e18)


def reals(name: str, value: Any, allowed: str) -> list[float]:
    """Real numbers as floats, from a sequence, or an array or tensor of one axis."""
    entries = value
    if isinstance(value, Tensor):
        kept = numeric(name, value, allowed).clone()  # torch may have deferred zeros
        try:
            entries = kept.tolist()
        except RuntimeError:  # those of a transform, such as vmap
            raise wrong_type(name, value, f"{allowed}, in memory") from None
    elif isinstance(value, np.ndarray) and value.dtype.kind not in "mM":  # which look like ints
        entries = value.tolist()
    if isinstance(entries, (str, bytes)) or not isinstance(entries, Sequence):
        raise wrong_type(name, value, allowed)
    return [
        real(name, v.item() if isinstance(v, Tensor) and not v.ndim else v, allowed)
        for v in entries
    ]


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """One of the strings ``allowed``."""
    names = tuple(allowed)
    if not isinstance(value, str):
        raise wrong_type(name, value, ", ".join(names))
    if value not in names:
        raise ValueError(f"{name}: got {shown(value)}; allowed: {', '.join(names)}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise wrong_type(name, value, "True or False")
    return bool(value)


def shape(value: Any, name: str = "shape") -> tuple[int, ...]:
    """A shape: an int >= 0 or a sequence of them."""
    if type(value) is torch.Size:
        return tuple(value)
    allowed = "an int >= 0 or a sequence of them"
    several = isinstance(value, (tuple, Sequence, np.ndarray)) and not isinstance(
        value, (str, bytes)
    )
    if several and torch._C._get_tracing_state() is not None:  # extents are tensors there
        return tuple(value)
    whole = []
    try:
        for n in tuple(value) if several else (value,):
            if type(n) is not int:
                if isinstance(n, (bool, np.bool_, Tensor)):
                    raise TypeError
                if not isinstance(n, (int, torch.SymInt)):  # an open extent of a compiled graph
                    n = operator.index(n)
            whole.append(n)
    except TypeError:
        got = shown(value) if several else given(value)
        raise TypeError(f"{name}: got {got}; allowed: {allowed}") from None
    if any([n < 0 for n in whole]):
        raise ValueError(f"{name}: got {shown(value)}; allowed: {allowed}")
    if math.prod(whole) > 2**60:
        raise ValueError(f"{name}: got {shown(value)}; allowed: at most 2**60 elements")
    return tuple(whole)


def generator(value: Any) -> torch.Generator | None:
    """A source of seeds, or None for torch's own."""
    if value is not None and not isinstance(value, torch.Generator):
        raise wrong_type("generator", value, "a torch.Generator or None")
    return value


def dtype(value: Any, allowed: Sequence[torch.dtype] = WORKING, name: str = "dtype") -> torch.dtype:
    """One of the types ``allowed``."""
    if not isinstance(value, torch.dtype) or value not in allowed:
        got = value if isinstance(value, torch.dtype) else given(value)
        raise TypeError(f"{name}: got {got}; allowed: {', '.join(map(str, allowed))}")
    return value


def device(value: Any, name: str = "device") -> torch.device:
    """A device with its number: ``"cuda"`` is the current one."""
    if type(value) is torch.device and value == _CPU:
        return value
    try:
        found = torch.device(value)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        kind = ValueError if isinstance(value, (str, int)) else TypeError
        why = str(error).splitlines()[0]
        raise kind(f"{name}: got {given(value)}; allowed: a device of torch ({why})") from None
    if found.type == "cpu":
        return _CPU
    try:
        return torch.empty(0, device=found).device
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"{name}: got {shown(value)}, which cannot be used here ({why})") from None


def tensor(name: str, value: Any, allowed: Sequence[torch.dtype] = FLOATS) -> Tensor:
    """A dense tensor of one of the types ``allowed``."""
    if not isinstance(value, Tensor) or value.dtype not in allowed:
        kinds = ", ".join(str(kind).removeprefix("torch.") for kind in allowed)
        if not isinstance(value, Tensor):
            raise wrong_type(name, value, f"a tensor of {kinds}")
        raise TypeError(f"{name}: got dtype {value.dtype}; allowed: {kinds}")
    if value.layout is not torch.strided:
        raise TypeError(f"{name}: got layout {value.layout}; allowed: dense tensors")
    if value.is_nested:
        raise TypeError(f"{name}: got a nested tensor; allowed: dense tensors")
    return value


def answer(said: str, value: Any, like: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """What a function of the caller's gave: of any floating type, of the device and, unless
    ``shape`` says otherwise, the shape of ``like``.

    ``said`` begins the message of an error, such as "model: returned".
    """
    wanted = like.shape if shape is None else shape
    if (
        not isinstance(value, Tensor)
        or value.dtype not in FLOATS
        or value.layout is not torch.strided
        or value.is_nested
    ):
        kinds = "float32, float64, bfloat16 or float16"
        raise TypeError(f"{said} {given(value)}; allowed: a dense tensor of {kinds}")
    if value.shape != wanted:
        allowed = f"shape {tuple(wanted)}, that of the points"
        raise ValueError(f"{said} {given(value)}; allowed: {allowed}")
    if value.device != like.device:
        raise ValueError(f"{said} {given(value)}; allowed: on {like.device}, where the points are")
    return value


def numeric(name: str, value: Any, allowed: str) -> Tensor:
    """A dense tensor of real numbers that can be read, integers too."""
    if (
        not isinstance(value, Tensor)
        or value.dtype not in NUMBERS
        or value.layout is not torch.strided
        or value.is_meta
        or value.is_nested
    ):
        raise wrong_type(name, value, allowed)
    return value


def same_shape(name: str, value: Tensor, like: Sequence[int], other: str) -> None:
    """ValueError unless ``value`` has the shape ``like``, which ``other`` has."""
    if tuple(value.shape) != tuple(like):
        allowed = f"{tuple(like)}, that of {other}"
        raise ValueError(f"{name}: got shape {tuple(value.shape)}; allowed: {allowed}")


def broadcast(**values: Tensor) -> torch.Size:
    """The shape to which tensors broadcast as in torch."""
    try:
        return torch.broadcast_shapes(*(value.shape for value in values.values()))
    except RuntimeError:
        listed = ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items())
        raise ValueError(f"shapes do not broadcast: {listed}") from None


def leads(name: str, value: Tensor, shape: Sequence[int]) -> None:
    """ValueError unless a parameter aligns with the leading axes of data of a shape."""
    own = value.shape
    # not "in": torch.compile finds no open extent in a tuple
    if any(
        n != 1 and n != m for n, m in zip(own[: len(shape)], shape[: len(own)], strict=True)
    ) or (math.prod(own[len(shape) :]) != 1):
        raise ValueError(
            f"{name}: shape {tuple(own)} does not broadcast against the leading axes of "
            f"{tuple(shape)}; each axis must be 1 or equal to that of the data, first axis first"
        )

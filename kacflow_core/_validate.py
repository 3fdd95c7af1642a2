"""Checks at the edge: every argument of a public function passes through here, once.

Messages name the argument, what was given and what is allowed.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kacflow_core._dispatch import native_module
from kacflow_core._layout import Array, broadcast, is_bfloat16

UINT64_END = 2**64
_MAX_TIMES = 2**31
_ELEMENTS_END = 2**60  # whose bytes, in float64, NumPy cannot count
_PLAIN = frozenset({np.ndarray, float, int, np.float64, np.float32})  # what has no mask

#: (address, itemsize, shape, strides, bytes of a stride's unit) -> (least, most).
native_extent: Any = None
with contextlib.suppress(ImportError):  # without the compiled core NumPy does the same below
    native_extent = native_module().extent


class Limits(NamedTuple):
    """What the working type can represent and the kernels compute with."""

    name: str
    least: float  #: smallest normal number
    most: float  #: largest number
    tau: float  #: largest a t
    length: float  #: largest c t, and largest c t a: a sum of two of them does not overflow


LIMITS = {
    np.dtype(np.float32): Limits(
        "float32", 2.0**-126, float(np.finfo(np.float32).max), 1e15, 2.0**126
    ),
    np.dtype(np.float64): Limits(
        "float64", 2.0**-1022, float(np.finfo(np.float64).max), 1e150, 2.0**1022
    ),
}

FLOAT64_LIMITS = LIMITS[np.dtype(np.float64)]
_POSITIVE = "finite numbers > 0 in the normal range of {}"


def extent(value: Array) -> tuple[float, float]:
    """(min, max) of a float array, (nan, nan) if it holds a NaN, (inf, -inf) if it is empty."""
    if native_extent is not None:
        address = value.__array_interface__["data"][0]
        return native_extent(address, value.itemsize, value.shape, value.strides, 1)
    if not value.size:
        return math.inf, -math.inf
    return float(value.min()), float(value.max())


def shown(value: Any) -> str:
    """A value as a message gives it, cut short."""
    try:
        text = " ".join(repr(value).split())  # in one line
    except ValueError:  # Python does not write thousands of digits
        return f"a long {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _masked(value: Any) -> bool:
    """Whether there is a masked array in ``value``: NumPy would show what its mask hides."""
    if isinstance(value, (list, tuple)):
        return any(map(_masked, value))
    return isinstance(value, np.ma.MaskedArray)


def as_array(name: str, value: Any) -> Array:
    """``value`` as a NumPy array of any type, without a mask."""
    if type(value) not in _PLAIN and _masked(value):
        raise TypeError(f"{name}: got a masked array; allowed: arrays without a mask")
    try:
        if hasattr(value, "data_ptr") and value.numel() and not value.data_ptr():
            raise TypeError("it has no memory")  # NumPy would show what lies there
        return np.asarray(value)
    except MemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"{name}: not an array of numbers ({error})") from None
    except Exception as error:  # of a library that does not copy to the CPU silently, or cannot
        raise TypeError(f"{name}: got a {type(value).__name__}, not an array ({error})") from None


def _kind(value: Any, array: Array) -> str:
    """What a message says of an array of the wrong type."""
    given = "" if hasattr(value, "dtype") else f"{type(value).__name__} of "
    return f"{given}dtype {array.dtype}"


def _readable(array: Array) -> Array:
    """A float array whose elements lie at whole strides, as kernels read them."""
    if array.ndim and (
        not array.flags.aligned or any(stride % array.itemsize for stride in array.strides)
    ):
        return array.copy()
    return array


def real(name: str, value: ArrayLike) -> Array:
    """``value`` as a float32 or float64 array; integers become float64, float16 becomes float32."""
    array = as_array(name, value)
    if array.dtype == np.float64 or array.dtype == np.float32:
        return _readable(array)
    if array.dtype.kind in "iu":
        return array.astype(np.float64)
    if array.dtype.kind == "f" and array.dtype.itemsize < 4:
        return array.astype(np.float32)
    raise TypeError(
        f"{name}: got {_kind(value, array)}; allowed: real numbers (float16, float32, float64 or "
        "integers)"
    )


def together(**parameters: Array) -> None:
    """ValueError unless arrays broadcast as in NumPy."""
    (first, value), *others = parameters.items()
    broadcast(first, value.shape, dict(others))


def _refuse(name: str, low: float, high: float, least: float, allowed: str, working: str) -> None:
    """The ValueError for numbers outside a range (or NaN), unless there are none at all."""
    if not (low == math.inf and high == -math.inf):
        bad = low if not low >= least else high
        raise ValueError(f"{name}: got {bad:g}; allowed: {allowed.format(working)}")


def parameter(name: str, value: ArrayLike, limits: Limits = FLOAT64_LIMITS) -> Array:
    """Finite numbers of either sign that the working type can represent."""
    array = real(name, value)
    low, high = extent(array)
    check_finite(name, low, high, limits.most, limits.name)
    return array


def check_finite(name: str, low: float, high: float, most: float, working: str) -> None:
    """ValueError unless numbers from ``low`` to ``high`` are finite in the working type."""
    if not (low >= -most and high <= most):  # NaN is refused as well
        _refuse(name, low, high, -most, "finite numbers in the range of {}", working)


def process(
    t: ArrayLike,
    a: ArrayLike,
    c: ArrayLike,
    working: np.dtype[Any],
    time_name: str = "t",
) -> tuple[Array, Array, Array]:
    """Time >= 0, jump rate > 0 and speed > 0 of a Kac process in the working type.

    Nothing may leave that type's range, neither a parameter nor the products a t, c t and c t a.
    """
    times, rates, speeds = real(time_name, t), real("a", a), real("c", c)
    check_process(extent(times), extent(rates), extent(speeds), LIMITS[working], time_name)
    return times, rates, speeds


def check_process(
    t: tuple[float, float],
    a: tuple[float, float],
    c: tuple[float, float],
    limits: Limits,
    time_name: str = "t",
) -> None:
    """What :func:`process` asks of the (least, most) of times, rates and speeds."""
    t_least, t_most = t
    if not (t_least >= 0.0 and t_most <= limits.most):
        _refuse(time_name, t_least, t_most, 0.0, "finite numbers >= 0 ({})", limits.name)
    a_least, a_most = a
    if not (a_least >= limits.least and a_most <= limits.most):
        _refuse("a", a_least, a_most, limits.least, _POSITIVE, limits.name)
    c_least, c_most = c
    if not (c_least >= limits.least and c_most <= limits.most):
        _refuse("c", c_least, c_most, limits.least, _POSITIVE, limits.name)
    t_most = max(t_most, 0.0)  # every maximum is -inf where there is nothing
    if a_most * t_most > limits.tau:
        raise ValueError(
            f"a*{time_name}: got up to {a_most * t_most:g}; allowed: at most {limits.tau:g} in "
            f"{limits.name}"
        )
    if t_most > 0.0 and c_most * t_most > limits.length:
        raise ValueError(
            f"c*{time_name}: got up to {c_most:g} * {t_most:g}; allowed: at most "
            f"{limits.length:g} in {limits.name}"
        )
    if t_most > 0.0 and a_most > 0.0 and c_most * t_most > limits.length / a_most:
        raise ValueError(
            f"a*c*{time_name}: got up to {a_most:g} * {c_most:g} * {t_most:g}; allowed: at most "
            f"{limits.length:g} in {limits.name}"
        )


def grid(array: Any) -> None:
    """Time grids along the last axis of an array of any library: at least one time."""
    shape = tuple(getattr(array, "shape", ()))  # a number has none
    if not shape or not 1 <= shape[-1] <= _MAX_TIMES:
        raise ValueError(
            f"times: got shape {shape}; allowed: at least one axis, the last of 1 to "
            f"{_MAX_TIMES} times"
        )


def increasing(array: Array, working: np.dtype[Any]) -> Array:
    """Time grids in the working type, contiguous: strictly increasing in that type."""
    times = np.ascontiguousarray(array, dtype=working)
    steps = times[..., 1:] > times[..., :-1]
    if not steps.all():
        at = np.unravel_index(np.argmin(steps), steps.shape)
        before, after = times[at], times[(*at[:-1], at[-1] + 1)]
        raise ValueError(
            f"times: got {after} after {before} at {tuple(map(int, at))}; allowed: strictly "
            f"increasing times, also when rounded to {working}"
        )
    return times


def word64(name: str, value: Any) -> int:
    """A seed or an offset: an integer in [0, 2**64)."""
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name}: got {value!r}; allowed: an integer in [0, 2**64)")
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{name}: got {type(value).__name__}; allowed: an integer in [0, 2**64)"
            ) from None
    if not 0 <= value < UINT64_END:
        raise ValueError(f"{name}: got {shown(value)}; allowed: an integer in [0, 2**64)")
    return value


def shape(value: int | Sequence[int]) -> tuple[int, ...]:
    """A shape: a non-negative int, or a sequence of them."""
    several = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))
    try:
        values = tuple(value) if several else (value,)  # type: ignore[arg-type]
        if any(isinstance(n, (bool, np.bool_)) for n in values):
            raise TypeError
        extents = tuple(operator.index(n) for n in values)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"shape: got {shown(value)}; allowed: a non-negative int or a sequence of them"
        ) from None
    if any(n < 0 for n in extents):
        raise ValueError(f"shape: got {shown(extents)}; allowed: non-negative extents")
    if math.prod(extents) >= _ELEMENTS_END:
        raise ValueError(f"shape: {shown(extents)} has 2**60 elements or more")
    return extents


def real_dtype(value: Any) -> np.dtype[Any]:
    """float32 or float64."""
    try:
        if not isinstance(value, (str, type, np.dtype)):
            raise TypeError
        dtype = np.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(f"dtype: got {shown(value)}; allowed: 'float32' or 'float64'") from None
    if dtype not in (np.float32, np.float64) or not dtype.isnative:
        raise TypeError(f"dtype: got {dtype}; allowed: 'float32' or 'float64'")
    return dtype


def data(name: str, value: ArrayLike, *, sixteen_bit: bool = True) -> Array:
    """Real data as an array; Python numbers become float64.

    Arrays keep their dtype: float32, float64, and where ``sixteen_bit`` float16 and bfloat16.
    Integers are refused, since a result of their dtype could not hold the answer.
    """
    array = as_array(name, value)
    if not hasattr(value, "dtype") and array.dtype.kind in "iu":
        array = array.astype(np.float64)
    dtype = array.dtype
    fine = dtype in (np.float32, np.float64) or (
        sixteen_bit and (dtype == np.float16 or is_bfloat16(dtype))
    )
    if not fine or not dtype.isnative:
        allowed = "float32, float64, float16 or bfloat16" if sixteen_bit else "float32 or float64"
        raise TypeError(f"{name}: got {_kind(value, array)}; allowed: {allowed}")
    return _readable(array)


def probabilities(name: str, value: ArrayLike) -> Array:
    """Numbers in [0, 1] as a float32 or float64 array; Python numbers become float64."""
    array = data(name, value, sixteen_bit=False)
    check_probabilities(name, *extent(array))
    return array


def check_probabilities(name: str, low: float, high: float) -> None:
    """ValueError unless numbers from ``low`` to ``high`` are probabilities."""
    if not (low >= 0.0 and high <= 1.0):  # NaN is refused as well
        _refuse(name, low, high, 0.0, "probabilities in [0, 1]", "")

"""Checks at the edge: every argument of a public function passes through here, once.

Messages name the argument, what was given and what is allowed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kacflow_core._dispatch import native_module
from kacflow_core._layout import Array, is_bfloat16

UINT64_END = 2**64
_MAX_ELEMENTS = 2**60

try:
    _native_extent = native_module().extent
except ImportError:
    _native_extent = None


def _extent(value: Array) -> tuple[float, float]:
    """(min, max) of a non-empty float array, (nan, nan) if it holds a NaN."""
    if _native_extent is not None and value.ndim <= 2:
        low, high = _native_extent(value)
        return low, high
    return float(value.min()), float(value.max())


def parameter(
    name: str, value: ArrayLike, *, least: float = -math.inf, open_end: bool = False
) -> Array:
    """``value`` as a float32 or float64 array of finite numbers that are >= ``least``.

    ``open_end`` asks for numbers > ``least``.  Integers become float64; float16 becomes float32.
    """
    array = np.asarray(value)
    if array.dtype != np.float64 and array.dtype != np.float32:
        kind = array.dtype.kind
        if kind in "iu":
            array = array.astype(np.float64)
        elif kind == "f" and array.dtype.itemsize < 4:
            array = array.astype(np.float32)
        else:
            raise TypeError(
                f"{name}: got dtype {array.dtype}; allowed: real numbers (float16, float32, "
                "float64 or integers)"
            )
    if array.size:
        low, high = _extent(array)
        above = low > least if open_end else low >= least
        if not (above and -math.inf < low and high < math.inf):  # False for NaN
            kind = {-math.inf: "finite"}.get(
                least, f"finite and {'>' if open_end else '>='} {least:g}"
            )
            bad = low if not (above and low > -math.inf) else high
            raise ValueError(f"{name}: got {bad:g}; allowed: {kind} numbers")
    return array


def positive(name: str, value: ArrayLike) -> Array:
    """Finite numbers > 0: a rate, a speed."""
    return parameter(name, value, least=0.0, open_end=True)


def time(name: str, value: ArrayLike) -> Array:
    """Finite numbers >= 0."""
    return parameter(name, value, least=0.0)


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
        raise ValueError(f"{name}: got {value}; allowed: an integer in [0, 2**64)")
    return value


def shape(value: int | Sequence[int]) -> tuple[int, ...]:
    """A shape: a non-negative int, or a sequence of them."""
    try:
        extents = (operator.index(value),)  # type: ignore[arg-type]
    except TypeError:
        try:
            extents = tuple(operator.index(n) for n in value)  # type: ignore[union-attr]
        except TypeError:
            raise TypeError(
                f"shape: got {value!r}; allowed: a non-negative int or a sequence of them"
            ) from None
    if any(n < 0 for n in extents):
        raise ValueError(f"shape: got {extents}; allowed: non-negative extents")
    if math.prod(extents) > _MAX_ELEMENTS:
        raise ValueError(f"shape: {extents} has over 2**60 elements")
    return extents


def real_dtype(value: Any) -> np.dtype[Any]:
    """float32 or float64."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"dtype: got {value!r}; allowed: 'float32' or 'float64'") from None
    if dtype not in (np.float32, np.float64) or not dtype.isnative:
        raise TypeError(f"dtype: got {dtype}; allowed: 'float32' or 'float64'")
    return dtype


def data(name: str, value: ArrayLike, *, sixteen_bit: bool = True) -> Array:
    """Real data as an array; Python numbers become float64.

    Arrays keep their dtype: float32, float64, and where ``sixteen_bit`` float16 and bfloat16.
    Integers are refused, since a result of their dtype could not hold the answer.
    """
    is_array = hasattr(value, "dtype")
    if is_array and hasattr(value, "__cuda_array_interface__"):
        raise TypeError(f"{name}: got an array on a GPU; allowed: arrays on the CPU")
    array = np.asarray(value)
    if not is_array and array.dtype.kind in "iu":
        array = array.astype(np.float64)
    dtype = array.dtype
    fine = dtype in (np.float32, np.float64) or (
        sixteen_bit and (dtype == np.float16 or is_bfloat16(dtype))
    )
    if not fine or not dtype.isnative:
        allowed = "float32, float64, float16 or bfloat16" if sixteen_bit else "float32 or float64"
        raise TypeError(f"{name}: got dtype {dtype}; allowed: {allowed}")
    return array

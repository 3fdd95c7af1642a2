"""How parameters meet data: rows of elements that share their parameters.

Kernels see a flat array of ``n0 * n1 * inner`` elements and each parameter as a strided 2-D array
with ``n0`` or 1 rows and ``n1`` or 1 columns, an axis of length one being broadcast.  Element
``(i0 * n1 + i1) * inner + k`` uses the parameters at ``(i0, i1)``.  The functions here bring
NumPy shapes into that form, copying no data and at most one row of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Carrier of bfloat16 data where no library adds the type to NumPy: the raw 16 bits, named.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])


class Layout(NamedTuple):
    """Extents of the flat array: ``n0 * n1`` rows of ``inner`` elements."""

    n0: int
    n1: int
    inner: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.n0 * self.n1 * self.inner


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` is bfloat16: ours (:data:`BFLOAT16`) or that of ml_dtypes."""
    return dtype == BFLOAT16 or dtype.name == "bfloat16"


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that data of ``dtype`` is computed in: float64 for float64, else float32."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` without its trailing ones."""
    end = len(shape)
    while end and shape[end - 1] == 1:
        end -= 1
    return shape[:end]


def _as_rows(value: Any, lead: tuple[int, ...], n1: int, broadcast_to: Callable[..., Any]) -> Any:
    """``value``, of a shape that broadcasts to ``lead`` axis by axis, in two axes."""
    if isinstance(value, float):
        return value
    if value.ndim <= 1:  # the common cases, at the cost of one view
        return value.reshape(-1, 1)
    shape = _trimmed(value.shape)
    if len(shape) <= 1:
        return value.reshape(-1, 1)
    rest = value.reshape(shape + (1,) * (len(lead) - len(shape)))
    return broadcast_to(rest, (shape[0], *lead[1:])).reshape(shape[0], n1)


def full_rows(layout: Layout, *parameters: Array) -> list[Array]:
    """The parameters as views of shape ``(n0, n1)``, for backends that index them."""
    return [np.broadcast_to(value, (layout.n0, layout.n1)) for value in parameters]


def leading(
    shape: Sequence[int],
    parameters: Mapping[str, Any],
    broadcast_to: Callable[..., Any] = np.broadcast_to,
) -> tuple[Layout, list[Any]]:
    """Layout and 2-D forms of parameters that align with the leading axes of ``shape``.

    Here and below, arrays may be those of any library whose ``broadcast_to`` is given, and floats
    stay.  ValueError, which names the parameter, if one has more axes than ``shape`` (trailing axes
    of length one aside), or an axis that is neither 1 nor that of ``shape``.
    """
    shape = tuple(shape)
    axes = 0
    for name, value in parameters.items():
        if isinstance(value, float) or value.ndim == 0:
            continue
        own = value.shape
        if own[-1] == 1:
            own = _trimmed(own)
        if own == shape[:1]:
            axes = axes or 1
            continue
        if len(own) > len(shape) or any(m not in (1, n) for m, n in zip(own, shape, strict=False)):
            raise ValueError(
                f"{name}: shape {tuple(value.shape)} does not broadcast against the leading axes "
                f"of {shape}; each axis must be 1 or equal to that of the data, first axis first"
            )
        axes = max(axes, len(own))
    lead = shape[:axes]
    n0 = lead[0] if lead else 1
    n1 = math.prod(lead[1:])
    layout = Layout(n0, n1, math.prod(shape[axes:]))
    return layout, [_as_rows(value, lead, n1, broadcast_to) for value in parameters.values()]


def leading_grids(
    shape: Sequence[int],
    times: Array,
    parameters: Mapping[str, Any],
    broadcast_to: Callable[..., Any] = np.broadcast_to,
) -> tuple[Layout, list[Any]]:
    """:func:`leading`, which see, with time grids, whose axes but the last align with ``shape``.

    The layout and forms of the parameters; :func:`grid_rows` gives that of the grids.
    """
    shape = tuple(shape)
    lead = _trimmed(times.shape[:-1])
    if len(lead) > len(shape) or any(m not in (1, n) for m, n in zip(lead, shape, strict=False)):
        raise ValueError(
            f"times: got shape {times.shape}; allowed: (T,), or leading axes of {shape}, each 1 or "
            "equal to that of the data, and then T"
        )
    layout, rows = leading(shape, {"times": times[..., 0], **parameters}, broadcast_to)
    return layout, rows[1:]


def grid_rows(
    times: Array,
    layout: Layout,
    shape: Sequence[int],
    broadcast_to: Callable[..., Any] = np.broadcast_to,
) -> Array:
    """Time grids as an array of shape (n0 or 1, n1 or 1, T), for a layout that is not empty.

    A view, unless grids differ along a second axis and parameters along a later one.
    """
    lead, n = _trimmed(times.shape[:-1]), times.shape[-1]
    if len(lead) <= 1:
        return times.reshape(-1, 1, n)
    inner = tuple(shape)[1 : len(lead)]
    rest = layout.n1 // math.prod(inner)
    full = broadcast_to(times.reshape(*lead, 1, n), (lead[0], *inner, rest, n))
    return full.reshape(lead[0], layout.n1, n)


def broadcast(
    name: str, data_shape: tuple[int, ...], parameters: Mapping[str, Any]
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Shape of the result where everything broadcasts as in NumPy, and the parameters with as many
    axes as it has: they align with its leading axes then.  Floats, and arrays without axes, stay.

    ``name`` is what messages call the data; ValueError, which lists the shapes, if they do not
    broadcast.
    """
    shapes = {n: tuple(getattr(value, "shape", ())) for n, value in parameters.items()}
    try:
        shape = np.broadcast_shapes(data_shape, *shapes.values())
    except ValueError:
        listed = ", ".join(f"{n} {own}" for n, own in shapes.items())
        raise ValueError(f"shapes do not broadcast: {name} {data_shape}, {listed}") from None
    aligned = {
        n: value.reshape((1,) * (len(shape) - len(shapes[n])) + shapes[n]) if shapes[n] else value
        for n, value in parameters.items()
    }
    return shape, aligned

"""Arrays as kernels see them: what is asked of a library that owns memory, and NumPy's answers.

:mod:`kacflow_core._gpu_arrays` has those of CuPy and torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from kacflow_core._dispatch import native_module
from kacflow_core._layout import BFLOAT16, Array, is_bfloat16

#: Names that all libraries use for the types that kernels read.
FLOATS = ("float32", "float64", "bfloat16", "float16")
HOST = -1  #: the device that is the CPU


class Library(Protocol):
    """A library that owns memory; arrays are its own."""

    name: str
    broadcast_to: Callable[..., Any]

    def on(self, device: int) -> contextlib.AbstractContextManager[Any]:
        """A scope in which views and copies of arrays on a device may be made."""

    def adopt(self, name: str, value: Any) -> Any:
        """An array of any library as one of this; TypeError if it cannot be."""

    def dtype(self, array: Any) -> str:
        """Name of the data type."""

    def device(self, array: Any) -> int:
        """Number of the device, :data:`HOST` for the CPU."""

    def pointer(self, array: Any) -> int:
        """Address of the first element."""

    def strides(self, array: Any) -> tuple[int, ...]:
        """Strides in elements."""

    def empty(self, shape: int | Sequence[int], dtype: str, device: int) -> Any:
        """A contiguous array, uninitialised."""

    def like(self, array: Any) -> Any:
        """An uninitialised array of the shape and type of a contiguous one, beside it."""

    def contiguous(self, array: Any) -> Any:
        """The array itself if it is C-contiguous, else a copy that is."""

    def copy(self, array: Any) -> Any:
        """A contiguous copy, aligned as new arrays are: of the bytes, which a GPU can read at any
        address, as it can no numbers.
        """

    def cast(self, array: Any, dtype: str) -> Any:
        """The array in another type; itself if it has that type."""

    def stream(self, device: int) -> int:
        """Handle of the current stream of a device."""

    def host(self, array: Any) -> Array:
        """An array of the CPU as NumPy's, in the same memory."""

    def finish(self, device: int) -> None:
        """Wait for the current stream of a device."""


def _interface_address(array: Array) -> int:
    """Where the first element of an array is."""
    return array.__array_interface__["data"][0]


try:  # a tenth of the time, with the compiled core
    address = native_module().address
except ImportError:
    address = _interface_address


class NumpyArrays:
    """:class:`Library` of NumPy."""

    name = "numpy"
    #: Names of types, which NumPy takes microseconds to spell.
    names = {np.dtype(name): name for name in ("float32", "float64", "float16")}  # noqa: RUF012
    broadcast_to = staticmethod(np.broadcast_to)

    def on(self, device: int) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def adopt(self, name: str, value: Any) -> Array:
        return np.asarray(value)

    def dtype(self, array: Array) -> str:
        found = self.names.get(array.dtype)
        return found or ("bfloat16" if is_bfloat16(array.dtype) else array.dtype.name)

    def device(self, array: Array) -> int:
        return HOST

    def pointer(self, array: Array) -> int:
        return address(array)

    def strides(self, array: Array) -> tuple[int, ...]:
        size = array.itemsize
        return tuple(stride // size for stride in array.strides)

    def like(self, array: Array) -> Array:
        return np.empty_like(array)

    def empty(self, shape: int | Sequence[int], dtype: str, device: int) -> Array:
        return np.empty(shape, BFLOAT16 if dtype == "bfloat16" else dtype)

    def contiguous(self, array: Array) -> Array:
        return array if array.flags.c_contiguous else array.copy()

    def copy(self, array: Array) -> Array:
        return array.copy()

    def cast(self, array: Array, dtype: str) -> Array:
        return array.astype(dtype, copy=False)

    def stream(self, device: int) -> int:
        return 0

    def host(self, array: Array) -> Array:
        return array

    def finish(self, device: int) -> None:
        """Nothing: what was computed is there."""


NUMPY = NumpyArrays()

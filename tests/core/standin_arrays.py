"""Arrays of the stand-in for CuPy: memory of the CPU that says it is on a GPU."""

from __future__ import annotations

import ctypes
import math
from types import SimpleNamespace
from typing import Any

import numpy as np


class Array:
    """cupy.ndarray: as much of it as kacflow calls.  Not a NumPy array, as CuPy's are none.

    ``Array(shape, dtype, memptr=..., strides=...)`` is CuPy's way to make one of memory.
    """

    def __init__(
        self, host: Any, device: Any = 0, *, memptr: Any = None, strides: Any = ()
    ) -> None:
        if memptr is not None:
            shape, dtype = host, np.dtype(device)
            size = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
            memory = (ctypes.c_uint8 * size).from_address(memptr.ptr)
            host, device = np.ndarray(shape, dtype, memory, strides=strides), memptr.device
        self.host = host
        self.device = SimpleNamespace(id=device)

    def read(self) -> np.ndarray:
        """The elements, as a kernel reads them: a GPU faults between the elements."""
        assert self.host.flags.aligned or not self.host.size, "misaligned address"
        return self.host

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    @property
    def data(self) -> SimpleNamespace:
        return SimpleNamespace(ptr=self.host.ctypes.data, device=self.device.id)

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "ndim", "size", "dtype", "itemsize", "strides"):
            return getattr(self.host, name)
        raise AttributeError(name)

    def __getitem__(self, key: Any) -> Array:
        return Array(self.host[key], self.device.id)

    def reshape(self, *shape: Any) -> Array:
        return Array(self.host.reshape(*shape), self.device.id)

    def copy(self) -> Array:
        return Array(self.read().copy(), self.device.id)

    def view(self, dtype: np.dtype) -> Array:
        return Array(self.host.view(dtype), self.device.id)

    def astype(self, dtype: str, *, copy: bool) -> Array:
        return Array(self.read().astype(dtype, copy=copy), self.device.id)


class Arrays:
    """The functions of the module ``cupy`` that make arrays: what they make is on its current
    device (``device``), and what they read must be there.
    """

    ndarray = Array
    device: int

    def empty(self, shape: Any, dtype: Any) -> Array:
        extents = (shape,) if isinstance(shape, int) else tuple(shape)
        buffer = np.full(math.prod(extents) * np.dtype(dtype).itemsize, 0xFF, np.uint8)
        return Array(buffer.view(dtype).reshape(extents), self.device)

    def broadcast_to(self, array: Array, shape: tuple[int, ...]) -> Array:
        assert array.device.id == self.device
        return Array(np.broadcast_to(array.host, shape), self.device)

    def ascontiguousarray(self, array: Array) -> Array:
        assert array.device.id == self.device
        return Array(np.ascontiguousarray(array.read()), self.device)

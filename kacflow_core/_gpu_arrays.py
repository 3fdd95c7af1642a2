"""Arrays on a GPU, of whatever library: what the GPU backends need to know of them, and results.

Arrays come in by DLPack or ``__cuda_array_interface__``, without a copy.  Only CuPy and torch are
able to allocate results, so arrays of other libraries are handled with one of the two, CuPy first,
and results go back as the library's own where it can adopt them.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from kacflow_core._arrays import FLOATS, HOST, Library
from kacflow_core._layout import BFLOAT16, Array

_CUDA = (2, 13)  #: DLPack's device types of memory on a GPU, and of managed memory
_HOST = frozenset({np.ndarray, float, int, list, tuple, np.float64, np.float32})


def on_gpu(value: Any) -> bool:
    """Whether ``value`` is an array on a GPU."""
    if type(value) in _HOST:
        return False
    device = getattr(value, "__dlpack_device__", None)
    if device is not None:
        try:
            return device()[0] in _CUDA
        except Exception:  # on a device that DLPack does not know: whoever reads it will say so
            return False
    return hasattr(value, "__cuda_array_interface__")


class CupyArrays:
    """:class:`kacflow_core._arrays.Library` of CuPy."""

    name = "cupy"

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self.broadcast_to = cupy.broadcast_to

    def on(self, device: int) -> contextlib.AbstractContextManager[Any]:
        return self._cupy.cuda.Device(device)  # else it would copy to the current device

    def adopt(self, name: str, value: Any) -> Any:
        cupy = self._cupy
        if isinstance(value, cupy.ndarray):
            return value
        try:
            return cupy.from_dlpack(value) if hasattr(value, "__dlpack__") else cupy.asarray(value)
        except (BufferError, TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{name}: CuPy cannot adopt a {type(value).__name__}: {error}"
            ) from error

    def dtype(self, array: Any) -> str:
        return array.dtype.name

    def device(self, array: Any) -> int:
        return array.device.id

    def pointer(self, array: Any) -> int:
        return array.data.ptr

    def strides(self, array: Any) -> tuple[int, ...]:
        return tuple(stride // array.itemsize for stride in array.strides)

    def empty(self, shape: int | Sequence[int], dtype: str, device: int) -> Any:
        if dtype == "bfloat16":  # a type that the package ml_dtypes adds, which CuPy uses then
            dtype = importlib.import_module("ml_dtypes").bfloat16
        with self._cupy.cuda.Device(device):
            return self._cupy.empty(shape, dtype)

    def like(self, array: Any) -> Any:
        return self.empty(array.shape, self.dtype(array), self.device(array))

    def contiguous(self, array: Any) -> Any:
        return self._cupy.ascontiguousarray(array)

    def copy(self, array: Any) -> Any:
        shape, strides = (*array.shape, array.itemsize), (*array.strides, 1)
        bytes_ = self._cupy.ndarray(shape, np.uint8, memptr=array.data, strides=strides)
        return bytes_.copy().view(array.dtype)[..., 0]

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype, copy=False)

    def stream(self, device: int) -> int:
        with self._cupy.cuda.Device(device):
            return self._cupy.cuda.get_current_stream().ptr

    def host(self, array: Any) -> Array:
        raise TypeError("an array of CuPy is on a GPU, not on the CPU")

    def finish(self, device: int) -> None:
        with self._cupy.cuda.Device(device):
            self._cupy.cuda.get_current_stream().synchronize()


class TorchArrays:
    """:class:`kacflow_core._arrays.Library` of torch, for tensors on a GPU and on the CPU."""

    name = "torch"

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._dtypes = {name: getattr(torch, name) for name in FLOATS}
        self._names = {dtype: name for name, dtype in self._dtypes.items()}
        self.broadcast_to = torch.broadcast_to
        self.pointer = torch.Tensor.data_ptr
        self.strides = torch.Tensor.stride
        self.like = torch.empty_like
        self._stream = torch._C._cuda_getCurrentRawStream if torch.version.cuda else None

    def on(self, device: int) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()  # its operators run where their arguments are

    def adopt(self, name: str, value: Any) -> Any:
        torch = self._torch
        if isinstance(value, torch.Tensor):
            value = value.resolve_neg()
            return value.detach() if value.requires_grad else value
        try:
            if hasattr(value, "__dlpack__"):
                return torch.from_dlpack(value)
            return torch.as_tensor(value, device="cuda")
        except (BufferError, TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{name}: torch cannot adopt a {type(value).__name__}: {error}"
            ) from error

    def dtype(self, array: Any) -> str:
        return self._names.get(array.dtype) or str(array.dtype).removeprefix("torch.")

    def device(self, array: Any) -> int:
        return array.get_device()

    def empty(self, shape: int | Sequence[int], dtype: str, device: int) -> Any:
        if device != HOST:
            return self._torch.empty(shape, dtype=self._dtypes[dtype], device=f"cuda:{device}")
        try:
            return self._torch.empty(shape, dtype=self._dtypes[dtype], device="cpu")
        except RuntimeError:
            raise MemoryError(f"shape: got {shape}; no memory for it in {dtype}") from None

    def contiguous(self, array: Any) -> Any:
        return array.contiguous()

    def copy(self, array: Any) -> Any:
        size = array.element_size()
        bytes_ = self._torch.empty(0, dtype=self._torch.uint8, device=array.device).set_(
            array.untyped_storage(), array.storage_offset() * size,
            (*array.shape, size), (*(size * stride for stride in array.stride()), 1),
        )  # fmt: skip
        contiguous = bytes_.clone(memory_format=self._torch.contiguous_format)
        return contiguous.view(array.dtype)[..., 0]

    def cast(self, array: Any, dtype: str) -> Any:
        return array.to(self._dtypes[dtype])

    def stream(self, device: int) -> int:
        return self._stream(device) if self._stream else 0

    def host(self, array: Any) -> Array:
        if array.requires_grad:
            array = array.detach()
        if array.dtype == self._torch.bfloat16:
            return array.view(self._torch.int16).numpy().view(BFLOAT16)
        return array.numpy()

    def finish(self, device: int) -> None:
        self._torch.cuda.current_stream(device).synchronize()


_libraries: dict[str, Library] = {}


def library(name: str) -> Library:
    """CuPy or torch; ImportError where it is not there."""
    if name not in _libraries:
        module = importlib.import_module(name)
        _libraries[name] = CupyArrays(module) if name == "cupy" else TorchArrays(module)
    return _libraries[name]


def _of(name: str, value: Any) -> bool:
    """Whether ``value`` is an array of a library that has been imported."""
    module = sys.modules.get(name)
    kind = getattr(module, "Tensor" if name == "torch" else "ndarray", None)
    return kind is not None and isinstance(value, kind)


def foreign(library: Library, value: Any) -> bool:
    """Whether ``value`` is an array of a third library, which knows nothing of our streams."""
    return on_gpu(value) and not _of(library.name, value)


def library_of(name: str, value: Any) -> Library:
    """The library that handles an array on a GPU, called ``name``; RuntimeError if the array is of
    a third library and neither CuPy nor torch is installed.
    """
    for owner in ("torch", "cupy"):
        if _of(owner, value):
            return library(owner)
    for owner in ("cupy", "torch"):
        try:
            return library(owner)
        except ImportError:
            continue
    raise RuntimeError(
        f"{name}: a {type(value).__name__} on a GPU needs CuPy or torch to hold the results: "
        "pip install 'kacflow[cuda13]' or 'kacflow[cuda12]'"
    )


def give_back(results: Sequence[Any], like: Any) -> list[Any]:
    """Results as arrays of the library of ``like``: JAX and Numba adopt them without a copy.

    Arrays of other libraries are answered with those of CuPy or torch, which offer DLPack and
    ``__cuda_array_interface__``.
    """
    owner = type(like).__module__.partition(".")[0]
    if owner in ("jax", "jaxlib"):
        return [importlib.import_module("jax.dlpack").from_dlpack(result) for result in results]
    if owner in ("numba", "numba_cuda"):
        return [importlib.import_module("numba.cuda").as_cuda_array(result) for result in results]
    return list(results)

"""The backend under test, with its output arrays fenced."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

import kacflow_core
from kacflow_core import _spline
from kacflow_core._arrays import NUMPY, Library, NumpyArrays
from kacflow_core._dispatch import MissingMethod
from kacflow_core._layout import Array
from kacflow_core._run import of_numpy
from kacflow_core.backends._device import storage_name
from kacflow_core.backends._jobs import Launch
from kacflow_core.testing._compare import plain

_SHOWN = 12  # elements of an array that are printed
_FENCE = 256  # bytes on either side
_FENCE_BYTE = 0xA5
#: What stands for an unwritten element: a signalling NaN, which is the result of no operation.
#: (A quiet one may be, and with any sign: a GPU's has all bits set.)
_UNWRITTEN = {"bfloat16": 0x7FA5, "float16": 0x7D5A, "float32": 0x7FA5A5A5,
              "float64": 0x7FF5 << 48, "int64": 0x7FF5 << 48}  # fmt: skip


class Fence:
    """An output array of the layout of ``like``, in the middle of a buffer of known bytes."""

    def __init__(self, like: Array) -> None:
        self._buffer = np.full(like.nbytes + 2 * _FENCE, _FENCE_BYTE, np.uint8)
        words = self._buffer[_FENCE : _FENCE + like.nbytes].view(f"u{like.itemsize}")
        self._words = words.reshape(like.shape)
        self._unwritten = _UNWRITTEN[storage_name(like.dtype)]
        self._words[...] = self._unwritten
        self.array = self._words.view(like.dtype)

    def check(self, method: str) -> None:
        """AssertionError if bytes outside the array were written, or elements of it were not."""
        n = self.array.size
        for side, fence in (
            ("before the start", self._buffer[:_FENCE]),
            ("past the end", self._buffer[-_FENCE:]),
        ):
            wrong = int(np.count_nonzero(fence != _FENCE_BYTE))
            assert not wrong, f"{method} wrote {wrong} bytes {side} of its output of {n} elements"
        unwritten = self._words == self._unwritten
        assert not unwritten.any(), (
            f"{method} left {np.count_nonzero(unwritten)} of {n} elements unwritten, the first of "
            f"them {int(np.argmax(unwritten))}"
        )


class FencedArrays(NumpyArrays):
    """NumPy for a backend under test, with the addresses of ``arrays``: what it makes is in fences,
    and what it gives the address of is watched, until a kernel has run.
    """

    def __init__(self, arrays: Library) -> None:
        self._arrays = arrays
        self._fences: list[Fence] = []
        self._watched: list[Array] = []

    def empty(self, shape: int | Sequence[int], dtype: str, device: int) -> Array:
        return self.like(super().empty(shape, dtype, device))

    def like(self, array: Array) -> Array:
        self._fences.append(Fence(array))
        return self._fences[-1].array

    def pointer(self, array: Array) -> int:
        self._watched.append(array)
        return self._arrays.pointer(array)

    def strides(self, array: Array) -> tuple[int, ...]:
        return self._arrays.strides(array)

    @contextmanager
    def watch(self, operation: str, arguments: Sequence[Any] = ()) -> Iterator[None]:
        """Around a kernel: AssertionError where it wrote elsewhere than into all that was made."""
        fences, watched = self._fences, [*self._watched, *arguments]
        self._fences, self._watched = [], []
        inputs = [
            (array, array.tobytes())
            for array in watched
            if isinstance(array, np.ndarray)
            and not any(np.may_share_memory(array, fence.array) for fence in fences)
        ]
        yield
        for fence in fences:
            fence.check(operation)
        for array, before in inputs:
            assert array.tobytes() == before, f"{operation} changed an array of its inputs"


class FencedBackend:
    """Passes calls on to a backend, and launches, with outputs in fences and an eye on inputs."""

    def __init__(self, backend: Any, library: Library = NUMPY) -> None:
        self.name = backend.name
        self.driver = self
        self._backend, self._arrays = backend, FencedArrays(library)

    def of_numpy(self) -> tuple[Any, Library, int]:
        """Kernels, library and device of one call."""
        kernels, library, device, _ = of_numpy(self._backend, threads=1)
        fenced = FencedBackend(kernels, library)
        return fenced, fenced._arrays, device

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        with self._arrays.watch(launch.operation):
            self._backend.driver.launch(launch, device, stream)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **keywords: Any) -> Any:
            with self._arrays.watch(name, arguments):
                return found(*arguments, **keywords)

        return call


class Subject:
    """The public functions of :mod:`kacflow_core` on the backend under test.

    ``subject.sample(...)`` is ``kacflow_core.sample(..., backend=...)``, and so for every other
    public function that takes a backend, and for those of :mod:`kacflow_core._spline`.
    """

    def __init__(self, name: str, backend: Any, examples: int) -> None:
        self._name = name
        self.backend = backend  #: the object itself
        self.example = ""  #: the smallest arguments for which a search failed
        self._settings = settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )

    def __getattr__(self, function: str) -> Any:
        home = _spline if function.startswith("spline") else kacflow_core
        return functools.partial(getattr(home, function), backend=self._name)

    def has(self, method: str) -> bool:
        """Whether the backend has a method."""
        return getattr(self.backend, method, None) is not None

    def search(self, holds: Callable[..., None], **arguments: SearchStrategy[Any]) -> None:
        """Look for arguments for which ``holds`` raises, and raise for the smallest of them."""

        @functools.wraps(holds)
        def recorded(**values: Any) -> None:
            try:
                holds(**values)
            except MissingMethod:
                raise
            except Exception:
                self.example = _text(values)  # the last one to raise is the smallest
                raise

        self._settings(given(**arguments)(recorded))()


def _text(values: Mapping[str, Any]) -> str:
    """Arguments with all digits, in a line."""
    return ", ".join(f"{name}={_value_text(value)}" for name, value in values.items())


def _value_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{_text(value)}}}"
    if not isinstance(value, np.ndarray):
        return repr(value)
    if value.size > _SHOWN:
        return f"{value.dtype} array of shape {value.shape}"
    return f"array({plain(value).tolist()}, {value.dtype})"

"""The backend under test, with its output arrays fenced."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_type_hints

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

import kacflow_core
from kacflow_core import _spline
from kacflow_core._arrays import NumpyArrays
from kacflow_core._dispatch import Backend, MissingMethod, Out, Splines, Transport
from kacflow_core._layout import Array
from kacflow_core.backends._device import storage_name
from kacflow_core.backends._jobs import Launch
from kacflow_core.testing._compare import plain


def _places(method: Callable[..., Any]) -> tuple[int, ...]:
    """Which positional arguments of a backend's method are arrays that it writes."""
    kinds = get_type_hints(method, include_extras=True).values()
    return tuple(place for place, kind in enumerate(kinds) if kind == Out)


#: The same by names.  Inputs of methods that are not listed are not watched either.
OUTPUTS = {
    name: _places(method)
    for protocol in (Backend, Transport, Splines)
    for name, method in vars(protocol).items()
    if callable(method) and not name.startswith("_")
}

_SHOWN = 12  # elements of an array that are printed
_FENCE = 256  # bytes on either side
_FENCE_BYTE = 0xA5
#: What stands for an unwritten element: a signalling NaN, which is the result of no operation.
#: (A quiet one may be, and with any sign: a GPU's has all bits set.)
_UNWRITTEN = {"bfloat16": 0x7FA5, "float16": 0x7D5A, "float32": 0x7FA5A5A5, "float64": 0x7FF5 << 48}


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
    """NumPy for a backend that takes addresses: what it makes is in fences, and what it gives the
    address of is watched, until a kernel has run.
    """

    def __init__(self) -> None:
        self._fences: list[Fence] = []
        self._watched: list[Array] = []

    def empty(self, shape: int | Sequence[int], dtype: str, device: int) -> Array:
        return self.like(super().empty(shape, dtype, device))

    def like(self, array: Array) -> Array:
        self._fences.append(Fence(array))
        return self._fences[-1].array

    def pointer(self, array: Array) -> int:
        self._watched.append(array)
        return super().pointer(array)

    @contextmanager
    def watch(self, operation: str) -> Iterator[None]:
        """Around a kernel: AssertionError where it wrote elsewhere than into all that was made."""
        fences, watched = self._fences, self._watched
        self._fences, self._watched = [], []
        made = {id(fence.array) for fence in fences}
        inputs = [(array, array.tobytes()) for array in watched if id(array) not in made]
        yield
        for fence in fences:
            fence.check(operation)
        for array, before in inputs:
            assert array.tobytes() == before, f"{operation} changed an array of its inputs"


class FencedDriver:
    """Passes launches on to a driver, between looks at the arrays."""

    def __init__(self, driver: Any, arrays: FencedArrays) -> None:
        self._driver, self._arrays = driver, arrays

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        with self._arrays.watch(launch.operation):
            self._driver.launch(launch, device, stream)


class FencedBackend:
    """Passes calls on to a backend, with outputs in fences and an eye on the inputs."""

    def __init__(self, backend: Any) -> None:
        self.name = backend.name
        self._backend = backend
        if getattr(backend, "host", False):
            self.library = FencedArrays()
            self.driver = FencedDriver(backend.driver, self.library)

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._backend, method)
        wrapped = method in OUTPUTS and found is not None
        return functools.partial(self._call, method, found) if wrapped else found

    def _call(self, method: str, function: Any, *arguments: Any, **keywords: Any) -> Any:
        fences = {place: Fence(arguments[place]) for place in OUTPUTS[method]}
        before = {
            place: value.copy()
            for place, value in enumerate(arguments)
            if isinstance(value, np.ndarray) and place not in fences
        }
        result = function(
            *(fences[i].array if i in fences else value for i, value in enumerate(arguments)),
            **keywords,
        )
        for fence in fences.values():
            fence.check(method)
        for place, value in before.items():
            assert value.tobytes() == arguments[place].tobytes(), (
                f"{method} changed its input array number {place}"
            )
        for place, fence in fences.items():
            arguments[place][...] = fence.array
        return result


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

"""The arguments of one call of a public function: where it computes, and what is checked of them.

Arrays on a GPU stay where they are, and what is given beside them is on the same GPU or a number.
Nothing waits for the device, so values that only the device knows are not checked: a negative time
or rate there gives NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kacflow_core import _run, _validate
from kacflow_core._arrays import FLOATS, HOST, NUMPY, Library
from kacflow_core._dispatch import POINT_FUNCTIONS, get_backend, get_gpu_backend
from kacflow_core._gpu_arrays import foreign, give_back, library_of, on_gpu
from kacflow_core._run import Target, aligned
from kacflow_core._threads import resolve
from kacflow_core.backends._jobs import Noise

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_LIMITS = {name: _validate.LIMITS[np.dtype(name)] for name in ("float32", "float64")}


def _number(array: Any) -> Any:
    """An array, or the float that one without axes is."""
    return array if array.ndim else array.item()


def working(dtype: str) -> str:
    """The type that data of ``dtype`` is computed in."""
    return "float64" if dtype == "float64" else "float32"


def noise(seed: Any, offset: Any) -> Noise:
    """A checked key and counter."""
    return Noise(_validate.word64("seed", seed), _validate.word64("offset", offset))


class Call:
    """One call, all of whose arrays are in one place; as a context, what happens there."""

    def __init__(
        self, name: str, first: Any, backend: str | None, threads: int | None = None
    ) -> None:
        """``first``, called ``name``, is the array that decides library and device."""
        self._name, self._first = name, first
        self._foreign = False
        self.library: Library = NUMPY
        self.device = HOST
        if on_gpu(first):
            self.library = library_of(name, first)
            self.device = self.library.device(self._adopted(name, first))
            kernels = get_gpu_backend(backend)
            self.target = Target(kernels, self.library, self.device)
        else:
            kernels = get_backend(backend)
            self.library = getattr(kernels, "library", NUMPY)  # another one under test
            self.target = Target(kernels, self.library, HOST, resolve(threads))
        self._scope = self.library.on(self.device)

    def __enter__(self) -> Call:
        self._scope.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._foreign:  # its library may reuse the memory as soon as the caller drops the array
            self.library.finish(self.device)
        self._scope.__exit__(*error)

    @property
    def on_host(self) -> bool:
        """Whether the arrays are on the CPU, where values can be checked."""
        return self.device == HOST

    def _adopted(self, name: str, value: Any) -> Any:
        self._foreign = self._foreign or foreign(self.library, value)
        return self.library.adopt(name, value)

    def _adopt(self, name: str, value: Any) -> Any:
        """An array on the device of this call."""
        array = aligned(self.library, self._adopted(name, value))
        if self.library.device(array) != self.device:
            raise ValueError(
                f"{name}: is on device {self.library.device(array)}; allowed: device "
                f"{self.device}, where {self._name} is"
            )
        return array

    def data(self, name: str, value: Any, *, sixteen_bit: bool = True) -> Any:
        """Data of a float type."""
        if self.on_host:
            return _validate.data(name, value, sixteen_bit=sixteen_bit)
        array = self._adopt(name, value)
        allowed = FLOATS if sixteen_bit else FLOATS[:2]
        if self.library.dtype(array) not in allowed:
            raise TypeError(
                f"{name}: got dtype {self.library.dtype(array)}; allowed: {', '.join(allowed)}"
            )
        return array

    def parameter(self, name: str, value: Any, dtype: str = "float64") -> Any:
        """An array of float32 or float64, on a GPU also a float, in the range of ``dtype``."""
        limits = _LIMITS[dtype]
        if self.device == HOST:
            return _number(_validate.parameter(name, value, limits))
        return self._device_parameter(name, value, limits)

    def _device_parameter(
        self, name: str, value: Any, limits: _validate.Limits | None = None
    ) -> Any:
        if not on_gpu(value):
            number = _validate.real(name, value)
            if limits is not None:
                _validate.parameter(name, number, limits)
            if number.size != 1:
                raise ValueError(
                    f"{name}: an array of shape {number.shape} on the CPU; allowed: a number, or "
                    f"an array on device {self.device}, where {self._name} is"
                )
            return number.item()
        array = self._adopt(name, value)
        dtype = self.library.dtype(array)
        if dtype in ("float32", "float64"):
            return array
        if dtype in FLOATS or dtype in _INTEGERS:
            return self.library.cast(array, "float32" if dtype in FLOATS else "float64")
        raise TypeError(
            f"{name}: got dtype {dtype}; allowed: real numbers (float16, bfloat16, float32, "
            "float64 or integers)"
        )

    def process(
        self, t: Any, a: Any, c: Any, dtype: str, time_name: str = "t"
    ) -> tuple[Any, Any, Any]:
        """Time, rate and speed of a process, checked as far as they are on the CPU."""
        kind = np.dtype(dtype)
        if self.device == HOST:
            times, rates, speeds = _validate.process(t, a, c, kind, time_name)
            return _number(times), _number(rates), _number(speeds)
        values = [
            self._device_parameter(name, value)
            for name, value in ((time_name, t), ("a", a), ("c", c))
        ]
        least = _validate.LIMITS[kind].least
        known = [
            value if isinstance(value, float) else harmless
            for value, harmless in zip(values, (0.0, least, least), strict=True)
        ]
        _validate.process(known[0], known[1], known[2], kind, time_name)
        return values[0], values[1], values[2]

    def give_back(self, results: Sequence[Any]) -> list[Any]:
        """Results as arrays of the library that the first argument came from."""
        return list(results) if self.on_host else give_back(results, self._first)


def at_points(
    operation: str, name: str, x: Any, t: Any, a: Any, c: Any,
    backend: str | None, threads: int | None, ends: Sequence[Any] = (),
) -> list[Any]:  # fmt: skip
    """One of :data:`POINT_FUNCTIONS` at ``x``, called ``name`` in messages; results of its dtype.

    ``ends`` has the other time s of the transport.
    """
    function = POINT_FUNCTIONS[operation]
    with Call(name, x, backend, threads) as call:
        data = call.data(name, x, sixteen_bit=function.sixteen_bit)
        kind = working(call.library.dtype(data))
        parameters = dict(zip("tac", call.process(t, a, c, kind), strict=True))
        for s in ends:
            parameters["s"] = call.process(s, a, c, kind, "s")[0]
        outputs = len(function.results)
        results = _run.points(call.target, operation, name, data, parameters, outputs)
        return call.give_back(results)

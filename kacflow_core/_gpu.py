"""The public functions for arrays on a GPU: checks, then one kernel on the current stream.

Nothing here waits for the device, so values that only the device knows are not checked: a negative
time or rate there gives NaN.  Arrays stay where they are, and what is on the CPU must be a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kacflow_core import _layout, _validate
from kacflow_core._dispatch import get_gpu_backend
from kacflow_core._gpu_arrays import FLOATS, Library, give_back, library_of, on_gpu
from kacflow_core.backends._jobs import Grid, Noise, Parameter

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def working(dtype: str) -> str:
    """The type that data of ``dtype`` is computed in."""
    return "float64" if dtype == "float64" else "float32"


class Call:
    """The arguments of one call, all on one device; as a context, what happens on that device."""

    def __init__(self, name: str, first: Any) -> None:
        """``first``, called ``name``, is the array that decides library and device."""
        self.library: Library = library_of(name, first)
        self._name = name
        self._first = first
        self.device = self.library.device(self.library.adopt(name, first))
        self._scope = self.library.on(self.device)

    def __enter__(self) -> Call:
        self._scope.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._scope.__exit__(*error)

    def adopt(self, name: str, value: Any) -> Any:
        """An array on the device of this call."""
        array = self.library.adopt(name, value)
        if self.library.device(array) != self.device:
            raise ValueError(
                f"{name}: is on device {self.library.device(array)}; allowed: device "
                f"{self.device}, where {self._name} is"
            )
        return array

    def data(self, name: str, value: Any, *, sixteen_bit: bool = True) -> Any:
        """Data of a float type."""
        array = self.adopt(name, value)
        allowed = FLOATS if sixteen_bit else FLOATS[:2]
        if self.library.dtype(array) not in allowed:
            raise TypeError(
                f"{name}: got dtype {self.library.dtype(array)}; allowed: {', '.join(allowed)}"
            )
        return array

    def parameter(self, name: str, value: Any) -> Any:
        """An array of float32 or float64 on the device, or a number as a NumPy array."""
        if not on_gpu(value):
            number = _validate.real(name, value)
            if number.size != 1:
                raise ValueError(
                    f"{name}: an array of shape {number.shape} on the CPU; allowed: a number, or "
                    f"an array on device {self.device}, where {self._name} is"
                )
            return number
        array = self.adopt(name, value)
        dtype = self.library.dtype(array)
        if dtype in ("float32", "float64"):
            return array
        if dtype in FLOATS or dtype in _INTEGERS:
            return self.library.cast(array, "float32" if dtype in FLOATS else "float64")
        raise TypeError(
            f"{name}: got dtype {dtype}; allowed: real numbers (float16, bfloat16, float32, "
            "float64 or integers)"
        )

    def process(self, t: Any, a: Any, c: Any, dtype: str, time_name: str = "t") -> list[Any]:
        """Time, rate and speed; the numbers among them are checked as on the CPU."""
        values = [
            self.parameter(name, value) for name, value in ((time_name, t), ("a", a), ("c", c))
        ]
        kind = np.dtype(dtype)
        least = _validate.LIMITS[kind].least
        times, rates, speeds = (
            value if isinstance(value, np.ndarray) else harmless
            for value, harmless in zip(values, (0.0, least, least), strict=True)
        )
        _validate.process(times, rates, speeds, kind, time_name)
        return values

    def give_back(self, results: Sequence[Any], shape: Sequence[int]) -> list[Any]:
        """Flat results in shape, as arrays of the library that the first one came from."""
        return give_back([result.reshape(tuple(shape)) for result in results], self._first)


def as_parameter(library: Library, rows: Any) -> Parameter:
    """A parameter in its 2-D form as kernels read it."""
    if isinstance(rows, np.ndarray):
        return Parameter(value=float(rows.reshape(-1)[0]))
    stride0, stride1 = library.strides(rows)
    n0, n1 = rows.shape
    return Parameter(
        library.pointer(rows), 0.0, library.dtype(rows) == "float64",
        stride0 if n0 > 1 else 0, stride1 if n1 > 1 else 0,
    )  # fmt: skip


def per_sample(
    library: Library, shape: Sequence[int], parameters: Mapping[str, Any]
) -> tuple[_layout.Layout, list[Parameter]] | None:
    """Layout and parameters where each is a number or a vector along the first axis, or None.

    What :func:`kacflow_core._layout.leading` and :func:`as_parameter` give in this common case,
    without making views, which take longer than the launch.
    """
    size = math.prod(shape)
    if not size:
        return None
    n, found, vectors = shape[0] if shape else 1, [], False
    for value in parameters.values():
        if isinstance(value, np.ndarray):
            found.append(Parameter(value=value.item()))
            continue
        stride = 0
        if value.ndim:
            if value.ndim > 1 or value.shape[0] != n:
                return None
            vectors = True
            stride = library.strides(value)[0]
        double = library.dtype(value) == "float64"
        found.append(Parameter(library.pointer(value), 0.0, double, stride, 0))
    return _layout.Layout(n, 1, size // n) if vectors else _layout.Layout(1, 1, size), found


# --- one kernel each: arguments are checked, arrays are the library's own ------------------------
def run_sample(
    backend: Any, library: Library, device: int, shape: Sequence[int], dtype: str,
    parameters: Mapping[str, Any], noise: Noise,
) -> Any:  # fmt: skip
    """K(t), flat; ``parameters`` are t, a and c."""
    layout, rows = _layout.leading(shape, parameters, library.broadcast_to)
    out = library.empty(layout.size, dtype, device)
    if layout.size:
        t, a, c = (as_parameter(library, row) for row in rows)
        backend.launch_sample(
            dtype, layout, library.pointer(out), t, a, c, noise, device, library.stream(device)
        )
    return out


def run_pair(
    backend: Any, library: Library, device: int, x_0: Any, parameters: Mapping[str, Any],
    noise: Noise,
) -> tuple[Any, Any]:  # fmt: skip
    """(x_t, dx_t); ``parameters`` are a, c, signal, dsignal, clock and dclock."""
    simple = per_sample(library, x_0.shape, parameters)
    if simple is None:
        layout, rows = _layout.leading(x_0.shape, parameters, library.broadcast_to)
        given = [as_parameter(library, row) for row in rows] if layout.size else []
    else:
        layout, given = simple
    data, dtype = library.contiguous(x_0), library.dtype(x_0)
    x_t = library.empty(x_0.shape, dtype, device)
    dx_t = library.empty(x_0.shape, dtype, device)
    if layout.size:
        backend.launch_pair(
            dtype, layout, library.pointer(data), library.pointer(x_t), library.pointer(dx_t),
            given, noise, device, library.stream(device),
        )  # fmt: skip
    return x_t, dx_t


def run_points(
    backend: Any, library: Library, device: int, operation: str, name: str, x: Any,
    parameters: Mapping[str, Any], outputs: int = 1,
) -> tuple[list[Any], tuple[int, ...]]:  # fmt: skip
    """Flat results of a function of the position, and their shape; parameters are t, a and c."""
    shape, layout, rows = _layout.broadcast(name, tuple(x.shape), parameters, library.broadcast_to)
    dtype = library.dtype(x)
    results = [library.empty(layout.size, dtype, device) for _ in range(outputs)]
    if layout.size:
        whole = x if tuple(x.shape) == shape else library.broadcast_to(x, shape)
        data = library.contiguous(whole)
        t, a, c = (as_parameter(library, row) for row in rows)
        backend.launch_point(
            operation, dtype, layout, library.pointer(data), list(map(library.pointer, results)),
            t, a, c, device, library.stream(device),
        )  # fmt: skip
    return results, shape


def run_path(
    backend: Any, library: Library, device: int, times: Any, shape: Sequence[int], dtype: str,
    parameters: Mapping[str, Any], noise: Noise,
) -> tuple[Any, Any]:  # fmt: skip
    """(positions, directions), flat; ``times`` of the working type, parameters are a and c."""
    layout, rows = _layout.leading_grids(shape, times, parameters, library.broadcast_to)
    n = times.shape[-1]
    results = [library.empty(layout.size * n, dtype, device) for _ in range(2)]
    if layout.size:
        grids = _layout.grid_rows(times, layout, shape, library.broadcast_to)
        strides = library.strides(grids)
        n0, n1, _ = grids.shape
        grid = Grid(
            library.pointer(grids), n, strides[0] if n0 > 1 else 0, strides[1] if n1 > 1 else 0,
            strides[2],
        )  # fmt: skip
        a, c = (as_parameter(library, row) for row in rows)
        backend.launch_path(
            dtype, layout, *map(library.pointer, results), grid, a, c, noise, device,
            library.stream(device),
        )  # fmt: skip
    return results[0], results[1]


# --- the public functions, for arguments of which one is on a GPU --------------------------------
def _noise(seed: Any, offset: Any) -> Noise:
    return Noise(_validate.word64("seed", seed), _validate.word64("offset", offset))


def sample(
    t: Any, shape: Any, a: Any, c: Any, seed: Any, offset: Any, dtype: Any, backend: str | None
) -> Any:
    """See :func:`kacflow_core.sample`."""
    name, first = next((n, v) for n, v in (("t", t), ("a", a), ("c", c)) if on_gpu(v))
    with Call(name, first) as call:
        extents, kind = _validate.shape(shape), _validate.real_dtype(dtype).name
        parameters = dict(zip("tac", call.process(t, a, c, kind), strict=True))
        result = run_sample(
            get_gpu_backend(backend), call.library, call.device, extents, kind, parameters,
            _noise(seed, offset),
        )  # fmt: skip
        return call.give_back([result], extents)[0]


def sample_pair(
    x0: Any, schedule: Mapping[str, Any], a: Any, c: Any, seed: Any, offset: Any,
    backend: str | None,
) -> tuple[Any, Any]:  # fmt: skip
    """See :func:`kacflow_core.sample_pair`; ``schedule`` holds signal to dclock."""
    with Call("x0", x0) as call:
        data = call.data("x0", x0)
        kind = working(call.library.dtype(data))
        times, rates, speeds = call.process(schedule["clock"], a, c, kind, "clock")
        parameters = {"a": rates, "c": speeds}
        for name, value in schedule.items():
            if name == "clock":
                parameters[name] = times
                continue
            parameters[name] = call.parameter(name, value)
            if isinstance(parameters[name], np.ndarray):
                _validate.parameter(name, parameters[name], _validate.LIMITS[np.dtype(kind)])
        results = run_pair(
            get_gpu_backend(backend),
            call.library,
            call.device,
            data,
            parameters,
            _noise(seed, offset),
        )
        x_t, dx_t = call.give_back(results, data.shape)
        return x_t, dx_t


def at_points(
    operation: str, name: str, x: Any, t: Any, a: Any, c: Any, backend: str | None,
    outputs: int = 1, sixteen_bit: bool = True,
) -> list[Any]:  # fmt: skip
    """A function of the position ``x``, called ``name``."""
    with Call(name, x) as call:
        data = call.data(name, x, sixteen_bit=sixteen_bit)
        values = call.process(t, a, c, working(call.library.dtype(data)))
        results, shape = run_points(
            get_gpu_backend(backend), call.library, call.device, operation, name, data,
            dict(zip("tac", values, strict=True)), outputs,
        )  # fmt: skip
        return call.give_back(results, shape)


def sample_path(
    times: Any, shape: Any, a: Any, c: Any, seed: Any, offset: Any, dtype: Any, backend: str | None
) -> tuple[Any, Any]:
    """See :func:`kacflow_core.sample_path`."""
    with Call("times", times) as call:
        extents, kind = _validate.shape(shape), _validate.real_dtype(dtype).name
        grid = call.parameter("times", times)
        if not grid.ndim or not grid.shape[-1]:
            raise ValueError(
                f"times: got shape {tuple(grid.shape)}; allowed: at least one axis, the last of at "
                "least one time"
            )
        _, rates, speeds = call.process(times, a, c, kind, "times")
        results = run_path(
            get_gpu_backend(backend), call.library, call.device, call.library.cast(grid, kind),
            extents, kind, {"a": rates, "c": speeds}, _noise(seed, offset),
        )  # fmt: skip
        whole = (*extents, grid.shape[-1])
        _validate.shape((math.prod(whole),))
        positions, directions = call.give_back(results, whole)
        return positions, directions

"""One kernel each, wherever the arrays are: arguments are checked, results are flat or in shape.

A compiled backend takes addresses (:mod:`kacflow_core.backends._jobs`), and on the CPU and on a GPU
the way there is the same.  The other backends, numba's, the reference and a user's own, take NumPy
arrays (:class:`kacflow_core._dispatch.Backend`).

A parameter here is a float or an array of float32 or float64 on the device of the call.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from kacflow_core import _layout, _schedules
from kacflow_core._arrays import HOST, Library
from kacflow_core._dispatch import DistributionKind, method
from kacflow_core.backends import _jobs
from kacflow_core.backends._device import total
from kacflow_core.backends._jobs import GIVEN, Grid, Launch, Noise, Parameter, Schedules

#: KACFLOW_DEBUG=1: check that what a job tells a kernel to read and write lies in its arrays.
_DEBUG = os.environ.get("KACFLOW_DEBUG", "0") not in ("", "0")

_DENSITIES = get_args(DistributionKind)

Rows = Sequence[Any]
Make = Callable[[_layout.Layout, Sequence[Parameter]], Launch]


class Target(NamedTuple):
    """Where a call computes."""

    kernels: Any  #: a backend
    library: Library  #: whose arrays go in and come out
    device: int  #: HOST for the CPU
    threads: int = 1  #: on the CPU

    @property
    def by_address(self) -> bool:
        """Whether the backend computes where the arrays are."""
        return getattr(self.kernels, "host", None) is (self.device == HOST)

    def start(self, launch: Launch) -> None:
        """Run a job once, on a GPU on the library's current stream."""
        stream = self.threads if self.device == HOST else self.library.stream(self.device)
        self.kernels.driver.launch(launch, self.device, stream)

    def address(self, array: Any, size: int) -> int:
        """Where ``size`` elements of a contiguous array begin."""
        if _DEBUG and math.prod(array.shape) != size:
            raise AssertionError(f"an array of {tuple(array.shape)} for {size} elements")
        return self.library.pointer(array)


def aligned(library: Library, array: Any) -> Any:
    """The array, or a copy where a kernel could not read its elements one by one."""
    itemsize = array.dtype.itemsize
    if library.pointer(array) & (itemsize - 1):
        return library.copy(array)
    if isinstance(array, np.ndarray) and any(stride % itemsize for stride in array.strides):
        return array.copy()
    return array


def _parameter(library: Library, rows: Any, kept: list[Any]) -> Parameter:
    """A parameter in its 2-D form, or a number, as kernels read it."""
    if isinstance(rows, float):
        return Parameter(value=rows)
    rows = aligned(library, rows)
    kept.append(rows)
    stride0, stride1 = library.strides(rows)
    n0, n1 = rows.shape
    return Parameter(
        library.pointer(rows), 0.0, library.dtype(rows) == "float64",
        stride0 if n0 > 1 else 0, stride1 if n1 > 1 else 0,
    )  # fmt: skip


def by_strides(
    library: Library, shape: Sequence[int], parameters: Mapping[str, Any]
) -> tuple[_layout.Layout, list[Parameter]] | None:
    """Layout and parameters where none has more than two axes, or None.

    What :func:`kacflow_core._layout.leading` and views of its forms give in these common cases,
    without making views, which take longer than a small kernel.
    """
    size, axes, found = math.prod(shape), 0, []
    if not size:
        return None
    for value in parameters.values():
        if type(value) is float:
            found.append(Parameter(0, value))
            continue
        strides = [0, 0]
        extents = value.shape
        if extents:
            steps = library.strides(value)
            for axis, extent in enumerate(extents):
                if extent == 1:
                    continue
                if axis > 1 or axis >= len(shape) or extent != shape[axis]:
                    return None
                strides[axis] = steps[axis]
                axes = max(axes, axis + 1)
        pointer, double = library.pointer(value), library.dtype(value) == "float64"
        if pointer % (8 if double else 4):
            return None
        found.append(Parameter(pointer, 0.0, double, *strides))
    n0 = shape[0] if axes else 1
    n1 = shape[1] if axes > 1 else 1
    return _layout.Layout(n0, n1, size // (n0 * n1)), found


def _as_array(value: Any, library: Library) -> Any:
    """A parameter as a NumPy array."""
    return np.array(value) if isinstance(value, float) else library.host(value)


def kept(
    target: Target, shape: Sequence[int], parameters: Mapping[str, Any], make: Make
) -> tuple[int, bytes] | None:
    """The kernel and the job that ``make`` makes, for ``run`` of the native driver with other
    addresses, numbers and noise; None where parameters have to be copied first.
    """
    if target.device != HOST or not target.by_address or _DEBUG:
        return None
    laid_out = by_strides(target.library, shape, parameters)
    if laid_out is None:
        return None
    made = make(*laid_out)
    return target.kernels.driver.number(made.operation, made.storage), made.job


def run(
    target: Target, shape: Sequence[int], parameters: Mapping[str, Any], make: Make,
    call: Callable[[_layout.Layout, Rows], None],
) -> None:  # fmt: skip
    """One kernel for data of ``shape`` whose parameters align with its leading axes: ``make`` a job
    for a backend that takes addresses, ``call`` one that takes arrays.
    """
    library = target.library
    if not target.by_address:
        arrays = {name: _as_array(value, library) for name, value in parameters.items()}
        layout, rows = _layout.leading(shape, arrays)
        if layout.size:
            call(layout, rows)
        return
    simple = by_strides(library, shape, parameters)
    if simple is not None:
        target.start(make(*simple))
        return
    kept: list[Any] = []
    layout, rows = _layout.leading(shape, parameters, library.broadcast_to)
    if layout.size:
        target.start(make(layout, [_parameter(library, row, kept) for row in rows]))


def sample(
    target: Target, shape: Sequence[int], dtype: str, parameters: Mapping[str, Any], noise: Noise
) -> Any:
    """K(t) in shape; ``parameters`` are t, a and c."""
    library, kernels = target.library, target.kernels
    out = library.empty(shape, dtype, target.device)

    def call(layout: _layout.Layout, rows: Rows) -> None:
        method(kernels, "sample")(
            library.host(out).reshape(-1), layout, *rows,
            seed=noise.seed, offset=noise.offset, threads=target.threads,
        )  # fmt: skip

    def make(layout: _layout.Layout, rows: Sequence[Parameter]) -> Launch:
        t, a, c = rows
        to = target.address(out, layout.size)
        return _jobs.sample(dtype, layout, to, t, a, c, noise, host=kernels.host)

    run(target, shape, parameters, make, call)
    return out


_UNUSED = [Parameter()] * 6


def pair_job(
    dtype: str, layout: _layout.Layout, arrays: Sequence[int], rows: Sequence[Parameter],
    noise: Noise, schedules: Schedules, host: bool,
) -> Launch:  # fmt: skip
    """The job of a pair with the arrays x_0, x_t and dx_t; ``rows`` as in :func:`pair`."""
    given = [*rows, *_UNUSED[len(rows) :]]
    a, c, g, f, df, dg = given
    x, y, v = arrays
    return _jobs.sample_pair(
        dtype, layout, x, y, v, (a, c, f, df, g, dg), noise, schedules, host=host
    )


def pair(
    target: Target, x_0: Any, parameters: Mapping[str, Any], noise: Noise,
    schedules: Schedules = GIVEN,
) -> tuple[Any, Any]:  # fmt: skip
    """(x_t, dx_t); ``parameters`` are a, c and clock, and signal, dsignal and dclock.

    Where ``schedules`` names both, ``clock`` are the times and the others are left out; times are
    ``clock`` or ``signal`` where it names one.
    """
    library, kernels = target.library, target.kernels
    data = library.contiguous(aligned(library, x_0))
    x_t, dx_t = library.like(data), library.like(data)

    def call(layout: _layout.Layout, rows: Rows) -> None:
        a, c, *others = rows
        f, df, g, dg = _schedules.rows(schedules, *others)
        method(kernels, "sample_pair")(
            *(library.host(array).reshape(-1) for array in (data, x_t, dx_t)), layout,
            a, c, f, df, g, dg, seed=noise.seed, offset=noise.offset, threads=target.threads,
        )  # fmt: skip

    def make(layout: _layout.Layout, rows: Sequence[Parameter]) -> Launch:
        arrays = [target.address(array, layout.size) for array in (data, x_t, dx_t)]
        dtype = library.dtype(data)
        return pair_job(dtype, layout, arrays, rows, noise, schedules, kernels.host)

    run(target, data.shape, parameters, make, call)
    return x_t, dx_t


def broadcasts_to(shape: Sequence[int], parameters: Mapping[str, Any]) -> bool:
    """Whether parameters have no axes or those of ``shape``, so that they align with its leading
    axes as they are.
    """
    for value in parameters.values():
        own = () if type(value) is float else value.shape
        if own and (
            len(own) != len(shape) or any(m not in (1, n) for m, n in zip(own, shape, strict=True))
        ):
            return False
    return True


def points(
    target: Target, operation: str, name: str, x: Any, parameters: Mapping[str, Any],
    outputs: int = 1,
) -> list[Any]:  # fmt: skip
    """A function of the position, in shape; ``parameters`` are t, a and c, all broadcast.

    Of the transport also s, the last of them.
    """
    library, kernels = target.library, target.kernels
    shape = tuple(x.shape)
    if not broadcasts_to(shape, parameters):
        shape, parameters = _layout.broadcast(name, shape, parameters)
        x = library.broadcast_to(x, shape)
    data = library.contiguous(aligned(library, x))
    results = [library.like(data) for _ in range(outputs)]

    def call(layout: _layout.Layout, rows: Rows) -> None:
        arrays = [library.host(array).reshape(-1) for array in (data, *results)]
        if operation == "transport":
            t, a, c, s = rows
            rows = t, s, a, c
        law = operation in _DENSITIES
        compute = method(kernels, "distribution" if law else operation)
        which = [operation] if law else []
        compute(*which, *arrays, layout, *rows, threads=target.threads)

    def make(layout: _layout.Layout, rows: Sequence[Parameter]) -> Launch:
        first, *others = (target.address(array, layout.size) for array in (data, *results))
        return _jobs.point(
            operation, library.dtype(data), layout, first, others, *rows, host=kernels.host
        )

    run(target, shape, parameters, make, call)
    return results


def path(
    target: Target, times: Any, shape: Sequence[int], dtype: str, parameters: Mapping[str, Any],
    noise: Noise,
) -> tuple[Any, Any]:  # fmt: skip
    """(positions, directions) in shape; ``times`` of the working type, parameters are a and c."""
    library, kernels = target.library, target.kernels
    view = library.broadcast_to
    layout, rows = _layout.leading_grids(shape, times, parameters, view)
    n = times.shape[-1]
    whole = (*shape, n)
    positions, directions = (library.empty(whole, dtype, target.device) for _ in range(2))
    if not layout.size:
        return positions, directions
    grids = aligned(library, _layout.grid_rows(times, layout, shape, view))
    if not target.by_address:
        if library.strides(grids)[2] != 1:
            grids = library.contiguous(grids)
        method(kernels, "sample_path")(
            library.host(positions).reshape(-1), library.host(directions).reshape(-1), layout,
            library.host(grids),
            *(np.full((1, 1), v) if isinstance(v, float) else library.host(v) for v in rows),
            seed=noise.seed, offset=noise.offset, threads=target.threads,
        )  # fmt: skip
        return positions, directions
    kept: list[Any] = []
    strides, (n0, n1, _) = library.strides(grids), grids.shape
    grid = Grid(
        library.pointer(grids), n, strides[0] if n0 > 1 else 0, strides[1] if n1 > 1 else 0,
        strides[2],
    )  # fmt: skip
    a, c = (_parameter(library, row, kept) for row in rows)
    x, d = (target.address(array, layout.size * n) for array in (positions, directions))
    target.start(_jobs.sample_path(dtype, layout, x, d, grid, a, c, noise, host=kernels.host))
    return positions, directions


def splines(
    target: Target, operation: str, x: Any, knots: Sequence[Any], outputs: int = 1
) -> list[Any]:
    """``"spline"``, with two results, or ``"spline_inverse"``, for data (n0, splines, inner).

    Knots are edges, values and slopes, (splines, bins + 1) each, all of the type of the data; here
    and below every array is contiguous and aligned.
    """
    library, kernels = target.library, target.kernels
    results = [library.like(x) for _ in range(outputs)]
    n0, n1, inner = x.shape
    layout = _layout.Layout(n0, n1, inner) if n1 != 1 else _layout.Layout(1, 1, n0 * inner)
    if not layout.size:
        return results
    if not target.by_address:
        data, *to = (library.host(array).reshape(-1) for array in (x, *results))
        tables = [library.host(array) for array in knots]
        method(kernels, operation)(data, *to, layout, *tables, threads=target.threads)
        return results
    bins, dtype = knots[0].shape[1] - 1, library.dtype(x)
    places = [target.address(array, n1 * (bins + 1)) for array in knots]
    first, *others = (target.address(array, layout.size) for array in (x, *results))
    target.start(
        _jobs.spline(operation, dtype, layout, bins, places, first, others, host=kernels.host)
    )
    return results


def spline_grad(
    target: Target, x: Any, grads: Sequence[Any], knots: Sequence[Any]
) -> tuple[Any, list[Any]]:
    """Gradients in data and knots of a function of both results of "spline", whose gradients in
    these are ``grads``.

    Those in the knots are sums over parts of the data that depend on its shape alone, and their
    sum in pairs: the same numbers for any number of threads.
    """
    library, kernels = target.library, target.kernels
    grad_x, dtype = library.like(x), library.dtype(x)
    n0, n1, inner = x.shape
    layout = _layout.Layout(n0, n1, inner) if n1 != 1 else _layout.Layout(n0 * inner, 1, 1)
    bins = knots[0].shape[1] - 1
    parts = _jobs.Parts.of(layout, bins).number if layout.size and target.by_address else 1
    sums = library.empty((parts, n1, 3, bins + 1), dtype, target.device)
    if not layout.size:
        sums[...] = 0.0
    elif not target.by_address:
        data = [library.host(array).reshape(-1) for array in (x, *grads, grad_x)]
        tables = [library.host(array) for array in knots]
        compute = method(kernels, "spline_grad")
        compute(*data, library.host(sums)[0], layout, *tables, threads=target.threads)
    else:
        places = [target.address(array, n1 * (bins + 1)) for array in knots]
        first, *others, to = (target.address(v, layout.size) for v in (x, *grads, grad_x))
        into = target.address(sums, parts * 3 * n1 * (bins + 1))
        target.start(
            _jobs.spline_grad(
                dtype, layout, bins, places, first, others, to, into, host=kernels.host
            )
        )
    found = total(sums)
    return grad_x, [found[:, i] for i in range(3)]

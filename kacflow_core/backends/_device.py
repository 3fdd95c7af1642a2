"""What the compiled backends share: a driver launches jobs, everything else is here.

Arrays where the backend computes go to the kernels as they are (:mod:`kacflow_core._run`).  NumPy
arrays, which the interface of :class:`kacflow_core._dispatch.Backend` is about, are the CPU's own;
for a GPU they are copied there and back, for tests and checks and only when the backend is asked
for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from kacflow_core._dispatch import AtPoints
from kacflow_core._layout import Array, Layout, is_bfloat16
from kacflow_core.backends import _jobs
from kacflow_core.backends._jobs import Grid, Launch, Noise, Parameter, Parts


class Memory(Protocol):
    """Memory that a kernel reads and writes, freed with the object."""

    pointer: int

    def download(self, into: Array) -> None:
        """Copy to the host, after all work of the default stream."""


class Driver(Protocol):
    """How a backend reaches its kernels.

    One whose kernels were compiled apart from kacflow may have ``lacks``, the operations out of
    :data:`kacflow_core._dispatch.OPTIONAL` that are not among them.
    """

    name: str

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        """Start a kernel on a stream (a handle; 0: the default one) of a device.

        RuntimeError that names the kernel if that fails; errors of the kernel itself come with a
        later call, as everywhere in CUDA.  On the CPU ``stream`` is the number of threads, and the
        kernel has run when this returns.
        """

    def upload(self, array: Array) -> Memory:
        """A copy of a contiguous array on the current device; on the CPU the array itself."""

    def current_device(self) -> int:
        """Number of the device that :meth:`upload` uses."""


def storage_name(dtype: np.dtype[Any]) -> str:
    """The storage of a data type, a key of :data:`_jobs.STORAGES`."""
    return "bfloat16" if is_bfloat16(dtype) else dtype.name


def total(parts: Any) -> Any:
    """The sum over the first axis of an array of any library, in pairs and so in the same order
    everywhere; the array is used up.
    """
    while len(parts) > 1:
        half = (len(parts) + 1) // 2
        parts[: len(parts) - half] += parts[half:]
        parts = parts[:half]
    return parts[0]


class DeviceBackend(AtPoints):
    """:class:`kacflow_core._dispatch.Backend` for NumPy arrays, over a driver."""

    host = False  #: whether its kernels read the memory that NumPy's arrays are in

    def __init__(self, driver: Driver) -> None:
        self.name = driver.name
        self.driver = driver
        for operation in getattr(driver, "lacks", ()):
            setattr(self, operation, None)

    def _parameters(self, *values: Array) -> tuple[list[Parameter], list[Memory]]:
        """2-D parameters as kernels read them, and the memory that holds them."""
        parameters, kept = [], []
        for value in values:
            if value.size == 1:
                parameters.append(Parameter(value=float(value.reshape(-1)[0])))
                continue
            array = np.ascontiguousarray(value)
            memory = self.driver.upload(array)
            kept.append(memory)
            width = array.itemsize
            strides = (
                stride // width if n > 1 else 0
                for n, stride in zip(array.shape, array.strides, strict=True)
            )
            parameters.append(Parameter(memory.pointer, 0.0, width == 8, *strides))
        return parameters, kept

    def _launch(
        self, make: Callable[..., Launch], inputs: Sequence[Array], outputs: Sequence[Array],
        rows: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        """Launch ``make(*pointers, *parameters)``; outputs are copied there as well, so that
        elements which stay unwritten show.
        """
        memories = [self.driver.upload(array) for array in (*inputs, *outputs)]
        parameters, kept = self._parameters(*rows)
        launch = make(*(memory.pointer for memory in memories), *parameters)
        self.driver.launch(launch, self.driver.current_device(), threads if self.host else 0)
        for memory, out in zip(memories[len(inputs) :], outputs, strict=True):
            memory.download(out)
        del kept

    def sample(
        self, out: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        storage, noise = storage_name(out.dtype), Noise(seed, offset)
        self._launch(
            lambda to, t, a, c: _jobs.sample(storage, layout, to, t, a, c, noise, host=self.host),
            [], [out], [t, a, c], threads,
        )  # fmt: skip

    def sample_pair(
        self, x_0: Array, x_t: Array, dx_t: Array, layout: Layout, a: Array, c: Array,
        signal: Array, dsignal: Array, clock: Array, dclock: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        storage, noise = storage_name(x_0.dtype), Noise(seed, offset)
        self._launch(
            lambda x, y, v, *p: _jobs.sample_pair(
                storage, layout, x, y, v, p, noise, host=self.host
            ),
            [x_0], [x_t, dx_t], [a, c, signal, dsignal, clock, dclock], threads,
        )  # fmt: skip

    def sample_path(
        self, positions: Array, directions: Array, layout: Layout, times: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        storage, noise = storage_name(positions.dtype), Noise(seed, offset)
        grids = np.ascontiguousarray(times)
        n0, n1, n = grids.shape
        strides = n1 * n if n0 > 1 else 0, n if n1 > 1 else 0, 1
        self._launch(
            lambda grid, x, d, a, c: _jobs.sample_path(
                storage, layout, x, d, Grid(grid, n, *strides), a, c, noise, host=self.host
            ),
            [grids], [positions, directions], [a, c], threads,
        )  # fmt: skip

    def simulate_events(
        self, layout: Layout, t_max: Array, a: Array, *, seed: int, offset: int, threads: int
    ) -> tuple[Array, Array, Array]:
        noise = Noise(seed, offset)
        offsets, directions = np.zeros(layout.size + 1, np.int64), np.empty(layout.size)
        self._launch(
            lambda counts, to, t, a: _jobs.events(
                "count_events", layout, t, a, noise, counts=counts, directions=to, host=self.host
            ),
            [], [offsets[1:], directions], [t_max, a], threads,
        )  # fmt: skip
        np.cumsum(offsets, out=offsets)
        times = np.empty(int(offsets[-1]))
        if times.size:
            self._launch(
                lambda begins, to, t, a: _jobs.events(
                    "fill_events", layout, t, a, noise, offsets=begins, times=to, host=self.host
                ),
                [offsets], [times], [t_max, a], threads,
            )  # fmt: skip
        return times, offsets, directions

    def _point(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        rows: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        storage, n = storage_name(x.dtype), len(outputs)
        self._launch(
            lambda data, *rest: _jobs.point(
                operation, storage, layout, data, rest[:n], *rest[n:], host=self.host
            ),
            [x], outputs, rows, threads,
        )  # fmt: skip

    def _at_knots(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        knots: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        storage, bins = storage_name(x.dtype), knots[0].shape[-1] - 1
        self._launch(
            lambda e, v, s, data, *to: _jobs.spline(
                operation, storage, layout, bins, (e, v, s), data, to, host=self.host
            ),
            [*knots, x], outputs, [], threads,
        )  # fmt: skip

    def spline_grad(
        self, x: Array, grad_y: Array, grad_slope: Array, grad_x: Array, grad_knots: Array,
        layout: Layout, edges: Array, values: Array, slopes: Array, *, threads: int,
    ) -> None:  # fmt: skip
        storage, bins = storage_name(x.dtype), edges.shape[-1] - 1
        parts = Parts.of(layout, bins).number
        sums = np.empty((parts, layout.n1, 3, bins + 1), x.dtype)
        self._launch(
            lambda e, v, s, data, f, g, to, into: _jobs.spline_grad(
                storage, layout, bins, (e, v, s), data, (f, g), to, into, host=self.host
            ),
            [edges, values, slopes, x, grad_y, grad_slope], [grad_x, sums], [], threads,
        )  # fmt: skip
        grad_knots[...] = total(sums)

"""What the two GPU backends share: a driver copies and launches, everything else is here.

Device arrays go to the kernels as they are (``launch_*``, called with pointers; see
:mod:`kacflow_core._gpu` and the torch layer).  NumPy arrays, which the interface of
:class:`kacflow_core._dispatch.Backend` is about, are copied to the device and back: for tests and
checks, and only when the backend is asked for by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from kacflow_core._dispatch import DistributionKind
from kacflow_core._layout import Array, Layout, is_bfloat16
from kacflow_core.backends import _jobs
from kacflow_core.backends._jobs import Grid, Launch, Noise, Parameter


class Memory(Protocol):
    """Device memory, freed with the object."""

    pointer: int

    def download(self, into: Array) -> None:
        """Copy to the host, after all work of the default stream."""


class Driver(Protocol):
    """How a backend reaches the GPU."""

    name: str

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        """Start a kernel on a stream (a handle; 0: the default one) of a device.

        RuntimeError that names the kernel if that fails; errors of the kernel itself come with a
        later call, as everywhere in CUDA.
        """

    def upload(self, array: Array) -> Memory:
        """A copy of a contiguous array on the current device."""

    def current_device(self) -> int:
        """Number of the device that :meth:`upload` uses."""


def storage_name(dtype: np.dtype[Any]) -> str:
    """The storage of a data type, a key of :data:`_jobs.STORAGES`."""
    return "bfloat16" if is_bfloat16(dtype) else dtype.name


class DeviceBackend:
    """Jobs of device pointers, and :class:`kacflow_core._dispatch.Backend` for NumPy arrays."""

    def __init__(self, driver: Driver) -> None:
        self.name = driver.name
        self.driver = driver

    # --- arrays on the device, by pointer ---------------------------------------------------------
    def launch_sample(
        self, storage: str, layout: Layout, out: int, t: Parameter, a: Parameter, c: Parameter,
        noise: Noise, device: int, stream: int,
    ) -> None:  # fmt: skip
        """K(t) of every element, into ``out``."""
        self.driver.launch(_jobs.sample(storage, layout, out, t, a, c, noise), device, stream)

    def launch_pair(
        self, storage: str, layout: Layout, x_0: int, x_t: int, dx_t: int,
        parameters: Sequence[Parameter], noise: Noise, device: int, stream: int,
    ) -> None:  # fmt: skip
        """The training pair; ``parameters`` are a, c, signal, dsignal, clock and dclock."""
        launch = _jobs.sample_pair(storage, layout, x_0, x_t, dx_t, parameters, noise)
        self.driver.launch(launch, device, stream)

    def launch_path(
        self, storage: str, layout: Layout, positions: int, directions: int, times: Grid,
        a: Parameter, c: Parameter, noise: Noise, device: int, stream: int,
    ) -> None:  # fmt: skip
        """Paths on time grids, into ``positions`` and ``directions``."""
        launch = _jobs.sample_path(storage, layout, positions, directions, times, a, c, noise)
        self.driver.launch(launch, device, stream)

    def launch_point(
        self, operation: str, storage: str, layout: Layout, x: int, outputs: Sequence[int],
        t: Parameter, a: Parameter, c: Parameter, device: int, stream: int,
    ) -> None:  # fmt: skip
        """A function of the position (a name of :data:`_jobs.OPERATIONS`), into ``outputs``."""
        launch = _jobs.point(operation, storage, layout, x, outputs, t, a, c)
        self.driver.launch(launch, device, stream)

    # --- NumPy arrays -----------------------------------------------------------------------------
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

    def _on_device(self, outputs: Sequence[Array]) -> list[Memory]:
        """Memory for results: a copy of what is there, so that unwritten elements show."""
        return [self.driver.upload(array) for array in outputs]

    def sample(
        self, out: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        (result,) = self._on_device([out])
        (times, rates, speeds), kept = self._parameters(t, a, c)
        self.launch_sample(
            storage_name(out.dtype), layout, result.pointer, times, rates, speeds,
            Noise(seed, offset), self.driver.current_device(), 0,
        )  # fmt: skip
        result.download(out)
        del kept

    def sample_pair(
        self, x_0: Array, x_t: Array, dx_t: Array, layout: Layout, a: Array, c: Array,
        signal: Array, dsignal: Array, clock: Array, dclock: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        data = self.driver.upload(x_0)
        results = self._on_device([x_t, dx_t])
        parameters, kept = self._parameters(a, c, signal, dsignal, clock, dclock)
        self.launch_pair(
            storage_name(x_0.dtype), layout, data.pointer, results[0].pointer, results[1].pointer,
            parameters, Noise(seed, offset), self.driver.current_device(), 0,
        )  # fmt: skip
        for result, out in zip(results, (x_t, dx_t), strict=True):
            result.download(out)
        del kept

    def sample_path(
        self, positions: Array, directions: Array, layout: Layout, times: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        results = self._on_device([positions, directions])
        grids = np.ascontiguousarray(times)
        memory = self.driver.upload(grids)
        n0, n1, n = grids.shape
        grid = Grid(memory.pointer, n, n1 * n if n0 > 1 else 0, n if n1 > 1 else 0, 1)
        (rates, speeds), kept = self._parameters(a, c)
        self.launch_path(
            storage_name(positions.dtype), layout, results[0].pointer, results[1].pointer, grid,
            rates, speeds, Noise(seed, offset), self.driver.current_device(), 0,
        )  # fmt: skip
        for result, out in zip(results, (positions, directions), strict=True):
            result.download(out)
        del kept, memory

    def simulate_events(
        self, layout: Layout, t_max: Array, a: Array, *, seed: int, offset: int, threads: int
    ) -> tuple[Array, Array, Array]:
        noise, device = Noise(seed, offset), self.driver.current_device()
        (ends, rates), kept = self._parameters(t_max, a)
        offsets, directions = np.zeros(layout.size + 1, np.int64), np.empty(layout.size)
        counted = self._on_device([offsets[1:], directions])
        launch = _jobs.events(
            "count_events", layout, ends, rates, noise,
            counts=counted[0].pointer, directions=counted[1].pointer,
        )  # fmt: skip
        self.driver.launch(launch, device, 0)
        for result, out in zip(counted, (offsets[1:], directions), strict=True):
            result.download(out)
        np.cumsum(offsets, out=offsets)
        times = np.empty(int(offsets[-1]))
        begins = self.driver.upload(offsets)
        if times.size:
            (drawn,) = self._on_device([times])
            launch = _jobs.events(
                "fill_events", layout, ends, rates, noise,
                offsets=begins.pointer, times=drawn.pointer,
            )  # fmt: skip
            self.driver.launch(launch, device, 0)
            drawn.download(times)
        del kept
        return times, offsets, directions

    def _point(
        self, operation: str, x: Array, outputs: Sequence[Array], layout: Layout,
        t: Array, a: Array, c: Array,
    ) -> None:  # fmt: skip
        data = self.driver.upload(x)
        results = self._on_device(outputs)
        (times, rates, speeds), kept = self._parameters(t, a, c)
        self.launch_point(
            operation, storage_name(x.dtype), layout, data.pointer, [r.pointer for r in results],
            times, rates, speeds, self.driver.current_device(), 0,
        )  # fmt: skip
        for result, out in zip(results, outputs, strict=True):
            result.download(out)
        del kept

    def velocity(
        self, x: Array, out: Array, layout: Layout, t: Array, a: Array, c: Array, *, threads: int
    ) -> None:
        self._point("velocity", x, [out], layout, t, a, c)

    def velocity_grad(
        self, x: Array, dv_dx: Array, dv_dt: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._point("velocity_grad", x, [dv_dx, dv_dt], layout, t, a, c)

    def distribution(
        self, kind: DistributionKind, x: Array, out: Array, layout: Layout,
        t: Array, a: Array, c: Array, *, threads: int,
    ) -> None:  # fmt: skip
        self._point(kind, x, [out], layout, t, a, c)

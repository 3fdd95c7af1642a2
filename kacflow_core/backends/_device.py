"""What the compiled backends share: a driver launches jobs, :mod:`kacflow_core._run` makes them.

Arrays where the backend computes go to the kernels as they are.  NumPy arrays for a GPU are copied
there and back, for tests and checks and only when the backend is asked for by name.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Protocol

import numpy as np

from kacflow_core._arrays import HOST, NUMPY, Library, NumpyArrays
from kacflow_core._dispatch import OPTIONAL
from kacflow_core._layout import Array, is_bfloat16
from kacflow_core.backends._jobs import Launch


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


class DeviceDriver(Driver, Protocol):
    """One of a GPU."""

    def upload(self, array: Array) -> Memory:
        """A copy of a contiguous array on the current device."""

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


class Copied(NumpyArrays):
    """NumPy arrays for a GPU, and a driver of kernels on them: an address is that of a copy there,
    made when it is asked for, whose content comes back when a kernel has run.
    """

    def __init__(self, driver: DeviceDriver) -> None:
        self._driver = driver
        self._copies: dict[int, tuple[Array, Array, Memory]] = {}

    def pointer(self, array: Array) -> int:
        if id(array) not in self._copies:
            here = np.ascontiguousarray(array)
            self._copies[id(array)] = array, here, self._driver.upload(here)
        return self._copies[id(array)][2].pointer

    def strides(self, array: Array) -> tuple[int, ...]:
        return tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        self._driver.launch(launch, device, stream)
        for _, here, memory in self._copies.values():
            if here.flags.writeable:
                memory.download(here)
        self._copies.clear()


class DeviceBackend:
    """A backend over a driver.  Whether it has an operation of :data:`OPTIONAL` is an attribute."""

    host = False  #: whether its kernels read the memory that NumPy's arrays are in

    def __init__(self, driver: Any) -> None:
        self.name = driver.name
        self.driver: Any = driver
        for operation in OPTIONAL:
            setattr(self, operation, None if operation in getattr(driver, "lacks", ()) else True)

    def of_numpy(self) -> tuple[Any, Library, int]:
        """Kernels, library and device of a call with NumPy arrays."""
        if self.host:
            return self, NUMPY, HOST
        kernels, copied = copy.copy(self), Copied(self.driver)
        kernels.driver = copied
        return kernels, copied, self.driver.current_device()

"""The compiled backend: threads and SIMD over ``csrc/kac``, through ``kacflow_core._native``."""

from __future__ import annotations

import functools
from typing import Any

from kacflow_core._dispatch import Backend, native_module
from kacflow_core._layout import Array
from kacflow_core._origin import why_not_built
from kacflow_core.backends._device import DeviceBackend, Memory
from kacflow_core.backends._jobs import Launch


class HostMemory:
    """An array of the CPU."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.pointer: int = array.ctypes.data

    def download(self, into: Array) -> None:
        """Nothing: the kernel wrote into the array itself."""


class NativeDriver:
    """See :class:`kacflow_core.backends._device.Driver`."""

    name = "native"

    def __init__(self, module: Any) -> None:
        #: ``run(number, job, box, threads, *words)``: a job, with other words where there are any:
        #: seed and offset, each parameter's address or (a float) value, and the addresses of the
        #: data.  Unless all parameters lie in ``box``, (least, most) of each or None, it does
        #: nothing and answers with these pairs.
        self.run = module.run
        self.number = functools.lru_cache(module.find_kernel)

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        self.run(self.number(launch.operation, launch.storage), launch.job, None, stream)

    def upload(self, array: Array) -> Memory:
        return HostMemory(array)

    def current_device(self) -> int:
        return -1


class NativeBackend(DeviceBackend):
    """See :class:`kacflow_core._dispatch.Backend`; arrays are read and written where they are."""

    host = True

    def __init__(self, module: Any) -> None:
        super().__init__(NativeDriver(module))
        self.philox = module.philox


def load() -> Backend:
    """The backend; ImportError saying why where the compiled module is missing."""
    try:
        module = native_module()
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; {why_not_built('_native', 'KACFLOW_NATIVE')}") from error
    return NativeBackend(module)

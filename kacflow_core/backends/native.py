"""The compiled backend: threads and SIMD over ``csrc/kac``, through ``kacflow_core._native``."""

from __future__ import annotations

import functools
from typing import Any

from kacflow_core._dispatch import native_module
from kacflow_core._origin import why_not_built
from kacflow_core.backends._device import DeviceBackend
from kacflow_core.backends._jobs import Launch


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


class NativeBackend(DeviceBackend):
    """Arrays are read and written where they are."""

    host = True

    def __init__(self, module: Any) -> None:
        super().__init__(NativeDriver(module))
        self.philox = module.philox


def load() -> NativeBackend:
    """The backend; ImportError saying why where the compiled module is missing."""
    try:
        module = native_module()
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; {why_not_built('_native', 'KACFLOW_NATIVE')}") from error
    return NativeBackend(module)

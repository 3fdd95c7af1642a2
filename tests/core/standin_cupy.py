"""As much of CuPy as kacflow's backend calls, on the CPU.

``RawModule`` compiles with the real NVRTC, with the options that CuPy adds; a kernel runs on the
simulated grid of ``simulated_gpu``.  Streams and devices are only noted.
"""

from __future__ import annotations

import contextlib
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
from simulated_gpu import HostMemory

#: Options of cupy.cuda.compiler beside the caller's, for an H100.
ADDED = ("-arch=sm_90", "--device-as-default-execution-space")


class CUDARuntimeError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""


class Kernel:
    """cupy.RawKernel of a module."""

    def __init__(self, owner: Cupy, name: str) -> None:
        self._owner, self._name = owner, name

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple, *, shared_mem: int = 0
    ) -> None:
        [argument] = args
        # What CuPy passes by value: the bytes of a NumPy array of one element.
        assert isinstance(argument, np.ndarray) and argument.size == 1
        if block[0] > 1024:
            raise CUDARuntimeError("cudaErrorInvalidValue: invalid argument")
        job = argument.tobytes()
        found = re.fullmatch(r"kacflow_(\w+)_(\w+?\d+)_(whole|mixed)", self._name)
        assert found
        operation, storage, kind = found.groups()
        self._owner.launches.append((self._name, self._owner.stream, self._owner.device))
        code = self._owner.grid.kacflow_simulate(
            operation.encode(), storage.encode(), kind == "whole", grid[0], block[0], shared_mem,
            job, len(job),
        )  # fmt: skip
        assert code == 0


class Cupy:
    """The module ``cupy`` for one device."""

    def __init__(self, nvrtc: Any, grid: Any) -> None:
        self._nvrtc, self.grid = nvrtc, grid
        self.launches: list[tuple[str, int, int]] = []
        self.compiled: list[str] = []
        self.stream = self.device = -1
        self.devices = 1
        self.float32 = np.float32
        self.cuda = SimpleNamespace(
            Device=lambda n: self._noting("device", n),
            ExternalStream=lambda n: self._noting("stream", n),
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                getDeviceCount=self._count,
                getDevice=lambda: 0,
            ),
            driver=SimpleNamespace(CUDADriverError=CUDARuntimeError),
            nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
        )

    def _count(self) -> int:
        if self.devices < 0:
            raise CUDARuntimeError("cudaErrorInsufficientDriver: too old")
        return self.devices

    @contextlib.contextmanager
    def _noting(self, what: str, number: int) -> Any:
        before = getattr(self, what)
        setattr(self, what, number)
        yield
        setattr(self, what, before)

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> SimpleNamespace:
        """cupy.RawModule; the kernel must be in what NVRTC makes of the text."""
        ptx = self._nvrtc.ptx(code, [*options, *ADDED])

        def get_function(name: str) -> Kernel:
            assert f".entry {name}(" in ptx
            self.compiled.append(name)
            return Kernel(self, name)

        return SimpleNamespace(get_function=get_function)

    def asarray(self, array: np.ndarray) -> Any:
        """A copy, where a kernel finds it."""
        memory = HostMemory(array, 0)
        return SimpleNamespace(data=SimpleNamespace(ptr=memory.pointer), memory=memory,
                               size=array.size)  # fmt: skip

    def asnumpy(self, array: Any) -> np.ndarray:
        """The copy's content."""
        into = np.empty(array.size, np.uint8)
        array.memory.download(into)
        return into

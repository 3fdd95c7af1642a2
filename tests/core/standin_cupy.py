"""As much of CuPy as kacflow's backend calls, on the CPU.

``compile_using_nvrtc`` is the real NVRTC with the options that CuPy adds, for PTX; a kernel runs
on the simulated grid of ``simulated_gpu``.  Streams and devices are only noted.
"""

from __future__ import annotations

import re
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
from simulated_gpu import HostMemory
from standin_arrays import Arrays

#: Options of cupy.cuda.compiler beside the caller's, for an H100.
ADDED = ("-arch=sm_90", "--device-as-default-execution-space")


class CUDARuntimeError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""


class CompileException(Exception):
    """cupy.cuda.compiler.CompileException, which names no kernel."""


class Kernel:
    """cupy.cuda.Function."""

    def __init__(self, owner: Cupy, name: str) -> None:
        self._owner, self._name = owner, name
        weakref.finalize(self, owner.unloaded.append, name)

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple,
        *,
        shared_mem: int,
        stream: Any,
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
        self._owner.launches.append((self._name, stream.ptr, self._owner.device))
        self._owner.jobs.append(job)
        code = self._owner.grid.kacflow_simulate(
            operation.encode(), storage.encode(), kind == "whole", grid[0], block[0], shared_mem,
            job, len(job),
        )  # fmt: skip
        assert code == 0


class Module:
    """cupy.cuda.Module; the kernel must be in what it loads."""

    def __init__(self, owner: Cupy) -> None:
        self._owner = owner

    def load(self, code: bytes) -> None:
        if b".version" not in code:
            raise CUDARuntimeError("CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
        self._ptx = code.decode()

    def get_function(self, name: str) -> Kernel:
        assert f".entry {name}(" in self._ptx
        self._owner.loaded.append(name)
        return Kernel(self._owner, name)


class Noting:
    """A scope in which the current device or stream is ``number``."""

    compute_capability = "90"  # of a device

    def __init__(self, owner: Cupy, what: str, number: int) -> None:
        self._owner, self._what, self._number = owner, what, number

    def __enter__(self) -> None:
        self._before = getattr(self._owner, self._what)
        setattr(self._owner, self._what, self._number)

    def __exit__(self, *error: Any) -> None:
        setattr(self._owner, self._what, self._before)


class Cupy(Arrays):
    """The module ``cupy`` for one device."""

    def __init__(self, nvrtc: Any, grid: Any) -> None:
        self._nvrtc, self.grid = nvrtc, grid
        self.launches: list[tuple[str, int, int]] = []
        self.jobs: list[bytes] = []  #: of the launches
        self.compiled: list[str] = []  # PTX
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.stream = self.device = -1
        self.waited: list[int] = []  #: devices whose current stream was waited for
        self.devices = 1
        self.float32 = np.float32
        self.cuda = SimpleNamespace(
            Device=lambda number: Noting(self, "device", number),
            Module=lambda: Module(self),
            Stream=SimpleNamespace(null=Noting(self, "stream", 0)),
            get_current_stream=lambda: SimpleNamespace(
                ptr=100 + self.device, synchronize=lambda: self.waited.append(self.device)
            ),
            compiler=SimpleNamespace(
                compile_using_nvrtc=self._compile, CompileException=CompileException
            ),
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                getDeviceCount=self._count,
                getDevice=lambda: 0,
                runtimeGetVersion=lambda: 13000,
            ),
            driver=SimpleNamespace(CUDADriverError=CUDARuntimeError),
            nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
        )

    def _count(self) -> int:
        if self.devices < 0:
            raise CUDARuntimeError("cudaErrorInsufficientDriver: too old")
        return self.devices

    def _compile(self, source: str, options: tuple[str, ...]) -> tuple[bytes, None]:
        """cupy.cuda.compiler.compile_using_nvrtc."""
        self.compiled.append(self._nvrtc.ptx(source, [*options, *ADDED]))
        return self.compiled[-1].encode(), None

    def asarray(self, array: np.ndarray) -> Any:
        """A copy, where a kernel finds it; kernels for copies run on the default stream."""
        assert self.stream == 0
        memory = HostMemory(array, 0)
        return SimpleNamespace(data=SimpleNamespace(ptr=memory.pointer), memory=memory,
                               size=array.size)  # fmt: skip

    def asnumpy(self, array: Any) -> np.ndarray:
        """The copy's content."""
        assert self.stream == 0
        into = np.empty(array.size, np.uint8)
        array.memory.download(into)
        return into

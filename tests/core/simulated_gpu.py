"""A driver of the GPU backends that runs the kernels' per-thread functions on the CPU.

Jobs, launch plans and thread functions are those of a GPU; only the grid is a loop
(``tests/native/simulated_grid.cpp``, compiled here with g++).
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from kacflow_core.backends._jobs import Launch

SOURCE = Path(__file__).resolve().parents[1] / "native" / "simulated_grid.cpp"
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra"]


def compile_grid(folder: Path, *flags: str) -> ctypes.CDLL:
    """The shared library, compiled into ``folder``."""
    library = folder / "simulated_grid.so"
    command = ["g++", *FLAGS, *flags, str(SOURCE), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    for function in (loaded.kacflow_simulate, loaded.kacflow_simulate_block):
        function.argtypes = [
            *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t),
        ]
    loaded.kacflow_entry_bytes.restype = ctypes.c_size_t
    return loaded


class HostMemory:
    """A copy in memory of its own, ``shift`` bytes from a 16-byte boundary."""

    def __init__(self, array: np.ndarray, shift: int) -> None:
        self._buffer = np.full(array.nbytes + 32 + shift, 0xA5, np.uint8)
        start = -self._buffer.ctypes.data % 16 + shift
        self._bytes = self._buffer[start : start + array.nbytes]
        self._bytes[:] = np.frombuffer(array.tobytes(), np.uint8)
        self.pointer = self._bytes.ctypes.data

    def download(self, into: np.ndarray) -> None:
        into.reshape(-1).view(np.uint8)[:] = self._bytes
        self._bytes[:] = 0xA5
        assert (self._buffer == 0xA5).all(), "written outside the array"


class SimulatedDriver:
    """See :class:`kacflow_core.backends._device.Driver`."""

    name = "simulated"

    def __init__(self, library: ctypes.CDLL, *, misaligned: bool = False) -> None:
        self.library = library
        self._misaligned = misaligned
        self.launches: list[Launch] = []

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        self.launches.append(launch)
        plan = launch.plan
        code = self.library.kacflow_simulate(
            launch.operation.encode(), launch.storage.encode(), plan.whole, plan.blocks,
            plan.threads, plan.shared, launch.job, len(launch.job),
        )  # fmt: skip
        assert code == 0, {1: "job size", 2: "no such operation"}[code]

    def run_block(self, launch: Launch, block: int) -> int:
        """One block of a launch; the error code."""
        plan = launch.plan
        return self.library.kacflow_simulate_block(
            launch.operation.encode(), launch.storage.encode(), plan.whole, block, plan.threads,
            plan.shared, launch.job, len(launch.job),
        )  # fmt: skip

    def upload(self, array: np.ndarray) -> HostMemory:
        return HostMemory(array, array.itemsize if self._misaligned else 0)

    def current_device(self) -> int:
        return 0

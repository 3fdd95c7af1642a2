"""The compiled GPU backend: the kernels that nvcc built into ``kacflow_core._cuda``."""

from __future__ import annotations

from typing import Any

from kacflow_core._dispatch import Backend, cuda_module
from kacflow_core._layout import Array
from kacflow_core._origin import why_not_built
from kacflow_core.backends._device import DeviceBackend, Memory
from kacflow_core.backends._jobs import Launch


class CudaDriver:
    """See :class:`kacflow_core.backends._device.Driver`."""

    name = "cuda"

    def __init__(self, module: Any) -> None:
        self._cuda = module
        self._numbers: dict[tuple[str, str, bool], int] = {}

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        operation, storage, plan, job = launch
        kernel = operation, storage, plan.whole
        number = self._numbers.get(kernel)
        if number is None:
            number = self._numbers[kernel] = self._cuda.find_kernel(*kernel)
        self._cuda.launch_kernel(
            number, plan.blocks, plan.threads, plan.shared, job, device, stream
        )  # fmt: skip

    def upload(self, array: Array) -> Memory:
        return self._cuda.Memory(array)

    def current_device(self) -> int:
        return self._cuda.current_device()


def has_code_for(capability: int, architectures: list[int]) -> bool:
    """Whether kernels compiled for ``architectures``, and PTX of the newest, run on a GPU.

    Code runs on later GPUs of the same generation, PTX on all later ones.
    """
    same = any(n // 10 == capability // 10 and n <= capability for n in architectures)
    return same or max(architectures) <= capability


def load() -> Backend:
    """The backend; ImportError saying why where it cannot be used."""
    try:
        module = cuda_module()
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error}; {why_not_built('_cuda', 'KACFLOW_CUDA')}, or install CuPy with "
            "kacflow[cuda13] or kacflow[cuda12] for the cupy backend, which needs no nvcc"
        ) from error
    count, reason = module.device_count()
    if not count:
        raise ImportError(f"no GPU: {reason}")
    built = module.info()["architectures"].split(";")
    for device in range(count):
        found = module.capability(device)
        if not has_code_for(found, list(map(int, built))):
            raise ImportError(
                f"device {device} has compute capability {found}, the GPU kernels were built for "
                f"{', '.join(built)}: reinstall with KACFLOW_CUDA_ARCHITECTURES={found}, or "
                "install CuPy for the cupy backend"
            )
    return DeviceBackend(CudaDriver(module))

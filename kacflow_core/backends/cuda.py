"""The compiled GPU backend: the kernels that nvcc built into ``kacflow_core._cuda``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from kacflow_core._dispatch import OPTIONAL, Backend, cuda_module
from kacflow_core._layout import Array
from kacflow_core._origin import why_not_built
from kacflow_core.backends import _gpus
from kacflow_core.backends._device import DeviceBackend, Memory
from kacflow_core.backends._jobs import Launch


class CudaDriver:
    """See :class:`kacflow_core.backends._device.Driver`."""

    name = "cuda"

    def __init__(self, module: Any, check: Callable[[int], None] = lambda device: None) -> None:
        """``check`` is called before the first launch on a device, and raises if it is unusable."""
        self._cuda = module
        self._check = functools.cache(check)
        self._number = functools.cache(lambda *kernel: module.find_kernel(*kernel))

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        operation, storage, plan, job = launch
        number = self._number(operation, storage, plan.whole)
        self._check(device)
        self._cuda.launch_kernel(
            number, plan.blocks, plan.threads, plan.shared, job, device, stream
        )  # fmt: skip

    @property
    def lacks(self) -> list[str]:
        """Operations that the module, which may be older than this file, has no kernels for."""
        return [operation for operation in OPTIONAL if not self._has(operation)]

    def _has(self, operation: str) -> bool:
        try:
            self._number(operation, "float32", True)
        except (AttributeError, ValueError):  # no kernels at all, or not of this one
            return False
        return True

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


def _built_for(module: Any) -> list[int]:
    return list(map(int, module.info()["architectures"].split(";")))


def _no_code(which: str, capability: int, architectures: list[int]) -> str:
    """What is wrong with a GPU that the kernels were not built for, and what to do."""
    return (
        f"{which} has compute capability {capability}, the GPU kernels were built for "
        f"{', '.join(map(str, architectures))}: reinstall with "
        f"KACFLOW_CUDA_ARCHITECTURES={capability}, or install CuPy for the cupy backend"
    )


def check_device(module: Any, device: int) -> None:
    """Load a kernel on a device; RuntimeError if the kernels do not run there: they were built for
    other GPUs, or the driver is too old to translate them.
    """
    capability, built = module.capability(device), _built_for(module)
    if not has_code_for(capability, built):
        raise RuntimeError(_no_code(f"device {device}", capability, built))
    try:
        module.load_kernel(device)
    except RuntimeError as error:
        driver, runtime = map(
            _gpus.version_name, (module.driver_version(), module.info()["runtime"])
        )
        raise RuntimeError(
            f"device {device}, of compute capability {capability}, cannot load the GPU kernels "
            f"({error}); the driver supports CUDA {driver}, they were built with CUDA {runtime} "
            f"for {', '.join(map(str, built))}: update the driver, or reinstall with "
            f"KACFLOW_CUDA_ARCHITECTURES={capability}"
        ) from error


def _capabilities(module: Any) -> list[int]:
    """Those of the GPUs here; ImportError where there is none."""
    found = _gpus.machine()
    if found is not None:
        reason = _gpus.reason_against(found, module.info()["runtime"])
        if reason:
            raise ImportError(f"no GPU: {reason}")
        return found.capabilities
    count, reason = module.device_count()
    if not count:
        raise ImportError(f"no GPU: {reason}")
    return [module.capability(device) for device in range(count)]


def load() -> Backend:
    """The backend; ImportError saying why where it can be used on no GPU."""
    try:
        module = cuda_module()
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error}; {why_not_built('_cuda', 'KACFLOW_CUDA')}, or install CuPy with "
            "kacflow[cuda13] or kacflow[cuda12] for the cupy backend, which needs no nvcc"
        ) from error
    found, built = _capabilities(module), _built_for(module)
    if not any(has_code_for(capability, built) for capability in found):
        raise ImportError(_no_code("the GPU", max(found), built))
    return DeviceBackend(CudaDriver(module, functools.partial(check_device, module)))

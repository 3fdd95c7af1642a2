"""Which GPUs there are, asked of NVML, the library of ``nvidia-smi`` that comes with the driver.

CUDA itself would be initialised by the question, and children that are forked later cannot use it.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, NamedTuple

_LIBRARY = "libnvidia-ml.so.1"


class Machine(NamedTuple):
    """What NVML says."""

    capabilities: list[int]  #: of the GPUs, 10 major + minor
    driver: int  #: the CUDA version that the driver supports, 1000 major + 10 minor


def _ask(function: Any, *arguments: Any) -> None:
    code = function(*arguments)
    if code:
        raise OSError(f"NVML: error {code}")


def _capability(nvml: Any, index: int) -> int:
    gpu, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    _ask(nvml.nvmlDeviceGetHandleByIndex_v2, ctypes.c_uint(index), ctypes.byref(gpu))
    _ask(nvml.nvmlDeviceGetCudaComputeCapability, gpu, ctypes.byref(major), ctypes.byref(minor))
    return 10 * major.value + minor.value


def machine() -> Machine | None:
    """All GPUs of this machine; None where NVML is not there or does not know."""
    try:
        nvml = ctypes.CDLL(_LIBRARY)
        _ask(nvml.nvmlInit_v2)
        try:
            count, driver = ctypes.c_uint(), ctypes.c_int()
            _ask(nvml.nvmlDeviceGetCount_v2, ctypes.byref(count))
            _ask(nvml.nvmlSystemGetCudaDriverVersion_v2, ctypes.byref(driver))
            return Machine([_capability(nvml, i) for i in range(count.value)], driver.value)
        finally:
            nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return None


def version_name(version: int) -> str:
    """13000 as "13.0"."""
    return f"{version // 1000}.{version % 1000 // 10}"


def reason_against(found: Machine, runtime: int) -> str:
    """Why a CUDA runtime of this version finds no GPU; empty if it finds one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not found.capabilities:
        return "no CUDA device"
    if visible is not None:
        first = visible.split(",")[0].strip()  # what follows an unknown one does not count
        known = first.isdecimal() and int(first) < len(found.capabilities)
        if not (known or first.startswith(("GPU-", "MIG-"))):
            return f"CUDA_VISIBLE_DEVICES={visible} hides all"
    if found.driver // 1000 < runtime // 1000:
        return (
            f"the driver supports CUDA {version_name(found.driver)}, and CUDA "
            f"{version_name(runtime)} is needed: update it"
        )
    return ""

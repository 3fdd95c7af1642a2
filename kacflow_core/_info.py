"""What this installation is made of."""

from __future__ import annotations

from typing import Any

from kacflow_core._dispatch import (
    available_backends,
    backend_reasons,
    cuda_module,
    native_module,
)
from kacflow_core._origin import version
from kacflow_core._threads import default_threads


def _cuda_architectures() -> list[str]:
    """Compute capabilities that the GPU kernels were compiled for."""
    try:
        return cuda_module().info()["architectures"].split(";")
    except ImportError:
        return []


def build_info() -> dict[str, Any]:
    """How kacflow was built and what of it can be used here.

    Where NVML, which comes with the driver, tells the GPUs, CUDA is not initialised, so that
    children that are forked later can use it.

    Returns
    -------
    dict
        ``version``; ``backends`` usable here and ``missing``, a reason for each other one;
        ``threads``, the default number; ``cuda_architectures`` of the build (none: CPU only);
        and of the compiled core, each None without it: ``compiler``, ``simd_built``,
        ``simd_usable`` and ``simd`` (the levels built, usable on this processor, and in use),
        ``thread_source`` ("openmp" where a runtime is loaded that the kernels can share).

    Examples
    --------
    >>> import kacflow_core
    >>> sorted(kacflow_core.build_info())[:3]
    ['backends', 'compiler', 'cuda_architectures']
    """
    info: dict[str, Any] = {
        "version": version(),
        "backends": available_backends(),
        "missing": backend_reasons(),
        "threads": default_threads(),
        "cuda_architectures": _cuda_architectures(),
        **dict.fromkeys(("compiler", "simd_built", "simd_usable", "simd", "thread_source")),
    }
    if "native" in info["backends"]:
        info.update(native_module().info())
    return info

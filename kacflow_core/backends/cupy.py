"""The GPU backend without a compiler: CuPy and NVRTC build the same kernels at run time.

The headers come with the package.  A kernel is compiled when it is first used, for the GPU at hand,
and kept in CuPy's cache on disk (``CUPY_CACHE_DIR``), so that later processes find it there: in a
file that begins with the SHA-256 of the code, and is compiled again where the two do not agree.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import secrets
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kacflow_core._dispatch import Backend
from kacflow_core._layout import Array
from kacflow_core.backends import _gpus, _jobs
from kacflow_core.backends._device import DeviceBackend, Memory
from kacflow_core.backends._jobs import Launch

_PACKAGE = Path(__file__).resolve().parents[1]

#: As in setup.py: a multiplication and an addition are fused only where the text says so.
OPTIONS = ("--std=c++17", "--fmad=false")


def include_folder() -> Path:
    """Where the headers are, in the package or the source tree it runs from; else ImportError."""
    for folder in (_PACKAGE / "_include", _PACKAGE.parent / "csrc"):
        if (folder / "cuda" / "kernel.h").exists():
            return folder
    raise ImportError(f"the CUDA headers are not in {_PACKAGE / '_include'}: reinstall kacflow")


def _digest(folder: Path) -> str:
    """Hash of all headers."""
    files = sorted(path for part in ("", "kac", "cuda") for path in (folder / part).glob("*.h"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def cache_folder() -> Path:
    """Where CuPy keeps compiled kernels."""
    default = os.path.expanduser("~/.cupy/kernel_cache")  # a user without a home gets a folder ~
    return Path(os.environ.get("CUPY_CACHE_DIR") or default)


def _read(file: Path) -> bytes | None:
    """Code from the cache; None if it is not there or damaged."""
    try:
        kept = file.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    return kept[size:] if hashlib.sha256(kept[size:]).digest() == kept[:size] else None


def _write(file: Path, code: bytes) -> None:
    """Put code into the cache in one step, if it can be written."""
    part = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(code).digest() + code)  # readable as the umask says
        part.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()


class CupyMemory:
    """A copy of a NumPy array on the current device, made and read on the default stream."""

    def __init__(self, cupy: Any, array: Array) -> None:
        self._cupy = cupy
        with cupy.cuda.Stream.null:
            self._copy = cupy.asarray(array.reshape(-1).view(np.uint8))
        self.pointer: int = self._copy.data.ptr

    def download(self, into: Array) -> None:
        with self._cupy.cuda.Stream.null:
            into.reshape(-1).view(np.uint8)[...] = self._cupy.asnumpy(self._copy)


class Stream(NamedTuple):
    """What CuPy's kernels ask of a stream."""

    ptr: int


class CupyDriver:
    """See :class:`kacflow_core.backends._device.Driver`."""

    name = "cupy"

    def __init__(self, cupy: Any, cache: Path) -> None:
        self._cupy = cupy
        self._cache = cache
        folder = include_folder()
        self._options = (*OPTIONS, f"-I{folder}")
        self._key = f"{_digest(folder)} {OPTIONS} {cupy.cuda.nvrtc.getVersion()}"
        self._kernels: dict[tuple[str, str, bool, int], Any] = {}
        self._loading = threading.Lock()

    def _kernel(self, operation: str, storage: str, whole: bool, device: int) -> Any:
        """The compiled kernel for the current device, whose number is ``device``."""
        key = operation, storage, whole, device
        if key not in self._kernels:
            with self._loading:  # else the second of two would be replaced, and unloaded in use
                if key not in self._kernels:
                    self._kernels[key] = self._load(*key)
        return self._kernels[key]

    def _load(self, operation: str, storage: str, whole: bool, device: int) -> Any:
        name = f"kacflow_{operation}_{storage}_{'whole' if whole else 'mixed'}"
        source = _jobs.source_of(operation, storage, whole, name)
        capability = self._cupy.cuda.Device(device).compute_capability
        key = f"{self._key} {capability} {source}"
        file = self._cache / f"kacflow_{hashlib.sha256(key.encode()).hexdigest()}.cubin"
        code = _read(file)
        if code is None:
            what = f"kernel {operation} for {storage}, for compute capability {capability}"
            code = self._compile(source, what)
            _write(file, code)
        module = self._cupy.cuda.Module()
        module.load(code)
        return module.get_function(name)

    def _compile(self, source: str, what: str) -> bytes:
        """Code for the current device; RuntimeError that says of ``what`` where that fails.

        Not by RawModule, which adds -ftz=true: results among the denormal numbers would be others
        than those of the cuda backend.
        """
        compiler = self._cupy.cuda.compiler
        try:
            code, _ = compiler.compile_using_nvrtc(source, self._options)
        except compiler.CompileException as error:
            raise RuntimeError(f"{what}: CuPy's NVRTC does not compile it: {error}") from error
        return code

    def launch(self, launch: Launch, device: int, stream: int) -> None:
        cupy = self._cupy
        operation, storage, plan, job = launch
        # A NumPy array of one element goes to the kernel by value: the job's bytes.
        argument = np.frombuffer(job, dtype=f"V{len(job)}")
        with cupy.cuda.Device(device):
            try:
                kernel = self._kernel(operation, storage, plan.whole, device)
                kernel(
                    (plan.blocks,), (plan.threads,), (argument,), shared_mem=plan.shared,
                    stream=Stream(stream),
                )  # fmt: skip
            except (cupy.cuda.driver.CUDADriverError, cupy.cuda.runtime.CUDARuntimeError) as error:
                raise RuntimeError(
                    f"kernel {operation} for {storage} on device {device}, {plan.blocks} blocks of "
                    f"{plan.threads} threads: {error}"
                ) from error

    def upload(self, array: Array) -> Memory:
        return CupyMemory(self._cupy, array)

    def current_device(self) -> int:
        return self._cupy.cuda.runtime.getDevice()


def _reason_against(cupy: Any) -> str:
    """Why CuPy finds no GPU; empty if it finds one."""
    found = _gpus.machine()
    try:
        if found is not None:
            return _gpus.reason_against(found, cupy.cuda.runtime.runtimeGetVersion())
        return "" if cupy.cuda.runtime.getDeviceCount() else "no CUDA device"
    except Exception as error:  # CuPy loads the runtime on first use, and fails in several ways
        return str(error)


def load() -> Backend:
    """The backend; ImportError saying why where it cannot be used."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise ImportError(
            f"{error}; install the CuPy of your CUDA version: pip install 'kacflow[cuda13]' or "
            "'kacflow[cuda12]'"
        ) from error
    except Exception as error:  # an old CuPy fails in other ways on a new NumPy or Python
        raise ImportError(f"CuPy cannot be imported ({type(error).__name__}: {error})") from error
    reason = _reason_against(cupy)
    if reason:
        raise ImportError(f"no GPU: {reason}")
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # CuPy loads NVRTC on first use, and fails in several ways
        raise ImportError(f"CuPy finds no NVRTC: {error}") from error
    return DeviceBackend(CupyDriver(cupy, cache_folder()))

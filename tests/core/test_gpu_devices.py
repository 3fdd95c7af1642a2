"""Which GPUs the compiled kernels can use, without one: a module and an NVML that stand in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kacflow_core
from kacflow_core import _dispatch
from kacflow_core._layout import Layout
from kacflow_core.backends import _gpus, _jobs, cuda
from kacflow_core.backends._device import DeviceBackend

ONE = _jobs.Parameter(value=1.0)
LAUNCH = _jobs.sample("float32", Layout(1, 1, 8), 0, ONE, ONE, ONE, _jobs.Noise(1, 0))


class Module:
    """``kacflow_core._cuda`` on a machine with GPUs of these compute capabilities."""

    def __init__(self, *capabilities: int, untranslated: tuple[int, ...] = ()) -> None:
        self._capabilities, self._untranslated = capabilities, untranslated
        self.initialised = False
        self.calls: list[tuple[str, int]] = []

    def info(self) -> dict[str, Any]:
        return {"architectures": "80;90", "runtime": 13000}

    def device_count(self) -> tuple[int, str]:
        self.initialised = True
        return len(self._capabilities), "" if self._capabilities else "cudaErrorNoDevice"

    def capability(self, device: int) -> int:
        self.initialised = True
        return self._capabilities[device]

    def driver_version(self) -> int:
        return 12040

    def load_kernel(self, device: int) -> None:
        self.calls.append(("load", device))
        if device in self._untranslated:
            raise RuntimeError("cudaErrorUnsupportedPtxVersion: the provided PTX was compiled")

    def find_kernel(self, operation: str, storage: str, whole: bool) -> int:
        return 0

    def launch_kernel(self, *arguments: Any) -> None:
        self.calls.append(("launch", arguments[5]))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Module]:
    """Puts a module there; nothing was loaded before, and NVML knows nothing."""
    for name in ("_loaded", "_reasons"):
        kept = {k: v for k, v in getattr(_dispatch, name).items() if k not in _dispatch.GPU}
        monkeypatch.setattr(_dispatch, name, kept)
    monkeypatch.setattr(_gpus, "_LIBRARY", "libkacflow-not-there.so")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(*capabilities: int, **options: Any) -> Module:
        module = Module(*capabilities, **options)
        monkeypatch.setattr(cuda, "cuda_module", lambda: module)
        return module

    return install


def test_one_usable_device_is_enough(installed):
    module = installed(70, 86, 120)
    driver = cuda.load().driver
    for device in (1, 2, 1):
        driver.launch(LAUNCH, device, 0)
    loads = [("load", 1), ("launch", 1), ("load", 2), ("launch", 2), ("launch", 1)]
    assert module.calls == loads
    wanted = r"device 0 has compute capability 70, .* built for 80, 90: reinstall with .*=70, or"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=wanted):
            driver.launch(LAUNCH, 0, 0)
    assert module.calls == loads


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [
        ((), "no GPU: cudaErrorNoDevice"),
        ((60, 75), r"the GPU has compute capability 75, .*80, 90: .*ARCHITECTURES=75, or .*cupy"),
    ],
)
def test_without_a_usable_device(installed, capabilities: tuple[int, ...], reason: str):
    installed(*capabilities)
    with pytest.raises(ImportError, match=reason):
        cuda.load()


def test_a_driver_that_is_too_old_to_translate(installed):
    """Once asked for a device, before its first launch; other devices go on."""
    module = installed(90, 120, untranslated=(1,))
    driver = cuda.load().driver
    driver.launch(LAUNCH, 0, 0)
    with pytest.raises(RuntimeError) as caught:
        driver.launch(LAUNCH, 1, 0)
    text = str(caught.value)
    assert text.startswith(
        "device 1, of compute capability 120, cannot load the GPU kernels (cudaE"
    )
    assert "driver supports CUDA 12.4, they were built with CUDA 13.0 for 80, 90: update" in text
    assert text.endswith("or reinstall with KACFLOW_CUDA_ARCHITECTURES=120")
    assert ("launch", 1) not in module.calls


NVML = """
static const int capabilities[] = {%s0};
static int started;
int nvmlInit_v2(void) { return started++; }
int nvmlShutdown(void) { return 1 - started--; }
int nvmlDeviceGetCount_v2(unsigned* n) {
  if (!started) return 1;
  *n = sizeof capabilities / sizeof *capabilities - 1;
  return %d;
}
int nvmlSystemGetCudaDriverVersion_v2(int* version) { *version = %d; return !started; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, const int** gpu) {
  *gpu = capabilities + i;
  return !started;
}
int nvmlDeviceGetCudaComputeCapability(const int* gpu, int* major, int* minor) {
  *major = *gpu / 10;
  *minor = *gpu %% 10;
  return !started;
}
"""


@pytest.fixture
def nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts an NVML there that tells these capabilities."""
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("no gcc here")

    def install(*capabilities: int, driver: int = 13000, error: int = 0) -> None:
        source, library = tmp_path / "nvml.c", tmp_path / "nvml.so"
        text = NVML % ("".join(f"{n}, " for n in capabilities), error, driver)
        source.write_text(text)
        subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True, timeout=60)
        monkeypatch.setattr(_gpus, "_LIBRARY", str(library))

    return install


def test_cuda_is_not_initialised_by_looking(installed, nvml):
    """Children that are forked after build_info() can use CUDA, and so can this process."""
    module = installed(90)
    nvml(90)
    info = kacflow_core.build_info()
    assert "cuda" in info["backends"] and "cuda" not in info["missing"]
    assert not module.initialised
    _dispatch.get_backend("cuda").driver.launch(LAUNCH, 0, 0)
    assert module.initialised and module.calls[-1] == ("launch", 0)


@pytest.mark.parametrize(
    ("visible", "driver", "reason"),
    [
        ("", 13000, "CUDA_VISIBLE_DEVICES= hides all"),
        ("-1", 13000, "CUDA_VISIBLE_DEVICES=-1 hides all"),
        ("2,0", 13000, "CUDA_VISIBLE_DEVICES=2,0 hides all"),
        ("1", 13000, ""),
        ("GPU-8932f937,0", 12040, "the driver supports CUDA 12.4, and CUDA 13.0 is needed"),
        (None, 13010, ""),
    ],
)
def test_what_is_visible(
    installed, nvml, monkeypatch: pytest.MonkeyPatch, visible: str | None, driver: int, reason: str
):
    module = installed()
    nvml(75, 90, driver=driver)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if reason:
        with pytest.raises(ImportError, match=f"no GPU: {reason}"):
            cuda.load()
    else:
        cuda.load()
    assert not module.initialised


def test_an_nvml_that_knows_nothing(installed, nvml):
    module = installed(90)
    nvml(90, error=9)
    cuda.load()
    assert module.initialised


def test_an_nvml_without_a_gpu(installed, nvml):
    module = installed()
    nvml()
    with pytest.raises(ImportError, match="no GPU: no CUDA device"):
        cuda.load()
    assert not module.initialised


def test_kernels_of_an_earlier_version_are_told_apart():
    """What they lack is a method that is not there; the rest is."""

    class Earlier(Module):
        def find_kernel(self, operation: str, storage: str, whole: bool) -> int:
            if operation in ("transport", "spline"):
                raise ValueError(f"no kernel {operation} for {storage}")
            return 0

    backend = DeviceBackend(cuda.CudaDriver(Earlier(90)))
    assert backend.transport is None and backend.spline is None
    assert callable(backend.spline_inverse) and callable(backend.velocity)

"""The compiler's word on the GPU kernels: no local memory, 128-bit accesses."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here")
@pytest.mark.parametrize("architecture", [80, 90])
def test_no_kernel_uses_local_memory(architecture: int):
    spec = importlib.util.spec_from_file_location("report", ROOT / "scripts" / "kernel_report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.report(architecture)
    assert len(found) == len(module.kernels())
    assert not module.faults(found)
    assert all(16 <= row["registers"] <= 128 for row in found.values())
    if architecture == 90:
        recorded = json.loads(module.RECORD.read_text())
        if recorded["compiler"] == module.compiler() and module.disassembler():
            assert recorded["kernels"] == found, "scripts/kernel_report.py --record"
    spilled = {**found, "broken": {"stack": 8, "spills": 0, "registers": 255}}
    assert module.faults(spilled)
    if module.disassembler():
        pair = found["sample_pair_float32_whole"]
        assert pair["loads_128"] >= 1 and pair["stores_128"] == 2
        assert 150 < pair["instructions"] < 190


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The GPU kernels as installed, else as setup.py builds them for one architecture."""
    name = "kacflow_core._cuda"
    if importlib.util.find_spec(name):
        return importlib.import_module(name)
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc here")
    pytest.importorskip("pybind11")
    folder = tmp_path_factory.mktemp("cuda")
    asked = {"KACFLOW_CUDA": "1", "KACFLOW_NATIVE": "0", "KACFLOW_CUDA_ARCHITECTURES": "80"}
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    command += [f"--build-lib={folder}", f"--build-temp={folder / 'temp'}"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **asked},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = (folder / "kacflow_core").glob("_cuda.*")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_extension_links_and_says_why_it_cannot_be_used(cuda: ModuleType):
    from kacflow_core.backends import _jobs

    count, reason = cuda.device_count()
    for operation in _jobs.OPERATIONS:
        storage = "float64"
        for whole in (True, False):
            number = cuda.find_kernel(operation, storage, whole)
            with pytest.raises(ValueError, match="job: size"):
                cuda.launch_kernel(number, 1, 32, 0, b"short", 0, 0)
    if count == 0:
        assert "CUDA" in reason or "cuda" in reason
        one = _jobs.Parameter(value=1.0)
        from kacflow_core._layout import Layout
        from kacflow_core.backends.cuda import CudaDriver

        launch = _jobs.sample("float32", Layout(1, 1, 4), 0, one, one, one, _jobs.Noise(0, 0))
        with pytest.raises(RuntimeError, match="kernel sample for float32 on device 0, 1 blocks"):
            CudaDriver(cuda).launch(launch, 0, 0)


@pytest.mark.parametrize(
    ("capability", "runs"),
    [(75, False), (80, True), (86, True), (89, True), (90, True), (120, True)],
)
def test_a_build_without_code_for_the_gpu_is_not_used(
    capability: int, runs: bool, monkeypatch: pytest.MonkeyPatch
):
    from types import SimpleNamespace

    from kacflow_core.backends import cuda

    module = SimpleNamespace(
        device_count=lambda: (1, ""), info=lambda: {"architectures": "80;90"},
        capability=lambda device: capability,
    )  # fmt: skip
    monkeypatch.setattr(cuda, "cuda_module", lambda: module)
    if runs:
        assert cuda.load().name == "cuda"
    else:
        with pytest.raises(ImportError, match="the GPU has compute capability 75"):
            cuda.load()

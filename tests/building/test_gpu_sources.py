"""The GPU kernels' sources: every header of csrc/cuda alone with nvcc, every kernel with NVRTC."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_headers import ARCHITECTURES, Nvrtc, nvrtc_library

from kacflow_core.backends import _jobs, cupy

ROOT = Path(__file__).resolve().parents[2]
HEADERS = sorted(path.name for path in (ROOT / "csrc" / "cuda").glob("*.h"))


def compiler() -> Nvrtc:
    """NVRTC; skips where there is none."""
    library = nvrtc_library()
    if library is None:
        pytest.skip("no libnvrtc here")
    return Nvrtc(library)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here")
@pytest.mark.parametrize("header", HEADERS)
def test_each_header_compiles_alone_with_nvcc(tmp_path: Path, header: str):
    source = tmp_path / "alone.cu"
    source.write_text(f'#include "{header}"\n' * 2)
    command = ["nvcc", "-std=c++17", "-Werror", "all-warnings", f"-I{ROOT / 'csrc' / 'cuda'}"]
    codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in ARCHITECTURES]
    done = subprocess.run(
        [*command, "-fatbin", *codes, source, "-o", tmp_path / "alone.fatbin"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("header", [name for name in HEADERS if name != "kernels.h"])
def test_each_header_compiles_alone_with_nvrtc(header: str, architecture: int):
    """kernels.h, which is for the host, excepted."""
    options = ["--std=c++17", f"-I{ROOT / 'csrc' / 'cuda'}"]
    source = f'#include "{header}"\n' * 2
    compiler().ptx(source, [*options, f"--gpu-architecture=compute_{architecture}"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("operation", list(_jobs.OPERATIONS))
def test_every_kernel_compiles_with_nvrtc(operation: str, architecture: int):
    """With the source, the options and the include folder of the cupy backend."""
    nvrtc = compiler()
    options = [*cupy.OPTIONS, f"-I{cupy.include_folder()}"]
    options.append(f"--gpu-architecture=compute_{architecture}")
    for storage in ("float64",) if operation.endswith("events") else ("float32", "float64"):
        ptx = nvrtc.ptx(_jobs.source_of(operation, storage, True, "k"), options)
        assert f".target sm_{architecture}" in ptx and ".entry k(" in ptx and "bar.sync" in ptx


def test_the_headers_are_found_in_the_source_tree():
    folder = cupy.include_folder()
    assert {path.name for path in (folder / "cuda").glob("*.h")} >= {"kernel.h", "operations.h"}
    assert len(cupy._digest(folder)) == 64

"""csrc/kac is header-only: each file compiles alone and twice in one link, on every compiler there
is: g++, clang++, nvcc and NVRTC."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KAC = ROOT / "csrc" / "kac"
HERE = Path(__file__).resolve().parent
HEADERS = sorted(path.name for path in KAC.glob("*.h"))
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", f"-I{KAC}"]
ARCHITECTURES = (80, 90)

KERNELS = """
#include "use_headers.h"
extern "C" __global__ void use_float(float* x, double a, double c, double t) {
  x[threadIdx.x] = kac::use_everything<float>(7, threadIdx.x, a, c, t, x[threadIdx.x]);
}
extern "C" __global__ void use_double(double* x, double a, double c, double t) {
  x[threadIdx.x] = kac::use_everything<double>(7, threadIdx.x, a, c, t, x[threadIdx.x]);
}
extern "C" __global__ void use_storage(float* x) {
  x[threadIdx.x] = kac::use_storage(x[threadIdx.x]);
}
"""


@pytest.fixture(scope="module", params=["g++", "clang++"])
def cxx(request: pytest.FixtureRequest) -> str:
    """A C++ compiler of this machine."""
    if not shutil.which(request.param):
        pytest.skip(f"no {request.param} here")
    return request.param


@pytest.fixture(scope="module")
def nvcc() -> str:
    """The CUDA compiler of this machine."""
    found = shutil.which("nvcc")
    if not found:
        pytest.skip("no nvcc here")
    return found


def run(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def twice(header: str) -> str:
    """A source of one header alone, whose guard is tried too."""
    return f'#include "{header}"\n#include "{header}"\n'


def test_the_calls_cover_every_header():
    included = re.findall(r'#include "(.*)"', (HERE / "use_headers.h").read_text())
    assert sorted(included) == HEADERS, (
        "include each header of csrc/kac in tests/building/use_headers.h and call its functions"
    )


@pytest.mark.parametrize("header", HEADERS)
def test_each_header_compiles_alone(cxx: str, tmp_path: Path, header: str):
    source = tmp_path / "alone.cpp"
    source.write_text(twice(header))
    run(cxx, *STRICT, "-c", source, "-o", tmp_path / "alone.o")


MAIN = """
#include <cstdio>
double first(unsigned long long i);
double second(unsigned long long i);
int main() {
  for (unsigned long long i = 0; i < 100; ++i) {
    if (first(i) != second(i) || !(first(i) > -1e6 && first(i) < 1e6)) return 1;
  }
  std::puts("equal");
}
"""


@pytest.mark.parametrize("levels", [("one", "one"), ("one", "two")], ids=["same", "different"])
@pytest.mark.parametrize("optimization", ["-O0", "-O2"])
def test_all_headers_twice_in_one_link(
    cxx: str, tmp_path: Path, levels: tuple[str, str], optimization: str
):
    """At -O0 functions that are not inline would be defined twice."""
    objects = []
    for function, level in zip(("first", "second"), levels, strict=True):
        source = tmp_path / f"{function}.cpp"
        source.write_text(
            f'#define KAC_LEVEL {level}\n#include "use_headers.h"\n'
            f"double {function}(unsigned long long i);\n"
            f"double {function}(unsigned long long i) {{\n"
            "  return kac::use_everything<double>(7, i, 9.0, 3.0, 0.5, 0.3) +\n"
            "         kac::use_everything<float>(7, i, 9.0, 3.0, 0.5, 0.3f) +\n"
            "         kac::use_storage(0.3f);\n}\n"
        )
        objects.append(source.with_suffix(".o"))
        run(cxx, *STRICT, f"-I{HERE}", optimization, "-c", source, "-o", objects[-1])
    (tmp_path / "main.cpp").write_text(MAIN)
    program = tmp_path / "program"
    run(cxx, *STRICT, *objects, tmp_path / "main.cpp", "-o", program)
    assert run(program).strip() == "equal"


# --- CUDA ----------------------------------------------------------------------------------------


def check_ptx(ptx: str, architecture: int) -> None:
    """Code of all kernels, in which the generator and the arithmetic can be seen."""
    assert f".target sm_{architecture}" in ptx
    for kernel in ("use_float", "use_double", "use_storage"):
        assert re.search(rf"\.entry {kernel}\(", ptx), f"no kernel {kernel}"
    for instruction in ("fma.rn.f32", "fma.rn.f64", "sqrt.rn.f32", "sqrt.rn.f64", "mul.wide.u32"):
        assert instruction in ptx, f"no {instruction}"


@pytest.mark.parametrize("header", HEADERS)
def test_each_header_compiles_alone_with_nvcc(nvcc: str, tmp_path: Path, header: str):
    source = tmp_path / "alone.cu"
    source.write_text(twice(header))
    codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in ARCHITECTURES]
    run(nvcc, "-std=c++17", "-Werror", "all-warnings", f"-I{KAC}", "-fatbin", *codes,
        source, "-o", tmp_path / "alone.fatbin")  # fmt: skip


def test_device_code_with_nvcc(nvcc: str, tmp_path: Path):
    source = tmp_path / "kernels.cu"
    source.write_text(KERNELS)
    common = [nvcc, "-x", "cu", "-std=c++17", "-Werror", "all-warnings", f"-I{KAC}", f"-I{HERE}"]
    codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in ARCHITECTURES]
    run(*common, *codes, "-Xcompiler=-Wall,-Wextra", "-c", source, "-o", tmp_path / "kernels.o")
    assert (tmp_path / "kernels.o").stat().st_size > 20_000
    for n in ARCHITECTURES:
        ptx = tmp_path / f"kernels_{n}.ptx"
        run(*common, "-ptx", f"-arch=compute_{n}", source, "-o", ptx)
        check_ptx(ptx.read_text(), n)


def nvrtc_library() -> Path | str | None:
    """NVRTC beside nvcc, in an nvidia package of this Python, or where the loader finds it."""
    places = [Path(entry) / "nvidia" for entry in sys.path if entry]
    toolkits = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    nvcc = shutil.which("nvcc")
    if nvcc:
        toolkits.append(str(Path(nvcc).resolve().parents[1]))
    places += [Path(toolkit) for toolkit in toolkits if toolkit]
    for place in places:
        for pattern in ("lib64", "lib", "targets/*/lib", "*/lib"):
            for folder in sorted(place.glob(pattern)):
                found = sorted(folder.glob("libnvrtc.so*"))
                if found:
                    return found[0]
    return ctypes.util.find_library("nvrtc")


class Nvrtc:
    """The few calls of NVRTC that make PTX of a source."""

    def __init__(self, library: Path | str) -> None:
        self._library = ctypes.CDLL(str(library))

    def _call(self, name: str, *arguments: object) -> int:
        return getattr(self._library, name)(*arguments)

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        assert self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size)) == 0
        text = ctypes.create_string_buffer(size.value)
        assert self._call(f"nvrtcGet{what}", program, text) == 0
        return text.value.decode()

    def ptx(self, source: str, options: list[str]) -> str:
        """PTX of the source; AssertionError with the compiler's log if it has faults."""
        program = ctypes.c_void_p()
        created = self._call(
            "nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kac.cu", 0, None, None
        )
        assert created == 0
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = self._call("nvrtcCompileProgram", program, len(options), array)
        log = self._text(program, "ProgramLog")
        assert not failed and "warning" not in log, log
        return self._text(program, "PTX")


@pytest.fixture(scope="module")
def nvrtc() -> Nvrtc:
    library = nvrtc_library()
    if library is None:
        pytest.skip("no libnvrtc here")
    return Nvrtc(library)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("header", HEADERS)
def test_each_header_compiles_alone_with_nvrtc(nvrtc: Nvrtc, header: str, architecture: int):
    where = [f"--include-path={KAC}", f"--gpu-architecture=compute_{architecture}"]
    nvrtc.ptx(twice(header), where)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_device_code_with_nvrtc(nvrtc: Nvrtc, architecture: int):
    options = [f"--include-path={path}" for path in (KAC, HERE)]
    options += [f"--gpu-architecture=compute_{architecture}", "--std=c++17"]
    check_ptx(nvrtc.ptx(KERNELS, options), architecture)

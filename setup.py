"""Build of the compiled core; everything static is in pyproject.toml.

``kacflow_core._native`` needs a C++17 compiler and pybind11, and nothing of torch.  The CPU loops
are compiled once per SIMD level (baseline, AVX2, AVX-512) into one module that chooses at run time,
so a wheel runs on every processor of its architecture.

``kacflow_core._cuda`` needs nvcc as well, on Linux; the CUDA runtime is linked statically and
neither torch nor a driver is needed to build or import it.  Whether it is built or not, the headers
go into the package (``kacflow_core/_include``), from which the ``cupy`` backend compiles the same
kernels at run time.

Environment:

``KACFLOW_NATIVE``
    ``auto`` (default: build the CPU kernels, and install without them if that fails), ``0`` (leave
    them out), ``1`` (a failure to build is an error).
``KACFLOW_CUDA``
    The same for the GPU kernels; ``auto`` leaves them out where there is no nvcc.
``KACFLOW_CUDA_ARCHITECTURES``
    Compute capabilities without the dot, separated by semicolons, e.g. ``80;90``; by default
    80, 86, 89, 90, 100 and 120, as far as nvcc knows them.  PTX of the newest is added.
``NVCC``
    The CUDA compiler; by default the one on the path, in ``CUDA_HOME/bin`` or in
    ``/usr/local/cuda/bin``.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CSRC = Path("csrc")
HEADER_FOLDERS = ("kac", "cuda")  #: of csrc, shipped in the package

# -ffp-contract=off: a multiplication and an addition are fused only where the text says fma, so
#   that all SIMD levels and the sanitizer build compute the same.
# -fno-math-errno, -fno-trapping-math: sqrt and selects become vector instructions. Neither changes
#   a result, and neither touches the process's floating-point mode (as linking -ffast-math would).
UNIX_FLAGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
]
MSVC_FLAGS = ["/std:c++17", "/O2", "/fp:precise", "/EHsc"]
X86_LEVELS = {
    "avx2": ["-mavx2", "-mfma", "-mbmi2"],
    "avx512": [
        *("-mavx2", "-mfma", "-mbmi2"),
        *("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"),
    ],
}
# --fmad=false: as -ffp-contract=off, so that a GPU computes what the text says.
NVCC_FLAGS = ["-std=c++17", "-O3", "--fmad=false", "-t0", "-Xcompiler=-fPIC,-fvisibility=hidden"]
CUDA_ARCHITECTURES = ("80", "86", "89", "90", "100", "120")
CUDA_SOURCES = tuple(
    f"{name}.cu"
    for name in ("law_kernels", "noise_kernels", "path_kernels", "point_kernels", "runtime")
)


def mode_of(variable: str) -> str:
    """The value of KACFLOW_NATIVE or KACFLOW_CUDA."""
    mode = os.environ.get(variable, "auto")
    if mode not in ("auto", "0", "1"):
        sys.exit(f"{variable} is {mode!r}; allowed: auto, 0, 1")
    return mode


def announce(text: str) -> None:
    """One line that reaches the user (pip shows it with -v; `kacflow info` says the same)."""
    print(f"kacflow: {text}", file=sys.stderr, flush=True)


def cause(error: Exception, compiler: str) -> str:
    """Why something was not compiled, in a line."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    return f"no working {compiler}? {' '.join(str(error).split())}"


def find_nvcc() -> str | None:
    """The CUDA compiler."""
    named = os.environ.get("NVCC") or shutil.which("nvcc")
    homes = [*(os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")), "/usr/local/cuda"]
    found = [str(Path(home) / "bin" / "nvcc") for home in homes if home]
    return named or next((path for path in found if os.access(path, os.X_OK)), None)


def cuda_architectures(nvcc: str) -> list[str]:
    """What to build for, in rising order."""
    asked = os.environ.get("KACFLOW_CUDA_ARCHITECTURES")
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True)
    known = re.findall(r"^compute_(\d+)$", listed.stdout, re.MULTILINE)
    if not asked:
        return [name for name in CUDA_ARCHITECTURES if name in known]
    names = asked.replace(",", ";").split(";")
    if not set(names) <= set(known):
        sys.exit(
            f"KACFLOW_CUDA_ARCHITECTURES is {asked!r}; allowed: some of {', '.join(known)}, "
            "separated by semicolons"
        )
    return sorted(set(names), key=int)


def cuda_libraries(nvcc: str) -> list[str]:
    """Where nvcc looks for its libraries."""
    dry = subprocess.run(
        [nvcc, "--dryrun", "none.cu"], capture_output=True, text=True, check=False
    )  # it only says what it would do
    line = re.search(r"^#\$ LIBRARIES=(.*)$", dry.stderr, re.MULTILINE)
    found = shlex.split(line.group(1)) if line else []
    return [path.removeprefix("-L") for path in found if path.startswith("-L")]


class BuildExtensions(build_ext):
    """Compiles SIMD levels and GPU kernels side by side, and may do without a compiler."""

    def build_extension(self, ext: Extension) -> None:
        native = ext.name.endswith("._native")
        build = self._build_levels if native else self._build_cuda
        variable = "KACFLOW_NATIVE" if native else "KACFLOW_CUDA"
        try:
            build(ext)
        except Exception as error:
            if mode_of(variable) == "1":
                raise
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)  # of an earlier build
            missing, compiler, instead = (
                (
                    "core",
                    "C++17 compiler",
                    "installing on numba, whose first calls take seconds to compile",
                )
                if native
                else ("GPU kernels", "nvcc", "CuPy can compile them at run time")
            )
            announce(
                f"no compiled {missing} ({cause(error, compiler)}); {instead} "
                f"({variable}=1 makes this an error)."
            )

    def _build_cuda(self, ext: Extension) -> None:
        """The module by the C++ compiler; then objects by nvcc, one process per file."""
        import pybind11

        nvcc = find_nvcc()
        if nvcc is None:
            raise FileNotFoundError(
                "nvcc is not on the path, in CUDA_HOME/bin or in /usr/local/cuda/bin"
            )
        names = cuda_architectures(nvcc)
        codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in names]
        codes.append(f"-gencode=arch=compute_{names[-1]},code=compute_{names[-1]}")
        folder = Path(self.build_temp) / "cuda"
        folder.mkdir(parents=True, exist_ok=True)

        def compile_one(source: str) -> str:
            target = str(folder / f"{source}.o")
            command = [nvcc, *NVCC_FLAGS, *codes, "-c", str(CSRC / "cuda" / source), "-o", target]
            print(shlex.join(command), flush=True)
            subprocess.run(command, check=True)
            return target

        module = self.compiler.compile(
            ext.sources,
            output_dir=self.build_temp,
            macros=[("KACFLOW_ARCHITECTURES", ";".join(names))],
            include_dirs=[pybind11.get_include()],
            extra_postargs=UNIX_FLAGS,
        )
        with ThreadPoolExecutor() as pool:
            ext.extra_objects = [*module, *pool.map(compile_one, CUDA_SOURCES)]
        ext.sources = []
        ext.library_dirs = cuda_libraries(nvcc)
        ext.libraries = ["cudart_static", "dl", "pthread", "rt"]
        super().build_extension(ext)

    def _build_levels(self, ext: Extension) -> None:
        import pybind11

        ext.include_dirs.append(pybind11.get_include())
        unix = self.compiler.compiler_type == "unix"
        ext.extra_compile_args = UNIX_FLAGS if unix else MSVC_FLAGS
        levels = X86_LEVELS if unix and platform.machine() in ("x86_64", "AMD64") else {}
        if levels:
            ext.define_macros.append(("KACFLOW_X86_LEVELS", None))
        ext.extra_objects = []
        for level, flags in levels.items():
            ext.extra_objects += self.compiler.compile(
                [str(CSRC / "native" / f"kernels_{level}.cpp")],
                output_dir=self.build_temp,
                macros=ext.define_macros,
                extra_postargs=[*ext.extra_compile_args, *flags],
                depends=ext.depends,
            )
        if sys.platform.startswith("linux"):
            ext.libraries = ["dl", "pthread"]
        super().build_extension(ext)

    def copy_extensions_to_source(self) -> None:
        """In-place builds copy only what was built."""
        built = Path(self.build_lib)
        self.extensions = [
            ext for ext in self.extensions if (built / self.get_ext_filename(ext.name)).exists()
        ]
        super().copy_extensions_to_source()


class BuildPackages(build_py):
    """Puts the headers into the package, for compilers at run time."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the source tree has them
        for folder in HEADER_FOLDERS:
            for header in sorted((ROOT / CSRC / folder).glob("*.h")):
                target = Path(self.build_lib) / "kacflow_core" / "_include" / folder / header.name
                self.mkpath(str(target.parent))
                self.copy_file(str(header), str(target))


def sources() -> list[str]:
    """All C++ sources of the CPU module but those of the SIMD levels above the baseline."""
    native = ["kernels_baseline.cpp", "levels.cpp", "threads.cpp"]
    bindings = sorted(path.name for path in (ROOT / CSRC / "python").glob("*.cpp"))
    return [str(CSRC / "native" / name) for name in native] + [
        str(CSRC / "python" / name) for name in bindings
    ]


def extensions() -> list[Extension]:
    headers = sorted(str(path.relative_to(ROOT)) for path in (ROOT / CSRC).rglob("*.h"))
    wanted = []
    if mode_of("KACFLOW_NATIVE") == "0":
        announce("KACFLOW_NATIVE=0: installing without the compiled core, on numba")
    else:
        wanted.append(Extension("kacflow_core._native", sources(), depends=headers, language="c++"))
    cuda = mode_of("KACFLOW_CUDA")
    if cuda == "1" or (cuda == "auto" and find_nvcc() and sys.platform.startswith("linux")):
        module = [str(CSRC / "python" / "cuda" / "module.cpp")]
        kernels = [str(CSRC / "cuda" / name) for name in CUDA_SOURCES]
        wanted.append(
            Extension("kacflow_core._cuda", module, depends=[*headers, *kernels], language="c++")
        )
    return wanted


setup(
    packages=find_packages(include=["kacflow_core", "kacflow_core.*"]) + find_packages("python"),
    package_dir={"kacflow_core": "kacflow_core", "kacflow": "python/kacflow"},
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtensions, "build_py": BuildPackages},
)

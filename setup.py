"""Build of the compiled core; everything static is in pyproject.toml.

The extension ``kacflow_core._native`` needs a C++17 compiler and pybind11, and nothing of torch.
The CPU loops are compiled once per SIMD level (baseline, AVX2, AVX-512) into one module that
chooses at run time, so a wheel runs on every processor of its architecture.

Environment: ``KACFLOW_NATIVE`` = ``auto`` (default: build it, and install without it if that
fails), ``0`` (leave it out), ``1`` (a failure to build is an error).
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = Path("csrc")

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


def native_mode() -> str:
    """The value of KACFLOW_NATIVE."""
    mode = os.environ.get("KACFLOW_NATIVE", "auto")
    if mode not in ("auto", "0", "1"):
        sys.exit(f"KACFLOW_NATIVE is {mode!r}; allowed: auto, 0, 1")
    return mode


def announce(text: str) -> None:
    """One line that reaches the user (pip shows it with -v; `kacflow info` says the same)."""
    print(f"kacflow: {text}", file=sys.stderr, flush=True)


def cause(error: Exception) -> str:
    """Why the core was not compiled, in a line."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    return f"no working C++17 compiler? {' '.join(str(error).split())}"


class BuildNative(build_ext):
    """Compiles the levels side by side, and may do without a compiler."""

    def build_extension(self, ext: Extension) -> None:
        try:
            self._build_levels(ext)
        except Exception as error:
            if native_mode() == "1":
                raise
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)  # of an earlier build
            announce(
                f"no compiled core ({cause(error)}); installing on numba, whose first calls take "
                "seconds to compile (KACFLOW_NATIVE=1 makes this an error)."
            )

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


def sources() -> list[str]:
    """All C++ sources but those of the SIMD levels above the baseline."""
    native = ["kernels_baseline.cpp", "levels.cpp", "threads.cpp"]
    bindings = sorted(path.name for path in (ROOT / CSRC / "python").glob("*.cpp"))
    return [str(CSRC / "native" / name) for name in native] + [
        str(CSRC / "python" / name) for name in bindings
    ]


def extensions() -> list[Extension]:
    if native_mode() == "0":
        announce("KACFLOW_NATIVE=0: installing without the compiled core, on numba")
        return []
    headers = sorted(str(path.relative_to(ROOT)) for path in (ROOT / CSRC).rglob("*.h"))
    return [Extension("kacflow_core._native", sources(), depends=headers, language="c++")]


setup(
    packages=find_packages(include=["kacflow_core", "kacflow_core.*"]) + find_packages("python"),
    package_dir={"kacflow_core": "kacflow_core", "kacflow": "python/kacflow"},
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildNative},
)

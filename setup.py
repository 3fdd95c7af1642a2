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
    The same for the GPU kernels.  ``auto`` builds them where there is nvcc, for the GPUs that the
    driver shows, and leaves them out where it shows none.
``KACFLOW_CUDA_ARCHITECTURES``
    Compute capabilities without the dot, separated by semicolons, e.g. ``80;90``, whatever GPUs
    there are.  With ``KACFLOW_CUDA=1`` by default 80, 86, 89, 90, 100 and 120, as far as nvcc knows
    them.  PTX of the newest is added.
``NVCC``
    The CUDA compiler; by default the one on the path, in ``CUDA_HOME/bin`` or in
    ``/usr/local/cuda/bin``.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
CSRC = Path("csrc")
NOT_SHIPPED = ("native", "python")  #: folders whose headers the package does without
FLAGS = {
    name: flags.split()
    for name, _, flags in (
        line.partition(": ")
        for line in (ROOT / CSRC / "flags.txt").read_text().splitlines()
        if not line.startswith("#")
    )
}
MATH = FLAGS.pop("math")
UNIX_FLAGS = ["-std=c++17", "-O3", "-g0", *MATH, "-fvisibility=hidden", "-Wall", "-Wextra"]
UNIX_LINK_FLAGS = ["-O3", *MATH]
MSVC_FLAGS = ["/std:c++17", "/O2", "/fp:precise", "/EHsc"]
X86_LEVELS = FLAGS  #: by name
# Refused where fast mathematics cannot be taken back; and with instructions of a level, so that the
# assembler is asked as well.
PROBE = f"""
#include "{(ROOT / CSRC).as_posix()}/kac/config.h"
void probe(float* x);
void probe(float* x) {{
  for (int i = 0; i < 1024; ++i) x[i] = x[i] * x[i] + 1.0f;
}}
"""
# --fmad=false: as -ffp-contract=off, so that a GPU computes what the text says.
NVCC_FLAGS = ["-std=c++17", "-O3", "--fmad=false", "-t0"]
NVCC_FLAGS.append(f"-Xcompiler=-fPIC,-fvisibility=hidden,{','.join(MATH)}")
CUDA_ARCHITECTURES = (80, 86, 89, 90, 100, 120)


class LeftOutError(Exception):
    """Nothing failed: the message says why something is not built."""


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
    if isinstance(error, LeftOutError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    return f"no working {compiler}? {textwrap.shorten(str(error), 200, placeholder=' ...')}"


def find_nvcc() -> str | None:
    """The CUDA compiler."""
    named = os.environ.get("NVCC") or shutil.which("nvcc")
    homes = [*(os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")), "/usr/local/cuda"]
    found = [str(Path(home) / "bin" / "nvcc") for home in homes if home]
    return named or next((path for path in found if os.access(path, os.X_OK)), None)


def gpus() -> list[int]:
    """Compute capabilities, without the dot, of the GPUs that the driver shows."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = set()
    for device in range(count.value):
        for number, attribute in ((major, 75), (minor, 76)):
            driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        found.add(10 * major.value + minor.value)
    return sorted(found)


def cuda_architectures(nvcc: str) -> list[int]:
    """What to build for, in rising order."""
    asked = os.environ.get("KACFLOW_CUDA_ARCHITECTURES")
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True)
    known = [int(n) for n in re.findall(r"^compute_(\d+)$", listed.stdout, re.MULTILINE)]
    if asked:
        names = asked.replace(",", ";").split(";")
        if not set(names) <= set(map(str, known)):
            sys.exit(
                f"KACFLOW_CUDA_ARCHITECTURES is {asked!r}; allowed: some of "
                f"{', '.join(map(str, known))}, separated by semicolons"
            )
        return sorted(set(map(int, names)))
    if mode_of("KACFLOW_CUDA") == "1":
        return [n for n in CUDA_ARCHITECTURES if n in known]
    older = [[n for n in known if n <= gpu] for gpu in gpus()]  # their code or PTX runs there
    if not any(older):
        raise LeftOutError(f"{nvcc} is there, but no GPU that it compiles for is in sight")
    return sorted({max(names) for names in older if names})


def dry_run(command: list[str]) -> str:
    """What nvcc would do."""
    done = subprocess.run([*command, "--dryrun"], capture_output=True, text=True, check=False)
    fast = re.search(r" (-fast-math|-ftz=1|-prec_div=0|-prec_sqrt=0|-fmad=1)", done.stderr)
    if fast:
        raise RuntimeError(f"nvcc would compute wrong results ({fast[1]}): see NVCC_APPEND_FLAGS")
    return done.stderr


def cuda_libraries(said: str) -> list[str]:
    """Where nvcc looks for its libraries, by its dry run."""
    line = re.search(r"^#\$ LIBRARIES=(.*)$", said, re.MULTILINE)
    found = shlex.split(line.group(1)) if line else []
    return [path.removeprefix("-L") for path in found if path.startswith("-L")]


class BuildExtensions(build_ext):
    """Compiles files side by side, one process per CPU, and may do without a compiler."""

    def run(self) -> None:
        self._not_built: dict[str, str] = {}  # a reason for each module
        super().run()
        record = Path(self.build_lib) / "kacflow_core" / "_not_built.json"
        if self._not_built and not self.inplace:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(self._not_built))

    def build_extension(self, ext: Extension) -> None:
        native = ext.name.endswith("._native")
        build = self._build_native if native else self._build_cuda
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
            why = cause(error, compiler)
            self._not_built[ext.name.split(".")[-1]] = why
            announce(
                f"no compiled {missing} ({why}); {instead} ({variable}=1 makes this an error)."
            )

    def link(self, ext: Extension, commands: list[Callable[[], str]]) -> None:
        """Run the commands, each of which compiles one object, and link the module of those."""
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(cpus) as pool:
            ext.extra_objects = list(pool.map(lambda command: command(), commands))
        ext.depends, ext.sources = [*ext.sources, *ext.depends], []  # all that it is newer than
        if self._unix():
            ext.extra_link_args = UNIX_LINK_FLAGS
        super().build_extension(ext)

    def _unix(self) -> bool:
        return self.compiler.compiler_type == "unix"

    def compile_one(self, ext: Extension, source: str, flags: Sequence[str] = ()) -> str:
        """Compiles one C++ file.

        Only the bindings are shown Python's headers, so that a cache of compiled files serves the
        kernels of every Python.
        """
        import pybind11

        compiler, folders = copy.copy(self.compiler), [pybind11.get_include()]
        if "python" not in Path(source).parts:
            compiler.include_dirs, folders = [], []
        [target] = compiler.compile(
            [source],
            output_dir=self.build_temp,
            macros=ext.define_macros,
            include_dirs=folders,
            extra_postargs=[*(UNIX_FLAGS if self._unix() else MSVC_FLAGS), *flags],
        )
        return target

    def _build_cuda(self, ext: Extension) -> None:
        nvcc = find_nvcc()
        if nvcc is None:
            raise FileNotFoundError(
                "nvcc is not on the path, in CUDA_HOME/bin or in /usr/local/cuda/bin"
            )
        names = cuda_architectures(nvcc)
        codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in names]
        codes.append(f"-gencode=arch=compute_{names[-1]},code=compute_{names[-1]}")
        command = [nvcc, *NVCC_FLAGS, *codes, "-c"]
        ext.library_dirs = cuda_libraries(dry_run([*command, ext.depends[-1]]))
        ext.libraries = ["cudart_static", "dl", "pthread", "rt"]
        ext.define_macros = [("KACFLOW_ARCHITECTURES", ";".join(map(str, names)))]
        folder = Path(self.build_temp) / "cuda"
        folder.mkdir(parents=True, exist_ok=True)

        def kernels(source: str) -> str:
            target = str(folder / f"{Path(source).name}.o")
            whole = [*command, source, "-o", target]
            print(shlex.join(whole), flush=True)
            subprocess.run(whole, check=True)
            return target

        files = [path for path in ext.depends if path.endswith(".cu")]
        commands = [partial(kernels, source) for source in files]
        commands += [partial(self.compile_one, ext, source) for source in ext.sources]
        self.link(ext, commands)

    def _build_native(self, ext: Extension) -> None:
        levels = self.simd_levels()
        ext.define_macros = [(f"KACFLOW_{level.upper()}", None) for level in levels]
        if sys.platform.startswith("linux"):
            ext.libraries = ["dl", "pthread"]
        rest = sorted(ext.sources, key=lambda name: "kernels_" not in name)  # the longest first
        commands = [
            partial(self.compile_one, ext, str(CSRC / "native" / f"kernels_{level}.cpp"), flags)
            for level, flags in levels.items()
        ]
        self.link(ext, commands + [partial(self.compile_one, ext, source) for source in rest])

    def simd_levels(self) -> dict[str, list[str]]:
        """Flags of each level above the baseline that the compiler can make code for."""
        source = Path(self.build_temp) / "probe.cpp"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(PROBE)
        probe = Extension("probe", [])
        self.compile_one(probe, str(source))
        if not self._unix() or not self.plat_name.endswith("-x86_64"):  # what is built for
            return {}
        found = {}
        for level, flags in X86_LEVELS.items():
            try:
                self.compile_one(probe, str(source), flags)
                found[level] = flags
            except CompileError:
                announce(f"no {level} code: the compiler refuses {' '.join(flags)}")
        return found

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
        for header in sorted((ROOT / CSRC).rglob("*.h")):
            path = header.relative_to(ROOT / CSRC)
            if path.parts[0] not in NOT_SHIPPED:
                target = Path(self.build_lib) / "kacflow_core" / "_include" / path
                self.mkpath(str(target.parent))
                self.copy_file(str(header), str(target))


def sources(*patterns: str) -> list[str]:
    """Files of csrc."""
    found = [path for pattern in patterns for path in (ROOT / CSRC).glob(pattern)]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def extensions() -> list[Extension]:
    headers = sources("**/*.h")
    wanted = []
    if mode_of("KACFLOW_NATIVE") == "0":
        announce("KACFLOW_NATIVE=0: installing without the compiled core, on numba")
    else:
        levels = {str(CSRC / "native" / f"kernels_{level}.cpp") for level in X86_LEVELS}
        files = [path for path in sources("native/*.cpp", "python/*.cpp") if path not in levels]
        wanted.append(Extension("kacflow_core._native", files, depends=headers, language="c++"))
    cuda = mode_of("KACFLOW_CUDA")
    if cuda == "1" or (cuda == "auto" and find_nvcc() and sys.platform.startswith("linux")):
        kernels = sources("cuda/*.cu")
        wanted.append(
            Extension(
                "kacflow_core._cuda",
                sources("python/cuda/*.cpp"),
                depends=[*headers, *kernels],
                language="c++",
            )
        )
    return wanted


setup(
    packages=find_packages(include=["kacflow_core", "kacflow_core.*"]) + find_packages("python"),
    package_dir={"kacflow_core": "kacflow_core", "kacflow": "python/kacflow"},
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtensions, "build_py": BuildPackages},
)

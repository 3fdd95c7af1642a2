"""The build in surroundings that would spoil it: fast mathematics, compilers without a SIMD level,
nvcc without a GPU."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recipe import ROOT, build, names_of_setup, script

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not x86")
gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")

FAST = [
    "-ffast-math",
    "-Ofast",
    "-funsafe-math-optimizations",
    "-ffinite-math-only",
    "-fassociative-math -fno-signed-zeros -fno-trapping-math",
    "-freciprocal-math",
    "-fno-signed-zeros",
]
TINY = f"""
#include "{ROOT}/csrc/kac/config.h"
#define SHOWN extern "C" __attribute__((visibility("default")))
SHOWN int is_nan(double x) {{ return x != x; }}
SHOWN double halves(double x) {{ return x * 0.5; }}
"""
USE_TINY = """
import ctypes, sys
tiny = ctypes.CDLL(sys.argv[1])
tiny.halves.restype = ctypes.c_double
print(tiny.is_nan(ctypes.c_double(float("nan"))), tiny.halves(ctypes.c_double(1e-310)) > 0.0)
"""


@gxx
@pytest.mark.parametrize("fast", FAST)
def test_fast_mathematics_of_the_environment_is_taken_back(
    fast: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """NaN is seen, and the process's floating-point mode is not changed by loading."""
    source = tmp_path / "tiny.cpp"
    source.write_text(TINY)

    def work(command, ext):
        command.link(ext, [lambda: command.compile_one(ext, str(source))])
        return command.get_ext_fullpath(ext.name)

    variables = ("CXXFLAGS", "CPPFLAGS", "CFLAGS", "LDFLAGS")
    made = build(monkeypatch, tmp_path, work, **dict.fromkeys(variables, fast))
    command = [sys.executable, "-c", USE_TINY, made]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True"]


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("fast", [*FAST, "-fsingle-precision-constant"])
def test_fast_mathematics_behind_our_flags_is_refused(compiler: str, fast: str, tmp_path: Path):
    """As a compiler wrapper may put it; the flags of setup.py themselves are allowed."""
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    if compiler == "clang++" and fast not in FAST[:2] + FAST[3:4]:
        pytest.skip("clang++ does not say so by a macro, or has no such flag")
    source = tmp_path / "tiny.cpp"
    source.write_text(TINY)
    command = [compiler, "-std=c++17", "-fsyntax-only", *fast.split(), source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "kacflow computes wrong results" in done.stderr


@x86
@gxx
@pytest.mark.parametrize(
    ("refused", "left"), [("none", ["avx2", "avx512"]), ("avx512", ["avx2"]), ("avx2", [])]
)
def test_a_level_that_the_compiler_refuses_is_left_out_alone(
    refused: str, left: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd
):
    wrapper = script(
        tmp_path / "c++",
        f"""for a in "$@"; do case "$a" in -m{refused}*) echo "unknown $a" >&2; exit 1;; esac; done
exec g++ "$@"
""",
    )
    found = build(monkeypatch, tmp_path, lambda command, _: command.simd_levels(), CXX=str(wrapper))
    assert list(found) == left
    said = capfd.readouterr().err
    for level in ("avx2", "avx512"):
        assert (f"kacflow: no {level} code: the compiler refuses -m" in said) == (level not in left)


@gxx
def test_a_wrapper_that_ends_in_fast_mathematics_builds_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd
):
    errors = pytest.importorskip("setuptools.errors")
    wrapper = script(tmp_path / "c++", 'exec g++ "$@" -ffast-math')
    with pytest.raises(errors.CompileError):
        build(monkeypatch, tmp_path, lambda command, _: command.simd_levels(), CXX=str(wrapper))
    assert "kacflow computes wrong results" in capfd.readouterr().err


@gxx
def test_without_a_compiler_no_level_is_blamed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd
):
    errors = pytest.importorskip("setuptools.errors")
    with pytest.raises(errors.CompileError, match="nonexistent"):
        build(monkeypatch, tmp_path, lambda command, _: command.simd_levels(), CXX="/nonexistent/c")
    assert "kacflow: no avx" not in capfd.readouterr().err


@x86
@gxx
@pytest.mark.parametrize("levels", [[], ["Avx2"], ["Avx512"], ["Avx2", "Avx512"]])
def test_the_choice_of_a_level_links_with_those_built(levels: list[str], tmp_path: Path):
    names = ["Baseline", *levels]
    lines = [f'const Kernels kKernels{name} = {{"{name.lower()}"}};' for name in names]
    (tmp_path / "main.cpp").write_text(
        f'#include "{ROOT}/csrc/native/kernels.h"\n#include <cstdio>\nnamespace kacflow {{\n'
        + "\n".join(lines)
        + "\n}\nint main() { std::puts(kacflow::kernels().level); }\n"
    )
    sources = [tmp_path / "main.cpp", ROOT / "csrc" / "native" / "levels.cpp"]
    defined = [f"-DKACFLOW_{level.upper()}" for level in levels]
    command = ["g++", "-std=c++17", *defined, *sources, "-o", tmp_path / "program"]
    subprocess.run(command, check=True)
    done = subprocess.run(tmp_path / "program", capture_output=True, text=True, check=True)
    assert done.stdout.strip() in [name.lower() for name in names]


@x86
@gxx
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs /proc/cpuinfo")
def test_the_levels_of_this_processor_are_those_the_system_names(tmp_path: Path):
    """And none of them depends on a compiler's runtime library, which may say no to all."""
    source = (ROOT / "csrc" / "native" / "levels.cpp").read_text()
    assert "__builtin_cpu_supports(" not in source
    lines = [
        f'const Kernels kKernels{n} = {{"{n.lower()}"}};' for n in ("Baseline", "Avx2", "Avx512")
    ]
    (tmp_path / "main.cpp").write_text(
        f'#include "{ROOT}/csrc/native/kernels.h"\n#include <cstdio>\nnamespace kacflow {{\n'
        + "\n".join(lines)
        + "\n}\nint main() {\n  const kacflow::Kernels* const* k = kacflow::usable_kernels();\n"
        "  for (; *k; ++k) std::puts((*k)->level);\n}\n"
    )
    sources = [tmp_path / "main.cpp", ROOT / "csrc" / "native" / "levels.cpp"]
    defined = ["-DKACFLOW_AVX2", "-DKACFLOW_AVX512"]
    subprocess.run(
        ["g++", "-std=c++17", *defined, *sources, "-o", tmp_path / "program"], check=True
    )
    done = subprocess.run(tmp_path / "program", capture_output=True, text=True, check=True)
    told = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next(line for line in told if line.startswith("flags")).split())
    wanted = ["baseline"]
    if flags >= {"avx2", "fma", "bmi2"}:
        wanted.insert(0, "avx2")
        if flags >= {"avx512f", "avx512dq", "avx512bw", "avx512vl"}:
            wanted.insert(0, "avx512")
    assert done.stdout.split() == wanted


@gxx
@pytest.mark.parametrize(("plat", "levels"), [("linux-x86_64", True), ("linux-aarch64", False)])
def test_levels_are_those_of_the_processor_that_is_built_for(
    plat: str, levels: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def work(command, _):
        command.plat_name = plat
        return command.simd_levels()

    accepts_all = script(tmp_path / "c++", 'touch "$(echo "$@" | sed "s/.*-o \\([^ ]*\\).*/\\1/")"')
    found = build(monkeypatch, tmp_path, work, CXX=str(accepts_all))
    assert bool(found) == levels


@gxx
def test_kernels_are_compiled_without_the_headers_of_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """So that a compiler cache serves the kernels of every Python."""
    wrapper = script(tmp_path / "c++", f'echo "$@" >> {tmp_path}/told; exec g++ "$@"')
    for name in ("native", "python"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.cpp").write_text(TINY)

    def work(command, ext):
        for name in ("native", "python"):
            command.compile_one(ext, str(tmp_path / name / "tiny.cpp"))

    build(monkeypatch, tmp_path, work, CXX=str(wrapper))
    native, python = (tmp_path / "told").read_text().splitlines()
    assert " -I" not in native and "pybind11" in python


def test_the_flags_of_a_level_are_stated_once():
    stated = "-m" + "avx"
    files = [ROOT / "setup.py", ROOT / "Makefile"]
    for folder in ("scripts", "benchmarks", "csrc", "tests"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc"]
    found = [path for path in files if path.is_file() and stated.encode() in path.read_bytes()]
    assert found == [ROOT / "csrc" / "flags.txt"]


# --- GPUs ----------------------------------------------------------------------------------------

DRIVER = """
extern "C" int cuInit(unsigned) { return RESULT; }
extern "C" int cuDeviceGetCount(int* n) { *n = 2; return 0; }
extern "C" int cuDeviceGetAttribute(int* value, int attribute, int device) {
  const int table[2][2] = {{8, 6}, {13, 1}};
  *value = table[device][attribute - 75];
  return 0;
}
"""


@gxx
@pytest.mark.parametrize(("result", "gpus"), [(0, [86, 131]), (100, [])])
def test_the_gpus_of_the_driver(
    result: int, gpus: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "driver.cpp").write_text(DRIVER)
    driver = tmp_path / "driver.so"
    command = ["g++", "-shared", "-fPIC", f"-DRESULT={result}", tmp_path / "driver.cpp"]
    subprocess.run([*command, "-o", driver], check=True)
    find = names_of_setup(monkeypatch)["gpus"]
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda name: load(str(driver)))
    assert find() == gpus


def no_driver(name: str) -> None:
    raise OSError(name)


@pytest.mark.parametrize(
    ("variables", "gpus", "built"),
    [
        ({}, [86, 86], [86]),
        ({}, [90, 131], [90, 120]),  # PTX of 120 runs on later ones
        ({}, [70, 89], [89]),
        ({}, [70], None),
        ({}, [], None),
        ({"KACFLOW_CUDA": "1"}, [], [80, 86, 89, 90, 100, 120]),
        ({"KACFLOW_CUDA_ARCHITECTURES": "90;80"}, [], [80, 90]),
    ],
)
def test_kernels_are_built_for_the_gpus_in_sight(
    variables: dict[str, str], gpus: list[int], built: list[int] | None,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
):  # fmt: skip
    known = (75, 80, 86, 87, 89, 90, 100, 103, 120)
    nvcc = script(tmp_path / "nvcc", "\n".join(f"echo compute_{n}" for n in known))
    for name in ("KACFLOW_CUDA", "KACFLOW_CUDA_ARCHITECTURES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    names = names_of_setup(monkeypatch)
    choose = names["cuda_architectures"]
    monkeypatch.setitem(choose.__globals__, "gpus", lambda: gpus)
    if built is None:
        with pytest.raises(names["LeftOutError"], match="no GPU that it compiles for is in sight"):
            choose(str(nvcc))
    else:
        assert choose(str(nvcc)) == built


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    find = names_of_setup(monkeypatch)["gpus"]
    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    assert find() == []


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here")
@pytest.mark.parametrize("variable", ["NVCC_APPEND_FLAGS", "NVCC_PREPEND_FLAGS"])
@pytest.mark.parametrize("fast", ["", "--use_fast_math", "--prec-div=false", "--ftz=true"])
def test_fast_mathematics_of_nvcc_is_refused(
    variable: str, fast: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    source = tmp_path / "tiny.cu"
    source.write_text("int main() {}\n")
    monkeypatch.setenv(variable, fast)
    names = names_of_setup(monkeypatch)
    command = ["nvcc", *names["NVCC_FLAGS"], "-c", str(source)]
    if fast:
        with pytest.raises(RuntimeError, match=r"nvcc would compute wrong results .*NVCC_APPEND"):
            names["dry_run"](command)
    else:
        assert names["cuda_libraries"](names["dry_run"](command))

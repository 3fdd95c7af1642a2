"""Source distribution and wheels: complete, and installable without a C++ compiler.

Wheels are built as users build them, by pip in an isolated environment, which takes setuptools and
pybind11 from the package index; without an index these tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MISSING = "/nonexistent/c++"
LINE = "kacflow: no compiled core ("

# Not by find_spec: looking for pip takes setuptools' distutils out of this process.
pytestmark = pytest.mark.skipif(
    not {"pip", "setuptools"} <= {found.metadata["Name"] for found in distributions()},
    reason="needs pip and setuptools",
)


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A finished command, its two outputs in one."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


FOLDERS = (".ci", "benchmarks", "csrc", "docs", "kacflow_core", "python", "scripts", "tests")
BUILT = (".so", ".pyc", ".o")


def sources() -> list[str]:
    """All files of the project, by git, or where it is not a git checkout by their places."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        done = run(*git, cwd=ROOT)
        assert done.returncode == 0, done.stdout
        names = done.stdout.splitlines()
    else:
        paths = [*ROOT.iterdir(), *(path for name in FOLDERS for path in (ROOT / name).rglob("*"))]
        names = [str(path.relative_to(ROOT)) for path in paths if path.suffix not in BUILT]
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources without anything built."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in sources():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    done = run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, cwd=checkout)
    assert done.returncode == 0, done.stdout
    [archive] = folder.glob("kacflow-*.tar.gz")
    shutil.unpack_archive(archive, folder)
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where pip reaches no package index."""
    folder = tmp_path_factory.mktemp("index")
    pip = [sys.executable, "-m", "pip", "-q", "--retries", "0", "--timeout", "10"]
    done = run(*pip, "download", "--no-deps", "-d", folder, "pybind11>=2.13", cwd=folder)
    if done.returncode != 0:
        pytest.skip("no package index can be reached")


def build_wheel(source: Path, out: Path, mode: str) -> subprocess.CompletedProcess[str]:
    """``pip wheel`` on a machine without a compiler."""
    pip = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", out, "."]
    return run(*pip, cwd=source, CC=MISSING, CXX=MISSING, KACFLOW_NATIVE=mode)


@pytest.fixture(scope="module")
def plain_install(
    index: None, sdist: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Output of the build and folder of an installation made without a compiler."""
    out, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site")
    built = build_wheel(sdist, out, "auto")
    assert built.returncode == 0, built.stdout
    [wheel] = out.glob("kacflow-*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target]
    installed = run(*pip, wheel, cwd=out)
    assert installed.returncode == 0, installed.stdout
    return built.stdout, target


def test_the_source_distribution_is_complete(sdist: Path):
    """What its own tests, documents and benchmarks need is there: all files of the project."""
    missing = [name for name in sources() if not (sdist / name).is_file()]
    assert not missing
    built = [path for path in sdist.rglob("*") if path.suffix in BUILT]
    assert not built


def test_the_sources_of_the_distribution_find_their_headers(sdist: Path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("no C++ compiler here")
    pybind11 = pytest.importorskip("pybind11")
    folders = [pybind11.get_include(), sysconfig.get_path("include")]
    if not (Path(folders[1]) / "Python.h").exists():
        pytest.skip("no Python.h here")
    sources = sorted((sdist / "csrc").rglob("*.cpp"))
    assert len(sources) >= 8
    done = run(compiler, "-std=c++17", "-MM", *(f"-I{f}" for f in folders), *sources, cwd=sdist)
    assert done.returncode == 0, done.stdout


def test_without_a_compiler_one_line_says_so(plain_install: tuple[str, Path]):
    output, _ = plain_install
    said = [line.strip() for line in output.splitlines() if "no compiled core" in line]
    assert len(said) == 1, output
    assert said[0].startswith(LINE)
    assert "no working C++17 compiler?" in said[0] and MISSING in said[0]
    assert "KACFLOW_NATIVE=1" in said[0]


PROGRAM = """
import json
import kacflow_core
from kacflow_core.backends.cupy import include_folder
from kacflow_core.testing import check_backend
try:
    kacflow_core.sample(1.0, 3, a=1.0, c=1.0, seed=0, backend="native")
    said = ""
except RuntimeError as error:
    said = str(error)
print(json.dumps({
    "file": kacflow_core.__file__,
    "version": kacflow_core.__version__,
    "backends": kacflow_core.available_backends(),
    "missing": kacflow_core.build_info()["missing"],
    "said": said,
    "headers": str(include_folder()),
    "conforms": check_backend("reference", only=["philox_vectors"]).ok,
}))
"""


def test_an_installation_without_the_compiled_core(plain_install: tuple[str, Path]):
    _, target = plain_install
    assert not list(target.rglob("*.so"))
    done = run(sys.executable, "-c", PROGRAM, cwd=target.parent, PYTHONPATH=str(target))
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["file"]).is_relative_to(target)
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and found["version"] == version[1]
    assert "native" not in found["backends"] and "reference" in found["backends"]
    reason = found["missing"]["native"]
    assert "not built when kacflow was installed (no working C++17 compiler? " in reason
    assert MISSING in reason and "KACFLOW_NATIVE=1" in reason
    assert found["said"] == f"backend 'native' cannot be used here: {reason}"
    assert found["conforms"]
    headers = Path(found["headers"])
    assert headers.is_relative_to(target)  # what the cupy backend compiles, nvcc or not
    source = ROOT / "csrc"
    needed = [p.relative_to(source) for p in source.rglob("*.h")]
    needed = [p for p in needed if p.parts[0] not in ("native", "python")]
    assert len(needed) > 10
    for path in needed:
        assert (headers / path).read_text() == (source / path).read_text()


def test_a_missing_compiler_is_an_error_on_demand(index: None, sdist: Path, tmp_path: Path):
    done = build_wheel(sdist, tmp_path, "1")
    assert done.returncode != 0
    assert MISSING in done.stdout and LINE not in done.stdout
    assert not list(tmp_path.glob("*.whl"))


def test_an_unknown_mode_is_refused(checkout: Path):
    done = run(sys.executable, "setup.py", "--version", cwd=checkout, KACFLOW_NATIVE="yes")
    assert done.returncode != 0
    assert "KACFLOW_NATIVE is 'yes'; allowed: auto, 0, 1" in done.stdout


IN_PLACE = """
import runpy, sys
sys.modules["pybind11"] = None
sys.argv = ["setup.py", "-q", "build_ext", "--inplace"]
runpy.run_path("setup.py", run_name="__main__")
"""


@pytest.mark.parametrize("mode", ["auto", "1"])
def test_a_build_without_pybind11_names_it(checkout: Path, mode: str):
    done = run(sys.executable, "-c", IN_PLACE, cwd=checkout, KACFLOW_NATIVE=mode)
    if mode == "1":
        assert done.returncode != 0 and "pybind11" in done.stdout.splitlines()[-1]
        return
    assert done.returncode == 0, done.stdout
    assert f"{LINE}pybind11 is not installed); installing on numba" in done.stdout
    assert "compiler" not in done.stdout

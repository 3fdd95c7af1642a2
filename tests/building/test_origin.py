"""A source tree beside an installation: never mixed without a word, each with its own version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import kacflow_core

ROOT = Path(__file__).resolve().parents[2]
SOURCES = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
SHOW = "import kacflow_core as kc; print(kc.__version__, kc.__file__, kc.build_info()['missing'])"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree of version 8.8.8 in which nothing is built."""
    shutil.copytree(ROOT / "kacflow_core", tmp_path / "tree" / "kacflow_core", ignore=SOURCES)
    shutil.copytree(ROOT / "python", tmp_path / "tree" / "python", ignore=SOURCES)
    project = '[project]\nname = "kacflow"\nversion = "8.8.8"\n'
    (tmp_path / "tree" / "pyproject.toml").write_text(project)
    return tmp_path / "tree"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An installation of version 7.7.7, with a compiled core that is not looked into."""
    site = tmp_path / "site"
    shutil.copytree(ROOT / "kacflow_core", site / "kacflow_core", ignore=SOURCES)
    shutil.copytree(ROOT / "python" / "kacflow", site / "kacflow", ignore=SOURCES)
    (site / "kacflow_core" / f"_native{EXTENSION_SUFFIXES[0]}").touch()
    (site / "kacflow-7.7.7.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: kacflow\nVersion: 7.7.7\n"
    (site / "kacflow-7.7.7.dist-info" / "METADATA").write_text(metadata)
    return site


def python(program: str, folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_tree_says_its_own_version_and_what_it_hides(tree: Path, site: Path):
    done = python(SHOW, tree, site)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"8.8.8 {tree}/kacflow_core")
    assert f"not built in the source tree {tree}" in done.stdout
    said = [line for line in done.stderr.splitlines() if "RuntimeWarning" in line]
    assert len(said) == 1 and f"hides the installed {site}" in said[0], done.stderr


def test_a_built_tree_and_an_installation_are_silent(tree: Path, site: Path):
    done = python(SHOW, site.parent, site)
    assert done.stdout.startswith(f"7.7.7 {site}/kacflow_core") and not done.stderr
    (tree / "kacflow_core" / f"_native{EXTENSION_SUFFIXES[0]}").touch()
    done = python(SHOW, tree, site)
    assert done.stdout.startswith("8.8.8") and not done.stderr


@pytest.mark.parametrize("mixed", ["core of the tree", "core of the site"])
def test_two_installations_are_not_mixed(mixed: str, tree: Path, site: Path):
    if mixed == "core of the tree":
        done, core, torch_layer = python("import kacflow", tree, site), tree, site
    else:
        torch_layer, core = tree / "python", site
        done = python("import kacflow", tree.parent, torch_layer, site)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith(
        f"ImportError: kacflow is in {torch_layer}, kacflow_core in {core}: two installations"
    )


def test_a_tree_alone_is_allowed(tree: Path):
    pytest.importorskip("torch")
    program = "import kacflow; print(kacflow.__version__)"
    done = python(program, tree.parent, tree, tree / "python")
    assert done.stdout.strip() == "8.8.8", done.stderr


def test_the_version_is_that_of_the_sources():
    stated = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert stated and kacflow_core.__version__ == stated[1]

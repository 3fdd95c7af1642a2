"""What the project says of itself in several places is the same in all of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def load(path: Path) -> dict[str, Any]:
    return pytest.importorskip("yaml").safe_load(path.read_text())


def test_the_version_is_stated_alike(project: dict[str, Any]):
    assert load(ROOT / "CITATION.cff")["version"] == project["project"]["version"]
    assert re.search(r"^## Unreleased$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_pythons_are_stated_alike(project: dict[str, Any]):
    lowest = int(project["project"]["requires-python"].removeprefix(">=3."))
    prefix = "Programming Language :: Python :: 3."
    named = [line.removeprefix(prefix) for line in project["project"]["classifiers"]]
    minors = [int(minor) for minor in named if minor.isdecimal()]
    assert minors == list(range(lowest, minors[-1] + 1))
    built = project["tool"]["cibuildwheel"]["build"].split()
    assert built == [*(f"cp3{m}-*" for m in minors), f"cp3{minors[-1]}t-*"]
    assert (
        f"MINORS = range({lowest}, {minors[-1] + 1})"
        in (ROOT / "scripts" / "make_wheels.py").read_text()
    )
    systems = load(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["systems"]
    assert systems["strategy"]["matrix"]["python"] == [f"3.{lowest}", f"3.{minors[-1]}"]
    assert f"PYTHON_LOWEST ?= python3.{lowest}" in (ROOT / "Makefile").read_text()
    assert (
        f"| Python | 3.{lowest} | 3.{minors[-1]} |" in (ROOT / "docs" / "versions.md").read_text()
    )


def test_the_lowest_versions_are_stated_alike(project: dict[str, Any]):
    text = (ROOT / "docs" / "versions.md").read_text()
    for requirement in project["project"]["dependencies"]:
        name, lowest = requirement.split(">=")
        assert re.search(
            rf"^\| {name} \| {re.escape(lowest)} \|", text, re.MULTILINE | re.IGNORECASE
        )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_what_is_there(path: Path):
    """Their make targets exist, actions are pinned by commit, and no token may write by default."""
    text = path.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) - {"docs"} <= targets
    for action in re.findall(r"uses: (\S+)", text):
        assert action.startswith("./") or re.search(r"@[0-9a-f]{40}$", action), action
    assert load(path)["permissions"] == {"contents": "read"}

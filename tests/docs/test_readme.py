"""What README says is true of the code: examples run, figures, variables and targets exist."""

from __future__ import annotations

import pathlib
import re

import pytest
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BACKENDS = (ROOT / "docs" / "backends.md").read_text()  # README may repeat its tables


def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Stands for the reader's network."""
    return -x * t.reshape(-1, *(1,) * (x.ndim - 1))


EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number: int, capsys: pytest.CaptureFixture[str]):
    exec(compile(EXAMPLES[number], f"README example {number}", "exec"), {"model": model})


def sources() -> str:
    files = [
        ROOT / "setup.py",
        *(ROOT / "csrc").rglob("*.*"),
        *(ROOT / "kacflow_core").rglob("*.py"),
    ]
    files += (ROOT / "python").rglob("*.py")
    suffixes = {".py", ".h", ".cpp", ".cu", ".cuh"}
    return "\n".join(f.read_text() for f in files if f.suffix in suffixes)


def test_every_environment_variable_is_listed():
    read = re.compile(r"(?:environ(?:\.get\(|\[)|getenv\(|mode_of\()\s*\"(KACFLOW_\w+)\"")
    row = re.compile(r"^\| `KACFLOW_\w+` \| .*$", re.MULTILINE)
    listed = row.findall(BACKENDS)
    assert set(read.findall(sources())) == {line.split("`")[1] for line in listed}
    assert row.findall(README) in ([], listed)


def test_accuracy_table_is_that_of_the_headers():
    row = re.compile(r"^\| `(\w+)`: .* \| (\S+) \| (\S+) \|$", re.MULTILINE)
    listed = {name: (single, double) for name, single, double in row.findall(BACKENDS)}
    figure = re.compile(r"^//   (\w+) +float32 (\S+) +float64 (\S+)$", re.MULTILINE)
    stated = {
        name: (single, double)
        for header in (ROOT / "csrc" / "kac").glob("*.h")
        for name, single, double in figure.findall(header.read_text())
    }
    assert stated and listed == stated
    assert row.findall(README) in ([], row.findall(BACKENDS))


def test_targets_files_and_links_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", README + (ROOT / "CONTRIBUTING.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    links = re.findall(r"\]\(([^)#]+)\)", README)
    paths = re.findall(r"`((?:scripts|tests|benchmarks|docs)/[\w/.]+)`", README)
    for path in [*(link for link in links if not link.startswith("http")), *paths]:
        assert (ROOT / path).exists(), path

"""Every tutorial runs from top to bottom, in a process and a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS, TUTORIALS, cells, fences


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="kacflow[train] brings it")
    script = tmp_path / f"{path.stem}.py"
    assert cells(path)
    script.write_text("\n\n".join(cells(path)))
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script.name]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_are_listed() -> None:
    (contents,) = (text for kind, text in fences(DOCS / "tutorials" / "index.md"))
    assert sorted(contents.split()) == [path.stem for path in TUTORIALS]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_is_a_notebook_that_checks_itself(path: Path) -> None:
    """Its head makes the site run it, and its last cell, which is not shown, asserts something."""
    assert path.read_text().startswith("---\nfile_format: mystnb\n")
    kind, last = fences(path)[-1]
    assert kind == "{code-cell} python" and last.startswith(":tags: [remove-cell]\n")
    assert "assert " in last

"""Optional packages: absent ones are named, with the command that installs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kacflow._optional import require


@pytest.mark.parametrize(
    ("module", "name"), [("PIL.Image", "pillow"), ("sklearn.svm", "scikit-learn"), ("tqdm", "tqdm")]
)
def test_absent_package(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    top = module.partition(".")[0]
    for loaded in [key for key in sys.modules if key.partition(".")[0] == top]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, top, None)
    with pytest.raises(ModuleNotFoundError, match=rf"'{name}'.*pip install 'kacflow\[train\]'"):
        require(module)


def test_import_needs_none_of_them(child_environment: dict[str, str]) -> None:
    code = """
import sys
for name in ("accelerate", "diffusers", "matplotlib", "PIL", "safetensors", "sklearn", "tqdm"):
    sys.modules[name] = None
import kacflow, kacflow.cli, kacflow.metrics, kacflow.plotting
kacflow.train, kacflow.TrainConfig
kacflow.cli.main(["info"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

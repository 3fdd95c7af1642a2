"""Small runs and image collections for the tests of training."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for package in ("accelerate", "diffusers", "matplotlib", "PIL", "safetensors", "sklearn", "tqdm"):
    pytest.importorskip(package)

from kacflow.training import TrainConfig  # noqa: E402

ROOT = str(Path(__file__).parents[2])  # whose kacflow_core is not the installed one


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """These networks are too small to gain from more threads, whose number changes last bits."""
    torch.set_num_threads(1)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., TrainConfig]:
    """Builds configurations of runs that take well under a second."""

    def build(**changes: object) -> TrainConfig:
        values: dict[str, object] = {
            "data": "grid9", "out": str(tmp_path / "run"), "width": 16, "blocks": 2, "batch": 16,
            "steps": 12, "warmup": 3, "log_every": 5, "checkpoint_every": 100, "device": "cpu",
            "seed": 7,
        }  # fmt: skip
        return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]

    return build


def picture(value: int, width: int = 12, height: int = 8) -> np.ndarray:
    """An RGB image whose central square is plain ``value`` and whose margins are not."""
    pixels = np.full((height, width, 3), 255 - value, np.uint8)
    left = (width - height) // 2
    pixels[:, left : left + height] = value
    return pixels


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Six images in two class folders, and files that are to be passed over."""
    from PIL import Image

    folder = tmp_path / "images"
    for i in range(6):
        place = folder / ("even" if i % 2 == 0 else "odd")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(40 * i)).save(place / f"{i}.png")
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_bytes(b"not an image either")
    return folder


@pytest.fixture
def image_zip(image_folder: Path, tmp_path: Path) -> Path:
    """The same files as a .zip."""
    target = tmp_path / "images.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for file in image_folder.rglob("*"):
            archive.write(file, file.relative_to(image_folder))
    return target


@pytest.fixture
def child_environment() -> dict[str, str]:
    """Environment for a subprocess: this process's import path, one thread."""
    import sys

    path = os.pathsep.join(entry for entry in sys.path if entry not in ("", ROOT))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

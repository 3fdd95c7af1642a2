"""The command line, end to end, and the pictures it draws."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from kacflow.cli import main
from kacflow.plotting import image_grid, plot_samples
from kacflow.training import TrainConfig, load_model
from kacflow.training.sampling import draw_samples

SMALL = ["--data", "grid9", "--steps", "20", "--width", "16", "--blocks", "1", "--batch", "16",
         "--log-every", "5", "--device", "cpu", "--quiet"]  # fmt: skip


@pytest.mark.parametrize(
    "command", ["", "train", "distill", "presets", "sample", "evaluate", "plot", "info"]
)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "usage: kacflow" in text
    if command == "train":
        for item in dataclasses.fields(TrainConfig):
            assert f"--{item.name.replace('_', '-')}" in text


def test_every_field_is_an_option(tmp_path: Path) -> None:
    values = {"c": 2.5, "flip": True, "t_min": 0.01, "lr_schedule": "constant", "seed": 5}
    out = tmp_path / "run"
    extra = ["--c", "2.5", "--flip", "--t-min", "0.01", "--lr-schedule", "constant", "--seed", "5"]
    assert main(["train", *SMALL, *extra, "--out", str(out)]) == 0
    written = json.loads((out / "config.json").read_text())
    assert values.items() <= written.items()
    again = tmp_path / "again"
    options = ["--config", str(out / "config.json"), "--seed", "6", "--out", str(again), "--quiet"]
    assert main(["train", *options]) == 0
    assert json.loads((again / "config.json").read_text()) == {
        **written, "seed": 6, "out": str(again)
    }  # fmt: skip


def test_train_sample_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", *SMALL, "--out", str(run)]) == 0
    assert main(["train", "--out", str(run), "--resume", "--steps", "25", "--quiet"]) == 0
    assert "trained 25 steps" in capsys.readouterr().out

    numbers, drawn = run / "new" / "x.npz", run / "x.png"
    options = ["--n", "10", "--steps", "3", "--method", "heun", "--seed", "4"]
    assert main(["sample", str(run), *options, "--out", str(numbers), "--out", str(drawn)]) == 0
    samples = np.load(numbers)["samples"]
    assert samples.shape == (10, 2)
    assert samples.dtype == np.float32
    expected = draw_samples(load_model(run), 10, steps=3, method="heun", seed=4)
    np.testing.assert_array_equal(samples, expected.numpy())
    assert main(["sample", str(run / "checkpoint.safetensors"), "--n", "4", "--steps", "2"]) == 0
    assert main(["plot", str(run), "--n", "8", "--steps", "8"]) == 0
    for name in ("x", "samples", "loss", "strip"):
        assert (run / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name


def test_images_end_to_end(tmp_path: Path, image_zip: Path) -> None:
    run = tmp_path / "run"
    options = [*SMALL, "--data", str(image_zip), "--steps", "2", "--network", "unet", "--width",
               "8", "--batch", "2", "--image-size", "8", "--out", str(run)]  # fmt: skip
    assert main(["train", *options]) == 0
    assert main(["plot", str(run), "--n", "4", "--steps", "2"]) == 0
    assert (run / "strip.png").exists()


def test_failures_are_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    bad = {
        "data: got 'nowhere'": ["train", "--data", "nowhere", "--out", run],
        "steps: got 0": ["train", "--steps", "0", "--out", run],
        "found none": ["sample", run],
        "ending in .png or .npz": ["sample", run, "--out", "x.txt"],
    }
    for message, arguments in bad.items():
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    with pytest.raises(SystemExit) as stop:
        main(["train", "--path", "brownian"])
    assert stop.value.code == 2


def test_info(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACFLOW_DEBUG", "1")
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert re.search("^KACFLOW_DEBUG +1$", text, re.MULTILINE)
    assert re.search("^gil +(on|off)$", text, re.MULTILINE)
    for word in ("kacflow", "core backends", "core threads", "core simd", "torch version"):
        assert word in text
    assert main(["info", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert "reference" in info["core"]["backends"]


def test_seed_decides_the_samples(tmp_path: Path) -> None:
    assert main(["train", *SMALL, "--out", str(tmp_path)]) == 0
    model = load_model(tmp_path)
    first, second = (draw_samples(model, 6, steps=2, seed=s) for s in (0, 1))
    assert first.shape == (6, 2)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, draw_samples(model, 6, steps=2, seed=0))
    with pytest.raises(ValueError, match="n: got 0"):
        draw_samples(model, 0)


def test_image_grid_places_images() -> None:
    images = np.stack([np.full((1, 2, 3), v) for v in (-1.0, 0.0, 5.0)])
    grid = image_grid(images, columns=2)
    assert grid.shape == (5, 7, 3)
    assert (grid[:2, :3] == 0).all()
    assert (grid[:2, 4:] == 0.5).all()
    assert (grid[3:] == 1).all()  # the third, cut off at 1, and the empty place
    with pytest.raises(ValueError, match="images: got shape"):
        image_grid(np.zeros((2, 2, 4, 4)))


@pytest.mark.parametrize("shape", [(5, 3, 4, 4), (5, 1), (5, 3)])
def test_plot_samples_of_any_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    file = plot_samples(np.zeros(shape), tmp_path / "new" / "p.png", real=np.ones(shape))
    assert file.stat().st_size > 0


def test_pictures_of_the_process(tmp_path, capsys):
    assert main(["plot", "process", "--out", str(tmp_path)]) == 0
    names = {"paths", "density", "velocity", "norm", "wave"}
    for name in names:
        file = tmp_path / f"{name}.png"
        assert file.stat().st_size > 5000
    assert {file.stem for file in tmp_path.iterdir()} == names
    assert main(["plot", "process", "--only", "loss"]) == 1
    assert "allowed for the process: paths, density" in capsys.readouterr().err

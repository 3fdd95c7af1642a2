"""Classes: their embedding, dropout, generation by class; predictions of the data; times."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kacflow import train
from kacflow.cli import main
from kacflow.training import TrainConfig, load_model
from kacflow.training._plane import Grid9
from kacflow.training.checkpoint import FILE_NAME
from kacflow.training.data import digits_split, load_dataset
from kacflow.training.networks import DiT, Perceptron, ResidualMLP, UNet
from kacflow.training.sampling import draw_samples

SMALL = {
    "width": 32, "blocks": 1, "batch": 32, "log_every": 2, "checkpoint_every": 4, "device": "cpu"
}  # fmt: skip


def config(tmp_path: Path, **changes) -> TrainConfig:
    return TrainConfig(**{"out": str(tmp_path / "run"), "labels": True, **SMALL, **changes})


@pytest.mark.parametrize("kind", [ResidualMLP, Perceptron, UNet, partial(DiT, head_width=16)])
def test_networks_tell_classes_apart(kind):
    torch.manual_seed(0)
    network = kind((1, 8, 8), width=32, blocks=1, classes=10)
    with torch.no_grad():
        for parameter in network.parameters():  # some begin at 0
            parameter.add_(0.02 * torch.randn_like(parameter))
    x, t = torch.randn(3, 1, 8, 8), torch.rand(3)
    none = network(x, t)
    torch.testing.assert_close(network(x, t, torch.full((3,), -1)), none)
    one = network(x, t, torch.tensor([4, -1, 9]))
    moved = (one - none).flatten(1).abs().amax(1) > 1e-6
    assert moved.tolist() == [True, False, True]


@pytest.mark.parametrize("prediction", ["velocity", "data"])
def test_a_run_resumes_with_the_same_bits(tmp_path: Path, prediction: str):
    whole = config(tmp_path / "whole", steps=8, prediction=prediction, lr_schedule="constant")
    train(whole, progress=False)
    parts = dataclasses.replace(whole, out=str(tmp_path / "parts"), steps=5)
    train(parts, progress=False)
    train(dataclasses.replace(parts, steps=8), resume=True, progress=False)
    one, two = (load_model(run.out) for run in (whole, parts))
    assert one.classes == two.classes == 10
    for value, other in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.equal(value, other)


def test_a_class_is_learned(tmp_path: Path):
    """Of the nine points the one that is asked for, with guidance, on a named grid."""
    run = config(tmp_path, data="grid9", steps=400, width=64, blocks=2, batch=128, lr=3e-3)
    train(run, progress=False)
    model = load_model(run.out)
    labels = torch.arange(9).repeat_interleave(20)
    samples = draw_samples(
        model, 180, labels=labels, guidance=0.5, steps=30, method="ab2", t_grid="quadratic"
    )
    away = (samples - Grid9().centres[labels]).norm(dim=1)
    assert (away < 0.5).float().mean() > 0.9
    with pytest.raises(ValueError, match=r"labels: got 9; allowed: -1 \(none\) to 8"):
        draw_samples(model, 1, labels=torch.tensor([9]))


def test_labels_follow_their_samples():
    data, (train_images, labels, *_) = load_dataset(TrainConfig(data="digits")), digits_split()
    indices = torch.tensor([5, 0, 700])
    assert data.classes == 10
    assert torch.equal(data.labels(indices), labels[indices])
    batch = data.samples(data.raw(indices), torch.rand(2, 3))
    assert torch.equal(batch, train_images[indices])


def test_folders_are_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    image = pytest.importorskip("PIL.Image")
    for name in ("b/1.png", "a/2.png", "a/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name)
    data = load_dataset(TrainConfig(data=str(tmp_path), image_size=8, channels=1, held_out=0))
    assert data.class_names == ["a", "b"] and data.classes == 2
    assert data.labels(torch.arange(3)).tolist() == [0, 0, 1]
    image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "alone.png")
    assert load_dataset(TrainConfig(data=str(tmp_path), image_size=8)).classes == 0
    command = ["train", "--data", str(tmp_path), "--image-size", "8", "--labels"]
    assert main([*command, "--channels", "1", "--out", str(tmp_path / "run"), "--quiet"]) == 1
    assert "labels: got True, but data" in capsys.readouterr().err


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = config(tmp_path, steps=2)
    train(run, progress=False)
    file = tmp_path / "new.npz"
    command = ["sample", run.out, "--n", "3", "--steps", "2", "--out", str(file)]
    assert main([*command, "--label", "7", "--guidance", "2", "--grid", "karras"]) == 0
    assert np.load(file)["samples"].shape == (3, 1, 8, 8)
    for more, message in (
        (["--label", "10"], "labels: got 10"),
        (["--guidance", "1"], "guidance: got 1.0 without labels"),
    ):
        capsys.readouterr()
        assert main([*command, *more]) == 1
        assert message in capsys.readouterr().err
    each = tmp_path / "each.npz"
    options = ["--seed", "3", "--steps", "4", "--n", "20", "--out", str(each)]
    assert main(["sample", run.out, "--label", "each", *options]) == 0
    model, classes = load_model(run.out), torch.arange(10).repeat_interleave(2)
    expected = draw_samples(model, 20, steps=4, seed=3, labels=classes)
    np.testing.assert_array_equal(np.load(each)["samples"], expected.numpy())
    with pytest.raises(SystemExit):
        main(["sample", run.out, "--label", "every"])
    plain = dataclasses.replace(run, labels=False, out=str(tmp_path / "plain"))
    train(plain, progress=False)
    assert main(["sample", plain.out, "--n", "1", "--label", "1", "--out", str(file)]) == 1
    assert "labels: got some; allowed: None" in capsys.readouterr().err
    assert (Path(plain.out) / FILE_NAME).exists()


@pytest.mark.parametrize("density", ["uniform", "logit_normal", "power"])
def test_times_have_their_density(density: str):
    made = TrainConfig(t_density=density, T=2.0, t_min=0.5)
    share = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    unit = (made.time_of(share) - 0.5) / 1.5
    expected = {"uniform": 0.5, "logit_normal": 0.5, "power": 1.0 / 3.0}[density]
    assert unit.mean().item() == pytest.approx(expected, abs=1e-3)
    quarter = {"uniform": 0.25, "logit_normal": 1 / (1 + math.exp(0.67449)), "power": 1 / 16}
    assert unit[1000].item() == pytest.approx(quarter[density], abs=1e-3)
    ends = made.time_of(torch.tensor([0.0, 1.0]))
    assert ends.tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_dropout": 1.5}, "label_dropout: got 1.5"),
        ({"prediction": "noise"}, "prediction: got 'noise'; allowed: velocity, data"),
        ({"t_density": "cosine"}, "t_density: got 'cosine'"),
    ],
)
def test_bad_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)

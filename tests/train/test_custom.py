"""Modules of the user's own: trained, resumed and generated from, from Python alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kacflow.cli import main
from kacflow.training import TrainConfig, load_model, train
from kacflow.training.checkpoint import load_checkpoint
from kacflow.training.sampling import draw_samples

Small = Callable[..., TrainConfig]


class Own(nn.Module):
    """Batch normalisation, dropout, shared, frozen and idle weights, and classes."""

    def __init__(self, classes: int = 0, width: int = 8) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, width), nn.Linear(width, 2)
        self.middle = nn.Linear(width, width)
        self.again = self.middle
        self.norm, self.dropout = nn.BatchNorm1d(width), nn.Dropout(0.2)
        self.frozen = nn.Linear(width, width).requires_grad_(False)
        self.idle = nn.Linear(width, width)
        self.classes = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, x: Tensor, t: Tensor, *labels: Tensor) -> Tensor:
        h = self.first(torch.cat((x, t[:, None]), dim=1))
        if self.classes is not None:
            h = h + self.classes(labels[0] + 1)
        h = self.dropout(self.norm(self.again(self.middle(h.relu()))))
        return self.last(self.frozen(h).relu())


@pytest.fixture
def own() -> Own:
    torch.manual_seed(0)
    return Own()


def test_trained_resumed_and_generated_from(small: Small, tmp_path: Path, own: Own) -> None:
    before = {name: value.clone() for name, value in own.state_dict().items()}
    whole = small(network="custom", out=str(tmp_path / "whole"), steps=6, lr_schedule="constant")
    parts = dataclasses.replace(whole, out=str(tmp_path / "parts"), steps=4)
    train(whole, network=own, progress=False)
    train(parts, network=own, progress=False)
    train(dataclasses.replace(parts, steps=6), network=own, resume=True, progress=False)
    found = [load_checkpoint(run.out, own).tensors for run in (whole, parts)]
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name
    for name, value in own.state_dict().items():  # it is copied
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in own.parameters()) and own.training

    torch.manual_seed(1)
    model = load_model(whole.out, network=Own())
    assert torch.equal(model.network.state_dict()["last.weight"], found[0]["ema.last.weight"])
    assert not torch.equal(found[0]["model.last.weight"], before["last.weight"])
    assert torch.equal(found[0]["model.frozen.weight"], before["frozen.weight"])
    samples = draw_samples(model, 5, steps=3)
    assert samples.shape == (5, 2) and samples.isfinite().all()
    assert torch.equal(samples, draw_samples(load_model(parts.out, network=own), 5, steps=3))


def test_with_labels(small: Small) -> None:
    config, network = small(network="custom", labels=True, steps=3), Own(classes=9)
    train(config, network=network, progress=False)
    model = load_model(config.out, network=network)
    samples = draw_samples(model, 4, steps=2, labels=torch.tensor([0, 8, -1, 3]), guidance=1.0)
    assert samples.shape == (4, 2)


def test_a_module_is_given_just_where_it_is_named(small: Small, own: Own) -> None:
    with pytest.raises(ValueError, match="network: got 'custom', a module of the user's; allowed"):
        train(small(network="custom"), progress=False)
    with pytest.raises(ValueError, match=r"network: got a module with config.network = 'auto'"):
        train(small(), network=own, progress=False)
    with pytest.raises(TypeError, match="network: got function; allowed"):
        train(small(network="custom"), network=lambda x, t: x, progress=False)  # type: ignore
    assert not Path(small().out).exists()
    train(small(steps=1), progress=False)
    with pytest.raises(ValueError, match=r"config\.network = 'auto'; allowed: 'custom'"):
        load_model(small().out, network=own)


def test_another_module_is_refused(small: Small, own: Own) -> None:
    config = small(network="custom", steps=2)
    train(config, network=own, progress=False)
    for other, message in (
        (Own(width=4), ": got Tensor of shape"),
        (nn.Linear(2, 2), "is not one of this network"),
    ):
        with pytest.raises(ValueError, match=message):
            load_model(config.out, network=other)
        with pytest.raises(ValueError, match=message):
            train(dataclasses.replace(config, steps=3), network=other, resume=True, progress=False)
    wrong = small(network="custom", out=config.out + "-flat")
    with pytest.raises(ValueError, match="network: returned Tensor of shape"):
        train(wrong, network=Flat(), progress=False)


class Flat(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x)


def test_the_command_line_names_the_python_interface(
    small: Small, own: Own, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(network="custom", steps=2)
    train(config, network=own, progress=False)
    for command in (["sample", config.out], ["plot", config.out, "--only", "samples"],
                    ["train", "--out", config.out, "--resume", "--steps", "3"],
                    ["train", "--network", "custom", "--out", config.out + "-new"]):  # fmt: skip
        capsys.readouterr()
        assert main(command) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "load_model(place, network=module)" in said

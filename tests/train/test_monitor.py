"""What is seen of a run: held-out loss, pictures, trackers, the share of the noise, weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kacflow import cli
from kacflow.training import TrainConfig, TrainedModel, load_model, monitor, train
from kacflow.training.data import load_dataset, load_held_out
from kacflow.training.objective import Objective

Small = Callable[..., TrainConfig]


def lines(config: TrainConfig) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(config.out) / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("prediction", ["velocity", "data"])
def test_held_out_loss_is_that_of_the_averaged_weights(prediction: str, small: Small) -> None:
    config = small(
        data="digits", labels=True, prediction=prediction, validate_every=4, steps=10, log_every=3
    )
    train(config, progress=False)
    found = {line["step"]: line.get("validation_loss") for line in lines(config)}
    assert [step for step, loss in found.items() if loss is not None] == [4, 8, 10]
    assert set(found) == {3, 4, 6, 8, 9, 10}
    model, held_out = load_model(config.out), load_held_out(config)
    objective = Objective(config, load_dataset(config), 10)
    again = monitor.Validation(objective, held_out, torch.device("cpu"))
    assert again.loss(model.network) == pytest.approx(found[10], rel=1e-5)
    # The same samples, times and noise whatever the seed and the batch.
    other = Objective(small(data="digits", labels=True, prediction=prediction, seed=3, batch=100),
                      load_dataset(config), 10)  # fmt: skip
    same = monitor.Validation(other, held_out, torch.device("cpu"))
    assert same.loss(model.network) == pytest.approx(found[10], rel=1e-5)


def test_no_held_out_label_is_left_out(small: Small) -> None:
    config = small(data="digits", labels=True, label_dropout=1.0, batch=100)
    held_out, asked = load_held_out(config), []

    def network(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        asked.append(labels)
        return torch.zeros_like(x)

    objective = Objective(config, load_dataset(config), 10)
    monitor.Validation(objective, held_out, torch.device("cpu")).loss(network)  # type: ignore[arg-type]
    assert [len(labels) for labels in asked] == [100] * 5
    everything = held_out.labels(torch.arange(500))
    assert torch.equal(torch.cat(asked).sort().values, everything.sort().values)


def test_no_validation_where_none_is_wanted(small: Small) -> None:
    config = small(data="digits", validate_every=0)
    train(config, progress=False)
    assert not any("validation_loss" in line for line in lines(config))


def test_pictures_start_from_the_same_noise(small: Small, tmp_path: Path) -> None:
    """A run without learning draws the same picture each time."""
    from PIL import Image

    config = small(data="digits", labels=True, sample_every=5, lr=1e-30, ema=0.0)
    train(config, progress=False)
    files = sorted((Path(config.out) / "samples").iterdir())
    assert [file.name for file in files] == [f"step-{n:07d}.png" for n in (5, 10, 12)]
    first, *others = (np.asarray(Image.open(file)) for file in files)
    assert all(np.array_equal(first, other) for other in others) and first.std() > 10


def test_evaluations_are_those_of_the_command(small: Small, tmp_path: Path) -> None:
    """The last line of the log has what ``kacflow evaluate`` finds, and training is the same."""
    from kacflow.evaluation import evaluate

    config = small(
        data="digits", labels=True, dropout=0.3, steps=5, log_every=2, evaluate_every=2,
        evaluate_samples=40,
    )  # fmt: skip
    train(config, progress=False)
    found = {line["step"]: line for line in lines(config)}
    assert [step for step, line in found.items() if "frechet_distance" in line] == [2, 4, 5]
    report = evaluate(config.out, "digits", n=40, steps=50, method="ab2", seed=config.seed)
    for name in ("frechet_distance", "kid", "precision", "recall"):
        assert found[5][name] == pytest.approx(report[name], rel=1e-4, abs=1e-6)
    assert found[5]["finite"] == 1.0

    other = small(
        out=str(tmp_path / "other"), data="digits", labels=True, dropout=0.3, steps=5, log_every=2
    )
    train(other, progress=False)
    one, two = (load_model(run.out).network.state_dict() for run in (config, other))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_evaluation_of_what_is_not_finite(small: Small) -> None:
    """Its share is said; there is no distance."""
    config = small(data="digits", path="flow_matching", evaluate_samples=10)
    held_out = load_held_out(config)

    class Nowhere(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = torch.nn.Parameter(torch.tensor(torch.inf))

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return torch.where(x[:, :, :1, :1] > 0, self.value, torch.zeros_like(x))

    model = TrainedModel(Nowhere(), config, held_out.sample_shape, 0, 0)
    found = monitor.Evaluation(model, held_out, torch.device("cpu")).distances()
    assert set(found) == {"finite"} and 0.0 < found["finite"] < 1.0


def test_trackers(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event file with the lines of the log; one line where the package is missing."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small(tracker="tensorboard")
    train(config, progress=False)
    [events] = (Path(config.out) / "kacflow").glob("events.out.tfevents*")
    seen = EventAccumulator(str(events)).Reload()
    logged = [line["loss"] for line in lines(config)]
    assert [event.value for event in seen.Scalars("loss")] == pytest.approx(logged)

    from accelerate import tracking

    monkeypatch.setattr(tracking, "is_wandb_available", lambda: False)
    wanted = small(tracker="wandb", out=str(Path(config.out).parent / "other"))
    with pytest.raises(ValueError, match=r"tracker: got 'wandb', which is not installed; allowed"):
        train(wanted, progress=False)
    assert not Path(wanted.out, "log.jsonl").exists()


def test_size_and_share_of_the_noise_are_said_once(
    small: Small, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["train", "--data", "grid9", "--width", "16", "--steps", "40", "--log-every", "5"]
    assert cli.main([*options, "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    said = re.findall(
        r"([\d,]+) parameters; the noise takes ([\d.]+)% of a step", capfd.readouterr().err
    )
    network = load_model(tmp_path / "run").network
    assert len(said) == 1
    assert int(said[0][0].replace(",", "")) == sum(p.numel() for p in network.parameters())
    assert 0.0 < float(said[0][1]) < 100.0


def test_loss_weights(small: Small, tmp_path: Path) -> None:
    """A factor of each sample's squared error, as a function of its time."""

    def run(name: str, **options: object) -> float:
        config = small(out=str(tmp_path / name), steps=1, log_every=1, validate_every=0)
        return train(config, progress=False, **options).loss  # type: ignore[arg-type]

    plain = run("plain")
    assert run("ones", weight=torch.ones_like) == pytest.approx(plain, rel=1e-6)
    assert run("twice", weight=lambda t: 2.0 * torch.ones_like(t)) == pytest.approx(2 * plain)
    early = run("early", weight=lambda t: (t < 0.5).float())
    late = run("late", weight=lambda t: (t >= 0.5).float())
    assert early + late == pytest.approx(plain, rel=1e-5)
    with pytest.raises(ValueError, match=r"weight: returned .*; allowed: a tensor of shape \(16"):
        run("wrong", weight=lambda t: 1.0)


def test_networks_of_another_shape_are_refused(small: Small) -> None:
    objective = Objective(small(), load_dataset(small()), 0)
    drawn = [torch.zeros(4, 2), torch.zeros(4), torch.zeros(4, 2)]
    with pytest.raises(ValueError, match=r"network: returned Tensor .*; allowed: shape \(4, 2\)"):
        objective.loss(lambda x, t: x[:, :1], drawn)  # type: ignore[arg-type]


def test_a_network_that_cannot_fit_is_refused_before_it_is_built(
    small: Small, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^width: the network has [\d,]+ parameters, whose trai"):
        train(small(width=2**20), progress=False)
    command = ["train", "--data", "grid9", "--width", str(2**20), "--out", str(tmp_path / "large")]
    assert cli.main([*command, "--device", "cpu"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "large" / "log.jsonl").exists()


def test_what_does_not_fit_is_said_in_one_line(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nmore")

    monkeypatch.setattr(Objective, "loss", full)
    with pytest.raises(MemoryError, match=r"^a step of batch 16 with .* does not fit on cpu; try"):
        train(small(), progress=False)

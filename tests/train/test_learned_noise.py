"""Runs on the uniform and the learned noise: losses, gradients, checkpoints, samples, students."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kacflow import Path as NoisePath
from kacflow import QuantileProcess, UniformProcess
from kacflow.cli import main
from kacflow.training import TrainConfig, build_path, distill, load_dataset, load_model, train
from kacflow.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kacflow.training.config import ADDED
from kacflow.training.learned_noise import LearnedNoise, optimal_pairs
from kacflow.training.sampling import draw_samples, motion_strip

linear_sum_assignment = pytest.importorskip("scipy.optimize").linear_sum_assignment
pytest.importorskip("ot")

LEARNED = {"path": "quantile", "noise_bins": 6, "noise_components": "each", "noise_entropy": 0.01}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (40, 2), (33, 3, 4, 4)])
def test_optimal_pairs_are_those_of_the_assignment(shape):
    data, noise = torch.randn(2, *shape, generator=seeded())
    order = optimal_pairs(data, noise)
    assert sorted(order.tolist()) == list(range(shape[0]))
    costs = torch.cdist(noise.flatten(1).double(), data.flatten(1).double()).square()
    rows, columns = linear_sum_assignment(costs.numpy())
    least = float(costs[rows, columns].sum())
    assert float((noise - data[order]).double().square().sum()) == pytest.approx(least, rel=1e-5)


def objective(**changes: object) -> LearnedNoise:
    config = TrainConfig(**{"data": "grid9", "noise_bins": 4, **LEARNED, **changes})
    return LearnedNoise(config, load_dataset(config), 0)


class Field(nn.Module):
    """A field with a derivative in x, which the noise is not to feel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x, t):
        return self.scale * x.sin() + t[:, None]


def drawn_of(of: LearnedNoise, rows: int = 9, step: int = 0):
    raw = of.data.raw(torch.arange(rows))
    uniforms = torch.rand(4, rows, generator=seeded(1))
    return of.draw(raw, None, of.random(uniforms, range(rows), rows), 0, seed=3, step=step)


@pytest.mark.parametrize("ot", [0.0, 0.8])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_by_their_formulas(ot, weighted):
    """Of the squared error only the product of the field and the target moves the noise."""
    of = objective(noise_ot=ot, noise_entropy=0.3, T=2.0, signal="cosine", clock="square")
    of.weight = (lambda t: 1.0 + t) if weighted else None
    network, noise = Field(), of.noise
    drawn = drawn_of(of)
    x_t, t, target = drawn
    loss = of.loss(network, drawn)
    loss.backward()
    of.add_gradient(drawn)
    factor = 1.0 + t[:, None] if weighted else torch.ones(len(t), 1)
    want = (factor * (network(x_t, t) - target).square()).mean()
    torch.testing.assert_close(loss.detach(), want.detach())
    got = {name: value.grad.clone() for name, value in noise.named_parameters()}

    # the same once more, written out
    noise.zero_grad()
    z, log_slope = noise.base_pair(x_t.shape, generator=of._noise(3, 0), dtype=torch.float32)
    uniforms = torch.rand(4, 9, generator=seeded(1))
    x_0 = of.data.samples(of.data.raw(torch.arange(9)), uniforms[1:3])
    if ot:
        costs = torch.cdist(2.0 * z.detach().double(), x_0.double()).square().numpy()
        x_0 = x_0[linear_sum_assignment(costs)[1]]
    column = t[:, None]
    f, df = torch.cos(column * torch.pi / 4), -torch.pi / 4 * torch.sin(column * torch.pi / 4)
    velocity = df * x_0 + column * z
    torch.testing.assert_close(x_t, (f * x_0 + column.square() / 2 * z).detach())
    torch.testing.assert_close(target.detach(), velocity.detach())
    cross = -2.0 * (factor * network(x_t, t).detach() * velocity).mean()
    total = cross + ot * (2.0 * z - x_0).square().mean() - 0.3 * log_slope.mean()
    total.backward()
    for name, value in noise.named_parameters():
        torch.testing.assert_close(got[name], value.grad, rtol=1e-4, atol=1e-6)
        assert float(value.grad.abs().max()) > 0
    terms = (2.0 * z - x_0).square().mean(), log_slope.mean()
    torch.testing.assert_close(tuple(of.terms.values()), tuple(v.detach() for v in terms))


def test_the_gradient_of_the_network_is_that_of_the_squared_error():
    of, network = objective(), Field()
    drawn = drawn_of(of)
    of.loss(network, drawn).backward()
    got, network.scale.grad = network.scale.grad, None
    nn.functional.mse_loss(network(drawn[0], drawn[1]), drawn[2].detach()).backward()
    torch.testing.assert_close(got, network.scale.grad)


def test_labels_go_with_their_samples():
    config = TrainConfig(data="grid9", labels=True, label_dropout=0.0, **LEARNED)
    of = LearnedNoise(config, load_dataset(config), 9)
    indices = torch.arange(30) % of.data.size
    raw, labels = of.data.raw(indices), of.data.labels(indices)
    random = of.random(torch.rand(4, 30, generator=seeded()), range(30), 30)
    x_t, t, target, classes = of.draw(raw, labels, random, 0, seed=0, step=0)
    x_0 = (x_t - t[:, None] * target).detach()  # of x_t = x_0 + t (z - x_0)
    centre = torch.stack([of.data.samples(raw, random[1])[labels == c].mean(0) for c in classes])
    assert not torch.equal(classes, labels)
    assert float((x_0 - centre).abs().max()) < 0.5


def read_log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_ends_with_the_same_bits(small, tmp_path, accumulate):
    """Stopped before the noise is frozen, and after; the log too."""
    options = {**LEARNED, "noise_steps": 8, "accumulate": accumulate, "validate_every": 0}
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    options["lr_schedule"] = "constant"  # which does not depend on the number of steps
    train(small(out=whole, **options), progress=False)
    for steps in (4, 10, 12):
        train(small(out=cut, steps=steps, **options), resume=steps > 4, progress=False)
    one, other = (load_checkpoint(place).tensors for place in (whole, cut))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(name.startswith("noise.") for name in one)
    last = read_log(tmp_path / "whole")[-1], read_log(tmp_path / "cut")[-1]
    for name in ("loss", "ot", "entropy", "grad_norm"):
        assert last[0][name] == last[1][name]


def test_pieces_add_up_to_the_gradient_of_the_whole(small, tmp_path):
    found = []
    for pieces in (1, 4):
        out = str(tmp_path / str(pieces))
        train(small(out=out, steps=1, accumulate=pieces, **LEARNED), progress=False)
        found.append(load_checkpoint(out).tensors)
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-6, msg=name)


def test_the_noise_is_learned_and_then_frozen(small, tmp_path):
    config = small(noise_steps=5, noise_lr=0.05, checkpoint_every=1, **LEARNED)
    states = []
    for steps in (5, 6, 12):
        out = str(tmp_path / str(steps))
        train(small(**{**config.to_dict(), "steps": steps, "out": out, "lr_schedule": "constant"}),
              progress=False)  # fmt: skip
        states.append(load_model(out).path.noise.state_dict())
    begin = build_path(config, (2,)).noise.state_dict()
    for name, value in states[0].items():
        assert value.shape[0] == 2
        assert not torch.equal(value, begin[name])
        assert torch.equal(value, states[1][name]) and torch.equal(value, states[2][name])


def test_the_noise_moves_towards_the_data(small, tmp_path):
    """Where the network predicts the data, transport alone moves it: the log shows its distance."""
    config = small(steps=100, noise_lr=0.05, noise_steps=100, log_every=10, validate_every=0,
                   warmup=0, batch=64, prediction="data", **{**LEARNED, "noise_entropy": 0.0},
                   )  # fmt: skip
    train(config, progress=False)
    lines = read_log(tmp_path / "run")
    assert lines[-1]["ot"] < 0.7 * lines[0]["ot"]
    assert all(np.isfinite(line["entropy"]) for line in lines)


@pytest.mark.parametrize("path", ["uniform", "quantile"])
@pytest.mark.parametrize("prediction", ["velocity", "data"])
def test_from_training_to_a_student(small, tmp_path, path, prediction, capsys):
    options = {"path": path, "b": 2.0, "noise_bins": 5, "noise_lr": 0.1, "sample_every": 6}
    train(small(prediction=prediction, **options), progress=False)
    run = tmp_path / "run"
    model = load_model(run)
    kind = UniformProcess if path == "uniform" else QuantileProcess
    assert isinstance(model.path, NoisePath) and isinstance(model.path.noise, kind)
    samples = draw_samples(model, 5, steps=4)
    parts = torch.cat([draw_samples(model, n, steps=4, first=k) for k, n in ((0, 2), (2, 3))])
    assert samples.isfinite().all()
    torch.testing.assert_close(samples, parts)
    motion_strip(model, samples, frames=3, steps=4)
    for command in (["sample", str(run), "--n", "4", "--out", str(tmp_path / "new.npz")],
                    ["plot", str(run), "--n", "4"]):  # fmt: skip
        assert main(command) == 0
    capsys.readouterr()
    [student] = distill(run, tmp_path / "students", (2,), train_steps=3, progress=False)
    learned, kept = model.path.noise, load_model(student.out).path.noise
    if path == "quantile":
        begin = build_path(model.config).noise
        for name, value in kept.state_dict().items():
            assert torch.equal(value, learned.state_dict()[name])
            assert not torch.equal(value, begin.state_dict()[name])
    distill(run, tmp_path / "students", (2,), train_steps=3, progress=False)  # nothing left to do


def test_a_run_may_begin_with_the_noise_of_another(small, tmp_path):
    train(small(noise_lr=0.1, **LEARNED), progress=False)
    before = load_model(tmp_path / "run").path.noise.state_dict()
    again = small(out=str(tmp_path / "again"), init=str(tmp_path / "run"), noise_steps=0,
                  steps=1, **LEARNED)  # fmt: skip
    train(again, progress=False)
    after = load_model(tmp_path / "again").path.noise.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    other = small(out=str(tmp_path / "other"), init=str(tmp_path / "run"),
                  **{**LEARNED, "noise_bins": 7})  # fmt: skip
    with pytest.raises(ValueError, match=r"init: .* holds another noise"):
        train(other, progress=False)


def test_paths_of_a_configuration():
    path = build_path(TrainConfig(path="uniform", b=2.0, T=3.0, clock="square"))
    assert path.T == 3.0 and path.noise.b == 2.0
    prior = path.sample_prior((10_000,), generator=seeded())
    assert float(prior.abs().max()) == pytest.approx(2.0 * -np.expm1(-1.5), rel=1e-3)
    gaussian = build_path(TrainConfig(path="quantile", T=2.0))
    same = build_path(TrainConfig(path="flow_matching", T=2.0))
    draws = [p.sample_prior((1000,), generator=seeded()).detach() for p in (gaussian, same)]
    torch.testing.assert_close(*draws, rtol=1e-4, atol=1e-5)
    options = {"noise_start": "kac", "noise_components": "each"}
    kac = build_path(TrainConfig(path="quantile", T=2.0, **options), (3, 4))
    assert kac.noise.shape == (3, 4)
    spread = kac.sample_prior((2000, 3, 4), generator=seeded()).var().item()
    assert spread == pytest.approx(1.0 * (2.0 - 1.0 / 18.0), rel=0.05)


def test_older_checkpoints_lack_the_fields():
    new = {name for name in vars(TrainConfig()) if name.startswith("noise_")} | {"b"}
    assert new <= ADDED


def changed(run: Path, name: str, make) -> None:
    """Write the checkpoint of ``run`` anew, with one tensor changed."""
    saved = load_checkpoint(run)
    tensors = dict(saved.tensors)
    found = make(tensors.get(name))
    tensors.pop(name, None)
    if found is not None:
        tensors[name] = found
    save_checkpoint(run, Checkpoint(tensors, saved.config, saved.sample_shape, 0, saved.step))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("noise.heights", lambda v: None, "'noise.heights' is missing"),
        ("noise.heights", lambda v: v[:1].clone(), "noise.heights: got Tensor of shape"),
        ("noise.other", lambda v: torch.zeros(1), "'noise.other' is not one of"),
        ("state.ot_sum", lambda v: None, "'state.ot_sum' is missing"),
    ],
)
def test_a_checkpoint_of_other_noise_is_refused(small, tmp_path, name, make, message):
    train(small(steps=1, **LEARNED), progress=False)
    changed(tmp_path / "run", name, make)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_bins": 1}, "noise_bins: got 1"),
        ({"noise_bound": 9.0}, r"noise_bound: got 9.0; allowed: a float in \[0.1, 8\]"),
        ({"noise_ot": -1.0}, "noise_ot: got -1.0"),
        ({"noise_entropy": float("nan")}, "noise_entropy: got nan"),
        ({"noise_lr": 0.0}, "noise_lr: got 0.0"),
        ({"noise_start": "cauchy"}, "noise_start: got 'cauchy'; allowed: gaussian, student, kac"),
        ({"noise_components": "two"}, "noise_components: got 'two'; allowed: one, each"),
        ({"noise_tails": "cubic"}, "noise_tails: got 'cubic'; allowed: linear, none"),
        ({"noise_steps": -1}, "noise_steps: got -1"),
        ({"b": 0.0}, "b: got 0.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)

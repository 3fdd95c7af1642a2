"""Students: their targets, loss and times; stages, resume, the commands, the scheduler."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kacflow import generate
from kacflow.cli import main
from kacflow.training import (
    TrainConfig,
    build_network,
    build_path,
    distill,
    load_dataset,
    load_model,
    loop,
    students,
    train,
)
from kacflow.training._uniforms import Uniforms
from kacflow.training.checkpoint import TrainedModel, load_checkpoint
from kacflow.training.data import TensorData
from kacflow.training.distillation import Distillation, digest
from kacflow.training.sampling import draw_samples, motion_strip

Small = Callable[..., TrainConfig]
POINT = torch.tensor([0.7, -0.4])
TINY = ["--train-steps", "6", "--batch", "16", "--log-every", "3", "--quiet"]


class Exact(nn.Module):
    """The field of data that is one point: of the path, or the point itself."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config, self.path = config, build_path(config)
        self.still = nn.Parameter(torch.zeros(()))  # tells where the network is

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        point = POINT.expand_as(x)
        if labels is not None:  # the field of each class is that of another point
            point = point + labels[:, None]
        return point if self.config.prediction == "data" else self.path.velocity(x, t, point)


def exact(config: TrainConfig, classes: int = 0) -> TrainedModel:
    plain = dataclasses.replace(config, teacher="")
    return TrainedModel(Exact(plain), plain, (2,), classes, 1)


def one_point(classes: int = 0) -> TensorData:
    labels = torch.arange(64) % classes if classes else None
    return TensorData(POINT.expand(64, 2).clone(), labels)


def drawn(objective: Distillation, n: int = 64, seed: int = 0) -> list[Tensor]:
    [uniforms] = Uniforms(seed, range(n))(0)
    raw = objective.data.raw(torch.arange(n))
    labels = objective.data.labels(torch.arange(n)) if objective.classes else None
    return objective.draw(raw, labels, objective.random(uniforms, range(n), n), 0, seed=0, step=0)


@pytest.fixture
def teacher(small: Small) -> TrainConfig:
    """A run of a few steps on the nine points, with classes."""
    config = small(out=str(Path(small().out).parent / "teacher"), labels=True, steps=4)
    train(config, progress=False)
    return config


def same_weights(one: str | Path, other: str | Path) -> bool:
    left, right = (load_checkpoint(place).tensors for place in (one, other))
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


# --- the objective --------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", ["euler", "ab2", "heun", "midpoint", "rk4"])
@pytest.mark.parametrize("path", ["kac", "diffusion", "flow_matching"])
@pytest.mark.parametrize("prediction", ["velocity", "data"])
def test_targets_are_where_generation_leads(small: Small, path: str, solver: str, prediction: str):
    """For each time of the student, by generation from there on a grid of the substeps."""
    clock = "linear" if path == "flow_matching" else "square"
    config = small(path=path, teacher="t", student_steps=4, teacher_substeps=3, T=2.0, clock=clock,
                   teacher_solver=solver)  # fmt: skip
    model = exact(dataclasses.replace(config, prediction=prediction))
    if prediction == "data" and solver in ("heun", "rk4"):
        with pytest.raises(
            ValueError, match=f"teacher_solver: got '{solver}'; allowed: euler, ab2"
        ):
            Distillation(config, one_point(), 0, None, model)
        return
    objective = Distillation(config, one_point(), 0, None, model)
    x_t, t, target = drawn(objective)
    ends = x_t - 0.5 * target
    for time in (0.5, 1.0, 1.5, 2.0):
        here = t == time
        assert here.sum() == 16
        grid = [time - 0.5 * i / 3 for i in range(4)]
        wanted = generate(
            model.network, x_t[here], objective.path, t_grid=grid, method=solver,
            prediction=prediction,
        )  # fmt: skip
        torch.testing.assert_close(ends[here], wanted, rtol=3e-5, atol=3e-5)
    assert target.isfinite().all()


def test_of_one_point_the_teacher_leads_to_it(small: Small):
    for path, atol in {"kac": 0.03, "diffusion": 0.15, "flow_matching": 1e-4}.items():
        config = small(path=path, teacher="t", teacher_substeps=200, teacher_solver="euler")
        x_t, _, target = drawn(Distillation(config, one_point(), 0, None, exact(config)))
        torch.testing.assert_close(x_t - target, POINT.expand(64, 2), rtol=0, atol=atol)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_times_are_those_of_the_student_equally_often(small: Small, steps: int):
    config = small(teacher="t", student_steps=steps, T=0.7, t_density="power")
    objective = Distillation(config, one_point(), 0, None, exact(config))
    [uniforms] = Uniforms(3, range(600))(0)
    times, *_ = objective.random(uniforms, range(600), 600)
    seen: list[float] = []
    generate(lambda x, t: seen.append(t.item()) or x, torch.ones(1, 2), objective.path, steps=steps)
    assert sorted(set(times.tolist())) == pytest.approx(sorted(seen), rel=1e-7)
    assert all(abs(n - 600 / steps) <= 1 for n in Counter(times.tolist()).values())
    assert times.diff().min() >= 0  # stratified over the batch
    assert objective.times(torch.tensor([0.0, 1.0])).tolist() == [min(seen), max(seen)]


@pytest.mark.parametrize(
    ("path", "prediction"), [("kac", "velocity"), ("diffusion", "velocity"), ("diffusion", "data")]
)
def test_forms_of_the_loss(small: Small, path: str, prediction: str):
    """Squared distance of the endpoints, and that over the squared step: 0 at the same place."""
    config = small(path=path, teacher="t", student_steps=4, T=2.0, prediction=prediction)
    network = build_network(config, (2,), 0)
    torch.nn.init.normal_(network.last.weight)
    values = {}
    for form in ("velocity", "position"):
        own = dataclasses.replace(config, student_loss=form)
        objective = Distillation(own, one_point(), 0, None, exact(config))
        x_t, t, target = batch = drawn(objective)
        values[form] = objective.loss(network, batch)
        value = network(x_t, t)
        velocity = value if prediction == "velocity" else objective.path.velocity(x_t, t, value)
        assert objective.loss(Answer(objective, target), batch).item() < 1e-8
    distance = (x_t - 0.5 * velocity - (x_t - 0.5 * target)).square().mean()
    torch.testing.assert_close(values["position"], distance)
    torch.testing.assert_close(values["position"], 0.25 * values["velocity"])


class Answer(nn.Module):
    """A student that lands on the teacher's endpoints, whatever it is to predict."""

    def __init__(self, objective: Distillation, target: Tensor) -> None:
        super().__init__()
        self.objective, self.target = objective, target

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if self.objective.config.prediction == "velocity":
            return self.target
        at_0, at_1 = (self.objective.path.velocity(x, t, x.new_full(x.shape, v)) for v in (0, 1))
        return (self.target - at_0) / (at_1 - at_0)  # it is affine


def test_guidance_is_in_the_target(small: Small):
    """The field is linear in the point: that of class k with weight w leads to k + w (k + 1)."""
    config = small(teacher="t", path="flow_matching", labels=True, student_guidance=2.0,
                   label_dropout=0.3)  # fmt: skip
    objective = Distillation(config, one_point(3), 3, None, exact(config, 3))
    x_t, _, target, labels = drawn(objective)
    assert set(labels.tolist()) == {-1, 0, 1, 2}
    wanted = POINT + labels[:, None] + 2.0 * (labels[:, None] + 1)
    torch.testing.assert_close(x_t - target, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "prediction"), [("kac", "velocity"), ("diffusion", "data"), ("flow_matching", "data")]
)
def test_a_student_of_one_step_learns_the_flow(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, prediction: str
):
    """The teacher's flow of one point, through the whole loop."""
    file = tmp_path / "point.npy"
    np.save(file, POINT.expand(64, 2).numpy())
    config = small(
        data=str(file), held_out=0.0, path=path, prediction=prediction, teacher="t", width=32,
        blocks=1, steps=300, batch=64, lr=5e-3, log_every=10, teacher_substeps=20,
        validate_every=0, ema=0.98,
    )  # fmt: skip
    monkeypatch.setattr(loop, "load_teacher", lambda config, *_: exact(config))
    train(config, progress=False)
    losses = [line["loss"] for line in students.plotting.read_log(config.out)]
    assert losses[-1] < 0.03 * losses[0]
    model, teacher = load_model(config.out), exact(config)
    one, many = draw_samples(model, 200), draw_samples(teacher, 200, steps=20, method="ab2")
    assert (one - many).square().mean().sqrt() < 0.08


# --- stages ---------------------------------------------------------------------------------------
def test_students_are_runs(teacher: TrainConfig, tmp_path: Path):
    out = tmp_path / "students"
    before = (Path(teacher.out) / "checkpoint.safetensors").read_bytes()
    options = {"train_steps": 5, "batch": 8, "progress": False}
    done = distill(teacher.out, out, [4, 2, 1], guidance=1.5, **options)
    assert [result.out for result in done] == [out / f"steps-{n}" for n in (4, 2, 1)]
    for result, count, begins in zip(done, (4, 2, 1), (teacher.out, *(r.out for r in done)),
                                     strict=False):  # fmt: skip
        config = load_model(result.out).config
        assert (config.teacher, config.init) == (teacher.out, str(begins))
        assert config.teacher_sha256 == digest(teacher.out)
        assert (config.student_steps, config.student_guidance, config.steps) == (count, 1.5, 5)
        assert config.teacher_substeps == 40 // count
        assert (config.width, config.seed, config.batch) == (teacher.width, teacher.seed, 8)
    assert (out / "students.png").read_bytes().startswith(b"\x89PNG")
    assert (Path(teacher.out) / "checkpoint.safetensors").read_bytes() == before
    first = load_checkpoint(teacher.out).part("ema")
    config = dataclasses.replace(load_model(out / "steps-4").config, out=str(tmp_path / "x"))
    run = loop._Run(config, load_dataset(teacher), loop.processes.accelerator("cpu"), None)
    for name, value in run.network.state_dict().items():  # begins with the averaged weights
        assert torch.equal(value, first[name])
    run.feed.close()


def test_chain(teacher: TrainConfig, tmp_path: Path):
    out, options = tmp_path / "students", {"train_steps": 2, "progress": False}
    distill(teacher.out, out, [6, 3, 1], chain=True, guidance=0.5, **options)
    configs = [load_model(out / f"steps-{n}").config for n in (6, 3, 1)]
    assert [c.teacher for c in configs] == [teacher.out, str(out / "steps-6"), str(out / "steps-3")]
    assert [c.student_guidance for c in configs] == [0.5] * 3
    solvers = [(c.teacher_solver, c.teacher_substeps) for c in configs]
    assert solvers == [("ab2", 7), ("euler", 2), ("euler", 3)]
    objective = Distillation(
        configs[1], load_dataset(configs[1]), 9, None, load_model(out / "steps-6")
    )
    assert objective._guidance == 0.0  # it is in the teacher already
    with pytest.raises(ValueError, match="steps: got 4 for a teacher of 6 steps"):
        distill(teacher.out, tmp_path / "new", [6, 4], chain=True, **options)
    with pytest.raises(ValueError, match="steps: got 4 for a teacher of 6 steps"):
        distill(out / "steps-6", tmp_path / "new", [4], **options)
    with pytest.raises(ValueError, match=r"guidance: got 1 for a student with 0\.5 in it"):
        distill(out / "steps-6", tmp_path / "new", [2], guidance=1.0, **options)
    distill(out / "steps-6", tmp_path / "new", [2], **options)
    assert load_model(tmp_path / "new" / "steps-2").config.teacher_substeps == 3


class Stopped(Exception):
    """Stands for a run that is cut off."""


def test_goes_on_with_the_same_bits(
    teacher: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = {"train_steps": 6, "checkpoint_every": 2, "guidance": 1.0, "progress": False}
    distill(teacher.out, tmp_path / "whole", [4, 1], **options)
    one_step = loop._Run.one_step

    def cut_off(run: loop._Run) -> Tensor:
        if run.step == 3 and run.out.name == "steps-1":
            raise Stopped
        return one_step(run)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(loop._Run, "one_step", cut_off)
        distill(teacher.out, tmp_path / "parts", [4, 1], **options)
    assert load_checkpoint(tmp_path / "parts" / "steps-1").step == 2
    torch.manual_seed(5)
    first, second = distill(teacher.out, tmp_path / "parts", [4, 1], **options)
    assert math.isnan(first.loss) and second.loss > 0  # passed over, and gone on
    for name in ("steps-4", "steps-1"):
        assert same_weights(tmp_path / "whole" / name, tmp_path / "parts" / name)
    train(dataclasses.replace(load_model(second.out).config, steps=8), resume=True, progress=False)


@pytest.mark.parametrize("prediction", ["velocity", "data"])
@pytest.mark.parametrize(("path", "signal"), [("kac", "constant"), ("diffusion", "cosine")])
def test_what_students_predict(
    small: Small, tmp_path: Path, prediction: str, path: str, signal: str
):
    config = small(path=path, signal=signal, prediction=prediction, steps=2)
    train(config, progress=False)
    distill(config.out, tmp_path / "s", [2, 1], train_steps=2, solver="midpoint", progress=False)
    predicted = load_model(tmp_path / "s" / "steps-1").config.prediction
    assert predicted == ("velocity" if path == "kac" else prediction)
    for form in ("steps-2", "steps-1"):
        assert draw_samples(load_model(tmp_path / "s" / form), 8).isfinite().all()


def test_a_module_of_ones_own(small: Small, tmp_path: Path):
    config, network = small(network="custom", steps=2), nn.Bilinear(2, 2, 2)
    own = Own(network)
    train(config, network=own, progress=False)
    distill(config.out, tmp_path / "s", [1], train_steps=2, network=own, progress=False)
    assert draw_samples(load_model(tmp_path / "s" / "steps-1", network=own), 4).shape == (4, 2)


class Own(nn.Module):
    def __init__(self, inner: nn.Bilinear) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.inner(x, t[:, None].expand(-1, 2))


# --- use ------------------------------------------------------------------------------------------
def test_use_and_other_use(teacher: TrainConfig, tmp_path: Path):
    distill(teacher.out, tmp_path, [2], guidance=1.0, train_steps=2, progress=False)
    model, path = load_model(tmp_path / "steps-2"), build_path(teacher)
    labels = torch.arange(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = draw_samples(model, 5, labels=labels)
        assert torch.equal(samples, draw_samples(model, 5, labels=labels, steps=2, method="euler"))
        draw_samples(load_model(teacher.out), 5, labels=labels, steps=3, guidance=1.0)
        rows, times = motion_strip(model, torch.zeros(3, 2))
    assert times == [0.0, 0.5, 1.0] and len(rows[1][1]) == 3
    for options, message in (
        ({"steps": 100}, "made for 2 equal Euler steps, with guidance 1 in it; .* with steps=100"),
        ({"method": "heun"}, "method='heun'"), ({"guidance": 1.0}, r"guidance=1\.0"),
        ({"t_grid": "karras"}, "t_grid='karras'"), ({"t_grid": [1.0, 0.3, 0.0]}, "t_grid="),
        ({"t_min": 0.1}, r"t_min=0\.1"),
    ):  # fmt: skip
        with pytest.warns(UserWarning, match=message) as caught:
            draw_samples(model, 5, labels=labels, **options)
        assert len(caught) == 1 and caught[0].filename == __file__
    assert path.T == 1.0


@pytest.mark.parametrize("steps", [1, 4])
def test_the_scheduler_of_diffusers_runs_a_student(small: Small, tmp_path: Path, steps: int):
    from kacflow.adapters.diffusers import KacEulerScheduler

    config = small(data="digits", clock="square", a=16.0, T=1.5, steps=2)
    train(config, progress=False)
    distill(config.out, tmp_path, [steps], train_steps=3, progress=False)
    model = load_model(tmp_path / f"steps-{steps}")
    kept = {name: getattr(model.config, name) for name in ("a", "c", "T", "signal", "clock")}
    scheduler = KacEulerScheduler(**kept)
    x = start = scheduler.init_noise((6, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    scheduler.set_timesteps(model.config.student_steps)
    for timestep in scheduler.timesteps:
        t = scheduler.time(timestep).expand(len(x))
        x = scheduler.step(model.network(x, t), timestep, x).prev_sample
    wanted = generate(model.network, start, build_path(config), steps=steps, method="euler")
    torch.testing.assert_close(x, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("data", ["grid9", "digits"])
def test_command_line(data: str, small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    train(small(data=data, labels=True, steps=3), progress=False)
    out = tmp_path / "students"
    command = ["distill", small().out, "--steps", "2", "1", "--out", str(out), *TINY]
    command += ["--guidance", "1", "--sample-every", "6", "--device", "cpu"]
    assert main(command) == 0
    assert "wrote" in capsys.readouterr().out
    assert main(command) == 0
    assert "all 6 steps were trained before" in capsys.readouterr().out
    for name in ("students.png", "steps-1/samples/step-0000006.png", "steps-2/log.jsonl"):
        assert (out / name).stat().st_size > 0
    run, numbers = str(out / "steps-2"), tmp_path / "x.npz"
    assert main(["train", "--out", run, "--resume", "--steps", "7", "--quiet"]) == 0
    capsys.readouterr()
    sample = ["sample", run, "--n", "9", "--label", "4", "--out", str(numbers)]
    assert main(sample) == 0
    assert capsys.readouterr().err == ""
    wanted = draw_samples(load_model(run), 9, steps=2, labels=torch.full((9,), 4))
    np.testing.assert_array_equal(np.load(numbers)["samples"], wanted.numpy())
    assert main([*sample, "--steps", "5", "--guidance", "2"]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("kacflow: warning: this student is made for 2")
    assert "with steps=5, guidance=2.0" in said
    assert main(["plot", run, "--n", "8"]) == 0
    report = tmp_path / "quality.json"
    assert main(["evaluate", run, "--against", data, "--n", "20", "--json", str(report)]) == 0
    assert json.loads(report.read_text())["generation"]["steps"] == 2
    assert capsys.readouterr().err == ""


def test_errors_are_one_line(
    teacher: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = str(tmp_path / "students")
    base = ["distill", teacher.out, "--out", out, *TINY]
    cases = {
        "steps: got [1, 4]; allowed: decreasing": [*base, "--steps", "1", "4"],
        "steps: got [2, 2]; allowed: decreasing": [*base, "--steps", "2", "2"],
        "argument --steps: got '0'": [*base, "--steps", "0"],
        "argument --substeps: got '0'": [*base, "--substeps", "0"],
        "guidance: got -1.0": [*base, "--guidance", "-1"],
        "invalid choice: 'dopri5'": [*base, "--solver", "dopri5"],
        "found none at 'nowhere'": ["distill", "nowhere", "--out", out],
        "the following arguments are required: --out": ["distill", teacher.out],
        "batch: got 0": [*base, "--batch", "0"],
    }
    for message, command in cases.items():
        try:
            assert main(command) == 1
        except SystemExit as stop:
            assert stop.code == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1, said
    assert not Path(out).exists()


def test_another_teacher_is_refused(teacher: TrainConfig, small: Small, tmp_path: Path):
    out, options = tmp_path / "students", {"train_steps": 2, "progress": False}
    distill(teacher.out, out, [2], **options)
    other = dataclasses.replace(teacher, out=small().out, seed=9)
    train(other, progress=False)
    with pytest.raises(ValueError, match="where 'steps-2' is a student of another teacher"):
        distill(other.out, out, [1], **options)
    with pytest.raises(ValueError, match="another configuration"):
        distill(teacher.out, out, [2], substeps=3, **options)
    moved = tmp_path / "moved"
    Path(teacher.out).rename(moved)
    distill(moved, out, [2, 1], **options)  # the same checkpoint at another place
    train(dataclasses.replace(teacher, out=str(moved), steps=6), resume=True, progress=False)
    with pytest.raises(ValueError, match="student of another teacher"):  # it has changed
        distill(moved, out, [2, 1], **options)
    stale = load_model(out / "steps-1").config
    with pytest.raises(ValueError, match=r"teacher: got .* is not the one"):
        train(dataclasses.replace(stale, steps=3), resume=True, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": 4.0}, r"a: got 4\.0; allowed: 9\.0, as of the teacher"),
        ({"data": "digits"}, "data: got 'digits'; allowed: samples of shape"),
        ({"labels": False, "student_guidance": 1.0}, "student_guidance: got 1.0; allowed: 0"),
        ({"width": 8}, "init: .* holds another network"),
        ({"teacher": "nowhere"}, "found none at 'nowhere'"),
    ],
)
def test_students_that_cannot_be_taught(
    teacher: TrainConfig, small: Small, changes: dict, message: str
):
    config = dataclasses.replace(teacher, out=small().out, teacher=teacher.out, init=teacher.out)
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(config, **changes), progress=False)


def test_no_student_predicts_data_on_the_kac_path(small: Small):
    config = small(prediction="data", teacher="t")
    with pytest.raises(ValueError, match="prediction: got 'data'; allowed: 'velocity', for a"):
        Distillation(config, one_point(), 0, None, exact(config))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": ()}, ValueError, r"steps: got \[\]; allowed: decreasing integers >= 1"),
        ({"steps": "20"}, TypeError, "steps: got str"),
        ({"steps": [2, 0]}, ValueError, "steps: got 0"),
        ({"substeps": 0}, ValueError, "substeps: got 0"),
        ({"train_steps": 0}, ValueError, "train_steps: got 0"),
        ({"solver": "dopri5"}, ValueError, "solver: got 'dopri5'"),
        ({"loss": "l1"}, ValueError, "loss: got 'l1'"),
        ({"chain": 1}, TypeError, "chain: got"),
        ({"width": 5}, ValueError, r"distill: got \['width'\]; allowed: label_dropout"),
    ],
)
def test_bad_arguments(teacher: TrainConfig, tmp_path: Path, arguments, error, message):
    with pytest.raises(error, match=message):
        distill(teacher.out, tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()

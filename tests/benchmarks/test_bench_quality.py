"""The experiments on quality: statistics and metrics on known numbers, and smoke runs.

Nothing here depends on how good a network is.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import __main__ as command
from benchmarks.quality import (
    measures,
    page,
    pictures,
    pool,
    questions,
    statistics,
    tables,
    worker,
)  # fmt: skip
from benchmarks.quality.plan import Task
from benchmarks.quality.questions import (
    digits,
    modes,
)  # fmt: skip
from kacflow import plotting
from kacflow.plotting import read_log
from kacflow.training import TrainConfig, TrainedModel, load_model, train

ROOT = Path(__file__).resolve().parents[2]


# --- statistics -----------------------------------------------------------------------------------
def test_spread() -> None:
    assert statistics.spread([1.0, 2.0, None, 6.0]) == {
        "n": 3,
        "mean": 3.0,
        "sd": pytest.approx(math.sqrt(7.0)),
    }
    assert statistics.spread([4.0]) == {"n": 1, "mean": 4.0, "sd": None}
    assert statistics.spread([None]) == {"n": 0, "mean": None, "sd": None}


def test_differences_are_paired_by_seed() -> None:
    """Seeds that vary much and conditions that differ little: the spread is that of the latter."""
    found = statistics.difference({0: 11.0, 1: 102.0, 2: 1003.0, 3: 7.0}, {2: 1000, 1: 100, 0: 10})
    assert (found["n"], found["mean"], found["sd"]) == (3, 2.0, 1.0)
    assert found["half_width"] == pytest.approx(4.302653 / math.sqrt(3.0), rel=1e-6)  # t, 2 d.o.f.
    assert statistics.difference({0: None, 1: 3.0}, {0: 1.0, 1: 1.0})["half_width"] is None


def test_summary() -> None:
    def run(condition: str, seed: int, value: float | None) -> dict:
        return {"condition": condition, "seed": seed, "measured": {"m": {"8": value}}}

    values = [("a", 0, 1.0), ("a", 1, 3.0), ("b", 0, 2.0), ("b", 1, 6.0), ("b", 2, None)]
    found = statistics.summary([run(*value) for value in values], "a")["m"]
    assert found["a"]["8"] == {"n": 2, "mean": 2.0, "sd": pytest.approx(math.sqrt(2.0))}
    assert found["b"]["8"]["mean"] == 4.0
    assert found["b"]["8"]["difference"]["mean"] == 2.0
    assert found["b"]["8"]["difference"]["sd"] == pytest.approx(math.sqrt(2.0))
    alone = statistics.summary([run("b", 0, 2.0)], "a")["m"]["b"]["8"]
    assert "difference" not in alone


# --- metrics --------------------------------------------------------------------------------------
def test_w2_of_shifted_samples() -> None:
    """The length of the shift, whatever the order of the points; on the line, sorted pairs."""
    generator = np.random.default_rng(0)
    x, shift = generator.standard_normal((300, 2)), np.array([3.0, -4.0])
    assert measures.w2(x, generator.permutation(x) + shift) == pytest.approx(5.0, rel=1e-12)
    assert measures.w2(x, generator.permutation(x)) == pytest.approx(0.0, abs=1e-7)
    y, z = generator.standard_normal((2, 200, 1))
    exact = math.sqrt(np.square(np.sort(y, 0) - np.sort(z, 0)).mean())
    assert measures.w2(y, z) == pytest.approx(exact, rel=1e-12)
    with pytest.raises(ValueError, match=r"y: got shape \(1, 2\)"):
        measures.w2(x, x[:1])


@pytest.mark.parametrize("blur", [1e-4, 0.3])
def test_w2_does_not_depend_on_the_solver(blur: float) -> None:
    pytest.importorskip("ot")
    x, y = (modes.real_points(300, 5, even=even) for even in (True, False))
    x = x + blur * np.random.default_rng(1).standard_normal(x.shape)
    costs = np.square(x[:, None] - y).sum(-1)
    found = measures._transport(costs)
    assert found is not None
    assert found == pytest.approx(measures._assignment(costs), rel=1e-12)


def test_total_variation_and_modes_found() -> None:
    assert measures.total_variation(np.arange(18) % 9, 9) == pytest.approx(0.0, abs=1e-15)
    assert measures.total_variation(np.zeros(10, int), 9) == pytest.approx(8.0 / 9.0)
    assert measures.total_variation(np.array([0, 0, 0, 1]), 2) == pytest.approx(0.25)
    close = np.repeat([0, 1, 2], [900, 1, 99])
    assert measures.modes_found(close, 1000, 9) == 3.0  # the second with 0.1 % of all
    assert measures.modes_found(close, 1001, 9) == 2.0


@pytest.mark.parametrize(("beside", "found"), [(0.05, 1.0), (0.2, 0.0)])
def test_measures_of_points(beside: float, found: float) -> None:
    """All points in one place beside a corner: close to its mode or not."""
    points = np.tile([1.0 + beside, 1.0], (90, 1))
    squares = np.square(points[:9] - modes.MODES).sum(-1).mean()  # each mode has ten points

    def nll(blur: float) -> float:  # of the nearest mode alone, the next being 20 blurs away
        return beside**2 / (2.0 * blur**2) + math.log(2.0 * math.pi * blur**2 * 9.0)

    assert modes._of_points(points, seed=0) == {
        "w2": pytest.approx(math.sqrt(squares), rel=1e-4),
        "modes_found": found,
        "total_variation": pytest.approx(8.0 / 9.0),
        "outside": 1.0 - found,
        "nll": pytest.approx(nll(1e-4), rel=1e-12),
        "nll_wide": pytest.approx(nll(0.05), rel=1e-9),
    }


def test_likelihood_under_the_mixture_is_that_of_scipy() -> None:
    from scipy.stats import multivariate_normal

    points = np.random.default_rng(0).normal(size=(50, 2))
    each = [multivariate_normal(m, 0.3**2 * np.eye(2)).pdf(points) for m in modes.MODES]
    np.testing.assert_allclose(modes.log_density(points, 0.3), np.log(np.mean(each, 0)), rtol=1e-12)


def test_the_page_has_the_figures_of_the_results() -> None:
    text = page.PAGE.read_text()
    assert text.count("<!-- figures: ") >= 1
    assert page.page(text) == text
    before, mark, figures = text.partition("<!-- figures: ")
    wrong = before + mark + figures.replace("±\N{NO-BREAK SPACE}", "±\N{NO-BREAK SPACE}1", 1)
    assert wrong != text and page.page(wrong) == text


def test_pictures_of_the_page_are_drawn_from_the_results() -> None:
    from PIL import Image

    shown = page.drawn(page.PAGE.read_text())
    assert len(shown) >= 1
    for name, file in shown.items():
        with Image.open(file) as image:
            assert image.info["Source"] == pictures.fingerprint(page.recorded(name)[1]), name
    assert len({pictures.fingerprint(page.recorded(name)[1]) for name in shown}) == len(shown)


def test_labels_of_points_keep_their_distance() -> None:
    """Of ten points in a row, three of which are too near to another."""
    figure = plotting.figure(4.0, 3.0)
    axes = figure.add_subplot()
    points = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 33.0, 34.0, 35.0, 64.0]
    summary = {"m": {"a": {str(p): {"mean": p, "sd": None} for p in points}}}
    pictures.curves(axes, {"summary": summary, "real": {}}, "m", {"a": "a"}, {"a": {}})
    figure.draw_without_rendering()
    pictures.thin(axes)
    texts = [label.get_text() for label in axes.get_xticklabels()]
    assert texts == ["1", "2", "4", "8", "16", "", "", "", "35", "64"]


def test_real_points_are_those_that_networks_train_on() -> None:
    even = modes.real_points(900, 0, even=True)
    nearest, distances = measures.nearest_mode(even, modes.MODES)
    assert (np.bincount(nearest) == 100).all()
    assert np.sqrt(np.square(distances).mean() / 2) == pytest.approx(1e-4, rel=0.1)
    from kacflow.training import load_dataset

    data = load_dataset(smoke(Path("x"), "kac-9-3", 0).config)
    uniforms = torch.rand(2, 9, generator=torch.Generator().manual_seed(0))
    drawn = data.samples(data.raw(torch.arange(9)), uniforms).numpy()
    assert sorted(measures.nearest_mode(drawn, modes.MODES)[0]) == list(range(9))
    assert measures.nearest_mode(drawn, modes.MODES)[1].max() < 6e-4


class Constant(torch.nn.Module):
    """The field (3, 4), of speed 5."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.value.expand_as(x)


@pytest.mark.parametrize(
    ("method", "each"), [("ab2", 1), ("euler", 1), ("heun", 2), ("midpoint", 2), ("rk4", 4)]
)
def test_evaluations_are_counted(method: str, each: int) -> None:
    config = TrainConfig(data="grid9", path="flow_matching")
    model = TrainedModel(Constant(), config, (2,), 0, 0)
    one, eight = (measures.draw(model, 20, steps=n, method=method, seed=1) for n in (1, 8))
    assert (one.evaluations, eight.evaluations) == (each, 8 * each)
    np.testing.assert_allclose(one.samples, eight.samples, atol=1e-5)
    assert {s.mean for s in eight.speeds} == {s.largest for s in eight.speeds} == {5.0}
    assert eight.speeds[0].t == 1.0
    assert not model.network._forward_hooks


def test_samples_that_are_not_finite_have_no_distance() -> None:
    config = TrainConfig(data="grid9", path="flow_matching")
    model = TrainedModel(Constant(), config, (2,), 0, 0)
    with torch.no_grad():
        model.network.value.fill_(math.nan)
    found = modes.measure(model, smoke(Path("x"), "flow-matching", 0))
    assert set(found) == set(modes.MEASURES)
    assert {value for points in found.values() for value in points.values()} == {None}
    assert measures.of_finite(lambda x: 1.0, np.array([math.inf])) is None


def test_loss_and_seconds_of_a_log(tmp_path: Path) -> None:
    lines = [(50, 9.0, 50.0), (95, 2.0, 90.0), (100, 4.0, 5.0)]  # 1, 0.5 and 1 s, batches of 1
    text = [{"step": s, "loss": m, "samples_per_second": r} for s, m, r in lines]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in text))
    loss, seconds = worker.of_log(tmp_path, 1)
    assert loss == pytest.approx((45 * 2.0 + 5 * 4.0) / 50)
    assert seconds == pytest.approx(2.5)


# --- runs -----------------------------------------------------------------------------------------
def smoke(out: Path, condition: str, seed: int, question: str = "modes") -> Task:
    return Task(question, condition, seed, "smoke", "cpu", out)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs of one condition, two seeds side by side, from the command line."""
    out = tmp_path_factory.mktemp("quality")
    given = ["--only", "modes", "--conditions", "kac-9-3", "--budget", "smoke", "--seeds", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", *given, "--jobs", "2", "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 tasks to do" in done.stderr and "== modes: " in done.stdout
    return out


def test_a_run_goes_on_with_what_is_there(
    ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trainings that are complete are not trained again; the record has them and the new ones."""
    for seed in range(2):
        worker.run(smoke(ran, "flow-matching", seed))
    files = sorted(ran.glob("modes/smoke/*/measured-modes.json"))
    assert len(files) == 4
    before = [file.stat().st_mtime_ns for file in files]
    monkeypatch.setattr(pool, "_start", lambda task: pytest.fail(f"{task.name} again"))
    picture, results = ran / "modes.png", ran / "modes.json"
    given = ["--only", "modes", "--conditions", "kac-9-3", "flow-matching", "--seeds", "2"]
    given += ["--budget", "smoke", "--json", str(results), "--picture", str(picture)]
    assert command.main([*given, "--out", str(ran)]) == 0
    assert [file.stat().st_mtime_ns for file in files] == before
    assert picture.stat().st_size > 10_000
    text = capsys.readouterr().out
    assert "less that of flow matching" in text and "| real data |" in text

    content = json.loads(results.read_text())
    assert set(content) == {
        "format", "question", "title", "command", "budget", "seeds", "environment", "samples",
        "method", "measures", "reference", "configurations", "missing", "summary",
        "real", "runs",
    }  # fmt: skip
    assert content["command"].startswith("python -m benchmarks.quality --only modes")
    assert content["environment"]["jobs"] == 1 and content["environment"]["torch"]
    assert content["seeds"] == [0, 1] and content["missing"] == []
    assert set(content["summary"]) == {*modes.MEASURES, *tables.COMMON}
    for measure in (*modes.OF_POINTS, "largest_speed"):
        found = content["summary"][measure]
        assert set(found) == {"kac-9-3", "flow-matching"}
        assert set(found["kac-9-3"]) == {"1", "2", "4"}
        assert set(found["kac-9-3"]["4"]) == {"n", "mean", "sd", "difference"}
        assert found["kac-9-3"]["4"]["n"] == found["kac-9-3"]["4"]["difference"]["n"] == 2
    assert set(content["summary"]["mean_speed"]["kac-9-3"]) == {"1", "0.75", "0.5", "0.25"}
    assert set(content["real"]) == set(modes.OF_POINTS)
    for run in content["runs"]:
        assert set(run) == {"condition", "seed", "measured", "measuring_seconds", "where"}
        assert set(run["where"]) == {"device", "torch", "kacflow", "commit"}


def test_a_training_that_was_interrupted_is_resumed(tmp_path: Path) -> None:
    task = smoke(tmp_path, "diffusion", 0)
    train(dataclasses.replace(task.config, steps=10), progress=False)
    assert worker.result_of(task) is None
    worker.run(task)
    assert [line["step"] for line in read_log(task.folder)] == [10, 20]
    assert load_model(task.folder).step == 20
    assert worker.result_of(task) is not None
    assert worker.result_of(dataclasses.replace(task, seed=1)) is None
    file = task.result
    file.write_text(file.read_text().replace('"samples": 200', '"samples": 400'))
    assert worker.result_of(task) is None  # of other measurements
    file.write_text("{")
    assert worker.result_of(task) is None


def test_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each noise once, and the reference with two seeds; the other trainings fail."""
    trained = ("kac-9-3-data", "kac-25-2-velocity", "diffusion-data", digits.REFERENCE)
    for condition in trained:
        worker.run(smoke(tmp_path, condition, 0, "digits"))
    worker.run(smoke(tmp_path, digits.REFERENCE, 1, "digits"))

    def fails(task: Task) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    monkeypatch.setattr(pool, "_start", fails)
    given = ["--only", "digits", "--budget", "smoke", "--seeds", "2", "--out", str(tmp_path)]
    picture = tmp_path / "digits.png"
    assert command.main([*given, "--picture", str(picture), "--jobs", "4"]) == 1
    assert picture.stat().st_size > 10_000
    content = json.loads((tmp_path / "quality-digits.json").read_text())
    assert len(content["runs"]) == 5 and len(content["missing"]) == 11
    found = content["summary"]["frechet_distance"]
    assert set(found) == set(content["configurations"]) == set(trained)
    for condition, points in found.items():
        assert set(points) == {"1", "2", "4"}
        assert all(0.0 < entry["mean"] < 1e3 for entry in points.values())
        assert points["4"]["n"] == 1 + (condition == digits.REFERENCE)
        assert ("difference" in points["4"]) == (condition != digits.REFERENCE)
    assert content["real"]["frechet_distance"]["n"] == 1


@pytest.mark.parametrize("name", [n for n in questions.NAMES if n not in ("dimension",)])
def test_conditions_differ_in_their_noise_and_prediction_alone(name: str) -> None:
    free = {"path", "a", "c", "clock", "out", "prediction" if name == "digits" else "path"}
    if name.startswith("noises_"):
        free |= {"noise_start", "noise_components", "noise_steps", "noise_lr", "noise_ot"}
    conditions = questions.load(name).CONDITIONS
    tasks = {
        c: dataclasses.replace(smoke(Path("runs"), c, 3, name), data="x.zip") for c in conditions
    }
    configs = {c: task.config.to_dict() for c, task in tasks.items() if task.config is not None}
    for config in configs.values():
        kept = {key: value for key, value in config.items() if key not in free}
        assert kept == {key: configs[next(iter(configs))][key] for key in kept}
        assert kept["steps"] == 20 and kept["seed"] == 3 and kept["t_min"] == 1e-3
    noises = [tuple(config[key] for key in sorted(free - {"out"})) for config in configs.values()]
    assert len(set(noises)) == len(configs)
    assert questions.load(name).REFERENCE in conditions


def test_a_suite_that_is_stopped_stops_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SIGTERM, while one has ended and another is running: as by Ctrl-C."""
    started = []

    def start(task: Task) -> subprocess.Popen[bytes]:
        code = "import time; time.sleep(60)" if task.seed else "pass"
        started.append(subprocess.Popen([sys.executable, "-c", code]))
        return started[-1]

    monkeypatch.setattr(pool, "_start", start)
    tasks = [smoke(tmp_path, "kac-9-3", seed) for seed in range(3)]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        pool.run_all(tasks, 2, lambda text: os.kill(os.getpid(), signal.SIGTERM))
    assert len(started) == 2 and started[0].returncode == 0 and started[1].returncode != 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_questions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(questions.NAMES)
    for name in questions.NAMES:
        question = questions.load(name)
        assert question.REFERENCE in question.CONDITIONS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "nothing"], "--only"),
        (["--seeds", "0"], "--seeds: got 0"),
        (["--jobs", "-1"], "--jobs: got -1"),
        (["--budget", "endless"], "--budget"),
        (["--only", "cifar10"], "--data: got none"),
        (["--device", "abacus"], "--device"),
        (["--json", "a.json"], "--json: needs --only"),
        (["--picture", "a.png"], "--picture: needs --only"),
        (["--only", "modes", "--conditions", "brownian"], "--conditions: got brownian"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(arguments)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err

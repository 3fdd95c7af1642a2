"""The measures of single questions about quality, on fields, networks and images that are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import __main__ as command
from benchmarks.quality import (
    fields,
    pool,
    solvers,
    students,
    transport,
    worker,
)  # fmt: skip
from benchmarks.quality.plan import Task
from benchmarks.quality.questions import (
    cifar10,
    cost,
    dimension,
    guidance,
    precision,
)  # fmt: skip
from kacflow import GaussianPath, KacPath, KacProcess, evaluation
from kacflow.training import TrainConfig, TrainedModel, load_model
from kacflow.training.networks import ResidualMLP


def smoke(out: Path, condition: str, seed: int, question: str = "modes") -> Task:
    return Task(question, condition, seed, "smoke", "cpu", out)


def test_largest_singular_values_are_those_of_linear_fields() -> None:
    """Of fields A x that differ from sample to sample by a factor, by NumPy's decomposition."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    x, t = torch.randn(7, 5, generator=generator, dtype=torch.float64), torch.rand(7).double()

    def field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (1.0 + t[:, None]) * (x @ matrix.T)

    found = fields.largest_singular_values(field, x, t).numpy()
    exact = np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
    np.testing.assert_allclose(found, (1.0 + t.numpy()) * exact, rtol=0.02)
    assert (found <= (1.0 + t.numpy()) * exact * (1.0 + 1e-12)).all()


def test_size_and_steepness_of_a_known_field() -> None:
    """v = 3 x at x_t = x_0 for t = 0: norms are those of the data."""
    path, x_0 = GaussianPath("flow_matching"), torch.randn(200, 4)
    found = fields.measured(lambda x, t: 3.0 * x, path, x_0, 0)
    assert set(found) == set(fields.MEASURES)
    near = 3.0 * float(x_0.square().mean().sqrt())
    assert found["norm"]["0.001"] == pytest.approx(near, rel=0.01)
    values = [*found["lipschitz"].values(), *found["largest_lipschitz"].values()]
    assert values == pytest.approx([3.0] * len(values), rel=1e-5)


def test_solvers_count_their_evaluations(tmp_path: Path) -> None:
    """A field of constants: every solver is exact, and takes what it is said to."""
    task = smoke(tmp_path, "flow-matching", 0, "steps_modes")
    path = GaussianPath("flow_matching")
    start, _ = solvers.integrated(lambda x, t: 0.0 * x, path, (6, 2), 0, steps=1, method="euler")

    def judge(samples: np.ndarray) -> dict[str, float | None]:
        return {"w2": float(np.abs(samples - (start - 2.0)).max())}

    found = solvers.measured(lambda x, t: 0.0 * x + 2.0, path, (6, 2), task, solvers.SOLVERS, judge)
    assert set(found) == set(solvers.measures_of("w2", ""))
    assert set(found["w2_euler"]) == set(found["w2_ab2"]) == {"1", "2", "4"}
    assert set(found["w2_heun"]) == {"2", "4"}
    assert set(found["w2_dopri5"]) == {f"{value:g}" for value in solvers.TOLERANCES}
    assert all(value >= 6 for value in found["evaluations_dopri5"].values())  # type: ignore[operator]
    worst = [v for name, points in found.items() if name.startswith("w2") for v in points.values()]
    assert worst == pytest.approx([0.0] * len(worst), abs=1e-5)


def test_noisy_and_rounded_networks() -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(200, 300)
    noisy = precision.noisy(network, 0.1, 1)
    ratio = (noisy.weight / network.weight - 1.0).detach()
    assert float(ratio.std()) == pytest.approx(0.1, rel=0.02) and abs(float(ratio.mean())) < 2e-3
    assert torch.equal(precision.noisy(network, 0.0, 1).weight, network.weight)
    with torch.no_grad():
        x, t = torch.randn(5, 2), torch.rand(5)
        net = ResidualMLP((2,), width=16, blocks=1, classes=3, horizon=1.0)
        net.eval()
        for weights in net.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))
        labels = torch.tensor([0, 1, 2, -1, 0])
        exact, rounded = net(x, t, labels), precision._Rounded(net, torch.bfloat16)(x, t, labels)
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0.1, atol=0.1)


def test_when_a_distance_is_reached() -> None:
    points = [(100.0, 5.0), (200.0, 3.0), (300.0, 4.0), (400.0, 1.0)]
    assert cost.reached(points, 6.0) == 100.0
    assert cost.reached(points, 4.0) == 150.0
    assert cost.reached(points, 2.0) == pytest.approx(300.0 + 100.0 * 2.0 / 3.0)
    assert cost.reached(points, 0.5) is None


def test_transport_is_exact_for_one_datum() -> None:
    """With the datum known, transport ends there, and in between has the law of the path."""
    from scipy.stats import ks_2samp

    datum = torch.tensor([[0.3, -0.2]])

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return datum.expand_as(x)

    for path in (KacPath(KacProcess(9.0, 3.0)), GaussianPath("flow_matching")):
        start = path.sample_prior((4000, 2), generator=torch.Generator().manual_seed(0))
        done = transport.first_order(predict, start, path, 3)
        torch.testing.assert_close(done, datum.expand_as(done), rtol=0, atol=1e-6)
        moved = path.transport(start, 1.0, 0.4, 0.0 * start)
        drawn = path.sample(0.0 * start, 0.4, generator=torch.Generator().manual_seed(1)).x_t
        assert ks_2samp(moved.flatten(), drawn.flatten()).pvalue > 1e-3
        if isinstance(path, KacPath):  # what is on an atom stays there
            edge = (drawn.abs() >= 3.0 * 0.4 * (1 - 1e-6)).float().mean()
            there = (moved.abs() >= 3.0 * 0.4 * (1 - 1e-6)).float().mean()
            assert there == pytest.approx(float(edge), abs=0.01)


def test_transport_of_straight_lines_is_euler() -> None:
    torch.manual_seed(0)
    network = ResidualMLP((2,), width=16, blocks=1, classes=0, horizon=1.0).eval()
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))
    config = TrainConfig(data="grid9", path="flow_matching", prediction="data")
    model = TrainedModel(network, config, (2,), 0, 0)
    seen = []

    def judge(samples: np.ndarray) -> float:
        seen.append(samples)
        return float(samples.mean())

    task = smoke(Path("x"), "flow-matching", 0, "transport_modes")
    found = transport.measured(model, network, task, judge)
    assert set(found) == set(transport.measures_of(""))
    assert list(found["euler"].values()) == pytest.approx(
        list(found["transport"].values()), abs=1e-5
    )
    assert found["transport_less_ab2"]["8"] == found["transport"]["8"] - found["ab2"]["8"]  # type: ignore[operator]


def test_memory_of_a_call() -> None:
    found = dimension.cost_of_pairs(KacPath(KacProcess(9.0, 3.0)), 100, 2**23)
    if sys.platform == "linux":
        assert 7.5 < found["pair_bytes"] < 10.0  # type: ignore[operator]


def test_guided_digits_are_judged(tmp_path: Path) -> None:
    """Of a network that leads every digit far out of its range."""

    class Out(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return (-9.0 * self.one * (labels >= 0).reshape(-1, 1, 1, 1)).expand_as(x)

    config = TrainConfig(data="digits", labels=True, path="flow_matching")
    model = TrainedModel(Out(), config, (1, 8, 8), 10, 0)
    found = guidance.measure(model, smoke(tmp_path, "flow-matching-velocity", 0, "guidance"))
    assert set(found) == set(guidance.MEASURES)
    assert found["out_of_range"]["0"] == 1.0 and found["not_finite"]["20"] == 0.0
    largest = found["largest"]
    assert largest["20"] - largest["0"] == pytest.approx(20.0 * 9.0, rel=1e-3)  # type: ignore[operator]


def test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10's question on a small archive, with features of a few numbers."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(30):
            image = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "data" / name / f"{number}.png")

    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    torch.jit.script(Mean()).save(str(tmp_path / "mean.pt"))
    features = lambda task: evaluation.Features(tmp_path / "mean.pt")  # noqa: E731
    monkeypatch.setattr(cifar10, "_features", features)
    monkeypatch.setattr(cifar10, "SAMPLES", 100)
    monkeypatch.setitem(cifar10.STEPS, "smoke", 1)
    monkeypatch.setattr(
        pool, "_start", lambda task: worker.run(task) and subprocess.Popen(["true"])
    )
    given = ["--only", "cifar10", "--budget", "smoke", "--seeds", "1", "--data"]
    given += [str(tmp_path / "data"), "--out", str(tmp_path), "--conditions", "kac-25-2"]
    assert command.main([*given, "--picture", str(tmp_path / "x.png")]) == 0
    content = json.loads((tmp_path / "quality-cifar10.json").read_text())
    assert str(tmp_path) not in json.dumps(content["configurations"])
    assert set(content["summary"]["frechet_distance"]["kac-25-2"]) == {"4"}
    assert content["real"]["frechet_distance"]["n"] == 1
    assert (tmp_path / "cifar10" / "smoke" / "kac-25-2-seed0" / cifar10.PICTURE).is_file()


def test_the_full_budget_of_images_is_the_recipe_of_the_paper(tmp_path: Path) -> None:
    config = Task("cifar10", "kac-25-2", 0, "full", "cuda", tmp_path, "x.zip").config
    assert (config.steps, config.width, config.batch, config.labels) == (400_000, 128, 128, False)


def test_students_beside_their_teacher(tmp_path: Path) -> None:
    task = smoke(tmp_path, "flow-matching", 0, "few_steps_modes")
    found = worker.run(task)["measured"]
    assert set(found) == set(students.measures_of(""))
    assert set(found[students.TEACHER]) == {"1", "2", "4", "20", "100"}
    assert set(found[students.STUDENTS]) == {"1", "2", "4", "20"}
    ratio = found[students.STUDENTS]["2"] / found[students.TEACHER]["100"]
    assert found["ratio"]["2"] == ratio
    assert load_model(task.folder / "steps-2").config.student_steps == 2
    assert worker.result_of(task) is not None

"""The laws of the plane, the tails that are measured beside them, and the noises on them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import kstest, norm

from benchmarks.quality import __main__ as command
from benchmarks.quality import laws, pool, questions, worker
from benchmarks.quality.plan import Task
from kacflow.training import build_path
from kacflow.training.checkpoint import load_checkpoint

pytest.importorskip("ot")

NAMES = [name for name in questions.NAMES if name.startswith("noises_")]


def smoke(out: Path, condition: str, question: str = "noises_funnel", seed: int = 0) -> Task:
    return Task(question, condition, seed, "smoke", "cpu", out)


@pytest.mark.parametrize("name", NAMES)
def test_the_distribution_of_absolute_values_is_that_of_the_data(name: str) -> None:
    task = smoke(Path("x"), "gaussian", name)
    samples = np.abs(laws.fresh(task, 40_000))
    for number, function in enumerate(laws.ABSOLUTE[task.config.data]):
        assert kstest(samples[:, number], function).pvalue > 1e-3
        assert float(function(np.array(laws.quantile(function)))) == pytest.approx(0.99, abs=1e-9)


def test_the_second_component_of_the_funnel() -> None:
    """By SciPy's integral over the first."""
    for x in (0.01, 1.0, 30.0, 400.0):
        value, _ = quad(
            lambda v, x=x: norm.pdf(v, scale=3.0) * (2.0 * ndtr(x * np.exp(-0.5 * v)) - 1.0),
            -30.0, 30.0, limit=500, epsabs=1e-12,
        )  # fmt: skip
        assert float(laws.ABSOLUTE["funnel"][1](np.array(x))) == pytest.approx(value, abs=1e-8)


def exponential(x: np.ndarray) -> np.ndarray:
    return -np.expm1(-x)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_tail_by_its_closed_form(scale: float) -> None:
    """Exponential numbers of another scale, at their own quantiles."""
    n = 200_000
    values = -scale * np.log1p(-(np.arange(n) + 0.5) / n)
    x = np.linspace(-np.log(0.01), 60.0, 100_001)
    gap = np.abs(np.exp(-x / scale) - np.exp(-x)).max() / 0.01
    given = np.abs(np.exp(-(x - x[0]) / scale) - np.exp(-(x - x[0]))).max()
    found = laws.tail_of(values, exponential)
    assert found.tail == pytest.approx(gap, abs=2e-3)
    assert found.tail_shape == pytest.approx(given, abs=0.03 if scale == 0.5 else 2e-3)
    assert found.tail_mass == pytest.approx(0.01 ** (1.0 / scale) / 0.01, abs=2e-3)


def test_a_tail_that_is_not_there() -> None:
    assert laws.tail_of(np.ones(10), exponential) == pytest.approx((1.0, 1.0, 0.0))
    all_far = laws.tail_of(np.full(10, 100.0), exponential)
    assert all_far == pytest.approx((100.0, 1.0, 100.0))
    half = laws.tail_of(np.array([0.0] * 199 + [-np.log(0.005)]), exponential)
    assert half == pytest.approx((0.5, 0.5, 0.5))


def test_student_noise_has_the_law_of_student() -> None:
    from scipy.stats import t

    path = build_path(smoke(Path("x"), "student").config, (2,))
    drawn = path.sample_prior((30_000, 2), generator=torch.Generator().manual_seed(0)).detach()
    assert kstest(drawn.flatten().numpy(), t(4).cdf).pvalue > 1e-3
    q = np.array([1e-6, 1e-4, 0.01, 0.3, 0.5, 0.8, 0.999, 1 - 1e-5])
    found = path.noise.icdf(torch.from_numpy(q), 1.0).detach().numpy()
    np.testing.assert_allclose(found, t(4).ppf(q), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_noises_on_a_law(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three noises and two seeds: tables, real data and picture."""
    monkeypatch.setattr(
        pool, "_start", lambda task: worker.run(task) and subprocess.Popen(["true"])
    )
    conditions = ["gaussian", "student-paired", "learned"]
    given = ["--only", name, "--budget", "smoke", "--seeds", "2", "--out", str(tmp_path)]
    picture = tmp_path / "x.png"
    assert command.main([*given, "--conditions", *conditions, "--picture", str(picture)]) == 0
    assert picture.stat().st_size > 10_000
    content = json.loads((tmp_path / f"quality-{name}.json").read_text())
    for measure in laws.MEASURES:
        found = content["summary"][measure]
        assert list(found) == conditions
        assert set(found["learned"]) == ({"2"} if "w2" in measure else {"1", "2"})
        of_real = content["real"][measure]
        assert of_real["n"] == (2 if "w2" in measure else 4) and of_real["mean"] > 0.0
    start, end = (
        build_path(smoke(tmp_path, "learned", name).config, (2,)).noise.state_dict(),
        load_checkpoint(smoke(tmp_path, "learned", name).folder).part("noise"),
    )
    assert all(not torch.equal(end[key], value) for key, value in start.items())
    kept = load_checkpoint(smoke(tmp_path, "student-paired", name).folder).part("noise")
    begun = build_path(smoke(tmp_path, "student-paired", name).config, (2,)).noise.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in begun.items())


def test_a_run_that_diverged_has_no_measures() -> None:
    found = laws.measure(None, smoke(Path("x"), "gaussian"))
    assert set(found) == set(laws.MEASURES) and not any(found.values())


def test_fresh_samples_are_others_by_seed_and_number() -> None:
    task = smoke(Path("x"), "gaussian")
    drawn = [laws.fresh(task, 100), laws.fresh(task, 100, 1),
             laws.fresh(dataclasses.replace(task, seed=1), 100)]  # fmt: skip
    assert np.array_equal(drawn[0], laws.fresh(task, 100))
    assert not any(np.array_equal(drawn[0], other) for other in drawn[1:])

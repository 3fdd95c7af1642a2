"""Frechet distance against closed forms; opinions of the classifiers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kacflow.metrics import ClassJudge, frechet_distance, nearest_distances, precision_recall
from kacflow.training.data import digits_split


def with_moments(mean: np.ndarray, covariance: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Samples with exactly this mean and unbiased covariance."""
    z = np.random.default_rng(seed).standard_normal((n, len(mean)))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z, rowvar=False))).T
    return mean + z @ np.linalg.cholesky(covariance).T


def test_commuting_covariances() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))
    s, t = np.array([1.0, 2.0, 0.5, 3.0]), np.array([2.0, 2.0, 1.5, 0.1])
    m, k = np.arange(4.0), np.array([1.0, 1.0, 0.0, 5.0])
    x = with_moments(m, rotation * s**2 @ rotation.T, 50, 1)
    y = with_moments(k, rotation * t**2 @ rotation.T, 30, 2)
    expected = ((m - k) ** 2).sum() + ((s - t) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_general_covariances_against_the_matrix_root() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(5)
    x, y = (rng.standard_normal((40, 3, 2)) @ rng.standard_normal((2, 2)) for _ in range(2))
    a, b = x.reshape(40, 6), y.reshape(40, 6)
    c, d = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c + d - 2 * sqrtm(c @ d).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-7)


def test_zero_for_equal_sets_even_if_degenerate() -> None:
    x = np.random.default_rng(0).standard_normal((20, 64))  # fewer samples than dimensions
    assert frechet_distance(x, x[::-1]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((1, 2)), np.full((3, 2), np.nan)])
def test_bad_samples(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="x: "):
        frechet_distance(bad, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="y: got 3"):
        frechet_distance(np.zeros((3, 2)), np.zeros((3, 3)))


def test_nearest_distances() -> None:
    found = nearest_distances([[0.0, 0.0], [5.0, 4.0]], [[3.0, 4.0], [0.0, 1.0]])
    assert found.tolist() == [1.0, 2.0]


def test_judge_knows_digits_from_noise() -> None:
    train, labels, held_out, held_out_labels = (part.numpy() for part in digits_split())
    judge = ClassJudge(train, labels)
    assert judge.accuracy(held_out, held_out_labels) > 0.97
    real = judge.judge(held_out)
    assert real["agreement"] > 0.97
    assert real["class_balance"] > 0.99
    assert sum(real["class_counts"].values()) == len(held_out)
    noise = np.random.default_rng(0).uniform(-1, 1, held_out.shape)
    strange = judge.judge(noise)
    assert strange["agreement"] < 0.8
    assert strange["mean_confidence"] < real["mean_confidence"] - 0.05
    zeros = judge.judge(train[labels == 0])
    assert zeros["class_balance"] < 0.1


@pytest.mark.parametrize("samples", [[["a"]] * 3, [[1j], [2j]], [[1.0], [1.0, 2.0]], [[None]] * 2])
def test_what_are_no_numbers_is_named(samples: list) -> None:
    with pytest.raises(TypeError, match="y: "):
        frechet_distance([[0.0], [2.0]], samples)


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        (np.ma.array([[0.0], [2.0]], mask=[[0], [1]]), TypeError),
        (torch._to_functional_tensor(torch.ones(2, 1)), TypeError),  # a wrapper without memory
        ([[1e60], [2e60]], ValueError),
        ([[-np.inf], [0.0]], ValueError),
    ],
)
def test_what_metrics_cannot_compute_with(samples, error) -> None:
    for measure in (frechet_distance, nearest_distances, precision_recall):
        with pytest.raises(error, match="y: "):
            measure([[0.0], [2.0]], samples)


def test_labels_of_a_judge_do_not_broadcast() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2))
    labels = (rows[:, 0] > 0).astype(int)
    judge = ClassJudge(rows, labels)
    assert judge.accuracy(rows, labels) > 0.8
    for wrong in (labels[:, None], labels[:1], 1, labels[:, None].astype(float)):
        with pytest.raises(ValueError, match=r"labels: got .*allowed: integers"):
            judge.accuracy(rows, wrong)
        with pytest.raises(ValueError, match="labels: "):
            ClassJudge(rows, wrong)
    with pytest.raises(ValueError, match="samples: got 1 numbers"):
        judge.judge(rows[:, :1])

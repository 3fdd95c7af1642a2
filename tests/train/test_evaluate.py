"""Each measure against a closed form or an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kacflow import metrics

torchmetrics = pytest.importorskip("torchmetrics", reason="kacflow[evaluate]")


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def scored(n: int, d: int, seed: int) -> np.ndarray:
    """Samples of mean exactly 0 and unbiased covariance exactly the unit matrix."""
    x = normal(n, d, seed)
    x -= x.mean(0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T


def between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """All distances, one difference at a time."""
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))


def mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate of equation 4 of Gretton et al., JMLR 13 (2012), with double sums."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(np.dot(a, b)) / len(a) + 1.0) ** 3

    m, n = len(x), len(y)
    same = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    same += sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return same - 2.0 * sum(kernel(a, b) for a in x for b in y) / (m * n)


def test_kernel_distance_of_one_subset_is_the_double_sum() -> None:
    x, y = normal(23, 4, 0), normal(23, 4, 1, 0.5)
    value, error, subsets = metrics.kernel_distance(x, y, 23)
    assert value == pytest.approx(mmd(x, y), rel=1e-12)
    assert error is None and subsets == 1


def test_kernel_distance_over_disjoint_subsets() -> None:
    """N(0, 1) against N(m, 1), m = (1, 1, 1), where the moments of x.y give the expectation.

    Of two independent ones of the same law (x.x'/3 + 1)^3 has mean 1 + 3/3 = 2, of y and y', with
    y.y' + 3 = 6 + A, E A^2 = 9, E A^3 = 18, it is (216 + 162 + 18)/27, of x and y 1 + 3 * 6/9 = 3.
    """
    exact = 2.0 + 396.0 / 27.0 - 2.0 * 3.0
    found = [metrics.kernel_distance(normal(1000, 3, i), normal(1400, 3, 90 + i, 1.0), 50, seed=4)
             for i in range(30)]  # fmt: skip
    values, errors = (np.array([one[k] for one in found]) for k in (0, 1))
    assert {one[2] for one in found} == {20}
    assert abs(values.mean() - exact) < 4.0 * values.std(ddof=1) / 30**0.5
    assert np.abs((values - exact) / errors).max() < 5.0
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.5)
    x, y = normal(1000, 3, 0), normal(1400, 3, 90, 1.0)
    state = torch.get_rng_state()
    assert metrics.kernel_distance(x, y, 50, seed=4)[0] == values[0]
    assert metrics.kernel_distance(x, y, 50, seed=5)[0] != values[0]
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match=r"subset_size: got 1001; allowed: an int in \[2, 1000\]"):
        metrics.kernel_distance(x, y, 1001)


def test_frechet_distance_is_that_of_torchmetrics() -> None:
    x, y = normal(300, 5, 0) @ normal(5, 5, 1), normal(200, 5, 2, 0.3) @ normal(5, 5, 3)

    class Same(torch.nn.Module):
        num_features = 5

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values

    fid = torchmetrics.image.fid.FrechetInceptionDistance(Same())
    fid.update(torch.from_numpy(x), real=False)
    fid.update(torch.from_numpy(y), real=True)
    assert metrics.frechet_distance(x, y) == pytest.approx(float(fid.compute()), rel=1e-9)


def test_precision_and_recall_of_sets_that_are_known() -> None:
    x = normal(60, 3, 0)
    assert metrics.precision_recall(x, x) == (1.0, 1.0)
    assert metrics.precision_recall(x, x + 100.0) == (0.0, 0.0)
    # Two clusters; the generated samples are those of the first.
    both = np.concatenate((x, x + 100.0))
    assert metrics.precision_recall(x, both) == (1.0, 0.5)
    assert metrics.precision_recall(both, x) == (0.5, 1.0)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("d", [2, 40])  # scikit-learn uses a tree, and no tree
def test_precision_and_recall_against_all_distances(k: int, d: int) -> None:
    x, y = normal(70, d, 5, 0.5), 0.8 * normal(90, d, 6)

    def inside(points: np.ndarray, samples: np.ndarray) -> float:
        radii = np.sort(between(samples, samples), axis=1)[:, k]  # the 0th is the sample itself
        return float((between(points, samples) <= radii).any(1).mean())

    expected = inside(x, y), inside(y, x)
    assert metrics.precision_recall(x, y, k) == expected
    assert 0.0 < expected[0] < 1.0 or d == 40
    with pytest.raises(ValueError, match=r"k: got 70; allowed: an int in \[1, 69\]"):
        metrics.precision_recall(x, y, 70)


@pytest.mark.parametrize("d", [2, 40])
def test_nearest_against_all_distances(d: int) -> None:
    x, y = normal(50, d, 0), normal(80, d, 1) + 1e6  # where a difference of squares has no digits
    x = np.concatenate((x + 1e6, y[:3]))
    distances, indices = metrics.nearest(x, y)
    np.testing.assert_allclose(distances, between(x, y).min(1), rtol=1e-3)
    assert distances[-3:].tolist() == [0.0] * 3 and indices[-3:].tolist() == [0, 1, 2]
    x, y = x - 1e6, y - 1e6
    distances, indices = metrics.nearest(x, y)
    np.testing.assert_allclose(distances, between(x, y).min(1), rtol=1e-12)
    assert (indices == between(x, y).argmin(1)).all()

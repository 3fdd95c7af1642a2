"""Samples of a trained model with the evaluations they took, and how close they are to the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kacflow.training import TrainedModel
from kacflow.training.sampling import draw_samples

#: {measure: {point: number, or None where samples were not finite}}
Measured = dict[str, dict[str, float | None]]

#: A mode is found if at least this share of the points lies within this distance of it.
LEAST_SHARE, RADIUS = 1e-3, 0.1

PIVOTS = 100_000_000  #: of POT's network simplex, at most


class Speed(NamedTuple):
    """Euclidean norm of what the network returned in one evaluation, over the samples."""

    t: float
    mean: float
    largest: float


class Drawn(NamedTuple):
    """Generated samples, float32 on the CPU, and the evaluations of the network for each."""

    samples: np.ndarray
    evaluations: int
    speeds: list[Speed]  #: in the order of evaluation; of velocities where it returns those


def draw(model: TrainedModel, n: int, **options: Any) -> Drawn:
    """``n`` samples at once by :func:`draw_samples`, the network's evaluations counted.

    AB2's first step is Euler's, and every later one uses the velocity before it: one evaluation a
    step.
    """
    rows, speeds = 0, []

    def seen(module: object, given: tuple[Any, ...], returned: Any) -> None:
        nonlocal rows
        rows += len(returned)
        norms = returned.detach().flatten(1).norm(dim=1)
        time = given[1].flatten()[0]
        speeds.append(Speed(float(time), float(norms.mean()), float(norms.max())))

    handle = model.network.register_forward_hook(seen)
    try:
        samples = draw_samples(model, n, chunk=n, **options).numpy()
    finally:
        handle.remove()
    if rows % n:
        raise ValueError(f"{rows} evaluations of {n} samples: not equally many for each")
    return Drawn(samples, rows // n, speeds)


def finite(value: float) -> float | None:
    """The number, or None in place of NaN and infinity, which JSON cannot hold."""
    return float(value) if math.isfinite(value) else None


def of_finite(metric: Callable[..., float], samples: np.ndarray, *more: Any) -> float | None:
    """``metric(samples, *more)``, or None if a sample is not finite."""
    return metric(samples, *more) if np.isfinite(samples).all() else None


def w2(x: np.ndarray, y: np.ndarray) -> float:
    """2-Wasserstein distance of two empirical measures of equally many points, (n, d) each.

    The root of the mean squared distance in the best assignment of one to the other; exact, as
    optimal plans between measures of equal weights are permutations.  By POT's network simplex if
    it is installed, else by SciPy's assignment, which takes several times as long for the same
    number.
    """
    if x.shape != y.shape:
        raise ValueError(f"y: got shape {y.shape}; allowed: {x.shape}, that of x")
    costs = cdist(np.asarray(x, np.float64), np.asarray(y, np.float64), "sqeuclidean")
    found = _transport(costs)
    return math.sqrt(_assignment(costs) if found is None else found)


def _assignment(costs: np.ndarray) -> float:
    """Mean cost of the best assignment of rows to columns."""
    rows, columns = linear_sum_assignment(costs)
    return float(costs[rows, columns].mean())


def _transport(costs: np.ndarray) -> float | None:
    """The same by POT; None without it, or where it has not reached the optimum."""
    try:
        import ot
    except ImportError:
        return None
    value, log = ot.emd2([], [], costs, numItermax=PIVOTS, log=True)
    return None if log["warning"] else max(0.0, float(value))


def nearest_mode(points: np.ndarray, modes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest mode to each point, and the distance to it."""
    distances = cdist(np.asarray(points, np.float64), modes)
    return distances.argmin(1), distances.min(1)


def modes_found(close: np.ndarray, n: int, modes: int) -> float:
    """Modes that at least ``LEAST_SHARE`` of ``n`` points are close to; ``close`` names theirs."""
    return float(np.sum(np.bincount(close, minlength=modes) >= LEAST_SHARE * n))


def total_variation(nearest: np.ndarray, modes: int) -> float:
    """Half the sum of |weight - 1/modes|, with the weights of the numbers in ``nearest``."""
    weights = np.bincount(nearest, minlength=modes) / len(nearest)
    return float(0.5 * np.abs(weights - 1.0 / modes).sum())

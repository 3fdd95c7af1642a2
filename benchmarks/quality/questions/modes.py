"""Nine modes in the plane: which are found, how well, and how fast the field is.

Data: {-1, 0, 1}^2, blurred by a Gaussian of standard deviation 1e-4, the plane of the paper, with
its network and settings (preset ``grid9``: three rectified layers of 256 units, batches of 256, a
constant learning rate of 5e-4), but for the signal, which is linear, as flow matching has it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from benchmarks.quality import measures, pictures
from benchmarks.quality.questions._noises import LABELS, NOISES, styles
from kacflow.training import TrainConfig, TrainedModel
from kacflow.training._presets import read_preset

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Nine modes in the plane"
MEASURES = {
    "w2": "exact 2-Wasserstein distance to as many real points, by evaluations",
    "modes_found": f"modes with at least {measures.LEAST_SHARE:.1%} of the points within "
    f"{measures.RADIUS}",
    "total_variation": "total variation of the modes' weights to uniform",
    "outside": f"share of points further than {measures.RADIUS} from every mode",
    "nll": "negative log-likelihood under the mixture that the data come from, in nats",
    "nll_wide": "the same under modes of standard deviation 0.05",
    "largest_speed": "largest |v| met on the way",
    "mean_speed": "mean |v| by time t, on the way with most evaluations",
}
CONDITIONS = dict(LABELS)
REFERENCE = "flow-matching"
OF_POINTS = ("w2", "modes_found", "total_variation", "outside", "nll", "nll_wide")
COMPARED = ("w2", "total_variation", "outside")
STEPS = {"short": 10_000, "long": 100_000, "full": 500_000}
SAMPLES, METHOD, TIMES = 2000, "ab2", 12
BLUR, WIDE = 1e-4, 0.05
MODES = np.array([(x, y) for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0)])


def configuration(task: Task) -> TrainConfig:
    """The paper's plane with one of the noises."""
    base = TrainConfig.from_dict(
        {
            **read_preset("grid9")["config"],
            "signal": "linear",
            "log_every": 50,
            "checkpoint_every": 2000,
        }
    )
    return dataclasses.replace(
        base, out=str(task.folder), steps=task.steps, seed=task.seed, device=task.device,
        validate_every=0, **NOISES[task.condition],
    )  # fmt: skip


def real_points(n: int, seed: int, *, even: bool) -> np.ndarray:
    """Samples of the data: ``even``, as many of each mode as of any other, or at random."""
    generator = np.random.default_rng((seed, int(even)))
    modes = np.arange(n) % len(MODES) if even else generator.integers(len(MODES), size=n)
    return MODES[modes] + BLUR * generator.standard_normal((n, 2))


def log_density(points: np.ndarray, blur: float) -> np.ndarray:
    """Log density of the mixture of nine normal laws of standard deviation ``blur``."""
    squares = cdist(np.asarray(points, np.float64), MODES, "sqeuclidean") / (2.0 * blur**2)
    return logsumexp(-squares, axis=1) - math.log(2.0 * math.pi * blur**2 * len(MODES))


def _of_points(points: np.ndarray, seed: int) -> dict[str, float]:
    """All measures of points but their speeds."""
    nearest, distances = measures.nearest_mode(points, MODES)
    close = distances <= measures.RADIUS
    return {
        "w2": measures.w2(points, real_points(len(points), seed, even=True)),
        "modes_found": measures.modes_found(nearest[close], len(points), len(MODES)),
        "total_variation": measures.total_variation(nearest, len(MODES)),
        "outside": float(np.mean(~close)),
        "nll": -float(log_density(points, BLUR).mean()),
        "nll_wide": -float(log_density(points, WIDE).mean()),
    }


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """Points that the model generates against the data, and the velocities that led there."""
    found: measures.Measured = {name: {} for name in MEASURES}
    n, most = task.samples, max(task.amount.evaluations)
    for steps in task.amount.evaluations:
        drawn = measures.draw(model, n, steps=steps, method=METHOD, seed=task.seed)
        point = str(drawn.evaluations)
        finite = bool(np.isfinite(drawn.samples).all())
        values = _of_points(drawn.samples, task.seed) if finite else {}
        for name in OF_POINTS:
            found[name][point] = values.get(name)
        found["largest_speed"][point] = measures.finite(max(s.largest for s in drawn.speeds))
        if steps == most:
            kept = np.linspace(0, steps - 1, min(TIMES, steps)).round().astype(int)
            speeds = [drawn.speeds[i] for i in kept]
            found["mean_speed"] = {f"{s.t:.6g}": measures.finite(s.mean) for s in speeds}
    return found


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """The same of independent samples of the data: what a perfect generator reaches."""
    each = [_of_points(real_points(task.samples, seed, even=False), seed) for seed in seeds]
    return {name: [values[name] for values in each] for name in each[0]}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distance, weights and share outside against evaluations; speed against time."""
    panels = {
        "w2": ("evaluations of the network", "2-Wasserstein distance"),
        "total_variation": ("evaluations of the network", "total variation of weights"),
        "outside": ("evaluations of the network", f"share beyond {measures.RADIUS} of a mode"),
        "mean_speed": ("t", "mean |v|"),
    }
    for number, (name, (x_label, y_label)) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(2, 2, number)
        pictures.curves(axes, content, name, CONDITIONS, styles(CONDITIONS))
        logarithmic = "linear" if name == "outside" else "log"
        axes.set(yscale=logarithmic, xlabel=x_label, ylabel=y_label)

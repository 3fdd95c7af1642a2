"""Nine modes in the plane: which are found, how well, and how fast the field is.

Data: {-1, 0, 1}^2, blurred by a Gaussian of standard deviation 1e-4, the plane of the paper.  A
residual perceptron of width 256, batches of 256, learning rate 5e-4; the velocity is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.quality import measures, pictures
from benchmarks.quality.questions._noises import COLOURS, LABELS, NOISES
from kacflow.training import TrainConfig, TrainedModel

if TYPE_CHECKING:
    from benchmarks.quality.plan import Budget

TITLE = "Nine modes in the plane"
MEASURES = {
    "w2": "exact 2-Wasserstein distance to as many real points, by evaluations",
    "modes_found": f"modes with at least {measures.LEAST_SHARE:.1%} of the points within "
    f"{measures.RADIUS}",
    "total_variation": "total variation of the modes' weights to uniform",
    "outside": f"share of points further than {measures.RADIUS} from every mode",
    "largest_speed": "largest |v| met on the way",
    "mean_speed": "mean |v| by time t, on the way with most evaluations",
}
CONDITIONS = dict(LABELS)
REFERENCE = "flow-matching"
SAMPLES, METHOD, TIMES = 5000, "ab2", 20
BLUR = 1e-4
MODES = np.array([(x, y) for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0)])


def configuration(condition: str, **options: Any) -> TrainConfig:
    """The paper's plane with one of the noises."""
    return TrainConfig(
        data="grid9", network="mlp", width=256, batch=256, lr=5e-4, prediction="velocity",
        **NOISES[condition], **options,
    )  # fmt: skip


def real_points(n: int, seed: int, *, even: bool) -> np.ndarray:
    """Samples of the data: ``even``, as many of each mode as of any other, or at random."""
    generator = np.random.default_rng((seed, int(even)))
    modes = np.arange(n) % len(MODES) if even else generator.integers(len(MODES), size=n)
    return MODES[modes] + BLUR * generator.standard_normal((n, 2))


def _of_points(points: np.ndarray, seed: int) -> dict[str, float]:
    """All measures of points but their speeds."""
    nearest, distances = measures.nearest_mode(points, MODES)
    close = distances <= measures.RADIUS
    return {
        "w2": measures.w2(points, real_points(len(points), seed, even=True)),
        "modes_found": measures.modes_found(nearest[close], len(points), len(MODES)),
        "total_variation": measures.total_variation(nearest, len(MODES)),
        "outside": float(np.mean(~close)),
    }


def measure(model: TrainedModel, budget: Budget, seed: int) -> measures.Measured:
    """Points that the model generates against the data, and the velocities that led there."""
    found: measures.Measured = {name: {} for name in MEASURES}
    n, most = budget.samples(SAMPLES), max(budget.evaluations)
    for steps in budget.evaluations:
        drawn = measures.draw(model, n, steps=steps, method=METHOD, seed=seed)
        point = str(drawn.evaluations)
        finite = bool(np.isfinite(drawn.samples).all())
        values = _of_points(drawn.samples, seed) if finite else {}
        for name in ("w2", "modes_found", "total_variation", "outside"):
            found[name][point] = values.get(name)
        found["largest_speed"][point] = measures.finite(max(s.largest for s in drawn.speeds))
        if steps == most:
            kept = np.linspace(0, steps - 1, min(TIMES, steps)).round().astype(int)
            speeds = [drawn.speeds[i] for i in kept]
            found["mean_speed"] = {f"{s.t:.6g}": measures.finite(s.mean) for s in speeds}
    return found


def real(budget: Budget, seeds: Sequence[int]) -> dict[str, list[float]]:
    """The same of independent samples of the data: what a perfect generator reaches."""
    n = budget.samples(SAMPLES)
    each = [_of_points(real_points(n, seed, even=False), seed) for seed in seeds]
    return {name: [values[name] for values in each] for name in each[0]}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distance, weights and share outside against evaluations; speed against time."""
    styles = {condition: {"color": COLOURS[condition]} for condition in CONDITIONS}
    panels = {
        "w2": ("evaluations of the network", "2-Wasserstein distance"),
        "total_variation": ("evaluations of the network", "total variation of weights"),
        "outside": ("evaluations of the network", f"share beyond {measures.RADIUS} of a mode"),
        "mean_speed": ("t", "mean |v|"),
    }
    for number, (name, (x_label, y_label)) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(2, 2, number)
        pictures.curves(axes, content, name, CONDITIONS, styles)
        logarithmic = "linear" if name == "outside" else "log"
        axes.set(yscale=logarithmic, xlabel=x_label, ylabel=y_label)
        if number == 1:
            axes.legend(fontsize=7)

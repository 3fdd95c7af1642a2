"""One-dimensional noises on laws of the plane, and how well the tails come out.

Noises at T = 1, with the defaults of the code of the paper *Adapting Noise to Data* (arXiv
2510.12636): the standard Gaussian and Student's t law of four degrees of freedom on straight lines,
the uniform law of the flow of the maximum mean discrepancy (b = 1), Kac (a = 9, c = 3), and a
quantile function a component that is learned for the first half of the steps.  The last is trained
on pairs of optimal transport within a batch, so the first two are there with such pairs as well:
only against them is what the learning brings seen alone.

The learned noise begins with the Gaussian.  Its learning rate is 0.01: the logarithms of what its
spline rises by in a bin have to move by several units within these steps, and Adam moves them by no
more than its rate in one.  All this was fixed before anything was trained.  Once it was, the first
component of the funnel's noise was found to be narrower than it had begun: with its weight of 1 the
transport's pull towards the data is what the field takes away again, since where the field is
right, v is the mean of Z - X.  So there is a second one whose transport weighs 10, added with the
results of the first seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import kstest

from benchmarks.quality import measures, pictures
from kacflow.training import TrainConfig, TrainedModel, load_held_out
from kacflow.training._plane import Gaussians9
from kacflow.training.data import random_samples

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

POINTS, DIRECTIONS, SLICED = 1000, 50, 10_000
LEVEL = 0.99  #: the tail of a component is what lies beyond this quantile of its absolute value
MEASURES = {
    "w2": f"exact 2-Wasserstein distance of {POINTS:,} samples to as many fresh ones of the law, "
    "by evaluations",
    "sliced_w2": f"sliced 2-Wasserstein distance of {SLICED:,} samples to as many fresh ones, "
    f"over {DIRECTIONS} directions, by evaluations",
    "tail": "largest distance of the distribution functions of |x_i| beyond the law's 99 % "
    "quantile, over 0.01, by component i",
    "tail_shape": "Kolmogorov-Smirnov distance of the conditional laws of |x_i| beyond it, by "
    "component i",
    "tail_mass": "share of samples beyond it, over 0.01, by component i",
}
COMPARED = ("w2", "sliced_w2", "tail", "tail_shape")
_STRAIGHT: dict[str, Any] = {"path": "quantile", "noise_steps": 0}
_LEARNED: dict[str, Any] = {
    "path": "quantile", "noise_components": "each", "noise_lr": 1e-2,
}  # fmt: skip
NOISES: dict[str, dict[str, Any]] = {
    "gaussian": {"path": "flow_matching"},
    "student": {**_STRAIGHT, "noise_start": "student", "noise_ot": 0.0},
    "uniform": {"path": "uniform", "b": 1.0},
    "kac": {"path": "kac", "a": 9.0, "c": 3.0},
    "gaussian-paired": _STRAIGHT,
    "student-paired": {**_STRAIGHT, "noise_start": "student"},
    "learned": _LEARNED,
    "learned-10": {**_LEARNED, "noise_ot": 10.0},
}
CONDITIONS = {
    "gaussian": "Gaussian",
    "student": "Student",
    "uniform": "uniform",
    "kac": "Kac, a = 9, c = 3",
    "gaussian-paired": "Gaussian, paired",
    "student-paired": "Student, paired",
    "learned": "learned",
    "learned-10": "learned, transport x 10",
}
REFERENCE = "gaussian"
_COLOURS = {
    "gaussian": "#8a5aa8", "student": "#c4693a", "uniform": "#888888", "kac": "#1b6ca8",
    "learned": "#6a9a3b",
}  # fmt: skip
STYLES = {
    name: {"color": _COLOURS[name.partition("-")[0]], "linestyle": "--" if "-" in name else "-"}
    for name in CONDITIONS
}  # fmt: skip
SAMPLES, METHOD = 20_000, "ab2"
STEPS = {"short": 2_000, "long": 30_000, "full": 300_000}

Function = Callable[[np.ndarray], np.ndarray]


def _of_gaussians(component: int) -> Function:
    law = Gaussians9()
    centres = law.raw(torch.arange(law.size))[:, component].double().numpy()

    def inside(x: np.ndarray) -> np.ndarray:
        sides = (np.asarray(sign * x)[..., None] for sign in (1.0, -1.0))
        high, low = (ndtr((side - centres) / law.std).mean(-1) for side in sides)
        found: np.ndarray = high - low
        return found

    return inside


def _of_funnel(x: np.ndarray) -> np.ndarray:
    """P(|x_2| <= x): the mean over x_1 of that given x_1, by Gauss's rule."""
    z, weights = np.polynomial.hermite_e.hermegauss(200)
    given = 2.0 * ndtr(np.asarray(x)[..., None] * np.exp(-1.5 * z)) - 1.0
    found: np.ndarray = given @ (weights / math.sqrt(2.0 * math.pi))
    return found


#: P(|x_i| <= x) of each component of the data, for x >= 0.
ABSOLUTE: dict[str, tuple[Function, Function]] = {
    "checkerboard": (lambda x: np.clip(0.5 * x, 0.0, 1.0),) * 2,
    "gaussians9": (_of_gaussians(0), _of_gaussians(1)),
    "funnel": (lambda x: 2.0 * ndtr(x / 3.0) - 1.0, _of_funnel),
}


class Tail(NamedTuple):
    """A tail beside that of the law; 0, 0 and 1 if both are equal."""

    tail: float  #: sup over x >= q of |F_n(x) - F(x)|, over 1 - LEVEL
    tail_shape: float  #: Kolmogorov-Smirnov distance of the laws given x > q; 1 if no x is there
    tail_mass: float  #: share of x > q, over 1 - LEVEL


def quantile(function: Function) -> float:
    """The LEVEL-quantile q of a distribution function on [0, inf)."""
    found: float = brentq(lambda x: float(function(np.array(x))) - LEVEL, 0.0, 1e6, xtol=1e-12)
    return found


def tail_of(values: np.ndarray, function: Function) -> Tail:
    """The tail of ``values`` (n,), F_n, beside that of the law with the continuous distribution
    ``function`` F on [0, inf), beyond the quantile q with F(q) = LEVEL."""
    values = np.sort(np.asarray(values, np.float64))
    n, least = len(values), 1.0 - LEVEL
    beyond = values[values > quantile(function)]
    m = len(beyond)
    there = (function(beyond) - LEVEL) / least  # uniform on [0, 1], of the law
    steps = np.arange(n - m, n + 1) / n
    gaps = [LEVEL - steps[0], *(there * least + LEVEL - steps[:-1]),
            *(there * least + LEVEL - steps[1:])]  # fmt: skip
    shape = float(kstest(there, "uniform").statistic) if m else 1.0
    return Tail(float(np.abs(gaps).max()) / least, shape, m / n / least)


def configuration(task: Task, data: str) -> TrainConfig:
    """Three rectified layers of 128 units, batches of 128, and one of the noises."""
    return TrainConfig(
        **{"noise_steps": task.steps // 2, **NOISES[task.condition]},
        data=data, out=str(task.folder), network="perceptron", width=128, blocks=3, batch=128,
        steps=task.steps, warmup=100, seed=task.seed, device=task.device, validate_every=0,
        checkpoint_every=task.steps,
    )  # fmt: skip


def fresh(task: Task, n: int, number: int = 0) -> np.ndarray:
    """Samples (n, 2) of the law, others than those trained on; others again by ``number``."""
    data = load_held_out(task.config)
    if data is None:
        raise ValueError(f"data: {task.config.data!r} is no law")
    return random_samples(data, n, 1_000_000 * (number + 1) + task.seed).double().numpy()


def distances(samples: np.ndarray, other: np.ndarray, seed: int) -> dict[str, float]:
    """The Wasserstein distances of the first samples of two sets."""
    import ot

    n = min(SLICED, len(samples), len(other))
    sliced = ot.sliced_wasserstein_distance(
        samples[:n].astype(np.float64), other[:n], n_projections=DIRECTIONS, seed=seed
    )
    return {"w2": measures.w2(samples[:POINTS], other[:POINTS][: len(samples)]),
            "sliced_w2": float(sliced)}  # fmt: skip


def tails(samples: np.ndarray, data: str) -> dict[str, dict[str, float]]:
    """The measures of the tails, by component."""
    found: dict[str, dict[str, float]] = {name: {} for name in Tail._fields}
    for number, function in enumerate(ABSOLUTE[data]):
        tail = tail_of(np.abs(samples[:, number]), function)
        for name, value in tail._asdict().items():
            found[name][str(number + 1)] = value
    return found


def measure(model: TrainedModel | None, task: Task) -> measures.Measured:
    """Distances by evaluations, and the tails with most of them."""
    found: measures.Measured = {name: {} for name in MEASURES}
    if model is None:
        return found
    data, steps = task.config.data, task.amount.evaluations[1::2]
    for each in steps:
        n = task.samples if each == steps[-1] else min(SLICED, task.samples)
        drawn = measures.draw(model, n, steps=each, method=METHOD, seed=task.seed)
        finite = bool(np.isfinite(drawn.samples).all())
        values = distances(drawn.samples, fresh(task, n), task.seed) if finite else {}
        for name in ("w2", "sliced_w2"):
            found[name][str(drawn.evaluations)] = values.get(name)
        if finite and each == steps[-1]:
            for name, points in tails(drawn.samples, data).items():
                found[name].update(points)
    return found


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """The same of independent samples of the law, of the tails for both components together."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for seed in seeds:
        one, other = (fresh(task, task.samples, 2 * seed + k) for k in (1, 2))
        for name, value in distances(one, other, seed).items():
            found[name].append(value)
        for name, points in tails(one, task.config.data).items():
            found[name].extend(points.values())
    return found


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Distances against evaluations, tails by noise."""
    for number, name in enumerate(("w2", "sliced_w2"), 1):
        axes = figure.add_subplot(2, 2, number)
        pictures.curves(axes, content, name, CONDITIONS, STYLES)
        label = "2-Wasserstein distance" if number == 1 else "the same, sliced"
        axes.set(yscale="log", xlabel="evaluations of the network", ylabel=label)
    for number, name in enumerate(("tail", "tail_mass"), 3):
        axes = figure.add_subplot(2, 2, number)
        shown = [c for c in CONDITIONS if c in content["summary"].get(name, {})]
        for place, condition in enumerate(shown):
            for component, entry in content["summary"][name][condition].items():
                first = component == "1"
                axes.errorbar(
                    place + (-0.1 if first else 0.1), entry["mean"], entry["sd"] or 0.0,
                    marker="o" if first else "s", ms=4, capsize=2,
                    color=STYLES[condition]["color"], label=f"x_{component}" if not place else None,
                )  # fmt: skip
        axes.axhline(content["real"][name]["mean"], color=pictures.FLOOR, lw=1.0)
        axes.set_xticks(range(len(shown)), [CONDITIONS[c] for c in shown], fontsize=6,
                        rotation=30, ha="right", rotation_mode="anchor")  # fmt: skip
        axes.set_ylabel({"tail": "distance of the tails", "tail_mass": "mass of the tail"}[name])
        if number == 4:
            axes.legend(fontsize=6, loc="upper center")

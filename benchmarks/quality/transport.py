"""Transport steps: the exact flow of one conditional velocity from time to time.

With a prediction h of the data, the flow of the conditional velocity given h leads x_t to

    x_s = f(s) h + Q_g(s)(F_g(t)(x_t - f(t) h)),

with the cdf F and the quantiles Q of the noise (:meth:`kacflow.Path.transport`).  Of first order
with the last prediction h, and of second, the method of ``kacflow.generate``, with one from the
last two for the middle of the step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality import measures, pictures
from kacflow.path import Path
from kacflow.time_grids import time_grid
from kacflow.training import TrainedModel
from kacflow.training.data import torch_generator
from kacflow.training.paths import build_path
from kacflow.training.sampling import draw_samples

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

Predict = Callable[[Tensor, Tensor], Tensor]
METHODS = ("euler", "ab2", "transport", "transport2")
EVALUATIONS = (1, 2, 3, 4, 6, 8, 16, 32)


def measures_of(label: str) -> dict[str, str]:
    """Names and labels of what :func:`measured` finds."""
    found = {name: f"{label}; {name}, by evaluations" for name in METHODS}
    for name in METHODS[2:]:
        found[f"{name}_less_ab2"] = f"{name} less ab2, seed by seed, by evaluations"
    return found


def first_order(predict: Predict, x: Tensor, path: Path, steps: int) -> Tensor:
    """Integrate from T to 0 with a network that predicts the data; ``x`` is a sample at T."""
    for t, s in itertools.pairwise(time_grid("uniform", path, steps)):
        x = path.transport(x, t, s, predict(x, torch.full((len(x),), t, dtype=x.dtype)))
    return x


def measured(
    model: TrainedModel,
    predict: Predict,
    task: Task,
    judge: Callable[[np.ndarray], float | None],
) -> measures.Measured:
    """What ``judge`` finds of each method, from the same noise."""
    path, n = build_path(model.config), task.samples
    found: measures.Measured = {name: {} for name in measures_of("")}
    labels = torch.arange(n) % model.classes if model.classes else None
    start = path.sample_prior(
        (n, *model.sample_shape), generator=torch_generator(task.seed, "sample"),
        dtype=torch.float32,
    )  # fmt: skip
    for steps in EVALUATIONS:
        point = str(steps)
        for name, method in (("euler",) * 2, ("ab2",) * 2, ("transport2", "transport")):
            drawn = draw_samples(
                model, n, steps=steps, method=method, seed=task.seed, labels=labels, chunk=n
            )
            found[name][point] = judge(drawn.numpy())
        with torch.no_grad():
            found["transport"][point] = judge(first_order(predict, start, path, steps).numpy())
        for name in METHODS[2:]:
            value, other = found[name][point], found["ab2"][point]
            known = value is not None and other is not None
            found[f"{name}_less_ab2"][point] = value - other if known else None  # type: ignore[operator]
    return found


def draw(
    figure: Any,
    content: Mapping[str, Any],
    labels: Mapping[str, str],
    styles: Mapping[str, Mapping[str, Any]],
) -> None:
    """Differences from Adams-Bashforth against evaluations."""
    for number, name in enumerate(METHODS[2:], 1):
        axes = figure.add_subplot(1, 2, number)
        pictures.curves(axes, content, f"{name}_less_ab2", labels, styles)
        axes.axhline(0.0, color="#999999", lw=0.8)
        axes.set(xlabel="evaluations", ylabel="less than ab2 if below 0", title=name,
                 yscale="symlog")  # fmt: skip

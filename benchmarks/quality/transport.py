"""Transport steps, a trial: the exact flow of one conditional velocity from time to time.

With a prediction h of the data, the flow of the conditional velocity given h leads x_t to

    x_s = f(s) h + Q_g(s)(F_g(t)(x_t - f(t) h)),

with the cdf F and the quantiles Q of the noise; what is on an atom, or beyond, stays there.  Of
second order with h extrapolated from the last two predictions to the middle of the step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality import measures, pictures
from kacflow import KacPath
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


def moved(path: Path, noise: Tensor, t: float, s: float) -> Tensor:
    """Q_g(s)(F_g(t)(noise)), in float64."""
    before, after = (path.clock.value(torch.tensor(u, dtype=torch.float64)) for u in (t, s))
    noise = noise.double()
    if not isinstance(path, KacPath):  # both Gaussian: the scales are those of one draw
        old, new = (path.noise.scales(g)[0] for g in (before, after))
        return noise * (new / old)
    process, reach = path.process, path.process.c.double()
    edge = noise.abs() >= reach * before
    inside = torch.where(edge, torch.zeros_like(noise), noise)
    # Of the two tails the smaller probability, which keeps its digits.
    low = process.cdf(-inside.abs(), before)
    found = -process.icdf(low.clamp(max=0.5), after) * noise.sign()
    return torch.where(edge, noise.sign() * reach * after, found)


def samples(predict: Predict, x: Tensor, path: Path, steps: int, *, second_order: bool) -> Tensor:
    """Integrate from T to 0 with a network that predicts the data; ``x`` is a sample at T."""
    times = time_grid("uniform", path, steps)
    before: Tensor | None = None
    last = 0.0
    for t, s in itertools.pairwise(times):
        now = predict(x, torch.full((len(x),), t, dtype=x.dtype)).double()
        h = now
        if second_order and before is not None:
            h = now + 0.5 * (s - t) / last * (now - before)
        before, last = now, s - t
        f_t, f_s = (float(path.signal.value(torch.tensor(u, dtype=torch.float64))) for u in (t, s))
        noise = x.double() - f_t * h
        x = (f_s * h + (moved(path, noise, t, s) if s > 0.0 else 0.0)).to(x.dtype)
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
        for name in METHODS[:2]:
            drawn = draw_samples(
                model, n, steps=steps, method=name, seed=task.seed, labels=labels, chunk=n
            )
            found[name][point] = judge(drawn.numpy())
        for name in METHODS[2:]:
            with torch.no_grad():
                moving = samples(predict, start, path, steps, second_order=name == "transport2")
            value, other = judge(moving.numpy()), found["ab2"][point]
            found[name][point] = value
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
        if number == 1:
            axes.legend(fontsize=6)

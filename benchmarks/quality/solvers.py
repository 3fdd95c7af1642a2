"""A field integrated by several solvers, its evaluations counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality import measures, pictures
from benchmarks.quality.questions._noises import NOISES
from kacflow import generate
from kacflow.generate import FIXED_STEP
from kacflow.path import Path
from kacflow.training import TrainConfig, TrainedModel
from kacflow.training.data import torch_generator
from kacflow.training.paths import build_path

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

Field = Callable[[Tensor, Tensor], Tensor]
#: Evaluations per step; 0: as many as it takes.
SOLVERS = {"euler": 1, "ab2": 1, "heun": 2, "dopri5": 0}
#: Both tolerances of the adaptive solver, from loose to tight.
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4)


def measures_of(measure: str, label: str) -> dict[str, str]:
    """Names and labels of what :func:`measured` finds."""
    found = {
        f"{measure}_{name}": f"{label}; {name}, by evaluations"
        for name, each in SOLVERS.items()
        if each
    }
    found[f"{measure}_dopri5"] = f"{label}; dopri5, by tolerance"
    return {**found, "evaluations_dopri5": "evaluations that dopri5 takes, by tolerance"}


def path_of(noise: str) -> Path:
    """The path with one of the compared noises."""
    return build_path(TrainConfig(**NOISES[noise]))


def field_of(model: TrainedModel, labels: Tensor | None) -> Field:
    """A trained network as a field of x and t."""
    device = next(model.network.parameters()).device
    if labels is None:
        return lambda x, t: model.network(x.to(device), t.to(device)).to(x.device)
    classes = labels.to(device)
    return lambda x, t: model.network(x.to(device), t.to(device), classes).to(x.device)


def integrated(
    field: Field, path: Path, shape: Sequence[int], seed: int, *, t_min: float = 0.0, **options: Any
) -> tuple[np.ndarray, int]:
    """Samples and evaluations of each, from the noise that ``draw_samples`` starts from."""
    calls = 0

    def counted(x: Tensor, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return field(x, t)

    x_T = path.sample_prior(shape, generator=torch_generator(seed, "sample"), dtype=torch.float32)
    with torch.no_grad():
        samples = generate(counted, x_T, path, t_min=t_min, **options)
    return samples.numpy(), calls


def measured(
    field: Field,
    path: Path,
    shape: Sequence[int],
    task: Task,
    names: Sequence[str],
    judge: Callable[[np.ndarray], Mapping[str, float | None]],
    most: int = 10**6,
) -> measures.Measured:
    """What ``judge`` finds, by solver and evaluations, of which there are at most ``most``.

    A solver that cannot reach its tolerance has none there.
    """
    found: measures.Measured = {}

    def add(name: str, point: str, values: Mapping[str, float | None]) -> None:
        for measure, value in values.items():
            found.setdefault(f"{measure}_{name}", {})[point] = value

    for name in names:
        each = SOLVERS[name]
        for evaluations in task.amount.evaluations if each else ():
            if evaluations % each == 0 and evaluations <= most:
                steps = evaluations // each
                samples, calls = integrated(field, path, shape, task.seed, method=name, steps=steps)
                add(name, str(calls), judge(samples))
        for tolerance in () if name in FIXED_STEP else TOLERANCES:
            how = {"method": name, "rtol": tolerance, "atol": tolerance, "steps": 1}
            try:
                samples, calls = integrated(field, path, shape, task.seed, **how)
            except ValueError:
                continue
            add(name, f"{tolerance:g}", {**judge(samples)})
            found.setdefault(f"evaluations_{name}", {})[f"{tolerance:g}"] = float(calls)
    return found


def panels(
    figure: Any,
    content: Mapping[str, Any],
    measure: str,
    labels: Mapping[str, str],
    styles: Mapping[str, Mapping[str, Any]],
    y_label: str,
) -> None:
    """A panel per solver: the measure against evaluations, or against the tolerance."""
    for number, name in enumerate(SOLVERS, 1):
        axes = figure.add_subplot(2, 2, number)
        pictures.curves(axes, content, f"{measure}_{name}", labels, styles)
        x_label = "evaluations" if SOLVERS[name] else "tolerance"
        axes.set(yscale="log", xlabel=x_label, ylabel=y_label, title=name)

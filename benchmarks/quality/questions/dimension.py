"""What dimension costs: time and memory of the noise, and a network against the exact field.

Data: 16 points with independent standard normal components, in 2 to 100,000 dimensions.  The same
perceptron (three rectified layers of 128 units) for each, trained for the same few steps, is
compared with the exact field of the points: at noised points, and in where generation from the same
noise ends.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import timing
from benchmarks.quality import measures, pictures, solvers
from benchmarks.quality.questions._noises import LABELS, NOISES, styles
from kacflow import EmpiricalField
from kacflow.path import Path as NoisePath
from kacflow.plotting import read_log
from kacflow.training import TrainConfig, load_model, train
from kacflow.training.data import torch_generator

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "Dimension"
DIMENSIONS = (2, 10, 100, 1_000, 10_000, 100_000)
POINTS, NUMBERS = 16, 2**23  #: numbers of a batch that is timed
MEASURES = {
    "field_error": "E|v - u|^2 / E|u|^2 of the network's v and the exact u over times and noised "
    "points, by dimension",
    "sample_error": "the same of samples, of 16 evaluations from the same noise, by dimension",
    "pair_nanoseconds": "nanoseconds per number of a training pair (x_t, dx_t), one thread, by "
    "dimension",
    "pair_bytes": "most bytes per number that a pair needs beside x_0, by dimension",
    "step_microseconds": "microseconds of a training step per sample, by dimension",
}
COMPARED = ("field_error", "sample_error")
CONDITIONS = dict(LABELS)
REFERENCE = "flow-matching"
SAMPLES, METHOD, EVALUATIONS = 32, "ab2", 16
STEPS = {"smoke": 10, "short": 100, "long": 2_000, "full": 20_000}


def configuration(task: Task) -> None:
    """None: there is a training for every dimension."""


def points(d: int, seed: int) -> Tensor:
    """The data, float32 of shape (POINTS, d)."""
    return torch.randn(POINTS, d, generator=torch.Generator().manual_seed(seed))


def cost_of_pairs(path: NoisePath, d: int, numbers: int) -> dict[str, float | None]:
    """Time and memory of ``path.sample``."""
    n = max(1, numbers // d)
    x_0, t = torch.zeros(n, d), torch.rand(n)
    numbers = n * d
    held = timing.peak_bytes(lambda: path.sample(x_0, t))
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        path.sample(x_0, t)
        taken.append(time.perf_counter() - began)
    return {
        "pair_nanoseconds": statistics.median(taken) / numbers * 1e9,
        "pair_bytes": None if held is None else held / numbers,
    }


def _error(found: Tensor, exact: Tensor) -> float | None:
    difference = (found.double() - exact.double()).square().mean()
    return measures.finite(float(difference / exact.double().square().mean()))


def quality(task: Task, path: NoisePath, d: int, folder: Path) -> dict[str, float | None]:
    """Train in ``d`` dimensions, and compare with the exact field."""
    data = points(d, task.seed)
    np.save(folder / "data.npy", data.numpy())
    config = TrainConfig(
        data=str(folder / "data.npy"), out=str(folder / "run"), held_out=0.0, network="perceptron",
        width=128, blocks=3, batch=16, steps=task.steps, warmup=20, ema=0.0, validate_every=0,
        checkpoint_every=task.steps, seed=task.seed, device=task.device, **NOISES[task.condition],
    )  # fmt: skip
    train(config, progress=False)
    model, exact = load_model(config.out), EmpiricalField(data, path)
    field, n = solvers.field_of(model, None), task.samples
    lines = read_log(config.out)
    times = torch.linspace(0.02, 1.0, n)
    generator = torch_generator(task.seed, "noise")
    x_t = path.sample(data[torch.arange(n) % POINTS], times, generator=generator).x_t
    how: dict[str, Any] = {"method": METHOD, "steps": EVALUATIONS}
    few = (min(n, 8), d)
    found, known = (
        torch.from_numpy(solvers.integrated(f, path, few, task.seed, **how)[0])
        for f in (field, exact)
    )
    with torch.no_grad():
        return {
            "field_error": _error(field(x_t, times), exact(x_t, times)),
            "sample_error": _error(found, known),
            "step_microseconds": 1e6 / statistics.median(x["samples_per_second"] for x in lines),
        }


def measure(model: None, task: Task) -> measures.Measured:
    """All measures in every dimension."""
    found: measures.Measured = {name: {} for name in MEASURES}
    path = solvers.path_of(task.condition)
    for d in DIMENSIONS:
        with tempfile.TemporaryDirectory() as folder:
            values = quality(task, path, d, Path(folder))
        values.update(cost_of_pairs(path, d, task.amount.samples(NUMBERS)))
        for name, value in values.items():
            found[name][str(d)] = value
    return found


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Nothing."""
    return {}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Errors and cost against dimension."""
    shown = {"field_error": "error of the field", "sample_error": "error of samples",
             "pair_nanoseconds": "ns per number of a pair"}  # fmt: skip
    for number, (name, y_label) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, 3, number)
        pictures.curves(axes, content, name, CONDITIONS, styles(CONDITIONS))
        axes.set(yscale="log", xlabel="dimension", ylabel=y_label)

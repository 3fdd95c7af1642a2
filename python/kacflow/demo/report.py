"""What the demonstration measures."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from kacflow import KacPath, KacProcess
from kacflow.cli.info import collect
from kacflow.metrics import ClassJudge, frechet_distance, nearest_distances
from kacflow.training import TrainedModel
from kacflow.training.data import digits_split
from kacflow.training.sampling import draw_samples

EULER_STEPS = (100, 20, 4, 2, 1)
PAIR_SHAPE = (128, 3, 32, 32)


def quality(models: Mapping[str, TrainedModel], n: int) -> dict[str, Any]:
    """Distances and opinions about ``n`` digits of each model, beside the same of real digits.

    ``frechet_distance``: per model and number of Euler steps, and of the (up to n) training digits,
    ``real_to_real``; all to the held-out digits, over the 64 pixels in [-1, 1].  ``classifier``:
    see :class:`kacflow.metrics.ClassJudge`; trained on the training digits, with ``accuracy``, the
    share of a model's digits that it takes for the class they were asked to be: those of as many
    training digits.  ``median_distance_to_nearest_training_digit``: Euclidean, over pixels.
    """
    train, train_labels, held_out, held_out_labels = (part.numpy() for part in digits_split())
    judge = ClassJudge(train, train_labels)
    distances: dict[str, Any] = {"real_to_real": frechet_distance(train[:n], held_out)}
    opinions: dict[str, Any] = {
        "held_out_accuracy": judge.accuracy(held_out, held_out_labels),
        "held_out": judge.judge(held_out),
    }
    labels = torch.from_numpy(np.resize(train_labels, n))
    nearest = {"held_out": float(np.median(nearest_distances(held_out, train)))}
    for name, model in models.items():
        distances[name] = {}
        for steps in EULER_STEPS:
            samples = draw_samples(model, n, steps=steps, seed=1, labels=labels).numpy()
            distances[name][str(steps)] = frechet_distance(samples, held_out)
            if steps == EULER_STEPS[0]:
                opinions[name] = judge.judge(samples)
                opinions[name]["accuracy"] = judge.accuracy(samples, labels.numpy())
                nearest[name] = float(np.median(nearest_distances(samples, train)))
    return {
        "generated": n,
        "frechet_distance": distances,
        "classifier": opinions,
        "median_distance_to_nearest_training_digit": nearest,
    }


def pair_time_ratio(repeats: int = 200) -> dict[str, Any]:
    """Time of a Kac training pair over that of the Gaussian pair in plain torch, interleaved.

    Medians over ``repeats`` of ``KacPath.sample`` and of
    ``e = randn_like(x_0); (1 - t) x_0 + t e; e - x_0``, float32, shape 128 x 3 x 32 x 32.
    """
    path = KacPath(KacProcess(9.0, 3.0))
    x_0 = torch.zeros(PAIR_SHAPE)
    t = torch.linspace(0.01, 1.0, PAIR_SHAPE[0])

    def kac() -> None:
        path.sample(x_0, t)

    def gaussian() -> tuple[torch.Tensor, torch.Tensor]:
        e = torch.randn_like(x_0)
        s = t[:, None, None, None]
        return (1 - s) * x_0 + s * e, e - x_0

    seconds: dict[str, list[float]] = {"kac": [], "gaussian": []}
    for i in range(repeats + 10):
        for name, call in (("kac", kac), ("gaussian", gaussian)):
            start = time.perf_counter()
            call()
            if i >= 10:  # the first calls warm up
                seconds[name].append(time.perf_counter() - start)
    kac_time, gaussian_time = median(seconds["kac"]), median(seconds["gaussian"])
    return {
        "ratio": kac_time / gaussian_time,
        "kac_microseconds": 1e6 * kac_time,
        "gaussian_microseconds": 1e6 * gaussian_time,
        "shape": list(PAIR_SHAPE),
        "threads": torch.get_num_threads(),
    }


def machine() -> dict[str, Any]:
    """The processor and the versions that the numbers belong to."""
    return {"processor": _processor(), "cores": os.cpu_count(), **collect()}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

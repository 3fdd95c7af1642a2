"""CIFAR-10, as far as two cores carry it; and the paper's whole recipe for a GPU.

Short and long budgets: a U-Net with labels of 280,000 parameters, batches of 32, 10 evaluations a
sample, Frechet distance of 5,000 samples to the 5,000 held-out images in the features of
EfficientNet-Lite0.  Budget full is the paper's recipe (preset ``cifar10``) with each noise: its
U-Net, 400,000 steps, 50,000 samples against all training images in the features of the FID.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.quality import measures
from benchmarks.quality.questions._noises import COLOURS, LABELS, NOISES
from kacflow import evaluation, metrics, plotting
from kacflow.training import TrainConfig, TrainedModel, load_dataset, load_held_out, preset
from kacflow.training.checkpoint import write_atomically
from kacflow.training.sampling import draw_samples

if TYPE_CHECKING:
    from benchmarks.quality.plan import Task

TITLE = "CIFAR-10"
NEEDS_DATA = True
MEASURES = {
    "frechet_distance": "Frechet distance to real images, by evaluations",
    "kid": "kernel distance, by evaluations",
    "precision": "precision, by evaluations",
    "recall": "recall, by evaluations",
    "held_out_loss": "mean squared error of the velocity on held-out images, by steps (of what is "
    "predicted: not comparable between noises)",
}
COMPARED = ("frechet_distance", "kid")
CONDITIONS = dict(LABELS)
REFERENCE = "flow-matching"
SAMPLES, METHOD, EVALUATIONS = 5000, "ab2", 10
STEPS = {"short": 1_200, "long": 20_000, "full": 400_000}
FULL_SAMPLES, FULL_EVALUATIONS = 50_000, 100
PICTURE = "samples.png"  #: in the folder of a run: ten samples of each class, a row each


def configuration(task: Task) -> TrainConfig:
    """The network and settings that were fixed beforehand, with one of the noises."""
    common: dict[str, Any] = {
        "data": task.data or "cifar10.zip", "out": str(task.folder), "steps": task.steps,
        "seed": task.seed, "device": task.device, **NOISES[task.condition],
    }  # fmt: skip
    if task.budget == "full":
        return dataclasses.replace(preset("cifar10"), held_out=0.0, **common)
    return TrainConfig(
        labels=True, image_size=32, channels=3, flip=True, held_out=0.1, network="unet", width=16,
        multipliers="1-2-2", attention="8", blocks=1, batch=32, lr=1e-3, warmup=100,
        checkpoint_every=200, **common,
    )  # fmt: skip


def _features(task: Task) -> evaluation.Features:
    name = "inception" if task.budget == "full" else "efficientnet-lite0"
    return evaluation.Features("pixels" if task.budget == "smoke" else name, device=task.device)


def _real(task: Task, extract: evaluation.Features) -> np.ndarray:
    """Features of the real images, which are kept for the other trainings."""
    file = task.folder.parent / f"real-{extract.name}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = io.BytesIO()
        np.save(kept, extract(_real_images(task)))
        write_atomically(file, kept.getvalue())
    found: np.ndarray = np.load(file)
    return found


def _real_images(task: Task) -> torch.Tensor:
    config = dataclasses.replace(task.config, flip=False)
    data = load_dataset(config) if task.budget == "full" else load_held_out(config)
    if data is None:
        raise ValueError(f"data: {task.data!r} has no image to hold out")
    return evaluation.everything(data, 0)[0]


def measure(model: TrainedModel, task: Task) -> measures.Measured:
    """What is compared, of samples with equally many of each class."""
    full = task.budget == "full"
    n = FULL_SAMPLES if full else task.samples
    evaluations = FULL_EVALUATIONS if full else min(EVALUATIONS, max(task.amount.evaluations))
    samples = draw_samples(
        model, n, steps=evaluations, method=METHOD, seed=task.seed,
        labels=evaluation.balanced_labels(n, model.classes),
    )  # fmt: skip
    rows = torch.arange(0, n, max(1, n // 100))[:100]
    plotting.plot_samples(samples[rows], task.folder / PICTURE)
    found: measures.Measured = {name: {} for name in MEASURES}
    for line in plotting.read_log(task.folder):
        if "validation_loss" in line:
            found["held_out_loss"] = {f"{line['step']:g}": line["validation_loss"]}
    if bool(samples.isfinite().all()):
        extract = _features(task)
        of_all = evaluation.compared(extract(samples), _real(task, extract), task.seed)
        for name in ("frechet_distance", "kid", "precision", "recall"):
            found[name][str(evaluations)] = of_all[name]
    return found


def real(task: Task, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Of as many training images; nothing of budget full, which is compared with all of them."""
    if task.budget == "full":
        return {}
    data = load_dataset(dataclasses.replace(task.config, flip=False))
    rows = torch.arange(min(task.samples, data.size))
    extract = _features(task)
    one, other = extract(evaluation.everything(data, 0, rows=rows)[0]), _real(task, extract)
    return {"frechet_distance": [metrics.frechet_distance(one, other)]}


def draw(figure: Any, content: dict[str, Any]) -> None:
    """Frechet and kernel distance by noise."""
    for number, name in enumerate(("frechet_distance", "kid"), 1):
        axes = figure.add_subplot(1, 2, number)
        found = content["summary"].get(name, {})
        for place, (condition, points) in enumerate(found.items()):
            for entry in points.values():
                axes.errorbar(place, entry["mean"], entry["sd"] or 0.0, marker="o", capsize=3,
                              color=COLOURS[condition])  # fmt: skip
        axes.set_xticks(range(len(found)), [CONDITIONS[c] for c in found], rotation=20, fontsize=6)
        axes.set_ylabel(MEASURES[name].partition(",")[0])

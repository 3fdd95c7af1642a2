"""Samples of a trained model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._arguments import must
from kacflow.generate import generate
from kacflow.training.data import torch_generator

if TYPE_CHECKING:
    from kacflow.training.checkpoint import TrainedModel
    from kacflow.training.config import TrainConfig

MOST = 2**31 - 1  #: samples


def draw_samples(
    model: TrainedModel,
    n: int,
    *,
    steps: int | None = None,
    method: str = "euler",
    seed: int = 0,
    first: int = 0,
    chunk: int = 500,
    labels: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Generate the samples number ``first`` to ``first + n - 1`` of a seed, on the CPU, shape (n,
    *sample_shape).

    The noise that a sample starts from depends on (``seed``, its number) alone, not on how many are
    drawn, in what pieces of ``chunk``, by how many steps, or by which process.

    ``steps``, ``method`` and ``options`` are as in :func:`kacflow.generate`, ``guidance`` and
    ``t_grid`` among them.  A student takes the steps that it was made for by default, others 100;
    how else a student is used is warned of.  ``labels``, int64 of shape (n,), are the classes for a
    model with labels; -1 means none.
    """
    n, first = _arguments.integer("n", n, 1, MOST), _arguments.integer("first", first)
    chunk = _arguments.integer("chunk", chunk, 1)
    if labels is not None:
        labels = _checked_labels(labels, n, model)
    _warn_of_other_use(model.config, steps, method, options)
    steps = default_steps(model.config) if steps is None else steps
    path = model.path
    device = next(model.network.parameters()).device
    done = []
    with torch.no_grad():
        for number in range(first, first + n, chunk):
            x_t = path.sample_prior(
                (min(chunk, first + n - number), *model.sample_shape),
                generator=torch_generator(seed, "sample"), first=number, dtype=torch.float32,
            )  # fmt: skip
            here = slice(number - first, number - first + len(x_t))
            classes = None if labels is None else labels[here].to(device)
            x_0 = generate(
                model.network, x_t.to(device), path, steps=steps, method=method, labels=classes,
                prediction=model.config.prediction, **options,
            )  # fmt: skip
            done.append(x_0.cpu())
    return torch.cat(done)


def balanced_labels(n: int, classes: int, label: int | None = None) -> Tensor | None:
    """``label`` for all, or equally many of each class."""
    if label is not None:
        return torch.full((n,), _arguments.integer("label", label))
    return torch.arange(n) * classes // n if classes else None


def default_steps(config: TrainConfig) -> int:
    """Steps of the Euler method that a network generates with, if nothing is said."""
    return config.student_steps if config.teacher else 100


def _warn_of_other_use(
    config: TrainConfig, steps: int | None, method: str, options: dict[str, Any]
) -> None:
    """Warn where a student is to be used otherwise than it was trained."""
    made: dict[str, Any] = {"steps": config.student_steps, "method": "euler", "guidance": 0.0,
                            "t_grid": "uniform", "t_min": 0.0}  # fmt: skip
    used = {**made, "method": method, **{k: v for k, v in options.items() if v is not None}}
    used["steps"] = made["steps"] if steps is None else steps
    other = [f"{name}={used[name]!r}" for name in made if not _same(used[name], made[name])]
    if config.teacher and other:
        has = f", with guidance {config.student_guidance:g} in it" * (config.student_guidance > 0)
        warnings.warn(
            f"this student is made for {config.student_steps} equal Euler steps{has}; it is used "
            f"with {str(', '.join(other))[:80]}", UserWarning, stacklevel=3,
        )  # fmt: skip


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, (str, int, float)) and one == other


def _checked_labels(labels: Tensor, n: int, model: TrainedModel) -> Tensor:
    """Labels of ``n`` samples that the model knows."""
    must(model.classes, "labels", "some", "None, for a model that was trained without")
    fits = isinstance(labels, Tensor) and labels.dtype == torch.int64 and labels.shape == (n,)
    must(fits, "labels", _arguments.given(labels), f"a tensor of int64 of shape ({n},)")
    low, high = int(labels.min()), int(labels.max())
    known, last = low >= -1 and high < model.classes, model.classes - 1
    must(known, "labels", low if low < -1 else high, f"-1 (none) to {last}")
    return labels


def draw_samples_together(accelerator: Any, model: TrainedModel, n: int, **options: Any) -> Tensor:
    """As :func:`draw_samples`, by all processes of a run together: each generates a part, and gets
    all.

    The noise is that of one process; the samples agree up to the rounding of the network, which may
    depend on how many it computes at once.  ``model`` is on the device of ``accelerator``, and the
    other arguments are the same in all processes.
    """
    share = -(-n // accelerator.num_processes)
    first = accelerator.process_index * share
    labels = options.pop("labels", None)
    if labels is not None:  # of samples beyond n, which are cut off below, any will do
        labels = torch.cat((labels, labels.new_zeros(share * accelerator.num_processes - n)))
        labels = labels[first : first + share]
    part = draw_samples(model, share, first=first, labels=labels, **options)
    whole: Tensor = accelerator.gather(part.to(accelerator.device))
    return whole[:n].cpu()


def motion_strip(
    model: TrainedModel, real: Tensor, *, frames: int = 8, steps: int | None = None, seed: int = 0
) -> tuple[list[tuple[str, list[Tensor]]], list[float]]:
    """Samples turning into noise, and noise turning into samples: (rows, times) as
    :func:`kacflow.plotting.plot_strip` takes them.

    The samples ``real``, (n, *sample_shape), turn into noise at ``frames`` >= 2 times, evenly
    spaced from 0 to T.  ``steps``, Euler steps from T to 0, are rounded to a multiple of ``frames -
    1``; by default 100, or those of a student, of which there are frames as its steps allow.  Both
    rows are in the order of the times: generation is to be read from right to left.
    """
    frames = _arguments.integer("frames", frames, 2)
    if steps is None and model.config.teacher:
        steps = model.config.student_steps
        frames = 1 + max(n for n in range(1, frames) if steps % n == 0)
    steps = _arguments.integer("steps", 100 if steps is None else steps, 1)
    path = model.path
    times = [model.config.T * i / (frames - 1) for i in range(frames)]
    noising = []
    for time in times:  # the same noise at every time, so that each number moves continuously
        same = torch_generator(seed, "noise")
        noising.append(path.sample(real, time, generator=same).x_t)

    apart = max(1, round(steps / (frames - 1)))  # steps from frame to frame
    prior = torch_generator(seed, "sample")
    x_t = path.sample_prior(real.shape, generator=prior, dtype=torch.float32)
    device = next(model.network.parameters()).device
    with torch.no_grad():
        points = generate(
            model.network,
            x_t.to(device),
            path,
            steps=apart * (frames - 1),
            prediction=model.config.prediction,
            return_trajectory=True,
        )
    generating = list(points[::apart].flip(0).cpu())
    return [("noising \u2192", noising), ("\u2190 generation", generating)], times

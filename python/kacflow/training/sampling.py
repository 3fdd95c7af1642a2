"""Samples of a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kacflow.generate import generate
from kacflow.training.data import torch_generator
from kacflow.training.paths import build_path

if TYPE_CHECKING:
    from kacflow.training.checkpoint import TrainedModel


def draw_samples(
    model: TrainedModel,
    n: int,
    *,
    steps: int = 100,
    method: str = "euler",
    seed: int = 0,
    chunk: int = 500,
    **options: Any,
) -> Tensor:
    """Generate ``n`` samples, shape (n, *sample_shape), on the CPU.

    Parameters
    ----------
    model : TrainedModel
    n : int
        >= 1.
    steps, method, **options
        As in :func:`kacflow.generate`.
    seed : int
        Decides the noise the samples start from; the same for every number of steps.
    chunk : int
        Samples that are computed at once.
    """
    if n < 1:
        raise ValueError(f"n: got {n}; allowed: an integer >= 1")
    path = build_path(model.config)
    device = next(model.network.parameters()).device
    generator = torch_generator(seed, "sample")
    done = []
    with torch.no_grad():
        for first in range(0, n, chunk):
            shape = (min(chunk, n - first), *model.sample_shape)
            x_t = path.sample_prior(shape, generator=generator, dtype=torch.float32).to(device)
            x_0 = generate(model.network, x_t, path, steps=steps, method=method, **options)
            done.append(x_0.cpu())
    return torch.cat(done)


def motion_strip(
    model: TrainedModel, real: Tensor, *, frames: int = 8, steps: int = 100, seed: int = 0
) -> tuple[list[tuple[str, list[Tensor]]], list[float]]:
    """Samples turning into noise, and noise turning into samples.

    Parameters
    ----------
    model : TrainedModel
    real : Tensor
        Samples to turn into noise, (n, *sample_shape).
    frames : int
        Number of times, evenly spaced from 0 to T, >= 2.
    steps : int
        Euler steps from T to 0, rounded to a multiple of ``frames - 1``.
    seed : int
        Decides the noise.

    Returns
    -------
    rows, times
        As :func:`kacflow.plotting.plot_strip` takes them.  Both rows are in the order of
        ``times``: generation is to be read from right to left.
    """
    path = build_path(model.config)
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
            return_trajectory=True,
        )
    generating = list(points[::apart].flip(0).cpu())
    return [("noising \u2192", noising), ("\u2190 generation", generating)], times

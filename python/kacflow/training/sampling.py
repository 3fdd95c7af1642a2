"""Samples of a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

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
    from kacflow.generate import generate

    if n < 1:
        raise ValueError(f"n: got {n}; allowed: an integer >= 1")
    path = build_path(model.config)
    device = next(model.network.parameters()).device
    generator = torch_generator(seed, "sample")
    done = []
    with torch.no_grad():
        for first in range(0, n, chunk):
            shape = (min(chunk, n - first), *model.sample_shape)
            x_t = path.sample_prior(shape, generator=generator).to(device)
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
        Steps of the whole way from T to 0.
    seed : int
        Decides the noise.

    Returns
    -------
    rows, times
        As :func:`kacflow.plotting.plot_strip` takes them; the second row is in the order of the
        first: to be read from right to left.
    """
    from kacflow.generate import generate

    path = build_path(model.config)
    parameter = next(model.network.parameters())
    device, T = parameter.device, model.config.T
    times = [T * i / (frames - 1) for i in range(frames)]
    noising, generating = [], []
    start = path.sample_prior(tuple(real.shape), generator=torch_generator(seed, "sample")).to(
        device
    )
    with torch.no_grad():
        for time in times:
            # The same noise at every time: each number moves continuously along its row.
            same = torch_generator(seed, "noise")
            t = torch.full((len(real),), time)
            noising.append(path.sample(real, t, generator=same).x_t if time > 0 else real)
            part = max(1, round(steps * (1 - time / T)))
            state = start if time == T else generate(
                model.network, start, path, steps=part, t_min=time
            )  # fmt: skip
            generating.append(state.cpu())
    return [("noising \u2192", noising), ("\u2190 generation", generating)], times

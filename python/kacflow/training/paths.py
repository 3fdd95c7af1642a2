"""The path from data to noise that a configuration names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kacflow.gaussian import GaussianPath
from kacflow.noise import ScaledProcess, StraightProcess, UniformProcess
from kacflow.path import KacPath, Path
from kacflow.process import KacProcess
from kacflow.quantile import QuantileProcess
from kacflow.training.config import TrainConfig


class _StudentProcess(ScaledProcess):
    """Straight lines to Student's t law of four degrees of freedom at time T: tails like |z|^-5."""

    def __init__(self, T: float) -> None:
        self.T = T

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t / self.T, torch.full_like(t, 1.0 / self.T)

    def base_icdf(self, q: Tensor) -> Tensor:
        # W. T. Shaw, J. Comput. Finance 9 (2006)
        root = (4.0 * q * (1.0 - q)).sqrt().clamp(max=1.0)
        size = 2.0 * ((root.acos() / 3.0).cos() / root - 1.0).clamp(min=0.0).sqrt()
        return size.copysign(q - 0.5)


def build_path(config: TrainConfig, sample_shape: Sequence[int] = ()) -> Path:
    """The path of ``config``, for samples of ``sample_shape``, before anything is learned.

    "diffusion" is the limit of the Kac path that keeps c^2/a: Brownian motion of that variance per
    unit of time.  "flow_matching" ends in a standard Gaussian, whatever a and c.  "quantile" begins
    with such a Gaussian at T, with Student's t law of four degrees of freedom, or with the Kac
    process there; with ``noise_components`` "each" its
    noise has the components of ``sample_shape``.  The path of a trained run is
    ``load_model(run).path``.
    """
    if config.path == "kac":
        return KacPath(KacProcess(config.a, config.c), config.T, config.signal, config.clock)
    if config.path == "flow_matching":
        return GaussianPath("flow_matching", config.T)
    if config.path == "diffusion":
        return GaussianPath(
            "diffusion",
            config.T,
            sigma=config.c / math.sqrt(config.a),
            signal=config.signal,
            clock=config.clock,
        )
    if config.path == "uniform":
        return Path(UniformProcess(config.b), config.T, config.signal, config.clock)
    start: ScaledProcess | KacProcess = StraightProcess(1.0 / config.T)
    if config.noise_start == "student":
        start = _StudentProcess(config.T)
    elif config.noise_start == "kac":
        start = KacProcess(config.a, config.c)
    noise = QuantileProcess(
        tuple(sample_shape) if config.noise_components == "each" else (),
        bins=config.noise_bins,
        bound=config.noise_bound,
        tails=config.noise_tails,
        start=start,
        at=config.T,
    )
    return Path(noise, config.T, config.signal, config.clock)

"""The path from data to noise that a configuration names."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kacflow.gaussian import GaussianPath
from kacflow.noise import StraightProcess, UniformProcess
from kacflow.path import KacPath, Path
from kacflow.process import KacProcess
from kacflow.quantile import QuantileProcess
from kacflow.training.config import TrainConfig


def build_path(config: TrainConfig, sample_shape: Sequence[int] = ()) -> Path:
    """The path of ``config``, for samples of ``sample_shape``, before anything is learned.

    "diffusion" is the limit of the Kac path that keeps c^2/a: Brownian motion of that variance per
    unit of time.  "flow_matching" ends in a standard Gaussian, whatever a and c.  "quantile" begins
    with such a Gaussian at T, or with the Kac process there; with ``noise_components`` "each" its
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
    gaussian = StraightProcess(1.0 / config.T)
    start = gaussian if config.noise_start == "gaussian" else KacProcess(config.a, config.c)
    noise = QuantileProcess(
        tuple(sample_shape) if config.noise_components == "each" else (),
        bins=config.noise_bins,
        bound=config.noise_bound,
        tails=config.noise_tails,
        start=start,
        at=config.T,
    )
    return Path(noise, config.T, config.signal, config.clock)

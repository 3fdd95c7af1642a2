"""The path from data to noise that a configuration names."""

from __future__ import annotations

import math

from kacflow.gaussian import GaussianPath
from kacflow.path import KacPath
from kacflow.process import KacProcess
from kacflow.training.config import TrainConfig


def build_path(config: TrainConfig) -> KacPath | GaussianPath:
    """The :class:`~kacflow.KacPath` or :class:`~kacflow.GaussianPath` of ``config``.

    "diffusion" is the limit of the Kac path that keeps c^2/a: Brownian motion of that variance per
    unit of time.  "flow_matching" ends in a standard Gaussian, whatever a and c.
    """
    if config.path == "kac":
        return KacPath(KacProcess(config.a, config.c), config.T, config.signal, config.clock)
    if config.path == "flow_matching":
        return GaussianPath("flow_matching", config.T)
    return GaussianPath(
        "diffusion",
        config.T,
        sigma=config.c / math.sqrt(config.a),
        signal=config.signal,
        clock=config.clock,
    )

"""The path from data to noise that a configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kacflow.gaussian import GaussianPath
    from kacflow.path import KacPath
    from kacflow.training.config import TrainConfig


def build_path(config: TrainConfig) -> KacPath | GaussianPath:
    """The :class:`~kacflow.KacPath` or :class:`~kacflow.GaussianPath` of ``config``."""
    from kacflow.gaussian import GaussianPath
    from kacflow.path import KacPath
    from kacflow.process import KacProcess

    if config.path == "kac":
        return KacPath(KacProcess(config.a, config.c), config.T, config.signal, config.clock)
    return GaussianPath(config.path, config)

"""kacflow: generative models on the telegrapher's equation, for PyTorch.

Data is at t = 0, noise at t = T.  ``KacProcess`` is the noise, ``KacPath`` the training pair,
``generate`` the sampler, ``log_likelihood`` the density that it draws from, ``EmpiricalField`` the
exact field of finitely many points, ``train`` a complete training run; ``GaussianPath`` holds the
baselines, ``telegrapher`` solves the equation itself.  ``Path`` takes any noise: Brownian motion,
``UniformProcess``, ``QuantileProcess``, which can be learned, or one of your own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kacflow import _together, ops, telegrapher  # noqa: F401
from kacflow.empirical import EmpiricalField
from kacflow.gaussian import GaussianPath
from kacflow.generate import generate
from kacflow.likelihood import log_likelihood
from kacflow.noise import BrownianProcess, StraightProcess, UniformProcess
from kacflow.path import KacPath, Path, PathSample
from kacflow.process import KacProcess
from kacflow.quantile import QuantileProcess
from kacflow_core import __version__

if TYPE_CHECKING:
    from kacflow.training import TrainConfig, train

__all__ = [
    "BrownianProcess",
    "EmpiricalField",
    "GaussianPath",
    "KacPath",
    "KacProcess",
    "Path",
    "PathSample",
    "QuantileProcess",
    "StraightProcess",
    "TrainConfig",
    "UniformProcess",
    "__version__",
    "generate",
    "log_likelihood",
    "ops",
    "telegrapher",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("train", "TrainConfig"):  # loaded on first use: it brings a training library along
        return getattr(importlib.import_module("kacflow.training"), name)
    raise AttributeError(f"module 'kacflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Training: configuration, data sets, networks, checkpoints and the loop.

The packages of ``pip install 'kacflow[train]'`` are imported when they are first needed.
"""

from __future__ import annotations

from kacflow.training._presets import preset
from kacflow.training.checkpoint import TrainedModel, load_model
from kacflow.training.config import TrainConfig
from kacflow.training.data import Dataset, load_dataset, load_held_out
from kacflow.training.loop import TrainResult, train
from kacflow.training.networks import DiT, Perceptron, ResidualMLP, UNet, build_network
from kacflow.training.paths import build_path
from kacflow.training.students import distill

__all__ = [
    "Dataset",
    "DiT",
    "Perceptron",
    "ResidualMLP",
    "TrainConfig",
    "TrainResult",
    "TrainedModel",
    "UNet",
    "build_network",
    "build_path",
    "distill",
    "load_dataset",
    "load_held_out",
    "load_model",
    "preset",
    "train",
]

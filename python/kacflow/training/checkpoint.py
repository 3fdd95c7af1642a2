"""Checkpoints: one safetensors file with weights, averages, optimiser and generator states.

Tensors ``model.*``, ``ema.*``, ``optimizer.<parameter>.<name>``, ``rng.*`` and ``state.*``; the
metadata holds JSON text under ``kacflow``: format, step, configuration, sample shape.  The file is
written beside its final name and moved there in one step, so that a reader, or a run that is cut
off, always finds a whole checkpoint.  Nothing is pickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kacflow._optional import require
from kacflow.training.config import TrainConfig
from kacflow.training.networks import build_network

FILE_NAME = "checkpoint.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file, tensors on the CPU."""

    tensors: dict[str, Tensor]
    config: TrainConfig
    sample_shape: tuple[int, ...]
    step: int

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name starts with ``prefix`` and a dot, without it."""
        start = prefix + "."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors as ``"<parameter index>.<name>"``."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`flatten_optimizer`; the groups' settings stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def checkpoint_file(place: str | os.PathLike[str]) -> Path:
    """``place`` itself, or the checkpoint in it if it is a folder."""
    path = Path(place)
    return path / FILE_NAME if path.is_dir() else path


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write ``checkpoint`` into ``folder``, replacing an older one in one step."""
    head = {
        "format": FORMAT,
        "step": checkpoint.step,
        "sample_shape": list(checkpoint.sample_shape),
        "config": checkpoint.config.to_dict(),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    data = require("safetensors.torch").save(tensors, {"kacflow": json.dumps(head)})
    folder.mkdir(parents=True, exist_ok=True)
    return write_atomically(folder / FILE_NAME, data)


def write_atomically(target: Path, data: bytes) -> Path:
    """Write ``data`` to ``target`` so that it holds the old or the new content, never a part."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def load_checkpoint(place: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint file, or the one in a run folder.

    Raises
    ------
    ValueError
        If there is none, or it is not a checkpoint of this package and format.
    """
    file = checkpoint_file(place)
    if not file.is_file():
        raise ValueError(
            f"checkpoint: found none at {str(place)!r}; allowed: a run folder with {FILE_NAME}, "
            "or such a file"
        )
    safetensors = require("safetensors")
    try:
        with safetensors.safe_open(str(file), framework="pt", device="cpu") as source:
            head: dict[str, Any] = json.loads((source.metadata() or {})["kacflow"])
            tensors = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"checkpoint: {str(file)!r} is not one of kacflow: {error!r}") from None
    if head["format"] != FORMAT:
        raise ValueError(
            f"checkpoint: {str(file)!r} has format {head['format']}; allowed: {FORMAT}"
        )
    config = TrainConfig.from_dict(head["config"])
    return Checkpoint(tensors, config, tuple(head["sample_shape"]), head["step"])


@dataclass(frozen=True)
class TrainedModel:
    """A trained network, ready for :func:`kacflow.generate`.

    Attributes
    ----------
    network : nn.Module
        ``network(x, t)``, in evaluation mode, without gradients.
    config : TrainConfig
    sample_shape : tuple of int
    step : int
        Steps trained.
    """

    network: nn.Module
    config: TrainConfig
    sample_shape: tuple[int, ...]
    step: int


def load_model(
    place: str | os.PathLike[str], *, ema: bool = True, device: torch.device | str = "cpu"
) -> TrainedModel:
    """Load the network of a run folder or checkpoint file.

    Parameters
    ----------
    place : path
        Run folder or checkpoint file.
    ema : bool
        The moving average of the weights (default), or the last weights.
    device : torch.device or str

    Raises
    ------
    ValueError
        If there is no usable checkpoint.
    """
    saved = load_checkpoint(place)
    with torch.random.fork_rng(devices=[]):
        network = build_network(saved.config, saved.sample_shape)
    network.load_state_dict(saved.part("ema" if ema else "model"))
    network.to(device).eval().requires_grad_(False)
    return TrainedModel(network, saved.config, saved.sample_shape, saved.step)

"""Checkpoints: one safetensors file with weights, averages, optimiser and generator states.

Tensors ``model.*``, ``ema.*``, ``optimizer.<parameter>.<name>``, ``rng.*`` and ``state.*``, and
``noise.*`` of a noise that is learned, whose parameters follow the network's in the optimiser; the
metadata holds strict JSON under ``kacflow``: format, step, configuration, sample shape, classes,
and as
``sha256`` the digest of the whole file with zeros in its own place.  The file is written beside its
final name and moved there in one step, so that a reader, or a run that is cut off, always finds a
whole checkpoint.  Nothing is pickled.

A file is read in this order, each step before the next: the digest, the head, the configuration,
and names, shapes and types of all tensors against the network and the optimiser that the
configuration names.  Only then is a network built or data loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kacflow import _arguments
from kacflow import path as paths
from kacflow._arguments import must
from kacflow._optional import require
from kacflow.training.config import ADDED, TrainConfig
from kacflow.training.data import sample_shape_of
from kacflow.training.learned_noise import TERMS
from kacflow.training.networks import build_network, check_network
from kacflow.training.paths import build_path
from kacflow.training.processes import usable_device

FILE_NAME = "checkpoint.safetensors"
FORMAT = 3
_NO_DIGEST = "0" * 64
_LARGEST = 2**40  # numbers of a sample


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file, tensors on the CPU."""

    tensors: dict[str, Tensor]
    config: TrainConfig
    sample_shape: tuple[int, ...]
    classes: int  #: of a network with labels, else 0
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
    for weights, entry in optimizer.state.items():  # kernels go through both in the same order
        for name, value in entry.items():
            if value.shape == weights.shape:
                entry[name] = torch.empty_like(weights, dtype=value.dtype).copy_(value)


def checkpoint_file(place: str | os.PathLike[str]) -> Path:
    """``place`` itself, or the checkpoint in it if it is a folder; ValueError if there is none."""
    file = Path(place)
    file = file / FILE_NAME if file.is_dir() else file
    if not file.is_file():
        raise ValueError(
            f"checkpoint: found none at {str(place)!r}; allowed: a run folder with {FILE_NAME}, "
            "or such a file"
        )
    return file


def _entry(digest: str) -> bytes:
    return json.dumps(f'"sha256": "{digest}"')[1:-1].encode()  # in a JSON text within another


def _digest(data: bytes, written: str) -> str:
    """SHA-256 of a file in which the digest ``written`` stands, as if zeros stood there."""
    head = 8 + int.from_bytes(data[:8], "little")  # the length of the JSON text, and the text
    digest = hashlib.sha256(data[:head].replace(_entry(written), _entry(_NO_DIGEST), 1))
    digest.update(memoryview(data)[head:])
    return digest.hexdigest()


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write ``checkpoint`` into ``folder``, replacing an older one in one step."""
    head = {
        "format": FORMAT,
        "step": checkpoint.step,
        "sample_shape": list(checkpoint.sample_shape),
        "classes": checkpoint.classes,
        "config": checkpoint.config.to_dict(),
        "sha256": _NO_DIGEST,
    }
    tensors = {  # copies, so that weights that two modules share are written twice
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in checkpoint.tensors.items()
    }
    metadata = {"kacflow": json.dumps(head, allow_nan=False)}
    data = require("safetensors.torch").save(tensors, metadata)
    digest = _digest(data, _NO_DIGEST)
    folder.mkdir(parents=True, exist_ok=True)
    return write_atomically(folder / FILE_NAME, data.replace(_entry(_NO_DIGEST), _entry(digest), 1))


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


def load_checkpoint(place: str | os.PathLike[str], network: nn.Module | None = None) -> Checkpoint:
    """Read and check a checkpoint file, or the one in a run folder.

    ``network`` is the module of a run with network "custom".  ValueError, which names the file, if
    there is none, or it is not a whole checkpoint of this package and format, with the tensors of
    its configuration.
    """
    file = checkpoint_file(place)
    require("safetensors.torch")
    try:
        return _parsed(file.read_bytes(), network)
    except (ValueError, TypeError) as error:
        raise ValueError(f"checkpoint: {str(file)!r} cannot be used: {error}") from None


def _parsed(data: bytes, network: nn.Module | None) -> Checkpoint:
    """The checkpoint that a file with this content holds."""
    try:
        length = int.from_bytes(data[:8], "little")
        head = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["kacflow"])
        good = _digest(data, head["sha256"]) == head["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is not one of kacflow") from None
    if not good:
        raise ValueError("its content has changed since it was written (SHA-256)")
    keys = {"format", "step", "sample_shape", "classes", "config", "sha256"}
    if head.get("format") != FORMAT or set(head) != keys:
        allowed = f"format {FORMAT}, with {', '.join(sorted(keys))}"
        raise ValueError(
            f"got format {head.get('format')}, with {sorted(head)}; allowed: {allowed}"
        )
    config = TrainConfig.from_dict(head["config"])
    known = config.to_dict()
    if {**{name: known[name] for name in ADDED}, **head["config"]} != known:
        raise ValueError("config: got a part of the fields; allowed: all of them")
    check_network(config, network)
    step = _arguments.integer("step", head["step"], 0, config.steps)
    sample_shape = _sample_shape(head["sample_shape"], config)
    safetensors = require("safetensors")
    try:
        tensors = require("safetensors.torch").load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"its tensors cannot be read: {error}") from None
    classes = _arguments.integer("classes", head["classes"], int(config.labels), 2**20)
    must(not classes or config.labels, "classes", classes, "0, for a network without labels")
    found = Checkpoint(tensors, config, sample_shape, classes, step)
    _compare(found, network)
    return found


def _sample_shape(given: Any, config: TrainConfig) -> tuple[int, ...]:
    """The stored shape; ValueError unless it is that of the data, or one that an array can have."""
    known = sample_shape_of(config)
    if known is not None:
        good, allowed = given == list(known), f"{list(known)}, that of data {config.data!r}"
    else:
        counts = isinstance(given, list) and all(type(n) is int and n >= 1 for n in given)
        good = counts and len(given) > 0 and math.prod(given) <= _LARGEST
        allowed = "integers >= 1, one or more"
    must(good, "sample_shape", given, allowed)
    return known or tuple(given)


def _expected(
    saved: Checkpoint, custom: nn.Module | None
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Tensors of the shapes and types that a checkpoint of such a step holds, without memory; and
    the numbers in those that count steps.
    """
    config, shape = saved.config, saved.sample_shape
    with torch.device("meta"):
        network = build_network(config, shape, saved.classes) if custom is None else custom
        count = torch.zeros((), dtype=torch.int64)
        found = {"state.n_averaged": count, "state.loss_count": count}
        found["state.loss_sum"] = torch.zeros((), dtype=torch.float64)
        number = torch.zeros((), dtype=torch.float32)
    found["rng.cpu"] = torch.get_rng_state()
    for name, value in network.state_dict().items():
        found[f"model.{name}"] = found[f"ema.{name}"] = value
    noise, learned = build_path(config).noise, {}
    if isinstance(noise, nn.Module):
        own = shape if config.noise_components == "each" else ()
        for name, value in noise.named_parameters():
            extents = (*own, *value.shape)
            learned[name] = torch.empty(extents, dtype=value.dtype, device="meta")
    found.update((f"noise.{name}", value) for name, value in learned.items())
    if learned and not config.teacher:
        found.update((f"state.{name}_sum", found["state.loss_sum"]) for name in TERMS)
    trained, counts = list(network.parameters()), {"state.n_averaged": saved.step}
    together = [*trained, *(learned.values() if config.learned_steps else ())]
    for i, value in enumerate(together if saved.step else ()):  # Adam's, from the first step
        done = saved.step if i < len(trained) else min(saved.step, config.learned_steps)
        counts[f"optimizer.{i}.step"] = min(done, 2**24)  # Adam counts in float32
        found[f"optimizer.{i}.step"] = number
        found[f"optimizer.{i}.exp_avg"] = found[f"optimizer.{i}.exp_avg_sq"] = value
    return found, counts


def _compare(saved: Checkpoint, custom: nn.Module | None) -> None:
    """ValueError unless the tensors are those of the configuration after so many steps."""
    tensors, config, step = saved.tensors, saved.config, saved.step
    # Each block has several tensors: nothing is built that is not there.
    if custom is None and config.blocks > len(tensors):
        raise ValueError(f"blocks: got {config.blocks}, more than its {len(tensors)} tensors")
    try:
        expected, counts = _expected(saved, custom)
    except (RuntimeError, OverflowError) as error:
        raise ValueError(f"its configuration gives no network: {error}") from None
    if custom is not None:  # Adam keeps nothing of weights that have had no gradient
        used = {name.rpartition(".")[0] for name in tensors}
        kept = {k for k in expected if k.rpartition(".")[0] in used or k[:10] != "optimizer."}
        expected = {k: expected[k] for k in kept}
    for name in sorted(tensors.keys() ^ expected.keys()):
        state = "missing" if name in expected else "not one of this network"
        raise ValueError(f"tensor {name!r} is {state}")
    for name, value in tensors.items():
        like = expected[name]
        same = value.shape == like.shape and value.dtype == like.dtype
        allowed = f"shape {tuple(like.shape)} and dtype {like.dtype}"
        must(same, name, _arguments.given(value), allowed)
    if any(tensors[name] != number for name, number in counts.items() if name in tensors):
        raise ValueError(f"step: got {step}, but its optimiser or average has done others")
    if not 0 <= tensors["state.loss_count"] <= step:
        raise ValueError(f"state.loss_count: got a number that is not in [0, {step}]")
    try:
        torch.Generator().set_state(tensors["rng.cpu"])
    except RuntimeError as error:
        raise ValueError(f"rng.cpu: {str(error).splitlines()[0]}") from None


def load_weights(
    model: nn.Module, place: str | os.PathLike[str], network: nn.Module | None = None,
    noise: nn.Module | None = None,
) -> None:  # fmt: skip
    """Give ``model`` the averaged weights of a run, and ``noise`` those of its noise, if any;
    ``network`` as in :func:`load_model`.
    """
    saved = load_checkpoint(place, network)
    what = "network"
    try:
        model.load_state_dict(saved.part("ema"))
        found, what = saved.part("noise"), "noise"
        if found and noise is not None and list(noise.parameters()):
            noise.load_state_dict(found)
    except RuntimeError as error:
        why = str(error).splitlines()[-1].strip()
        raise ValueError(f"init: {str(place)!r} holds another {what} ({why})") from None


@dataclass(frozen=True)
class TrainedModel:
    """A trained network, ready for :func:`kacflow.generate`.

    Attributes
    ----------
    network : nn.Module
        ``network(x, t)``, or ``network(x, t, labels)``, in evaluation mode, without gradients.
    config : TrainConfig
    sample_shape : tuple of int
    classes : int
        Number of classes, 0 for a network without labels.
    step : int
        Steps trained.
    path : kacflow.Path
        From data to noise, with what was learned of the noise, on the CPU; by default that of
        ``config`` before anything is learned.
    """

    network: nn.Module
    config: TrainConfig
    sample_shape: tuple[int, ...]
    classes: int
    step: int
    path: paths.Path = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.path is None:
            object.__setattr__(self, "path", build_path(self.config, self.sample_shape))


def load_model(
    place: str | os.PathLike[str], *, ema: bool = True, device: torch.device | str = "cpu",
    network: nn.Module | None = None,
) -> TrainedModel:  # fmt: skip
    """Load the network of a run folder or checkpoint file.

    Parameters
    ----------
    place : path
        Run folder or checkpoint file.
    ema : bool
        The moving average of the weights (default), or the last weights.
    device : torch.device or str
    network : nn.Module, optional
        The module of a run with network "custom", which gives the architecture; it is copied.

    Raises
    ------
    ValueError
        If there is no usable checkpoint, or the device cannot be used, or a module is missing or
        given where none is needed.
    """
    place_of_weights = usable_device(device)
    saved = load_checkpoint(place, network)
    with torch.random.fork_rng(devices=[]):
        model = build_network(saved.config, saved.sample_shape, saved.classes, network)
    model.load_state_dict(saved.part("ema" if ema else "model"))
    model.to(place_of_weights).eval().requires_grad_(False)
    path = build_path(saved.config, saved.sample_shape)
    if isinstance(path.noise, nn.Module):
        path.noise.load_state_dict(saved.part("noise"))
        path.noise.requires_grad_(False)
    return TrainedModel(model, saved.config, saved.sample_shape, saved.classes, saved.step, path)

"""Everything that decides a training run, in one checked dataclass."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

PATHS = ("kac", "diffusion", "flow_matching")
SIGNALS = ("constant", "linear", "exp", "cosine", "lambda")
CLOCKS = ("linear", "square")
NETWORKS = ("auto", "mlp", "unet")
LR_SCHEDULES = ("cosine", "constant")
PRECISIONS = ("no", "bf16")
DEVICES = ("auto", "cpu", "cuda")

#: Fields that may differ when a run is resumed: they say how long, where and how often, not what.
RESUMABLE = frozenset({"out", "steps", "device", "accumulate", "log_every", "checkpoint_every"})


def _option(default: Any, text: str, choices: tuple[str, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of :func:`kacflow.train`; the command line has an option for every field.

    Raises
    ------
    TypeError, ValueError
        On construction, if a field has a wrong type or a value that is not allowed.

    Examples
    --------
    >>> from kacflow.training import TrainConfig
    >>> TrainConfig(data="grid9", steps=100).c
    3.0
    """

    data: str = _option(
        "digits",
        "what to learn: 'digits' (scikit-learn's handwritten digits, 8x8 grey images), 'grid9' "
        "(nine points in the plane), or the path of a folder or .zip of images",
    )
    out: str = _option("runs/digits", "folder of the run: configuration, log, checkpoint, pictures")
    image_size: int = _option(
        32, "side in pixels that images of a folder or .zip are cropped and resized to, >= 2"
    )
    channels: int = _option(3, "of images of a folder or .zip: 3 (colour) or 1 (grey)")
    flip: bool = _option(False, "mirror images of a folder or .zip left to right, half of the time")

    path: str = _option(
        "kac",
        "the noise: 'kac' (Kac process), or the baselines 'diffusion' (its Gaussian limit, of "
        "variance c^2/a per unit of time) and 'flow_matching' (straight lines to a standard "
        "Gaussian)",
        PATHS,
    )
    a: float = _option(9.0, "jump rate of the Kac process, in turns per unit of time, > 0")
    c: float = _option(3.0, "speed of the Kac process, in units of the data per unit of time, > 0")
    T: float = _option(1.0, "time at which the data has become noise, > 0")
    signal: str = _option(
        "linear",
        "how the data fades with time; 'exp' and 'constant' leave data at T, where samples start "
        "from noise alone: choose c^2 T/a large",
        SIGNALS,
    )
    clock: str = _option(
        "linear", "how the noise's own time runs: t ('linear') or T (t/T)^2 ('square')", CLOCKS
    )
    t_min: float = _option(
        1e-3,
        "smallest time trained on, in [0, T); path 'diffusion' needs > 0, its velocity is singular "
        "at 0",
    )

    network: str = _option(
        "auto",
        "'mlp' (points, small images), 'unet' (larger images), 'auto' (mlp up to 256 numbers)",
        NETWORKS,
    )
    width: int = _option(384, "features per layer (mlp) or channels at full resolution (unet)")
    blocks: int = _option(4, "residual blocks (mlp), or residual blocks per resolution (unet)")

    steps: int = _option(6000, "optimiser steps in all, >= 1")
    batch: int = _option(
        256, "samples per step, >= 1; the processes of a run divide them among themselves"
    )
    accumulate: int = _option(
        1,
        "pieces that each process computes its samples of a step in, one after the other, to save "
        "memory, >= 1",
    )
    lr: float = _option(1e-3, "highest learning rate of Adam, > 0")
    lr_schedule: str = _option(
        "cosine", "learning rate after the warm-up: falls to 0 as a cosine, or stays", LR_SCHEDULES
    )
    warmup: int = _option(200, "steps over which the learning rate rises linearly, >= 0")
    clip: float = _option(1.0, "largest Euclidean norm of the gradient, > 0 ('inf': no clipping)")
    ema: float = _option(
        0.999, "decay per step of the moving average of the weights, in [0, 1); 0: no averaging"
    )
    precision: str = _option("no", "'bf16': run the network in bfloat16 (autocast)", PRECISIONS)
    device: str = _option("auto", "where to train; 'auto': a GPU if there is one", DEVICES)
    seed: int = _option(0, "decides weights, order of the data, times and noise; in [0, 2^63)")

    log_every: int = _option(50, "steps between two lines of the log, >= 1")
    checkpoint_every: int = _option(1000, "steps between two checkpoints, >= 1")

    def __post_init__(self) -> None:
        hints = get_type_hints(TrainConfig)
        for item in dataclasses.fields(self):
            value = _typed(item.name, getattr(self, item.name), hints[item.name])
            object.__setattr__(self, item.name, value)
            choices = item.metadata["choices"]
            if choices is not None and value not in choices:
                raise ValueError(f"{item.name}: got {value!r}; allowed: {', '.join(choices)}")
        for name in ("a", "c", "T", "lr"):
            self._check(name, 0.0 < getattr(self, name) < math.inf, "a finite number > 0")
        self._check("clip", self.clip > 0.0, "a number > 0, or inf")
        self._check("t_min", 0.0 <= self.t_min < self.T, f"a number in [0, T), here T = {self.T}")
        if self.path == "diffusion":
            self._check("t_min", self.t_min > 0.0, "a number > 0 for path 'diffusion'")
        if self.path == "flow_matching":
            for name in ("signal", "clock"):
                self._check(name, getattr(self, name) == "linear", "linear for 'flow_matching'")
        self._check("ema", 0.0 <= self.ema < 1.0, "a number in [0, 1)")
        for name in (
            "width",
            "blocks",
            "steps",
            "batch",
            "accumulate",
            "log_every",
            "checkpoint_every",
        ):
            self._check(name, getattr(self, name) >= 1, "an integer >= 1")
        self._check("warmup", self.warmup >= 0, "an integer >= 0")
        self._check("image_size", self.image_size >= 2, "an integer >= 2")
        self._check("channels", self.channels in (1, 3), "1 or 3")
        self._check("seed", 0 <= self.seed < 2**63, "an integer in [0, 2**63)")
        for name in ("data", "out"):
            self._check(name, bool(getattr(self, name)), "a name or path that is not empty")

    def _check(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise ValueError(f"{name}: got {getattr(self, name)!r}; allowed: {allowed}")

    def resolved_network(self, sample_shape: tuple[int, ...]) -> str:
        """``"mlp"`` or ``"unet"``: the network used for samples of ``sample_shape``."""
        if self.network != "auto":
            return self.network
        return "mlp" if math.prod(sample_shape) <= 256 else "unet"

    def learning_rate(self, step: int) -> float:
        """Learning rate of step number ``step``, counted from 0."""
        rate = self.lr * min(1.0, (step + 1) / (self.warmup + 1))
        if self.lr_schedule == "cosine":
            done = max(0, step - self.warmup) / max(1, self.steps - self.warmup)
            rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        return rate

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """All fields as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The configuration with these fields; an unknown name is a ValueError."""
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"configuration: got unknown {unknown}; allowed: {sorted(known)}")
        return cls(**values)


def _typed(name: str, value: Any, kind: type) -> Any:
    """``value`` as ``kind`` if nothing is lost (an int for a float), else TypeError."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise TypeError(
            f"{name}: got {value!r} of type {type(value).__name__}; allowed: {kind.__name__}"
        )
    return value


def _documented() -> str:
    hints = get_type_hints(TrainConfig)
    lines = ["", "    Attributes", "    ----------"]
    for item in dataclasses.fields(TrainConfig):
        lines.append(f"    {item.name} : {hints[item.name].__name__}, default {item.default!r}")
        lines.append(f"        {item.metadata['help']}")
    return "\n".join(lines) + "\n"


TrainConfig.__doc__ = (TrainConfig.__doc__ or "") + _documented()

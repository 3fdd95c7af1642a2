"""Everything that decides a training run, in one checked dataclass."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_type_hints

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow.generate import FIXED_STEP, PREDICTIONS
from kacflow.quantile import TAILS, check_bound
from kacflow.schedules import CLOCKS, SIGNALS
from kacflow.training._fields import channels as _channels
from kacflow.training._fields import dashed as _dashed
from kacflow.training._fields import key as _key
from kacflow.training._fields import option as _option
from kacflow.training._fields import positive_or_inf as _positive_or_inf
from kacflow.training._fields import text as _text
from kacflow.training._fields import whole as _whole

PATHS = ("kac", "diffusion", "flow_matching", "uniform", "quantile")
NOISE_STARTS = ("gaussian", "student", "kac")
NOISE_COMPONENTS = ("one", "each")
DENSITIES = ("uniform", "logit_normal", "power")
NETWORKS = ("auto", "mlp", "perceptron", "unet", "dit", "custom")
LR_SCHEDULES = ("cosine", "constant")
PRECISIONS = ("no", "bf16")
DEVICES = ("auto", "cpu", "cuda")
TRACKERS = ("none", "tensorboard", "wandb")
STUDENT_LOSSES = ("velocity", "position")

#: Fields that checkpoints of format 3 may lack, which were written before: they have the defaults.
ADDED = frozenset(
    {
        "key", "label_key", "held_out", "compile", "channels_last", "fused", "foreach", "workers",
        "validate_every", "sample_every", "tracker", "multipliers", "attention", "head_width",
        "scale_shift", "patch", "dropout", "init", "teacher", "teacher_sha256", "teacher_solver",
        "teacher_substeps", "student_steps", "student_guidance", "student_loss", "evaluate_every",
        "evaluate_samples", "evaluate_features", "b", "noise_start", "noise_components",
        "noise_bins", "noise_bound", "noise_tails", "noise_steps", "noise_lr", "noise_ot",
        "noise_entropy",
    }
)  # fmt: skip

#: Fields that may differ when a run is resumed: they say how long, where and how often, not what.
RESUMABLE = frozenset(
    {
        "out", "steps", "device", "accumulate", "workers", "log_every", "checkpoint_every",
        "validate_every", "sample_every", "tracker", "init", "teacher", "evaluate_every",
        "evaluate_samples", "evaluate_features",
    }
)  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of :func:`kacflow.train`; the command line has an option for every field.

    Raises
    ------
    TypeError, ValueError
        On construction, if a field has a wrong type or a value that is not allowed.  Numbers may be
        Python's or NumPy's; a bool is none.

    Examples
    --------
    >>> from kacflow.training import TrainConfig
    >>> TrainConfig(data="grid9", steps=100).c
    3.0
    """

    data: str = _option(
        "digits",
        "what to learn: 'digits' (scikit-learn's handwritten digits, 8x8 grey images), 'grid9' "
        "(nine points in the plane), 'gaussians9' (nine Gaussians of unequal weights there), "
        "'checkerboard', 'funnel' (Neal's, in the plane), or the path of a folder or .zip of "
        "images (transparent pixels show white; files that cannot be shown surely, such as "
        "animations, are refused), of CIFAR-10's cifar-10-binary.tar.gz, or of a .npy, .npz or "
        ".safetensors: an array whose first axis counts the samples and whose numbers, uint8 too, "
        "are taken as they are",
        _text,
    )
    out: str = _option(
        "runs/digits", "folder of the run: configuration, log, checkpoint, pictures", _text
    )
    key: str = _option("", "name of the array in a .npz or .safetensors; '': the only one", _key)
    label_key: str = _option(
        "", "name of the array of its labels, one integer >= 0 a sample; '': none", _key
    )
    held_out: float = _option(
        0.05,
        "share of the samples that training never sees, in [0, 1): the same ones for every seed, "
        "rounded, but at least one unless it is 0; 'digits' always holds out 500 images, and a "
        "law of the plane draws new points",
        partial(_arguments.at_least_zero, below=1),
    )
    image_size: int = _option(
        32,
        "side in pixels that images are cropped and resized to, >= 2",
        _whole(2, 2**14),
    )
    channels: int = _option(3, "of images: 3 (colour) or 1 (grey)", _channels)
    flip: bool = _option(False, "mirror images left to right, half of the time")

    path: str = _option(
        "kac",
        "the noise: 'kac' (Kac process), or the baselines 'diffusion' (its Gaussian limit, of "
        "variance c^2/a per unit of time) and 'flow_matching' (straight lines to a standard "
        "Gaussian); 'uniform' (uniform at every time, up to b), or 'quantile' (straight lines to a "
        "law that is learned)",
        PATHS,
    )
    a: float = _option(
        9.0, "jump rate of the Kac process, in turns per unit of time, > 0", _arguments.positive
    )
    c: float = _option(
        3.0,
        "speed of the Kac process, in units of the data per unit of time, > 0",
        _arguments.positive,
    )
    b: float = _option(
        1.0, "bound of the numbers of path 'uniform', and the time they take, > 0",
        _arguments.positive,
    )  # fmt: skip
    T: float = _option(1.0, "time at which the data has become noise, > 0", _arguments.positive)
    signal: str = _option(
        "linear",
        "how the data fades with time; 'exp' and 'constant' leave data at T, where samples start "
        "from noise alone: choose c^2 T/a large",
        SIGNALS,
    )
    clock: str = _option(
        "linear", "how the noise's own time runs: t ('linear') or T (t/T)^2 ('square')", CLOCKS
    )
    noise_start: str = _option(
        "gaussian",
        "law at T that path 'quantile' begins with: the standard Gaussian, Student's t law of four "
        "degrees of freedom, or that of the Kac process of rate a and speed c",
        NOISE_STARTS,
    )
    noise_components: str = _option(
        "one",
        "quantile functions of path 'quantile': one for all components, or each its own",
        NOISE_COMPONENTS,
    )
    noise_bins: int = _option(
        32, "bins of the spline of path 'quantile', in [2, 512]", _whole(2, 512)
    )
    noise_bound: float = _option(
        5.0,
        "standard deviations of a normal number, in [0.1, 8], at which the spline ends",
        check_bound,
    )
    noise_tails: str = _option(
        "linear",
        "beyond its ends the spline goes on as a line ('linear': Gaussian tails), or the law has "
        "compact support ('none')",
        TAILS,
    )
    noise_steps: int = _option(
        3000,
        "first steps in which path 'quantile' learns its noise, >= 0; then it stays as it is",
        _whole(0),
    )
    noise_lr: float = _option(
        1e-3,
        "highest learning rate of the noise, > 0; it rises and falls as that of the network does",
        _arguments.positive,
    )
    noise_ot: float = _option(
        1.0,
        "weight of the squared Wasserstein distance, per component, of the noise at T from the "
        "data, by optimal transport within the samples of a process's step, >= 0; the pairs "
        "that it finds are trained on. 0: neither; with 1 the noise hardly leaves its start on "
        "laws of the plane, with 10 it follows the data",
        _arguments.at_least_zero,
    )
    noise_entropy: float = _option(
        0.0,
        "weight of the entropy, in nats per component, that keeps the noise spread out, >= 0",
        _arguments.at_least_zero,
    )
    t_min: float = _option(
        1e-3,
        "smallest time trained on, in [0, T); path 'diffusion' needs > 0, its velocity is singular "
        "at 0",
        _arguments.at_least_zero,
    )

    t_density: str = _option(
        "uniform",
        "density of the times trained on, over [t_min, T]: 'uniform', 'logit_normal' (of a "
        "standard normal number: the middle more often), or 'power' (u^2: near the data); "
        "all stratified over the batch; a student is trained on the times of its steps",
        DENSITIES,
    )
    prediction: str = _option(
        "velocity",
        "what the network returns: the conditional velocity, or 'data', an estimate of the sample "
        "that generation turns into a velocity",
        PREDICTIONS,
    )
    labels: bool = _option(
        False,
        "train on the classes of the data too: of digits, grid9 and CIFAR-10, of images in one "
        "folder a class, and of arrays with labels",
    )
    label_dropout: float = _option(
        0.1,
        "share of the labels that are left out, in [0, 1], so that guidance has a field without",
        partial(_arguments.at_least_zero, below=math.nextafter(1.0, 2.0)),
    )

    network: str = _option(
        "auto",
        "'mlp' (points, small images), 'unet' (larger images), 'auto' (one of the two: unet for "
        "images of more than 256 numbers), "
        "'dit' (a transformer on patches of images), 'perceptron' (rectified layers on x and t), "
        "or 'custom' (a module of your own, from Python)",
        NETWORKS,
    )
    width: int = _option(
        384,
        "features per layer (mlp, perceptron) or patch (dit), or channels at full resolution "
        "(unet)",
        _whole(1, 2**20),
    )
    blocks: int = _option(
        4,
        "residual blocks (mlp), hidden layers (perceptron), residual blocks per resolution (unet), "
        "or transformer blocks (dit)",
        _whole(1, 2**14),
    )
    multipliers: str = _option(
        "1-2-2",
        "channels of each resolution of a unet in units of width, from full resolution on; each is "
        "half as fine as the one before",
        _dashed,
    )
    attention: str = _option(
        "auto",
        "sides in pixels of the resolutions of a unet with attention, such as '16-8'; 'auto': the "
        "last but one unless it is the first; 'none': at the coarsest alone, where there always is "
        "some between the way down and up",
        partial(_dashed, words=("auto", "none")),
    )
    head_width: int = _option(
        0,
        "channels per head of attention, >= 0; 0: 8 in a unet, 64 in a dit",
        _whole(0, 2**20),
    )
    scale_shift: bool = _option(
        False,
        "time and class scale and shift the normalised channels of a unet; without, they are added",
    )
    patch: int = _option(2, "side in pixels of the patches of a dit, >= 1", _whole(1, 2**14))
    dropout: float = _option(
        0.0,
        "share of the features within blocks that a step of training leaves out, in [0, 1), picked "
        "by torch's generator of each process",
        partial(_arguments.at_least_zero, below=1),
    )

    init: str = _option(
        "",
        "run whose averaged weights the training begins with; '': drawn from the seed",
        _key,
    )
    teacher: str = _option(
        "",
        "run whose student this is: the network learns where the teacher's integration over each "
        "of student_steps equal intervals ends, not the velocity of the path; '': no student",
        _key,
    )
    teacher_sha256: str = _option(
        "",
        "SHA-256 of the teacher's checkpoint, which no other may stand for; '': any may",
        _key,
    )
    teacher_solver: str = _option(
        "ab2", "method that integrates the teacher; 'euler' for one that is a student", FIXED_STEP
    )
    teacher_substeps: int = _option(
        8, "steps of the teacher for one of the student, >= 1", _whole(1, 10**6)
    )
    student_steps: int = _option(
        1, "Euler steps of a student from T to 0, of equal length, >= 1", _whole(1, 10**6)
    )
    student_guidance: float = _option(
        0.0,
        "weight of guidance >= 0 with which the teacher is integrated, with labels: the student "
        "has it in itself",
        _arguments.at_least_zero,
    )
    student_loss: str = _option(
        "velocity",
        "squared distance of a student's endpoint from the teacher's ('position'), or the same "
        "over the squared length of its step ('velocity')",
        STUDENT_LOSSES,
    )

    steps: int = _option(6000, "optimiser steps in all, >= 1", _whole(1))
    batch: int = _option(
        256,
        "samples per step, >= 1; the processes of a run divide them among themselves",
        _whole(1, 2**24),
    )
    accumulate: int = _option(
        1,
        "pieces that each process computes its samples of a step in, one after the other, to save "
        "memory, >= 1",
        _whole(1, 2**24),
    )
    lr: float = _option(1e-3, "highest learning rate of Adam, > 0", _arguments.positive)
    lr_schedule: str = _option(
        "cosine", "learning rate after the warm-up: falls to 0 as a cosine, or stays", LR_SCHEDULES
    )
    warmup: int = _option(200, "steps over which the learning rate rises linearly, >= 0", _whole(0))
    clip: float = _option(
        1.0,
        "largest Euclidean norm of the gradient, > 0 ('inf': no clipping)",
        _positive_or_inf,
    )
    ema: float = _option(
        0.999,
        "decay per step of the moving average of the weights, in [0, 1); 0: no averaging",
        partial(_arguments.at_least_zero, below=1),
    )
    precision: str = _option("no", "'bf16': run the network in bfloat16 (autocast)", PRECISIONS)
    compile: bool = _option(
        False,
        "run the network through torch.compile: minutes at first, faster steps then",
    )
    channels_last: bool = _option(
        True,
        "images for a U-Net on a GPU with their channels innermost in memory",
    )
    fused: bool = _option(True, "Adam as one kernel over all weights")
    foreach: bool = _option(True, "average all weights in few launches, not one by one")
    workers: int = _option(
        2,
        "processes that read files ahead of the step, >= 0; data in memory needs none",
        _whole(0, 2**10),
    )
    device: str = _option("auto", "where to train; 'auto': a GPU if there is one", DEVICES)
    seed: int = _option(
        0,
        "decides weights, order of the data, times and noise; in [0, 2^63)",
        _whole(0, 2**63 - 1),
    )

    log_every: int = _option(50, "steps between two lines of the log, >= 1", _whole(1))
    checkpoint_every: int = _option(1000, "steps between two checkpoints, >= 1", _whole(1))
    validate_every: int = _option(
        500, "steps between two losses of the averaged weights on the held-out samples, >= 0; 0: "
        "none", _whole(0),
    )  # fmt: skip
    sample_every: int = _option(
        0, "steps between two pictures of samples, from the same noise each time, >= 0; 0: none",
        _whole(0),
    )  # fmt: skip
    evaluate_every: int = _option(
        0, "steps between two evaluations: distances of samples to data that was held out, if some "
        "was, in the log; >= 0; 0: none", _whole(0),
    )  # fmt: skip
    evaluate_samples: int = _option(
        1000, "samples of an evaluation, from the same noise each time, >= 2", _whole(2)
    )
    evaluate_features: str = _option(
        "pixels",
        "what an evaluation compares: 'pixels', 'efficientnet-lite0', 'inception', or a "
        "TorchScript file, as 'kacflow evaluate' has them",
        _text,
    )
    tracker: str = _option(
        "none", "send the lines of the log to 'tensorboard' or 'wandb' as well", TRACKERS
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = item.metadata["check"](item.name, getattr(self, item.name))
            object.__setattr__(self, item.name, value)
        self._must(self.t_min < self.T, "t_min", f"a float in [0, T), here T = {self.T}")
        if self.path == "diffusion":
            self._must(self.t_min > 0.0, "t_min", "a float > 0 for path 'diffusion'")
        if self.path == "flow_matching":
            for name in ("signal", "clock"):
                self._must(getattr(self, name) == "linear", name, "linear for 'flow_matching'")

    def _must(self, good: bool, name: str, allowed: str) -> None:
        _arguments.must(good, name, repr(getattr(self, name)), allowed)

    def resolved_network(self, sample_shape: tuple[int, ...]) -> str:
        """The network used for samples of ``sample_shape``, with ``"auto"`` decided."""
        large = len(sample_shape) == 3 and math.prod(sample_shape) > 256
        return ("unet" if large else "mlp") if self.network == "auto" else self.network

    @property
    def learned_steps(self) -> int:
        """First steps in which the noise is learned, 0 for a path without and for a student."""
        return self.noise_steps if self.path == "quantile" and not self.teacher else 0

    def listed(self, name: str) -> tuple[int, ...]:
        """The numbers of a field with dashes between them; () for ``"none"``."""
        text = getattr(self, name)
        return () if text == "none" else tuple(map(int, text.split("-")))

    def time_of(self, share: Tensor) -> Tensor:
        """Times whose distribution function has the values ``share`` in [0, 1]."""
        if self.t_density == "logit_normal":
            share = torch.special.ndtri(share).sigmoid()
        elif self.t_density == "power":
            share = share.square()
        return (self.t_min + (self.T - self.t_min) * share).clamp(max=self.T)

    def learning_rate(self, step: int) -> float:
        """Learning rate of step number ``step``, counted from 0."""
        rate = self.lr * min(1.0, (step + 1) / (self.warmup + 1))
        if self.lr_schedule == "cosine":
            done = max(0, step - self.warmup) / max(1, self.steps - self.warmup)
            rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        return rate

    def to_dict(self) -> dict[str, Any]:
        """All fields, as strict JSON can hold them: infinity is the string "inf"."""
        values = dataclasses.asdict(self)
        return {name: "inf" if value == math.inf else value for name, value in values.items()}

    def to_json(self) -> str:
        """All fields as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The configuration with these fields, as :meth:`to_dict` gives them.

        Raises
        ------
        TypeError, ValueError
            For what is no mapping, an unknown name, or a value that is not allowed.
        """
        if not isinstance(values, Mapping):
            raise _arguments.wrong_type("configuration", values, "names and their values")
        known = {item.name: item.type for item in dataclasses.fields(cls)}
        unknown = sorted(map(str, set(values) - set(known)))
        if unknown:
            raise ValueError(f"configuration: got unknown {unknown}; allowed: {sorted(known)}")
        infinite = {name for name, kind in known.items() if kind == "float"}
        given: dict[str, Any] = dict(values)
        given.update((name, math.inf) for name in infinite & set(given) if given[name] == "inf")
        return cls(**given)


def _documented() -> str:
    hints = get_type_hints(TrainConfig)
    lines = ["", "    Attributes", "    ----------"]
    for item in dataclasses.fields(TrainConfig):
        lines.append(f"    {item.name} : {hints[item.name].__name__}, default {item.default!r}")
        lines.append(f"        {item.metadata['help']}")
    return "\n".join(lines) + "\n"


TrainConfig.__doc__ = (TrainConfig.__doc__ or "") + _documented()

"""The training loop."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kacflow import _arguments
from kacflow.training import processes
from kacflow.training._lock import locked
from kacflow.training._uniforms import Uniforms
from kacflow.training.checkpoint import (
    FILE_NAME,
    Checkpoint,
    checkpoint_file,
    flatten_optimizer,
    load_checkpoint,
    load_weights,
    restore_optimizer,
    save_checkpoint,
    write_atomically,
)
from kacflow.training.config import RESUMABLE, TrainConfig
from kacflow.training.data import Dataset, Order, load_parts, stream
from kacflow.training.distillation import Distillation, load_teacher
from kacflow.training.ema import Average
from kacflow.training.feed import Feed, memory_of
from kacflow.training.learned_noise import TERMS, LearnedNoise
from kacflow.training.monitor import LOG_FILE, Monitor, check_tracker
from kacflow.training.networks import build_network, check_network
from kacflow.training.objective import Objective, Weight

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class TrainResult:
    """What :func:`train` leaves behind.

    Attributes
    ----------
    out : Path
        Folder of the run, with ``checkpoint.safetensors``, ``config.json`` and ``log.jsonl``.
    step : int
        Steps trained in all.
    loss : float
        Mean loss of the last line of the log; NaN if nothing was left to train.
    seconds : float
        Time this call took.
    """

    out: Path
    step: int
    loss: float
    seconds: float


def train(
    config: TrainConfig, *, resume: bool = False, overwrite: bool = False, progress: bool = True,
    weight: Weight | None = None, network: nn.Module | None = None,
) -> TrainResult:  # fmt: skip
    """Train a network on the mean squared error against the conditional velocity.

    With ``config.path`` "quantile" the noise is learned along with it, for ``config.noise_steps``
    steps (:mod:`kacflow.training.learned_noise`); it is part of the checkpoint.

    With ``config.teacher`` against where the teacher's integration ends: a student, one stage of
    :func:`kacflow.training.distill`.

    Step k draws times t on [t_min, T] (stratified over the batch), noise and what else is random
    of sample i from (``config.seed``, k, i), where the network is: every device trains on the same
    random words, and on the CPU a run that was stopped and resumed ends with the same bits as one
    that was not.  Nothing waits for a GPU between two lines of the log.

    Under ``torchrun`` (or ``accelerate launch``) the processes share the run: sample i of a step
    is the same, with its time and noise, whichever process computes it, and a checkpoint resumes
    with any number of processes that divides the batch.  The weights agree up to the order in which
    the gradient's sum over the batch is rounded; but optimal transport pairs what one process has.

    Parameters
    ----------
    config : TrainConfig
    resume : bool
        Continue from the checkpoint in ``config.out``.  The configuration must be the same but for
        ``out``, ``steps``, ``device``, ``accumulate``, ``log_every`` and ``checkpoint_every``.
    overwrite : bool
        Replace a run that is already in ``config.out``.
    progress : bool
        Show a progress bar with loss, throughput and the memory of a GPU on standard error.
    weight : callable, optional
        Factor of each sample's squared error: takes the times (B,) on the device, returns (B,).
        It is not kept in the checkpoint; give it again to resume.
    network : nn.Module, optional
        A module of your own, for ``config.network`` "custom": ``network(x, t)``, with ``labels``
        ``network(x, t, labels)``, returns the shape of x; t has shape (B,), and labels are int64 of
        shape (B,), where -1 means no label.  A copy of it is trained, from its weights on; give it
        again to resume, and to :func:`load_model`.

    Returns
    -------
    TrainResult

    Raises
    ------
    ValueError
        If the data cannot be used, another run is training in the folder, or it already holds a
        run (and neither ``resume`` nor ``overwrite`` is given), there is nothing to resume, the
        configuration differs, or the processes cannot divide the batch into equal parts.
    FloatingPointError
        If the loss is no longer finite; the last checkpoint is kept.
    MemoryError
        If a step does not fit on the GPU.
    KeyboardInterrupt
        After Ctrl-C, once the step is finished and a checkpoint is written; the message says how
        to continue.  A second Ctrl-C stops at once, with the last checkpoint whole.
    """
    if not isinstance(config, TrainConfig):
        raise TypeError(f"config: got {type(config).__name__}; allowed: TrainConfig")
    _arguments.flag("resume", resume)
    _arguments.flag("overwrite", overwrite)
    check_network(config, network)
    if resume:
        checkpoint_file(config.out)  # no folder is made where none was
    with locked(Path(config.out)) if processes.is_main() else nullcontext():
        saved = _saved_run(config, resume, overwrite, network)
        return _train(config, saved, progress, weight, network)


def _train(
    config: TrainConfig, saved: Checkpoint | None, progress: bool, weight: Weight | None,
    network: nn.Module | None,
) -> TrainResult:  # fmt: skip
    check_tracker(config)
    accelerator = processes.accelerator(config.device, config.tracker, config.out)
    parts = accelerator.num_processes * config.accumulate
    world, pieces = accelerator.num_processes, config.accumulate
    allowed = f"multiples of {parts}, for {world} processes that accumulate {pieces} pieces each"
    config._must(config.batch % parts == 0, "batch", allowed)
    cuda = [accelerator.device] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(config.seed)
        data, held_out = load_parts(config)
        _arguments.must(
            data.classes or not config.labels,
            "labels",
            f"True, but data {config.data!r} has no classes",
            "'digits', 'grid9', 'gaussians9', CIFAR-10, arrays with a label_key, or images in "
            "folders, one a class",
        )
        if saved is not None and saved.classes != (data.classes if config.labels else 0):
            raise ValueError(
                f"data: {config.data!r} has {data.classes} classes; allowed: {saved.classes}, as "
                "when the run began"
            )
        if saved is not None and saved.sample_shape != tuple(data.sample_shape):
            raise ValueError(
                f"data: {config.data!r} has samples of shape {tuple(data.sample_shape)}; allowed: "
                f"{saved.sample_shape}, as when the run began"
            )
        run = _Run(config, data, accelerator, saved, weight, network)
        with closing(run.feed):
            return run.run(progress, held_out)


def _saved_run(
    config: TrainConfig, resume: bool, overwrite: bool, network: nn.Module | None
) -> Checkpoint | None:
    """The checkpoint to continue from, None for a fresh start; checks that this is allowed."""
    file = Path(config.out) / FILE_NAME
    if not resume:
        if file.exists() and not overwrite:
            raise ValueError(
                f"out: {config.out!r} already holds a run; resume it, overwrite it, or choose "
                "another folder"
            )
        return None
    saved = load_checkpoint(config.out, network)
    old, new = saved.config.to_dict(), config.to_dict()
    changed = [f"{k}: {old[k]!r} -> {new[k]!r}" for k in old if old[k] != new[k]]
    changed = [text for text in changed if text.partition(":")[0] not in RESUMABLE]
    if changed:
        raise ValueError(
            f"resume: the run in {config.out!r} has another configuration ({'; '.join(changed)}); "
            f"only {', '.join(sorted(RESUMABLE))} may change"
        )
    got = f"{config.steps}, but the run in {config.out!r} has done {saved.step}"
    _arguments.must(saved.step <= config.steps, "steps", got, f"an integer >= {saved.step}")
    return saved


def _check_memory(network: nn.Module, device: torch.device) -> None:
    """ValueError if what a network without memory needs for training is more than there is.

    Weights, their gradients, two moments and the average; what a step computes comes on top.
    """
    count = sum(weights.numel() for weights in network.parameters())
    needed, there = 20 * count / 2**30, memory_of(device) / 2**30
    if needed > there:
        raise ValueError(
            f"width: the network has {count:,} parameters, whose training needs {needed:.1f} GiB; "
            f"{device} has {there:.1f} GiB: allowed is what fits, by width, blocks and the like"
        )


class _Run:
    """One call of :func:`train`: the objects of the loop and their state."""

    def __init__(
        self, config: TrainConfig, data: Dataset, accelerator: Any, saved: Checkpoint | None,
        weight: Weight | None = None, custom: nn.Module | None = None,
    ) -> None:  # fmt: skip
        self.config, self.data, self.accelerator = config, data, accelerator
        self.out = Path(config.out)
        self.device = accelerator.device
        self.rows = processes.own_rows(
            config.batch, accelerator.process_index, accelerator.num_processes
        )
        self.step = 0 if saved is None else saved.step
        self.classes = data.classes if config.labels else 0
        self.objective: Objective
        if config.teacher:
            teacher = load_teacher(config, self.device, custom)
            self.objective = Distillation(config, data, self.classes, weight, teacher)
        elif config.path == "quantile":
            self.objective = LearnedNoise(config, data, self.classes, weight)
        else:
            self.objective = Objective(config, data, self.classes, weight)
        noise = self.objective.path.noise
        self.noise = noise if isinstance(noise, nn.Module) else nn.Module()
        if custom is None:
            with torch.device("meta"):
                planned = build_network(config, data.sample_shape, self.classes)
            _check_memory(planned, self.device)
        network = build_network(config, data.sample_shape, self.classes, custom)
        if saved is None and config.init:
            load_weights(network, config.init, custom, self.noise)
        self.noise.to(self.device).requires_grad_(config.learned_steps > 0)
        network = network.to(self.device)
        self.parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
        convolves = any(weights.ndim == 4 for weights in network.parameters())
        wanted = config.channels_last and convolves and self.device.type != "cpu"
        self.layout = torch.channels_last if wanted else None
        if self.layout is not None:
            network = network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.ema = Average(network, config.ema, foreach=config.foreach)
        self.learned = list(self.noise.parameters()) if config.learned_steps else []
        groups = [{"params": list(values)} for values in (network.parameters(), self.learned)]
        optimizer = torch.optim.Adam(
            groups[: 1 + bool(self.learned)], lr=config.lr,
            fused=config.fused and self.device.type in ("cpu", "cuda"),
        )  # fmt: skip
        logged = ("loss", *(TERMS if isinstance(self.objective, LearnedNoise) else ()))
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        self.sums, self.loss_count = {name: zero.clone() for name in logged}, 0
        if saved is not None:
            self.noise.load_state_dict(saved.part("noise"))
            for name, total in self.sums.items():
                total += saved.tensors[f"state.{name}_sum"].to(self.device)
            network.load_state_dict(saved.part("model"))
            self.ema.module.load_state_dict(saved.part("ema"))
            self.ema.updates = int(saved.tensors["state.n_averaged"])
            restore_optimizer(optimizer, saved.part("optimizer"))
            torch.set_rng_state(saved.tensors["rng.cpu"])
            self.loss_count = int(saved.tensors["state.loss_count"])
        if config.compile:
            network.compile()
        if self.device.type != "cpu" or accelerator.process_index:
            # Their generators are in no checkpoint, and are not to repeat each other's masks.
            words = stream(config.seed, "dropout", self.step, accelerator.process_index)
            torch.manual_seed(int(words.integers(2**63)))
        # accelerate joins the processes; its wrappers of single calls cost a small step 3 to 5 %.
        self.network, self.bare, self.optimizer = accelerator.prepare(network), network, optimizer
        self.weights = list(network.parameters())
        self.last_loss = math.nan
        make = partial(self.objective.random, rows=self.rows, of=config.batch)
        self.random = Uniforms(config.seed, self.rows, self.device, make)
        order = Order(data.size, config.batch, config.seed)
        steps = range(self.step, config.steps)
        self.feed = Feed(
            data, order, self.rows, steps, self.device,
            workers=config.workers, labels=self.classes > 0,
        )  # fmt: skip

    def checkpoint(self) -> Path | None:
        """Write the state of the run; called by all processes, done by the main one."""
        sums = self.reduced_sums()
        self.check_finite(sums["loss"].item())
        if not self.accelerator.is_main_process:
            return None
        parts = {
            "model": self.bare.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": flatten_optimizer(self.optimizer),
            "noise": self.noise.state_dict(),
            "rng": {"cpu": torch.get_rng_state()},
            "state": {
                "n_averaged": torch.tensor(self.ema.updates),
                "loss_count": torch.tensor(self.loss_count),
                **{f"{name}_sum": total for name, total in sums.items()},
            },
        }
        tensors = {f"{part}.{k}": v for part, content in parts.items() for k, v in content.items()}
        saved = Checkpoint(tensors, self.config, self.data.sample_shape, self.classes, self.step)
        return save_checkpoint(self.out, saved)

    def batch(self) -> list[Tensor]:
        """What :meth:`Objective.draw` gives for this process's rows of the present step."""
        raw, labels = self.feed(self.step)
        drawn = self.objective.draw(
            raw, labels, self.random(self.step), self.rows.start,
            seed=self.config.seed, step=self.step,
        )  # fmt: skip
        if self.layout is not None:
            drawn[0] = drawn[0].contiguous(memory_format=self.layout)
        return drawn

    def accumulated_gradient(self) -> Tensor:
        """Add up the gradient of the batch; returns the mean loss of this process's rows."""
        pieces, drawn = self.config.accumulate, self.batch()
        if pieces == 1:
            loss = self.objective.loss(self.network, drawn)
            loss.backward()
            self.objective.add_gradient(drawn)
            return loss.detach()
        chunks = (value.chunk(pieces) for value in drawn)
        total = torch.zeros_like(self.sums["loss"])
        for piece, part in enumerate(zip(*chunks, strict=True), start=1):
            alone = piece < pieces  # the last piece waits for the other processes
            with self.accelerator.no_sync(self.network) if alone else nullcontext():
                loss = self.objective.loss(self.network, part) / pieces
                loss.backward()
            total += loss.detach()
        self.objective.add_gradient(drawn)
        return total

    def one_step(self) -> Tensor:
        """One step of the optimiser; returns the norm of the gradient before clipping."""
        rate = self.config.learning_rate(self.step)
        highest = self.config.lr, self.config.noise_lr  # of the network, and of a learned noise
        for group, most in zip(self.optimizer.param_groups, highest, strict=False):
            group["lr"] = rate * (most / self.config.lr)
        self.optimizer.zero_grad(set_to_none=True)
        try:
            loss = self.accumulated_gradient()
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"a step of batch {self.config.batch} with {self.parameters:,} parameters does not "
                f"fit on {self.device}; try a larger accumulate (it is {self.config.accumulate}), "
                f"a smaller batch or width, or precision 'bf16' ({str(error).splitlines()[0]})"
            ) from None
        norm = nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        finite = norm.isfinite()
        if self.step < self.config.learned_steps:
            for weights in self.learned:
                weights.grad = self.accelerator.reduce(weights.grad, "mean")
            finite = finite & nn.utils.clip_grad_norm_(self.learned, self.config.clip).isfinite()
        self.optimizer.step()
        self.ema.update(self.bare)
        self.sums["loss"] += torch.where(finite, loss, math.nan)
        for name, value in self.objective.terms.items():
            self.sums[name] += value
        self.loss_count += 1
        self.step += 1
        return norm

    def check_finite(self, loss: float) -> None:
        """Raise FloatingPointError if the run has diverged."""
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss or its gradient is not finite near step {self.step}; an earlier "
                f"checkpoint in {str(self.out)!r} is kept. Try a smaller lr (it is "
                f"{self.config.lr}) or clip (it is {self.config.clip})"
            )

    def reduced_sums(self) -> dict[str, Tensor]:
        """The sums since the last line of the log, each the mean of those of all processes."""
        return {name: self.accelerator.reduce(v, "mean") for name, v in self.sums.items()}

    def means(self, norm: Tensor) -> dict[str, float]:
        """A line of the log: means since the last, which are cleared.  Called by all processes."""
        means = {k: total.item() / self.loss_count for k, total in self.reduced_sums().items()}
        self.last_loss = means["loss"]
        self.check_finite(self.last_loss)
        for total in self.sums.values():
            total.zero_()
        self.loss_count = 0
        return {
            "step": self.step,
            **means,
            "grad_norm": float(norm),
            "lr": self.config.learning_rate(self.step - 1),
        }

    def agree(self, stop: threading.Event) -> bool:
        """Whether to stop: several processes ask each other, at the steps that write the log."""
        if self.accelerator.num_processes == 1:
            return stop.is_set()
        if self.step % self.config.log_every:
            return False
        wanted = torch.tensor(int(stop.is_set()), device=self.device)
        return bool(self.accelerator.reduce(wanted, "sum"))

    def run(self, progress: bool, held_out: Dataset | None = None) -> TrainResult:
        """Train from the present step to the last."""
        config, first, began = self.config, self.step, time.perf_counter()
        if self.accelerator.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            if first == 0:
                (self.out / FILE_NAME).unlink(missing_ok=True)  # of a run that is overwritten
            write_atomically(self.out / CONFIG_FILE, (config.to_json() + "\n").encode())
            _cut_log(self.out / LOG_FILE, first)
        monitor = Monitor(
            self.objective, self.accelerator, self.ema.module, self.data, held_out,
            step=first, parameters=self.parameters, progress=progress,
        )  # fmt: skip
        with monitor, _interruptible() as stop:
            while self.step < config.steps and not self.agree(stop):
                norm = self.one_step()
                monitor.after(self.step, partial(self.means, norm))
                if self.step % config.checkpoint_every == 0:
                    self.checkpoint()
            unsaved = self.step > first and self.step % config.checkpoint_every
            if unsaved or self.step < config.steps:
                self.checkpoint()
        self.accelerator.wait_for_everyone()  # what is written is there when any of them returns
        if self.step < config.steps:
            raise KeyboardInterrupt(
                f"stopped after step {self.step} of {config.steps}; the checkpoint "
                f"{str(self.out / FILE_NAME)!r} is complete. Continue with: "
                f"kacflow train --out {self.out} --resume"
            )
        return TrainResult(self.out, self.step, self.last_loss, time.perf_counter() - began)


def _cut_log(file: Path, step: int) -> None:
    """Drop the lines of a log that lie after ``step``: the run continues from there."""
    if file.exists():
        lines = file.read_text(errors="replace").splitlines()
        kept = [line + "\n" for line in lines if _step_of(line) <= step]
        write_atomically(file, "".join(kept).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line that was cut off while being written
        return math.inf


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Within, the first Ctrl-C sets the event; the second raises KeyboardInterrupt.

    Outside the main thread Python allows no signal handler, and Ctrl-C behaves as usual.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        os.write(2, b"\nCtrl-C: finishing this step and writing a checkpoint ...\n")

    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)

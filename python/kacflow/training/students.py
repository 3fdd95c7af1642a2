"""Few-step students of a run, in stages."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kacflow import _arguments, plotting
from kacflow.generate import FIXED_STEP, _weight
from kacflow.training import processes
from kacflow.training.checkpoint import FILE_NAME, TrainedModel, load_checkpoint, load_model
from kacflow.training.config import STUDENT_LOSSES
from kacflow.training.distillation import digest
from kacflow.training.loop import TrainResult, train
from kacflow.training.sampling import balanced_labels, default_steps, draw_samples

STEPS = (20, 4, 2, 1)
TRAIN_STEPS = 2000
#: Steps of the teacher from T to 0, in all, where a student says nothing.
TEACHER_STEPS = 40
PICTURE = "students.png"
#: Fields of the configuration that may differ from the teacher's.
CHANGES = (
    "label_dropout", "dropout", "batch", "accumulate", "lr", "lr_schedule", "warmup", "clip", "ema",
    "precision", "compile", "channels_last", "fused", "foreach", "workers", "device", "seed",
    "log_every", "checkpoint_every", "validate_every", "sample_every", "evaluate_every",
    "evaluate_samples", "evaluate_features", "tracker",
)  # fmt: skip


def distill(
    run: str | os.PathLike[str], out: str | os.PathLike[str], steps: Sequence[int] = STEPS, *,
    chain: bool = False, guidance: float = 0.0, substeps: int | None = None, solver: str = "ab2",
    loss: str = "velocity", train_steps: int = TRAIN_STEPS, progress: bool = True,
    network: nn.Module | None = None, **changes: Any,
) -> list[TrainResult]:  # fmt: skip
    """Teach students of a run that generate in few Euler steps, one after the other.

    The student of M steps learns, at each of the times T/M, ..., T, to go in one Euler step to
    where its teacher leads in a time T/M (:class:`kacflow.training.distillation.Distillation`).
    Each is a run in ``out``/steps-M that :func:`kacflow.train` trains: data, path and network are
    the teacher's, and its configuration names teacher, steps and guidance.  It begins with the
    averaged weights of the student before, the first one with the teacher's.

    Called again with the same arguments it goes on where it was stopped, on the CPU with the same
    bits, and passes over what is finished.  In the end ``out``/students.png shows samples of the
    teacher and all students from the same noise.

    Parameters
    ----------
    run : path
        The teacher: folder of a run, or its checkpoint.  If it is a student itself, its own steps
        are what is integrated, as with ``chain``.
    out : path
        Folder of the students.
    steps : sequence of int
        Steps of the students, decreasing, >= 1.
    chain : bool
        Each student is the teacher of the next, as in DistillKac: cheaper, since few of its steps
        make one of the next, but errors add up.  Each number of steps must divide the one before.
        By default ``run`` teaches all of them.
    guidance : float
        Weight >= 0 of classifier-free guidance, for a teacher with labels: the students need none
        any more, and one evaluation a step.  Without a label they learn the field without guidance.
    substeps : int, optional
        Steps of the teacher for one of the student; by default as many as make at least 40 from T
        to 0, and 2.
    solver : str
        "euler", "ab2", "heun", "midpoint" or "rk4", for the teacher.
    loss : str
        "velocity" or "position", see ``student_loss`` of :class:`TrainConfig`.
    train_steps : int
        Steps of the optimiser for each student.
    progress : bool
        Show progress bars.
    network : nn.Module, optional
        The module of a run with network "custom".
    **changes
        Fields of :class:`TrainConfig` that say how to train, such as ``batch``, ``lr``, ``device``
        and ``seed``; by default the teacher's, ``warmup`` at most a tenth of ``train_steps``.

    Returns
    -------
    list of TrainResult
        One for each student.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed; as :func:`kacflow.train`, and where
        ``out`` holds students of another teacher.

    Notes
    -----
    A student predicts what its teacher predicts, but on the Kac path the velocity: not every one
    has data that gives it (:class:`kacflow.training.distillation.Distillation`).
    """
    counts = _steps(steps)
    unknown = sorted(set(changes) - set(CHANGES))
    if unknown:
        raise ValueError(f"distill: got {unknown}; allowed: {', '.join(CHANGES)}")
    _arguments.flag("chain", chain)
    _arguments.choice("solver", solver, FIXED_STEP)
    _arguments.choice("loss", loss, STUDENT_LOSSES)
    wanted = None if substeps is None else _arguments.integer("substeps", substeps, 1, 10**6)
    train_steps = _arguments.integer("train_steps", train_steps, 1)
    teacher = load_checkpoint(run, network).config
    guidance = _weight(guidance, teacher.labels or None)
    fits = not teacher.teacher or guidance in (0.0, teacher.student_guidance)
    got = f"{guidance:g} for a student with {teacher.student_guidance:g} in it"
    _arguments.must(fits, "guidance", got, "0, which keeps that")
    folder = Path(out)
    _check_others(folder, run, network)
    whole = (teacher.student_steps,) * bool(teacher.teacher) + counts * chain
    bad = [(big, small) for big in whole[:1] for small in counts if big % small]
    bad += [pair for pair in itertools.pairwise(whole) if pair[0] % pair[1]]
    if bad:
        big, small = bad[0]
        raise ValueError(f"steps: got {small} for a teacher of {big} steps; allowed: its divisors")

    done, before = [], Path(run)
    for count in counts:
        place = before if chain else Path(run)
        of = load_checkpoint(place, network).config
        config = dataclasses.replace(
            teacher, out=str(folder / f"steps-{count}"), init=str(before), teacher=str(place),
            teacher_sha256=digest(place), teacher_solver=solver, student_steps=count,
            teacher_substeps=wanted or max(2, -(-TEACHER_STEPS // count)), steps=train_steps,
            student_guidance=guidance, student_loss=loss,
            prediction="velocity" if of.path == "kac" else of.prediction,
            **{"warmup": min(teacher.warmup, train_steps // 10), **changes},
        )  # fmt: skip
        if of.teacher:
            config = dataclasses.replace(
                config, teacher_solver="euler", teacher_substeps=of.student_steps // count,
                student_guidance=of.student_guidance,
            )  # fmt: skip
        resume = (Path(config.out) / FILE_NAME).exists()
        done.append(train(config, resume=resume, progress=progress, network=network))
        before = Path(config.out)
    if processes.is_main():
        _draw(folder / PICTURE, Path(run), [result.out for result in done], guidance, network)
    return done


def _steps(steps: Any) -> tuple[int, ...]:
    """Checked steps of the students."""
    allowed = "decreasing integers >= 1"
    if isinstance(steps, (str, bytes)) or not isinstance(steps, Sequence):
        raise _arguments.wrong_type("steps", steps, allowed)
    counts = tuple(_arguments.integer("steps", count, 1, 10**6) for count in steps)
    decrease = counts and all(second < first for first, second in itertools.pairwise(counts))
    _arguments.must(decrease, "steps", list(steps), allowed)
    return counts


def _check_others(folder: Path, run: str | os.PathLike[str], network: nn.Module | None) -> None:
    """ValueError if ``folder`` holds a student of another teacher, or what is no student."""
    there = sorted(folder.glob(f"steps-*/{FILE_NAME}"))
    known = {digest(place) for place in (Path(run), *there)}
    for file in there:
        found = load_checkpoint(file, network).config
        if found.teacher_sha256 not in known:
            raise ValueError(
                f"out: got {str(folder)!r}, where {file.parent.name!r} is a student of another "
                f"teacher ({found.teacher or 'none'!r}, as it was then); allowed: another folder"
            )


def _draw(
    file: Path, run: Path, students: list[Path], guidance: float, network: nn.Module | None
) -> None:
    """The picture of the teacher and its students."""
    there = load_checkpoint(students[0], network).config.device != "cpu"
    device, rows = "cuda" if there and torch.cuda.is_available() else "cpu", []
    for place in (run, *students):
        model: TrainedModel = load_model(place, network=network, device=device)
        config, steps = model.config, default_steps(model.config)
        n = 16 if plotting.is_image(model.sample_shape) else 500
        labels = balanced_labels(n, model.classes)
        weight = 0.0 if config.teacher else guidance
        samples = draw_samples(model, n, labels=labels, guidance=weight, seed=0)
        who = "teacher, " * (place == run)
        rows.append((f"{who}{steps} step{'s' * (steps > 1)}", samples.numpy()))
    plotting.plot_rows(rows, file)

"""The processes that share a run, under ``torchrun`` or alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch

from kacflow import _arguments
from kacflow._optional import require


def _number(variable: str, default: str, least: int) -> int:
    text = os.environ.get(variable, default)
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{variable}: got {text!r}; allowed: an integer >= {least}")
    return int(text)


def launched() -> int:
    """Number of processes that ``torchrun`` started together, 1 without it."""
    return _number("WORLD_SIZE", "1", 1)


def is_main() -> bool:
    """Whether this is the one process, or the first of them, that writes files and prints."""
    return _number("RANK", "0", 0) == 0


def usable_device(device: Any, name: str = "device") -> torch.device:
    """The device of that name, on which a number was written and read back; TypeError or ValueError
    if it is no device of torch, or cannot be used here.
    """
    found = _arguments.device(device, name)
    try:
        torch.zeros(1, device=found).item()
    except Exception as error:  # each backend has its own: AssertionError, ImportError, ...
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{name}: got {str(device)!r}, which cannot be used here ({why})"
        ) from None
    return found


def accelerator(device: str, tracker: str = "none", folder: str | None = None) -> Any:
    """accelerate's ``Accelerator`` on ``device``: ``"auto"``, ``"cpu"`` or ``"cuda"`` (ValueError
    without a CUDA GPU); its tracker writes into ``folder``.

    Under ``torchrun`` it joins the processes, over gloo on CPUs and NCCL on GPUs, each on a GPU of
    its own.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ValueError("device: got 'cuda', but torch finds no CUDA GPU; allowed here: 'cpu'")
    followed = {} if tracker == "none" else {"log_with": tracker, "project_dir": folder}
    return require("accelerate").Accelerator(cpu=device == "cpu" or not found, **followed)


@contextmanager
def process_group() -> Iterator[None]:
    """Leave the group of processes on the way out, if one was joined within."""
    group = torch.distributed
    there = group.is_available() and group.is_initialized()
    try:
        yield
    finally:
        if not there and group.is_available() and group.is_initialized():
            group.destroy_process_group()


def leave(status: int) -> NoReturn:
    """End this program with ``status``; one of several processes ends without taking Python down.

    DistributedDataParallel keeps the threads of gloo alive beyond ``destroy_process_group``.  One
    that still has a tensor to drop asks for the interpreter, and if that is gone by then the
    process aborts ("terminate called without an active exception"): 1 run of 16 on a busy machine.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def own_rows(rows: int, rank: int, world: int) -> range:
    """The rows of a batch that are process ``rank``'s: contiguous, equally many for all.

    ``rows`` is a multiple of ``world``.
    """
    share = rows // world
    return range(rank * share, (rank + 1) * share)

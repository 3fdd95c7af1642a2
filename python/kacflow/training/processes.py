"""The processes that share a run, under ``torchrun`` or alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from kacflow.training._extras import require


def launched() -> int:
    """Number of processes that ``torchrun`` started together, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the one process, or the first of them, that writes files and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def accelerator(device: str) -> Any:
    """accelerate's ``Accelerator`` on ``device``: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Under ``torchrun`` it joins the processes, over gloo on CPUs and NCCL on GPUs, each on a GPU of
    its own.

    Raises
    ------
    ValueError
        For "cuda" without a CUDA GPU.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ValueError("device: got 'cuda', but torch finds no CUDA GPU; allowed here: 'cpu'")
    return require("accelerate").Accelerator(cpu=device == "cpu" or not found)


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


def own_rows(rows: int, rank: int, world: int) -> range:
    """The rows of a batch that are process ``rank``'s: contiguous, equally many for all.

    ``rows`` is a multiple of ``world``.
    """
    share = rows // world
    return range(rank * share, (rank + 1) * share)

"""The samples of each step on the device that trains: read ahead, and kept where they fit."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_convert

from kacflow.training.data import Dataset, Order
from kacflow_core._paths import physical_memory

KEPT_ON_CPU = 4 * 2**30  #: bytes of a data set that the CPU keeps; on a GPU half of what is free
_Read = tuple[Tensor, Tensor] | str


def memory_of(device: torch.device) -> float:
    """Bytes of memory that are free on a GPU, or that the machine has; infinity if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return physical_memory()


def kept_bytes(device: torch.device) -> int:
    """How large a data set may be to be kept on ``device``."""
    return int(memory_of(device)) // 2 if device.type == "cuda" else KEPT_ON_CPU


class _Reader(torch.utils.data.Dataset[_Read]):
    """What the workers of a DataLoader call: all samples of a step, with their numbers."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def __getitems__(self, indices: list[int]) -> _Read:
        numbers = torch.tensor(indices, dtype=torch.int64)
        try:
            return numbers, self.data.raw(numbers)
        except ValueError as error:  # a worker would wrap it in the text of a traceback
            return str(error)


def _leave_ctrl_c_to_the_loop(number: int) -> None:
    """The process that trains finishes its step, for which the workers are still needed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Wanted:
    """Numbers of the samples to read for each step: those of its rows, each once if ``keep``."""

    def __init__(self, order: Order, rows: range, steps: range, keep: bool) -> None:
        self.order, self.rows, self.steps, self.keep = order, rows, steps, keep

    def __iter__(self) -> Iterator[list[int]]:
        there, missing = np.zeros(self.order.size, bool), self.order.size
        order = Order(self.order.size, self.order.length, self.order.seed)  # it remembers an epoch
        for step in self.steps:
            indices = order.batch(step).numpy()[self.rows.start : self.rows.stop]
            if self.keep:
                indices = np.unique(indices[~there[indices]])
                there[indices] = True
                missing -= len(indices)
            yield indices.tolist()
            if self.keep and not missing:
                return


class Feed:
    """The samples of one process's rows of every step, as they are stored, on the device.

    A set that fits is kept there once it has been read, images as uint8; of a larger one every step
    is read anew.  Reading happens in ``workers`` processes (0: when a step asks), ahead of the
    step, and for a GPU into pinned memory.  What comes out depends on the order alone, not on
    workers or memory.  ``steps`` will be asked for in this order, and ``labels`` says whether the
    classes are wanted too; ValueError if the data cannot be read.
    """

    def __init__(
        self, data: Dataset, order: Order, rows: range, steps: range, device: torch.device,
        *, workers: int = 0, labels: bool = False,
    ) -> None:  # fmt: skip
        self._order, self._rows, self._device = order, rows, device
        one = data.raw(torch.zeros(1, dtype=torch.int64))
        keep = one.nbytes * data.size <= kept_bytes(device)
        self._kept: Tensor | None = None
        self._reading: Iterator[Any] | None = None
        everything = torch.arange(data.size)
        if keep and data.in_memory:
            self._kept = data.raw(everything).to(device)
        else:
            if keep:
                self._kept = torch.empty(
                    (data.size, *one.shape[1:]), dtype=one.dtype, device=device
                )
            reader = DataLoader(
                _Reader(data), batch_sampler=_Wanted(order, rows, steps, keep), num_workers=workers,
                collate_fn=default_convert, pin_memory=device.type == "cuda",
                worker_init_fn=_leave_ctrl_c_to_the_loop,
                generator=torch.Generator(),  # that of the caller stays as it is
            )  # fmt: skip
            self._reading = iter(reader)
        self._labels = data.labels(everything).to(device) if labels else None

    def _there(self, value: Tensor) -> Tensor:
        """A tensor on the device, without waiting for it."""
        if self._device.type != "cuda":
            return value.to(self._device)
        return (value if value.is_pinned() else value.pin_memory()).to(
            self._device, non_blocking=True
        )

    def _next(self) -> tuple[Tensor, Tensor] | None:
        """What was read for the next step, on the device; None once all is there."""
        read = next(self._reading, None) if self._reading is not None else None
        if read is None:
            self._reading = None  # ends the workers
            return None
        if isinstance(read, str):
            self.close()
            raise ValueError(read)
        return self._there(read[0]), self._there(read[1])

    def __call__(self, step: int) -> tuple[Tensor, Tensor | None]:
        """(samples as stored, classes or None) of ``step``; to be called for each step in turn."""
        read = self._next()
        if self._kept is None:
            assert read is not None  # one for every step
            indices, raw = read
        else:
            mine = self._order.batch(step)[self._rows.start : self._rows.stop]
            indices = self._there(mine)
            if read is not None:
                self._kept.index_copy_(0, *read)
            raw = self._kept.index_select(0, indices)
        return raw, None if self._labels is None else self._labels.index_select(0, indices)

    def close(self) -> None:
        """End the workers."""
        reading, self._reading = self._reading, None
        with suppress(AttributeError):  # without workers there is nothing to end
            reading._shutdown_workers()  # type: ignore[union-attr]

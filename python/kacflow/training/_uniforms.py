"""Uniform numbers by counter: those of a seed, a step and a sample, on any device the same bits.

Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011)
in torch's integers, so that a GPU draws them where the training step needs them and a batch may be
divided among processes.  The noise itself comes from kacflow's kernels; these numbers place the
times, mirror images and drop labels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_BLOCK = 2**18  #: numbers that are drawn at once: a launch costs as much for one step as for many


def _product(word: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a product of 32-bit words, which int64 need not overflow for."""
    low, high = word * (factor & 0xFFFF), word * (factor >> 16)
    return (high + (low >> 16)) >> 16, (low + ((high & 0xFFFF) << 16)) & _LOW


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: int) -> tuple[Tensor, ...]:
    """Four words in [0, 2^32) of each counter of four, all int64; ``key`` has 64 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & _LOW, key >> 32
    for _ in range(_ROUNDS):
        (high0, low0), (high1, low1) = _product(c0, _MULTIPLIERS[0]), _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


class Uniforms:
    """Four uniform numbers for each sample of each step, or what is made of them.

    ``seed`` is in [0, 2^63), and ``rows`` are the numbers of the samples of a step, those of one
    process.  ``make`` takes the numbers of some steps, shape (4, steps, rows), and returns tensors
    whose last two axes are these: done once for many steps.
    """

    def __init__(
        self, seed: int, rows: range, device: torch.device | str = "cpu",
        make: Callable[[Tensor], tuple[Tensor, ...]] | None = None,
    ) -> None:  # fmt: skip
        self._seed, self._rows, self._device, self._make = seed, rows, device, make
        self._together = max(1, min(64, _BLOCK // (4 * max(1, len(rows)))))  # steps
        self._first = -1
        self._block: tuple[Tensor, ...] = ()

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """What was made for a step; without ``make`` one tensor of shape (4, number of rows), in
        float32 in [0, 1): multiples of 2^-24, independent.
        """
        first = step - step % self._together
        if first != self._first:
            numbers = self._draw(first)
            self._first = first
            self._block = (numbers,) if self._make is None else self._make(numbers)
        return tuple(made[..., step - first, :] for made in self._block)

    def _draw(self, first: int) -> Tensor:
        shape = (self._together, len(self._rows))
        sample = torch.arange(self._rows.start, self._rows.stop, device=self._device).expand(shape)
        step = torch.arange(first, first + self._together, device=self._device)[:, None]
        step, zero = step.expand(shape), torch.zeros_like(sample)
        words = philox((sample, step & _LOW, step >> 32, zero), self._seed)
        return torch.stack(words).bitwise_right_shift(8).to(torch.float32) * 2.0**-24

"""The Gaussian pair that users of conditional flow matching have today, eager and compiled.

With data at t = 0: ``e = randn_like(x_0)``, ``x_t = (1 - t) x_0 + t e`` and ``dx_t = e - x_0``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def pair_eager(x_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(x_t, dx_t); ``t`` has trailing axes of length one."""
    e = torch.randn_like(x_0)
    return (1 - t) * x_0 + t * e, e - x_0


def pair_compiled() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """:func:`pair_eager` through torch.compile; ask anew for every batch, since torch returns to
    the eager function when it has compiled one for too many shapes and numbers of threads.
    """
    torch.compiler.reset()
    return torch.compile(pair_eager, dynamic=False)

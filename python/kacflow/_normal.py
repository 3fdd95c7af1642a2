"""Standard normal and uniform numbers by counter, from the sampler of the Kac process."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kacflow import (
    _arguments,
    ops,  # noqa: F401 - registers the operators
)
from kacflow.ops._tensors import draw, draw_seed, first_element, place, scalar

_RATE = 2.0**48  #: a t at t = 1
_SPEED = 2.0**24  #: c with c^2/a = 1


def normal(
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    first: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent N(0, 1) numbers.

    K(1) of the process with a = c^2 = 2^48.  As a t -> infinity the closed form of the sampler is
    the transform of Box and Muller, and at 2^48 the two differ by less than 1e-12 of a standard
    deviation.  Element i uses counter ``first * (elements of a sample) + i`` of the seed drawn
    from ``generator``, so that a batch can be drawn in parts; torch's own normal numbers cannot.

    Parameters
    ----------
    shape, generator, first, device
        As in :meth:`kacflow.KacProcess.sample`.
    dtype : torch.dtype
        float32 or float64.

    Returns
    -------
    Tensor
        Shape ``shape``.
    """
    where, extents = place(device), _arguments.shape(shape)
    one, rate, speed = (
        scalar(value, _arguments.dtype(dtype), where) for value in (1.0, _RATE, _SPEED)
    )
    seed = draw_seed(generator, where)
    offset = first_element(first, extents)
    return draw(one, rate, speed, seed, offset, extents, dtype)


def phi(n: Tensor) -> Tensor:
    """P(N <= n) for a standard normal N, with the digits of its lower tail, which
    ``torch.special.ndtr``, (1 + erf(n/sqrt(2)))/2, has lost: that is 0 from -5.4 on in float32.
    """
    return 0.5 * torch.erfc(-n * math.sqrt(0.5))


def centred(n: Tensor) -> Tensor:
    """2 U - 1 in [-1, 1] of standard normal numbers, U = Phi(n) their distribution function."""
    return torch.erf(n * math.sqrt(0.5))


def uniform(
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    first: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent uniform numbers, Phi of those of :func:`normal`, which see for the arguments.

    They lie in (0, 1), so that quantiles of them are finite: the normal numbers are bounded, and
    what would round to 1 becomes the number below it.
    """
    n = normal(shape, generator=generator, first=first, dtype=dtype, device=device)
    return phi(n).clamp(max=1.0 - 0.5 * torch.finfo(dtype).eps)

"""Noises: what :class:`kacflow.Path` asks of one, and the two Gaussian ones.

A noise is a process N_t that starts at 0, with independent components; its conditional velocity
v(t, x) is that of the flow from the point 0 to its law.  The Kac process
(:class:`kacflow.KacProcess`) is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._normal import normal
from kacflow.ops._rules import leading
from kacflow.ops._tensors import drawn_dtype, known_times, place


class Noise(Protocol):
    """What a path needs of its noise.

    A noise whose velocity cannot be read off a rounded draw, or is cheaper beside it, has one more
    method, ``pair``, with the arguments of ``sample`` and the result ``(N_t, v(t, N_t))``.
    :func:`kacflow.log_likelihood` and :class:`kacflow.EmpiricalField` ask for ``log_prob(x, t)`` as
    well, the log density of N_t at each element of ``x``; arguments as those of ``velocity``.
    """

    def sample(
        self,
        t: Tensor,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None,
        first: int,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> Tensor:
        """Draw N_t, of ``shape``; ``t``, of shape () or (B,), aligns with the first axis.

        Sample i is sample ``first + i`` of the noise that one number of ``generator`` stands for,
        so that a batch can be drawn in parts.  ``dtype`` is float32 or float64.
        """

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """v(t, x), in the dtype of ``x``; ``t`` broadcasts with ``x`` as in torch."""


class BrownianProcess:
    """Brownian motion: N_t = sigma sqrt(t) e with e standard normal, the limit of the Kac process
    for a = c^2/sigma^2 and c -> infinity.

    Its conditional velocity x/(2 t) has no bound as t -> 0; at t = 0 itself it is taken as 0.

    Parameters
    ----------
    sigma : float
        Standard deviation at t = 1, finite and > 0.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> import torch
    >>> from kacflow import BrownianProcess
    >>> BrownianProcess(2.0).sample(0.25, (4, 3)).shape
    torch.Size([4, 3])
    """

    def __init__(self, sigma: float = 1.0) -> None:
        self.sigma = _arguments.positive("sigma", sigma)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sigma={self.sigma:g})"

    @staticmethod
    def _scales(t: Tensor) -> tuple[Tensor, Tensor]:
        """N_t and v(t, N_t) over sigma e."""
        root = t.sqrt()
        return root, torch.where(root > 0, 0.5 / root, torch.zeros_like(root))

    def pair(
        self,
        t: float | Tensor,
        shape: int | Sequence[int],
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(N_t, v(t, N_t)) of one draw; arguments as :meth:`kacflow.KacProcess.sample`."""
        extents, kind = _arguments.shape(shape), drawn_dtype(dtype, t)
        where = place(device, t)
        e = self.sigma * normal(
            extents, generator=generator, first=first, dtype=kind, device=where
        )  # fmt: skip
        time = known_times(t, where, kind)
        _arguments.leads("t", time, extents)
        position, velocity = self._scales(leading(time, len(extents)))
        return position * e, velocity * e

    def sample(self, t: float | Tensor, shape: int | Sequence[int], **options: Any) -> Tensor:
        """Draw N_t; arguments as :meth:`pair`."""
        return self.pair(t, shape, **options)[0]

    def velocity(self, x: Tensor, t: float | Tensor) -> Tensor:
        """v(t, x) in the dtype of ``x``, 0 at t = 0; ``t`` broadcasts with ``x``."""
        _arguments.tensor("x", x)
        time = known_times(t, x.device, x.dtype)
        _arguments.broadcast(x=x, t=time)
        position, velocity = self._scales(time)
        rate = torch.where(position > 0, velocity / position, torch.zeros_like(position))
        return (rate * x).to(x.dtype)

    def log_prob(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Logarithm of the density of N_t, elementwise, in the dtype of ``x``.

        ``x`` is float32 or float64; ``t`` broadcasts with it.  At t = 0, where N_t is 0, it is inf
        at 0 and -inf elsewhere.

        Examples
        --------
        >>> import torch
        >>> from kacflow import BrownianProcess
        >>> BrownianProcess(2.0).log_prob(torch.tensor([0.0, 1.0]), 0.25)  # N(0, 1)
        tensor([-0.9189, -1.4189])
        """
        _arguments.tensor("x", x, _arguments.WORKING)
        time = known_times(t, x.device, x.dtype)
        _arguments.broadcast(x=x, t=time)
        scale = self.sigma * self._scales(time)[0]
        spread = scale > 0
        scale = torch.where(spread, scale, torch.ones_like(scale))
        density = -0.5 * (x / scale).square() - scale.log() - 0.5 * math.log(2.0 * math.pi)
        return torch.where(spread, density, torch.where(x == 0, math.inf, -math.inf).to(x.dtype))


class StraightProcess(BrownianProcess):
    """The straight line to a Gaussian: N_t = sigma t e, with velocity x/t, the constant sigma e."""

    @staticmethod
    def _scales(t: Tensor) -> tuple[Tensor, Tensor]:
        return t, torch.ones_like(t)

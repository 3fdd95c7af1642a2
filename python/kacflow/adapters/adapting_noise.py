"""The Kac sampler and velocity of "Adapting Noise to Data", under that project's names.

Conventions, as there: data at t = 0, noise at t = T; the velocity is dx/dt, from data to noise, and
there is no noise argument.  It stands for ``TorchKacConstantSampler`` of
``learn_noise.utils.sampler`` and ``compute_velocity_kac`` of ``learn_noise.utils.velocity_kac``
of https://github.com/TUB-Angewandte-Mathematik/Adapting-Noise, the code of Chemseddine,
Kornhardt, Duong, Steidl, arXiv 2510.12636.

What differs is the law of the draws.  Between its atoms the density of K(t) is, with
z = (a/c) sqrt((c t)^2 - x^2),

    (a/2c) e^(-a t) (I_0(z) + a t I_1(z)/z),

and the published sampler tabulates it with c t in place of a t before I_1(z)/z: it divides I_1 by
z where it should divide by sqrt((c t)^2 - x^2).  So the law is right for a = c only.  For a = 9
and c = 3, up to t = 1, its distribution function is off by up to 0.0064 and its standard deviation
too low by up to 2 %; for c = 1 these are 0.010 and 3 %.  The published velocity is that of the
Kac process, which here is that of the draws as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow.adapters import telegraphers

__all__ = ["TorchKacConstantSampler", "compute_velocity_kac"]


class TorchKacConstantSampler(telegraphers.TorchKacConstantSampler):
    """Draws K(t), the displacement of the Kac process, from its exact law; no table is made.

    As :class:`kacflow.adapters.telegraphers.TorchKacConstantSampler`, with the arguments of this
    project: ``device`` and ``dtype`` by name, and the CPU by default.

    Parameters
    ----------
    a, c : float
        Jump rate (1/time) and speed (length/time), > 0.
    T : float
        Horizon, > 0; kept as an attribute, not used.
    M, K : int
        Sizes >= 1 of the published table; kept as attributes, not used.
    device : torch.device or str, optional
        Where samples are drawn; by default the CPU.
    dtype : torch.dtype
        float32 or float64; None is torch's default, as there.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> import torch
    >>> from kacflow.adapters.adapting_noise import TorchKacConstantSampler
    >>> sampler = TorchKacConstantSampler(9.0, 3.0, 1.0, M=5000)
    >>> sampler.sample(torch.rand(32), dim=3).shape
    torch.Size([32, 3])
    """

    def __init__(
        self,
        a: float,
        c: float,
        T: float,
        M: int,
        K: int = 1024,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        kind = torch.get_default_dtype() if dtype is None else _arguments.dtype(dtype)
        where = torch.device("cpu" if device is None else _arguments.device(device))
        super().__init__(a, c, T, M, K, device=where, dtype=kind)


@torch.no_grad()
def compute_velocity_kac(
    x: Tensor,
    t: Tensor,
    a: float,
    c: float | Tensor,
    epsilon: float = 1e-6,
    T: float = 1.0,
) -> Tensor:
    """Conditional velocity dx/dt of the flow that starts at 0, without gradients, as there.

    Arguments and result as of :func:`kacflow.adapters.telegraphers.compute_velocity`.

    Examples
    --------
    >>> import torch
    >>> from kacflow.adapters.adapting_noise import compute_velocity_kac
    >>> compute_velocity_kac(torch.tensor([-1.5, 0.0, 1.4999999]), torch.tensor(0.5), 9.0, 3.0)
    tensor([-3.,  0.,  3.])
    """
    return telegraphers.compute_velocity(x, t, a, c, epsilon, T)

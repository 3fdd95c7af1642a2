"""The sampler and the velocity that the paper's own scripts import, without tables.

Conventions, as in those scripts: data at t = 0, noise at t = T; the velocity is dx/dt, from data to
noise, and generation integrates it from T down to 0.  The noise is drawn here: there is no noise
argument.

Replace ``utils.sample_kac`` and ``utils.velo_utils`` (in some folders ``cdf_sampler`` and
``velo_utils_final``) by this module; the scripts stay as they are.  The code of the paper is at
https://github.com/JChemseddine/telegraphers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kacflow import ops
from kacflow.process import KacProcess

__all__ = ["TorchKacConstantSampler", "compute_velocity"]


class TorchKacConstantSampler:
    """Draws K(t), the displacement of the Kac process: data at t = 0, noise at t = T.

    A step of training adds it to the data, x_t = f(t) x_0 + K(t); there is no noise argument, the
    noise is drawn here.  The law is exact at every t >= 0, beyond T too, and nothing is computed in
    advance.

    Parameters
    ----------
    a, c : float
        Jump rate (1/time) and speed (length/time), > 0.
    T : float
        Horizon; kept as an attribute, not used.
    M, K : int
        Sizes of the table that the scripts' own sampler interpolates; kept as attributes, not
        used.
    device : torch.device or str, optional
        Where samples are drawn, kept as given; by default a GPU if there is one, else the CPU.
    dtype : torch.dtype
        float32 or float64.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> import torch
    >>> from kacflow.adapters.telegraphers import TorchKacConstantSampler
    >>> sampler = TorchKacConstantSampler(a=9.0, c=3.0, T=1.0, M=50000, K=4096, device="cpu")
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
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype: got {dtype}; allowed: torch.float32 or torch.float64")
        self._process = KacProcess(a, c)
        self.a, self.c, self.T, self.M, self.K = a, c, T, M, K
        self.beta = a / c
        if device is None:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.device = device
        self.dtype = dtype

    def sample(self, t: Tensor, dim: int = 1) -> Tensor:
        """Draw ``dim`` independent displacements for each time.

        Parameters
        ----------
        t : Tensor
            Times >= 0 of any shape and device; moved to the sampler's device and dtype.
        dim : int
            Draws per time, >= 0.

        Returns
        -------
        Tensor
            Shape ``t.shape + (dim,)``, on the sampler's device, in its dtype; exactly ±c t with
            probability e^(-a t).  One 64-bit number of torch's generator is consumed.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.
        """
        if not isinstance(t, Tensor):
            raise TypeError(f"t: got {type(t).__name__}; allowed: a tensor of times >= 0")
        times = t.reshape(-1).to(self.device, self.dtype)
        drawn = self._process.sample(
            times, (times.shape[0], dim), dtype=self.dtype, device=self.device
        )
        return drawn.view(*t.shape, dim)


def compute_velocity(
    x: Tensor,
    t: Tensor,
    a: float | Tensor,
    c: float | Tensor,
    epsilon: float = 1e-6,
    T: float = 1.0,
) -> Tensor:
    """Conditional velocity dx/dt of the flow that starts at 0 at t = 0, from data to noise.

    The noise slot is ``x``: a displacement x_t - f(t) x_0, not x_t.  ::

        v(t, x) = a x/(a t + q(z))      |x| <  c t (1 - epsilon/T),  q and z as in kacflow
        v(t, x) = c sign(x)             |x| >= c t (1 - epsilon/T)

    Computed in float64 whatever the dtype of ``x``, as the scripts do.

    Parameters
    ----------
    x, t : Tensor
        Positions and times >= 0; they broadcast.  ``t`` is moved to the device of ``x``.
    a, c : float or Tensor
        Jump rate and speed, > 0; ``c`` may be a tensor that broadcasts with ``x`` and ``t``.
    epsilon, T : float
        epsilon/T is the relative thickness of the layer below the light cone that moves with ±c.

    Returns
    -------
    Tensor
        float32, of the shape that ``x``, ``t`` and ``c`` broadcast to; differentiable inside the
        light cone.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> import torch
    >>> from kacflow.adapters.telegraphers import compute_velocity
    >>> compute_velocity(torch.tensor([-1.5, 0.0, 1.4999999]), torch.tensor(0.5), 9.0, 3.0)
    tensor([-3.,  0.,  3.])
    """
    for name, value in (("x", x), ("t", t)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: got {type(value).__name__}; allowed: a tensor")
    double = torch.float64
    x = x.to(double)
    t = t.to(x.device, double)
    rate, speed = (
        value.to(x.device, double)
        if isinstance(value, Tensor)
        else torch.full((), value, dtype=double, device=x.device)
        for value in (a, c)
    )
    edge = speed * t * (1.0 - epsilon / T)
    atom = torch.sign(x) * speed
    inside = ops.velocity(x, t, rate, speed)
    return torch.where(x.abs() >= edge, atom, inside).to(torch.float32)

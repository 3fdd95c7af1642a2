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

from kacflow import _arguments, ops
from kacflow._arguments import broadcast, integer, numeric, positive, real
from kacflow.ops import _tensors
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
        Horizon, > 0; kept as an attribute, not used.
    M, K : int
        Sizes >= 1 of the table that the scripts' own sampler interpolates; kept as attributes, not
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
        for name, number in (("a", a), ("c", c), ("T", T)):
            positive(name, number)
        for name, size in (("M", M), ("K", K)):
            integer(name, size, 1)
        _arguments.dtype(dtype)
        self._process = KacProcess(float(a), float(c))
        self.a, self.c, self.T, self.M, self.K = a, c, T, M, K
        self.beta = a / c
        if device is None:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._device = _arguments.device(device)
        self.device = device
        self.dtype = dtype

    def sample(self, t: Tensor, dim: int = 1) -> Tensor:
        """Draw ``dim`` independent displacements for each time.

        Parameters
        ----------
        t : Tensor
            Times >= 0 of any shape, real type and device; moved to the sampler's device and dtype.
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
        numeric("t", t, "a tensor of times >= 0")
        times = t.reshape(-1).to(self._device, self.dtype)
        shape = (times.shape[0], integer("dim", dim, 0, 2**31 - 1))
        drawn = self._process.sample(times, shape, dtype=self.dtype, device=self._device)
        return drawn.view(*t.shape, shape[1])


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
        Positions and times >= 0 of real types; they broadcast.  ``t`` is moved to the device of
        ``x``.
    a, c : float or Tensor
        Jump rate and speed, > 0; tensors broadcast with ``x`` and ``t``.
    epsilon, T : float
        epsilon/T, in [0, 1), is the relative thickness of the layer below the light cone that moves
        with ±c; T > 0.

    Returns
    -------
    Tensor
        float32, of the shape that ``x``, ``t``, ``a`` and ``c`` broadcast to; differentiable inside
        the light cone.

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
    numeric("x", x, "a tensor of positions")
    numeric("t", t, "a tensor of times >= 0")
    T, epsilon = positive("T", T), real("epsilon", epsilon)
    if not 0 <= epsilon < T:
        raise ValueError(f"epsilon: got {epsilon}; allowed: 0 <= epsilon < T = {T:g}")
    x = x.to(torch.float64)
    t, rate, speed = t.to(x), _beside("a", a, x), _beside("c", c, x)
    broadcast(x=x, t=t, a=rate, c=speed)
    edge = speed * t * (1.0 - epsilon / T)
    atom = torch.sign(x) * speed
    inside = ops.velocity(x, t, rate, speed)
    return torch.where(x.abs() >= edge, atom, inside).to(torch.float32)


def _beside(name: str, value: float | Tensor, x: Tensor) -> Tensor:
    """A rate or speed in float64, beside the positions; the result must hold it in float32."""
    if isinstance(value, Tensor):
        found = numeric(name, value, "a float > 0 or a tensor of them").to(x)
    else:
        found = torch.full((), positive(name, value), dtype=x.dtype, device=x.device)
    most = torch.finfo(torch.float32).max
    if name == "c" and _tensors.plain(found) and bool((found > most).any()):
        raise ValueError(f"c: got {float(found.max()):g}; allowed: at most {most:g}, of float32")
    return found

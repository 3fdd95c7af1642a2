"""Noises: what :class:`kacflow.Path` asks of one, and those that are a random number times a scale.

A noise is a process N_t that starts at 0, with independent components; its conditional velocity
v(t, x) is that of the flow from the point 0 to its law.  The Kac process
(:class:`kacflow.KacProcess`) is one; :func:`kacflow.testing.check_noise` tells whether a process of
your own is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._normal import centred, normal, phi, uniform
from kacflow.ops._rules import leading
from kacflow.ops._tensors import drawn_dtype, known_times, place, plain, rounded

__all__ = [
    "BrownianProcess",
    "Noise",
    "ScaledProcess",
    "StraightProcess",
    "UniformProcess",
    "normal",
    "uniform",
]


class Noise(Protocol):
    """What a path needs of its noise.

    A noise whose velocity cannot be read off a rounded draw, or is cheaper beside it, has one more
    method, ``pair``, with the arguments of ``sample`` and the result ``(N_t, v(t, N_t))``.
    :func:`kacflow.log_likelihood` and :class:`kacflow.EmpiricalField` ask for ``log_prob(x, t)`` as
    well, the log density of N_t at each element of ``x``; arguments as those of ``velocity``.
    Generation with ``method="transport"`` asks for ``transport(x, t, s)``, where the flow of the
    velocity leads ``x`` from time t to time s.  The processes of kacflow have ``cdf(x, t)``,
    ``icdf(q, t)`` and ``variance(t)``, too.
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


class ScaledProcess:
    """N_t = s(t) Z for one random number Z a component and a scale s with s(0) = 0: the velocity is
    s'(t) Z = x s'(t)/s(t).

    A class of it says what s and Z are, by :meth:`scales` and by the law of Z, the methods
    ``base_...``.  :meth:`base_icdf` is enough for training and generation,
    :meth:`base_log_prob` for likelihoods, :meth:`base_variance` for :meth:`variance`.

    Examples
    --------
    >>> import torch
    >>> from kacflow import Path
    >>> from kacflow.noise import ScaledProcess
    >>> class Logistic(ScaledProcess):
    ...     def scales(self, t):
    ...         return t, torch.ones_like(t)
    ...     def base_icdf(self, q):
    ...         return torch.logit(q)
    >>> Path(Logistic()).sample(torch.zeros(8, 2), torch.rand(8)).x_t.shape
    torch.Size([8, 2])
    """

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """s(t) and s'(t), of the shape and dtype of the times; s' is 0 where it has no value."""
        raise NotImplementedError(f"{type(self).__name__} has no scales(t)")

    def base_icdf(self, q: Tensor) -> Tensor:
        """The quantile of Z at each probability of ``q``, in its dtype."""
        raise NotImplementedError(f"{type(self).__name__} has no base_icdf(q)")

    def base_log_prob(self, z: Tensor) -> Tensor:
        """The log density of Z at each element of ``z``, in its dtype."""
        raise NotImplementedError(f"{type(self).__name__} has no base_log_prob(z)")

    def base_cdf(self, z: Tensor) -> Tensor:
        """P(Z <= z) at each element of ``z``, in its dtype."""
        raise NotImplementedError(f"{type(self).__name__} has no base_cdf(z)")

    def base_variance(self) -> float | Tensor:
        """The variance of Z: one for all components, or a tensor that broadcasts with them."""
        raise NotImplementedError(f"{type(self).__name__} has no base_variance()")

    def base_sample(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw Z; arguments as :meth:`pair`.

        Where a class does not say how, these are the quantiles of uniform numbers in float64, which
        lie in [1e-17, 1 - 2^-53], rounded once to ``dtype``.
        """
        u = uniform(shape, generator=generator, first=first, dtype=torch.float64, device=device)
        return self.base_icdf(u).to(dtype)

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        """What decides on which device to draw."""
        return ()

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
        where = place(device, t, *self._tensors)
        z = self.base_sample(extents, generator=generator, first=first, dtype=kind, device=where)
        time = known_times(t, where, kind)
        _arguments.leads("t", time, extents)
        scale, rate = self.scales(leading(time, len(extents)))
        return scale * z, rate * z

    def sample(self, t: float | Tensor, shape: int | Sequence[int], **options: Any) -> Tensor:
        """Draw N_t; arguments as :meth:`pair`."""
        return self.pair(t, shape, **options)[0]

    def velocity(self, x: Tensor, t: float | Tensor) -> Tensor:
        """v(t, x) in the dtype of ``x``, 0 at t = 0; ``t`` broadcasts with ``x``."""
        _arguments.tensor("x", x)
        time = known_times(t, x.device, x.dtype)
        _arguments.broadcast(x=x, t=time)
        scale, rate = self.scales(time)
        spread = scale > 0
        z = x / torch.where(spread, scale, torch.ones_like(scale))
        return rounded("x", torch.where(spread, rate * z, torch.zeros_like(z)), x.dtype)

    def transport(self, x: Tensor, t: float | Tensor, s: float | Tensor) -> Tensor:
        """Where the flow of the velocity leads ``x`` from time t to time s: x times the ratio of
        their scales, 0 from t = 0.

        ``x`` is float32 or float64, ``t`` and ``s`` broadcast with it.

        Examples
        --------
        >>> import torch
        >>> from kacflow import BrownianProcess
        >>> BrownianProcess().transport(torch.tensor([1.0]), 1.0, 0.25)
        tensor([0.5000])
        """
        z, scale, spread = self._base("x", x, t)
        time = known_times(s, x.device, x.dtype, "s")
        _arguments.broadcast(x=x, t=scale, s=time)
        return torch.where(spread, self.scales(time)[0] * z, torch.zeros_like(z))

    def variance(self, t: float | Tensor) -> Tensor:
        """Variance of N_t, s(t)^2 times that of Z.

        ``t`` broadcasts with the components that have a variance of their own; float64 for a float
        ``t``, else the dtype of ``t``.

        Examples
        --------
        >>> from kacflow import BrownianProcess
        >>> BrownianProcess(2.0).variance(0.25)
        tensor(1., dtype=torch.float64)
        """
        kind = t.dtype if isinstance(t, Tensor) else torch.float64
        time = known_times(t, place(None, t, *self._tensors), torch.float64)
        of_one = self.base_variance()
        if isinstance(of_one, Tensor):
            _arguments.broadcast(t=time, noise=of_one)
        return rounded("t", self.scales(time)[0].square() * of_one, kind)

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
        z, scale, spread = self._base("x", x, t)
        density = self.base_log_prob(z) - scale.log()
        atom = torch.where(x == 0, math.inf, -math.inf).to(x.dtype)
        return torch.where(spread, density, torch.where(x.isnan(), x, atom))

    def cdf(self, x: Tensor, t: float | Tensor) -> Tensor:
        """P(N_t <= x), elementwise, in the dtype of ``x``; arguments as :meth:`log_prob`.

        Examples
        --------
        >>> import torch
        >>> from kacflow import BrownianProcess
        >>> BrownianProcess(2.0).cdf(torch.tensor([0.0, 1.0]), 0.25)
        tensor([0.5000, 0.8413])
        """
        z, _, spread = self._base("x", x, t)
        atom = torch.where(x.isnan(), x, (x >= 0).to(x.dtype))
        return torch.where(spread, self.base_cdf(z), atom)

    def icdf(self, q: Tensor, t: float | Tensor) -> Tensor:
        """Quantiles of N_t at probabilities ``q`` in [0, 1], in the dtype of ``q``, 0 at t = 0.

        ``q`` is float32 or float64; ``t`` broadcasts with it.

        Examples
        --------
        >>> import torch
        >>> from kacflow import BrownianProcess
        >>> BrownianProcess(2.0).icdf(torch.tensor([0.5, 0.8413447]), 0.25)
        tensor([0.0000, 1.0000])
        """
        _, scale, spread = self._base("q", q, t)
        if plain(q) and not bool(((q >= 0) & (q <= 1)).all()):
            raise ValueError(f"q: got {q}; allowed: probabilities in [0, 1]")
        return torch.where(spread, scale * self.base_icdf(q), torch.zeros_like(q))

    def _base(self, name: str, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(x/s, s, where s > 0), with 1 for s elsewhere."""
        _arguments.tensor(name, x, _arguments.WORKING)
        time = known_times(t, x.device, x.dtype)
        _arguments.broadcast(**{name: x, "t": time})
        scale = self.scales(time)[0]
        spread = scale > 0
        scale = torch.where(spread, scale, torch.ones_like(scale))
        return x / scale, scale, spread


class BrownianProcess(ScaledProcess):
    """Brownian motion: N_t = sigma sqrt(t) e with e standard normal, the limit of the Kac process
    for a = c^2/sigma^2 and c -> infinity.

    Its conditional velocity x/(2 t) has no bound as t -> 0; at t = 0 itself it is taken as 0.

    Parameters
    ----------
    sigma : float
        Standard deviation at t = 1, in [1e-18, 1e18].

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
        self.sigma = _arguments.scale("sigma", sigma)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sigma={self.sigma:g})"

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        root = t.sqrt()
        return root, torch.where(root > 0, 0.5 / root, torch.zeros_like(root))

    def base_sample(self, shape: Sequence[int], **options: Any) -> Tensor:
        return self.sigma * normal(shape, **options)

    def base_variance(self) -> float:
        return self.sigma**2

    def base_log_prob(self, z: Tensor) -> Tensor:
        constant = math.log(self.sigma) + 0.5 * math.log(2.0 * math.pi)
        return -0.5 * (z / self.sigma).square() - constant

    def base_cdf(self, z: Tensor) -> Tensor:
        return phi(z / self.sigma)

    def base_icdf(self, q: Tensor) -> Tensor:
        return self.sigma * torch.special.ndtri(q)


class StraightProcess(BrownianProcess):
    """The straight line to a Gaussian: N_t = sigma t e, with velocity x/t, the constant sigma e.

    Arguments as :class:`BrownianProcess`.
    """

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, torch.ones_like(t)


class UniformProcess(ScaledProcess):
    """N_t = (2 U - 1) b (1 - e^(-t/b)) with U uniform: uniform at every time, with velocity
    (2 U - 1) e^(-t/b) = x e^(-t/b)/(b (1 - e^(-t/b))), at most 1.

    It is the flow of the maximum mean discrepancy, with the kernel -abs(x - y), from the point 0 to
    the uniform law on [-b, b], where it stops.

    Parameters
    ----------
    b : float
        What abs(N_t) tends to at most, and the time that this takes; in
        [1e-18, 1e18].

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    References
    ----------
    Chemseddine, Kornhardt, Duong, Steidl, arXiv 2510.12636.

    Examples
    --------
    >>> import torch
    >>> from kacflow import UniformProcess
    >>> process = UniformProcess(b=2.0)
    >>> process.velocity(torch.tensor([0.5]), 0.5)  # on the edge, where x = 2 (1 - e^(-1/4))
    tensor([0.8802])
    >>> process.icdf(torch.tensor([0.0, 0.5, 1.0]), 100.0)
    tensor([-2.,  0.,  2.])
    """

    def __init__(self, b: float = 1.0) -> None:
        self.b = _arguments.scale("b", b)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(b={self.b:g})"

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -self.b * torch.expm1(-t / self.b), torch.exp(-t / self.b)

    def base_sample(self, shape: Sequence[int], **options: Any) -> Tensor:
        return centred(normal(shape, **options))

    def base_variance(self) -> float:
        return 1.0 / 3.0

    def base_log_prob(self, z: Tensor) -> Tensor:
        density = torch.where(z.abs() <= 1.0, -math.log(2.0), -math.inf).to(z.dtype)
        return torch.where(z.isnan(), z, density)

    def base_cdf(self, z: Tensor) -> Tensor:
        return (0.5 * (1.0 + z)).clamp(0.0, 1.0)

    def base_icdf(self, q: Tensor) -> Tensor:
        return 2.0 * q - 1.0

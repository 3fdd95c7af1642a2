"""Gaussian baselines behind the interface of :class:`kacflow.KacPath`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kacflow import _bridge
from kacflow._normal import normal
from kacflow.path import PathSample, batch_times, horizon, spread
from kacflow.schedules import Schedule, clock_schedule, signal_schedule

KINDS = ("diffusion", "flow_matching")


class GaussianPath:
    """The two baselines that a Kac flow is compared with: data at t = 0, noise at t = T.

    ``kind="diffusion"``
        X_t = f(t) X_0 + sigma sqrt(g(t)) e, the limit of :class:`KacPath` for a = c^2/sigma^2 and
        c -> infinity; conditional velocity f' X_0 + g' sigma e/(2 sqrt(g)), which grows without
        bound as t -> 0.  At g(t) = 0 itself its noise part is taken as 0.
    ``kind="flow_matching"``
        X_t = (1 - t/T) X_0 + (t/T) sigma e, conditional flow matching; velocity
        (sigma e - X_0)/T.  Signal and clock do not apply.

    Here e is standard normal.

    Parameters
    ----------
    kind : {"diffusion", "flow_matching"}
        Which baseline.
    T : float
        Horizon, > 0.
    sigma : float
        Scale of the noise, > 0.
    signal, clock : str or Schedule
        As in :class:`KacPath`; for "diffusion" only.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> import torch
    >>> from kacflow import GaussianPath
    >>> sample = GaussianPath("flow_matching").sample(torch.zeros(8, 2), 1.0)
    >>> bool((sample.x_t == sample.dx_t).all())
    True
    """

    def __init__(
        self,
        kind: str = "diffusion",
        T: float = 1.0,
        *,
        sigma: float = 1.0,
        signal: str | Schedule = "linear",
        clock: str | Schedule = "linear",
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind: got {kind!r}; allowed: {', '.join(KINDS)}")
        if isinstance(sigma, bool) or not isinstance(sigma, (int, float)):
            raise TypeError(f"sigma: got {type(sigma).__name__}; allowed: a float > 0")
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma: got {sigma}; allowed: a finite float > 0")
        self.kind = kind
        self.T = horizon(T)
        self.sigma = float(sigma)
        self.signal = signal_schedule(signal, self.T)
        self.clock = clock_schedule(clock, self.T)

    def __repr__(self) -> str:
        return f"GaussianPath({self.kind!r}, T={self.T}, sigma={self.sigma})"

    def sample(
        self,
        x_0: Tensor,
        t: float | Tensor,
        *,
        generator: torch.Generator | None = None,
        offset: int = 0,
    ) -> PathSample:
        """Draw the path at t and its conditional velocity; arguments as :meth:`KacPath.sample`.

        One 64-bit number of the generator is consumed.
        """
        _bridge.check_data("x_0", x_0)
        times = batch_times(t, x_0, self.T)
        e = self._noise(x_0.shape, generator, offset, _bridge.working_dtype(x_0.dtype), x_0.device)
        e = e.to(x_0.dtype)
        if self.kind == "flow_matching":
            s = spread(times / self.T, x_0)
            return PathSample(x_0, times, (1.0 - s) * x_0 + s * e, (e - x_0) / self.T)
        f, df = spread(self.signal.value(times), x_0), spread(self.signal.derivative(times), x_0)
        g, dg = self.clock.value(times), self.clock.derivative(times)
        root = torch.as_tensor(g, dtype=times.dtype, device=times.device).sqrt()
        rate = torch.where(root > 0, dg / (2.0 * root), torch.zeros_like(root))
        return PathSample(
            x_0, times, f * x_0 + spread(root, x_0) * e, df * x_0 + spread(rate, x_0) * e
        )

    def _noise(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None,
        offset: int,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> Tensor:
        """sigma e."""
        return self.sigma * normal(
            shape, generator=generator, offset=offset, dtype=dtype, device=device
        )

    def sample_prior(
        self,
        shape: Sequence[int],
        *,
        x_0: Tensor | None = None,
        generator: torch.Generator | None = None,
        offset: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw X_T; arguments as :meth:`KacPath.sample_prior`."""
        if dtype is None:
            dtype = torch.get_default_dtype()
        noise = self._noise(shape, generator, offset, dtype, device)
        if self.kind == "flow_matching":
            return noise
        end = _bridge.number(self.T)
        noise = noise * math.sqrt(float(self.clock.value(end)))
        if x_0 is None:
            return noise
        return noise + float(self.signal.value(end)) * x_0.to(noise.dtype)

    def velocity(self, x_t: Tensor, t: float | Tensor, x_0: Tensor) -> Tensor:
        """Conditional velocity at given points; arguments as :meth:`KacPath.velocity`.

        At t = 0 there is no noise to read off: its part of the velocity is taken as 0.
        """
        _bridge.check_data("x_t", x_t)
        times = batch_times(t, x_t, self.T)
        if self.kind == "flow_matching":
            s = times / self.T
            inverse = spread(torch.where(s > 0, 1.0 / s, torch.zeros_like(s)), x_t)
            return ((x_t - (1.0 - spread(s, x_t)) * x_0) * inverse - x_0) / self.T
        f, df = spread(self.signal.value(times), x_t), spread(self.signal.derivative(times), x_t)
        g = torch.as_tensor(self.clock.value(times), dtype=times.dtype, device=times.device)
        dg = self.clock.derivative(times)
        rate = spread(torch.where(g > 0, dg / (2.0 * g), torch.zeros_like(g)), x_t)
        return df * x_0 + rate * (x_t - f * x_0)

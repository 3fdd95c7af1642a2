"""Gaussian baselines behind the interface of :class:`kacflow.KacPath`."""

from __future__ import annotations

from kacflow import _arguments
from kacflow.noise import BrownianProcess, StraightProcess
from kacflow.path import Path
from kacflow.schedules import Schedule

KINDS = ("diffusion", "flow_matching")


class GaussianPath(Path):
    """The two baselines that a Kac flow is compared with: data at t = 0, noise at t = T.

    ``kind="diffusion"``
        X_t = f(t) X_0 + sigma sqrt(g(t)) e, the limit of :class:`KacPath` for a = c^2/sigma^2 and
        c -> infinity; conditional velocity f' X_0 + g' sigma e/(2 sqrt(g)), which grows without
        bound as t -> 0.  At g(t) = 0 itself its noise part is taken as 0.
    ``kind="flow_matching"``
        X_t = (1 - t/T) X_0 + (t/T) sigma e, conditional flow matching; velocity
        (sigma e - X_0)/T.  Signal and clock do not apply.

    Here e is standard normal.  Both are a :class:`Path` on :class:`BrownianProcess` or on the
    straight line to a Gaussian.

    Parameters
    ----------
    kind : {"diffusion", "flow_matching"}
        Which baseline.
    T : float
        Horizon, in [1e-18, 1e18].
    sigma : float
        Scale of the noise, in [1e-18, 1e18].
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
        self._kind = _arguments.choice("kind", kind, KINDS)
        self._sigma = _arguments.scale("sigma", sigma)
        if kind == "flow_matching":
            end = _arguments.scale("T", T)
            super().__init__(StraightProcess(self._sigma / end), end)
        else:
            super().__init__(BrownianProcess(self._sigma), T, signal, clock)

    @property
    def kind(self) -> str:
        """Which baseline."""
        return self._kind

    @property
    def sigma(self) -> float:
        """Scale of the noise."""
        return self._sigma

    def __repr__(self) -> str:
        return f"GaussianPath({self.kind!r}, T={self.T}, sigma={self.sigma})"

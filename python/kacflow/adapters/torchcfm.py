"""A ``ConditionalFlowMatcher`` of torchcfm on the Kac path.

Conventions, as in that library: noise at t = 0, data at t = 1; ``x1`` is data and ``x0`` is the
noise slot, whose numbers are not used: the Kac noise, whose law depends on t, replaces them.  The
flow ``ut`` = dx/dt points from noise to data, against kacflow's own dx_t: with kacflow's time
s = T (1 - t), ``ut = -T dx_s``.

To generate, start from Kac noise (:meth:`KacConditionalFlowMatcher.sample_noise_like`), not from
``torch.randn``, and integrate from t = 0 to t = 1.

Needs torchcfm: ``pip install --no-deps torchcfm pot``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kacflow._arguments import flag, given, real, tensor
from kacflow._optional import require
from kacflow._times import spread
from kacflow.adapters._paths import OnKacPath, check_path, noise_variance
from kacflow.adapters._unit_time import check_pair, check_points, own_time
from kacflow.ops import _tensors
from kacflow.ops._rules import leading
from kacflow.path import Path
from kacflow.process import KacProcess

_Parent: Any = require("torchcfm.conditional_flow_matching", __name__).ConditionalFlowMatcher

__all__ = ["KacConditionalFlowMatcher", "NoiseConditionalFlowMatcher"]


class NoiseConditionalFlowMatcher(_Parent):
    """x_t = f(s) x1 + N(g(s)) with s = T (1 - t), for any noise N: noise at t = 0, data ``x1`` at
    t = 1.

    ``x0`` is the noise slot: only its shape counts.  The flow is dx/dt, from noise to data: -T
    times the velocity of the path.

    Parameters
    ----------
    path : Path
        The path in kacflow's own time s, with noise at s = T.

    Raises
    ------
    TypeError
        For another object.

    Examples
    --------
    >>> import torch
    >>> from kacflow import Path, UniformProcess
    >>> from kacflow.adapters.torchcfm import NoiseConditionalFlowMatcher
    >>> flow_matcher = NoiseConditionalFlowMatcher(Path(UniformProcess(2.0)))
    >>> x1 = torch.zeros(8, 2)
    >>> t, xt, ut = flow_matcher.sample_location_and_conditional_flow(torch.randn(8, 2), x1)
    >>> bool(ut.abs().max() <= 1.0)
    True
    """

    def __init__(self, path: Path) -> None:
        super().__init__(sigma=0.0)
        self.path = check_path(path)

    def compute_mu_t(self, x0: Any, x1: Tensor, t: float | Tensor) -> Tensor:
        """The mean of x_t given the data, f(s) x1; ``x0`` is not used."""
        f = self.path.signal.value(own_time(t, tensor("x1", x1), self.path.T))
        return spread(f, x1) * x1

    def compute_sigma_t(self, t: float | Tensor) -> Tensor:
        """The standard deviation of x_t given the data, that of the noise, of the shape of ``t``.

        In the dtype of ``t``, or torch's default for a number; computed in float32 at least.  A
        noise whose components differ has no such number: ValueError.
        """
        if not isinstance(t, Tensor):
            t = torch.tensor(real("t", t, "a number in [0, 1] or a float tensor"))
        s = own_time(tensor("t", t).reshape(-1), t.reshape(-1), self.path.T).reshape(t.shape)
        of_parts = noise_variance(self.path, s.new_ones(())).shape
        per_sample = isinstance(self.path.noise, KacProcess) and of_parts == t.shape
        if of_parts.numel() != 1 and not per_sample:
            raise ValueError(
                f"path: its noise {given(self.path.noise)} has a deviation for each component; "
                "allowed: a noise of equal components"
            )
        return _tensors.rounded("t", noise_variance(self.path, s).sqrt(), t.dtype).reshape(t.shape)

    def sample_xt(self, x0: Any, x1: Tensor, t: float | Tensor, epsilon: Tensor) -> Tensor:
        """The mean of x_t and ``epsilon``, of the shape of ``x1``, times its standard deviation;
        ``x0`` is not used.
        """
        check_points("epsilon", epsilon, "x1", x1)
        sigma = self.compute_sigma_t(t).reshape(-1)
        return self.compute_mu_t(x0, x1, t) + spread(sigma, x1) * epsilon

    def compute_conditional_flow(
        self, x0: Any, x1: Tensor, t: float | Tensor, xt: Tensor
    ) -> Tensor:
        """dx/dt at given points, -T times :meth:`kacflow.Path.velocity`; ``x0`` is not used.

        An atom is recognised only up to the rounding of ``xt``; for training use
        :meth:`sample_location_and_conditional_flow`, which knows it.
        """
        check_points("xt", xt, "x1", x1)
        return -self.path.T * self.path.velocity(xt, own_time(t, xt, self.path.T), x1)

    def compute_lambda(self, t: float | Tensor) -> Tensor:
        """Not defined: the law of a noise may have atoms, and then no score to weight."""
        raise NotImplementedError("compute_lambda: the path has no score function to weight")

    def sample_noise_like(self, x: Tensor) -> Tensor:
        """Draw x_0, where generation starts: the noise at T, of shape, dtype and device of ``x``.

        One 64-bit number of torch's generator is consumed.
        """
        dtype = _tensors.working_dtype(tensor("x", x).dtype)
        noise = self.path.sample_prior(x.shape, dtype=dtype, device=x.device)
        return _tensors.rounded("x", noise, x.dtype)

    def sample_location_and_conditional_flow(
        self, x0: Tensor, x1: Tensor, t: Tensor | None = None, return_noise: bool = False
    ) -> tuple[Tensor, ...]:
        """Draw x_t and the flow there; noise at t = 0, data at t = 1.

        Parameters
        ----------
        x0 : Tensor
            The noise slot, of the shape of ``x1``; its numbers are not used.
        x1 : Tensor
            Data, shape (B, ...).
        t : Tensor, optional
            Times in [0, 1], shape (B,); by default uniform, from torch's generator.
        return_noise : bool
            Return the noise as well.

        Returns
        -------
        t, xt, ut : Tensor
            Times, points and dx/dt there, from noise to data.
        eps : Tensor
            With ``return_noise``: the noise of these points in units of its standard deviation,
            ``xt = compute_mu_t(x0, x1, t) + compute_sigma_t(t) * eps`` up to rounding; 0 at t = 1.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Notes
        -----
        The noise consumes one 64-bit number of torch's generator, after the times.
        """
        flag("return_noise", return_noise)
        if t is None and isinstance(x1, Tensor) and x1.ndim:
            t = torch.rand(x1.shape[0]).type_as(x1)
        t = check_pair("x0", x0, "x1", x1, t)
        sample = self.path.sample(x1, own_time(t, x1, self.path.T))
        ut = -self.path.T * sample.dx_t
        if not return_noise:
            return t, sample.x_t, ut
        s = leading(own_time(t, x1, self.path.T), x1.ndim)
        sigma = noise_variance(self.path, s).sqrt().to(x1.dtype)
        noise = sample.x_t - self.compute_mu_t(x0, x1, t)
        return t, sample.x_t, ut, torch.where(sigma > 0, noise / sigma, torch.zeros_like(noise))

    def guided_sample_location_and_conditional_flow(
        self,
        x0: Tensor,
        x1: Tensor,
        y0: Tensor | None = None,
        y1: Tensor | None = None,
        t: Tensor | None = None,
        return_noise: bool = False,
    ) -> tuple[Any, ...]:
        """As :meth:`sample_location_and_conditional_flow`, with labels, as the matchers with an
        optimal-transport plan have it.

        Kac noise at time t does not start from ``x0``, so there is no plan to draw pairs from: the
        data keep their order, and the labels pass through.

        Returns
        -------
        t, xt, ut, y0, y1
            And ``eps`` with ``return_noise``.
        """
        t, xt, ut, *eps = self.sample_location_and_conditional_flow(x0, x1, t, return_noise)
        return t, xt, ut, y0, y1, *eps


class KacConditionalFlowMatcher(OnKacPath, NoiseConditionalFlowMatcher):
    """x_t = f(s) x1 + K(g(s)) with s = T (1 - t): noise at t = 0, data ``x1`` at t = 1.

    ``x0`` is the noise slot: only its shape counts, the Kac noise replaces its numbers.  The flow
    is dx/dt, from noise to data: -T times the velocity of :class:`kacflow.KacPath`.

    Attributes
    ----------
    path : KacPath
        The same path in kacflow's own time s.

    Parameters
    ----------
    a, c : float or Tensor
        Jump rate and speed, as in :class:`kacflow.KacProcess`, in units of s.
    T : float
        Length of the path in s, > 0.
    signal, clock : str or Schedule
        f and g, as in :class:`kacflow.KacPath`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> import torch
    >>> from kacflow.adapters.torchcfm import KacConditionalFlowMatcher
    >>> flow_matcher = KacConditionalFlowMatcher(a=9.0, c=3.0)
    >>> x1 = torch.zeros(8, 2)
    >>> x0 = torch.randn_like(x1)
    >>> t, xt, ut = flow_matcher.sample_location_and_conditional_flow(x0, x1)
    >>> t.shape, xt.shape, bool(ut.abs().max() <= 3.0)
    (torch.Size([8]), torch.Size([8, 2]), True)
    """

"""Noise with a quantile function that can be learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kacflow import _arguments
from kacflow._normal import centred, normal, phi
from kacflow.noise import ScaledProcess, StraightProcess
from kacflow.ops._tensors import check_same_device, place

TAILS = ("linear", "none")
_MOST = 2**28  #: components
_NARROWEST = 0.01  #: width of a bin over that of K equal ones
_FLATTEST = 1e-3  #: slope of a start over its mean slope: where it has an atom, Q is not constant
_NODES = 71  #: of quadrature in a bin
_LOG_2_PI = math.log(2.0 * math.pi)


def check_bound(name: str, value: Any) -> float:
    """Where knots may end."""
    return _arguments.real(name, value, "a float in [0.1, 8]", lambda number: 0.1 <= number <= 8.0)


class _Knots(NamedTuple):
    """Abscissas and ordinates, increasing, and slopes > 0, all of shape (C, K + 1)."""

    x: Tensor
    y: Tensor
    slope: Tensor


class QuantileProcess(nn.Module, ScaledProcess):
    """N_t = t Q(U) with U uniform and a quantile function Q that can be learned, with the velocity
    Q(U) = x/t.

    Q is a monotone rational-quadratic spline S of one of two coordinates:

    ``tails="linear"``
        Q(u) = S(z) with z = Phi^-1(u), the standard normal quantile.  The knots lie between
        z = -bound and bound; beyond, S goes on linearly: the tails there, of mass 6e-7 for a bound
        of 5, are those of a Gaussian.
    ``tails="none"``
        Q(u) = S(2 u - 1): the law has the compact support [S(-1), S(1)].

    U needs no margin from 0 and 1: it is never formed.  What is drawn is z, a normal number by
    counter, which the sampler bounds (abs(z) < 7 in float32, 9 in float64), and S is finite there;
    so is 2 u - 1 = erf(z/sqrt(2)).

    Parameters
    ----------
    shape : int or sequence of int
        Of the components that have a Q of their own: () is one for all, the shape of a sample one
        for each component, ``(C, 1, 1)`` one for each channel.  It broadcasts, as in torch, with
        the last axes of the data.
    bins : int
        Bins of the spline, in [2, 512].
    bound : float
        In [0.1, 8], in standard deviations of z: where the knots end ("linear"), or where the law
        of ``start`` is cut off ("none").
    tails : {"linear", "none"}
        See above.
    start : Noise, optional
        The process whose law Q begins with, one with ``icdf(q, t)`` such as
        :class:`kacflow.KacProcess`: Q has its quantiles at time ``at``, over ``at``, in the knots.
        By default the standard Gaussian, which with linear tails is met exactly.  An atom becomes
        a short interval.
    at : float
        That time, in [1e-18, 1e18].

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    A ``torch.nn.Module`` with the parameters ``widths``, ``heights``, ``slopes`` and ``middle``, in
    float32: draws, pairs and ``log_prob`` have gradients in them.  ``velocity(x, t)`` is x/t
    whatever they are, its gradients come through ``x``.  Draws consume one number of the generator,
    as those of :class:`kacflow.KacProcess`.

    References
    ----------
    Chemseddine, Kornhardt, Duong, Steidl, arXiv 2510.12636; Durkan, Bekasov, Murray,
    Papamakarios, arXiv 1906.04032.

    Examples
    --------
    >>> import torch
    >>> from kacflow import KacProcess, QuantileProcess
    >>> noise = QuantileProcess((2,), bins=16, start=KacProcess(9.0, 3.0))
    >>> x, v = noise.pair(0.5, (1000, 2))
    >>> bool((x == 0.5 * v).all())
    True
    >>> (-noise.log_prob(x.detach(), 0.5)).mean().backward()  # fit the law to these numbers
    >>> noise.heights.grad.shape
    torch.Size([2, 16])
    >>> noise.icdf(torch.tensor([0.5, 0.5]), 1.0).abs().max().item() < 1e-6
    True
    """

    def __init__(
        self,
        shape: int | Sequence[int] = (),
        *,
        bins: int = 32,
        bound: float = 5.0,
        tails: str = "linear",
        start: Any = None,
        at: float = 1.0,
    ) -> None:
        super().__init__()
        self.shape = _arguments.shape(shape)
        good = 1 <= math.prod(self.shape) <= _MOST
        _arguments.must(good, "shape", self.shape, f"of 1 to {_MOST} components")
        self.bins = _arguments.integer("bins", bins, 2, 512)
        self.bound = check_bound("bound", bound)
        self.tails = _arguments.choice("tails", tails, TAILS)
        width, y, slope = self._begin(start, _arguments.scale("at", at))
        self.widths = self._parameter(width.log())
        self.heights = self._parameter(y.diff().log())
        self.slopes = self._parameter(slope.log())
        self.middle = self._parameter(y[self.bins // 2])

    def _parameter(self, value: Tensor) -> nn.Parameter:
        return nn.Parameter(value.to(torch.float32).expand((*self.shape, *value.shape)).clone())

    def _begin(self, start: Any, at: float) -> tuple[Tensor, Tensor, Tensor]:
        """Shares of the bins, and ordinates and slopes in the knots, for the law of ``start``.

        The knots have equal distances of z, with tails "none" before the least width is added.
        """
        law = StraightProcess() if start is None else start
        if not callable(getattr(law, "icdf", None)):
            allowed = "None, or a process with icdf(q, t), such as KacProcess"
            raise _arguments.wrong_type("start", start, allowed)
        edge = self._edge
        x = torch.linspace(
            -self.bound, self.bound, self.bins + 1, dtype=torch.float64, device="cpu"
        )
        width = (x if self.tails == "linear" else centred(x)).diff()
        width = width / width.sum()
        x = self._abscissas(width[None])[0]

        # Probabilities near 1 have lost their digits; a symmetric law is asked for those near 0.
        some = 2.0 ** -torch.arange(1.0, 31.0, dtype=torch.float64, device="cpu")
        mirrored = torch.allclose(law.icdf(some, at), -law.icdf(1.0 - some, at), atol=0.0)

        def quantile(x: Tensor) -> Tensor:
            if self.tails == "linear":
                u = phi(-x.abs())
            else:
                least = _phi(-self.bound)
                u = least + (1.0 - x.abs()) * (0.5 - least)
            low = law.icdf(u, at)
            high = -low if mirrored else law.icdf(1.0 - u, at)
            return torch.where(x < 0, low, high) / at

        step = 1e-4 * x.diff().min()
        with torch.no_grad():
            y = quantile(x)
            low, high = x - step, x + step
            if self.tails == "none":
                low, high = low.clamp(min=-edge), high.clamp(max=edge)
            slope = (quantile(high) - quantile(low)) / (high - low)
        if not bool(y.isfinite().all() & slope.isfinite().all()) or not bool(y[-1] > y[0]):
            raise ValueError("start: has quantiles that are not finite, or all equal")
        least = _FLATTEST * (y[-1] - y[0]) / (2.0 * edge)
        middle = y[self.bins // 2].clone()
        y = torch.maximum(y.diff(), least * x.diff()).cumsum(0)
        y = torch.cat((torch.zeros(1, dtype=y.dtype, device="cpu"), y))
        return width, y - y[self.bins // 2] + middle, slope.clamp(min=least)

    def _abscissas(self, width: Tensor) -> Tensor:
        """The knots (C, K + 1) for shares of the bins (C, K), which sum to 1."""
        width = _NARROWEST / self.bins + (1.0 - _NARROWEST) * width
        ends = torch.full_like(width[:, :1], self._edge)
        return torch.cat((-ends, self._edge * (2.0 * width.cumsum(1)[:, :-1] - 1.0), ends), 1)

    @property
    def _edge(self) -> float:
        """Where the knots end."""
        return self.bound if self.tails == "linear" else 1.0

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        return (self.middle,)

    def extra_repr(self) -> str:
        return f"{self.shape}, bins={self.bins}, bound={self.bound:g}, tails={self.tails!r}"

    def _knots(self, dtype: torch.dtype) -> _Knots:
        """The knots of all splines, (C, K + 1)."""
        width, rise, slope = (
            value.to(dtype).reshape(-1, value.shape[-1])
            for value in (self.widths, self.heights, self.slopes)
        )
        rise = nn.functional.pad(rise.exp().cumsum(1), (1, 0))
        half = self.bins // 2
        y = rise - rise[:, half : half + 1] + self.middle.to(dtype).reshape(-1, 1)
        return _Knots(self._abscissas(width.softmax(1)), y, slope.exp())

    def _rows(self, value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """``value`` as (n0, C, inner), for the C splines, and what brings that into its shape.

        A view where the axes of the splines lie together.
        """
        check_same_device("the data", value, "the noise", self.middle.device)
        try:
            full = value.expand(torch.broadcast_shapes(value.shape, self.shape))
        except RuntimeError:
            raise ValueError(
                f"x: got shape {tuple(value.shape)}; allowed: one that broadcasts with "
                f"{self.shape}, that of the noise"
            ) from None
        before = full.ndim - len(self.shape)
        own = [before + i for i, n in enumerate(self.shape) if n > 1]
        order = list(range(full.ndim))
        if own and any(full.shape[i] > 1 for i in order[own[0] : own[-1]] if i not in own):
            order = [i for i in order if i not in own] + own
        turned = full.permute(order)
        begin, end = (order.index(own[0]), order.index(own[-1]) + 1) if own else (0, 0)
        n0, inner = math.prod(turned.shape[:begin]), math.prod(turned.shape[end:])
        back = [order.index(i) for i in range(full.ndim)]
        return (
            turned.reshape(n0, math.prod(self.shape), inner),
            lambda rows: rows.reshape(turned.shape).permute(back),
        )

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, torch.ones_like(t)

    def base_pair(self, shape: Sequence[int], **options: Any) -> tuple[Tensor, Tensor]:
        """(Q(U), log Q'(U)) of one draw: the mean of the second is the entropy of Q(U), in nats.

        Arguments as :meth:`base_sample`.
        """
        if len(shape) < len(self.shape) or any(
            n != 1 and n != m
            for n, m in zip(self.shape, shape[len(shape) - len(self.shape) :], strict=True)
        ):
            allowed = f"one whose last axes are those of the noise, {self.shape}"
            raise ValueError(f"shape: got {tuple(shape)}; allowed: {allowed}")
        where = place(options.get("device"), self.middle)
        if where != self.middle.device:
            raise ValueError(
                f"device: got {where}; allowed: {self.middle.device}, where the noise is"
            )
        n = normal(shape, **{**options, "device": where})
        rows, back = self._rows(n if self.tails == "linear" else centred(n))
        value, slope = torch.ops.kacflow._spline(rows, *self._knots(n.dtype))
        log_slope = back(slope.log())
        if self.tails == "linear":
            return back(value), log_slope + 0.5 * (n.square() + _LOG_2_PI)
        return back(value), log_slope + math.log(2.0)

    def base_variance(self) -> Tensor:
        """The variance of Q(U), of the shape of the noise, in float64.

        By the tanh-sinh rule in each bin, whose ends may be steep, and in closed form in the tails.
        """
        knots = self._knots(torch.float64)
        step = torch.linspace(-3.5, 3.5, _NODES, dtype=torch.float64, device=self.middle.device)
        inner = 0.5 * math.pi * step.sinh()
        nodes, weights = inner.tanh(), step.cosh() / inner.cosh().square()
        weights = 2.0 * weights / weights.sum()
        width = 0.5 * knots.x.diff()
        x = ((knots.x[:, :-1] + width)[..., None] + width[..., None] * nodes).flatten(1)
        y = torch.ops.kacflow._spline(x[None], *knots)[0][0]
        share = 0.5 * (width[..., None] * weights).flatten(1)
        if self.tails == "none":
            mean = (share * y).sum(1, keepdim=True)
            return (share * (y - mean).square()).sum(1).reshape(self.shape)
        share = 2.0 * share * torch.exp(-0.5 * (x.square() + _LOG_2_PI))
        bound, height = self.bound, math.exp(-0.5 * (self.bound**2 + _LOG_2_PI))
        mass = _phi(-bound)
        first, second = height - bound * mass, (1.0 + bound**2) * mass - bound * height
        outward = torch.tensor([-1.0, 1.0], dtype=x.dtype, device=x.device)
        ends, slope = knots.y[:, [0, -1]], outward * knots.slope[:, [0, -1]]
        mean = (share * y).sum(1, keepdim=True)
        mean = mean + (mass * ends + first * slope).sum(1, keepdim=True)
        away = ends - mean
        tails = mass * away.square() + 2.0 * first * away * slope + second * slope.square()
        within = share * (y - mean).square()
        return (within.sum(1) + tails.sum(1)).reshape(self.shape)

    def base_sample(self, shape: Sequence[int], **options: Any) -> Tensor:
        return self.base_pair(shape, **options)[0]

    def _base(self, name: str, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if isinstance(x, Tensor):
            check_same_device(name, x, "the noise", self.middle.device)
        return super()._base(name, x, t)

    def base_log_prob(self, z: Tensor) -> Tensor:
        rows, back = self._rows(z)
        knots = self._knots(z.dtype)
        x = torch.ops.kacflow._spline_inverse(rows, *knots)
        density = -torch.ops.kacflow._spline(x, *knots)[1].log()
        if self.tails == "linear":
            return back(density - 0.5 * (x.square() + _LOG_2_PI))
        beyond = (rows < knots.y[:, :1]) | (rows > knots.y[:, -1:])
        return back(torch.where(beyond, -math.inf, density - math.log(2.0)))

    def base_cdf(self, z: Tensor) -> Tensor:
        rows, back = self._rows(z)
        within = rows.masked_fill(rows.isinf(), 0.0)
        x = torch.ops.kacflow._spline_inverse(within, *self._knots(z.dtype))
        x = torch.where(rows.isinf(), rows, x)  # there the gradients in the knots are 0
        if self.tails == "linear":
            return back(phi(x))
        return back((0.5 * (1.0 + x)).clamp(0.0, 1.0))

    def base_icdf(self, q: Tensor) -> Tensor:
        rows, back = self._rows(torch.special.ndtri(q) if self.tails == "linear" else 2.0 * q - 1.0)
        within = rows.masked_fill(rows.isinf(), 0.0)
        value = torch.ops.kacflow._spline(within, *self._knots(q.dtype))[0]
        return back(torch.where(rows.isinf(), rows, value))  # where S itself would be inf - inf


def _phi(z: float) -> float:
    return 0.5 * math.erfc(-z * math.sqrt(0.5))

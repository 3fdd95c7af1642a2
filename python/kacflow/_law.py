"""The parameters of the Kac process in torch, and its law."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from kacflow import _arguments, ops
from kacflow.ops import _kernels
from kacflow.ops._tensors import (
    addressable,
    check_same_device,
    eager,
    known_times,
    move,
    number,
    place,
    plain,
    rounded,
    scalar,
    times,
    working_dtype,
)


def _positive(name: str, value: float | Tensor) -> Tensor:
    """A rate or speed as a tensor; numbers in float64, so that any working type can round them.

    Values that only a device, a trace or a transform knows are left to the kernels to check.
    """
    if isinstance(value, Tensor):
        tensor = _arguments.tensor(name, value)
    else:
        tensor = number(_arguments.real(name, value, "a float or a float tensor"))
    checked = tensor.detach()
    if plain(checked) and not bool(((checked > 0) & (checked < math.inf)).all()):
        raise ValueError(f"{name}: got {value}; allowed: finite numbers > 0")
    return tensor


class KacLaw:
    """A process with rate a and speed c: see :class:`kacflow.KacProcess`."""

    def __init__(self, a: float | Tensor, c: float | Tensor) -> None:
        self._a = _positive("a", a)
        self._c = _positive("c", c)
        #: Both as numbers if they were given so, for compiled graphs, which cannot read tensors;
        #: until somebody gets hold of a tensor, who may change it in place.
        self._numbers: tuple[float, float] | None = None
        self._owned = not (isinstance(a, Tensor) or isinstance(c, Tensor))
        if self._owned:
            self._numbers = _arguments.real("a", a), _arguments.real("c", c)

    @property
    def a(self) -> Tensor:
        """Jump rate; the tensor that was given, or a number as a 0-d float64 tensor."""
        self._numbers = None
        return self._a

    @property
    def c(self) -> Tensor:
        """Speed; likewise."""
        self._numbers = None
        return self._c

    @property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        """What decides on which device to draw."""
        return self._a, self._c

    def __repr__(self) -> str:
        a, c = (v.item() if v.ndim == 0 else tuple(v.shape) for v in (self._a, self._c))
        return f"KacProcess(a={a}, c={c})"

    def _parameters(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(a, c) for an operator, in the working type; a 0-d tensor on the CPU stays there beside
        data on a GPU, from where it goes to the kernel by value.
        """
        working = working_dtype(dtype)
        for name, value in (("a", self._a), ("c", self._c)):
            check_same_device(name, value, "the data", device)
        if device.type == "cuda":
            if self._numbers is not None and not eager():
                a, c = self._numbers  # part of the graph
                return scalar(a, working, device), scalar(c, working, device)
            return self._a.to(working), self._c.to(working)
        return move(self._a, device, working), move(self._c, device, working)

    def _values(self) -> tuple[Tensor | float, Tensor | float] | None:
        """(a, c) for a kernel: numbers on the CPU by value, read anew each time, and tensors as
        they are; None where the dispatcher has to see them.  To be asked in eager mode only.
        """
        a, c = self._a, self._c
        if self._owned and a.is_cpu and c.is_cpu:
            return a.item(), c.item()
        if not addressable(a, c):
            return None
        return (
            a.item() if a.is_cpu and not a.ndim else a,
            c.item() if c.is_cpu and not c.ndim else c,
        )

    def _at(self, operation: str, x: Tensor, t: float | Tensor) -> Any:
        """A function of the position: by address where the dispatcher need not see it."""
        _kernels.check_points(operation, x)
        values = self._values() if eager() and addressable(x, t) else None
        if values is not None:
            time = t if type(t) is float and 0.0 <= t < math.inf else times(t, x.device, x.dtype)
            return _kernels.POINTS[operation](x, time, *values)
        parameters = self._parameters(x.device, x.dtype)
        return getattr(ops, operation)(x, times(t, x.device, x.dtype), *parameters)

    def log_prob(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Logarithm of the density of K(t) on |x| < c t, elementwise.

        The density of the continuous part, (a/2c) e^(-a t) (I0(z) + a t I1(z)/z), whose mass is
        1 - e^(-a t): the atoms at ±c t have none, their mass is :meth:`atom_mass`.  The sum over
        the dimensions of a sample is left to the caller.

        Parameters
        ----------
        x : Tensor
            Positions; float32 or float64.
        t : float or Tensor
            Time >= 0; ``x``, ``t``, a and c broadcast as in torch.

        Returns
        -------
        Tensor
            In the dtype of ``x``; it does not underflow.  -inf outside the light cone, and the
            interior limit at |x| = c t.  Differentiable twice with respect to ``x``, ``t``, a, c.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Examples
        --------
        >>> import torch
        >>> from kacflow import KacProcess
        >>> KacProcess(9.0, 3.0).log_prob(torch.tensor([0.0, 1.6]), 0.5)
        tensor([-0.6020,    -inf])
        """
        return self._at("logpdf", x, t)

    def cdf(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Distribution function P(K(t) <= x), atoms included.

        Arguments as in :meth:`log_prob`; in [0, 1], in the dtype of ``x``, differentiable.

        Examples
        --------
        >>> import torch
        >>> from kacflow import KacProcess
        >>> KacProcess(9.0, 3.0).cdf(torch.tensor([-1.6, 0.0, 1.5]), 0.5)
        tensor([0.0000, 0.5000, 1.0000])
        """
        return self._at("cdf", x, t)

    def icdf(self, q: Tensor, t: float | Tensor) -> Tensor:
        """Quantiles: the inverse of :meth:`cdf`, ±c t on the plateaus of the atoms.

        Parameters
        ----------
        q : Tensor
            Probabilities in [0, 1]; float32 or float64.
        t : float or Tensor
            Time >= 0; ``q``, ``t``, a and c broadcast as in torch.

        Returns
        -------
        Tensor
            Lengths in [-c t, c t], in the dtype of ``q``, differentiable.

        Examples
        --------
        >>> import torch
        >>> from kacflow import KacProcess
        >>> KacProcess(9.0, 3.0).icdf(torch.tensor([0.0, 0.5, 1.0]), 0.5)
        tensor([-1.5000,  0.0000,  1.5000])
        """
        return self._at("ppf", q, t)

    def transport(self, x: Tensor, t: float | Tensor, s: float | Tensor) -> Tensor:
        """Move places along the conditional velocity from time t to time s, exactly, in one kernel.

        The flow keeps :meth:`cdf`: it is ``icdf(cdf(x, t), s)`` without the probability between,
        of which tails and centre would lose their digits, and atoms stay atoms; see
        :func:`kacflow_core.transport`.

        Parameters
        ----------
        x : Tensor
            Positions; float32 or float64.
        t, s : float or Tensor
            The time of ``x`` and the other one, both >= 0; everything broadcasts as in torch.

        Returns
        -------
        Tensor
            Positions in [-c s, c s], in the dtype of ``x``; differentiable twice.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Examples
        --------
        >>> import torch
        >>> from kacflow import KacProcess
        >>> KacProcess(9.0, 3.0).transport(torch.tensor([0.0, 0.3, 1.5]), 0.5, 0.2)
        tensor([0.0000, 0.1994, 0.6000])
        """
        _arguments.tensor("x", x, _arguments.WORKING)
        begin, end = times(t, x.device, x.dtype), times(s, x.device, x.dtype, "s")
        values = self._values() if eager() and addressable(x, begin, end) else None
        if values is not None:
            return _kernels.transport(x, begin, end, *values)
        return ops.transport(x, begin, end, *self._parameters(x.device, x.dtype))

    def variance(self, t: float | Tensor) -> Tensor:
        """Variance of K(t): (c^2/a) (t - (1 - e^(-2 a t))/(2 a)).

        Differentiable; float64 for a float ``t``, else the dtype of ``t``.
        """
        time, a, c, dtype = self._closed_form(t)
        tau = a * time
        small = tau.clamp(max=0.5)
        series = torch.zeros_like(small)
        for k in range(18, -1, -1):  # sum_k 2 (-2 tau)^k/(k + 2)!, by Horner's rule
            series = 1.0 - 2.0 * small / (k + 3) * series
        large = tau.clamp(min=0.5)
        inverse = 1.0 / large
        closed = inverse + 0.5 * torch.expm1(-2.0 * large) * inverse * inverse
        length = c * time  # between the two factors, so that neither overflows before the product
        return rounded("t", length * torch.where(tau < 0.5, series, closed) * length, dtype)

    def atom_mass(self, t: float | Tensor) -> Tensor:
        """Probability e^(-a t) of no turn: the two atoms at ±c t together.

        Differentiable; float64 for a float ``t``, else the dtype of ``t``.
        """
        time, a, _, dtype = self._closed_form(t)
        return torch.exp(-a * time).to(dtype)

    def _closed_form(self, t: float | Tensor) -> tuple[Tensor, Tensor, Tensor, torch.dtype]:
        """(t, a, c) in float64, the time checked, and the type of the result."""
        dtype = t.dtype if isinstance(t, Tensor) else torch.float64
        time = known_times(t, place(None, t, self._a, self._c), torch.float64)
        a, c = self._parameters(time.device, torch.float64)
        _arguments.broadcast(t=time, a=a, c=c)
        return time, a, c, dtype

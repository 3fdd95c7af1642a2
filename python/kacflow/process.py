"""The Kac process in torch: exact draws, conditional velocity, closed moments."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow import _arguments, ops
from kacflow.ops import _kernels
from kacflow.ops._tensors import (
    addressable,
    check_same_device,
    draw,
    draw_seed,
    drawn_dtype,
    drawn_seed,
    eager,
    first_element,
    known_times,
    move,
    number,
    place,
    plain,
    scalar,
    times,
    working_dtype,
)


@functools.cache
def _beside(device: torch.device) -> Tensor:
    """Something on a device, which says where to draw."""
    return torch.empty(0, device=device)


def _positive(name: str, value: float | Tensor) -> Tensor:
    """A rate or speed as a tensor; numbers in float64, so that any working type can round them.

    Values that only a device, a trace or a transform knows are left to the kernels to check.
    """
    allowed = "a float or a float tensor"
    if isinstance(value, Tensor):
        tensor = _arguments.tensor(name, value)
    else:
        tensor = number(_arguments.real(name, value, allowed))
    checked = tensor.detach()
    if plain(checked) and not bool(((checked > 0) & (checked < math.inf)).all()):
        raise ValueError(f"{name}: got {value}; allowed: finite numbers > 0")
    return tensor


def over_dimensions(values: Tensor) -> Tensor:
    """The sum over all axes but the first."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values


class KacProcess:
    """The Kac process K(t): starts at 0, moves at speed c, turns round at random times of rate a.

    Its law solves the telegrapher's equation u_tt + 2 a u_t = c^2 u_xx; with a = c^2/sigma^2 and
    c -> infinity it tends to Brownian motion of variance sigma^2 t.  Components are independent.

    Parameters
    ----------
    a, c : float or Tensor
        Jump rate (1/time) and speed (length/time), finite and > 0.  Tensors broadcast: against the
        leading axes of a sample (shape ``(1, C)`` is per channel), also in all of
        :class:`KacPath`; as in torch for ``velocity``, ``divergence`` and the closed forms.  They
        may require grad: all methods but ``sample_path`` are differentiable in them.  Values on a
        GPU, in a compiled graph or under a transform are not checked here, so that nothing waits
        for them.

    Raises
    ------
    ValueError, TypeError
        For values that are not finite and positive, or not floats.

    References
    ----------
    Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641.

    Examples
    --------
    >>> import torch
    >>> from kacflow import KacProcess
    >>> process = KacProcess(a=9.0, c=3.0)
    >>> x = process.sample(0.5, (4, 2))
    >>> x.shape, bool(x.abs().max() <= 1.5)
    (torch.Size([4, 2]), True)
    """

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

    def sample(
        self,
        t: float | Tensor,
        shape: int | Sequence[int] | None = None,
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw K(t), exactly, independently for every element.

        Parameters
        ----------
        t : float or Tensor
            Time >= 0; a tensor broadcasts against the leading axes of ``shape``.
        shape : int or sequence of int, optional
            Shape of the result; by default that of ``t``.
        generator : torch.Generator, optional
            Source of the seed; by default torch's own, which ``torch.manual_seed`` sets.  One
            64-bit number of it is consumed, whatever the shape.
        first : int
            Number of the first sample (the first axis counts samples) in a larger batch, >= 0: with
            equal seeds, a batch that is drawn in parts has the noise of the whole.
        dtype : torch.dtype, optional
            float32 or float64; by default that of ``t`` if it is a tensor, else torch's default,
            and float32 where that has 16 bits.
        device : torch.device, optional
            By default that of ``t``, a and c.

        Returns
        -------
        Tensor
            Lengths in [-c t, c t]; exactly ±c t with probability e^(-a t).  Differentiable with
            respect to ``t``, a and c, by implicit reparameterisation: dx/dt = v(t, x),
            dx/da = (t v - x)/a and dx/dc = x/c, with v = ±c on the atoms.  So the gradient of an
            average of f(x) estimates that of E f(x) without bias, for every differentiable f, and
            so do second derivatives.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Examples
        --------
        >>> import torch
        >>> from kacflow import KacProcess
        >>> a = torch.tensor(9.0, requires_grad=True)
        >>> x = KacProcess(a, 3.0).sample(0.5, (1000,))
        >>> x.square().mean().backward()  # the variance falls with the rate of turns
        >>> bool(a.grad < 0)
        True
        """
        kind = drawn_dtype(dtype, t)
        where = place(device, t, self._a, self._c)
        if shape is None:
            extents = tuple(t.shape) if isinstance(t, Tensor) else ()
        else:
            extents = _arguments.shape(shape)
        offset = first_element(first, extents)
        values = self._values() if where.type in ("cpu", "cuda") and addressable(t) else None
        if values is not None:
            time = t if type(t) is float and 0.0 <= t < math.inf else times(t, where, kind)
            seed = drawn_seed(generator, where)
            return _kernels.sample(time, *values, seed, offset, extents, kind, _beside(where))
        a, c = self._parameters(where, kind)
        seed = draw_seed(generator, where)
        return draw(times(t, where, kind), a, c, seed, offset, extents, kind)

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
        """(K(t), v(t, K(t))) of one draw, the velocity at the unrounded one.

        Arguments as :meth:`sample`; a and c align with the leading axes of ``shape``.
        """
        extents, kind = _arguments.shape(shape), drawn_dtype(dtype, t)
        where = place(device, t, self._a, self._c)
        seed, offset = draw_seed(generator, where), first_element(first, extents)
        a, c = self._parameters(where, kind)
        none, one = (scalar(value, kind, where) for value in (0.0, 1.0))
        data, time = none.expand(extents), times(t, where, kind)
        try:
            pair: tuple[Tensor, Tensor] = torch.ops.kacflow.sample_pair(
                data, a, c, none, none, time, one, seed, offset
            )
        except ValueError as error:  # the operator calls the time a clock
            raise ValueError(f"t: {error}") from None
        except RuntimeError as error:
            if "DefaultCPUAllocator" not in str(error):
                raise
            raise MemoryError(f"shape: got {extents}, more than there is memory for") from None
        return pair

    def velocity(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Conditional velocity v(t, x) of the flow that starts at 0, |v| <= c.

        Parameters
        ----------
        x : Tensor
            Positions; float32, float64, bfloat16 or float16.
        t : float or Tensor
            Time >= 0; broadcasts with ``x`` and the process's a and c as in torch.

        Returns
        -------
        Tensor
            a x/(a t + q(z)) inside the light cone |x| < c t, c sign(x) on and outside it; dtype of
            ``x``.  Differentiable twice with respect to ``x``, ``t``, a and c.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Examples
        --------
        >>> import torch
        >>> from kacflow import KacProcess
        >>> KacProcess(9.0, 3.0).velocity(torch.tensor([-1.5, 0.0, 1.5]), 0.5)
        tensor([-3.,  0.,  3.])
        """
        return self._at(ops.velocity, _kernels.velocity, "x", x, t)

    def _at(
        self,
        op: Any,
        kernel: Any,
        name: str,
        x: Tensor,
        t: float | Tensor,
        allowed: Sequence[torch.dtype] = _arguments.FLOATS,
    ) -> Any:
        """A function of the position: by address where the dispatcher need not see it."""
        _arguments.tensor(name, x, allowed)
        values = self._values() if addressable(x, t) else None
        if values is not None:
            time = t if type(t) is float and 0.0 <= t < math.inf else times(t, x.device, x.dtype)
            return kernel(x, time, *values)
        return op(x, times(t, x.device, x.dtype), *self._parameters(x.device, x.dtype))

    def divergence(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Divergence of the conditional velocity, sum_i dv/dx_i over the dimensions of a sample.

        Parameters
        ----------
        x : Tensor
            Positions, shape (B, ...): all axes but the first are the dimensions of one sample.
        t : float or Tensor
            Time >= 0; ``x``, ``t``, a and c broadcast as in :meth:`velocity`.

        Returns
        -------
        Tensor
            Shape (B,), in 1/time; float64 for float64 positions, else float32.  Dimensions on or
            outside the light cone add 0.  Differentiable with respect to ``x``, ``t``, a and c.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Examples
        --------
        >>> import torch
        >>> from kacflow import KacProcess
        >>> KacProcess(9.0, 3.0).divergence(torch.zeros(2, 5), 4.0)  # that of x/(2 t) is 0.625
        tensor([0.6206, 0.6206])
        """
        _arguments.tensor("x", x)
        data = x.to(working_dtype(x.dtype))
        return over_dimensions(self._at(ops.velocity_grad, _kernels.velocity_grad, "x", data, t)[0])

    def sample_path(
        self,
        times: Tensor,
        shape: int | Sequence[int],
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw whole paths on a grid of times: positions and directions, jointly exact.

        Parameters
        ----------
        times : Tensor
            Times >= 0, strictly increasing along the last axis: one grid (T,) for all paths, or
            leading axes of ``shape`` and then T.
        shape : sequence of int
            Shape of the paths; each element is an independent path, which starts in 0 at time 0.
        generator, first, dtype, device
            As in :meth:`sample`; one 64-bit number is consumed.

        Returns
        -------
        positions, directions : Tensor
            Of shape ``shape + (T,)``; directions are +1 or -1.  The returned positions keep
            |x(t) - x(s)| <= c |t - s| strictly; see :func:`kacflow_core.sample_path`.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.
        RuntimeError
            When a gradient through a path is asked for: it has none.

        Examples
        --------
        >>> import torch
        >>> from kacflow import KacProcess
        >>> x, d = KacProcess(9.0, 3.0).sample_path(torch.linspace(0, 1, 11), (4,))
        >>> x.shape, x[:, 0].tolist()
        (torch.Size([4, 11]), [0.0, 0.0, 0.0, 0.0])
        """
        _arguments.tensor("times", times, _arguments.WORKING)
        kind, extents = drawn_dtype(dtype, times), _arguments.shape(shape)
        where = place(device, times, self._a, self._c)
        check_same_device("times", times, "the data", where)
        if torch._C._get_tracing_state() is not None:
            raise RuntimeError(
                "sample_path: torch.jit.trace cannot record its shape; allowed: torch.export and "
                "torch.compile"
            )
        a, c = self._parameters(where, kind)
        seed, offset = draw_seed(generator, where), first_element(first, extents)
        return torch.ops.kacflow.sample_path(
            move(times, where, kind), a, c, seed, offset, extents, kind
        )

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
        return self._at(ops.logpdf, _kernels.logpdf, "x", x, t, _arguments.WORKING)

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
        return self._at(ops.cdf, _kernels.cdf, "x", x, t, _arguments.WORKING)

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
        return self._at(ops.ppf, _kernels.ppf, "q", q, t, _arguments.WORKING)

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
        return (length * torch.where(tau < 0.5, series, closed) * length).to(dtype)

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

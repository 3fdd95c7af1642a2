"""The Kac process in torch: exact draws, conditional velocity, closed moments."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._law import KacLaw
from kacflow.ops import _kernels
from kacflow.ops._rules import leading
from kacflow.ops._tensors import (
    addressable,
    check_same_device,
    draw,
    draw_seed,
    drawn_dtype,
    drawn_seed,
    eager,
    first_element,
    move,
    place,
    scalar,
    times,
    working_dtype,
)

_CPU = torch.device("cpu")


@functools.cache
def _beside(device: torch.device) -> Tensor:
    """Something on a device, which says where to draw."""
    return torch.empty(0, device=device)


def over_dimensions(values: Tensor) -> Tensor:
    """The sum over all axes but the first."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values


class KacProcess(KacLaw):
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
        by_address = where == _CPU or where.type == "cuda"
        values = self._values() if by_address and eager() and addressable(t) else None
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
        return self._at("velocity", x, t)

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
        return over_dimensions(self._at("velocity_grad", data, t)[0])

    def _beside(self, shape: Sequence[int]) -> KacProcess:
        """The process whose a and c, which lead data of a shape as in draws, broadcast with it."""
        if not (self._a.ndim or self._c.ndim):
            return self
        _arguments.leads("a", self._a, shape)
        _arguments.leads("c", self._c, shape)
        return KacProcess(*(leading(value, len(shape)) for value in (self._a, self._c)))

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

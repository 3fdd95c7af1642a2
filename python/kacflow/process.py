"""The Kac process in torch: exact draws, conditional velocity, closed moments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow import _bridge, ops
from kacflow_core._layout import Array


def _positive(name: str, value: float | Tensor) -> Tensor:
    """A rate or speed as a tensor; floats in float64, so that any working type can round them.

    Values that only a device, a trace or a transform knows are left to the kernels to check.
    """
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise TypeError(f"{name}: got dtype {value.dtype}; allowed: a float or a float tensor")
        tensor = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        tensor = _bridge.number(value)
    else:
        raise TypeError(f"{name}: got {type(value).__name__}; allowed: a float or a float tensor")
    checked = tensor.detach()
    if _bridge.plain(checked) and not bool(((checked > 0) & (checked < math.inf)).all()):
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
        self.a = _positive("a", a)
        self.c = _positive("c", c)
        #: Those of a and c that were given as numbers.
        self._numbers = {
            name: float(value)
            for name, value in (("a", a), ("c", c))
            if not isinstance(value, Tensor)
        }
        #: (a, c) as arrays, for the direct way to the kernels; a caller's tensors may change.
        self._arrays: tuple[Array, Array] | None = None
        if not (isinstance(a, Tensor) or isinstance(c, Tensor)) and _bridge.plain():
            self._arrays = self.a.numpy(), self.c.numpy()

    def __repr__(self) -> str:
        a, c = (v.item() if v.ndim == 0 else tuple(v.shape) for v in (self.a, self.c))
        return f"KacProcess(a={a}, c={c})"

    def _by_value(self) -> tuple[float, float] | None:
        """(a, c) if both were given as numbers; a kernel rounds them to its working type."""
        numbers = self._numbers
        return (numbers["a"], numbers["c"]) if len(numbers) == 2 else None

    def _parameters(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(a, c) for an operator: 0-d tensors follow the data's device and working type.

        Beside data on a GPU a number stays on the CPU, from where it goes to the kernel by value;
        in a compiled graph it becomes part of the graph.
        """
        result = []
        for name, value in (("a", self.a), ("c", self.c)):
            _bridge.check_same_device(name, value, "the data", device)
            working = _bridge.working_dtype(dtype)
            if device.type == "cuda" and _bridge.known(value):
                result.append(value.to(working))
            elif device.type == "cuda" and name in self._numbers:
                result.append(_bridge.scalar(self._numbers[name], working, device))
            else:
                result.append(_bridge.move(value, device, working))
        return result[0], result[1]

    def _time(self, t: float | Tensor, device: torch.device | None, dtype: torch.dtype) -> Tensor:
        """A checked time as a tensor of the working type."""
        working = _bridge.working_dtype(dtype)
        if isinstance(t, Tensor):
            if not t.is_floating_point():
                raise TypeError(f"t: got dtype {t.dtype}; allowed: a float or a float tensor")
            if device is not None:
                _bridge.check_same_device("t", t, "the data", device)
            return _bridge.move(t, device, working)
        if isinstance(t, bool) or not isinstance(t, (int, float)):
            raise TypeError(f"t: got {type(t).__name__}; allowed: a float or a float tensor")
        if not 0 <= t < math.inf:
            raise ValueError(f"t: got {t}; allowed: finite numbers >= 0")
        return _bridge.scalar(float(t), working, device)

    def _device(self, t: float | Tensor) -> torch.device:
        """Where to draw by default: the device that any of t, a and c is on, else the CPU."""
        for value in (t, self.a, self.c):
            if isinstance(value, Tensor) and value.device.type != "cpu":
                return value.device
        return torch.device("cpu")

    def sample(
        self,
        t: float | Tensor,
        shape: Sequence[int] | None = None,
        *,
        generator: torch.Generator | None = None,
        offset: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw K(t), exactly, independently for every element.

        Parameters
        ----------
        t : float or Tensor
            Time >= 0; a tensor broadcasts against the leading axes of ``shape``.
        shape : sequence of int, optional
            Shape of the result; by default that of ``t``.
        generator : torch.Generator, optional
            Source of the seed; by default torch's own, which ``torch.manual_seed`` sets.  One
            64-bit number of it is consumed, whatever the shape.
        offset : int
            Number of the first sample (the first axis counts samples) in a larger batch, >= 0: with
            equal seeds, a batch that is drawn in parts has the noise of the whole.
        dtype : torch.dtype, optional
            float32 or float64; by default that of ``t`` if it is a tensor, else torch's default.
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
        if dtype is None:
            dtype = t.dtype if isinstance(t, Tensor) else torch.get_default_dtype()
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype: got {dtype}; allowed: torch.float32 or torch.float64")
        device = self._device(t) if device is None else _bridge.resolved(device)
        time = self._time(t, device, dtype)
        a, c = self._parameters(device, dtype)
        extents = time.shape if shape is None else tuple(shape)
        seed = _bridge.draw_seed(generator, device)
        return torch.ops.kacflow.sample(
            time, a, c, seed, _bridge.first_element(offset, extents), extents, dtype
        )

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
        _bridge.check_data("x", x)
        time = self._time(t, x.device, x.dtype)
        a, c = self._parameters(x.device, x.dtype)
        return ops.velocity(x, time, a, c)

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
        _bridge.check_data("x", x)
        time = self._time(t, x.device, x.dtype)
        a, c = self._parameters(x.device, x.dtype)
        dv_dx, _ = ops.velocity_grad(x.to(_bridge.working_dtype(x.dtype)), time, a, c)
        return over_dimensions(dv_dx)

    def sample_path(
        self,
        times: Tensor,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
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
        generator, dtype, device
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
        if not isinstance(times, Tensor):
            raise TypeError(f"times: got {type(times).__name__}; allowed: a float tensor")
        kind = times.dtype if dtype is None else dtype
        if kind not in (torch.float32, torch.float64):
            name = "times: got dtype" if dtype is None else "dtype: got"
            raise TypeError(f"{name} {kind}; allowed: torch.float32 or torch.float64")
        device = self._device(times) if device is None else _bridge.resolved(device)
        grid = self._time(times, device, kind)
        a, c = self._parameters(device, kind)
        seed = _bridge.draw_seed(generator, device)
        return torch.ops.kacflow.sample_path(grid, a, c, seed, 0, tuple(shape), kind)

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
        return ops.logpdf(*self._of_law("x", x, t))

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
        return ops.cdf(*self._of_law("x", x, t))

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
        return ops.ppf(*self._of_law("q", q, t))

    def _of_law(self, name: str, x: Tensor, t: float | Tensor) -> tuple[Tensor, ...]:
        """Checked arguments of a distribution function."""
        _bridge.check_data(name, x)
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name}: got dtype {x.dtype}; allowed: float32 or float64")
        return x, self._time(t, x.device, x.dtype), *self._parameters(x.device, x.dtype)

    def variance(self, t: float | Tensor) -> Tensor:
        """Variance of K(t): (c^2/a) (t - (1 - e^(-2 a t))/(2 a)).

        Differentiable; float64 for a float ``t``, else the dtype of ``t``.
        """
        time, a, c = self._closed_form(t)
        tau = a * time
        small = tau.clamp(max=0.5)
        series = torch.zeros_like(small)
        for k in range(18, -1, -1):  # sum_k 2 (-2 tau)^k/(k + 2)!, by Horner's rule
            series = 1.0 - 2.0 * small / (k + 3) * series
        large = tau.clamp(min=0.5)
        closed = (large + 0.5 * torch.expm1(-2.0 * large)) / large.square()
        return (c * time).square() * torch.where(tau < 0.5, series, closed)

    def atom_mass(self, t: float | Tensor) -> Tensor:
        """Probability e^(-a t) of no turn: the two atoms at ±c t together.

        Differentiable; float64 for a float ``t``, else the dtype of ``t``.
        """
        time, a, _ = self._closed_form(t)
        return torch.exp(-a * time)

    def _closed_form(self, t: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(t, a, c) in one floating type, the time checked."""
        dtype: Any = t.dtype if isinstance(t, Tensor) else torch.float64
        time = self._time(t, self._device(t), dtype)
        if _bridge.plain(time) and not bool(((time >= 0) & (time < math.inf)).all()):
            raise ValueError(f"t: got {t}; allowed: finite numbers >= 0")
        a, c = self._parameters(time.device, dtype)
        return time.to(dtype), a.to(dtype), c.to(dtype)

"""The generative path of the Kac flow: data at t = 0, noise at t = T."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kacflow import _bridge, _cuda_ops, ops
from kacflow._autograd import leading
from kacflow._direct import DirectPair
from kacflow.process import KacProcess, over_dimensions
from kacflow.schedules import Schedule, clock_schedule, signal_schedule


class PathSample(NamedTuple):
    """What a training step needs: data, time, the point of the path and the velocity there."""

    x_0: Tensor  #: data, at t = 0
    t: Tensor  #: times in [0, T], shape (B,)
    x_t: Tensor  #: the path at t, of the shape and dtype of x_0
    dx_t: Tensor  #: its conditional velocity, the regression target


def horizon(T: float) -> float:
    """T as a finite float > 0."""
    if isinstance(T, bool) or not isinstance(T, (int, float)):
        raise TypeError(f"T: got {type(T).__name__}; allowed: a float > 0")
    if not 0 < T < math.inf:
        raise ValueError(f"T: got {T}; allowed: a finite float > 0")
    return float(T)


def batch_times(t: float | Tensor, x: Tensor, T: float) -> Tensor:
    """Times of a batch as a tensor of shape () or (B,) in the working type of ``x``.

    On the CPU 0 <= t <= T is checked; on another device that would wait for it, and times outside
    give NaN there.
    """
    working = _bridge.working_dtype(x.dtype)
    if not isinstance(t, Tensor):
        if isinstance(t, bool) or not isinstance(t, (int, float)):
            raise TypeError(f"t: got {type(t).__name__}; allowed: a float or a float tensor")
        t = _bridge.scalar(float(t), working, x.device)
    elif not t.is_floating_point():
        raise TypeError(f"t: got dtype {t.dtype}; allowed: a float or a float tensor")
    if t.ndim:
        if x.ndim == 0 or t.shape[0] != x.shape[0] or t.numel() != t.shape[0]:
            raise ValueError(
                f"t: got shape {tuple(t.shape)}; allowed: () or ({x.shape[0] if x.ndim else 0},), "
                "one time per sample"
            )
        if t.ndim > 1:
            t = t.reshape(-1)
    if t.device != x.device:
        _bridge.check_same_device("t", t, "x_0", x.device)
    if t.device != x.device or t.dtype != working:
        t = _bridge.move(t, x.device, working)
    if _bridge.plain(t) and t.numel():
        low, high = torch.aminmax(t.detach())
        if not (low.item() >= 0 and high.item() <= T * (1 + 1e-6)):
            raise ValueError(
                f"t: got values from {low.item():g} to {high.item():g}; "
                f"allowed: 0 <= t <= T = {T:g}"
            )
    return t


def spread(value: Tensor | float, x: Tensor) -> Tensor | float:
    """A per-sample value with trailing axes of length one, to multiply data with."""
    if isinstance(value, Tensor) and value.ndim:
        return value.reshape(-1, *(1,) * (x.ndim - 1)).to(x.dtype)
    return value.to(x.dtype) if isinstance(value, Tensor) else value


def as_tensor(value: Tensor | float, like: Tensor) -> Tensor:
    """A schedule's value as a tensor beside ``like``."""
    if isinstance(value, Tensor):
        return value
    return torch.full((), value, dtype=like.dtype, device=like.device)


class KacPath:
    """X_t = f(t) X_0 + K(g(t)): data at t = 0, noise at t = T.

    Parameters
    ----------
    process : KacProcess
        The noise: jump rate and speed.
    T : float
        Horizon, > 0.
    signal : str or Schedule
        f with f(0) = 1: ``"constant"`` 1, ``"linear"`` 1 - t/T, ``"exp"`` e^-t, ``"cosine"``
        cos(pi t/2T), ``"lambda"`` A cos wt/(A cos wt + sin wt) with A = e^-1, w = pi/2T; or an
        object with ``value(t)`` and ``derivative(t)``.
    clock : str or Schedule
        g with g(0) = 0: ``"linear"`` t, ``"square"`` t^2/T; or such an object.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    References
    ----------
    Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641.

    Examples
    --------
    >>> import torch
    >>> from kacflow import KacPath, KacProcess
    >>> path = KacPath(KacProcess(a=9.0, c=3.0), T=1.0)
    >>> sample = path.sample(torch.zeros(8, 2), torch.rand(8))
    >>> sample.x_t.shape, sample.dx_t.shape
    (torch.Size([8, 2]), torch.Size([8, 2]))
    """

    def __init__(
        self,
        process: KacProcess,
        T: float = 1.0,
        signal: str | Schedule = "linear",
        clock: str | Schedule = "linear",
    ) -> None:
        if not isinstance(process, KacProcess):
            raise TypeError(f"process: got {type(process).__name__}; allowed: a KacProcess")
        self.process = process
        self.T = horizon(T)
        self.signal = signal_schedule(signal, self.T)
        self.clock = clock_schedule(clock, self.T)
        self._direct: DirectPair | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_direct": None}

    def _direct_pair(self) -> DirectPair:
        """The short way to the kernels, made on first use and when an attribute was replaced."""
        direct = self._direct
        if direct is None or not direct.serves(self):
            direct = self._direct = DirectPair(self)
        return direct

    def __repr__(self) -> str:
        return f"KacPath({self.process}, T={self.T}, signal={self.signal}, clock={self.clock})"

    def sample(
        self,
        x_0: Tensor,
        t: float | Tensor,
        *,
        generator: torch.Generator | None = None,
        offset: int = 0,
    ) -> PathSample:
        """Draw the path at t and its conditional velocity, in one pass over the data.

        Parameters
        ----------
        x_0 : Tensor
            Data, shape (B, ...); float32, float64, bfloat16 or float16.  16-bit data computes in
            float32.
        t : float or Tensor
            Time in [0, T]: one for all, or shape (B,).
        generator : torch.Generator, optional
            Source of the seed; by default torch's own.  One 64-bit number of it is consumed.
        offset : int
            Number of the first sample in a larger batch, >= 0.  Where several processes share a
            batch, the process that holds the samples from number n on passes ``offset=n`` and a
            generator in the same state as the others': together they draw the noise of the whole
            batch.

        Returns
        -------
        PathSample
            ``x_t = f(t) x_0 + K(g(t))`` and ``dx_t = f'(t) x_0 + g'(t) v(g(t), K(g(t)))``, the
            velocity at the unrounded draw.  Differentiable with respect to ``x_0``, the values of
            the schedules, a and c; see the notes.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Notes
        -----
        Gradients in a, c and g go through the draws, as in :meth:`KacProcess.sample`.  They are
        right in expectation for every differentiable function of ``x_t``, and for functions of
        ``dx_t`` that are linear in it for given ``x_t``.  Beyond that they cannot be: when the last
        of the atoms turn, their mass leaps from velocity c to e = c a g/(a g + 2).  In the mean of
        a squared error this leaves out, per element, g'^2 (c - e)^2 e^(-a g) (a dg + g da), with
        dg and da the changes of g and a.
        """
        if not torch.compiler.is_compiling():
            drawn = self._direct_pair()(x_0, t, generator, offset)
            if drawn is not None:
                return PathSample(x_0, t, *drawn)  # type: ignore[arg-type]
        _bridge.check_data("x_0", x_0)
        times = batch_times(t, x_0, self.T)
        first = _bridge.first_element(offset, x_0.shape)
        f, df = self.signal.value(times), self.signal.derivative(times)
        g, dg = self.clock.value(times), self.clock.derivative(times)
        process = self.process
        arrays = process._arrays if _bridge.plain(x_0) else None
        if arrays is not None and not (
            torch.is_grad_enabled() and self._needs_grad(x_0, f, df, g, dg)
        ):
            # Eager and without gradients: straight to the kernels, the dispatcher aside.
            seed = int(_bridge.draw_seed(generator))
            x_t, dx_t = _bridge.pair_of_arrays(x_0, *arrays, f, df, g, dg, seed, first)
            return PathSample(x_0, times, x_t, dx_t)
        if x_0.is_cuda and _bridge.addressable(x_0, f, df, g, dg):
            found = process._by_value() or process._parameters(x_0.device, x_0.dtype)
            given = dict(zip(_cuda_ops.PARAMETERS, (*found, f, df, g, dg), strict=True))
            if _bridge.addressable(*found) and not (
                torch.is_grad_enabled() and self._needs_grad(x_0, *given.values())
            ):
                seed_on_device = _bridge.draw_seed(generator, x_0.device)
                x_t, dx_t = _cuda_ops.pair(x_0, given, seed_on_device, first)
                return PathSample(x_0, times, x_t, dx_t)
        a, c = process._parameters(x_0.device, x_0.dtype)
        x_t, dx_t = torch.ops.kacflow.sample_pair(
            x_0, a, c, *(as_tensor(v, times) for v in (f, df, g, dg)),
            _bridge.draw_seed(generator, x_0.device), first,
        )  # fmt: skip
        return PathSample(x_0, times, x_t, dx_t)

    @staticmethod
    def _needs_grad(*values: Tensor | float) -> bool:
        """Whether any of these asks for a gradient."""
        return any(isinstance(v, Tensor) and v.requires_grad for v in values)

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
        """Draw X_T, where generation starts: K(g(T)), plus f(T) x_0 if data is given.

        With f(T) = 0 ("linear", "cosine", "lambda") K(g(T)) is the law of X_T exactly; with "exp"
        it leaves out e^-T of the data; with "constant" give the data, or a model of it.

        Parameters
        ----------
        shape : sequence of int
            Shape of the result.
        x_0 : Tensor, optional
            Data to add f(T) x_0 of; broadcasts with ``shape``.
        generator, offset, dtype, device
            As in :meth:`KacProcess.sample`; one 64-bit number is consumed.

        Returns
        -------
        Tensor
            Shape ``shape``.
        """
        device = self.process._device(self.T) if device is None else _bridge.resolved(device)
        end = _bridge.scalar(self.T, torch.float64, device)
        clock = self.clock.value(end)
        noise = self.process.sample(
            clock, shape, generator=generator, offset=offset, device=device,
            dtype=torch.get_default_dtype() if dtype is None else dtype,
        )  # fmt: skip
        if x_0 is None:
            return noise
        return noise + self.signal.value(end) * x_0.to(noise.dtype)

    def velocity(self, x_t: Tensor, t: float | Tensor, x_0: Tensor) -> Tensor:
        """Conditional velocity at given points, f'(t) x_0 + g'(t) v(g(t), x_t - f(t) x_0).

        The displacement is recomputed from ``x_t``, so an atom is recognised only up to rounding;
        for training use :meth:`sample`, which knows it.

        Parameters
        ----------
        x_t, x_0 : Tensor
            Points of the path and data, shape (B, ...).
        t : float or Tensor
            Time in [0, T]: one for all, or shape (B,).

        Returns
        -------
        Tensor
            Shape and dtype of ``x_t``.
        """
        _bridge.check_data("x_t", x_t)
        times = batch_times(t, x_t, self.T)
        df = spread(self.signal.derivative(times), x_t)
        dg = spread(self.clock.derivative(times), x_t)
        return df * x_0 + dg * ops.velocity(*self._noise(x_t, times, x_0))

    def divergence(self, x_t: Tensor, t: float | Tensor, x_0: Tensor) -> Tensor:
        """Divergence of :meth:`velocity` in ``x_t``, g'(t) times that of the process at g(t).

        Parameters
        ----------
        x_t, t, x_0
            As in :meth:`velocity`; all axes but the first are the dimensions of one sample.

        Returns
        -------
        Tensor
            Shape (B,), in 1/time; float64 for float64 data, else float32.  Dimensions on or outside
            the light cone add 0.
        """
        _bridge.check_data("x_t", x_t)
        times = batch_times(t, x_t, self.T)
        noise, clock, a, c = self._noise(x_t, times, x_0)
        dv_dx, _ = ops.velocity_grad(noise.to(_bridge.working_dtype(x_t.dtype)), clock, a, c)
        return self.clock.derivative(times) * over_dimensions(dv_dx)

    def _noise(
        self, x_t: Tensor, times: Tensor, x_0: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(x_t - f x_0, g, a, c), the parameters with trailing axes to broadcast as in torch."""
        noise = x_t - spread(self.signal.value(times), x_t) * x_0
        clock = as_tensor(self.clock.value(times), times)
        a, c = self.process._parameters(x_t.device, x_t.dtype)
        for name, value in (("a", a), ("c", c)):
            if any(n not in (1, m) for n, m in zip(value.shape, x_t.shape, strict=False)) or (
                math.prod(value.shape[x_t.ndim :]) != 1
            ):
                raise ValueError(
                    f"{name}: shape {tuple(value.shape)} does not broadcast against the leading "
                    f"axes of {tuple(x_t.shape)}; each axis must be 1 or equal to that of the "
                    "data, first axis first"
                )
        ndim = x_t.ndim
        return noise, leading(clock, ndim), leading(a, ndim), leading(c, ndim)

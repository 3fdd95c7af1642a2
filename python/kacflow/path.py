"""Generative paths: data at t = 0, noise at t = T."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kacflow import _arguments, ops
from kacflow._times import as_tensor, batch_times, slack, spread
from kacflow.noise import Noise
from kacflow.ops import _kernels
from kacflow.ops._rules import leading
from kacflow.ops._tensors import (
    addressable,
    check_same_device,
    draw_seed,
    drawn_seed,
    eager,
    first_element,
    place,
    scalar,
    working_dtype,
)
from kacflow.process import KacProcess
from kacflow.schedules import (
    Schedule,
    answered,
    checked,
    clock_schedule,
    numbers_of,
    signal_schedule,
)

_CPU = torch.device("cpu")


class PathSample(NamedTuple):
    """What a training step needs: data, time, the point of the path and the velocity there."""

    x_0: Tensor  #: data, at t = 0
    t: Tensor  #: times in [0, T], shape (B,), or () where one was given for all
    x_t: Tensor  #: the path at t, of the shape and dtype of x_0
    dx_t: Tensor  #: its conditional velocity, the regression target


class Path:
    """X_t = f(t) X_0 + N(g(t)) for a noise N: data at t = 0, noise at t = T.

    Immutable: another noise, horizon or schedule is another path.

    Parameters
    ----------
    noise : Noise
        A process with ``sample`` and ``velocity``, and perhaps ``pair``
        (:class:`kacflow.noise.Noise`), such as :class:`kacflow.KacProcess` or
        :class:`kacflow.BrownianProcess`.
    T : float
        Horizon, in [1e-18, 1e18].
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

    Examples
    --------
    >>> import torch
    >>> from kacflow import BrownianProcess, Path
    >>> sample = Path(BrownianProcess(), signal="cosine").sample(torch.zeros(8, 2), torch.rand(8))
    >>> sample.x_t.shape, sample.dx_t.shape
    (torch.Size([8, 2]), torch.Size([8, 2]))
    """

    def __init__(
        self,
        noise: Noise,
        T: float = 1.0,
        signal: str | Schedule = "linear",
        clock: str | Schedule = "linear",
    ) -> None:
        if isinstance(noise, type) or not (
            callable(getattr(noise, "velocity", None)) and callable(getattr(noise, "sample", None))
        ):
            raise TypeError(
                f"noise: got {_arguments.given(noise)}; allowed: a process with sample(t, shape, "
                "...) and velocity(x, t)"
            )
        self._noise = noise
        self._T = _arguments.scale("T", T)
        self._schedules = signal_schedule(signal, self._T), clock_schedule(clock, self._T)
        self._signal, self._clock = map(checked, ("signal", "clock"), self._schedules)

    @property
    def noise(self) -> Any:
        """The process N."""
        return self._noise

    @property
    def T(self) -> float:
        """Horizon."""
        return self._T

    @property
    def signal(self) -> Schedule:
        """The signal f."""
        return self._schedules[0]

    @property
    def clock(self) -> Schedule:
        """The noise clock g."""
        return self._schedules[1]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.noise}, T={self.T}, signal={self.signal}, "
            f"clock={self.clock})"
        )

    def sample(
        self,
        x_0: Tensor,
        t: float | Tensor,
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
    ) -> PathSample:
        """Draw the path at t and its conditional velocity.

        Parameters
        ----------
        x_0 : Tensor
            Data, shape (B, ...); float32, float64, bfloat16 or float16.  16-bit data computes in
            float32.
        t : float or Tensor
            Time in [0, T]: one for all, or shape (B,).
        generator : torch.Generator, optional
            Source of the seed; by default torch's own.  One 64-bit number of it is consumed.
        first : int
            Number of the first sample in a larger batch, >= 0.  Where several processes share a
            batch, the process that holds the samples from number n on passes ``first=n`` and a
            generator in the same state as the others': together they draw the noise of the whole
            batch.

        Returns
        -------
        PathSample
            ``x_t = f(t) x_0 + N`` and ``dx_t = f'(t) x_0 + g'(t) v(g(t), N)`` with N = N(g(t)).

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.
        """
        _arguments.tensor("x_0", x_0)
        times, working = batch_times(t, x_0, self.T), working_dtype(x_0.dtype)
        g = as_tensor(self._clock.value(times), times)
        options: dict[str, Any] = {
            "generator": generator, "first": first, "dtype": working, "device": x_0.device
        }  # fmt: skip
        if hasattr(self.noise, "pair"):
            noise, velocity = self.noise.pair(g, x_0.shape, **options)
        else:
            noise = self.noise.sample(g, x_0.shape, **options)
            velocity = self.noise.velocity(noise, leading(g, x_0.ndim))
        return self._joined(x_0, times, noise, velocity)

    def _joined(self, x_0: Tensor, times: Tensor, noise: Tensor, velocity: Tensor) -> PathSample:
        """The point and the velocity of data with a draw N(g(t)) and v(g(t), N)."""
        _arguments.answer("noise: drew", noise, x_0)
        _arguments.answer("noise: its velocity is", velocity, x_0)
        data = x_0.to(noise.dtype)
        f = spread(self._signal.value(times), data)
        df = spread(self._signal.derivative(times), data)
        dg = spread(self._clock.derivative(times), data)
        x_t, dx_t = f * data + noise, df * data + dg * velocity
        return PathSample(x_0, times, x_t.to(x_0.dtype), dx_t.to(x_0.dtype))

    def sample_prior(
        self,
        shape: int | Sequence[int],
        *,
        x_0: Tensor | None = None,
        generator: torch.Generator | None = None,
        first: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw X_T, where generation starts: N(g(T)), plus f(T) x_0 if data is given.

        With f(T) = 0 ("linear", "cosine", "lambda") N(g(T)) is the law of X_T exactly; with "exp"
        it leaves out e^-T of the data; with "constant" give the data, or a model of it.

        Parameters
        ----------
        shape : int or sequence of int
            Shape of the result.
        x_0 : Tensor, optional
            Data to add f(T) x_0 of; broadcasts to ``shape``.
        generator, first, dtype, device
            As in :meth:`KacProcess.sample`; one 64-bit number is consumed.

        Returns
        -------
        Tensor
            Shape ``shape``.
        """
        extents = _arguments.shape(shape)
        if x_0 is not None:
            _arguments.tensor("x_0", x_0)
            try:
                torch.broadcast_to(x_0, extents)
            except RuntimeError:
                raise ValueError(
                    f"x_0: got shape {tuple(x_0.shape)}; allowed: one that broadcasts to {extents}"
                ) from None
        where = place(device, *getattr(self.noise, "_tensors", ()))
        if x_0 is not None:
            check_same_device("x_0", x_0, "the draw", where)
        end = scalar(self.T, torch.float64, where)
        kind = working_dtype(torch.get_default_dtype()) if dtype is None else dtype
        noise = self.noise.sample(
            as_tensor(self._clock.value(end), end), extents,
            generator=generator, first=first, dtype=_arguments.dtype(kind), device=where,
        )  # fmt: skip
        _arguments.answer("noise: drew", noise, end, extents)
        if x_0 is None:
            return noise
        return noise + self._signal.value(end) * x_0.to(noise.dtype)

    def velocity(self, x_t: Tensor, t: float | Tensor, x_0: Tensor) -> Tensor:
        """Conditional velocity at given points, f'(t) x_0 + g'(t) v(g(t), x_t - f(t) x_0).

        The displacement is recomputed from ``x_t``, so what a draw knows exactly, such as an atom,
        is recognised only up to rounding; for training use :meth:`sample`.

        Parameters
        ----------
        x_t, x_0 : Tensor
            Points of the path and data, both of shape (B, ...).
        t : float or Tensor
            Time in [0, T]: one for all, or shape (B,).

        Returns
        -------
        Tensor
            Shape and dtype of ``x_t``.
        """
        times = self._at(x_t, t, x_0)
        working = working_dtype(x_t.dtype)
        point, data = x_t.to(working), x_0.to(working)
        noise = point - spread(self._signal.value(times), point) * data
        df, dg = self._signal.derivative(times), self._clock.derivative(times)
        v = self._velocity(noise, times)
        return (spread(df, point) * data + spread(dg, point) * v).to(x_t.dtype)

    def transport(self, x_t: Tensor, t: float | Tensor, s: float | Tensor, x_0: Tensor) -> Tensor:
        """Where the conditional velocity given x_0 leads points of time t at another time s:
        f(s) x_0 + N with N what the noise x_t - f(t) x_0 of time g(t) becomes at g(s).

        It is exact however far s is: the noise keeps its quantile.

        Parameters
        ----------
        x_t, x_0 : Tensor
            Points of the path and data, both of shape (B, ...).
        t, s : float or Tensor
            Times in [0, T]: one for all, or shape (B,).  From noise to data s is below t.

        Returns
        -------
        Tensor
            Shape and dtype of ``x_t``; differentiable, 16-bit points compute in float32.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed; TypeError for a noise that has
            no ``transport(x, t, s)``.

        Examples
        --------
        >>> import torch
        >>> from kacflow import GaussianPath
        >>> x_T, x_0 = torch.tensor([[2.0]]), torch.tensor([[1.0]])
        >>> GaussianPath("flow_matching").transport(x_T, 1.0, 0.25, x_0)
        tensor([[1.2500]])
        """
        before = self._at(x_t, t, x_0)
        after = batch_times(s, x_t, self.T, name="s")
        if not callable(getattr(self.noise, "transport", None)):
            raise TypeError(
                f"path: its noise {_arguments.given(self.noise)} has no transport(x, t, s); "
                "allowed: a noise with one, such as KacProcess"
            )
        working = working_dtype(x_t.dtype)
        point, data = x_t.to(working), x_0.to(working)
        noise = point - spread(self._signal.value(before), point) * data
        moved = self._of_noise("transport", noise, before, after)
        return (spread(self._signal.value(after), point) * data + moved).to(x_t.dtype)

    def _at(self, x_t: Tensor, t: float | Tensor, x_0: Tensor) -> Tensor:
        """The checked times of points of the path."""
        _arguments.tensor("x_t", x_t)
        _arguments.tensor("x_0", x_0)
        _arguments.same_shape("x_0", x_0, x_t.shape, "x_t")
        check_same_device("x_0", x_0, "x_t", x_t.device)
        return batch_times(t, x_t, self.T)

    def _velocity(self, noise: Tensor, times: Tensor) -> Tensor:
        """v(g(t), noise)."""
        return self._of_noise("velocity", noise, times)

    def _log_prob(self, noise: Tensor, times: Tensor) -> Tensor:
        """Log density of N(g(t)) at each element of ``noise``."""
        return self._of_noise("log_prob", noise, times)

    def _of_noise(self, method: str, noise: Tensor, *times: Tensor) -> Tensor:
        """What a method of N, whose parameters lead a draw, says of one at the clock's times."""
        own = self.noise._beside(noise.shape) if isinstance(self.noise, KacProcess) else self.noise
        clocks = [leading(as_tensor(self._clock.value(t), t), noise.ndim) for t in times]
        return _arguments.answer(
            f"noise: its {method} is", getattr(own, method)(noise, *clocks), noise
        )


def check_density(path: Any) -> None:
    """TypeError unless ``path`` is one whose noise has a density."""
    if not isinstance(path, Path):
        raise TypeError(f"path: got {_arguments.given(path)}; allowed: a kacflow.Path")
    if not callable(getattr(path.noise, "log_prob", None)):
        raise TypeError(
            f"path: its noise {_arguments.given(path.noise)} has no log_prob(x, t); allowed: a "
            "noise with one, such as KacProcess or BrownianProcess"
        )


class KacPath(Path):
    """:class:`Path` on a Kac process: X_t = f(t) X_0 + K(g(t)), drawn in one pass over the data.

    Parameters
    ----------
    process : KacProcess
        The noise: jump rate and speed.
    T, signal, clock
        As in :class:`Path`.

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

    _noise: KacProcess

    def __init__(
        self,
        process: KacProcess,
        T: float = 1.0,
        signal: str | Schedule = "linear",
        clock: str | Schedule = "linear",
    ) -> None:
        if not isinstance(process, KacProcess):
            raise TypeError(f"process: got {_arguments.given(process)}; allowed: a KacProcess")
        super().__init__(process, T, signal, clock)
        self._kinds = *numbers_of(self._signal, self._clock, self._T), self._T

    @property
    def process(self) -> KacProcess:
        """The noise."""
        return self._noise

    def sample(
        self,
        x_0: Tensor,
        t: float | Tensor,
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
    ) -> PathSample:
        """Draw the path at t and its conditional velocity, in one pass over the data.

        Arguments and result as in :meth:`Path.sample`; the velocity is that at the unrounded draw.
        Differentiable with respect to ``x_0``, the times or the values of the schedules, a and c.

        Notes
        -----
        Gradients in a, c and g go through the draws, as in :meth:`KacProcess.sample`.  They are
        right in expectation for every differentiable function of ``x_t``, and for functions of
        ``dx_t`` that are linear in it for given ``x_t``.  Beyond that they cannot be: when the last
        of the atoms turn, their mass leaps from velocity c to e = c a g/(a g + 2).  In the mean of
        a squared error this leaves out, per element, g'^2 (c - e)^2 e^(-a g) (a dg + g da), with
        dg and da the changes of g and a.
        """
        process, kinds, values = self._noise, self._kinds, None
        if eager():
            values = process._values()
        elif torch._C._get_tracing_state() is not None:
            kinds = 0, 0, self._T  # its graph shows the operator of given values
        signal, clock, _ = kinds
        named = bool(signal and clock)
        beyond = slack(t) if named else 2.0**-8
        here = values is not None and isinstance(x_0, Tensor) and x_0.is_cpu
        if values is not None and here and named:
            if isinstance(t, Tensor) and (t.dtype is not x_0.dtype or beyond > 1e-6):
                t = t.to(working_dtype(x_0.dtype)) if t.dtype in _arguments.FLOATS else t
            pair = _kernels.pair_again(x_0, (*values, t), generator, first, kinds, beyond)
            if pair is not None:
                if not isinstance(t, Tensor):
                    t = scalar(t, working_dtype(x_0.dtype), _CPU)
                return PathSample(x_0, t, *pair)
        _arguments.tensor("x_0", x_0)
        times = batch_times(t, x_0, self._T, check=not (here and named), known=here)
        (of_f, of_g), given = self._schedules, (times, 0.0)  # of times a kernel makes named ones
        f, df = given if signal else (of_f.value(times), of_f.derivative(times))
        g, dg = given if clock else (of_g.value(times), of_g.derivative(times))
        if values is not None and here and not named:
            told = *values, g, f, df, dg
            pair = _kernels.pair_again(x_0, told, generator, first, kinds, beyond, times)
            if pair is not None:
                return PathSample(x_0, times, *pair)
        f, df = answered("signal: value", f, times), answered("signal: derivative", df, times)
        g, dg = answered("clock: value", g, times), answered("clock: derivative", dg, times)
        offset = first_element(first, x_0.shape)
        if values is not None and addressable(x_0, f, df, g, dg):
            seed = drawn_seed(generator, x_0.device)
            rest = [t if type(t) is float else times] if named else [g, f, df, dg]
            pair = _kernels.pair(
                x_0, (*values, *rest), seed, offset, kinds, beyond, None if named else times,
                keep=True,
            )  # fmt: skip
            return PathSample(x_0, times, *pair)
        a, c = process._parameters(x_0.device, x_0.dtype)
        f, df, g, dg = (as_tensor(v, times) for v in (f, df, g, dg))
        seed = draw_seed(generator, x_0.device)
        if named:
            pair = ops.sample_pair_scheduled(x_0, times, a, c, seed, offset, *kinds)
        elif signal or clock:
            own = (g, dg) if signal else (f, df)
            pair = ops.sample_pair_partly(x_0, times, a, c, *own, seed, offset, *kinds)
        else:
            pair = ops.sample_pair(x_0, a, c, f, df, g, dg, seed, offset)
        return PathSample(x_0, times, *pair)

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
        times = self._at(x_t, t, x_0)
        point = x_t.to(working_dtype(x_t.dtype))
        noise = point - spread(self._signal.value(times), point) * x_0.to(point.dtype)
        g = leading(as_tensor(self._clock.value(times), times), noise.ndim)
        return self._clock.derivative(times) * self.process._beside(noise.shape).divergence(
            noise, g
        )

    def _velocity(self, noise: Tensor, times: Tensor) -> Tensor:
        return ops.velocity(noise, *self._aligned(noise, times))

    def _log_prob(self, noise: Tensor, times: Tensor) -> Tensor:
        return ops.logpdf(noise, *self._aligned(noise, times))

    def _aligned(self, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(g, a, c) with trailing axes to broadcast as in torch."""
        g = as_tensor(self._clock.value(times), times)
        a, c = self.process._parameters(noise.device, noise.dtype)
        _arguments.leads("a", a, noise.shape)
        _arguments.leads("c", c, noise.shape)
        return leading(g, noise.ndim), leading(a, noise.ndim), leading(c, noise.ndim)

"""The telegrapher's equation u_tt + 2 a u_t = c^2 u_xx itself: exact, and by averages of draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import mul
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kacflow._arguments import (
    FLOATS,
    WORKING,
    answer,
    choice,
    flag,
    given,
    integer,
    must,
    real,
    tensor,
)
from kacflow._arguments import (
    generator as checked_generator,
)
from kacflow.ops import _tensors
from kacflow.process import KacProcess
from kacflow_core._characteristic import with_slope
from kacflow_core._layout import Array

METHODS = ("spectral", "monte_carlo")
_MAX_AXES = 3
_SAMPLES = 10_000
_MOST_SAMPLES = 2**40
#: Largest a t, c k t and c k with wave numbers k: their products stay in the range of float64.
_MOST = 1e150
_CHUNK = 2**21  # numbers drawn at a time: 16 MiB in float64

#: A number for all axes of space, or one per axis.
PerAxis = float | Sequence[float] | Tensor


class Solution(NamedTuple):
    """The solution and how fast it changes."""

    u: Tensor
    du_dt: Tensor  #: of the shape of ``u``


class Estimate(NamedTuple):
    """A mean over draws."""

    value: Tensor
    standard_error: Tensor  #: of the shape of ``value``: the deviation of a mean of so many draws


def solve(
    f0: Tensor | Callable[[Tensor], Tensor],
    t: float | Tensor,
    *,
    a: PerAxis,
    c: PerAxis,
    method: str = "spectral",
    period: PerAxis | None = None,
    time_derivative: bool = False,
    x: Tensor | None = None,
    samples: int | None = None,
    antithetic: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor | Solution | Estimate:
    """Solve u_tt + 2 a u_t = c^2 u_xx with u(0) = f0 and u_t(0) = 0, as u(t, x) = E f0(x + K(t)).

    In d = 2 or 3 dimensions of space the components of K(t) are independent Kac processes, with
    characteristic function prod_j phi(k_j): the d-dimensional process of the paper, whose law
    is that of Kac flows.  That is not the damped wave equation u_tt + 2 a u_t = c^2 Laplace(u):
    fronts are boxes instead of spheres.  Only in one dimension the two are the same.

    ``method="spectral"``
        Values on a periodic grid.  Every Fourier mode is multiplied by the characteristic function
        of K(t) at its wave numbers: exact, up to rounding, for the trigonometric polynomial through
        the values, for any t in one step.
    ``method="monte_carlo"``
        A function and points.  The mean of f0(x + K(t)) over draws that are independent between
        points and times.

    Parameters
    ----------
    f0 : Tensor or callable
        For "spectral" the values, of shape (n_1, ..., n_d), d <= 3, axis j at the points
        i ``period[j]``/n_j.  For "monte_carlo" a function that takes points of shape (m, *x.shape)
        and returns their values: shape (m, P) for P points, in every dimension, of a float type.
    t : float or Tensor
        Times >= 0, one or a vector of M.  On the CPU for "spectral".
    a, c : float, sequence of float or Tensor
        Jump rate (1/time) and speed (length/time), > 0: one for all axes of space, or one per axis.
        The products a t, and for "spectral" c k and c k t with the largest wave number k of the
        grid, are at most 1e150 (c k 8e37, if u_t is asked for in float32 or 16 bits).
    method : {"spectral", "monte_carlo"}
        See above.
    period : float, sequence of float or Tensor
        For "spectral", where it is required: length of the axes, one for all or one per axis.
    time_derivative : bool
        For "spectral": whether to return u_t as well.
    x : Tensor
        For "monte_carlo", where it is required: float32 or float64 points, of shape (P,) in one
        dimension or (P, d) in d.
    samples : int, optional
        For "monte_carlo": draws per point and time, 2 to 2^40; by default 10,000.
    antithetic : bool
        For "monte_carlo": whether to use every draw with both signs, ``samples``/2 of each; the
        standard error is that of the means of the pairs, >= 2 of them.
    generator : torch.Generator, optional
        For "monte_carlo": source of the seeds; by default torch's own.  One 64-bit number is
        consumed per time and chunk of at most 2^21 numbers drawn (or one draw per point).

    Returns
    -------
    Tensor, Solution or Estimate
        "spectral": u, of the shape of ``f0``, preceded by M for a vector of times, in the dtype of
        ``f0``; with ``time_derivative`` the pair (u, du_dt).  Differentiable with respect to
        ``f0``.
        "monte_carlo": (value, standard_error), of shape (P,) or (M, P) in the dtype of ``x``.  The
        value is differentiable with respect to what ``f0`` depends on, ``x``, ``t``, a and c (for
        draws see :meth:`KacProcess.sample`), which keeps all draws in memory.

    Raises
    ------
    ValueError, TypeError
        Naming the argument or product, what was given and what is allowed.

    References
    ----------
    Kac, Rocky Mountain J. Math. 4 (1974), for u = E f0(x + K(t)); Duong, Chemseddine, Friz,
    Steidl, arXiv 2506.20641, for d dimensions.

    Examples
    --------
    >>> import math, torch
    >>> from kacflow import telegrapher
    >>> x = torch.arange(8, dtype=torch.float64) / 8
    >>> def wave(x):
    ...     return torch.cos(2 * math.pi * x)
    >>> u = telegrapher.solve(wave(x), 0.5, a=9.0, c=1.0, period=1.0)
    >>> round(u[0].item(), 3)
    0.334
    >>> estimate = telegrapher.solve(wave, 0.5, a=9.0, c=1.0, method="monte_carlo", x=x)
    >>> bool(((estimate.value - u).abs() < 5 * estimate.standard_error).all())
    True
    """
    choice("method", method, METHODS)
    spectral = {"period": period, "time_derivative": time_derivative}
    others = {"x": x, "samples": samples, "antithetic": antithetic, "generator": generator}
    for name, value in (others if method == "spectral" else spectral).items():
        if value is not None and value is not False:
            raise TypeError(f"{name}: got {given(value)}; allowed: nothing, for method {method!r}")
    flag("time_derivative", time_derivative)
    flag("antithetic", antithetic)
    if method == "spectral":
        return _spectral(f0, t, a, c, period, time_derivative)
    count = _SAMPLES if samples is None else samples
    return _monte_carlo(f0, t, a, c, x, count, antithetic, checked_generator(generator))


def _times(t: float | Tensor) -> Tensor:
    """Times as a tensor of shape () or (M,), checked where they can be read."""
    if not isinstance(t, Tensor):
        t = _tensors.number(real("t", t, "a float or a float tensor"))
    tensor("t", t)
    must(t.ndim < 2, "t", f"shape {tuple(t.shape)}", "() or (M,)")
    if _tensors.plain(t) and not bool(((t >= 0) & (t < math.inf)).all()):
        raise ValueError(f"t: got {str(t.tolist())[:80]}; allowed: finite numbers >= 0")
    return t


def _per_axis(name: str, value: PerAxis, axes: int) -> Tensor:
    """A number or one per axis, as a tensor of shape (axes,); floats in float64."""
    if isinstance(value, Tensor):
        found = tensor(name, value)
    else:
        several = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim)
        numbers: Any = list(value) if several else [value]  # type: ignore[arg-type]
        numbers = [real(name, number, "a float, floats or a tensor") for number in numbers]
        found = torch.tensor(numbers if several else numbers[0], dtype=torch.float64, device="cpu")
    fits = found.shape in ((), (1,), (axes,))
    must(fits, name, f"shape {tuple(found.shape)}", f"a number or {axes}, one per axis")
    checked = found.detach()
    if _tensors.plain(checked) and not bool(((checked > 0) & (checked < math.inf)).all()):
        got = value if isinstance(value, float) else checked.tolist()
        raise ValueError(f"{name}: got {got}; allowed: finite numbers > 0")
    return found.expand(axes)


def _largest(times: Array, rates: Array, speeds: Array, waves: Array, most: float) -> None:
    """ValueError unless a t, c k and c k t are in range, for the largest k of each axis."""
    with np.errstate(over="ignore"):
        late = np.max(times, initial=0.0)
        reach = speeds * waves
        products = {
            "a*t": (rates * late, _MOST),
            "c*k": (reach, most),
            "c*k*t": (reach * late, _MOST),
        }
    for name, (values, limit) in products.items():
        if not values.max() <= limit:
            what = "" if name == "a*t" else ", with k = pi n/period"
            raise ValueError(f"{name}: got {values.max():g}{what}; allowed: at most {limit:g}")


def _constant(name: str, value: Tensor) -> Array:
    """A parameter of the spectral method as a float64 array."""
    if value.device.type != "cpu":
        raise ValueError(f"{name}: is on {value.device}; allowed: the CPU, or a float")
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name}: requires grad; allowed: constants, since the spectral method is "
            "differentiable with respect to f0 only (detach it, or use method 'monte_carlo')"
        )
    return value.detach().to(torch.float64).numpy()


def _spectral(
    f0: object, t: float | Tensor, a: PerAxis, c: PerAxis, period: PerAxis | None, slope: bool
) -> Tensor | Solution:
    """Multiplication of every Fourier mode by the characteristic function."""
    if not isinstance(f0, Tensor):
        raise TypeError(
            f"f0: got {type(f0).__name__}; allowed: a tensor of values (for a function use method "
            "'monte_carlo')"
        )
    tensor("f0", f0, FLOATS)
    axes = f0.ndim
    fits = 1 <= axes <= _MAX_AXES and f0.numel()
    allowed = f"1 to {_MAX_AXES} axes of space, not empty"
    must(fits, "f0", f"shape {tuple(f0.shape)}", allowed)
    if period is None:
        raise ValueError("period: got None; allowed: the length of the axes, > 0")
    times = _constant("t", _times(t))
    rates, speeds, lengths = (
        _constant(name, _per_axis(name, value, axes))
        for name, value in (("a", a), ("c", c), ("period", period))
    )
    working = _tensors.working_dtype(f0.dtype)
    with np.errstate(over="ignore"):
        last_waves = np.pi * (np.array(f0.shape) // 2 * 2) / lengths
    steepest = torch.finfo(working).max / 4 if slope else _MOST
    _largest(times, rates, speeds, last_waves, min(_MOST, steepest))
    values: list[Tensor] = []
    slopes: list[Tensor] = []
    for axis, n in enumerate(f0.shape):
        last = axis == axes - 1  # of which half the wave numbers suffice, as f0 is real
        waves = (np.fft.rfftfreq if last else np.fft.fftfreq)(n, lengths[axis] / n)
        phi = with_slope(2 * np.pi * waves, times[..., None], rates[axis], speeds[axis])
        shape = (*times.shape, *(len(waves) if j == axis else 1 for j in range(axes)))
        for kept, array in zip((values, slopes), phi, strict=True):
            kept.append(torch.from_numpy(array.reshape(shape)).to(f0.device, working))
    space = tuple(range(-axes, 0))
    modes = torch.fft.rfftn(f0.to(working), dim=space)

    def back(factor: Tensor) -> Tensor:
        if not factor.numel():  # no times, which some transforms do not accept
            return f0.new_empty((0, *f0.shape))
        return torch.fft.irfftn(modes * factor, s=f0.shape, dim=space).to(f0.dtype)

    u = back(reduce(mul, values))
    if not slope:
        return u
    rises = [reduce(mul, [*values[:j], slopes[j], *values[j + 1 :]]) for j in range(axes)]
    return Solution(u, back(sum(rises[1:], rises[0])))


def _monte_carlo(
    f0: object,
    t: float | Tensor,
    a: PerAxis,
    c: PerAxis,
    x: Tensor | None,
    samples: int,
    antithetic: bool,
    generator: torch.Generator | None,
) -> Estimate:
    """Means of f0(x + K(t)), chunk by chunk."""
    if isinstance(f0, Tensor) or not callable(f0):
        raise TypeError(
            f"f0: got {type(f0).__name__}; allowed: a function of points (for values on a grid use "
            "method 'spectral')"
        )
    x = tensor("x", x, WORKING)
    fits = x.ndim == 1 or (x.ndim == 2 and 1 <= x.shape[1] <= _MAX_AXES)
    must(fits, "x", f"shape {tuple(x.shape)}", f"(P,), or (P, d) with d <= {_MAX_AXES}")
    samples = integer("samples", samples, 2, _MOST_SAMPLES)
    terms = samples // 2 if antithetic else samples
    fits = terms > 1 and not (antithetic and samples % 2)
    allowed = "an even int >= 4 with antithetic" if antithetic else "an int >= 2"
    must(fits, "samples", samples, allowed)
    axes = x.shape[1] if x.ndim == 2 else 1
    # Axes of space come first in a draw, where the rates and speeds of a process are looked up.
    process = KacProcess(*(_per_axis(name, v, axes) for name, v in (("a", a), ("c", c))))
    times = _times(t)

    def term(time: Tensor, count: int) -> Tensor:
        draw = process.sample(
            time, (axes, count, x.shape[0]), generator=generator, dtype=x.dtype, device=x.device
        )
        step = draw.movedim(0, -1) if x.ndim == 2 else draw[0]
        value = _values(f0, x + step)
        return 0.5 * (value + _values(f0, x - step)) if antithetic else value

    chunk = max(1, _CHUNK // max(1, axes * x.shape[0]))
    if not times.ndim:
        return _mean(partial(term, times), terms, chunk)
    each = [_mean(partial(term, time), terms, chunk) for time in times]
    if not each:
        empty = x.new_empty((0, x.shape[0]))
        return Estimate(empty, empty.clone())
    return Estimate(*(torch.stack(parts) for parts in zip(*each, strict=True)))


def _values(f0: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """f0 at points of shape (m, P) or (m, P, d), checked to be of shape (m, P)."""
    like = points if points.ndim == 2 else points[..., 0]
    return answer("f0: returned", f0(points), like).to(points.dtype)


def _mean(term: Callable[[int], Tensor], terms: int, chunk: int) -> Estimate:
    """Mean and standard error over axis 0, chunks joined by the formula of Chan, Golub and LeVeque
    (Am. Stat. 37, 1983).
    """
    done = 0
    mean = squares = torch.zeros(())
    while done < terms:
        count = min(chunk, terms - done)
        values = term(count)
        own = values.mean(0)
        spread = (values.detach() - own.detach()).square().sum(0)
        if not done:
            mean, squares = own, spread
        else:
            gap = own - mean
            share = count / (done + count)
            mean = mean + gap * share
            squares = squares + spread + gap.detach().square() * (done * share)
        done += count
    return Estimate(mean, (squares / ((terms - 1) * terms)).sqrt())

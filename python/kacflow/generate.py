"""Generation: integrate a learned velocity field from noise (t = T) back to data (t = 0)."""

from __future__ import annotations

import itertools
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from kacflow._arguments import (
    WORKING,
    answer,
    at_least_zero,
    choice,
    flag,
    given,
    integer,
    must,
    real,
    reals,
    tensor,
    wrong_type,
)
from kacflow._optional import require
from kacflow.ops import _tensors
from kacflow.time_grids import RHO, time_grid

Field = Callable[..., Tensor]
Stepper = Callable[[Callable[[Tensor, float], Tensor], Sequence[float], Tensor], Iterator[Tensor]]


class HasHorizon(Protocol):
    """A path: all that generation needs of it is its horizon."""

    @property
    def T(self) -> float: ...


def _euler(field: Any, grid: Sequence[float], x: Tensor) -> Iterator[Tensor]:
    for t, s in itertools.pairwise(grid):
        x = x + (s - t) * field(x, t)
        yield x


def _midpoint(field: Any, grid: Sequence[float], x: Tensor) -> Iterator[Tensor]:
    for t, s in itertools.pairwise(grid):
        half = x + 0.5 * (s - t) * field(x, t)
        x = x + (s - t) * field(half, 0.5 * (t + s))
        yield x


def _heun(field: Any, grid: Sequence[float], x: Tensor) -> Iterator[Tensor]:
    for t, s in itertools.pairwise(grid):
        first = field(x, t)
        second = field(x + (s - t) * first, s)
        x = x + 0.5 * (s - t) * (first + second)
        yield x


def _ab2(field: Any, grid: Sequence[float], x: Tensor) -> Iterator[Tensor]:
    before: Tensor | None = None
    last = 0.0
    for t, s in itertools.pairwise(grid):
        step, now = s - t, field(x, t)
        if before is None:
            x = x + step * now
        else:  # the polynomial through the last two velocities, for steps of any two lengths
            x = x + step * now + 0.5 * step * step / last * (now - before)
        before, last = now, step
        yield x


def _rk4(field: Any, grid: Sequence[float], x: Tensor) -> Iterator[Tensor]:
    for t, s in itertools.pairwise(grid):
        step, mid = s - t, 0.5 * (t + s)
        k1 = field(x, t)
        k2 = field(x + 0.5 * step * k1, mid)
        k3 = field(x + 0.5 * step * k2, mid)
        k4 = field(x + step * k3, s)
        x = x + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        yield x


def _transport(path: Any, data: Any, grid: Sequence[float], x: Tensor) -> Iterator[Tensor]:
    """``data`` is the prediction of x_0, taken at the middle of a step from the line through the
    last two.
    """
    before: Tensor | None = None
    last = 0.0
    for t, s in itertools.pairwise(grid):
        step, now = s - t, data(x, t)
        middle = now if before is None else now + 0.5 * step / last * (now - before)
        x = path.transport(x, t, s, middle)
        before, last = now, step
        yield x


#: Fixed-step methods: evaluations of the network per step are 1, 1, 2, 2 and 4.
FIXED_STEP: dict[str, Stepper] = {
    "euler": _euler,
    "ab2": _ab2,
    "heun": _heun,
    "midpoint": _midpoint,
    "rk4": _rk4,
}
#: Adaptive methods, by torchdiffeq.
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
#: Tolerances for 16 bits, as shares of the spacing at 1; those of the others are 1/256 of it.  The
#: estimate of dopri8 is the most sensitive to the rounding of a model, that of fehlberg2 the least.
_SHARES = {"dopri8": 8, "fehlberg2": 1024}
#: The exact flow of the noise between two times, given a prediction of the data.
TRANSPORT = "transport"
#: What a model may return.
PREDICTIONS = ("velocity", "data")
#: Steps at most: float32 could hardly tell the times of more apart.
MAX_STEPS = 1_000_000


def _horizon(path: Any) -> float:
    """The T of a path."""
    T = None if isinstance(path, Tensor) else getattr(path, "T", None)  # theirs is a transpose
    if not isinstance(T, (int, float)) or not 0 < T < math.inf:
        raise wrong_type("path", path, "a path, with a horizon T > 0")
    return float(T)


def end_time(t_min: Any, T: float) -> float:
    """Where an integration from ``T`` ends, as a float in [0, T)."""
    end = real("t_min", t_min)
    if not 0 <= end < T:
        raise ValueError(f"t_min: got {end}; allowed: 0 <= t_min < T = {T:g}")
    return end


def _spacing(value: float, dtype: torch.dtype) -> float:
    """From a number > 0 to the next of a type."""
    kind = torch.finfo(dtype)
    return kind.eps * max(kind.tiny, 2.0 ** (math.frexp(value)[1] - 1))


def _given_grid(T: float, t_grid: Any) -> list[float]:
    """Decreasing times; those of a tensor may exceed T by the rounding of its type."""
    allowed = "at least two decreasing times"
    grid = reals("t_grid", t_grid, allowed)
    decreases = len(grid) > 1 and all(s < t for t, s in itertools.pairwise(grid))
    must(decreases, "t_grid", str(grid)[:80], allowed)
    last = T * (1 + 1e-6)
    if isinstance(t_grid, Tensor) and t_grid.is_floating_point():
        last = max(last, T + _spacing(T, t_grid.dtype))
    if not (grid[0] <= last and grid[-1] >= 0):
        raise ValueError(f"t_grid: got {grid[0]:g} to {grid[-1]:g}; allowed: within [0, {T:g}]")
    return grid


def times_between(path: Any, steps: Any, t_grid: Any, t_min: Any, rho: Any) -> list[float]:
    """The checked decreasing times of an integration, from T to its end."""
    T = _horizon(path)
    steps, end = integer("steps", steps, 1, MAX_STEPS), end_time(t_min, T)
    if t_grid is None or isinstance(t_grid, str):
        return time_grid(t_grid or "uniform", path, steps, end, rho)
    return _given_grid(T, t_grid)


def _last_time(T: float, dtype: torch.dtype, name: str) -> float:
    """The largest number of a type that is not beyond T."""
    if torch.finfo(dtype).max < T:
        raise ValueError(f"{name}: got dtype {dtype}; allowed: a type that holds times up to {T:g}")
    return math.floor(T / _spacing(T, dtype)) * _spacing(T, dtype)


def learned_field(
    model: Field,
    points: Tensor,
    path: HasHorizon,
    grid: Sequence[float],
    *,
    labels: Tensor | None = None,
    guidance: float = 0.0,
    prediction: str = "velocity",
    name: str = "x_T",
    data: bool = False,
) -> Callable[[Tensor, Any], Tensor]:
    """The field u(x, t) that a model gives on a grid of decreasing times, arguments checked; or,
    with ``data``, the prediction of x_0.

    It takes and gives tensors of the working type of ``points``, called ``name`` in messages; the
    model sees their own type.
    """
    if not callable(model):
        raise wrong_type("model", model, "a function of (x, t)")
    dtype = tensor(name, points).dtype
    if labels is not None:
        _tensors.check_labels(labels, points, name)
    weight = _weight(guidance, labels)
    choice("prediction", prediction, PREDICTIONS)
    if prediction == "data" and not callable(getattr(path, "velocity", None)):
        raise TypeError(f"path: got {given(path)}; allowed for 'data': a path with a velocity")
    last_time = _last_time(_horizon(path), dtype, name)
    working = _tensors.working_dtype(dtype)

    def field(x: Tensor, t: Any) -> Tensor:
        seen = _tensors.rounded(name, x, dtype)
        if isinstance(t, Tensor):  # a first trial step of an adaptive method may lead beyond an end
            time = t.clamp(grid[-1], last_time).to(dtype)
        else:
            time = x.new_full((), min(t, last_time), dtype=dtype)  # on the device: nothing waits
        time = time.expand(x.shape[0] if x.ndim else 1)
        if labels is None:
            return velocity(x, seen, time)
        if not weight:
            return velocity(x, seen, time, labels)
        both = velocity(*(torch.cat((v, v)) for v in (x, seen, time)), guided)
        with_label, without = both.chunk(2)
        return (1.0 + weight) * with_label - weight * without

    guided = None if labels is None else torch.cat((labels, torch.full_like(labels, -1)))

    def velocity(x: Tensor, seen: Tensor, time: Tensor, *label: Tensor | None) -> Tensor:
        found = answer("model: returned", model(seen, time, *label), seen)
        found = found.to(working, copy=True)  # models may use their memory again
        if data or prediction == "velocity":
            return found
        found = path.velocity(x, time.to(working), found)  # type: ignore[attr-defined]
        return answer("path: its velocity is", found, x)

    return field


def generate(
    model: Field,
    x_T: Tensor,
    path: HasHorizon,
    *,
    steps: int = 100,
    method: str = "euler",
    t_grid: str | Sequence[float] | None = None,
    t_min: float = 0.0,
    rho: float = RHO,
    labels: Tensor | None = None,
    guidance: float = 0.0,
    prediction: str = "velocity",
    return_trajectory: bool = False,
    **options: Any,
) -> Tensor:
    """Integrate dx/dt = u(x, t) from t = T down to ``t_min``, with the field u that a model gives.

    Gradients follow the caller's grad mode: wrap the call in ``torch.no_grad()`` to save memory,
    leave it out to differentiate through the sampler.

    Parameters
    ----------
    model : callable
        ``model(x, t)`` with x of shape (B, ...) and t of shape (B,), both of the dtype of ``x_T``,
        returns the velocity: of the shape of x, in any of the four floating types.  With ``labels``
        it is called ``model(x, t, labels)``, where -1 means no label.
    x_T : Tensor
        Noise, e.g. of ``path.sample_prior``; float32, float64, bfloat16 or float16.  The points
        between are kept in float32 (float64 for float64) whatever the model computes in: of 16-bit
        noise it sees points and times rounded to 16 bits, times never beyond T.
    path : KacPath or GaussianPath
        Its ``T`` is where the integration starts.
    steps : int
        Steps of equal length, 1 to 1,000,000; for an adaptive method, the number of grid points
        that a trajectory is reported at, which does not change the steps taken.
    method : str
        ``"euler"``, ``"ab2"`` (Adams-Bashforth, second order at one evaluation a step),
        ``"heun"``, ``"midpoint"``, ``"rk4"``; or an adaptive method of torchdiffeq:
        ``"dopri5"``, ``"dopri8"``, ``"bosh3"``, ``"fehlberg2"``, ``"adaptive_heun"``; or
        ``"transport"``, for models that predict the data: :meth:`kacflow.Path.transport` from time
        to time, of second order in the prediction, at one evaluation a step.
    t_grid : str or sequence of float, optional
        How ``steps`` times lie between T and ``t_min``: ``"uniform"`` (the default),
        ``"quadratic"``, ``"clock"`` or ``"karras"`` (:mod:`kacflow.time_grids`).  Or, instead of
        both, decreasing times in [0, T]: a list, or an array or tensor with one axis.
    t_min : float
        Where to stop, in [0, T).
    rho : float
        Exponent of the grid "karras", > 0.
    labels : Tensor, optional
        Classes, int64 of shape (B,), for a model that was trained with some; -1 means no label.
    guidance : float
        Weight w >= 0 of classifier-free guidance, for models with ``labels``: the field is
        (1 + w) u(x, t, label) - w u(x, t, no label), both from one evaluation of a batch of 2 B.
        At 0 it is u(x, t, label), at the cost of a batch of B.  With "transport" the predictions of
        the data are combined so, instead of velocities.
    prediction : {"velocity", "data"}
        What the model returns: u itself, or an estimate of x_0, which ``path.velocity`` turns into
        u.  That is singular at t = 0 for paths whose velocity is read off x_t, so methods that
        evaluate the field there (heun, rk4, adaptive ones) ask for ``t_min > 0`` then.
    return_trajectory : bool
        Whether to return all points, stacked in a new first axis that begins with ``x_T``.
    **options
        For adaptive methods: the tolerances ``rtol`` and ``atol``, floats >= 0, not both 0, and
        torchdiffeq's ``options``.  By default torchdiffeq's tolerances; for 16-bit noise those
        that a model which computes in 16 bits can reach: 1/256 of the spacing of its type at 1
        (1/8 for "dopri8", 1/1024 for "fehlberg2").

    Returns
    -------
    Tensor
        Shape and dtype of ``x_T``, or (points, *shape) with ``return_trajectory``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed; ``model`` for what it returned,
        ``method`` for an adaptive one that cannot reach its tolerance.
    ImportError
        For an adaptive method without torchdiffeq.

    Examples
    --------
    >>> import torch
    >>> from kacflow import KacPath, KacProcess, generate
    >>> path = KacPath(KacProcess(9.0, 3.0))
    >>> generate(lambda x, t: -x, torch.ones(2, 1), path, steps=50, method="rk4").flatten()
    tensor([2.7183, 2.7183])
    """
    choice("method", method, (*FIXED_STEP, TRANSPORT, *ADAPTIVE))
    flag("return_trajectory", return_trajectory)
    dtype = tensor("x_T", x_T).dtype
    grid = times_between(path, steps, t_grid, t_min, rho)
    field = learned_field(
        model, x_T, path, grid,
        labels=labels, guidance=guidance, prediction=prediction, data=method == TRANSPORT,
    )  # fmt: skip
    if method == TRANSPORT:
        got = f"'transport' with prediction {prediction!r}"
        allowed = "a model that predicts the data, prediction='data'"
        must(prediction == "data", "method", got, allowed)
        if not callable(getattr(path, "transport", None)):
            raise TypeError(f"path: got {given(path)}; allowed for 'transport': a kacflow.Path")
    chosen = tolerances(options, method, "x_T", x_T)
    start = x_T.to(_tensors.working_dtype(dtype))
    if method not in ADAPTIVE or not x_T.numel():
        if method == TRANSPORT:
            points = _transport(path, field, grid, start)
        else:
            points = FIXED_STEP.get(method, _euler)(field, grid, start)
        if return_trajectory:
            return torch.stack([x_T, *(_tensors.rounded("x_T", x, dtype) for x in points)])
        last = start
        for last in points:  # noqa: B007 - only the last point is kept
            pass
        return _tensors.rounded("x_T", last, dtype)
    kept = grid if return_trajectory else [grid[0], grid[-1]]
    solution = adaptive(field, start, kept, method, chosen)
    solution = _tensors.rounded("x_T", solution, dtype)
    return solution if return_trajectory else solution[-1]


def _weight(guidance: Any, labels: Any) -> float:
    """A checked weight of guidance."""
    weight = at_least_zero("guidance", guidance)
    must(not weight or labels is not None, "guidance", f"{weight} without labels", "0")
    return weight


def tolerances(
    options: dict[str, Any], method: str, name: str, points: Tensor, kind: str = "method"
) -> dict[str, Any]:
    """Checked arguments of torchdiffeq, with tolerances that 16-bit models can reach; other methods
    take none.
    """
    if method not in ADAPTIVE:
        if options:
            raise TypeError(f"options: got {sorted(options)}; allowed: none for {method!r}")
        return {}
    if points.is_meta:
        raise ValueError(f"{name}: is on meta; allowed: numbers, which {kind} {method!r} looks at")
    unknown = sorted(set(options) - {"rtol", "atol", "options"})
    if unknown:
        raise TypeError(f"options: got {unknown}; allowed: rtol, atol and options")
    checked: dict[str, Any] = {}
    for name in ("rtol", "atol"):
        if name in options:
            checked[name] = at_least_zero(name, options[name])
        elif points.dtype not in WORKING:
            checked[name] = torch.finfo(points.dtype).eps / _SHARES.get(method, 256)
    zero = checked.get("rtol") == checked.get("atol") == 0
    must(not zero, "rtol", "0, as atol", "one of them > 0")
    more = options.get("options")
    if more is not None and not isinstance(more, dict):
        raise wrong_type("options", more, "a dict or None")
    return {**checked, "options": more or {}}


def adaptive(
    field: Any,
    x: Tensor,
    grid: Sequence[float],
    method: str,
    options: dict[str, Any],
    name: str = "method",
) -> Tensor:
    """The points at the times of the grid, by torchdiffeq."""
    odeint = require("torchdiffeq", f"{name} {method!r}").odeint
    times = torch.tensor(grid, dtype=torch.float64, device=x.device)
    # A step ends at the last: interpolation to it would cost more accuracy than the tolerance.
    options["options"] = {"step_t": times[-1:], **options["options"]}
    try:
        return odeint(lambda t, x: field(x, t), x, times, method=method, **options)
    except AssertionError as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if not frames[-1].f_globals.get("__name__", "").startswith("torchdiffeq"):
            raise
        raise ValueError(
            f"{name}: {method!r} came to an end ({error}); allowed: a finite and smooth velocity, "
            "looser rtol and atol, a larger max_num_steps, or a method with fixed steps"
        ) from None

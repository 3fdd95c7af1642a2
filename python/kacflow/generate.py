"""Generation: integrate a learned velocity field from noise (t = T) back to data (t = 0)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from kacflow.ops import _tensors

Field = Callable[[Tensor, Tensor], Tensor]
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


def _time_grid(T: float, steps: int, t_min: float, t_grid: Sequence[float] | None) -> list[float]:
    """Decreasing times from T to t_min."""
    if t_grid is not None:
        grid = [float(t) for t in t_grid]
        if len(grid) < 2 or any(not s < t for t, s in itertools.pairwise(grid)):
            raise ValueError(f"t_grid: got {grid}; allowed: at least two decreasing times")
        if not (grid[0] <= T * (1 + 1e-6) and grid[-1] >= 0):
            raise ValueError(f"t_grid: got {grid[0]:g} to {grid[-1]:g}; allowed: within [0, {T:g}]")
        return grid
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps: got {type(steps).__name__}; allowed: an int >= 1")
    if steps < 1:
        raise ValueError(f"steps: got {steps}; allowed: an int >= 1")
    if not 0 <= t_min < T:
        raise ValueError(f"t_min: got {t_min}; allowed: 0 <= t_min < T = {T:g}")
    return [T + (t_min - T) * i / steps for i in range(steps)] + [float(t_min)]


def generate(
    model: Field,
    x_T: Tensor,
    path: HasHorizon,
    *,
    steps: int = 100,
    method: str = "euler",
    t_grid: Sequence[float] | None = None,
    t_min: float = 0.0,
    return_trajectory: bool = False,
    **options: Any,
) -> Tensor:
    """Integrate dx/dt = model(x, t) from t = T down to ``t_min``.

    Gradients follow the caller's grad mode: wrap the call in ``torch.no_grad()`` to save memory,
    leave it out to differentiate through the sampler.

    Parameters
    ----------
    model : callable
        ``model(x, t)`` with x of shape (B, ...) and t of shape (B,), returns the velocity.
    x_T : Tensor
        Noise, e.g. of ``path.sample_prior``.
    path : KacPath or GaussianPath
        Its ``T`` is where the integration starts.
    steps : int
        Steps of equal length; for an adaptive method, the number of grid points that a trajectory
        is reported at, which does not change the steps taken.
    method : str
        ``"euler"``, ``"ab2"`` (Adams-Bashforth, second order at one evaluation a step),
        ``"heun"``, ``"midpoint"``, ``"rk4"``; or an adaptive method of torchdiffeq:
        ``"dopri5"``, ``"dopri8"``, ``"bosh3"``, ``"fehlberg2"``, ``"adaptive_heun"``.
    t_grid : sequence of float, optional
        Decreasing times to step through, instead of ``steps`` and ``t_min``.
    t_min : float
        Where to stop, >= 0.
    return_trajectory : bool
        Whether to return all points, stacked in a new first axis that begins with ``x_T``.
    **options
        For torchdiffeq: ``rtol``, ``atol``, ``options``.

    Returns
    -------
    Tensor
        Shape of ``x_T``, or (points, *shape) with ``return_trajectory``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.
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
    if not isinstance(x_T, Tensor) or not x_T.is_floating_point():
        raise TypeError(f"x_T: got {type(x_T).__name__}; allowed: a floating-point tensor")
    grid = _time_grid(path.T, steps, t_min, t_grid)

    def field(x: Tensor, t: Any) -> Tensor:
        batch = x.shape[0] if x.ndim else 1
        if isinstance(t, Tensor):
            return model(x, t.to(x.dtype).expand(batch))
        return model(x, x.new_full((), t).expand(batch))  # filled on the device: nothing waits

    if method in FIXED_STEP:
        if options:
            raise TypeError(f"options: got {sorted(options)}; allowed: none for {method!r}")
        points = FIXED_STEP[method](field, grid, x_T)
        if return_trajectory:
            return torch.stack([x_T, *points])
        last = x_T
        for last in points:  # noqa: B007 - only the last point is kept
            pass
        return last
    if method in ADAPTIVE:
        try:
            from torchdiffeq import odeint
        except ImportError:
            raise ImportError(
                f"method {method!r} needs torchdiffeq: pip install kacflow[train]"
            ) from None
        times = torch.tensor(
            grid if return_trajectory else [grid[0], grid[-1]],
            dtype=_tensors.working_dtype(x_T.dtype),
            device=x_T.device,
        )
        # A step ends at t_min: interpolation to it would cost more accuracy than the tolerance.
        options["options"] = {"step_t": times[-1:], **(options.get("options") or {})}
        solution = odeint(lambda t, x: field(x, t), x_T, times, method=method, **options)
        return solution if return_trajectory else solution[-1]
    raise ValueError(f"method: got {method!r}; allowed: {', '.join((*FIXED_STEP, *ADAPTIVE))}")

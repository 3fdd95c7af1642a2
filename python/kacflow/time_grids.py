"""Named grids of decreasing times to step through, from T to the end of an integration.

With n steps, s = i/n and t_end where to stop:

=============  ====================================================================
``uniform``    T + (t_end - T) s: steps of equal length
``quadratic``  t_end + (T - t_end) (1 - s)^2: shorter towards the data
``clock``      g(t) = g(T) + (g(t_end) - g(T)) s: equal steps of the noise's clock
``karras``     (T^(1/rho) + (t_end^(1/rho) - T^(1/rho)) s)^rho, rho = 7 by default
=============  ====================================================================

Source of the last: Karras, Aittala, Aila, Laine, arXiv 2206.00364, equation 5.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from kacflow import _arguments

NAMES = ("uniform", "quadratic", "clock", "karras")
RHO = 7.0


def time_grid(
    name: str, path: Any, steps: int, t_end: float = 0.0, rho: float = RHO
) -> list[float]:
    """The ``steps + 1`` times of a grid of :data:`NAMES`, from ``path.T`` to ``t_end`` in [0, T).

    "clock" asks for ``path.clock``, and ``rho`` > 0 is the exponent of "karras".  ValueError or
    TypeError names the argument, what was given and what is allowed; ``steps`` where there are so
    many that float64 cannot tell two times apart.

    Examples
    --------
    >>> from kacflow import KacPath, KacProcess
    >>> from kacflow.time_grids import time_grid
    >>> time_grid("quadratic", KacPath(KacProcess(9.0, 3.0)), 2)
    [1.0, 0.25, 0.0]
    """
    _arguments.choice("t_grid", name, NAMES)
    steps, T = _arguments.integer("steps", steps, 1), float(path.T)
    rho = _arguments.positive("rho", rho)
    shares = [i / steps for i in range(steps)]
    if name == "uniform":
        inner = [T + (t_end - T) * s for s in shares]
    elif name == "quadratic":
        inner = [t_end + (T - t_end) * (1.0 - s) ** 2 for s in shares]
    elif name == "karras":
        last = (t_end / T) ** (1.0 / rho)  # of a first of 1: no power leaves float64's range
        inner = [T * (1.0 + (last - 1.0) * s) ** rho for s in shares]
    else:
        inner = _clock_times(path, shares, t_end)
    grid = [T, *inner[1:], t_end]
    if any(not s < t for t, s in itertools.pairwise(grid)):
        raise ValueError(f"steps: got {steps}; allowed: so many that times of {name!r} differ")
    return grid


def _clock_times(path: Any, shares: list[float], t_end: float) -> list[float]:
    """Times at which the clock has gone these shares of the way from g(T) to g(t_end).

    By bisection, for a clock that rises.
    """
    clock = getattr(path, "clock", None)
    if clock is None:
        raise TypeError("path: has no clock; allowed for t_grid 'clock': a path with one")
    ends = torch.tensor([path.T, t_end], dtype=torch.float64)
    first, last = torch.as_tensor(clock.value(ends), dtype=torch.float64).tolist()
    wanted = torch.tensor([first + (last - first) * s for s in shares], dtype=torch.float64)
    low, high = torch.full_like(wanted, t_end), torch.full_like(wanted, path.T)
    for _ in range(64):
        middle = 0.5 * (low + high)
        below = torch.as_tensor(clock.value(middle)) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (0.5 * (low + high)).tolist()

"""Signal schedules f and noise clocks g of the path X_t = f(t) X_0 + K(g(t)).

Data is at t = 0 and noise at t = T, so f(0) = 1 and g(0) = 0.  A schedule is any object with
``value(t)`` and ``derivative(t)``: functions of a tensor of times that return a tensor of its
shape, or a float where the result does not depend on time.  :func:`signal_schedule` and
:func:`clock_schedule` turn a name or an object into a checked schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Schedule(Protocol):
    """A differentiable function of time."""

    def value(self, t: Tensor) -> Tensor | float:
        """The function at the times ``t``."""
        ...

    def derivative(self, t: Tensor) -> Tensor | float:
        """Its derivative at the times ``t``."""
        ...


@dataclass(frozen=True)
class ConstantSignal:
    """f(t) = 1: the data stays, noise is added."""

    T: float

    def value(self, t: Tensor) -> float:
        return 1.0

    def derivative(self, t: Tensor) -> float:
        return 0.0


@dataclass(frozen=True)
class LinearSignal:
    """f(t) = 1 - t/T."""

    T: float

    def value(self, t: Tensor) -> Tensor:
        return torch.rsub(t, 1.0, alpha=1.0 / self.T)  # one operation instead of two

    def derivative(self, t: Tensor) -> float:
        return -1.0 / self.T


@dataclass(frozen=True)
class ExponentialSignal:
    """f(t) = e^-t; e^-T of the data is left at T."""

    T: float

    def value(self, t: Tensor) -> Tensor:
        return torch.exp(-t)

    def derivative(self, t: Tensor) -> Tensor:
        return -torch.exp(-t)


@dataclass(frozen=True)
class CosineSignal:
    """f(t) = cos(pi t/(2 T))."""

    T: float

    def value(self, t: Tensor) -> Tensor:
        return torch.cos(t * (math.pi / (2.0 * self.T)))

    def derivative(self, t: Tensor) -> Tensor:
        omega = math.pi / (2.0 * self.T)
        return -omega * torch.sin(t * omega)


@dataclass(frozen=True)
class LambdaSignal:
    """f(t) = A cos wt / (A cos wt + sin wt), A = e^(2/s), s = -2, w = pi/(2 T)."""

    T: float
    s: float = -2.0

    def _parts(self, t: Tensor) -> tuple[float, float, Tensor, Tensor]:
        omega, scale = math.pi / (2.0 * self.T), math.exp(2.0 / self.s)
        return omega, scale, scale * torch.cos(t * omega), torch.sin(t * omega)

    def value(self, t: Tensor) -> Tensor:
        _, _, cosine, sine = self._parts(t)
        return cosine / (cosine + sine)

    def derivative(self, t: Tensor) -> Tensor:
        omega, scale, cosine, sine = self._parts(t)
        return -omega * scale / (cosine + sine).square()


@dataclass(frozen=True)
class LinearClock:
    """g(t) = t."""

    T: float

    def value(self, t: Tensor) -> Tensor:
        return t

    def derivative(self, t: Tensor) -> float:
        return 1.0


@dataclass(frozen=True)
class SquareClock:
    """g(t) = T (t/T)^2 = t^2/T."""

    T: float

    def value(self, t: Tensor) -> Tensor:
        return t.square() / self.T

    def derivative(self, t: Tensor) -> Tensor:
        return t * (2.0 / self.T)


SIGNALS: dict[str, Callable[[float], Schedule]] = {
    "constant": ConstantSignal,
    "linear": LinearSignal,
    "exp": ExponentialSignal,
    "cosine": CosineSignal,
    "lambda": LambdaSignal,
}
CLOCKS: dict[str, Callable[[float], Schedule]] = {"linear": LinearClock, "square": SquareClock}


def _schedule(
    argument: str,
    given: str | Schedule,
    T: float,
    table: dict[str, Callable[[float], Schedule]],
    start: float,
) -> Schedule:
    """The schedule by that name, or the object given, with its value at 0 checked."""
    if isinstance(given, str):
        if given not in table:
            raise ValueError(
                f"{argument}: got {given!r}; allowed: {', '.join(table)}, or an object"
            )
        return table[given](T)
    if not isinstance(given, Schedule):
        raise TypeError(
            f"{argument}: got {type(given).__name__}; allowed: one of {', '.join(table)}, or an "
            "object with value(t) and derivative(t)"
        )
    start_time = torch.zeros((), dtype=torch.float64, device="cpu")
    first = float(torch.as_tensor(given.value(start_time)))
    if not abs(first - start) <= 1e-6:
        raise ValueError(
            f"{argument}: value(0) is {first:g}; allowed: {start:g} (data is at t = 0)"
        )
    return given


def signal_schedule(signal: str | Schedule, T: float) -> Schedule:
    """The signal schedule f by name (:data:`SIGNALS`) or as an object with f(0) = 1.

    Raises
    ------
    ValueError, TypeError
        For an unknown name, an object without the two methods, or f(0) other than 1.
    """
    return _schedule("signal", signal, T, SIGNALS, 1.0)


def clock_schedule(clock: str | Schedule, T: float) -> Schedule:
    """The noise clock g by name (:data:`CLOCKS`) or as an object with g(0) = 0, g >= 0.

    Raises
    ------
    ValueError, TypeError
        For an unknown name, an object without the two methods, or g(0) other than 0.
    """
    return _schedule("clock", clock, T, CLOCKS, 0.0)

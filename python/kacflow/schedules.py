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
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow_core import _schedules as numbers
from kacflow_core._validate import shown


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
class Named:
    """A named schedule of a path with horizon T.

    The formulas are those of ``csrc/kac/schedules.h``, which the kernels evaluate: in float64,
    rounded once to the type of the times.  :meth:`curvature` is the second derivative.
    """

    T: float

    def value(self, t: Tensor) -> Tensor | float:
        """The function at the times ``t``."""
        return self._value(t.to(torch.float64)).to(t.dtype)

    def derivative(self, t: Tensor) -> Tensor | float:
        """Its derivative at the times ``t``."""
        return self._derivative(t.to(torch.float64)).to(t.dtype)

    def curvature(self, t: Tensor) -> Tensor | float:
        """Its second derivative at the times ``t``."""
        return self._curvature(t.to(torch.float64)).to(t.dtype)

    #: The same of float64 times, by each kind of schedule where its answer is no number.
    _value: ClassVar[Callable[[Any, Tensor], Tensor]]
    _derivative: ClassVar[Callable[[Any, Tensor], Tensor]]
    _curvature: ClassVar[Callable[[Any, Tensor], Tensor]]


def _quarter(u: Tensor) -> tuple[Tensor, Tensor]:
    """(sin, cos) of pi u/2, each 0 exactly at its zero."""
    late = u > 0.5
    x = 0.5 * math.pi * torch.where(late, 1.0 - u, u)
    sine, cosine = torch.sin(x), torch.cos(x)
    return torch.where(late, cosine, sine), torch.where(late, sine, cosine)


class ConstantSignal(Named):
    """f(t) = 1: the data stays, noise is added."""

    def value(self, t: Tensor) -> float:
        return 1.0

    def derivative(self, t: Tensor) -> float:
        return 0.0

    curvature = derivative


class LinearSignal(Named):
    """f(t) = 1 - t/T."""

    def _value(self, t: Tensor) -> Tensor:
        return 1.0 - t / self.T

    def derivative(self, t: Tensor) -> float:
        return -1.0 / self.T

    def curvature(self, t: Tensor) -> float:
        return 0.0


class ExponentialSignal(Named):
    """f(t) = e^-t; e^-T of the data is left at T."""

    def _value(self, t: Tensor) -> Tensor:
        return torch.exp(-t)

    def _derivative(self, t: Tensor) -> Tensor:
        return -torch.exp(-t)

    _curvature = _value


class CosineSignal(Named):
    """f(t) = cos(pi t/(2 T))."""

    def _value(self, t: Tensor) -> Tensor:
        return _quarter(t / self.T)[1]

    def _derivative(self, t: Tensor) -> Tensor:
        return -0.5 * math.pi / self.T * _quarter(t / self.T)[0]

    def _curvature(self, t: Tensor) -> Tensor:
        return -((0.5 * math.pi / self.T) ** 2) * _quarter(t / self.T)[1]


class LambdaSignal(Named):
    """f(t) = A cos wt / (A cos wt + sin wt), A = e^(2/s), s = -2, w = pi/(2 T)."""

    def _parts(self, t: Tensor) -> tuple[float, float, Tensor, Tensor]:
        """w, A, A cos wt, and A cos wt + sin wt."""
        scale = math.exp(-1.0)
        sine, cosine = _quarter(t / self.T)
        return 0.5 * math.pi / self.T, scale, scale * cosine, scale * cosine + sine

    def _value(self, t: Tensor) -> Tensor:
        _, _, part, whole = self._parts(t)
        return part / whole

    def _derivative(self, t: Tensor) -> Tensor:
        omega, scale, _, whole = self._parts(t)
        return -omega * scale / whole.square()

    def _curvature(self, t: Tensor) -> Tensor:
        omega, scale, part, whole = self._parts(t)
        rise = omega * (part / scale - scale * (whole - part))  # of the whole
        return 2.0 * omega * scale * rise / (whole * whole.square())


class LinearClock(Named):
    """g(t) = t."""

    def value(self, t: Tensor) -> Tensor:
        return t

    def derivative(self, t: Tensor) -> float:
        return 1.0

    def curvature(self, t: Tensor) -> float:
        return 0.0


class SquareClock(Named):
    """g(t) = T (t/T)^2 = t^2/T."""

    def _value(self, t: Tensor) -> Tensor:
        return t * (t / self.T)

    def _derivative(self, t: Tensor) -> Tensor:
        return 2.0 * (t / self.T)

    def curvature(self, t: Tensor) -> float:
        return 2.0 / self.T


SIGNALS: dict[str, type[Named]] = {
    "constant": ConstantSignal,
    "linear": LinearSignal,
    "exp": ExponentialSignal,
    "cosine": CosineSignal,
    "lambda": LambdaSignal,
}
CLOCKS: dict[str, type[Named]] = {"linear": LinearClock, "square": SquareClock}


#: The numbers by which the kernels know them.
_SIGNAL_KINDS: dict[type, int] = {kind: numbers.SIGNALS[name] for name, kind in SIGNALS.items()}
_CLOCK_KINDS: dict[type, int] = {kind: numbers.CLOCKS[name] for name, kind in CLOCKS.items()}


def numbers_of(signal: Schedule, clock: Schedule, T: float) -> tuple[int, int]:
    """The kernels' numbers of a path's schedules; 0 for one that is not a named one for its T."""
    tables = (_SIGNAL_KINDS, signal), (_CLOCK_KINDS, clock)
    f, g = (kinds.get(type(of), 0) if getattr(of, "T", None) == T else 0 for kinds, of in tables)
    return f, g


def numbered(signal: int, clock: int, T: float) -> tuple[Named | None, Named | None]:
    """The named signal and clock with these numbers; None for 0."""
    tables = (_SIGNAL_KINDS, signal), (_CLOCK_KINDS, clock)
    f, g = ([kind(T) for kind in kinds if kinds[kind] == n] or [None] for kinds, n in tables)
    return f[0], g[0]


class Checked:
    """A user's schedule, called ``name``, whose answers are looked at."""

    def __init__(self, name: str, schedule: Schedule) -> None:
        self._name, self._schedule = name, schedule

    def value(self, t: Tensor) -> Tensor | float:
        return answered(f"{self._name}: value", self._schedule.value(t), t)

    def derivative(self, t: Tensor) -> Tensor | float:
        return answered(f"{self._name}: derivative", self._schedule.derivative(t), t)


def answered(function: str, answer: Any, t: Tensor) -> Tensor | float:
    """What a user's ``function`` said of the times ``t``, looked at."""
    alike = type(answer) is Tensor and answer.dtype is t.dtype and answer.layout is t.layout
    if alike and answer.shape == t.shape:
        return answer
    name = f"{function}(t)"
    if not isinstance(answer, Tensor):
        number = _arguments.real(name, answer, "a tensor of the shape of t, or a float")
        if abs(number) > torch.finfo(t.dtype).max:
            raise ValueError(f"{name}: got {number:g}; allowed: numbers in the range of t's type")
        return number
    _arguments.tensor(name, answer, _arguments.NUMBERS)
    if answer.ndim:
        _arguments.same_shape(name, answer, t.shape, "t")
    return answer.to(t.dtype)


def checked(name: str, schedule: Schedule) -> Schedule:
    """A user's schedule with its answers looked at; a named one as it is."""
    return schedule if isinstance(schedule, Named) else Checked(name, schedule)


def _schedule(
    argument: str,
    given: str | Schedule,
    T: float,
    table: dict[str, type[Named]],
    start: float,
) -> Schedule:
    """The schedule by that name, or the object given, with its value at 0 checked."""
    if isinstance(given, str):
        allowed = f"{', '.join(table)}, or an object"
        _arguments.must(given in table, argument, shown(given), allowed)
        return table[given](T)
    if not isinstance(given, Schedule):
        raise TypeError(
            f"{argument}: got {type(given).__name__}; allowed: one of {', '.join(table)}, or an "
            "object with value(t) and derivative(t)"
        )
    start_time = torch.zeros((), dtype=torch.float64, device="cpu")
    first = float(checked(argument, given).value(start_time))
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

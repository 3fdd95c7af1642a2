"""Schedules against closed forms, their derivatives against automatic differentiation."""

from __future__ import annotations

import math

import pytest
import torch

from kacflow import KacPath, KacProcess
from kacflow.schedules import CLOCKS, SIGNALS, Schedule
from kacflow_core import _schedules as numbers

T = 1.7
A = math.exp(-1.0)
SIGNAL_FORMS = {
    "constant": lambda t: 1.0 + 0.0 * t,
    "linear": lambda t: 1.0 - t / T,
    "exp": lambda t: torch.exp(-t),
    "cosine": lambda t: torch.cos(math.pi * t / (2 * T)),
    "lambda": lambda t: A / (A + torch.tan(math.pi * t / (2 * T))),
}
CLOCK_FORMS = {"linear": lambda t: t, "square": lambda t: T * (t / T) ** 2}
FORMS = [(SIGNALS[n], f) for n, f in SIGNAL_FORMS.items()] + [
    (CLOCKS[n], f) for n, f in CLOCK_FORMS.items()
]


def test_every_schedule_has_a_form():
    assert set(SIGNAL_FORMS) == set(SIGNALS) and set(CLOCK_FORMS) == set(CLOCKS)


@pytest.mark.parametrize(("build", "form"), FORMS, ids=[*SIGNAL_FORMS, *CLOCK_FORMS])
def test_value_and_derivative(build, form):
    schedule = build(T)
    t = torch.linspace(0.01, T - 0.01, 41, dtype=torch.float64, requires_grad=True)
    expected = form(t)
    torch.testing.assert_close(
        torch.as_tensor(schedule.value(t), dtype=torch.float64).expand(41), expected
    )
    (slope,) = torch.autograd.grad(expected.sum(), t)
    torch.testing.assert_close(
        torch.as_tensor(schedule.derivative(t.detach()), dtype=torch.float64).expand(41), slope
    )
    assert isinstance(schedule, Schedule)


@pytest.mark.parametrize("name", SIGNALS)
def test_signals_start_at_one(name):
    start = SIGNALS[name](T).value(torch.zeros((), dtype=torch.float64))
    assert float(start) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("name", [*SIGNALS, *(f"clock {name}" for name in CLOCKS)])
def test_as_the_kernels_compute_them(name):
    """To rounding of the NumPy twin, which tests/core holds against 40 digits."""
    of_clock, name = name.startswith("clock"), name.removeprefix("clock ")
    table, twin = (CLOCKS, numbers.clock) if of_clock else (SIGNALS, numbers.signal)
    kind = (numbers.CLOCKS if of_clock else numbers.SIGNALS)[name]
    t = torch.cat([torch.linspace(0.0, T, 501, dtype=torch.float64), torch.tensor([T / 2])])
    schedule, (value, slope) = table[name](T), twin(kind, t.numpy(), T)
    for got, want in ((schedule.value(t), value), (schedule.derivative(t), slope)):
        got = torch.as_tensor(got, dtype=torch.float64).expand(502).numpy()
        scale = max(abs(want))
        assert max(abs(got - want)) <= 8e-16 * scale


class Cubic:
    """A user's clock: g(t) = t^3."""

    def value(self, t):
        return t**3

    def derivative(self, t):
        return 3 * t**2


def test_user_schedule_is_used():
    path = KacPath(KacProcess(9.0, 3.0), clock=Cubic())
    t = torch.tensor([0.1, 0.5, 1.0])
    sample = path.sample(torch.zeros(3, 2000), t)
    edge = 3.0 * t**3
    assert (sample.x_t.abs().amax(1) <= edge * (1 + 1e-6)).all()
    assert (sample.x_t.abs().amax(1) >= 0.9 * edge)[:2].all()  # atoms reach it at small times


class Wrong(Cubic):
    def value(self, t):
        return t + 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"signal": "sine"}, ValueError, "signal: got 'sine'; allowed: constant, linear"),
        ({"clock": "cubic"}, ValueError, "clock: got 'cubic'; allowed: linear, square"),
        ({"signal": 3.0}, TypeError, "signal: got float"),
        ({"clock": Wrong()}, ValueError, r"clock: value\(0\) is 0.5; allowed: 0"),
        ({"signal": Cubic()}, ValueError, r"signal: value\(0\) is 0; allowed: 1"),
        ({"T": 0.0}, ValueError, "T: got 0.0"),
        ({"T": math.nan}, ValueError, "T: got nan"),
        ({"T": "1"}, TypeError, "T: got str"),
    ],
)
def test_bad_schedules(options, error, message):
    with pytest.raises(error, match=message):
        KacPath(KacProcess(9.0, 3.0), **options)

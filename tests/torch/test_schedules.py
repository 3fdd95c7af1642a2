"""Schedules against closed forms, their derivatives against automatic differentiation."""

from __future__ import annotations

import math

import pytest
import torch

from kacflow import GaussianPath, KacPath, KacProcess
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
        ({"T": 5e-324}, ValueError, r"T: got 5e-324; allowed: a float in \[1e-18"),
        ({"T": "1"}, TypeError, "T: got str"),
    ],
)
def test_bad_schedules(options, error, message):
    with pytest.raises(error, match=message):
        KacPath(KacProcess(9.0, 3.0), **options)


class Answers:
    """A schedule that begins as it should and then gives one answer."""

    def __init__(self, start, answer):
        self.start, self.answer = start, answer

    def value(self, t):
        return self.answer(t) if t.ndim else self.start

    def derivative(self, t):
        return self.answer(t)


@pytest.mark.parametrize(
    "answer",
    [
        lambda t: None,
        lambda t: "1",
        lambda t: True,
        lambda t: 1e200,
        lambda t: t.numpy(),
        lambda t: torch.ones(7),
        lambda t: t.to(torch.complex64),
        lambda t: t > 0,
    ],
)
@pytest.mark.parametrize("make", [lambda **s: KacPath(KacProcess(9.0, 3.0), **s), GaussianPath])
def test_answers_that_are_no_numbers_are_refused(make, answer):
    x_0, t = torch.zeros(3, 2), torch.rand(3)
    for name, start in (("signal", 1.0), ("clock", 0.0)):
        path = make(**{name: Answers(start, answer)})
        for call in (path.sample, lambda x, at, path=path: path.velocity(x, at, x)):
            with pytest.raises((TypeError, ValueError), match=rf"{name}: (value|derivative)\(t\)"):
                call(x_0, t)


@pytest.mark.parametrize("make", [lambda **s: KacPath(KacProcess(9.0, 3.0), **s), GaussianPath])
def test_answers_may_be_integers(make):
    x_0, t = torch.ones(3, 2), torch.rand(3)
    draws = []
    for one in (1, 1.0, torch.ones(3, dtype=torch.int64)):
        torch.manual_seed(0)
        draws.append(make(signal=Answers(1, lambda t, one=one: one)).sample(x_0, t).x_t)
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])

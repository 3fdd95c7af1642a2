"""Small calls: every kind of pair, the points of a law, and where the time of a call goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import kacflow_core as kc
from benchmarks import checks, pictures
from benchmarks.competitors import gaussian
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row
from kacflow import KacPath, KacProcess, schedules
from kacflow.ops import _kernels
from kacflow_core._dispatch import get_backend

TITLE = "A small call: the pair of 256 points of the plane, and 512 numbers of the law"
_SEED = 7


class _Own(NamedTuple):
    """A user's own schedule in plain torch."""

    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]


_QUARTER = 0.5 * math.pi
_OWN_SIGNALS = {
    "1 - t": _Own(lambda t: 1.0 - t, lambda t: -torch.ones_like(t)),
    "cos": _Own(lambda t: torch.cos(_QUARTER * t), lambda t: -_QUARTER * torch.sin(_QUARTER * t)),
    "exp": _Own(lambda t: torch.exp(-t), lambda t: -torch.exp(-t)),
}
_OWN_CLOCKS = {
    "t^2": _Own(lambda t: t * t, lambda t: 2.0 * t),
    "1 - cos": _Own(
        lambda t: 1.0 - torch.cos(_QUARTER * t), lambda t: _QUARTER * torch.sin(_QUARTER * t)
    ),
    "expm1": _Own(torch.expm1, torch.exp),
}


def run(plan: Plan) -> list[Row]:
    """Pairs of every kind against the eager Gaussian pair, and functions of 512 numbers.

    "kacflow" is the linear signal and clock with numbers a and c, a time per sample; the other rows
    differ from it in what their names say.
    """
    x_0 = torch.randn(_cases.POINTS, device=plan.device)
    t = _cases.times(_cases.POINTS, plan)
    time = _cases.trailing(t, _cases.POINTS)
    pairs = {**_schedules(), **_kinds(x_0, plan)}
    calls: dict[str, Callable[[], Any]] = {
        "Gaussian eager": lambda: gaussian.pair_eager(x_0, time),
        **{name: _call(path, data, x_0, t) for name, (path, data) in pairs.items()},
        plan.table_name: lambda: plan.table.pair(x_0, t),
        **_law(plan),
        **_parts(x_0, t, plan),
    }
    errors = {
        "Gaussian eager": (checks.gaussian_error(gaussian.pair_eager, x_0, time), checks.GAUSSIAN),
        plan.table_name: (
            checks.pair_error(plan.table.pair, RATE, SPEED, device=plan.device), checks.VELOCITY
        ),
    }  # fmt: skip
    linear = checks.pair_error(_linear, RATE, SPEED, device=plan.device), checks.VELOCITY
    errors |= {name: linear for name in calls if name not in errors}
    size = "x".join(map(str, _cases.POINTS))
    numbers = _cases.numbers(_cases.POINTS)
    return plan.rows(size, calls, threads=1, numbers=numbers, errors=errors)


def _linear(x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    drawn = _cases.path().sample(x, at)
    return drawn.x_t, drawn.dx_t


def _call(path: KacPath, data: dict[str, Any], x_0: Tensor, t: Tensor) -> Callable[[], Any]:
    x, at = data.pop("x_0", x_0), data.pop("t", t)
    return lambda: path.sample(x, at, **data)


def _schedules() -> dict[str, tuple[KacPath, dict[str, Any]]]:
    """Every named signal and clock, and a user's own."""
    process = KacProcess(RATE, SPEED)
    found = {
        f"kacflow, {signal} and {clock}": (KacPath(process, 1.0, signal, clock), {})
        for signal in schedules.SIGNALS
        for clock in schedules.CLOCKS
    }
    found = {"kacflow": found.pop("kacflow, linear and linear"), **found}
    pairs = [(f, g) for f in _OWN_SIGNALS for g in ("linear", *_OWN_CLOCKS)]
    pairs += [("cosine", g) for g in _OWN_CLOCKS]
    for f, g in pairs:
        path = KacPath(process, 1.0, _OWN_SIGNALS.get(f, f), _OWN_CLOCKS.get(g, g))
        names = " and ".join(
            f"own {n}" if n in {**_OWN_SIGNALS, **_OWN_CLOCKS} else n for n in (f, g)
        )
        found[f"kacflow, {names}"] = path, {}
    return found


def _users(t: Tensor) -> dict[str, Callable[[], Any]]:
    """What of the pairs with own schedules is the user's own code."""

    def call(f: _Own, g: _Own) -> Callable[[], Any]:
        return lambda: [answer(t) for answer in (*f, *g)]

    return {
        f"part: own {f} and own {g} alone": call(_OWN_SIGNALS[f], _OWN_CLOCKS[g])
        for f, g in zip(_OWN_SIGNALS, _OWN_CLOCKS, strict=True)
    }


def _kinds(x_0: Tensor, plan: Plan) -> dict[str, tuple[KacPath, dict[str, Any]]]:
    """Other times, parts of a batch, types and parameters."""
    device = plan.device
    path = _cases.path()

    def of(*shape: int) -> KacPath:
        a, c = (torch.full(shape, v, device=device) for v in (RATE, SPEED))
        return KacPath(KacProcess(a, c))

    return {
        "kacflow, one time": (path, {"t": 0.5}),
        "kacflow, a later part": (path, {"first": 64}),
        "kacflow, bfloat16": (path, {"x_0": x_0.bfloat16()}),
        "kacflow, tensors a and c": (of(), {}),
        "kacflow, a and c per sample": (of(x_0.shape[0]), {}),
        "kacflow, a and c per channel": (of(1, x_0.shape[1]), {}),
    }


def _law(plan: Plan) -> dict[str, Callable[[], Any]]:
    """Functions of 512 numbers: a draw, the velocity and the distribution function."""
    process = KacProcess(RATE, SPEED)
    x = torch.linspace(-1.0, 1.0, 512, device=plan.device)
    return {
        "kacflow, sample of 512": lambda: process.sample(0.5, (512,), device=plan.device),
        "kacflow, velocity of 512": lambda: process.velocity(x, 0.5),
        "kacflow, cdf of 512": lambda: process.cdf(x, 0.5),
    }


def _parts(x_0: Tensor, t: Tensor, plan: Plan) -> dict[str, Callable[[], Any]]:
    """The layers below the call: torch's dispatcher, as under torch.compile; the public function of
    arrays; and on the CPU the compiled kernel alone, on all points and on one number.
    """
    a, c = KacProcess(RATE, SPEED)._parameters(plan.device, torch.float32)
    f, one = 1.0 - t, torch.ones((), device=plan.device)
    seed = torch.tensor(_SEED, device=plan.device)
    parts: dict[str, Callable[[], Any]] = {
        "part: torch operator": lambda: torch.ops.kacflow.sample_pair(
            x_0, a, c, f, -one, t, one, seed, 0
        )
    }
    if plan.device.type != "cpu":
        return parts
    data, times = x_0.numpy(), t.numpy()
    signal = 1.0 - times
    parts |= _users(t)
    parts["part: kacflow_core.sample_pair"] = lambda: kc.sample_pair(
        data, a=RATE, c=SPEED, signal=signal, dsignal=-1.0, clock=times, dclock=1.0, seed=_SEED,
        threads=1,
    )  # fmt: skip
    if get_backend().name == "native":
        parts["part: kernel"] = _kernel(x_0, t)
        parts["part: kernel, one number"] = _kernel(x_0[:1, :1].contiguous(), t[:1].contiguous())
    return parts


def _kernel(x_0: Tensor, t: Tensor) -> Callable[[], Any]:
    """The compiled kernel on the job that a pair with named schedules is."""
    kinds = schedules.numbers_of(*(kind(1.0) for kind in _LINEAR), 1.0)
    _kernels._READY.clear()
    _kernels.pair(x_0, (RATE, SPEED, t), _SEED, 0, (*kinds, 1.0), keep=True)
    [ready] = _kernels._READY.values()
    out = torch.empty_like(x_0), torch.empty_like(x_0)
    places = [v.data_ptr() for v in (x_0, *out)]

    def call() -> Any:
        ready.run(1, _SEED, 0, RATE, SPEED, t.data_ptr(), *places)
        return out

    return call


_LINEAR = schedules.SIGNALS["linear"], schedules.CLOCKS["linear"]


def draw(axes: Any, rows: list[Row]) -> None:
    """A bar per layer and competitor, in microseconds a call."""
    rows = rows[::-1]
    values = [row.seconds.mid * 1e6 for row in rows]
    axes.barh(
        [row.name for row in rows],
        values,
        color=[
            pictures.FLOOR if row.name.startswith("part") else pictures.colour(row.name)
            for row in rows
        ],
    )
    axes.set_xscale("log")
    axes.set_xlabel("time per call, us")
    for place, value in enumerate(values):
        axes.annotate(f"  {value:.3g}", (value, place), va="center", fontsize=8)

"""Small calls: every kind of pair, the points of a law, and where the time of a call goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


class _Own:
    """A user's own schedule, 1 - t or its clock t^2, in plain torch."""

    def __init__(self, clock: bool) -> None:
        self._clock = clock

    def value(self, t: Tensor) -> Tensor:
        return t * t if self._clock else 1.0 - t

    def derivative(self, t: Tensor) -> Tensor:
        return 2.0 * t if self._clock else -torch.ones_like(t)


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
    own = KacPath(process, 1.0, _Own(False), "linear")
    both = KacPath(process, 1.0, _Own(False), _Own(True))
    return {**found, "kacflow, own signal": (own, {}), "kacflow, own schedules": (both, {})}


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
    assert kinds is not None
    named, slack = (*kinds, 1.0), 0.0
    _kernels.sample_pair_scheduled(x_0, t, RATE, SPEED, _SEED, 0, named, slack)
    key, words = _kernels._form((named, slack), x_0.dtype, x_0.shape, (RATE, SPEED, t))
    run = _kernels._READY[key].run
    out = torch.empty_like(x_0), torch.empty_like(x_0)
    places = [v.data_ptr() for v in (x_0, *out)]

    def call() -> Any:
        run(1, _SEED, 0, *words, *places)
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

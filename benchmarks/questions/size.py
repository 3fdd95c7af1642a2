"""Time and peak memory against the size of the batch."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks import checks, pictures, timing
from benchmarks.competitors import gaussian
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row, size

TITLE = "The training pair against the size of the batch: time and memory"
ROW = 100  #: numbers that share a time

#: Bytes per number that a call of each may need, its input included: what free memory is asked for.
NEEDS = {"kacflow": 16, "Gaussian eager": 32, "table": 160}


def run(plan: Plan) -> list[Row]:
    """From 100 numbers up to what the mode and free memory allow."""
    rows: list[Row] = []
    path = _cases.path()
    exponents = plan.pick(smoke=(2, 4), short=(2, 4, 6, 7), full=tuple(range(2, 10)))

    def kac(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = path.sample(x, t)
        return drawn.x_t, drawn.dx_t

    def gauss(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return gaussian.pair_eager(x, t[:, None])

    for exponent in exponents:
        n = 10**exponent
        calls, found, memory = {}, {}, {}
        shape = (n // ROW, ROW)
        if _left_out(plan, "kacflow", n):
            break
        x_0, t = torch.randn(shape, device=plan.device), _cases.times(shape, plan)
        for name, pair in (
            ("kacflow", kac), ("Gaussian eager", gauss), (plan.table_name, plan.table.pair)
        ):  # fmt: skip
            if name != "kacflow" and _left_out(plan, name, n):
                continue
            calls[name] = lambda pair=pair, x=x_0, t=t: pair(x, t)
            memory[name] = timing.peak_bytes(calls[name], plan.device)
            if pair is gauss:
                found[name] = (checks.gaussian_error(gaussian.pair_eager, x_0[:64], t[:64, None]),
                               checks.GAUSSIAN)  # fmt: skip
            else:
                found[name] = (
                    checks.pair_error(pair, RATE, SPEED, device=plan.device), checks.VELOCITY
                )  # fmt: skip
        made = plan.rows(
            f"1e{exponent} numbers",
            calls,
            threads=plan.threads[-1],
            numbers=n,
            errors=found,
            least=plan.least if exponent < 7 else 3,
            numbers_in_all=n,
        )
        for row in made:
            row.more["peak_bytes"] = memory[row.name]
            if memory[row.name] is not None:
                row.more["note"] = f"peak {size(memory[row.name])}"
        rows += made
        del x_0, t, calls
    return rows


def _left_out(plan: Plan, name: str, n: int) -> bool:
    """Whether free memory is too small for n numbers; says so."""
    need, free = NEEDS[name.split(" 4")[0].split(" 5")[0]] * n, timing.free_bytes(plan.device)
    if need <= 0.8 * free:
        return False
    plan.skip(f"{name} with {n:.0e} numbers: may need {size(need)} of {size(free)} free")
    return True


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per number and, dashed, memory per number."""
    series = pictures.by_name(
        rows, "numbers_in_all", lambda row: row.seconds.mid / row.numbers * 1e9
    )
    pictures.lines(axes, series, "numbers", "time per number, ns")
    memory = pictures.by_name(
        [row for row in rows if row.more.get("peak_bytes") and row.numbers >= 10**5],
        "numbers_in_all",
        lambda row: row.more["peak_bytes"] / row.numbers,
    )
    right = axes.twinx()
    right.set_ylabel("peak memory per number, bytes (dotted)")
    for (_, points), line in zip(memory.items(), axes.get_lines(), strict=False):
        right.plot(*zip(*points, strict=True), ":", color=line.get_color())
    right.set_ylim(bottom=0.0)

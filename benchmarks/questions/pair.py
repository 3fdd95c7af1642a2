"""The training pair (x_t, dx_t)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from benchmarks import checks, pictures, timing
from benchmarks.competitors import floors, gaussian
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import Row

TITLE = "The training pair: noised data and its velocity, a time per row"


def run(plan: Plan, names: Iterable[str] | None = None, small: bool = True) -> list[Row]:
    """kacflow against the Gaussian pair, the table and the floors.

    ``names`` limits the competitors whose set-up takes long ("Gaussian compiled", "table");
    without ``small`` only the first batch is measured.
    """
    rows: list[Row] = []
    wanted = None if names is None else set(names)
    for shape in _cases.shapes(plan)[: None if small else 1]:
        for dtype in (torch.float32, torch.float64):
            rows += _compare(plan, shape, dtype, wanted)
    return rows


def _compare(
    plan: Plan, shape: tuple[int, int], dtype: torch.dtype, wanted: set[str] | None
) -> list[Row]:
    """One batch, at every thread count."""
    n, path, single = _cases.numbers(shape), _cases.path(), dtype == torch.float32
    t = _cases.times(shape, plan, dtype)
    time = _cases.trailing(t, shape)
    x_0 = timing.fresh(shape, dtype, plan.device)
    t_single = t.float()
    x_0_single = timing.fresh(shape, torch.float32, plan.device)
    source = timing.fresh((3 * n // 2,), dtype, plan.device)

    def kac(x: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = path.sample(x, at)
        return drawn.x_t, drawn.dx_t

    def gaussian_error(pair: Any) -> tuple[float, str]:
        return checks.gaussian_error(pair, x_0(), time), checks.GAUSSIAN

    def kac_error(pair: Any, of: torch.dtype) -> tuple[float, str]:
        found = checks.pair_error(pair, RATE, SPEED, dtype=of, device=plan.device)
        return found, checks.VELOCITY

    calls: dict[str, Any] = {"kacflow": lambda: path.sample(x_0(), t)}
    found = {"kacflow": kac_error(kac, dtype)}
    calls["Gaussian eager"] = lambda: gaussian.pair_eager(x_0(), time)
    found["Gaussian eager"] = gaussian_error(gaussian.pair_eager)
    if plan.compiles and (wanted is None or "Gaussian compiled" in wanted):
        compiled = gaussian.pair_compiled()
        calls["Gaussian compiled"] = lambda: compiled(x_0(), time)
        found["Gaussian compiled"] = gaussian_error(compiled)
    if single and (wanted is None or "table" in wanted):
        calls[plan.table_name] = lambda: plan.table.pair(x_0(), t)
        found[plan.table_name] = kac_error(plan.table.pair, dtype)
    if not single:
        calls["kacflow float32"] = lambda: path.sample(x_0_single(), t_single)
        found["kacflow float32"] = kac_error(kac, torch.float32)
    philox = None
    if plan.device.type == "cpu":
        name = str(dtype).removeprefix("torch.")
        philox = plan.has("Philox floor", lambda: floors.philox(n, name))
    calls["floor: copy"] = lambda: floors.copy(source())
    found["floor: copy"] = (checks.copy_error(floors.copy, source()), checks.COPY)
    rows: list[Row] = []
    for threads in plan.threads_for(n):
        if philox:
            calls["floor: Philox"] = lambda k=threads: philox(k)
            found["floor: Philox"] = (checks.philox_error(philox), checks.WORDS)
        rows += plan.rows(
            _cases.label(shape, dtype), calls, threads=threads, numbers=n, errors=found
        )
    return rows


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per number of the image batch."""
    pictures.bars(axes, [r for r in rows if r.case == rows[0].case], "time per number")

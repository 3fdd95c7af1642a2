"""One process of the start-up question: from imported torch to the first training pair.

    python -m benchmarks.questions._startup_probe kacflow|table QUANTILES TIMES

Prints seconds and bytes as JSON: time, and resident memory at its highest above what imported torch
takes; for a table also what it keeps.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from benchmarks.timing import peak_bytes


def first_pair(name: str, quantiles: int, times: int) -> Any:
    """Import, set up, draw one pair; the table, None without one."""
    x_0, t = torch.zeros(256, 2), torch.full((256,), 0.5)
    sampler = None
    if name == "kacflow":
        from kacflow import KacPath, KacProcess

        x_t = KacPath(KacProcess(9.0, 3.0)).sample(x_0, t).x_t
    else:
        from benchmarks.competitors.table import TableSampler

        sampler = TableSampler(9.0, 3.0, times=times, quantiles=quantiles)
        x_t, _ = sampler.pair(x_0, t)
    if not 0.0 < float(x_t.abs().max()) <= 1.5:
        raise ArithmeticError("displacements outside (0, c t]")
    return sampler


def law_error(table: Any) -> tuple[float, str]:
    """The error of what was set up."""
    from benchmarks import checks

    error = checks.table_law(table) if table else checks.core_law(torch.float32, 9.0)
    return error, checks.LAW


def main(name: str, quantiles: int, times: int) -> None:
    """Measure :func:`first_pair`."""
    found: dict[str, Any] = {}
    made = []

    def timed() -> None:
        start = time.perf_counter()
        made.append(first_pair(name, quantiles, times))
        found["seconds"] = time.perf_counter() - start

    found["peak"] = peak_bytes(timed)
    found["kept"] = made[0].table_bytes if made[0] else 0
    found["error"], found["error_kind"] = law_error(made[0])
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

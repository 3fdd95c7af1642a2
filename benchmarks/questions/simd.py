"""The pair at every SIMD level that the core was built with and this processor has.

The level is chosen once per process, so each runs in a process of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import kacflow_core
from benchmarks import pictures, timing
from benchmarks.plan import Plan
from benchmarks.questions import pair
from benchmarks.results import ROOT, Row

TITLE = "The training pair at other SIMD levels"


def run(plan: Plan) -> list[Row]:
    """The first cases of the pair, against the Gaussian pair and the floors.

    A short run takes the best level below the one in use, which the other questions measure.
    """
    info = kacflow_core.build_info()
    levels = info.get("simd_usable", [])
    if plan.device.type != "cpu" or not levels:
        plan.skip("simd: needs the CPU and the compiled core")
        return []
    rows: list[Row] = []
    below = [level for level in levels if level != info["simd"]] or levels
    for level in plan.pick(smoke=below[-1:], short=below[:1], full=levels):
        plan.say(f"KACFLOW_SIMD={level}, in a process of its own")
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "rows.json"
            request = {
                "mode": plan.mode,
                "threads": list(plan.threads),
                "seconds": plan.seconds,
                "file": str(file),
            }
            subprocess.run(
                [sys.executable, "-m", "benchmarks.questions.simd", json.dumps(request)],
                cwd=ROOT,
                env={**os.environ, "KACFLOW_SIMD": level},
                check=True,
            )
            found = [Row.from_dict(values) for values in json.loads(file.read_text())]
        rows += [
            dataclasses.replace(row, case=f"{level}: {row.case}", more={"level": level})
            for row in found
        ]
    return rows


def _child(request: dict[str, Any]) -> None:
    """What the process of one level does."""
    plan = Plan(
        request["mode"],
        threads=tuple(request["threads"]),
        seconds=request["seconds"],
        progress=False,
    )
    timing.settle_allocator()
    rows = pair.run(plan, names=(), small=False)
    file = pathlib.Path(request["file"])
    file.write_text(json.dumps([dataclasses.asdict(row) for row in rows]))


def draw(axes: Any, rows: list[Row]) -> None:
    """float32, one thread."""
    first = [row for row in rows if "float32" in row.case and row.threads == 1]
    shown = [
        dataclasses.replace(row, name=f"{row.name}, {row.more['level']}")
        for row in first
        if row.name != "floor: copy"
    ]
    pictures.bars(axes, shown, "time per number, one thread")


if __name__ == "__main__":
    _child(json.loads(sys.argv[1]))

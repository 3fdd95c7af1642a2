"""Start-up: time and memory from imported torch to the first training pair, table against none."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks import pictures
from benchmarks.plan import Plan
from benchmarks.results import ROOT, Row, size
from benchmarks.timing import Spread, spread

TITLE = "Start-up: from imported torch to the first pair"


def _probe(name: str, table: tuple[int, int]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.questions._startup_probe", name, *map(str, table)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def run(plan: Plan) -> list[Row]:
    """New processes, in turn."""
    if plan.device.type != "cpu":
        plan.skip("startup: the table is made on the CPU in either case")
        return []
    table = plan.pick(smoke=(512, 200), short=(4096, 10_000), full=(4096, 50_000))
    repeats = plan.pick(smoke=1, short=2, full=5)
    names = {"kacflow": "kacflow", "table": f"table {table[0]}x{table[1]}"}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(repeats):
        for name in names:
            plan.say(f"new process: {names[name]} ({number + 1}/{repeats})")
            taken[name].append(_probe(name, table))
    base = [run["seconds"] for run in taken["kacflow"]]
    rows = []
    for name, runs in taken.items():
        seconds = [run["seconds"] for run in runs]
        peaks = [run["peak"] for run in runs if run["peak"] is not None]
        peak, kept = max(peaks, default=None), runs[0]["kept"]
        note = f"peak memory +{size(peak)}" if peak is not None else ""
        note += f", keeps {size(kept)}" if kept else ""
        rows.append(
            Row(
                case="first pair",
                name=names[name],
                device="cpu",
                threads=plan.threads[-1],
                numbers=0,
                calls=len(runs),
                seconds=spread(seconds),
                error=runs[0]["error"],
                error_kind=runs[0]["error_kind"],
                ratio=Spread(*spread([s / b for s, b in zip(seconds, base, strict=True)])),
                more={"peak_bytes": peak, "kept_bytes": kept, "note": note},
            )
        )
    return rows


def draw(axes: Any, rows: list[Row]) -> None:
    """Seconds, with memory written beside."""
    rows = rows[::-1]
    axes.barh(
        [row.name for row in rows],
        [row.seconds.mid for row in rows],
        color=[pictures.colour(row.name) for row in rows],
    )
    axes.set_xscale("log")
    axes.set_xlabel("seconds")
    for place, row in enumerate(rows):
        axes.annotate(
            f"  {row.seconds.mid:.3g} s, {row.more['note']}",
            (row.seconds.mid, place),
            va="center",
            fontsize=8,
        )
    axes.set_xlim(right=max(row.seconds.mid for row in rows) * 60.0)

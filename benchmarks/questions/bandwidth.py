"""On a GPU: how much of a copy's bandwidth the draws reach, and what a small launch costs the host.

Each competitor is captured into a graph that rotates over arrays larger than the cache, so that no
time of the host is in the figures.  The floor of bytes is what has to be read and written, at the
bandwidth of the copy in the same run.  The floor of instructions is the count of
``scripts/kernel_report.py`` (``results/kernels-sm_90.json``), at one instruction a clock for each
of a multiprocessor's 128 lanes and the highest clock that the driver reports.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import checks, pictures, timing
from benchmarks.competitors import floors, gaussian
from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import _cases
from benchmarks.results import ROOT, Row, gpu_property
from kacflow.ops._kernels import target_of
from kacflow_core._layout import Layout
from kacflow_core._run import pair_job
from kacflow_core._schedules import CLOCKS, SIGNALS
from kacflow_core.backends._jobs import Noise, Parameter, Schedules

TITLE = "On a GPU: draws against a copy of the same bytes, and one small launch"

#: Bytes that each has to read and write per number of the result, in float32.
BYTES = {
    "kacflow": 12,
    "kacflow kernel": 12,
    "kacflow sample": 4,
    "kacflow velocity": 8,
    "Gaussian eager": 12,
    "Gaussian compiled": 12,
    "floor: copy": 8,
}
#: The kernels whose instructions are counted.
KERNELS = {"kacflow kernel": "sample_pair_float32_whole", "kacflow sample": "sample_float32_whole"}
LANES = 128  #: float32 lanes of a multiprocessor
COUNTS = ROOT / "benchmarks" / "results" / "kernels-sm_90.json"

Calls = Sequence[Callable[[], object]]


def run(plan: Plan) -> list[Row]:
    """The pair of 512 x 3 x 64 x 64 numbers, and the host's time of 256 x 2."""
    if plan.device.type != "cuda":
        plan.skip("bandwidth: needs a GPU (--device cuda)")
        return []
    return throughput(plan, captured) + small_launch(plan)


def captured(calls: Calls) -> Callable[[], object]:
    """A replay of all calls in one graph, each with memory of its own for its results: in those of
    the call before they would stay in the cache.
    """
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    kept = []
    with torch.cuda.graph(graph):
        for call in calls:
            kept.append(call())
    del kept
    return graph.replay


def throughput(plan: Plan, capture: Callable[[Calls], Callable[[], object]]) -> list[Row]:
    """Draws, the Gaussian pair and a copy, each as one captured call.

    "kacflow" is :meth:`kacflow.KacPath.sample`, which draws a seed as well, and whose kernel
    computes the schedules; the rows below it are single kernels.
    """
    shape = plan.pick(smoke=(8, 3, 8, 8), short=(512, 3, 64, 64), full=(512, 3, 64, 64))
    device, n = plan.device, math.prod(shape)
    count = max(2, timing.buffers(shape, torch.float32, device))
    data = [torch.randn(shape, device=device) for _ in range(count)]
    t = _cases.times(shape, plan)
    time = _cases.trailing(t, shape)
    path, process = _cases.path(), _cases.process()

    def pair(x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        drawn = path.sample(x, at)
        return drawn.x_t, drawn.dx_t

    a, c = process._parameters(device, torch.float32)
    f, one = 1.0 - t, torch.ones((), device=device)
    seed = torch.tensor(7, device=device)

    def kernel(x: Tensor, at: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ops.kacflow.sample_pair(x, a, c, signal, -one, at, one, seed, 0)

    def sample() -> Tensor:
        return torch.ops.kacflow.sample(t, a, c, seed, 0, shape, torch.float32)

    def velocity(x: np.ndarray, at: np.ndarray) -> np.ndarray:
        places, times = (torch.from_numpy(v).to(device) for v in (x, at))
        return process.velocity(places, times).cpu().numpy()

    each: dict[str, Calls] = {
        "kacflow": [lambda x=x: pair(x, t) for x in data],
        "kacflow kernel": [lambda x=x: kernel(x, t, f) for x in data],
        "kacflow sample": [sample for _ in data],
        "kacflow velocity": [lambda x=x: process.velocity(x, time) for x in data],
        "Gaussian eager": [lambda x=x: gaussian.pair_eager(x, time) for x in data],
        "floor: copy": [lambda x=x: floors.copy(x) for x in data],
    }
    exact = (checks.gaussian_error(gaussian.pair_eager, data[0], time), checks.GAUSSIAN)
    found = {
        "kacflow": (checks.pair_error(pair, RATE, SPEED, device=device), checks.VELOCITY),
        "kacflow kernel": (
            checks.pair_error(lambda x, at: kernel(x, at, 1.0 - at), RATE, SPEED, device=device),
            checks.VELOCITY,
        ),
        "kacflow sample": (checks.core_law(torch.float32, RATE, device=device), checks.LAW),
        "kacflow velocity": (checks.velocity_error(velocity, RATE, SPEED), checks.VELOCITY),
        "Gaussian eager": exact,
        "floor: copy": (checks.copy_error(floors.copy, data[0]), checks.COPY),
    }
    if plan.compiles:
        compiled = gaussian.pair_compiled()
        each["Gaussian compiled"] = [lambda x=x: compiled(x, time) for x in data]
        found["Gaussian compiled"] = (
            checks.gaussian_error(compiled, data[0], time), checks.GAUSSIAN
        )  # fmt: skip
    rows = plan.rows(
        _cases.label(shape),
        {name: capture(calls) for name, calls in each.items()},
        threads=1,
        numbers=n * count,
        errors=found,
    )
    return with_floors(rows, lane_rate(device))


def with_floors(rows: list[Row], rate: float | None) -> list[Row]:
    """Rows with their share of the copy's bandwidth, and both floors in picoseconds a number.

    ``rate``: instructions a second of all lanes, where it is known.
    """
    [copy] = [row for row in rows if row.name == "floor: copy"]
    bandwidth = BYTES[copy.name] * copy.numbers / copy.seconds.mid
    counts = json.loads(COUNTS.read_text())["kernels"]
    for row in rows:
        share = BYTES[row.name] * row.numbers / row.seconds.mid / bandwidth
        by_bytes = BYTES[row.name] / bandwidth * 1e12
        row.more.update(bytes=BYTES[row.name], share_of_copy=share, floor_bytes_ps=by_bytes)
        note = f"{100 * share:.0f} % of copy"
        if row.name in KERNELS and rate:
            count = counts[KERNELS[row.name]]["instructions"]
            by_instructions = count / rate * 1e12
            row.more.update(instructions=count, floor_instructions_ps=by_instructions)
            note += f"; floors {by_bytes:.2g} ps by bytes, {by_instructions:.2g} ps by instructions"
        row.more["note"] = note
    return rows


def lane_rate(device: torch.device) -> float | None:
    """Instructions a second of all float32 lanes at the highest clock, where that is told."""
    if device.type != "cuda":
        return None
    clock = gpu_property("clocks.max.sm", device)
    if clock is None:
        return None
    count = torch.cuda.get_device_properties(device).multi_processor_count
    return LANES * count * float(clock) * 1e6


def small_launch(plan: Plan) -> list[Row]:
    """What the host spends on 256 x 2 numbers, without waiting for the device."""
    device, shape = plan.device, _cases.POINTS
    x_0, t = torch.randn(shape, device=device), _cases.times(shape, plan)
    time, path = _cases.trailing(t, shape), _cases.path()
    calls = {
        "kacflow": lambda: path.sample(x_0, t),
        "Gaussian eager": lambda: gaussian.pair_eager(x_0, time),
        "part: launch": launch_alone(x_0, t),
    }
    on_host = dataclasses.replace(plan, device=torch.device("cpu"), threads=(1,))
    rows = on_host.rows("256x2, time of the host", calls, threads=1, numbers=x_0.numel())
    return [dataclasses.replace(row, device=device.type) for row in rows]


def launch_alone(x_0: Tensor, t: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """One launch of the pair's kernel, arrays and parameters at hand."""
    target, layout = target_of("x_0", x_0), Layout(x_0.shape[0], 1, x_0.shape[1])
    x_t, dx_t = torch.empty_like(x_0), torch.empty_like(x_0)
    times = Parameter(t.data_ptr(), 0.0, False, 1, 0)
    rows = Parameter(value=RATE), Parameter(value=SPEED), times
    schedules = Schedules(SIGNALS["linear"], CLOCKS["linear"])

    def launch() -> tuple[Tensor, Tensor]:
        pointers = [array.data_ptr() for array in (x_0, x_t, dx_t)]
        host = target.kernels.host
        target.start(pair_job("float32", layout, pointers, rows, Noise(1, 0), schedules, host))
        return x_t, dx_t

    return launch


def draw(axes: Any, rows: list[Row]) -> None:
    """Time per number of the large batch."""
    pictures.bars(axes, [r for r in rows if r.case == rows[0].case], "time per number")

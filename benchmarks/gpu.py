"""Draws on a GPU: time per number against the floors of bytes and of instructions.

Device times are medians of CUDA events around captured launches that rotate over data larger than
the cache.  ``copy`` is a device-to-device copy of the same number of bytes in the same run,
``philox`` the generator alone.  The floor of bytes is what must be read and written at the copy's
bandwidth; that of instructions is what scripts/kernel_report.py counts, at one instruction a clock
for each of a multiprocessor's 128 lanes and the highest clock that the device reports.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.timing import environment, parser, report
from kacflow import KacPath, KacProcess

SHAPE = (512, 3, 64, 64)
ROTATE = 6  # data sets, 300 MB in all
INSTRUCTIONS = {"pair": 182.2, "sample": 141.2}  # python scripts/kernel_report.py, sm_90


def device_time(calls: list[Callable[[], object]], repeats: int = 50) -> float:
    """Median seconds of one call, the calls taken in turn inside a captured graph."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e-3 / len(calls))
    return statistics.median(times)


def host_time(call: Callable[[], object], repeats: int = 2000) -> float:
    """Median seconds that the host spends in a call, without waiting for the device."""
    for _ in range(100):
        call()
    torch.cuda.synchronize()
    times = []
    for i in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if i % 100 == 99:
            torch.cuda.synchronize()
    return statistics.median(times)


def maximum_clock() -> float | None:
    """Highest clock of the multiprocessors, Hz."""
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return float(done.stdout.split()[0]) * 1e6 if done.returncode == 0 else None


def driver_version() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[0].strip()


def measure() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the table, and the ratios that are asked for."""
    path = KacPath(KacProcess(a=9.0, c=3.0))
    data = [torch.randn(SHAPE, device="cuda") for _ in range(ROTATE)]
    out = [torch.empty_like(x) for x in data]
    t = torch.rand(SHAPE[0], device="cuda")
    spread = t.reshape(-1, 1, 1, 1)
    n = data[0].numel()
    seed = torch.randint(2**62, (), device="cuda")
    one = torch.tensor(1.0, device="cuda")
    a, c = torch.tensor(9.0), torch.tensor(3.0)
    ops = torch.ops.kacflow

    def gaussian(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        e = torch.randn_like(x)
        return (1 - spread) * x + spread * e, e - x

    compiled = torch.compile(gaussian)
    compiled(data[0])
    calls: dict[str, tuple[int, list[Callable[[], object]]]] = {
        "copy": (8, [lambda x=x, y=y: y.copy_(x) for x, y in zip(data, out, strict=True)]),
        "pair": (
            12,
            [lambda x=x: ops.sample_pair(x, a, c, 1 - t, -one, t, one, seed, 0) for x in data],
        ),
        "sample": (
            4,
            [lambda: ops.sample(t, a, c, seed, 0, SHAPE, torch.float32) for _ in data],
        ),
        "velocity": (8, [lambda x=x: ops.velocity(x, one, a, c) for x in data]),
        "gaussian": (12, [lambda x=x: gaussian(x) for x in data]),
        "gaussian compiled": (12, [lambda x=x: compiled(x) for x in data]),
    }
    times = {name: device_time(list_) for name, (_, list_) in calls.items()}
    bandwidth = 8 * n / times["copy"]
    properties = torch.cuda.get_device_properties(0)
    clock = maximum_clock()
    rows = []
    for name, (size, _) in calls.items():
        row: dict[str, Any] = {
            "what": name,
            "bytes_per_number": size,
            "ps_per_number": times[name] / n * 1e12,
            "share_of_copy": size * n / times[name] / bandwidth,
            "floor_bytes_ps": size / bandwidth * 1e12,
        }
        count = INSTRUCTIONS.get(name)
        rate = 128 * properties.multi_processor_count * clock if clock else None
        row["floor_instructions_ps"] = count / rate * 1e12 if count and rate else float("nan")
        rows.append(row)
    small, small_t = torch.randn(256, 2, device="cuda"), torch.rand(256, device="cuda")
    ratios = {
        "pair_share_of_copy": rows[1]["share_of_copy"],
        "sample_share_of_copy": rows[2]["share_of_copy"],
        "eager_gaussian_over_pair": times["gaussian"] / times["pair"],
        "compiled_gaussian_over_pair": times["gaussian compiled"] / times["pair"],
        "copy_bytes_per_second": bandwidth,
        "launch_host_us": 1e6 * launch_time(small, small_t),
        "path_sample_host_us": 1e6 * host_time(lambda: path.sample(small, small_t)),
    }
    return rows, ratios


def launch_time(x: torch.Tensor, t: torch.Tensor) -> float:
    """Host time of one launch of the pair, arrays and parameters at hand."""
    from kacflow_core._dispatch import get_gpu_backend
    from kacflow_core._layout import Layout
    from kacflow_core.backends._jobs import Noise, Parameter

    backend = get_gpu_backend()
    x_t, dx_t = torch.empty_like(x), torch.empty_like(x)
    times = Parameter(t.data_ptr(), 0.0, False, 1, 0)
    one = Parameter(value=1.0)
    parameters = [Parameter(value=9.0), Parameter(value=3.0), times, one, times, one]
    layout = Layout(x.shape[0], 1, x.shape[1])
    stream = torch.cuda.current_stream().cuda_stream
    pointers = x.data_ptr(), x_t.data_ptr(), dx_t.data_ptr()
    return host_time(
        lambda: backend.launch_pair(
            "float32", layout, *pointers, parameters, Noise(1, 0), 0, stream
        )
    )


def main() -> int:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--results", type=pathlib.Path, help="folder for <gpu>.json")
    given = options.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing measured")
        return 1
    rows, ratios = measure()
    report(given, "gpu", rows)
    for name, value in ratios.items():
        print(f"{name:<30} {value:.4g}")
    if given.results:
        name = torch.cuda.get_device_name(0)
        record = {
            "gpu": name,
            "driver": driver_version(),
            "cuda": torch.version.cuda,
            "backends": __import__("kacflow_core").available_backends(),
            "environment": environment(),
            "shape": SHAPE,
            "rows": rows,
            "ratios": ratios,
        }
        given.results.mkdir(parents=True, exist_ok=True)
        file = given.results / f"{name.lower().replace(' ', '-')}.json"
        file.write_text(json.dumps(record, indent=2) + "\n")
        print(f"written to {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

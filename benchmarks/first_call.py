"""The first calls of a process on numba, which compile, against the calls that follow.

The rows are in the order of the calls; the first one holds what numba prepares for all.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial
from typing import Any

import numpy as np

import kacflow_core as kc
from benchmarks.timing import parser, report


def main() -> int:
    options = parser(__doc__.splitlines()[0]).parse_args()
    keys: dict[str, Any] = dict(a=9.0, c=3.0, backend="numba")
    schedule = dict(signal=0.5, dsignal=-1.0, clock=0.5, dclock=1.0)
    rows: list[dict[str, Any]] = []
    for dtype in ("float32", "float64"):
        x = np.zeros(3, dtype)
        calls = {
            "sample": partial(kc.sample, 0.5, 3, seed=0, dtype=dtype, **keys),
            "sample_pair": partial(kc.sample_pair, x, seed=0, **schedule, **keys),
            "velocity": partial(kc.velocity, x, 0.5, **keys),
            "velocity_grad": partial(kc.velocity_grad, x, 0.5, **keys),
        }
        for name, call in calls.items():
            times = []
            processor = time.process_time()
            for i in range(1000):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
                if i == 0:
                    processor = time.process_time() - processor
            rows.append(
                {
                    "function": name,
                    "dtype": dtype,
                    "first_s": times[0],
                    "first_processor_s": processor,
                    "later_us": statistics.median(times[1:]) * 1e6,
                }
            )
    report(options, "first_call", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

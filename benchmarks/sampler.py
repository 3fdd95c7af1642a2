"""Endpoint sampling: time per number against a t, for every backend; ours does not depend on it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import kacflow_core as kc
from benchmarks.timing import interleaved, parser, quartiles, report

SHAPE = (128, 3072)
TAUS = (1e-6, 1e-3, 1.0, 9.0, 1e3, 1e6)


def main() -> int:
    options = parser(__doc__.splitlines()[0]).parse_args()
    rows: list[dict[str, Any]] = []
    for backend in kc.available_backends():
        for dtype in ("float32", "float64"):
            shape = (8, SHAPE[1]) if backend == "reference" else SHAPE
            calls = {
                tau: lambda tau=tau, dtype=dtype, backend=backend, shape=shape: kc.sample(
                    1.0, shape, a=tau, c=1.0, seed=0, dtype=dtype, backend=backend, threads=1
                )
                for tau in TAUS
            }
            times = interleaved(calls, seconds=options.seconds, warm_up=2)
            row: dict[str, Any] = {"backend": backend, "dtype": dtype, "threads": 1}
            for tau in TAUS:
                row[f"ns_at_{tau:g}"] = quartiles(times[tau])[1] / np.prod(shape) * 1e9
            rows.append(row)
    report(options, "sampler", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

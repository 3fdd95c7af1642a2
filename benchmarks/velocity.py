"""The conditional velocity: time per number, against SciPy's scaled Bessel functions."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from scipy.special import ive

import kacflow_core as kc
from benchmarks.timing import interleaved, parser, quartiles, ratio, report

SHAPE = (128, 3072)
A, C, T = 9.0, 3.0, 0.5


def scipy_velocity(x: np.ndarray) -> np.ndarray:
    """a x/(tau + z I0(z)/I1(z)) in float64, the atoms by comparison."""
    z = A / C * np.sqrt(np.maximum((C * T) ** 2 - x * x, 1e-300))
    inside = A * x / (A * T + z * ive(0, z) / ive(1, z))
    return np.where(np.abs(x) >= C * T, C * np.sign(x), inside)


def main() -> int:
    options = parser(__doc__.splitlines()[0]).parse_args()
    rows: list[dict[str, Any]] = []
    for dtype in ("float32", "float64"):
        x = kc.sample(T, SHAPE, a=A, c=C, seed=0, dtype=dtype)
        exact = scipy_velocity(x.astype(np.float64))
        times = interleaved(
            {
                "kacflow": lambda x=x: kc.velocity(x, T, a=A, c=C, threads=1),
                "scipy": lambda x=x: scipy_velocity(x.astype(np.float64)),
            },
            seconds=options.seconds,
            warm_up=2,
        )
        rows.append(
            {
                "dtype": dtype,
                "threads": 1,
                "kacflow_ns": quartiles(times["kacflow"])[1] / x.size * 1e9,
                "scipy_ns": quartiles(times["scipy"])[1] / x.size * 1e9,
                "speed_up": ratio(times, "scipy", "kacflow")["median"],
                "largest_difference": float(np.abs(kc.velocity(x, T, a=A, c=C) - exact).max()),
            }
        )
    report(options, "velocity", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

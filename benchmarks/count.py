"""One training pair of 128 x 3072 numbers on one thread, for a tool that counts instructions.

    KACFLOW_SIMD=avx2 valgrind --tool=callgrind python -m benchmarks.count float32|float64
    callgrind_annotate --inclusive=yes callgrind.out.*    # run_pair; and without it, each loop

callgrind knows no AVX-512.  Divide by 393,216.
"""

from __future__ import annotations

import sys

import numpy as np

import kacflow_core as kc


def main(dtype: str) -> None:
    """Draw it."""
    x_0, t = np.zeros((128, 3072), dtype), np.linspace(0.01, 1.0, 128, dtype=dtype)
    kc.sample_pair(
        x_0, a=9.0, c=3.0, signal=1.0 - t, dsignal=-1.0, clock=t, dclock=1.0, seed=7,
        threads=1, backend="native",
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])

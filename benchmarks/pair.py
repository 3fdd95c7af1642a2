"""The training pair: ``KacPath.sample`` against the Gaussian pair that users have today.

Gaussian, eager torch: ``e = randn_like(x0); (1 - t) x0 + t e; e - x0``.  Images of CIFAR's size on
one and two threads, and the small batch of a point cloud, where only the overhead of a call counts.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from benchmarks.timing import interleaved, parser, quartiles, ratio, report
from kacflow import KacPath, KacProcess


def main() -> int:
    options = parser(__doc__.splitlines()[0]).parse_args()
    path = KacPath(KacProcess(a=9.0, c=3.0))
    rows: list[dict[str, Any]] = []
    for shape in ((128, 3, 32, 32), (256, 2)):
        x_0, t = torch.randn(shape), torch.rand(shape[0])
        spread_t = t.reshape(-1, *(1,) * (len(shape) - 1))

        def kac(x_0=x_0, t=t) -> object:
            return path.sample(x_0, t)

        def gaussian(x_0=x_0, t=spread_t) -> object:
            e = torch.randn_like(x_0)
            return (1 - t) * x_0 + t * e, e - x_0

        for threads in (2, 1):
            torch.set_num_threads(threads)
            times = interleaved({"kac": kac, "gaussian": gaussian}, seconds=options.seconds)
            kac_time, gaussian_time = (quartiles(times[name])[1] for name in times)
            over = ratio(times, "kac", "gaussian")
            rows.append(
                {
                    "shape": "x".join(map(str, shape)),
                    "threads": threads,
                    "kac_us": kac_time * 1e6,
                    "gaussian_us": gaussian_time * 1e6,
                    "ratio": over["median"],
                    "lower_quartile": over["lower_quartile"],
                    "upper_quartile": over["upper_quartile"],
                    "kac_ns_per_number": kac_time / x_0.numel() * 1e9,
                }
            )
    report(options, "pair", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Every kernel once at awkward sizes, for compute-sanitizer; NumPy arrays, so nothing else runs.

python scripts/gpu_small.py [cuda | cupy]
"""

from __future__ import annotations

import sys

import numpy as np

import kacflow_core as kc
from kacflow_core._dispatch import POINT_FUNCTIONS, get_backend
from kacflow_core._layout import Layout
from kacflow_core._run import pair_job
from kacflow_core._schedules import CLOCKS, SIGNALS
from kacflow_core.backends._jobs import Noise, Parameter, Schedules


def named_schedules(backend: str, dtype: str, rows: int, inner: int) -> None:
    """Pairs whose schedules are evaluated by the kernel."""
    driver = get_backend(backend).driver
    x, t = np.ones(rows * inner, dtype), np.linspace(0.0, 1.0, rows)
    arrays, times = [driver.upload(x) for _ in range(3)], driver.upload(t)
    one, clock_times = Parameter(value=1.0), Parameter(times.pointer, 0.0, True, 1, 0)
    for signal in SIGNALS.values():
        for clock in CLOCKS.values():
            launch = pair_job(
                dtype, Layout(rows, 1, inner), [array.pointer for array in arrays],
                [one, one, clock_times], Noise(1, 0), Schedules(signal, clock), host=False,
            )  # fmt: skip
            driver.launch(launch, driver.current_device(), 0)
    arrays[1].download(x)


def main() -> int:
    backend = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64", "float16"):
        named_schedules(backend, dtype, 130, 3)
        named_schedules(backend, dtype, 3, 1504)
        for shape, lead in (((1029,), 1029), ((130, 3), 130), ((3, 1500), 3), ((2, 3, 129), 2)):
            x, t = rng.normal(size=shape).astype(dtype), rng.uniform(0.1, 1.0, lead)
            where = {"a": 9.0, "c": 3.0, "backend": backend}
            kc.sample_pair(x, signal=t, dsignal=-1.0, clock=t, dclock=1.0, seed=1, **where)
            times = t.reshape(-1, *(1,) * (x.ndim - 1))
            for name, function in POINT_FUNCTIONS.items():
                if function.sixteen_bit or dtype != "float16":
                    place = rng.random(shape).astype(dtype) if name == "ppf" else x
                    ends = [times[::-1]] if "s" in function.parameters else []
                    getattr(kc, name)(place, times, *ends, **where)
            if dtype != "float16":
                kc.sample(t, shape, seed=1, dtype=dtype, **where)
                grid = np.linspace(0.1, 1.0, 21)
                kc.sample_path(grid, shape, seed=1, dtype=dtype, **where)
    kc.simulate_events(1.0, 500, a=9.0, c=3.0, seed=1, backend=backend)
    print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())

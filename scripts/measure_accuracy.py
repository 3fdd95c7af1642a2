"""Measure the errors that the headers and README quote, against 40-digit arithmetic.

    python scripts/measure_accuracy.py [--points N] [--backend NAME] [--json FILE]

Sampler: |xi - exact| / min(1, tau^-1/2) on the same uniforms, tau log-uniform in [1e-9, 1e7].
Velocity: error in units in the last place of the exact value, over a in [1e-4, 1e5], c in
[1e-3, 1e3], t in [1e-5, 1e2] and all of |x| < c t, half of the points within 1e-12..1 of the edge.
Path: |x - exact| in units of c t times the unit roundoff, over grids of 16 intervals, each of a
tau log-uniform in [1e-6, 1e4], a sixteenth as many paths; the light-cone rule is part of it.
Waiting times: error in ulp of the first one of each path, float64 only.
Gradient: relative error of dv/dx and dv/dt over the same points, a fifth as many.
The oracles are those of the tests (tests/core/oracles), which share no code with the kernels.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import mpmath as mp
import numpy as np

import kacflow_core as kc

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "core"))

from oracles import endpoint, path, philox, velocity  # noqa: E402


def sampler_error(dtype: str, points: int, backend: str | None) -> float:
    """Largest |error of xi| / min(1, tau^-1/2), with c = t = 1 and a = tau."""
    seed = 20250620
    rng = np.random.default_rng(seed)
    taus = np.exp(rng.uniform(np.log(1e-9), np.log(1e7), points)).astype(dtype)
    got = kc.sample(1.0, points, a=taus, c=1.0, seed=seed, dtype=dtype, backend=backend)
    draws = philox.many_uniforms(seed, 0, points, dtype)
    worst = 0.0
    for value, tau, exact in zip(
        got, taus, endpoint.endpoints(draws, map(float, taus)), strict=True
    ):
        error = abs(mp.mpf(float(value)) - exact.xi) / min(1.0, float(tau) ** -0.5)
        worst = max(worst, float(error))
    return worst


def velocity_points(dtype: str, points: int) -> tuple[np.ndarray, ...]:
    """x, t, a, c over the ranges of the accuracy statement."""
    rng = np.random.default_rng(7)
    real = np.dtype(dtype).type
    a = np.exp(rng.uniform(np.log(1e-4), np.log(1e5), points)).astype(real)
    c = np.exp(rng.uniform(np.log(1e-3), np.log(1e3), points)).astype(real)
    t = np.exp(rng.uniform(np.log(1e-5), np.log(1e2), points)).astype(real)
    ct = (c * t).astype(real)
    inner = np.exp(rng.uniform(np.log(1e-12), 0.0, points))
    edge = 1.0 - np.exp(rng.uniform(np.log(1e-12), 0.0, points))
    share = np.where(rng.random(points) < 0.5, inner, edge)
    x = np.minimum((ct * share).astype(real), np.nextafter(ct, real(0)))
    return (x * rng.choice([-1, 1], points).astype(real)), t, a, c


def velocity_error(dtype: str, points: int, backend: str | None) -> float:
    """Largest error of the velocity, in ulp of the exact value."""
    x, t, a, c = velocity_points(dtype, points)
    got = kc.velocity(x, t, a=a, c=c, backend=backend)
    worst = 0.0
    with mp.workprec(velocity.PRECISION):
        for i in range(points):
            exact = velocity.velocity(*(float(v[i]) for v in (x, t, a, c)))
            ulp = float(np.spacing(np.dtype(dtype).type(abs(exact))))
            worst = max(worst, float(abs(mp.mpf(float(got[i])) - exact)) / ulp)
    return worst


def gradient_error(dtype: str, points: int, backend: str | None) -> float:
    """Largest relative error of (dv/dx, dv/dt)."""
    x, t, a, c = velocity_points(dtype, points)
    got = kc.velocity_grad(x, t, a=a, c=c, backend=backend)
    worst = 0.0
    for i in range(points):
        exact = velocity.velocity_derivatives(*(float(v[i]) for v in (x, t, a, c)))
        for value, truth in zip((got[0][i], got[1][i]), exact, strict=True):
            worst = max(worst, float(abs(mp.mpf(float(value)) / truth - 1)))
    return worst


def path_error(dtype: str, points: int, backend: str | None) -> float:
    """Largest |x - exact| / (c t u); a path ends where rounding may decide a sign."""
    seed, intervals = 20250620, 16
    rng = np.random.default_rng(seed)
    roundoff = float(np.finfo(dtype).eps) / 2
    worst = 0.0
    for k in range(max(points // intervals, 1)):
        taus = np.exp(rng.uniform(np.log(1e-6), np.log(1e4), intervals))
        times = np.unique(np.cumsum(taus).astype(dtype))
        got, _ = kc.sample_path(
            times, 1, a=1.0, c=3.0, seed=seed, offset=k, dtype=dtype, backend=backend
        )
        for j, point in enumerate(path.exact(times.tolist(), 1.0, 3.0, seed, k, dtype)):
            if point.margin < 64 * roundoff:
                break
            error = float(abs(mp.mpf(float(got[0, j])) - point.position))
            worst = max(worst, error / (3.0 * float(times[j]) * roundoff))
    return worst


def waiting_time_error(points: int, backend: str | None) -> float:
    """Largest error of a waiting time, in ulp."""
    seed = 20250620
    events = kc.simulate_events(40.0, points, a=1.0, c=1.0, seed=seed, backend=backend)
    worst = 0.0
    with mp.workprec(120):
        for k, start in enumerate(events.offsets[:-1]):
            u = philox.waiting_uniform(seed, k, 0)
            exact = -mp.log(mp.mpf(u.numerator) / u.denominator)
            error = abs(mp.mpf(float(events.times[start])) - exact)
            worst = max(worst, float(error) / float(np.spacing(float(exact))))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100_000, help="points per figure")
    parser.add_argument("--backend", default=None, help="backend (default: the fastest)")
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures here")
    options = parser.parse_args()
    n, backend = options.points, options.backend
    figures: dict[str, dict[str, float]] = {}
    for dtype in ("float32", "float64"):
        figures[dtype] = {
            "sampler_scaled_error": sampler_error(dtype, n, backend),
            "path_error_units": path_error(dtype, n, backend),
            "velocity_ulp": velocity_error(dtype, n, backend),
            "gradient_relative_error": gradient_error(dtype, max(n // 5, 1), backend),
        }
        if dtype == "float64":
            figures[dtype]["waiting_time_ulp"] = waiting_time_error(n, backend)
        for name, value in figures[dtype].items():
            print(f"{dtype}  {name:26s} {value:.3g}", flush=True)
    info = kc.build_info()
    record = {
        "command": "python scripts/measure_accuracy.py",
        "points": n,
        "backend": backend or info["backends"][0],
        "simd": info["simd"],
        "compiler": info["compiler"],
        "errors": figures,
    }
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure the errors that the headers and README quote, against 40-digit arithmetic.

    python scripts/measure_accuracy.py [--points N] [--backend NAME] [--json FILE]

Sampler: |xi - exact| / min(1, tau^-1/2) on the same uniforms, tau log-uniform in [1e-9, 1e7].
Velocity: error in units in the last place of the exact value, over a in [1e-4, 1e5], c in
[1e-3, 1e3], t in [1e-5, 1e2] and all of |x| < c t, half of the points within 1e-12..1 of the edge.
Path: |x - exact| in units of c t times the unit roundoff, over grids of 16 intervals, each of a
tau log-uniform in [1e-6, 1e4], a sixteenth as many paths; the light-cone rule is part of it.
Waiting times: error in ulp of the first one of each path, float64 only.
Gradient: relative error of dv/dx and dv/dt over the same points, a fifth as many.
Law: errors of pdf, logpdf, cdf and ppf over tau log-uniform in [1e-6, 1e6], c and t in [0.05, 20]
and D = tau - z up to 700 (float64) or 80 (float32), log-uniform from the centre and uniform; a
tenth as many points.  Rounding x, tau or D alone changes p and the tail of F by D ulps, hence
  pdf_scaled_error     |p/exact - 1| / (1 + D)
  logpdf_scaled_error  |ln p - exact| / (1 + D + |exact|)
  cdf_error            |F - exact|
  tail_scaled_error    |F(-|x|)/exact - 1| / (1 + D)
  ppf_scaled_error     |F(x) - q| / (q (1 + D) + |x| p) with exact F and p, for q <= 1/2
Transport from t to s: places as for the law, the a s of half of the points log-uniform in
[1e-6, 1e6] as well, of the others a t times 0 to 2 or the same; with the spreads d = c t
min(1, tau^-1/2) at both times,
  transport_scaled_error  |X - exact| / (|X| + d_s + d_t dX/dx)
Splines: splines of 8 bins with log-normal widths, heights and slopes and a point each, at and
beside the knots, between and beyond (kacflow_core.testing._spline_checks); gradients a tenth.
  spline_units            |y - exact| / spacing at the largest of |y_0|, |y_1|, |y|
  spline_slope_ulp        |y' - exact| / spacing at y'
  spline_inverse_units    |x - exact| / (that of x + that of y / y')
  spline_gradient_units   |term - exact| / (unit roundoff times the largest such terms in the bin)
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
from kacflow_core import _spline
from kacflow_core.testing import _spline_checks
from kacflow_core.testing.oracles import distribution, endpoint, path, philox, spline, velocity


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


def law_points(dtype: str, points: int, seed: int) -> tuple[np.ndarray, ...]:
    """x <= 0, t, a, c over the ranges of the accuracy statement."""
    rng = np.random.default_rng(seed)
    real = np.dtype(dtype).type
    tau = np.exp(rng.uniform(np.log(1e-6), np.log(1e6), points))
    c, t = np.exp(rng.uniform(np.log(0.05), np.log(20.0), (2, points))).astype(real)
    a = (tau / t).astype(real)
    share = np.where(rng.random(points) < 0.5, rng.random(points), np.exp(-40 * rng.random(points)))
    delta = share * np.minimum(1.0, {"float32": 80.0, "float64": 700.0}[dtype] / tau)
    x = (c * t * np.sqrt(delta * (2.0 - delta))).astype(real)
    return -np.minimum(x, np.nextafter(c * t, real(0))), t, a, c


def law_errors(dtype: str, points: int, backend: str | None) -> dict[str, float]:
    """Largest errors of pdf, logpdf, cdf and ppf as defined above."""
    x, t, a, c = law_points(dtype, points, 11)
    keys = dict(a=a, c=c, backend=backend)
    p, log_p, low = (f(x, t, **keys) for f in (kc.pdf, kc.logpdf, kc.cdf))
    high = kc.cdf(-x, t, **keys)
    least = float(np.finfo(dtype).tiny)  # relative accuracy ends where denormal numbers begin
    errors: dict[str, list[float]] = {}

    def note(name: str, error: mp.mpf) -> None:
        errors.setdefault(name, []).append(float(error))

    for i in range(points):
        with mp.workprec(distribution.PRECISION):
            exact = distribution.values(*(float(v[i]) for v in (x, t, a, c)))
            scale = 1 + exact.decay
            log_scale = scale + abs(exact.logpdf)
            note("logpdf_scaled_error", abs(float(log_p[i]) - exact.logpdf) / log_scale)
            note("cdf_error", abs(float(low[i]) - exact.lower))
            note("cdf_error", abs(float(high[i]) - (1 - exact.lower)))
            if exact.pdf > least:
                note("pdf_scaled_error", abs(float(p[i]) / exact.pdf - 1) / scale)
            if exact.lower > least:
                note("tail_scaled_error", abs(float(low[i]) / exact.lower - 1) / scale)
    inner = (low > np.exp(-a.astype(float) * t) / 2) & (low > least)
    q, t, a, c = low[inner], t[inner], a[inner], c[inner]
    x = kc.ppf(q, t, a=a, c=c, backend=backend)
    for i in range(q.size):
        with mp.workprec(distribution.PRECISION):
            exact = distribution.values(*(float(v[i]) for v in (x, t, a, c)))
            scale = exact.lower * (1 + exact.decay) + abs(float(x[i])) * exact.pdf
            note("ppf_scaled_error", abs(exact.lower - float(q[i])) / scale)
    return {name: max(values) for name, values in errors.items()}


def transport_points(dtype: str, points: int, seed: int) -> tuple[np.ndarray, ...]:
    """x, t, s, a, c over the ranges of the accuracy statement."""
    x, t, rates, c = law_points(dtype, points, seed)
    rng, real = np.random.default_rng(seed + 1), np.dtype(dtype).type
    tau = rates.astype(float) * t
    near = tau * np.where(rng.random(points) < 0.2, 1.0, rng.uniform(0.0, 2.0, points))
    far = np.exp(rng.uniform(np.log(1e-6), np.log(1e6), points))
    to = np.where(rng.random(points) < 0.5, near, far)
    a = np.exp(rng.uniform(np.log(0.05), np.log(20.0), points)).astype(real)
    place, t, s = (x / (c * t)).astype(float), (tau / a).astype(real), (to / a).astype(real)
    x = np.maximum((place * (c * t)).astype(real), -np.nextafter(c * t, real(0)))
    return np.where(rng.random(points) < 0.5, x, -x), t, s, a, c


def transport_error(dtype: str, points: int, backend: str | None) -> float:
    """Largest error of the transport as defined above."""
    x, t, s, a, c = transport_points(dtype, points, 12)
    got = kc.transport(x, t, s, a=a, c=c, backend=backend)
    worst = 0.0
    for place, *given in zip(got, x, t, s, a, c, strict=True):
        exact = distribution.transport(*map(float, given))
        _, t_1, s_1, a_1, c_1 = map(float, given)
        spread, at_s = (c_1 * v * min(1.0, (a_1 * v) ** -0.5 if v else 1.0) for v in (t_1, s_1))
        scale = abs(float(place)) + at_s + spread * float(exact.slope)
        if scale:
            worst = max(worst, float(abs(mp.mpf(float(place)) - exact.place)) / scale)
    return worst


def spline_points(
    dtype: str, points: int, which: int, seed: int
) -> tuple[_spline_checks.Knots, np.ndarray, list[list[mp.mpf]]]:
    """Splines, a point of each among the edges (0) or values (1), and the numbers of its bin."""
    rng = np.random.default_rng(seed)
    of = _spline_checks.knots(rng, points, 8, dtype)
    x = _spline_checks.points(rng, 1, of[which], 1)
    bins = [spline.bin_of(at, edges) for at, edges in zip(x[0, :, 0], of[which], strict=True)]
    return of, x, [spline.numbers(k, *tables) for k, *tables in zip(bins, *of, strict=True)]


def spline_errors(dtype: str, points: int, backend: str | None) -> dict[str, float]:
    """Largest errors of splines, their inverse and their gradients as defined above."""
    worst: dict[str, float] = {}

    def note(name: str, error: mp.mpf, unit: float) -> None:
        worst[name] = max(worst.get(name, 0.0), float(abs(error)) / unit)

    with mp.workprec(spline.PRECISION):
        of, x, bins = spline_points(dtype, points, 0, 31)
        y, slope = _spline.spline(x, *of, backend=backend)
        exact = [spline.spline(float(at), b) for at, b in zip(x.flat, bins, strict=True)]
        rounded = np.array([[[float(v)] for v, _ in exact]])
        steep = np.array([[[float(v)] for _, v in exact]]).astype(dtype)
        units = _spline_checks.value_units(x, rounded, of), _spline_checks.units(steep)
        for i, (value, derivative) in enumerate(exact):
            note("spline_units", float(y.flat[i]) - value, units[0].flat[i])
            note("spline_slope_ulp", float(slope.flat[i]) - derivative, units[1].flat[i])

        of, y, bins = spline_points(dtype, points, 1, 32)
        x = _spline.spline_inverse(y, *of, backend=backend)
        places = [spline.inverse(float(at), b) for at, b in zip(y.flat, bins, strict=True)]
        unit = _spline_checks.inverse_units(y, np.array([[[float(v)] for v in places]]), of)
        for i, place in enumerate(places):
            note("spline_inverse_units", float(x.flat[i]) - place, unit.flat[i])

        of, x, bins = spline_points(dtype, max(points // 10, 1), 0, 33)
        f, g = np.random.default_rng(34).normal(size=(2, *x.shape)).astype(dtype)
        grad_x, sums = _spline.spline_grad(x, f, g, *of, backend=backend)
        most = _spline_checks.magnitudes(x, f, g, of) * np.finfo(dtype).eps
        for i, b in enumerate(bins):
            k = spline.bin_of(x.flat[i], of[0][i])
            got = [grad_x.flat[i], *(v for table in sums for v in table[i, k : k + 2])]
            wanted = spline.gradient(*(float(v.flat[i]) for v in (x, f, g)), b)
            for value, want, unit in zip(got, wanted, most[:, 0, i, 0], strict=True):
                note("spline_gradient_units", float(value) - want, unit)
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
            **law_errors(dtype, max(n // 10, 1), backend),
            "transport_scaled_error": transport_error(dtype, max(n // 10, 1), backend),
            **spline_errors(dtype, n, backend),
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

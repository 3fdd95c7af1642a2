"""The conditional velocity and its derivatives against 40 digits.

Required: v to 4 units in the last place in float32 and float64, over a from 1e-4 to 1e5, c from
1e-3 to 1e3, t from 1e-5 to 1e2 and all of |x| < c t; the derivatives to 1e-10 (float64) and 1e-5
(float32) relative, over the same range.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import mpmath as mp
import numpy as np
import pytest
from cores import Core

from kacflow_core.testing.oracles import law, velocity

ULPS = 4
GRADIENT_TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


class Points(NamedTuple):
    """Exact numbers of the dtype; all arrays (n,)."""

    x: np.ndarray
    t: np.ndarray
    a: np.ndarray
    c: np.ndarray


def parameters(n: int, dtype: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(t, a, c) log-uniform over the required ranges, the corners first."""
    low, high = np.array([[1e-5, 1e-4, 1e-3], [1e2, 1e5, 1e3]]).astype(dtype)
    drawn = (low * (high / low) ** rng.random((n, 3))).astype(dtype)
    corners = np.stack(np.meshgrid(*np.stack([low, high]).T), -1).reshape(-1, 3)
    drawn[: len(corners)] = corners[:n]
    return tuple(np.clip(drawn, low, high).T)


def inside(x: np.ndarray, t: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Clips x to the numbers strictly inside the light cone."""
    edge = np.nextafter(c * t, np.zeros_like(t))
    return np.clip(x, -edge, edge)


def random_points(n: int, dtype: str, seed: int) -> Points:
    """Places uniform in the cone, log-uniform from its centre and log-uniform from its edge."""
    rng = np.random.default_rng(seed)
    t, a, c = parameters(n, dtype, rng)
    near = 10 ** (-rng.random(n) * (8 if dtype == "float32" else 17))
    xi = np.choose(np.arange(n) % 3, [rng.random(n), near, 1 - near]) * rng.choice([-1, 1], n)
    x = (xi * (c.astype(np.longdouble) * t.astype(np.longdouble))).astype(dtype)
    return Points(inside(x, t, c), t, a, c)


def edge_points(n: int, dtype: str, seed: int) -> Points:
    """The last 1, 2, 3, 5, 10 and 1000 numbers inside the cone, of both signs."""
    rng = np.random.default_rng(seed)
    steps = np.array([1, 2, 3, 5, 10, 1000])
    t, a, c = (np.repeat(p, len(steps)) for p in parameters(n, dtype, rng))
    integer = np.dtype(dtype.replace("float", "int"))
    x = ((c * t).view(integer) - np.tile(steps, n).astype(integer)).view(dtype)
    return Points(x * rng.choice([-1, 1], x.size).astype(dtype), t, a, c)


def tiny_points(n: int, dtype: str, seed: int) -> Points:
    """x from half the cone down to the smallest denormal number, including every power of two."""
    rng = np.random.default_rng(seed)
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.exp2(np.arange(np.log2(float(smallest)), -20)).astype(dtype)
    x = np.concatenate([x, smallest * np.arange(1, n).astype(dtype)])
    t, a, c = parameters(x.size, dtype, rng)
    return Points(inside(x, t, c), t, a, c)


def argument_points(dtype: str) -> Points:
    """z = tau sqrt(1 - xi^2) beside round numbers, where a formula may change its form."""
    kind = np.dtype(dtype).type
    centers = [*np.exp2(np.arange(-12, 31)), 3.75, 6.0, 7.75, 10.0, 20.0, 30.0, 50.0, 60.0]
    centers += [80.0, 100.0, 200.0, 500.0, 700.0, 709.8, 713.0, 1e3, 1e4, 1e5, 1e6, 1e7]
    rows = []
    for z in centers:
        for xi in (1e-3, 0.5, 0.9375, 0.9999):
            t = kind(1 + xi / 3)
            x, c = kind(xi) * t, kind(1)
            a = kind(z / (float(t) * np.sqrt((1 - xi) * (1 + xi))))
            integer = np.array(a).view(dtype.replace("float", "int"))
            for step in (-3, -2, -1, 0, 1, 2, 3):
                rows.append((x, t, (integer + integer.dtype.type(step)).view(dtype), c))
    return Points(*np.array(rows, dtype=dtype).T)


@functools.cache
def table(dtype: str) -> tuple[Points, list[mp.mpf], np.ndarray]:
    """Points, v in 40 digits, and the unit in the last place of v."""
    parts = [
        random_points(12_000, dtype, 1),
        edge_points(300, dtype, 2),
        tiny_points(100, dtype, 3),
        argument_points(dtype),
    ]
    points = Points(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    assert np.all(np.abs(points.x) < points.c * points.t)
    with mp.workprec(velocity.PRECISION):
        want = [velocity.velocity(*map(float, row)) for row in zip(*points, strict=True)]
    unit = np.spacing(np.abs(np.array([float(v) for v in want])).astype(dtype))
    return points, want, unit


def errors_in_ulps(got: np.ndarray, want: list[mp.mpf], unit: np.ndarray) -> np.ndarray:
    with mp.workprec(velocity.PRECISION):
        return np.array(
            [
                float(abs(mp.mpf(g) - w) / u) if np.isfinite(g) else np.inf
                for g, w, u in zip(got.tolist(), want, unit.tolist(), strict=True)
            ]
        )


def test_velocity_to_four_ulps(core: Core, dtype: str):
    points, want, unit = table(dtype)
    got = core.velocity(points.x, points.t, a=points.a, c=points.c)
    assert got.dtype == dtype
    errors = errors_in_ulps(got, want, unit)
    i = int(np.argmax(errors))
    assert errors[i] <= ULPS, (
        f"{np.sum(errors > ULPS)} points beyond {ULPS} ulps; worst {errors[i]:.3g} ulps at "
        f"x = {points.x[i]!r}, t = {points.t[i]!r}, a = {points.a[i]!r}, c = {points.c[i]!r}: "
        f"got {got[i]!r}, expected {mp.nstr(want[i], 20)}"
    )
    assert np.all(np.abs(got) <= points.c)
    mirrored = core.velocity(-points.x, points.t, a=points.a, c=points.c)
    np.testing.assert_array_equal(mirrored, -got)


@functools.cache
def gradient_table(dtype: str) -> tuple[Points, np.ndarray, np.ndarray]:
    """Points and both derivatives; points whose results leave the normal range are left out."""
    parts = [random_points(900, dtype, 4), edge_points(30, dtype, 5)]
    some = argument_points(dtype)
    parts.append(Points(*(column[::7] for column in some)))
    points = Points(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    derivatives = [
        velocity.velocity_derivatives(*map(float, row)) for row in zip(*points, strict=True)
    ]
    dx, dt = (np.array([float(d[k]) for d in derivatives]) for k in (0, 1))
    least = np.finfo(dtype).tiny / np.finfo(dtype).eps
    keep = (np.abs(dt) > least) & (np.abs(dx) > least)
    return Points(*(column[keep] for column in points)), dx[keep], dt[keep]


@pytest.mark.parametrize("which", [0, 1], ids=["dv_dx", "dv_dt"])
def test_velocity_derivatives(core: Core, dtype: str, which: int):
    points, *wanted = gradient_table(dtype)
    want = wanted[which]
    got = core.velocity_grad(points.x, points.t, a=points.a, c=points.c)[which]
    assert got.dtype == dtype
    error = np.abs(got.astype(float) / want - 1)
    i = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
    assert error[i] <= GRADIENT_TOLERANCE[dtype], (
        f"relative error {error[i]:.3g} at x = {points.x[i]!r}, t = {points.t[i]!r}, "
        f"a = {points.a[i]!r}, c = {points.c[i]!r}: got {got[i]!r}, expected {want[i]!r}"
    )


def test_atoms_move_with_c(core: Core, dtype: str):
    """|x| >= c t, the product rounded in the working type, moves with exactly c."""
    t, a, c = parameters(400, dtype, np.random.default_rng(6))
    edge = c * t
    for x in (edge, np.nextafter(edge, np.full_like(edge, np.inf)), 2 * edge, edge + np.inf):
        np.testing.assert_array_equal(core.velocity(x, t, a=a, c=c), c)
        np.testing.assert_array_equal(core.velocity(-x, t, a=a, c=c), -c)
        for derivative in core.velocity_grad(x, t, a=a, c=c):
            np.testing.assert_array_equal(derivative, np.zeros_like(c))
    within = core.velocity(np.nextafter(edge, np.zeros_like(edge)), t, a=a, c=c)
    limit = c.astype(float) * (a.astype(float) * t) / (a.astype(float) * t + 2)
    np.testing.assert_allclose(within, limit, rtol=1e-2)  # the interior limit, not the atom's


def test_velocity_at_the_start_and_at_time_zero(core: Core, dtype: str):
    t, a, c = parameters(50, dtype, np.random.default_rng(7))
    zero = np.zeros_like(t)
    np.testing.assert_array_equal(core.velocity(zero, t, a=a, c=c), zero)
    np.testing.assert_array_equal(core.velocity(zero, zero, a=a, c=c), zero)
    np.testing.assert_array_equal(core.velocity(t, zero, a=a, c=c), c)
    np.testing.assert_array_equal(core.velocity(-t, zero, a=a, c=c), -c)


def test_limits_of_the_velocity(core: Core):
    """Diffusion x/(2t) for large tau, and x a/(tau + 2) for small."""
    x = np.linspace(-0.9, 0.9, 7)
    diffusion = core.velocity(x, 2.0, a=1e12, c=1e6)
    np.testing.assert_allclose(diffusion, x / 4, rtol=1e-9)
    early = core.velocity(x, 1.0, a=1e-9, c=1.0)
    np.testing.assert_allclose(early, x * 1e-9 / 2, rtol=1e-8)


# --- continuity equation -----------------------------------------------------------------------


@pytest.mark.parametrize("tau", [1e-2, 0.7, 5.0, 60.0])
@pytest.mark.parametrize("xi", [1e-3, 0.1, 0.5, 0.9, 0.9999])
def test_continuity_equation(core: Core, tau: float, xi: float):
    """d/dt p + d/dx (v p) = 0, p by finite differences in 60 digits, v and dv/dx of the core."""
    a, c = 2.0, 3.0
    t = tau / a
    x = xi * c * t
    v = float(core.velocity(np.array(x), t, a=a, c=c))
    dv_dx = float(core.velocity_grad(np.array(x), t, a=a, c=c)[0])
    with mp.workdps(60):

        def p(time, place):
            return law.density(place, time, mp.mpf(a), mp.mpf(c))

        h = (mp.mpf(c) * t - x) / c * mp.mpf(10) ** -18
        p_t = (p(t + h, mp.mpf(x)) - p(t - h, mp.mpf(x))) / (2 * h)
        p_x = (p(mp.mpf(t), x + c * h) - p(mp.mpf(t), x - c * h)) / (2 * c * h)
        here = p(mp.mpf(t), mp.mpf(x))
        terms = [p_t, v * p_x, dv_dx * here]
        assert abs(mp.fsum(terms)) <= mp.mpf(10) ** -13 * mp.fsum(map(abs, terms))


@pytest.mark.parametrize("tau", [1e-2, 0.7, 5.0, 60.0])
def test_flux_from_the_atoms_feeds_the_edge(core: Core, tau: float):
    """An atom loses (a/2) e^-tau, which enters the interior at speed c - v(edge)."""
    a, c = 2.0, 3.0
    t = tau / a
    edge = np.nextafter(np.array(c * t), 0)
    slip = c - float(core.velocity(edge, t, a=a, c=c))
    density = a / (2 * c) * np.exp(-tau) * (1 + tau / 2)
    assert slip * density == pytest.approx(a / 2 * np.exp(-tau), rel=1e-12)


def test_derivatives_where_a_t_is_denormal(core: Core, dtype: str):
    t, a, c = {"float32": (1e-25, 1e-18, 1e37), "float64": (1e-180, 1e-142, 1e299)}[dtype]
    c, t, a = (float(np.dtype(dtype).type(p)) for p in (c, t, a))
    x = (np.array([-0.9, -0.01, 0.3, 0.7]) * c * t).astype(dtype)
    for got, want in zip(
        core.velocity_grad(x, t, a=a, c=c), ((a / 2 + 0 * x), -a / 2 * (a * x / 2)), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)

"""Whole paths: the same map in 40 digits, the strict light cone, splits, grids and bad input."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from cores import Core
from hypothesis import given, settings
from hypothesis import strategies as st

import kacflow_core
from kacflow_core.testing.oracles import path

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True, database=None)
KEYS: dict[str, Any] = dict(a=9.0, c=3.0, seed=6)
SIZES = (0, 1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 129, 600)
#: Error of xi over min(1, tau^-1/2): four times that measured in sampler.h.
XI_ERROR = {"float32": 2.2e-6, "float64": 4.4e-15}

seeds = st.integers(0, 2**64 - 1)


def unit(dtype: str) -> float:
    """Unit roundoff u."""
    return float(np.finfo(dtype).eps) / 2


# --- the map -------------------------------------------------------------------------------------

PATHS = 60
#: (a, c, times): intervals of a tau from 1e-6 to 1e4, short and long ones in turn.
GRIDS = (
    (2.0, 3.0, (0.25, 0.5, 2.0, 2.0625, 4.0, 12.0)),
    (64.0, 0.5, (1e-6, 1e-3, 0.5, 0.5078125, 4.0, 150.0)),
    (0.001, 1.5, (1.0, 300.0, 1000.0, 1001.0, 1024.0, 3000.0)),
)
OFFSET = 2**32 - PATHS // 2  # the counter crosses 2^32


@functools.cache
def exact(dtype: str, k: int) -> list[list[path.Point]]:
    a, c, times = GRIDS[k]
    kind = np.dtype(dtype).type
    numbers = [float(kind(t)) for t in times]
    return [
        path.exact(numbers, float(kind(a)), float(kind(c)), 5, OFFSET + e, dtype)
        for e in range(PATHS)
    ]


@pytest.mark.parametrize("k", range(len(GRIDS)))
def test_the_same_map_in_forty_digits(core: Core, dtype: str, k: int):
    a, c, times = GRIDS[k]
    x, d = core.sample_path(times, PATHS, a=a, c=c, seed=5, offset=OFFSET, dtype=dtype)
    t = np.array(times, dtype).astype(float)
    lengths = np.diff(t, prepend=0.0)
    step = c * lengths * np.minimum(1.0, (a * np.maximum(lengths, 1e-9)) ** -0.5)
    lag = 8 * unit(dtype) * c * lengths + 2 * unit(dtype) * c * t  # of the light cone, if straight
    allowed = np.cumsum(XI_ERROR[dtype] * step + lag)
    for e, points in enumerate(exact(dtype, k)):
        for j, point in enumerate(points):
            if point.margin < 4 * XI_ERROR[dtype]:
                break  # the sign is a matter of rounding
            error = abs(float(mp.mpf(float(x[e, j])) - point.position))
            assert error <= allowed[j], (e, j, x[e, j], point)
            assert d[e, j] == point.direction, (e, j)


def test_the_oracle_decides_nearly_every_sign():
    for dtype in XI_ERROR:
        margins = [
            point.margin
            for k in range(len(GRIDS))
            for points in exact(dtype, k)
            for point in points
        ]
        assert sum(margin < 4 * XI_ERROR[dtype] for margin in margins) <= 2


def test_the_first_interval_is_the_endpoint(core: Core, dtype: str):
    """Equal to ``sample``, except where that lies at the very edge of the cone."""
    t = np.array([0.25, 1.0, 7.0])
    a = np.array([0.3, 4.0, 50.0])
    for time in t:
        keys = dict(a=a, c=2.0, seed=11, offset=5, dtype=dtype)
        x, d = core.sample_path([time], (3, 500), **keys)
        end = core.sample(time, (3, 500), **keys)
        edge = 2 * time * (1 - 8 * unit(dtype))
        inner = np.abs(end) < edge
        np.testing.assert_array_equal(x[..., 0][inner], end[inner])
        atoms = np.abs(end) == 2 * time
        assert atoms.any()
        np.testing.assert_array_equal(d[..., 0][atoms], np.sign(end)[atoms])
        assert np.all(np.abs(x[..., 0]) <= 2 * time)
        assert np.all(np.abs(x[..., 0][~inner]) >= edge)


def test_kernels_agree_with_the_reference(core: Core, dtype: str):
    """Positions to a few units of c t; directions but where the sign is a matter of rounding."""
    rng = np.random.default_rng(8)
    times = np.cumsum(10 ** rng.uniform(-4, 1, 24)).astype(dtype)
    a = (10 ** rng.uniform(-3, 3, (5, 1))).astype(dtype)
    c = np.array([[0.5, 4.0, 100.0]], dtype)
    keys = dict(a=a, c=c, seed=2, offset=2**64 - 7)
    x, d = core.sample_path(times, (5, 3, 70), dtype=dtype, **keys)
    want, signs = kacflow_core.reference.sample_path(
        times, (5, 3, 70), dtype=dtype, **{**keys, "a": a.astype(float), "c": c.astype(float)}
    )
    alike = np.all(d == signs, axis=-1)
    assert np.mean(alike) > 0.999
    ct = c[0].astype(float)[None, :, None, None] * times.astype(float)
    assert np.max((np.abs(x - want) / ct)[alike]) <= 200 * unit(dtype)


def test_time_zero(core: Core, dtype: str):
    """Paths start in 0, moving in a direction that the first interval keeps or turns."""
    x, d = core.sample_path([0.0, 0.5], 4000, dtype=dtype, **{**KEYS, "a": 0.2})
    np.testing.assert_array_equal(x[:, 0], np.zeros(4000))
    assert abs(d[:, 0].mean()) < 0.08 and set(np.unique(d)) == {-1.0, 1.0}
    straight = np.abs(x[:, 1]) > 1.5 * (1 - 20 * unit(dtype))
    assert 0.85 < straight.mean() < 0.96
    np.testing.assert_array_equal(np.sign(x[straight, 1]), d[straight, 0])
    np.testing.assert_array_equal(d[straight, 1], d[straight, 0])
    x, d = core.sample_path([0.0], (2, 3), dtype=dtype, **KEYS)
    assert x.shape == d.shape == (2, 3, 1) and not x.any() and np.all(np.abs(d) == 1)


# --- the light cone ------------------------------------------------------------------------------


@st.composite
def extreme_grids(draw: st.DrawFn, dtype: str) -> np.ndarray:
    """Grids from 1e-30 to 1e6 with huge, tiny and least possible intervals."""
    kind = np.dtype(dtype).type
    times = [kind(10 ** draw(st.floats(-30, 5)))]
    for _ in range(draw(st.integers(0, 11))):
        how = draw(st.sampled_from(["next", "near", "far"]))
        if how == "next":
            times.append(times[-1] + draw(st.integers(1, 5)) * np.spacing(times[-1]))
        elif how == "near":
            times.append(times[-1] * kind(1 + 10 ** draw(st.floats(-6, 0))))
        else:
            times.append(times[-1] + kind(10 ** draw(st.floats(-30, 5))))
    grid = np.unique(np.array(times, dtype))
    return np.concatenate([[kind(0)], grid]) if draw(st.booleans()) else grid


def assert_in_the_cone(x: np.ndarray, times: np.ndarray, c: np.ndarray) -> None:
    """Strictly: for every path as the working type evaluates it, for some in exact arithmetic."""
    zero = times.dtype.type(0)
    moves, waits = np.abs(np.diff(x, prepend=zero)), np.diff(times, prepend=zero)
    assert np.all(moves <= c * waits)
    speed = Fraction(float(c))
    instants = [Fraction(0), *(Fraction(float(t)) for t in times)]
    for row in x[:3]:
        places = [Fraction(0), *(Fraction(float(v)) for v in row)]
        for j in range(len(times)):
            assert abs(places[j + 1] - places[j]) <= speed * (instants[j + 1] - instants[j])
        assert abs(places[-1] - places[1]) <= speed * (instants[-1] - instants[1])


@SETTINGS
@given(data=st.data(), a=st.floats(-6, 4), c=st.floats(-6, 6), seed=seeds)
def test_light_cone(core: Core, dtype: str, data, a, c, seed):
    times = data.draw(extreme_grids(dtype))
    rate, speed = (np.asarray(10**p, dtype) for p in (a, c))
    x, d = core.sample_path(times, 20, a=rate, c=speed, seed=seed, dtype=dtype)
    assert_in_the_cone(x, times, speed)
    assert np.all(np.abs(d) == 1)


def test_light_cone_among_the_denormal_numbers(core: Core, dtype: str):
    """Products c D that round upwards to a whole number of the least ones."""
    least = np.finfo(dtype).smallest_subnormal
    times = np.arange(1, 40).astype(dtype) * (least * 7)
    for c in (0.3, 1.1, 0.5, 2.7):
        speed = np.asarray(c, dtype)
        x, _ = core.sample_path(times, 40, a=1.0, c=speed, seed=3, dtype=dtype)
        assert_in_the_cone(x, times, speed)


def test_a_straight_path_moves_at_the_speed_of_the_notes(core: Core, dtype: str):
    """No slower than c (1 - 7 u), but for one spacing of the numbers at x per interval."""
    times = np.linspace(0.01, 1, 100).astype(dtype)
    x, d = core.sample_path(times, 30, a=1e-9, c=3.0, seed=1, dtype=dtype)
    assert np.all(d == d[:, :1])
    waits = np.diff(times.astype(float), prepend=0.0)
    moves = np.diff((x * d).astype(float), prepend=0.0)
    spacing = np.spacing(np.abs(x)).astype(float)
    assert np.all(moves >= 3 * waits * (1 - 7 * unit(dtype)) - spacing)


def test_an_unlimited_position_leaves_the_cone():
    """What the rule is for: rounding the exact position alone breaks the bound."""
    times = np.linspace(0.01, 1, 100).astype("float32")
    x, _ = kacflow_core.reference.sample_path(times, 30, a=1e-9, c=3.0, seed=1, dtype="float32")
    with pytest.raises(AssertionError):
        assert_in_the_cone(x.astype("float32"), times, np.float32(3))


def test_positions_catch_up_where_the_path_turns(core: Core):
    """float32 lags behind by what one run without a turn loses, here of 114 intervals on average;
    not by what all the intervals lose, and not by more as time goes on."""
    times = np.arange(1, 601).astype("float32") / 1024
    want, signs = kacflow_core.reference.sample_path(times, 200, dtype="float32", **KEYS)
    x, d = core.sample_path(times, 200, dtype="float32", **KEYS)
    alike = np.all(d == signs, axis=1)
    assert alike.mean() > 0.99
    spacings = (np.abs(x - want) / np.spacing(np.float32(1)))[alike]
    assert np.median(spacings[:, -100:]) < 114 / 2
    assert np.mean(spacings[:, -100:]) < 114
    assert np.median(spacings[:, -100:]) < 3 * np.median(spacings[:, 200:300])


# --- splits, grids, shapes -----------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 2, 16, 17, 40])
def test_every_size_is_a_prefix_of_the_longest(core: Core, dtype: str, points: int):
    times = np.linspace(0.1, 2.0, points)
    x, d = core.sample_path(times, SIZES[-1], dtype=dtype, threads=1, **KEYS)
    assert x.shape == d.shape == (SIZES[-1], points) and x.dtype == d.dtype == dtype
    for n in SIZES:
        for threads in (1, 3):
            got = core.sample_path(times, n, dtype=dtype, threads=threads, **KEYS)
            np.testing.assert_array_equal(got[0], x[:n])
            np.testing.assert_array_equal(got[1], d[:n])
    shorter = core.sample_path(times[: points // 2 + 1], SIZES[-1], dtype=dtype, **KEYS)
    np.testing.assert_array_equal(shorter[0], x[:, : points // 2 + 1])


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_change_nothing(core: Core, dtype: str, threads: int):
    times = np.linspace(0.1, 2.0, 30)
    a = np.linspace(0.5, 9, 5)
    for shape in ((5, 300), (5, 40, 3), (5,), (5, 1000)):
        keys = dict(a=a, c=3.0, seed=2**63 + 1, offset=2**32 - 9, dtype=dtype)
        for got, want in zip(
            core.sample_path(times, shape, threads=threads, **keys),
            core.sample_path(times, shape, threads=1, **keys),
            strict=True,
        ):
            np.testing.assert_array_equal(got, want)


@SETTINGS
@given(n=st.integers(1, 300), seed=seeds, offset=st.sampled_from([0, 2**32 - 5, 2**64 - 5]))
def test_a_split_batch_gives_the_same_paths(core: Core, dtype: str, n, seed, offset):
    split = n // 3
    a = np.linspace(0.1, 20, n)
    keys = dict(c=2.0, seed=seed, dtype=dtype)
    times = [0.3, 0.5, 4.0]
    whole = core.sample_path(times, n, a=a, offset=offset, **keys)
    first = core.sample_path(times, split, a=a[:split], offset=offset, **keys)
    start = (offset + split) % 2**64
    second = core.sample_path(times, n - split, a=a[split:], offset=start, **keys)
    for got, *parts in zip(whole, first, second, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), got)


@pytest.mark.parametrize("inner", [(), (1,), (3,), (16,), (31,), (32,), (65,), (2, 20)])
def test_rows_equal_separate_calls(core: Core, dtype: str, inner: tuple[int, ...]):
    """A grid, a rate and a speed for each sample, and for each channel."""
    rng = np.random.default_rng(4)
    rows, points = 6, 19
    grids = np.cumsum(rng.exponential(size=(rows, points)), axis=1).astype(dtype)
    a, c = rng.exponential(size=(2, rows)).astype(dtype) + np.asarray(0.1, dtype)
    shape = (rows, *inner)
    each = int(np.prod(inner, dtype=int))
    x, d = core.sample_path(grids, shape, a=a, c=c, seed=9, offset=3, dtype=dtype)
    for i in range(rows):
        want = core.sample_path(
            grids[i], inner, a=a[i], c=c[i], seed=9, offset=3 + i * each, dtype=dtype
        )
        np.testing.assert_array_equal(x[i], want[0])
        np.testing.assert_array_equal(d[i], want[1])


def test_grids_align_with_any_leading_axes(core: Core, dtype: str):
    rng = np.random.default_rng(5)
    shape, points = (4, 3, 2, 5), 6
    whole = np.cumsum(rng.exponential(size=(*shape, points)), axis=-1)
    c = np.linspace(1, 2, 3)[None, :]
    for index in (
        (slice(None),),
        (slice(None), slice(None), slice(None), slice(1)),
        (slice(None), slice(None), slice(1), slice(1)),
        (slice(None), slice(1), slice(1), slice(1)),
        (slice(1), slice(None), slice(1), slice(1)),
        (slice(1), slice(1), slice(None), slice(1)),
        (slice(None), slice(1), slice(None), slice(1)),
        (slice(1), slice(1), slice(1), slice(1)),
    ):
        grid = whole[index]
        full = np.broadcast_to(grid, (*shape, points))
        for a in (1.5, np.linspace(1, 2, 4), np.linspace(1, 2, 24).reshape(4, 3, 2)):
            keys = dict(a=a, c=c, seed=1, dtype=dtype)
            got = core.sample_path(grid, shape, **keys)
            want = core.sample_path(full, shape, **keys)
            np.testing.assert_array_equal(got[0], want[0])
            np.testing.assert_array_equal(got[1], want[1])
        short = grid[..., 0, :] if grid.shape[-2] == 1 else grid
        again = core.sample_path(short, shape, a=1.5, c=c, seed=1, dtype=dtype)
        want = core.sample_path(full, shape, a=1.5, c=c, seed=1, dtype=dtype)
        np.testing.assert_array_equal(again[0], want[0])


def test_awkward_grids_equal_plain_ones(core: Core, dtype: str):
    plain = np.array([[0.5, 1.0, 3.0], [0.25, 0.5, 2.0]], dtype)
    want = core.sample_path(plain, (2, 70), dtype=dtype, **KEYS)
    for grid in (
        np.asfortranarray(plain),
        np.repeat(plain, 2, axis=1)[:, ::2],
        plain[::-1, ::-1].copy()[::-1, ::-1],
        plain.astype("float64"),
        plain.tolist(),
    ):
        got = core.sample_path(grid, (2, 70), dtype=dtype, **KEYS)
        np.testing.assert_array_equal(got[0], want[0])
    frozen = plain.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(
        core.sample_path(frozen, (2, 70), dtype=dtype, **KEYS)[1], want[1]
    )


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0), (), (1, 1, 1)])
def test_empty_and_scalar_shapes(core: Core, dtype: str, shape: tuple[int, ...]):
    x, d = core.sample_path([0.5, 1.0], shape, dtype=dtype, **KEYS)
    assert x.shape == d.shape == (*shape, 2) and x.dtype == d.dtype == dtype


def test_float64_refines_float32(core: Core):
    times = [0.25, 0.5, 2.0]
    x, d = core.sample_path(times, 3000, dtype="float32", **KEYS)
    y, e = core.sample_path(times, 3000, dtype="float64", **KEYS)
    alike = np.all(d == e, axis=1)
    assert alike.mean() > 0.999
    assert np.max(np.abs(x - y)[alike]) < 3 * 3e-5 * 6


# --- bad input -----------------------------------------------------------------------------------

BAD: list[tuple[str, Any]] = [
    ("times", 1.0),
    ("times", []),
    ("times", np.empty((3, 0))),
    ("times", [0.5, 0.5]),
    ("times", [0.5, 0.25]),
    ("times", [[0.5, 1.0], [1.0, 1.0]]),
    ("times", [0.5, 0.5 + 1e-12]),  # the same number in float32
    ("times", [-0.5, 1.0]),
    ("times", [0.5, np.nan]),
    ("times", [0.5, np.inf]),
    ("times", [0.5, 1e39]),
    ("times", ["1"]),
    ("times", None),
    ("times", [True]),
    ("times", [1j]),
    ("times", np.ones((3, 1))),
    ("times", np.ones((1, 4, 1))),
    ("times", np.ones((4, 3, 2, 1))),
    ("times", np.broadcast_to(np.float32(1), (2**31 + 1,))),
    ("a", 0.0),
    ("a", -1.0),
    ("a", np.nan),
    ("a", np.ones(3)),
    ("c", 0.0),
    ("c", np.inf),
    ("c", np.ones((4, 3, 2))),
    ("shape", -1),
    ("shape", (2.0,)),
    ("shape", 2**60),
    ("seed", -1),
    ("seed", 1.0),
    ("offset", 2**64),
    ("dtype", "float16"),
    ("backend", "nonsense"),
    ("threads", 0),
]


@pytest.mark.parametrize(("argument", "value"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_refused_by_name(argument: str, value: Any):
    sound = dict(times=[0.5, 1.0], shape=(4, 3), **KEYS)
    kacflow_core.sample_path(**sound)
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        kacflow_core.sample_path(**{**sound, argument: value})
    assert len(str(caught.value)) > len(argument) + 10


def test_a_message_gives_the_times():
    with pytest.raises(
        ValueError, match=r"times: got .*0\.25.* after .*0\.5.* at \(0,\).*strictly"
    ):
        kacflow_core.sample_path([0.5, 0.25], 2, **KEYS)
    with pytest.raises(ValueError, match=r"a\*times"):
        kacflow_core.sample_path([1.0, 1e20], 2, **KEYS)


def test_input_is_never_changed(backend: str):
    times, a = np.array([0.5, 1.0]), np.array([1.0, 2.0])
    kept = times.copy(), a.copy()
    kacflow_core.sample_path(times, 2, a=a, c=1.0, seed=0, dtype="float64", backend=backend)
    np.testing.assert_array_equal(times, kept[0])
    np.testing.assert_array_equal(a, kept[1])

"""Checks of ``sample_path`` and ``simulate_events``."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kacflow_core import Events, reference
from kacflow_core._layout import Array
from kacflow_core.reference import philox, sampler
from kacflow_core.testing import strategies
from kacflow_core.testing._compare import equal, within
from kacflow_core.testing._noise_checks import DTYPES, KEYS, allowed_xi
from kacflow_core.testing._subject import Subject

_SIZES = (0, 1, 2, 15, 16, 17, 33, 65, 129)
_PATHS = 40


@st.composite
def grids(draw: Any, dtype: str) -> Array:
    """Up to twelve times from 1e-6 on, with long, short and least possible intervals, some from 0.

    A long interval is up to 100, a short one a part of the time before it.
    """
    kind: Any = np.dtype(dtype).type
    times = [kind(10.0 ** draw(st.floats(-6, 2)))]
    for _ in range(draw(st.integers(0, 11))):
        last, how = times[-1], draw(st.sampled_from(["least", "short", "long"]))
        if how == "least":
            wait = draw(st.integers(1, 5)) * np.spacing(last)
        elif how == "short":
            wait = last * kind(10.0 ** draw(st.floats(-6, 0)))
        else:
            wait = kind(10.0 ** draw(st.floats(-6, 2)))
        times.append(kind(last + wait))
    begin = [kind(0)] if draw(st.booleans()) else []
    return np.unique(np.array([*begin, *times], dtype))


@st.composite
def path_arguments(draw: Any, dtype: str) -> dict[str, Any]:
    """A grid and the parameters of some paths, exact in ``dtype``."""
    times = draw(grids(dtype))
    turns = draw(strategies.taus(low=1e-3, high=1e4))  # on the whole grid
    return {
        "times": times,
        "a": float(np.dtype(dtype).type(turns / max(float(times[-1]), 1e-6))),
        "c": draw(strategies.speeds(dtype)),
        **{name: draw(strategy) for name, strategy in KEYS.items()},
        "dtype": dtype,
    }


def searched(core: Subject, holds: Any) -> None:
    """Look for arguments of ``sample_path`` that ``holds`` does not accept."""
    core.search(holds, arguments=strategies.dtypes().flatmap(path_arguments))


def decided(times: Array, a: Array, seed: int, counters: Any, dtype: str) -> tuple[Array, Array]:
    """Whether every sign up to each time is more than a matter of rounding, and the error of xi.

    Arrays (n, T); ``times`` is (T,).
    """
    sure, errors = np.ones((2, counters.size, times.size))
    for j, length in enumerate(np.diff(times, prepend=0.0)):
        u = philox.uniforms(seed, counters, dtype, stream=j)
        u3 = philox.signs(seed, counters, dtype, stream=j).u3
        xi, rest, atom = sampler.endpoint(u, a, length)
        errors[:, j] = allowed_xi(np.asarray(a * length), dtype)
        margin = np.abs(u3 - rest / (2.0 * (1.0 + np.abs(xi))))
        if j == 0:  # the direction comes from the sign of xi
            margin = np.minimum(margin, np.abs(xi))
        sure[:, j] = atom | (margin > 2.0 * errors[:, j])
    return np.logical_and.accumulate(sure, axis=1), errors


def path_error(core: Subject) -> None:
    """Positions are those of the reference, to the accuracy of ``sample``; directions equal."""

    def holds(arguments: dict[str, Any]) -> None:
        got, directions = core.sample_path(shape=_PATHS, **arguments)
        dtype, c = arguments["dtype"], arguments["c"]
        assert got.dtype == directions.dtype == dtype, (
            f"positions and directions have dtypes {got.dtype} and {directions.dtype}"
        )
        times = arguments["times"].astype(np.float64)
        want, signs = reference.sample_path(shape=_PATHS, **arguments)
        counters = philox.counters(arguments["offset"], _PATHS)
        a = np.full(_PATHS, arguments["a"])
        sure, xi_error = decided(times, a, arguments["seed"], counters, dtype)
        what = f"{dtype} directions at {times.size} times"
        equal(np.where(sure, directions, 0), np.where(sure, signs, 0).astype(dtype), what)
        # The light cone holds a path back by up to 7 u c D and a spacing in each interval.
        unit = float(np.finfo(dtype).epsneg)
        lengths = np.diff(times, prepend=0.0)
        lag = unit * c * (8 * lengths + 4 * times) + 4 * float(np.finfo(dtype).tiny)
        allowed = np.cumsum(c * lengths * xi_error + lag, axis=1)
        within(got[sure], want[sure], allowed[sure], f"{dtype} positions at {times.size} times")

    searched(core, holds)


def path_begins_with_sample(core: Subject) -> None:
    """The first position is the draw of ``sample``, within the light cone; directions are +-1."""

    def holds(arguments: dict[str, Any]) -> None:
        times, dtype = arguments["times"], arguments["dtype"]
        positions, directions = core.sample_path(shape=_PATHS, **arguments)
        equal(np.abs(directions), np.ones_like(directions), f"{dtype} |directions|")
        keys = {name: value for name, value in arguments.items() if name != "times"}
        end = core.sample(times[0], _PATHS, **keys)
        edge = float(end.dtype.type(arguments["c"]) * times[0])
        first, limit = positions[:, 0], edge * (1 - 8 * float(np.finfo(dtype).epsneg))
        inner = np.abs(end) <= limit
        equal(first[inner], end[inner], f"{dtype} first positions against sample")
        held = np.clip(end.astype(np.float64), -limit, limit)[~inner]
        within(first[~inner], held, edge - limit, f"{dtype} first positions at the edge")
        counters = philox.counters(arguments["offset"], _PATHS)
        u = philox.uniforms(arguments["seed"], counters, dtype)
        atom = sampler.endpoint(u, arguments["a"], float(times[0])).atom & (edge > 0)
        equal(directions[atom, 0], np.sign(end[atom]), f"{dtype} first directions of the atoms")

    searched(core, holds)


def path_keeps_the_light_cone(core: Subject) -> None:
    """|x(t) - x(s)| <= c (t - s) for the returned numbers, in exact arithmetic and as computed."""

    def holds(arguments: dict[str, Any]) -> None:
        times, dtype = arguments["times"], arguments["dtype"]
        positions, _ = core.sample_path(shape=_PATHS, **arguments)
        begin = times.dtype.type(0)
        moves, waits = np.diff(positions, prepend=begin), np.diff(times, prepend=begin)
        reach = times.dtype.type(arguments["c"]) * waits
        assert np.all(np.abs(moves) <= reach), f"a {dtype} step is longer than c times its interval"
        speed, last = Fraction(arguments["c"]), Fraction(0)
        cones = []
        for instant in map(Fraction, times.tolist()):
            cones.append(speed * (instant - last))
            last = instant
        for i in range(8):
            place = Fraction(0)
            for j, x in enumerate(positions[i].tolist()):
                step = abs(Fraction(x) - place)
                place = Fraction(x)
                assert step <= cones[j], (
                    f"{dtype} path {i} leaves the light cone in interval {j}: a step of "
                    f"{float(step)!r}, {float(step - cones[j]):.3g} more than c times the interval"
                )

    searched(core, holds)
    for dtype in DTYPES:  # no turns: every step is at the edge
        times = np.linspace(0.01, 1, 100).astype(dtype)
        holds(dict(times=times, a=1e-9, c=3.0, seed=1, dtype=dtype))


def path_of_any_array(core: Subject) -> None:
    """Sizes, splits, threads, later times and grids written out per path change no path."""
    rng = np.random.default_rng(17)
    for dtype in DTYPES:
        keys: dict[str, Any] = dict(c=3.0, seed=2**63 + 1, dtype=dtype)
        times = np.cumsum(rng.exponential(size=19)).astype(dtype)
        n, start = 300, 2**64 - 100
        a = rng.uniform(0.1, 20, n).astype(dtype)
        whole = core.sample_path(times, n, a=a, offset=start, threads=1, **keys)

        def same(got: Any, want: Any, what: str, dtype: str = dtype) -> None:
            for one, other, name in zip(got, want, ("positions", "directions"), strict=True):
                equal(one, other, f"{dtype} {name} {what}")

        for size in _SIZES:
            part = core.sample_path(times, size, a=a[:size], offset=start, threads=1, **keys)
            same(part, [v[:size] for v in whole], f"of {size} paths")
            second = core.sample_path(
                times, n - size, a=a[size:], offset=(start + size) % 2**64, **keys
            )
            same(second, [v[size:] for v in whole], f"from offset 2^64 - 100 + {size} on")
        parallel = core.sample_path(times, n, a=a, offset=start, threads=3, **keys)
        same(parallel, whole, "with 3 threads")
        early = core.sample_path(times[:5], n, a=a, offset=start, **keys)
        same(early, [v[:, :5] for v in whole], "where the grid ends earlier")

        shape = (4, 3, 25)
        grid = np.cumsum(rng.exponential(size=(4, 6)), axis=1).astype(dtype)
        rates, speeds = a[:4], rng.uniform(1, 2, (1, 3)).astype(dtype)
        noise: dict[str, Any] = dict(seed=1, dtype=dtype)
        rows = core.sample_path(grid, shape, a=rates, c=speeds, threads=1, **noise)
        spread = np.broadcast_to(grid[:, None, None], (*shape, 6)).copy()
        same(core.sample_path(spread, shape, a=rates, c=speeds, **noise), rows, "of a grid per row")
        for i in range(4):
            alone = core.sample_path(
                grid[i], shape[1:], a=rates[i], c=speeds[0], offset=75 * i, **noise
            )
            same(alone, [v[i] for v in rows], f"of sample {i} by itself")
        for extents in ((), (0, 3), (1, 1, 1)):
            for got in core.sample_path(times, extents, a=1.0, **keys):
                assert got.shape == (*extents, 19), f"paths of shape {extents} have {got.shape}"


# --- events --------------------------------------------------------------------------------------


def event_times(core: Subject) -> None:
    """Turning times are those of the reference, to a few units in the last place; in (0, t_max]."""

    def holds(tau: float, t: float, seed: int, offset: int) -> None:
        keys: dict[str, Any] = dict(a=tau / t, seed=seed, offset=offset)
        got = core.simulate_events(t, _PATHS, c=1.0, **keys)
        _check_form(got, (_PATHS,), np.full(_PATHS, t))
        want = reference.simulate_events(t, _PATHS, **keys)
        equal(got.directions, want.directions, "first directions")
        equal(got.offsets, want.offsets, "offsets")
        number = np.arange(want.times.size) - np.repeat(want.offsets[:-1], np.diff(want.offsets))
        within(got.times, want.times, (number + 8) * 2.0**-53 * want.times, "turning times")

    core.search(holds, tau=strategies.taus(low=1e-3, high=300.0), t=strategies.times(), **KEYS)


def _check_form(events: Events, shape: tuple[int, ...], t_max: Array) -> None:
    """Offsets, order and range of the turning times, and types; ``t_max`` is one per path."""
    times, offsets, directions = events
    dtypes = times.dtype.name, offsets.dtype.name, directions.dtype.name
    assert dtypes == ("float64", "int64", "float64"), f"times, offsets, directions are {dtypes}"
    assert directions.shape == shape, f"directions have shape {directions.shape}, paths {shape}"
    assert offsets.shape == (t_max.size + 1,), f"{offsets.size} offsets for {t_max.size} paths"
    counts = np.diff(offsets)
    assert offsets[0] == 0 and np.all(counts >= 0) and offsets[-1] == times.size, (
        f"offsets run from {offsets[0]} to {offsets[-1]} for {times.size} turning times, with a "
        f"least step of {counts.min(initial=0)}"
    )
    equal(np.abs(directions), np.ones(shape), "|directions|")
    row = np.repeat(np.arange(t_max.size), counts)
    outside = ~((times > 0) & (times <= t_max[row]))
    assert not outside.any(), (
        f"{np.count_nonzero(outside)} of {times.size} turning times lie outside (0, t_max], the "
        f"first of them {times[outside][0]!s}"
    )
    assert np.all((np.diff(times) >= 0) | (np.diff(row) > 0)), "turning times decrease on a path"


def events_of_any_array(core: Subject) -> None:
    """Sizes, splits, threads, c and an earlier t_max change no turning time."""
    rng = np.random.default_rng(23)
    n, start = 260, 2**64 - 100
    t_max, a = rng.uniform(0.0, 4, n), 10.0 ** rng.uniform(-1, 2, n)
    keys: dict[str, Any] = dict(seed=5, c=3.0)
    whole = core.simulate_events(t_max, n, a=a, offset=start, threads=1, **keys)
    _check_form(whole, (n,), t_max)

    def same(got: Events, first: int, last: int, what: str) -> None:
        begin, end = whole.offsets[first], whole.offsets[last]
        equal(got.offsets, whole.offsets[first : last + 1] - begin, f"offsets {what}")
        equal(got.times, whole.times[begin:end], f"turning times {what}")
        equal(got.directions, whole.directions[first:last], f"first directions {what}")

    for size in _SIZES:
        part = core.simulate_events(t_max[:size], size, a=a[:size], offset=start, **keys)
        same(part, 0, size, f"of {size} paths")
        second = core.simulate_events(
            t_max[size:], n - size, a=a[size:], offset=(start + size) % 2**64, **keys
        )
        same(second, size, n, f"from offset 2^64 - 100 + {size} on")
    noise: dict[str, Any] = dict(a=a, offset=start, seed=5)
    same(core.simulate_events(t_max, n, c=3.0, threads=3, **noise), 0, n, "with 3 threads")
    same(core.simulate_events(t_max, n, c=0.01, **noise), 0, n, "at another c")
    early = core.simulate_events(t_max / 2, n, c=3.0, **noise)
    before = whole.times <= np.repeat(t_max / 2, np.diff(whole.offsets))
    equal(early.times, whole.times[before], "turning times where t_max is earlier")
    rows = core.simulate_events(t_max[:20], (20, 13), a=a[:20], c=1.0, seed=5, offset=start)
    _check_form(rows, (20, 13), np.repeat(t_max[:20], 13))
    spread = core.simulate_events(
        np.repeat(t_max[:20], 13), n, a=np.repeat(a[:20], 13), c=1.0, seed=5, offset=start
    )
    equal(rows.times, spread.times, "turning times with a parameter per row")


CHECKS = (
    path_error,
    path_begins_with_sample,
    path_keeps_the_light_cone,
    path_of_any_array,
    event_times,
    events_of_any_array,
)

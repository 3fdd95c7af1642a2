"""Event-by-event simulation: the words, the law of the waiting times, the ragged result, ``at``.

The law of the paths that the events make is tested in test_path_law.
"""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from cores import Core
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import kacflow_core
from kacflow_core import Events
from kacflow_core.testing.oracles import philox

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True, database=None)
KEYS: dict[str, Any] = dict(c=3.0, seed=6)
LIMIT = 1e-4  # for one p-value: 2e-3 for the dozen of this file, on each core


def two_sided(tail: float) -> float:
    return min(1.0, 2 * min(tail, 1 - tail))


def split(events: Events) -> list[np.ndarray]:
    """The turning times of each path."""
    return [events.times[i:j] for i, j in zip(events.offsets, events.offsets[1:], strict=False)]


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 2**32 - 2, 2**64 - 2])
@pytest.mark.parametrize("a", [3.0, 90.0])  # lanes are paths, lanes are waiting times
def test_the_waiting_times_of_the_words(core: Core, a: float, offset: int):
    events = core.simulate_events(1.5, 5, a=a, c=1.0, seed=77, offset=offset)
    for e, times in enumerate(split(events)):
        with mp.workprec(120):
            want, t = [], mp.mpf(0)
            while t <= 1.5:
                u = philox.waiting_uniform(77, offset + e, len(want))
                t -= mp.log(mp.mpf(u.numerator) / u.denominator) / a
                want.append(float(t))
        np.testing.assert_allclose(times, want[:-1], rtol=1e-14, atol=0)
        assert events.directions[e] == (1.0 if philox.starts_right(77, offset + e) else -1.0)


def test_waiting_times_to_a_few_units_in_the_last_place(core: Core):
    """The first turn of each path, undisturbed by sums: also the shortest ones, u next to 1."""
    n = 3000
    events = core.simulate_events(40.0, n, a=1.0, c=1.0, seed=3)
    got = np.array([times[0] for times in split(events)])
    uniforms = [philox.waiting_uniform(3, e, 0) for e in range(n)]
    with mp.workprec(120):
        want = np.array([float(-mp.log(mp.mpf(u.numerator) / u.denominator)) for u in uniforms])
    assert want.min() < 1e-3
    np.testing.assert_array_max_ulp(got, want, maxulp=2)  # 1.3 measured, and the rounding of want


# --- the law -------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", [0.4, 5.0, 300.0])
def test_waiting_times_are_exponential(core: Core, a: float):
    """The first three of each path, the path being long enough to see them nearly always."""
    events = core.simulate_events(30 / a, 5000, a=a, c=1.0, seed=1)
    rows = split(events)
    assert all(times.size >= 3 for times in rows)
    first = np.array([np.diff(times[:3], prepend=0.0) for times in rows])
    for k in range(3):
        ks = stats.kstest(first[:, k], stats.expon(scale=1 / a).cdf)
        assert two_sided(float(ks.pvalue)) > LIMIT
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert stats.pearsonr(first[:, i], first[:, j]).pvalue > LIMIT
    assert stats.pearsonr(first[1:, 0], first[:-1, 0]).pvalue > LIMIT
    right = int(np.sum(events.directions > 0))
    assert stats.binomtest(right, 5000, 0.5).pvalue > LIMIT
    assert stats.pearsonr(events.directions, first[:, 0]).pvalue > LIMIT


@pytest.mark.parametrize("expected", [0.3, 9.0, 100.0])
def test_the_number_of_events_is_poisson(core: Core, expected: float):
    n = 8000
    counts = np.diff(core.simulate_events(2.0, n, a=expected / 2, c=1.0, seed=3).offsets)
    law = stats.poisson(expected)
    assert stats.poisson(n * expected).sf(counts.sum() - 1) > LIMIT
    assert stats.poisson(n * expected).cdf(counts.sum()) > LIMIT
    edges = np.unique(law.ppf(np.linspace(0.05, 0.95, 10)))
    shares = np.diff(law.cdf(edges), prepend=0.0, append=1.0)
    seen = np.bincount(np.searchsorted(edges, counts), minlength=edges.size + 1)
    assert two_sided(float(stats.chisquare(seen, shares * n).pvalue)) > LIMIT


def test_turning_times_are_uniform_given_their_number(core: Core):
    """All of them together, and those of the paths with exactly two: a Poisson process."""
    events = core.simulate_events(1.0, 8000, a=2.0, c=1.0, seed=5)
    ks = stats.kstest(events.times, stats.uniform.cdf)
    assert two_sided(float(ks.pvalue)) > LIMIT
    pairs = np.array([times for times in split(events) if times.size == 2])
    for k in range(2):
        ks = stats.kstest(pairs[:, k], stats.beta(k + 1, 2 - k).cdf)
        assert two_sided(float(ks.pvalue)) > LIMIT


def test_checks_fail_waits_with_a_defect():
    """The same tests on exponentials of a rate 5 % off, cut off, or of too few values."""
    rng = np.random.default_rng(0)
    sound = rng.exponential(size=5000)
    cdf = stats.expon().cdf
    assert two_sided(float(stats.kstest(sound, cdf).pvalue)) > LIMIT
    for broken in (sound * 1.08, np.minimum(sound, 3.0), np.ceil(sound * 16) / 16):
        assert two_sided(float(stats.kstest(broken, cdf).pvalue)) < LIMIT
    counts = np.bincount(rng.integers(0, 8000, 72_000))  # of fixed sum
    assert stats.poisson(72_000).sf(counts.sum() * 1.02) < LIMIT


def test_sample_path_and_events_share_no_words(core: Core):
    events = core.simulate_events(1.0, 8000, a=0.5, **KEYS)
    x, d = core.sample_path([1.0], 8000, a=0.5, **KEYS)
    there, turned = events.at([1.0], c=3.0)
    assert stats.pearsonr(x[:, 0], there[:, 0]).pvalue > LIMIT
    assert stats.pearsonr(d[:, 0], turned[:, 0]).pvalue > LIMIT


# --- the result ----------------------------------------------------------------------------------


@SETTINGS
@given(
    shape=st.sampled_from([(), (1,), (3,), (64,), (65,), (129,), (2, 40), (5, 3, 4)]),
    tau=st.floats(-2, 2.3),
    seed=st.integers(0, 2**64 - 1),
    offset=st.sampled_from([0, 2**32 - 5, 2**64 - 5]),
)
def test_offsets_and_times(core: Core, shape, tau, seed, offset):
    n = int(np.prod(shape, dtype=int))
    t_max, a = 0.7, 10**tau / 0.7
    events = core.simulate_events(t_max, shape, a=a, c=1.0, seed=seed, offset=offset)
    times, offsets, directions = events
    assert times.dtype == directions.dtype == np.float64 and offsets.dtype == np.int64
    assert offsets.shape == (n + 1,) and directions.shape == shape
    assert offsets[0] == 0 and offsets[-1] == times.size and np.all(np.diff(offsets) >= 0)
    assert np.all(times > 0) and np.all(times <= t_max) and np.all(np.abs(directions) == 1)
    for row in split(events):
        assert np.all(np.diff(row) >= 0)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_splits_and_rows_change_nothing(core: Core, threads: int):
    """A path is the same alone, in a batch, and on the other side of the choice of lanes."""
    a = np.array([0.5, 20.0, 1.0, 300.0, 90.0, 3.0])
    t_max = np.array([[1.0, 2.0, 0.0]])
    shape = (6, 3, 50)
    keys = dict(c=1.0, seed=2**63 + 5)
    whole = core.simulate_events(t_max, shape, a=a, threads=threads, offset=2**64 - 70, **keys)
    rows, directions = split(whole), whole.directions.reshape(-1)
    for e in range(0, len(rows), 37):
        i, j = divmod(e // 50, 3)
        alone = core.simulate_events(
            t_max[0, j], (), a=a[i], offset=(2**64 - 70 + e) % 2**64, **keys
        )
        np.testing.assert_array_equal(alone.times, rows[e])
        assert alone.directions == directions[e]
    assert not any(rows[e].size for e in range(len(rows)) if (e // 50) % 3 == 2)


def test_an_earlier_end_gives_the_first_events(core: Core):
    long = core.simulate_events(5.0, 200, a=7.0, **KEYS)
    short = core.simulate_events(1.0, 200, a=7.0, **KEYS)
    np.testing.assert_array_equal(long.directions, short.directions)
    for whole, part in zip(split(long), split(short), strict=True):
        np.testing.assert_array_equal(whole[whole <= 1.0], part)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0)])
def test_no_paths(core: Core, shape: tuple[int, ...]):
    events = core.simulate_events(1.0, shape, a=2.0, **KEYS)
    assert events.times.size == 0 and events.offsets.tolist() == [0]
    assert events.directions.shape == shape
    positions, directions = events.at([0.5, 1.0], c=1.0)
    assert positions.shape == directions.shape == (*shape, 2)


def test_one_path_of_many_events(core: Core):
    """More than a batch, and a counter block for every two of them."""
    events = core.simulate_events(1000.0, (), a=50.0, **KEYS)
    assert abs(events.times.size - 50_000) < 1500
    assert np.all(np.diff(events.times) > 0) and events.directions.shape == ()
    lags = np.diff(events.times, prepend=0.0)
    assert stats.pearsonr(lags[1:], lags[:-1]).pvalue > LIMIT
    assert two_sided(float(stats.kstest(lags, stats.expon(scale=0.02).cdf).pvalue)) > LIMIT


# --- at ------------------------------------------------------------------------------------------


def follow(turns: np.ndarray, direction: float, c: float, t: float) -> tuple[float, float]:
    """Position and direction at t, in plain Python."""
    place, now = 0.0, 0.0
    for turn in turns:
        if turn > t:
            break
        place += direction * c * (turn - now)
        now, direction = float(turn), -direction
    return place + direction * c * (t - now), direction


def assert_follows(events: Events, times: np.ndarray, c: np.ndarray) -> None:
    """``at`` for times and speeds that are given in full, against the loop."""
    shape = events.directions.shape
    x, d = events.at(times, c=c)
    assert x.shape == d.shape == times.shape and x.dtype == d.dtype == np.float64
    full = np.broadcast_to(c.reshape(c.shape + (1,) * (len(shape) - c.ndim)), shape)
    for row, index in zip(split(events), np.ndindex(shape), strict=True):
        for k, t in enumerate(times[index]):
            place, direction = follow(row, events.directions[index], full[index], t)
            assert abs(x[(*index, k)] - place) <= 1e-13 * full[index] * max(t, 1e-300)
            assert d[(*index, k)] == direction


def test_at_follows_the_turns(backend: str):
    rng = np.random.default_rng(1)
    for shape, a in (((), 3.0), ((7,), 0.1), ((3, 4, 2), np.array([0.5, 5.0, 60.0]))):
        events = kacflow_core.simulate_events(2.0, shape, a=a, backend=backend, **KEYS)
        for lead in range(len(shape) + 1):
            own = (*shape[:lead], *(1,) * (len(shape) - lead), 9)
            times = np.broadcast_to(rng.uniform(0, 2, own), (*shape, 9))
            assert_follows(events, np.array(times), np.array(3.0))
            short = times[(slice(None),) * lead + (0,) * (len(shape) - lead)]
            for got, want in zip(events.at(short, c=3.0), events.at(times, c=3.0), strict=True):
                np.testing.assert_array_equal(got, want)
        if shape:
            assert_follows(events, np.array(times), np.linspace(1, 2, shape[0]))


def test_at_a_turning_time_the_path_has_turned():
    events = Events(np.array([1.0, 1.5, 0.25]), np.array([0, 2, 2, 3]), np.array([1.0, -1.0, 1.0]))
    times = np.array([0.0, 0.25, 1.0, 1.25, 1.5, 2.0])
    x, d = events.at(times, c=2.0)
    want = [[0, 0.5, 2, 1.5, 1, 2], [0, -0.5, -2, -2.5, -3, -4], [0, 0.5, -1, -1.5, -2, -3]]
    np.testing.assert_array_equal(x, want)
    np.testing.assert_array_equal(d[0], [1, 1, -1, -1, 1, 1])
    np.testing.assert_array_equal(d[1], -np.ones(6))
    np.testing.assert_array_equal(d[2], [1, -1, -1, -1, -1, -1])
    back, _ = events.at(times[::-1], c=2.0)  # times in any order
    np.testing.assert_array_equal(back, x[:, ::-1])


def test_at_in_pieces(monkeypatch: pytest.MonkeyPatch):
    """Many paths of unlike numbers of events, and one of very many."""
    a = np.concatenate([np.full(400, 0.5), [5000.0], np.full(100, 40.0)])
    events = kacflow_core.simulate_events(1.0, 501, a=a, **KEYS)
    times = np.linspace(0, 1, 7)
    whole = events.at(times, c=2.0)
    for piece in (1, 100, 4000):
        monkeypatch.setattr(kacflow_core._events, "_PIECE", piece)
        for got, want in zip(events.at(times, c=2.0), whole, strict=True):
            np.testing.assert_array_equal(got, want)
    assert np.all(np.abs(whole[0]) <= 2 * times * (1 + 1e-12))


# --- bad input -----------------------------------------------------------------------------------

BAD: list[tuple[str, Any]] = [
    ("t_max", -1.0),
    ("t_max", np.nan),
    ("t_max", np.inf),
    ("t_max", "1"),
    ("t_max", None),
    ("t_max", np.ones(3)),
    ("t_max", 1e9),  # 9e9 events on a path
    ("t_max", np.full(4, 4e8)),
    ("a", 0.0),
    ("a", np.ones((4, 3, 2))),
    ("c", -1.0),
    ("c", np.ones(3)),
    ("shape", -1),
    ("seed", 2**64),
    ("offset", -1),
    ("backend", "nonsense"),
    ("threads", 0),
]


@pytest.mark.parametrize(("argument", "value"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_refused_by_name(argument: str, value: Any):
    sound: dict[str, Any] = dict(t_max=1.0, shape=(4, 3), a=9.0, **KEYS)
    kacflow_core.simulate_events(**sound)
    more = {"shape": (4, 3000)} if isinstance(value, np.ndarray) and value[0].max() > 1e8 else {}
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        kacflow_core.simulate_events(**{**sound, **more, argument: value})
    assert len(str(caught.value)) > len(argument) + 10


@pytest.mark.parametrize(
    "times", [1.0, [], [-1.0], [np.nan], ["1"], np.ones((3, 1)), np.ones((4, 3, 2, 1))]
)
def test_at_refuses_times(times: Any):
    events = kacflow_core.simulate_events(1.0, (4, 3), a=9.0, **KEYS)
    with pytest.raises((ValueError, TypeError), match=r"\btimes\b"):
        events.at(times, c=1.0)


@pytest.mark.parametrize("c", [0.0, -1.0, np.nan, "1", np.ones(3)])
def test_at_refuses_speeds(c: Any):
    events = kacflow_core.simulate_events(1.0, (4, 3), a=9.0, **KEYS)
    with pytest.raises((ValueError, TypeError), match=r"\bc\b"):
        events.at([0.5], c=c)

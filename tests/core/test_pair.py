"""The fused training pair against the 40-digit map:

    x_t = f x_0 + K(g),    dx_t = f' x_0 + g' v(g, K(g))

The velocity increases with the displacement, so the error allowed to xi (see
test_sampler_accuracy) brackets the velocity; four units in the last place of the terms are added.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import mpmath as mp
import numpy as np
import pytest
from cores import Core
from functions import OF_ANY_DATA, arguments, parts

from kacflow_core.testing.oracles import endpoint, philox, velocity

TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
N, CHANNELS, WIDTH = 40, 3, 5
SHAPE = (N, CHANNELS, WIDTH)
SEED, OFFSET = 2**64 - 3, 2**64 - 200  # the counter passes 2^64 and starts again at 0


def schedules(t: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """f and f' of every signal schedule, T = 1."""
    e, w = np.exp(-1.0), np.pi / 2
    below = e * np.cos(w * t) + np.sin(w * t)
    return {
        "constant": (np.ones_like(t), np.zeros_like(t)),
        "linear": (1 - t, -np.ones_like(t)),
        "exp": (np.exp(-t), -np.exp(-t)),
        "cosine": (np.cos(w * t), -w * np.sin(w * t)),
        "lambda": (e * np.cos(w * t) / below, -e * w / below**2),
    }


CLOCKS = {
    "clock t": lambda t: (t, np.ones_like(t)),
    "clock t^2": lambda t: (t**2, 2 * t),
}
RATES = ["scalar", "per sample", "per channel", "per sample and channel"]
CASES = [
    ("constant", "clock t", "scalar"),
    ("linear", "clock t", "per channel"),
    ("exp", "clock t^2", "per sample"),
    ("cosine", "clock t", "per sample and channel"),
    ("lambda", "clock t^2", "scalar"),
    ("linear", "clock t^2", "per sample"),
]


class Case(NamedTuple):
    x_0: np.ndarray
    arguments: dict[str, np.ndarray]
    K: np.ndarray  # K(g), float64, SHAPE
    K_error: np.ndarray
    v: np.ndarray  # v(g, K)
    v_error: np.ndarray
    atom: np.ndarray


@functools.cache
def build(signal: str, clock: str, rates: str, dtype: str) -> Case:
    rng = np.random.default_rng(17)
    t = np.concatenate([[1e-5, 1e-3, 1.0], rng.random(N - 3)])
    f, df = schedules(t)[signal]
    g, dg = CLOCKS[clock](t)
    size = {"scalar": (), "per sample": (N,), "per channel": (1, CHANNELS)}.get(
        rates, (N, CHANNELS)
    )
    a, c = 9 * 10 ** rng.uniform(-2, 2, size), 3 * 10 ** rng.uniform(-1, 1, size)
    arguments = {
        name: np.asarray(value).astype(dtype)
        for name, value in dict(a=a, c=c, signal=f, dsignal=df, clock=g, dclock=dg).items()
    }
    x_0 = rng.normal(size=SHAPE).astype(dtype)
    a_all, c_all, g_all = (
        np.broadcast_to(p.reshape(p.shape + (1,) * (3 - p.ndim)), SHAPE).ravel().astype(float)
        for p in (arguments["a"], arguments["c"], arguments["clock"])
    )
    draws = philox.many_uniforms(SEED, OFFSET, x_0.size, dtype)
    rows = []
    with mp.workprec(velocity.PRECISION):
        taus = [mp.mpf(ai) * gi for ai, gi in zip(a_all, g_all, strict=True)]
        points = endpoint.endpoints(draws, taus)
        for p, tau, ci, gi in zip(points, taus, c_all, g_all, strict=True):
            ct = mp.mpf(ci) * gi
            if p.case == "atom":
                rows.append((ct * p.xi, 0.0, ci * p.xi, 0.0, True))
                continue
            allowed = TOLERANCE[dtype] * min(1, float(tau) ** -0.5)
            v = velocity.velocity_of_xi(p.xi, p.one_minus_xi2, tau)
            around = [
                velocity.velocity_of_xi(y, 1 - y * y, tau)
                for y in (max(p.xi - allowed, -1), min(p.xi + allowed, 1))
            ]
            spread = max(abs(y - v) for y in around)
            rows.append((ct * p.xi, ct * allowed, ci * v, ci * spread, False))
    columns = [np.array(column, dtype=float).reshape(SHAPE) for column in zip(*rows, strict=True)]
    return Case(x_0, arguments, *columns[:4], columns[4].astype(bool))


def per_element(parameter: np.ndarray) -> np.ndarray:
    return parameter.reshape(parameter.shape + (1,) * (3 - parameter.ndim)).astype(float)


def pair(core: Core, case: Case, **changes):
    arguments = {**case.arguments, **changes}
    return core.sample_pair(case.x_0, **arguments, seed=SEED, offset=OFFSET)


@pytest.mark.parametrize(("signal", "clock", "rates"), CASES)
def test_pair(core: Core, dtype: str, signal: str, clock: str, rates: str):
    case = build(signal, clock, rates, dtype)
    before = case.x_0.copy()
    x_t, dx_t = pair(core, case)
    np.testing.assert_array_equal(case.x_0, before)
    assert x_t.dtype == dx_t.dtype == dtype
    assert x_t.shape == dx_t.shape == SHAPE
    f, df, dg = (per_element(case.arguments[k]) for k in ("signal", "dsignal", "dclock"))
    unit = 4 * np.finfo(dtype).eps
    for got, kept, moved, allowed in (
        (x_t, f * case.x_0, case.K, case.K_error),
        (dx_t, df * case.x_0, dg * case.v, np.abs(dg) * case.v_error),
    ):
        allowed = allowed + unit * (np.abs(kept) + np.abs(moved))
        ratio = np.abs(got - (kept + moved)) / np.maximum(allowed, 1e-300)
        i = np.unravel_index(np.argmax(ratio), SHAPE)
        assert ratio[i] <= 1, f"element {i}: got {got[i]!r}, expected {(kept + moved)[i]!r}"


@pytest.mark.parametrize("rates", RATES)
def test_noise_and_atoms_of_the_pair(core: Core, dtype: str, rates: str):
    """With f = f' = 0, g' = 1 the pair is (K, v): the noise of ``sample``, atoms exactly at c."""
    case = build("linear", "clock t", rates, dtype)
    zero, one = np.zeros((), dtype), np.ones((), dtype)
    x_t, dx_t = pair(core, case, signal=zero, dsignal=zero, dclock=one)
    a, c, g = (case.arguments[k] for k in ("a", "c", "clock"))
    noise = core.sample(g, SHAPE, a=a, c=c, seed=SEED, offset=OFFSET, dtype=dtype)
    np.testing.assert_array_equal(x_t, noise)
    c_all = np.broadcast_to(per_element(c), SHAPE)
    np.testing.assert_array_equal(np.abs(dx_t) == c_all, case.atom)
    np.testing.assert_array_equal(dx_t[case.atom], case.v[case.atom])
    assert case.atom.any() and not case.atom.all()
    # beside the map the velocity of the drawn place, except where x_t rounds to the edge
    ct = np.abs(c_all.astype(dtype) * per_element(g).astype(dtype))
    apart = ~case.atom & (np.abs(x_t) < ct * (1 - 1e-3))
    shape = (..., *(None,) * (3 - a.ndim)), (..., *(None,) * (3 - c.ndim))
    v = core.velocity(x_t, g[:, None, None], a=a[shape[0]], c=c[shape[1]])
    loose = 2e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(dx_t[apart], v[apart], rtol=loose, atol=loose * 1e-3)


def test_atoms_follow_the_data_exactly(core: Core, dtype: str):
    """On atoms x_t = f x_0 +- c g and dx_t = f' x_0 +- g' c; exact where nothing rounds."""
    n = 400
    x_0 = (np.arange(n) % 17 - 8).astype(dtype)
    keys = dict(a=2.0**-6, c=4.0, clock=0.5, dclock=2.0, signal=0.5, dsignal=-0.25)
    x_t, dx_t = core.sample_pair(x_0, **keys, seed=11)
    noise = core.sample(0.5, (n,), a=2.0**-6, c=4.0, seed=11, dtype=dtype)
    atom = np.abs(noise) == 2
    assert 0.9 * n < atom.sum() < n
    np.testing.assert_array_equal(x_t[atom], (0.5 * x_0 + noise)[atom])
    np.testing.assert_array_equal(dx_t[atom], (-0.25 * x_0 + 4 * noise)[atom])


def test_time_zero_keeps_the_data(core: Core, dtype: str):
    """At g = 0 everything is an atom: x_t = x_0, and the speed is +-c in a random direction."""
    x_0 = np.linspace(-1, 1, 300).astype(dtype)
    x_t, dx_t = core.sample_pair(
        x_0, a=9.0, c=3.0, signal=1.0, dsignal=0.0, clock=0.0, dclock=1.0, seed=1
    )
    np.testing.assert_array_equal(x_t, x_0)
    np.testing.assert_array_equal(np.abs(dx_t), np.full_like(x_0, 3))
    assert 90 < np.sum(dx_t > 0) < 210


def bfloat16_bits(x: np.ndarray) -> np.ndarray:
    """float32 to the nearest bfloat16, ties to even, as raw bits (finite numbers)."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype(
        np.uint16
    )


def widen(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


BFLOAT16 = np.dtype([("bfloat16", "<u2")])


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_sixteen_bit_data_equals_float32_rounded(core: Core, kind: str):
    rng = np.random.default_rng(5)
    t = rng.random(64).astype(np.float32)
    wide = rng.normal(size=(64, 2, 7)).astype(np.float32)
    if kind == "float16":
        x_0 = wide.astype(np.float16)
        wide = x_0.astype(np.float32)
    else:
        bits = bfloat16_bits(wide)
        x_0, wide = bits.view(BFLOAT16), widen(bits)
    for name in OF_ANY_DATA:
        narrow, expected = (
            parts(getattr(core, name)(**arguments(name, data, t))) for data in (x_0, wide)
        )
        for got, want in zip(narrow, expected, strict=True):
            assert got.shape == x_0.shape
            if kind == "float16":
                assert got.dtype == np.float16
                np.testing.assert_array_equal(got, want.astype(np.float16))
            else:
                np.testing.assert_array_equal(got.view(np.uint16), bfloat16_bits(want))


@pytest.mark.parametrize(("a", "c"), [(1e14, 8e23), (1e9, 3e8), (0.5, 8e37), (2.0, 1e-30)])
def test_any_unit_of_length(core: Core, a: float, c: float):
    """Nothing overflows up to the largest c t a: the pair scales with c."""
    keys = dict(a=a, signal=0.0, dsignal=0.0, clock=1.0, dclock=1.0, seed=4)
    x_0 = np.zeros(1000, np.float32)
    unit = np.float32(c)
    for got, want in zip(
        core.sample_pair(x_0, c=c, **keys), core.sample_pair(x_0, c=1.0, **keys), strict=True
    ):
        np.testing.assert_allclose(got / unit, want, rtol=3e-6, atol=1e-10)
    v = core.velocity(core.sample_pair(x_0, c=c, **keys)[0], 1.0, a=a, c=c)
    assert np.isfinite(v).all() and np.abs(v).max() <= unit

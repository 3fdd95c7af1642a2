"""Splines, their inverse and their gradients against 40 digits, on every backend and SIMD level.

The tolerances are about twice the largest errors that csrc/kac/spline.h quotes.
"""

from __future__ import annotations

import functools
import math
import re

import mpmath as mp
import numpy as np
import pytest
from cores import Core

import kacflow_core
from kacflow_core import _spline
from kacflow_core.testing import _spline_checks as checks
from kacflow_core.testing.oracles import spline as oracle

UNITS = {"y": 15, "slope": 18, "inverse": 5, "gradient": 19}
POINTS = 3000


@functools.cache
def splines(dtype: str, which: int) -> tuple[checks.Knots, np.ndarray, list, list]:
    """Splines of 1 to 9 bins in tables of 9, a point of each, numbers of its bin, and the bin."""
    rng = np.random.default_rng(which)
    of = checks.knots(rng, POINTS, 9, dtype)
    x = checks.points(rng, 1, of[which], 1)
    at = of[which]
    for i, knot in enumerate(range(10)):  # each knot, and a unit beside it on either side
        for j, step in enumerate((-np.inf, None, np.inf)):
            place = at[3 * i + j, knot]
            x[0, 3 * i + j] = place if step is None else np.nextafter(place, place.dtype.type(step))
    bins = [oracle.bin_of(v, table) for v, table in zip(x.flat, at, strict=True)]
    with mp.workprec(oracle.PRECISION):
        numbers = [oracle.numbers(k, *tables) for k, *tables in zip(bins, *of, strict=True)]
    return of, x, numbers, bins


@functools.cache
def wanted(dtype: str) -> tuple[list[mp.mpf], list[mp.mpf]]:
    _, x, numbers, _ = splines(dtype, 0)
    with mp.workprec(oracle.PRECISION):
        found = [oracle.spline(float(v), b) for v, b in zip(x.flat, numbers, strict=True)]
    return [y for y, _ in found], [slope for _, slope in found]


def errors(got: np.ndarray, want: list[mp.mpf], unit: np.ndarray) -> np.ndarray:
    with mp.workprec(oracle.PRECISION):
        return np.array([
            float(abs(float(g) - w)) / u if math.isfinite(g) else math.inf
            for g, w, u in zip(got.flat, want, unit.flat, strict=True)
        ])  # fmt: skip


def column(values: list[mp.mpf]) -> np.ndarray:
    return np.array([[[float(v)] for v in values]])


def test_values_and_slopes(core: Core, dtype: str):
    of, x, *_ = splines(dtype, 0)
    y, slope = core.spline(x, *of)
    assert y.dtype == slope.dtype == dtype and y.shape == slope.shape == x.shape
    want, steep = wanted(dtype)
    assert errors(y, want, checks.value_units(x, column(want), of)).max() <= UNITS["y"]
    assert errors(slope, steep, checks.units(column(steep).astype(dtype))).max() <= UNITS["slope"]


@functools.cache
def inverses(dtype: str) -> list[mp.mpf]:
    _, y, numbers, _ = splines(dtype, 1)
    with mp.workprec(oracle.PRECISION):
        return [oracle.inverse(float(v), b) for v, b in zip(y.flat, numbers, strict=True)]


def test_inverses(core: Core, dtype: str):
    of, y, *_ = splines(dtype, 1)
    want = inverses(dtype)
    x = core.spline_inverse(y, *of)
    assert x.dtype == dtype and x.shape == y.shape
    assert errors(x, want, checks.inverse_units(y, column(want), of)).max() <= UNITS["inverse"]


SOME = 400  #: splines whose gradients are compared


@functools.cache
def gradients(dtype: str) -> tuple[np.ndarray, np.ndarray, list[list[mp.mpf]]]:
    _, x, numbers, _ = splines(dtype, 0)
    f, g = np.random.default_rng(5).normal(size=(2, *x.shape)).astype(dtype)
    found = [
        oracle.gradient(float(x.flat[i]), float(f.flat[i]), float(g.flat[i]), numbers[i])
        for i in range(SOME)
    ]
    return f, g, found


def test_gradients(core: Core, dtype: str):
    of, x, _, bins = splines(dtype, 0)
    f, g, want = gradients(dtype)
    grad_x, sums = core.spline_grad(x, f, g, *of)
    most = checks.magnitudes(x, f, g, of)[:, 0, :, 0] * np.finfo(dtype).eps
    got = np.zeros((SOME, 7))
    for i in range(SOME):
        k = bins[i]
        got[i] = [grad_x.flat[i], *(v for table in sums for v in table[i, k : k + 2])]
        for table in sums:  # nothing in the knots of the other bins
            assert not np.delete(table[i], (k, k + 1)).any()
    for i in range(7):
        found = errors(got[:, i], [w[i] for w in want], most[i, :SOME])
        assert found.max() <= UNITS["gradient"], i


@pytest.mark.parametrize(
    "shape", [(5000, 1, 1), (1, 1, 5000), (70, 40, 1), (30, 2, 70), (9, 3, 200)]
)
@pytest.mark.parametrize("bins", [1, 2, 33])
def test_sums_are_those_of_the_elements(core: Core, dtype: str, shape, bins: int):
    """To what n additions one by one are off, by exact sums of the same terms."""
    rng = np.random.default_rng(bins)
    n0, count, inner = shape
    of = checks.knots(rng, count, bins, dtype)
    x = checks.points(rng, n0, of[0], inner)
    f, g = rng.normal(size=(2, *shape)).astype(dtype)
    grad_x, sums = core.spline_grad(x, f, g, *of)
    spline = np.broadcast_to(np.arange(count)[:, None], shape).reshape(-1)
    own = [v[spline] for v in of]  # a spline for each element
    each_x, each = core.spline_grad(*(v.reshape(1, -1, 1) for v in (x, f, g)), *own)
    np.testing.assert_array_equal(grad_x, each_x.reshape(shape))
    for got, terms in zip(sums, each, strict=True):
        for c in range(count):
            rows = terms[spline == c].astype(float)
            want = np.array([math.fsum(column) for column in rows.T])
            scale = np.abs(rows).sum(0) * np.finfo(dtype).eps
            assert np.all(np.abs(got[c] - want) <= 200 * scale)


@pytest.mark.parametrize("n", [0, 1, 129])
def test_sizes(core: Core, dtype: str, n: int):
    rng = np.random.default_rng(n)
    of = checks.knots(rng, 2, 4, dtype)
    x = checks.points(rng, 129, of[0], 3)
    f, g = rng.normal(size=(2, *x.shape)).astype(dtype)
    y, slope = core.spline(x, *of)
    got, steep = core.spline(x[:n], *of)
    np.testing.assert_array_equal(got, y[:n])
    np.testing.assert_array_equal(steep, slope[:n])
    np.testing.assert_array_equal(core.spline_inverse(x[:n], *of), core.spline_inverse(x, *of)[:n])
    grad_x, sums = core.spline_grad(x[:n], f[:n], g[:n], *of)
    np.testing.assert_array_equal(grad_x, core.spline_grad(x, f, g, *of)[0][:n])
    assert all(v.shape == (2, 5) and v.dtype == dtype for v in sums)
    if n == 0:
        assert not any(v.any() for v in sums)


def test_infinities_and_nan(core: Core, dtype: str):
    of = checks.knots(np.random.default_rng(1), 1, 5, dtype)
    x = np.zeros((1, 1, 129), dtype)
    x[0, 0, 7], x[0, 0, 64], x[0, 0, 65] = -np.inf, np.nan, np.inf
    y, slope = core.spline(x, *of)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    np.testing.assert_array_equal(np.isnan(slope), np.isnan(x))
    assert y[0, 0, 7] == -np.inf and y[0, 0, 65] == np.inf
    np.testing.assert_allclose(slope[0, 0, [7, 65]], of[2][0, [0, -1]], rtol=1e-6)
    back = core.spline_inverse(x, *of)
    np.testing.assert_array_equal(back[np.isinf(x)], x[np.isinf(x)])
    np.testing.assert_array_equal(np.isnan(back), np.isnan(x))
    grad_x, _ = core.spline_grad(x, np.ones_like(x), np.zeros_like(x), *of)
    np.testing.assert_array_equal(np.isnan(grad_x), np.isnan(x))
    np.testing.assert_allclose(grad_x[0, 0, [7, 65]], of[2][0, [0, -1]], rtol=1e-6)


def test_strides(core: Core, dtype: str):
    rng = np.random.default_rng(4)
    of = checks.knots(rng, 3, 6, dtype)
    whole = checks.points(rng, 20, of[0], 10)
    tables = [np.asfortranarray(v) for v in of]
    for x in (
        whole[::2, :, ::-3],
        whole.transpose(2, 1, 0),
        np.broadcast_to(whole[:1], (4, 3, 10)),
    ):
        plain = np.ascontiguousarray(x)
        for got, want in zip(core.spline(x, *tables), core.spline(plain, *of), strict=True):
            np.testing.assert_array_equal(got, want)
        got, sums = core.spline_grad(x, x, x[::-1], *tables)
        want, exact = core.spline_grad(plain, plain, plain[::-1].copy(), *of)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(sums, exact)


def test_all_cores_sum_alike(core: Core, dtype: str):
    """The native levels with a fused multiply-add, numba on such a processor: the same bits."""
    if core.name == "reference":
        pytest.skip("sums in float64")
    rng = np.random.default_rng(6)
    of = checks.knots(rng, 1, 12, dtype)
    x = checks.points(rng, 5000, of[0], 1)
    one, again = (core.spline_grad(x, x, x, *of, threads=n) for n in (1, 3))
    for got, want in zip((one[0], *one[1]), (again[0], *again[1]), strict=True):
        np.testing.assert_array_equal(got, want)
    close = kacflow_core._spline.spline_grad(x, x, x, *of, backend="reference")
    for got, want in zip(one[1], close[1], strict=True):
        scale = np.abs(want).max()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e3 * np.finfo(dtype).eps * scale)


LINE = np.array([[-1.0, 0.0, 1.0]])
AT = np.zeros((4, 1, 2))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((AT[0], LINE, LINE, LINE), ValueError, "x: got shape (1, 2); allowed: (n0, C, inner)"),
        ((AT, LINE[0], LINE, LINE), ValueError, "edges: got shape (3,); allowed: (1, bins + 1)"),
        ((AT, LINE[:, :1], LINE, LINE), ValueError, "edges: got shape (1, 1); allowed"),
        ((AT.transpose(0, 2, 1), LINE, LINE, LINE), ValueError, "allowed: (2, bins + 1)"),
        ((AT, LINE, LINE[:, 1:], LINE), ValueError, "values: got shape (1, 2); allowed: (1, 3)"),
        ((AT, LINE, LINE, LINE.astype("f4")), TypeError, "slopes: got dtype float32; allowed"),
        ((AT.astype("f2"), LINE, LINE, LINE), TypeError, "x: got dtype float16"),
        ((AT, LINE, "line", LINE), TypeError, "values: got"),
    ],
)
def test_bad_arguments(backend: str, arguments, error, message: str):
    with pytest.raises(error, match=re.escape(message)):
        _spline.spline(*arguments, backend=backend)


def test_bad_gradients(backend: str):
    with pytest.raises(ValueError, match=r"grad_y: got shape \(1, 1, 2\); allowed: \(4, 1, 2\)"):
        _spline.spline_grad(AT, AT[:1], AT, LINE, LINE, LINE, backend=backend)
    with pytest.raises(ValueError, match=r"y: got shape \(\)"):
        _spline.spline_inverse(np.float64(0.5), LINE, LINE, LINE, backend=backend)


def test_knots_without_order_are_read_within_bounds(backend: str, dtype: str):
    rng = np.random.default_rng(8)
    tables = rng.normal(size=(3, 2, 6)).astype(dtype)
    x = rng.normal(size=(50, 2, 3)).astype(dtype)
    with np.errstate(all="ignore"):
        _spline.spline(x, *tables, backend=backend)
        _spline.spline_inverse(x, *tables, backend=backend)
        _spline.spline_grad(x, x, x, *tables, backend=backend)

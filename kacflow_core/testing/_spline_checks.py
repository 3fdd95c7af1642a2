"""Checks of ``spline``, ``spline_inverse`` and ``spline_grad``, which a backend may do without."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kacflow_core._layout import Array
from kacflow_core.reference import spline as reference
from kacflow_core.testing import strategies
from kacflow_core.testing._compare import equal, within
from kacflow_core.testing._subject import Subject

#: In units of the last place.  In float64 the reference, in textbook form, has an error of its own.
ULPS = {"float32": 16, "float64": 400}
_SIZES = (0, 1, 2, 15, 16, 17, 63, 64, 65, 129)
_NEAR = 10.0 ** np.arange(-7, -1)
_PLACES = np.concatenate([np.linspace(0, 1, 17)[:-1], _NEAR, 1 - _NEAR])

Knots = tuple[Array, Array, Array]


def knots(rng: np.random.Generator, splines: int, bins: int, dtype: str) -> Knots:
    """Splines whose widths, heights and slopes are log-normal."""
    width, height, slope = np.exp(rng.normal(size=(3, splines, bins + 1)))
    edges, values = ((v.cumsum(1) - v.sum(1, keepdims=True) / 2).astype(dtype)
                     for v in (width, height))  # fmt: skip
    return edges, values, slope.astype(dtype)


def points(rng: np.random.Generator, n0: int, at: Array, inner: int) -> Array:
    """Numbers for splines with knots ``at`` there: at and beside these, between and beyond."""
    splines, count = at.shape
    shape = n0, splines, inner
    near = at[np.arange(splines)[:, None], rng.integers(0, count, shape)]
    away = 10.0 ** rng.uniform(-7, 0, shape) * rng.choice([-1, 1], shape)
    reach = at[:, -1:] - at[:, :1]
    inside = at[:, :1] - 0.2 * reach + 1.4 * reach * rng.random(shape)
    kind = rng.integers(0, 5, shape)
    there = np.choose(kind, [near, near, near, near + away, inside]).astype(at.dtype)
    step = np.choose(kind, [0, -1, 1, 0, 0]) * np.spacing(np.abs(there))
    return (there + step).astype(at.dtype)


def units(*values: Any) -> Array:
    """The spacing of numbers at the largest magnitude of some."""
    largest = functools.reduce(np.maximum, (np.abs(v) for v in values))
    return np.spacing(largest).astype(np.float64)


def value_units(x: Array, y: Array, of: Knots) -> Array:
    """What an error of y is counted in."""
    b = reference.find(x, of[0], *of)
    return units(*(v.astype(x.dtype) for v in (b.y_0, b.y_1, y)))


def inverse_units(y: Array, x: Array, of: Knots) -> Array:
    """... and of x for a y: that of x, and that of y over the slope."""
    b = reference.find(y, of[1], *of)
    _, slope = reference.spline(x, *of)
    own = units(*(v.astype(y.dtype) for v in (b.x_0, b.x_1, x)))
    return own + units(*(v.astype(y.dtype) for v in (b.y_0, b.y_1, y))) / slope


def magnitudes(x: Array, f: Array, g: Array, of: Knots) -> Array:
    """The largest magnitudes that the terms of ``reference.spline_terms`` have in the bins, each of
    its two parts by itself; to those in abscissas the slope over the width is added, by which
    rounding turns the slope of a line.
    """
    b = reference.find(x, of[0], *of)
    most = np.zeros((7, *x.shape))
    for there in (x, *(b.x_0 + place * (b.x_1 - b.x_0) for place in _PLACES)):
        for parts in ((np.abs(f), 0 * g), (0 * f, np.abs(g))):
            _, terms = reference.spline_terms(there, *parts, *of)
            most = np.maximum(most, np.abs(terms))
    most[:3] += np.abs(g) * reference.spline(x, *of)[1] / (b.x_1 - b.x_0)
    most[5:] += np.abs(f * (x - np.clip(x, b.x_0, b.x_1)))
    return most


def _arguments() -> dict[str, st.SearchStrategy[Any]]:
    return {
        "dtype": strategies.dtypes(),
        "seed": st.integers(0, 2**32 - 1),
        "bins": st.sampled_from([1, 2, 3, 4, 7, 8, 9, 32, 33, 512]),
        "shape": st.tuples(st.integers(1, 70), st.integers(1, 5), st.integers(1, 70)),
    }


def spline_error(core: Subject) -> None:
    """y, y' and the inverse are those of the reference: infinities beyond, NaN for NaN alone."""

    def holds(dtype: str, seed: int, bins: int, shape: tuple[int, int, int]) -> None:
        rng, allowed = np.random.default_rng(seed), ULPS[dtype]
        n0, splines, inner = shape
        of = knots(rng, splines, bins, dtype)
        x = points(rng, n0, of[0], inner)
        got, slope = core.spline(x, *of)
        assert got.dtype == slope.dtype == dtype, f"y has dtype {got.dtype}, x {dtype}"
        want, steep = reference.spline(x, *of)
        within(got, want, allowed * value_units(x, want, of), f"{dtype} y")
        within(slope, steep, allowed * units(steep.astype(dtype)), f"{dtype} y'")
        y = points(rng, n0, of[1], inner)
        want = reference.spline_inverse(y, *of)
        scale = allowed * inverse_units(y, want, of)
        within(core.spline_inverse(y, *of), want, scale, f"{dtype} inverse")

    core.search(holds, **_arguments())
    for dtype in ULPS:
        of = knots(np.random.default_rng(0), 1, 8, dtype)
        ends = np.array([[[-np.inf, np.inf, np.nan]]], dtype)
        y, slope = core.spline(ends, *of)
        equal(y, ends, f"{dtype} y at infinity and NaN")
        want = np.array([[[of[2][0, 0], of[2][0, -1], np.nan]]], dtype)
        within(slope[..., :2], want[..., :2], 4 * units(want[..., :2]), f"{dtype} y' at infinity")
        assert np.isnan(slope[0, 0, 2]), f"{dtype} y' of NaN is {slope[0, 0, 2]!s}"
        equal(core.spline_inverse(ends, *of), ends, f"{dtype} inverse at infinity and NaN")


def spline_grad_error(core: Subject) -> None:
    """Gradients in data and knots are those of the reference, and sums over all elements."""

    def holds(dtype: str, seed: int, bins: int, shape: tuple[int, int, int]) -> None:
        rng, roundoff = np.random.default_rng(seed), float(np.finfo(dtype).eps)
        n0, splines, inner = shape
        of = knots(rng, splines, bins, dtype)
        x = points(rng, n0, of[0], inner)
        f, g = rng.normal(size=(2, *shape)).astype(dtype)
        grad_x, sums = core.spline_grad(x, f, g, *of)
        b, terms = reference.spline_terms(x, f, g, *of)
        most = magnitudes(x, f, g, of)
        assert grad_x.dtype == dtype, f"the gradient in x has dtype {grad_x.dtype}, x {dtype}"
        within(grad_x, terms[0], ULPS[dtype] * roundoff * most[0], f"{dtype} gradient in x")
        wanted = reference.knot_sums(b, terms, of[0].shape)
        # a sum of n numbers one by one is off by n/2 unit roundoffs of that of the magnitudes
        scale = (ULPS[dtype] + n0 * inner) * roundoff * reference.knot_sums(b, most, of[0].shape)
        for i, name in enumerate(("edges", "values", "slopes")):
            within(sums[i], wanted[:, i], scale[:, i], f"{dtype} gradient in the {name}")

    core.search(holds, **_arguments())


def spline_of_any_array(core: Subject) -> None:
    """Sizes, splits, strides and threads change no bit, and arrays beside the results stay."""
    rng = np.random.default_rng(1)
    for dtype in ULPS:
        of = knots(rng, 3, 7, dtype)
        x = points(rng, max(_SIZES), of[0], 2)
        f, g = rng.normal(size=(2, *x.shape)).astype(dtype)
        whole = _everything(core, x, f, g, of)
        for n in _SIZES:
            for name, got in _everything(core, x[:n], f[:n], g[:n], of).items():
                equal(got, whole[name][:n], f"{dtype} {name} of {n} rows")
        turned = [np.asfortranarray(v) for v in (x, f, g)]
        for name, got in _everything(core, turned[0], turned[1], turned[2], of).items():
            equal(got, whole[name], f"{dtype} {name} of an array of other strides")
        spoilt = x.copy()
        spoilt[1, 1, 1] = np.nan
        for name, got in _everything(core, spoilt, f, g, of).items():
            assert np.isnan(got[1, 1, 1]), f"{dtype} {name} of NaN is {got[1, 1, 1]!s}"
            got[1, 1, 1] = whole[name][1, 1, 1]
            equal(got, whole[name], f"{dtype} {name} beside an element nan")
        for shape, splines in (((60_000, 1, 1), of), ((700, 3, 30), of)):
            tables = [v[: shape[1]] for v in splines]
            x = points(rng, shape[0], tables[0], shape[2])
            f, g = rng.normal(size=(2, *shape)).astype(dtype)
            sums = [core.spline_grad(x, f, g, *tables, threads=n)[1] for n in (1, 2, 3)]
            for other in sums[1:]:
                for got, want in zip(other, sums[0], strict=True):
                    equal(got, want, f"{dtype} gradient in knots with other threads")
    empty = np.zeros((0, 3, 4))
    grad_x, sums = core.spline_grad(empty, empty, empty, *of)
    assert grad_x.shape == empty.shape and not np.any(sums), "gradients of no data"


def _everything(core: Subject, x: Array, f: Array, g: Array, of: Sequence[Array]) -> dict[str, Any]:
    y, slope = core.spline(x, *of)
    inverse = core.spline_inverse(x, *of)
    return {"y": y, "y'": slope, "inverse": inverse, "gradient": core.spline_grad(x, f, g, *of)[0]}


CHECKS = (spline_error, spline_grad_error, spline_of_any_array)

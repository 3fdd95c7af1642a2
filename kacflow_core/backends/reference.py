"""The backend interface on top of :mod:`kacflow_core.reference`, in pieces that fit into caches.

Parameters are rounded to the working type first; the computation is in float64 and the result is
rounded once to the working type, then to 16-bit data.  ``threads`` is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kacflow_core import reference
from kacflow_core._dispatch import AtPoints, Backend
from kacflow_core._layout import Array, Layout, full_rows, working_dtype
from kacflow_core.backends._storage import store, widen
from kacflow_core.reference import events, pair, path, philox, sampler, spline

_PIECE = 1 << 15


def _pieces(
    layout: Layout, working: np.dtype, *parameters: Array, size: int = _PIECE
) -> Iterator[tuple[slice, list[Array]]]:
    """Slices of the flat array, each with its elements' parameters, rounded to the working type."""
    rounded = [p.astype(working).astype(np.float64) for p in parameters]
    rows = full_rows(layout, *rounded)
    for start in range(0, layout.size, size):
        piece = slice(start, min(start + size, layout.size))
        index = np.arange(piece.start, piece.stop) // layout.inner
        i0, i1 = np.divmod(index, layout.n1)
        yield piece, [p[i0, i1] for p in rows]


def _cone(c: Array, t: Array, working: np.dtype) -> Array:
    """c t rounded in the working type."""
    return (c * t).astype(working).astype(np.float64)


def _results(found: Any, outputs: Sequence[Array]) -> Iterator[tuple[Array, Array]]:
    """What one function gave, each beside the array that it goes to."""
    return zip(found if isinstance(found, tuple) else (found,), outputs, strict=True)


class ReferenceBackend(AtPoints):
    """See :class:`kacflow_core._dispatch.Backend`."""

    name = "reference"

    def philox(self, seed: int, counter: int, block: int, stream: int) -> tuple[int, ...]:
        return tuple(philox.words(seed, counter, block, stream).tolist())

    def sample(
        self, out: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        for piece, (times, rates, speeds) in _pieces(layout, out.dtype, t, a, c):
            counters = philox.counters((offset + piece.start) % 2**64, times.size)
            u = philox.uniforms(seed, counters, out.dtype)
            out[piece] = _cone(speeds, times, out.dtype) * sampler.endpoint(u, rates, times).xi

    def sample_pair(
        self, x_0: Array, x_t: Array, dx_t: Array, layout: Layout, a: Array, c: Array,
        signal: Array, dsignal: Array, clock: Array, dclock: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        working = working_dtype(x_0.dtype)
        rows = _pieces(layout, working, a, c, signal, dsignal, clock, dclock)
        for piece, (rates, speeds, f, df, times, dg) in rows:
            counters = philox.counters((offset + piece.start) % 2**64, times.size)
            xi, v = pair.noise(philox.uniforms(seed, counters, working), rates, times)
            data = widen(x_0[piece]).astype(np.float64)
            with np.errstate(all="ignore"):
                here = f * data + _cone(speeds, times, working) * xi
                moves = df * data + dg * (speeds * v)
                store(here.astype(working), x_t[piece])
                store(moves.astype(working), dx_t[piece])

    def _point(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        rows: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        working, function = working_dtype(x.dtype), getattr(reference, operation)
        for piece, (times, rates, speeds, *ends) in _pieces(layout, working, *rows):
            found = function(widen(x[piece]), times, *ends, a=rates, c=speeds, dtype=working)
            with np.errstate(over="ignore", under="ignore"):
                for value, out in _results(found, outputs):
                    store(value.astype(working), out[piece])

    def sample_path(
        self, positions: Array, directions: Array, layout: Layout, times: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        working, n = positions.dtype, times.shape[-1]
        grids = np.broadcast_to(times, (layout.n0, layout.n1, n))
        out, out_directions = positions.reshape(-1, n), directions.reshape(-1, n)
        pieces = _pieces(layout, working, a, c, size=max(1, _PIECE // n))
        for piece, (rates, speeds) in pieces:
            i0, i1 = np.divmod(np.arange(piece.start, piece.stop) // layout.inner, layout.n1)
            when = grids[i0, i1]
            counters = philox.counters((offset + piece.start) % 2**64, rates.size)
            place = np.zeros(rates.size)
            here = np.zeros(rates.size, working)
            walk = path.steps(when.astype(np.float64), rates, seed, counters, working)
            for j, step in enumerate(walk):
                cone = speeds.astype(working) * (when[:, j] - when[:, j - 1] if j else when[:, 0])
                place = place + speeds * step.length * step.xi
                target = place if j else cone.astype(np.float64) * step.xi  # first: as in `sample`
                here = path.limited(here, target.astype(working), cone)
                out[piece, j], out_directions[piece, j] = here, step.direction

    def simulate_events(
        self, layout: Layout, t_max: Array, a: Array, *, seed: int, offset: int, threads: int
    ) -> tuple[Array, Array, Array]:
        times, counts = [], []
        size = max(1, _PIECE // (8 + int(np.max(a * t_max))))
        for piece, (ends, rates) in _pieces(layout, np.dtype(np.float64), t_max, a, size=size):
            counters = philox.counters((offset + piece.start) % 2**64, rates.size)
            found, number = events.turning_times(ends, rates, seed, counters)
            times.append(found)
            counts.append(number)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        counters = philox.counters(offset, layout.size)
        return np.concatenate(times), offsets, philox.first_directions(seed, counters)

    def _at_knots(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        knots: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        with np.errstate(all="ignore"):
            found = getattr(spline, operation)(x.reshape(layout), *knots)
            for value, out in _results(found, outputs):
                out[...] = value.reshape(-1)

    def spline_grad(
        self, x: Array, grad_y: Array, grad_slope: Array, grad_x: Array, grad_knots: Array,
        layout: Layout, edges: Array, values: Array, slopes: Array, *, threads: int,
    ) -> None:  # fmt: skip
        at, f, g = (array.reshape(layout) for array in (x, grad_y, grad_slope))
        with np.errstate(all="ignore"):
            found, grad_knots[...] = spline.spline_grad(at, f, g, edges, values, slopes)
            grad_x[...] = found.reshape(-1)


def load() -> Backend:
    """The backend; it needs nothing but NumPy."""
    return ReferenceBackend()

"""The backend interface on top of :mod:`kacflow_core.reference`, in pieces that fit into caches.

Parameters are rounded to the working type first; the computation is in float64 and the result is
rounded once to the working type, then to 16-bit data.  ``threads`` is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kacflow_core import reference
from kacflow_core._dispatch import Backend
from kacflow_core._layout import Array, Layout, full_rows, working_dtype
from kacflow_core.backends._storage import store, widen
from kacflow_core.reference import pair, philox, sampler

_PIECE = 1 << 15


def _pieces(
    layout: Layout, working: np.dtype, *parameters: Array
) -> Iterator[tuple[slice, list[Array]]]:
    """Slices of the flat array, each with its elements' parameters, rounded to the working type."""
    rounded = [p.astype(working).astype(np.float64) for p in parameters]
    rows = full_rows(layout, *rounded)
    for start in range(0, layout.size, _PIECE):
        piece = slice(start, min(start + _PIECE, layout.size))
        index = np.arange(piece.start, piece.stop) // layout.inner
        i0, i1 = np.divmod(index, layout.n1)
        yield piece, [p[i0, i1] for p in rows]


def _cone(c: Array, t: Array, working: np.dtype) -> Array:
    """c t rounded in the working type."""
    return (c * t).astype(working).astype(np.float64)


class ReferenceBackend:
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

    def velocity(
        self, x: Array, out: Array, layout: Layout, t: Array, a: Array, c: Array, *, threads: int
    ) -> None:
        working = working_dtype(x.dtype)
        for piece, (times, rates, speeds) in _pieces(layout, working, t, a, c):
            v = reference.velocity(widen(x[piece]), times, a=rates, c=speeds, dtype=working)
            store(v.astype(working), out[piece])

    def velocity_grad(
        self, x: Array, dv_dx: Array, dv_dt: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        working = working_dtype(x.dtype)
        for piece, (times, rates, speeds) in _pieces(layout, working, t, a, c):
            slopes = reference.velocity_grad(
                widen(x[piece]), times, a=rates, c=speeds, dtype=working
            )
            with np.errstate(over="ignore"):
                for slope, out in zip(slopes, (dv_dx, dv_dt), strict=True):
                    store(slope.astype(working), out[piece])


def load() -> Backend:
    """The backend; it needs nothing but NumPy."""
    return ReferenceBackend()

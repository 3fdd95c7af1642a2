"""The reference as a backend: float64 inside, rounded to the data's type at the end."""

from __future__ import annotations

import numpy as np

from kacflow_core._dispatch import Backend
from kacflow_core._layout import Array, Layout, full_rows, is_bfloat16, working_dtype

_PIECE = 1 << 18  # elements worked on at a time, to bound the memory of float64 temporaries


def _load(data: Array) -> Array:
    """Data in float64."""
    if is_bfloat16(data.dtype):
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return data.astype(np.float64)


def _store(value: Array, out: Array) -> None:
    """Round to the type of ``out``, 16-bit types by way of float32 as the kernels do."""
    if is_bfloat16(out.dtype):
        bits = value.astype(np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        nan = (bits & 0x7FFFFFFF) > 0x7F800000
        out.view(np.uint16)[...] = np.where(nan, (bits >> 16) | 0x40, rounded).astype(np.uint16)
    elif out.dtype == np.float16:
        with np.errstate(over="ignore"):
            out[...] = value.astype(np.float32).astype(np.float16)
    else:
        out[...] = value


class ReferenceBackend:
    """See :class:`kacflow_core._dispatch.Backend`; one thread, for tests and for reading."""

    name = "reference"

    @staticmethod
    def _pieces(layout: Layout, dtype: np.dtype, parameters: tuple[Array, ...]):  # type: ignore[no-untyped-def]
        """(slice, parameters per element in float64, rounded to the working type before)."""
        working = working_dtype(dtype)
        rows = [p.astype(working).reshape(-1) for p in full_rows(layout, *parameters)]
        for start in range(0, layout.size, _PIECE):
            piece = slice(start, min(start + _PIECE, layout.size))
            row = np.arange(piece.start, piece.stop) // layout.inner
            yield piece, [p[row].astype(np.float64) for p in rows]

    def sample(
        self, out: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        from kacflow_core.reference.sampler import endpoint, uniforms

        for piece, (pt, pa, pc) in self._pieces(layout, out.dtype, (t, a, c)):
            u = uniforms(seed, (offset + piece.start) % 2**64, len(pt), out.dtype)
            xi = endpoint(u, pa * pt).xi
            out[piece] = (pc * pt).astype(out.dtype) * xi

    def sample_pair(
        self, x_0: Array, x_t: Array, dx_t: Array, layout: Layout, a: Array, c: Array,
        signal: Array, dsignal: Array, clock: Array, dclock: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        from kacflow_core.reference.sampler import bessel_ratio, endpoint, uniforms

        working = working_dtype(x_0.dtype)
        parameters = (a, c, signal, dsignal, clock, dclock)
        for piece, (pa, pc, f, df, g, dg) in self._pieces(layout, x_0.dtype, parameters):
            start = (offset + piece.start) % 2**64
            u = uniforms(seed, start, len(pa), working)
            tau, p = pa * g, endpoint(u, pa * g)
            inside = pc * tau * p.xi / (tau + bessel_ratio(tau * np.sqrt(p.one_minus_xi2)))
            data = _load(x_0[piece])
            _store(f * data + (pc * g).astype(working) * p.xi, x_t[piece])
            _store(df * data + dg * np.where(p.atom, pc * p.xi, inside), dx_t[piece])

    def velocity(
        self, x: Array, out: Array, layout: Layout, t: Array, a: Array, c: Array, *, threads: int
    ) -> None:
        from kacflow_core.reference.velocity import velocity

        for piece, (pt, pa, pc) in self._pieces(layout, x.dtype, (t, a, c)):
            place, atom = self._place(x[piece], pt, pc)
            inside = velocity(place, pt, a=pa, c=pc)
            _store(np.where(atom, pc * np.sign(place), inside), out[piece])

    def velocity_grad(
        self, x: Array, dv_dx: Array, dv_dt: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        from kacflow_core.reference.velocity import velocity_grad

        for piece, (pt, pa, pc) in self._pieces(layout, x.dtype, (t, a, c)):
            place, atom = self._place(x[piece], pt, pc)
            dx, dt = velocity_grad(place, pt, a=pa, c=pc)
            _store(np.where(atom, 0.0, dx), dv_dx[piece])
            _store(np.where(atom, 0.0, dt), dv_dt[piece])

    @staticmethod
    def _place(x: Array, t: Array, c: Array) -> tuple[Array, Array]:
        """Positions in float64, and where |x| >= c t, the product rounded in the working type."""
        edge = (c * t).astype(working_dtype(x.dtype)).astype(np.float64)
        place = _load(x)
        return place, np.abs(place) >= edge


def load() -> Backend:
    """The backend; ImportError where SciPy is missing."""
    import scipy.special  # noqa: F401

    return ReferenceBackend()

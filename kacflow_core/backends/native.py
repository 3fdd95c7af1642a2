"""The compiled backend: threads and SIMD over ``csrc/kac``, through ``kacflow_core._native``."""

from __future__ import annotations

from typing import Any

import numpy as np

from kacflow_core._dispatch import Backend, DistributionKind, native_module
from kacflow_core._layout import Array, Layout, storage_code
from kacflow_core._origin import why_not_built


class NativeBackend:
    """Passes arrays to the compiled kernels; see :class:`kacflow_core._dispatch.Backend`."""

    name = "native"

    def __init__(self, module: Any) -> None:
        self._native = module

    def philox(self, seed: int, counter: int, block: int, stream: int) -> tuple[int, ...]:
        return self._native.philox(seed, counter, block, stream)

    def sample(
        self, out: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        self._native.sample(*layout, storage_code(out.dtype), out, t, a, c, seed, offset, threads)

    def sample_pair(
        self, x_0: Array, x_t: Array, dx_t: Array, layout: Layout, a: Array, c: Array,
        signal: Array, dsignal: Array, clock: Array, dclock: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        self._native.sample_pair(
            *layout, storage_code(x_0.dtype), x_0, x_t, dx_t,
            a, c, signal, dsignal, clock, dclock, seed, offset, threads,
        )  # fmt: skip

    def velocity(
        self, x: Array, out: Array, layout: Layout, t: Array, a: Array, c: Array, *, threads: int
    ) -> None:
        self._native.velocity(*layout, storage_code(x.dtype), x, out, t, a, c, threads)

    def velocity_grad(
        self, x: Array, dv_dx: Array, dv_dt: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._native.velocity_grad(
            *layout, storage_code(x.dtype), x, dv_dx, dv_dt, t, a, c, threads
        )

    def sample_path(
        self, positions: Array, directions: Array, layout: Layout, times: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        self._native.sample_path(
            *layout, storage_code(positions.dtype), positions, directions, times, a, c,
            seed, offset, threads,
        )  # fmt: skip

    def simulate_events(
        self, layout: Layout, t_max: Array, a: Array, *, seed: int, offset: int, threads: int
    ) -> tuple[Array, Array, Array]:
        offsets = np.zeros(layout.size + 1, np.int64)
        directions = np.empty(layout.size)
        words, expected = (seed, offset), float(np.mean(a * t_max, dtype=np.float64))
        self._native.count_events(
            *layout, offsets[1:], directions, t_max, a, *words, expected, threads
        )
        np.cumsum(offsets, out=offsets)
        times = np.empty(int(offsets[-1]))
        self._native.fill_events(*layout, times, offsets, t_max, a, *words, expected, threads)
        return times, offsets, directions

    def distribution(
        self, kind: DistributionKind, x: Array, out: Array, layout: Layout,
        t: Array, a: Array, c: Array, *, threads: int,
    ) -> None:  # fmt: skip
        function = getattr(self._native, kind)
        function(*layout, storage_code(x.dtype), x, out, t, a, c, threads)


def load() -> Backend:
    """The backend; ImportError saying why where the compiled module is missing."""
    try:
        module = native_module()
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; {why_not_built('_native', 'KACFLOW_NATIVE')}") from error
    return NativeBackend(module)

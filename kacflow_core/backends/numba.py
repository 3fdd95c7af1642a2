"""The backend for machines without a compiler: the kernels of csrc in Python, compiled by numba.

Same words, same formulas and the same order of operations as the compiled core, in float32 for
float32 and 16-bit data and in float64 for float64.  A function is compiled for a type when it is
first called with it, which takes one to three seconds; a forked child keeps what its parent had
compiled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from kacflow_core._dispatch import AtPoints, Backend
from kacflow_core._layout import Array, Layout, working_dtype
from kacflow_core.backends._device import total
from kacflow_core.backends._jobs import OPERATIONS, Parts

_OLDEST = (0, 59)

# Elements below which a further thread costs more than it saves.
_GRAIN_DRAWS = 1 << 16
_GRAIN_VELOCITY = 1 << 17
_GRAIN_LAW = 1 << 13
_GRAIN_EVENTS = 1 << 14


def _parameters(real: Any, *values: Array) -> tuple[Array, ...]:
    """Parameters rounded to the working type, as the kernels take them."""
    return tuple(
        value if value.dtype == real and value.flags.aligned else _rounded(real, value)
        for value in values
    )


def _rounded(real: Any, value: Array) -> Array:
    with np.errstate(all="ignore"):
        return value.astype(real)


class NumbaBackend(AtPoints):
    """See :class:`kacflow_core._dispatch.Backend`."""

    name = "numba"

    def __init__(self) -> None:
        from kacflow_core.backends._numba import (
            events,
            law,
            pair,
            path,
            sampler,
            spline,
            threads,
            transport,
            velocity,
        )

        #: What builds an operation's kernel, in the one of these modules that has it, and grain.
        self._kernels = {
            operation: (getattr(module, operation), grain)
            for module, grain in (
                (sampler, _GRAIN_DRAWS),
                (pair, _GRAIN_DRAWS),
                (velocity, _GRAIN_VELOCITY),
                (law, _GRAIN_LAW),
                (transport, _GRAIN_LAW),
            )
            for operation in OPERATIONS
            if hasattr(module, operation)
        }
        self._path = path.sample_path
        self._events = events.count_events, events.fill_events
        self._splines = spline
        self._run_in_pieces = threads.run_in_pieces

    def _run(
        self, name: str, layout: Layout, inputs: tuple[Array, ...], outputs: tuple[Array, ...],
        parameters: tuple[Array, ...], threads: int, words: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        real = working_dtype(outputs[0].dtype).type
        build, grain = self._kernels[name]
        kernel = build(real)
        given, keys = _parameters(real, *parameters), tuple(map(np.uint64, words))

        def run(data: tuple[Array, ...], begin: int, end: int) -> None:
            kernel(data, begin, end, layout.n1, layout.inner, given, keys)

        self._run_in_pieces(run, layout.size, inputs, outputs, threads=threads, grain=grain)

    def sample(
        self, out: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        self._run("sample", layout, (), (out,), (t, a, c), threads, (seed, offset))

    def sample_pair(
        self, x_0: Array, x_t: Array, dx_t: Array, layout: Layout, a: Array, c: Array,
        signal: Array, dsignal: Array, clock: Array, dclock: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        parameters = (clock, a, c, signal, dsignal, dclock)
        self._run("sample_pair", layout, (x_0,), (x_t, dx_t), parameters, threads, (seed, offset))

    def _point(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        rows: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        self._run(operation, layout, (x,), tuple(outputs), tuple(rows), threads)

    def sample_path(
        self, positions: Array, directions: Array, layout: Layout, times: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        real, n = positions.dtype.type, times.shape[-1]
        kernel = self._path(real)
        rates, speeds = _parameters(real, a, c)
        keys = np.uint64(seed), np.uint64(offset)

        def run(data: tuple[Array, ...], begin: int, end: int) -> None:
            kernel(*data, begin, end, layout.n1, layout.inner, times, rates, speeds, *keys)

        outputs = positions.reshape(-1, n), directions.reshape(-1, n)
        grain = max(1, _GRAIN_DRAWS // n)
        self._run_in_pieces(run, layout.size, (), outputs, threads=threads, grain=grain)

    def simulate_events(
        self, layout: Layout, t_max: Array, a: Array, *, seed: int, offset: int, threads: int
    ) -> tuple[Array, Array, Array]:
        count, fill = (build(np.float64) for build in self._events)
        ends, rates = _parameters(np.float64, t_max, a)
        keys = np.uint64(seed), np.uint64(offset)
        grain = max(1, _GRAIN_EVENTS // (1 + int(np.mean(a * t_max, dtype=np.float64))))
        offsets, directions = np.zeros(layout.size + 1, np.int64), np.empty(layout.size)

        def run_count(data: tuple[Array, ...], begin: int, end: int) -> None:
            count(*data, begin, end, layout.n1, layout.inner, ends, rates, *keys)

        results = offsets[1:], directions
        self._run_in_pieces(run_count, layout.size, (), results, threads=threads, grain=grain)
        np.cumsum(offsets, out=offsets)
        times = np.empty(int(offsets[-1]))

        def run_fill(data: tuple[Array, ...], begin: int, end: int) -> None:
            fill(times, offsets, begin, end, layout.n1, layout.inner, rates, *keys)

        self._run_in_pieces(run_fill, layout.size, (), results, threads=threads, grain=grain)
        return times, offsets, directions

    def _at_knots(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        knots: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        kernel = getattr(self._splines, operation)(x.dtype.type)

        def run(data: tuple[Array, ...], begin: int, end: int) -> None:
            kernel(*data, begin, end, layout.n1, layout.inner, *knots)

        self._run_in_pieces(
            run, layout.size, (x,), tuple(outputs), threads=threads, grain=_GRAIN_DRAWS
        )

    def spline_grad(
        self, x: Array, grad_y: Array, grad_slope: Array, grad_x: Array, grad_knots: Array,
        layout: Layout, edges: Array, values: Array, slopes: Array, *, threads: int,
    ) -> None:  # fmt: skip
        kernel = self._splines.spline_grad(x.dtype.type)
        parts = Parts.of(layout, edges.shape[1] - 1)
        sums = np.empty((parts.number * layout.n1, *grad_knots.shape[1:]), x.dtype)
        data = [array.reshape(layout) for array in (x, grad_y, grad_slope, grad_x)]

        def run(pieces: tuple[Array, ...], begin: int, end: int) -> None:
            kernel(*data, *pieces, begin, end, parts.rows, edges, values, slopes)

        grain = max(1, _GRAIN_DRAWS // min(parts.rows * layout.inner, layout.size))
        self._run_in_pieces(run, len(sums), (), (sums,), threads=threads, grain=grain)
        grad_knots[...] = total(sums.reshape(parts.number, *grad_knots.shape))


def load() -> Backend:
    """The backend; ImportError saying why where numba is missing, too old or does not fit its
    company.
    """
    try:
        import numba
    except ImportError as error:  # also what numba raises for a NumPy that is too new for it
        raise ImportError(f"numba cannot be imported: {error}") from error
    except Exception as error:  # an old numba fails in other ways on a new NumPy or Python
        raise ImportError(
            f"numba cannot be imported ({type(error).__name__}: {error}): it does not fit NumPy "
            f"{np.__version__}; install a newer numba"
        ) from error
    found = tuple(map(int, re.findall(r"\d+", numba.__version__)[:2]))
    if found < _OLDEST:
        raise ImportError(
            f"numba {numba.__version__} is too old; allowed: {'.'.join(map(str, _OLDEST))} or newer"
        )
    if numba.config.DISABLE_JIT:
        raise ImportError("NUMBA_DISABLE_JIT is set, and without compilation there are no kernels")
    return NumbaBackend()

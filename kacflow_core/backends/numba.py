"""The backend for machines without a compiler: the kernels of csrc in Python, compiled by numba.

Same words, same formulas and the same order of operations as the compiled core, in float32 for
float32 and 16-bit data and in float64 for float64.  A function is compiled for a type when it is
first called with it, which takes one to three seconds.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import numpy as np

from kacflow_core._dispatch import Backend
from kacflow_core._layout import Array, Layout, working_dtype

_OLDEST = (0, 59)

# Elements below which a further thread costs more than it saves.
_GRAIN_DRAWS = 1 << 16
_GRAIN_VELOCITY = 1 << 17


def _parameters(real: Any, *values: Array) -> tuple[Array, ...]:
    """Parameters rounded to the working type, as the kernels take them."""
    return tuple(
        value if value.dtype == real and value.flags.aligned else _rounded(real, value)
        for value in values
    )


def _rounded(real: Any, value: Array) -> Array:
    with np.errstate(all="ignore"):
        return value.astype(real)


class NumbaBackend:
    """See :class:`kacflow_core._dispatch.Backend`."""

    name = "numba"

    def __init__(self) -> None:
        from kacflow_core.backends._numba import pair, sampler, threads, velocity

        self._kernels = {
            "sample": (sampler.sample, _GRAIN_DRAWS),
            "sample_pair": (pair.sample_pair, _GRAIN_DRAWS),
            "velocity": (velocity.velocity, _GRAIN_VELOCITY),
            "velocity_grad": (velocity.velocity_grad, _GRAIN_VELOCITY),
        }
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

    def velocity(
        self, x: Array, out: Array, layout: Layout, t: Array, a: Array, c: Array, *, threads: int
    ) -> None:
        self._run("velocity", layout, (x,), (out,), (t, a, c), threads)

    def velocity_grad(
        self, x: Array, dv_dx: Array, dv_dt: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._run("velocity_grad", layout, (x,), (dv_dx, dv_dt), (t, a, c), threads)


def _numba() -> ModuleType:
    """numba; ImportError saying why where it is missing, too old or does not fit its company."""
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
    return numba


def load() -> Backend:
    """The backend; ImportError saying why where numba cannot be used."""
    _numba()
    return NumbaBackend()

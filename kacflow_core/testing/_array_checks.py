"""Checks of what a kernel does with arrays: sizes, splits, threads, rows, storage, bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from kacflow_core._dispatch import POINT_FUNCTIONS
from kacflow_core._layout import Array
from kacflow_core.backends._storage import widen
from kacflow_core.testing import strategies
from kacflow_core.testing._compare import equal, plain
from kacflow_core.testing._noise_checks import DTYPES, pair_arguments
from kacflow_core.testing._subject import Subject

_SIZES = (0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257)
_PROCESS: dict[str, Any] = dict(a=9.0, c=3.0)
_STORED = ("float32", "float64", "float16", "bfloat16")
#: The functions of the position of all these, and what they give.
_OF_ANY_DATA = {
    name: function.results for name, function in POINT_FUNCTIONS.items() if function.sixteen_bit
}


def everything(core: Subject, x: Array, t: Array, **keywords: Any) -> dict[str, Array]:
    """All that can be computed from positions and their times, by name of the result."""
    noise = dict(seed=6, offset=keywords.pop("offset", 0))
    x_t, dx_t = core.sample_pair(
        x, signal=1 - t, dsignal=-1.0, clock=t, dclock=1.0, **_PROCESS, **noise, **keywords
    )
    results = {"x_t": x_t, "dx_t": dx_t}
    aligned = np.reshape(t, np.shape(t) + (1,) * (x.ndim - 1)) if x.ndim else t
    for name, names in _OF_ANY_DATA.items():
        found = getattr(core, name)(x, aligned, **_PROCESS, **keywords)
        results.update(zip(names, found if isinstance(found, tuple) else (found,), strict=True))
    if x.dtype.name in DTYPES:
        results["sample"] = core.sample(t, x.shape, dtype=x.dtype, **_PROCESS, **noise, **keywords)
    return results


def positions(n: int, dtype: str) -> tuple[Array, Array]:
    """Places in [-1, 1] and times in (0, 1) of n samples, in and out of the light cone."""
    rng = np.random.default_rng(n)
    values = rng.uniform(-1, 1, n).astype("float64" if dtype == "float64" else "float32")
    return strategies.stored(values, dtype), rng.random(n).astype(values.dtype)


def awkward_sizes(core: Subject) -> None:
    """Arrays of 0, 1, 129, ... elements are prefixes of longer ones, in shape and dtype of x."""
    for dtype in DTYPES:
        x, t = positions(max(_SIZES), dtype)
        whole = everything(core, x, t)
        for n in _SIZES:
            for name, got in everything(core, x[:n], t[:n]).items():
                assert got.dtype == dtype, f"{name} of {dtype} data has dtype {got.dtype}"
                equal(got, whole[name][:n], f"{dtype} {name} of {n} elements")
        for shape in ((), (0, 3), (4, 0), (2, 0, 5), (1, 1, 1)):
            for name, got in everything(core, np.ones(shape, dtype), np.asarray(0.5)).items():
                assert got.shape == shape, f"{name} of shape {shape} has shape {got.shape}"


def splits_change_nothing(core: Subject) -> None:
    """A batch in two parts, the second from its own offset on, gives the numbers of the whole."""

    def holds(dtype: str, n: int, split: int, offset: int) -> None:
        split = min(split, n)
        x, t = positions(n, dtype)
        whole = everything(core, x, t, offset=offset)
        first = everything(core, x[:split], t[:split], offset=offset)
        second = everything(core, x[split:], t[split:], offset=(offset + split) % 2**64)
        for name, want in whole.items():
            got = np.concatenate([first[name], second[name]])
            equal(got, want, f"{dtype} {name} of {split} and {n - split} elements")

    core.search(
        holds,
        dtype=strategies.dtypes(),
        n=st.integers(0, 400),
        split=st.integers(0, 400),
        offset=strategies.offsets(),
    )


def threads_change_nothing(core: Subject) -> None:
    """Any number of threads gives the same bits, and so does a second call."""
    for dtype in DTYPES:
        x, t = positions(140_000, dtype)  # so many that the velocity is worth a second thread
        whole = everything(core, x, t, threads=1)
        for threads in (2, 1):
            for name, got in everything(core, x, t, threads=threads).items():
                equal(got, whole[name], f"{dtype} {name} with {threads} threads")
        x, t = x[:50_000], t[:50_000]
        for name, got in everything(core, x, t, threads=3).items():
            equal(got, whole[name][:50_000], f"{dtype} {name} with 3 threads")


def counter_wraps(core: Subject) -> None:
    """Counters carry from 2^32 - 1 into the high word, and wrap from 2^64 - 1 to 0."""
    for dtype in DTYPES:
        keys: dict[str, Any] = dict(**_PROCESS, seed=3, dtype=dtype)
        start = core.sample(0.5, 60, **keys)
        beyond = core.sample(0.5, 60, offset=2**32, **keys)
        for end, after in ((2**32, beyond), (2**64, start)):
            across = core.sample(0.5, 100, offset=end - 40, **keys)
            before = core.sample(0.5, 40, offset=end - 40, **keys)
            what = f"{dtype} draws from offset 2^{end.bit_length() - 1} - 40 on"
            equal(across, np.concatenate([before, after]), what)
        assert not np.array_equal(start, beyond), (
            f"{dtype} draws at offset 2^32 are those at 0: the high word of the counter is ignored"
        )
        shifted = core.sample(0.5, 60, offset=1, **keys)
        equal(shifted[:-1], start[1:], f"{dtype} draws at offset 1 against those at 0, shifted")


def row_parameters(core: Subject) -> None:
    """A parameter per sample or per channel equals the same numbers written out per element."""

    def holds(arguments: dict[str, Any]) -> None:
        x = arguments["x0"]
        names = ("a", "c", "signal", "dsignal", "clock", "dclock")
        spread = {
            name: np.broadcast_to(_aligned(arguments[name], x.ndim), x.shape).copy()
            for name in names
        }
        written_out = core.sample_pair(**{**arguments, **spread})
        for name, got, want in zip(
            ("x_t", "dx_t"), core.sample_pair(**arguments), written_out, strict=True
        ):
            equal(got, want, f"{x.dtype} {name} for data of shape {x.shape}")
        noise = {name: arguments[name] for name in ("seed", "offset")}
        for keys in (arguments, spread):
            results = [
                core.sample(
                    keys["clock"], x.shape, a=keys["a"], c=keys["c"], dtype=x.dtype, **noise
                ),
                core.velocity(
                    x,
                    _aligned(keys["clock"], x.ndim),
                    a=_aligned(keys["a"], x.ndim),
                    c=_aligned(keys["c"], x.ndim),
                ),
            ]
            if keys is arguments:
                compact = results
        for name, got, want in zip(("sample", "velocity"), compact, results, strict=True):
            equal(got, want, f"{x.dtype} {name} for data of shape {x.shape}")

    core.search(holds, arguments=strategies.dtypes().flatmap(pair_arguments))
    for dtype in DTYPES:  # each parameter differs along other axes
        rows = [
            np.linspace(0.5, 2, int(np.prod(shape)), dtype=dtype).reshape(shape)
            for shape in ((1, 3), (5,), (5, 3), (1, 3), (1, 3, 4), (5, 1))
        ]
        names = ("a", "c", "signal", "dsignal", "clock", "dclock")
        x, _ = positions(60, dtype)
        for turn in range(6):  # and each of them in turn along all
            turned = dict(zip(names, rows[turn:] + rows[:turn], strict=True))
            holds({"x0": x.reshape(5, 3, 4), **turned, "seed": 1, "offset": 0})


def _aligned(parameter: Array, ndim: int) -> Array:
    """A parameter on the leading axes as NumPy broadcasts it."""
    return parameter.reshape(parameter.shape + (1,) * (ndim - parameter.ndim))


def sixteen_bit_storage(core: Subject) -> None:
    """float16 and bfloat16 data gives the float32 results, rounded to nearest even."""
    rng = np.random.default_rng(16)
    special = [0.0, 1e-7, -6e-8, 65504.0, -65504.0, 2.0**-14, 1e-30, np.inf, -np.inf, np.nan]
    values = np.concatenate([special, rng.normal(size=600)]).astype(np.float32)
    t = rng.random(values.size).astype(np.float32)
    for dtype in ("float16", "bfloat16"):
        with np.errstate(over="ignore"):
            x = strategies.stored(values, dtype)
        wide = widen(x)
        expected = everything(core, wide, t)
        for name, got in everything(core, x, t).items():
            assert got.dtype == x.dtype, f"{name} of {dtype} data has dtype {got.dtype}"
            equal(got, strategies.stored(expected[name], dtype), f"{dtype} {name}")


def nan_stays_in_its_element(core: Subject) -> None:
    """NaN or infinite data changes its own element only: NaN gives NaN, +-inf is outside."""
    n = 150
    for dtype in DTYPES:
        x, t = positions(n, dtype)
        clean = everything(core, x, t)
        for bad in (np.nan, np.inf, -np.inf):
            places = np.array([0, 17, 64, n - 1])
            spoilt = x.copy()
            spoilt[places] = bad
            sound = np.ones(n, bool)
            sound[places] = False
            got = everything(core, spoilt, t)
            for name, want in clean.items():
                equal(got[name][sound], want[sound], f"{dtype} {name} beside an element {bad}")
            own = np.full(4, np.nan if np.isnan(bad) else np.copysign(3.0, bad), dtype)
            equal(got["velocity"][places], own, f"{dtype} velocity of {bad}")
            equal(got["x_t"][places], np.full(4, bad, dtype), f"{dtype} x_t of {bad}")
            own = np.full(4, np.nan if np.isnan(bad) else 0.0, dtype)
            for name in ("dv/dx", "dv/dt"):
                equal(got[name][places], own, f"{dtype} {name} of {bad}")


def stays_in_bounds(core: Subject) -> None:
    """Kernels write every element of their output, nothing beside it, and not into inputs."""
    for dtype in _STORED:
        for n in _SIZES:
            for shape in ((n,), (n, 3), (3, n), (2, 3, n)):
                x, _ = positions(int(np.prod(shape)), dtype)
                x = x.reshape(shape)
                x.flags.writeable = False
                before = plain(x).copy()
                t = np.linspace(0.1, 1.0, shape[0], dtype=np.float32)
                everything(core, x, t)
                equal(plain(x), before, f"{dtype} data after the call")


CHECKS = (
    awkward_sizes,
    splits_change_nothing,
    threads_change_nothing,
    counter_wraps,
    row_parameters,
    sixteen_bit_storage,
    nan_stays_in_its_element,
    stays_in_bounds,
)

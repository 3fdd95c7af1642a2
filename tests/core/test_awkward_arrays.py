"""Sizes, strides, orders and values that kernels get wrong: right result, or a clear error."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from cores import Core, child_environment
from functions import KERNELS, arguments, parts

import kacflow_core

SIZES = (0, 1, 2, 7, 15, 16, 17, 31, 33, 63, 65, 129, 151, 1025, 4097)
TWO_31 = 2**31


@pytest.mark.parametrize("threads", [1, 3])
def test_every_size_is_a_prefix_of_the_longest(core: Core, dtype: str, threads: int):
    longest = max(SIZES)
    rng = np.random.default_rng(0)
    x = rng.normal(size=longest).astype(dtype)
    t = rng.random(longest).astype(dtype)
    for name in KERNELS:
        whole = parts(getattr(core, name)(**arguments(name, x, t)))
        for n in SIZES:
            got = getattr(core, name)(**arguments(name, x[:n], t[:n]), threads=threads)
            for part, want in zip(parts(got), whole, strict=True):
                assert part.shape == (n, *want.shape[1:]) and part.dtype == want.dtype
                np.testing.assert_array_equal(part, want[:n], name)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0), (2, 0, 5), (), (1, 1, 1)])
def test_empty_and_scalar_shapes(core: Core, dtype: str, shape: tuple[int, ...]):
    x = core.sample(1.0, shape, a=9.0, c=3.0, seed=0, dtype=dtype)
    assert x.shape == shape and x.dtype == dtype
    for name in KERNELS:
        for got in parts(getattr(core, name)(**arguments(name, x, 0.5))):
            assert got.shape[: len(shape)] == shape, name
            assert got.shape[len(shape) :] == ((2,) if name == "sample_path" else ()), name
            assert got.dtype == dtype or name == "simulate_events"


def test_parameters_per_sample_of_an_empty_batch(core: Core):
    """No samples, hence no parameters either: nothing to refuse."""
    none = np.zeros(0)
    assert core.sample(none, (0, 3), a=none, c=none, seed=0).shape == (0, 3)
    pair = core.sample_pair(
        np.zeros((0, 3)), a=none, c=none, signal=none, dsignal=none, clock=none, dclock=none, seed=0
    )
    assert [part.shape for part in pair] == [(0, 3)] * 2
    assert core.velocity(none, none, a=none, c=none).shape == (0,)


def awkward_views(dtype: str) -> dict[str, np.ndarray]:
    base = np.random.default_rng(1).normal(size=(12, 10)).astype(dtype)
    packed = np.zeros(base.size * base.itemsize + 1, np.uint8)
    unaligned = packed[1:].view(dtype).reshape(base.shape)
    unaligned[...] = base
    frozen = base.copy()
    frozen.flags.writeable = False
    return {
        "strided": base[::2, 1::3],
        "reversed": base[::-1, ::-1],
        "transposed": base.T,
        "fortran": np.asfortranarray(base),
        "broadcast": np.broadcast_to(base[:, :1], (12, 6)),
        "unaligned": unaligned,
        "read-only": frozen,
        "subclass": base.view(np.matrix),
    }


@pytest.mark.parametrize("name", awkward_views("float32"))
def test_views_equal_their_contiguous_copy(backend: str, dtype: str, name: str):
    core = Core(backend)
    x = awkward_views(dtype)[name]
    plain = np.array(x, order="C", subok=False)
    t = np.linspace(0.1, 1, x.shape[0])
    for function in KERNELS:
        results = [
            parts(getattr(core, function)(**arguments(function, data, t))) for data in (x, plain)
        ]
        for got, want in zip(*results, strict=True):
            assert got.shape == want.shape
            np.testing.assert_array_equal(np.asarray(got), want, function)


def test_awkward_parameters_equal_plain_ones(core: Core, dtype: str):
    rng = np.random.default_rng(2)
    full = (rng.random((8, 6)) + 0.5).astype(dtype)
    shape = (4, 3, 5)
    for a in (
        full[::2, ::2],
        np.asfortranarray(full[:4, :3]),
        full.T[1:5, 2:5],
        full[::-1][:4, :3][:, ::-1],
        full[:4, :1],
        full[:1, :3],
        full[::2, 0],
        np.broadcast_to(full[:4, :3, None], shape),
        full[0, 0],
    ):
        whole = np.ascontiguousarray(
            np.broadcast_to(a.reshape(a.shape + (1,) * (3 - a.ndim)), shape)
        )
        keys = dict(c=2.0, seed=1, dtype=dtype)
        np.testing.assert_array_equal(
            core.sample(1.0, shape, a=a, **keys), core.sample(1.0, shape, a=whole, **keys)
        )
        aligned = a.reshape(a.shape + (1,) * (3 - a.ndim)) if a.ndim else a
        x = rng.normal(size=shape).astype(dtype)
        np.testing.assert_array_equal(
            core.velocity(x, 1.0, a=aligned, c=2.0), core.velocity(x, 1.0, a=whole, c=2.0)
        )


def test_parameters_broadcast_as_in_numpy(core: Core):
    """velocity's result has the broadcast shape, also where x is the smaller array."""
    x, t, c = np.array([0.1, -0.2, 0.3]), np.array([[0.5], [1.0]]), np.full((4, 1, 1), 3.0)
    got = core.velocity(x, t, a=9.0, c=c)
    assert got.shape == (4, 2, 3)
    for index in np.ndindex(got.shape):
        one = core.velocity(x[index[2]], t[index[1], 0], a=9.0, c=c[index[0], 0, 0])
        assert got[index] == one
    assert core.velocity(np.float32(0.5), 1.0, a=9.0, c=3.0).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_spoils_its_own_element_only(core: Core, dtype: str, bad: float):
    n = 150
    x = np.linspace(-1, 1, n).astype(dtype)
    spoilt = x.copy()
    places = [0, 17, 64, n - 1]
    spoilt[places] = bad
    sound = np.ones(n, bool)
    sound[places] = False
    nan, outside = np.full(4, np.nan, dtype), np.full(4, np.sign(bad), dtype)
    expected = {  # of infinities; densities and derivatives are 0 there
        "sample_pair": (np.full(4, bad, dtype), np.full(4, -bad, dtype)),
        "velocity": (3 * outside,),
        "logpdf": (np.full(4, -np.inf, dtype),),
        "cdf": (np.where(outside > 0, outside, 0),),
        "transport": (0.75 * outside,),
    }
    for name in KERNELS:
        given = arguments(name, spoilt, 0.5)
        if not {"x", "x0"} & given.keys():
            continue
        clean, dirty = (
            parts(getattr(core, name)(**arguments(name, data, 0.5))) for data in (x, spoilt)
        )
        values = expected.get(name, [0 * outside] * len(clean))
        for got, want, own in zip(dirty, clean, values, strict=True):
            np.testing.assert_array_equal(got[sound], want[sound], name)
            np.testing.assert_array_equal(got[places], nan if np.isnan(bad) else own, name)


def test_float16_beyond_its_range(core: Core):
    """Results that a 16-bit type cannot hold become infinite, as NumPy's rounding makes them."""
    x_0 = np.array([60000.0, -60000.0, 1.0, 6e-8], np.float16)
    x_t, dx_t = core.sample_pair(
        x_0, a=9.0, c=3.0, signal=4.0, dsignal=1.0, clock=0.5, dclock=1.0, seed=0
    )
    assert x_t[0] == np.inf and x_t[1] == -np.inf
    assert np.all(np.isfinite(x_t[2:])) and np.all(np.isfinite(dx_t))


def memory_available() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 0


@pytest.mark.parametrize(
    ("function", "needed"), [("sample", 6e9), ("velocity", 8e9), ("sample_pair", 10e9)]
)
def test_more_than_two_to_the_31_bytes(function: str, needed: float):
    """Also more than 2^31 elements would fit in the counters; 2^29 floats pass 2^31 bytes."""
    if "native" not in kacflow_core.available_backends():
        pytest.skip("only the native backend is fast enough")
    if memory_available() < needed:
        pytest.skip(f"needs {needed / 1e9:.0f} GB of free memory")
    n = TWO_31 // 4 + 5
    keys = dict(a=9.0, c=3.0, backend="native")
    tail = 100_003
    if function == "sample":
        whole = kacflow_core.sample(0.5, (n,), seed=3, **keys)
        assert whole.nbytes > TWO_31
        for start in (0, n // 2, n - tail):
            part = kacflow_core.sample(0.5, tail, seed=3, offset=start, **keys)
            np.testing.assert_array_equal(whole[start : start + tail], part)
        return
    x = np.zeros(n, np.float32)  # pages of zeros cost no memory until they are written
    x[-tail:] = np.linspace(-2, 2, tail)
    if function == "velocity":
        got = kacflow_core.velocity(x, 0.5, **keys)
        want = kacflow_core.velocity(x[-tail:], 0.5, **keys)
        np.testing.assert_array_equal(got[-tail:], want)
        assert not got[:-tail:1001].any()
        return
    more = dict(signal=0.5, dsignal=-1.0, clock=0.5, dclock=1.0, seed=3)
    whole = kacflow_core.sample_pair(x, **keys, **more)
    part = kacflow_core.sample_pair(x[-tail:], **keys, **more, offset=n - tail)
    for got, want in zip(whole, part, strict=True):
        np.testing.assert_array_equal(got[-tail:], want)


PROCESS = """
import sys
import numpy as np
small = np.full(64, 1e-40, np.float32)
tiny = np.full(64, 1e-310)
def kept():
    return bool(np.all(small * np.float32(0.5) != 0) and np.all(tiny * 0.5 != 0)
                and np.all(small + small != 0))
assert kept(), "before"
import kacflow_core
assert kept(), "after the import"
assert "torch" not in sys.modules, "the core imported torch"
for backend in kacflow_core.available_backends():
    for threads in (1, 2):
        x = kacflow_core.sample(1.0, 70000, a=9.0, c=3.0, seed=0, backend=backend, threads=threads)
        kacflow_core.velocity(x, 1.0, a=9.0, c=3.0, backend=backend, threads=threads)
        assert kept(), f"after {backend} with {threads} threads"
        # and threads started later keep denormals too
        x = np.full(70000, 1e-40, np.float32)
        v = kacflow_core.velocity(x, 1e-5, a=1.0, c=1.0, backend=backend, threads=threads)
        assert np.all(v > 0), f"{backend} flushes denormals"
assert "torch" not in sys.modules, "a backend imported torch"
print("kept")
"""


def test_import_and_use_leave_denormals_alone():
    """Neither the import nor a kernel may switch the process to flushing denormals to zero."""
    done = subprocess.run(
        [sys.executable, "-c", PROCESS],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.strip() == "kept", done.stderr


def test_wrappers_without_memory():
    """NumPy would show what lies where they point."""
    torch = pytest.importorskip("torch")
    wrapper = torch._to_functional_tensor(torch.ones(3))
    with pytest.raises(TypeError, match=r"x: got a Tensor, not an array .it has no memory"):
        kacflow_core.velocity(wrapper, 0.5, a=9.0, c=3.0)
    with pytest.raises(TypeError, match=r"t: got a Tensor, not an array .it has no memory"):
        kacflow_core.velocity([1.0], wrapper, a=9.0, c=3.0)
    nothing = kacflow_core.velocity(torch.empty(0), 0.5, a=9.0, c=3.0)
    assert nothing.shape == (0,)

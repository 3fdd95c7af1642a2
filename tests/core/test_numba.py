"""What is special about the numba backend: its arithmetic, its threads and when it is missing."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest
from cores import child_environment
from functions import KERNELS, LAW, OF_ANY_DATA, arguments, parts

import kacflow_core
from kacflow_core._dispatch import register_backend
from kacflow_core.backends import numba as numba_backend
from kacflow_core.reference import philox as reference_philox

if "numba" not in kacflow_core.available_backends():
    pytest.skip("numba cannot be used here", allow_module_level=True)

import numba
from numba.core.errors import TypingError

from kacflow_core.backends._numba import philox, threads
from kacflow_core.backends._numba.arithmetic import fma, larger, select


@pytest.mark.parametrize("seed", [0, 1, 0x9E3779B97F4A7C15, 2**64 - 1])
@pytest.mark.parametrize(("block", "stream"), [(0, 0), (1, 0), (7, 2**32 - 1)])
def test_words_are_those_of_the_reference(seed: int, block: int, stream: int):
    @numba.njit
    def words(out, seed, first, block, stream):
        for i in range(out.shape[1]):
            w = philox.words(seed, first + np.uint64(i), block, stream)
            out[0, i], out[1, i], out[2, i], out[3, i] = w

    for first in (0, 2**32 - 70, 2**64 - 70):  # across 2^32, and across the period
        got = np.empty((4, 150), np.uint64)
        words(got, *map(np.uint64, (seed, first, block, stream)))
        counters = reference_philox.counters(first, 150)
        np.testing.assert_array_equal(got, reference_philox.words(seed, counters, block, stream))


def same_fma() -> bool:
    """Whether native and numba fuse alike here: not if native was told to do without."""
    if "native" not in kacflow_core.available_backends():
        return False
    return platform.machine() not in ("x86_64", "AMD64") or (
        kacflow_core.build_info()["simd"] in ("avx2", "avx512")
    )


@pytest.mark.skipif(not same_fma(), reason="no native backend with the same instructions")
def test_float32_is_computed_in_float32():
    """The compiled core does the same operations in float32, so nearly every bit agrees.

    One product or sum promoted to float64, as numba does at every Python number, changes the last
    bit of a good part of the results.  product_minus alone is rounded differently, and seldom.
    """
    n = 20_000
    rng = np.random.default_rng(5)
    t = (10 ** rng.uniform(-3, 1, n)).astype(np.float32)
    a = (10 ** rng.uniform(-6, 6, n) / t).astype(np.float32)
    c = (10 ** rng.uniform(-2, 2, n)).astype(np.float32)
    x = rng.uniform(-1.1, 1.1, n).astype(np.float32) * (c * t)

    def results(backend: str) -> list[np.ndarray]:
        found = []
        for name in ("sample", *OF_ANY_DATA, *LAW):
            given = arguments(name, x, t, a, c)
            if name == "sample_pair":
                given.update(dsignal=-t, dclock=t * t)
            found += parts(getattr(kacflow_core, name)(**given, backend=backend))
        return found

    for got, want in zip(results("numba"), results("native"), strict=True):
        print(np.mean(got != want))
        assert np.mean(got != want) <= 1e-3


def test_mixed_types_are_refused():
    """A float64 number among float32 ones is an error when the kernel is compiled."""
    one = np.float32(1)
    for call, last in (
        (lambda x, y: fma(x, x, y), 2),
        (lambda x, y: larger(x, y), 1),
        (lambda x, y: select(True, x, y), 1),
    ):
        compiled = numba.njit(call)
        assert compiled(one, one) == last
        for other in (1.0, np.int64(1)):
            with pytest.raises(TypingError, match="operands of types float32"):
                compiled(one, other)


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("team", [1, 2, 5])
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("size", [1, 63, 64, 1000, 4096, 100_003])
def test_pieces_cover_the_range_once(kind: str, size: int, team: int):
    source, seen, several = np.arange(size) % 2048, [], threading.Event()
    outputs = np.zeros(size, kind), np.zeros(size, kind)
    expected = min(team, max(1, size // 512))

    def run(data, begin, end):
        assert all(array.dtype == np.float32 and array.size == end - begin for array in data)
        seen.append((begin, end, threading.get_ident()))
        data[1][:] = data[0]
        data[2][:] = -data[0]
        if len({ident for *_, ident in seen}) > 1:
            several.set()
        elif expected > 1:
            several.wait(10)  # until another thread takes a piece

    inputs = (source.astype(kind),)
    threads.run_in_pieces(run, size, inputs, outputs, threads=team, grain=512)
    np.testing.assert_array_equal(outputs[0], inputs[0])
    np.testing.assert_array_equal(outputs[1], -inputs[0])
    pieces = sorted(seen)
    assert pieces[0][0] == 0 and pieces[-1][1] == size
    assert all(left[1] == right[0] for left, right in itertools.pairwise(pieces))
    assert min(expected, 2) <= len({ident for *_, ident in seen}) <= expected


@pytest.mark.parametrize("inner", [1, 3, 31, 32, 37, 200])
def test_results_do_not_depend_on_where_pieces_begin(inner: int, monkeypatch: pytest.MonkeyPatch):
    for grain in ("DRAWS", "VELOCITY", "LAW", "EVENTS"):
        monkeypatch.setattr(numba_backend, f"_GRAIN_{grain}", 128)
    register_backend("small pieces", numba_backend.load)
    rng = np.random.default_rng(inner)
    t, a = rng.random(40), rng.random((40, 3)) + 0.5
    x = rng.normal(size=(40, 3, inner))
    for name in KERNELS:
        given = {**arguments(name, x, t, a, 2.0), "backend": "small pieces"}
        whole, *others = (
            parts(getattr(kacflow_core, name)(**given, threads=count)) for count in (1, 2, 7)
        )
        assert all(np.any(part != 0) for part in whole)
        for other in others:
            for got, want in zip(other, whole, strict=True):
                np.testing.assert_array_equal(got, want, name)
    register_backend("small pieces", None)


def test_an_error_in_a_thread_is_raised_here():
    caller, raised = threading.get_ident(), threading.Event()

    def run(data, begin, end):
        if threading.get_ident() != caller:
            raised.set()
            raise MemoryError("of the thread")
        raised.wait(10)

    x = np.zeros(100_000, np.float32)
    with pytest.raises(MemoryError, match="of the thread"):
        threads.run_in_pieces(run, x.size, (), (x,), threads=3, grain=512)


def test_without_further_threads_the_caller_does_the_work(monkeypatch: pytest.MonkeyPatch):
    n = 400_000
    want = kacflow_core.sample(1.0, n, a=9.0, c=3.0, seed=0, backend="numba", threads=1)

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    got = kacflow_core.sample(1.0, n, a=9.0, c=3.0, seed=0, backend="numba", threads=4)
    np.testing.assert_array_equal(got, want)


FORK = """
import os, select, sys, threading, time
import kacflow_core
from numba.core import event

def draw(dtype):
    return kacflow_core.sample(1.0, 70000, a=9.0, c=3.0, seed=0, dtype=dtype, backend="numba")

draw("float32")
with event.install_recorder("numba:compile") as compilations:
    compiling = threading.Thread(target=draw, args=["float64"])
    compiling.start()
    while not compilations.buffer:
        time.sleep(1e-3)
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    x = draw("float64")
    os.write(write, repr(float(x[:10].sum())).encode())
    os._exit(0)
ready, _, _ = select.select([read], [], [], 100)
if not ready:
    os.kill(pid, 9)
    sys.exit("the child hangs")
got = float(os.read(read, 100))
os.waitpid(pid, 0)
compiling.join()
assert got == draw("float64")[:10].sum()
print("equal")
"""


def run_program(program: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=child_environment(**variables),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_during_a_compilation_can_compile():
    assert run_program(FORK) == "equal"


# --- missing --------------------------------------------------------------------------------------

MISSING = """
import importlib.abc, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "numba":
            {action}

sys.meta_path.insert(0, Finder())
import kacflow_core
assert "numba" not in kacflow_core.available_backends()
assert "numba" not in sys.modules or not hasattr(sys.modules["numba"], "njit")
try:
    kacflow_core.sample(1.0, 3, a=9.0, c=3.0, seed=0, backend="numba")
except RuntimeError as error:
    assert "cannot be used here" in str(error)
print(kacflow_core.build_info()["missing"]["numba"])
"""
OLD = """
            from importlib.machinery import ModuleSpec
            class Loader(importlib.abc.Loader):
                def create_module(self, spec): return None
                def exec_module(self, module): module.__version__ = "0.58.1"
            return ModuleSpec(name, Loader())
"""


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("raise ModuleNotFoundError(\"No module named 'numba'\")", "No module named 'numba'"),
        ("raise SystemError('initialization failed')", "SystemError: initialization failed"),
        (OLD, "numba 0.58.1 is too old; allowed: 0.59 or newer"),
    ],
    ids=["absent", "broken", "old"],
)
def test_a_missing_numba_is_explained(action: str, reason: str):
    assert reason in run_program(MISSING.replace("{action}", action))


NOT_COMPILED = """
import kacflow_core
assert "numba" not in kacflow_core.available_backends()
kacflow_core.sample(1.0, 3, a=9.0, c=3.0, seed=0)  # by the next one
print(kacflow_core.build_info()["missing"]["numba"])
"""


def test_numba_that_does_not_compile_is_not_used():
    assert "NUMBA_DISABLE_JIT is set" in run_program(NOT_COMPILED, NUMBA_DISABLE_JIT="1")

"""Threads, fork and concurrent callers: the same numbers, no hang, no crash.

Everything that may crash or hang runs in a child process with a timeout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from cores import Core, child_environment
from functions import KERNELS, LAW, arguments, parts

import kacflow_core


@pytest.mark.parametrize("threads", [2, 3, 7, 64])
def test_threads_change_nothing(core: Core, dtype: str, threads: int):
    rng = np.random.default_rng(0)
    x_0 = rng.normal(size=(700, 3, 67)).astype(dtype)  # enough for every thread to get a part
    t = rng.random(700).astype(dtype)
    a = (rng.random((1, 3)) + 0.5).astype(dtype)

    for name in KERNELS:
        n = 60 if name in LAW else 700
        given = arguments(name, x_0[:n], t[:n], a)
        many, one = (parts(getattr(core, name)(**given, threads=k)) for k in (threads, 1))
        for got, want in zip(many, one, strict=True):
            np.testing.assert_array_equal(got, want, name)


def run(program: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=child_environment(**variables),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


FORK = """
import os, select, sys, time
import numpy as np
import kacflow_core
backend = sys.argv[1] if len(sys.argv) > 1 else os.environ["BACKEND"]

def draw(seed, threads):
    x = kacflow_core.sample(1.0, (300, 1000), a=9.0, c=3.0, seed=seed, threads=threads,
                            backend=backend)
    v = kacflow_core.velocity(x, 1.0, a=9.0, c=3.0, threads=threads, backend=backend)
    return x.tobytes() + v.tobytes()

if os.environ["BEFORE"] == "used":
    for _ in range(3):
        draw(0, 4)  # the threads are running when the process forks
children = []
for child in range(3):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            import hashlib
            digest = [hashlib.sha256(draw(seed, threads)).hexdigest()
                      for seed, threads in ((5, 4), (5, 1), (100 + child, 4))]
            os.write(write, " ".join(digest).encode())
        finally:
            os._exit(0)
    os.close(write)
    children.append((pid, read))
answers = []
end = time.monotonic() + 100
for pid, read in children:
    ready, _, _ = select.select([read], [], [], max(0.1, end - time.monotonic()))
    if not ready:
        for other, _ in children:
            os.kill(other, 9)
            os.waitpid(other, 0)
        sys.exit("a forked child hangs")
    text = os.read(read, 10000).decode()
    _, status = os.waitpid(pid, 0)
    if status or not text:
        sys.exit(f"a forked child ended with status {status}")
    answers.append(text.split())
import hashlib
here = hashlib.sha256(draw(5, 4)).hexdigest()  # and the parent still works
for many, one, own in answers:
    assert many == one == here, "equal seeds, different numbers"
assert len({own for _, _, own in answers}) == 3, "different seeds, equal numbers"
print("equal")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("before", ["used", "fresh"])
def test_forked_children(backend: str, before: str):
    """A child forked while threads exist computes, with one thread and with several."""
    assert run(FORK, BACKEND=backend, BEFORE=before) == "equal"


CONCURRENT = """
import os
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import kacflow_core
backend = os.environ["BACKEND"]
rng = np.random.default_rng(0)
x_0 = rng.normal(size=(200, 500)).astype(np.float32)
t = rng.random(200).astype(np.float32)

def work(seed, threads):
    keys = dict(a=9.0, c=3.0, threads=threads, backend=backend)
    x = kacflow_core.sample(t, x_0.shape, seed=seed, **keys)
    pair = kacflow_core.sample_pair(x_0, signal=1 - t, dsignal=-1.0, clock=t, dclock=1.0,
                                    seed=seed, **keys)
    return [x, *pair, kacflow_core.velocity(x, t[:, None], **keys)]

expected = {seed: work(seed, 1) for seed in range(4)}
with ThreadPoolExecutor(8) as pool:
    jobs = [(i % 4, pool.submit(work, i % 4, 1 + i % 3)) for i in range(48)]
    for seed, job in jobs:
        for got, want in zip(job.result(), expected[seed], strict=True):
            np.testing.assert_array_equal(got, want)
print("equal")
"""


def test_concurrent_callers(backend: str):
    """Several Python threads may call at once, each with threads of its own."""
    assert run(CONCURRENT, BACKEND=backend) == "equal"


def test_first_use_from_several_threads(backend: str):
    """Loading a backend lazily is safe when two threads do it at the same time."""
    program = CONCURRENT.replace(
        "expected = {seed: work(seed, 1) for seed in range(4)}",
        """with ThreadPoolExecutor(4) as pool:
    expected = dict(enumerate(pool.map(work, range(4), [2] * 4)))""",
    )
    assert run(program, BACKEND=backend) == "equal"


SMALL = """
import os, sys, threading
import numpy as np
import kacflow_core as kc
sys.path.insert(0, os.environ["TESTS"])
from functions import KERNELS, arguments, parts
x = np.linspace(-1, 1, 33)

def call(seed):
    found = []
    for name in KERNELS:
        given = arguments(name, x + seed / 100, 0.5)
        if "seed" in given:
            given["seed"] = seed
        found += parts(getattr(kc, name)(**given, threads=1, backend=os.environ["BACKEND"]))
    return np.concatenate([np.ravel(part) for part in found])

wrong = []
def many():
    start.wait()
    for i in range(100):
        if not np.array_equal(call(i % 8), want[i % 8], equal_nan=True):
            wrong.append(i)

sys.setswitchinterval(1e-5)
want = [call(seed) for seed in range(8)]
start = threading.Barrier(8)
threads = [threading.Thread(target=many) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
print(wrong, gil)
"""


def test_many_small_calls_at_once():
    """Eight threads, thousands of calls; a CPython without the GIL goes on without it."""
    if "native" not in kacflow_core.available_backends():
        pytest.skip("no compiled core")
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    tests = str(Path(__file__).parent)
    assert run(SMALL, BACKEND="native", TESTS=tests) == f"[] {not free}"


def test_the_environment_sets_the_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KACFLOW_NUM_THREADS", "1")
    assert kacflow_core.build_info()["threads"] == 1
    monkeypatch.setenv("KACFLOW_NUM_THREADS", "3")
    assert kacflow_core.build_info()["threads"] == 3
    monkeypatch.delenv("KACFLOW_NUM_THREADS")
    if hasattr(os, "sched_getaffinity"):
        assert kacflow_core.build_info()["threads"] == len(os.sched_getaffinity(0))


MANY = """
import os, torch
import numpy as np
import kacflow_core as kc
keys = dict(a=9.0, c=3.0, seed=0, backend=os.environ["BACKEND"])
want = kc.sample(0.5, 3_000_000, threads=1, **keys)
for threads in (2**31 - 1, 99999, None):
    assert np.array_equal(kc.sample(0.5, 3_000_000, threads=threads, **keys), want)
print("equal")
"""


def test_more_threads_than_can_be_started(backend: str):
    """Of torch's OpenMP too, which ends the process where it cannot start them."""
    if backend == "reference":
        pytest.skip("it has no threads")
    assert run(MANY, BACKEND=backend, KACFLOW_NUM_THREADS="99999") == "equal"


@pytest.mark.parametrize(
    "text", ["0", "-1", "abc", "1.5", "99999999999999", "9" * 5000, str(2**31)]
)
def test_a_wrong_number_of_threads_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("KACFLOW_NUM_THREADS", text)
    with pytest.raises(ValueError, match=r"KACFLOW_NUM_THREADS is .*; allowed: a positive integer"):
        kacflow_core.sample(0.5, 2, a=9.0, c=3.0, seed=0)


INTERRUPTED = """
import os, signal, threading
import numpy as np
import kacflow_core as kc
keys = dict(backend=os.environ["BACKEND"], threads=int(os.environ["COUNT"]), a=9.0, c=3.0)
draw = dict(seed=0, **keys)
calls = {
    "sample": lambda n: kc.sample(0.5, n, dtype="float64", **draw),
    "sample_path": lambda n: kc.sample_path(np.arange(1.0, 65.0), n // 64, **draw),
    "simulate_events": lambda n: kc.simulate_events(1.0, n, **draw),
    "long paths": lambda n: kc.simulate_events(n / 9, 64, **draw),
    "ppf": lambda n: kc.ppf(chances[:n], 0.5, **keys),
}
call, size = calls[os.environ["CALL"]], int(os.environ["SIZE"])
chances = np.full(size, 0.3) if os.environ["CALL"] == "ppf" else None
call(100)  # compiled and loaded

arrays = []  # that results are written to: zero where nothing was written
def kept(make):
    def made(*args, **kwargs):
        array = make(*args, **kwargs)
        if array.size > 1000 or calls["long paths"] is call:
            arrays.append(array)
            if len(arrays) == 1:
                timer.start()
        return array
    return made
np.empty, np.empty_like = kept(np.empty), kept(np.empty_like)
timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
try:
    call(size)
except KeyboardInterrupt:
    print("interrupted" if any(array.reshape(-1)[-1] == 0 for array in arrays) else "afterwards")
else:
    print("finished")
"""

SIZES = {
    "sample": 2**28, "sample_path": 2**28, "simulate_events": 2**25, "long paths": 2**22,
    "ppf": 2**25,
}  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="it has no signals of this kind")
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("function", SIZES)
@pytest.mark.parametrize("backend", ["native", "numba"])
def test_control_c_ends_the_work(backend: str, function: str, threads: str):
    """KeyboardInterrupt while there is work left: the end of a result was not written."""
    if backend not in kacflow_core.available_backends():
        pytest.skip(f"no {backend}")
    variables = {"BACKEND": backend, "CALL": function, "COUNT": threads}
    assert run(INTERRUPTED, SIZE=str(SIZES[function]), **variables) == "interrupted"


def test_events_ask_for_their_memory_first():
    """Not after counting for minutes."""
    with pytest.raises(MemoryError, match=r"t_max: 6\.8\d*e\+10 events.* 512 GiB"):
        kacflow_core.simulate_events(1.0, 16, a=2.0**32, c=1.0, seed=0)

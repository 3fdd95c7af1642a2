"""Threads, fork and concurrent callers: the same numbers, no hang, no crash.

Everything that may crash or hang runs in a child process with a timeout.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from cores import Core, child_environment

import kacflow_core


@pytest.mark.parametrize("threads", [2, 3, 7, 64])
def test_threads_change_nothing(core: Core, dtype: str, threads: int):
    rng = np.random.default_rng(0)
    x_0 = rng.normal(size=(700, 3, 67)).astype(dtype)  # enough for every thread to get a part
    t = rng.random(700).astype(dtype)
    a = (rng.random((1, 3)) + 0.5).astype(dtype)

    def results(count: int) -> list[np.ndarray]:
        keys = dict(a=a, c=3.0, threads=count)
        at = dict(a=9.0, c=3.0, threads=count)
        return [
            core.sample(t, x_0.shape, seed=2**63 + 1, offset=2**32 - 9, dtype=dtype, **keys),
            *core.sample_pair(x_0, signal=1 - t, dsignal=-1.0, clock=t, dclock=1.0, seed=1, **keys),
            core.velocity(x_0, t[:, None, None], **at),
            *core.velocity_grad(x_0, t[:, None, None], **at),
        ]

    for got, want in zip(results(threads), results(1), strict=True):
        np.testing.assert_array_equal(got, want)


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


def test_the_environment_sets_the_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KACFLOW_NUM_THREADS", "1")
    assert kacflow_core.build_info()["threads"] == 1
    monkeypatch.setenv("KACFLOW_NUM_THREADS", "3")
    assert kacflow_core.build_info()["threads"] == 3
    monkeypatch.delenv("KACFLOW_NUM_THREADS")
    if hasattr(os, "sched_getaffinity"):
        assert kacflow_core.build_info()["threads"] == len(os.sched_getaffinity(0))

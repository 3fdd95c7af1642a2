"""Several trainings at a time, each in a process of its own with one CPU thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from benchmarks.quality.plan import Task
from benchmarks.results import ROOT

LOG = "worker.log"  #: what a worker prints, in the folder of its run
#: Seconds that workers have to write their checkpoints when the suite is stopped.
PATIENCE = 60.0
_ONE_THREAD = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
    "KACFLOW_NUM_THREADS",
)  # fmt: skip


def _start(task: Task) -> subprocess.Popen[bytes]:
    """The worker of a task.  In a session of its own: the terminal's Ctrl-C goes to us alone."""
    task.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.quality.worker", task.question, task.condition]
    command += [str(task.seed), task.budget, task.device, str(task.out.resolve()), task.data]
    environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
    with open(task.folder / LOG, "wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Have all finish their step and write a checkpoint; end those that do not."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    last = time.monotonic() + PATIENCE
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, last - time.monotonic()))
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt within, as Ctrl-C does, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raises(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, raises)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_all(tasks: Sequence[Task], jobs: int, say: Callable[[str], None]) -> list[Task]:
    """Run workers for all tasks, ``jobs`` at a time; returns those that failed.

    Stopped by Ctrl-C or SIGTERM, it has the running workers write checkpoints, and raises
    KeyboardInterrupt.
    """
    waiting, failed, done = list(reversed(tasks)), [], 0
    running: dict[subprocess.Popen[bytes], tuple[Task, float]] = {}
    with _terminated_as_interrupted():
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    task = waiting.pop()
                    running[_start(task)] = task, time.perf_counter()
                ended = [process for process in running if process.poll() is not None]
                for process in ended:
                    task, began = running.pop(process)
                    done += 1
                    taken = f"{time.perf_counter() - began:.1f} s"
                    if process.returncode:
                        failed.append(task)
                        taken = f"failed after {taken}; see {task.folder / LOG}"
                    say(f"({done}/{len(tasks)}) {task.name}: {taken}")
                if not ended:
                    time.sleep(0.1)
        finally:
            _stop(list(running))
    return failed

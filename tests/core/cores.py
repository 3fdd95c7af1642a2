"""The things under test: every backend, and every SIMD level of the native one.

The native backend chooses its SIMD level once per process, so the levels that it did not choose
here run in a child process of their own, fed through its pipes.
"""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import kacflow_core
from kacflow_core import _spline

ROOT = Path(kacflow_core.__file__).parents[1]

_SERVE = """
import pickle, sys
import kacflow_core
from kacflow_core import _spline
while True:
    try:
        name, args, kwargs = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    home = _spline if name.startswith("spline") else kacflow_core
    result = getattr(home, name)(*args, backend="native", **kwargs)
    pickle.dump(result, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class Core:
    """The public functions on one backend."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, function: str) -> Any:
        """A public function of the core, or one of its splines."""
        return functools.partial(self._call, function)

    def _call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        home = _spline if function.startswith("spline") else kacflow_core
        return getattr(home, function)(*args, backend=self.name, **kwargs)

    def close(self) -> None:
        """Ends what the core started."""


class SimdCore(Core):
    """The native backend at a SIMD level of one's choice, in a child process."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._child = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(KACFLOW_SIMD=name.removeprefix("native-")),
        )

    def _call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        assert self._child.stdin and self._child.stdout
        pickle.dump((function, args, kwargs), self._child.stdin)
        self._child.stdin.flush()
        return pickle.load(self._child.stdout)

    def close(self) -> None:
        assert self._child.stdin and self._child.stdout
        self._child.stdin.close()
        self._child.wait(timeout=60)
        self._child.stdout.close()


def child_environment(**variables: str) -> dict[str, str]:
    """This environment, with the packages importable and ``variables`` set."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}


def core_names() -> list[str]:
    """Backends present, then the SIMD levels that the native one did not choose."""
    names = kacflow_core.available_backends()
    info = kacflow_core.build_info()
    if "native" in names:
        names = [*names, *(f"native-{v}" for v in info["simd_usable"] if v != info["simd"])]
    return list(names)


def make_core(name: str) -> Core:
    """The core called ``name``, one of :func:`core_names`."""
    return SimdCore(name) if name.startswith("native-") else Core(name)

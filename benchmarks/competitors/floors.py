"""Floors: what a pass over the data cannot undercut on the machine.

``copy``: the bytes that the call has to read and write, moved by torch.  ``Philox``: the
random words of one draw per number, converted to uniforms, by the headers of csrc/kac that the
kernels themselves use (floor.cpp, compiled on first use with the flags of the SIMD level in use).
"""

from __future__ import annotations

import ctypes
import functools
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import kacflow_core

_HERE = pathlib.Path(__file__).resolve().parent
_FLAGS = {
    name: flags.split()
    for name, _, flags in (
        line.partition(": ")
        for line in (_HERE.parents[1] / "csrc" / "flags.txt").read_text().splitlines()
        if not line.startswith("#")
    )
}


class Missing(RuntimeError):
    """A competitor that cannot run here; the message says why."""


def copy(source: Tensor) -> Tensor:
    """A copy, in fresh memory as a result would be.

    A pair reads N numbers and writes 2 N; so does a copy of 1.5 N.
    """
    return torch.empty_like(source).copy_(source)


@functools.cache
def _library() -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise Missing("no C++ compiler (g++ or clang++)")
    level = kacflow_core.build_info()["simd"]
    if level is None:
        raise Missing("no compiled core whose SIMD level it could share")
    folder = tempfile.mkdtemp(prefix="kacflow-floor-")
    target = pathlib.Path(folder) / "floor.so"
    command = [
        compiler, "-std=c++17", "-O3", *_FLAGS["math"], *_FLAGS.get(level, ()), "-shared", "-fPIC",
        str(_HERE / "floor.cpp"), "-o", str(target), "-ldl", "-lpthread",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"floor.cpp does not compile: {done.stderr.strip().splitlines()[-1:]}")
        library = ctypes.CDLL(str(target))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the loaded library stays mapped
    arguments = [ctypes.c_uint64, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p]
    for function in (library.philox_float, library.philox_double):
        function.argtypes, function.restype = arguments, None
    return library


def philox(n: int, dtype: str = "float32") -> Callable[[int], np.ndarray]:
    """A call ``f(threads)`` that draws and converts n sets of words; its result is :func:`mix`.

    Raises
    ------
    Missing
        Where there is no compiler.
    """
    library = _library()
    function = library.philox_float if dtype == "float32" else library.philox_double

    def draw(threads: int) -> np.ndarray:
        out = np.empty(n, dtype)
        function(0, n, threads, out.ctypes.data)
        return out

    return draw

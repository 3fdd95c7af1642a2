"""The loops that draws and velocities spend their time in are vectorised, by the compiler's word.

A change of the mathematics that g++ cannot vectorise leaves every result as it is: one made the
float32 pair of 128 x 3072 take 12.2 ns a number instead of 2.0.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from recipe import ROOT, names_of_setup

NATIVE = ROOT / "csrc" / "native"
FILES = ("level_endpoint.h", "level_sampling.h", "level_spline.h", "level_velocity.h")
LOOP = re.compile(r"for \(int l = 0; l < (?:kLanes|kBlock); \+\+l\)")


def loops() -> list[str]:
    """file:line of every such loop."""
    return [
        f"{name}:{number}"
        for name in FILES
        for number, line in enumerate((NATIVE / name).read_text().splitlines(), 1)
        if LOOP.search(line)
    ]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not an x86 processor")
@pytest.mark.parametrize("level", ["avx2", "avx512"])
def test_every_loop_is_vectorised(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told = tmp_path / "told.txt"
    names = names_of_setup(monkeypatch)
    flags = [*names["UNIX_FLAGS"], *names["X86_LEVELS"][level]]
    command = ["g++", *flags, "-fPIC", "-c", NATIVE / f"kernels_{level}.cpp"]
    command += ["-o", tmp_path / "k.o", f"-fopt-info-vec-optimized-missed={told}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    text = told.read_text()
    assert len(loops()) >= 7
    for loop in loops():
        where = rf"{re.escape(loop)}:\d+: "
        assert re.search(where + "optimized: *loop vectorized", text), loop
        assert not re.search(where + "missed: couldn't vectorize loop", text), loop

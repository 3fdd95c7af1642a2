"""The pages of the site, as sources: what stands in them, for the tests beside this file."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "api" not in path.parts)
TUTORIALS = sorted(path for path in (DOCS / "tutorials").glob("*.md") if path.stem != "index")
#: Markdown outside of the site's folder, which it includes, or which leads to it.
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
OTHERS.append(ROOT / "benchmarks" / "README.md")

sys.path.append(str(DOCS / "_extensions"))

_FENCE = re.compile(r"^(`{3,})(.*)\n((?:.*\n)*?)\1$", re.MULTILINE)


def fences(path: Path) -> list[tuple[str, str]]:
    """Language or directive, and text, of every fenced block."""
    return [(kind.strip(), text) for _, kind, text in _FENCE.findall(path.read_text())]


def prose(path: Path) -> str:
    """A page without its fenced blocks and code."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", path.read_text()))


def commands(path: Path) -> list[str]:
    """Indented commands, their continued lines joined."""
    text = _FENCE.sub("", path.read_text())
    found = re.findall(r"(?<=\n)    \S(?:.*\\\n)*.*", "\n" + text)
    return [re.sub(r"\s*\\\n\s*", " ", command).strip() for command in found]


def cells(path: Path) -> list[str]:
    """The code cells of a notebook."""
    return [
        re.sub(r"^(:.*\n)+", "", text)
        for kind, text in fences(path)
        if kind == "{code-cell} python"
    ]


def anchors(path: Path) -> set[str]:
    """Where a link to a page may lead: its headings, those of what it includes, and labels."""
    text = _FENCE.sub("", path.read_text())
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    found = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    found |= set(re.findall(r"^\((.*)\)=$", text, re.MULTILINE))
    for kind, _ in fences(path):
        if kind.startswith("{include} "):
            found |= anchors(path.parent / kind.split()[1])
    return found

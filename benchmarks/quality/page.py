"""The figures of docs/experiments.md, between its markers, from the recorded results.

python -m benchmarks.quality.page           write them
python -m benchmarks.quality.page --check   fail if the page has others
python -m benchmarks.quality.page --draw    draw the pictures of the page anew
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import results
from benchmarks.quality import pictures, tables
from benchmarks.tables import markdown

PAGE = results.ROOT / "docs" / "experiments.md"
#: Questions of the suite whose rows have a share, and what the columns hold.
_SHARES = {
    "share": ["step", "noise", "threads", "time of a step", "share of the noise"],
    "learned": ["splines", "how", "threads", "time of the noise", "over a step of the network"],
}
_MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _shares(name: str, rows: Sequence[results.Row]) -> str:
    """The rows of a question of the suite that have a share."""
    body = [
        [
            row.case, row.name, str(row.threads), results.duration(row.seconds.mid),
            f"{row.more['share']:.1%}",
        ]
        for row in rows
        if "share" in row.more
    ]  # fmt: skip
    return markdown(_SHARES[name], body)


def recorded(name: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """The file of a question's results, and what is in it."""
    stem = name if name in _SHARES else f"quality-{name}"
    file = results.ROOT / "benchmarks" / "results" / f"{stem}.json"
    return file, json.loads(file.read_text())


def figures(name: str) -> str:
    """Where, when and how a question was measured, and its tables."""
    file, content = recorded(name)
    where = content["environment"]
    place = where.get("gpu") or f"{where['processor']}, {where['cpus']} cores"
    made = f"torch {where['torch']}, kacflow {where['kacflow']} at {where['commit']}"
    how = f"    {content['command']}\n\n{place}; {made}, {where['date']}"
    if name in _SHARES:
        return f"{how}.\n\n{_shares(name, results.read(file)['questions'][name])}\n"
    return (
        f"{how}; {len(content['seeds'])} seeds, solver {content['method']}, "
        f"{content['samples']} samples.\n\n{tables.all_tables(content)}\n"
    )


def page(text: str) -> str:
    """The page with the figures of the results in place of those it has."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{figures(found[2])}\n{found[3]}", text)


def drawn(text: str) -> dict[str, pathlib.Path]:
    """The pictures of results that the page shows, by question."""
    names = re.findall(r"\]\(images/quality-(\w+)\.png\)", text)
    return {name: PAGE.parent / "images" / f"quality-{name}.png" for name in names}


def main(arguments: Sequence[str]) -> int:
    """Write the page, with ``--check`` compare it, or draw; returns the exit status."""
    text = PAGE.read_text()
    if list(arguments) == ["--draw"]:
        for name, file in drawn(text).items():
            pictures.save(file, recorded(name)[1])
        return 0
    made = page(text)
    if list(arguments) == ["--check"]:
        return int(made != text)
    PAGE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The tables of README.md and benchmarks/README.md, out of a results file and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.results import Row, duration, size

IMAGES, POINTS = "128x3072 float32", "256x2 float32"
GAUSSIAN, BESSEL = "Gaussian eager", "torch float64 Bessel"


class Answers:
    """The rows of a results file by question, case, name and thread count."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.rows: dict[str, list[Row]] = content["questions"]

    def find(self, question: str, case: str, name: str, threads: int) -> Row:
        """The one row; ``name`` may leave out the size of a table.  ValueError if it is missing."""
        for row in self.rows.get(question, ()):
            named = row.name == name or (row.name.startswith(f"{name} ") and name == "table")
            if row.case == case and named and row.threads == threads:
                return row
        raise ValueError(f"no row {question}: {case}, {name}, {threads} threads in these results")

    def case(self, question: str, case: str) -> list[Row]:
        """All rows of a case; ValueError if there is none."""
        found = [row for row in self.rows.get(question, ()) if row.case == case]
        if not found:
            raise ValueError(f"no rows {question}: {case} in these results")
        return found

    def of(self, question: str, name: str) -> list[Row]:
        """All rows of a competitor in a question."""
        return [row for row in self.rows.get(question, ()) if row.name == name]


def markdown(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """A table of cells."""
    cells = [list(head)]
    cells.append(["---"] * len(cells[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in [*cells, *body])


def _nanoseconds(row: Row) -> str:
    return f"{row.seconds.mid / row.numbers * 1e9:.3g}"


def _ratio(row: Row) -> float:
    assert row.ratio is not None
    return row.ratio.mid


def _pairs(answers: Answers, case: str, names: Iterable[str], threads: int) -> list[list[str]]:
    """Rows of the training pair: what, threads, time, ratio, error."""
    rows = [answers.find("pair", case, name, threads) for name in names]
    return [
        [row.name, f"{threads}", _nanoseconds(row), f"{_ratio(row):.3g}", f"{row.error:.0e}"]
        for row in rows
    ]


_PAIR = ("what", "threads", "ns a number", "over kacflow", "error")


def headline(content: dict[str, Any]) -> str:
    """README's table: the training pair of images beside what it is compared with."""
    answers, names = Answers(content), ("kacflow", GAUSSIAN, "table")
    body = [row for threads in (1, 2) for row in _pairs(answers, IMAGES, names, threads)]
    return markdown(_PAIR, body)


def pairs(content: dict[str, Any]) -> str:
    """The training pair in all sizes and types, with errors and the floor."""
    answers, body = Answers(content), []
    images = ("kacflow", GAUSSIAN, "table", "floor: Philox")
    for case, names, threads in (
        (IMAGES, images, 1),
        (IMAGES, images, 2),
        ("128x3072 float64", images[:2], 1),
        ("128x3072 float64", images[:2], 2),
        (POINTS, images[:3], 1),
    ):
        body += [[case, *row] for row in _pairs(answers, case, names, threads)]
    return markdown(("batch", *_PAIR), body)


def _flatness(rows: Iterable[Row]) -> float:
    """The largest over the smallest time."""
    times = [row.seconds.mid for row in rows]
    return max(times) / min(times)


def targets(content: dict[str, Any]) -> str:
    """What the suite aims at, beside what was measured."""
    answers = Answers(content)

    def over(question: str, case: str, name: str, threads: int) -> float:
        return _ratio(answers.find(question, case, name, threads))

    body = []

    def least(what: str, threads: int, aim: float, value: float) -> None:
        body.append([what, f"{threads}", f">= {aim:g}", f"{value:.3g}", _met(value >= aim)])

    def most(what: str, threads: int, aim: float, value: float) -> None:
        body.append([what, f"{threads}", f"<= {aim:g}", f"{value:.3g}", _met(value <= aim)])

    for threads, aim, restricted in ((2, 0.8, 1.2), (1, 1.0, 1.6)):
        most("pair over Gaussian pair, 128 x 3072", threads, aim,
             1.0 / over("pair", IMAGES, GAUSSIAN, threads))  # fmt: skip
        most("the same with AVX2 at most", threads, restricted,
             1.0 / over("simd", f"avx2: {IMAGES}", GAUSSIAN, threads))  # fmt: skip
    for threads in (1, 2):
        least("table pair over ours, 128 x 3072", threads, 25,
              over("pair", IMAGES, "table", threads))  # fmt: skip
    least("table pair over ours, 256 x 2", 1, 20, over("pair", POINTS, "table", 1))
    for threads in (1, 2):
        least("Bessel velocity over ours, 128 x 3072", threads, 20,
              over("velocity", IMAGES, BESSEL, threads))  # fmt: skip
    for name in ("events NumPy", "events numba", "kacflow simulate_events"):
        least(f"{name} over our paths, 1 grid time, a T = 9", 1, 10,
              over("paths", "grid of 1, a T = 9", name, 1))  # fmt: skip
    most("our paths, largest over smallest time, a T from 9 to 1e4", 1, 1.1,
         _flatness(answers.case("paths", "kacflow alone, grid of 8")))  # fmt: skip
    for threads in (1, 2):
        least("training step with the table over ours", threads, 1.08,
              over("training", "steps", "table", threads))  # fmt: skip
    for threads in (1, 2):
        most("float64 pair over float32 pair, 128 x 3072", threads, 2.5,
             1.0 / over("pair", "128x3072 float64", "kacflow float32", threads))  # fmt: skip
    most("our endpoints, largest over smallest time, a t from 1e-6 to 1e6", 1, 1.1,
         _flatness(answers.case("rate", "kacflow alone")))  # fmt: skip
    return markdown(("what", "threads", "aim", "measured", ""), body)


def _met(yes: bool) -> str:
    return "met" if yes else "missed"


def grids(content: dict[str, Any]) -> str:
    """Paths against the length of the grid, at a T = 9 on one thread: ns per path."""
    names = ("kacflow", "events numba", "kacflow simulate_events", "events NumPy")
    answers, body = Answers(content), []
    for row in answers.of("paths", "kacflow"):
        if row.more["tau"] != 9.0 or row.threads != 1:
            continue
        rows = [answers.find("paths", row.case, name, 1) for name in names]
        times = [f"{r.seconds.mid / r.numbers * r.more['length'] * 1e9:.3g}" for r in rows]
        body.append([f"{row.more['length']}", *times, *(f"{_ratio(r):.3g}" for r in rows[1:])])
    heads = [f"{name.removeprefix('events ').removeprefix('kacflow ')}" for name in names[1:]]
    return markdown(
        ("grid times", "ours, ns a path", *heads, *(f"{name} over ours" for name in heads)), body
    )


def small_call(content: dict[str, Any]) -> str:
    """The pair of 256 x 2 numbers and what it is made of."""
    rows = content["questions"].get("latency", ())
    return markdown(
        ("256 x 2, one thread", "time", "over the Gaussian pair"),
        [[row.name, duration(row.seconds.mid), f"{_ratio(row):.3g}"] for row in rows],
    )


def start_up(content: dict[str, Any]) -> str:
    """From imported torch to the first pair."""
    body = []
    for row in content["questions"].get("startup", ()):
        peak = row.more["peak_bytes"]
        kept = size(row.more["kept_bytes"]) if row.more["kept_bytes"] else "nothing"
        body.append([row.name, duration(row.seconds.mid), size(peak) if peak else "", kept])
    return markdown(("first pair", "time", "peak memory", "keeps"), body)


#: Each table with the document that holds it.
DOCUMENTS = {
    "README.md": ("headline",),
    "benchmarks/README.md": ("pairs", "targets", "grids", "small_call", "start_up"),
}


def all_tables(content: dict[str, Any]) -> dict[str, str]:
    """Every table by name; ValueError where the results lack a row."""
    names = [name for document in DOCUMENTS.values() for name in document]
    return {name: globals()[name](content) for name in names}

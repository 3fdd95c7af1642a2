"""Pictures of results: one PNG a question."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.results import Row, duration

OURS, OTHERS, FLOOR = "#1b6ca8", "#c4693a", "#9aa0a6"
_MORE = ("#c4693a", "#6a9a3b", "#8a5aa8", "#b8912a", "#4f8f8f", "#a83b5f", "#5a5a5a")


def colour(name: str) -> str:
    """Ours, a floor, or another."""
    if name.startswith("kacflow"):
        return OURS
    return FLOOR if name.startswith("floor") else OTHERS


def bars(axes: Any, rows: Sequence[Row], label: str) -> None:
    """A bar per competitor and thread count: median time per number, quartiles as whiskers."""
    rows = sorted(rows, key=lambda row: (row.threads, row.seconds.mid))
    values = [row.seconds.mid / row.numbers * 1e9 for row in rows]
    low = [(row.seconds.mid - row.seconds.low) / row.numbers * 1e9 for row in rows]
    high = [(row.seconds.high - row.seconds.mid) / row.numbers * 1e9 for row in rows]
    places = range(len(rows))[::-1]
    axes.barh(places, values, xerr=[low, high], color=[colour(row.name) for row in rows])
    several = len({row.threads for row in rows}) > 1
    names = [f"{row.name} ({row.threads})" if several else row.name for row in rows]
    axes.set_yticks(list(places), names)
    axes.set_xscale("log")
    axes.set_xlabel(f"{label}, ns{' (threads)' if several else ''}")
    for place, row, value in zip(places, rows, values, strict=True):
        text = duration(value * 1e-9)
        if row.error is not None:
            text += f", error {row.error:.0e}"
        axes.annotate(f"  {text}", (value, place), va="center", fontsize=7)
    axes.set_xlim(right=max(values) * 12.0)


def lines(
    axes: Any,
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    *,
    log_y: bool = True,
) -> None:
    """A line of (x, y) points per competitor, logarithmic."""
    others = iter(_MORE * 4)
    for name, points in series.items():
        found = colour(name)
        shade = next(others) if found == OTHERS else found
        width = 2.2 if found == OURS else 1.2
        style = "--" if found == OURS and name != "kacflow" else "-"
        axes.plot(*zip(*points, strict=True), style, marker="o", ms=3, lw=width, color=shade,
                  label=name)  # fmt: skip
    axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(fontsize=7)


def by_name(rows: Iterable[Row], x: str, y: Any) -> dict[str, list[tuple[float, float]]]:
    """Points (``more[x]``, ``y(row)``) of each competitor."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        value = y(row)
        if value is not None:
            series.setdefault(row.name, []).append((row.more[x], value))
    return series


def fingerprint(rows: Iterable[Row]) -> str:
    """A hash of the rows that a picture shows; it is kept in the picture, as ``Source``."""
    text = json.dumps([dataclasses.asdict(row) for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()


def draw_all(
    folder: pathlib.Path, answers: Mapping[str, list[Row]], surroundings: Mapping[str, Any]
) -> list[pathlib.Path]:
    """Draw each question that has rows; the files written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from benchmarks.questions import load

    folder.mkdir(parents=True, exist_ok=True)
    where = surroundings.get("gpu") or f"{surroundings['processor']}, {surroundings['cpus']} CPUs"
    written = []
    for name, rows in answers.items():
        if not rows:
            continue
        question = load(name)
        figure, axes = pyplot.subplots(figsize=(7.5, 4.2), layout="constrained")
        question.draw(axes, rows)
        axes.set_title(question.TITLE, fontsize=10)
        figure.text(
            0.995,
            0.005,
            f"{where}; kacflow {surroundings['kacflow']}, {surroundings['commit']}",
            ha="right",
            fontsize=6,
            color="#666666",
        )
        file = folder / f"{name}.png"
        figure.savefig(file, dpi=120, metadata={"Source": fingerprint(rows)})
        pyplot.close(figure)
        written.append(file)
    return written

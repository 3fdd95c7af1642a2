"""Pictures of records: curves of means with standard deviations."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from benchmarks.pictures import FLOOR
from benchmarks.quality import questions
from kacflow import plotting


def curves(
    axes: Any,
    content: Mapping[str, Any],
    measure: str,
    labels: Mapping[str, str],
    styles: Mapping[str, Mapping[str, Any]],
    *,
    scale: str = "log",
) -> None:
    """A measure against its points, a curve per condition; real data as a line across.

    ``scale`` is that of the points: ``"symlog"`` where one of them is 0.
    """
    conditions = content["summary"].get(measure, {})
    for condition in (name for name in labels if name in conditions):
        entries = {float(point): entry for point, entry in conditions[condition].items()}
        shown = sorted(x for x, entry in entries.items() if entry["mean"] is not None)
        axes.errorbar(
            shown,
            [entries[x]["mean"] for x in shown],
            [entries[x]["sd"] or 0.0 for x in shown],
            marker="o", ms=3, lw=1.4, capsize=2, label=labels[condition], **styles[condition],
        )  # fmt: skip
    least = min((float(p) for found in conditions.values() for p in found if float(p)), default=1.0)
    axes.set_xscale(scale, **({"linthresh": least} if scale == "symlog" else {}))
    points = sorted({float(point) for found in conditions.values() for point in found})
    if points and max(points) > 1.0:  # evaluations
        axes.set_xticks(points, [f"{point:g}" for point in points])
        axes.minorticks_off()
    if measure in content["real"]:
        axes.axhline(content["real"][measure]["mean"], color=FLOOR, lw=1.0, label="real data")


def save(file: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Draw a record into a file."""
    question, where = questions.load(content["question"]), content["environment"]
    figure = plotting.figure(7.5, 5.5)
    question.draw(figure, content)
    seeds = f"mean over {len(content['seeds'])} seed(s) and standard deviation"
    figure.suptitle(f"{content['title']}: {content['budget']}; {seeds}", fontsize=10)
    place = where.get("gpu") or where["processor"]
    figure.supxlabel(f"{place}; kacflow {where['kacflow']}, {where['commit']}", fontsize=6,
                     color="#666666")  # fmt: skip
    plotting.save(figure, file)

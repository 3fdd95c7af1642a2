"""Pictures of records: curves of means with standard deviations."""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from benchmarks.pictures import FLOOR
from benchmarks.quality import questions
from kacflow import plotting


def _label(point: float) -> str:
    """A number, short where it is a large power of ten."""
    power = round(math.log10(point)) if point >= 1000.0 else 0
    return f"$10^{power}$" if power and point == 10.0**power else f"{point:g}"


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
        axes.set_xticks(points, [_label(point) for point in points])
        axes.minorticks_off()
    if measure in content["real"]:
        axes.axhline(content["real"][measure]["mean"], color=FLOOR, lw=1.0, label="real data")


def thin(axes: Any) -> None:
    """Leave out those labels of points that would touch the one after; the last one stays."""
    labels, shown, end = axes.get_xticklabels(), [], math.inf
    if any(label.get_rotation() for label in labels):  # names, not numbers
        return
    for label in reversed(labels):
        box = label.get_window_extent()
        fits = box.x1 < end - box.height / 3
        shown.append(label.get_text() if fits else "")
        end = box.x0 if fits else end
    axes.set_xticklabels(shown[::-1])


def fingerprint(content: Mapping[str, Any]) -> str:
    """A hash of what a picture shows; it is kept in the picture, as ``Source``."""
    text = json.dumps([content["summary"], content["real"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save(file: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Draw a record into a file, with one legend below all panels."""
    question, where = questions.load(content["question"]), content["environment"]
    figure = plotting.figure(7.5, 5.5)
    question.draw(figure, content)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if labels:  # of the layout's lowest part, where the line about the machine is, too
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7,
                      borderaxespad=2.0)  # fmt: skip
        figure.get_layout_engine().set(rect=(0.0, 0.02, 1.0, 0.98))
    seeds = f"mean over {len(content['seeds'])} seed(s) and standard deviation"
    figure.suptitle(f"{content['title']}: {content['budget']}; {seeds}", fontsize=10)
    place = where.get("gpu") or where["processor"]
    figure.supxlabel(f"{place}; kacflow {where['kacflow']}, {where['commit']}", fontsize=6,
                     color="#666666")  # fmt: skip
    figure.draw_without_rendering()  # only then is it known what fits
    from matplotlib.ticker import FixedLocator

    for axes in figure.axes:
        if isinstance(axes.xaxis.get_major_locator(), FixedLocator):
            thin(axes)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150, metadata={"Source": fingerprint(content)})

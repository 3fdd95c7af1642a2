"""A record as tables: means over seeds, and differences from the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.quality import questions
from benchmarks.tables import markdown

#: Measures of every training, beside those of its question.
COMMON = {
    "training_loss": "mean loss of the last tenth of the steps, by steps (of what is predicted: "
    "not comparable between predictions)",
    "training_seconds": "seconds of training, by steps",
}


def _cell(entry: Mapping[str, Any] | None, spread: str) -> str:
    if entry is None or entry["mean"] is None:
        return ""
    text = f"{entry['mean']:.3g}"
    if entry[spread] is not None:
        text += f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{entry[spread]:.2g}"
    return text


def all_tables(content: Mapping[str, Any]) -> str:
    """The tables of a record, as text."""
    question, parts = questions.load(content["question"]), []
    for measure, label in {**question.MEASURES, **COMMON}.items():
        conditions = content["summary"].get(measure)
        if not conditions:
            continue
        points = list(dict.fromkeys(point for found in conditions.values() for point in found))
        rows = [
            [question.CONDITIONS[name], *(_cell(found.get(point), "sd") for point in points)]
            for name, found in conditions.items()
        ]
        if measure in content["real"]:
            floor = _cell(content["real"][measure], "sd")
            rows.append(["real data", floor, *("" for _ in points[1:])])
        parts.append(f"{label}; mean ± standard deviation")
        parts.append(markdown([measure, *points], rows))
        compared = [
            [
                question.CONDITIONS[name],
                *(_cell(found.get(point, {}).get("difference"), "half_width") for point in points),
            ]
            for name, found in conditions.items()
            if any("difference" in entry for entry in found.values())
        ]
        if compared and measure in getattr(question, "COMPARED", question.MEASURES):
            reference = question.CONDITIONS[content["reference"]]
            parts.append(f"the same less that of {reference}, seed by seed; mean ± 95 % interval")
            parts.append(markdown([f"{measure}, difference", *points], compared))
    return "\n\n".join(parts)

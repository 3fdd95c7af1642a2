"""Two results side by side: ratios, and what got slower or less accurate beyond the spread."""

from __future__ import annotations

from typing import Any

from benchmarks.results import Row, duration

#: An error that grew by more than this factor is marked.
LESS_ACCURATE = 1.5


def _beyond(old: Row, new: Row) -> str:
    """ "slower" or "faster" if the quartiles of the times do not overlap; else ""."""
    if new.seconds.low > old.seconds.high:
        return "slower"
    if new.seconds.high < old.seconds.low:
        return "faster"
    return ""


def _marks(old: Row, new: Row) -> list[str]:
    marks = [_beyond(old, new)]
    if None not in (old.error, new.error) and not old.error_kind.startswith("Kolmogorov"):
        was, now = float(old.error or 0.0), float(new.error or 0.0)
        if now > max(LESS_ACCURATE * was, 1e-15):
            marks.append(f"less accurate: {was:.1e} -> {now:.1e}")
    return [mark for mark in marks if mark]


def compare(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, list[str]]:
    """A table of the rows that both have, and the regressions among them.

    A regression is a row of ours whose quartiles lie wholly above the old ones, or whose error
    grew.  Competitors that moved are shown: they tell a slower machine from slower code.
    """
    lines, regressions = [], []
    for key in ("processor", "cpus", "simd", "torch", "commit", "date"):
        a, b = old["environment"].get(key), new["environment"].get(key)
        lines.append(f"{key}: {a}" if a == b else f"{key}: {a} -> {b}")
    common = 0
    for question, rows in new["questions"].items():
        before = {row.key: row for row in old["questions"].get(question, [])}
        shared = [(before[row.key], row) for row in rows if row.key in before]
        if not shared:
            continue
        common += len(shared)
        lines += ["", question]
        width = max(len(f"{row.case} | {row.name}") for _, row in shared)
        for was, row in shared:
            marks = _marks(was, row)
            ratio = row.seconds.mid / was.seconds.mid
            label = f"{row.case} | {row.name}".ljust(width)
            where = f"{row.threads} thr" if row.device == "cpu" else row.device
            lines.append(
                f"  {label}  {where:>6}  {duration(was.seconds.mid):>9} -> "
                f"{duration(row.seconds.mid):>9}  x {ratio:5.3f}  {', '.join(marks)}".rstrip()
            )
            ours = row.name.startswith("kacflow")
            regressions += [
                f"{question}: {row.case} | {row.name}, {where}: {mark}"
                for mark in marks
                if ours and mark != "faster"
            ]
    if not common:
        raise ValueError("the two results have no row in common")
    lines += ["", f"regressions: {len(regressions)}", *(f"  {text}" for text in regressions)]
    return "\n".join(lines), regressions

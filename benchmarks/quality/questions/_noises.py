"""The noises that questions compare, as fields of a training's configuration."""

from __future__ import annotations

from typing import Any

#: By name; "diffusion" is the limit of the first, of the same variance per unit of time.
NOISES: dict[str, dict[str, Any]] = {
    "kac-9-3": {"path": "kac", "a": 9.0, "c": 3.0, "clock": "linear"},
    "kac-25-2": {"path": "kac", "a": 25.0, "c": 2.0, "clock": "square"},
    "diffusion": {"path": "diffusion", "a": 9.0, "c": 3.0, "clock": "linear"},
    "flow-matching": {"path": "flow_matching"},
}
LABELS = {
    "kac-9-3": "Kac, a = 9, c = 3",
    "kac-25-2": "Kac, a = 25, c = 2, square clock",
    "diffusion": "diffusion",
    "flow-matching": "flow matching",
}
COLOURS = {
    "kac-9-3": "#1b6ca8",
    "kac-25-2": "#6a9a3b",
    "diffusion": "#c4693a",
    "flow-matching": "#8a5aa8",
}
#: The exact field of the data beside a network, drawn with dashes.
EXACT = "-exact"


def with_exact(conditions: dict[str, str]) -> dict[str, str]:
    """The conditions, and after each the exact field with its noise."""
    return {
        name + end: label + (", exact field" if end else "")
        for name, label in conditions.items()
        for end in ("", EXACT)
    }


def noise_of(condition: str) -> str:
    """The noise that a condition's name begins with."""
    return next(name for name in NOISES if condition.startswith(name))


def styles(conditions: dict[str, str]) -> dict[str, dict[str, Any]]:
    """A colour per noise, dashes for exact fields and where the data is predicted."""
    return {
        name: {
            "color": COLOURS[noise_of(name)],
            "linestyle": "--" if name.endswith((EXACT, "-data")) else "-",
        }
        for name in conditions
    }

"""The questions of the suite, one file each.

A question has ``TITLE``, one line; ``run(plan)``, which returns its rows; and ``draw(axes, rows)``,
which pictures them.
"""

from __future__ import annotations

import importlib
from typing import Any

#: In the order in which they are asked.
NAMES = (
    "endpoint",
    "velocity",
    "pair",
    "simd",
    "paths",
    "rate",
    "size",
    "threads",
    "latency",
    "training",
    "share",
    "learned",
    "startup",
    "accuracy",
    "bandwidth",
)


def load(name: str) -> Any:
    """The module of a question."""
    return importlib.import_module(f"benchmarks.questions.{name}")

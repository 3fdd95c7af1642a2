"""Means over seeds, and differences of trainings that share a seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Numbers = Mapping[int, float | None]


def spread(values: Iterable[float | None]) -> dict[str, Any]:
    """Number, mean and standard deviation (of n - 1) of the values that are there.

    The deviation is None for fewer than two, the mean for none.
    """
    kept = np.array([value for value in values if value is not None], np.float64)
    return {
        "n": len(kept),
        "mean": float(kept.mean()) if len(kept) else None,
        "sd": float(kept.std(ddof=1)) if len(kept) > 1 else None,
    }


def difference(values: Numbers, reference: Numbers) -> dict[str, Any]:
    """:func:`spread` of ``values[seed] - reference[seed]`` over the seeds that both have.

    ``half_width``: of the interval that holds the mean difference with probability 0.95 by
    Student's t, if differences are normal; None for fewer than two seeds.
    """
    from scipy.stats import t

    both = [
        value - other
        for seed, value in values.items()
        if value is not None and (other := reference.get(seed)) is not None
    ]
    found = spread(both)
    n, sd = found["n"], found["sd"]
    width = None if sd is None else float(t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return {**found, "half_width": width}


def summary(runs: Iterable[Mapping[str, Any]], reference: str) -> dict[str, Any]:
    """{measure: {condition: {point: spread}}} of measured runs.

    Each spread of a condition other than ``reference`` has its ``difference`` from that beside it.
    """
    values: dict[str, dict[str, dict[str, dict[int, float | None]]]] = {}
    for run in runs:
        for measure, points in run["measured"].items():
            here = values.setdefault(measure, {}).setdefault(run["condition"], {})
            for point, value in points.items():
                here.setdefault(point, {})[run["seed"]] = value
    found: dict[str, Any] = {}
    for measure, conditions in values.items():
        for condition, points in conditions.items():
            for point, seeds in points.items():
                entry = spread(seeds.values())
                other = conditions.get(reference, {}).get(point)
                if other is not None and condition != reference:
                    entry["difference"] = difference(seeds, other)
                found.setdefault(measure, {}).setdefault(condition, {})[point] = entry
    return found

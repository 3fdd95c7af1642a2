"""Every public function that computes, with arguments that are valid: for tests of what all of them
have in common.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import kacflow_core
from kacflow_core._dispatch import POINT_FUNCTIONS

NOISE = {"seed": 2**63 + 1, "offset": 2**32 - 9}


def _aligned(parameter: Any, x: np.ndarray) -> Any:
    """A parameter of the leading axes of ``x``, as it broadcasts in NumPy."""
    if not np.ndim(parameter):
        return parameter
    return np.reshape(parameter, np.shape(parameter) + (1,) * (x.ndim - np.ndim(parameter)))


def _grid(t: Any) -> np.ndarray:
    """Two times in each of the intervals (0, t]."""
    return np.stack([0.5 * np.asarray(t), np.asarray(t)], axis=-1)


def _chances(x: np.ndarray) -> np.ndarray:
    """Probabilities: of ``x`` itself where it has no others."""
    if np.all((x >= 0) & (x <= 1)):
        return x
    return (np.abs(np.where(np.isfinite(x), x, 0.25)) % 1).astype(x.dtype)


def _of_draws(x: np.ndarray, a: Any, c: Any) -> dict[str, Any]:
    return {"shape": x.shape, "dtype": x.dtype.name, "a": a, "c": c, **NOISE}


def _at_points(x: np.ndarray, t: Any, a: Any, c: Any) -> dict[str, Any]:
    return {"x": x, **{name: _aligned(v, x) for name, v in {"t": t, "a": a, "c": c}.items()}}


def _pair(x: np.ndarray, t: Any, a: Any, c: Any) -> dict[str, Any]:
    schedules = {"signal": 1 - t, "dsignal": -1.0, "clock": t, "dclock": 1.0}
    return {"x0": x, **schedules, "a": a, "c": c, **NOISE}


def _events(x: np.ndarray, t: Any, a: Any, c: Any) -> dict[str, Any]:
    return {"t_max": t, "shape": x.shape, "a": a, "c": c, **NOISE}


def _quantiles(x: np.ndarray, t: Any, a: Any, c: Any) -> dict[str, Any]:
    parameters = _at_points(x, t, a, c)
    return {"q": _chances(parameters.pop("x")), **parameters}


#: Arguments for data ``x`` and parameters of its leading axes.
FUNCTIONS: dict[str, Callable[[np.ndarray, Any, Any, Any], dict[str, Any]]] = {
    "sample": lambda x, t, a, c: {"t": t, **_of_draws(x, a, c)},
    "sample_pair": _pair,
    "sample_path": lambda x, t, a, c: {"times": _grid(t), **_of_draws(x, a, c)},
    "simulate_events": _events,
    **dict.fromkeys(POINT_FUNCTIONS, _at_points),
    "ppf": _quantiles,
    "transport": lambda x, t, a, c: {**_at_points(x, t, a, c), "s": 0.5 * _aligned(t, x)},
    "variance": lambda x, t, a, c: {"t": t, "a": a, "c": c},
    "atom_mass": lambda x, t, a, c: {"t": t, "a": a},
    "char_fn": lambda x, t, a, c: {"k": 0.5, "t": t, "a": a, "c": c},
}
#: Those with a kernel, which take ``backend`` and ``threads``.
KERNELS = [
    name
    for name in FUNCTIONS
    if "backend" in inspect.signature(getattr(kacflow_core, name)).parameters
]
#: Those that are slow, and are spread over threads from fewer elements on.
LAW = [name for name, function in POINT_FUNCTIONS.items() if not function.sixteen_bit]
#: Those of data in float16 and bfloat16 as well.
OF_ANY_DATA = ["sample_pair", *(name for name in POINT_FUNCTIONS if name not in LAW)]


def arguments(name: str, x: np.ndarray, t: Any, a: Any = 9.0, c: Any = 3.0) -> dict[str, Any]:
    """Arguments of a function, by name; the first samples of ``x`` and ``t`` give the first samples
    of the results.
    """
    return FUNCTIONS[name](x, t, a, c)


def parts(result: Any) -> list[np.ndarray]:
    """The arrays that a function gave, all of the shape of the data (a path's with times behind);
    of events the first directions, and numbers and sums of turning times.
    """
    if isinstance(result, kacflow_core.Events):
        counts, shape = np.diff(result.offsets), result.directions.shape
        sums = np.zeros(counts.size)
        np.add.at(sums, np.arange(counts.size).repeat(counts), result.times)
        return [result.directions, counts.reshape(shape), sums.reshape(shape)]
    return list(result) if isinstance(result, tuple) else [result]

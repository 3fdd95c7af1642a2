"""Functions of one argument and the process: broadcast, one backend call, results in shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from kacflow_core import _layout, _validate
from kacflow_core._layout import Array
from kacflow_core._threads import resolve


def at_points(
    method: Callable[..., None],
    name: str,
    data: Array,
    t: ArrayLike,
    a: ArrayLike,
    c: ArrayLike,
    threads: int | None,
    outputs: int = 1,
) -> list[Array]:
    """Call a backend's ``method(data, *outputs, layout, t, a, c, threads=...)`` on all points.

    ``data`` is checked already and called ``name`` in messages; the outputs have its dtype.
    """
    times, rates, speeds = _validate.process(t, a, c, _layout.working_dtype(data.dtype))
    parameters = {"t": times, "a": rates, "c": speeds}
    shape, layout, rows = _layout.broadcast(name, data.shape, parameters)
    flat = np.ascontiguousarray(np.broadcast_to(data, shape)).reshape(-1)
    results = [np.empty_like(flat) for _ in range(outputs)]
    count = resolve(threads)
    if layout.size:
        method(flat, *results, layout, *rows, threads=count)
    return [result.reshape(shape) for result in results]

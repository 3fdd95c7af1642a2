"""Hypothesis strategies for what kacflow takes: seeds, parameters, shapes, places and data.

Ranges are those for which accuracy is stated and tested::

    a    1e-4 ... 1e5    jump rate
    c    1e-3 ... 1e3    speed
    t    1e-5 ... 1e2    time
    tau  1e-6 ... 1e6    their product a t, where it is drawn by itself

Numbers are drawn log-uniformly and are exact in ``dtype``, so that a backend, which rounds its
parameters to that type, and the reference, which does not, are given the same problem.  Failing
examples shrink towards 1, offsets and seeds towards 0, arrays towards one element.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from hypothesis import find, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from kacflow_core._layout import BFLOAT16, Array
from kacflow_core.backends._storage import store

__all__ = [
    "Points",
    "data",
    "dtypes",
    "offsets",
    "parameters",
    "points",
    "rates",
    "seeds",
    "shapes",
    "smallest",
    "speeds",
    "storage_dtypes",
    "taus",
    "times",
]

#: Extents at which loops over blocks, vectors and rows begin, end and leave a rest.
_EXTENTS = (1, 2, 3, 5, 7, 8, 16, 17, 31, 33, 64, 65, 129, 0)
_MOST_ELEMENTS = 2200  # 17 * 129 fits

Value = TypeVar("Value")


class Points(NamedTuple):
    """Places of one process: arguments of :func:`kacflow_core.velocity`."""

    x: Array  #: (n,), in the dtype asked for
    t: float
    a: float
    c: float

    def __repr__(self) -> str:
        """With all digits, which an array of its own does not print."""
        return f"Points(x={self.x.tolist()}, t={self.t}, a={self.a}, c={self.c})"


def smallest(
    strategy: SearchStrategy[Value], condition: Callable[[Value], bool] | None = None
) -> Value:
    """The simplest value that a strategy draws and that meets a condition, if any; always the same.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.seeds(), lambda seed: seed >= 2**32) == 2**32
    True
    """
    condition = condition or (lambda value: True)
    return find(strategy, condition, settings=settings(database=None, derandomize=True))


def dtypes() -> SearchStrategy[str]:
    """A working type, "float32" or "float64".

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.dtypes()
    sampled_from(['float32', 'float64'])
    """
    return st.sampled_from(["float32", "float64"])


def storage_dtypes() -> SearchStrategy[str]:
    """A type of data: a working type, "float16" or "bfloat16".

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.storage_dtypes()
    sampled_from(['float32', 'float64', 'float16', 'bfloat16'])
    """
    return st.sampled_from(["float32", "float64", "float16", "bfloat16"])


def seeds() -> SearchStrategy[int]:
    """A seed, in [0, 2**64).

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.seeds())
    0
    """
    return st.integers(0, 2**64 - 1)


def offsets() -> SearchStrategy[int]:
    """An offset, in [0, 2**64), often just below 2^32 or 2^64.

    There the low word of the counter overflows, and the counter wraps to 0.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.offsets())
    0
    """
    return st.one_of(
        st.integers(0, 2**64 - 1),
        st.integers(1, 300).map(lambda k: 2**32 - k),
        st.integers(1, 300).map(lambda k: 2**64 - k),
    )


def _log_uniform(low: float, high: float, dtype: str) -> SearchStrategy[float]:
    kind = np.dtype(dtype).type

    def exact(exponent: float) -> float:
        return float(kind(min(max(10.0**exponent, low), high)))

    return st.floats(math.log10(low), math.log10(high)).map(exact)


def rates(dtype: str = "float64") -> SearchStrategy[float]:
    """A jump rate a, 1e-4 to 1e5, exact in ``dtype``.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.rates())
    1.0
    """
    return _log_uniform(1e-4, 1e5, dtype)


def speeds(dtype: str = "float64") -> SearchStrategy[float]:
    """A speed c, 1e-3 to 1e3, exact in ``dtype``.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.speeds())
    1.0
    """
    return _log_uniform(1e-3, 1e3, dtype)


def times(dtype: str = "float64") -> SearchStrategy[float]:
    """A time t, 1e-5 to 1e2, exact in ``dtype``.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.times())
    1.0
    """
    return _log_uniform(1e-5, 1e2, dtype)


def taus(dtype: str = "float64", low: float = 1e-6, high: float = 1e6) -> SearchStrategy[float]:
    """A mean number of turns tau = a t, 1e-6 to 1e6, exact in ``dtype``.

    With t = 1, c = 1 and a = tau a draw is K(t)/(c t) itself.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.taus())
    1.0
    """
    return _log_uniform(low, high, dtype)


def shapes(min_dims: int = 0, max_dims: int = 3) -> SearchStrategy[tuple[int, ...]]:
    """A shape of awkward extents (0, 1, 2, ..., 17, 33, 65, 129), of at most 2200 elements.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.shapes(), lambda shape: len(shape) == 2)
    (1, 1)
    """
    extents = st.lists(st.sampled_from(_EXTENTS), min_size=min_dims, max_size=max_dims)
    return extents.map(tuple).filter(lambda shape: math.prod(shape) <= _MOST_ELEMENTS)


def parameters(
    shape: tuple[int, ...], numbers: SearchStrategy[float], dtype: str = "float64"
) -> SearchStrategy[Array]:
    """A parameter for data of ``shape``, aligned with its leading axes.

    Scalar, per sample ``(n0,)``, per channel ``(1, n1)``, per sample and channel ``(n0, n1)`` or
    one number per element; it takes up to four values out of ``numbers``.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.parameters((4, 3), strategies.rates()), lambda a: a.ndim > 1)
    array([[1.]])
    """
    sizes = [(), shape[:1], (1,) * min(len(shape), 2), (1, *shape[1:2])[: len(shape)]]
    sizes += [shape[:2], shape]
    return st.builds(
        _spread,
        st.sampled_from(list(dict.fromkeys(sizes))),
        st.lists(numbers, min_size=1, max_size=4),
        st.integers(0, 2**32 - 1),
        st.just(dtype),
    )


def _spread(shape: tuple[int, ...], palette: list[float], seed: int, dtype: str) -> Array:
    """An array of values out of the palette."""
    place = np.random.default_rng(seed).integers(len(palette), size=shape)
    return np.asarray(palette, dtype=dtype)[place]


def data(
    shape: tuple[int, ...], dtype: str, numbers: SearchStrategy[float] | None = None
) -> SearchStrategy[Array]:
    """Data of ``shape`` in a storage type, "bfloat16" in the carrier ``kacflow_core`` takes.

    It takes up to eight values out of ``numbers``, by default finite ones in [-8, 8].

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.data((2,), "float16"), lambda x: x.min() > 1)
    array([2., 2.], dtype=float16)
    """
    wide = "float64" if dtype == "float64" else "float32"
    if numbers is None:
        numbers = st.floats(-8, 8, width={"float64": 64, "float16": 16}.get(dtype, 32))  # type: ignore[arg-type]
    palettes = st.lists(numbers, min_size=1, max_size=8)
    spread = st.builds(_spread, st.just(shape), palettes, st.integers(0, 2**32 - 1), st.just(wide))
    return spread.map(lambda values: stored(values, dtype))


def stored(values: Array, dtype: str) -> Array:
    """float32 or float64 numbers rounded to nearest in a storage type."""
    given = np.asarray(values)
    out = np.empty(given.shape, BFLOAT16 if dtype == "bfloat16" else dtype)
    store(_to_odd(given) if dtype == "bfloat16" else given, out)
    return out


def _to_odd(values: Array) -> Array:
    """Float32 towards zero, its last bit set where that lost something: rounded to nearest again,
    in a type of fewer bits, ``values`` have been rounded once.
    """
    with np.errstate(over="ignore", under="ignore"):
        nearest = values.astype(np.float32)
        farther = np.abs(nearest) > np.abs(values)
        inside = np.where(farther, np.nextafter(nearest, np.float32(0)), nearest)
    lost = (inside != values) & ~np.isnan(values)
    return (inside.view(np.uint32) | lost).view(np.float32)


@st.composite
def points(draw: Any, dtype: str = "float64", beyond: bool = True) -> Points:
    """Up to nine places in the light cone of one process, and on and beyond its edge c t.

    Places anywhere, among them places up to three units in the last place from the edge, the
    centre, and the smallest numbers there are.  Without ``beyond`` all of them lie strictly inside.

    Examples
    --------
    >>> from kacflow_core.testing import strategies
    >>> strategies.smallest(strategies.points())
    Points(x=[0.0], t=1.0, a=1.0, c=1.0)
    """
    kind: Any = np.dtype(dtype).type
    t, a, c = draw(times(dtype)), draw(rates(dtype)), draw(speeds(dtype))
    edge = kind(c) * kind(t)
    beside = [edge]
    for _ in range(3):
        beside = [np.nextafter(beside[0], kind(0)), *beside, np.nextafter(beside[-1], kind(np.inf))]
    least = np.finfo(dtype).smallest_subnormal
    elements = st.one_of(
        st.floats(-1.25, 1.25, width=8 * kind().itemsize).map(lambda xi: kind(xi) * edge),
        st.sampled_from([*beside, kind(0), least, 3 * least, np.finfo(dtype).tiny]),
        st.sampled_from(beside).map(lambda x: -x),
    )
    x = np.array(draw(st.lists(elements, min_size=1, max_size=9)), dtype=dtype)
    if not beyond:
        x = np.clip(x, -beside[2], beside[2])
    return Points(x, t, a, c)

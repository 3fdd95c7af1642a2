"""Exact products: the one place where plain float64 arithmetic would lose what the law needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SPLITTER = 2.0**27 + 1.0


def _split(x: Any) -> tuple[Any, Any]:
    """x as a sum of two numbers of 26 bits each (Veltkamp)."""
    high = x * _SPLITTER
    high = high - (high - x)
    return high, x - high


def exact_product(a: Any, b: Any) -> tuple[Array, Array]:
    """``(high, low)`` with high = a b rounded and high + low = a b exactly (Dekker 1971).

    Computed on the mantissas, so that nothing overflows on the way; exact unless the product comes
    near the denormal numbers.
    """
    (x, x_exponent), (y, y_exponent) = np.frexp(a), np.frexp(b)
    (x1, x0), (y1, y0) = _split(x), _split(y)
    high = x * y
    low = ((x1 * y1 - high) + x1 * y0 + x0 * y1) + x0 * y0
    exponent = x_exponent + y_exponent
    return np.ldexp(high, exponent), np.ldexp(low, exponent)

"""16-bit data in and out of float32, for backends that compute with NumPy types."""

from __future__ import annotations

from typing import Any

import numpy as np

from kacflow_core._layout import Array, is_bfloat16


def widen(data: Array) -> Array:
    """Data as float32 or float64; 16-bit data exactly, the rest unchanged."""
    if is_bfloat16(data.dtype):
        return (data.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return data.astype(np.float32) if data.dtype == np.float16 else data


def store(value: Array, out: Array) -> None:
    """Round ``value`` (float32 for 16-bit ``out``) to nearest even into ``out``."""
    if not is_bfloat16(out.dtype):
        with np.errstate(over="ignore", under="ignore"):
            out[...] = value
        return
    bits: Any = value.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    quiet_nan = bits >> np.uint32(16) | np.uint32(0x40)
    out.view(np.uint16)[...] = np.where(np.isnan(value), quiet_nan, rounded)

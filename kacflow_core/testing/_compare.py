"""Comparisons that say in one line what differs most."""

from __future__ import annotations

from typing import Any

import numpy as np

from kacflow_core._layout import Array, is_bfloat16
from kacflow_core.backends._storage import widen


def plain(value: Array) -> Array:
    """Numbers that NumPy can compare: bfloat16 as float32."""
    return widen(value) if is_bfloat16(value.dtype) else value


def equal(got: Array, want: Array, what: str) -> None:
    """AssertionError unless the arrays have one shape and the same numbers, NaN included."""
    assert got.shape == want.shape, f"{what}: got shape {got.shape}, expected {want.shape}"
    got, want = plain(got), plain(want)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    if not same.all():
        place = np.unravel_index(int(np.argmin(same)), same.shape)
        raise AssertionError(
            f"{what}: {np.count_nonzero(~same)} of {same.size} numbers differ; element "
            f"{_at(place)} is {got[place]!s}, expected {want[place]!s}"
        )


def within(got: Array, want: Array, allowed: Any, what: str) -> None:
    """AssertionError unless |got - want| <= allowed everywhere; a NaN is never within."""
    assert got.shape == want.shape, f"{what}: got shape {got.shape}, expected {want.shape}"
    error = np.abs(got.astype(np.float64) - want)
    good = error <= allowed
    if not good.all():
        allowed = np.broadcast_to(allowed, error.shape)
        with np.errstate(all="ignore"):
            ratio = np.where(good, 0.0, np.nan_to_num(error / allowed, nan=np.inf))
        place = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        raise AssertionError(
            f"{what}: {np.count_nonzero(~good)} of {good.size} numbers are off; element "
            f"{_at(place)} is {got[place]!s}, expected {want[place]:.17g}, error "
            f"{error[place]:.3g}, allowed {allowed[place]:.3g}"
        )


def _at(place: tuple[Any, ...]) -> str:
    return ", ".join(str(int(i)) for i in place) or "()"

"""Monotone rational-quadratic splines with linear tails, and their inverse in closed form.

Formulas and accuracy are in ``csrc/kac/spline.h``.  C splines are evaluated at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Knots(NamedTuple):
    """Abscissas and ordinates, increasing, and slopes > 0, all of shape (C, K + 1)."""

    x: Tensor
    y: Tensor
    slope: Tensor


def evaluate(knots: Knots, x: Tensor) -> tuple[Tensor, Tensor]:
    """y and y' at ``x``, of shape (n0, C, inner) or (C, N)."""
    if x.ndim == 2:
        y, slope = evaluate(knots, x[None])
        return y[0], slope[0]
    found: tuple[Tensor, Tensor] = torch.ops.kacflow._spline(x, *knots)
    return found


def invert(knots: Knots, y: Tensor) -> Tensor:
    """The x where the spline is ``y``, of the shapes of :func:`evaluate`."""
    if y.ndim == 2:
        return invert(knots, y[None])[0]
    found: Tensor = torch.ops.kacflow._spline_inverse(y, *knots)
    return found

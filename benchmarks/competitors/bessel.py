"""The conditional velocity through exponentially scaled Bessel functions, in float64.

As published with arXiv 2506.20641: v = a x/(a t + z I0(z)/I1(z)) from a displacement that is cast
to float64, speed c in a thin layer at the edge of the light cone, which stands for the atoms, and a
float32 result.  In eager torch, compiled by torch.compile, and in SciPy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from scipy import special
from torch import Tensor

#: Relative thickness of the layer that counts as atoms, per unit of 1/T.
EDGE = 1e-6

_SMALL_Z = 1e-12


def velocity_eager(x: Tensor, t: Tensor, a: float, c: float, *, horizon: float = 1.0) -> Tensor:
    """v(t, x) of broadcasting tensors; float32."""
    position, time = x.to(torch.float64), t.to(torch.float64)
    reach = c * time
    z = (a / c) * torch.sqrt(torch.clamp(reach**2 - position**2, min=0.0))
    quotient = z * torch.special.i0e(z) / torch.special.i1e(z)
    q = torch.where(z < _SMALL_Z, torch.full_like(z, 2.0), quotient)
    inside = a * position / (a * time + q)
    atom = position.abs() >= reach * (1.0 - EDGE / horizon)
    return torch.where(atom, c * torch.sign(position), inside).to(torch.float32)


@functools.cache
def velocity_compiled() -> Callable[..., Tensor]:
    """:func:`velocity_eager` through torch.compile."""
    return torch.compile(velocity_eager, dynamic=False)


def velocity_scipy(
    x: np.ndarray, t: np.ndarray, a: float, c: float, *, horizon: float = 1.0
) -> np.ndarray:
    """v(t, x) of broadcasting arrays; float32."""
    position, time = np.asarray(x, np.float64), np.asarray(t, np.float64)
    reach = c * time
    z = (a / c) * np.sqrt(np.maximum(reach**2 - position**2, 0.0))
    with np.errstate(invalid="ignore"):
        quotient = z * special.i0e(z) / special.i1e(z)
    q = np.where(z < _SMALL_Z, 2.0, quotient)
    inside = a * position / (a * time + q)
    atom = np.abs(position) >= reach * (1.0 - EDGE / horizon)
    return np.where(atom, c * np.sign(position), inside).astype(np.float32)

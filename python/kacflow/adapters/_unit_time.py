"""Times of libraries that run from noise at 0 to data at 1."""

from __future__ import annotations

from torch import Tensor

from kacflow.path import batch_times


def own_time(t: float | Tensor, x: Tensor, T: float) -> Tensor:
    """kacflow's time T (1 - t) of a batch, shape () or (B,); checks that t is in [0, 1].

    Rounding of ``t`` above 1, which the check lets through, does not take it below 0.
    """
    return (T * (1.0 - batch_times(t, x, 1.0))).clamp(min=0.0)

"""The table sampler of the code of arXiv 2506.20641, written from its description.

For each of ``times + 1`` equidistant times the density of |K(t)| given a turn is evaluated on
``quantiles + 1`` equidistant points of [0, c t], cumulated by the trapezoidal rule, normalised and
inverted; the inverse is stored in float32.  A draw mixes in the atom with probability e^(-a t),
looks the table up bilinearly in (t, u) and gives the result a random sign.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import i0e, i1e
from torch import Tensor

from benchmarks.competitors.bessel import velocity_eager

#: Points of the table in the quantile and in time, as in the code of the paper for images.
QUANTILES, TIMES = 4096, 50_000

_ROWS_AT_ONCE = 64


def _inverse_rows(t: np.ndarray, a: float, c: float, quantiles: int) -> np.ndarray:
    """Quantiles of |K(t)| given a turn for times t > 0 of shape (n,); (n, quantiles + 1)."""
    y = np.linspace(0.0, 1.0, quantiles + 1)  # |x|/(c t)
    tau = (a * t)[:, None]
    root = np.sqrt((1.0 - y) * (1.0 + y))
    z = tau * root
    # I1(z)/z -> 1/2 at the edge, z = 0
    ratio = np.divide(i1e(z), z, out=np.full_like(z, 0.5), where=z > 1e-6)
    density = np.exp(z - tau) * (i0e(z) + tau * ratio)  # up to a factor that cancels
    cumulated = np.zeros_like(density)
    np.cumsum(density[:, 1:] + density[:, :-1], axis=1, out=cumulated[:, 1:])
    cumulated /= cumulated[:, -1:]
    inverse = np.stack([np.interp(y, row, y) for row in cumulated])
    return inverse * (c * t)[:, None]


class TableSampler:
    """K(t) for times in [0, horizon] from a table of its quantiles, in eager torch.

    Parameters
    ----------
    a, c : float
        Jump rate and speed; a table serves one pair of them.
    horizon : float
        Largest time.
    times, quantiles : int
        Intervals of the table along each axis.
    device : torch.device
        Where the table lies and draws are made.
    """

    def __init__(
        self,
        a: float,
        c: float,
        horizon: float = 1.0,
        *,
        times: int = TIMES,
        quantiles: int = QUANTILES,
        device: torch.device | str = "cpu",
    ) -> None:
        self.a, self.c, self.horizon = a, c, horizon
        self.times, self.quantiles = times, quantiles
        grid = np.linspace(0.0, horizon, times + 1)
        table = np.zeros((times + 1, quantiles + 1), dtype=np.float32)
        for first in range(1, times + 1, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            table[rows] = _inverse_rows(grid[rows], a, c, quantiles)
        self.table = torch.from_numpy(table).to(device)

    @property
    def table_bytes(self) -> int:
        """Memory that the table keeps."""
        return self.table.numel() * self.table.element_size()

    def look_up(self, t: Tensor, u: Tensor) -> Tensor:
        """Quantile u of |K(t)| given a turn, bilinear between the table's points; shape (n,)."""
        row = t * (self.times / self.horizon)
        j = row.floor().long().clamp(0, self.times - 1)
        column = u * self.quantiles
        k = column.floor().long().clamp(0, self.quantiles - 1)
        down, across = row - j, column - k
        here = torch.lerp(self.table[j, k], self.table[j, k + 1], across)
        below = torch.lerp(self.table[j + 1, k], self.table[j + 1, k + 1], across)
        return torch.lerp(here, below, down)

    def sample(self, t: Tensor, dim: int) -> Tensor:
        """K(t) for times of shape (n,), ``dim`` independent components each: (n, dim), float32."""
        times = t.unsqueeze(1).expand(-1, dim).reshape(-1)
        atom = torch.rand_like(times) < torch.exp(-self.a * times)
        inside = self.look_up(times, torch.rand_like(times))
        size = torch.where(atom, self.c * times, inside)
        sign = torch.where(torch.rand_like(times) < 0.5, 1.0, -1.0)
        return (sign * size).reshape(t.shape[0], dim)

    def pair(self, x_0: Tensor, t: Tensor, *, signal: str = "linear") -> tuple[Tensor, Tensor]:
        """The training pair with clock t and the float64 Bessel velocity.

        ``signal`` is "linear", 1 - t/T, or "constant", 1.
        """
        noise = self.sample(t, x_0[0].numel()).reshape(x_0.shape)
        time = t.reshape(-1, *(1,) * (x_0.ndim - 1))
        velocity = velocity_eager(noise, time, self.a, self.c, horizon=self.horizon)
        if signal == "constant":
            return x_0 + noise, velocity
        return (1.0 - time / self.horizon) * x_0 + noise, velocity - x_0 / self.horizon

"""Monotone rational-quadratic splines with linear tails, and their inverse in closed form.

Gregory and Delbourgo, *Piecewise rational quadratic interpolation to monotonic data*, IMA J. Numer.
Anal. 2 (1982); as bijections Durkan, Bekasov, Murray, Papamakarios, *Neural Spline Flows*, arXiv
1906.04032.  On a bin of width w and height h, with slopes d, e at its ends and s = h/w,

    y = y_k + h (s r^2 + d r (1-r))/(s + (d + e - 2 s) r (1-r)),   r = (x - x_k)/w
    y' = s^2 (e r^2 + 2 s r (1-r) + d (1-r)^2)/(s + (d + e - 2 s) r (1-r))^2

and beyond the first and the last knot y goes on with the slope there.  Several splines are
evaluated at once: knots (C, K + 1), arguments (C, N).
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


def _bin(edges: Tensor, at: Tensor, knots: Knots) -> tuple[Tensor, ...]:
    """x_k, w, y_k, h, d and e of the bins in which ``at`` lies among ``edges``."""
    number = torch.searchsorted(edges[:, 1:-1].detach().contiguous(), at.detach(), right=True)
    x, y, slope = knots
    table = torch.stack(
        (x[:, :-1], x.diff(dim=1), y[:, :-1], y.diff(dim=1), slope[:, :-1], slope[:, 1:])
    )
    return table.gather(2, number.expand(6, -1, -1)).unbind()


def evaluate(knots: Knots, x: Tensor) -> tuple[Tensor, Tensor]:
    """y and y' at ``x``."""
    within = torch.clamp(x, knots.x[:, :1], knots.x[:, -1:])
    x_k, w, y_k, h, d, e = _bin(knots.x, within, knots)
    r, s = (within - x_k) / w, h / w
    both = r * (1.0 - r)
    below = s + (d + e - 2.0 * s) * both
    y = y_k + h * (s * r.square() + d * both) / below
    slope = s.square() * (e * r.square() + 2.0 * s * both + d * (1.0 - r).square())
    slope = slope / below.square()
    return y + slope * (x - within), slope


def invert(knots: Knots, y: Tensor) -> Tensor:
    """The x where the spline is ``y``.

    With q = (y - y_k)/h and m = d (1-q) - e q the quadratic equation for r has the root
    2 s q/(p + 2 s q), p = m + sqrt(m^2 + 4 s^2 q (1-q)), in which nothing cancels but for m < 0,
    where p is written as a quotient.
    """
    within = torch.clamp(y, knots.y[:, :1], knots.y[:, -1:])
    x_k, w, y_k, h, d, e = _bin(knots.y, within, knots)
    s, q = h / w, (within - y_k) / h
    m, both = d * (1.0 - q) - e * q, 4.0 * s.square() * q * (1.0 - q)
    root = (m.square() + both).sqrt()
    p = torch.where(m < 0, both / (root - m.clamp(max=0.0)), m + root)
    x = x_k + w * (2.0 * s * q / (p + 2.0 * s * q))
    return (
        x
        + torch.where(y < within, y - within, 0.0) / knots.slope[:, :1]
        + (torch.where(y > within, y - within, 0.0) / knots.slope[:, -1:])
    )

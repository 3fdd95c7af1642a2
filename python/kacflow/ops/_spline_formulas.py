"""The splines of ``csrc/kac/spline.h`` in torch operations, which have all derivatives.

Data are (n0, C, inner), knots (C, K + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor


def _bin(edges: Tensor, at: Tensor, *knots: Tensor) -> tuple[Tensor, ...]:
    """x_k, w, y_k, h, d and e of the bins in which ``at`` lies among ``edges``; (C, N)."""
    number = torch.searchsorted(
        edges[:, 1:-1].detach().contiguous(), at.detach().contiguous(), right=True
    )
    x, y, slope = knots
    table = torch.stack(
        (x[:, :-1], x.diff(dim=1), y[:, :-1], y.diff(dim=1), slope[:, :-1], slope[:, 1:])
    )
    return table.gather(2, number.expand(6, -1, -1)).unbind()


def _rows(x: Tensor) -> Tensor:
    """Data with the splines first, (C, N)."""
    return x.transpose(0, 1).reshape(x.shape[1], -1).contiguous()


def _back(rows: Tensor, like: Tensor) -> Tensor:
    n0, splines, inner = like.shape
    return rows.reshape(splines, n0, inner).transpose(0, 1)


def spline(x: Tensor, edges: Tensor, values: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """y and y' at ``x``."""
    rows = _rows(x)
    within = torch.clamp(rows, edges[:, :1], edges[:, -1:])
    x_k, w, y_k, h, d, e = _bin(edges, within, edges, values, slopes)
    r, s = (within - x_k) / w, h / w
    both = r * (1.0 - r)
    below = s + (d + e - 2.0 * s) * both
    y = y_k + h * (s * r.square() + d * both) / below
    slope = s.square() * (e * r.square() + 2.0 * s * both + d * (1.0 - r).square())
    slope = slope / below.square()
    return _back(y + slope * (rows - within), x), _back(slope, x)


def spline_inverse(y: Tensor, edges: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
    """The x where the spline is ``y``.

    With q = (y - y_k)/h and m = d (1-q) - e q the quadratic equation for r has the root
    2 s q/(p + 2 s q), p = m + sqrt(m^2 + 4 s^2 q (1-q)), in which nothing cancels but for m < 0,
    where p is written as a quotient.
    """
    rows = _rows(y)
    within = torch.clamp(rows, values[:, :1], values[:, -1:])
    x_k, w, y_k, h, d, e = _bin(values, within, edges, values, slopes)
    s, q = h / w, (within - y_k) / h
    m, both = d * (1.0 - q) - e * q, 4.0 * s.square() * q * (1.0 - q)
    root = (m.square() + both).sqrt()
    p = torch.where(m < 0, both / (root - m.clamp(max=0.0)), m + root)
    x = x_k + w * (2.0 * s * q / (p + 2.0 * s * q))
    x = (
        x
        + torch.where(rows < within, rows - within, 0.0) / slopes[:, :1]
        + torch.where(rows > within, rows - within, 0.0) / slopes[:, -1:]
    )
    return _back(x, y)

"""Second derivatives of the conditional velocity, in torch operations.

With tau = a t, y = a x/c, z^2 = (tau - y)(tau + y), D = tau + q(z), rho = q'(z)/z and
sigma = rho'(z)/z, from the first derivatives (csrc/kac/velocity.h) by the chain rule::

    v_xx = (a^2/c) (y/D^2) (3 rho + y^2 (2 rho^2/D - sigma))
    v_xt = -(a^2/D^2) ((1 + tau rho)(1 + 2 y^2 rho/D) - y^2 tau sigma)
    v_tt = a^2 c (y/D^2) (2 (1 + tau rho)^2/D - rho - tau^2 sigma)

inside the light cone, and 0 on the atoms.  The other second derivatives follow by scaling.

Relative error: below 1e-12 in float64 and 5e-5 in float32, for a in [1e-4, 1e5], c in [1e-3, 1e3],
t in [1e-5, 1e2] and all of |x| < c t (tests/torch/test_velocity_hessian.py).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kacflow.ops._tensors import working_dtype


class _Form(NamedTuple):
    """Where the two forms of q meet, and their lengths: what they leave out is below rounding."""

    switch: float
    levels: int  #: of the continued fraction
    terms: int  #: of the asymptotic series


_FORMS = {torch.float64: _Form(20.0, 40, 28), torch.float32: _Form(10.0, 20, 16)}


class BesselRatio(NamedTuple):
    """q(z) = z I0(z)/I1(z), rho(z) = q'(z)/z and sigma(z) = rho'(z)/z."""

    q: Tensor
    rho: Tensor
    sigma: Tensor


def _asymptotic_coefficients(n: int) -> list[float]:
    """b_1 ... b_n of q(z) = z + 1/2 + sum_k b_k z^-k, from the Riccati equation.

    Comparing powers, 2 b_(k+1) = (k + 2) b_k - sum_(i+j=k) b_i b_j over i, j >= 0, with b_0 = 1/2.
    """
    b = [0.5]
    for k in range(n):
        b.append(((k + 2) * b[k] - sum(b[i] * b[k - i] for i in range(k + 1))) / 2)
    return b[1:]


_B = _asymptotic_coefficients(max(form.terms for form in _FORMS.values()))


def bessel_ratio(z: Tensor) -> BesselRatio:
    """q, rho and sigma for z >= 0, each with a small relative error.

    Small z, with w = z^2, by the continued fraction of consecutive Bessel functions
    (DLMF 10.33.1) and its derivative, level by level::

        q = 2 + w g,   rho = 1 - q g,   sigma = -2 (q dg/dw + rho g/2),
        g = 1/(4 + w/(6 + w/(8 + ...)))

    (d rho/dw = -(dq/dw) g - q dg/dw with dq/dw = rho/2).  Beyond, with q = z + 1/2 + h, s = 1/2 + h
    and h the asymptotic series, the Riccati equation z^2 rho = z^2 + 2 q - q^2 and its derivative
    z^2 sigma = 2 (1 - rho q), in which the leading terms cancel exactly::

        rho   = ((1 - 2 h) + s (2 - s)/z)/z
        sigma = -2 ((1 - 2 h) s + s (2 - s) (1 + s/z) - 2 h z)/z^3
    """
    switch, levels, terms = _FORMS[z.dtype]
    near_z = z.clamp(max=switch)
    w = near_z * near_z
    level = torch.full_like(w, 2.0 * levels)  # T_k = 2 k + w/T_(k+1) and its slope in w
    slope = torch.zeros_like(w)
    for k in range(levels - 1, 1, -1):
        inverse = 1.0 / level
        slope = inverse * (1.0 - w * inverse * slope)
        level = 2.0 * k + w * inverse
    g = 1.0 / level
    dg = -slope * g * g
    q = 2.0 + w * g
    rho = 1.0 - q * g
    near = BesselRatio(q, rho, -2.0 * q * dg - rho * g)

    far_z = z.clamp(min=switch)
    u = 1.0 / far_z
    series = torch.zeros_like(u)
    for b in reversed(_B[1:terms]):
        series = (b + series) * u
    hz = _B[0] + series  # h z, which tends to 3/8
    h = hz * u
    s = 0.5 + h
    rho = ((1.0 - 2.0 * h) + s * (2.0 - s) * u) * u
    bracket = (1.0 - 2.0 * h) * s + s * (2.0 - s) * (1.0 + s * u) - 2.0 * hz
    far = BesselRatio(far_z + s, rho, -2.0 * bracket * u * u * u)
    return BesselRatio(*(torch.where(z < switch, n, f) for n, f in zip(near, far, strict=True)))


def _product_error(a: Tensor, b: Tensor, product: Tensor) -> Tensor:
    """a b - product exactly, for the rounded product: Dekker, Numer. Math. 18 (1971)."""
    split = 2.0 ** (27 if a.dtype == torch.float64 else 12) + 1.0
    high = []
    for value in (a, b):
        scaled = split * value
        high.append(scaled - (scaled - value))
    (a_high, b_high), a_low, b_low = high, a - high[0], b - high[1]
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def velocity_hessian(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(v_xx, v_xt, v_tt) in the working type of ``x``; everything broadcasts as in torch."""
    x, t, a, c = (value.to(working_dtype(x.dtype)) for value in (x, t, a, c))
    ct = c * t
    distance = x.abs()
    gap = (ct - distance) + _product_error(c, t, ct)
    inside = distance < ct
    # Lengths are divided by c and multiplied by a in an order in which nothing overflows.
    tau, y = a * t, a * (x / c)
    square = (a * (gap / c)).clamp(min=0.0) * (a * ((ct + distance) / c))
    q, rho, sigma = bessel_ratio(square.sqrt())
    inverse = 1.0 / (tau + q)
    spread = y * y * rho * inverse
    growth = 1.0 + tau * rho
    scale = a * inverse
    v_xx = scale * inverse * y * (3.0 * rho + y * y * (2.0 * rho * rho * inverse - sigma)) * (a / c)
    v_xt = -scale * scale * (growth * (1.0 + 2.0 * spread) - y * y * tau * sigma)
    v_tt = scale * scale * (c * y)
    v_tt = v_tt * (2.0 * growth * growth * inverse - rho - tau * tau * sigma)
    zero = torch.zeros_like(v_xx)
    edge = torch.isnan(x)
    first, second, third = (torch.where(inside | edge, value, zero) for value in (v_xx, v_xt, v_tt))
    return first, second, third

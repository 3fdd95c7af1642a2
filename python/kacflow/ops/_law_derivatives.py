"""Derivatives of the distribution functions' operators, in closed form.

With p the density of the continuous part, L = ln p, F the distribution function and v the
conditional velocity, inside the light cone:

**F** depends on a t and x/(c t) only, and dF/dt = -p v by the continuity equation; hence::

    dF/dx = p,    dF/dt = -p v,    dF/da = -p (t v - x)/a,    dF/dc = -p x/c

**L**.  The continuity equation is L_t = -(v_x + v L_x).  The flux p v obeys
(p v)_t + 2 a p v = -c^2 p_x (the other half of the telegrapher's equation), which leaves ::

    L_x = -(v_t - v v_x + 2 a v)/(c^2 - v^2)

and by scaling c L_c = -1 - x L_x and a L_a = t L_t - c L_c.  So every derivative is one of the
velocity, whose operators have their own.

**Quantiles** move as draws do: dx/dq = 1/p, and dx/dt, dx/da, dx/dc are those of a draw; on the
atoms dx/dq = 0.  All derivatives of F and L are 0 on and outside the cone.

**Transport** X = Q_s(F_t(x)) has dX/dx = p_t(x)/p_s(X), 0 to and from the atoms, dX/ds = v(s, X),
dX/dt = -v(t, x) dX/dx, and in a and c those of a draw at s less dX/dx times those at t.
"""

from __future__ import annotations

from typing import NoReturn

import torch

from kacflow.ops._derivatives import _A, _C, _T, _X, with_slopes
from kacflow.ops._rules import Asked, Jacobian


def logpdf_jacobian(of: Asked) -> Jacobian:
    """Of ``logpdf(x, t, a, c)``."""
    x, t, a, c = of.inputs
    inside = x.abs() < c * t
    v, v_x, v_t = with_slopes(x, t, a, c)
    v = torch.where(inside, v, 0.0)
    l_x = -(v_t - v * v_x + 2.0 * a * v) / ((c - v) * (c + v))
    row = {_X: l_x}
    if _T in of.wanted or _A in of.wanted:
        row[_T] = l_t = -(v_x + v * l_x)
        row[_A] = (t * l_t + 1.0 + x * l_x) / a
    if _C in of.wanted:
        row[_C] = -(1.0 + x * l_x) / c
    return [{i: torch.where(inside, value, 0.0) for i, value in row.items()}]


def cdf_jacobian(of: Asked) -> Jacobian:
    """Of ``cdf(x, t, a, c)``."""
    x, t, a, c = of.inputs
    p = torch.where(x.abs() < c * t, torch.ops.kacflow.logpdf(x, t, a, c).exp(), 0.0)
    row = {_X: p}
    if _T in of.wanted or _A in of.wanted:
        v = torch.ops.kacflow.velocity(x, t, a, c)
        row[_T] = -p * v
        row[_A] = -p * (t * v - x) / a
    if _C in of.wanted:
        row[_C] = -p * x / c
    return [row]


def ppf_jacobian(of: Asked) -> Jacobian:
    """Of ``ppf(q, t, a, c)``."""
    _, t, a, c = of.inputs
    x = of.outputs[0]
    row = {_C: x / c}
    if _T in of.wanted or _A in of.wanted:
        row[_T] = v = torch.ops.kacflow.velocity(x, t, a, c)
        row[_A] = (t * v - x) / a
    if _X in of.wanted:
        inside = x.abs() < c * t
        row[_X] = torch.where(inside, (-torch.ops.kacflow.logpdf(x, t, a, c)).exp(), 0.0)
    return [row]


def transport_jacobian(of: Asked) -> Jacobian:
    """Of ``transport(x, t, s, a, c)``."""
    x, t, s, a, c = of.inputs
    kac, end = torch.ops.kacflow, of.outputs[0]
    to = kac.velocity(end, s, a, c)
    row = {2: to, 3: (s * to - end) / a, 4: end / c}
    if any(i != 2 for i in of.wanted):
        inside = (x.abs() < c * t) & (end.abs() < c * s)
        slope = kac.logpdf(x, t, a, c) - kac.logpdf(end, s, a, c)
        slope = torch.where(inside, torch.where(inside, slope, 0.0).exp(), 0.0)
        v = kac.velocity(x, t, a, c)
        row[0], row[1] = slope, -slope * v
        row[3] = row[3] - slope * (t * v - x) / a
        row[4] = row[4] - slope * x / c
    return [row]


def no_path_derivatives(of: Asked) -> NoReturn:
    """Refuse, rather than treat a path as constant."""
    raise RuntimeError(
        "kacflow::sample_path has no gradient with respect to times, a or c: detach them, or draw "
        "single times with kacflow::sample, which has one"
    )

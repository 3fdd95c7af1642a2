"""Derivatives of the operators in :mod:`kacflow.ops`, in closed form.

**Velocity.**  v(t, x) = c V(a t, a x/c), so that by scaling dv/da = (t v_t + x v_x)/a and
dv/dc = (v - x v_x)/c; likewise for v_x = a V_2 and v_t = a c V_1.

**Draws.**  A draw x of K(t) moves with its parameters so that its law stays right (implicit
reparameterisation; Figurnov, Mohamed, Mnih, arXiv 1805.08498).  The continuity equation gives
dF/dt = -p v for the distribution function, which depends on a t and x/(c t) only; hence::

    dx/dt = v(t, x),    dx/da = (t v(t, x) - x)/a,    dx/dc = x/c

with v = ±c on the atoms, which are known exactly: a draw returns them as ±c t rounded once.  (So
is, next to never, a draw that rounds to that.)  For every differentiable f, E f(x) then has the
right gradient.

**The velocity of a draw**, w = v(t, x), jumps at the edge of the light cone: from c on the atom to
e = c a t/(a t + 2) inside.  Atoms turn at rate a, and their mass arrives at the edge inside, so ::

    dw/dt = A,    dw/da = t A/a,    dw/dc = w/c,
    A = v_t + v v_x inside,    A = ±a (e - c) = -+2 a c/(a t + 2) on the atoms.

With that A the gradient of E f(x) w is right for every differentiable f, and so is the second
derivative of E f(x).  What is not linear in w cannot have a gradient along the draws, since mass
leaps from one value of w to another: for w^2 this one is too small by a (c - e)^2 e^(-a t) in t.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from kacflow import schedules
from kacflow.ops._rules import Asked, Jacobian, leading
from kacflow.ops._tensors import working_dtype

_X, _T, _A, _C = range(4)  # positions of velocity's inputs


def with_slopes(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """v, v_x and v_t."""
    kac = torch.ops.kacflow
    return (kac.velocity(x, t, a, c), *kac.velocity_grad(x, t, a, c))


def velocity_jacobian(of: Asked) -> Jacobian:
    """Of ``velocity(x, t, a, c)``."""
    x, t, a, c = of.inputs
    working = working_dtype(x.dtype)
    v_x, v_t = (d.to(working) for d in torch.ops.kacflow.velocity_grad(x, t, a, c))
    row = {_X: v_x, _T: v_t}
    if _A in of.wanted:
        row[_A] = (t * v_t + x * v_x) / a
    if _C in of.wanted:
        row[_C] = (of.outputs[0].to(working) - x * v_x) / c
    return [row]


def velocity_grad_jacobian(of: Asked) -> Jacobian:
    """Of ``velocity_grad(x, t, a, c)``."""
    x, t, a, c = of.inputs
    working = working_dtype(x.dtype)
    v_xx, v_xt, v_tt = torch.ops.kacflow._velocity_hessian(x, t, a, c)
    v_x, v_t = (d.to(working) for d in of.outputs)
    first, second = {_X: v_xx, _T: v_xt}, {_X: v_xt, _T: v_tt}
    if _A in of.wanted:
        first[_A] = (v_x + t * v_xt + x * v_xx) / a
        second[_A] = (v_t + t * v_tt + x * v_xt) / a
    if _C in of.wanted:
        first[_C] = -x * v_xx / c
        second[_C] = (v_t - x * v_xt) / c
    return [first, second]


def sample_jacobian(of: Asked) -> Jacobian:
    """Of ``sample(t, a, c, ...)``."""
    x = of.outputs[0]
    t, a, c = (leading(p.to(x.dtype), x.ndim) for p in of.inputs[:3])
    row = {}
    if 0 in of.wanted or 1 in of.wanted:
        row[0] = w = torch.ops.kacflow._draw_velocity(x, t, a, c)
        row[1] = (t * w - x) / a
    if 2 in of.wanted:
        row[2] = x / c
    return [row]


def draw_velocity(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """w = v(t, x) for a draw x; ±c on the atoms, at t = 0 with the sign of the zero."""
    atom = x.abs() >= c * t
    return torch.where(atom, torch.copysign(c, x), torch.ops.kacflow.velocity(x, t, a, c))


def draw_velocity_jacobian(of: Asked) -> Jacobian:
    """Of the velocity of a draw, whose own motion is part of it: nothing in ``x``."""
    x, t, a, c = of.inputs
    row = {}
    if _T in of.wanted or _A in of.wanted:
        row[_T] = acceleration = torch.ops.kacflow._draw_acceleration(x, t, a, c)
        row[_A] = t * acceleration / a
    if _C in of.wanted:
        row[_C] = of.outputs[0] / c
    return [row]


def draw_acceleration(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """A of the module's docstring, for a draw x."""
    v, v_x, v_t = with_slopes(x, t, a, c)
    turned = torch.copysign(2.0 * c * (a / (a * t + 2.0)), -x)
    return torch.where(x.abs() >= c * t, turned, v_t + v * v_x)


# Positions of sample_pair's inputs.
_X_0, _PAIR_A, _PAIR_C, _SIGNAL, _DSIGNAL, _CLOCK, _DCLOCK, _SEED, _OFFSET = range(9)


def pair_jacobian(of: Asked) -> Jacobian:
    """Of ``sample_pair``: (f x_0 + K, f' x_0 + g' w), with the noise drawn again."""
    inputs, wanted = of.inputs, of.wanted
    x_0 = inputs[_X_0]
    working = working_dtype(x_0.dtype)
    a, c, f, df, g, dg = (leading(p.to(working), x_0.ndim) for p in inputs[1:7])
    data = x_0.to(working)
    first, second = {_X_0: f, _SIGNAL: data}, {_X_0: df, _DSIGNAL: data}
    if any(i in wanted for i in (_PAIR_A, _PAIR_C, _CLOCK, _DCLOCK)):
        noise = torch.ops.kacflow.sample(
            inputs[_CLOCK].to(x_0.device), inputs[_PAIR_A], inputs[_PAIR_C], inputs[_SEED],
            inputs[_OFFSET], x_0.shape, working,
        )  # fmt: skip
        w = torch.ops.kacflow._draw_velocity(noise, g, a, c)
        first.update({_CLOCK: w, _PAIR_A: (g * w - noise) / a, _PAIR_C: noise / c})
        second.update({_DCLOCK: w, _PAIR_C: dg * w / c})
        if of.used[1] and (_CLOCK in wanted or _PAIR_A in wanted):
            second[_CLOCK] = dg * torch.ops.kacflow._draw_acceleration(noise, g, a, c)
            second[_PAIR_A] = g * second[_CLOCK] / a
    return [first, second]


# Position of the time among the inputs of a pair with named schedules.
_TIME = 1


def scheduled_pair_jacobian(of: Asked) -> Jacobian:
    """Of ``sample_pair_scheduled`` and ``sample_pair_partly``, from that of :func:`pair_jacobian`
    by the chain rule: the time moves f, f', g and g', as far as they are named, at the rates f',
    f'', g' and g''.
    """
    x_0, t, a, c, *given, seed, offset, signal, clock, horizon = of.inputs
    working = working_dtype(x_0.dtype)
    time, values = t.to(working), []
    rates: dict[int, Tensor | float] = {}
    own = {0: _X_0, 2: _PAIR_A, 3: _PAIR_C}
    kinds = schedules.numbered(signal, clock, horizon)
    for schedule, at in zip(kinds, (_SIGNAL, _CLOCK), strict=True):
        if schedule is None:
            values += given
            own |= {4: at, 5: at + 1}
        else:
            rates[at] = slope = schedule.derivative(time)
            rates[at + 1] = schedule.curvature(time)
            values += [
                torch.as_tensor(v, dtype=working, device=time.device)
                for v in (schedule.value(time), slope)
            ]
    wanted = [own[i] for i in of.wanted if i in own] + list(rates) * (_TIME in of.wanted)
    rows = pair_jacobian(Asked((x_0, a, c, *values, seed, offset), (), wanted, of.used))
    result: Jacobian = []
    for row in rows:
        mine = {i: row[k] for i, k in own.items() if k in row}
        terms = [
            row[k] * (leading(r, x_0.ndim) if isinstance(r, Tensor) else r)
            for k, r in rates.items()
            if k in row
        ]
        if _TIME in of.wanted and terms:
            mine[_TIME] = sum(terms[1:], terms[0])
        result.append(mine)
    return result


def no_third_derivatives(of: Asked) -> NoReturn:
    """Refuse, rather than go on with zeros."""
    raise RuntimeError(
        "kacflow: the velocity has first and second derivatives, and the gradient of a draw has "
        "one more; this asks for a further one"
    )

"""``torch.ops.kacflow.*``: the kernels as functional torch operators.

Registered through :mod:`torch.library`, so nothing links torch.  All are pure functions of their
inputs, the seed included (a 0-d int64 tensor), have fake implementations, and pass
``torch.library.opcheck`` and ``torch.compile(fullgraph=True)``:

=================  ==============================================================================
operator           what it computes
=================  ==============================================================================
``sample``         K(t); ``t``, ``a``, ``c`` broadcast against the leading axes of ``shape``
``sample_pair``    (f x_0 + K(g), f' x_0 + g' v); parameters against the leading axes of ``x_0``
``velocity``       v(t, x); everything broadcasts as in torch
``velocity_grad``  (dv/dx, dv/dt)
=================  ==============================================================================

Gradients: ``sample_pair`` with respect to ``x_0``, ``signal`` and ``dsignal``, in which it is
linear; ``velocity`` with respect to all four inputs, by the Riccati formula.  A draw is treated as
constant in ``t``, ``a`` and ``c``: asking for such a gradient is an error, never a silent zero.

Importing this module registers the operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow import _bridge

_LIB = torch.library.Library("kacflow", "DEF")
_TAGS = (torch.Tag.pt2_compliant_tag,)

_LIB.define(
    "sample(Tensor t, Tensor a, Tensor c, Tensor seed, SymInt offset, SymInt[] shape, "
    "ScalarType dtype) -> Tensor",
    tags=_TAGS,
)
_LIB.define(
    "sample_pair(Tensor x_0, Tensor a, Tensor c, Tensor signal, Tensor dsignal, Tensor clock, "
    "Tensor dclock, Tensor seed, SymInt offset) -> (Tensor, Tensor)",
    tags=_TAGS,
)
_LIB.define("velocity(Tensor x, Tensor t, Tensor a, Tensor c) -> Tensor", tags=_TAGS)
_LIB.define("velocity_grad(Tensor x, Tensor t, Tensor a, Tensor c) -> (Tensor, Tensor)", tags=_TAGS)


# --- CPU ------------------------------------------------------------------------------------------
def _sample_cpu(
    t: Tensor, a: Tensor, c: Tensor, seed: Tensor, offset: int, shape: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    return _bridge.sample(t, a, c, int(seed), offset, tuple(shape), dtype)


def _sample_pair_cpu(
    x_0: Tensor, a: Tensor, c: Tensor, signal: Tensor, dsignal: Tensor, clock: Tensor,
    dclock: Tensor, seed: Tensor, offset: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return _bridge.sample_pair(x_0, a, c, signal, dsignal, clock, dclock, int(seed), offset)


_LIB.impl("sample", _sample_cpu, "CPU")
_LIB.impl("sample_pair", _sample_pair_cpu, "CPU")
_LIB.impl("velocity", _bridge.velocity, "CPU")
_LIB.impl("velocity_grad", _bridge.velocity_grad, "CPU")


# --- shapes without data --------------------------------------------------------------------------
@torch.library.register_fake("kacflow::sample", lib=_LIB)
def _sample_fake(
    t: Tensor, a: Tensor, c: Tensor, seed: Tensor, offset: int, shape: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    return t.new_empty(shape, dtype=dtype)


@torch.library.register_fake("kacflow::sample_pair", lib=_LIB)
def _sample_pair_fake(x_0: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x_0.new_empty(x_0.shape), x_0.new_empty(x_0.shape)


@torch.library.register_fake("kacflow::velocity", lib=_LIB)
def _velocity_fake(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> Tensor:
    return x.new_empty(torch.broadcast_shapes(x.shape, t.shape, a.shape, c.shape))


@torch.library.register_fake("kacflow::velocity_grad", lib=_LIB)
def _velocity_grad_fake(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    shape = torch.broadcast_shapes(x.shape, t.shape, a.shape, c.shape)
    return x.new_empty(shape), x.new_empty(shape)


# --- gradients ------------------------------------------------------------------------------------
def _leading(parameter: Tensor, ndim: int) -> Tensor:
    """A parameter that aligns with leading axes, with trailing axes of length one added."""
    return parameter.reshape(parameter.shape + (1,) * (ndim - parameter.ndim))


def _pair_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x_0, a, c, signal, dsignal, clock, dclock, _seed, _offset = inputs
    constant = {"a": a, "c": c, "clock": clock, "dclock": dclock}
    ctx.refused = [name for name, value in constant.items() if value.requires_grad]
    ctx.save_for_backward(x_0, signal, dsignal)


def _pair_backward(ctx: Any, grad_x: Tensor, grad_dx: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.refused:
        raise RuntimeError(
            f"kacflow::sample_pair has no gradient with respect to {', '.join(ctx.refused)}: "
            "detach them"
        )
    x_0, signal, dsignal = ctx.saved_tensors
    grad_0 = grad_signal = grad_dsignal = None
    if ctx.needs_input_grad[0]:
        grad_0 = _leading(signal, x_0.ndim).to(grad_x.dtype) * grad_x
        grad_0 = grad_0 + _leading(dsignal, x_0.ndim).to(grad_x.dtype) * grad_dx
    if ctx.needs_input_grad[3]:
        grad_signal = _reduce(grad_x * x_0, signal)
    if ctx.needs_input_grad[4]:
        grad_dsignal = _reduce(grad_dx * x_0, dsignal)
    return grad_0, None, None, grad_signal, grad_dsignal, None, None, None, None


def _reduce(grad: Tensor, parameter: Tensor) -> Tensor:
    """A gradient summed to a parameter that aligns with its leading axes."""
    summed = grad.sum_to_size(_leading(parameter, grad.ndim).shape)
    return summed.reshape(parameter.shape).to(parameter.dtype)


torch.library.register_autograd(
    "kacflow::sample_pair", _pair_backward, setup_context=_pair_setup, lib=_LIB
)


def _velocity_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs, output)


def _velocity_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, t, a, c, v = ctx.saved_tensors
    dv_dx, dv_dt = torch.ops.kacflow.velocity_grad(x, t, a, c)
    working = _bridge.working_dtype(x.dtype)
    slopes = {
        0: lambda: dv_dx,
        1: lambda: dv_dt,
        2: lambda: (t * dv_dt.to(working) + x * dv_dx.to(working)) / a,
        3: lambda: (v.to(working) - x * dv_dx.to(working)) / c,
    }
    return tuple(
        (grad * slopes[i]()).sum_to_size(value.shape).to(value.dtype)
        if ctx.needs_input_grad[i]
        else None
        for i, value in enumerate((x, t, a, c))
    )


torch.library.register_autograd(
    "kacflow::velocity", _velocity_backward, setup_context=_velocity_setup, lib=_LIB
)

sample = torch.ops.kacflow.sample
sample_pair = torch.ops.kacflow.sample_pair
velocity = torch.ops.kacflow.velocity
velocity_grad = torch.ops.kacflow.velocity_grad

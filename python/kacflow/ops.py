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
``sample_path``    (positions, directions) on a grid of times; parameters as in ``sample``
``logpdf``         logarithm of the density of the continuous part; broadcasts as in torch
``cdf``, ``ppf``   distribution function and quantiles, atoms included; broadcast as in torch
=================  ==============================================================================

Derivatives are closed forms (:mod:`kacflow._derivatives`), in reverse and forward mode, with
respect to every float input: ``velocity`` twice, by the Riccati formula; draws by implicit
reparameterisation, so that gradients of expectations are right.  What is not linear in the second
output of ``sample_pair``, the velocity of a draw, has no such gradient in ``a`` and ``clock``; see
:meth:`kacflow.KacPath.sample`.  One derivative more is an error, never a silent zero.

``torch.func`` and ``torch.vmap`` work on all of them.  Under ``vmap`` the operators that draw are
still functions of their seed: an entry of the batch is the call that a loop would make, with its
own noise if the seeds are batched and with the noise of all others if they are not.  A seed from
``torch.randint`` is therefore batched with ``randomness="different"``, common with
``randomness="same"`` and refused with ``randomness="error"``, as for torch's own random operators.

Importing this module registers the operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow import _autograd, _batching, _bridge, _cuda_ops, _derivatives, _law_derivatives
from kacflow._velocity_hessian import velocity_hessian

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
_LIB.define(
    "sample_path(Tensor times, Tensor a, Tensor c, Tensor seed, int offset, SymInt[] shape, "
    "ScalarType dtype) -> (Tensor, Tensor)",
    tags=_TAGS,
)
for _kind in ("logpdf", "cdf", "ppf"):
    _LIB.define(f"{_kind}(Tensor x, Tensor t, Tensor a, Tensor c) -> Tensor", tags=_TAGS)
_LIB.define("velocity_grad(Tensor x, Tensor t, Tensor a, Tensor c) -> (Tensor, Tensor)", tags=_TAGS)
# For the derivatives of the others; on every device, from the operators above.
_LIB.define(
    "_velocity_hessian(Tensor x, Tensor t, Tensor a, Tensor c) -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)
_LIB.define("_draw_velocity(Tensor x, Tensor t, Tensor a, Tensor c) -> Tensor", tags=_TAGS)
_LIB.define("_draw_acceleration(Tensor x, Tensor t, Tensor a, Tensor c) -> Tensor", tags=_TAGS)


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


def _sample_path_cpu(
    times: Tensor, a: Tensor, c: Tensor, seed: Tensor, offset: int, shape: Sequence[int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return _bridge.sample_path(times, a, c, int(seed), offset, tuple(shape), dtype)


_LIB.impl("sample", _sample_cpu, "CPU")
_LIB.impl("sample_path", _sample_path_cpu, "CPU")
for _kind in ("logpdf", "cdf", "ppf"):
    _LIB.impl(_kind, _bridge.distribution(_kind), "CPU")
_LIB.impl("sample_pair", _sample_pair_cpu, "CPU")
_LIB.impl("velocity", _bridge.velocity, "CPU")
_LIB.impl("velocity_grad", _bridge.velocity_grad, "CPU")


# --- GPU ------------------------------------------------------------------------------------------
_cuda_ops.register(_LIB)


# --- every device ---------------------------------------------------------------------------------
def _velocity_hessian(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    working = _bridge.working_dtype(x.dtype)
    return velocity_hessian(*(value.to(working) for value in (x, t, a, c)))


_LIB.impl("_velocity_hessian", _velocity_hessian, "CompositeExplicitAutograd")
_LIB.impl("_draw_velocity", _derivatives.draw_velocity, "CompositeExplicitAutograd")
_LIB.impl("_draw_acceleration", _derivatives.draw_acceleration, "CompositeExplicitAutograd")


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


@torch.library.register_fake("kacflow::sample_path", lib=_LIB)
def _sample_path_fake(
    times: Tensor, a: Tensor, c: Tensor, seed: Tensor, offset: int, shape: Sequence[int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    whole = (*shape, times.shape[-1])
    return times.new_empty(whole, dtype=dtype), times.new_empty(whole, dtype=dtype)


@torch.library.register_fake("kacflow::logpdf", lib=_LIB)
@torch.library.register_fake("kacflow::cdf", lib=_LIB)
@torch.library.register_fake("kacflow::ppf", lib=_LIB)
@torch.library.register_fake("kacflow::_draw_velocity", lib=_LIB)
@torch.library.register_fake("kacflow::_draw_acceleration", lib=_LIB)
@torch.library.register_fake("kacflow::velocity", lib=_LIB)
def _velocity_fake(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> Tensor:
    return x.new_empty(torch.broadcast_shapes(x.shape, t.shape, a.shape, c.shape))


@torch.library.register_fake("kacflow::velocity_grad", lib=_LIB)
def _velocity_grad_fake(x: Tensor, t: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    shape = torch.broadcast_shapes(x.shape, t.shape, a.shape, c.shape)
    return x.new_empty(shape), x.new_empty(shape)


@torch.library.register_fake("kacflow::_velocity_hessian", lib=_LIB)
def _velocity_hessian_fake(
    x: Tensor, t: Tensor, a: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    shape = torch.broadcast_shapes(x.shape, t.shape, a.shape, c.shape)
    dtype = _bridge.working_dtype(x.dtype)
    return tuple(x.new_empty(shape, dtype=dtype) for _ in range(3))  # type: ignore[return-value]


# --- derivatives and batches ----------------------------------------------------------------------
_RULES = {
    "sample": _autograd.Rule(_derivatives.sample_jacobian, inputs=range(3), aligned_first=range(3)),
    "sample_pair": _autograd.Rule(
        _derivatives.pair_jacobian, inputs=range(7), aligned_first=range(1, 7), keeps_outputs=False
    ),
    "sample_path": _autograd.Rule(
        _law_derivatives.no_path_derivatives, inputs=range(3), aligned_first=range(3)
    ),
    "logpdf": _autograd.Rule(_law_derivatives.logpdf_jacobian, inputs=range(4)),
    "cdf": _autograd.Rule(_law_derivatives.cdf_jacobian, inputs=range(4)),
    "ppf": _autograd.Rule(_law_derivatives.ppf_jacobian, inputs=range(4)),
    "velocity": _autograd.Rule(_derivatives.velocity_jacobian, inputs=range(4)),
    "velocity_grad": _autograd.Rule(_derivatives.velocity_grad_jacobian, inputs=range(4)),
    "_velocity_hessian": _autograd.Rule(
        _derivatives.no_third_derivatives, inputs=range(4), keeps_outputs=False
    ),
    "_draw_velocity": _autograd.Rule(_derivatives.draw_velocity_jacobian, inputs=range(4)),
    "_draw_acceleration": _autograd.Rule(
        _derivatives.no_third_derivatives, inputs=range(4), keeps_outputs=False
    ),
}
for _name, _rule in _RULES.items():
    _autograd.register(_LIB, _name, _rule)
    _batched = _batching.entry_by_entry if _name.startswith("sample") else _batching.broadcasting
    torch.library.register_vmap(
        f"kacflow::{_name}", _batched(getattr(torch.ops.kacflow, _name)), lib=_LIB
    )

sample = torch.ops.kacflow.sample
sample_pair = torch.ops.kacflow.sample_pair
sample_path = torch.ops.kacflow.sample_path
logpdf = torch.ops.kacflow.logpdf
cdf = torch.ops.kacflow.cdf
ppf = torch.ops.kacflow.ppf
velocity = torch.ops.kacflow.velocity
velocity_grad = torch.ops.kacflow.velocity_grad

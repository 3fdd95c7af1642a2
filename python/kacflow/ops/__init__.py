"""``torch.ops.kacflow.*``: the kernels as functional torch operators.

Registered through :mod:`torch.library`, so nothing links torch.  All are pure functions of their
inputs, the seed included (a 0-d int64 tensor), have fake implementations, and pass
``torch.library.opcheck`` and ``torch.compile(fullgraph=True)``:

=========================  =====================================================================
operator                   what it computes
=========================  =====================================================================
``sample``                 K(t); ``t``, ``a``, ``c`` align with the leading axes of ``shape``
``sample_pair``            (f x_0 + K(g), f' x_0 + g' v); parameters align with those of ``x_0``
``sample_pair_scheduled``  the same from times and the numbers of named schedules
``sample_pair_partly``     the same with one named schedule, the other's values and slopes given
``velocity``               v(t, x); everything broadcasts as in torch
``velocity_grad``          (dv/dx, dv/dt)
``sample_path``            (positions, directions) on a grid of times; parameters as in ``sample``
``logpdf``                 logarithm of the density of the continuous part; broadcasts as in torch
``cdf``, ``ppf``           distribution function and quantiles, atoms included; likewise
``transport``              where the flow of the velocity leads x from t to s; likewise
=========================  =====================================================================

Derivatives are closed forms (:mod:`kacflow.ops._derivatives`), in reverse and forward mode, with
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

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow.ops import _batching, _derivatives, _kernels, _law_derivatives, _splines
from kacflow.ops._rules import Rule, register
from kacflow.ops._tensors import working_dtype
from kacflow.ops._velocity_hessian import velocity_hessian
from kacflow_core import _validate
from kacflow_core._schedules import CLOCKS, SIGNALS

_LIB = torch.library.Library("kacflow", "DEF")
_TAGS = (torch.Tag.pt2_compliant_tag,)
#: Where a kernel runs, and kinds of tensors that it is to refuse by name.
_PLACES = ("CPU", "CUDA", "SparseCPU", "SparseCsrCPU", "QuantizedCPU", "NestedTensorCPU")


# --- what arguments may be ------------------------------------------------------------------------
#: Types of the tensor arguments: data, seeds, and all others, which are parameters.
_DATA = {"x": _arguments.FLOATS, "q": _arguments.WORKING, "x_0": _arguments.FLOATS}
_SEED = {"seed": _arguments.INTEGERS}


def _checked(op: Any, kernel: Callable[..., Any], together: bool = False) -> Callable[..., Any]:
    """``kernel`` for arguments that are what the signature of ``op`` says of them: dense tensors of
    numbers, in one place but for numbers on the CPU.  ``together``: which broadcast as in torch.
    """
    names = [argument.name for argument in op._schema.arguments]
    kinds = {**dict.fromkeys(names, _arguments.NUMBERS), **_DATA, **_SEED}
    tensors = [
        (i, argument.name, kinds[argument.name])
        for i, argument in enumerate(op._schema.arguments)
        if isinstance(argument.type, torch.TensorType)
    ]
    main = names[0]
    shape = names.index("shape") if "shape" in names else None

    def checked(*args: Any) -> Any:
        device = _arguments.tensor(main, args[0], kinds[main]).device
        for i, name, allowed in tensors:
            value = _arguments.tensor(name, args[i], allowed)
            elsewhere = value.device != device
            if elsewhere and not (value.device.type == "cpu" and value.numel() == 1):
                raise ValueError(f"{name}: is on {value.device}; allowed: {device}, as {main}")
        if shape is not None:
            _arguments.shape(args[shape])
        if together:
            _arguments.broadcast(**{name: args[i] for i, name, _ in tensors})
        return kernel(*args)

    return checked


# --- shapes without data --------------------------------------------------------------------------
def _sample_fake(t: Tensor, *others: Any) -> Tensor:
    *_, shape, dtype = others
    return t.new_empty(shape, dtype=_arguments.dtype(dtype))


def _pair_fake(x_0: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    return x_0.new_empty(x_0.shape), x_0.new_empty(x_0.shape)


def _sample_path_fake(times: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    _validate.grid(times)
    *_, shape, dtype = others
    whole = (*shape, times.shape[-1])
    _arguments.dtype(dtype)
    return times.new_empty(whole, dtype=dtype), times.new_empty(whole, dtype=dtype)


def _points_fake(outputs: int, working: bool = False) -> Callable[..., Any]:
    """Of ``outputs`` results in the dtype of x, or in the type that it computes in."""

    def fake(x: Tensor, *others: Tensor) -> Any:
        shape = torch.broadcast_shapes(x.shape, *(value.shape for value in others))
        dtype = working_dtype(x.dtype) if working else x.dtype
        results = tuple(x.new_empty(shape, dtype=dtype) for _ in range(outputs))
        return results[0] if outputs == 1 else results

    return fake


# --- the operators --------------------------------------------------------------------------------
def _scheduled(kernel: Callable[..., Any], least: int) -> Callable[..., Any]:
    """``kernel``, whose last arguments are numbers of schedules and the horizon; ``least`` is 0
    where one of them is no named one.
    """

    def checked(*arguments: Any) -> Any:
        *others, signal, clock, horizon = arguments
        _arguments.integer("signal", signal, least, len(SIGNALS))
        _arguments.integer("clock", clock, 0 if not least and signal else 1, len(CLOCKS))
        if not least and signal and clock:
            raise ValueError(f"clock: got {clock}; allowed: 0 beside a named signal")
        _arguments.positive("horizon", horizon)
        return kernel(*others, (signal, clock, horizon))

    return checked


class _Operator(NamedTuple):
    """An operator; its inputs broadcast as in torch, unless it draws."""

    signature: str
    kernel: Callable[..., Any]  #: what computes it, on the CPU and on a GPU
    fake: Callable[..., Any]
    rule: Rule  #: its derivatives
    composed: bool = False  #: whether the kernel is made of other operators, on every device


_NOISE = "Tensor seed, SymInt offset"
_SHAPE = "SymInt[] shape, ScalarType dtype"
_POINTS = "(Tensor x, Tensor t, Tensor a, Tensor c)"
_LAW = _POINTS + " -> Tensor"
_TWO = " -> (Tensor, Tensor)"

_OPERATORS = {
    "sample": _Operator(
        f"(Tensor t, Tensor a, Tensor c, {_NOISE}, {_SHAPE}) -> Tensor",
        _kernels.sample, _sample_fake,
        Rule(_derivatives.sample_jacobian, inputs=range(3), aligned_first=range(3)),
    ),
    "sample_pair": _Operator(
        "(Tensor x_0, Tensor a, Tensor c, Tensor signal, Tensor dsignal, Tensor clock, "
        f"Tensor dclock, {_NOISE}){_TWO}",
        _kernels.sample_pair, _pair_fake,
        Rule(
            _derivatives.pair_jacobian,
            inputs=range(7), aligned_first=range(1, 7), keeps_outputs=False,
        ),
    ),
    # For given values times, and the numbers of named schedules (kacflow_core._schedules).
    "sample_pair_scheduled": _Operator(
        f"(Tensor x_0, Tensor t, Tensor a, Tensor c, {_NOISE}, int signal, int clock, "
        f"float horizon){_TWO}",
        _scheduled(_kernels.sample_pair_scheduled, 1), _pair_fake,
        Rule(
            _derivatives.scheduled_pair_jacobian,
            aligned_first=range(1, 4), keeps_outputs=False,
        ),
    ),
    # Where only one is named; the number of the other, whose value and slope are given, is 0.
    "sample_pair_partly": _Operator(
        "(Tensor x_0, Tensor t, Tensor a, Tensor c, Tensor value, Tensor slope, "
        f"{_NOISE}, int signal, int clock, float horizon){_TWO}",
        _scheduled(_kernels.sample_pair_partly, 0), _pair_fake,
        Rule(
            _derivatives.scheduled_pair_jacobian,
            inputs=range(6), aligned_first=range(1, 6), keeps_outputs=False,
        ),
    ),
    "sample_path": _Operator(
        f"(Tensor times, Tensor a, Tensor c, Tensor seed, int offset, {_SHAPE}){_TWO}",
        _kernels.sample_path, _sample_path_fake,
        Rule(_law_derivatives.no_path_derivatives, inputs=range(3), aligned_first=range(3)),
    ),
    "logpdf": _Operator(
        _LAW, _kernels.POINTS["logpdf"], _points_fake(1), Rule(_law_derivatives.logpdf_jacobian)
    ),
    "cdf": _Operator(
        _LAW, _kernels.POINTS["cdf"], _points_fake(1), Rule(_law_derivatives.cdf_jacobian)
    ),
    "ppf": _Operator(
        _LAW.replace("x", "q", 1), _kernels.POINTS["ppf"], _points_fake(1),
        Rule(_law_derivatives.ppf_jacobian),
    ),
    "transport": _Operator(
        "(Tensor x, Tensor t, Tensor s, Tensor a, Tensor c) -> Tensor",
        _kernels.transport, _points_fake(1),
        Rule(_law_derivatives.transport_jacobian, inputs=range(5)),
    ),
    "velocity": _Operator(
        _LAW, _kernels.POINTS["velocity"], _points_fake(1), Rule(_derivatives.velocity_jacobian)
    ),
    "velocity_grad": _Operator(
        _POINTS + _TWO, _kernels.POINTS["velocity_grad"], _points_fake(2),
        Rule(_derivatives.velocity_grad_jacobian),
    ),
    # For the derivatives of the others.
    "_velocity_hessian": _Operator(
        _POINTS + " -> (Tensor, Tensor, Tensor)", velocity_hessian, _points_fake(3, working=True),
        Rule(_derivatives.no_third_derivatives, keeps_outputs=False), composed=True,
    ),
    "_draw_velocity": _Operator(
        _LAW, _derivatives.draw_velocity, _points_fake(1),
        Rule(_derivatives.draw_velocity_jacobian), composed=True,
    ),
    "_draw_acceleration": _Operator(
        _LAW, _derivatives.draw_acceleration, _points_fake(1),
        Rule(_derivatives.no_third_derivatives, keeps_outputs=False), composed=True,
    ),
}  # fmt: skip
for _name, _operator in _OPERATORS.items():
    _LIB.define(_name + _operator.signature, tags=_TAGS)
    _op = getattr(torch.ops.kacflow, _name).default
    _draws = _name.startswith("sample")
    _kernel = _checked(_op, _operator.kernel, together=_operator.composed)
    for _key in ("CompositeExplicitAutograd", "NestedTensorCPU") if _operator.composed else _PLACES:
        _LIB.impl(_name, _kernel, _key)
    _fake = _checked(_op, _operator.fake, together=not _draws)
    torch.library.register_fake(f"kacflow::{_name}", _fake, lib=_LIB)
    _at_once = _kernel if _operator.composed else _operator.kernel
    register(_LIB, _name, _op, _at_once, _operator.rule)
    _batched = _batching.entry_by_entry if _draws else _batching.broadcasting
    torch.library.register_vmap(f"kacflow::{_name}", _batched(_op), lib=_LIB)
_splines.define(_LIB, _TAGS, _PLACES)

sample = torch.ops.kacflow.sample
sample_pair = torch.ops.kacflow.sample_pair
sample_pair_scheduled = torch.ops.kacflow.sample_pair_scheduled
sample_pair_partly = torch.ops.kacflow.sample_pair_partly
sample_path = torch.ops.kacflow.sample_path
logpdf = torch.ops.kacflow.logpdf
cdf = torch.ops.kacflow.cdf
ppf = torch.ops.kacflow.ppf
transport = torch.ops.kacflow.transport
velocity = torch.ops.kacflow.velocity
velocity_grad = torch.ops.kacflow.velocity_grad

"""The operators of the splines: ``_spline``, ``_spline_inverse`` and ``_spline_grad``.

Gradients come from one kernel, which sums those in the knots in an order of its own.  What asks for
more, second derivatives and forward mode, gets the composition of
:mod:`kacflow.ops._spline_formulas`, as does a backend without these kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow.ops import _spline_formulas
from kacflow.ops._kernels import readable, target_of
from kacflow.ops._rules import Asked, Rule, register
from kacflow_core import _run
from kacflow_core._run import Target, aligned

_KNOTS = "Tensor edges, Tensor values, Tensor slopes"


def _check(name: str, x: Tensor, *others: Tensor) -> None:
    """Data of one shape (n0, C, inner), then three tables of knots (C, bins + 1), all alike."""
    _arguments.tensor(name, x, _arguments.WORKING)
    *data, edges, values, slopes = others
    names = [*("grad_y", "grad_slope")[: len(data)], "edges", "values", "slopes"]
    for what, value in zip(names, others, strict=True):
        _arguments.tensor(what, value, [x.dtype])
        if value.device != x.device:
            raise ValueError(f"{what}: is on {value.device}; allowed: {x.device}, as {name}")
    if x.ndim != 3:
        raise ValueError(f"{name}: got shape {tuple(x.shape)}; allowed: (n0, C, inner)")
    for what, value in zip(names, data, strict=False):
        _arguments.same_shape(what, value, x.shape, name)
    fits = edges.ndim == 2 and edges.shape[0] == x.shape[1] and edges.shape[1] > 1
    _arguments.must(fits, "edges", f"shape {tuple(edges.shape)}", f"({x.shape[1]}, bins + 1)")
    for what, value in (("values", values), ("slopes", slopes)):
        _arguments.same_shape(what, value, edges.shape, "edges")


def _ready(target: Target, *values: Tensor) -> list[Tensor]:
    """Tensors as kernels take them."""
    library = target.library
    return [library.contiguous(aligned(library, readable(value))) for value in values]


def _pull(function: Callable[..., Any], *at: Any) -> Callable[..., Any]:
    """What takes gradients in the results of a function to those in its arguments."""
    return torch.func.vjp(function, *at)[1]


def _has(target: Target) -> bool:
    return getattr(target.kernels, "spline", None) is not None


def _has_kernels(value: Tensor) -> bool:
    """Whether there are kernels where a tensor is: a backend of one's own may do without."""
    return not value.is_cpu or _has(target_of("x", value))


def _values(operation: str, name: str, outputs: int) -> Callable[..., Any]:
    """The kernel of ``outputs`` values of splines; a formula where a backend has none."""

    def kernel(x: Tensor, *tables: Tensor) -> Any:
        _check(name, x, *tables)
        target = target_of(name, x)
        data, *knots = _ready(target, x, *tables)
        if _has(target):
            found = _run.splines(target, operation, data, knots, outputs)
        else:
            answer = getattr(_spline_formulas, operation)(data, *knots)
            found = [v.contiguous() for v in (answer if outputs > 1 else (answer,))]
        return tuple(found) if outputs > 1 else found[0]

    return kernel


#: y and y', and the x where splines are y.
spline, spline_inverse = _values("spline", "x", 2), _values("spline_inverse", "y", 1)


def spline_grad(
    x: Tensor, grad_y: Tensor, grad_slope: Tensor, edges: Tensor, values: Tensor, slopes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The kernel of the gradients in data and knots."""
    _check("x", x, grad_y, grad_slope, edges, values, slopes)
    target = target_of("x", x)
    data, f, g, *knots = _ready(target, x, grad_y, grad_slope, edges, values, slopes)
    if not _has(target):  # derivatives do not ask for this then
        raise RuntimeError(f"backend {target.kernels.name!r} has no method spline_grad")
    first, others = _run.spline_grad(target, data, (f, g), knots)
    return first, others[0].contiguous(), others[1].contiguous(), others[2].contiguous()


def _fake(name: str, *like: int) -> Callable[..., Any]:
    """Of results like these arguments."""

    def fake(*args: Tensor) -> Any:
        _check(name, *args)
        results = tuple(args[i].new_empty(args[i].shape) for i in like)
        return results if len(like) > 1 else results[0]

    return fake


class _Composed:
    """Derivatives of an operator by those of what it is composed of; see
    :class:`kacflow.ops._rules.Rule`, whose place this takes.
    """

    def __init__(
        self, formula: Callable[..., Any], fused: Callable[..., Sequence[Any]], keeps_outputs: bool
    ) -> None:
        self._formula, self._fused, self.keeps_outputs = formula, fused, keeps_outputs

    def backward(
        self, inputs: Sequence[Any], outputs: Sequence[Tensor], needed: Sequence[bool],
        grads: Sequence[Tensor | None],
    ) -> list[Tensor | None]:  # fmt: skip
        """Gradients of all inputs, by the kernel where there is one and they need none themselves.

        Results have the shape of the first input.
        """
        if all(grad is None for grad in grads):
            return [None] * len(inputs)
        full = [torch.zeros_like(inputs[0]) if grad is None else grad for grad in grads]
        if torch.is_grad_enabled() or not _has_kernels(inputs[0]):
            pull = _pull(self._formula, *inputs)
            found = pull(full[0] if len(full) == 1 else tuple(full))
        else:
            found = self._fused(inputs, outputs, full)
        return [g if wanted else None for g, wanted in zip(found, needed, strict=True)]

    def jvp(
        self, inputs: Sequence[Any], outputs: Sequence[Tensor], tangents: Sequence[Any],
        shapes: Sequence[Any],
    ) -> list[Tensor]:  # fmt: skip
        """Tangents of the outputs: what pulls back is linear, and its own pull-back is this."""
        full = [
            torch.zeros_like(v) if t is None else t for t, v in zip(tangents, inputs, strict=True)
        ]

        def back(*grads: Tensor) -> Any:
            pull = _pull(self._formula, *inputs)
            return pull(grads[0] if len(grads) == 1 else grads)

        push = _pull(back, *(torch.zeros_like(inputs[0]) for _ in shapes))
        return list(push(tuple(full)))


def _no_further(of: Asked) -> NoReturn:
    raise RuntimeError(
        "kacflow: _spline_grad has no derivatives; those of _spline have, with create_graph"
    )


def _spline_backward(
    inputs: Sequence[Any], outputs: Sequence[Tensor], grads: Sequence[Tensor]
) -> Sequence[Any]:
    x, *knots = inputs
    return torch.ops.kacflow._spline_grad(x, *grads, *knots)


def _inverse_backward(
    inputs: Sequence[Any], outputs: Sequence[Tensor], grads: Sequence[Tensor]
) -> Sequence[Any]:
    """With S(x) = y, dx/dy = 1/S' and dx/dk = -(dS/dk)/S' for a number k of the knots."""
    knots = inputs[1:]
    step = grads[0] / torch.ops.kacflow._spline(outputs[0], *knots)[1]
    found = torch.ops.kacflow._spline_grad(outputs[0], -step, torch.zeros_like(step), *knots)
    return (step, *found[1:])


def _batched(op: Any) -> Any:
    """The batching rule: every entry of a batch has splines of its own."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Tensor) -> tuple[Any, Any]:
        n, data = info.batch_size, len(args) - 3
        flat = []
        for i, (value, dim) in enumerate(zip(args, in_dims, strict=True)):
            value = value.expand(n, *value.shape) if dim is None else value.movedim(dim, 0)
            if i < data:  # (n, n0, C, inner)
                value = value.transpose(0, 1)
                flat.append(value.reshape(value.shape[0], -1, value.shape[-1]))
            else:
                flat.append(value.reshape(-1, value.shape[-1]))
        result = op(*flat)
        several = (result,) if isinstance(result, Tensor) else result
        back = [
            v.unflatten(1, (n, -1)).movedim(1, 0) if v.ndim == 3 else v.unflatten(0, (n, -1))
            for v in several
        ]
        return (back[0], 0) if isinstance(result, Tensor) else (tuple(back), (0,) * len(back))

    return rule


def define(lib: torch.library.Library, tags: Sequence[torch.Tag], places: Sequence[str]) -> None:
    """Put the operators into ``lib``, with kernels for ``places``."""
    of_spline = _Composed(_spline_formulas.spline, _spline_backward, False)
    of_inverse = _Composed(_spline_formulas.spline_inverse, _inverse_backward, True)
    for name, takes, gives, kernel, fake, rule in (
        ("_spline", "Tensor x", "(Tensor, Tensor)", spline, _fake("x", 0, 0), of_spline),
        ("_spline_inverse", "Tensor y", "Tensor", spline_inverse, _fake("y", 0), of_inverse),
        ("_spline_grad", "Tensor x, Tensor grad_y, Tensor grad_slope",
         "(Tensor, Tensor, Tensor, Tensor)", spline_grad, _fake("x", 0, 3, 4, 5),
         Rule(_no_further, inputs=range(6), keeps_outputs=False)),
    ):  # fmt: skip
        lib.define(f"{name}({takes}, {_KNOTS}) -> {gives}", tags=tags)
        op = getattr(torch.ops.kacflow, name).default
        for place in places:
            lib.impl(name, kernel, place)
        torch.library.register_fake(f"kacflow::{name}", fake, lib=lib)
        register(lib, name, op, kernel, rule)  # type: ignore[arg-type]
        torch.library.register_vmap(f"kacflow::{name}", _batched(op), lib=lib)

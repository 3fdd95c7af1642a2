"""Derivative rules of operators, for reverse and forward mode and every ``torch.func`` transform.

``torch.library.register_autograd`` of torch 2.13 has no forward mode (a ``jvp`` comes out as zero)
and fails under ``torch.func.grad``.  The kernel that :func:`register` puts on the Autograd key does
what torch's own C++ operators do: it records one level of the transform stack and redispatches to
the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import _C, Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from kacflow.ops._tensors import addressable, eager

#: For each output, its derivative with respect to each input asked for, by position.
Jacobian = list[dict[int, Tensor]]


def leading(parameter: Tensor, ndim: int) -> Tensor:
    """A parameter that aligns with leading axes, with as many axes as the data: trailing axes of
    length one are added, or left out.  One without axes stays so: beside data on a GPU it may be on
    the CPU, which torch allows for 0-d tensors only.
    """
    if not parameter.ndim:
        return parameter
    return parameter.reshape(parameter.shape[:ndim] + (1,) * (ndim - parameter.ndim))


class Asked(NamedTuple):
    """What derivatives of an operator are asked for."""

    inputs: Sequence[Any]
    outputs: Sequence[Tensor]  #: empty where a rule does not keep them
    wanted: Sequence[int]  #: positions of inputs: with respect to these at least
    used: Sequence[bool]  #: of the outputs where this is true at least


_Shape = tuple[Sequence[int], torch.dtype, torch.device]


@dataclass(frozen=True)
class Rule:
    """Derivatives of an elementwise operator; a derivative that a Jacobian lacks is zero."""

    #: The partial derivatives, each broadcastable with the outputs, in differentiable operations.
    jacobian: Callable[[Asked], Jacobian]
    inputs: Sequence[int] = range(4)  #: positions of those that have a derivative
    #: Those that align with the leading axes of the outputs; the others broadcast as in torch.
    aligned_first: Sequence[int] = ()
    #: Whether ``jacobian`` looks at the outputs.  If not, they may be changed in place.
    keeps_outputs: bool = True

    def _aligned(self, position: int, value: Tensor, ndim: int) -> Tensor:
        return leading(value, ndim) if position in self.aligned_first else value

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Tensor],
        needed: Sequence[bool],
        grads: Sequence[Tensor | None],
    ) -> list[Tensor | None]:
        """Gradients of all inputs from those of the outputs."""
        result: list[Tensor | None] = [None] * len(inputs)
        wanted = [i for i in self.inputs if needed[i]]
        used = [grad is not None for grad in grads]
        if not wanted or not any(used):
            return result
        rows = self.jacobian(Asked(inputs, outputs, wanted, used))
        for i in wanted:
            value: Tensor = inputs[i]
            total: Tensor | None = None
            for grad, row in zip(grads, rows, strict=True):
                if grad is not None and i in row:
                    term = grad * row[i]
                    total = term if total is None else total + term
            if total is not None:
                ndim = total.ndim
                summed = total.sum_to_size(self._aligned(i, value, ndim).shape)
                result[i] = summed.reshape(value.shape).to(value.dtype)
        return result

    def jvp(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Tensor],
        tangents: Sequence[Any],
        shapes: Sequence[_Shape],
    ) -> list[Tensor]:
        """Tangents of the outputs, of these shapes, from those of the inputs."""
        wanted = [i for i in self.inputs if tangents[i] is not None]
        rows: Jacobian = [{} for _ in shapes]
        if wanted:
            rows = self.jacobian(Asked(inputs, outputs, wanted, [True] * len(shapes)))
        result = []
        for (shape, dtype, device), row in zip(shapes, rows, strict=True):
            total = torch.zeros(shape, dtype=dtype, device=device)
            for i in wanted:
                if i in row:
                    total = total + row[i] * self._aligned(i, tangents[i], len(shape))
            result.append(total.to(dtype))
        return result


def _function(op: Any, rule: Rule) -> Any:
    """The ``autograd.Function`` of one level: inputs are the dispatch keys and the arguments."""

    class Function(_SingleLevelFunction):  # torch.autograd.Function would take all levels
        @staticmethod
        def forward(keys: Any, *args: Any) -> Any:
            with contextlib.ExitStack() as stack:
                if _C._are_functorch_transforms_active():
                    # A Function turns both modes off, but the outer transforms still differentiate.
                    stack.enter_context(torch.enable_grad())
                    stack.enter_context(forward_ad._set_fwd_grad_enabled(True))
                stack.enter_context(_C._AutoDispatchBelowAutograd())
                return op.redispatch(keys & _C._after_autograd_keyset, *args)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.constants = [None if isinstance(v, Tensor) else v for v in inputs[1:]]
            ctx.positions = [i for i, v in enumerate(inputs[1:]) if isinstance(v, Tensor)]
            outputs = (output,) if isinstance(output, Tensor) else output
            ctx.shapes = [(v.shape, v.dtype, v.device) for v in outputs]
            saved = [inputs[1 + i] for i in ctx.positions]
            saved += outputs if rule.keeps_outputs else ()
            ctx.save_for_backward(*saved)
            ctx.save_for_forward(*saved)
            ctx.set_materialize_grads(False)

        @staticmethod
        def restore(ctx: Any) -> tuple[list[Any], list[Tensor]]:
            """The operator's inputs, and its outputs where they were kept."""
            inputs, saved = list(ctx.constants), list(ctx.saved_tensors)
            for i, value in zip(ctx.positions, saved, strict=False):
                inputs[i] = value
            return inputs, saved[len(ctx.positions) :]

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            inputs, outputs = Function.restore(ctx)
            return None, *rule.backward(inputs, outputs, ctx.needs_input_grad[1:], grads)

        @staticmethod
        def jvp(ctx: Any, _keys: None, *tangents: Any) -> Any:
            inputs, outputs = Function.restore(ctx)
            result = rule.jvp(inputs, outputs, tangents, ctx.shapes)
            return result[0] if len(result) == 1 else tuple(result)

    Function.__name__ = Function.__qualname__ = f"Kac_{op._opname}"
    return Function


def register(
    lib: torch.library.Library, name: str, op: Any, kernel: Callable[..., Any], rule: Rule
) -> None:
    """Give the operator ``op`` of ``lib``, called ``name`` there, the derivatives of ``rule``.

    Where none is asked for and nothing else looks on, ``kernel`` is called at once: what the
    dispatcher and a Function add takes longer than a small kernel.
    """
    function = _function(op, rule)

    def implementation(keys: Any, *args: Any) -> Any:
        if eager() and addressable(*args):
            return kernel(*args)
        # Always: whether an input carries a tangent cannot be seen from here in a compiled graph.
        with enable_single_level_autograd_function():
            return function.apply(keys, *args)

    lib.impl(name, implementation, "Autograd", with_keyset=True)

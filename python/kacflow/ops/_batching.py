"""Batching rules of the operators, for ``torch.vmap`` and the transforms built on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def broadcasting(op: Any) -> Any:
    """The rule of an elementwise operator whose inputs broadcast as in torch."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Tensor) -> tuple[Any, Any]:
        ndim = max(value.ndim - (dim is not None) for value, dim in zip(args, in_dims, strict=True))
        moved = []
        for value, dim in zip(args, in_dims, strict=True):
            if dim is not None:
                value = value.movedim(dim, 0)
                own = value.shape[1:]
                value = value.reshape(value.shape[:1] + (1,) * (ndim - len(own)) + own)
            moved.append(value)
        result = op(*moved)
        return result, 0 if isinstance(result, Tensor) else (0,) * len(result)

    return rule


def entry_by_entry(op: Any) -> Any:
    """The rule of an operator that draws: it is a function of its seed, so every entry is the call
    that a loop would make, with the entry's own seed where seeds are batched and else the same.
    """

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        if not info.batch_size:
            raise ValueError("vmap: got a batch without entries; allowed: at least one to draw")
        results = [
            op(
                *(
                    value.select(dim, entry) if isinstance(dim, int) else value
                    for value, dim in zip(args, in_dims, strict=True)
                )
            )
            for entry in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        stacked = tuple(torch.stack(values) for values in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)

    return rule

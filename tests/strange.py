"""Values that an argument may be given by mistake, and what may come of them.

A case is a call with good arguments by name.  :func:`complaints` replaces one of them by every
strange value in turn: what comes out is a finite result of the usual shape, or a TypeError,
ValueError or MemoryError that names the argument, or begins with another one of the call that does
not fit it.
"""

from __future__ import annotations

import math
import re
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kacflow


class Subclass(Tensor):
    """A tensor like any other."""


#: Made anew for every call, as a call may keep or change them.
STRANGE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "-1": lambda: -1,
    "-0.5": lambda: -0.5,
    "0": lambda: 0,
    "2**70": lambda: 2**70,
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5000,
    "-10**5000": lambda: -(10**5000),
    "1e200": lambda: 1e200,
    "5e-324": lambda: 5e-324,
    "complex": lambda: 1j,
    "string": lambda: "x",
    "number in a string": lambda: "10",
    "empty string": lambda: "",
    "bytes": lambda: b"10",
    "empty list": list,
    "list": lambda: [1, "a"],
    "nested list": lambda: [[0.5], [0.25]],
    "tuple": lambda: (0.5, None),
    "ragged list": lambda: [[0.5], [0.5, 0.25]],
    "iterator": lambda: iter([True, 2]),
    "shape without memory": lambda: (2**59,),
    "shape beyond memory": lambda: [2**40, 2**40],
    "dict": dict,
    "fraction": lambda: Fraction(1, 2),
    "decimal": lambda: Decimal("0.5"),
    "object": object,
    "np.float32": lambda: np.float32(0.5),
    "np.int64": lambda: np.int64(2),
    "np.bool_": lambda: np.True_,
    "np.complex64": lambda: np.complex64(1j),
    "array": lambda: np.array([0.5, 0.25]),
    "array of text": lambda: np.array(["a"]),
    "array of objects": lambda: np.array([None, 0.5]),
    "array of no axis": lambda: np.array(0.5),
    "array of dates": lambda: np.array(["2020-01-01", "2021-01-01"], "M8[s]"),
    "array of durations": lambda: np.array([1, 2], "m8[s]"),
    "array of records": lambda: np.zeros(2, [("a", "f8"), ("b", "i4")]),
    "array of void": lambda: np.zeros(2, "V0"),
    "array of bools": lambda: np.array([True, False]),
    "array of ints": lambda: np.array([1, 2]),
    "array of longdoubles": lambda: np.array([0.5, 0.25], np.longdouble),
    "array of nan": lambda: np.array([0.5, math.nan]),
    "empty array": lambda: np.empty(0),
    "array of foreign byte order": lambda: np.array([0.5, 0.25], ">f8"),
    "read-only array": lambda: np.broadcast_to(np.float32(0.5), 2),
    "array of odd strides": lambda: np.full(2, 0.5, [("a", "f8"), ("b", "i4")])["a"],
    "array of negative strides": lambda: np.array([0.5, 0.25])[::-1],
    "Fortran array": lambda: np.full((2, 3), 0.5, order="F"),
    "masked array": lambda: np.ma.masked_array([0.5, 0.25], [False, True]),
    "masked number": lambda: np.ma.masked,
    "list with a masked array": lambda: [np.ma.masked_array([0.5, 0.25], [False, True])],
    "np.uint8": lambda: np.uint8(1),
    "np.float16": lambda: np.float16(0.5),
    "np.longdouble": lambda: np.longdouble(0.5),
    "np.timedelta64": lambda: np.timedelta64(1, "s"),
    "np.datetime64": lambda: np.datetime64("2020-01-01"),
    "np.str_": lambda: np.str_("0.5"),
    "int tensor": lambda: torch.tensor([3, 1]),
    "0-d int tensor": lambda: torch.tensor(1),
    "0-d tensor": lambda: torch.tensor(0.5),
    "0-d nan tensor": lambda: torch.tensor(math.nan),
    "negative tensor": lambda: torch.tensor([-0.5, -0.25]),
    "bool tensor": lambda: torch.tensor([True, False]),
    "complex tensor": lambda: torch.tensor([1j, 0.5]),
    "empty tensor": lambda: torch.empty(0),
    "half tensor": lambda: torch.tensor([0.5, 0.25], dtype=torch.float16),
    "tensor of many axes": lambda: torch.full((2, 3, 1, 2), 0.5),
    "sparse tensor": lambda: torch.eye(2).to_sparse(),
    "meta tensor": lambda: torch.empty(2, device="meta"),
    "float8 tensor": lambda: torch.ones(2).to(torch.float8_e4m3fn),
    "nan tensor": lambda: torch.tensor([0.5, math.nan]),
    "uint16 tensor": lambda: torch.tensor([1, 2], dtype=torch.uint16),
    "tensor that requires grad": lambda: torch.tensor([0.5, 0.25], requires_grad=True),
    "number that requires grad": lambda: torch.tensor(0.5, requires_grad=True),
    "tensor of a subclass": lambda: torch.tensor([0.5, 0.25]).as_subclass(Subclass),
    "negated tensor": lambda: torch._neg_view(torch.tensor([-0.5, -0.25])),
    "tensor without memory": lambda: torch._efficientzerotensor((2,)),
    "quantised tensor": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "compressed tensor": lambda: torch.eye(2).to_sparse_csr(),
    "nested tensor": lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
    "meta number": lambda: torch.tensor(1.0, device="meta"),
    "generator": lambda: torch.Generator(),
    "generator of NumPy": lambda: np.random.default_rng(0),
    "list of generators": lambda: [torch.Generator()],
}
try:
    np.asarray(torch._efficientzerotensor((2,)))
except RuntimeError:
    pass
else:  # an old torch gives memory that nobody wrote
    del STRANGE["tensor without memory"]


@dataclass
class Case:
    """A call that succeeds with ``good``.

    ``reshapes`` names arguments that may decide the shape of the result, ``data`` those whose
    NaN and infinities belong into it.  ``operator``: torch compares the arguments with a signature
    and may refuse them itself.
    """

    name: str
    call: Callable[..., Any]
    good: dict[str, Any]
    reshapes: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    operator: bool = False

    def run(self, **changes: Any) -> Any:
        torch.manual_seed(0)
        return self.call(**{**self.good, **changes})


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in a result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from (t for entry in value for t in tensors(entry))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (t for field in fields(value) for t in tensors(getattr(value, field.name)))
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fi":
        yield torch.from_numpy(value.astype(np.float64))
    elif isinstance(value, float):
        yield torch.tensor(value, dtype=torch.float64)


def shapes(value: Any) -> list[torch.Size]:
    return [t.shape for t in tensors(value)]


def finite(values: Iterable[Tensor]) -> bool:
    return all(bool(v.to(torch.complex128).isfinite().all()) for v in values if not v.is_meta)


def _in_kacflow(error: Exception) -> bool:
    """Whether an error passed through code of the library."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(kacflow.__file__).parent in Path(frame.filename).parents for frame in frames)


def complaints(case: Case, argument: str) -> list[str]:
    """What is wrong with the outcomes of all strange values for one argument."""
    wanted = shapes(case.run())
    wrong = []
    for label, make in STRANGE.items():
        with warnings.catch_warnings():  # of torch, of kinds of tensors that it gives up
            warnings.simplefilter("ignore")
            value = make()
        try:
            result = case.run(**{argument: value})
        except (TypeError, ValueError, MemoryError) as error:
            if case.operator and not _in_kacflow(error):
                continue
            beginning = re.match(r"\w*", str(error)).group()
            if beginning not in case.good and not re.search(rf"\b{argument}\b", str(error)):
                wrong.append(f"{label}: {type(error).__name__} without its name: {error}")
        except Exception as error:
            if case.operator and not _in_kacflow(error):
                continue
            wrong.append(f"{label}: {type(error).__name__}: {error}")
        else:
            own = argument in case.data and not finite(tensors(value))
            if not own and not finite(tensors(result)):
                wrong.append(f"{label}: not finite: {result}")
            if argument not in case.reshapes and shapes(result) != wanted:
                wrong.append(f"{label}: shapes {shapes(result)} instead of {wanted}")
    return wrong

"""What the other files need of the compiler, as ``csrc/kac/config.h`` has it for C++.

The functions here accept operands of one type only.  numba turns float32 into float64 silently
wherever it meets a Python number or an integer; here that is an error when the kernel is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from kacflow_core.backends import _coefficients
from kacflow_core.backends._numba.compiler import element, template


class Format(NamedTuple):
    """A working type."""

    word: Any  #: unsigned integer of the same width
    bits: int
    mantissa: int  #: bits of the mantissa that are stored
    bias: int  #: of the exponent
    coefficients: dict[str, tuple[float, ...]]


FORMATS = {
    np.float32: Format(np.uint32, 32, 23, 127, _coefficients.FLOAT32),
    np.float64: Format(np.uint64, 64, 52, 1023, _coefficients.FLOAT64),
}


def bits_of(value: float, real: Any) -> int:
    """The bits of a constant rounded to the type."""
    return int(real(value).view(FORMATS[real].word))


def _one_type(name: str, *kinds: Any) -> Any:
    if any(kind != kinds[0] for kind in kinds):
        raise TypingError(f"{name}: operands of types {', '.join(map(str, kinds))}")
    return kinds[0]


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(a.type, [a.type] * 3)
    function = builder.module.declare_intrinsic("llvm.fmuladd", [a.type], kind)
    return builder.call(function, [a, b, c])


@intrinsic
def fma(typing_context, a, b, c):
    """a b + c, in one rounding where the hardware has the instruction and in two elsewhere."""
    kind = _one_type("fma", a, b, c)

    def emit(context, builder, signature, args):
        return _multiply_add(builder, *args)

    return kind(kind, kind, kind), emit


@template
def polynomial(name: str, real: Any) -> Any:
    """The polynomial ``name`` of _coefficients.py, summed as coefficients.h does it."""
    coefficients, kind = FORMATS[real].coefficients[name], numba.from_dtype(real)

    def horner(builder: Any, values: Sequence[float], x: Any) -> Any:
        total = ir.Constant(x.type, values[-1])
        for value in reversed(values[:-1]):
            total = _multiply_add(builder, total, x, ir.Constant(x.type, value))
        return total

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        [x] = args
        if len(coefficients) <= 5:
            return horner(builder, coefficients, x)
        square = builder.fmul(x, x)
        even, odd = (horner(builder, coefficients[k::2], square) for k in (0, 1))
        return _multiply_add(builder, odd, x, even)

    @intrinsic
    def evaluate(typing_context, x):
        return _one_type(name, x, kind)(kind), emit

    return evaluate


def _of_llvm(name: str) -> Any:
    """A function of one number that is an instruction on most processors."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic(name, [args[0].type]), args)

    @intrinsic
    def function(typing_context, x):
        return x(x), emit

    return function


sqrt = _of_llvm("llvm.sqrt")
floor = _of_llvm("llvm.floor")
magnitude = _of_llvm("llvm.fabs")


@intrinsic
def with_sign(typing_context, x, s):
    """|x| with the sign of s."""
    kind = _one_type("with_sign", x, s)

    def emit(context, builder, signature, args):
        function_type = ir.FunctionType(args[0].type, [args[0].type] * 2)
        copysign = builder.module.declare_intrinsic("llvm.copysign", [args[0].type], function_type)
        return builder.call(copysign, args)

    return kind(kind, kind), emit


@intrinsic
def select(typing_context, condition, yes, no):
    """``yes`` if the condition holds, else ``no``; both are evaluated, without a branch."""
    kind = _one_type("select", yes, no)

    def emit(context, builder, signature, args):
        return builder.select(*args)

    return kind(numba.boolean, kind, kind), emit


def _chosen_by(comparison: str) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        is_real = isinstance(signature.return_type, numba.types.Float)
        compare = builder.fcmp_ordered if is_real else builder.icmp_unsigned
        return builder.select(compare(comparison, *args), *args)

    @intrinsic
    def choose(typing_context, a, b):
        kind = _one_type(comparison, a, b)
        return kind(kind, kind), emit

    return choose


#: The larger and the smaller of two numbers (integers: unsigned); the second if either is NaN.
larger, smaller = _chosen_by(">"), _chosen_by("<")

_SAME_WIDTH = {
    numba.float32: numba.uint32,
    numba.float64: numba.uint64,
    numba.uint32: numba.float32,
    numba.uint64: numba.float64,
}


@intrinsic
def same_bits(typing_context, x):
    """The bits of a real number as an unsigned integer, or the number that an integer encodes."""
    kind = _SAME_WIDTH[x]

    def emit(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(kind))

    return kind(x), emit


_HALF_BIT, _UPPER_BITS = np.uint64(1 << 26), np.uint64(2**64 - 2**27)
_LARGEST_HALF = float.fromhex("0x1.ffffff8p+1023")


@element
def _upper_half(x):
    """x >= 0 to the nearest number of 26 bits; at most the largest one."""
    return smaller(same_bits(same_bits(x) + _HALF_BIT & _UPPER_BITS), _LARGEST_HALF)


@template
def speed_of(real: Any) -> Any:
    """c, or NaN where a, c and t are not those of a process: ``csrc/kac/process.h``."""
    least, end, zero, not_a_number = real(np.finfo(real).tiny), real(np.inf), real(0), real(np.nan)

    @element
    def speed_of(a, c, t):
        rate, speed = (a >= least) & (a < end), (c >= least) & (c < end)
        return select(rate & speed & (t >= zero) & (t < end), c, not_a_number)

    return speed_of


@template
def product_minus(real: Any) -> Any:
    """a b - c with the product exact.

    float32 goes through float64, where the product of two of its numbers is exact; float64, for
    a, b >= 0, through Dekker's product (Numer. Math. 18, 1971).
    """
    if real is np.float32:

        @element
        def narrow(a, b, c):
            return np.float32(np.float64(a) * np.float64(b) - np.float64(c))

        return narrow

    @element
    def wide(a, b, c):
        a_high, b_high = _upper_half(a), _upper_half(b)
        a_low, b_low = a - a_high, b - b_high
        p = a * b
        error = ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low
        return (p - c) + error

    return wide


@template
def local(kind: Any, size: int) -> Any:
    """A function that returns a pointer to ``size`` numbers on the kernel's stack.

    Each place that calls it has its own, from the start of the kernel to its end.  LLVM sees that
    nothing else points there, which arrays from the heap would hide: loops over them become vector
    instructions without checks for overlap.
    """
    pointer = numba.types.CPointer(numba.from_dtype(kind))

    @intrinsic
    def allocate(typing_context):
        def emit(context, builder, signature, args):
            item = context.get_data_type(pointer.dtype)
            return cgutils.alloca_once(builder, item, size=size)

        return pointer(), emit

    return allocate

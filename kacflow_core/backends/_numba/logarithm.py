"""Logarithm and exponential of the sampler: ``csrc/kac/logarithm.h``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kacflow_core.backends._numba.arithmetic import (
    FORMATS,
    bits_of,
    floor,
    fma,
    larger,
    polynomial,
    product_minus,
    same_bits,
    select,
    smaller,
)
from kacflow_core.backends._numba.compiler import element, template

#: ln 2 in two parts; k times the first is exact for the k that occur.
_LN2 = {
    np.float32: (float.fromhex("0x1.62e43p-1"), float.fromhex("-0x1.05c61p-29")),
    np.float64: (float.fromhex("0x1.62e42fefa39efp-1"), float.fromhex("0x1.abc9e3b39803fp-56")),
}


@template
def _power(real: Any) -> Any:
    """(2^-k, k) for the k with x 2^-k in [2/3, 4/3)."""
    word, _, mantissa, bias, _ = FORMATS[real]
    from_two_thirds = word(bits_of(1.0, real) - bits_of(2 / 3, real))
    shift, scale_sum = word(mantissa), word(2 * bias)
    integer_bits = word(bits_of(2.0**mantissa, real))
    integer_offset = real(2.0**mantissa + bias)

    @element
    def power(x):
        biased = word(word(same_bits(x) + from_two_thirds) >> shift)  # k + bias
        scale = same_bits(word(word(scale_sum - biased) << shift))
        return scale, same_bits(word(integer_bits | biased)) - integer_offset

    return power


@template
def _with_power(real: Any) -> Any:
    """k ln 2 + ln(1 + r)."""
    log1p_tail = polynomial("log1p_tail", real)
    ln2_high, ln2_low = (real(part) for part in _LN2[real])

    @element
    def with_power(k, r):
        return fma(k, ln2_high, fma(r * r, log1p_tail(r), fma(k, ln2_low, r)))

    return with_power


@template
def log_sum(real: Any) -> Any:
    """ln(s + p) for 0 <= s <= 1 and 0 <= p, with 0 < s + p < 2^126 (float32) or 2^1022.

    With 2^k the power of two that brings s + p into [2/3, 4/3), ln(s + p) = k ln 2 + ln(1 + r), and
    r = (s + p) 2^-k - 1 comes from p directly: for s = 1 the result keeps its relative accuracy
    down to the smallest p.
    """
    power, with_power, minus_one = _power(real), _with_power(real), real(-1)

    @element
    def log_sum(s, p):
        scale, k = power(s + p)
        return with_power(k, fma(p, scale, fma(s, scale, minus_one)))

    return log_sum


@template
def log_scaled(real: Any) -> Any:
    """ln(p 2^n) for a normal p and an integer n: ln p + n ln 2 without its cancellation."""
    power, with_power, minus_one = _power(real), _with_power(real), real(-1)

    @element
    def log_scaled(p, n):
        scale, k = power(p)
        return with_power(k + n, fma(p, scale, minus_one))

    return log_scaled


class Decay(NamedTuple):
    """e^-x and 1 - e^-x."""

    exp: Any
    one_minus: Any


_expm1_tail = polynomial("expm1_tail", np.float64)
_product_minus = product_minus(np.float64)
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
_LN2_HIGH, _LN2_LOW = _LN2[np.float64]
_BIASED = np.float64(2.0**52 + 1023)
_INTEGER = np.uint64(bits_of(2.0**52, np.float64))
_SHIFT = np.uint64(52)


@element
def decay(high, low):
    """Both numbers for x = high + low >= 0 with |low| below an ulp of high, each within 2 ulp.

    Beyond x = 700 e^-x is taken at 700 (1e-304), which no probability can tell from 0, and without
    ``low``, which grows with high.
    """
    y, rest = smaller(700.0, high), select(high < 700.0, low, 0.0)
    k = floor(fma(y, _LOG2_E, 0.5))  # y / ln 2, to nearest
    r = fma(k, _LN2_LOW, _product_minus(k, _LN2_HIGH, y)) - rest
    e = fma(r * r, _expm1_tail(r), r)  # e^r - 1, -y = -k ln 2 + r
    scale = same_bits(np.uint64(same_bits(_BIASED - k) - _INTEGER) << _SHIFT)  # 2^-k
    return Decay(fma(scale, e, scale), -fma(scale, e, scale - 1.0))


class ExponentialRange(NamedTuple):
    """See the struct of this name in logarithm.h, and the constants of its exponential_parts."""

    normal: float
    zero: float
    power: float
    integer: float  #: 3/2 times the power of two whose ulp is 1
    log2_e: float
    ln2_high: float
    ln2_low: float


_EXPONENTIAL = {
    np.float32: ExponentialRange(
        87.0, 500.0, 250.0, 1.5 * 2.0**23, float.fromhex("0x1.715476p+0"),
        float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cp-20"),
    ),
    np.float64: ExponentialRange(
        700.0, 3000.0, 2000.0, 1.5 * 2.0**52, _LOG2_E,
        float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33"),
    ),
}  # fmt: skip


@template
def exponential_parts(real: Any) -> Any:
    """(fraction, k) with e^-x = fraction 2^-k and |ln fraction| <= ln(2)/2."""
    tail = polynomial("expm1_tail", real)
    _, _, _, integer, log2_e, high, low = (real(v) for v in _EXPONENTIAL[real])
    one = real(1)

    @element
    def exponential_parts(x):
        k = (x * log2_e + integer) - integer
        r = fma(k, low, fma(k, high, -x))
        return one + fma(r * r, tail(r), r), k

    return exponential_parts


@template
def power_of_two(real: Any) -> Any:
    """2^n for an integer n whose power is a normal number."""
    word, _, mantissa, bias, _ = FORMATS[real]
    integer, shift, biased = real(_EXPONENTIAL[real].integer), word(mantissa), word(bias)

    @element
    def power_of_two(n):
        return same_bits(word(word(same_bits(n + integer) + biased) << shift))

    return power_of_two


@template
def exponential(real: Any) -> Any:
    """e^-x for x >= 0; beyond x = 87 (float32), 700 (float64) it is taken there."""
    parts, power, normal = exponential_parts(real), power_of_two(real), _EXPONENTIAL[real].normal
    most = real(normal)

    @element
    def exponential(x):
        fraction, k = parts(smaller(most, x))
        return fraction * power(-k)

    return exponential


@template
def exponential_times(real: Any) -> Any:
    """factor e^-x 2^n for x >= 0 and an integer n; it over- or underflows only where that does."""
    parts, power_of = exponential_parts(real), power_of_two(real)
    zero, most, integer = (real(_EXPONENTIAL[real][i]) for i in (1, 2, 3))
    half = real(0.5)

    @element
    def exponential_times(x, factor, n):
        fraction, k = parts(smaller(zero, x))
        power = larger(smaller(n - k, most), -most)
        first = (half * power + integer) - integer
        return factor * fraction * power_of(first) * power_of(power - first)

    return exponential_times

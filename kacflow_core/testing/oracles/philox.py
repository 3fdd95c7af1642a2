"""Philox4x32-10 written from its publication (Salmon et al., SC'11), and what is made of its words.

Plain Python integers for single counters, NumPy's uint64 for many; the two are tested against each
other and against the vectors published with Random123.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
MASK = 0xFFFFFFFF


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, ...]:
    """Four 32-bit words of one counter (ten rounds)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product_0 = MULTIPLIER_0 * c0
        product_1 = MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (product_1 >> 32) ^ c1 ^ k0,
            product_1 & MASK,
            (product_0 >> 32) ^ c3 ^ k1,
            product_0 & MASK,
        )
        k0 = (k0 + WEYL_0) & MASK
        k1 = (k1 + WEYL_1) & MASK
    return c0, c1, c2, c3


def element_words(seed: int, index: int, block: int = 0, stream: int = 0) -> tuple[int, ...]:
    """Words of element ``index`` (offset included), by default of the endpoint stream."""
    index %= 2**64
    return philox4x32((index & MASK, index >> 32, block, stream), (seed & MASK, seed >> 32))


def philox4x32_array(counters: np.ndarray, seed: int, block: int = 0) -> np.ndarray:
    """Words of many elements; ``counters`` uint64 (n,), result uint64 (4, n) with values < 2^32."""
    mask = np.uint64(MASK)
    shift = np.uint64(32)
    c0 = counters & mask
    c1 = counters >> shift
    c2 = np.full_like(c0, block)
    c3 = np.zeros_like(c0)
    k0, k1 = seed & MASK, seed >> 32
    for _ in range(10):
        product_0 = np.uint64(MULTIPLIER_0) * c0
        product_1 = np.uint64(MULTIPLIER_1) * c2
        c0, c2 = (
            (product_1 >> shift) ^ c1 ^ np.uint64(k0),
            (product_0 >> shift) ^ c3 ^ np.uint64(k1),
        )
        c1, c3 = product_1 & mask, product_0 & mask
        k0 = (k0 + WEYL_0) & MASK
        k1 = (k1 + WEYL_1) & MASK
    return np.stack([c0, c1, c2, c3])


class Uniforms(NamedTuple):
    """The raw case word with its number of bits, and the two uniforms as exact ratios / 2^shift."""

    word: int  #: raw word of u0, 0 <= word < 2^bits
    bits: int  #: 32 or 64
    u1: tuple[int, int]  #: u1 = u1[0] / 2^u1[1]
    u2: tuple[int, int]


def uniforms(words: tuple[int, ...], low: tuple[int, ...] | None = None) -> Uniforms:
    """Uniforms of the words of block 0 (float32), with those of block 1 in ``low`` (float64)."""
    w0, w1, w2 = (int(w) for w in words[:3])
    if low is None:
        return Uniforms(w0, 32, (2 * (w1 >> 1) + 1, 32), (2 * w2 + 1, 33))
    v0, v1, v2 = (int(v) for v in low[:3])
    u1 = Fraction(w1 >> 1, 2**31) + (Fraction(v1 >> 1) + Fraction(1, 2)) / 2**62
    return Uniforms(w0 << 32 | v0, 64, (int(u1 * 2**63), 63), (2 * (w2 << 32 | v2) + 1, 65))


def element_uniforms(seed: int, index: int, dtype: str) -> Uniforms:
    """Uniforms of one element for ``dtype`` "float32" or "float64"."""
    high = element_words(seed, index)
    return uniforms(high, element_words(seed, index, 1) if dtype == "float64" else None)


class Interval(NamedTuple):
    """What one interval of a path draws."""

    endpoint: Uniforms
    u3: Fraction  #: in (0, 1)
    coin: int  #: +1 or -1


def interval(seed: int, index: int, j: int, dtype: str) -> Interval:
    """Interval ``j`` of the path ``index`` (offset included)."""
    high = element_words(seed, index, 0, j)
    u3 = (Fraction(high[3] >> 1) + Fraction(1, 2)) / 2**31
    coin = 1 if high[3] >> 31 else -1
    if dtype == "float32":
        return Interval(uniforms(high), u3, coin)
    low = element_words(seed, index, 1, j)
    u3 = Fraction(high[3] >> 1, 2**31) + (Fraction(low[3] >> 1) + Fraction(1, 2)) / 2**62
    return Interval(uniforms(high, low), u3, coin)


def waiting_uniform(seed: int, index: int, m: int) -> Fraction:
    """Uniform of waiting time ``m`` of the path ``index`` (offset included)."""
    words = element_words(seed, index, 1 + m // 2, MASK)
    high, low = words[2 * (m % 2) : 2 * (m % 2) + 2]
    return Fraction(2 * ((high << 32 | low) >> 12) + 1, 2**53)


def starts_right(seed: int, index: int) -> bool:
    """Whether the event simulation of the path ``index`` starts in the direction +1."""
    return element_words(seed, index, 0, MASK)[0] >= 2**31


def many_uniforms(seed: int, offset: int, n: int, dtype: str) -> list[Uniforms]:
    """Uniforms of elements offset, offset + 1, ... as ``sample`` consumes them."""
    counters = np.uint64(offset) + np.arange(n, dtype=np.uint64)
    high = philox4x32_array(counters, seed).T.tolist()
    if dtype == "float32":
        return [uniforms(words) for words in high]
    low = philox4x32_array(counters, seed, 1).T.tolist()
    return [uniforms(words, more) for words, more in zip(high, low, strict=True)]


#: Counters of seed 0 whose words are extreme among the first 2^32, found by trying them all; the
#: tests recompute every word.  ("u1 top" means u1 nearest to 1, "u2 quarter" nearest to 1/4.)
EXTREME_COUNTERS = {
    "u0 bottom": 826190408,
    "u0 top": 410702502,
    "u1 bottom": 1928571472,
    "u1 top": 1538303059,
    "u2 bottom": 3230741590,
    "u2 top": 2024541361,
    "u2 above quarter": 1417412789,
    "u2 below quarter": 1753083527,
    "u2 above half": 3203401649,
    "u2 below half": 1233743196,
    "u2 above three quarters": 4212777051,
    "u2 below three quarters": 3881390839,
    "u2 above eighth": 2341251954,
    "u2 below eighth": 450991901,
    "u1 top, u2 near 0": 2475982822,
    "u1 top, u2 near quarter": 170606950,
    "u1 bottom, u2 near 0": 3531903528,
    "u1 bottom, u2 near half": 1742613884,
    "u1 bottom, u2 near three quarters": 3744589926,
    "u0 top, u1 top": 3358705545,
    "u0 top, u1 bottom": 1663294323,
    "u0 bottom, u1 bottom": 1696791254,
    "u0 bottom, u1 top": 2895343305,
    "u0 top, u1 bottom, u2 near 0": 804151746,
    "u0 top, u1 top, u2 near 0": 1987909753,
    "u0 bottom, u1 bottom, u2 near 0": 2226902343,
    "u0 above half": 2047882832,
    "u0 below half": 3357824422,
}

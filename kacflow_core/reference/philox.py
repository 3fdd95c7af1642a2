"""Philox4x32-10 and the uniforms that are read from its words.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: a keyed
permutation of a 128-bit counter in ten rounds of two 32 x 32 -> 64 bit products.

Layout.  The number at position i = (offset + index) mod 2**64 uses, whatever the backend,

    key      (seed mod 2**32, seed div 2**32)
    counter  (i mod 2**32, i div 2**32, block, stream)

with stream 0.  Block 0 holds the words w0 (case), w1 (radius), w2 (angle), w3 (reserved); block 1
their low halves v0 .. v3, drawn in double precision only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)

Words = tuple[NDArray[np.uint32], ...]


def philox4x32(
    seed: int, counters: NDArray[np.uint64], block: int = 0, stream: int = 0
) -> Words:
    """The four 32-bit words of each counter.

    Parameters
    ----------
    seed : int
        Key, in [0, 2**64).
    counters : ndarray of uint64
        Positions i, any shape.
    block, stream : int
        The upper two words of the 128-bit counter.

    Returns
    -------
    tuple of four ndarray of uint32
        Of the shape of ``counters``.
    """
    c0, c1 = counters & _MASK, counters >> _SHIFT
    c2, c3 = np.full_like(c0, block), np.full_like(c0, stream)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0)
        c2 = (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _MASK, p0 & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return tuple(c.astype(np.uint32) for c in (c0, c1, c2, c3))


class Uniforms(NamedTuple):
    """Random input of the endpoint map, one entry per element.

    All three uniforms are exact dyadic rationals strictly inside (0, 1), symmetric about 1/2, and
    none is rounded: ``word`` is compared as an integer, and ``u1`` comes with its complement.
    """

    word: NDArray[np.unsignedinteger]  #: W0; u0 = (W0 + 1/2)/2**bits
    bits: int  #: 32 (float32) or 64 (float64)
    u1: NDArray[np.float64]  #: in [2**-32, 1 - 2**-32], or [2**-63, 1 - 2**-63]
    one_minus_u1: NDArray[np.float64]  #: 1 - u1, to half an ulp of its own
    phi: NDArray[np.float64]  #: 2 pi u2 to the nearest multiple of pi, |phi| < pi/2, never 0
    direction: NDArray[np.float64]  #: +1 or -1, the sign of cos 2 pi u2


def uniforms(
    seed: int, offset: int, n: int, dtype: np.dtype | type = np.float32
) -> Uniforms:
    """The draws of n consecutive elements.

    In float32 u0 = (w0 + 1/2)/2**32, u1 = ((w1 >> 1) + 1/2)/2**31 and u2 = (w2 + 1/2)/2**32; in
    float64 each word is continued by the same word of block 1, so that a float64 draw refines the
    float32 draw of the same seed.
    """
    counters = np.uint64(offset) + np.arange(n, dtype=np.uint64)  # wraps modulo 2**64
    w0, w1, w2, _ = philox4x32(seed, counters)
    turn = (w2 << np.uint32(1)).view(np.int32).astype(np.float64)  # 2 w2 mod 2**32, signed
    direction = np.where((w2 + np.uint32(1 << 30)) >> np.uint32(31), -1.0, 1.0)
    high = (w1 >> np.uint32(1)).astype(np.float64)
    top = 2.0**31 - 1.0
    if np.dtype(dtype) == np.float32:
        u1, one_minus_u1 = (high + 0.5) / 2.0**31, (top - high + 0.5) / 2.0**31
        return Uniforms(w0, 32, u1, one_minus_u1, np.pi * (turn + 1.0) / 2.0**32, direction)
    v0, v1, v2, _ = philox4x32(seed, counters, block=1)
    low = (v1 >> np.uint32(1)).astype(np.float64)
    u1 = high / 2.0**31 + (low + 0.5) / 2.0**62
    one_minus_u1 = (top - high) / 2.0**31 + (top - low + 0.5) / 2.0**62
    word = (w0.astype(np.uint64) << _SHIFT) | v0
    turn = (((w2.astype(np.uint64) << _SHIFT) | v2) << np.uint64(1)).view(np.int64)
    # 2 W2 + 1 has 64 bits: its halves convert exactly, and the sum rounds once.
    upper, lower = (turn >> 32).astype(np.float64), (turn & 0xFFFFFFFF).astype(np.float64)
    phi = np.pi * (upper / 2.0**32 + (lower + 1.0) / 2.0**64)
    return Uniforms(word, 64, u1, one_minus_u1, phi, direction)

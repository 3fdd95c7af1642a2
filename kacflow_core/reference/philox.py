"""Philox4x32-10 and the uniforms made of its words.

Philox is the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
easy as 1, 2, 3" (SC 2011): a keyed permutation of 128-bit counters, here with ten rounds and the
published constants.

Layout.  Element e of a flattened result owns the number ``i = (offset + e) mod 2^64``; past 2^64
the counter wraps to 0, so the period in ``offset`` is 2^64 elements.  ::

    key     = (seed mod 2^32, seed div 2^32)
    counter = (i mod 2^32, i div 2^32, block, stream)

    stream 0, endpoint sampling
      block 0   w0 case and turn count    w1 radius    w2 angle    w3 unused
      block 1   v0 v1 v2 v3: the low halves of the same words, drawn in float64 only

    stream j < 2^32 - 1, interval j of a path (from 0), with i the number of the path
      blocks 0 and 1 as above, and w3 (v3) direction: interval 0 draws the endpoint of stream 0

    stream 2^32 - 1, turning times of a path
      block 0           top bit of w0: the first direction, 1 for +
      block 1 + m div 2 waiting time m (from 0): words (w0, w1) for even m, (w2, w3) for odd m

Uniforms are exact dyadic rationals strictly inside (0, 1) and symmetric about 1/2; neither 0 nor 1
can occur::

    float32   u0 = (w0 + 1/2) 2^-32                               in [2^-33, 1 - 2^-33]
              u1 = (floor(w1/2) + 1/2) 2^-31                      in [2^-32, 1 - 2^-32]
              u2 = (w2 + 1/2) 2^-32                               in [2^-33, 1 - 2^-33]
              u3 = (floor(w3/2) + 1/2) 2^-31                      in [2^-32, 1 - 2^-32]
    float64   u0 = (2^32 w0 + v0 + 1/2) 2^-64                     in [2^-65, 1 - 2^-65]
              u1 = (2^31 floor(w1/2) + floor(v1/2) + 1/2) 2^-62   in [2^-63, 1 - 2^-63]
              u2 = (2^32 w2 + v2 + 1/2) 2^-64                     in [2^-65, 1 - 2^-65]
              u3 = (2^31 floor(w3/2) + floor(v3/2) + 1/2) 2^-62   in [2^-63, 1 - 2^-63]
    waiting   u  = (2 floor((2^32 W + V)/2^12) + 1) 2^-53         in [2^-53, 1 - 2^-53]
                 of a pair of words (W, V)

so that a float64 draw refines the float32 draw of the same seed.  A float64 cannot hold all of
them: :class:`Uniforms` keeps u0 as its integer, u1 together with 1 - u1, and u2 as a signed
distance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

_U64 = np.uint64
_MASK = _U64(0xFFFFFFFF)
_32 = _U64(32)
_MULTIPLIERS = (_U64(0xD2511F53), _U64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

#: Stream of the turning times.
EVENT_STREAM = 2**32 - 1


class Uniforms(NamedTuple):
    """The random part of each element; arrays of shape (n,)."""

    word: NDArray[np.uint64]  #: the integer W0 of u0 = (W0 + 1/2) 2^-bits
    bits: int  #: 32 or 64
    u1: NDArray[np.float64]  #: radius in (0, 1], rounded to float64 ...
    one_less_u1: NDArray[np.float64]  #: ... and 1 - u1 > 0, rounded by itself
    v: NDArray[np.float64]  #: 2 u2 = k + v with k an integer and |v| < 1/2
    direction: NDArray[np.float64]  #: (-1)^k = sign(cos 2 pi u2)


class Signs(NamedTuple):
    """The direction part of one interval of each path; arrays of shape (n,)."""

    u3: NDArray[np.float64]  #: in (0, 1), rounded to float64
    coin: NDArray[np.float64]  #: +1 or -1, the sign of u3 - 1/2


def counters(offset: int, n: int) -> NDArray[np.uint64]:
    """Counters of n elements: ``(offset + 0 .. n-1) mod 2^64``, uint64 (n,)."""
    with np.errstate(over="ignore"):
        return _U64(offset) + np.arange(n, dtype=_U64)


def words(
    seed: int, counters: ArrayLike, block: ArrayLike = 0, stream: int = 0
) -> NDArray[np.uint32]:
    """The four words of each counter.

    Parameters
    ----------
    seed : int
        The key, in [0, 2**64).
    counters : array_like of uint64
        Shape (...).
    block, stream : int
        In [0, 2**32); ``block`` may be an array of the shape of ``counters``.

    Returns
    -------
    numpy.ndarray
        uint32, shape (4, ...).

    Examples
    --------
    >>> from kacflow_core.reference import philox
    >>> [hex(int(w)) for w in philox.words(0, 0)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    i = np.asarray(counters, dtype=_U64)
    c0, c1 = i & _MASK, i >> _32
    c2, c3 = np.full_like(i, block), np.full_like(i, stream)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c2 = (p1 >> _32) ^ c1 ^ _U64(k0), (p0 >> _32) ^ c3 ^ _U64(k1)
        c1, c3 = p1 & _MASK, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def uniforms(
    seed: int, counters: ArrayLike, dtype: DTypeLike = "float64", stream: int = 0
) -> Uniforms:
    """The uniforms of each counter for float32 or float64 draws.

    Consumes block 0, and in float64 block 1, of the stream.
    """
    w: Any = words(seed, counters, 0, stream).astype(_U64)
    if np.dtype(dtype) == np.float32:
        bits, u1_bits = 32, 31
        word, radius, turn = w[0], w[1] >> _U64(1), w[2]
    else:
        v: Any = words(seed, counters, 1, stream).astype(_U64)
        bits, u1_bits = 64, 62
        word, turn = w[0] << _32 | v[0], w[2] << _32 | v[2]
        radius = (w[1] >> _U64(1)) << _U64(31) | v[1] >> _U64(1)
    rest = _U64(2**u1_bits - 1) - radius
    # 2 u2 = (2 W2 + 1)/2^bits; its distance from the nearest integer is exact in a signed integer.
    twice = turn << _U64(64 - bits + 1) | _U64(1 << (64 - bits))
    quarter = _U64(1 << (bits - 2))
    backwards = (turn >= quarter) & (turn < _U64(3) * quarter)
    return Uniforms(
        word,
        bits,
        _halves(radius, u1_bits),
        _halves(rest, u1_bits),
        np.ldexp(twice.view(np.int64).astype(np.float64), -64),
        np.where(backwards, -1.0, 1.0),
    )


def signs(seed: int, counters: ArrayLike, dtype: DTypeLike = "float64", stream: int = 0) -> Signs:
    """The direction part of each interval of a path: word w3 of the blocks of :func:`uniforms`."""
    w3: Any = words(seed, counters, 0, stream)[3].astype(_U64)
    coin = np.where(w3 >= _U64(2**31), 1.0, -1.0)
    if np.dtype(dtype) == np.float32:
        return Signs(_halves(w3 >> _U64(1), 31), coin)
    v3: Any = words(seed, counters, 1, stream)[3].astype(_U64)
    return Signs(_halves((w3 >> _U64(1)) << _U64(31) | v3 >> _U64(1), 62), coin)


def waiting(seed: int, counters: ArrayLike, n: int) -> NDArray[np.float64]:
    """The uniforms of the first n waiting times of each path: float64 (..., n), exact."""
    i, block = np.broadcast_arrays(
        np.asarray(counters, dtype=_U64)[..., None], _U64(1) + np.arange((n + 1) // 2, dtype=_U64)
    )
    w: Any = words(seed, i, block, EVENT_STREAM).astype(_U64)
    pairs = np.stack([w[0] << _32 | w[1], w[2] << _32 | w[3]], axis=-1)
    bits = pairs.reshape(*i.shape[:-1], -1)[..., :n] >> _U64(12)
    return np.ldexp((_U64(2) * bits + _U64(1)).astype(np.float64), -53)


def first_directions(seed: int, counters: ArrayLike) -> NDArray[np.float64]:
    """The direction, +1 or -1, in which each path of an event simulation starts."""
    return np.where(words(seed, counters, 0, EVENT_STREAM)[0] >= 2**31, 1.0, -1.0)


def _halves(n: NDArray[np.uint64], bits: int) -> NDArray[np.float64]:
    """(n + 1/2)/2^bits for n < 2^62, rounded once: 2 n + 1 is an exact integer."""
    return np.ldexp((_U64(2) * n + _U64(1)).astype(np.float64), -(bits + 1))

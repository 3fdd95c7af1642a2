"""The endpoint map (words -> xi) in 40 digits, in its textbook form.

With tau = a t, p = 1 - e^-tau and B = 2^32 or 2^64 words:

    atom  iff word < B - round(B p)                    xi = sign(cos 2 pi u2)
    even  iff word >= B - min(round(B p^2/2), B/2 - 1), at the position w of the word there
    odd   otherwise, w = 1
    sinh(tau'/2) = sqrt(w) sinh(tau/2),  sinh(tau' S) = u1 sinh tau',
    xi = sqrt(1 - S^2) cos 2 pi u2
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mpmath as mp

from kacflow_core.testing.oracles.philox import Uniforms

PRECISION = 170  # bits: 40 digits, and 11 more for tau from 1e-9 (asinh) to 1e7 (1 - S^2)


@dataclass(frozen=True)
class Thresholds:
    """Integer case boundaries of one tau, and what the map needs of it."""

    first_turned: int  #: words below are atoms
    first_even: int  #: words from here on have an even number >= 2 of turns
    half_sinh: mp.mpf  #: sinh(tau/2)


def thresholds(tau: mp.mpf, bits: int) -> Thresholds:
    """Case boundaries out of 2^bits words, from 40 digits of tau."""
    with mp.workprec(PRECISION):
        words = 2**bits
        turned = -mp.expm1(-tau)
        n_turned = int(mp.nint(words * turned))
        n_even = min(int(mp.nint(words * turned * turned / 2)), words // 2 - 1)
        half = mp.exp(tau / 2)
        return Thresholds(words - n_turned, words - n_even, (half - 1 / half) / 2)


@dataclass(frozen=True)
class Endpoint:
    """xi and 1 - xi^2 in 40 digits; ``case`` is 'atom', 'odd' or 'even'."""

    xi: mp.mpf
    one_minus_xi2: mp.mpf
    case: str


def endpoint(u: Uniforms, limits: Thresholds) -> Endpoint:
    """The map for one draw; call it inside ``mp.workprec(PRECISION)``."""
    cosine = mp.cospi(mp.mpf(u.u2[0]) / 2 ** (u.u2[1] - 1))
    if u.word < limits.first_turned:
        return Endpoint(mp.sign(cosine), mp.mpf(0), "atom")
    half, case = limits.half_sinh, "odd"
    if u.word >= limits.first_even:
        count = 2**u.bits - limits.first_even
        w = mp.mpf(2 * (u.word - limits.first_even) + 1) / (2 * count)
        half, case = half * mp.sqrt(w), "even"
    half_cosh = mp.sqrt(1 + half * half)
    tau_prime = 2 * mp.log(half + half_cosh)
    y = u.u1[0] * (2 * half * half_cosh) / mp.mpf(2) ** u.u1[1]
    s = mp.log(y + mp.sqrt(1 + y * y)) / tau_prime
    rest = 1 - s * s
    return Endpoint(mp.sqrt(rest) * cosine, s * s + rest * (1 - cosine * cosine), case)


def endpoints(draws: Iterable[Uniforms], taus: Iterable[mp.mpf | float]) -> list[Endpoint]:
    """The map for many draws, one tau each."""
    known: dict[tuple[mp.mpf | float, int], Thresholds] = {}
    result = []
    with mp.workprec(PRECISION):
        for u, tau in zip(draws, taus, strict=True):
            limits = known.get((tau, u.bits))
            if limits is None:
                limits = known[tau, u.bits] = thresholds(mp.mpf(tau), u.bits)
            result.append(endpoint(u, limits))
    return result

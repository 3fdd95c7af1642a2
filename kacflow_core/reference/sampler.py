"""The endpoint K(t), the training pair and the closed-form map behind them, in float64.

With tau = a t and xi = K(t)/(c t): given N >= 1 turns, xi = sqrt(1 - S^2) cos(2 pi u2), where S has
an elementary law once N is summed out.  Of three uniforms, u0 picks the case,

    N = 0               probability e^-tau               xi = sign(cos 2 pi u2)
    N odd               probability (1 - e^(-2 tau))/2   tau' = tau
    N even, at least 2  probability (1 - e^-tau)^2/2     cosh tau' = 1 + w (cosh tau - 1)

with w the position of u0 in the interval of the last case, and u1 the radius:

    sinh(tau' S) = u1 sinh tau'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kacflow_core.reference.philox import Uniforms, uniforms
from kacflow_core.reference.velocity import bessel_ratio

Floats = NDArray[np.float64]


class Endpoint(NamedTuple):
    """xi = K/(c t), 1 - xi^2 free of cancellation, and whether there was no turn."""

    xi: Floats
    one_minus_xi2: Floats
    atom: NDArray[np.bool_]


def _words(share: Floats, bits: int) -> Floats:
    """A probability as a number of words out of 2**bits, to nearest."""
    return np.rint(np.ldexp(share, bits))


def _compare(word: NDArray[np.unsignedinteger], bits: int, count: Floats) -> Floats:
    """word - count as a float, exact near zero; count <= 2**bits is an integer."""
    if bits == 32:
        return word.astype(np.float64) - count
    high = (word >> np.uint64(32)).astype(np.float64) - np.floor(np.ldexp(count, -32))
    low = (word & np.uint64(0xFFFFFFFF)).astype(np.float64) - np.fmod(count, 2.0**32)
    return high * 2.0**32 + low


def endpoint(u: Uniforms, tau: ArrayLike) -> Endpoint:
    """The closed-form map from uniforms to the process.

    Parameters
    ----------
    u : Uniforms
        Draws, one per element.
    tau : array_like
        a t >= 0, one per element or one for all.

    Returns
    -------
    Endpoint
        xi in [-1, 1].
    """
    tau = np.broadcast_to(np.asarray(tau, dtype=np.float64), u.word.shape)
    half = 2.0 ** (u.bits - 1)
    q, p = np.exp(-tau), -np.expm1(-tau)
    # First word of each case, counted from the nearer end so that no digit is lost.
    late = q < 0.5
    turned = np.where(late, _words(q, u.bits), _words(p, u.bits))
    even = np.where(late, np.maximum(_words(q * (1 - q / 2), u.bits), 1), _words(p * p / 2, u.bits))
    n_even = np.where(late, half - even, even)
    inverted = ~u.word  # 2**bits - 1 - word
    atom = np.where(
        late, _compare(u.word, u.bits, turned) < 0, _compare(inverted, u.bits, turned) >= 0
    )
    after = np.where(
        late,
        _compare(u.word, u.bits, half) - even if u.bits == 32 else _after_half(u.word, even),
        n_even - 1.0 - _compare(inverted, u.bits, np.zeros_like(n_even)),
    )
    w = np.where(after >= 0, (after + 0.5) / np.maximum(n_even, 1.0), 1.0)

    tau_prime, scaled_sinh, a_scaled, scale = _tau_prime(w, tau)
    x = u.u1 * scaled_sinh
    root = np.sqrt(x * x + scale * scale)
    e = a_scaled + scaled_sinh
    r = x + root
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # 1 - S from ln((A + B)/R), S from asinh: each where it is the smaller, hence accurate.
        gap = np.log1p(scaled_sinh * u.one_minus_u1 * (e + r) / ((a_scaled + root) * r))
        s_low = np.arcsinh(x / scale) / tau_prime
    less = np.where(tau_prime > 0, gap / np.maximum(tau_prime, 1e-300), u.one_minus_u1)
    low = less > 0.5
    s = np.where(low, np.where(tau_prime > 0, s_low, u.u1), 1.0 - less)
    less = np.where(low, 1.0 - s, less)
    rho2 = less * (1.0 + s)
    xi = u.direction * np.sqrt(rho2) * np.cos(u.phi)
    return Endpoint(
        np.where(atom, u.direction, xi),
        np.where(atom, 0.0, s * s + rho2 * np.sin(u.phi) ** 2),
        atom,
    )


def _after_half(word: NDArray[np.unsignedinteger], even: Floats) -> Floats:
    """word - 2**63 - even for 64-bit words, exact near zero."""
    high = (word >> np.uint64(32)).astype(np.float64) - 2.0**31 - np.floor(np.ldexp(even, -32))
    low = (word & np.uint64(0xFFFFFFFF)).astype(np.float64) - np.fmod(even, 2.0**32)
    return high * 2.0**32 + low


def _tau_prime(w: Floats, tau: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """tau' with sinh(tau'/2) = sqrt(w) sinh(tau/2), and s sinh tau', s cosh tau', s.

    The scale s is 1 up to tau = 300 and e^-tau above, where sinh tau would overflow.
    """
    big = tau > 300.0
    q, p = np.exp(-np.minimum(tau, 740.0)), -np.expm1(-tau)
    scale = np.where(big, q, 1.0)
    # s (cosh tau' - 1) = w s (cosh tau - 1) = 2 w s sinh^2(tau/2)
    d = w * np.where(big, 0.5 * p * p, 2.0 * np.sinh(np.minimum(tau, 300.0) / 2) ** 2)
    b = np.sqrt(d * (d + 2.0 * scale))
    small = 2.0 * np.arcsinh(np.sqrt(w) * np.sinh(np.minimum(tau, 300.0) / 2))
    with np.errstate(divide="ignore"):
        large = tau + np.log(d + scale + b)
    return np.where(big, large, small), b, d + scale, scale


def sample(
    t: ArrayLike,
    shape: int | Sequence[int],
    *,
    a: ArrayLike,
    c: ArrayLike,
    seed: int,
    offset: int = 0,
    dtype: np.dtype | type = np.float64,
) -> Floats:
    """K(t) from the words of ``dtype``; t, a, c broadcast against ``shape`` as in NumPy."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    t, a, c = (np.asarray(v, dtype=np.float64) for v in (t, a, c))
    n = int(np.prod(shape, dtype=np.int64))
    tau = np.broadcast_to(a * t, shape).reshape(-1)
    return c * t * endpoint(uniforms(seed, offset, n, dtype), tau).xi.reshape(shape)


def sample_pair(
    x0: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    signal: ArrayLike,
    dsignal: ArrayLike,
    clock: ArrayLike,
    dclock: ArrayLike,
    seed: int,
    offset: int = 0,
    dtype: np.dtype | type = np.float64,
) -> tuple[Floats, Floats]:
    """(f x0 + K(g), f' x0 + g' v(g, K(g))); parameters broadcast against ``x0`` as in NumPy."""
    x0, a, c, clock = (np.asarray(v, dtype=np.float64) for v in (x0, a, c, clock))
    tau = np.broadcast_to(a * clock, x0.shape)
    p = endpoint(uniforms(seed, offset, x0.size, dtype), tau.reshape(-1))
    xi, rest, atom = (v.reshape(x0.shape) for v in p)
    inside = c * tau * xi / (tau + bessel_ratio(tau * np.sqrt(rest)))
    v = np.where(atom, c * xi, inside)
    return signal * x0 + c * clock * xi, dsignal * x0 + dclock * v

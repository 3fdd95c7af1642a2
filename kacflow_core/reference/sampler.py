"""The endpoint sampler: three uniforms to K(t), in closed form.

Dimensionless: xi = K(t)/(c t) in [-1, 1] and tau = a t.  Given N = n >= 1 turns and k = ceil(n/2),
xi has density proportional to (1 - xi^2)^(k-1), for even n after averaging over the first
direction; so xi = sqrt(1 - S^2) cos(2 pi V) with S = U^(1/(2k-1)) and U, V uniform.  Summed over n
the law of S is elementary::

    atom  N = 0        probability e^-tau             xi = +-1
    odd   N odd        probability (1 - e^(-2 tau))/2 tau' = tau
    even  N even >= 2  probability (1 - e^-tau)^2/2   cosh tau' = 1 + w (cosh tau - 1), w uniform
                                                  <=> sinh(tau'/2) = sqrt(w) sinh(tau/2)

    sinh(tau' S) = u1 sinh tau',     xi = sqrt(1 - S^2) cos(2 pi u2)

As tau -> 0, S is uniform and so is xi (Archimedes); as tau -> infinity, 1 - S^2 -> -2 ln(u1)/tau
and the map is the Box-Muller transform.  The process is that of Duong, Chemseddine, Friz and
Steidl, arXiv 2506.20641.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from kacflow_core.reference import philox
from kacflow_core.reference._exact import Array, exact_product

_U64 = np.uint64

#: Above this tau, sinh tau' = e^tau'/2 to all digits for every w >= 2^-65, and so for every u1.
_LARGE_TAU = 300.0


class Cases(NamedTuple):
    """What the case word decides; arrays of shape (n,)."""

    atom: NDArray[np.bool_]
    even: NDArray[np.bool_]
    w: Array  #: position in the even case, in (0, 1); 1 otherwise


class Endpoint(NamedTuple):
    """A draw of xi = K(t)/(c t); arrays of shape (n,)."""

    xi: Array  #: in [-1, 1], +-1 exactly on the atoms
    one_minus_xi2: Array  #: without the cancellation of forming it from xi; 0 on the atoms
    atom: NDArray[np.bool_]


def cases(word: NDArray[np.uint64], bits: int, a: ArrayLike, t: ArrayLike) -> Cases:
    """Decide the case of each draw by integer thresholds, and take w from the same word.

    With B = 2^bits words W = 0 ... B - 1, from below: atoms, odd, even.  Words are counted from
    whichever end is nearer, so that every probability is right to half a word, or to 2^-53 of its
    distance from that end.  In terms of e^-tau = q and p = 1 - q: ``B q`` atoms or ``B p`` others,
    and ``B p^2/2 = B/2 - B q (1 - q/2)`` even ones, fewer than B/2 of them.
    """
    tau, low = exact_product(a, t)  # e^-tau would magnify the rounding of tau
    q = np.exp(-tau) * (1.0 - low)
    p = -np.expm1(-tau) + np.exp(-tau) * low
    late = q < 0.5
    half = _U64(2 ** (bits - 1))
    turned_or_atoms = _count(np.where(late, q, p), bits)
    above_half = np.maximum(_count(np.where(late, q * (1.0 - 0.5 * q), 0.0), bits), _U64(1))
    n_even = np.where(late, half - above_half, _count(np.where(late, 0.0, 0.5 * p * p), bits))

    from_top = _U64(2**bits - 1) - word
    atom = np.where(late, word < turned_or_atoms, from_top >= turned_or_atoms)
    even = ~atom & (from_top < n_even)
    j = n_even - _U64(1) - np.where(even, from_top, _U64(0))  # place from the bottom of the evens
    w = (_U64(2) * j + _U64(1)).astype(np.float64) / (2.0 * n_even)
    return Cases(atom, even, np.where(even, w, 1.0))


def _count(probability: Array, bits: int) -> NDArray[np.uint64]:
    """A probability <= 1/2 as a number of words, to nearest."""
    return np.rint(np.ldexp(probability, bits)).astype(_U64)


def _radius(tau: Array, w: Array, u1: Array, one_less_u1: Array) -> tuple[Array, Array]:
    """(S, 1 - S) of sinh(tau' S) = u1 sinh tau', each to its own relative accuracy.

    With A = cosh tau', B = sinh tau' and R = sinh(tau' S) + cosh(tau' S) = u1 B + Q,
    Q = sqrt(1 + u1^2 B^2)::

        tau' (1 - S) = ln((A + B)/R) = ln(1 + B (1 - u1) (A + B + R)/((A + Q) R))
    """
    half = np.sqrt(w) * np.sinh(0.5 * np.minimum(tau, _LARGE_TAU))
    tau_prime = 2.0 * np.arcsinh(half)
    a, b = 1.0 + 2.0 * half**2, 2.0 * half * np.sqrt(1.0 + half**2)
    x = u1 * b
    q = np.sqrt(1.0 + x**2)
    r = x + q
    s = np.arcsinh(x) / tau_prime
    rest = np.log1p(b * one_less_u1 * (a + b + r) / ((a + q) * r)) / tau_prime

    # sinh z = e^z/2: the Box-Muller limit.
    log_u1 = np.where(u1 < 0.5, np.log(u1), np.log1p(-one_less_u1))
    far = -log_u1 / (tau + np.log(w))
    rest = np.where(tau > _LARGE_TAU, far, rest)
    near_one = (tau > _LARGE_TAU) | (rest < 0.5)
    return np.where(near_one, 1.0 - rest, s), np.where(near_one, rest, 1.0 - s)


def endpoint(u: philox.Uniforms, a: ArrayLike, t: ArrayLike) -> Endpoint:
    """The map from uniforms to xi = K(t)/(c t), shape (n,), for rates and times that broadcast."""
    with np.errstate(all="ignore"):  # branches that are not taken
        atom, _, w = cases(u.word, u.bits, a, t)
        tau = np.asarray(a, np.float64) * np.asarray(t, np.float64)
        s, rest = _radius(np.maximum(tau, 1e-100), w, u.u1, u.one_less_u1)
        angle = np.pi * u.v  # 2 pi u2 up to half turns
        rho2 = rest * (1.0 + s)  # 1 - S^2
        xi = u.direction * np.sqrt(rho2) * np.cos(angle)
        one_minus_xi2 = s**2 + rho2 * np.sin(angle) ** 2
    return Endpoint(np.where(atom, u.direction, xi), np.where(atom, 0.0, one_minus_xi2), atom)


def aligned(value: ArrayLike, shape: Sequence[int]) -> Array:
    """A parameter, aligned with the leading axes of ``shape``, one number per element (n,)."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > len(shape):
        raise ValueError(f"parameter of shape {array.shape} for data of shape {tuple(shape)}")
    array = array.reshape(array.shape + (1,) * (len(shape) - array.ndim))
    return np.broadcast_to(array, tuple(shape)).reshape(-1)


def sample(
    t: ArrayLike,
    shape: int | Sequence[int],
    *,
    a: ArrayLike,
    c: ArrayLike,
    seed: int,
    offset: int = 0,
    dtype: DTypeLike = "float64",
) -> Array:
    """Draw K(t): :func:`kacflow_core.sample` as plain NumPy.

    Parameters
    ----------
    t, a, c : array_like
        Time >= 0, jump rate > 0, speed > 0; aligned with the leading axes of ``shape``.  They are
        used as given, in float64; nothing is checked.
    shape : int or sequence of int
    seed, offset : int
        Element i uses the counter ``(offset + i) mod 2**64``.
    dtype : {"float64", "float32"}
        Whose uniforms and case thresholds to use.

    Returns
    -------
    numpy.ndarray
        float64 in either case.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> reference.sample(0.5, (2, 3), a=9.0, c=3.0, seed=0).shape
    (2, 3)
    """
    extents: tuple[int, ...] = (shape,) if isinstance(shape, int) else tuple(shape)
    times, rates, speeds = (aligned(p, extents) for p in (t, a, c))
    u = philox.uniforms(seed, philox.counters(offset, times.size), dtype)
    result: Any = speeds * times * endpoint(u, rates, times).xi
    return result.reshape(extents)

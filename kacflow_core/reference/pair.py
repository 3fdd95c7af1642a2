"""The training pair of the Kac flow, data at t = 0 and noise at t = T."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kacflow_core.reference import philox
from kacflow_core.reference._exact import Array
from kacflow_core.reference.sampler import aligned, endpoint
from kacflow_core.reference.velocity import bessel_ratio


class Noise(NamedTuple):
    """Displacement over c t and velocity over c at one draw; arrays of shape (n,)."""

    xi: Array
    v: Array


def noise(u: philox.Uniforms, a: Array, t: Array) -> Noise:
    """xi = K/(c t) and v(t, K)/c = tau xi/(tau + q(tau sqrt(1 - xi^2))), or +-1 on the atoms.

    1 - xi^2 and the atoms are the sampler's own, never those of a rounded displacement.
    """
    xi, one_minus_xi2, atom = endpoint(u, a, t)
    tau = a * t
    v = tau * xi / (tau + bessel_ratio(tau * np.sqrt(one_minus_xi2)).q)
    return Noise(xi, np.where(atom, xi, v))


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
    dtype: DTypeLike = "float64",
) -> tuple[Array, Array]:
    """Noised data and its velocity: :func:`kacflow_core.sample_pair` as plain NumPy.

    ::

        x_t  = f(t) x0 + K(g(t))
        dx_t = f'(t) x0 + g'(t) v(g(t), K(g(t)))

    Parameters
    ----------
    x0 : array_like
        Data, any shape.
    a, c, signal, dsignal, clock, dclock : array_like
        Jump rate, speed, f(t), f'(t), g(t) and g'(t), aligned with the leading axes of ``x0``.
    seed, offset, dtype
        As in :func:`kacflow_core.reference.sample`, and with the same noise.

    Returns
    -------
    tuple of numpy.ndarray
        ``(x_t, dx_t)``, float64, of the shape of ``x0``.

    Examples
    --------
    >>> from kacflow_core import reference
    >>> x_t, dx_t = reference.sample_pair([1.0, 2.0], a=9.0, c=3.0, signal=0.5, dsignal=-1.0,
    ...                                   clock=0.5, dclock=1.0, seed=0)
    >>> x_t.shape
    (2,)
    """
    data = np.asarray(x0, dtype=np.float64)
    rates, speeds, f, df, times, dg = (
        aligned(p, data.shape) for p in (a, c, signal, dsignal, clock, dclock)
    )
    u = philox.uniforms(seed, philox.counters(offset, data.size), dtype)
    xi, v = noise(u, rates, times)
    flat = data.reshape(-1)
    x_t = f * flat + speeds * times * xi
    dx_t = df * flat + dg * (speeds * v)
    return x_t.reshape(data.shape), dx_t.reshape(data.shape)

"""Two samplers of K(t) that share nothing with the core but the law.

``simulate`` follows every particle from turn to turn.  ``plain_sampler`` is the closed-form map in
float64 NumPy on NumPy's own generator, with defects that can be switched on: a statistical test
that lets them pass is worth nothing.
"""

from __future__ import annotations

import numpy as np


def simulate(a: float, c: float, t: float, n: int, seed: int) -> np.ndarray:
    """K(t) of n particles, event by event; float64 (n,), the atoms exactly +-(c t)."""
    rng = np.random.default_rng(seed)
    direction = rng.choice([-1.0, 1.0], n)
    position = np.zeros(n)
    left = np.full(n, t)
    first = rng.exponential(1 / a, n)
    atoms = first >= t
    position[atoms] = direction[atoms] * (c * t)
    moving = np.flatnonzero(~atoms)
    wait = first[moving]
    while moving.size:
        step = np.minimum(wait, left[moving])
        position[moving] += direction[moving] * c * step
        left[moving] -= step
        direction[moving] *= -1
        moving = moving[left[moving] > 0]
        wait = rng.exponential(1 / a, moving.size)
    return position


DEFECTS = (
    "atoms dropped",
    "turn parity ignored",
    "S uniform",
    "sign lost",
    "speed 1 % off",
    "neighbours alike",
    "coarse uniforms",
)


def plain_sampler(
    a: float, c: float, t: float, n: int, seed: int, defect: str | None = None
) -> np.ndarray:
    """K(t) by the closed-form map; float64 (n,); tau = a t up to 300."""
    rng = np.random.default_rng(seed)
    u0, u1, u2 = rng.random((3, n))
    if defect == "coarse uniforms":
        u1, u2 = (np.floor(u1 * 256) + 0.5) / 256, (np.floor(u2 * 256) + 0.5) / 256
    tau = a * t
    turned = -np.expm1(-tau)
    atom = u0 < 1 - turned
    if defect == "atoms dropped":
        atom[:] = False
    even = u0 >= 1 - turned**2 / 2
    w = np.where(even, (u0 - (1 - turned**2 / 2)) / (turned**2 / 2), 1.0)
    if defect == "turn parity ignored":
        w[:] = 1.0
    tau_prime = 2 * np.arcsinh(np.sqrt(w) * np.sinh(tau / 2))
    s = np.arcsinh(u1 * np.sinh(tau_prime)) / tau_prime
    if defect == "S uniform":
        s = u1
    cosine = np.cos(2 * np.pi * u2)
    x = np.where(atom, np.sign(cosine), np.sqrt(1 - s * s) * cosine) * (c * t)
    if defect == "sign lost":
        x = np.abs(x)
    if defect == "speed 1 % off":
        x = x * 1.01
    if defect == "neighbours alike":
        x[1::50] = x[: x.size - 1 : 50][: x[1::50].size]
    return x

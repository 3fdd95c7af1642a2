"""Whole paths: in 40 digits on the same words, and two samplers that share nothing with the core.

``simulate`` follows every particle from turn to turn.  ``plain_steps`` takes one closed-form step
per interval in float64 NumPy on NumPy's own generator, with defects that can be switched on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mpmath as mp
import numpy as np

from kacflow_core.testing.oracles import endpoint, philox


class Point(NamedTuple):
    """A path at one time, in 40 digits; ``margin`` is the distance of u3 from its threshold."""

    position: mp.mpf
    direction: int
    margin: float


def exact(
    times: Sequence[float], a: float, c: float, seed: int, index: int, dtype: str
) -> list[Point]:
    """One path at all times, for parameters taken as exact numbers."""
    points = []
    with mp.workprec(endpoint.PRECISION):
        position, before, direction = mp.mpf(0), mp.mpf(0), 0
        for j, time in enumerate(times):
            draw = philox.interval(seed, index, j, dtype)
            length = mp.mpf(time) - before
            before = mp.mpf(time)
            [end] = endpoint.endpoints([draw.endpoint], [a * length])
            # 1 - |xi| from 1 - xi^2, which the oracle has to full relative accuracy
            threshold = end.one_minus_xi2 / (2 * (1 + abs(end.xi)))
            u3 = mp.mpf(draw.u3.numerator) / draw.u3.denominator
            sign = -1 if u3 < threshold else 1
            if j == 0:
                eta = end.xi
                direction = draw.coin if end.case == "odd" else int(mp.sign(end.xi)) * sign
            else:
                eta = direction * (end.xi if end.case == "odd" else sign * abs(end.xi))
                if end.case == "odd":
                    direction = -direction
            position += c * length * eta
            margin = float(abs(u3 - threshold)) if end.case == "even" else 1.0
            points.append(Point(position, direction, margin))
    return points


def simulate(
    a: float, c: float, times: np.ndarray, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(positions, directions) of n particles at the times, turn by turn; float64 (n, T)."""
    rng = np.random.default_rng(seed)
    positions, directions = np.empty((2, n, len(times)))
    direction = rng.choice([-1.0, 1.0], n)
    place, now = np.zeros(n), np.zeros(n)
    while np.any(now <= times[-1]):
        turn = now + rng.exponential(1 / a, n)
        for j, time in enumerate(times):
            here = (now <= time) & (time < turn)
            positions[here, j] = (place + direction * c * (time - now))[here]
            directions[here, j] = direction[here]
        place += direction * c * (turn - now)
        direction, now = -direction, turn
    return positions, directions


DEFECTS = (
    "even: always along the direction",
    "even: either sign alike",
    "odd: direction kept",
    "odd: xi along the direction",
    "first direction: sign of x",
    "first direction: opposite",
    "displacement in a fixed frame",
    "intervals alike",
    "no turn: either sign",
)


def plain_steps(
    a: float, c: float, times: np.ndarray, n: int, seed: int, defect: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(positions, directions) by the closed-form step; float64 (n, T); a times interval <= 300."""
    rng = np.random.default_rng(seed)
    positions, directions = np.empty((2, n, len(times)))
    place, direction = np.zeros(n), np.ones(n)
    for j, length in enumerate(np.diff(times, prepend=0.0)):
        if j == 0 or defect != "intervals alike":
            u0, u1, u2, u3, u4 = rng.random((5, n))
        tau = a * length
        turned = -np.expm1(-tau)
        atom, even = u0 < 1 - turned, u0 >= 1 - turned**2 / 2
        odd = ~atom & ~even
        w = np.where(even, (u0 - (1 - turned**2 / 2)) / (turned**2 / 2), 1.0)
        tau_prime = 2 * np.arcsinh(np.sqrt(w) * np.sinh(tau / 2))
        s = np.arcsinh(u1 * np.sinh(tau_prime)) / tau_prime
        cosine = np.cos(2 * np.pi * u2)
        xi = np.where(atom, np.sign(cosine), np.sqrt(1 - s * s) * cosine)
        minus = u3 < (1 - np.abs(xi)) / 2
        if defect == "even: always along the direction":
            minus[:] = False
        if defect == "even: either sign alike":
            minus = np.where(atom, minus, u3 < 0.5)
        sign = np.where(minus, -1.0, 1.0)
        if j == 0:
            step = xi
            direction = np.where(odd, np.where(u4 < 0.5, -1.0, 1.0), sign * np.sign(xi))
            if defect == "first direction: sign of x":
                direction = np.sign(xi)
            if defect == "first direction: opposite":
                direction = -direction
        else:
            eta = np.where(odd, xi, sign * np.abs(xi))
            if defect == "odd: xi along the direction":
                eta = np.where(odd, np.abs(xi), eta)
            if defect == "no turn: either sign":
                eta = np.where(atom, xi, eta)
            step = eta if defect == "displacement in a fixed frame" else direction * eta
            if defect != "odd: direction kept":
                direction = np.where(odd, -direction, direction)
        place = place + c * length * step
        positions[:, j], directions[:, j] = place, direction
    return positions, directions

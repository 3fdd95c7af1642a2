"""Splines in 40 digits: each bin as a quotient of quadratics in Bernstein form, whose derivatives
are differences.

On a bin from (x_0, y_0) to (x_1, y_1) with slopes d, e and s = (y_1 - y_0)/(x_1 - x_0),

    y = (s y_0 v^2 + (e y_0 + d y_1) u v + s y_1 u^2)/(s v^2 + (d + e) u v + s u^2)

at x = v x_0 + u x_1, u + v = 1.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import mpmath as mp

PRECISION = 200
_STEP = mp.mpf(2) ** -100

Numbers = Sequence[mp.mpf]  #: x_0, x_1, y_0, y_1, d, e


def bin_of(x: float, edges: Sequence[float]) -> int:
    """Number of the bin that x belongs to."""
    return bisect_right(list(edges)[1:-1], x)


def numbers(
    k: int, edges: Sequence[float], values: Sequence[float], slopes: Sequence[float]
) -> list[mp.mpf]:
    """Those of bin k, exactly."""
    found = (*edges[k : k + 2], *values[k : k + 2], *slopes[k : k + 2])
    return [mp.mpf(float(v)) for v in found]


def value(x: mp.mpf, of: Numbers) -> mp.mpf:
    """y at a place of the bin."""
    x_0, x_1, y_0, y_1, d, e = of
    s, u = (y_1 - y_0) / (x_1 - x_0), (x - x_0) / (x_1 - x_0)
    v = 1 - u
    upper = s * y_0 * v**2 + (e * y_0 + d * y_1) * u * v + s * y_1 * u**2
    return upper / (s * v**2 + (d + e) * u * v + s * u**2)


def slope(x: mp.mpf, of: Numbers) -> mp.mpf:
    """y', good to 55 digits: the error of the difference is of the order of its square."""
    step = (of[1] - of[0]) * _STEP
    with mp.workprec(2 * PRECISION + 120):
        return (value(x + step, of) - value(x - step, of)) / (2 * step)


def spline(x: float, of: Numbers) -> tuple[mp.mpf, mp.mpf]:
    """y and y', beyond the bin as at the end of the spline there."""
    place = mp.mpf(x)
    within = min(max(place, of[0]), of[1])
    steep = of[4] if place < of[0] else of[5] if place > of[1] else slope(within, of)
    return value(within, of) + steep * (place - within), steep


def inverse(y: float, of: Numbers) -> mp.mpf:
    """The x where the spline is y: by bisection and Newton's steps."""
    goal = mp.mpf(y)
    if goal <= of[2]:
        return of[0] + (goal - of[2]) / of[4]
    if goal >= of[3]:
        return of[1] + (goal - of[3]) / of[5]
    low, high = of[0], of[1]
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle, of) < goal else (low, middle)
    x = (low + high) / 2
    for _ in range(6):
        x -= (value(x, of) - goal) / slope(x, of)
    return x


def gradient(x: float, f: float, g: float, of: Numbers) -> list[mp.mpf]:
    """Derivatives of f y + g y' in x, x_0, x_1, y_0, y_1, d and e, good to 40 digits."""
    with mp.workprec(4 * PRECISION + 200):
        place, step = mp.mpf(x), mp.ldexp(1, -PRECISION)
        side = (place > of[1]) - (place < of[0])

        def total(arguments: Sequence[mp.mpf]) -> mp.mpf:
            at, *bin_numbers = arguments
            if side:  # y goes on as a line
                end, steep = bin_numbers[0 if side < 0 else 1], bin_numbers[4 if side < 0 else 5]
                start = bin_numbers[2 if side < 0 else 3]
                return f * (start + steep * (at - end)) + g * steep
            fine = (bin_numbers[1] - bin_numbers[0]) * mp.ldexp(1, -2 * PRECISION)
            ahead, behind = value(at + fine, bin_numbers), value(at - fine, bin_numbers)
            return f * value(at, bin_numbers) + g * (ahead - behind) / (2 * fine)

        found = []
        for i in range(7):
            ends = []
            for sign in (1, -1):
                moved = [place, *of]
                moved[i] += sign * step
                ends.append(total(moved))
            found.append((ends[0] - ends[1]) / (2 * step))
        return found

"""Density and distribution function of K(t) in 40 digits, from their Bessel series, and the flow
that leaves the distribution function constant.

With tau = a t, y = a x/c, z^2 = tau^2 - y^2 and D = tau - z, for y <= 0::

    p(x) = (a/2c) e^-D e^-z (I0(z) + tau I1(z)/z)
    F(x) = e^-D e^-z (I0(z)/2 + sum_(k >= 1) r^k I_k(z)),   r = z/(tau - y)

the second being P(N1 > N2) + P(N1 = N2)/2 of two Poisson counts of means (tau + y)/2 and
(tau - y)/2 (Skellam's law).  The ratios R_k = I_k/I_(k-1) come from their continued fraction
R_k = z/(2 k + z R_(k+1)), and e^-z I0(z) from e^z = I0 + 2 sum I_k.
"""

from __future__ import annotations

from typing import NamedTuple

import mpmath as mp

PRECISION = 150  # bits: 40 digits, and 5 more for the products


class Factors(NamedTuple):
    """p = (a/2c) e^-decay density, and F(-|x|) = e^-decay tail."""

    decay: mp.mpf  #: D
    density: mp.mpf  #: e^-z (I0 + tau I1/z)
    tail: mp.mpf  #: e^-z (I0/2 + sum r^k I_k)


def factors(tau: mp.mpf, y: mp.mpf) -> Factors:
    """The factors at the place -|y|, or -tau if that is nearer (c t may have been rounded up).

    Call it inside ``mp.workprec(PRECISION)``.
    """
    y = min(abs(y), tau)
    z = mp.sqrt((tau - y) * (tau + y))
    decay = y * y / (tau + z)
    if not z:
        return Factors(decay, 1 + tau / 2, mp.mpf(1) / 2)
    # Integers in units of 2^-bits; I_k/I_0 < 2^-140 from the last k on.
    bits = mp.mp.prec + 30 + max(0, -int(mp.log(z, 2)))
    one = 1 << bits
    last = int(mp.sqrt(2 * 97 * z)) + 97
    z_bits, r_bits = int(mp.ldexp(z, bits)), int(mp.ldexp(z / (tau + y), bits))
    ratio = tail = total = 0
    for k in range(last, 0, -1):
        ratio = (z_bits << bits) // ((2 * k << bits) + (z_bits * ratio >> bits))
        tail = ((r_bits * ratio >> bits) * (one + tail)) >> bits
        total = (ratio * (one + total)) >> bits
    ratio, tail, total = (mp.ldexp(mp.mpf(v), -bits) for v in (ratio, tail, total))
    scale = 1 / (1 + 2 * total)
    return Factors(decay, scale * (1 + tau * ratio / z), scale * (mp.mpf(1) / 2 + tail))


class Values(NamedTuple):
    """At one place."""

    decay: mp.mpf  #: D
    pdf: mp.mpf
    logpdf: mp.mpf
    lower: mp.mpf  #: F(-|x|)
    cdf: mp.mpf


def values(x: float, t: float, a: float, c: float) -> Values:
    """Inside |x| <= c t, parameters taken as exact numbers."""
    with mp.workprec(PRECISION):
        x, t, a, c = mp.mpf(x), mp.mpf(t), mp.mpf(a), mp.mpf(c)
        decay, density, tail = factors(a * t, a * x / c)
        rate = a / (2 * c) * density
        lower = mp.exp(-decay) * tail
        return Values(
            decay,
            rate * mp.exp(-decay),
            mp.log(rate) - decay,
            lower,
            1 - lower if x > 0 else lower,
        )


class Moved(NamedTuple):
    """Where a place goes, and how far from its neighbours."""

    place: mp.mpf  #: X = Q_s(F_t(x)); c s sign(x) from the edge on
    slope: mp.mpf  #: dX/dx, 0 at the edge


def transport(x: float, t: float, s: float, a: float, c: float) -> Moved:
    """From inside |x| < c t at the time t to the time s, parameters taken as exact numbers.

    By Newton's iteration on ln F, which is concave: from e^-D/2 = F it climbs to the root.
    """
    with mp.workprec(PRECISION):
        sign, x, t, s, a, c = mp.sign(x), *(mp.mpf(v) for v in (abs(x), t, s, a, c))
        end = a * s
        decay, density, tail = factors(a * t, a * x / c)
        goal = mp.log(2 * tail) - decay
        if goal <= -end:
            return Moved(sign * c * s, mp.mpf(0))
        delta = -goal
        y = mp.sqrt(delta * (2 * end - delta))
        for _ in range(40):
            there = factors(end, y)
            step = (mp.log(2 * there.tail) - there.decay - goal) * 2 * there.tail / there.density
            y += step
            if abs(step) <= mp.ldexp(y, 20 - PRECISION):
                break
        slope = density / there.density * mp.exp(there.decay - decay)
        return Moved(sign * y * c / a, slope)

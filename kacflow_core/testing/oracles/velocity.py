"""q(z) = z I0(z)/I1(z), the conditional velocity and its derivatives in 40 digits and more.

I0 and I1 are summed from their power series in integers up to z = 80, and from their asymptotic
series beyond (error e^-2z < 1e-69); both are tested against mpmath's own Bessel functions.
"""

from __future__ import annotations

import mpmath as mp

PRECISION = 200


def bessel_ratio(z2: mp.mpf) -> mp.mpf:
    """q as a function of z^2 >= 0, to the working precision (at most 220 bits above z = 80)."""
    if z2 < 6400:
        bits = mp.mp.prec + 150  # the terms grow to e^80 < 2^116
        quarter = int(mp.floor(mp.ldexp(z2, bits - 2)))
        term = sum_0 = sum_1 = 1 << bits
        k = 0
        while term:
            k += 1
            term = ((term * quarter) >> bits) // (k * k)
            sum_0 += term
            sum_1 += term // (k + 1)
        return 2 * mp.mpf(sum_0) / sum_1
    z = mp.sqrt(z2)
    eighth = 1 / (8 * z)
    sum_0 = sum_1 = term_0 = term_1 = mp.mpf(1)
    least = mp.ldexp(1, -mp.mp.prec - 5)
    k = 0
    while abs(term_0) > least and k < 150:
        k += 1
        odd = (2 * k - 1) ** 2
        term_0 *= odd * eighth / k
        term_1 *= (odd - 4) * eighth / k
        sum_0 += term_0
        sum_1 += term_1
    return z * sum_0 / sum_1


def velocity(x: float, t: float, a: float, c: float) -> mp.mpf:
    """v(t, x) of the interior |x| < c t for parameters taken as exact numbers.

    Call it inside ``mp.workprec``.
    """
    x, t, a, c = mp.mpf(x), mp.mpf(t), mp.mpf(a), mp.mpf(c)
    tau, y = a * t, a * x / c
    return a * x / (tau + bessel_ratio((tau - y) * (tau + y)))


def velocity_of_xi(xi: mp.mpf, one_minus_xi2: mp.mpf, tau: mp.mpf) -> mp.mpf:
    """v/c as a function of the dimensionless place xi = x/(c t), |xi| < 1."""
    return tau * xi / (tau + bessel_ratio(tau * tau * one_minus_xi2))


def velocity_derivatives(x: float, t: float, a: float, c: float) -> tuple[mp.mpf, mp.mpf]:
    """(dv/dx, dv/dt) by central differences of ``velocity``, good to 40 digits.

    The step is 1e-25 of the distance to the edge, so that the error of the difference, of the
    order of its square, and the rounding at 320 bits (1e-96 before, 1e-71 after the division)
    leave 45 digits; the series above z = 80 carry 69 digits, which leaves 40.
    """
    with mp.workprec(320):
        x, t, a, c = mp.mpf(x), mp.mpf(t), mp.mpf(a), mp.mpf(c)
        gap = (c * t - abs(x)) / c
        small = mp.mpf(10) ** -25
        step_t = min(gap, t) * small
        step_x = min(gap, t) * c * small
        dv_dx = (velocity(x + step_x, t, a, c) - velocity(x - step_x, t, a, c)) / (2 * step_x)
        dv_dt = (velocity(x, t + step_t, a, c) - velocity(x, t - step_t, a, c)) / (2 * step_t)
        return dv_dx, dv_dt

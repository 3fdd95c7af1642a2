"""The oracles themselves, against each other and against published values."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from kacflow_core.testing.oracles import endpoint, events, law, philox, velocity


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_vectors(counter, key, words):
    assert philox.philox4x32(counter, key) == words


def test_philox_arrays_equal_integers():
    seed = 0x0123456789ABCDEF
    counters = np.array([0, 1, 2**32 - 1, 2**32, 2**64 - 1], dtype=np.uint64)
    for block in (0, 1):
        got = philox.philox4x32_array(counters, seed, block).T.tolist()
        assert got == [list(philox.element_words(seed, int(i), block)) for i in counters]


def test_extreme_counters_are_extreme():
    words = {k: philox.element_words(0, i) for k, i in philox.EXTREME_COUNTERS.items()}
    assert words["u0 bottom"][0] == 2
    assert words["u0 top"][0] == 2**32 - 2
    assert words["u1 bottom"][1] >> 1 == 1
    assert words["u1 top"][1] == 2**32 - 1
    assert words["u2 bottom"][2] == 0
    assert words["u2 top"][2] == 2**32 - 1
    for part, center in (("quarter", 2**30), ("half", 2**31), ("three quarters", 3 * 2**30)):
        assert center <= words[f"u2 above {part}"][2] <= center + 1
        assert center - 2 <= words[f"u2 below {part}"][2] < center
    assert words["u0 above half"][0] == 2**31
    assert words["u0 below half"][0] == 2**31 - 1


@pytest.mark.parametrize("z", [1e-5, 0.1, 1.0, 3.3, 20.0, 79.99, 80.01, 300.0, 5000.0])
def test_bessel_ratio_equals_mpmath(z):
    with mp.workprec(200):
        got = velocity.bessel_ratio(mp.mpf(z) ** 2)
        with mp.workprec(320):
            want = z * mp.besseli(0, z) / mp.besseli(1, z)
        assert abs(got / want - 1) < mp.mpf(10) ** -55


@pytest.mark.parametrize("tau", [0.2, 1.0, 5.0, 50.0])
def test_density_solves_the_telegraphers_equation_and_carries_the_moments(tau):
    a, c, t = mp.mpf(2), mp.mpf(3), mp.mpf(tau) / 2
    with mp.workdps(40):
        x, h = c * t / 3, mp.mpf(10) ** -10

        def u(s, y):
            return law.density(y, s, a, c)

        u_tt = (u(t + h, x) - 2 * u(t, x) + u(t - h, x)) / h**2
        u_xx = (u(t, x + h) - 2 * u(t, x) + u(t, x - h)) / h**2
        u_t = (u(t + h, x) - u(t - h, x)) / (2 * h)
        scale = abs(u_tt) + abs(2 * a * u_t) + abs(c * c * u_xx)
        assert abs(u_tt + 2 * a * u_t - c * c * u_xx) < scale * mp.mpf(10) ** -14
    edge = min(1.0, 14 / np.sqrt(tau))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    grid = edge * nodes
    p = np.array([float(law.density(mp.mpf(xi), mp.mpf(tau), 1, 1 / mp.mpf(tau))) for xi in grid])
    for order in (2, 4):
        # a = 1, c = 1/tau: x = xi
        got = np.exp(-tau) + edge * np.sum(weights * p * grid**order)
        assert got == pytest.approx(law.moment(order, tau), rel=1e-10)
    assert float(law.variance(tau, 1, 1 / mp.mpf(tau))) == pytest.approx(
        law.moment(2, tau), rel=1e-12
    )


@pytest.mark.parametrize("tau", [0.05, 1.0, 6.0])
def test_forty_digit_map_has_the_moments_of_the_law(tau):
    """The map, averaged over a product grid of uniforms, gives E xi^2 and E xi^4."""
    limits = endpoint.thresholds(mp.mpf(tau), 32)
    n_even = 2**32 - limits.first_even
    nodes, weights = np.polynomial.legendre.leggauss(32)
    nodes, weights = (1 + nodes) / 2, weights / 2
    xi = np.zeros((2, 32, 32))
    for i, root in enumerate(nodes):  # w = root^2: the map is smooth in the root
        for j, u1 in enumerate(nodes):
            for k, word in enumerate(
                (limits.first_even - 1, limits.first_even + int(n_even * root**2))
            ):
                draw = philox.Uniforms(word, 32, (int(u1 * 2**60), 60), (0, 1))  # cos = 1
                with mp.workprec(endpoint.PRECISION):
                    xi[k, i, j] = endpoint.endpoint(draw, limits).xi
    average = np.stack([weights[:, None] * weights, (2 * nodes * weights)[:, None] * weights])
    odd, even = (1 - np.exp(-2 * tau)) / 2, (1 - np.exp(-tau)) ** 2 / 2
    for order, of_cosine in ((2, 1 / 2), (4, 3 / 8)):
        mean = (xi**order * average).sum((1, 2)) * of_cosine
        got = np.exp(-tau) + odd * mean[0] + even * mean[1]
        assert got == pytest.approx(law.moment(order, tau), abs=1e-6)


@pytest.mark.parametrize("tau", [0.3, 4.0])
def test_the_two_plain_samplers_have_the_variance_of_the_law(tau):
    for sampler in (events.simulate, events.plain_sampler):
        x = sampler(2.0, 3.0, tau / 2, 200_000, 7)
        want = float(law.variance(tau / 2, 2.0, 3.0))
        assert np.mean(x**2) == pytest.approx(want, rel=0.02)
        assert abs(np.mean(x)) < 5 * np.sqrt(want / x.size)

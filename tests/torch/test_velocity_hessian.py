"""Second derivatives of the velocity against 40 digits, over the whole range of parameters."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import torch

from kacflow.ops._velocity_hessian import bessel_ratio

HESSIAN = torch.ops.kacflow._velocity_hessian
#: As in the module's docstring.
LIMITS = {torch.float64: 1e-12, torch.float32: 5e-5}


def velocity(x, t, a, c):
    tau = a * t
    z = mp.sqrt((tau - a * x / c) * (tau + a * x / c))
    return a * x / (tau + z * mp.besseli(0, z) / mp.besseli(1, z))


def points(dtype, count):
    """(x, t, a, c) with half of the points close to the edge of the cone."""
    generator = np.random.default_rng(0)
    t, a, c = (
        torch.from_numpy(10 ** generator.uniform(low, high, count)).to(dtype)
        for low, high in ((-5, 2), (-4, 5), (-3, 3))
    )
    xi = generator.uniform(-1, 1, count)
    xi[: count // 2] = 1 - 10 ** generator.uniform(
        -12 if dtype == torch.float64 else -5, 0, count // 2
    )
    x = torch.from_numpy(xi).to(dtype) * c * t
    inside = x.abs().double() < (c.double() * t.double()) * (1 - 1e-13)
    return [v[inside] for v in (x, t, a, c)]


@pytest.mark.parametrize("dtype", LIMITS)
def test_against_differences_in_many_digits(dtype):
    arguments = points(dtype, 80)
    results = torch.stack(HESSIAN(*arguments)).T.tolist()
    worst = 0.0
    with mp.workdps(60):
        for found, *point in zip(results, *(v.tolist() for v in arguments), strict=True):
            x, t, a, c = map(mp.mpf, point)
            for value, order in zip(found, ((2, 0), (1, 1), (0, 2)), strict=True):
                exact = mp.diff(lambda x, t: velocity(x, t, a, c), (x, t), order)  # noqa: B023
                worst = max(worst, float(abs(value - exact) / abs(exact)))
    assert worst < LIMITS[dtype]


def test_the_two_forms_meet():
    """q, rho and sigma on both sides of the switch, and at 0, against the Bessel functions."""
    for dtype, limit, switch in ((torch.float64, 1e-12, 20.0), (torch.float32, 5e-5, 10.0)):
        z = torch.cat([torch.linspace(switch - 2, switch + 2, 41), torch.logspace(-3, 4, 60)])
        z = z.to(dtype)
        with mp.workdps(60):
            for number, *found in zip(
                z.tolist(), *(v.tolist() for v in bessel_ratio(z)), strict=True
            ):
                w = mp.mpf(number)
                q = w * mp.besseli(0, w) / mp.besseli(1, w)
                rho = 1 + q * (2 - q) / w**2
                for value, exact in zip(found, (q, rho, 2 * (1 - rho * q) / w**2), strict=True):
                    assert abs(value - exact) < limit * abs(exact)
        at_zero = [float(v) for v in bessel_ratio(torch.zeros((), dtype=dtype))]
        assert at_zero == pytest.approx([2.0, 0.5, -1 / 12], rel=1e-6)


def test_atoms_and_not_a_number():
    x = torch.tensor([-2.0, -1.5, 1.5, 4.0, float("nan"), 0.0])
    for second in HESSIAN(x, *map(torch.tensor, (0.5, 9.0, 3.0))):
        assert torch.equal(second[:4], torch.zeros(4)) and second[4].isnan()
        assert second[5].isfinite()
    origin = HESSIAN(torch.zeros(1), torch.zeros(1), torch.ones(1), torch.ones(1))
    assert all(torch.equal(second, torch.zeros(1)) for second in origin)


def test_sixteen_bit_positions_compute_in_float32():
    x = torch.tensor([0.25, 0.5], dtype=torch.bfloat16)
    rest = [torch.tensor(v) for v in (0.5, 9.0, 3.0)]
    for low, high in zip(HESSIAN(x, *rest), HESSIAN(x.float(), *rest), strict=True):
        assert low.dtype == torch.float32 and torch.equal(low, high)

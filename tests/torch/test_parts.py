"""A batch that is drawn in parts has the noise of the whole; normal numbers by counter."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from kacflow import GaussianPath, KacPath, KacProcess
from kacflow._normal import normal

stats = pytest.importorskip("scipy.stats")

PATHS = {
    "kac": KacPath(KacProcess(9.0, 3.0)),
    "per channel": KacPath(KacProcess(torch.tensor([[4.0, 9.0]]), 3.0)),
    "diffusion": GaussianPath("diffusion"),
    "flow_matching": GaussianPath("flow_matching"),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("grad", [False, True], ids=["direct", "dispatcher"])
def test_parts_of_a_batch(path, grad):
    x_0 = torch.randn(11, 2, 5, generator=seeded(0)).requires_grad_(grad)
    t = torch.rand(11, generator=seeded(1))
    whole = path.sample(x_0, t, generator=seeded(2))
    for first, last in ((0, 4), (4, 11)):
        part = path.sample(x_0[first:last], t[first:last], generator=seeded(2), first=first)
        assert torch.equal(part.x_t, whole.x_t[first:last])
        assert torch.equal(part.dx_t, whole.dx_t[first:last])
    shifted = path.sample(x_0, t, generator=seeded(2), first=1)
    assert not torch.equal(shifted.x_t, whole.x_t)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_parts_of_the_prior(path):
    whole = path.sample_prior((11, 2, 5), generator=seeded(2))
    part = path.sample_prior((4, 2, 5), generator=seeded(2), first=7)
    assert torch.equal(part, whole[7:])


@pytest.mark.parametrize(
    ("offset", "error", "message"),
    [
        (-1, ValueError, "first: got -1; allowed: an int >= 0"),
        (1.0, TypeError, "first: got float"),
        (True, TypeError, "first: got bool"),
    ],
)
def test_bad_offset(offset, error, message):
    for path in PATHS.values():
        with pytest.raises(error, match=message):
            path.sample(torch.zeros(3, 2), 0.5, first=offset)
        with pytest.raises(error, match=message):
            path.sample_prior((3, 2), first=offset)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers(dtype):
    x = normal((400_000,), dtype=dtype, generator=seeded(3)).double()
    assert stats.kstest(x.numpy(), "norm").pvalue > 1e-3
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        deviation = (x.pow(power).mean().item() - mean) / math.sqrt(variance / x.numel())
        assert abs(deviation) < 4, power
    lag = (x[1:] * x[:-1]).mean() * math.sqrt(x.numel())
    assert abs(lag) < 4
    # the tests do find a law that is as near as Student's with 30 degrees of freedom
    student = torch.distributions.StudentT(30.0)
    torch.manual_seed(0)
    assert stats.kstest(student.sample((400_000,)).numpy(), "norm").pvalue < 1e-3


def test_limit_of_the_sampler_is_box_muller():
    """The radius sqrt(tau (1 - S^2)) against sqrt(-2 ln u), in 40 digits."""
    with mpmath.workdps(40):
        tau = mpmath.mpf(2) ** 48
        for u in (2.0**-54, 1e-6, 0.1, 0.5, 0.9, 1 - 2.0**-53):
            u = mpmath.mpf(u)
            s = mpmath.asinh(u * mpmath.sinh(tau)) / tau
            radius = mpmath.sqrt(tau * (1 - s) * (1 + s))
            assert abs(radius - mpmath.sqrt(-2 * mpmath.log(u))) < 1e-12

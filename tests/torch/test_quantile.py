"""The uniform and the quantile process, against formulas and numerical inverses and derivatives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kacflow import (
    EmpiricalField,
    KacPath,
    KacProcess,
    Path,
    QuantileProcess,
    StraightProcess,
    UniformProcess,
)
from kacflow.quantile import _Knots as Knots

optimize = pytest.importorskip("scipy.optimize")
stats = pytest.importorskip("scipy.stats")

DOUBLE = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(process: QuantileProcess, by: float = 0.5) -> QuantileProcess:
    """Parameters off those of the start."""
    with torch.no_grad():
        for value in process.parameters():
            value += by * torch.randn(value.shape, generator=seeded(), dtype=DOUBLE)
    return process


# The uniform process


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("b", [0.01, 1.0, 30.0])
def test_uniform_process_by_its_formula(dtype, b):
    """In float64, for t from 1e-20 b to 700 b."""
    process = UniformProcess(b)
    t = b * torch.logspace(-20, math.log10(700.0), 40, dtype=DOUBLE)
    x, v = process.pair(t.to(dtype), (40, 500), generator=seeded(), dtype=dtype)
    z = process.base_sample((40, 500), generator=seeded(), dtype=dtype).double()
    t = t.to(dtype).double()[:, None]
    tolerance = {"rtol": 1e-5 if dtype == torch.float32 else 1e-13, "atol": 1e-37}
    torch.testing.assert_close(x.double(), z * b * -torch.expm1(-t / b), **tolerance)
    torch.testing.assert_close(v.double(), z * torch.exp(-t / b), **tolerance)
    again = process.velocity(x, t.to(dtype))
    torch.testing.assert_close(again.double(), v.double(), rtol=1e-5, atol=1e-30)
    assert float(v.abs().max()) <= 1.0 and bool(again.isfinite().all())


def test_uniform_process_is_uniform():
    process = UniformProcess(0.5)
    edge = 0.5 * -math.expm1(-0.6)
    x = process.sample(0.3, (100_000,), generator=seeded(), dtype=DOUBLE)
    assert stats.kstest(x.numpy(), "uniform", (-edge, 2 * edge)).pvalue > 1e-3
    at = torch.tensor([-1.01 * edge, -edge, 0.0, 0.5 * edge, 1.01 * edge], dtype=DOUBLE)
    inside = -math.log(2 * edge)
    want = torch.tensor([-math.inf, inside, inside, inside, -math.inf], dtype=DOUBLE)
    torch.testing.assert_close(process.log_prob(at, 0.3), want)
    want = torch.tensor([0.0, 0.0, 0.5, 0.75, 1.0], dtype=DOUBLE)
    torch.testing.assert_close(process.cdf(at, 0.3), want)
    assert process.velocity(torch.zeros(2, dtype=torch.bfloat16), 0.0).tolist() == [0.0, 0.0]


# The spline


def evaluate(at: Knots, x: Tensor) -> tuple[Tensor, Tensor]:
    """y and y' at x, (C, N)."""
    y, slope = torch.ops.kacflow._spline(x[None], *at)
    return y[0], slope[0]


def invert(at: Knots, y: Tensor) -> Tensor:
    return torch.ops.kacflow._spline_inverse(y[None], *at)[0]


def knots(seed: int = 0, C: int = 3, K: int = 6) -> Knots:
    width, height, slope = torch.rand(3, C, K + 1, dtype=DOUBLE, generator=seeded(seed)) + 0.05
    return Knots(width.cumsum(1) - 2.0, height.cumsum(1) - 1.0, 3.0 * slope)


def test_spline_against_a_numerical_inverse_and_derivative():
    at = knots()
    x = torch.linspace(-4, 6, 41, dtype=DOUBLE).expand(3, -1)
    y, slope = evaluate(at, x)
    assert bool((y.diff(dim=1) > 0).all())
    for c in range(3):
        here = Knots(*(v[c : c + 1] for v in at))

        def value(z: float, here: Knots = here) -> float:
            return float(evaluate(here, torch.tensor([[z]], dtype=DOUBLE))[0])

        for k in range(0, 41, 4):
            goal = float(y[c, k])
            root = optimize.brentq(lambda z, goal=goal: value(z) - goal, -30, 30, xtol=1e-14)
            assert root == pytest.approx(float(x[c, k]), abs=1e-10)
            numerical = (value(float(x[c, k]) + 1e-6) - value(float(x[c, k]) - 1e-6)) / 2e-6
            assert float(slope[c, k]) == pytest.approx(numerical, rel=1e-6, abs=1e-8)
    torch.testing.assert_close(invert(at, y), x, rtol=1e-12, atol=1e-12)


def test_spline_goes_through_its_knots_with_their_slopes_and_on_as_a_line():
    at = knots()
    y, slope = evaluate(at, at.x)
    torch.testing.assert_close((y, slope), (at.y, at.slope))
    torch.testing.assert_close(invert(at, at.y), at.x)
    far = torch.stack((at.x[:, 0] - 7.0, at.x[:, -1] + 9.0), 1)
    want = torch.stack((at.y[:, 0] - 7.0 * at.slope[:, 0], at.y[:, -1] + 9.0 * at.slope[:, -1]), 1)
    torch.testing.assert_close(evaluate(at, far)[0], want)
    torch.testing.assert_close(invert(at, want), far)


def test_spline_is_that_of_equal_slopes_a_line():
    line = torch.linspace(-2, 2, 7, dtype=DOUBLE)[None]
    at = Knots(line, 3.0 * line + 1.0, torch.full_like(line, 3.0))
    x = torch.linspace(-5, 5, 33, dtype=DOUBLE)[None]
    torch.testing.assert_close(evaluate(at, x), (3.0 * x + 1.0, torch.full_like(x, 3.0)))


@pytest.mark.parametrize("seed", range(5))
def test_inverse_in_float32(seed):
    """A point is met to rounding, also where slopes differ by many orders of magnitude."""
    x, y, slope = knots(seed)
    slope = torch.exp(4.0 * torch.randn(slope.shape, generator=seeded(seed), dtype=DOUBLE))
    at = Knots(x.float(), y.float(), slope.float())
    points = torch.rand((3, 1000), generator=seeded(seed + 1)) * (y[:, -1:] - y[:, :1]) + y[:, :1]
    back, steep = evaluate(at, invert(at, points.float()))
    error = (back - points).abs() / (y.abs().max() + steep * x.abs().max())
    assert float(error.max()) < 1e-6


# The quantile process


TAILS = {"linear": {}, "none": {"tails": "none", "bound": 3.0}}
STARTS = {
    "Gaussian": (None, lambda q: stats.norm.ppf(q)),
    "Kac": (KacProcess(9.0, 3.0), lambda q: KacProcess(9.0, 3.0).icdf(q, 1.0).numpy()),
    "uniform": (UniformProcess(2.0), lambda q: (2 * q - 1) * 2.0 * -math.expm1(-0.5)),
}


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("name", STARTS)
def test_start(name, tails):
    """Quantiles are those of the start, within what 32 bins can hold."""
    start, quantile = STARTS[name]
    process = QuantileProcess(start=start, **TAILS[tails]).double()
    q = torch.linspace(0.001, 0.999, 999, dtype=DOUBLE)
    inner = q if tails == "linear" else stats.norm.cdf(-3.0) + q * (1 - 2 * stats.norm.cdf(-3.0))
    got = process.icdf(q, 1.0).detach().numpy()
    np.testing.assert_allclose(got, np.asarray(quantile(inner)), rtol=0, atol=6e-3)


def test_gaussian_start_is_exact():
    """With linear tails: the same numbers as the straight line's, and its law beyond the knots."""
    process, line = QuantileProcess(bound=2.0), StraightProcess()
    x = process.sample(0.5, (10_000,), generator=seeded())
    torch.testing.assert_close(x, line.sample(0.5, (10_000,), generator=seeded()))
    at = torch.linspace(-4, 4, 41)
    torch.testing.assert_close(
        process.log_prob(at, 0.5), line.log_prob(at, 0.5), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(process.cdf(at, 0.5), line.cdf(at, 0.5), rtol=1e-4, atol=1e-7)


def test_start_at_another_time():
    kac = KacProcess(9.0, 3.0)
    process = QuantileProcess(start=kac, at=2.0).double()
    q = torch.linspace(0.01, 0.99, 99, dtype=DOUBLE)
    torch.testing.assert_close(
        process.icdf(q, 2.0).detach(), kac.icdf(q, 2.0), rtol=1e-3, atol=1e-3
    )


def test_atoms_of_a_start_become_short_intervals():
    """Kac noise with an atom of mass e^-2/2 at each end."""
    process = QuantileProcess(bins=64, start=KacProcess(2.0, 1.0))
    x = process.sample(1.0, (100_000,), generator=seeded()).detach()
    share = (x.abs() > 0.99).float().mean()
    assert float(share) == pytest.approx(math.exp(-2.0), rel=0.05)
    assert bool(process.log_prob(x, 1.0).isfinite().all())


@pytest.mark.parametrize("tails", TAILS)
def test_density_integrates_to_the_distribution_function(tails):
    process = moved(QuantileProcess((2,), bins=7, **TAILS[tails])).double()
    x = torch.linspace(-40, 40, 400_001, dtype=DOUBLE)[:, None].expand(-1, 2)
    with torch.no_grad():
        density, cdf = process.log_prob(x, 0.7).exp(), process.cdf(x, 0.7)
    found = torch.cumulative_trapezoid(density, x, dim=0)
    torch.testing.assert_close(found, cdf[1:] - cdf[0], rtol=0, atol=2e-3)
    assert float(cdf[-1].min()) == pytest.approx(1.0) and float(cdf[0].max()) == pytest.approx(0.0)


def test_entropy_is_the_mean_of_the_logarithm_of_the_slope():
    """Of N(0, 1): ln(2 pi e)/2; of the uniform law on an interval of length l: ln l."""
    for process, entropy in (
        (QuantileProcess(), 0.5 * math.log(2 * math.pi * math.e)),
        (QuantileProcess(tails="none", start=UniformProcess(2.0)), math.log(4 * -math.expm1(-0.5))),
    ):
        value, log_slope = process.base_pair((400_000,), generator=seeded())
        assert float(log_slope.detach().mean()) == pytest.approx(entropy, abs=5e-3)
        minus = -process.base_log_prob(value.detach())
        torch.testing.assert_close(log_slope, minus, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("bins", [2, 32])
@pytest.mark.parametrize("bound", [0.5, 5.0])
def test_variance_is_that_of_the_quantiles(tails, bins, bound):
    """Against the sum over a fine grid of normal numbers; the ends of a bin may be steep."""
    process = moved(QuantileProcess((3,), bins=bins, bound=bound, tails=tails))
    z = torch.linspace(-11.0, 11.0, 400_001, dtype=DOUBLE)
    share = torch.exp(-0.5 * z.square())[:, None]
    x = process.icdf(torch.special.ndtr(z)[:, None].expand(-1, 3), 2.0).detach()
    x = torch.where(x.isfinite(), x, 0.0)  # where ndtr is 0 or 1
    mean = (share * x).sum(0) / share.sum()
    want = (share * (x - mean).square()).sum(0) / share.sum()
    torch.testing.assert_close(process.variance(2.0).detach(), want, rtol=1e-6, atol=0.0)
    assert process.variance(torch.tensor(2.0)).dtype == torch.float32
    process.variance(2.0).sum().backward()
    assert all(value.grad.isfinite().all() for value in process.parameters())


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("method", ["sample", "pair", "log_prob", "cdf", "icdf"])
def test_derivatives(method, tails):
    process = moved(QuantileProcess((2,), bins=3, **TAILS[tails]), 0.3).double()
    x = torch.tensor([[0.15, -0.2], [0.4, 0.33]], dtype=DOUBLE, requires_grad=True)
    t = torch.tensor([0.7, 0.9], dtype=DOUBLE, requires_grad=True)

    class Called(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = process

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            if method in ("sample", "pair"):
                drawn = getattr(self.noise, method)(t, (2, 2), generator=seeded(), dtype=DOUBLE)
                return torch.stack(drawn) if method == "pair" else drawn
            return getattr(self.noise, method)(x.sigmoid() if method == "icdf" else x, t[:, None])

    module = Called()
    names = [name for name, _ in module.named_parameters()]

    def call(x: Tensor, t: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x, t))

    values = tuple(process.parameters())
    assert torch.autograd.gradcheck(call, (x, t, *values))
    if method == "log_prob":
        assert torch.autograd.gradgradcheck(call, (x, t, *values))


def test_velocity_has_gradients_through_its_point():
    process = QuantileProcess(bins=4)
    x = process.sample(0.5, (100,), generator=seeded())
    process.velocity(x, 0.5).square().mean().backward()
    assert all(float(value.grad.abs().sum()) > 0 for value in process.parameters())


def test_likelihood_learns_a_law():
    """Of Student's t with four degrees of freedom, which no start has."""
    data = torch.from_numpy(stats.t.rvs(4, size=4000, random_state=0)).float()
    process = QuantileProcess(bins=16, bound=4.0)
    optimizer = torch.optim.Adam(process.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        loss = -process.log_prob(data, 1.0).mean()
        loss.backward()
        optimizer.step()
    assert stats.kstest(process.cdf(data, 1.0).detach().numpy(), "uniform").statistic < 0.015
    assert stats.kstest(stats.norm.cdf(data.numpy()), "uniform").statistic > 0.03


@pytest.mark.parametrize("shape", [(), (3,), (3, 1), (2, 1, 4), (2, 3, 4)])
def test_components_have_their_own_function(shape):
    """Each component of a sample is that of a process of one spline with its parameters."""
    whole = moved(QuantileProcess(shape, bins=5))
    extents = (4, 2, 3, 4)[: 1 + max(len(shape), 1)] if len(shape) != 2 else (4, 3, 2)
    extents = (4, 3) if shape in ((), (3,)) else extents
    x = whole.sample(0.5, extents, generator=seeded()).detach()
    n = QuantileProcess().base_sample(extents, generator=seeded()).detach()  # the normal numbers
    index = torch.arange(max(1, math.prod(shape))).reshape(shape).expand(extents[1:])
    for at in itertools.product(*map(range, extents[1:])):
        one = QuantileProcess(bins=5)
        flat = int(index[at])
        with torch.no_grad():
            for name, value in one.named_parameters():
                own = getattr(whole, name)
                value.copy_(own.reshape(-1, *value.shape)[flat])
        here = (slice(None), *at)
        rows, back = one._rows(n[here])
        want = 0.5 * back(torch.ops.kacflow._spline(rows, *one._knots(torch.float32))[0])
        torch.testing.assert_close(x[here], want.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            whole.log_prob(x, 0.5)[here].detach(), one.log_prob(x[here], 0.5).detach(),
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip


def test_quantiles_at_the_ends():
    q = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    assert QuantileProcess().icdf(q, 0.5).tolist() == [-math.inf, math.inf]
    ends = QuantileProcess(tails="none", start=UniformProcess(2.0)).icdf(q, 0.5).detach()
    torch.testing.assert_close(
        ends, torch.tensor([-1.0, 1.0]).double() * -math.expm1(-0.5), rtol=1e-6, atol=0
    )
    with pytest.raises(ValueError, match="q: got"):
        QuantileProcess().icdf(torch.tensor([1.5]), 0.5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shape": (2, 0)}, ValueError, r"shape: got \(2, 0\)"),
        ({"bins": 1}, ValueError, r"bins: got 1; allowed: an int in \[2, 512\]"),
        ({"bins": 2.0}, TypeError, "bins: got float"),
        ({"bound": 0.0}, ValueError, "bound: got 0.0"),
        ({"bound": 9.0}, ValueError, r"bound: got 9.0; allowed: a float in \[0.1, 8\]"),
        ({"tails": "cubic"}, ValueError, "tails: got 'cubic'; allowed: linear, none"),
        ({"start": "gaussian"}, TypeError, "start: got str"),
        ({"at": -1.0}, ValueError, "at: got -1.0"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        QuantileProcess(**options)


def test_shapes_that_do_not_fit():
    process = QuantileProcess((3,))
    with pytest.raises(ValueError, match=r"shape: got \(5, 2\); allowed: one whose last axes"):
        process.sample(0.5, (5, 2))
    with pytest.raises(ValueError, match=r"x: got shape \(5, 2\); allowed: one that broadcasts"):
        process.log_prob(torch.zeros(5, 2), 0.5)


# Kac noise by the general path


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_kac_noise_on_a_general_path(dtype):
    """``Path`` and ``KacPath`` draw the same numbers, and so do their gradients in a and c."""
    x_0 = torch.randn(500, 3, generator=seeded(1), dtype=dtype)
    t = torch.rand(500, generator=seeded(2), dtype=dtype)
    found = []
    for make in (Path, KacPath):
        a = torch.tensor([[4.0, 9.0, 2.0]], dtype=dtype, requires_grad=True)
        c = torch.tensor(2.0, dtype=dtype, requires_grad=True)
        path = make(KacProcess(a, c), 1.0, "cosine", "square")
        _, _, x_t, dx_t = path.sample(x_0, t, generator=seeded(3))
        (x_t * dx_t).mean().backward()
        found.append((x_t.detach(), dx_t.detach(), a.grad, c.grad))
    tolerance = {"rtol": 1e-4, "atol": 2e-6} if dtype == torch.float32 else {}
    torch.testing.assert_close(*found, **tolerance)
    assert all(bool(grad.abs().min() > 0) for grad in found[0][2:])


def test_kac_noise_learns_its_rate():
    """From draws at t = 1 of a = 4, by the gradient of log_prob."""
    x = KacProcess(4.0, 2.0).sample(1.0, (4000,), generator=seeded(), dtype=DOUBLE)
    a = torch.tensor(9.0, dtype=DOUBLE, requires_grad=True)
    optimizer = torch.optim.Adam([a], lr=0.2)
    inside = x[x.abs() < 2.0]
    for _ in range(60):
        process = KacProcess(a, 2.0)
        mass = torch.log1p(-process.atom_mass(1.0))  # of the continuous part
        optimizer.zero_grad()
        (mass - process.log_prob(inside, 1.0)).mean().backward()
        optimizer.step()
    assert a.item() == pytest.approx(4.0, rel=0.1)


def test_empirical_field_of_two_points():
    """Weights by Bayes' rule with the density of the spline."""
    process = moved(QuantileProcess((2,), bins=4)).double()
    path = Path(process, 1.0)
    points = torch.tensor([[0.3, -0.2], [-0.5, 0.4]], dtype=DOUBLE)
    x, t = torch.tensor([[0.1, 0.1]], dtype=DOUBLE), 0.6
    with torch.no_grad():
        logs = torch.stack([process.log_prob(x - 0.4 * p, t).sum() for p in points])
        velocities = torch.stack([(x - 0.4 * p) / t - p for p in points])
        want = (logs.softmax(0)[:, None, None] * velocities).sum(0)
        torch.testing.assert_close(EmpiricalField(points, path)(x, t), want)

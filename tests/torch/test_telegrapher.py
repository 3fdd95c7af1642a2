"""The telegrapher's equation: residuals, fronts, limits; one method against the other."""

from __future__ import annotations

import math
from statistics import NormalDist

import mpmath as mp
import numpy as np
import pytest
import torch

from kacflow import telegrapher
from kacflow.telegrapher import Estimate, Solution, solve

DOUBLE = torch.float64


def grid(n, period=1.0):
    return torch.arange(n, dtype=DOUBLE) * (period / n)


def bump(x, width):
    """Smooth, 1 at 0, and 0 from |x| = width on."""
    s = (x / width).square()
    return torch.where(s < 1, torch.exp(1 - 1 / (1 - s).clamp(min=1e-300)), 0.0)


def characteristic(k, t, a, c):
    with mp.workdps(40):
        tau = mp.mpf(a) * t
        m = mp.sqrt(mp.mpc(tau**2 - (mp.mpf(c) * k * t) ** 2))
        return float(mp.re(mp.exp(-tau) * (mp.cosh(m) + (tau * mp.sinh(m) / m if m else tau))))


def limit(count):
    """Largest |z| out of ``count`` that chance exceeds in one run of 10^4."""
    return NormalDist().inv_cdf(1 - 1e-4 / (2 * count))


@pytest.mark.parametrize(("a", "c"), [(0.5, 1.0), (6.0, 1.0), (30.0, 2.0)])
@pytest.mark.parametrize("n", [64, 65])
def test_residual(n, a, c):
    """u_tt + 2 a u_t = c^2 u_xx with u_tt by differences of u, and of u_t."""
    f0 = torch.exp(torch.sin(2 * math.pi * grid(n)))
    h, t = 1e-3, 0.31
    times = t + h * torch.arange(-2, 3, dtype=DOUBLE)
    u, u_t = solve(f0, times, a=a, c=c, period=1.0, time_derivative=True)
    second = torch.tensor([-1, 16, -30, 16, -1], dtype=DOUBLE) / (12 * h * h)
    first = torch.tensor([1, -8, 0, 8, -1], dtype=DOUBLE) / (12 * h)
    waves = 2 * math.pi * torch.fft.fftfreq(n, 1 / n, dtype=DOUBLE)
    u_xx = torch.fft.ifft(-waves.square() * torch.fft.fft(u[2])).real
    scale = c * c * u_xx.abs().max()
    assert (first @ u - u_t[2]).abs().max() < 1e-7 * scale
    assert (second @ u + 2 * a * u_t[2] - c * c * u_xx).abs().max() < 1e-7 * scale
    assert (first @ u_t + 2 * a * u_t[2] - c * c * u_xx).abs().max() < 1e-7 * scale
    wrong = first @ u_t + 1.98 * a * u_t[2] - c * c * u_xx
    assert wrong.abs().max() > 1e-4 * scale


def test_nothing_leaves_the_light_cone():
    n, width, c = 8192, 0.15, 1.3
    x = grid(n, 4.0) - 2.0
    f0 = bump(x, width)
    times = torch.tensor([0.2, 0.6, 1.0], dtype=DOUBLE)
    for t, u in zip(times, solve(f0, times, a=3.0, c=c, period=4.0), strict=True):
        reach = width + c * t
        assert u[x.abs() >= reach].abs().max() < 1e-13
        assert u[x.abs() > reach - 0.5 * width].max() > 1e-3


def test_fronts_move_at_speed_c():
    """The half-height points of the outermost pulses, which keep the share e^(-a t)."""
    n, width, a, c = 4096, 0.05, 0.05, 1.5
    x = grid(n, 8.0) - 4.0
    times = torch.tensor([0.5, 1.0, 2.0], dtype=DOUBLE)
    positions = []
    for t, u in zip(times, solve(bump(x, width), times, a=a, c=c, period=8.0), strict=True):
        assert u.max() == pytest.approx(0.5 * math.exp(-a * t), rel=1e-2)
        half = u.max() / 2
        last = int(torch.nonzero(u > half).max())
        share = (u[last] - half) / (u[last] - u[last + 1])
        positions.append(float(x[last] + share * (x[last + 1] - x[last])))
    for i in (0, 1):
        speed = (positions[i + 1] - positions[i]) / float(times[i + 1] - times[i])
        assert speed == pytest.approx(c, rel=1e-4)


def test_limit_is_the_heat_equation():
    """a = c^2/sigma^2, c -> infinity: the distance falls as c^-2."""
    sigma, t, n = 0.7, 0.2, 64
    f0 = torch.exp(torch.cos(2 * math.pi * grid(n)))
    waves = 2 * math.pi * torch.fft.rfftfreq(n, 1 / n, dtype=DOUBLE)
    decay = torch.exp(-0.5 * (sigma * waves).square() * t)
    heat = torch.fft.irfft(decay * torch.fft.rfft(f0), n)

    def distance(c):
        u = solve(f0, t, a=c * c / sigma**2, c=c, period=1.0)
        return float((u - heat).abs().max())

    for c in (20.0, 40.0, 80.0):
        assert math.log2(distance(c) / distance(2 * c)) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("shape", [(12,), (9, 8), (5, 6, 7)])
def test_single_modes(shape):
    """cos(k x + p) is multiplied by the product of the characteristic functions of the axes."""
    axes = len(shape)
    a, c = [1.5, 4.0, 0.2][:axes], [1.0, 0.5, 2.0][:axes]
    period = [1.0, 2.0, 1.5][:axes]
    waves = [2 * math.pi * (j + 1) / length for j, length in enumerate(period)]
    waves[-1] = -2 * math.pi / period[-1]
    points = torch.meshgrid(*map(grid, shape, period), indexing="ij")
    phase = sum(k * x for k, x in zip(waves, points, strict=True)) + 0.4
    f0 = torch.cos(phase)
    times = torch.tensor([0.0, 0.3, 7.0], dtype=DOUBLE)
    solution = solve(f0, times, a=a, c=c, period=period, time_derivative=True)
    assert isinstance(solution, Solution)
    for t, u, u_t in zip(times.tolist(), *solution, strict=True):

        def amplitude(t):
            return math.prod(map(characteristic, waves, [t] * axes, a, c))

        torch.testing.assert_close(u, amplitude(t) * f0, rtol=0, atol=1e-13)
        if t:
            slope = (amplitude(t + 1e-5) - amplitude(t - 1e-5)) / 2e-5
            torch.testing.assert_close(u_t, slope * f0, rtol=0, atol=1e-7)
        else:
            torch.testing.assert_close(u_t, torch.zeros_like(u_t), rtol=0, atol=1e-13)
        one = solve(f0, t, a=torch.tensor(a), c=torch.tensor(c), period=period)
        assert one.shape == f0.shape
        torch.testing.assert_close(one, u, rtol=0, atol=1e-6)  # a and c in float32


@pytest.mark.parametrize(
    "shape", [(1,), (2,), (3,), (32,), (33,), (8, 9), (9, 8), (1, 5), (4, 5, 6)]
)
def test_start_mass_and_products(shape):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(n, dtype=DOUBLE, generator=generator) for n in shape]
    f0 = rows[0]
    for row in rows[1:]:
        f0 = f0[..., None] * row
    options = {"a": 2.0, "c": 0.7, "period": 1.0}
    torch.testing.assert_close(solve(f0, 0.0, **options), f0, rtol=0, atol=1e-14)
    u = solve(f0, 0.4, **options)
    torch.testing.assert_close(u.mean(), f0.mean(), rtol=0, atol=1e-14)
    product = solve(rows[0], 0.4, **options)
    for row in rows[1:]:
        product = product[..., None] * solve(row, 0.4, **options)
    torch.testing.assert_close(u, product, rtol=0, atol=1e-13)
    late = solve(f0, 1e4, **options)
    torch.testing.assert_close(late, f0.mean().expand(shape), rtol=0, atol=1e-13)


def test_components_are_independent_not_isotropic():
    """In two dimensions a wave along an axis and one across differ at equal wavelength."""
    n = 16
    x, y = torch.meshgrid(grid(n), grid(n), indexing="ij")
    along = torch.cos(2 * math.pi * 5 * x)
    across = torch.cos(2 * math.pi * (3 * x + 4 * y))
    u, v = (solve(f, 0.02, a=1.0, c=1.0, period=1.0) for f in (along, across))
    k = 2 * math.pi
    assert u[0, 0] == pytest.approx(characteristic(5 * k, 0.02, 1, 1), abs=1e-13)
    product = characteristic(3 * k, 0.02, 1, 1) * characteristic(4 * k, 0.02, 1, 1)
    assert v[0, 0] == pytest.approx(product, abs=1e-13)
    assert abs(u[0, 0] - v[0, 0]) > 1e-3


def trigonometric(points):
    """A function of period 1 on every axis; the last axis of the points is space."""
    waves = 2 * math.pi * points
    total = torch.sin(waves[..., 0] + 0.3)
    for axis in range(1, points.shape[-1]):
        total = (0.6 + total) * torch.cos(waves[..., axis] - 0.5 * axis)
    return total


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_methods_agree(axes, antithetic):
    n = {1: 32, 2: 8, 3: 4}[axes]
    rates, speeds = torch.tensor([2.0, 5.0, 1.0])[:axes], torch.tensor([0.5, 1.0, 0.3])[:axes]
    points = torch.stack(torch.meshgrid(*[grid(n)] * axes, indexing="ij"), -1)
    times = torch.tensor([0.1, 0.7], dtype=DOUBLE)
    exact = solve(trigonometric(points), times, a=rates, c=speeds, period=1.0).flatten(1)

    def z_scores(factor):
        estimate = solve(
            trigonometric, times, a=factor * rates, c=speeds, method="monte_carlo",
            x=points.reshape(-1, axes), samples=4000, antithetic=antithetic,
            generator=torch.Generator().manual_seed(axes),
        )  # fmt: skip
        assert isinstance(estimate, Estimate) and estimate.value.shape == exact.shape
        return ((estimate.value - exact) / estimate.standard_error).abs().max()

    assert z_scores(1.0) < limit(exact.numel()) < z_scores(1.5)


def test_points_on_a_line():
    """Without an axis of space, and at one time."""
    x = grid(16)
    exact = solve(torch.cos(2 * math.pi * x), 0.4, a=3.0, c=1.0, period=1.0)
    estimate = solve(
        lambda x: torch.cos(2 * math.pi * x), 0.4, a=3.0, c=1.0, method="monte_carlo", x=x,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert estimate.value.shape == estimate.standard_error.shape == (16,)
    assert ((estimate.value - exact) / estimate.standard_error).abs().max() < limit(16)


@pytest.mark.parametrize("antithetic", [False, True])
def test_standard_error_is_that_of_repeated_runs(antithetic):
    """Every one of 400 points is a run of its own; the antithetic error is less, and honest."""
    x = torch.full((400,), 0.1, dtype=DOUBLE)
    estimate = solve(
        torch.sin, 0.5, a=2.0, c=1.0, method="monte_carlo", x=x, samples=200,
        antithetic=antithetic, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    typical = estimate.standard_error.square().mean().sqrt()
    assert estimate.value.std() / typical == pytest.approx(1.0, abs=5 / math.sqrt(2 * 400))
    assert (typical < 3e-3) == antithetic


@pytest.mark.parametrize("chunk", [1, 7, 30, 1000])
def test_chunks_are_joined_exactly(chunk):
    values = 100 + torch.randn(61, 5, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    rest = iter(values.split(chunk))
    mean, error = telegrapher._mean(lambda count: next(rest)[:count], 61, chunk)
    torch.testing.assert_close(mean, values.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(error, values.std(0) / math.sqrt(61), rtol=1e-10, atol=0)


def test_chunks_bound_memory(monkeypatch):
    monkeypatch.setattr(telegrapher, "_CHUNK", 1000)
    sizes = []

    def counted(points):
        sizes.append(points.numel())
        return torch.cos(points.sum(-1))

    x = torch.zeros(6, 2, dtype=DOUBLE)
    generator = torch.Generator().manual_seed(0)
    value, error = solve(
        counted, 0.5, a=2.0, c=1.0, method="monte_carlo", x=x, samples=5000, generator=generator
    )
    assert max(sizes) <= 1000 and sum(sizes) == 5000 * x.numel()
    expected = characteristic(1.0, 0.5, 2.0, 1.0) ** 2
    assert ((value - expected) / error).abs().max() < limit(6)


def test_gradients_of_the_spectral_solution():
    f0 = torch.randn(4, 5, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))

    def both(f0):
        t = torch.tensor([0.1, 0.5], dtype=DOUBLE)
        return tuple(solve(f0, t, a=2.0, c=1.0, period=1.0, time_derivative=True))

    assert torch.autograd.gradcheck(both, f0.requires_grad_())
    rows = torch.func.vmap(lambda row: solve(row, 0.3, a=2.0, c=1.0, period=1.0))(f0.detach())
    for row, wanted in zip(rows, f0.detach(), strict=True):
        torch.testing.assert_close(row, solve(wanted, 0.3, a=2.0, c=1.0, period=1.0))


def test_gradients_of_the_estimate():
    """In a, c and t against the closed form, over 60 runs."""
    point = (0.6, 3.0, 1.2)
    leaves = [torch.tensor(v, dtype=DOUBLE, requires_grad=True) for v in point]
    t, a, c = leaves
    x = torch.zeros(1, dtype=DOUBLE)
    rows = []
    for seed in range(60):
        value, error = solve(
            torch.cos, t, a=a, c=c, method="monte_carlo", x=x, samples=1000,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        assert not error.requires_grad
        rows.append(torch.stack(torch.autograd.grad(value.sum(), leaves)))
    slopes = torch.stack(rows)
    with mp.workdps(30):
        for i in range(3):
            ahead, behind = (
                characteristic(1.0, *(v + s * 1e-5 * (j == i) for j, v in enumerate(point)))
                for s in (1, -1)
            )
            deviation = slopes[:, i].mean() - (ahead - behind) / 2e-5
            assert abs(deviation) < 5 * slopes[:, i].std() / math.sqrt(60)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_types(dtype):
    f0 = torch.exp(torch.sin(2 * math.pi * grid(24))).to(dtype)
    u = solve(f0, 0.3, a=2.0, c=1.0, period=1.0)
    assert u.dtype == dtype
    exact = solve(f0.double(), 0.3, a=2.0, c=1.0, period=1.0)
    scale = exact.abs().max() * torch.finfo(dtype).eps
    assert (u.double() - exact).abs().max() <= 4 * scale
    if dtype in (torch.float32, torch.float64):
        estimate = solve(torch.cos, 0.3, a=2.0, c=1.0, method="monte_carlo", x=f0, samples=10)
        assert estimate.value.dtype == estimate.standard_error.dtype == dtype


def test_randomness():
    def draw(**options):
        return solve(
            torch.cos, 0.3, a=2.0, c=1.0, method="monte_carlo", x=grid(4), samples=8, **options
        ).value

    torch.manual_seed(1)
    first, second = draw(), draw()
    torch.manual_seed(1)
    assert torch.equal(draw(), first) and not torch.equal(first, second)
    again = [draw(generator=torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(*again)


def test_empty():
    none = torch.zeros(0, dtype=DOUBLE)
    assert solve(grid(4), none, a=1.0, c=1.0, period=1.0).shape == (0, 4)
    options = {"a": 1.0, "c": 1.0, "method": "monte_carlo"}
    assert solve(torch.cos, none, x=grid(4), **options).value.shape == (0, 4)
    assert solve(torch.cos, 0.5, x=none, **options).standard_error.shape == (0,)


GRID = torch.zeros(8)
SPECTRAL = {"f0": GRID, "t": 0.5, "a": 1.0, "c": 1.0, "period": 1.0}
POINTS = {"f0": torch.cos, "t": 0.5, "a": 1.0, "c": 1.0, "method": "monte_carlo", "x": GRID}


@pytest.mark.parametrize(
    ("base", "changes", "error", "message"),
    [
        (SPECTRAL, {"method": "euler"}, ValueError, "method: got 'euler'; allowed: spectral"),
        (SPECTRAL, {"f0": torch.cos}, TypeError, "f0: got .*; allowed: a tensor of values"),
        (SPECTRAL, {"f0": GRID.long()}, TypeError, "f0: got dtype torch.int64"),
        (SPECTRAL, {"f0": torch.zeros(2, 2, 2, 2)}, ValueError, r"f0: got shape \(2, 2, 2, 2\)"),
        (SPECTRAL, {"f0": torch.zeros(0)}, ValueError, r"f0: got shape \(0,\)"),
        (SPECTRAL, {"f0": torch.zeros(())}, ValueError, r"f0: got shape \(\)"),
        (SPECTRAL, {"period": None}, ValueError, "period: got None"),
        (SPECTRAL, {"period": 0.0}, ValueError, "period: got 0.0"),
        (SPECTRAL, {"period": [1.0, 1.0]}, ValueError, r"period: got shape \(2,\)"),
        (SPECTRAL, {"period": "1"}, TypeError, "period: got str '1'"),
        (SPECTRAL, {"a": -1.0}, ValueError, "a: got -1.0"),
        (SPECTRAL, {"c": math.nan}, ValueError, "c: got nan"),
        (SPECTRAL, {"a": True}, TypeError, "a: got bool True"),
        (SPECTRAL, {"c": torch.ones(1).long()}, TypeError, "c: got dtype"),
        (SPECTRAL, {"c": torch.ones(1, device="meta")}, ValueError, "c: is on meta"),
        (SPECTRAL, {"a": torch.ones(1, requires_grad=True)}, ValueError, "a: requires grad"),
        (SPECTRAL, {"t": torch.ones(1, requires_grad=True)}, ValueError, "t: requires grad"),
        (SPECTRAL, {"t": -0.5}, ValueError, r"t: got -0.5; allowed: finite numbers >= 0"),
        (SPECTRAL, {"t": math.inf}, ValueError, "t: got inf"),
        (SPECTRAL, {"t": "0"}, TypeError, "t: got str '0'"),
        (SPECTRAL, {"t": torch.ones(2).long()}, TypeError, "t: got dtype torch.int64"),
        (SPECTRAL, {"t": torch.ones(2, 2)}, ValueError, r"t: got shape \(2, 2\)"),
        (SPECTRAL, {"x": GRID}, TypeError, "x: got Tensor .*; allowed: nothing, for"),
        (SPECTRAL, {"antithetic": True}, TypeError, "antithetic: got bool True; allowed: nothing"),
        (SPECTRAL, {"samples": 5}, TypeError, "samples: got int 5; allowed: nothing"),
        (POINTS, {"f0": GRID}, TypeError, "f0: got Tensor; allowed: a function"),
        (POINTS, {"period": 1.0}, TypeError, "period: got float 1.0; allowed: nothing"),
        (POINTS, {"time_derivative": True}, TypeError, "time_derivative: got bool True"),
        (POINTS, {"x": None}, TypeError, "x: got None"),
        (POINTS, {"x": GRID.half()}, TypeError, "x: got dtype torch.float16"),
        (POINTS, {"x": torch.zeros(3, 4)}, ValueError, r"x: got shape \(3, 4\)"),
        (POINTS, {"x": torch.zeros(())}, ValueError, r"x: got shape \(\)"),
        (POINTS, {"samples": 1}, ValueError, r"samples: got 1; allowed: an int in \[2"),
        (POINTS, {"samples": 2.5}, TypeError, r"samples: got float 2\.5"),
        (POINTS, {"samples": 5, "antithetic": True}, ValueError, "samples: got 5; .* even"),
        (POINTS, {"a": [1.0, 2.0]}, ValueError, r"a: got shape \(2,\)"),
        (POINTS, {"f0": lambda x: 1.0}, TypeError, r"f0: returned float 1\.0"),
        (POINTS, {"f0": lambda x: x.sum()}, ValueError, r"f0: returned Tensor of shape \(\)"),
        (POINTS, {"t": -1.0}, ValueError, "t: got -1"),
        (SPECTRAL, {"method": 3}, TypeError, "method: got int 3"),
        (SPECTRAL, {"time_derivative": 1}, TypeError, "time_derivative: got int 1"),
        (SPECTRAL, {"f0": GRID.to_sparse()}, TypeError, "f0: got layout torch.sparse_coo"),
        (SPECTRAL, {"period": [1.0, None]}, TypeError, "period: got None"),
        (SPECTRAL, {"a": [[1.0]]}, TypeError, "a: got list"),
        (SPECTRAL, {"t": 1e200}, ValueError, r"a\*t: got 1e\+200; allowed: at most 1e\+150"),
        (SPECTRAL, {"a": 1e200}, ValueError, r"a\*t: got 5e\+199"),
        (SPECTRAL, {"c": 1e200}, ValueError, r"c\*k: got .*e\+201, with k = pi n/period"),
        (SPECTRAL, {"period": 1e-200}, ValueError, r"c\*k: got .*e\+201"),
        (SPECTRAL, {"period": 5e-324}, ValueError, r"c\*k: got inf"),
        (
            {**SPECTRAL, "time_derivative": True},  # in float32
            {"c": 1e38},
            ValueError,
            r"c\*k: got .* at most 8\.5\d*e\+37",
        ),
        (
            {**SPECTRAL, "f0": GRID.double()},
            {"c": 1e100, "t": 1e60, "a": 1e-60},
            ValueError,
            r"c\*k\*t: got 2\.5\d*e\+161, with k",
        ),
        (POINTS, {"a": 1e200}, ValueError, "a"),
        (POINTS, {"generator": 0}, TypeError, "generator: got int 0; allowed: a torch.Generator"),
        (POINTS, {"samples": 2**70}, ValueError, "samples: got 1180591620717411303424"),
        (POINTS, {"antithetic": "no"}, TypeError, "antithetic: got str 'no'"),
        (POINTS, {"f0": lambda x: x > 0}, TypeError, "f0: returned Tensor .*torch.bool"),
        (POINTS, {"f0": lambda x: x.to("meta")}, ValueError, "f0: returned .* on meta"),
    ],
)
def test_bad_input(base, changes, error, message):
    with pytest.raises(error, match=message):
        solve(**{**base, **changes})


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_extreme_parameters(dtype):
    """Nearly up to the limits of the products."""
    f0 = torch.cos(2 * math.pi * grid(8)).to(dtype)
    for t, a, c, period, factor in (
        (1e140, 1.0, 1.0, 1.0, 0.0),
        (1e-200, 1e200, 1e30, 1.0, 1.0),
        (1e-30, 1e150, 1e30, 1.0, 1.0),
        (1e100, 1e-200, 1e-101, 2 * math.pi, math.cos(0.1)),
        (1e140, 1.0, 1e-142, 1e-120, 0.0),
        (1.0, 1e-300, 1e-300, 1e-300, 1.0),
        (0.0, 1e300, 1e-300, 1e300, 1.0),
    ):
        u, slope = solve(f0, t, a=a, c=c, period=period, time_derivative=True)
        assert slope.isfinite().all()
        torch.testing.assert_close(u, factor * f0, rtol=1e-6, atol=1e-6)


def test_numpy_scalars():
    options = {"t": 0.5, "a": 9.0, "c": 1.0, "period": 1.0}
    f0 = torch.cos(2 * math.pi * grid(8))
    wanted = solve(f0, **options)
    for kind in (np.float32, np.float16, np.longdouble):
        assert torch.equal(solve(f0, **{k: kind(v) for k, v in options.items()}), wanted)
    numbers = {"a": np.int64(9), "c": np.array([1.0]), "period": (np.uint8(1),)}
    assert torch.equal(solve(f0, np.float32(0.5), **numbers), wanted)
    draws = [
        solve(
            torch.cos, 0.5, a=9.0, c=1.0, method="monte_carlo", x=f0, samples=samples,
            antithetic=antithetic, generator=torch.Generator().manual_seed(0),
        ).value
        for samples, antithetic in ((10, True), (np.int16(10), np.True_))
    ]  # fmt: skip
    assert torch.equal(*draws)


@pytest.mark.parametrize("returned", [torch.float64, torch.bfloat16])
def test_an_estimate_has_the_type_of_its_points(returned):
    f0 = lambda x: torch.cos(x).to(returned)  # noqa: E731
    assert all(v.dtype == torch.float32 for v in solve(**{**POINTS, "f0": f0, "samples": 4}))

"""Gradients of draws: expectations against closed forms, parameters learned from moments."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch

from kacflow import KacPath, KacProcess, ops

WAVE = 1.3
COUNT = 100_000
#: (t, a, c) with a t = 0.06, 3 and 120: atoms of mass 0.94, 0.05 and 0.
CASES = [(0.2, 0.3, 2.0), (1.5, 2.0, 1.0), (2.0, 60.0, 4.0)]
OPS = torch.ops.kacflow
SEED = torch.tensor(3)


def second_moment(t, a, c):
    return c**2 / a * (t - (1 - mp.exp(-2 * a * t)) / (2 * a))


def fourth_moment(t, a, c):
    """Solves m'' + 2 a m' = 12 c^2 E K^2, m(0) = m'(0) = 0."""
    b = 2 * a
    decay = mp.exp(-b * t)
    inner = t**2 / 2 - 2 * t / b + (3 - 3 * decay - b * t * decay) / b**2
    return 24 * c**4 / b**2 * inner


def characteristic(t, a, c, k=WAVE):
    """E cos(k K)."""
    tau = a * t
    m = mp.sqrt(mp.mpc(tau**2 - (c * k * t) ** 2))
    return mp.re(mp.exp(-tau) * (mp.cosh(m) + tau * mp.sinh(m) / m))


FUNCTIONS = {
    "square": (torch.square, second_moment),
    "fourth": (lambda x: x**4, fourth_moment),
    "cosine": (lambda x: torch.cos(WAVE * x), characteristic),
}


def derivative(form, point, orders):
    with mp.workdps(40):
        return float(mp.diff(form, tuple(map(mp.mpf, point)), orders))


def per_draw(point):
    """(t, a, c) repeated for every draw, so that gradients come out per draw."""
    return [torch.full((COUNT,), v, dtype=torch.float64, requires_grad=True) for v in point]


def z_score(values, expected):
    return float((values.mean() - expected) / (values.std() / math.sqrt(len(values))))


@pytest.fixture(scope="module", params=CASES, ids=["small", "middle", "large"])
def draws(request):
    t, a, c = per_draw(request.param)
    return request.param, (t, a, c), OPS.sample(t, a, c, SEED, 0, (COUNT,), torch.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_of_an_expectation(draws, name):
    point, parameters, x = draws
    function, form = FUNCTIONS[name]
    slopes = torch.autograd.grad(function(x).sum(), parameters, retain_graph=True)
    for i, slope in enumerate(slopes):
        expected = derivative(form, point, tuple(int(j == i) for j in range(3)))
        assert abs(z_score(slope, expected)) < 5


def test_second_derivative_of_an_expectation(draws):
    point, parameters, x = draws
    function, form = FUNCTIONS["cosine"]
    slopes = torch.autograd.grad(function(x).sum(), parameters, create_graph=True)
    for i, slope in enumerate(slopes):
        rows = torch.autograd.grad(slope.sum(), parameters, retain_graph=True)
        for j, row in enumerate(rows):
            orders = tuple(int(k == i) + int(k == j) for k in range(3))
            assert abs(z_score(row, derivative(form, point, orders))) < 5
    with pytest.raises(RuntimeError, match="asks for a further one"):
        (curvature,) = torch.autograd.grad(slopes[0].sum(), parameters[0], create_graph=True)
        torch.autograd.grad(curvature.sum(), parameters[0])


def test_expectations_tell_atoms_from_the_edge():
    """With the velocity just inside the cone in place of the atoms' the mean would be far off."""
    point = CASES[1]
    t, a, c = (v.detach() for v in per_draw(point))
    x = OPS.sample(t, a, c, SEED, 0, (COUNT,), torch.float64)
    right = OPS.velocity(x, t, a, c)
    wrong = OPS.velocity(x * (1 - 1e-12), t, a, c)
    expected = derivative(second_moment, point, (1, 0, 0))
    assert abs(z_score(2 * x * right, expected)) < 5 < abs(z_score(2 * x * wrong, expected))


def pair_of(point):
    """The noise of a pair per draw, with g' = 1: (K(g), w)."""
    t, a, c = per_draw(point)
    zero = torch.zeros(COUNT, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    pair = OPS.sample_pair(zero, a, c, one, one, t, one, SEED, 0)
    return (t, a, c), pair


def test_pair_moves_like_the_draw(draws):
    point, parameters, x = draws
    mine, (x_t, _) = pair_of(point)
    assert torch.equal(x_t, x)
    weights = torch.rand(COUNT, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = torch.autograd.grad((weights * x).sum(), parameters, retain_graph=True)
    got = torch.autograd.grad((weights * x_t).sum(), mine)
    for g, w in zip(got, wanted, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("point", CASES)
def test_gradient_of_what_is_linear_in_the_velocity(point):
    """E sin(k K) w = -(1/k) d/dt E cos(k K): its derivatives are the second of that."""
    parameters, (x_t, dx_t) = pair_of(point)
    slopes = torch.autograd.grad((torch.sin(WAVE * x_t) * dx_t).sum(), parameters)
    for i, slope in enumerate(slopes):
        orders = tuple(int(i == k) + int(k == 0) for k in range(3))
        expected = -derivative(characteristic, point, orders) / WAVE
        assert abs(z_score(slope, expected)) < 5


@pytest.mark.parametrize("point", CASES)
def test_what_the_gradient_of_a_square_leaves_out(point):
    """The part of d/dtheta E w^2 that the leap of the last atoms makes, as documented."""

    def mean_square(t, a, c):
        def inside(x):
            z = mp.sqrt((a * t) ** 2 - (a * x / c) ** 2)
            i0, i1 = mp.besseli(0, z), mp.besseli(1, z)
            density = a / (2 * c) * mp.exp(-a * t) * (i0 + a * t * i1 / z)
            return density * (a * x / (a * t + z * i0 / i1)) ** 2

        return mp.exp(-a * t) * c**2 + 2 * mp.quad(inside, [0, c * t / 2, c * t])

    t, a, c = point
    parameters, (_, dx_t) = pair_of(point)
    slopes = torch.autograd.grad(dx_t.square().sum(), parameters)
    edge = c * a * t / (a * t + 2)
    leap = (c - edge) ** 2 * math.exp(-a * t)
    with mp.workdps(20):
        for i, left_out in enumerate((a * leap, t * leap, 0.0)):
            step = [mp.mpf(0)] * 3
            step[i] = mp.mpf(10) ** -6
            ahead, behind = (
                mean_square(*(mp.mpf(v) + s * d for v, d in zip(point, step, strict=True)))
                for s in (1, -1)
            )
            expected = float(mp.re(ahead - behind) / (2 * step[i]))
            assert abs(z_score(slopes[i], expected - left_out)) < 5


def test_at_time_zero_draws_leave_at_speed_c():
    t = torch.zeros(1000, dtype=torch.float64, requires_grad=True)
    x = KacProcess(9.0, 3.0).sample(t)
    (slope,) = torch.autograd.grad(x.sum(), t)
    assert torch.equal(slope, torch.copysign(torch.tensor(3.0).double(), x))
    assert 400 < int((slope > 0).sum()) < 600


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (5,), (1, 3), (5, 3), (1, 3, 1, 1), (5, 1, 4)])
def test_gradients_are_reduced_to_the_parameter(dtype, shape):
    """To every shape that aligns with the leading axes, from the gradients of one per element."""
    generator = torch.Generator().manual_seed(0)

    def parameter(low):
        return (low + torch.rand(shape, dtype=dtype, generator=generator)).requires_grad_()

    def full(value):
        expanded = value.detach().reshape(shape + (1,) * (4 - len(shape))).expand(5, 3, 4, 2)
        return expanded.clone().requires_grad_()

    x_0 = torch.randn(5, 3, 4, 2, dtype=dtype, generator=generator)
    own = [parameter(low) for low in (1.0, 2.0, 0.2, -0.7, 0.3, 0.5)]  # a, c, f, f', g, g'
    every = [full(value) for value in own]
    weights = torch.randn(2, *x_0.shape, dtype=dtype, generator=generator)

    def gradients(a, c, f, df, g, dg):
        pair = OPS.sample_pair(x_0, a, c, f, df, g, dg, SEED, 0)
        noise = OPS.sample(g, a, c, SEED, 0, x_0.shape, dtype)
        total = (weights[0] * (pair[0] + noise) + weights[1] * pair[1]).sum()
        return torch.autograd.grad(total, (a, c, f, df, g, dg))

    for got, wanted in zip(gradients(*own), gradients(*every), strict=True):
        assert got.shape == shape
        wanted = wanted.sum_to_size(shape + (1,) * (4 - len(shape))).reshape(shape)
        tolerance = 1e-4 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_data_has_the_gradients_of_float32(dtype):
    a, c = (torch.tensor(v, requires_grad=True) for v in (9.0, 3.0))
    path = KacPath(KacProcess(a, c))
    t = torch.rand(64, generator=torch.Generator().manual_seed(0))
    x_0 = torch.zeros(64, 32)
    results = []
    for data in (x_0, x_0.to(dtype)):
        pair = path.sample(data, t, generator=torch.Generator().manual_seed(1))
        results.append(torch.autograd.grad(pair.x_t.sum() + pair.dx_t.sum(), (a, c)))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("draw", ["process", "path"])
def test_rate_and_speed_are_learned_from_moments(draw):
    """Gradient descent on the variances at two times, with fresh draws in every step."""
    times = torch.tensor([[0.15], [1.5]])
    data = KacProcess(4.0, 2.0).sample(
        times, (2, 40_000), generator=torch.Generator().manual_seed(0)
    )
    target = data.square().mean(1).log()
    logs = torch.tensor([0.0, 0.0], requires_grad=True)
    optimizer = torch.optim.Adam([logs], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80)
    generator = torch.Generator().manual_seed(1)
    for _ in range(80):
        process = KacProcess(*logs.exp())
        if draw == "process":
            x = process.sample(times, (2, 4_000), generator=generator)
        else:
            path = KacPath(process, T=2.0, signal="constant")
            x = path.sample(torch.zeros(2, 4_000), times[:, 0], generator=generator).x_t
        loss = (x.square().mean(1).log() - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    a, c = logs.exp().tolist()
    assert a == pytest.approx(4.0, rel=0.05) and c == pytest.approx(2.0, rel=0.05)


def test_a_parameter_changed_in_place_is_seen():
    a = torch.nn.Parameter(torch.tensor(1.0))
    path = KacPath(KacProcess(a, 3.0))
    x_0, wanted = torch.zeros(4, 3), KacPath(KacProcess(50.0, 3.0))
    with torch.no_grad():
        path.sample(x_0, 0.5)
        for change in (lambda: a.fill_(50.0), lambda: setattr(a, "data", torch.tensor(50.0))):
            change()
            got, expected = (
                p.sample(x_0, 0.5, generator=torch.Generator().manual_seed(0)).x_t
                for p in (path, wanted)
            )
            assert torch.equal(got, expected)
            a.fill_(1.0)


def test_compiled_training_of_rate_and_speed():
    logs = torch.tensor([1.0, 0.5], requires_grad=True)
    x_0, t = torch.randn(16, 4), torch.rand(16)

    def loss(logs):
        process = KacProcess(*logs.exp())
        pair = KacPath(process).sample(x_0, t)
        draw = process.sample(t, (16, 4))
        return (pair.x_t * pair.dx_t + process.velocity(draw, t[:, None])).mean()

    results = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(0)
        results.append(torch.autograd.grad(function(logs), logs)[0])
    torch.testing.assert_close(*results)
    assert ops.sample is OPS.sample


def test_outputs_may_be_changed_in_place():
    """The pair keeps neither of its outputs for the backward pass."""
    a = torch.tensor(9.0, requires_grad=True)
    pair = KacPath(KacProcess(a, 3.0)).sample(torch.zeros(8, 2), 0.5)
    (pair.x_t.mul_(2).sum() + pair.dx_t.add_(1).sum()).backward()
    assert torch.isfinite(a.grad)

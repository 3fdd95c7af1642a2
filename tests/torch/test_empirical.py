"""The exact field of finitely many points, against the sum written out pair by pair."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from kacflow import (
    BrownianProcess,
    EmpiricalField,
    GaussianPath,
    KacPath,
    KacProcess,
    Path,
    generate,
    log_likelihood,
)

A, C = 4.0, 2.0
KAC = KacPath(KacProcess(A, C))
GAUSSIAN = GaussianPath("flow_matching", sigma=1.5)
DIFFUSION = GaussianPath("diffusion", signal="cosine", clock="square")
PATHS = {"kac": KAC, "flow_matching": GAUSSIAN, "diffusion": DIFFUSION}
GRID = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=2)))
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bessel(z: float) -> tuple[float, float]:
    """I0(z) and I1(z)/z."""
    value = torch.tensor(max(z, 1e-9), dtype=torch.float64)
    return float(torch.special.i0(value)), float(torch.special.i1(value) / value)


def kac_component(noise: float, g: float) -> tuple[float, float, int, float]:
    """Log density or log mass, velocity, whether on an atom, and by how much outside."""
    if abs(noise) >= C * g:
        v, atom = math.copysign(C, noise), abs(noise) == C * g
        return (-A * g - math.log(2.0) if atom else 0.0), v, int(atom), abs(noise) - C * g
    tau = A * g
    i0, i1 = bessel(tau * math.sqrt(1 - (noise / (C * g)) ** 2))
    density = A / (2 * C) * math.exp(-tau) * (i0 + tau * i1)
    return math.log(density), A * noise / (tau + i0 / i1), 0, 0.0


def pairwise(data: Tensor, path: KacPath, x: Tensor, t: float) -> Tensor:
    """u(x, t) of one sample, point by point and component by component."""
    time = torch.tensor(t, dtype=torch.float64)
    f, df, g, dg = (
        float(v)
        for s in (path.signal, path.clock)
        for v in (s.value(time), s.derivative(time))
    )  # fmt: skip
    found = []
    for point in data.double():
        parts = [kac_component(float(n), g) for n in x.double() - f * point]
        away = math.sqrt(sum(p[3] ** 2 for p in parts))
        rank = (away, -sum(p[2] for p in parts) if not away else 0)
        v = torch.tensor([p[1] for p in parts], dtype=torch.float64)
        found.append((rank, sum(p[0] for p in parts), df * point + dg * v))
    least = min(rank for rank, _, _ in found)
    chosen = [(log_w, u) for rank, log_w, u in found if rank == least]
    weights = torch.tensor([log_w for log_w, _ in chosen], dtype=torch.float64).softmax(0)
    return sum(w * u for w, (_, u) in zip(weights, chosen, strict=True))


DATA = torch.tensor(
    [[-1.0, 0.5, 0.25], [1.0, 0.5, -0.5], [0.5, -1.0, 0.25], [-0.5, 0.0, 1.0], [1.0, 0.5, 0.25]],
    dtype=torch.float64,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", [0.0625, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("clock", ["linear", "square"])
def test_against_the_sum_written_out(dtype, t, clock):
    """Points inside some cones, on up to three atoms of some, and outside all: exact in binary."""
    path = KacPath(KacProcess(A, C), clock=clock)
    edge = C * (t if clock == "linear" else t * t)
    shifts = list(itertools.product((-1.0, -0.5, 0.0, 0.625, 1.0), repeat=3))
    x = torch.cat([(1 - t) * point + edge * torch.tensor(shifts).double() for point in DATA])
    x = torch.cat((x, 4.0 * torch.randn(20, 3, generator=seeded(), dtype=torch.float64)))
    got = EmpiricalField(DATA.to(dtype), path)(x.to(dtype), t)
    want = torch.stack([pairwise(DATA, path, row, t) for row in x.to(dtype)])
    assert got.dtype == dtype
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance)


def test_more_atoms_outrank_any_density():
    """x is at the far edge of the cone of one point, in one component, and near another."""
    t, g = 0.5, 0.5
    data = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[C * g, 0.0], [C * g, 0.001]], dtype=torch.float64)
    u = EmpiricalField(data, KAC)(x, t)
    assert torch.equal(u[:, 0], torch.full((2,), C, dtype=torch.float64))  # -x_1/T + c, x_1 = 0


def test_as_many_atoms_weigh_by_their_masses():
    """Of two points, each with one atom, that of the channel with fewer turns has the larger."""
    a = torch.tensor([[0.5, 4.0]], dtype=torch.float64)
    path, x = KacPath(KacProcess(a, C)), torch.tensor([[1.0, 0.25]], dtype=torch.float64)
    data = torch.tensor([[0.0, 0.0], [1.0, -1.5]], dtype=torch.float64)  # noise (1, 1/4), (1/2, 1)
    weights = []
    for atom, other, noise in ((0.5, 4.0, 0.25), (4.0, 0.5, 0.5)):
        i0, i1 = bessel(0.5 * other * math.sqrt(1 - noise * noise))
        density = other / (2 * C) * math.exp(-0.5 * other) * (i0 + 0.5 * other * i1)
        weights.append(math.exp(-0.5 * atom) / 2 * density)
    share = torch.tensor(weights, dtype=torch.float64)[:, None] / sum(weights)
    want = (share * path.velocity(x.expand(2, 2), 0.5, data)).sum(0)
    torch.testing.assert_close(EmpiricalField(data, path)(x, 0.5)[0], want, rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("signal", "clock"), [("linear", "linear"), ("lambda", "square")])
def test_draws_on_atoms_are_recognised(dtype, signal, clock):
    """Soon after the start most components have not turned, and each draw knows its point."""
    path = KacPath(KacProcess(A, C), signal=signal, clock=clock)
    data = torch.randn(50, 12, generator=seeded(), dtype=dtype)
    t = torch.linspace(0.03, 0.1, 50, dtype=dtype)
    sample = path.sample(data, t, generator=seeded(1))
    got = EmpiricalField(data, path)(sample.x_t, t)
    torch.testing.assert_close(got, sample.dx_t, rtol=1e-3, atol=1e-3)


@paths
@pytest.mark.parametrize("t", [0.2, 0.6])
def test_the_field_is_the_mean_of_the_velocities(path, t):
    """E[dX_t | X_t in a bin], atoms included, by draws."""
    data = torch.tensor([[-1.0], [0.25], [1.0]], dtype=torch.float64)
    n = 200_000
    pick = torch.randint(3, (n,), generator=seeded())
    sample = path.sample(data[pick], t, generator=seeded(1))
    x, dx = sample.x_t[:, 0], sample.dx_t[:, 0]
    off = dx - EmpiricalField(data, path)(sample.x_t, t)[:, 0]
    bins = torch.bucketize(x, torch.linspace(-1.5, 1.5, 21, dtype=torch.float64))
    for k in range(22):
        inside = off[bins == k]
        if len(inside) > 100:
            error = inside.std() / math.sqrt(len(inside))
            unseen = 30.0 / len(inside)  # points too unlikely there to be among the draws
            assert inside.mean().abs() < 4.5 * error + unseen, k
    assert abs(float(off.mean())) < 4.5 * float(off.std()) / math.sqrt(n)


@paths
def test_other_noises_are_a_softmax_of_squared_distances(path):
    if path is KAC:
        return
    data, x = DATA, torch.randn(7, 3, generator=seeded(), dtype=torch.float64)
    t = torch.linspace(0.1, 1.0, 7, dtype=torch.float64)
    f, g = path.signal.value(t), path.clock.value(t)
    variance = path.noise.sigma**2 * (g if path is DIFFUSION else g * g)
    distance = (x[:, None] - f[:, None, None] * data).square().sum(-1)
    weights = (-0.5 * distance / variance[:, None]).softmax(1)
    u = [path.velocity(x, t, point.expand_as(x)) for point in data]
    want = (weights[..., None] * torch.stack(u, 1)).sum(1)
    torch.testing.assert_close(EmpiricalField(data, path)(x, t), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", [KacPath(KacProcess(9.0, 3.0)), GAUSSIAN], ids=["kac", "fm"])
@pytest.mark.parametrize("method", ["euler", "heun"])
def test_generation_ends_at_the_points(path, method):
    x_T = path.sample_prior((300, 2), generator=seeded())
    x = generate(EmpiricalField(GRID, path), x_T, path, steps=300, method=method)
    distance, nearest = torch.cdist(x, GRID).min(1)
    assert distance.max() < 0.05
    counts = torch.bincount(nearest, minlength=9)
    assert counts.min() > 10 and counts.max() < 80  # of 33, by a deterministic map of the noise


@pytest.mark.parametrize("clock", ["linear", "square"])
@pytest.mark.parametrize("signal", ["constant", "linear", "cosine"])
def test_the_velocity_is_bounded(signal, clock):
    path = KacPath(KacProcess(A, C), signal=signal, clock=clock)
    t = torch.linspace(0.0, 1.0, 400)
    x = 3.0 * torch.randn(400, 2, generator=seeded())
    df, dg = (torch.as_tensor(s.derivative(t)).abs() for s in (path.signal, path.clock))
    bound = (C * dg + df * GRID.abs().max()).expand(400)
    u = EmpiricalField(GRID, path)(x, t)
    assert bool((u.abs() <= bound[:, None] * (1 + 1e-5)).all())


@paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_finite_everywhere(path, dtype):
    """At both ends of time, at the points, at atoms, far outside, in every type."""
    field = EmpiricalField(GRID, path)
    x = torch.cat((GRID, GRID + 1e-7, 100.0 * GRID, 1e12 * GRID, GRID + C)).to(dtype)
    for t in (0.0, 1e-30 if path is KAC else 1e-12, 1e-7, 0.5, 1.0):  # x/t has no bound
        u = field(x, t)
        assert u.dtype == dtype and u.shape == x.shape and bool(u.isfinite().all()), t
    assert field(x[:0], 0.5).shape == (0, 2)


@paths
def test_the_start(path):
    """At t = 0 a point is its own, and away from all the nearest counts."""
    x = GRID + torch.tensor([0.1, -0.2])
    at = EmpiricalField(GRID, path)
    alone = torch.cat([EmpiricalField(GRID[i : i + 1], path)(x[i : i + 1], 0.0) for i in range(9)])
    torch.testing.assert_close(at(x, 0.0), alone)
    moving = float(path.signal.derivative(torch.tensor(0.0)))
    torch.testing.assert_close(at(GRID, 0.0), moving * GRID, rtol=0, atol=1e-6)


def test_outside_all_cones_the_nearest_counts():
    data = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    x = torch.tensor([[0.5, 1.4], [-0.4, -0.3]], dtype=torch.float64)  # cones of half width 0.2
    u = EmpiricalField(data, KAC)(x, 0.1)
    want = KAC.velocity(x, 0.1, data.flip(0))
    assert torch.equal(u, want) and float(u[0, 1]) == C - 1.0


@paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunks_change_nothing_but_rounding(path, dtype):
    data = torch.randn(23, 2, 3, generator=seeded(), dtype=dtype)
    t = torch.linspace(0.0, 1.0, 40, dtype=dtype)
    x = path.sample(data[torch.arange(40) % 23], t, generator=seeded(1)).x_t
    x[::7] *= 5.0
    labels, asked = torch.arange(23) % 3, torch.arange(40) % 4 - 1
    whole = EmpiricalField(data, path, labels, chunk=23)
    for chunk in (1, 5, 22, None):
        part = EmpiricalField(data, path, labels, chunk=chunk)
        for more in ((), (asked,)):
            torch.testing.assert_close(part(x, t, *more), whole(x, t, *more), rtol=2e-5, atol=2e-5)


@paths
def test_derivatives(path):
    """In x, by autograd, twice, with chunks that are computed again."""
    data = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    t = torch.tensor([0.4, 0.7], dtype=torch.float64)
    x = torch.tensor([[0.1, -0.2], [0.3, 0.05]], dtype=torch.float64, requires_grad=True)
    for chunk in (5, 2):
        field = EmpiricalField(data, path, chunk=chunk)
        assert torch.autograd.gradcheck(lambda x, f=field: f(x, t), x)
        assert torch.autograd.gradgradcheck(lambda x, f=field: f(x, t), x)


def test_likelihood_of_a_gaussian_field():
    """At t_min its law is the mixture of Gaussians about the points."""
    x = torch.randn(6, 3, generator=seeded(), dtype=torch.float64)
    field = EmpiricalField(DATA, GAUSSIAN, chunk=2)
    with torch.no_grad():
        got = log_likelihood(field, x, GAUSSIAN, t_min=0.5, steps=20, solver="rk4")
    law = torch.distributions.Normal(0.5 * DATA, 0.75)
    want = law.log_prob(x[:, None]).sum(-1).logsumexp(1) - math.log(5)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


@paths
def test_labels(path):
    labels = torch.arange(9) % 2
    field = EmpiricalField(GRID, path, labels)
    x = torch.randn(6, 2, generator=seeded())
    asked = torch.tensor([0, 1, -1, 0, 1, -1])
    got = field(x, 0.3, asked)
    for k, own in ((0, GRID[::2]), (1, GRID[1::2]), (-1, GRID)):
        rows = asked == k
        torch.testing.assert_close(got[rows], EmpiricalField(own, path)(x[rows], 0.3))
    assert torch.equal(field(x, 0.3), field(x, 0.3, torch.full((6,), -1)))
    x_T = path.sample_prior((40, 2), generator=seeded())
    end = generate(field, x_T, path, steps=200, labels=torch.ones(40).long(), method="heun")
    if path is not DIFFUSION:
        assert torch.cdist(end, GRID[1::2]).min(1).values.max() < 0.05


def test_parameters_per_channel_and_paths_of_a_noise():
    c = torch.tensor([[1.0, 3.0]])
    path = KacPath(KacProcess(A, c))
    x = torch.randn(5, 2, generator=seeded())
    got = EmpiricalField(GRID[:1], path)(x, 0.5)
    torch.testing.assert_close(got, path.velocity(x, 0.5, GRID[:1].expand(5, 2)))
    plain = EmpiricalField(GRID, Path(KacProcess(A, C)))(x, 0.5)
    assert torch.equal(plain, EmpiricalField(GRID, KAC)(x, 0.5))
    brown = EmpiricalField(GRID, Path(BrownianProcess(), signal="cosine", clock="square"))
    assert torch.equal(brown(x, 0.5), EmpiricalField(GRID, DIFFUSION)(x, 0.5))


@paths
def test_no_number_is_read(path):
    field = EmpiricalField(GRID.to("meta"), path, torch.zeros(9).long().to("meta"), chunk=4)
    x, t = torch.empty(3, 2, device="meta"), torch.empty(3, device="meta")
    assert field(x, t, torch.empty(3, device="meta").long()).is_meta


class Silent:
    """A noise without a density."""

    sample = velocity = lambda self, *args, **options: None


@pytest.mark.parametrize(
    ("call", "error_type", "message"),
    [
        (lambda: EmpiricalField(GRID.long(), KAC), TypeError, "data: got dtype torch.int64"),
        (lambda: EmpiricalField(GRID[:0], KAC), ValueError, r"data: got shape \(0, 2\)"),
        (lambda: EmpiricalField(GRID[0, 0], KAC), ValueError, r"data: got shape \(\)"),
        (lambda: EmpiricalField(GRID * math.inf, KAC), ValueError, "data: got inf or NaN"),
        (lambda: EmpiricalField(GRID, KAC.noise), TypeError, "path: got KacProcess"),
        (lambda: EmpiricalField(GRID, Path(Silent())), TypeError, "path: its noise Silent"),
        (lambda: EmpiricalField(GRID, KAC, chunk=0), ValueError, "chunk: got 0"),
        (lambda: EmpiricalField(GRID, KAC, GRID), TypeError, "labels: got dtype"),
        (
            lambda: EmpiricalField(GRID, KAC, torch.zeros(2).long()),
            ValueError,
            r"labels: got shape \(2,\); allowed: \(9,\)",
        ),
        (lambda: EmpiricalField(GRID, KAC)(GRID[:, :1], 0.5), ValueError, r"x: got .*\(B, 2\)"),
        (lambda: EmpiricalField(GRID, KAC)(GRID.to("meta"), 0.5), ValueError, "data: is on cpu"),
        (lambda: EmpiricalField(GRID, KAC)(GRID, 1.5), ValueError, "t: got values"),
        (lambda: EmpiricalField(GRID, KAC)(GRID, GRID[0]), ValueError, r"t: got shape \(2,\)"),
        (
            lambda: EmpiricalField(GRID, KAC)(GRID, 0.5, torch.zeros(9).long()),
            ValueError,
            "labels: got some; allowed: None",
        ),
        (
            lambda: EmpiricalField(GRID, KAC, torch.arange(9))(GRID, 0.5, torch.full((9,), 9)),
            ValueError,
            "labels: got 9; allowed: -1 or a class",
        ),
    ],
)
def test_bad_input(call, error_type, message):
    with pytest.raises(error_type, match=message):
        call()

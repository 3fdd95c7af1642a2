"""Likelihoods of flows whose density is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kacflow import EmpiricalField, GaussianPath, KacPath, KacProcess, Path, log_likelihood
from kacflow.generate import ADAPTIVE, FIXED_STEP
from kacflow.likelihood import bits_per_dim

GAUSSIAN = GaussianPath("flow_matching", sigma=1.5)
KAC = KacPath(KacProcess(9.0, 3.0))
M = torch.tensor([[0.3, -0.8, 0.1], [0.5, -0.2, 0.4], [0.0, 0.7, 0.5]], dtype=torch.float64)
X = torch.linspace(-1.0, 1.2, 12, dtype=torch.float64).reshape(4, 3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def turning(x: Tensor, t: Tensor) -> Tensor:
    """u = sin(3 t) M x."""
    return torch.sin(3 * t)[:, None] * (x @ M.T.to(x.dtype))


def known(x: Tensor, path: Path, start: float = 0.0) -> Tensor:
    """Log density of the flow of ``turning``: x(T) = exp(s M) x, log det = s tr M."""
    s = (math.cos(3 * start) - math.cos(3.0)) / 3
    end = x @ torch.linalg.matrix_exp(s * M).T
    return path.noise.log_prob(end, torch.tensor(1.0)).sum(1) + s * M.trace()


@pytest.mark.parametrize("path", [GAUSSIAN, KAC], ids=["gaussian", "kac"])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_a_linear_field(path, start):
    got = log_likelihood(turning, X, path, solver="rk4", t_min=start)
    torch.testing.assert_close(got, known(X, path, start), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("solver", [*FIXED_STEP, *ADAPTIVE])
def test_solvers(solver):
    options = {}
    if solver in ADAPTIVE:
        pytest.importorskip("torchdiffeq")
        options = {"rtol": 1e-6, "atol": 1e-7}
    got = log_likelihood(turning, X, KAC, solver=solver, **options)
    second_order = ("ab2", "heun", "midpoint", "fehlberg2")
    bound = 3e-2 if solver == "euler" else 1e-3 if solver in second_order else 2e-5
    assert (got - known(X, KAC)).abs().max() < bound


def test_grids_of_times():
    want = known(X, GAUSSIAN)
    for grid in ("quadratic", "clock", [1.0, *(0.9**k for k in range(1, 60)), 0.0]):
        got = log_likelihood(turning, X, GAUSSIAN, solver="rk4", t_grid=grid)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "path", [GAUSSIAN, GaussianPath("diffusion", signal="cosine")], ids=["flow_matching", "cosine"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gaussian_mixture(path, dtype):
    """Components N(m_i, s_i^2), independent dimensions: the marginal field in closed form."""
    means = torch.tensor([[-1.0, 0.5], [0.8, -0.3], [0.2, 1.0]], dtype=dtype)
    widths, shares = torch.tensor([0.4, 0.6, 0.3]).to(dtype), torch.tensor([0.5, 0.2, 0.3])

    def parts(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Log density of each component with its share, and its velocity."""
        f, df = path.signal.value(t), torch.as_tensor(path.signal.derivative(t))
        g, dg = path.clock.value(t), torch.as_tensor(path.clock.derivative(t))
        noise, change = (g, dg) if path.kind == "diffusion" else (g * g, 2 * g * dg)
        scale = 1.0 if path.kind == "diffusion" else path.sigma**2
        column = lambda v: v.reshape(-1, 1, 1)  # noqa: E731
        var = column(f * f) * widths[:, None] ** 2 + column(noise) * scale
        rise = column(2 * f * df) * widths[:, None] ** 2 + column(change) * scale
        off = x[:, None] - column(f) * means
        log_p = (-0.5 * off * off / var - 0.5 * torch.log(2 * math.pi * var)).sum(-1)
        return log_p + shares.log().to(dtype), column(df) * means + 0.5 * rise / var * off

    def field(x: Tensor, t: Tensor) -> Tensor:
        log_p, u = parts(x, t)
        return (log_p.softmax(1)[..., None] * u).sum(1)

    x = torch.randn(16, 2, generator=seeded(), dtype=torch.float64).to(dtype)
    want = parts(x, torch.zeros(16, dtype=dtype))[0].logsumexp(1)
    got = log_likelihood(field, x, path, solver="rk4", t_grid="quadratic")
    assert got.dtype == dtype and not got.requires_grad
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5 if dtype == torch.float64 else 1e-4)


def test_the_law_of_noise_itself():
    """At t_min the flow of one point has the density of the noise about it."""
    point = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    for path in (KAC, GaussianPath(), GAUSSIAN):
        x = path.sample(point.expand(20, 2), 0.4, generator=seeded()).x_t
        want = path.noise.log_prob(x - 0.6 * point, torch.tensor(0.4)).sum(1)
        inside = ((x - 0.6 * point).abs() < 1.19).all(1)
        got = log_likelihood(EmpiricalField(point, path), x, path, t_min=0.4, solver="rk4")
        torch.testing.assert_close(got[inside], want[inside], rtol=1e-5, atol=1e-5)


def test_densities_of_kac_flows_have_the_mass_of_the_continuous_part():
    x = torch.linspace(-8.0, 8.0, 4001, dtype=torch.float64)[:, None]
    got = log_likelihood(lambda x, t: 0.5 * torch.sin(x), x, KAC, solver="rk4", steps=50)
    assert bool((got == -math.inf).any()) and not bool(got.isnan().any())
    mass = torch.trapezoid(got.exp(), x[:, 0])
    assert abs(float(mass) - (1 - math.exp(-9.0))) < 1e-4


def symmetric_part() -> float:
    """sum_{i != j} of the squares of the symmetric part of M."""
    s = 0.5 * (M + M.T)
    return float((s * s).sum() - s.diagonal().square().sum())


@pytest.mark.parametrize("probes", [1, 4])
def test_hutchinson_has_the_known_mean_and_variance(probes):
    """For a constant linear field the estimate is e . M e times T, variance 2 sum_{i != j} S^2."""
    n = 4000
    x = X[:1].expand(n, 3)
    options = {"solver": "rk4", "steps": 3, "t_min": 0.5}
    linear = lambda x, t: x @ M.T  # noqa: E731
    got = log_likelihood(
        linear, x, GAUSSIAN, method="hutchinson", probes=probes, generator=seeded(3), **options
    )
    off = got - log_likelihood(linear, x[:1], GAUSSIAN, **options)
    variance = 0.25 * 2 * symmetric_part() / probes
    assert abs(float(off.mean())) < 4 * math.sqrt(variance / n)
    assert float(off.var()) == pytest.approx(variance, rel=0.15)


def test_hutchinson_is_exact_for_diagonal_fields():
    field = lambda x, t: torch.sin(x) * t[:, None]  # noqa: E731
    exact = log_likelihood(field, X, KAC)
    assert torch.allclose(log_likelihood(field, X, KAC, method="hutchinson"), exact, atol=1e-12)


def test_the_generator_decides():
    def estimate(x: Tensor = X, seed: int = 0, **options: int) -> Tensor:
        return log_likelihood(
            turning, x, KAC, method="hutchinson", steps=4, generator=seeded(seed), **options
        )

    assert torch.equal(estimate(), estimate()) and not torch.equal(estimate(), estimate(seed=1))
    torch.testing.assert_close(estimate(X[2:], first=2), estimate()[2:], rtol=1e-12, atol=0)
    ours, one = seeded(), seeded()
    log_likelihood(turning, X, KAC, steps=1, generator=ours)
    assert torch.equal(ours.get_state(), one.get_state())
    log_likelihood(turning, X, KAC, steps=1, generator=ours, method="hutchinson", probes=7)
    torch.randint(2**63 - 1, (), generator=one)
    assert torch.equal(ours.get_state(), one.get_state())


@pytest.mark.parametrize("method", ["exact", "hutchinson"])
@pytest.mark.parametrize("path", [KAC, GAUSSIAN], ids=["kac", "gaussian"])
def test_no_number_is_read(method, path):
    """On the meta device there are none."""
    x = torch.empty(4, 3, device="meta")
    field = lambda x, t: torch.sin(x) * t[:, None]  # noqa: E731
    with torch.no_grad():
        got = log_likelihood(field, x, path, method=method, probes=2, steps=3)
    assert got.shape == (4,) and got.is_meta


def test_labels_guidance_and_prediction():
    labels = torch.tensor([0, 1, 2, -1])

    def classes(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return (1.0 + labels)[:, None] * x

    for w in (0.0, 0.5):
        rates = (1 + w) * (1.0 + labels)
        got = log_likelihood(classes, 0.1 * X, GAUSSIAN, labels=labels, guidance=w, steps=50)
        plain = lambda x, t, r=rates: r[:, None] * x  # noqa: E731
        want = log_likelihood(plain, 0.1 * X, GAUSSIAN, steps=50)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)

    data = lambda x, t: 0.5 * torch.tanh(x)  # noqa: E731
    velocity = lambda x, t: KAC.velocity(x, t, data(x, t))  # noqa: E731
    got = log_likelihood(data, X, KAC, prediction="data", t_min=0.5, steps=5)
    torch.testing.assert_close(got, log_likelihood(velocity, X, KAC, t_min=0.5, steps=5))


@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_gradients_follow_the_caller(method):
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = X[:2].clone().requires_grad_()

    def value(scale: Tensor, x: Tensor) -> Tensor:
        field = lambda x, t: scale * torch.sin(x @ M.T) * t[:, None]  # noqa: E731
        return log_likelihood(field, x, KAC, method=method, steps=3, generator=seeded())

    assert torch.autograd.gradcheck(value, (scale, x))
    with torch.no_grad():
        without = value(scale, x)
    assert not without.requires_grad and torch.equal(without, value(scale, x))
    with torch.inference_mode():
        assert torch.equal(value(scale, x.detach() + 0), without)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_integrated_in_32(dtype):
    def model(x: Tensor, t: Tensor) -> Tensor:
        assert x.dtype == t.dtype == dtype
        return turning(x, t)

    got = log_likelihood(model, X.to(dtype), GAUSSIAN)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), known(X, GAUSSIAN), rtol=0, atol=0.05)


@pytest.mark.parametrize("shape", [(0, 3), (5,), (2, 0), (3, 2, 2, 1)])
def test_shapes(shape):
    x = torch.zeros(shape)
    got = log_likelihood(lambda x, t: x * 0.5, x, GAUSSIAN, steps=4)
    D = math.prod(shape[1:])
    density = -0.5 * math.log(2 * math.pi * 1.5**2)
    torch.testing.assert_close(got, torch.full(shape[:1], D * (density + 0.5)))


class Silent:
    """A noise without a density."""

    sample = velocity = lambda self, *args, **options: None


@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"path": Path(Silent())}, TypeError, r"path: its noise Silent has no log_prob\(x, t\)"),
        ({"path": 1.0}, TypeError, "path: got float 1.0; allowed: a kacflow.Path"),
        ({"model": 3}, TypeError, "model: got int 3"),
        ({"model": lambda x, t: torch.ones_like(x)}, ValueError, "model: .* independent of x"),
        ({"model": lambda x, t: x.detach()}, ValueError, "model: .* independent of x"),
        ({"model": lambda x, t: x[:1]}, ValueError, r"model: returned .* shape \(1, 3\)"),
        ({"x_0": X.long()}, TypeError, r"x_0: got dtype torch.int64"),
        ({"x_0": X[0, 0]}, ValueError, r"x_0: got shape \(\)"),
        ({"x_0": X.numpy()}, TypeError, "x_0: got ndarray"),
        ({"method": "trace"}, ValueError, "method: got 'trace'; allowed: exact, hutchinson"),
        ({"probes": 0}, ValueError, "probes: got 0"),
        ({"steps": 0}, ValueError, "steps: got 0"),
        ({"solver": "leapfrog"}, ValueError, "solver: got 'leapfrog'; allowed: euler"),
        ({"t_min": 1.0}, ValueError, "t_min: got 1.0"),
        ({"prediction": "data"}, ValueError, "t_min: got 0; allowed for prediction 'data'"),
        ({"generator": 3}, TypeError, "generator: got int 3"),
        ({"first": -1}, ValueError, "first: got -1"),
        ({"guidance": 1.0}, ValueError, "guidance: got 1.0 without labels"),
        ({"labels": torch.zeros(3).long()}, ValueError, r"labels: got shape \(3,\)"),
        ({"rtol": 1e-3}, TypeError, r"options: got \['rtol'\]; allowed: none for 'heun'"),
        ({"solver": "dopri5", "x_0": X.to("meta")}, ValueError, "x_0: is on meta"),
    ],
)
def test_bad_input(options, error_type, message):
    arguments = {"model": turning, "x_0": X, "path": KAC, **options}
    with pytest.raises(error_type, match=message):
        log_likelihood(**arguments)


def test_bits_per_dim():
    """The uniform density on the cells of all levels costs log2 of their number."""
    for levels in (2, 256):
        uniform = -math.log(2 * levels / (levels - 1))  # of levels that own a spacing each
        got = bits_per_dim(torch.full((3,), 12 * uniform), (3, 2, 2), levels)
        torch.testing.assert_close(got, torch.full((3,), math.log2(levels)))
    with pytest.raises(ValueError, match="levels: got 1"):
        bits_per_dim(torch.zeros(1), (3,), 1)
    with pytest.raises(ValueError, match=r"shape: got \(0, 2\)"):
        bits_per_dim(torch.zeros(1), (0, 2))
    with pytest.raises(TypeError, match="log_likelihood: got float"):
        bits_per_dim(0.0, (2,))

"""The ends of laws, probabilities 0 and 1, tails and NaN; and memory that a model uses again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from kacflow import BrownianProcess, KacProcess, Path, QuantileProcess, UniformProcess, generate
from kacflow.noise import uniform

TAILS = pytest.mark.parametrize("tails", ["linear", "none"])
DOUBLE = {"dtype": torch.float64}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lower_tail_of_gaussian_laws(dtype):
    """It keeps its digits, as 1 - cdf at the other end cannot."""
    z = torch.tensor([-9.0, -7.0, -5.5, -3.0, 0.0, 2.0, 7.0], dtype=dtype)
    want = stats.norm.cdf(z.double())
    rtol = 5e-6 if dtype == torch.float32 else 1e-13
    for process in (BrownianProcess(2.0), QuantileProcess(bound=8.0).double()):
        scale = 2.0 if isinstance(process, BrownianProcess) else 1.0
        got = process.cdf(scale * z, torch.tensor(1.0, dtype=dtype)).detach()
        own = rtol if isinstance(process, BrownianProcess) else 1e-5  # knots in float32
        np.testing.assert_allclose(got, want, rtol=own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_are_within_their_ends(dtype, monkeypatch):
    """For all that the sampler can give: 0 < u < 1, and so are the quantiles finite."""
    n = torch.tensor([-9.0, -7.0, -5.5, 5.5, 7.0, 9.0], dtype=dtype)
    monkeypatch.setattr("kacflow._normal.normal", lambda shape, **options: n)
    u = uniform((6,), dtype=dtype)
    assert bool(((u > 0) & (u < 1)).all())
    assert bool(torch.logit(u).isfinite().all())


@pytest.mark.parametrize("bins", [2, 32, 512])
@pytest.mark.parametrize("bound", [0.1, 5.0, 6.5, 8.0])
def test_a_gaussian_start_is_met_to_the_ends(bins, bound):
    process = QuantileProcess(bins=bins, bound=bound)
    knots = process._knots(torch.float64)
    torch.testing.assert_close(knots.y.detach(), knots.x.detach(), rtol=0.0, atol=2e-6)
    torch.testing.assert_close(
        knots.slope.detach(), torch.ones_like(knots.slope), atol=1e-6, rtol=0
    )


@TAILS
def test_a_symmetric_start_is_symmetric(tails):
    process = QuantileProcess(bins=16, bound=7.0, tails=tails, start=KacProcess(9.0, 3.0))
    knots = process._knots(torch.float64)
    torch.testing.assert_close(knots.y, -knots.y.flip(1), rtol=0.0, atol=1e-5)
    torch.testing.assert_close(knots.slope, knots.slope.flip(1), rtol=1e-5, atol=0.0)


class Gumbel(UniformProcess):
    """A law with two different tails."""

    def base_icdf(self, q):
        return -torch.log(-torch.log(q))


def test_an_asymmetric_start_keeps_both_tails():
    process, law = QuantileProcess(bins=16, bound=4.0, start=Gumbel(1.0)), Gumbel(1.0)
    z = torch.linspace(-4.0, 4.0, 17, **DOUBLE)
    q = torch.from_numpy(stats.norm.cdf(z))
    torch.testing.assert_close(
        process.icdf(q, 1.0).detach(), law.icdf(q, 1.0), rtol=1e-4, atol=1e-5
    )


@TAILS
@pytest.mark.parametrize("method", ["icdf", "cdf"])
def test_gradients_beside_the_ends_of_a_law(method, tails):
    """An infinite value takes nothing from the gradients of the others."""
    process = QuantileProcess(bins=4, tails=tails, bound=3.0).double()
    ends = [0.0, 1.0] if method == "icdf" else [-math.inf, math.inf]

    def gradients(values):
        process.zero_grad()
        getattr(process, method)(torch.tensor(values, **DOUBLE), 1.0)[0].backward()
        return [value.grad.clone() for value in process.parameters()]

    for got, want in zip(gradients([0.3, *ends]), gradients([0.3]), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    "process",
    [UniformProcess(2.0), BrownianProcess(2.0), QuantileProcess(),
     QuantileProcess(tails="none", bound=3.0)],
)  # fmt: skip
@pytest.mark.parametrize("t", [0.0, 0.5])
def test_nan_stays_nan(process, t):
    x = torch.tensor([math.nan])
    for method in ("log_prob", "cdf"):
        assert bool(getattr(process, method)(x, t).isnan()), method


@pytest.mark.parametrize("shape", [(3, 1, 1), (3,)])
def test_open_extents_of_components(shape):
    """Each component or channel has its own law in a graph for every size of a batch."""
    path = Path(QuantileProcess(shape, bins=4))

    def loss(x, t):
        return (path.sample(x, t).dx_t - x).square().mean()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="eager")
    size = (3, 4, 5) if len(shape) == 3 else (3,)
    for rows in (6, 5):
        x, t = torch.randn(rows, *size), torch.rand(rows)
        torch.manual_seed(0)
        got = compiled(x, t)
        torch.manual_seed(0)
        torch.testing.assert_close(got, loss(x, t))


@pytest.mark.parametrize("method", ["euler", "ab2", "heun", "midpoint", "rk4", "transport"])
def test_a_model_may_use_its_memory_again(method):
    """As one that was captured in a CUDA graph does."""
    path, out = Path(UniformProcess(2.0)), torch.empty(2, 3)
    x_T = path.sample_prior((2, 3), generator=torch.Generator().manual_seed(0))

    def fresh(x, t):
        return x * t[:, None] + t[:, None]

    options = {"steps": 5, "method": method}
    if method == "transport":
        options["prediction"] = "data"
    got = generate(lambda x, t: out.copy_(fresh(x, t)), x_T, path, **options)
    assert torch.equal(got, generate(fresh, x_T, path, **options))

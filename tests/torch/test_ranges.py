"""Numbers that a type cannot hold, and answers of another shape, are said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kacflow import (
    BrownianProcess,
    EmpiricalField,
    GaussianPath,
    KacPath,
    KacProcess,
    Path,
    QuantileProcess,
    StraightProcess,
    UniformProcess,
    generate,
    log_likelihood,
)
from kacflow.likelihood import bits_per_dim
from kacflow.noise import normal

PATH = KacPath(KacProcess(9.0, 3.0))
HALF = torch.full((4, 1), 600.0, dtype=torch.float16)


@pytest.mark.parametrize("value", [1e-300, 1e-19, 1e19, 3.5e38, 1e300, np.timedelta64(1, "ns")])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sigma", BrownianProcess),
        ("sigma", StraightProcess),
        ("sigma", lambda v: GaussianPath(sigma=v)),
        ("b", UniformProcess),
        ("T", lambda v: KacPath(KacProcess(9.0, 3.0), v)),
        ("T", lambda v: GaussianPath("flow_matching", v)),
        ("at", lambda v: QuantileProcess(at=v)),
    ],
)
def test_scales_that_float32_cannot_compute_with(name, make, value):
    with pytest.raises((ValueError, TypeError), match=f"{name}: got .*; allowed: a"):
        make(value)


@pytest.mark.parametrize("scale", [1e-18, 1e18])
@pytest.mark.parametrize("signal", ["linear", "cosine", "lambda"])
def test_the_ends_of_these_scales_are_computed_with(scale, signal):
    x_0, t = torch.ones(64, 1), scale * torch.rand(64)
    for noise in (BrownianProcess(scale), StraightProcess(scale), UniformProcess(scale)):
        path = Path(noise, scale, signal, "square")
        assert all(bool(value.isfinite().all()) for value in path.sample(x_0, t))
        assert bool(path.noise.variance(scale).isfinite())


@pytest.mark.parametrize("method", ["euler", "ab2", "heun", "midpoint", "rk4", "dopri5"])
@pytest.mark.parametrize("trajectory", [False, True])
def test_points_beyond_float16_are_said(method, trajectory):
    if method == "dopri5":
        pytest.importorskip("torchdiffeq")
    options = {"method": method, "steps": 20, "return_trajectory": trajectory}
    with pytest.raises(ValueError, match=r"x_T: .*float16.*beyond"):  # 600 e^6 at the end
        generate(lambda x, t: -6.0 * x.float(), HALF, PATH, **options)
    with pytest.raises(ValueError, match=r"x_T: .*beyond|method: .*finite"):  # the model leaves it
        generate(lambda x, t: -6.0 * x, HALF, PATH, **options)
    reached = generate(lambda x, t: -3.0 * x, HALF, PATH, **options)  # 600 e^3
    assert bool(reached.isfinite().all())


def test_points_beyond_float16_between():
    def there_and_back(x, t):
        return 4e5 * torch.sign(t.float() - 0.6)[:, None]

    with pytest.raises(ValueError, match=r"x_T: .*float16"):
        generate(there_and_back, HALF, PATH, t_grid=[1.0, 0.5, 0.0])
    with pytest.raises(ValueError, match=r"x_0: .*float16"):
        log_likelihood(lambda x, t: 2e5 + 0 * x.float(), HALF, PATH, steps=4)


def test_variances_and_adapters_beyond_float16():
    torch.manual_seed(0)
    wide, half = KacProcess(1.0, 1e9), torch.float16
    for process in (wide, BrownianProcess(1e5)):
        with pytest.raises(ValueError, match=r"t: .*float16"):
            process.variance(torch.ones(2, dtype=half))
    torchcfm = pytest.importorskip("kacflow.adapters.torchcfm")
    matcher = torchcfm.KacConditionalFlowMatcher(1.0, 1e9)
    with pytest.raises(ValueError, match=r"t: .*float16"):
        matcher.compute_sigma_t(torch.tensor([0.5], dtype=half))
    with pytest.raises(ValueError, match=r"x: .*float16"):
        matcher.sample_noise_like(HALF)


def test_a_grid_without_memory_is_named():
    grids = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.4, 0.0]])
    with pytest.raises(TypeError, match=r"t_grid: got .*; allowed: at least two .* in memory"):
        torch.vmap(lambda grid: generate(lambda x, t: -x, HALF, PATH, t_grid=grid))(grids)


def test_autocast_does_not_round_sums_over_points():
    field = EmpiricalField(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), PATH)
    x, t = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)), torch.full((8,), 0.9)
    want = field(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(field(x, t), want, rtol=0, atol=0)


class Broken:
    """A noise whose answer to one method has lost an axis, or is no tensor."""

    def __init__(self, method, answer=lambda x: x[:, 0]):
        self.method, self.answer = method, answer

    def _said(self, method, x):
        return self.answer(x) if method == self.method else x

    def sample(self, t, shape, **options):
        return self._said("sample", torch.ones(shape))

    def velocity(self, x, t, s=None):
        return self._said("velocity", x)

    log_prob = transport = velocity


@pytest.mark.parametrize(
    ("answer", "error"),
    [(lambda x: x[:, 0], ValueError), (lambda x: x.numpy(), TypeError), (lambda x: 1, TypeError)],
)
def test_answers_of_a_noise_do_not_broadcast(answer, error):
    x, wrong = torch.zeros(4, 1), Path(Broken("velocity", answer))
    for call in (
        lambda: wrong.sample(x, 0.5),
        lambda: wrong.velocity(x, 0.5, x),
        lambda: wrong.transport(x, 0.5, 0.2, x),
        lambda: log_likelihood(lambda x, t: 0 * x, x, wrong, steps=2),
        lambda: Path(Broken("sample", answer)).sample(x, 0.5),
        lambda: Path(Broken("sample", answer)).sample_prior((4, 1)),
    ):
        with pytest.raises(error, match=r"noise: .*allowed: "):
            call()


def test_the_velocity_of_a_path_does_not_broadcast():
    class Own:
        T = 1.0

        def velocity(self, x, t, x_0):
            return x_0[:, 0]

    with pytest.raises(ValueError, match=r"path: its velocity is .*\(4,\).*allowed: shape"):
        generate(lambda x, t: x, torch.zeros(4, 1), Own(), prediction="data", t_min=0.1)


def test_exponents_of_karras():
    """No power of a time leaves the range of floats."""
    path, model, x = KacPath(KacProcess(1.0, 1.0), 2.0), lambda x, t: -x, torch.ones(1)
    options = {"t_grid": "karras", "steps": 4, "t_min": 1e-3}
    for rho in (0.5, 7.0, 1e3):
        assert bool(generate(model, x, path, rho=rho, **options) > 2.0)
    for rho in (1e-300, 1e300):
        with pytest.raises(ValueError, match="steps: "):
            generate(model, x, path, rho=rho, **options)


def test_counts_and_names_of_likelihoods():
    x = torch.zeros(2, 1)
    for options, message in (
        ({"prediction": np.array(["data", "velocity"])}, "prediction: "),
        ({"method": "hutchinson", "probes": 2**70}, "probes: "),
        ({"t_grid": np.array([1, 0], "m8[ns]")}, "t_grid: "),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            log_likelihood(lambda x, t: -x, x, PATH, **options)
    with pytest.raises(ValueError, match="levels: "):
        bits_per_dim(x, (1,), 10**400)
    assert normal(3).shape == (3,)
    with pytest.raises(TypeError, match="dtype: "):
        normal((3,), dtype=torch.float16)
    with pytest.raises(ValueError, match="device: got meta; allowed: cpu"):
        QuantileProcess().pair(0.5, (2,), device="meta")

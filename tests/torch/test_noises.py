"""Paths on a noise of one's own, and the Gaussian ones, against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kacflow import BrownianProcess, GaussianPath, KacPath, KacProcess, Path
from kacflow._normal import normal

SHAPE = (6, 3, 2)


class Uniform:
    """N_t = t u with u uniform in [-1, 1]: velocity u = N_t/t."""

    def sample(self, t, shape, *, generator=None, first=0, dtype=torch.float32, device=None):
        where = {"generator": generator, "dtype": dtype, "device": device}
        rows = torch.rand((first + shape[0], *shape[1:]), **where)[first:]
        self.given = {"t": t, "shape": shape, "dtype": dtype, "device": device}
        return self.times(t, len(shape)) * (2 * rows - 1)

    def velocity(self, x, t):
        return torch.where(t > 0, x / t, torch.zeros_like(x))

    def times(self, t: Tensor, ndim: int) -> Tensor:
        return t.reshape(-1, *(1,) * (ndim - 1)) if t.ndim else t


class Paired(Uniform):
    """The same with both in one draw."""

    def pair(self, t, shape, **options):
        self.pairs = True
        x = self.sample(t, shape, **options)
        return x, self.velocity(x, self.times(t, len(shape)))


NOISES = {"two methods": Uniform, "pair": Paired}
noises = pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    x_0 = torch.randn(SHAPE, generator=seeded(1)).to(dtype)
    return x_0, torch.linspace(0.0, 2.0, 6)


@noises
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_draw(noise, dtype):
    """f x_0 + N and f' x_0 + g' v, of the shape and dtype of the data."""
    own = noise()
    path = Path(own, 2.0, "cosine", "square")
    x_0, t = data(dtype)
    sample = path.sample(x_0, t, generator=seeded())
    working = torch.float64 if dtype == torch.float64 else torch.float32
    assert own.given["dtype"] == working and tuple(own.given["shape"]) == SHAPE
    assert hasattr(own, "pairs") is (noise is Paired)
    t = t.to(working)
    g = t * t / 2
    kac = own.sample(g, SHAPE, generator=seeded(), dtype=working)
    column = lambda v: v.reshape(-1, 1, 1)  # noqa: E731
    velocity = own.velocity(kac, column(g))
    f, df = column(path.signal.value(t)), column(path.signal.derivative(t))
    wide = x_0.to(working)
    assert torch.equal(sample.x_t, (f * wide + kac).to(dtype))
    assert torch.equal(sample.dx_t, (df * wide + column(t) * velocity).to(dtype))
    assert sample.x_0 is x_0 and sample.t.shape == (6,) and sample.t.dtype == working


@noises
def test_parts_prior_and_velocity(noise):
    path = Path(noise(), 2.0, "linear", "square")
    x_0, t = data()
    whole = path.sample(x_0, t, generator=seeded())
    part = path.sample(x_0[4:], t[4:], generator=seeded(), first=4)
    assert torch.equal(part.x_t, whole.x_t[4:]) and torch.equal(part.dx_t, whole.dx_t[4:])
    assert not torch.equal(path.sample(x_0, t, generator=seeded(1)).x_t, whole.x_t)

    prior = path.sample_prior(SHAPE, generator=seeded(), dtype=torch.float64)
    assert prior.shape == SHAPE and prior.dtype == torch.float64 and prior.abs().max() <= 2.0
    end = path.sample(x_0.double(), 2.0, generator=seeded())
    assert torch.allclose(prior, end.x_t)

    at = path.velocity(whole.x_t[1:], t[1:], x_0[1:])
    torch.testing.assert_close(at, whole.dx_t[1:], rtol=1e-4, atol=1e-5)
    half = path.velocity(whole.x_t[1:].bfloat16(), t[1:], x_0[1:].bfloat16())
    assert half.dtype == torch.bfloat16


@noises
def test_gradients_go_through_the_draw(noise):
    path = Path(noise(), 2.0, "linear", "square")
    x_0, t = (value.double() for value in data())
    x_0, t = x_0.requires_grad_(), t[1:-1].clone().requires_grad_()

    def point(x_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return path.sample(x_0[1:-1], t, generator=seeded())[2:]

    assert torch.autograd.gradcheck(point, (x_0, t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma", [1.0, 0.5])
def test_diffusion_by_its_formula(dtype, sigma):
    """X_t = f x_0 + sigma sqrt(g) e, velocity f' x_0 + g' sigma e/(2 sqrt(g))."""
    path = GaussianPath("diffusion", 2.0, sigma=sigma, signal="cosine", clock="square")
    x_0, t = data(dtype)
    t = t.to(dtype)
    sample = path.sample(x_0, t, generator=seeded(), first=5)
    e = normal(SHAPE, generator=seeded(), first=5, dtype=dtype)
    f, df, g, dg, root = (
        value.reshape(-1, 1, 1)
        for value in (
            path.signal.value(t), path.signal.derivative(t), t * t / 2, t, (t * t / 2).sqrt()
        )
    )  # fmt: skip
    torch.testing.assert_close(sample.x_t, f * x_0 + sigma * root * e)
    rate = torch.where(root > 0, dg / (2 * root), torch.zeros_like(root))
    torch.testing.assert_close(sample.dx_t, df * x_0 + sigma * rate * e)
    torch.testing.assert_close(
        path.sample_prior(SHAPE, generator=seeded(), dtype=dtype),
        sigma * 2**0.5 * normal(SHAPE, generator=seeded(), dtype=dtype),
    )
    assert bool((g >= 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flow_matching_by_its_formula(dtype):
    """X_t = (1 - t/T) x_0 + (t/T) sigma e, velocity (sigma e - x_0)/T."""
    path = GaussianPath("flow_matching", 2.0, sigma=0.5)
    x_0, t = data(dtype)
    sample = path.sample(x_0, t.to(dtype), generator=seeded())
    e = 0.5 * normal(SHAPE, generator=seeded(), dtype=dtype)
    part = (t / 2).to(dtype).reshape(-1, 1, 1)
    torch.testing.assert_close(sample.x_t, (1 - part) * x_0 + part * e)
    torch.testing.assert_close(sample.dx_t, (e - x_0) / 2)
    prior = path.sample_prior(SHAPE, generator=seeded(), dtype=dtype)
    torch.testing.assert_close(prior, e)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("path", "deviation"),
    [
        (GaussianPath("diffusion", 2.0, sigma=0.5), lambda t: 0.5 * t.sqrt()),
        (GaussianPath("flow_matching", 2.0, sigma=0.5), lambda t: 0.25 * t),
    ],
)
def test_log_density_of_gaussian_noises(dtype, path, deviation):
    x, t = torch.linspace(-3, 3, 15, dtype=dtype), torch.tensor([[0.01], [0.7], [2.0]]).to(dtype)
    want = torch.distributions.Normal(0.0, deviation(t)).log_prob(x)
    got = path.noise.log_prob(x, t)
    assert got.dtype == dtype and got.shape == (3, 15)
    torch.testing.assert_close(got, want)
    at_start = path.noise.log_prob(torch.tensor([0.0, 1e-3, -1.0]).to(dtype), 0.0)
    assert at_start.tolist() == [float("inf"), -float("inf"), -float("inf")]
    with pytest.raises(TypeError, match=r"x: got dtype torch\.bfloat16"):
        path.noise.log_prob(x.bfloat16(), t)


MAKERS = {
    "KacPath": lambda: KacPath(KacProcess(9.0, 3.0)),
    "diffusion": GaussianPath,
    "flow_matching": lambda: GaussianPath("flow_matching"),
    "Path": lambda: Path(BrownianProcess()),
    "own noise": lambda: Path(Uniform()),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("default", [torch.bfloat16, torch.float16])
def test_a_default_type_of_16_bits(make, default):
    """Calls that name no type draw in float32; data keeps its own."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        path = make()
        assert path.sample_prior((2, 3)).dtype == torch.float32
        x_0, t = torch.rand(2, 3), torch.rand(2)
        sample = path.sample(x_0, t)
        assert sample.x_t.dtype == sample.dx_t.dtype == default
        assert path.sample(x_0, 0.5).x_t.dtype == default
        assert path.velocity(x_0, t, x_0).dtype == default
        process = path.noise
        assert process.sample(t, (2, 3)).dtype == torch.float32
        if isinstance(process, KacProcess):
            assert process.sample(t).dtype == process.sample(0.5, 2).dtype == torch.float32
            assert process.sample_path(torch.tensor([0.5]).float(), 2)[0].dtype == torch.float32
            assert process.variance(0.5).dtype == torch.float64
        for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.complex64, "float32"):
            with pytest.raises(TypeError, match="dtype: got"):
                path.sample_prior((2,), dtype=dtype)
    finally:
        torch.set_default_dtype(before)

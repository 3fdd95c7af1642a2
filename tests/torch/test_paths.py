"""KacPath, KacProcess and GaussianPath: identities, laws, types, randomness, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import kacflow
import kacflow_core
from kacflow import GaussianPath, KacPath, KacProcess

SIGNALS = ("constant", "linear", "exp", "cosine", "lambda")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_public_names():
    for name in kacflow.__all__:
        assert getattr(kacflow, name) is not None
    assert set(kacflow.__all__) <= set(dir(kacflow))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kacflow.nothing  # noqa: B018


@pytest.mark.parametrize("clock", ["linear", "square"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_pair_is_signal_plus_noise(signal, clock):
    """With equal seeds the noise is that of the process, and the pair is linear in the data."""
    path = KacPath(KacProcess(9.0, 3.0), T=1.5, signal=signal, clock=clock)
    x_0 = torch.randn(64, 5, dtype=torch.float64, generator=seeded(1))
    t = torch.rand(64, dtype=torch.float64, generator=seeded(2)) * 1.5
    pair = path.sample(x_0, t, generator=seeded(3))
    zero = path.sample(torch.zeros_like(x_0), t, generator=seeded(3))
    f = torch.as_tensor(path.signal.value(t), dtype=torch.float64).expand(64)
    df = torch.as_tensor(path.signal.derivative(t), dtype=torch.float64).expand(64)
    g = path.clock.value(t)
    torch.testing.assert_close(pair.x_t, f[:, None] * x_0 + zero.x_t, rtol=0, atol=1e-14)
    torch.testing.assert_close(pair.dx_t, df[:, None] * x_0 + zero.dx_t, rtol=0, atol=1e-14)
    noise = path.process.sample(g, (64, 5), generator=seeded(3))
    assert torch.equal(zero.x_t, noise)
    dg = torch.as_tensor(path.clock.derivative(t), dtype=torch.float64).expand(64)
    speed = path.process.velocity(noise, g[:, None])
    torch.testing.assert_close(zero.dx_t, dg[:, None] * speed, rtol=0, atol=1e-13)
    again = path.velocity(pair.x_t, t, x_0)
    interior = noise.abs() < 0.999 * 3.0 * g[:, None]
    torch.testing.assert_close(again[interior], pair.dx_t[interior], rtol=0, atol=1e-9)


def test_velocity_is_the_slope_of_the_mean():
    """E[dx_t | t] = d/dt E[X_t] and the second moment obeys d/dt E[X^2] = 2 E[X dX]."""
    path = KacPath(KacProcess(9.0, 3.0), signal="cosine", clock="square")
    x_0 = torch.full((400_000,), 0.7, dtype=torch.float64)

    def moment(t):
        signal = path.signal.value(t)
        return (signal * 0.7) ** 2 + path.process.variance(path.clock.value(t))

    for time in (0.2, 0.6, 0.9):
        t = torch.tensor(time, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(moment(t), t)
        pair = path.sample(x_0, time, generator=seeded(4))
        product = 2 * pair.x_t * pair.dx_t
        error = product.std() / math.sqrt(len(x_0))
        assert abs(product.mean() - slope) < 5 * error


def test_variance_and_atoms():
    process = KacProcess(2.0, 1.5)
    for t in (1e-4, 0.3, 5.0):
        x = process.sample(t, (200_000,), dtype=torch.float64, generator=seeded(5))
        tolerance = 6 * float((x**2).std()) / math.sqrt(x.numel())
        assert abs(float((x**2).mean()) - float(process.variance(t))) < tolerance
        share = float((x.abs() == 1.5 * t).double().mean())
        mass = float(process.atom_mass(t))
        assert abs(share - mass) < 5 * math.sqrt(max(mass * (1 - mass), 1e-12) / x.numel()) + 1e-9
    t = np.geomspace(1e-8, 1e4, 50)
    ours = process.variance(torch.from_numpy(t)).numpy()
    np.testing.assert_allclose(ours, kacflow_core.variance(t, a=2.0, c=1.5), rtol=1e-13)


def test_limit_is_the_diffusion_baseline():
    """a = c^2, c large: the Kac pair has the moments of GaussianPath("diffusion")."""
    x_0 = torch.full((300_000,), 0.4)
    kac = KacPath(KacProcess(400.0**2, 400.0)).sample(x_0, 0.5, generator=seeded(6))
    gauss = GaussianPath("diffusion").sample(x_0, 0.5, generator=seeded(7))
    for ours, theirs in ((kac.x_t, gauss.x_t), (kac.dx_t, gauss.dx_t)):
        assert abs(ours.mean() - theirs.mean()) < 6e-3
        assert abs(ours.std() / theirs.std() - 1) < 8e-3
    correlation = torch.corrcoef(torch.stack([kac.x_t, kac.dx_t]))[0, 1]
    assert correlation > 0.999  # both are the same multiple of the noise


@pytest.mark.parametrize("kind", ["diffusion", "flow_matching"])
def test_gaussian_paths(kind):
    path = GaussianPath(kind, T=2.0, sigma=0.5)
    x_0 = torch.full((200_000,), 0.3, dtype=torch.float64)
    pair = path.sample(x_0, 1.0, generator=seeded(8))
    spread = 0.25 if kind == "flow_matching" else 0.5
    assert pair.x_t.mean() == pytest.approx(0.15, abs=5e-3)
    assert pair.x_t.std() == pytest.approx(spread, rel=1e-2)
    again = path.velocity(pair.x_t, 1.0, x_0)
    torch.testing.assert_close(again, pair.dx_t, rtol=1e-9, atol=1e-9)
    start = path.sample(x_0, 0.0)
    assert torch.equal(start.x_t, x_0) and torch.isfinite(start.dx_t).all()
    prior = path.sample_prior((100_000,), generator=seeded(9))
    scale = 0.5 if kind == "flow_matching" else 0.5 * math.sqrt(2.0)
    assert prior.std() == pytest.approx(scale, rel=2e-2)


def test_prior_is_the_end_of_the_path():
    path = KacPath(KacProcess(9.0, 3.0), T=0.5)
    prior = path.sample_prior((1000, 3), generator=seeded(1))
    end = path.sample(torch.ones(1000, 3), 0.5, generator=seeded(1))
    torch.testing.assert_close(prior, end.x_t, rtol=0, atol=1e-6)
    with_data = KacPath(KacProcess(9.0, 3.0), signal="constant").sample_prior(
        (4, 3), x_0=torch.ones(4, 3), generator=seeded(1)
    )
    without = KacPath(KacProcess(9.0, 3.0), signal="constant").sample_prior(
        (4, 3), generator=seeded(1)
    )
    torch.testing.assert_close(with_data, without + 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_data_computes_in_float32(dtype):
    path = KacPath(KacProcess(9.0, 3.0))
    x_0 = torch.randn(33, 7, generator=seeded(0)).to(dtype)
    t = torch.rand(33, generator=seeded(1))
    low = path.sample(x_0, t, generator=seeded(2))
    high = path.sample(x_0.float(), t, generator=seeded(2))
    assert low.x_t.dtype == low.dx_t.dtype == dtype
    assert torch.equal(low.x_t, high.x_t.to(dtype))
    assert torch.equal(low.dx_t, high.dx_t.to(dtype))


def test_per_channel_parameters():
    a, c = torch.tensor([[1.0, 9.0, 40.0]]), torch.tensor([[0.5, 3.0, 6.0]])
    path = KacPath(KacProcess(a, c))
    sample = path.sample(torch.zeros(500, 3, 16), 0.5, generator=seeded(0))
    for channel in range(3):
        x = sample.x_t[:, channel]
        assert x.abs().max() <= c[0, channel] * 0.5
        expected = KacProcess(float(a[0, channel]), float(c[0, channel])).variance(0.5)
        assert float(x.double().var()) == pytest.approx(float(expected), rel=0.1)
    assert (sample.dx_t.abs().amax((0, 2)) <= c[0]).all()


@pytest.mark.parametrize("size", [0, 1, 129])
def test_sizes(size):
    path = KacPath(KacProcess(9.0, 3.0))
    sample = path.sample(torch.zeros(size, 3), torch.rand(size))
    assert sample.x_t.shape == (size, 3) and torch.isfinite(sample.dx_t).all()
    assert path.sample(torch.zeros(3, size), 0.5).x_t.shape == (3, size)


def test_strides_do_not_matter():
    path = KacPath(KacProcess(9.0, 3.0))
    x_0 = torch.randn(6, 8, 10)
    wanted = path.sample(x_0, 0.3, generator=seeded(0)).x_t
    for view in (x_0.transpose(0, 2).contiguous().transpose(0, 2), x_0.flip(1).flip(1)):
        assert torch.equal(path.sample(view, 0.3, generator=seeded(0)).x_t, wanted)
    image = torch.randn(2, 3, 8, 8)
    last = image.contiguous(memory_format=torch.channels_last)
    one, two = (path.sample(v, 0.3, generator=seeded(0)).x_t for v in (image, last))
    assert torch.equal(one, two)


def test_randomness_is_torchs():
    path, x_0 = KacPath(KacProcess(9.0, 3.0)), torch.zeros(4, 4)
    torch.manual_seed(3)
    first, second = path.sample(x_0, 0.5).x_t, path.sample(x_0, 0.5).x_t
    torch.manual_seed(3)
    assert torch.equal(path.sample(x_0, 0.5).x_t, first) and not torch.equal(first, second)
    generator = seeded(1)
    drawn = path.sample(x_0, 0.5, generator=generator).x_t
    follow = torch.randint(2**63 - 1, (), generator=generator)
    other = seeded(1)
    seed = int(torch.randint(2**63 - 1, (), generator=other))  # one 64-bit number per call
    assert torch.equal(torch.randint(2**63 - 1, (), generator=other), follow)
    assert np.array_equal(drawn, kacflow_core.sample(0.5, (4, 4), a=9.0, c=3.0, seed=seed))


def test_threads_follow_torch_and_change_nothing():
    path, x_0 = KacPath(KacProcess(9.0, 3.0)), torch.zeros(64, 3, 32, 32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(path.sample(x_0, 0.5, generator=seeded(0)).x_t)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


class Noise(torch.utils.data.Dataset):
    """A data set whose items are drawn in the worker."""

    path = KacPath(KacProcess(9.0, 3.0))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.path.sample(torch.zeros(70_000), 0.5).x_t[:1000]


def test_forked_loader_workers_neither_hang_nor_repeat():
    Noise()[0]  # threads exist before the fork
    loader = torch.utils.data.DataLoader(
        Noise(), num_workers=2, multiprocessing_context="fork", timeout=60
    )
    items = torch.cat(list(loader))
    assert len(torch.unique(items, dim=0)) == 8


class Unbounded:
    pass


PATH = KacPath(KacProcess(9.0, 3.0))
X = torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PATH.sample(X, -0.1), ValueError, "t: got values from -0.1"),
        (lambda: PATH.sample(X, 1.1), ValueError, "allowed: 0 <= t <= T = 1"),
        (lambda: PATH.sample(X, math.nan), ValueError, "t: got values from nan"),
        (lambda: PATH.sample(X, torch.rand(3)), ValueError, r"t: got shape \(3,\)"),
        (lambda: PATH.sample(X, torch.rand(4, 2)), ValueError, r"t: got shape \(4, 2\)"),
        (lambda: PATH.sample(X, torch.ones(4, dtype=torch.long)), TypeError, "t: got dtype"),
        (lambda: PATH.sample(X, "1"), TypeError, "t: got str"),
        (lambda: PATH.sample(X.long(), 0.5), TypeError, "x_0: got dtype torch.int64"),
        (lambda: PATH.sample(X.numpy(), 0.5), TypeError, "x_0: got ndarray"),
        (lambda: PATH.sample(X.to("meta"), X[:, 0]), ValueError, "t: is on cpu"),
        (lambda: KacProcess(0.0, 1.0), ValueError, "a: got 0.0"),
        (lambda: KacProcess(1.0, -1.0), ValueError, "c: got -1.0"),
        (lambda: KacProcess(1.0, math.nan), ValueError, "c: got nan"),
        (lambda: KacProcess("1", 1.0), TypeError, "a: got str"),
        (lambda: KacProcess(torch.ones(2).long(), 1.0), TypeError, "a: got dtype"),
        (lambda: PATH.process.sample(-1.0, (2,)), ValueError, "t: got -1"),
        (lambda: PATH.process.sample(1.0, (2,), dtype=torch.float16), TypeError, "dtype: got"),
        (lambda: PATH.process.velocity(X, -1.0), ValueError, "t: got -1"),
        (lambda: PATH.process.variance(-1.0), ValueError, "t: got -1"),
        (lambda: KacPath(Unbounded()), TypeError, "process: got Unbounded"),
        (lambda: GaussianPath("uniform"), ValueError, "kind: got 'uniform'"),
        (lambda: GaussianPath(sigma=0.0), ValueError, "sigma: got 0.0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_data_that_is_not_a_number_stays_where_it_is():
    x_0 = torch.zeros(3, 4)
    x_0[1, 2], x_0[2, 0] = math.nan, math.inf
    sample = PATH.sample(x_0, 0.5)
    assert torch.equal(torch.isfinite(sample.x_t), torch.isfinite(x_0))
    assert torch.equal(torch.isfinite(sample.dx_t), torch.isfinite(x_0))

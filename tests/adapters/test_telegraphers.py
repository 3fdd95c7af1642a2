"""The paper's interface: shapes, laws, velocities, and the calls that its scripts make."""

from __future__ import annotations

import copy
import inspect
import itertools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from kacflow.adapters import telegraphers
from kacflow.adapters.telegraphers import TorchKacConstantSampler, compute_velocity

special = pytest.importorskip("scipy.special")

A, C = 9.0, 3.0


def sampler(**changes):
    return TorchKacConstantSampler(
        **{"a": A, "c": C, "T": 1.0, "M": 50_000, "K": 4096, "device": "cpu", **changes}
    )


def quotient(x, t, a=A, c=C):
    """x/(t + (r/c) I0(z)/I1(z)), z = a r/c, r^2 = (c t)^2 - x^2, in float64."""
    r = torch.sqrt((c * t) ** 2 - x**2)
    z = (a / c) * r
    ratio = torch.from_numpy(special.i0e(z.numpy()) / special.i1e(z.numpy()))
    return x / (t + r / c * ratio)


def test_signatures():
    parameters = inspect.signature(TorchKacConstantSampler).parameters
    assert list(parameters) == ["a", "c", "T", "M", "K", "device", "dtype"]
    assert parameters["K"].default == 1024 and parameters["dtype"].default is torch.float32
    assert str(inspect.signature(TorchKacConstantSampler.sample)).startswith("(self, t:")
    parameters = inspect.signature(compute_velocity).parameters
    assert list(parameters) == ["x", "t", "a", "c", "epsilon", "T"]
    assert (parameters["epsilon"].default, parameters["T"].default) == (1e-6, 1.0)
    one = sampler(device=None)
    assert (one.a, one.c, one.beta, one.T, one.M, one.K) == (A, C, A / C, 1.0, 50_000, 4096)
    assert one.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert sampler(device="cpu").device == "cpu"  # as given, for scripts that compare it


@pytest.mark.parametrize("shape", [(), (5,), (0,), (4, 1), (2, 3, 4)])
def test_shapes(shape):
    t = torch.rand(shape, dtype=torch.float64)
    for dim in (1, 7):
        x = sampler().sample(t, dim=dim)
        assert x.shape == (*shape, dim) and x.dtype == torch.float32
        assert (x.abs() <= C * t[..., None].float() * (1 + 1e-6)).all()
    assert sampler(dtype=torch.float64).sample(t).dtype == torch.float64
    assert sampler().sample(torch.ones(3, dtype=torch.long)).shape == (3, 1)


@pytest.mark.parametrize("t", [0.02, 0.5, 3.0])
def test_law(t):
    """Atoms, variance and characteristic function in closed form; t beyond T as well."""
    torch.manual_seed(1)
    n, tau = 200_000, A * t
    x = (
        sampler(dtype=torch.float64)
        .sample(torch.full((n // 4,), t, dtype=torch.float64), dim=4)
        .reshape(-1)
    )
    atoms = (x.abs() >= C * t * (1 - 1e-12)).double().mean().item()
    p = math.exp(-tau)
    assert abs(atoms - p) < 4 * math.sqrt(p * (1 - p) / n) + 1e-9
    variance = C * C / A * (t - (1 - math.exp(-2 * tau)) / (2 * A))
    assert x.square().mean().item() == pytest.approx(variance, rel=0.02)
    assert abs(x.mean().item()) < 4 * math.sqrt(variance / n)
    k = 2.0
    m = torch.sqrt(torch.tensor(complex(tau**2 - (C * k * t) ** 2)))
    expected = (math.exp(-tau) * (torch.cosh(m) + tau / m * torch.sinh(m))).real.item()
    assert torch.cos(k * x).mean().item() == pytest.approx(expected, abs=4 / math.sqrt(n))


def test_no_table():
    """Grids of 10^24 points cost nothing, and the sampler holds no tensor but a and c."""
    big = sampler(M=10**12, K=10**12)
    assert big.sample(torch.rand(5)).shape == (5, 1)
    assert len(pickle.dumps(big)) < 2000


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_draw_the_same(twin):
    first = sampler(dtype=torch.float64)
    second = twin(first)
    assert vars(second).keys() == vars(first).keys()
    draws = []
    for one in (first, second):
        torch.manual_seed(3)
        draws.append(one.sample(torch.linspace(0.1, 1, 5), dim=2))
    assert torch.equal(*draws)


def test_calls_of_scripts_built_on_the_paper():
    """Integer parameters, names for all arguments, images, times of another device's dtype."""
    one = TorchKacConstantSampler(a=25, c=2, T=1, M=50_000, K=4_096, device="cpu")
    t = torch.rand(6) + 0.01
    z = one.sample(t=t, dim=12).reshape(6, 3, 2, 2)
    t = t.view(-1, 1, 1, 1)
    v = compute_velocity(x=z, t=t, a=25, c=torch.tensor(2), epsilon=1e-5)
    assert v.shape == z.shape
    assert torch.equal(v, compute_velocity(z, t, 25.0, 2.0, 1e-5))
    assert torch.equal(v, compute_velocity(z, t, torch.tensor([25.0]), torch.tensor([2.0]), 1e-5))
    assert torch.equal(v, compute_velocity(z.double(), t, 25.0, torch.tensor(2.0).double(), 1e-5))
    atoms = one.sample(torch.full((2000,), 0.02), dim=1)
    moved = compute_velocity(atoms, torch.full((2000, 1), 0.02), 25, 2).abs() == 2.0
    assert 0.5 < moved.float().mean() < 0.7  # e^-0.5 of them, whatever float32 makes of c t


def test_seed_decides():
    torch.manual_seed(3)
    first = sampler().sample(torch.rand(5), dim=2)
    torch.manual_seed(3)
    assert torch.equal(first, sampler().sample(torch.rand(5), dim=2))


def test_velocity_inside():
    torch.manual_seed(0)
    t = torch.rand(200, 1, dtype=torch.float64) + 1e-3
    x = C * t * (2 * torch.rand(200, 33, dtype=torch.float64) - 1) * (1 - 1e-5)
    v = compute_velocity(x, t, A, C)
    assert v.dtype == torch.float32
    torch.testing.assert_close(v.double(), quotient(x, t), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(v, compute_velocity(x, t, torch.tensor(A), torch.tensor(C)))
    torch.testing.assert_close(compute_velocity(-x, t, A, C), -v, rtol=0, atol=0)


@pytest.mark.parametrize(("epsilon", "T"), [(1e-6, 1.0), (1e-4, 1.0), (1e-4, 2.0), (0.0, 1.0)])
def test_layer_below_the_light_cone(epsilon, T):
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    edge = C * t * (1 - epsilon / T)
    step = 1e-9
    above = compute_velocity(edge * (1 + step), t, A, C, epsilon=epsilon, T=T)
    below = compute_velocity(edge * (1 - step), t, A, C, epsilon=epsilon, T=T)
    assert torch.equal(above, torch.full((3,), C))
    limit = (C * A * t / (A * t + 2)).float()  # the interior velocity at the edge
    torch.testing.assert_close(below, limit, rtol=1e-3, atol=0)
    assert torch.equal(compute_velocity(-2 * edge, t, A, C, epsilon, T), torch.full((3,), -C))
    zero = torch.zeros(1)
    assert torch.equal(compute_velocity(zero, zero, A, C, epsilon, T), zero)
    assert compute_velocity(zero * math.nan, zero + 1, A, C, epsilon, T).isnan().all()


def test_speed_per_channel():
    c = torch.tensor([2.0, 3.0])
    x = torch.tensor([[0.3, 0.3]])
    v = compute_velocity(x, torch.tensor([[0.5]]), A, c)
    for i in range(2):
        alone = compute_velocity(x[:, i], torch.tensor(0.5), A, float(c[i]))
        assert torch.equal(v[:, i], alone)


def test_gradients():
    x = torch.tensor([0.2, -0.7], dtype=torch.float64, requires_grad=True)
    t = torch.tensor(0.5, dtype=torch.float64)
    (slope,) = torch.autograd.grad(compute_velocity(x, t, A, C).sum(), x)
    step = 1e-6
    wanted = (quotient(x.detach() + step, t) - quotient(x.detach() - step, t)) / (2 * step)
    torch.testing.assert_close(slope, wanted, rtol=1e-6, atol=0)


def test_training_is_that_of_kac_path(run):
    """The training step of the scripts: flat data, f and g by hand, velocity of x_t - f x_0."""
    noise = sampler(a=run.a, c=run.c, T=run.T, dtype=torch.float64)

    def loss(model, x0, t):
        f, df = run.path.signal.value(t)[:, None], run.path.signal.derivative(t)
        df = df[:, None] if isinstance(df, torch.Tensor) else df
        g, dg = run.path.clock.value(t), run.path.clock.derivative(t)
        dg = dg[:, None] if isinstance(dg, torch.Tensor) else dg
        xt = f * x0 + noise.sample(g, dim=x0.shape[1])
        with torch.no_grad():
            velo = dg * compute_velocity(xt - f * x0, g.unsqueeze(1), run.a, run.c, epsilon=1e-9)
        return mse_loss(model(xt, t), velo + df * x0)

    wanted = run.reference()
    torch.testing.assert_close(run.losses(loss), wanted, rtol=1e-6, atol=0)
    turned = run.losses(lambda model, x0, t: loss(model, x0, run.T - t))
    assert not torch.allclose(turned, wanted, rtol=1e-2)


def test_the_paper_in_two_dimensions():
    """Constant signal, Euler steps back from T in float32: the points of the data come out."""
    torch.manual_seed(0)
    centres = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 2)
    T, steps, count = 1.0, 200, 400
    noise = sampler(T=T, M=10_000)
    x0 = centres[torch.randint(4, (count,))]
    x = noise.sample(torch.ones(count, 1).squeeze(1) * T, dim=2) + x0
    times = torch.linspace(T, 0.0, steps + 1)
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * compute_velocity(x - x0, t, A, C, epsilon=1e-4, T=T)
    assert (x - x0).abs().max() < 2.5 * C * T / steps


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu():
    x = TorchKacConstantSampler(A, C, 1.0, 50_000).sample(torch.ones(100), dim=3072)
    assert x.device.type == "cuda"
    v = compute_velocity(x, torch.ones(100, 1), A, C)
    cpu = compute_velocity(x.cpu(), torch.ones(100, 1), A, C)
    torch.testing.assert_close(v.cpu(), cpu)


def velocity(**changes):
    return compute_velocity(
        **{"x": torch.full((2,), 0.7), "t": torch.ones(2), "a": A, "c": C, **changes}
    )


def test_integers_and_numpy_scalars():
    """Of whatever type the numbers come, they are what they are in float64."""
    wanted = velocity(x=torch.tensor([2.0, -4.0]), t=torch.tensor([1.0, 2.0]))
    for kind in (torch.int64, torch.uint8, torch.bfloat16):
        x = torch.tensor([2, -4]).to(torch.int64 if kind == torch.uint8 else kind)
        assert torch.equal(velocity(x=x, t=torch.tensor([1, 2], dtype=kind)), wanted)
    numbers = {"a": np.float32(A), "c": np.int64(C), "epsilon": np.float64(1e-6), "T": np.int8(1)}
    assert torch.equal(velocity(**numbers), velocity())
    assert torch.equal(velocity(a=torch.tensor(9), c=torch.tensor([3])), velocity())
    one = sampler(a=np.float32(A), c=np.int64(C), T=np.float16(1), M=np.int32(5), K=np.uint8(5))
    for draw in (one, sampler()):
        torch.manual_seed(0)
        drawn = draw.sample(torch.arange(3), dim=np.int64(2))
        assert drawn.shape == (3, 2)
    torch.manual_seed(0)
    assert torch.equal(drawn, one.sample(torch.arange(3), 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sampler(a=0.0), ValueError, "a: got 0.0"),
        (lambda: sampler(dtype=torch.float16), TypeError, "dtype: got torch.float16"),
        (lambda: sampler().sample(0.5), TypeError, r"t: got float 0\.5"),
        (lambda: sampler().sample(-torch.ones(2)), ValueError, "t: got -1"),
        (lambda: compute_velocity(0.5, torch.ones(1), A, C), TypeError, r"x: got float 0\.5"),
        (lambda: compute_velocity(torch.ones(1), 0.5, A, C), TypeError, r"t: got float 0\.5"),
        (lambda: compute_velocity(torch.ones(1), torch.ones(1), 0.0, C), ValueError, "a: got 0"),
        (lambda: sampler(a=True), TypeError, "a: got bool True"),
        (lambda: sampler(c=torch.tensor(3)), TypeError, "c: got Tensor"),
        (lambda: sampler(T=math.nan), ValueError, "T: got nan"),
        (lambda: sampler(M=0), ValueError, "M: got 0"),
        (lambda: sampler(K=4.5), TypeError, r"K: got float 4\.5"),
        (lambda: sampler(device="toaster"), ValueError, "device: got str 'toaster'"),
        (lambda: sampler().sample(torch.ones(2), -1), ValueError, "dim: got -1"),
        (lambda: sampler().sample(torch.ones(2), 2.0), TypeError, r"dim: got float 2\.0"),
        (lambda: sampler().sample(torch.ones(2) > 0), TypeError, "t: got .* torch.bool"),
        (lambda: sampler().sample(torch.ones(2, device="meta")), TypeError, "t: got .* on meta"),
        (lambda: velocity(epsilon=math.nan), ValueError, "epsilon: got nan"),
        (lambda: velocity(epsilon=-1e-6), ValueError, "epsilon: got -1e-06"),
        (lambda: velocity(epsilon=2.0, T=2), ValueError, r"epsilon: got 2\.0; .* < T = 2"),
        (lambda: velocity(epsilon=torch.tensor(0.1)), TypeError, "epsilon: got Tensor"),
        (lambda: velocity(T=0.0), ValueError, r"T: got 0\.0"),
        (lambda: velocity(T=math.inf), ValueError, "T: got inf"),
        (lambda: velocity(a=True), TypeError, "a: got bool True"),
        (lambda: velocity(a=torch.tensor(True)), TypeError, "a: got Tensor .* torch.bool"),
        (lambda: velocity(a=torch.tensor([1.0, -1.0])), ValueError, "a: got -1"),
        (lambda: velocity(c=1e300), ValueError, r"c: got 1e\+300"),
        (lambda: velocity(c=1j), TypeError, "c: got complex 1j"),
        (
            lambda: velocity(t=torch.ones(3)),
            ValueError,
            r"shapes do not broadcast: x \(2,\), t \(3,\)",
        ),
        (lambda: velocity(x=torch.ones(2, dtype=torch.cfloat)), TypeError, "x: got .*complex64"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_needs_no_other_package(child_environment):
    blocked = "scipy", "torchcfm", "flow_matching", "diffusers", "torchdiffeq"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); import {telegraphers.__name__}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=child_environment)

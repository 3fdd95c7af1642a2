"""The probability path against flow_matching itself: interface, conventions, training, solver."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch.nn.functional import mse_loss

library = pytest.importorskip("flow_matching.path", reason="make test installs flow_matching")

solver = pytest.importorskip("flow_matching.solver", reason="it needs torchdiffeq")

from kacflow import (  # noqa: E402
    GaussianPath,
    KacPath,
    KacProcess,
    Path,
    QuantileProcess,
    UniformProcess,
    generate,
)
from kacflow.adapters.flow_matching import KacProbPath, NoiseProbPath  # noqa: E402


def prob_path(run):
    return KacProbPath(run.a, run.c, run.T, run.signal, run.clock)


def test_interface_is_the_librarys():
    path = KacProbPath(9.0, 3.0)
    assert isinstance(path, library.ProbPath)
    for name in ("sample", "target_to_velocity"):
        ours, theirs = (
            list(inspect.signature(getattr(c, name)).parameters)
            for c in (KacProbPath, library.CondOTProbPath)
        )
        assert ours == theirs
    x_0, x_1, t = torch.randn(8, 3), torch.randn(8, 3), torch.rand(8)
    ours, theirs = (p.sample(x_0=x_0, x_1=x_1, t=t) for p in (path, library.CondOTProbPath()))
    assert type(ours) is type(theirs) is library.PathSample
    assert ours.x_0 is x_0 and ours.x_1 is x_1 and ours.t is t
    for name in ("x_t", "dx_t"):
        mine, wanted = getattr(ours, name), getattr(theirs, name)
        assert (mine.shape, mine.dtype) == (wanted.shape, wanted.dtype)


def test_ends_and_direction():
    path = KacProbPath(9.0, 3.0, T=2.0)
    x_1, x_0 = torch.randn(1000, 4), torch.full((1000, 4), math.nan)
    data = path.sample(x_0, x_1, torch.ones(1000))
    assert torch.equal(data.x_t, x_1) and data.dx_t.isfinite().all()
    torch.manual_seed(0)
    noise = path.sample(x_0, x_1, torch.zeros(1000)).x_t
    torch.manual_seed(0)
    assert torch.equal(noise, path.sample_prior(x_1.shape))
    late = path.sample(x_0, x_1, torch.full((1000,), 0.9))
    assert ((x_1 - late.x_t) * late.dx_t).mean() > 0
    again = path.target_to_velocity(x_1, late.x_t, late.t)
    inside = (late.x_t - 0.9 * x_1).abs() < 0.99 * 3.0 * 0.2
    torch.testing.assert_close(again[inside], late.dx_t[inside], rtol=1e-4, atol=1e-4)


OTHERS = {
    "Kac": lambda: KacPath(KacProcess(9.0, 3.0), T=2.0),
    "flow matching": lambda: GaussianPath("flow_matching", T=2.0),
    "uniform": lambda: Path(UniformProcess(2.0), T=2.0, signal="cosine"),
    "quantile": lambda: Path(QuantileProcess(4, bins=8), T=2.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_path(name):
    """The pairs of the path itself, from noise to data, and gradients to what is learned of it."""
    path = OTHERS[name]()
    adapter, x_1, t = NoiseProbPath(path), torch.randn(64, 4), torch.rand(64)
    torch.manual_seed(0)
    ours = adapter.sample(torch.empty(64, 4), x_1, t)
    torch.manual_seed(0)
    theirs = path.sample(x_1, 2.0 * (1.0 - t))
    assert torch.equal(ours.x_t, theirs.x_t) and torch.equal(ours.dx_t, -2.0 * theirs.dx_t)
    torch.manual_seed(0)
    noise = adapter.sample(torch.empty(64, 4), x_1, torch.zeros(64)).x_t
    torch.manual_seed(0)
    torch.testing.assert_close(noise, adapter.sample_prior(x_1.shape), rtol=1e-6, atol=1e-6)
    again = adapter.target_to_velocity(x_1, ours.x_t.detach(), t)
    assert (again - ours.dx_t).abs().median() < 1e-3
    if name == "Kac":
        torch.manual_seed(0)
        assert torch.equal(KacProbPath(9.0, 3.0, 2.0).sample(noise, x_1, t).x_t, ours.x_t)
    if name == "quantile":
        ours.dx_t.square().mean().backward()
        assert path.noise.heights.grad.abs().sum() > 0


def test_only_a_path():
    with pytest.raises(TypeError, match=r"path: got .*KacProcess.*; allowed: a kacflow.Path"):
        NoiseProbPath(KacProcess(9.0, 3.0))


def test_training_is_that_of_kac_path(run):
    """The loop of the library's examples; its model is -T times ours at s = T (1 - t)."""
    path = prob_path(run)

    def loss(model, x_0, s, sign=-1.0):
        sample = path.sample(x_0=torch.full_like(x_0, math.nan), x_1=x_0, t=1 - s / run.T)
        out = sign * run.T * model(sample.x_t, run.T * (1 - sample.t))
        return mse_loss(out, sample.dx_t) / run.T**2

    wanted = run.reference()
    torch.testing.assert_close(run.losses(loss), wanted, rtol=1e-10, atol=0)
    wrong = run.losses(lambda model, x_0, s: loss(model, x_0, s, sign=1.0))
    assert not torch.allclose(wrong, wanted, rtol=1e-3)


@pytest.mark.parametrize("method", ["euler", "midpoint"])
def test_ode_solver_from_noise_to_a_point(method):
    path = KacProbPath(9.0, 3.0, T=1.5)
    point = torch.tensor([[0.7, -0.4]]).expand(64, 2)
    start = path.sample_prior((64, 2), generator=torch.Generator().manual_seed(0))
    end = solver.ODESolver(lambda x, t: path.target_to_velocity(point, x, t)).sample(
        x_init=start, method=method, step_size=1 / 400
    )
    assert (end - point).abs().max() < 0.05


@pytest.mark.parametrize(
    ("method", "options", "allowed"),
    [
        ("euler", {"step_size": 1 / 20}, 1e-12),
        ("midpoint", {"step_size": 1 / 20}, 1e-12),
        ("dopri5", {"step_size": None, "rtol": 1e-9, "atol": 1e-9}, 1e-7),
    ],
)
def test_ode_solver_is_generate(method, options, allowed):
    """The same field through the library's solver and through ours."""
    path = KacProbPath(9.0, 3.0, T=1.5)

    def field(x, s):
        return torch.sin(3 * s)[:, None] * x + torch.cos(x)

    def model(x, t):
        return -1.5 * field(x, 1.5 * (1 - t.expand(len(x))))

    start = path.sample_prior((64, 2), dtype=torch.float64)
    theirs = solver.ODESolver(model).sample(
        x_init=start, method=method, time_grid=torch.tensor([0.0, 1.0]).double(), **options
    )
    tolerances = {"rtol": 1e-9, "atol": 1e-9} if method == "dopri5" else {}
    ours = generate(field, start, path.path, steps=20, method=method, **tolerances)
    torch.testing.assert_close(theirs, ours, rtol=allowed, atol=allowed)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(3, 2), torch.zeros(4, 2), torch.rand(4)), ValueError, r"x_0: got \(3, 2\)"),
        ((None, torch.zeros(4, 2), torch.rand(4)), ValueError, "x_0: got NoneType"),
        ((torch.zeros(4, 2), torch.zeros(4, 2), 0.5), TypeError, "t: got float 0.5"),
        ((torch.zeros(4, 2), torch.zeros(4, 2), torch.rand(3)), ValueError, "t: got shape"),
        ((torch.zeros(4, 2), torch.zeros(4, 2), -torch.ones(4)), ValueError, "t: got values"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        KacProbPath(9.0, 3.0).sample(*arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p, x, t: p.sample(x, None, t), TypeError, "x_1: got None"),
        (lambda p, x, t: p.sample(x[0, 0], x[0, 0], t), ValueError, r"x_1: got shape \(\)"),
        (lambda p, x, t: p.sample(x, x.long(), t), TypeError, "x_1: got dtype torch.int64"),
        (lambda p, x, t: p.target_to_velocity(x[:, 0], x, t), ValueError, r"x_1: got shape \(4,\)"),
        (lambda p, x, t: p.target_to_velocity(x, "x", t), TypeError, "x_t: got str 'x'"),
        (lambda p, x, t: p.target_to_velocity(x, x, t + 1), ValueError, "t: got values"),
    ],
)
def test_bad_input_names_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call(KacProbPath(9.0, 3.0), torch.zeros(4, 2), torch.full((4,), 0.5))

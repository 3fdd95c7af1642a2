"""The registered operators: opcheck, gradients, fullgraph compilation."""

from __future__ import annotations

import pytest
import torch
from torch.library import opcheck

import kacflow
from kacflow import KacPath, KacProcess

OPS = torch.ops.kacflow
SEED = torch.tensor(5)


def pair_arguments(dtype=torch.float32, grad=False):
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randn(6, 3, dtype=dtype, generator=generator).requires_grad_(grad)
    t = torch.rand(6, dtype=dtype, generator=generator)
    one = torch.ones((), dtype=dtype)
    parameters = (9 * one, 3 * one, 1 - t, -one, t, one.clone())
    return (x_0, *(p.requires_grad_(grad) for p in parameters), SEED, 7)


def velocity_arguments(grad=False):
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(6, 3, dtype=torch.float64, generator=generator) - 1
    t = 0.5 + torch.rand(6, 1, dtype=torch.float64, generator=generator)
    a, c = torch.tensor(9.0).double(), torch.tensor([2.5, 3.0, 4.0]).double()
    return tuple(v.requires_grad_(grad) for v in (x, t, a, c))


def test_opcheck():
    one = torch.tensor(1.0)
    t, a, c = (v.clone().requires_grad_() for v in (torch.rand(6), 9 * one, 3 * one))
    opcheck(OPS.sample, (t, a, c, SEED, 0, (6, 3), torch.float32))
    opcheck(OPS.sample_pair, pair_arguments(grad=True))
    opcheck(OPS.sample_pair, pair_arguments(torch.float64))
    opcheck(OPS.velocity, velocity_arguments(grad=True))
    opcheck(OPS.velocity_grad, velocity_arguments(grad=True))
    opcheck(OPS._draw_velocity, velocity_arguments(grad=True))
    for op in (OPS._velocity_hessian, OPS._draw_acceleration):  # nothing to differentiate there
        opcheck(op, velocity_arguments())


@pytest.mark.parametrize("op", [OPS.velocity, OPS.velocity_grad])
def test_velocity_gradients(op):
    """Reverse and forward mode, batched and not; velocity_grad's are the second of velocity."""
    assert torch.autograd.gradcheck(
        op, velocity_arguments(grad=True), check_forward_ad=True, check_batched_grad=True,
        check_batched_forward_grad=True,
    )  # fmt: skip


def test_second_velocity_gradients():
    assert torch.autograd.gradgradcheck(
        OPS.velocity, velocity_arguments(grad=True), check_fwd_over_rev=True
    )


def test_pair_gradients():
    """In what the pair is linear in; test_draws has the others."""
    x_0, a, c, f, df, g, dg, seed, offset = pair_arguments(torch.float64, grad=True)

    def pair(x_0, f, df, dg):
        return OPS.sample_pair(x_0, a.detach(), c.detach(), f, df, g.detach(), dg, seed, offset)

    assert torch.autograd.gradcheck(pair, (x_0, f, df, dg), check_forward_ad=True)


def test_third_derivatives_say_so():
    x, t, a, c = (v.flatten()[0] for v in velocity_arguments())
    for nested in (torch.func.grad, torch.func.jacfwd):
        third = nested(nested(nested(lambda x: OPS.velocity(x, t, a, c))))
        with pytest.raises(RuntimeError, match="asks for a further one"):
            third(x)


def test_functional_in_seed_and_offset():
    arguments = pair_arguments()
    first, again = OPS.sample_pair(*arguments), OPS.sample_pair(*arguments)
    assert all(torch.equal(p, q) for p, q in zip(first, again, strict=True))
    moved = OPS.sample_pair(*arguments[:-1], 8)
    assert not torch.equal(first[0], moved[0])


def test_gradient_path_has_the_noise_of_the_direct_one():
    path = KacPath(KacProcess(9.0, 3.0))
    x_0, t = torch.randn(8, 4), torch.rand(8)
    torch.manual_seed(1)
    direct = path.sample(x_0, t)
    torch.manual_seed(1)
    tracked = path.sample(x_0.clone().requires_grad_(), t)
    assert torch.equal(direct.x_t, tracked.x_t.detach())
    assert torch.equal(direct.dx_t, tracked.dx_t.detach())
    (tracked.x_t + 2 * tracked.dx_t).sum().backward()


def training_step(path, x_0, t):
    sample = path.sample(x_0, t)
    speed = path.process.velocity(sample.x_t, t[:, None])
    return (sample.x_t * sample.dx_t).mean() + speed.square().mean()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_to_one_graph(backend):
    path = KacPath(KacProcess(9.0, 3.0))
    x_0, t = torch.randn(16, 4), torch.rand(16)
    compiled = torch.compile(training_step, fullgraph=True, backend=backend)
    torch.manual_seed(0)
    wanted = training_step(path, x_0, t)
    torch.manual_seed(0)
    got, fresh = compiled(path, x_0, t), compiled(path, x_0, t)
    torch.testing.assert_close(got, wanted)
    assert got != fresh


def test_compiled_by_inductor_trains():
    """Gradients through the compiled pair and velocity, with the default backend."""
    path = KacPath(KacProcess(9.0, 3.0))
    x_0 = torch.randn(16, 4, requires_grad=True)
    t = torch.rand(16)
    compiled = torch.compile(training_step, fullgraph=True)
    compiled(path, x_0, t).backward()
    assert torch.isfinite(x_0.grad).all() and x_0.grad.abs().sum() > 0


def test_namespace():
    for name in ("sample", "sample_pair", "velocity", "velocity_grad"):
        assert getattr(kacflow.ops, name) is getattr(OPS, name)

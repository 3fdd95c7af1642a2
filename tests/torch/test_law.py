"""Distribution functions and paths of the torch layer: values, derivatives, transforms, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.library import opcheck

import kacflow_core
from kacflow import KacProcess

OPS = torch.ops.kacflow
A, C, T = 9.0, 3.0, 0.5


def arguments(grad: bool = False) -> tuple[torch.Tensor, ...]:
    """x inside the cone, off its centre, and parameters of several shapes."""
    generator = torch.Generator().manual_seed(0)
    x = 1.4 * torch.rand(5, 3, dtype=torch.float64, generator=generator) - 0.7
    t = 0.4 + torch.rand(5, 1, dtype=torch.float64, generator=generator)
    a, c = torch.tensor(9.0).double(), torch.tensor([2.5, 3.0, 4.0]).double()
    return tuple(v.requires_grad_(grad) for v in (x, t, a, c))


def quantile_arguments(grad: bool = False) -> tuple[torch.Tensor, ...]:
    _, *parameters = arguments(grad)
    generator = torch.Generator().manual_seed(1)
    q = 0.1 + 0.8 * torch.rand(5, 3, dtype=torch.float64, generator=generator)
    return q.requires_grad_(grad), *parameters


def test_values_are_those_of_the_core():
    process = KacProcess(A, C)
    x = torch.linspace(-1.7, 1.7, 35, dtype=torch.float64)
    for got, want in (
        (process.log_prob(x, T), kacflow_core.logpdf(x.numpy(), T, a=A, c=C)),
        (process.cdf(x, T), kacflow_core.cdf(x.numpy(), T, a=A, c=C)),
        (process.transport(x, T, 0.2), kacflow_core.transport(x.numpy(), T, 0.2, a=A, c=C)),
        (process.icdf((x + 1.7) / 3.4, T), kacflow_core.ppf((x.numpy() + 1.7) / 3.4, T, a=A, c=C)),
    ):
        assert got.dtype == torch.float64
        np.testing.assert_array_equal(got.numpy(), want)
    assert process.cdf(x.float(), T).dtype == torch.float32
    inside = x[x.abs() < C * T]
    torch.testing.assert_close(process.icdf(process.cdf(inside, T), T), inside)


def test_density_has_the_mass_that_the_atoms_leave():
    process = KacProcess(A, C)
    x = torch.linspace(-C * T, C * T, 4001, dtype=torch.float64)
    mass = torch.trapezoid(process.log_prob(x, T).exp(), x)
    torch.testing.assert_close(mass + process.atom_mass(T), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("name", ["logpdf", "cdf"])
def test_derivatives(name: str):
    op = getattr(OPS, name)
    assert torch.autograd.gradcheck(op, arguments(grad=True), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(op, arguments(grad=True))


def test_derivatives_of_quantiles():
    given = quantile_arguments(grad=True)
    assert torch.autograd.gradcheck(OPS.ppf, given, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(OPS.ppf, given)


def transport_arguments(grad: bool = False) -> tuple[torch.Tensor, ...]:
    x, t, a, c = arguments(grad)
    s = (1.3 * t.detach()).requires_grad_(grad)
    return x, t, s, a, c


def test_derivatives_of_the_transport():
    given = transport_arguments(grad=True)
    assert torch.autograd.gradcheck(OPS.transport, given, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(OPS.transport, given)
    # to and from the atoms: they move with c s, whatever comes to them
    x = torch.tensor([-1.6, -1.5, 1.45, 1.5], dtype=torch.float64)
    values = [torch.tensor(v, dtype=torch.float64) for v in (T, 0.05, A, C)]
    inputs = [v.requires_grad_() for v in (x, *values)]
    moved = OPS.transport(*inputs)
    assert torch.equal(moved, torch.tensor([-1.0, -1.0, 1.0, 1.0]).double() * C * 0.05)
    slopes = torch.autograd.grad(moved[2:].sum(), inputs)
    want = [torch.zeros(4), *map(torch.tensor, (0.0, 2 * C, 0.0, 0.1))]
    for got, expected in zip(slopes, want, strict=True):
        torch.testing.assert_close(got.float(), expected)


def test_derivatives_vanish_outside_the_cone_and_on_the_plateaus():
    x = torch.tensor([-2.0, -1.5, 1.5, 2.0], dtype=torch.float64, requires_grad=True)
    for op in (OPS.cdf, OPS.logpdf):
        values = op(x, *(torch.tensor(v).double() for v in (T, A, C)))
        (slope,) = torch.autograd.grad(values[torch.isfinite(values)].sum(), x)
        assert torch.equal(slope, torch.zeros_like(x))
    q = torch.tensor([0.001, 0.999], dtype=torch.float64, requires_grad=True)
    t = torch.tensor(T, dtype=torch.float64, requires_grad=True)
    edge = OPS.ppf(q, t, torch.tensor(A).double(), torch.tensor(C).double())
    slopes = torch.autograd.grad(edge[1], (q, t))
    assert torch.equal(slopes[0], torch.zeros_like(q))
    assert slopes[1] == C  # the atom moves with c


def test_log_likelihood_recovers_the_rate():
    """Newton's method on the likelihood of interior draws finds the a they were drawn with."""
    draws = KacProcess(A, C).sample(
        T, (200_000,), dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    inside = draws[draws.abs() < C * T]
    n_atoms = draws.numel() - inside.numel()

    def log_likelihood(a: torch.Tensor) -> torch.Tensor:
        return KacProcess(a, C).log_prob(inside, T).sum() - n_atoms * a * T

    a = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    for _ in range(8):
        (slope,) = torch.autograd.grad(log_likelihood(a), a, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, a)
        with torch.no_grad():
            a -= slope / curvature
    assert abs(a.item() - A) < 5 / math.sqrt(-curvature.item())


def test_opcheck_transforms_and_compilation():
    for name in ("logpdf", "cdf"):
        opcheck(getattr(OPS, name), arguments(grad=True))
    opcheck(OPS.ppf, quantile_arguments(grad=True))
    opcheck(OPS.transport, transport_arguments(grad=True))
    times, a, c = torch.tensor([0.1, 0.5]), torch.tensor(A), torch.tensor(C)
    opcheck(OPS.sample_path, (times, a, c, torch.tensor(3), 0, (4, 2), torch.float32))

    def density(x: torch.Tensor) -> torch.Tensor:
        return KacProcess(A, C).log_prob(x, T)

    x = torch.tensor([0.3, -0.7], dtype=torch.float64)
    slope = torch.func.vmap(torch.func.grad(density))(x)
    step = 1e-6
    expected = (density(x + step) - density(x - step)) / (2 * step)
    torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-7)
    _, tangent = torch.func.jvp(density, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, slope)
    compiled = torch.compile(density, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), density(x))


def test_paths():
    process = KacProcess(torch.tensor([[2.0], [9.0]]), torch.tensor([[1.0], [3.0]]))
    times = torch.linspace(0.0, 1.0, 5)
    draw = [
        process.sample_path(times, (2, 6), generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    x, directions = draw[0]
    assert x.shape == directions.shape == (2, 6, 5) and x.dtype == torch.float32
    assert torch.equal(x, draw[1][0]) and not torch.equal(x, draw[2][0])
    assert (x.diff().abs() <= process.c[..., None] * times.diff()).all()
    assert torch.equal(directions.abs(), torch.ones_like(x))
    per_sample = torch.stack([times, 2 * times + 0.1])
    assert process.sample_path(per_sample, (2, 6), dtype=torch.float64)[0].dtype == torch.float64


def test_a_path_has_no_gradient():
    times = torch.tensor([0.5, 1.0], requires_grad=True)
    x, _ = KacProcess(A, C).sample_path(times, (3,))
    with pytest.raises(RuntimeError, match="sample_path has no gradient"):
        x.sum().backward()


PROCESS = KacProcess(A, C)
X = torch.zeros(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PROCESS.log_prob(X.half(), T), TypeError, "x: got dtype torch.float16"),
        (lambda: PROCESS.cdf([0.0], T), TypeError, "x: got list"),
        (lambda: PROCESS.cdf(X, -1.0), ValueError, "t: got -1"),
        (lambda: PROCESS.icdf(X + 1.5, T), ValueError, "q: got"),
        (lambda: PROCESS.icdf(X.long(), T), TypeError, "q: got dtype torch.int64"),
        (lambda: PROCESS.sample_path([0.5], (2,)), TypeError, "times: got list"),
        (lambda: PROCESS.sample_path(X.half(), (2,)), TypeError, "times: got dtype torch.float16"),
        (lambda: PROCESS.sample_path(X, (2,)), ValueError, "times: "),
        (lambda: PROCESS.sample_path(-X - 1, (2,)), ValueError, "times: got -1"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()

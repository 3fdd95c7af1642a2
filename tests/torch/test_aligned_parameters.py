"""Kac parameters that lead the data, as in draws, in all else that a path makes of them."""

from __future__ import annotations

import pytest
import torch

from kacflow import KacPath, KacProcess, Path, generate, log_likelihood

#: Of equal axes: a parameter that aligned with the last ones would broadcast as well.
SHAPE = (3, 3, 3)
RATES = torch.tensor([2.0, 5.0, 9.0], dtype=torch.float64)
LEADING = {"per sample": (3,), "per channel": (1, 3), "per component": (1, 1, 3)}
KINDS = pytest.mark.parametrize("kind", [Path, KacPath])
EVERY = pytest.mark.parametrize("shape", LEADING.values(), ids=LEADING)


def both(kind, shape):
    """The path, and the one whose parameters have all axes of the data."""
    rates = RATES.reshape(shape)
    full = rates.reshape(shape + (1,) * (3 - len(shape))).expand(SHAPE)
    return kind(KacProcess(rates, 3.0), 2.0), kind(KacProcess(full, 3.0), 2.0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def data():
    return torch.randn(SHAPE, dtype=torch.float64, generator=seeded(0))


@KINDS
@EVERY
def test_velocity_and_transport(kind, shape):
    (path, wanted), x_0 = both(kind, shape), data()
    t = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    sample = path.sample(x_0, t, generator=seeded(1))
    inside = 0.999 * (sample.x_t - (1 - t / 2)[:, None, None] * x_0)  # atoms apart
    x_t = (1 - t / 2)[:, None, None] * x_0 + inside
    assert torch.equal(path.velocity(x_t, t, x_0), wanted.velocity(x_t, t, x_0))
    assert torch.equal(path.transport(x_t, t, 0.25, x_0), wanted.transport(x_t, t, 0.25, x_0))


@KINDS
@EVERY
def test_generation(kind, shape):
    (path, wanted), x_0 = both(kind, shape), data()
    x_T = path.sample_prior(SHAPE, dtype=torch.float64, generator=seeded(1))
    assert torch.equal(x_T, wanted.sample_prior(SHAPE, dtype=torch.float64, generator=seeded(1)))
    for method in ("euler", "transport"):
        got, want = (
            generate(lambda x, t: x_0, x_T, p, steps=9, method=method, prediction="data")
            for p in (path, wanted)
        )
        assert torch.equal(got, want)
    torch.testing.assert_close(got, x_0, rtol=0.0, atol=1e-6)  # transport is exact


@KINDS
@EVERY
def test_likelihood(kind, shape):
    path, wanted = both(kind, shape)
    got, want = (
        log_likelihood(lambda x, t: -0.1 * x, 0.1 * data(), p, steps=3) for p in (path, wanted)
    )
    assert bool(want.isfinite().all()) and torch.equal(got, want)


@pytest.mark.parametrize("kind", [Path, KacPath])
def test_parameters_that_do_not_lead_the_points(kind):
    path, x = kind(KacProcess(torch.tensor([1.0, 2.0]), 3.0)), torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"a: shape \(2,\) does not broadcast against the leading"):
        path.velocity(x, 0.5, x)
    with pytest.raises(ValueError, match=r"a: shape \(2,\) does not broadcast against the leading"):
        path.transport(x, 0.5, 0.25, x)

"""The names of *Adapting Noise to Data*: signatures, the law, and what was wrong with it there."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch

from kacflow.adapters import adapting_noise, telegraphers
from kacflow.adapters.adapting_noise import TorchKacConstantSampler, compute_velocity_kac

special = pytest.importorskip("scipy.special")

A, C, T = 9.0, 3.0, 0.5


def law(factor: float, a: float = A, c: float = C, t: float = T) -> tuple[np.ndarray, np.ndarray]:
    """Positions > 0 and P(atom or between 0 and x), from a density with ``factor`` before I_1/z."""
    edges = np.linspace(0.0, c * t, 100_001)
    x = 0.5 * (edges[1:] + edges[:-1])
    z = a / c * np.sqrt((c * t) ** 2 - x**2)
    density = np.exp(z - a * t) * (special.i0e(z) + factor * special.i1e(z) / z)
    share = np.cumsum(density) / density.sum()
    return edges[1:], 0.5 * (1.0 - math.exp(-a * t)) * share


def distance(factor: float) -> float:
    """Of the draws from the law with that factor, in the continuous part."""
    torch.manual_seed(0)
    sampler = TorchKacConstantSampler(A, C, 1.0, M=5000, K=1024, dtype=torch.float64)
    x = sampler.sample(torch.full((400_000,), T)).abs().flatten().numpy()
    edges, share = law(factor)
    inner = edges[:-1:100]
    found = np.searchsorted(np.sort(x), inner, side="right") / len(x)
    return float(np.abs(0.5 * found - share[:-1:100]).max())


def test_draws_have_the_law_and_not_the_published_one():
    """By the Dvoretzky-Kiefer-Wolfowitz inequality at 1e-6."""
    bound = 0.5 * math.sqrt(math.log(2e6) / (2 * 400_000))
    assert distance(A * T) < bound < distance(C * T)


@pytest.mark.parametrize(("c", "apart", "low"), [(3.0, 0.0064, 0.020), (1.0, 0.0102, 0.032)])
def test_what_the_documentation_says_of_the_published_law(c, apart, low):
    found = []
    for t in np.linspace(0.05, 1.0, 20):
        laws = [law(factor, A, c, t) for factor in (A * t, c * t)]
        off = float(np.abs(laws[0][1] - laws[1][1]).max())
        atoms = math.exp(-A * t) * (c * t) ** 2
        spread = [math.sqrt(2 * np.diff(share, prepend=0) @ x**2 + atoms) for x, share in laws]
        found.append((off, 1 - spread[1] / spread[0]))
    assert max(f[0] for f in found) == pytest.approx(apart, abs=2e-4)
    assert max(f[1] for f in found) == pytest.approx(low, abs=1e-3)


def test_signatures():
    parameters = inspect.signature(TorchKacConstantSampler).parameters
    assert list(parameters) == ["a", "c", "T", "M", "K", "device", "dtype"]
    assert parameters["device"].kind is parameters["dtype"].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["K"].default == 1024
    assert list(inspect.signature(compute_velocity_kac).parameters) == [
        "x", "t", "a", "c", "epsilon", "T"
    ]  # fmt: skip
    assert set(adapting_noise.__all__) == {"TorchKacConstantSampler", "compute_velocity_kac"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, None])
def test_sampler(dtype):
    sampler = TorchKacConstantSampler(A, C, 1.0, 5000, device="cpu", dtype=dtype)
    x = sampler.sample(torch.rand(5, 2), dim=3)
    assert x.shape == (5, 2, 3)
    assert x.dtype == sampler.dtype == (torch.get_default_dtype() if dtype is None else dtype)
    assert TorchKacConstantSampler(A, C, 1.0, 5).device == torch.device("cpu")


def test_velocity_is_that_of_the_other_project_without_gradients():
    x = torch.linspace(-1.6, 1.6, 33, requires_grad=True)
    t = torch.tensor(0.5)
    v = compute_velocity_kac(x, t, A, C)
    assert not v.requires_grad and v.dtype == torch.float32
    assert torch.equal(v, telegraphers.compute_velocity(x.detach(), t, A, C))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"a": 0.0}, ValueError, "a: got 0.0"),
        ({"M": 0}, ValueError, "M: got 0"),
        ({"device": "nowhere"}, ValueError, "device: got"),
        ({"dtype": torch.float16}, TypeError, r"dtype: got torch\.float16"),
    ],
)
def test_bad_arguments(changes, error, message):
    with pytest.raises(error, match=message):
        TorchKacConstantSampler(**{"a": A, "c": C, "T": 1.0, "M": 10, **changes})

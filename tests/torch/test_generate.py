"""Generation on a field whose solution is known: orders, grids, trajectories, errors."""

from __future__ import annotations

import math

import pytest
import torch

from kacflow import KacPath, KacProcess, generate
from kacflow.generate import ADAPTIVE, FIXED_STEP

PATH = KacPath(KacProcess(9.0, 3.0), T=1.0)
ORDERS = {"euler": 1, "ab2": 2, "heun": 2, "midpoint": 2, "rk4": 4}
EVALUATIONS = {"euler": 1, "ab2": 1, "heun": 2, "midpoint": 2, "rk4": 4}


def field(x, t):
    """dx/dt = -x sin(3 t): x(0) = x(1) exp((1 - cos 3)/3)."""
    assert t.shape == (len(x),)
    return -x * torch.sin(3 * t)[:, None]


START = torch.linspace(-1, 2, 6, dtype=torch.float64).reshape(3, 2)
END = START * math.exp((1 - math.cos(3.0)) / 3)


def error(method, **options):
    return (generate(field, START, PATH, method=method, **options) - END).abs().max().item()


def test_tables_agree():
    assert set(ORDERS) == set(FIXED_STEP)


@pytest.mark.parametrize("method", FIXED_STEP)
def test_order_of_convergence(method):
    ratio = error(method, steps=40) / error(method, steps=80)
    assert math.log2(ratio) == pytest.approx(ORDERS[method], abs=0.25)


@pytest.mark.parametrize("method", ["ab2", "heun", "rk4"])
def test_order_on_an_uneven_grid(method):
    def grid(n):
        return [(1 - i / n) ** 1.7 for i in range(n + 1)]

    ratio = error(method, t_grid=grid(60)) / error(method, t_grid=grid(120))
    assert math.log2(ratio) == pytest.approx(ORDERS[method], abs=0.35)


@pytest.mark.parametrize("method", FIXED_STEP)
def test_evaluations_per_step(method):
    calls = []

    def counting(x, t):
        calls.append(float(t[0]))
        return field(x, t)

    generate(counting, START, PATH, method=method, steps=10)
    assert len(calls) == 10 * EVALUATIONS[method]
    assert calls[0] == 1.0 and min(calls) >= 0.0


@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_adaptive_methods(method):
    pytest.importorskip("torchdiffeq")
    assert method in ADAPTIVE
    assert error(method, rtol=1e-8, atol=1e-10) < 1e-6


def test_trajectory_and_end_time():
    points = generate(field, START, PATH, steps=5, return_trajectory=True)
    assert points.shape == (6, 3, 2) and torch.equal(points[0], START)
    assert torch.equal(points[-1], generate(field, START, PATH, steps=5))
    part = generate(field, START, PATH, steps=200, method="rk4", t_min=0.4)
    expected = START * math.exp((math.cos(1.2) - math.cos(3.0)) / 3)
    torch.testing.assert_close(part, expected, rtol=1e-9, atol=1e-9)


def test_gradients_follow_the_caller():
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    generate(lambda x, t: scale * field(x, t), START, PATH, steps=50).sum().backward()
    assert scale.grad is not None
    with torch.no_grad():
        assert not generate(lambda x, t: scale * x, START, PATH, steps=2).requires_grad


@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"method": "leapfrog"}, ValueError, "method: got 'leapfrog'; allowed: euler"),
        ({"steps": 0}, ValueError, "steps: got 0"),
        ({"steps": 2.5}, TypeError, "steps: got float"),
        ({"t_min": 1.0}, ValueError, "t_min: got 1.0"),
        ({"t_grid": [0.0, 1.0]}, ValueError, "t_grid: got"),
        ({"t_grid": [2.0, 0.0]}, ValueError, "t_grid: got 2 to 0"),
        ({"rtol": 1e-3}, TypeError, r"options: got \['rtol'\]"),
    ],
)
def test_bad_input(options, error_type, message):
    with pytest.raises(error_type, match=message):
        generate(field, START, PATH, **options)


def test_bad_start():
    with pytest.raises(TypeError, match="x_T: got Tensor"):
        generate(field, torch.ones(2, 2).long(), PATH)

"""Labels, guidance, what a model predicts, and named grids of times."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from kacflow import GaussianPath, KacPath, KacProcess, generate
from kacflow.time_grids import NAMES, time_grid

PATH = KacPath(KacProcess(25.0, 2.0), clock="square")
LABELS = torch.tensor([0, 2, -1, 1])


class Classes:
    """u = -(1 + label) x, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[int]]] = []

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        assert t.shape == labels.shape == x.shape[:1] and labels.dtype == torch.int64
        self.asked.append((len(x), labels.tolist()))
        return -(1.0 + labels)[:, None] * x


@pytest.mark.parametrize("method", ["euler", "ab2", "rk4"])
def test_guidance_is_one_evaluation_of_twice_the_batch(method: str):
    x_T, w = torch.ones(4, 3, dtype=torch.float64), 1.5
    model = Classes()
    got = generate(model, x_T, PATH, steps=4, method=method, labels=LABELS, guidance=w)
    rates = (1 + w) * (1.0 + LABELS) - w * 0.0
    want = generate(lambda x, t: -rates[:, None] * x, x_T, PATH, steps=4, method=method)
    torch.testing.assert_close(got, want, rtol=1e-13, atol=0)
    evaluations = {"euler": 4, "ab2": 4, "rk4": 16}[method]
    assert model.asked == [(8, [*LABELS.tolist(), -1, -1, -1, -1])] * evaluations


def test_no_guidance_costs_one_evaluation():
    model = Classes()
    got = generate(model, torch.ones(4, 3), PATH, steps=3, labels=LABELS, guidance=0.0)
    assert model.asked == [(4, LABELS.tolist())] * 3
    want = (1 + (1 + LABELS) / 3.0)[:, None] ** 3
    torch.testing.assert_close(got, want.expand(4, 3).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("path", [PATH, GaussianPath("flow_matching"), GaussianPath()], ids=str)
def test_a_prediction_of_the_data_leads_to_it(path, dtype: torch.dtype):
    """With the data itself as the model's answer, every path ends there, up to the solver."""
    data = torch.tensor([[1.0, -0.5], [0.25, 2.0]]).to(dtype)
    x_T = path.sample_prior((2, 2), generator=torch.Generator().manual_seed(0)).to(dtype)
    got = generate(
        lambda x, t: data, x_T, path, steps=400, method="ab2", prediction="data", t_grid="clock"
    )
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), data.float(), rtol=0, atol=0.05)
    fields = [
        generate(model, x_T, path, steps=7, prediction=kind)
        for kind, model in (
            ("data", lambda x, t: data),
            ("velocity", lambda x, t: path.velocity(x, t, data)),
        )
    ]
    torch.testing.assert_close(*fields, rtol=1e-5, atol=0.1 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": [0, 1, 2, 3]}, TypeError, "labels: got list; allowed: a tensor of int64"),
        ({"labels": LABELS.int()}, TypeError, "labels: got dtype torch.int32; allowed: int64"),
        ({"labels": LABELS[:3]}, ValueError, r"labels: got shape \(3,\)"),
        ({"labels": LABELS.to("meta")}, ValueError, "labels: is on meta; allowed: cpu"),
        ({"labels": LABELS, "guidance": -1.0}, ValueError, "guidance: got -1.0"),
        ({"labels": LABELS, "guidance": math.nan}, ValueError, "guidance: got nan"),
        ({"labels": LABELS, "guidance": "2"}, TypeError, "guidance: got str"),
        ({"guidance": 1.0}, ValueError, "guidance: got 1.0 without labels"),
        ({"prediction": "noise"}, ValueError, "prediction: got 'noise'; allowed: velocity, data"),
        ({"t_grid": "cosine"}, ValueError, "t_grid: got 'cosine'; allowed: uniform, quadratic"),
        ({"t_grid": "karras", "rho": 0.0}, ValueError, "rho: got 0.0"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        generate(lambda x, t, *label: -x, torch.ones(4, 3), PATH, **options)


def test_a_path_without_a_velocity_cannot_turn_data_into_one():
    class Horizon:
        T = 1.0

    with pytest.raises(TypeError, match="path: got Horizon; allowed for 'data'"):
        generate(lambda x, t: x, torch.ones(2, 1), Horizon(), prediction="data")
    with pytest.raises(TypeError, match="path: has no clock"):
        generate(lambda x, t: x, torch.ones(2, 1), Horizon(), t_grid="clock")


@pytest.mark.parametrize("t_end", [0.0, 0.01])
@pytest.mark.parametrize("name", NAMES)
def test_grids_follow_their_formulas(name: str, t_end: float):
    path, n = KacPath(KacProcess(9.0, 3.0), T=2.0, clock="square"), 8
    grid = time_grid(name, path, n, t_end, rho=5.0)
    assert len(grid) == n + 1 and grid[0] == 2.0 and grid[-1] == t_end
    assert all(s < t for t, s in itertools.pairwise(grid))
    linear = {
        "uniform": lambda t: t,
        "quadratic": lambda t: math.sqrt(max(t - t_end, 0.0)),
        "clock": lambda t: t * t / 2.0,
        "karras": lambda t: t**0.2,
    }[name]
    places = [linear(t) for t in grid]
    steps = [t - s for t, s in itertools.pairwise(places)]
    assert all(step == pytest.approx(steps[0], rel=1e-6) for step in steps)


def test_generation_steps_through_a_named_grid():
    seen = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t[0].item())
        return x

    generate(model, torch.ones(1, 1, dtype=torch.float64), PATH, steps=4, t_grid="quadratic")
    assert seen == [1.0, 0.5625, 0.25, 0.0625]

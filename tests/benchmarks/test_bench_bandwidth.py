"""The question about a GPU's bandwidth, its calls made on the CPU instead of captured."""

from __future__ import annotations

import pytest
import torch

from benchmarks.plan import RATE, SPEED, Plan
from benchmarks.questions import bandwidth
from benchmarks.results import Row
from benchmarks.timing import Spread


def one_after_the_other(calls: bandwidth.Calls):
    return lambda: [call() for call in calls]


def test_every_competitor_makes_what_it_says():
    plan = Plan("smoke", torch.device("cpu"), progress=False)
    rows = bandwidth.throughput(plan, one_after_the_other)
    assert {row.name for row in rows} == set(bandwidth.BYTES) - {"Gaussian compiled"}
    for row in rows:
        assert row.error is not None and row.error < 1e-5, row.name
        assert row.numbers % (8 * 3 * 8 * 8) == 0 and row.more["share_of_copy"] > 0
    assert next(r for r in rows if r.name == "floor: copy").more["share_of_copy"] == 1.0


def test_a_small_launch():
    """Its rows, and the launch alone: what the operator draws with its seed."""
    plan = Plan("smoke", torch.device("cpu"), progress=False)
    rows = bandwidth.small_launch(plan)
    assert [row.name for row in rows] == ["kacflow", "Gaussian eager", "part: launch"]
    x, t = torch.randn(256, 2), torch.rand(256)
    a, c, seed = torch.tensor(RATE), torch.tensor(SPEED), torch.tensor(1)
    want = torch.ops.kacflow.sample_pair_scheduled(x, t, a, c, seed, 0, 2, 1, 1.0)
    for value, expected in zip(bandwidth.launch_alone(x, t)(), want, strict=True):
        assert torch.equal(value, expected)


def test_without_a_gpu_it_says_so():
    plan = Plan("smoke", torch.device("cpu"), progress=False)
    assert bandwidth.run(plan) == []
    assert plan.skipped == ["bandwidth: needs a GPU (--device cuda)"]


def test_shares_and_floors():
    """A copy of 8 bytes a number in 2 ps; the pair in 6 ps: half of its bandwidth."""

    def row(name: str, ps: float) -> Row:
        spread = Spread(*[ps * 1e-12 * 1000] * 3)
        return Row("case", name, "cuda", 1, 1000, 5, spread)

    rate = 32e12
    copy, pair = bandwidth.with_floors([row("floor: copy", 2.0), row("kacflow kernel", 6.0)], rate)
    assert copy.more["share_of_copy"] == pytest.approx(1.0)
    assert pair.more["share_of_copy"] == pytest.approx(0.5)
    assert pair.more["floor_bytes_ps"] == pytest.approx(3.0)
    assert 150 < pair.more["instructions"] < 190  # results/kernels-sm_90.json
    assert pair.more["floor_instructions_ps"] == pytest.approx(pair.more["instructions"] / 32)
    assert "50 % of copy" in pair.more["note"]

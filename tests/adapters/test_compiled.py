"""Every adapter's training pair in one graph for every batch size, with the draws of eager mode."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch
import torch._dynamo
from torch import Tensor
from torch._dynamo.utils import counters

Pair = Callable[[Tensor, Tensor], object]


def torchcfm() -> Pair:
    pytest.importorskip("torchcfm", reason="make test installs torchcfm")
    adapter = importlib.import_module("kacflow.adapters.torchcfm")
    matcher = adapter.KacConditionalFlowMatcher(9.0, 3.0)

    def pair(x, t):
        out = matcher.sample_location_and_conditional_flow(x, x, t, return_noise=True)
        return *out[1:], matcher.sample_noise_like(x)

    return pair


def flow_matching() -> Pair:
    pytest.importorskip("flow_matching", reason="make test installs flow_matching")
    adapter = importlib.import_module("kacflow.adapters.flow_matching")
    path = adapter.KacProbPath(9.0, 3.0)

    def pair(x, t):
        sample = path.sample(x_0=x, x_1=x, t=t)
        return sample.x_t, sample.dx_t, path.sample_prior(x.shape)

    return pair


def diffusers() -> Pair:
    pytest.importorskip("diffusers", reason="make test installs diffusers")
    adapter = importlib.import_module("kacflow.adapters.diffusers")
    scheduler = adapter.KacEulerScheduler(a=9.0, c=3.0)

    def pair(x, t):
        timesteps = 1000 * t
        noise = scheduler.sample_noise(x, timesteps)
        parts = (
            scheduler.add_noise(x, noise, timesteps),
            scheduler.get_velocity(x, noise, timesteps),
        )
        return *parts, *scheduler.sample_pair(x, timesteps), scheduler.init_noise(x.shape)

    return pair


@pytest.mark.parametrize("make", [torchcfm, flow_matching, diffusers], ids=lambda f: f.__name__)
def test_one_graph_for_every_batch_size(make):
    torch._dynamo.reset()
    counters.clear()
    pair = make()
    compiled = torch.compile(pair, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in (5, 8, 13):
        x, t = torch.randn(size, 3), torch.rand(size)
        torch.manual_seed(size)
        wanted = pair(x, t)
        torch.manual_seed(size)
        torch.testing.assert_close(compiled(x, t), wanted)
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()

"""Networks: shapes, time as scalar or vector, choice by size, errors."""

from __future__ import annotations

import pytest
import torch

from kacflow.training import ResidualMLP, TrainConfig, UNet, build_network


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3,)])
def test_mlp_keeps_shape_and_takes_time_either_way(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = ResidualMLP(shape, width=16, blocks=2, horizon=2.0)
    for parameter in network.parameters():  # away from the zero start of the last layer
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(5, *shape)
    out = network(x, torch.full((5,), 0.7))
    assert out.shape == x.shape
    torch.testing.assert_close(network(x, 0.7), out)
    torch.testing.assert_close(network(x, torch.tensor(0.7)), out)
    assert not torch.allclose(network(x, 0.2), out)
    with pytest.raises(ValueError, match="t: got shape"):
        network(x, torch.zeros(4))


def test_unet_uses_time_and_keeps_shape() -> None:
    torch.manual_seed(0)
    network = UNet((3, 8, 8), width=8, blocks=1)
    x = torch.randn(2, 3, 8, 8)
    out = network(x, 0.3)
    assert out.shape == x.shape
    torch.testing.assert_close(network(x, torch.full((2,), 0.3)), out)
    assert not torch.allclose(network(x, 0.9), out)


def test_unet_errors() -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        UNet((3, 10, 10), width=8)
    with pytest.raises(ValueError, match="multiple of 8"):
        UNet((3, 8, 8), width=12)
    with pytest.raises(ValueError, match="sample_shape"):
        UNet((2,), width=8)


def test_network_by_size() -> None:
    config = TrainConfig(width=8, blocks=1)
    assert isinstance(build_network(config, (1, 8, 8), 0), ResidualMLP)
    assert isinstance(build_network(config, (3, 32, 32), 0), UNet)

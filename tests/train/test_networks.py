"""Networks: shapes, time as scalar or vector, choice by size, errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from diffusers import UNet2DModel

from kacflow.training import (
    DiT,
    Perceptron,
    ResidualMLP,
    TrainConfig,
    UNet,
    build_network,
    load_model,
    train,
)
from kacflow.training.checkpoint import load_checkpoint
from kacflow.training.ema import Average
from kacflow.training.networks import TimeFeatures

Small = Callable[..., TrainConfig]
KINDS = {
    "mlp": partial(ResidualMLP, (3, 8, 8), width=16, blocks=2),
    "perceptron": partial(Perceptron, (3, 8, 8), width=16),
    "unet": partial(UNet, (3, 8, 8), width=16, blocks=1, attention=(4, 2), scale_shift=True),
    "dit": partial(DiT, (3, 8, 8), width=32, blocks=2, patch=4, head_width=16),
}


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(params=sorted(KINDS))
def network(request: pytest.FixtureRequest) -> torch.nn.Module:
    """One of each kind for four classes, away from the zeros that some layers begin with."""
    torch.manual_seed(0)
    made = KINDS[request.param](classes=4, dropout=0.2).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


def arguments(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(batch, 3, 8, 8), torch.rand(batch), torch.arange(batch) - 1


def test_networks_compile_to_one_graph(network: torch.nn.Module) -> None:
    given = arguments()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*given), network(*given))


def test_networks_read_nothing_back_from_the_device(network: torch.nn.Module) -> None:
    """Tensors without numbers: whatever asks for one fails."""
    given = [value.to("meta") for value in arguments()]
    assert network.train().to("meta")(*given).shape == (3, 3, 8, 8)


def test_networks_in_bfloat16(network: torch.nn.Module) -> None:
    given = arguments()
    expected = network(*given)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(*given)
    assert not torch.equal(found.float(), expected)
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_dropout_in_training_alone(network: torch.nn.Module) -> None:
    given = arguments()
    assert torch.equal(network(*given), network(*given))
    network.train()
    assert not torch.equal(network(*given), network(*given))
    average = Average(network, 0.9).module  # is validated and pictured in training
    assert torch.equal(average(*given), average(*given))


def test_unet_with_its_channels_innermost() -> None:
    torch.manual_seed(0)
    network, (x, t, _) = KINDS["unet"]().eval(), arguments()
    expected = network(x, t)
    network = network.to(memory_format=torch.channels_last)
    found = network(x.contiguous(memory_format=torch.channels_last), t)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_sizes_of_the_networks_of_the_papers() -> None:
    """35.7 million: as google/ddpm-cifar10-32, which has the same architecture."""
    paper = TrainConfig(
        network="unet", width=128, blocks=2, multipliers="1-2-2-2", attention="16", head_width=64,
        dropout=0.1,
    )  # fmt: skip
    teacher = TrainConfig(
        network="unet", width=256, blocks=3, multipliers="1-2-2-3", attention="16-8-4",
        head_width=64,
    )  # fmt: skip
    plane = TrainConfig(network="perceptron", width=256, blocks=3)
    with torch.device("meta"):
        assert parameters(build_network(paper, (3, 32, 32), 0)) == 35_746_307
        assert parameters(build_network(teacher, (3, 32, 32), 10)) == 284_738_563
        assert parameters(build_network(plane, (2,), 0)) == 133_122
        assert parameters(DiT((4, 32, 32), classes=1000)) == 39_798_928
        heads = build_network(paper, (3, 32, 32), 0).model.mid_block.attentions[0].heads
    assert heads == 4


@pytest.mark.parametrize("levels", [(1,), (1, 2), (1, 2, 2), (1, 1, 2, 2)])
def test_default_unet_is_that_of_older_checkpoints(levels: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    found = build_network(
        TrainConfig(network="unet", width=8, blocks=1, multipliers="-".join(map(str, levels))),
        (3, 8, 8), 0,
    )  # fmt: skip
    attended = [0 < i == len(levels) - 2 for i in range(len(levels))]
    torch.manual_seed(0)
    expected = UNet2DModel(
        sample_size=(8, 8), in_channels=3, out_channels=3, layers_per_block=1,
        block_out_channels=tuple(8 * m for m in levels),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attended),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attended[::-1]),
        attention_head_dim=8, norm_num_groups=8,
    )  # fmt: skip
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0.1, 0.7])
    assert torch.equal(found(x, t), expected(x, 1000 * t).sample)


def test_dit_uses_time_and_patches() -> None:
    torch.manual_seed(0)
    network, (x, t, _) = KINDS["dit"](horizon=2.0).eval(), arguments()
    assert not network(x, t).any()  # adaLN-Zero
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    out = network(x, 0.6)
    torch.testing.assert_close(network(x, torch.full((3,), 0.6)), out)
    assert not torch.allclose(network(x, 0.9), out)
    moved = x.clone()
    moved[:, :, 7, 0] += 10.0  # in the patch below left; the others see it by attention alone
    change = (network(moved, 0.6) - out).abs().amax((0, 1))
    assert (change > 0).all() and change[4:, :4].mean() > 2 * change[:4, 4:].mean()


def test_perceptron_is_that_of_the_paper() -> None:
    """Linear(3, 256), twice Linear(256, 256), Linear(256, 2) on (x, t), rectified between."""
    torch.manual_seed(0)
    network, x, t = Perceptron((2,)).eval(), torch.randn(5, 2), torch.rand(5)
    h = torch.cat((x, t[:, None]), dim=1)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in layers] == [
        (256, 3), (256, 256), (256, 256), (2, 256)
    ]  # fmt: skip
    for layer in layers[:-1]:
        h = layer(h).relu()
    torch.testing.assert_close(network(x, t), layers[-1](h))
    assert not any(isinstance(m, TimeFeatures) for m in network.modules())


@pytest.mark.parametrize("kind", ["mlp", "unet", "dit"])
def test_runs_with_dropout_resume_with_the_same_bits(small: Small, tmp_path, kind: str) -> None:
    runs = [
        small(data="digits", out=str(tmp_path / name), network=kind, head_width=8, batch=4,
              blocks=1, dropout=0.3, validate_every=2, steps=steps, lr_schedule="constant")
        for name, steps in (("whole", 6), ("parts", 3))
    ]  # fmt: skip
    for run in runs:
        train(run, progress=False)
    train(small(**{**runs[1].to_dict(), "steps": 6}), resume=True, progress=False)
    whole, parts = (load_checkpoint(run.out).tensors for run in runs)
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    model = load_model(runs[0].out)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(model.network(x, 0.5), model.network(x, 0.5))


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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UNet((3, 10, 10), width=8), "image_size: got 10 x 10; allowed: multiples of 4"),
        (lambda: UNet((3, 8, 8), width=9), "width: got 9, which makes 18 .* multiples of 8"),
        (lambda: UNet((3, 8, 8), width=8, head_width=32), "width: got 8, .* multiples of 32"),
        (lambda: UNet((3, 8, 8), width=8, attention=(16, 8)), "attention: got 16; .*: 8, 4, 2"),
        (lambda: UNet((2,), width=8), "sample_shape: got "),
        (lambda: DiT((2,)), "sample_shape: got "),
        (lambda: DiT((3, 8, 16)), "image_size: got 8 x 16; allowed: squares"),
        (lambda: DiT((3, 8, 8), patch=3), "patch: got 3; allowed: divisors of 8"),
        (lambda: DiT((3, 8, 8), width=32), "width: got 32; allowed: multiples of 64"),
        (lambda: DiT((3, 8, 8), width=6, head_width=6), "width: got 6; allowed: multiples of 12"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit(build: Callable[[], torch.nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_network_by_size() -> None:
    config = TrainConfig(width=8, blocks=1)
    assert isinstance(build_network(config, (1, 8, 8), 0), ResidualMLP)
    assert isinstance(build_network(config, (3, 32, 32), 0), UNet)
    for name, kind in {"dit": DiT, "perceptron": Perceptron, "unet": UNet}.items():
        made = build_network(TrainConfig(width=64, blocks=1, network=name), (1, 8, 8), 0)
        assert isinstance(made, kind)

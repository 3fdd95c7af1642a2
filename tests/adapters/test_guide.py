"""docs/adapters.md: what its diffs leave behind runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

GUIDE = Path(__file__).parents[2] / "docs" / "adapters.md"


def after(section: str) -> str:
    """The script that the diff of a section leads to."""
    text = GUIDE.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = text.partition("```diff\n")[2].partition("```")[0].splitlines()
    assert any(line.startswith("-") for line in lines)
    return "\n".join(line[1:] for line in lines if not line.startswith("-"))


def test_paper():
    names: dict[str, object] = {}
    exec(after("The paper's scripts"), names)
    assert {"TorchKacConstantSampler", "compute_velocity"} <= set(names)


def test_torchcfm():
    pytest.importorskip("torchcfm", reason="make test installs torchcfm")
    torchdiffeq = pytest.importorskip("torchdiffeq")
    names = {
        "torch": torch, "torchdiffeq": torchdiffeq, "model": lambda t, x: -x,
        "x0": torch.randn(8, 2), "x1": torch.randn(8, 2),
    }  # fmt: skip
    exec(after("torchcfm"), names)
    assert names["loss"].isfinite() and names["traj"].shape == (100, 8, 2)


def test_flow_matching():
    pytest.importorskip("flow_matching", reason="make test installs flow_matching")
    solver = pytest.importorskip("flow_matching.solver")
    names = {
        "torch": torch, "ODESolver": solver.ODESolver, "model": lambda x, t: -x,
        "x_0": torch.randn(8, 2), "x_1": torch.randn(8, 2), "t": torch.rand(8),
    }  # fmt: skip
    exec(after("flow_matching"), names)
    assert names["loss"].isfinite() and names["images"].shape == (64, 2)


def test_diffusers(tmp_path, monkeypatch):
    diffusers = pytest.importorskip("diffusers", reason="make test installs diffusers")
    monkeypatch.chdir(tmp_path)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
        block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    names = {"torch": torch, "unet": unet, "images": torch.randn(4, 1, 8, 8)}
    code = re.sub(r"batch_size=16\)", "batch_size=16, num_inference_steps=2)", after("diffusers"))
    exec(code, names)
    assert names["loss"].isfinite() and len(names["images"]) == 16

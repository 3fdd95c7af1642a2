"""docs/adapters.md and README, "Change one import": their diffs run, before and after.

What a diff removes runs on the library itself, what it leads to runs on kacflow, and README's diffs
are excerpts of the guide's.
"""

from __future__ import annotations

import importlib
import re

import pytest
import torch
from guide import GUIDE, README, changes, diff, script

PAPER = "The paper's scripts"
SECTIONS = (PAPER, "torchcfm", "flow_matching", "diffusers")
FILES = pytest.mark.parametrize("file", [GUIDE, README], ids=["guide", "README"])
SIDES = pytest.mark.parametrize("without", ["+", "-"], ids=["before", "after"])


@pytest.mark.parametrize("section", SECTIONS)
def test_readme_is_an_excerpt_of_the_guide(section):
    rest = iter(diff(GUIDE, section))
    for line in filter(None, diff(README, section)):
        assert line in rest, f"README has {line!r}, the guide has not, or not there"


def test_readme_has_a_diff_for_every_library():
    text = README.read_text().partition("\n## Change one import\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == list(SECTIONS)
    assert text.count("```diff\n") == len(SECTIONS)


@FILES
def test_paper(file):
    old, new = changes(file, PAPER)
    assert re.findall(r"^from utils\.\w+ import (\w+)$", old, re.MULTILINE) == [
        "TorchKacConstantSampler",
        "compute_velocity",
    ]
    names: dict[str, object] = {}
    exec(new, names)
    adapter = importlib.import_module("kacflow.adapters.telegraphers")
    for name in adapter.__all__:
        assert names[name] is getattr(adapter, name)


def ours(value: object, without: str) -> bool:
    """Whether the class of a value is the one that this side of the diff promises."""
    return type(value).__module__.startswith("kacflow.") == (without == "-")


@FILES
@SIDES
def test_torchcfm(file, without):
    pytest.importorskip("torchcfm", reason="make test installs torchcfm")
    torchdiffeq = pytest.importorskip("torchdiffeq")
    names = {
        "torch": torch, "torchdiffeq": torchdiffeq, "model": lambda t, x: -x,
        "x0": torch.randn(8, 2), "x1": torch.randn(8, 2),
    }  # fmt: skip
    exec(script(file, "torchcfm", without), names)
    assert ours(names["FM"], without)
    assert names["ut"].shape == (8, 2) and names["start"].shape == (8, 2)
    if file is GUIDE:
        assert names["loss"].isfinite() and names["traj"].shape == (100, 8, 2)


@FILES
@SIDES
def test_flow_matching(file, without):
    pytest.importorskip("flow_matching", reason="make test installs flow_matching")
    solver = pytest.importorskip("flow_matching.solver")
    names = {
        "torch": torch, "ODESolver": solver.ODESolver, "model": lambda x, t: -x,
        "x_0": torch.randn(8, 2), "x_1": torch.randn(8, 2), "t": torch.rand(8),
    }  # fmt: skip
    exec(script(file, "flow_matching", without), names)
    assert ours(names["path"], without)
    assert names["sample"].dx_t.shape == (8, 2) and names["x_init"].shape == (64, 2)
    if file is GUIDE:
        assert names["loss"].isfinite() and names["images"].shape == (64, 2)


@FILES
@SIDES
def test_diffusers(file, without, tmp_path, monkeypatch):
    diffusers = pytest.importorskip("diffusers", reason="make test installs diffusers")
    monkeypatch.chdir(tmp_path)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
        block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    names = {"torch": torch, "unet": unet, "images": torch.randn(4, 1, 8, 8)}
    code = script(file, "diffusers", without)
    if file is GUIDE:
        code, found = re.subn(r"batch_size=16\)", "batch_size=16, num_inference_steps=2)", code)
        assert found == 1
    exec(code, names)
    assert ours(names["scheduler"], without) and ours(names["pipeline"], without)
    assert names["noisy"].shape == names["target"].shape == (4, 1, 8, 8)
    if file is GUIDE:
        assert names["loss"].isfinite() and len(names["images"]) == 16

"""docs/adapters.md, and README, "Change one import": their diffs run, before and after.

What a diff removes runs on the library itself, what it leads to runs on kacflow, and README's diff
and table are excerpts of the guide.
"""

from __future__ import annotations

import importlib
import re

import pytest
import torch
from guide import GUIDE, README, changes, diff, replacements, script

PAPER, SHORT = "The paper's scripts", "Change one import"
LIBRARIES = ("torchcfm", "flow_matching", "diffusers")
SIDES = pytest.mark.parametrize("without", ["+", "-"], ids=["before", "after"])


def test_readme_is_an_excerpt_of_the_guide():
    assert diff(README, SHORT) == diff(GUIDE, PAPER)


def test_readme_has_a_row_for_every_library():
    assert list(dict.fromkeys(library for library, _, _ in replacements())) == list(LIBRARIES)


@pytest.mark.parametrize("library", LIBRARIES)
def test_rows_of_readme_are_the_imports_of_the_guide(library):
    """All that the guide's diff imports before, and after, class by class in its order."""
    rows = [(old, new) for name, old, new in replacements() if name == library]
    before, after = changes(GUIDE, library)
    (module, imported), *more = re.findall(r"^from (\S+) import (.*)$", after, re.MULTILINE)
    assert not more and [new for _, new in rows] == [
        f"{module}.{name}" for name in imported.split(", ")
    ]
    (imported,) = re.findall(r"^from \S+ import (.*)$", before, re.MULTILINE)
    assert sorted(old for old, _ in rows) == sorted(imported.split(", "))


@pytest.mark.parametrize(
    "file, section", [(GUIDE, PAPER), (README, SHORT)], ids=["guide", "README"]
)
def test_paper(file, section):
    old, new = changes(file, section)
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


@SIDES
def test_torchcfm(without):
    pytest.importorskip("torchcfm", reason="make test installs torchcfm")
    torchdiffeq = pytest.importorskip("torchdiffeq")
    names = {
        "torch": torch, "torchdiffeq": torchdiffeq, "model": lambda t, x: -x,
        "x0": torch.randn(8, 2), "x1": torch.randn(8, 2),
    }  # fmt: skip
    exec(script(GUIDE, "torchcfm", without), names)
    assert ours(names["FM"], without)
    assert names["ut"].shape == (8, 2) and names["start"].shape == (8, 2)
    assert names["loss"].isfinite() and names["traj"].shape == (100, 8, 2)


@SIDES
def test_flow_matching(without):
    pytest.importorskip("flow_matching", reason="make test installs flow_matching")
    solver = pytest.importorskip("flow_matching.solver")
    names = {
        "torch": torch, "ODESolver": solver.ODESolver, "model": lambda x, t: -x,
        "x_0": torch.randn(8, 2), "x_1": torch.randn(8, 2), "t": torch.rand(8),
    }  # fmt: skip
    exec(script(GUIDE, "flow_matching", without), names)
    assert ours(names["path"], without)
    assert names["sample"].dx_t.shape == (8, 2) and names["x_init"].shape == (64, 2)
    assert names["loss"].isfinite() and names["images"].shape == (64, 2)


@SIDES
def test_diffusers(without, tmp_path, monkeypatch):
    diffusers = pytest.importorskip("diffusers", reason="make test installs diffusers")
    monkeypatch.chdir(tmp_path)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
        block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    names = {"torch": torch, "unet": unet, "images": torch.randn(4, 1, 8, 8)}
    code = script(GUIDE, "diffusers", without)
    code, found = re.subn(r"batch_size=16\)", "batch_size=16, num_inference_steps=2)", code)
    assert found == 1
    exec(code, names)
    assert ours(names["scheduler"], without) and ours(names["pipeline"], without)
    assert names["noisy"].shape == names["target"].shape == (4, 1, 8, 8)
    assert names["loss"].isfinite() and len(names["images"]) == 16

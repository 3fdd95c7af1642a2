"""Presets: their files, the function, the commands, and what takes precedence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from kacflow.cli import main
from kacflow.demo import STEPS, configurations
from kacflow.training import TrainConfig, build_network, preset
from kacflow.training._presets import PRESETS, preset_file, read_preset
from kacflow.training.data import sample_shape_of

SIZES = {"digits": (10, None), "grid9": (0, 133_122), "cifar10": (0, 35_746_307),
         "cifar10-guided": (10, 284_738_563)}  # fmt: skip
#: A value of each kind that no field has by itself.
OTHERS = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v / 2 + 0.01}


def test_these_are_the_presets() -> None:
    assert sorted(SIZES) == list(PRESETS)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_files_say_what_they_are_and_build(name: str) -> None:
    found = read_preset(name)
    assert list(found) == ["description", "source", "config"]
    assert "arXiv 2506.20641" in found["source"] and len(found["description"]) > 50
    config = preset(name)
    assert {k: v for k, v in config.to_dict().items() if k in found["config"]} == found["config"]
    classes, size = SIZES[name]
    assert config.labels == (classes > 0)
    with torch.device("meta"):
        network = build_network(config, sample_shape_of(config), classes)
    assert size in (None, sum(p.numel() for p in network.parameters()))


@pytest.mark.parametrize("name", sorted(SIZES))
def test_any_field_may_be_given_anew(name: str) -> None:
    plain = preset(name)
    for item in dataclasses.fields(TrainConfig):
        value = getattr(plain, item.name)
        if type(value) in OTHERS:
            value = OTHERS[type(value)](value)
        elif item.metadata["choices"]:
            value = next(v for v in item.metadata["choices"] if v != value)
        else:
            value = "4-2"
        if (item.name, value) == ("channels", 4):
            value = 1
        changes = {item.name: value}
        if value == "flow_matching":  # which has no schedules
            changes.update(signal="linear", clock="linear")
        changed = preset(name, **changes)
        assert changed == dataclasses.replace(plain, **changes)
        assert getattr(changed, item.name) == value


def test_figures_of_the_papers() -> None:
    best, teacher, plane = map(preset, ("cifar10", "cifar10-guided", "grid9"))
    assert (best.a, best.c, best.T, best.clock, best.signal) == (25.0, 2.0, 1.0, "square", "linear")
    assert (best.lr, best.batch, best.steps, best.clip) == (2e-4, 128, 400_000, 1.0)
    assert best.held_out == 0.0 and best.flip and best.dropout == 0.1
    assert best.ema == 0.9999 and best.learning_rate(0) == best.learning_rate(399_999) == 2e-4
    assert {k for k, v in best.to_dict().items() if v != teacher.to_dict()[k]} == {
        "out", "labels", "width", "blocks", "multipliers", "attention"
    }  # fmt: skip
    assert (plane.a, plane.c, plane.signal, plane.lr, plane.batch) == (9, 3, "constant", 5e-4, 256)


def test_digits_is_the_demonstration() -> None:
    demo = configurations(Path("runs"), STEPS)["kac"]
    assert demo.resolved_network((1, 8, 8)) == "mlp"
    assert preset("digits", out=demo.out, network="auto") == demo


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="preset: got 'mnist'; allowed: cifar10, cifar10-guided"):
        preset("mnist")
    with pytest.raises(TypeError, match="preset: got int 3"):
        preset(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"configuration: got unknown \['rate'\]"):
        preset("grid9", rate=1)


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    text = capsys.readouterr().out
    for name in PRESETS:
        assert f"{name}\n    " in text
        assert main(["presets", name]) == 0
        assert capsys.readouterr().out == preset_file(name).read_text()
    for command in (["presets", "mnist"], ["train", "--preset", "mnist"]):
        with pytest.raises(SystemExit) as stop:
            main(command)
        said = capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1 and "cifar10" in said


def test_options_win_over_a_file_and_a_file_over_a_preset(tmp_path: Path) -> None:
    file, out = tmp_path / "more.json", tmp_path / "run"
    file.write_text(json.dumps({"width": 8, "c": 2.0, "out": "nowhere"}))
    command = ["train", "--preset", "grid9", "--config", str(file), "--c", "1.5", "--steps", "2"]
    command += ["--batch", "4", "--device", "cpu", "--out", str(out), "--quiet"]
    assert main(command) == 0
    written = json.loads((out / "config.json").read_text())
    changes = {"width": 8, "c": 1.5, "steps": 2, "batch": 4, "device": "cpu", "out": str(out)}
    assert written == preset("grid9", **changes).to_dict()
    assert main([*command, "--resume", "--steps", "3"]) == 0
    assert main(["train", "--preset", "digits", "--resume", "--out", str(out), "--quiet"]) == 1

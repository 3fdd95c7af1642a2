"""Checkpoints that are damaged or do not fit: each is refused by name, before anything is built."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from kacflow.cli import main
from kacflow.training import TrainConfig, checkpoint, load_model, networks, train
from kacflow.training.checkpoint import load_checkpoint
from kacflow.training.config import ADDED
from kacflow.training.sampling import draw_samples

Small = Callable[..., TrainConfig]
Head = dict[str, Any]
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def run(small: Small) -> Path:
    """The folder of a run of three steps."""
    config = small(steps=3, width=4, blocks=1, batch=4)
    train(config, progress=False)
    return Path(config.out)


def content(run: Path) -> tuple[Tensors, Head]:
    data = (run / "checkpoint.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    head = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["kacflow"])
    return dict(load_checkpoint(run).tensors), head


def rewrite(run: Path, tensors: Tensors, head: Head) -> None:
    """A file with this content and the right digest."""
    data = save(tensors, {"kacflow": json.dumps({**head, "sha256": "0" * 64})})
    digest = checkpoint._digest(data, "0" * 64)
    data = data.replace(checkpoint._entry("0" * 64), checkpoint._entry(digest))
    (run / "checkpoint.safetensors").write_bytes(data)


def assert_refused(run: Path, match: str = "cannot be used") -> None:
    """By the functions, and by the commands in one line; each time with the name of the file."""
    for call in (load_checkpoint, load_model):
        with pytest.raises(ValueError, match=match) as caught:
            call(run)
        assert str(caught.value).startswith(f"checkpoint: {str(run / checkpoint.FILE_NAME)!r}")


def test_written_and_read_without_a_change(run: Path) -> None:
    tensors, head = content(run)
    before = (run / "checkpoint.safetensors").read_bytes()
    rewrite(run, tensors, head)
    assert (run / "checkpoint.safetensors").read_bytes() == before
    assert load_checkpoint(run).step == 3


def test_a_flipped_bit_is_noticed(run: Path) -> None:
    """Every bit of the first bytes, and 300 anywhere: in lengths, head, names and numbers."""
    file, rng = run / "checkpoint.safetensors", random.Random(0)
    whole = file.read_bytes()
    for place in [*range(8 * 40), *(rng.randrange(8 * len(whole)) for _ in range(300))]:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"checkpoint: '.*' cannot be used: ") as caught:
            load_checkpoint(run)
        assert str(file) in str(caught.value)
    file.write_bytes(whole[:-1])
    assert_refused(run, "SHA-256")


WRONG = [None, True, -1, 10**6, 0.5, "x", [], {}, [1, "x"], {"a": 1}, float("nan"), 10**30]


def test_a_head_without_any_one_of_its_keys_or_with_another_value(run: Path) -> None:
    tensors, head = content(run)
    for key in sorted({*head} - {"sha256"}):
        rewrite(run, tensors, {k: v for k, v in head.items() if k != key})
        assert_refused(run)
        for value in WRONG:
            rewrite(run, tensors, {**head, key: value})
            assert_refused(run)
    for key in head["config"]:
        rewrite(
            run, tensors, {**head, "config": {k: v for k, v in head["config"].items() if k != key}}
        )
        if key in ADDED:
            assert load_checkpoint(run).config.to_dict()[key] == head["config"][key]
        else:
            assert_refused(run, "all of them")
        for value in (None, -1, [], float("nan"), 10**30):
            rewrite(run, tensors, {**head, "config": {**head["config"], key: value}})
            assert_refused(run)


@pytest.mark.parametrize("network", ["mlp", "unet"])
def test_a_checkpoint_that_is_older_than_fields_of_its_network(
    small: Small, network: str, image_folder: Path
) -> None:
    config = small(data=str(image_folder), image_size=8, network=network, width=8, batch=2, steps=2)
    train(config, progress=False)
    out = Path(config.out)
    tensors, head = content(out)
    older = {k: v for k, v in head["config"].items() if k not in ADDED}
    assert len(older) + len(ADDED) == len(head["config"])
    rewrite(out, tensors, {**head, "config": older})
    assert load_checkpoint(out).config == load_model(out).config == config
    assert train(dataclasses.replace(config, steps=3), resume=True, progress=False).step == 3


@pytest.mark.parametrize("part", ["model", "ema", "optimizer", "rng", "state"])
def test_a_missing_or_wrong_tensor(run: Path, part: str) -> None:
    """Too short, too long, of another shape or type, absent, unknown: never read beyond its end."""
    tensors, head = content(run)
    names = [name for name in tensors if name.startswith(f"{part}.")]
    for name in names:
        value = tensors[name]
        wrong = [value.flatten()[:0], torch.cat([value.flatten()] * 2), value[None].clone()]
        wrong += [value.to(torch.float16), value.to(torch.int32), torch.zeros(7)]
        rewrite(run, {k: v for k, v in tensors.items() if k != name}, head)
        assert_refused(run, f"'{name}' is missing")
        for other in wrong:
            rewrite(run, {**tensors, name: other}, head)
            assert_refused(run, name)
    rewrite(run, {**tensors, f"{part}.new": torch.zeros(1)}, head)
    assert_refused(run, f"'{part}.new' is not one of this network")


@pytest.mark.parametrize("elements", [0, 1, 16, 5000])
def test_short_moments_never_reach_the_optimiser(
    run: Path, elements: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors, head = content(run)
    for name in ("optimizer.0.exp_avg", "optimizer.0.exp_avg_sq"):
        rewrite(run, {**tensors, name: torch.zeros(elements)}, head)
        assert main(["train", "--out", str(run), "--resume", "--steps", "5", "--quiet"]) == 1
        said = capsys.readouterr().err
        assert name in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("state.n_averaged", 2), ("state.loss_count", -1), ("state.loss_count", 4),
     ("optimizer.3.step", 2.0), ("optimizer.3.step", float("nan")), ("rng.cpu", 255)],
)  # fmt: skip
def test_counts_that_contradict_the_step(run: Path, name: str, value: float) -> None:
    tensors, head = content(run)
    rewrite(run, {**tensors, name: torch.full_like(tensors[name], value)}, head)
    assert_refused(run, "step: got 3|state.loss_count: got|rng.cpu: ")


@pytest.mark.parametrize(
    "changes",
    [{"blocks": 16384}, {"blocks": 2}, {"width": 2**20}, {"width": 5}, {"network": "unet"},
     {"data": "digits"}, {"data": "a folder", "image_size": 2**14}, {"T": 1e-300}],
)  # fmt: skip
def test_a_configuration_of_other_tensors_is_not_built(
    run: Path, changes: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*arguments: Any) -> torch.nn.Module:
        network = networks.build_network(*arguments)
        assert all(value.is_meta for value in network.parameters())
        return network

    tensors, head = content(run)
    monkeypatch.setattr(checkpoint, "build_network", build)
    rewrite(run, tensors, {**head, "config": {**head["config"], **changes}})
    assert_refused(run)


@pytest.mark.parametrize("shape", [[1, 2], [3], [], [0], [-2], [2.5], ["2"], 2, [10**30]])
def test_another_shape_of_a_sample(run: Path, shape: object) -> None:
    tensors, head = content(run)
    rewrite(run, tensors, {**head, "sample_shape": shape})
    assert_refused(run, "sample_shape: got ")


def test_a_run_on_an_array_needs_no_file_of_data(small: Small, tmp_path: Path) -> None:
    """The shape of its samples is stored; another one does not fit the tensors, or is none."""
    file = tmp_path / "x.npy"
    np.save(file, np.zeros((9, 3, 2)))
    config = small(data=str(file), steps=3, width=4, blocks=1, batch=4)
    train(config, progress=False)
    file.unlink()
    run = Path(config.out)
    model = load_model(run)
    assert model.sample_shape == (3, 2)
    assert draw_samples(model, 2, steps=1).shape == (2, 3, 2)
    tensors, head = content(run)
    wrong = [None, 6, [], [0], [-3, -2], [3, True], [3, 2.0], ["3", 2], [10**30], [2**21, 2**21]]
    for shape in wrong:
        rewrite(run, tensors, {**head, "sample_shape": shape})
        assert_refused(run, "sample_shape: got ")
    rewrite(run, tensors, {**head, "sample_shape": [3, 3]})
    assert_refused(run, "got Tensor of shape")


def test_reading_leaves_the_callers_generator_alone(run: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_checkpoint(run)
    load_model(run)
    assert torch.equal(torch.get_rng_state(), before)

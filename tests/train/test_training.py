"""The loop and its checkpoints: bit-for-bit resume, atomic writes, Ctrl-C, failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kacflow.training import (
    TrainConfig,
    checkpoint,
    load_dataset,
    load_model,
    loop,
    processes,
    train,
)
from kacflow.training.checkpoint import (
    Checkpoint,
    flatten_optimizer,
    load_checkpoint,
    restore_optimizer,
    write_atomically,
)
from kacflow.training.ema import Average

Small = Callable[..., TrainConfig]


class Stopped(Exception):
    """Stands for a run that is cut off."""


def assert_same(left: Checkpoint, right: Checkpoint) -> None:
    assert left.step == right.step
    assert left.tensors.keys() == right.tensors.keys()
    for name, value in left.tensors.items():
        assert torch.equal(value, right.tensors[name]), name


def losses(out: Path | str) -> list[tuple[int, float]]:
    lines = (Path(out) / "log.jsonl").read_text().splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


@pytest.mark.parametrize("data", ["grid9", "digits", "images"])
def test_resume_continues_bit_for_bit(
    data: str, small: Small, tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra: dict[str, object] = {"data": data}
    if data == "images":  # a U-Net, with mirrored images
        extra = {"data": str(image_folder), "image_size": 8, "network": "unet", "width": 8,
                 "blocks": 1, "batch": 2, "flip": True}  # fmt: skip
    whole = small(out=str(tmp_path / "whole"), **extra)
    train(whole, progress=False)

    parts = small(out=str(tmp_path / "parts"), checkpoint_every=7, **extra)
    one_step = loop._Run.one_step

    def cut_off(run: loop._Run) -> torch.Tensor:
        if run.step == 9:  # after the checkpoint at 7, and after a line of the log at 5
            raise Stopped
        return one_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "one_step", cut_off)
        with pytest.raises(Stopped):
            train(parts, progress=False)
    assert load_checkpoint(parts.out).step == 7
    torch.manual_seed(99)  # the state of the caller's generator must not matter
    result = train(parts, resume=True, progress=False)
    assert result.step == 12
    assert_same(load_checkpoint(whole.out), load_checkpoint(parts.out))
    assert losses(whole.out) == losses(parts.out)


def test_training_leaves_the_callers_generator_alone(small: Small) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    train(small(), progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_seed_decides_everything(small: Small, tmp_path: Path) -> None:
    runs = {"a": 7, "b": 7, "c": 8}
    for name, seed in runs.items():
        train(small(out=str(tmp_path / name), seed=seed), progress=False)
    a, b, c = (load_checkpoint(tmp_path / name) for name in runs)
    assert_same(a, b)
    assert not torch.equal(a.tensors["model.first.weight"], c.tensors["model.first.weight"])


@pytest.mark.parametrize("path", ["kac", "diffusion", "flow_matching"])
def test_loss_falls(path: str, small: Small) -> None:
    changes = {"width": 64, "lr": 3e-3, "batch": 64, "log_every": 10, "t_min": 0.05}
    config = small(path=path, data="digits", steps=150, **changes)
    train(config, progress=False)
    curve = [loss for _, loss in losses(config.out)]
    assert curve[-1] < 0.8 * curve[0]


def test_existing_run_is_not_replaced_unasked(small: Small) -> None:
    train(small(), progress=False)
    with pytest.raises(ValueError, match="already holds a run"):
        train(small(), progress=False)
    train(small(steps=3), overwrite=True, progress=False)
    assert load_checkpoint(small().out).step == 3
    assert losses(small().out)[-1][0] == 3


def test_resume_checks(small: Small) -> None:
    with pytest.raises(ValueError, match="found none"):
        train(small(), resume=True, progress=False)
    train(small(), progress=False)
    with pytest.raises(ValueError, match=r"c: 3\.0 -> 4\.0"):
        train(small(c=4.0), resume=True, progress=False)
    assert train(small(steps=15), resume=True, progress=False).step == 15
    assert train(small(steps=15), resume=True, progress=False).seconds >= 0  # nothing left to do
    with pytest.raises(ValueError, match="steps: got 14, but"):
        train(small(steps=14), resume=True, progress=False)


def test_precision_may_change_between_runs_of_a_process(small: Small, tmp_path: Path) -> None:
    out = [str(tmp_path / name) for name in ("no", "bf16")]
    for place, precision in zip(out, ("no", "bf16"), strict=True):
        train(small(out=place, precision=precision), progress=False)
    full, half = (load_checkpoint(place).tensors["model.last.weight"] for place in out)
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, rtol=0, atol=0.01)


@pytest.mark.parametrize("option", ["compile", "fused", "foreach"])
def test_options_of_speed_change_the_last_digits_at_most(
    option: str, small: Small, tmp_path: Path
) -> None:
    curves = []
    for value in (True, False):
        config = small(
            data="digits", width=8, blocks=1, steps=4, batch=8, labels=True, log_every=1,
            out=str(tmp_path / str(value)), **{option: value},
        )  # fmt: skip
        train(config, progress=False)
        curves.append(losses(config.out))
        assert load_model(config.out).sample_shape == (1, 8, 8)  # names of weights are the same
    with_it, without = (torch.tensor([loss for _, loss in curve]) for curve in curves)
    torch.testing.assert_close(with_it, without, rtol=2e-4, atol=0.0)


def test_processes_share_weights_and_not_the_masks_of_dropout(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator, config = processes.accelerator("cpu"), small(data="digits", dropout=0.5)
    weights, drawn = [], []
    for rank in (0, 1):
        monkeypatch.setattr(type(accelerator), "process_index", property(lambda _, n=rank: n))
        monkeypatch.setattr(type(accelerator), "num_processes", property(lambda _: 2))
        torch.manual_seed(config.seed)
        run = loop._Run(config, load_dataset(config), accelerator, None)
        weights.append(torch.nn.utils.parameters_to_vector(run.weights))
        drawn.append(torch.rand(8))
    assert torch.equal(*weights) and not torch.equal(*drawn)


@pytest.mark.parametrize("wanted", [True, False])
def test_channels_innermost_on_a_gpu(
    wanted: bool, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, their average and the batch; on a device that stands for one."""
    accelerator = processes.accelerator("cpu")
    config = small(data="digits", network="unet", width=8, blocks=1, fused=False,
                   channels_last=wanted)  # fmt: skip
    here = loop._Run(config, load_dataset(config), accelerator, None)
    assert here.layout is None
    monkeypatch.setattr(type(accelerator), "device", property(lambda _: torch.device("meta")))
    run = loop._Run(config, load_dataset(config), accelerator, None)
    run.one_step()
    for network in (run.network, run.ema.module):
        kernels = [w for w in network.parameters() if w.ndim == 4 and min(w.shape[1:]) > 1]
        assert kernels
        for weights in kernels:
            assert weights.is_contiguous(memory_format=torch.channels_last) == wanted


def test_a_restored_optimiser_has_the_layout_of_the_weights() -> None:
    """Fused kernels go through weights and moments in the order of memory."""
    torch.manual_seed(0)
    weights = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    optimizers = [torch.optim.Adam([weights], fused=True) for _ in range(2)]
    weights.grad = torch.randn_like(weights)
    optimizers[0].step()
    kept = {name: value.contiguous() for name, value in flatten_optimizer(optimizers[0]).items()}
    restore_optimizer(optimizers[1], kept)
    first, second = (optimizer.state[weights] for optimizer in optimizers)
    for name, value in first.items():
        assert torch.equal(value, second[name]) and value.stride() == second[name].stride()


def test_divergence_keeps_the_last_checkpoint(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = loop._Run.batch

    def poisoned(run: loop._Run) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x_t, t, dx_t = batch(run)
        return x_t, t, dx_t * float("nan") if run.step == 8 else dx_t

    monkeypatch.setattr(loop._Run, "batch", poisoned)
    with pytest.raises(FloatingPointError, match="not finite"):
        train(small(checkpoint_every=4), progress=False)
    saved = load_checkpoint(small().out)
    assert saved.step == 8
    assert all(bool(value.isfinite().all()) for value in saved.part("model").values())


def test_write_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            write_atomically(target, b"new and longer")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]  # no temporary file is left
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"


def test_other_files_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "a.safetensors").write_bytes(b"12345678 not a checkpoint")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    for name in ("a", "b"):
        with pytest.raises(ValueError, match="is not one of kacflow"):
            load_checkpoint(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("foreach", [True, False])
def test_average_of_weights_follows_its_definition(foreach: bool) -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    average = Average(network, 0.5, foreach=foreach)
    expected = None
    for n in range(12):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3))
        average.update(network)
        decay = min(0.5, (1 + n) / (10 + n))
        now = network.weight.detach().clone()
        expected = now if expected is None else decay * expected + (1 - decay) * now
        torch.testing.assert_close(average.module.weight, expected)


def test_loaded_model_is_the_average(small: Small) -> None:
    train(small(), progress=False)
    saved = load_checkpoint(small().out)
    model, last = load_model(small().out), load_model(small().out, ema=False)
    assert torch.equal(model.network.first.weight, saved.tensors["ema.first.weight"])
    assert torch.equal(last.network.first.weight, saved.tensors["model.first.weight"])
    assert model.sample_shape == (2,)
    assert not any(p.requires_grad for p in model.network.parameters())


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_leaves_a_usable_checkpoint(small: Small, child_environment: dict[str, str]) -> None:
    config = small(steps=10**7, lr_schedule="constant", log_every=1)
    file = Path(config.out) / "wanted.json"
    file.parent.mkdir(parents=True)
    file.write_text(config.to_json())
    command = [sys.executable, "-m", "kacflow.cli", "train", "--config", str(file), "--quiet"]
    child = subprocess.Popen(
        command, env=child_environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        log = Path(config.out) / "log.jsonl"
        deadline = time.monotonic() + 120
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            assert child.poll() is None, child.communicate()[1]
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, message = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    saved = load_checkpoint(config.out)
    assert saved.step >= 1
    assert f"stopped after step {saved.step} of" in message
    assert "--resume" in message
    result = train(small(steps=saved.step + 2, lr_schedule="constant", log_every=1), resume=True,
                   progress=False)  # fmt: skip
    assert result.step == saved.step + 2

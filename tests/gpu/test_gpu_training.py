"""The training loop on a GPU: it waits for nothing between two lines of the log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")
pytest.importorskip("safetensors")

from kacflow.training import TrainConfig, load_model, loop, processes, train
from kacflow.training._uniforms import Uniforms
from kacflow.training.data import Order, load_dataset
from kacflow.training.feed import Feed
from kacflow.training.objective import Objective
from kacflow.training.sampling import draw_samples


def small(out: Path, **changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "data": "digits", "out": str(out), "width": 32, "blocks": 2, "batch": 64, "steps": 12,
        "warmup": 3, "log_every": 5, "device": "cuda", "labels": True,
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["kac", "diffusion", "flow_matching"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_step_waits_for_nothing(path: str, precision: str, tmp_path: Path):
    pytest.importorskip("sklearn")
    config = small(tmp_path, path=path, precision=precision)
    run = loop._Run(config, load_dataset(config), processes.accelerator("cuda"), None)
    for _ in range(3):  # allocators and libraries set up
        run.one_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            norm = run.one_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert norm.is_cuda and bool(norm.isfinite())


def test_uniform_numbers_are_those_of_the_cpu():
    for step in (0, 63, 10**7):
        there, here = (Uniforms(3, range(5, 300), device)(step) for device in ("cuda", "cpu"))
        assert torch.equal(there[0].cpu(), here[0])


@pytest.mark.parametrize("path", ["kac", "flow_matching"])
def test_batches_are_those_of_the_cpu(gpu_backend: str, path: str, tmp_path: Path):
    """The same samples, uniform numbers, labels and words of the noise."""
    pytest.importorskip("sklearn")
    config = small(tmp_path, path=path)
    data, rows, drawn = load_dataset(config), range(16, 48), {}
    for device in ("cuda", "cpu"):
        place = torch.device(device)
        feed = Feed(data, Order(data.size, 64, 0), rows, range(3, 4), place, labels=True)
        raw, labels = feed(3)
        objective = Objective(config, data, 10)
        [uniforms] = Uniforms(0, rows, place)(3)
        random = objective.random(uniforms, rows, 64)
        batch = objective.draw(raw, labels, random, rows.start, seed=0, step=3)
        drawn[device] = [value.cpu() for value in batch]
    for there, here in zip(drawn["cuda"], drawn["cpu"], strict=True):
        torch.testing.assert_close(there, here, rtol=3e-5, atol=3e-5)
    assert torch.equal(drawn["cuda"][3], drawn["cpu"][3])


def test_train_resume_and_generate(tmp_path: Path):
    pytest.importorskip("sklearn")
    pytest.importorskip("tqdm")
    train(small(tmp_path, steps=8, lr_schedule="constant"), progress=False)
    result = train(small(tmp_path, lr_schedule="constant"), resume=True, progress=False)
    assert result.step == 12
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 12 and lines[-1]["validation_loss"] > 0
    model = load_model(tmp_path, device="cuda")
    samples = draw_samples(model, 20, steps=5, method="ab2", labels=torch.arange(20) % 10)
    assert samples.shape == (20, 1, 8, 8) and bool(samples.isfinite().all())


def test_a_set_larger_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Read ahead into pinned memory, every step anew: the same weights."""
    image = pytest.importorskip("PIL.Image")
    np = pytest.importorskip("numpy")
    from kacflow.training import feed
    from kacflow.training.checkpoint import load_checkpoint

    (tmp_path / "images").mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    weights = []
    for kept in (2**30, 0):
        monkeypatch.setattr(feed, "kept_bytes", lambda _, kept=kept: kept)
        out = tmp_path / str(kept)
        config = small(out, data=str(tmp_path / "images"), image_size=8, labels=False, batch=4,
                       network="mlp", flip=True)  # fmt: skip
        train(config, progress=False)
        weights.append(load_checkpoint(out).part("model"))
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-5)

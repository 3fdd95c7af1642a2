"""What a step trains on is there in time, and the same however it was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kacflow.training import TrainConfig, feed, load_dataset, loop, processes, train
from kacflow.training.checkpoint import load_checkpoint
from kacflow.training.data import Dataset, Order
from kacflow.training.feed import Feed

Small = Callable[..., TrainConfig]
CPU = torch.device("cpu")


@pytest.fixture
def images(image_folder: Path) -> Iterator[Dataset]:
    yield load_dataset(TrainConfig(data=str(image_folder), image_size=4, labels=True, held_out=0.0))


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("kept", [0, 2**30])
def test_batches_are_those_of_the_order(
    images: Dataset, workers: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a set that fits and one that is larger than memory may be; from any step on."""
    monkeypatch.setattr(feed, "KEPT_ON_CPU", kept)
    order, rows = Order(images.size, 5, 0), range(1, 4)
    for start in (0, 7):
        steps = range(start, 20)
        source = Feed(images, order, rows, steps, CPU, workers=workers, labels=True)
        for step in steps:
            mine = order.batch(step)[1:4]
            raw, labels = source(step)
            assert raw.dtype == torch.uint8 and torch.equal(raw, images.raw(mine))
            assert torch.equal(labels, images.labels(mine))
        source.close()


def test_what_fits_is_read_once(images: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    raw = type(images).raw

    def counting(data: Dataset, indices: Tensor) -> Tensor:
        read.extend(indices.tolist())
        return raw(data, indices)

    monkeypatch.setattr(type(images), "raw", counting)
    source = Feed(images, Order(6, 4, 0), range(4), range(9), CPU)
    for step in range(9):
        source(step)
    assert sorted(read[1:]) == list(range(6))  # the first tells how large a sample is
    monkeypatch.setattr(feed, "KEPT_ON_CPU", 6 * 3 * 4 * 4 - 1)
    read.clear()
    source = Feed(images, Order(6, 4, 0), range(4), range(9), CPU)
    for step in range(9):
        source(step)
    assert len(read) == 1 + 9 * 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_is_named(image_folder: Path, small: Small, workers: int) -> None:
    (image_folder / "odd" / "9.png").write_bytes(b"no image")
    config = small(data=str(image_folder), image_size=4, workers=workers, held_out=0.0)
    with pytest.raises(ValueError, match=r"^data: cannot decode 'odd/9\.png' of .*\n?$") as error:
        train(config, progress=False)
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize("kept", [0, 2**30])
def test_workers_and_memory_change_no_bit(
    kept: int, image_zip: Path, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a whole run nor of a resumed one."""
    same = {"data": str(image_zip), "image_size": 4, "flip": True, "batch": 4, "labels": True}
    train(small(out=str(tmp_path / "a"), workers=0, **same), progress=False)
    monkeypatch.setattr(feed, "KEPT_ON_CPU", kept)
    train(small(out=str(tmp_path / "b"), workers=3, steps=5, lr_schedule="constant", **same),
          progress=False)  # fmt: skip
    train(small(out=str(tmp_path / "b"), workers=1, lr_schedule="constant", **same), resume=True,
          progress=False)  # fmt: skip
    train(small(out=str(tmp_path / "c"), workers=2, lr_schedule="constant", **same), progress=False)
    whole, parts = load_checkpoint(tmp_path / "c"), load_checkpoint(tmp_path / "b")
    for name, value in whole.tensors.items():
        assert torch.equal(value, parts.tensors[name]), name
    train(small(out=str(tmp_path / "d"), workers=2, **same), progress=False)
    one, other = load_checkpoint(tmp_path / "a"), load_checkpoint(tmp_path / "d")
    for name, value in one.tensors.items():
        assert torch.equal(value, other.tensors[name]), name


@pytest.mark.parametrize(
    "extra",
    [
        {"data": "grid9", "path": "kac"},
        {"data": "grid9", "path": "kac", "signal": "cosine", "clock": "square", "labels": True},
        {"data": "digits", "path": "flow_matching", "labels": True},
        {"data": "digits", "path": "diffusion", "prediction": "data", "clip": float("inf")},
        {"data": "digits", "network": "unet", "width": 8, "blocks": 1, "accumulate": 2},
    ],
)
@pytest.mark.parametrize("density", ["uniform", "logit_normal", "power"])
def test_a_step_reads_nothing_back(
    extra: dict[str, object], density: str, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device whose numbers cannot be read: every copy to the host and every .item() raises."""
    accelerator = processes.accelerator("cpu")
    monkeypatch.setattr(type(accelerator), "device", property(lambda _: torch.device("meta")))
    config = small(t_density=density, fused=False, **extra)
    run = loop._Run(config, load_dataset(config), accelerator, None)
    for _ in range(3):
        norm = run.one_step()
    assert norm.is_meta and run.sums["loss"].is_meta
    assert all(weights.is_meta for weights in run.ema.module.parameters())
    with pytest.raises(RuntimeError, match="meta"):
        run.means(norm)  # which does read


def test_uniforms_decide_times_mirrors_and_labels(image_folder: Path, small: Small) -> None:
    """Strata of the batch in order, half of the images mirrored, a share of the labels left out."""
    from PIL import Image

    left = np.zeros((4, 4, 3), np.uint8)
    left[:, :2] = 255
    for file in image_folder.rglob("*.png"):
        if not file.name.startswith("."):
            Image.fromarray(left).save(file)
    config = small(
        data=str(image_folder), image_size=4, flip=True, labels=True, label_dropout=0.25,
        batch=4000, workers=0, t_min=0.0, held_out=0.0,
    )  # fmt: skip
    data = load_dataset(config)
    run = loop._Run(config, data, processes.accelerator("cpu"), None)
    _, t, _, labels = run.batch()
    assert torch.equal((t * 4000).floor().long().clamp(max=3999), torch.arange(4000))
    assert abs((labels == -1).double().mean() - 0.25) < 0.03
    samples = data.samples(run.feed(0)[0], run.random(0)[1])
    mirrored = samples[:, 0, 0, 0] < 0
    assert abs(mirrored.double().mean() - 0.5) < 0.04

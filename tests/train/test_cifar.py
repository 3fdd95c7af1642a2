"""CIFAR-10's binary archive: what its bytes become, and archives that are not it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from kacflow.training import TrainConfig, load_dataset

FOLDER = "cifar-10-batches-bin"
RECORDS = np.random.default_rng(0).integers(0, 256, (10, 3073), np.uint8)
RECORDS[:, 0] = np.arange(10)[::-1] % 9
PARTS = {f"data_batch_{i + 1}.bin": RECORDS[2 * i : 2 * i + 2].tobytes() for i in range(5)}


def packed(place: Path, contents: dict[str, bytes], folder: str = FOLDER) -> Path:
    with tarfile.open(place, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return place


@pytest.mark.parametrize("name", ["cifar-10-binary.tar.gz", "c.TGZ"])
def test_records_become_images_and_classes(tmp_path: Path, name: str) -> None:
    """In any order of the members; the test batch is left out."""
    more = {"test_batch.bin": RECORDS.tobytes(), "batches.meta.txt": b"airplane\n"}
    place = packed(tmp_path / name, {**more, **dict(reversed(PARTS.items()))})
    data = load_dataset(TrainConfig(data=str(place), held_out=0))
    assert (data.size, data.sample_shape, data.classes) == (10, (3, 32, 32), 10)
    assert data.labels(torch.arange(10)).tolist() == RECORDS[:, 0].tolist()
    raw = data.raw(torch.arange(10))
    assert np.array_equal(raw.numpy(), RECORDS[:, 1:].reshape(10, 3, 32, 32))
    samples = data.samples(raw, torch.rand(2, 10))
    assert (
        samples.dtype == torch.float32 and -1 <= samples.min() < -0.9 and 0.9 < samples.max() <= 1
    )
    flipped = load_dataset(TrainConfig(data=str(place), held_out=0, flip=True))
    assert torch.equal(flipped.samples(raw, torch.zeros(2, 10)), samples.flip(3))


@pytest.mark.parametrize(("side", "channels"), [(32, 1), (16, 3), (64, 1)])
def test_other_sizes_are_made_as_of_any_image(tmp_path: Path, side: int, channels: int) -> None:
    from PIL import Image

    place = packed(tmp_path / "c.tgz", PARTS)
    config = TrainConfig(data=str(place), held_out=0, image_size=side, channels=channels)
    found = load_dataset(config).raw(torch.arange(10))
    assert found.shape == (10, channels, side, side)
    for i, record in enumerate(RECORDS):
        (tmp_path / "images").mkdir(exist_ok=True)
        pixels = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "images" / f"{i}.png")
    files = TrainConfig(
        data=str(tmp_path / "images"), held_out=0, image_size=side, channels=channels
    )
    assert torch.equal(load_dataset(files).raw(torch.arange(10)), found)


def test_other_archives_are_named(tmp_path: Path) -> None:
    def refused(place: Path, message: str) -> None:
        with pytest.raises(
            ValueError, match=f"^data: cannot read .* as CIFAR-10: .*{message}"
        ) as e:
            load_dataset(TrainConfig(data=str(place)))
        assert repr(str(place)) in str(e.value) and "\n" not in str(e.value)

    place = tmp_path / "c.tar.gz"
    whole = packed(place, PARTS).read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 6):
        place.write_bytes(whole[:length])
        refused(place, "")
    for byte in range(40, len(whole), len(whole) // 50):
        damaged = bytearray(whole)
        damaged[byte] ^= 255
        place.write_bytes(damaged)
        refused(place, "")
    refused(
        packed(place, PARTS, "cifar-100-binary"), "has no 'cifar-10-batches-bin/data_batch_1.bin'"
    )
    refused(packed(place, {k: v for k, v in PARTS.items() if "3" not in k}), "no .*data_batch_3")
    for content in (PARTS["data_batch_1.bin"][:-1], b"", RECORDS[:1].tobytes() * 10_001):
        refused(
            packed(place, {**PARTS, "data_batch_2.bin": content}), r"data_batch_2\.bin' has \d+ b"
        )
    wrong = bytes([10]) + bytes(3072)
    refused(packed(place, {**PARTS, "data_batch_5.bin": wrong}), "class 10; allowed: 0 to 9")
    with tarfile.open(place, "w:gz") as archive:
        folder = tarfile.TarInfo(f"{FOLDER}/data_batch_1.bin")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    refused(place, "has no 'cifar-10-batches-bin/data_batch_1.bin'")

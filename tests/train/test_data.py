"""Data sets: values, order, splits, images from folders and .zip files, errors."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from kacflow.training import TrainConfig, load_dataset
from kacflow.training.data import Order, digits_split, random_samples, torch_generator


def test_digits_are_real_scaled_and_split_once() -> None:
    from sklearn.datasets import load_digits

    train, train_labels, held_out, held_out_labels = digits_split()
    assert train.shape == (1297, 1, 8, 8)
    assert held_out.shape == (500, 1, 8, 8)
    assert train.min() == -1.0
    assert train.max() == 1.0
    ours = torch.cat((train, held_out)).flatten(1)
    theirs = torch.from_numpy(load_digits().data).float() / 8 - 1
    labels = torch.cat((train_labels, held_out_labels)).tolist()
    key = sorted(zip(ours.tolist(), labels, strict=True))
    assert key == sorted(zip(theirs.tolist(), load_digits().target.tolist(), strict=True))
    assert torch.equal(digits_split()[2], held_out)
    data = load_dataset(TrainConfig(data="digits"))
    assert data.size == 1297
    indices = torch.tensor([5, 0])
    assert torch.equal(data.batch(indices, torch.Generator()), train[indices])


def test_grid9() -> None:
    data = load_dataset(TrainConfig(data="grid9"))
    points = data.batch(torch.arange(9).repeat(1000), torch.Generator().manual_seed(1))
    nearest = points.round()
    assert len({tuple(p) for p in nearest.tolist()}) == 9
    assert nearest.abs().max() == 1
    assert (points - nearest).std().item() == pytest.approx(1e-4, rel=0.02)


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (3, 8), (1, 2), (7, 7)])
def test_order_visits_everything_once_an_epoch(size: int, batch: int) -> None:
    flow = torch.cat([Order(size, batch, 3).batch(i) for i in range(4 * size)])
    for epoch in flow[: len(flow) // size * size].reshape(-1, size):
        assert sorted(epoch.tolist()) == list(range(size))
    other = torch.cat([Order(size, batch, 4).batch(i) for i in range(4 * size)])
    assert size == 1 or not torch.equal(flow, other)


def test_generators_differ_by_seed_purpose_and_counter() -> None:
    keys = [(0, "batch", 0), (0, "batch", 1), (1, "batch", 0), (0, "noise", 0), (0, "noise", 0, 1)]
    firsts = {torch.rand(2, generator=torch_generator(*key)) for key in keys}
    assert len({tuple(f.tolist()) for f in firsts}) == len(keys)


@pytest.mark.parametrize("kind", ["image_folder", "image_zip"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_cropped_resized_scaled(
    kind: str, channels: int, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue(kind)
    data = load_dataset(TrainConfig(data=str(place), image_size=4, channels=channels))
    assert data.sample_shape == (channels, 4, 4)
    assert data.size == 6
    batch = data.batch(torch.tensor([0, 1, 2, 3, 4, 5, 0]), torch.Generator())
    assert batch.dtype == torch.float32
    values = np.array([0, 80, 160, 40, 120, 200, 0]) / 127.5 - 1  # even/*, odd/*, again the first
    expected = torch.from_numpy(values).float()[:, None, None, None].expand_as(batch)
    torch.testing.assert_close(batch, expected, rtol=0, atol=1.01 / 127.5)
    assert torch.equal(batch[0], batch[-1])


def test_flip_mirrors_about_half(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, :2] = 255
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "x.png")
    data = load_dataset(TrainConfig(data=str(tmp_path), image_size=4, flip=True))
    batch = data.batch(torch.zeros(400, dtype=torch.int64), torch.Generator().manual_seed(0))
    bright_left = (batch[:, 0, 0, 0] == 1.0).sum().item()
    assert 150 < bright_left < 250
    assert torch.equal(batch[:, 0, 0, 0], -batch[:, 0, 0, 3])


def test_errors_say_what_is_wrong(tmp_path: Path) -> None:
    def load(place: Path | str) -> object:
        return load_dataset(TrainConfig(data=str(place)))

    with pytest.raises(ValueError, match=r"data: got 'mnist' \(no such file or folder\)"):
        load("mnist")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        load(tmp_path / "empty")
    (tmp_path / "a.tar").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"not a \.zip"):
        load(tmp_path / "a.tar")
    (tmp_path / "bad.zip").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"not a readable \.zip"):
        load(tmp_path / "bad.zip")
    with zipfile.ZipFile(tmp_path / "broken.zip", "w") as archive:
        archive.writestr("cat/1.png", b"no picture")
    data = load_dataset(TrainConfig(data=str(tmp_path / "broken.zip")))
    with pytest.raises(ValueError, match=r"cannot decode 'cat/1\.png'"):
        data.batch(torch.tensor([0]), torch.Generator())


def test_random_samples_repeat_only_if_they_must() -> None:
    data = load_dataset(TrainConfig(data="digits"))
    assert len(random_samples(data, 1297, 0).unique(dim=0)) > 1290
    assert random_samples(data, 1400, 0).shape == (1400, 1, 8, 8)

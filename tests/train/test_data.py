"""Data sets: values, order, splits, images from folders and .zip files, errors."""

from __future__ import annotations

import multiprocessing
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kacflow.evaluation._samples import everything
from kacflow.training import TrainConfig, load_dataset, load_held_out
from kacflow.training._plane import Grid9
from kacflow.training.data import (
    Dataset,
    Order,
    TensorData,
    digits_split,
    random_samples,
    torch_generator,
)


def drawn(data: Dataset, indices: torch.Tensor) -> torch.Tensor:
    uniforms = torch.rand(2, len(indices), generator=torch.Generator().manual_seed(0))
    return data.samples(data.raw(indices), uniforms)


def test_two_uniform_numbers_become_two_normal_ones() -> None:
    data = load_dataset(TrainConfig(data="grid9"))
    n = 200_000
    points = (drawn(data, torch.full((n,), 4)) / 1e-4).double()
    one = torch.erf(points / 2**0.5).mul(0.5).add(0.5).sort(dim=0).values
    ranks = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    assert (one - ranks[:, None]).abs().max() < 2.2 / n**0.5  # Kolmogorov, level 1e-4 twice
    assert abs((points[:, 0] * points[:, 1]).mean()) < 4.0 / n**0.5
    ends = data.samples(torch.zeros(2, 2), torch.tensor([[0.0, 1 - 2**-24], [0.0, 0.5]]))
    assert ends[0].tolist() == [0.0, 0.0] and ends.isfinite().all()


def test_images_in_memory_are_mirrored_by_their_number() -> None:
    pixels = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    plain = pixels.double() / 127.5 - 1.0
    for flip in (False, True):
        data = TensorData(pixels, flip=flip)
        indices, uniforms = torch.tensor([0, 1]), torch.tensor([[0.49, 0.5], [0.0, 0.0]])
        found = data.samples(data.raw(indices), uniforms)
        expected = torch.stack((plain[0].flip(2) if flip else plain[0], plain[1]))
        torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["image_folder", "image_zip", "npy", "npz", "safetensors"])
def test_workers_read_what_the_process_reads(
    kind: str, method: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Of one archive at once, which has one position in a file that processes share."""
    place = tmp_path / f"x.{kind}"
    if kind.startswith("image"):
        place = request.getfixturevalue(kind)
    elif kind == "safetensors":
        save_file({"x": torch.arange(24).reshape(6, 4)}, place)
    else:
        {"npy": np.save, "npz": np.savez}[kind](place, np.arange(24).reshape(6, 4))
    data = load_dataset(TrainConfig(data=str(place), image_size=4, held_out=0))
    expected = data.raw(torch.arange(6))
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    batches = torch.utils.data.BatchSampler(list(range(6)) * 20, 5, False)
    loader = torch.utils.data.DataLoader(
        range(6 * 20), batch_sampler=batches, num_workers=2, multiprocessing_context=method,
        collate_fn=Reads(data),
    )  # fmt: skip
    found = torch.cat(list(loader))
    assert torch.equal(found, torch.cat([expected] * 20))


class Reads:
    """Reads a batch in a worker."""

    def __init__(self, data: Dataset) -> None:
        self.raw: Callable[[torch.Tensor], torch.Tensor] = data.raw

    def __call__(self, indices: list[int]) -> torch.Tensor:
        return self.raw(torch.tensor(indices))


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
    assert torch.equal(drawn(data, indices), train[indices])


def test_grid9() -> None:
    data = load_dataset(TrainConfig(data="grid9"))
    points = drawn(data, torch.arange(9).repeat(1000))
    nearest = points.round()
    assert len({tuple(p) for p in nearest.tolist()}) == 9
    assert nearest.abs().max() == 1
    assert (points - nearest).std().item() == pytest.approx(1e-4, rel=0.02)


def standard(values: torch.Tensor) -> bool:
    """Whether numbers look like standard normal ones: Kolmogorov's test, level 1e-4."""
    one = torch.special.ndtr(values.double()).flatten().sort().values
    ranks = (torch.arange(len(one), dtype=torch.float64) + 0.5) / len(one)
    return bool((one - ranks).abs().max() < 2.2 / len(one) ** 0.5)


def test_gaussians9() -> None:
    """An epoch has k of the kth class, each around its point."""
    data, points = load_dataset(TrainConfig(data="gaussians9")), Grid9().centres
    places = torch.arange(45)
    assert data.labels(places).tolist() == [k for k in range(9) for _ in range(k + 1)]
    assert data.classes == 9 and data.size == 45
    places = places.repeat(1000)
    away = (drawn(data, places) - points[data.labels(places)]) / 0.0025**0.5
    assert standard(away[:, 0]) and standard(away[:, 1])


def test_checkerboard() -> None:
    """Squares that touch at corners alone, equally often, and uniform within each."""
    data = load_dataset(TrainConfig(data="checkerboard"))
    points = drawn(data, torch.arange(data.size).repeat(5000))
    squares = points.floor()
    assert set(squares.flatten().tolist()) == {-2.0, -1.0, 0.0, 1.0}
    assert bool((squares.sum(1) % 2 == 0).all())
    assert squares.unique(dim=0, return_counts=True)[1].tolist() == [5000] * 8
    within = (points - squares).double()
    assert standard(torch.special.ndtri(within[:, 0]))
    assert standard(torch.special.ndtri(within[:, 1]))
    assert abs(float(((within[:, 0] - 0.5) * (within[:, 1] - 0.5)).mean())) < 4.0 / 12.0 / 200.0


def test_funnel() -> None:
    data = load_dataset(TrainConfig(data="funnel"))
    first, second = drawn(data, torch.arange(data.size).repeat(100)).double().T
    given = second * (-0.5 * first).exp()
    assert standard(first / 3.0) and standard(given)
    n = len(first)
    for one, other in ((first / 3.0, given), (first.square() / 9.0 - 1.0, given.square() - 1.0)):
        product = one * other
        assert abs(float(product.mean())) < 4.0 * float(product.std()) / n**0.5


def test_laws_without_classes_and_end() -> None:
    data = load_dataset(TrainConfig(data="funnel"))
    with pytest.raises(ValueError, match="labels: the data has none"):
        data.labels(torch.arange(2))
    samples, labels = everything(data, 0)
    assert labels is None and samples.unique(dim=0).shape == (9000, 2)
    with pytest.raises(ValueError, match="allowed: 'digits', 'grid9', 'gaussians9', 'check"):
        load_dataset(TrainConfig(data="funnels"))


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
    data = load_dataset(TrainConfig(data=str(place), image_size=4, channels=channels, held_out=0))
    assert data.sample_shape == (channels, 4, 4)
    assert data.size == 6
    batch = drawn(data, torch.tensor([0, 1, 2, 3, 4, 5, 0]))
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
    batch = drawn(data, torch.zeros(400, dtype=torch.int64))
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
    with pytest.raises(
        ValueError, match=r"\(a file of another kind\); allowed: 'digits', .* or of a \.npy"
    ):
        load(tmp_path / "a.tar")
    (tmp_path / "bad.zip").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"not a readable \.zip"):
        load(tmp_path / "bad.zip")
    with zipfile.ZipFile(tmp_path / "broken.zip", "w") as archive:
        archive.writestr("cat/1.png", b"no picture")
    data = load_dataset(TrainConfig(data=str(tmp_path / "broken.zip")))
    with pytest.raises(ValueError, match=r"cannot decode 'cat/1\.png'"):
        data.raw(torch.tensor([0]))


@pytest.mark.parametrize(
    ("size", "share", "count"),
    [
        (6, 0.05, 1),
        (2, 0.05, 1),
        (2, 0.99, 1),
        (1, 0.5, 0),
        (9, 0.0, 0),
        (90, 0.05, 4),
        (90, 0.5, 45),
    ],
)
def test_a_share_is_held_out_once_and_for_all(
    tmp_path: Path, size: int, share: float, count: int
) -> None:
    file = tmp_path / "a.npz"
    numbers = np.arange(size)
    np.savez(file, x=numbers[:, None], y=numbers)
    for seed in (0, 1):
        config = TrainConfig(data=str(file), label_key="y", held_out=share, seed=seed)
        trained, held = load_dataset(config), load_held_out(config)
        parts = [trained] if held is None else [trained, held]
        found = [part.raw(torch.arange(part.size))[:, 0] for part in parts]
        for part, values in zip(parts, found, strict=True):
            assert torch.equal(part.labels(torch.arange(part.size)).float(), values)
            assert part.classes == size and part.sample_shape == (1,)
        assert trained.size == size - count and sorted(torch.cat(found).tolist()) == list(numbers)
        if held is not None:
            picked = np.random.default_rng(0).permutation(size)[:count]
            assert found[1].tolist() == sorted(picked)


def test_what_digits_and_grid9_hold_out() -> None:
    for share in (0.0, 0.5):
        digits = load_held_out(TrainConfig(data="digits", held_out=share))
        assert isinstance(digits, TensorData) and digits.classes == 10
        assert torch.equal(digits.raw(torch.arange(500)), digits_split()[2])
        assert torch.equal(digits.labels(torch.arange(500)), digits_split()[3])
        assert load_dataset(TrainConfig(data="digits", held_out=share)).size == 1297
        grid9 = load_held_out(TrainConfig(data="grid9", held_out=share))
        assert grid9 is not None and grid9.size == 9


def test_random_samples_repeat_only_if_they_must() -> None:
    data = load_dataset(TrainConfig(data="digits"))
    assert len(random_samples(data, 1297, 0).unique(dim=0)) > 1290
    assert random_samples(data, 1400, 0).shape == (1400, 1, 8, 8)

"""Data sets by name or path: samples as they are stored, and as float32 to train on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._optional import require
from kacflow.training import _arrays, _cifar
from kacflow.training._arrays import ArrayFile
from kacflow.training._images import ImageFiles, as_samples
from kacflow.training._plane import PLANE

if TYPE_CHECKING:
    from kacflow.training.config import TrainConfig

DIGITS_HELD_OUT = 500


class Dataset(Protocol):
    """What the training loop asks of a data set; it can be pickled, for spawned workers.

    Attributes
    ----------
    sample_shape : tuple of int
        Shape of one sample; three axes (channels, height, width) mean an image in [-1, 1].
    size : int
        Number of samples that an epoch goes through.
    classes : int
        Number of classes, 0 where samples have no labels.
    in_memory : bool
        Whether :meth:`raw` reads no file.
    """

    in_memory: bool

    @property
    def sample_shape(self) -> tuple[int, ...]: ...

    @property
    def size(self) -> int: ...

    @property
    def classes(self) -> int: ...

    def labels(self, indices: Tensor) -> Tensor:
        """Classes of samples, int64 in [0, classes), of the shape of ``indices``."""
        ...

    def raw(self, indices: Tensor) -> Tensor:
        """Samples ``indices`` (n,), int64, as they are stored: no randomness, and on the CPU.

        Images are uint8 of shape (n, channels, side, side), other samples float32.  Any process
        may call it, such as a worker of a ``DataLoader``.
        """
        ...

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        """What :meth:`raw` gave as float32 samples (n, *sample_shape), on the device of both.

        ``uniforms``, float32 of shape (2, n) in [0, 1), provides all randomness, such as mirroring.
        """
        ...


class TensorData:
    """Samples that are held in memory, and their classes.

    ``values`` are float32 of shape (size, *sample_shape), or images as uint8, which ``flip``
    mirrors left to right with probability 1/2; ``labels`` are int64 of shape (size,), and
    ``classes`` by default one more than the largest of them.
    """

    in_memory = True

    def __init__(
        self,
        values: Tensor,
        labels: Tensor | None = None,
        *,
        classes: int | None = None,
        flip: bool = False,
    ) -> None:
        self.values, self._labels, self.flip = values, labels, flip
        self.sample_shape, self.size = tuple(values.shape[1:]), len(values)
        counted = 0 if labels is None else int(labels.max()) + 1
        self.classes = counted if classes is None else classes

    def labels(self, indices: Tensor) -> Tensor:
        if self._labels is None:
            raise ValueError("labels: the data has none")
        return self._labels[indices]

    def raw(self, indices: Tensor) -> Tensor:
        return self.values[indices]

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        return as_samples(raw, uniforms, self.flip) if raw.dtype == torch.uint8 else raw


class Subset:
    """The samples ``rows`` of another data set, with its classes."""

    def __init__(self, data: Dataset, rows: Tensor) -> None:
        self.data, self.rows = data, rows
        self.sample_shape, self.size, self.classes = data.sample_shape, len(rows), data.classes
        self.in_memory = data.in_memory

    def labels(self, indices: Tensor) -> Tensor:
        return self.data.labels(self.rows[indices])

    def raw(self, indices: Tensor) -> Tensor:
        return self.data.raw(self.rows[indices])

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        return self.data.samples(raw, uniforms)


def digits_split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits, split once and for all: train, train_labels,
    held_out and held_out_labels.

    Images of shape (1297 or 500, 1, 8, 8), float32 in [-1, 1], and labels 0 ... 9, int64.  The
    split is a fixed permutation; training never sees the held-out images.
    """
    bunch = require("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = torch.from_numpy(bunch.images[order].astype(np.float32) / 8.0 - 1.0)[:, None]
    labels = torch.from_numpy(bunch.target[order].astype(np.int64))
    n = DIGITS_HELD_OUT
    return images[n:].clone(), labels[n:].clone(), images[:n].clone(), labels[:n].clone()


def sample_shape_of(config: TrainConfig) -> tuple[int, ...] | None:
    """Shape of one sample of the data that ``config`` names, None where only a file knows it."""
    if Path(config.data).suffix.lower() in _arrays.SUFFIXES:
        return None
    if config.data in PLANE:
        return PLANE[config.data].sample_shape
    side = config.image_size
    return (1, 8, 8) if config.data == "digits" else (config.channels, side, side)


def _files(config: TrainConfig) -> Dataset:
    """All samples of the folder or file that ``config.data`` names."""
    place = Path(config.data)
    if place.is_dir() or (place.is_file() and place.suffix.lower() == ".zip"):
        return ImageFiles(place, config.image_size, config.channels, flip=config.flip)
    if place.is_file() and place.suffix.lower() in _arrays.SUFFIXES:
        return ArrayFile(place, config.key, config.label_key)
    if place.is_file() and place.name.lower().endswith(_cifar.SUFFIXES):
        images, classes = _cifar.read_cifar(place, config.image_size, config.channels)
        return TensorData(
            torch.from_numpy(images), torch.from_numpy(classes), classes=_cifar.CLASSES,
            flip=config.flip,
        )  # fmt: skip
    found = "a file of another kind" if place.is_file() else "no such file or folder"
    raise ValueError(
        f"data: got {config.data!r} ({found}); allowed: 'digits', {', '.join(map(repr, PLANE))}, "
        "or the path of a folder or .zip of images, of CIFAR-10's cifar-10-binary.tar.gz, or of a "
        ".npy, .npz or .safetensors"
    )


def load_parts(config: TrainConfig) -> tuple[Dataset, Dataset | None]:
    """What is trained on, and what is held out: the same for every seed."""
    if config.data == "digits":
        images, labels, held_out, held_out_labels = digits_split()
        return TensorData(images, labels), TensorData(held_out, held_out_labels)
    if config.data in PLANE:
        law = PLANE[config.data]
        return law(), law()
    data = _files(config)
    if config.held_out == 0.0 or data.size == 1:
        return data, None
    count = min(max(1, round(config.held_out * data.size)), data.size - 1)
    order = torch.from_numpy(np.random.default_rng(0).permutation(data.size))
    trained, held = (part.sort().values for part in (order[count:], order[:count]))
    return Subset(data, trained), Subset(data, held)


def load_dataset(config: TrainConfig) -> Dataset:
    """The data set that ``config.data`` names, without the share that is held out.

    Raises
    ------
    ValueError
        If it is neither a known name nor a folder or file that holds data.
    """
    return load_parts(config)[0]


def load_held_out(config: TrainConfig) -> Dataset | None:
    """What :func:`load_dataset` leaves out: samples that training never sees.

    Of n samples they are round(``config.held_out`` n), at least one and not all, picked by a fixed
    permutation; None if that share is 0 or there is but one sample.  Of 'digits' they are 500 fixed
    images, and of the laws of the plane fresh draws, whatever the share.

    Raises
    ------
    ValueError
        As :func:`load_dataset`.
    """
    return load_parts(config)[1]


def random_samples(data: Dataset, n: int, seed: int) -> Tensor:
    """``n`` samples of ``data``, shape (n, *sample_shape); different ones if it has as many."""
    generator, n = torch_generator(seed, "batch"), _arguments.integer("n", n, 1, 2**31 - 1)
    if n <= data.size:
        indices = torch.randperm(data.size, generator=generator)[:n]
    else:
        indices = torch.randint(data.size, (n,), generator=generator)
    return data.samples(data.raw(indices), torch.rand(2, n, generator=generator))


class Order:
    """An endless sequence of random permutations of range(size), cut into batches.

    Every item comes once per epoch.  A batch depends on (seed, number) only, so that a resumed run
    sees the data in the order of an uninterrupted one.
    """

    def __init__(self, size: int, batch: int, seed: int) -> None:
        self.size, self.length, self.seed = size, batch, seed
        self._epoch, self._items = -1, np.empty(0, np.int64)

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._items = stream(self.seed, "order", epoch).permutation(self.size)
            self._epoch = epoch
        return self._items

    def _pieces(self, number: int) -> Iterator[np.ndarray]:
        start, stop = number * self.length, (number + 1) * self.length
        while start < stop:
            epoch, first = divmod(start, self.size)
            piece = self._permutation(epoch)[first : first + stop - start]
            yield piece
            start += len(piece)

    def batch(self, number: int) -> Tensor:
        """Indices (batch,), int64, of batch ``number`` >= 0."""
        pieces = list(self._pieces(number))
        return torch.from_numpy(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))


_STREAMS = {"order": 0, "batch": 1, "noise": 2, "sample": 3, "dropout": 4}


def stream(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """An independent generator for each (seed, purpose, counters), seed in [0, 2**63)."""
    seed = _arguments.integer("seed", seed, 0, 2**63 - 1)
    return np.random.default_rng((seed, _STREAMS[purpose], *counters))


def torch_generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """The same as a torch generator, on the CPU."""
    word = int(stream(seed, purpose, *counters).integers(2**63))
    return torch.Generator().manual_seed(word)

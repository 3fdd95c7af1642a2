"""Where samples come from: a run, a file, a folder; and the data that they are held against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from kacflow._arguments import must
from kacflow.training._arrays import ArrayFile
from kacflow.training._images import ImageFiles
from kacflow.training._plane import Plane
from kacflow.training.checkpoint import FILE_NAME
from kacflow.training.data import Dataset, TensorData, torch_generator

PARTS = ("train", "held-out")
_LAW = 9000  #: Samples of a law of the plane, such as 'grid9', which has no end of them.
_PIECE = 1000


def is_run(place: Path) -> bool:
    """Whether there is a run or a checkpoint; ValueError where there is nothing at all."""
    if not place.exists():
        raise ValueError(
            f"source: found none at {str(place)!r}; allowed: the folder of a run, a {FILE_NAME}, a "
            ".npz or .npy of samples, or a folder or .zip of images"
        )
    return (place / FILE_NAME).is_file() or place.suffix.lower() == ".safetensors"


@contextmanager
def _called_source() -> Iterator[None]:
    """What reads data calls it so; here it is the source."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace("data: ", "source: ", 1)) from None


def array_file(place: Path) -> ArrayFile | None:
    """The samples in a .npz or .npy; None for another kind of file."""
    suffix = place.suffix.lower()
    if suffix not in (".npz", ".npy") or place.is_dir():
        return None
    with _called_source():
        return ArrayFile(place, "samples" if suffix == ".npz" else "")


def image_files(place: Path, sample_shape: tuple[int, ...]) -> ImageFiles:
    """The images below a folder or in a .zip, in the size of ``sample_shape``."""
    known = place.is_dir() or place.suffix.lower() == ".zip"
    got = f"{str(place)!r}, a file of another kind"
    must(known, "source", got, ".safetensors, .npz, .npy or .zip")
    square = len(sample_shape) == 3 and sample_shape[1] == sample_shape[2]
    got = f"{str(place)!r}, images, against samples of shape {sample_shape}"
    must(square, "source", got, "data of square images")
    with _called_source():
        return ImageFiles(place, sample_shape[1], sample_shape[0])


def first_samples(data: ArrayFile | ImageFiles | TensorData, n: int | None) -> Tensor:
    """The first ``n`` samples, or all of them."""
    where = "the source" if isinstance(data, TensorData) else repr(str(data.place))
    there = f"{n}, more than the {data.size} samples of {where}"
    must(n is None or n <= data.size, "n", there, f"an int in [2, {data.size}]")
    with _called_source():
        return everything(data, 0, rows=torch.arange(n or data.size))[0]


def data_and_part(against: str | os.PathLike[str]) -> tuple[str, str | None]:
    """'digits:held-out' as ('digits', 'held-out'); other names have no part."""
    name = os.fspath(against)
    before, colon, after = name.rpartition(":")
    known = colon and after in PARTS and not Path(name).exists()
    return (before, after) if known else (name, None)


def everything(
    data: Dataset, seed: int, part: int = 0, rows: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """All samples, or ``rows``, and their labels, if there are; of a law some that are drawn."""
    law = isinstance(data, Plane)
    if rows is None:
        rows = torch.arange(_LAW) % data.size if law else torch.arange(data.size)
    uniforms = torch.rand(2, len(rows), generator=torch_generator(seed, "batch", part))
    if not law:
        uniforms.fill_(0.5)  # no image is mirrored
    pieces = [
        data.samples(data.raw(some), of_them)
        for some, of_them in zip(rows.split(_PIECE), uniforms.split(_PIECE, dim=1), strict=True)
    ]
    return torch.cat(pieces), data.labels(rows) if data.classes else None

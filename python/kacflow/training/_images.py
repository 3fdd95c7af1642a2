"""A folder or .zip of image files as a data set: decoded whenever they are asked for."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import torch
from torch import Tensor

from kacflow._optional import require
from kacflow.training._decode import decode

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
FILE_BYTES = 2**28  #: A larger image file is refused before it is read, or unpacked.


def _is_image(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and not name.endswith("/") and Path(name).suffix.lower() in SUFFIXES


def _files(folder: Path) -> Iterator[str]:
    """Files below ``folder``, each folder once, whatever symbolic links lead to it."""

    def unreadable(error: OSError) -> NoReturn:
        raise ValueError(f"data: cannot list {str(error.filename)!r}: {error.strerror}") from None

    seen = set()
    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for file in (Path(place, name) for name in files):
            if file.is_file() or not file.exists():  # a broken link is missed when it is read
                yield file.relative_to(folder).as_posix()


def _limited(size: int) -> None:
    if size > FILE_BYTES:
        raise ValueError(f"it has {size} bytes; allowed: at most {FILE_BYTES}")


def _pieces(file: BufferedIOBase, length: int) -> bytes:
    """The content of ``file``, read in pieces of ``length`` bytes and given up when too large."""
    content = bytearray()
    while piece := file.read(length):
        content += piece
        _limited(len(content))
    return bytes(content)


class _Folder:
    """The files below a folder."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def names(self) -> list[str]:
        return sorted(filter(_is_image, _files(self._place)))

    def read(self, name: str) -> bytes:
        with open(self._place / name, "rb") as file:
            _limited(os.fstat(file.fileno()).st_size)
            return _pieces(file, 2**20)


class _Zip:
    """The members of a .zip, which each process opens for itself: a file has one position."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._open: tuple[int, zipfile.ZipFile] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_place": self._place, "_open": None}

    def _archive(self) -> zipfile.ZipFile:
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), zipfile.ZipFile(self._place))
        return self._open[1]

    def names(self) -> list[str]:
        try:
            members = self._archive().namelist()
        except Exception as error:  # of many kinds: a damaged directory is read field by field
            raise ValueError(
                f"data: {str(self._place)!r} is not a readable .zip: "
                f"{error or type(error).__name__}"
            ) from None
        return sorted(filter(_is_image, set(members)))

    def read(self, name: str) -> bytes:
        archive = self._archive()
        member = archive.getinfo(name)
        _limited(member.file_size)
        plain = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        with cast(zipfile.ZipExtFile, archive.open(member)) as file:
            # The other methods unpack all that is read at once, up to a million times as much.
            file.MIN_READ_SIZE = length = 2**20 if plain else 64
            return _pieces(file, length)


def as_samples(raw: Tensor, uniforms: Tensor, flip: bool) -> Tensor:
    """uint8 images (n, channels, side, side) as float32 in [-1, 1].

    With ``flip`` those are mirrored left to right whose number ``uniforms[0]`` is below 1/2.
    """
    images = raw.to(torch.float32).div_(127.5).sub_(1.0)
    if not flip:
        return images
    return torch.where(uniforms[0, :, None, None, None] < 0.5, images.flip(3), images)


class ImageFiles:
    """All images below a folder (links to folders too; folders per class are fine) or in a .zip, in
    the order of their names.

    Each is cropped to its central square and resized to ``size`` x ``size`` in 3 (colour) or 1
    (grey) ``channels``, and with ``flip`` mirrored left to right with probability 1/2 whenever it
    is drawn; what its file may be, and what its pixels become, is said in
    :mod:`kacflow.training._decode`.  ValueError if there is no image or a folder cannot be read;
    and on use, if a file cannot be decoded or has more than ``FILE_BYTES`` bytes: it is named.
    """

    in_memory = False

    def __init__(self, place: Path, size: int, channels: int, *, flip: bool = False) -> None:
        self.place, self.flip = place, flip
        self.sample_shape = (channels, size, size)
        require("PIL.Image")
        self._files = _Folder(place) if place.is_dir() else _Zip(place)
        self.names = self._files.names()
        if not self.names:
            raise ValueError(
                f"data: {str(place)!r} holds no image; looked for files ending in "
                f"{', '.join(sorted(SUFFIXES))}, in subfolders too"
            )
        self.size = len(self.names)
        folders = [name.rpartition("/")[0] for name in self.names]
        #: Names of the classes: the folders that images are in, unless some are in none.
        self.class_names = sorted(set(folders)) if all(folders) else []
        numbers = {name: number for number, name in enumerate(self.class_names)}
        self.classes = len(self.class_names)
        self._classes = torch.tensor([numbers.get(folder, -1) for folder in folders])

    def labels(self, indices: Tensor) -> Tensor:
        """Number of the folder of each image, in the order of their names."""
        return self._classes[indices]

    def decode(self, index: int) -> np.ndarray:
        """Image number ``index`` as uint8 of shape (channels, size, size)."""
        name = self.names[index]
        channels, side, _ = self.sample_shape
        try:
            return decode(self._files.read(name), side, channels)
        except Exception as error:  # of any kind: see decode and zipfile
            raise ValueError(
                f"data: cannot decode {name!r} of {str(self.place)!r}: "
                f"{' '.join(str(error).split()) or type(error).__name__}"
            ) from None

    def raw(self, indices: Tensor) -> Tensor:
        """Images as uint8, shape (n, channels, size, size); each is decoded, and none is kept."""
        images = np.empty((len(indices), *self.sample_shape), np.uint8)
        for image, index in zip(images, indices.tolist(), strict=True):
            image[:] = self.decode(index)
        return torch.from_numpy(images)

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        """What :meth:`raw` gave as float32 in [-1, 1], mirrored half of the time with ``flip``."""
        return as_samples(raw, uniforms, self.flip)

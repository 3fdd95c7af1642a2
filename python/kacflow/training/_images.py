"""A folder or .zip of image files as a data set: decoded when first needed, then kept as uint8."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kacflow._optional import require

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
CACHE_BYTES = 4 * 2**30  # larger sets are decoded again in every epoch


def _is_image(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and Path(name).suffix.lower() in SUFFIXES


def _open_folder(folder: Path) -> tuple[list[str], Callable[[str], bytes]]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(filter(_is_image, files)), lambda name: (folder / name).read_bytes()


def _open_zip(file: Path) -> tuple[list[str], Callable[[str], bytes]]:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise ValueError(f"data: {str(file)!r} is not a readable .zip: {error}") from None
    return sorted(filter(_is_image, archive.namelist())), archive.read


class ImageFiles:
    """All images below a folder or in a .zip, in the order of their names.

    Each is cropped to its central square and resized to ``size`` x ``size``.

    Parameters
    ----------
    place : Path
        Folder (searched recursively; folders per class are fine) or .zip file.
    size : int
        Side of the result in pixels.
    channels : int
        3 (colour) or 1 (grey).
    flip : bool
        Mirror each image left to right with probability 1/2, whenever it is drawn.

    Raises
    ------
    ValueError
        If there is no image; and on use, if a file cannot be decoded.
    """

    def __init__(self, place: Path, size: int, channels: int, *, flip: bool = False) -> None:
        self.place, self.flip = place, flip
        self.sample_shape = (channels, size, size)
        self._image = require("PIL.Image")
        self.names, self._read = _open_folder(place) if place.is_dir() else _open_zip(place)
        if not self.names:
            raise ValueError(
                f"data: {str(place)!r} holds no image; looked for files ending in "
                f"{', '.join(sorted(SUFFIXES))}, in subfolders too"
            )
        self.size = len(self.names)
        self._cached = self.size * channels * size * size <= CACHE_BYTES
        rows = self.size if self._cached else 0
        self._cache = np.empty((rows, *self.sample_shape), np.uint8)
        self._known = np.zeros(rows, bool)

    def decode(self, index: int) -> np.ndarray:
        """Image number ``index`` as uint8 of shape (channels, size, size)."""
        name = self.names[index]
        channels, side, _ = self.sample_shape
        try:
            with self._image.open(io.BytesIO(self._read(name))) as image:
                image = image.convert("RGB" if channels == 3 else "L")
        except (OSError, SyntaxError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"data: cannot decode {name!r} of {str(self.place)!r}: {error}"
            ) from None
        if image.size != (side, side):
            width, height = image.size
            edge = min(width, height)
            left, top = (width - edge) // 2, (height - edge) // 2
            square = image.crop((left, top, left + edge, top + edge))
            image = square.resize((side, side), self._image.Resampling.LANCZOS)
        pixels = np.asarray(image, np.uint8).reshape(side, side, channels)
        return pixels.transpose(2, 0, 1)

    def _pixels(self, index: int) -> np.ndarray:
        if not self._cached:
            return self.decode(index)
        if not self._known[index]:
            self._cache[index] = self.decode(index)
            self._known[index] = True
        return self._cache[index]

    def batch(
        self, indices: Tensor, generator: torch.Generator, part: slice = slice(None)
    ) -> Tensor:
        """Images ``indices[part]`` as float32 (number, channels, size, size) in [-1, 1]."""
        pixels = np.stack([self._pixels(index) for index in indices[part].tolist()])
        images = torch.from_numpy(pixels).to(torch.float32).div_(127.5).sub_(1.0)
        if self.flip:
            mirrored = torch.rand(len(indices), generator=generator)[part] < 0.5
            images[mirrored] = images[mirrored].flip(3)
        return images

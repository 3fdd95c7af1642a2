"""CIFAR-10 in its binary archive, https://www.cs.toronto.edu/~kriz/cifar.html, read into memory.

Five files of records: a byte for the class and 3072 for the colours, red, green and blue, each 32
rows of 32.  Nothing is unpickled, and the test batch is left out.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path

import numpy as np

from kacflow._optional import require
from kacflow.training._decode import fitted

SUFFIXES = (".tar.gz", ".tgz")
CLASSES = 10
_MEMBERS = tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6))
_SIDE = 32
_RECORD = 1 + 3 * _SIDE * _SIDE
_RECORDS = 10_000  # in a file, at most


def _contents(place: Path) -> dict[str, bytes]:
    found = {}
    with gzip.open(place) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:  # in one go: looking up names would unpack everything twice
            file = archive.extractfile(member) if member.name in _MEMBERS else None
            if file is not None:
                if not 0 < member.size <= _RECORDS * _RECORD or member.size % _RECORD:
                    raise ValueError(
                        f"{member.name!r} has {member.size} bytes; allowed: 1 to {_RECORDS} "
                        f"records of {_RECORD}"
                    )
                found[member.name] = file.read()
        while stream.read(2**20):  # to the checksum at the end
            pass
    missing = [name for name in _MEMBERS if name not in found]
    if missing:
        raise ValueError(f"it has no {missing[0]!r}; allowed: cifar-10-binary.tar.gz, unchanged")
    return found


def read_cifar(place: Path, side: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 of shape (n, channels, side, side), and classes, int64, for training.

    Images of another size or in grey are made of those of 32 x 32 pixels as of any image.
    ValueError, which names the archive, if it is damaged or another.
    """
    try:
        contents = _contents(place)
        data = np.frombuffer(b"".join(contents[name] for name in _MEMBERS), np.uint8)
        records = data.reshape(-1, _RECORD)
        if records[:, 0].max() >= CLASSES:
            raise ValueError(f"it has class {records[:, 0].max()}; allowed: 0 to {CLASSES - 1}")
    except (ValueError, OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ValueError(
            f"data: cannot read {str(place)!r} as CIFAR-10: "
            f"{' '.join(str(error).split()) or type(error).__name__}"
        ) from None
    images = records[:, 1:].reshape(-1, 3, _SIDE, _SIDE)
    if (side, channels) == (_SIDE, 3):
        return images.copy(), records[:, 0].astype(np.int64)
    library = require("PIL.Image")
    resized = np.empty((len(images), channels, side, side), np.uint8)
    for target, image in zip(resized, images.transpose(0, 2, 3, 1), strict=True):
        target[:] = fitted(library.fromarray(np.ascontiguousarray(image)), side, channels)
    return resized, records[:, 0].astype(np.int64)

"""An array of a .npy, .npz or .safetensors file as a data set: latents, point clouds, spectra.

The first axis counts the samples.  Numbers are taken as they are, those of uint8 too, and become
float32.  What a .npy or .safetensors holds stays on the disk until it is asked for; an array of a
.npz is read whole.  Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kacflow._optional import require

SUFFIXES = frozenset((".npy", ".npz", ".safetensors"))
CLASSES = 2**20  #: Labels are below this.
_INTEGERS = frozenset(("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"))  # of .safetensors
_FLOATS = frozenset(("F16", "F32", "F64", "BF16"))


def _opened(place: Path) -> tuple[list[str], Callable[[str], Any]]:
    """Names of the arrays in a file, and what gives one of them: an array of NumPy, or a slice."""
    if place.suffix.lower() == ".npy":
        array = np.lib.format.open_memmap(place, mode="r")
        return [""], lambda name: array
    if place.suffix.lower() == ".npz":
        arrays = np.load(place, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("it is no .npz")
        return sorted(arrays.files), arrays.__getitem__
    file = require("safetensors").safe_open(place, framework="pt")
    return sorted(file.keys()), file.get_slice


def _is(array: Any, kinds: str, types: frozenset[str]) -> bool:
    """Whether the numbers are of the ``kinds`` of NumPy, or of the ``types`` of .safetensors."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind in kinds and array.dtype.itemsize <= 8
    return array.get_dtype() in types


def _dtype(array: Any) -> str:
    return str(array.dtype if isinstance(array, np.ndarray) else array.get_dtype())


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(array.shape if isinstance(array, np.ndarray) else array.get_shape())


class ArrayFile:
    """An array of numbers in a .npy, .npz or .safetensors file, and another of its labels.

    ``key`` names the array, of shape (size, *sample_shape) ('': the only one but for the labels),
    and ``label_key`` the labels, integers >= 0 of shape (size,) ('': there are none).  ValueError
    if the file cannot be read or holds no such arrays; and on use, if a number is not finite in
    float32: the message names file and array.
    """

    in_memory = False

    def __init__(self, place: Path, key: str = "", label_key: str = "") -> None:
        self.place = place
        names, get = self._open()
        self.key = self._named(names, key, label_key)
        array = self._read(get, self.key)
        self.size, *sample_shape = shape = _shape(array) or (0,)
        self.sample_shape = tuple(sample_shape)
        if len(shape) < 2 or 0 in shape:
            raise self._refused(
                self.key, f"shape {_shape(array)}", "(samples, numbers of a sample, ...), none 0"
            )
        if not _is(array, "fiu", _FLOATS | _INTEGERS):
            raise self._refused(
                self.key, f"dtype {_dtype(array)}", "floats or integers of at most 64 bits"
            )
        self._array: Any = array
        self._labels = self._checked_labels(get, label_key) if label_key else None
        self.classes = 0 if self._labels is None else int(self._labels.max()) + 1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}  # a process that gets it opens the file itself

    def _refused(self, key: str, given: str, allowed: str) -> ValueError:
        where = f"{key!r} of {str(self.place)!r}" if key else repr(str(self.place))
        return ValueError(f"data: got {given} in {where}; allowed: {allowed}")

    def _unreadable(self, error: Exception) -> ValueError:
        said = " ".join(str(error).split()) or type(error).__name__
        return ValueError(f"data: cannot read {str(self.place)!r}: {said}")

    def _open(self) -> tuple[list[str], Callable[[str], Any]]:
        try:
            return _opened(self.place)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # of many kinds: a damaged file is read field by field
            raise self._unreadable(error) from None

    def _read(self, get: Callable[[str], Any], key: str) -> Any:
        try:
            return get(key)
        except Exception as error:  # as above
            raise ValueError(f"{self._unreadable(error)} (array {key!r})") from None

    def _named(self, names: list[str], key: str, label_key: str) -> str:
        """The name of the samples; ValueError unless it and that of the labels are there."""
        others = [name for name in names if not label_key or name != label_key]
        if not key and len(others) == 1:
            key = others[0]
        for option, name, known in (("key", key, others), ("label_key", label_key, names)):
            if name not in known and (name or option == "key"):
                held = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
                raise ValueError(
                    f"{option}: got {name!r}; allowed: the name of an array in "
                    f"{str(self.place)!r}, which holds {held or 'none'}"
                )
        return key

    def _checked_labels(self, get: Callable[[str], Any], key: str) -> Tensor:
        array = self._read(get, key)
        if _shape(array) != (self.size,):
            raise self._refused(key, f"labels of shape {_shape(array)}", f"shape {(self.size,)}")
        if not _is(array, "iu", _INTEGERS):
            raise self._refused(key, f"labels of dtype {_dtype(array)}", "integers")
        labels = np.asarray(array[:])
        for label in (labels.min(), labels.max()):
            if not 0 <= label < CLASSES:
                raise self._refused(key, f"label {label}", f"integers in [0, {CLASSES})")
        return torch.from_numpy(labels.astype(np.int64))

    def labels(self, indices: Tensor) -> Tensor:
        """Labels of the samples, as the file has them."""
        if self._labels is None:
            raise ValueError("labels: the data has none")
        return self._labels[indices]

    def raw(self, indices: Tensor) -> Tensor:
        """Samples as float32, read from the file; ValueError if a number is not finite."""
        if self._array is None:
            self._array = self._read(self._open()[1], self.key)
        if isinstance(self._array, np.ndarray):
            with np.errstate(over="ignore", invalid="ignore"):  # such numbers are found below
                values = torch.from_numpy(self._array[indices.numpy()].astype(np.float32))
        else:
            rows = [self._array[index : index + 1] for index in indices.tolist()]
            values = torch.cat(rows).to(torch.float32)
        good = values.isfinite().flatten(1).all(1)
        if not good.all():
            index = int(indices[~good][0])
            raise self._refused(
                self.key, f"sample {index} with NaN or infinity", "numbers finite in float32"
            )
        return values

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        return raw

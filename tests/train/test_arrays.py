"""Arrays of .npy, .npz and .safetensors files: their numbers, their labels, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kacflow.cli import main
from kacflow.training import TrainConfig, load_dataset, load_model
from kacflow.training._arrays import ArrayFile

VALUES = np.random.default_rng(0).integers(0, 100, (7, 2, 3))
ROWS = torch.tensor([4, 0, 6, 4])
KINDS = ["float16", "float32", "float64", "int8", "uint8", "int64", "uint16", ">f4", ">i8"]


def written(folder: Path, suffix: str, **arrays: Any) -> Path:
    """A file with these arrays, or with the only one."""
    place = folder / f"a{suffix}"
    if suffix == ".npy":
        np.save(place, *arrays.values())
    elif suffix == ".npz":
        np.savez_compressed(place, **arrays)
    else:
        tensors = {name: torch.as_tensor(value) for name, value in arrays.items()}
        save_file(tensors, place)
    return place


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("kind", [*KINDS, "bfloat16"])
def test_numbers_are_taken_as_they_are(tmp_path: Path, suffix: str, kind: str) -> None:
    """Of each type, and in a worker that the data set is sent to."""
    if kind == "bfloat16" if suffix != ".safetensors" else kind[0] == ">":
        pytest.skip("the format has no such numbers")
    array = torch.as_tensor(VALUES).bfloat16() if kind == "bfloat16" else VALUES.astype(kind)
    data = load_dataset(TrainConfig(data=str(written(tmp_path, suffix, x=array)), held_out=0))
    assert isinstance(data, ArrayFile)
    assert (data.size, data.sample_shape, data.classes) == (7, (2, 3), 0)
    for reader in (data, pickle.loads(pickle.dumps(data))):
        raw = reader.raw(ROWS)
        assert raw.dtype == torch.float32
        assert torch.equal(raw, torch.from_numpy(VALUES)[ROWS].float())
        assert torch.equal(reader.samples(raw, torch.rand(2, 4)), raw)
    with pytest.raises(ValueError, match="labels: the data has none"):
        data.labels(ROWS)


def test_arrays_on_disk_are_not_read_whole(tmp_path: Path) -> None:
    """A sparse file of 2 TB, in the order of C, and the pages of a .safetensors."""
    place = tmp_path / "large.npy"
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**28, 2**11)}
    with open(place, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        try:
            file.truncate(file.tell() + 2**41)
        except OSError:
            pytest.skip("no such large files here")
    data = ArrayFile(place)
    assert data.raw(torch.tensor([2**28 - 1, 5])).sum() == 0


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_keys_name_the_samples_and_their_labels(tmp_path: Path, suffix: str) -> None:
    labels = np.array([3, 0, 1, 1, 2, 0, 3], np.uint8)
    place = written(tmp_path, suffix, x=VALUES, y=labels)
    for key in ("", "x"):
        data = ArrayFile(place, key, "y")
        assert data.key == "x" and data.classes == 4
        found = pickle.loads(pickle.dumps(data)).labels(ROWS)
        assert found.dtype == torch.int64 and found.tolist() == [2, 3, 3, 2]
    for key, label_key, message in (
        ("", "", "key: got ''; allowed: .*'x', 'y'"), ("z", "", "key: got 'z'.*'x', 'y'"),
        ("x", "z", "label_key: got 'z'.*'x', 'y'"), ("y", "y", "key: got 'y'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message) as caught:
            ArrayFile(place, key, label_key)
        assert repr(str(place)) in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("labels", "given"),
    [([0] * 6, r"labels of shape \(6,\)"), ([[0]] * 7, "labels of shape"),
     ([0.0] * 7, "labels of dtype"), ([True] * 7, "labels of dtype"),
     ([0, 0, -1, 0, 0, 0, 0], "label -1"), ([2**20] * 7, "label 1048576"),
     ([2**40] * 7, "label 10995")],
)  # fmt: skip
def test_wrong_labels(tmp_path: Path, suffix: str, labels: list[Any], given: str) -> None:
    place = written(tmp_path, suffix, x=VALUES, y=np.array(labels))
    with pytest.raises(ValueError, match=f"^data: got {given}.* in 'y' of .*allowed: ") as caught:
        ArrayFile(place, "x", "y")
    assert repr(str(place)) in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize(
    "array",
    [np.zeros(5), np.zeros(()), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(0),
     np.zeros((3, 2), bool), np.zeros((3, 2), np.complex64)],
)  # fmt: skip
def test_arrays_that_are_no_samples(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    place = written(tmp_path, suffix, x=array)
    with pytest.raises(ValueError, match=r"^data: (got (shape|dtype)|cannot read)") as caught:
        ArrayFile(place)
    assert repr(str(place)) in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [np.array([[None], [1]]), np.zeros((3, 2), "U3"), np.zeros((3, 2), [("a", "f4")]),
     np.zeros((3, 2), np.longdouble), np.zeros((3, 2), "M8[s]")],
    ids=["objects", "text", "structure", "long", "dates"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_nothing_is_unpickled(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    place = written(tmp_path, suffix, x=array)
    with pytest.raises(ValueError, match=r"^data: .*(allow_pickle|objects|dtype)"):
        ArrayFile(place)
    place = tmp_path / "plain.npy"
    place.write_bytes(pickle.dumps([1.0]))
    with pytest.raises(ValueError, match=r"^data: cannot read .*plain\.npy"):
        ArrayFile(place)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_numbers_beyond_float32_are_named_when_read(
    tmp_path: Path, suffix: str, value: float
) -> None:
    values = VALUES.astype(np.float64)
    values[6, 1, 1] = value
    place = written(tmp_path, suffix, x=values)
    data = ArrayFile(place)
    data.raw(torch.tensor([0, 5]))
    with pytest.raises(ValueError, match="got sample 6 with NaN or infinity in") as caught:
        data.raw(ROWS)
    assert repr(str(place)) in str(caught.value)
    assert suffix == ".npy" or "'x' of" in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str) -> None:
    whole = written(tmp_path, suffix, x=VALUES).read_bytes()
    place = tmp_path / f"b{suffix}"
    for length in (0, 5, 50, len(whole) - 1):
        place.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^data: ") as caught:
            ArrayFile(place)
        assert repr(str(place)) in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_on_latents_with_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = written(tmp_path, ".npz", z=np.zeros((9, 4, 2, 2)), y=np.arange(9) % 3)
    run = tmp_path / "run"
    command = ["train", "--data", str(place), "--key", "z", "--label-key", "y", "--labels",
               "--held-out", "0.05", "--steps", "2", "--batch", "4", "--width", "8", "--quiet",
               "--out", str(run)]  # fmt: skip
    assert main(command) == 0
    assert load_model(run).sample_shape == (4, 2, 2) and load_model(run).classes == 3
    assert main(["train", "--out", str(run), "--resume", "--steps", "4", "--quiet"]) == 0
    capsys.readouterr()
    again = ["train", "--out", str(run), "--resume", "--held-out", "0.5", "--quiet"]
    assert main(again) == 1
    assert "held_out: 0.05 -> 0.5" in capsys.readouterr().err
    assert main([*command[:4], "x", *command[5:-1], str(tmp_path / "other")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kacflow: error: key: got 'x'") and said.count("\n") == 1

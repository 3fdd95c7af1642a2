"""Image files of every kind: what their pixels become, what is refused, and by which name."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kacflow.cli import main
from kacflow.training import _images
from kacflow.training._images import ImageFiles

RAMP = np.linspace(0.0, 1.0, 4096).reshape(64, 64)
GREY = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8


@pytest.fixture
def decoded(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Saves an image as the only one of a folder and decodes it there, (side, side, channels)."""

    def decoded(image: Image.Image, name: str, channels: int = 1, **options: Any) -> np.ndarray:
        image.save(tmp_path / name, **options)
        pixels = ImageFiles(tmp_path, image.size[0], channels).decode(0)
        return pixels.transpose(1, 2, 0).astype(int)

    return decoded


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_keep_their_upper_eight(decoded, name: str) -> None:
    values = np.round(65535 * RAMP).astype(np.uint16)
    assert np.array_equal(decoded(Image.fromarray(values), name)[..., 0], values >> 8)


def test_floating_point_in_the_unit_interval(decoded) -> None:
    found = decoded(Image.fromarray(RAMP.astype(np.float32)), "a.tif")
    assert np.abs(found[..., 0] - 255 * RAMP).max() <= 0.501


@pytest.mark.parametrize(("kind", "bands"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "LA", "RGBA"])
def test_sixteen_bits_of_colour_and_opacity(tmp_path: Path, kind: int, bands: int) -> None:
    """In PNG, which Pillow does not write: the first column opaque, the second transparent."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    pixels = np.random.default_rng(0).integers(0, 2**16, (2, 2, bands)).astype(">u2")
    if kind > 2:
        pixels[:, 0, -1], pixels[:, 1, -1] = 65535, 0
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", 2, 2, 16, kind, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    found = ImageFiles(tmp_path, 2, 3).decode(0).transpose(1, 2, 0)
    colours = np.broadcast_to(pixels[..., : bands - (kind > 2)] >> 8, (2, 2, 3)).copy()
    colours[:, 1] = 255 if kind > 2 else colours[:, 1]
    assert np.array_equal(found, colours)


@pytest.mark.parametrize("value", [1.5, -0.1, 255.0, np.nan, np.inf])
def test_floating_point_beyond_it_is_refused(decoded, value: float) -> None:
    pixels = RAMP.astype(np.float32)
    pixels[3, 4] = value
    with pytest.raises(ValueError, match=r"cannot decode 'a\.tif' of .*mode F.*\[0, 1\]"):
        decoded(Image.fromarray(pixels), "a.tif")


@pytest.mark.parametrize(
    ("tag", "value"), [(None, 0), (339, 2), (262, 0), (258, 12)],
    ids=["32 bits", "signed", "inverted", "12 bits"],
)  # fmt: skip
def test_integers_of_unknown_range_are_refused(tag: int | None, value: int, tmp_path: Path) -> None:
    """32 bits; and 16 bits of which a tag of the file says something else."""
    kind = np.int32 if tag is None else np.uint16
    file = tmp_path / "a.tif"
    Image.fromarray((1000 * RAMP).astype(kind)).save(file, tiffinfo={339: 1})
    if tag is not None:
        entry = struct.pack("<HHI", tag, 3, 1)
        before, _, after = file.read_bytes().partition(entry)
        file.write_bytes(before + entry + struct.pack("<H", value) + after[2:])
    with pytest.raises(ValueError, match=r"cannot decode 'a\.tif' of .*it has mode I"):
        ImageFiles(tmp_path, 64, 1).decode(0)


def test_orientation_is_applied(decoded, tmp_path: Path) -> None:
    """The eight of EXIF, from their definition: which corner the first pixel is shown in."""
    stored = np.zeros((16, 16, 3), np.uint8)
    stored[:8, :8], stored[:8, 8:] = 240, 120  # first row: bright, then grey
    corners = {
        1: (240, 120, 0, 0), 2: (120, 240, 0, 0), 3: (0, 0, 120, 240), 4: (0, 0, 240, 120),
        5: (240, 0, 120, 0), 6: (0, 240, 0, 120), 7: (0, 120, 0, 240), 8: (120, 0, 240, 0),
    }  # fmt: skip
    for orientation, shown in corners.items():
        for name in ("a.jpg", "a.png", "a.tif"):
            exif = Image.Exif()
            exif[0x0112] = orientation
            found = decoded(Image.fromarray(stored), name, 3, exif=exif)
            (tmp_path / name).unlink()
            four = found[[4, 4, 12, 12], [4, 12, 4, 12], 1]
            np.testing.assert_allclose(four, shown, atol=3, err_msg=f"{orientation} {name}")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "key"])
def test_transparent_pixels_show_white(decoded, mode: str, channels: int) -> None:
    """Opaque, transparent and, where the format has it, half transparent black."""
    grey = np.zeros((3, 3), np.uint8)
    opacity = np.array([[255, 0, 128]] * 3, np.uint8)
    options: dict[str, Any] = {}
    if mode == "RGBA":
        image = Image.fromarray(np.dstack([grey, grey, grey, opacity]))
    elif mode == "LA":
        image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(opacity)])
    elif mode == "P":
        image = Image.fromarray(np.array([[0, 1, 2]] * 3, np.uint8)).convert("P")
        image.putpalette([0] * 9)
        options["transparency"] = bytes([255, 0, 128])
    else:
        image = Image.fromarray(np.array([[0, 7, 127]] * 3, np.uint8))
        options["transparency"] = 7
    for row in decoded(image, "a.png", channels, **options):
        np.testing.assert_allclose(row[:, 0], [0, 255, 127], atol=1)


def test_colours_of_palettes(decoded) -> None:
    palette = Image.fromarray((GREY > 100).astype(np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 200, 100, 50])
    found = decoded(palette, "a.gif", 3)
    assert {tuple(p) for p in found.reshape(-1, 3)} == {(10, 20, 30), (200, 100, 50)}


def test_inks_and_single_bits(decoded, tmp_path: Path) -> None:
    bits = Image.fromarray(GREY > 100)
    assert np.array_equal(decoded(bits, "a.png")[..., 0], 255 * (GREY > 100))
    (tmp_path / "a.png").unlink()
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow: red
    assert decoded(inks, "b.tif", 3)[0, 0].tolist() == [255, 0, 0]
    (tmp_path / "b.tif").unlink()
    np.testing.assert_allclose(decoded(inks, "c.jpg", 3)[4, 4], [255, 0, 0], atol=3)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_several_pictures_in_one_file_are_refused(decoded, name: str) -> None:
    frames = [Image.fromarray(np.full((8, 8), v, np.uint8)) for v in (0, 100, 200)]
    with pytest.raises(ValueError, match=rf"cannot decode '{name}' of .*3 pictures; allowed: one"):
        decoded(frames[0], name, save_all=True, append_images=frames[1:])


def test_the_preview_beside_a_photograph_is_passed_over(decoded) -> None:
    photograph, preview = Image.fromarray(GREY), Image.new("L", (4, 4), 255)
    found = decoded(
        photograph, "a.jpg", format="MPO", save_all=True, append_images=[preview], quality=95
    )
    assert np.abs(found[..., 0] - GREY).max() <= 3


@pytest.mark.parametrize("kind", ["16 bits", "1 bit"])
def test_a_transparent_colour_needs_eight_bits(decoded, kind: str) -> None:
    pixels = np.full((8, 8), 1000, np.uint16) if kind == "16 bits" else np.ones((8, 8), bool)
    with pytest.raises(ValueError, match="names a transparent colour"):
        decoded(Image.fromarray(pixels), "a.png", transparency=1)


@pytest.mark.parametrize(
    ("offset", "value", "reason"), [(0, 1, "encrypted"), (2, 99, "compression"), (2, 97, "")]
)
def test_an_archive_of_another_kind(offset: int, value: int, reason: str, tmp_path: Path) -> None:
    """An encrypted one, and methods that Python lacks: in both headers of the member."""
    place = tmp_path / "a.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("a.png", b"content")
    data = bytearray(place.read_bytes())
    data[6 + offset] = data[data.index(b"PK\x01\x02") + 8 + offset] = value
    place.write_bytes(data)
    with pytest.raises(ValueError, match=rf"cannot decode 'a\.png' of .*{reason}"):
        ImageFiles(place, 8, 1).decode(0)


def test_linked_folders_are_found_once(image_folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "inner").mkdir(parents=True)
    Image.fromarray(GREY).save(elsewhere / "inner" / "x.png")
    (image_folder / "third").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "back").symlink_to(image_folder, target_is_directory=True)
    (elsewhere / "self").symlink_to(elsewhere, target_is_directory=True)
    names = ImageFiles(image_folder, 8, 1).names
    assert len(names) == 7 and "third/inner/x.png" in names


def test_a_missing_or_oversized_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"cannot decode 'gone\.png' of .*No such file"):
        ImageFiles(tmp_path, 8, 1).decode(0)
    (tmp_path / "gone.png").unlink()
    monkeypatch.setattr(_images, "FILE_BYTES", 2000)
    (tmp_path / "large.png").write_bytes(bytes(2001))
    with pytest.raises(ValueError, match=r"'large\.png' of .*2001 bytes; allowed: at most 2000"):
        ImageFiles(tmp_path, 8, 1).decode(0)


@pytest.mark.parametrize("honest", [True, False])
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_to_too_much_is_given_up(
    method: int, honest: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the archive states a smaller size."""
    size = 2**24
    place = tmp_path / "a.zip"
    with zipfile.ZipFile(place, "w", method) as archive:
        archive.writestr("a.png", bytes(size))
    if not honest:
        stated = size.to_bytes(4, "little")
        place.write_bytes(place.read_bytes().replace(stated, (2**20).to_bytes(4, "little")))
    monkeypatch.setattr(_images, "FILE_BYTES", 2**21)
    with pytest.raises(ValueError, match=r"cannot decode 'a\.png' of "):
        ImageFiles(place, 8, 1).decode(0)


@pytest.mark.parametrize("pixels", [100_000_000, 200_000_000])
def test_images_of_too_many_pixels(tmp_path: Path, pixels: int) -> None:
    """Pillow warns of the first and refuses the second."""
    Image.new("1", (pixels // 10_000, 10_000)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"cannot decode 'a\.png' of .*decompression bomb"):
        ImageFiles(tmp_path, 8, 1).decode(0)


METHODS = {"stored": 0, "deflated": 8, "bzip2": 12, "lzma": 14}


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_archive_is_named(method: str, tmp_path: Path) -> None:
    """One byte changed anywhere: either the image, or a ValueError that names the place."""
    packed, picture = io.BytesIO(), io.BytesIO()
    Image.fromarray(GREY).save(picture, "BMP")
    with zipfile.ZipFile(packed, "w", METHODS[method]) as archive:
        archive.writestr("a.bmp", picture.getvalue())
    place, rng, refused = tmp_path / "a.zip", random.Random(0), 0
    for _ in range(300):
        data = bytearray(packed.getvalue())
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        place.write_bytes(data)
        try:
            assert ImageFiles(place, 16, 1).decode(0).shape == (1, 16, 16)
        except ValueError as error:
            assert str(error).startswith("data: ") and repr(str(place)) in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tif", "a.webp", "a.bmp", "a.ppm"])
def test_a_damaged_image_is_named(name: str, tmp_path: Path) -> None:
    place, rng, refused = tmp_path / name, random.Random(1), 0
    Image.fromarray(GREY).convert("RGB").save(place)
    whole = place.read_bytes()
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        place.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        try:
            assert ImageFiles(tmp_path, 16, 3).decode(0).shape == (3, 16, 16)
        except ValueError as error:
            assert f"data: cannot decode '{name}' of {str(tmp_path)!r}: " in str(error)
            refused += 1
    assert refused > 20


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    arguments = ["train", "--data", str(tmp_path), "--batch", "1", "--image-size", "8", "--quiet",
                 "--network", "mlp", "--width", "8", "--out", str(tmp_path / "run")]  # fmt: skip
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("kacflow: error: data: cannot decode 'a.png'") and said.count("\n") == 1

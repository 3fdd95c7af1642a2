"""One image file as 8-bit pixels: what each kind of file means, and what is refused.

- The orientation that EXIF states is applied.
- Transparent pixels show a white background.
- 16-bit grey and colour keep their upper eight bits; floating-point grey must lie in [0, 1].
  32-bit integers, 12-bit and inverted or signed samples have no range that is sure: refused.
- Palettes, CMYK and 1-bit images are converted to what they show.
- A file that holds several pictures (an animation, pages) is refused; the previews that a camera
  stores beside a photograph are passed over.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from kacflow._optional import require

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_PHOTOMETRIC, _SAMPLE_FORMAT, _BITS = 262, 339, 258  # tags of TIFF


def decode(data: bytes, side: int, channels: int) -> np.ndarray:
    """The central square of an image in colour (3 channels) or grey (1), as uint8 of shape
    (channels, side, side).

    ``data`` is the content of a BMP, GIF, JPEG, PNG, PNM, TIFF or WebP file.  Raises an exception
    of any kind, as the library that decodes has no list of them, if the file is damaged, holds
    something that is refused, or has more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels.
    """
    library = require("PIL.Image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata, mostly: the pixels are right or refused
        warnings.simplefilter("error", library.DecompressionBombWarning)
        with library.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check(image)
            wide = image.mode == "F" or image.mode.startswith("I")
            turned = require("PIL.ImageOps").exif_transpose(image)
            image = library.fromarray(_narrow(turned)) if wide else _opaque(turned, library)
    return fitted(image, side, channels)


def fitted(image: Any, side: int, channels: int) -> np.ndarray:
    """The central square of an 8-bit image, as :func:`decode` returns it."""
    library = require("PIL.Image")
    image = image.convert("RGB" if channels == 3 else "L")
    if image.size != (side, side):
        width, height = image.size
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        square = image.crop((left, top, left + edge, top + edge))
        image = square.resize((side, side), library.Resampling.LANCZOS)
    return np.asarray(image, np.uint8).reshape(side, side, channels).transpose(2, 0, 1)


def _check(image: Any) -> None:
    """ValueError for what could be decoded, but not surely as what it shows."""
    mode, kind = image.mode, image.format
    if kind != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"it holds {image.n_frames} pictures; allowed: one")
    keyed = kind == "PNG" and mode != "P" and "transparency" in image.info
    if keyed and image.tile[0][3] not in ("L", "RGB"):
        raise ValueError("it names a transparent colour; allowed: with 8 bits a channel")
    if kind == "TIFF":
        tags = image.tag_v2
        formats, bits = set(tags.get(_SAMPLE_FORMAT, (1,))), set(tags.get(_BITS, (1,)))
        inverted = tags.get(_PHOTOMETRIC) == 0 and max(bits) > 8
        if mode == "I" or inverted or formats != {3 if mode == "F" else 1} or 12 in bits:
            raise ValueError(
                f"it has mode {mode} with {max(bits)} bits a sample; allowed: 8 or 16 bits without "
                "a sign, black at 0, or floating point in [0, 1]"
            )


def _narrow(image: Any) -> np.ndarray:
    """16-bit or floating-point grey as uint8."""
    values = np.asarray(image)
    if image.mode != "F":
        return (values >> 8).astype(np.uint8)
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ValueError(
            f"it has mode F with values from {values.min():g} to {values.max():g}; allowed: [0, 1]"
        )
    return np.rint(255.0 * values).astype(np.uint8)


def _opaque(image: Any, library: Any) -> Any:
    """``image`` before a white background."""
    if "transparency" not in image.info and not set(image.getbands()) & {"A", "a"}:
        return image
    image = image.convert("RGBA")
    return library.alpha_composite(library.new("RGBA", image.size, "white"), image)

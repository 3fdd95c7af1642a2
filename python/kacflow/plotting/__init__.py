"""Pictures, drawn with matplotlib into files; no display is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kacflow._arguments import must, real
from kacflow._optional import require

_INK = "#1f4e79"
_REAL = "#b0b0b0"


def figure(width: float, height: float) -> Any:
    """An empty figure of that size in inches, drawn without a display."""
    return require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")


def save(picture: Any, file: str | Path) -> Path:
    """Write a figure to ``file``, whose folder is made if needed; returns its path."""
    target = Path(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(target, dpi=150)
    return target


def is_image(sample_shape: Sequence[int]) -> bool:
    """Whether samples of this shape are images: (1 or 3 channels, height, width)."""
    return len(sample_shape) == 3 and sample_shape[0] in (1, 3)


def image_grid(images: ArrayLike, columns: int | None = None, gap: int = 1) -> NDArray[np.float64]:
    """Images (n, channels, height, width) with 1 or 3 channels side by side as one picture,
    (height, width, 3) in [0, 1].

    Their values are in [-1, 1]; what is outside is cut off.  By default there are as many columns
    as make the grid about square; ``gap`` white pixels lie between images.
    """
    array = np.asarray(images, np.float64)
    good = array.ndim == 4 and len(array) and is_image(array.shape[1:])
    must(good, "images", f"shape {array.shape}", "(n >= 1, 1 or 3, height, width)")
    n, _, height, width = array.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for i, image in enumerate((array.clip(-1.0, 1.0) + 1.0) / 2.0):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        grid[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return grid


def _show_images(axes: Any, images: ArrayLike, columns: int | None, title: str) -> None:
    axes.imshow(image_grid(images, columns), interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()


def _show_points(axes: Any, points: ArrayLike, colour: str, label: str) -> None:
    flat = np.asarray(points, np.float64)
    flat = flat.reshape(len(flat), -1)
    if flat.shape[1] == 1:
        axes.hist(flat[:, 0], bins=50, color=colour, label=label, alpha=0.6)
    else:
        axes.plot(flat[:, 0], flat[:, 1], ".", color=colour, label=label, markersize=3)


def plot_samples(generated: ArrayLike, file: str | Path, *, real: ArrayLike | None = None) -> Path:
    """Generated samples (n, ...), beside real ones if given, into ``file``, whose ending decides
    the format: images (n, 1 or 3, height, width) in [-1, 1]; of other samples the first two
    coordinates.
    """
    array = np.asarray(generated)
    if is_image(array.shape[1:]):
        parts = [(array, "generated")] + ([] if real is None else [(np.asarray(real), "real")])
        picture = figure(4.5 * len(parts), 4.8)
        for i, (images, title) in enumerate(parts):
            _show_images(picture.add_subplot(1, len(parts), i + 1), images, None, title)
        return save(picture, file)
    picture = figure(5, 5)
    axes = picture.add_subplot()
    if real is not None:
        _show_points(axes, real, _REAL, "real")
    _show_points(axes, array, _INK, "generated")
    axes.legend(loc="upper right")
    return save(picture, file)


def plot_pairs(left: ArrayLike, right: ArrayLike, file: str | Path) -> Path:
    """Generated samples, each beside the real one that is nearest to it; as in
    :func:`plot_samples`.
    """
    x, y = np.asarray(left), np.asarray(right)
    if not is_image(x.shape[1:]):
        return plot_samples(x, file, real=y)
    picture = figure(8, 1.0 + math.ceil(len(x) / 4))
    pairs = np.concatenate((x, np.zeros_like(x[..., :1]), y), axis=3)  # one image, grey between
    _show_images(picture.add_subplot(), pairs, 4, "generated, and the nearest real one")
    return save(picture, file)


def plot_strip(
    rows: Sequence[tuple[str, Sequence[ArrayLike]]], times: Sequence[float], file: str | Path
) -> Path:
    """Samples at several times, a row (title, frames) for each kind of motion: ``frames[i]``, (n,
    ...), are the same samples at ``times[i]``.
    """
    count = len(times)
    picture = figure(1.7 * count, 2.0 * len(rows))
    picture.get_layout_engine().set(w_pad=0.06)
    for i, (title, frames) in enumerate(rows):
        for j, (time, frame) in enumerate(zip(times, frames, strict=True)):
            axes = picture.add_subplot(len(rows), count, i * count + j + 1)
            array = np.asarray(frame)
            if is_image(array.shape[1:]):
                axes.imshow(image_grid(array), interpolation="nearest")
            else:
                _show_points(axes, array, _INK, title)
                axes.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
            if j == 0:
                axes.set_ylabel(title)
            axes.set(xticks=[], yticks=[])
            for side in axes.spines.values():
                side.set_visible(False)
            axes.set_title(f"t = {time:.2f}", fontsize=9)
    return save(picture, file)


def plot_rows(rows: Sequence[tuple[str, ArrayLike]], file: str | Path) -> Path:
    """Samples (title, as :func:`plot_samples` takes them) of several models: images in a row for
    each model, points in a panel for each.
    """
    first = np.asarray(rows[0][1])
    image = is_image(first.shape[1:])
    high, wide = (len(rows), 1) if image else (1, len(rows))
    picture = figure(0.6 * len(first), 0.95 * high) if image else figure(2.6 * wide, 2.9)
    for i, (title, samples) in enumerate(rows):
        axes = picture.add_subplot(high, wide, i + 1)
        if image:
            _show_images(axes, samples, len(np.asarray(samples)), title)
        else:
            _show_points(axes, samples, _INK, title)
            axes.set(title=title, aspect="equal", xticks=[], yticks=[])
    return save(picture, file)


def read_log(run: str | Path) -> list[dict[str, float]]:
    """The lines of a run's ``log.jsonl``.

    ValueError if the run has none, it is empty, or a line lacks a step or a loss; but a last line
    that was cut off while being written is none.
    """
    file = Path(run) / "log.jsonl"
    whole = file.read_text(errors="replace").rpartition("\n")[0] if file.is_file() else ""
    if not whole:
        raise ValueError(f"run: {str(run)!r} has no log (log.jsonl); allowed: a folder of a run")
    log = []
    for number, text in enumerate(whole.split("\n"), start=1):
        try:
            line = json.loads(text)
            log.append(
                {**line, "step": real("step", line["step"]), "loss": real("loss", line["loss"])}
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(
                f"run: line {number} of {str(file)!r} is {text[:60]!r}; allowed: a JSON object "
                "with numbers step and loss"
            ) from None
    return log


def plot_loss(runs: Sequence[tuple[str, str | Path]], file: str | Path) -> Path:
    """Loss against step of one or more runs, given as (label, folder)."""
    picture = figure(7, 4)
    axes = picture.add_subplot()
    for label, run in runs:
        log = read_log(run)
        axes.plot([line["step"] for line in log], [line["loss"] for line in log], label=label)
    axes.set(xlabel="step", ylabel="mean squared error of what is predicted", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return save(picture, file)

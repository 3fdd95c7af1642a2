"""How good generated samples are: one report of all measures, against data.

The measures themselves, for arrays, are in :mod:`kacflow.metrics`.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from kacflow import _arguments, metrics, plotting
from kacflow._arguments import must
from kacflow._optional import version_of
from kacflow.evaluation import _features, _samples
from kacflow.evaluation._features import Features, as_bytes
from kacflow.evaluation._samples import everything
from kacflow.training.checkpoint import TrainedModel, load_model
from kacflow.training.config import TrainConfig
from kacflow.training.data import TensorData, load_parts
from kacflow.training.processes import usable_device
from kacflow.training.sampling import MOST, balanced_labels, default_steps, draw_samples
from kacflow_core import __version__

__all__ = [
    "DATA_OPTIONS", "NAMES", "PROTOCOLS", "Features", "as_bytes", "balanced_labels", "compared",
    "evaluate", "everything",
]  # fmt: skip

#: Features by name; the file of another network will do as well.
NAMES = _features.NAMES
#: Of each protocol the side that images are resized to, and the samples that a run generates.
PROTOCOLS: dict[str, tuple[int | None, int]] = {"standard": (None, 10_000), "paper": (75, 50_000)}
#: Fields of the configuration that say how data is read.
DATA_OPTIONS = ("key", "label_key", "image_size", "channels", "held_out")
_NEIGHBOURS, _SUBSET, _PAIRS = 3, 1000, 32
_PACKAGES = ("torch", "numpy", "scikit-learn", "torchmetrics")


def evaluate(
    source: str | os.PathLike[str] | TrainedModel | Tensor | np.ndarray,
    against: str | os.PathLike[str],
    *,
    features: str | os.PathLike[str] = "pixels",
    n: int | None = None,
    protocol: str = "standard",
    part: str | None = None,
    steps: int | None = None,
    method: str = "euler",
    seed: int = 0,
    label: int | None = None,
    guidance: float = 0.0,
    grid: str = "uniform",
    device: torch.device | str = "cpu",
    ema: bool = True,
    weights: str | os.PathLike[str] | None = None,
    picture: str | os.PathLike[str] | None = None,
    **data_options: Any,
) -> dict[str, Any]:
    """Measure samples against data; what ``kacflow evaluate`` writes.

    Parameters
    ----------
    source : path, TrainedModel, Tensor or numpy.ndarray
        A run or checkpoint, which generates; a ``.npz`` (array 'samples') or ``.npy`` of samples; a
        folder or ``.zip`` of images; or the samples themselves, (n, ...), as the data has them.
    against : str or path
        The data: what :class:`~kacflow.training.TrainConfig` takes, and with ``":train"`` or
        ``":held-out"`` behind it one part of it.
    features : str or path
        What is compared: ``"pixels"``, the numbers of the samples; ``"efficientnet-lite0"``, with
        weights from ImageNet; ``"inception"``, the network of the FID; or a TorchScript file, of
        images (n, 3, height, width) in [-1, 1] to (n, d).  Networks see images rounded to 8 bits.
    n : int, optional
        Samples, >= 2: to generate (by default that of the protocol), or the first ones of a file
        (by default all of them; with protocol "paper", 50,000).
    protocol : str
        ``"standard"``: 10,000 samples, images as large as they are.  ``"paper"``: 50,000 samples
        against the training part, images first resized to 75 x 75 (bilinear), as the evaluation of
        the paper's authors does; not with pixels.
    part : str, optional
        ``"train"`` or ``"held-out"``; by default the latter if there is one, and protocol "paper"
        takes the former.
    steps, method, seed, guidance, grid
        Of the generation, as ``kacflow sample`` has them; ``seed`` also decides the subsets of the
        kernel distance.
    label : int, optional
        Generate this class; by default equally many of each, if the run has labels.
    device : torch.device or str
        Where networks compute.
    ema : bool
        Use the averaged weights of a run.
    weights : path, optional
        The weights of ``"inception"``, torch-fidelity's file; by default in the cache of torch.hub.
    picture : path, optional
        Draw the samples that are nearest to training samples, beside these.
    **data_options
        ``key``, ``label_key``, ``image_size``, ``channels``, ``held_out`` as in
        :class:`~kacflow.training.TrainConfig`; by default those of the run.

    Returns
    -------
    dict
        What JSON can hold, all distances between ``features``: ``frechet_distance`` (squared);
        ``kid``, the kernel distance, its ``kid_standard_error``, ``kid_subsets`` and
        ``kid_subset_size``; ``precision`` and ``recall`` with ``neighbours``; ``nearest``, the
        distances to the nearest training sample: ``mean``, ``median``, ``least``, and the same of
        ``held_out`` samples; ``class_balance`` where the data has labels: ``shares`` of the
        classes, each sample counted as its nearest training sample, ``data_shares``, their
        ``total_variation``, the ``accuracy`` of that classifier on held-out samples, and how often
        it finds the class ``as_asked`` for; ``protocol``, ``n``, ``seed``, ``source``,
        ``against``, ``generation``, ``features`` and ``versions``.

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be, samples and data do not fit, or a sample is not finite.
    """
    side, count = PROTOCOLS[_arguments.choice("protocol", protocol, PROTOCOLS)]
    n = None if n is None else _arguments.integer("n", n, 2, MOST)
    seed = _arguments.integer("seed", seed, 0, 2**63 - 1)
    got = f"{protocol!r} with features 'pixels'"
    must(side is None or features != "pixels", "protocol", got, "'standard', or a network")
    unknown = sorted(set(data_options) - set(DATA_OPTIONS))
    if unknown:
        raise TypeError(f"evaluate: got {', '.join(unknown)}; allowed: {', '.join(DATA_OPTIONS)}")
    machine = usable_device(device)
    extract = Features(features, weights=weights, side=side, device=machine)
    model, given, shape = _source(source, ema, machine)
    config = TrainConfig() if model is None else model.config
    if shape is not None and plotting.is_image(shape):
        data_options = {"channels": shape[0], "image_size": max(2, shape[1]), **data_options}
    data = _Data(against, part, config, data_options, paper=protocol == "paper")
    got = f"{data.name!r}, samples of shape {data.sample_shape}"
    fits = shape in (None, data.sample_shape)
    must(fits, "against", got, f"shape {shape}, that of the source")
    extract.check(data.sample_shape)

    asked, generation = None, None
    if model is None:
        if given is None:
            given = _samples.image_files(Path(cast(str, source)), data.sample_shape)
        n = count if n is None and protocol == "paper" else n
        generated = _samples.first_samples(given, n)
    else:
        n = count if n is None else n
        steps = default_steps(config) if steps is None else steps
        asked = balanced_labels(n, model.classes, label)
        generated = draw_samples(
            model, n, steps=steps, method=method, seed=seed, labels=asked, guidance=guidance,
            t_grid=grid,
        )  # fmt: skip
        generation = {
            "steps": steps, "method": method, "guidance": guidance, "grid": grid, "label": label,
            "averaged_weights": ema, "trained_steps": model.step,
        }  # fmt: skip
    _check(generated)
    data.read(seed)

    x = extract(generated)
    vectors = {name: extract(samples) for name, (samples, _) in data.parts.items()}
    y, of_train, unseen = vectors[data.part], vectors["train"], vectors.get("held-out")
    distances, found = metrics.nearest(x, of_train)
    near = None if unseen is None else metrics.nearest(unseen, of_train)
    if picture is not None:
        order = np.argsort(distances)[:_PAIRS]
        plotting.plot_pairs(generated[order], data.parts["train"][0][found[order]], Path(picture))
    return {
        "protocol": protocol,
        "n": len(x),
        "seed": seed,
        **compared(x, y, seed),
        "nearest": {
            **_summary(distances), "held_out": None if near is None else _summary(near[0])
        },
        "class_balance": _balance(data, found, asked, None if near is None else near[1]),
        "source": str(source) if isinstance(source, (str, os.PathLike)) else None,
        "against": {
            "data": data.name, "part": data.part, "n": len(y), "training_n": len(of_train)
        },
        "generation": generation,
        "features": {**extract.description, "dimensions": x.shape[1], "resized_to": side},
        "versions": {
            "kacflow": __version__, **{p: version_of(p) for p in (*_PACKAGES, *extract.packages)}
        },
    }  # fmt: skip


class _Data:
    """The samples of both parts, and which of them the generated ones are compared with."""

    def __init__(
        self, against: str | os.PathLike[str], part: str | None, config: TrainConfig,
        options: dict[str, Any], *, paper: bool,
    ) -> None:  # fmt: skip
        self.name, of_name = _samples.data_and_part(against)
        fits = None in (part, of_name) or part == of_name
        must(fits, "part", f"{part!r} for {str(against)!r}", repr(of_name))
        part = of_name if part is None else _arguments.choice("part", part, _samples.PARTS)
        config = dataclasses.replace(config, data=self.name, flip=False, **options)
        train, held_out = load_parts(config)
        if part is None:
            part = "train" if held_out is None or paper else "held-out"
        there = part == "train" or held_out is not None
        must(there, "part", f"'held-out' of {self.name!r}, which has none", "'train'")
        self.part, self.sample_shape, self.classes = part, train.sample_shape, train.classes
        self._found = {"train": train, "held-out": held_out}
        self.parts: dict[str, tuple[Tensor, Tensor | None]] = {}

    def read(self, seed: int) -> None:
        """Fill ``parts``: samples, and labels if there are."""
        self.parts = {
            name: everything(data, seed, number)
            for number, (name, data) in enumerate(self._found.items())
            if data is not None
        }
        several = len(self.parts[self.part][0]) > 1
        must(several, "against", f"1 sample of {self.name!r}, part {self.part!r}", "2 or more")


def _source(source: Any, ema: bool, device: torch.device) -> tuple[TrainedModel | None, Any, Any]:
    """The model that generates, or samples, or neither for images; and the shape of a sample."""
    if isinstance(source, TrainedModel):
        return source, None, source.sample_shape
    if isinstance(source, np.ndarray):
        source = torch.from_numpy(source)
    if isinstance(source, Tensor):
        must(source.ndim > 1, "source", f"shape {tuple(source.shape)}", "(n, ...)")
        return None, TensorData(source.detach().cpu().float()), tuple(source.shape[1:])
    place = Path(source)
    if _samples.is_run(place):
        model = load_model(place, ema=ema, device=device)
        return model, None, model.sample_shape
    array = _samples.array_file(place)
    return None, array, None if array is None else array.sample_shape


def _check(generated: Tensor) -> None:
    must(len(generated) > 1, "source", f"{len(generated)} samples", "2 or more")
    bad = int((~generated.flatten(1).isfinite().all(1)).sum())
    got = f"{bad} of {len(generated)} samples with NaN or infinity"
    must(not bad, "source", got, "finite ones")


def compared(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Any]:
    """The measures of two sets."""
    smallest = min(len(x), len(y))
    size, neighbours = min(_SUBSET, max(2, smallest // 10)), min(_NEIGHBOURS, smallest - 1)
    kid, error, subsets = metrics.kernel_distance(x, y, size, seed=seed)
    precision, recall = metrics.precision_recall(x, y, neighbours)
    return {
        "frechet_distance": metrics.frechet_distance(x, y),
        "kid": kid,
        "kid_standard_error": error,
        "kid_subsets": subsets,
        "kid_subset_size": size,
        "precision": precision,
        "recall": recall,
        "neighbours": neighbours,
    }


def _balance(
    data: _Data, found: np.ndarray, asked: Tensor | None, of_unseen: np.ndarray | None
) -> dict[str, Any] | None:
    """Classes of the generated samples: those of the nearest training samples, ``found``."""
    labels = data.parts["train"][1]
    if labels is None:
        return None
    real = cast(Tensor, data.parts[data.part][1])
    shares, expected = (
        torch.bincount(values, minlength=data.classes).double() / len(values)
        for values in (labels[found], real)
    )
    unseen = data.parts.get("held-out", (None, None))[1]
    return {
        "shares": shares.tolist(),
        "data_shares": expected.tolist(),
        "total_variation": float((shares - expected).abs().sum() / 2.0),
        "accuracy": None if of_unseen is None else _agreement(labels[of_unseen], unseen),
        "as_asked": _agreement(labels[found], asked),
    }


def _agreement(predicted: Tensor, labels: Tensor | None) -> float | None:
    return None if labels is None else float((predicted == labels).double().mean())


def _summary(distances: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(distances.mean()),
        "median": float(np.median(distances)),
        "least": float(distances.min()),
    }

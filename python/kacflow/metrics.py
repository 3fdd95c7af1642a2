"""How close generated samples are to real ones."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from kacflow import _arguments
from kacflow._arguments import must
from kacflow._optional import require
from kacflow_core import _validate

Float64 = NDArray[np.float64]

_LARGEST = 1e50  #: sums of squares and third powers stay in float64's range


def _flat(name: str, samples: ArrayLike, least: int) -> Float64:
    try:
        given = _validate.as_array(name, samples)
    except ValueError as error:  # lists of lists of different lengths
        raise TypeError(str(error)) from None
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{name}: got dtype {given.dtype}; allowed: real numbers")
    array = given.astype(np.float64)
    enough = array.ndim > 1 and array.shape[0] >= least
    must(enough, name, f"shape {array.shape}", f"(n, ...) with n >= {least} samples")
    if not (np.abs(array) <= _LARGEST).all():
        raise ValueError(
            f"{name}: holds NaN or numbers beyond {_LARGEST:g}; allowed: numbers whose third power "
            "float64 can hold"
        )
    return array.reshape(array.shape[0], -1)


def _both(x: ArrayLike, y: ArrayLike, least: int) -> tuple[Float64, Float64]:
    left, right = _flat("x", x, least), _flat("y", y, least)
    own, wanted = right.shape[1], left.shape[1]
    must(own == wanted, "y", f"{own} numbers a sample", f"{wanted}, as in x")
    return left, right


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Squared Fréchet (2-Wasserstein) distance of the Gaussians fitted to two sets of samples.

    |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x^(1/2) C_y C_x^(1/2))^(1/2)), with means m and unbiased
    covariances C of the flattened samples: the formula of the FID, without a feature network.

    Parameters
    ----------
    x, y : array_like
        Samples (n, ...) and (m, ...) of the same size, n, m >= 2, finite.

    Returns
    -------
    float
        >= 0, in squared units of the data.

    Raises
    ------
    ValueError
        If the shapes do not fit or a value is not finite; TypeError for what are no real numbers.

    Examples
    --------
    >>> from kacflow.metrics import frechet_distance
    >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
    9.0
    """
    left, right = _both(x, y, 2)
    shift = left.mean(0) - right.mean(0)
    c_x = np.atleast_2d(np.cov(left, rowvar=False))
    c_y = np.atleast_2d(np.cov(right, rowvar=False))
    values, vectors = np.linalg.eigh(c_x)
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ c_y @ root).clip(min=0.0)).sum()
    return max(0.0, float(shift @ shift + np.trace(c_x) + np.trace(c_y) - 2.0 * cross))


def nearest(x: ArrayLike, y: ArrayLike) -> tuple[Float64, NDArray[np.int64]]:
    """Euclidean distance of each sample of ``x`` to the nearest of ``y``, and which that is.

    Distances near 0 for generated ``x`` and training data ``y`` betray a network that remembers.

    Parameters
    ----------
    x, y : array_like
        Samples (n, ...) and (m, ...) of the same size, finite.

    Returns
    -------
    distances, indices : numpy.ndarray
        Shape (n,), float64 and int64.

    Examples
    --------
    >>> from kacflow.metrics import nearest
    >>> distances, indices = nearest([[0.0], [5.0]], [[4.0], [1.0]])
    >>> distances.tolist(), indices.tolist()
    ([1.0, 1.0], [1, 0])
    """
    left, right = _both(x, y, 1)
    found = require("sklearn.neighbors").NearestNeighbors(n_neighbors=1).fit(right)
    indices = found.kneighbors(left, return_distance=False)[:, 0].astype(np.int64)
    pieces = range(0, len(left), 4096)  # its distances lose digits near 0: they are taken anew
    distances = [
        np.linalg.norm(left[i : i + 4096] - right[indices[i : i + 4096]], axis=1) for i in pieces
    ]
    return np.concatenate(distances), indices


def nearest_distances(x: ArrayLike, y: ArrayLike) -> Float64:
    """The distances of :func:`nearest`."""
    return nearest(x, y)[0]


def kernel_distance(
    x: ArrayLike, y: ArrayLike, subset_size: int = 1000, *, seed: int = 0
) -> tuple[float, float | None, int]:
    """Squared maximum mean discrepancy of two sets of samples under (x.y/d + 1)^3, unbiased.

    On features of the Inception network it is the KID of Binkowski, Sutherland, Arbel and Gretton,
    *Demystifying MMD GANs* (2018), by torchmetrics.  It is averaged over pairs of subsets, whose
    samples are drawn without repetition over all subsets, so that these are independent and their
    spread gives the standard error.

    Parameters
    ----------
    x, y : array_like
        Samples (n, ...) and (m, ...) of the same size d, finite.
    subset_size : int
        Samples of a subset, in [2, min(n, m)].
    seed : int
        Decides the subsets.

    Returns
    -------
    value : float
        May be below 0.
    standard_error : float or None
        None for a single subset.
    subsets : int
        Number of them, min(n, m) // subset_size.
    """
    left, right = _both(x, y, 2)
    smallest = min(len(left), len(right))
    size = _arguments.integer("subset_size", subset_size, 2, smallest)
    count = smallest // size
    generator = np.random.default_rng(_arguments.integer("seed", seed))
    rows = [generator.permutation(len(part))[: count * size].reshape(count, -1)
            for part in (left, right)]  # fmt: skip
    kernel = require("torchmetrics.image.kid", "the kernel distance")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # it keeps all features: a subset's, here
        distance = kernel.KernelInceptionDistance(torch.nn.Identity(), subsets=1, subset_size=size)
    values = []
    for of_x, of_y in zip(*rows, strict=True):
        distance.reset()
        distance.update(torch.from_numpy(left[of_x]), real=False)
        distance.update(torch.from_numpy(right[of_y]), real=True)
        with torch.random.fork_rng(devices=[]):  # it shuffles the subset
            values.append(float(distance.compute()[0]))
    error = float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else None
    return float(np.mean(values)), error, count


def _inside(points: Float64, samples: Float64, k: int) -> float:
    """Share of ``points`` no further from one of ``samples`` than that from its k-th neighbour."""
    found = require("sklearn.neighbors").NearestNeighbors(n_neighbors=k).fit(samples)
    # Distances come from squares and products: below this, they may be 0.
    rounding = np.sqrt(8.0 * np.finfo(np.float64).eps * (samples**2).sum(1).max())
    radii = found.kneighbors()[0][:, -1].clip(min=rounding)
    pieces = require("sklearn.metrics").pairwise_distances_chunked(
        points, samples, reduce_func=lambda distances, _: (distances <= radii).any(1)
    )
    return float(np.concatenate(list(pieces)).mean())


def precision_recall(x: ArrayLike, y: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Share of ``x`` among ``y``, and of ``y`` among ``x``: precision and recall of ``x``.

    A sample is among others if its distance to one of them is at most that one's to its ``k``-th
    nearest neighbour: Kynkaanniemi, Karras, Laine, Lehtinen and Aila, *Improved Precision and
    Recall Metric for Assessing Generative Models* (2019).  Both depend on the numbers of samples.

    Parameters
    ----------
    x, y : array_like
        Generated and real samples (n, ...) and (m, ...) of the same size, finite.
    k : int
        In [1, min(n, m) - 1].

    Examples
    --------
    >>> from kacflow.metrics import precision_recall
    >>> precision_recall([[0.0], [1.0]], [[0.0], [1.0], [9.0], [10.0]], k=1)
    (1.0, 0.5)
    """
    left, right = _both(x, y, 2)
    k = _arguments.integer("k", k, 1, min(len(left), len(right)) - 1)
    centre = right.mean(0)  # around 0 the distances keep more digits
    left, right = left - centre, right - centre
    return _inside(left, right, k), _inside(right, left, k)


def _classes(labels: ArrayLike, n: int) -> NDArray[Any]:
    array = _validate.as_array("labels", labels)
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"labels: got dtype {array.dtype} and shape {array.shape}; allowed: integers, ({n},)"
        )
    return array


class ClassJudge:
    """Two classifiers of different kind, trained on labelled real data, that judge other samples.

    A support vector machine (RBF kernel, calibrated probabilities) gives classes and confidence;
    a three-nearest-neighbour vote gives a second opinion.  Generated samples have no label: their
    nearest thing to an accuracy is how often the two agree, beside the same on real data.

    Parameters
    ----------
    samples : array_like
        Real samples (n, ...).
    labels : array_like
        Classes (n,), integers.
    """

    def __init__(self, samples: ArrayLike, labels: ArrayLike) -> None:
        flat = _flat("samples", samples, 2)
        labels = _classes(labels, len(flat))
        svc = require("sklearn.svm").SVC(C=10.0, gamma="scale")
        calibrated = require("sklearn.calibration").CalibratedClassifierCV(svc, ensemble=False)
        self._machine = calibrated.fit(flat, labels)
        neighbours = require("sklearn.neighbors").KNeighborsClassifier(3)
        self._neighbours = neighbours.fit(flat, labels)

    def _samples(self, samples: ArrayLike) -> Float64:
        flat = _flat("samples", samples, 1)
        if flat.shape[1] != self._machine.n_features_in_:
            raise ValueError(
                f"samples: got {flat.shape[1]} numbers a sample; allowed: "
                f"{self._machine.n_features_in_}, as in training"
            )
        return flat

    def accuracy(self, samples: ArrayLike, labels: ArrayLike) -> float:
        """Share of ``samples`` (n, ...) that the first classifier puts in the right class."""
        flat = self._samples(samples)
        return float(np.mean(self._machine.predict(flat) == _classes(labels, len(flat))))

    def judge(self, samples: ArrayLike) -> dict[str, Any]:
        """Opinion about samples without labels.

        Returns
        -------
        dict
            ``mean_confidence`` and ``confident_share`` (confidence above 0.9), in [0, 1];
            ``agreement``, the share on which both classifiers agree; ``class_counts``, a number
            per class; ``class_balance``, the entropy of the classes over its largest possible
            value (1: all equally often).
        """
        flat = self._samples(samples)
        probabilities = self._machine.predict_proba(flat)
        classes = self._machine.classes_
        chosen = probabilities.argmax(1)
        confidence = probabilities.max(1)
        counts = np.bincount(chosen, minlength=len(classes))
        shares = counts[counts > 0] / len(flat)
        entropy = -float(np.sum(shares * np.log(shares)))
        return {
            "mean_confidence": float(confidence.mean()),
            "confident_share": float(np.mean(confidence > 0.9)),
            "agreement": float(np.mean(self._neighbours.predict(flat) == classes[chosen])),
            "class_counts": {str(k): int(n) for k, n in zip(classes, counts, strict=True)},
            "class_balance": entropy / math.log(len(classes)),
        }

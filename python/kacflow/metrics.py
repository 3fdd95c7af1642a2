"""How close generated samples are to real ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kacflow._optional import require

Float64 = NDArray[np.float64]


def _flat(name: str, samples: ArrayLike, least: int) -> Float64:
    try:
        given = np.asarray(samples)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{name}: cannot be an array: {error}") from None
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{name}: got dtype {given.dtype}; allowed: real numbers")
    array = given.astype(np.float64)
    if array.ndim < 2 or array.shape[0] < least:
        raise ValueError(
            f"{name}: got shape {array.shape}; allowed: (n, ...) with n >= {least} samples"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds NaN or infinite values; allowed: finite numbers")
    return array.reshape(array.shape[0], -1)


def _root(covariance: Float64) -> Float64:
    """Symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T


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
    left, right = _flat("x", x, 2), _flat("y", y, 2)
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"y: got {right.shape[1]} numbers a sample; allowed: {left.shape[1]}, as in x"
        )
    shift = left.mean(0) - right.mean(0)
    c_x = np.atleast_2d(np.cov(left, rowvar=False))
    c_y = np.atleast_2d(np.cov(right, rowvar=False))
    root = _root(c_x)
    cross = np.sqrt(np.linalg.eigvalsh(root @ c_y @ root).clip(min=0.0)).sum()
    return max(0.0, float(shift @ shift + np.trace(c_x) + np.trace(c_y) - 2.0 * cross))


def nearest_distances(x: ArrayLike, y: ArrayLike) -> Float64:
    """Euclidean distance of each sample of ``x`` to the nearest of ``y``, shape (n,).

    Near 0 for generated ``x`` and training data ``y``, it betrays a network that only remembers.
    """
    left, right = _flat("x", x, 1), _flat("y", y, 1)
    tree = require("scipy.spatial").cKDTree(right)
    distances: Float64 = np.asarray(tree.query(left)[0], np.float64)
    return distances


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
        flat, labels = _flat("samples", samples, 2), np.asarray(labels)
        svc = require("sklearn.svm").SVC(C=10.0, gamma="scale")
        calibrated = require("sklearn.calibration").CalibratedClassifierCV(svc, ensemble=False)
        self._machine = calibrated.fit(flat, labels)
        neighbours = require("sklearn.neighbors").KNeighborsClassifier(3)
        self._neighbours = neighbours.fit(flat, labels)

    def accuracy(self, samples: ArrayLike, labels: ArrayLike) -> float:
        """Share of ``samples`` (n, ...) that the first classifier puts in the right class."""
        predicted = self._machine.predict(_flat("samples", samples, 1))
        return float(np.mean(predicted == np.asarray(labels)))

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
        flat = _flat("samples", samples, 1)
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

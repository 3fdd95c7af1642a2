"""The known answers of the generator, read from ``philox_vectors.txt``."""

from __future__ import annotations

import functools
from importlib import resources
from typing import NamedTuple

import numpy as np

from kacflow_core.reference.philox import Uniforms


class WordsVector(NamedTuple):
    """The words that Philox4x32-10 gives for one counter."""

    seed: int
    counter: int
    block: int
    stream: int
    words: tuple[int, ...]


class UniformsVector(NamedTuple):
    """The uniforms of one draw: u0 = (n0 + 1/2)/2^bits, and likewise u1, in fewer bits, and u2."""

    dtype: str
    seed: int
    counter: int
    n0: int
    n1: int
    n2: int


@functools.cache
def _table() -> tuple[list[WordsVector], list[UniformsVector]]:
    words, uniforms = [], []
    text = resources.files(__package__).joinpath("philox_vectors.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        kind, *fields = line.split()
        numbers = [int(field, 16) for field in fields]
        if kind == "words":
            seed, counter, block, stream, *answer = numbers
            words.append(WordsVector(seed, counter, block, stream, tuple(answer)))
        else:
            uniforms.append(UniformsVector(kind, *numbers))
    return words, uniforms


def words_vectors() -> list[WordsVector]:
    """All vectors of the generator itself."""
    return _table()[0]


def uniforms_vectors(dtype: str) -> list[UniformsVector]:
    """All vectors of the uniforms of float32 or float64 draws."""
    return [vector for vector in _table()[1] if vector.dtype == dtype]


def to_uniforms(vectors: list[UniformsVector]) -> Uniforms:
    """What the reference makes of these uniforms, computed in Python integers.

    Ratios of integers are rounded once.
    """
    bits = 32 if vectors[0].dtype == "float32" else 64
    u1_end = 2 ** (bits - 1 if bits == 32 else bits - 2)
    rows = []
    for vector in vectors:
        twice = 2 * vector.n2 + 1  # 2 u2 = twice/2^bits = k + v
        k = (twice + 2 ** (bits - 1)) >> bits
        rows.append(
            (
                (2 * vector.n1 + 1) / (2 * u1_end),
                (2 * (u1_end - vector.n1) - 1) / (2 * u1_end),
                (twice - (k << bits)) / 2**bits,
                -1.0 if k % 2 else 1.0,
            )
        )
    word = np.array([vector.n0 for vector in vectors], dtype=np.uint64)
    return Uniforms(word, bits, *np.array(rows).T)

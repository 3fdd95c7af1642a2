"""The known answers of the generator, by every implementation there is.

The sanitizer run reads the same file (tests/native/known_answers.h), and so does the conformance
suite for every backend.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import kacflow_core
from kacflow_core.testing._vectors import to_uniforms, uniforms_vectors, words_vectors
from kacflow_core.testing.oracles import philox

REPOSITORY = Path(__file__).resolve().parents[2]


def test_known_answers_are_regenerated():
    script = REPOSITORY / "scripts" / "make_vectors.py"
    run = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "import kacflow" not in script.read_text()


def test_jobs_of_the_sanitizer_are_regenerated():
    script = REPOSITORY / "scripts" / "make_jobs.py"
    run = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_known_answers_of_the_generator():
    """By the oracle, by the reference on arrays, and by the compiled core."""
    implementations = [
        lambda seed, counter, *rest: kacflow_core.reference.philox.words(seed, counter, *rest)
    ]
    if "native" in kacflow_core.available_backends():
        from kacflow_core import _native

        implementations.append(_native.philox)
    for vector in words_vectors():
        c, k = vector.counter, vector.seed
        counter = (c % 2**32, c // 2**32, vector.block, vector.stream)
        assert philox.philox4x32(counter, (k % 2**32, k // 2**32)) == vector.words
        for implementation in implementations:
            assert tuple(implementation(*vector[:4])) == vector.words
    assert (0, 0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)) in words_vectors()


def test_known_answers_of_the_uniforms(dtype: str):
    vectors = uniforms_vectors(dtype)
    bits, u1_bits = (32, 31) if dtype == "float32" else (64, 62)
    for vector in vectors:
        want = philox.element_uniforms(vector.seed, vector.counter, dtype)
        assert (vector.n0, bits) == (want.word, want.bits)
        assert (2 * vector.n1 + 1, u1_bits + 1) == want.u1
        assert (2 * vector.n2 + 1, bits + 1) == want.u2
    got = to_uniforms(vectors)
    for i, vector in enumerate(vectors):
        counter = np.array([vector.counter], dtype=np.uint64)
        want = kacflow_core.reference.philox.uniforms(vector.seed, counter, dtype)
        assert [field[i] for field in got if not isinstance(field, int)] == [
            field[0] for field in want if not isinstance(field, int)
        ]

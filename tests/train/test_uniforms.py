"""Uniform numbers by counter: the words of the core, whatever the split of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kacflow.training._uniforms import Uniforms, philox

#: Random123's known answers for Philox 4x32-10: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    k0, k1 = words(key)
    got = philox(tuple(torch.tensor([word]) for word in words(counter)), k0 | k1 << 32)
    assert [int(word) for word in got] == words(expected)


def test_numbers_depend_on_seed_step_and_sample_alone() -> None:
    whole = Uniforms(5, range(96))
    for step in (0, 1, 63, 64, 2**31, 2**40 + 7):
        [expected] = whole(step)
        assert expected.shape == (4, 96) and expected.dtype == torch.float32
        for rows in (range(32), range(32, 96), range(95, 96)):
            [part] = Uniforms(5, rows)(step)
            assert torch.equal(part, expected[:, rows.start : rows.stop])
    assert torch.equal(*whole(3), *Uniforms(5, range(96))(3))  # whatever was asked before
    for other in (whole(4), Uniforms(6, range(96))(3)):
        assert not torch.equal(*whole(3), *other)
    [large] = Uniforms(5, range(2**18))(1)  # more than are drawn together
    assert torch.equal(large[:, :96], *whole(1))


def test_what_is_made_of_them_is_made_for_many_steps_at_once() -> None:
    made: list[tuple[int, ...]] = []

    def make(numbers: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made.append(tuple(numbers.shape))
        return numbers[0] + 1.0, numbers[1:3]

    source, plain = Uniforms(5, range(8), make=make), Uniforms(5, range(8))
    for step in range(100):
        one, two = source(step)
        assert torch.equal(one, plain(step)[0][0] + 1.0) and torch.equal(two, plain(step)[0][1:3])
    assert made == [(4, 64, 8), (4, 64, 8)]


def test_numbers_are_uniform_and_independent() -> None:
    from scipy import stats

    drawn = torch.stack([Uniforms(1, range(4096))(step)[0] for step in range(8)]).double().numpy()
    assert drawn.min() >= 0.0 and drawn.max() < 1.0
    assert np.array_equal(drawn * 2**24, np.floor(drawn * 2**24))
    for column in range(4):
        assert stats.kstest(drawn[:, column].ravel(), "uniform").pvalue > 1e-4
    correlation = np.corrcoef(drawn.transpose(1, 0, 2).reshape(4, -1))
    assert np.abs(correlation - np.eye(4)).max() < 0.03  # 5 standard deviations
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.02

"""Paths that a configuration names, and the frames of a strip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kacflow import GaussianPath, KacPath
from kacflow.training import TrainConfig, build_path, load_dataset, load_model, train
from kacflow.training.data import random_samples
from kacflow.training.sampling import draw_samples, motion_strip


def test_kac_path_has_the_configured_numbers() -> None:
    config = TrainConfig(a=4.0, c=2.0, T=0.5, signal="cosine", clock="square")
    path = build_path(config)
    assert isinstance(path, KacPath)
    assert path.T == 0.5
    sample = path.sample(torch.zeros(4000, 2), 0.25, generator=torch.Generator().manual_seed(0))
    clock = 0.25**2 / 0.5
    assert sample.x_t.abs().max().item() == pytest.approx(2.0 * clock)  # the light cone


def test_diffusion_has_the_variance_of_the_limit() -> None:
    path = build_path(TrainConfig(path="diffusion", a=4.0, c=3.0, T=2.0))
    assert isinstance(path, GaussianPath)
    noise = path.sample_prior((200_000,), generator=torch.Generator().manual_seed(0))
    assert noise.var().item() == pytest.approx(9.0 / 4.0 * 2.0, rel=0.02)


def test_flow_matching_ends_in_a_standard_gaussian() -> None:
    path = build_path(TrainConfig(path="flow_matching", a=1.0, c=7.0))
    noise = path.sample_prior((200_000,), generator=torch.Generator().manual_seed(0))
    assert noise.std().item() == pytest.approx(1.0, rel=0.01)


def test_strip_runs_from_data_to_noise_and_back(tmp_path: Path) -> None:
    config = TrainConfig(data="grid9", out=str(tmp_path), steps=2, width=8, blocks=1, device="cpu")
    train(config, progress=False)
    model = load_model(tmp_path)
    real = random_samples(load_dataset(config), 5, 0)
    (noising, generating), times = motion_strip(model, real, frames=4, steps=9)
    assert times == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    assert torch.equal(noising[1][0], real)
    assert [frame.shape for frame in noising[1] + generating[1]] == [real.shape] * 8
    # The last frame is the noise it starts from, the first what draw_samples would give.
    torch.testing.assert_close(generating[1][0], draw_samples(model, 5, steps=9))
    assert not torch.allclose(generating[1][0], generating[1][3])

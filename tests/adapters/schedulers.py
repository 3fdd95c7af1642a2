"""Schedulers, a field and a small network, for the tests of the diffusers adapter."""

from __future__ import annotations

import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="make test installs diffusers")

from kacflow.adapters.diffusers import KacAB2Scheduler, KacEulerScheduler  # noqa: E402

METHODS = {KacEulerScheduler: "euler", KacAB2Scheduler: "ab2"}
SCHEDULERS = pytest.mark.parametrize("kind", METHODS, ids=["euler", "ab2"])


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def small_unet(channels=1, size=8):
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=channels, layers_per_block=1,
        block_out_channels=(8, 16), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=4, attention_head_dim=8,
    )  # fmt: skip
    return unet.eval()


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def field(x, t):
    """A smooth field of kacflow's own time."""
    return torch.sin(3 * t).reshape(-1, *(1,) * (x.ndim - 1)) * x + torch.cos(x)


def integrate(scheduler, x, **steps):
    scheduler.set_timesteps(**steps)
    for timestep in scheduler.timesteps:
        t = scheduler.time(timestep).double().expand(len(x))
        x = scheduler.step(field(x, t), timestep, x).prev_sample
    return x

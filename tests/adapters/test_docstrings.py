"""Direction, sign and noise slot stand in the first lines of every adapter's docstring.

That they are true is for the tests that train through the adapters.
"""

from __future__ import annotations

import importlib
import inspect

import pytest

from kacflow import adapters
from kacflow._optional import INSTALL

UP, DOWN = "from data to noise", "from noise to data"
#: What each must say: which end is data, where the velocity points, what the noise slot is.
SAYS = {
    "telegraphers": ("data at t = 0, noise at t = T", UP, "no noise argument"),
    "telegraphers.TorchKacConstantSampler": ("data at t = 0, noise at t = T", "no noise argument"),
    "telegraphers.compute_velocity": ("starts at 0 at t = 0", UP, "noise slot is ``x``"),
    "torchcfm": ("noise at t = 0, data at t = 1", DOWN, "``x0`` is the noise slot"),
    "torchcfm.KacConditionalFlowMatcher": (
        "noise at t = 0, data ``x1`` at t = 1", DOWN, "``x0`` is the noise slot",
    ),
    "torchcfm.NoiseConditionalFlowMatcher": (
        "noise at t = 0, data ``x1`` at t = 1", DOWN, "``x0`` is the noise slot",
    ),
    "flow_matching": (
        "(noise) at t = 0, target (data) at t = 1", DOWN, "``x_0`` is the noise slot",
    ),
    "flow_matching.KacProbPath": (
        "noise at t = 0, data ``x_1`` at t = 1", DOWN, "``x_0`` is the noise slot",
    ),
    "flow_matching.NoiseProbPath": (
        "noise at t = 0, data ``x_1`` at t = 1", DOWN, "``x_0`` is the noise slot",
    ),
    "diffusers": ("large timesteps are noise, small ones data", UP, "noise slot of"),
    "diffusers.KacEulerScheduler": (
        "timestep ``num_train_timesteps`` is noise, 0 is data", UP, "noise slot of",
    ),
    "diffusers.KacAB2Scheduler": (
        "timestep ``num_train_timesteps`` is noise, 0 is data", UP, "noise slot of",
    ),
    "diffusers.NoiseEulerScheduler": (
        "timestep ``num_train_timesteps`` is noise, 0 is data", UP, "noise slot of",
    ),
    "diffusers.NoiseAB2Scheduler": (
        "timestep ``num_train_timesteps`` is noise, 0 is data", UP, "noise slot of",
    ),
    "diffusers.KacPipeline": ("noise at timestep ``num_train_timesteps``", UP, "Kac noise"),
}  # fmt: skip


def found(name: str) -> object:
    module, _, public = name.partition(".")
    if module in INSTALL:
        pytest.importorskip(module, reason="make test installs it")
    value = importlib.import_module(f"kacflow.adapters.{module}")
    return getattr(value, public) if public else value


@pytest.mark.parametrize("name", SAYS)
def test_conventions_come_first(name):
    """Within the summary and the paragraph after it, in these words."""
    paragraphs = (inspect.getdoc(found(name)) or "").split("\n\n")[:2]
    text = " ".join(" ".join(paragraphs).split())
    for phrase in SAYS[name]:
        assert phrase in text, (phrase, text)


@pytest.mark.parametrize("module", ["telegraphers", *INSTALL])
def test_nothing_is_left_out(module):
    public = {f"{module}.{name}" for name in found(module).__all__}
    assert public <= set(SAYS) and module in SAYS
    assert f"``adapters.{module}``" in (adapters.__doc__ or "")

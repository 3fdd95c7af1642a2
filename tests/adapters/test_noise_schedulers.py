"""Schedulers of diffusers on any path: steps, pairs, copies, configurations and files."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
import torch
from schedulers import diffusers, field, integrate, quiet, seeded, small_unet

from kacflow import (
    BrownianProcess,
    GaussianPath,
    KacPath,
    KacProcess,
    Path,
    QuantileProcess,
    StraightProcess,
    UniformProcess,
    generate,
)
from kacflow.adapters.diffusers import (
    KacEulerScheduler,
    KacPipeline,
    NoiseAB2Scheduler,
    NoiseEulerScheduler,
)
from kacflow.noise import ScaledProcess

METHODS = {NoiseEulerScheduler: "euler", NoiseAB2Scheduler: "ab2"}
KINDS = pytest.mark.parametrize("kind", METHODS, ids=["euler", "ab2"])
SHAPE = (5, 3, 8, 8)


def learned(*shape, **options):
    """A quantile function that is not that of any start."""
    noise = QuantileProcess(shape, bins=8, **options)
    with torch.no_grad():
        for value in noise.parameters():
            value += 0.3 * torch.randn(value.shape, generator=seeded(0))
    return noise


def per_channel():
    rates = torch.tensor([[2.0, 4.0, 9.0]], requires_grad=True)
    return KacProcess(rates, torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64))


PATHS = {
    "Kac": lambda: KacPath(KacProcess(9.0, 3.0), 1.5, "cosine", "square"),
    "Kac of tensors": lambda: KacPath(KacProcess(torch.tensor(9.0), torch.tensor(3.0))),
    "Kac per channel": lambda: KacPath(per_channel(), 2.0),
    "Kac on a general path": lambda: Path(KacProcess(9.0, 3.0), 1.5),
    "diffusion": lambda: GaussianPath("diffusion", 2.0, sigma=0.5, signal="exp", clock="square"),
    "flow matching": lambda: GaussianPath("flow_matching", 2.0, sigma=0.5),
    "Brownian": lambda: Path(BrownianProcess(2.0), signal="lambda"),
    "straight": lambda: Path(StraightProcess(0.5), 3.0),
    "uniform": lambda: Path(UniformProcess(2.0), clock="square"),
    "learned": lambda: Path(learned(), 1.5, "cosine"),
    "learned per channel": lambda: Path(learned(3, 1, 1, tails="none", bound=3.0)),
    "learned per component": lambda: Path(learned(3, 8, 8)),
}
EVERY = pytest.mark.parametrize("name", PATHS)


class Logistic(ScaledProcess):
    """A process of a user's own."""

    def scales(self, t):
        return t, torch.ones_like(t)

    def base_icdf(self, q):
        return torch.logit(q)


def data(dtype=torch.float32):
    return torch.randn(SHAPE, generator=seeded(1)).to(dtype), 1000 * torch.linspace(0.1, 1.0, 5)


@EVERY
def test_pairs_and_priors_are_those_of_the_path(name):
    path = PATHS[name]()
    scheduler, (x, steps) = NoiseEulerScheduler(path=path), data()
    got = scheduler.sample_pair(x, steps, generator=seeded(2), first=3)
    theirs = path.sample(x, steps / 1000 * path.T, generator=seeded(2), first=3)
    torch.testing.assert_close(got, (theirs.x_t, theirs.dx_t), rtol=1e-5, atol=1e-6)
    start = scheduler.init_noise(SHAPE, generator=seeded(4))
    assert torch.equal(start, path.sample_prior(SHAPE, generator=seeded(4)))
    assert not (got[0].requires_grad or start.requires_grad)
    deviation = scheduler.init_noise((2000, *SHAPE[1:]), generator=seeded(5)).var(0).mean().sqrt()
    assert scheduler.init_noise_sigma == pytest.approx(float(deviation), rel=0.03)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_noise_and_its_velocity_in_three_steps(name, dtype):
    """``sample_noise``, ``add_noise`` and ``get_velocity`` are ``sample_pair``."""
    scheduler, (x, steps) = NoiseEulerScheduler(path=PATHS[name]()), data(dtype)
    steps = steps.double() if dtype == torch.float64 else steps
    noise = scheduler.sample_noise(x, steps, generator=seeded(2))
    x_t, dx_t = scheduler.sample_pair(x, steps, generator=seeded(2))
    near = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(scheduler.add_noise(x, noise, steps), x_t, **near)
    torch.testing.assert_close(scheduler.get_velocity(x, noise, steps), dx_t, **near)


@EVERY
@KINDS
def test_steps_are_those_of_generate(kind, name):
    scheduler = kind(path=PATHS[name](), t_min=0.1)
    x = scheduler.init_noise(SHAPE, dtype=torch.float64, generator=seeded(0))
    options = {"steps": 10, "method": METHODS[kind], "t_min": 0.1}
    wanted = generate(field, x, scheduler.path, **options)
    got = integrate(scheduler, x, num_inference_steps=10)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@EVERY
@KINDS
def test_save_and_load(kind, name, tmp_path):
    scheduler, (x, steps) = kind(path=PATHS[name](), t_min=0.1), data()
    scheduler.save_pretrained(tmp_path)
    other = next(k for k in METHODS if k is not kind)
    wanted = scheduler.sample_pair(x, steps, generator=seeded(2))
    for again in (
        kind.from_pretrained(tmp_path),
        kind.from_config(scheduler.config),
        other.from_pretrained(tmp_path),  # the library's way to exchange a scheduler
        other.from_config(scheduler.config),
    ):
        assert type(again.path) is type(scheduler.path) and again.config.t_min == 0.1
        for got, want in zip(again.sample_pair(x, steps, generator=seeded(2)), wanted, strict=True):
            assert torch.equal(got, want)


def test_the_noise_is_a_copy():
    """What is learned later is not in the scheduler, whose samples have no gradients in it."""
    noise = learned()
    scheduler, (x, steps) = NoiseEulerScheduler(path=Path(noise)), data()
    before = scheduler.sample_pair(x, steps, generator=seeded(2))
    with torch.no_grad():
        noise.heights.mul_(2.0)
    after = scheduler.sample_pair(x, steps, generator=seeded(2))
    assert torch.equal(before[0], after[0]) and not after[0].requires_grad
    now = NoiseEulerScheduler(path=Path(noise)).sample_pair(x, steps, generator=seeded(2))
    assert not torch.allclose(now[0], after[0])


@pytest.mark.parametrize("name", ["Kac per channel", "learned", "learned per component", "uniform"])
def test_the_noise_follows_the_samples_to_their_device(name):
    """On "meta", which has shapes and no numbers, and back."""
    scheduler, (x, steps) = NoiseEulerScheduler(path=PATHS[name]()), data()
    wanted = scheduler.sample_pair(x, steps, generator=seeded(2))
    far, there = x.to("meta"), steps.to("meta")
    noise = scheduler.sample_noise(far, there)
    found = (*scheduler.sample_pair(far, there), noise, scheduler.get_velocity(far, noise, there))
    found += (scheduler.init_noise(SHAPE, device="meta"),)
    assert all(value.is_meta and value.shape == SHAPE for value in found)
    for got, want in zip(scheduler.sample_pair(x, steps, generator=seeded(2)), wanted, strict=True):
        assert torch.equal(got, want)


LOAD = """
import sys, torch
from kacflow.adapters.diffusers import KacPipeline
pipeline = KacPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
options = {"num_inference_steps": 3, "output_type": "pt"}
torch.save(pipeline(2, torch.Generator().manual_seed(3), **options).images, sys.argv[2])
"""


@KINDS
def test_a_pipeline_of_learned_noise_loads_in_another_process(kind, tmp_path, child_environment):
    pipeline = quiet(KacPipeline(small_unet(), kind(path=Path(learned(1, 8, 8), 1.5))))
    images = pipeline(2, seeded(3), num_inference_steps=3, output_type="pt").images
    pipeline.save_pretrained(tmp_path / "saved")
    index = json.loads((tmp_path / "saved" / "model_index.json").read_text())
    assert index["scheduler"] == ["kacflow.adapters.diffusers", kind.__name__]
    subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "saved"), str(tmp_path / "images.pt")],
        check=True, env=child_environment,
    )  # fmt: skip
    torch.testing.assert_close(torch.load(tmp_path / "images.pt"), images, rtol=1e-4, atol=1e-5)


class Cubic:
    """A clock of a user's own."""

    def value(self, t):
        return t**3

    def derivative(self, t):
        return 3 * t**2


@pytest.mark.parametrize(
    "path", [Path(Logistic()), Path(UniformProcess(2.0), clock=Cubic())], ids=["noise", "clock"]
)
def test_a_process_or_schedule_of_ones_own(path, tmp_path):
    """Used as it is; a file shows it, and asks for it again."""
    scheduler, (x, steps) = NoiseAB2Scheduler(path=path, t_min=0.1), data()
    assert scheduler.path is path
    wanted = path.sample(x, scheduler.time(steps), generator=seeded(2))
    assert torch.equal(scheduler.sample_pair(x, steps, generator=seeded(2))[0], wanted.x_t)
    scheduler.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"path: got Path\(.*, which a file cannot name; allowed"):
        NoiseAB2Scheduler.from_pretrained(tmp_path)
    again = NoiseAB2Scheduler.from_pretrained(tmp_path, path=path)
    assert again.path is path and again.config.t_min == 0.1


def damaged(**changes):
    said = dict(NoiseEulerScheduler(path=Path(learned())).config.path)
    return {name: value for name, value in (said | changes).items() if value is not None}


@pytest.mark.parametrize(
    "said",
    [
        damaged(path=None), damaged(path="KacFlow"), damaged(noise="Levy"), damaged(T=-1.0),
        damaged(T="long"), damaged(signal="steep"), damaged(bins=9), damaged(tensors=None),
        damaged(tensors="!"), damaged(tensors=base64.b64encode(b"9" * 40).decode()),
        damaged(a=9.0), damaged(shape=[4]), {}, {"path": "KacPath", "noise": "KacProcess"},
    ],
)  # fmt: skip
def test_damaged_descriptions(said):
    with pytest.raises(ValueError, match=r"^path: got a description that makes none"):
        NoiseEulerScheduler(path=said)


@pytest.mark.parametrize("path", [None, "uniform", 3, UniformProcess(2.0), [1.0]])
def test_other_than_paths(path):
    with pytest.raises(TypeError, match=r"^path: got .*; allowed: a kacflow.Path"):
        NoiseEulerScheduler(path=path)


def test_interfaces_are_those_of_the_kac_schedulers():
    kac = KacEulerScheduler(a=9.0, c=3.0, T=1.5)
    same = NoiseEulerScheduler(path=kac.path)
    assert isinstance(kac, NoiseEulerScheduler) and isinstance(same, diffusers.SchedulerMixin)
    x, steps = data()
    for one, other in zip(
        kac.sample_pair(x, steps, generator=seeded(2)),
        same.sample_pair(x, steps, generator=seeded(2)),
        strict=True,
    ):
        assert torch.equal(one, other)
    for scheduler in (kac, same):
        with pytest.raises(ValueError, match=r"noise: got numbers beyond c g\(t\)"):
            scheduler.add_noise(x, torch.full_like(x, 99.0), steps)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_learned_noise_keeps_its_type(dtype, tmp_path):
    path = Path(learned(3, 1, 1).to(dtype))
    scheduler, (x, steps) = NoiseEulerScheduler(path=path), data(torch.float64)
    scheduler.save_pretrained(tmp_path)
    wanted = path.sample(x, steps.double() / 1000, generator=seeded(2)).x_t
    for kept in (scheduler, NoiseEulerScheduler.from_pretrained(tmp_path)):
        assert kept.path.noise.middle.dtype == dtype
        assert torch.equal(kept.sample_pair(x, steps.double(), generator=seeded(2))[0], wanted)


@pytest.mark.parametrize("name", ["Kac per channel", "learned", "uniform"])
def test_priors_are_where_they_are_asked_for(name):
    """Wherever the last samples were."""
    scheduler, (x, steps) = NoiseEulerScheduler(path=PATHS[name]()), data()
    wanted, deviation = scheduler.init_noise(SHAPE, generator=seeded(4)), scheduler.init_noise_sigma
    scheduler.sample_pair(x.to("meta"), steps.to("meta"))
    assert torch.equal(scheduler.init_noise(SHAPE, generator=seeded(4)), wanted)
    assert scheduler.init_noise_sigma == deviation


def test_a_model_may_use_its_memory_again():
    """As one that was captured in a CUDA graph does."""
    scheduler, out = NoiseAB2Scheduler(path=Path(UniformProcess(2.0))), torch.empty(SHAPE)
    x = start = torch.randn(SHAPE, generator=seeded(1))
    wanted = integrate(scheduler, start, num_inference_steps=5)
    scheduler.set_timesteps(5)
    for timestep in scheduler.timesteps:
        t = scheduler.time(timestep).double().expand(len(x))
        x = scheduler.step(out.copy_(field(x, t)), timestep, x).prev_sample
    assert torch.equal(x, wanted)

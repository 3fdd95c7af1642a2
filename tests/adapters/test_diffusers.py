"""Schedulers and pipeline against diffusers itself: interface, conventions, training, files."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from schedulers import METHODS, SCHEDULERS, diffusers, field, integrate, quiet, seeded, small_unet
from torch.nn.functional import mse_loss

from kacflow import generate
from kacflow.adapters.diffusers import KacAB2Scheduler, KacEulerScheduler, KacPipeline


@SCHEDULERS
def test_interface_is_the_librarys(kind):
    scheduler = kind(a=9.0, c=3.0)
    assert isinstance(scheduler, diffusers.SchedulerMixin)
    assert isinstance(scheduler, diffusers.ConfigMixin)
    library = diffusers.FlowMatchEulerDiscreteScheduler
    for name in ("step", "scale_noise", "set_timesteps", "set_begin_index", "index_for_timestep"):
        theirs = list(inspect.signature(getattr(library, name)).parameters)
        ours = inspect.signature(getattr(kind, name)).parameters
        required = [n for n, p in ours.items() if p.default is inspect.Parameter.empty]
        assert required == theirs[: len(required)], name
    ddpm = inspect.signature(diffusers.DDPMScheduler.add_noise).parameters
    assert list(inspect.signature(kind.add_noise).parameters) == list(ddpm)
    ddpm = inspect.signature(diffusers.DDPMScheduler.get_velocity).parameters
    assert list(inspect.signature(kind.get_velocity).parameters) == list(ddpm)
    assert len(scheduler) == len(scheduler.timesteps) == 1000


@SCHEDULERS
@pytest.mark.parametrize("t_min", [0.0, 0.2])
def test_steps_are_those_of_generate(kind, t_min):
    scheduler = kind(a=9.0, c=3.0, T=1.5, t_min=t_min)
    x = scheduler.init_noise((4, 2), dtype=torch.float64, generator=seeded(0))
    wanted = generate(field, x, scheduler.path, steps=20, method=METHODS[kind], t_min=t_min)
    got = integrate(scheduler, x, num_inference_steps=20)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)  # timesteps are float32
    uneven = [1000.0, 900.0, 500.0, 200.0]
    grid = [1.5 * t / 1000 for t in uneven] + [t_min]
    wanted = generate(field, x, scheduler.path, t_grid=grid, method=METHODS[kind])
    got = integrate(scheduler, x, timesteps=uneven)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "order"), [(KacEulerScheduler, 1), (KacAB2Scheduler, 2)])
def test_order_of_convergence(kind, order):
    scheduler = kind(a=9.0, c=3.0)
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    exact = generate(field, x, scheduler.path, steps=200, method="rk4")
    errors = [
        (integrate(scheduler, x, num_inference_steps=n) - exact).abs().max().item()
        for n in (20, 40)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


@SCHEDULERS
def test_ends_and_direction(kind):
    """Timestep 1000 is Kac noise, 0 is data, and the exact velocity leads from one to the other."""
    scheduler = kind(a=9.0, c=3.0, T=2.0)
    x_0 = torch.full((200, 3), 0.7)
    assert torch.equal(scheduler.scale_noise(x_0, torch.zeros(200)), x_0)
    torch.manual_seed(0)
    noised = scheduler.scale_noise(x_0, torch.full((200,), 1000))
    torch.manual_seed(0)
    assert torch.equal(noised, scheduler.init_noise((200, 3)))
    assert scheduler.init_noise_sigma == pytest.approx(
        scheduler.init_noise((100_000,), generator=seeded(0)).std().item(), rel=0.01
    )
    x, _ = scheduler.sample_pair(x_0, torch.full((200,), 1000.0))
    scheduler.set_timesteps(400)
    for timestep in scheduler.timesteps:
        velocity = scheduler.path.velocity(x, scheduler.time(timestep), x_0)
        x = scheduler.step(velocity, timestep, x).prev_sample
    assert (x - x_0).abs().max() < 2.5 * (3.0 + 0.35) * 2 / 400


@SCHEDULERS
def test_step_index(kind):
    scheduler = kind(a=9.0, c=3.0)
    x = torch.ones(2, 2)
    scheduler.set_timesteps(10)
    assert scheduler.step_index is None and scheduler.begin_index is None
    out = scheduler.step(x, scheduler.timesteps[4], x)
    assert isinstance(out, diffusers.schedulers.scheduling_utils.SchedulerOutput)
    assert scheduler.step_index == 5
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(7)
    for timestep in scheduler.timesteps[7:]:
        (x,) = scheduler.step(torch.ones(2, 2), timestep, x, return_dict=False)
    torch.testing.assert_close(x, torch.full((2, 2), 0.7))
    with pytest.raises(ValueError, match="all steps are done"):
        scheduler.step(x, scheduler.timesteps[0], x)
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match=r"timestep: got 3; allowed: one of"):
        scheduler.step(x, 3, x)


@SCHEDULERS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(kind, dtype):
    scheduler = kind(a=9.0, c=3.0)
    x = torch.ones(4, 3, dtype=dtype)
    t = torch.full((4,), 300)
    noise = scheduler.sample_noise(x, t)
    assert noise.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert scheduler.add_noise(x, noise, t).dtype == dtype
    assert scheduler.get_velocity(x, noise, t).dtype == dtype
    assert scheduler.step(x, 1000, x).prev_sample.dtype == dtype


@SCHEDULERS
def test_save_and_load(kind, tmp_path):
    scheduler = kind(a=4.0, c=2.0, T=1.5, signal="cosine", clock="square", t_min=0.1)
    scheduler.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert {k: v for k, v in again.config.items() if k[0] != "_"} == {
        "a": 4.0, "c": 2.0, "T": 1.5, "signal": "cosine", "clock": "square",
        "num_train_timesteps": 1000, "t_min": 0.1,
    }  # fmt: skip
    noise = [s.init_noise((3, 2), generator=seeded(1)) for s in (scheduler, again)]
    assert torch.equal(*noise)
    other = next(k for k in METHODS if k is not kind).from_config(scheduler.config)
    assert other.config.c == 2.0


@SCHEDULERS
@pytest.mark.parametrize("way", ["add_noise", "scale_noise", "sample_pair"])
def test_training_is_that_of_kac_path(run, way, kind):
    """The loop of the library's examples, with a velocity to predict; its model is ours."""
    scheduler = kind(a=run.a, c=run.c, T=run.T, signal=run.signal, clock=run.clock)

    def loss(model, x_0, t, sign=1.0):
        timesteps = t / run.T * 1000
        if way == "sample_pair":
            noisy, target = scheduler.sample_pair(x_0, timesteps)
        else:
            noise = scheduler.sample_noise(x_0, timesteps)
            if way == "add_noise":
                noisy = scheduler.add_noise(x_0, noise, timesteps)
            else:
                noisy = scheduler.scale_noise(x_0, timesteps, noise)
            target = scheduler.get_velocity(x_0, noise, timesteps)
        return mse_loss(sign * model(noisy, timesteps / 1000 * run.T), target)

    wanted = run.reference()
    torch.testing.assert_close(run.losses(loss), wanted, rtol=1e-10, atol=0)
    wrong = run.losses(lambda model, x_0, t: loss(model, x_0, t, sign=-1.0))
    assert not torch.allclose(wrong, wanted, rtol=1e-3)


def test_pipeline_is_generate():
    """A U-Net of kacflow's own training, in the pipeline and in generate."""
    networks = pytest.importorskip("kacflow.training.networks")
    torch.manual_seed(0)
    network = networks.UNet((1, 8, 8), width=8, blocks=1, horizon=1.5).eval()
    pipeline = quiet(KacPipeline(network.model, KacEulerScheduler(a=9.0, c=3.0, T=1.5)))
    got = pipeline(3, seeded(1), num_inference_steps=5, output_type="latent").images
    path = pipeline.scheduler.path
    with torch.no_grad():
        x_T = path.sample_prior((3, 1, 8, 8), generator=seeded(1))
        wanted = generate(network, x_T, path, steps=5)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@SCHEDULERS
def test_pipeline_saves_and_loads(kind, tmp_path):
    pipeline = quiet(KacPipeline(small_unet(), kind(a=9.0, c=3.0)))
    images = pipeline(2, seeded(3), num_inference_steps=3, output_type="pt").images
    pipeline.save_pretrained(tmp_path)
    again = quiet(KacPipeline.from_pretrained(tmp_path))
    assert type(again.scheduler) is kind and isinstance(again.unet, diffusers.UNet2DModel)
    assert torch.equal(again(2, seeded(3), num_inference_steps=3, output_type="pt").images, images)


LOAD = """
import sys, torch
from kacflow.adapters.diffusers import KacPipeline
pipeline = KacPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
options = {"num_inference_steps": 3, "output_type": "pt"}
images = pipeline(2, torch.Generator().manual_seed(3), **options).images
torch.save((type(pipeline.scheduler).__name__, images), sys.argv[2])
"""


@SCHEDULERS
def test_pipeline_loads_in_another_process(kind, tmp_path, child_environment):
    """Nothing but the folder and the import of the pipeline is needed to load it."""
    pipeline = quiet(KacPipeline(small_unet(), kind(a=9.0, c=3.0, T=1.5, clock="square")))
    images = pipeline(2, seeded(3), num_inference_steps=3, output_type="pt").images
    pipeline.save_pretrained(tmp_path / "saved")
    index = json.loads((tmp_path / "saved" / "model_index.json").read_text())
    assert index["scheduler"] == ["kacflow.adapters.diffusers", kind.__name__]
    subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "saved"), str(tmp_path / "images.pt")],
        check=True, env=child_environment,
    )  # fmt: skip
    name, again = torch.load(tmp_path / "images.pt")
    assert name == kind.__name__
    torch.testing.assert_close(again, images, rtol=1e-4, atol=1e-5)


def test_pipeline_with_scheduler_of_a_file(tmp_path):
    """The library's way to exchange a scheduler: another class, from the configuration."""
    pipeline = quiet(KacPipeline(small_unet(), KacEulerScheduler(a=4.0, c=2.0)))
    pipeline.save_pretrained(tmp_path)
    scheduler = KacAB2Scheduler.from_pretrained(tmp_path, subfolder="scheduler")
    again = quiet(KacPipeline.from_pretrained(tmp_path, scheduler=scheduler))
    assert type(again.scheduler) is KacAB2Scheduler and again.scheduler.config.c == 2.0
    options = {"num_inference_steps": 3, "output_type": "latent"}
    one, other = (p(2, seeded(3), **options).images for p in (pipeline, again))
    assert not torch.allclose(one, other)


def test_pipeline_outputs():
    pipeline = quiet(KacPipeline(small_unet(3), KacEulerScheduler(a=9.0, c=3.0)))
    options = {"generator": seeded(1), "num_inference_steps": 2}
    (pictures,) = pipeline(2, **options, return_dict=False)
    assert [p.size for p in pictures] == [(8, 8)] * 2
    array = pipeline(2, **{**options, "generator": seeded(1)}, output_type="np").images
    assert array.shape == (2, 8, 8, 3) and array.min() >= 0 and array.max() <= 1
    with pytest.raises(ValueError, match="output_type: got 'jpg'"):
        pipeline(output_type="jpg")


def test_images_of_a_batch_and_of_its_parts():
    pipeline = quiet(KacPipeline(small_unet(), KacEulerScheduler(a=9.0, c=3.0)))
    options = {"num_inference_steps": 3, "output_type": "latent"}
    whole = pipeline(5, seeded(1), **options).images
    parts = [pipeline(n, seeded(1), first=k, **options).images for n, k in ((2, 0), (3, 2))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)
    single = [pipeline(1, seeded(k), **options).images for k in (4, 6)]
    listed = pipeline(2, [seeded(4), seeded(6)], **options).images
    torch.testing.assert_close(torch.cat(single), listed, rtol=1e-4, atol=1e-5)


def test_old_timesteps_are_forgotten():
    """A second run of an AB2 scheduler does not see the velocities of the first."""
    scheduler = KacAB2Scheduler(a=9.0, c=3.0)
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    first, second = (integrate(scheduler, x, num_inference_steps=7) for _ in range(2))
    assert torch.equal(first, second)


X, NOISE = torch.zeros(4, 2), torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: KacEulerScheduler(a=0.0, c=3.0), ValueError, "a: got 0.0"),
        (lambda s: KacEulerScheduler(a=torch.ones(2), c=3.0), TypeError, "a: got Tensor"),
        (lambda s: KacEulerScheduler(a=9.0, c=3.0, t_min=1.0), ValueError, "t_min: got 1.0"),
        (lambda s: KacEulerScheduler(a=9.0, c=3.0, signal=s), TypeError, "signal: got Kac"),
        (lambda s: s.set_timesteps(0), ValueError, "num_inference_steps: got 0"),
        (lambda s: s.set_timesteps(2.0), TypeError, r"num_inference_steps: got float 2\.0"),
        (lambda s: s.set_timesteps(timesteps=[1.0, 2.0]), ValueError, r"timesteps: got \[1.0, 2"),
        (lambda s: s.set_timesteps(timesteps=[1001.0]), ValueError, "timesteps: got"),
        (lambda s: s.set_timesteps(3, timesteps=[9.0]), ValueError, "num_inference_steps: got 3"),
        (lambda s: s.add_noise(X, NOISE[:3], X[:, 0]), ValueError, "noise: got shape"),
        (
            lambda s: s.add_noise(X, NOISE, X[:, 0] + 1001),
            ValueError,
            "timesteps: got 1001 to 1001",
        ),
        (lambda s: s.add_noise(X, NOISE + 0.31, X[:, 0] + 100), ValueError, "beyond c g"),
        (lambda s: s.get_velocity(X, NOISE - 0.31, X[:, 0] + 100), ValueError, "sample_noise"),
        (lambda s: s.init_noise((3, 2), generator=[seeded(0)]), ValueError, "generator: got 1"),
        (lambda s: s.init_noise((2, 2), generator=[0, 1]), TypeError, "generator: got list"),
        (lambda s: s.init_noise((2,), generator=[]), ValueError, "generator: got 0"),
        (lambda s: s.init_noise(1, generator=[seeded(0)], first=2), ValueError, "first: got int 2"),
        (lambda s: s.add_noise(X, NOISE * math.nan, X[:, 0]), ValueError, "noise: got numbers"),
        (lambda s: s.add_noise(X, NOISE, X[:3, 0]), ValueError, r"timesteps: got shape \(3,\)"),
        (lambda s: s.scale_noise(X, X[:, 0] - 1), ValueError, "timestep: got -1 to -1"),
        (lambda s: s.add_noise(X.long(), NOISE, X[:, 0]), TypeError, "original_samples: got dty"),
        (lambda s: s.set_timesteps(timesteps=[9.0, 9.0 - 1e-9]), ValueError, "float32 can tell"),
        (lambda s: s.set_timesteps(timesteps="98"), TypeError, "timesteps: got str '98'"),
        (lambda s: s.set_begin_index(-1), ValueError, r"begin_index: got -1; .* \[0, 999\]"),
        (lambda s: s.set_begin_index(1000), ValueError, "begin_index: got 1000"),
        (lambda s: s.set_begin_index(1.5), TypeError, r"begin_index: got float 1\.5"),
        (lambda s: s.set_begin_index("a"), TypeError, "begin_index: got str 'a'"),
        (lambda s: s.step(X[:, :1], 1000, X), ValueError, r"model_output: got .*\(4, 1\)"),
        (lambda s: s.step(X[0], 1000, X), ValueError, r"model_output: got .*\(2,\)"),
        (lambda s: s.step(X.to(torch.cfloat), 1000, X), TypeError, "model_output: got .*complex"),
        (lambda s: s.step((X,), 1000, X), TypeError, "model_output: got tuple"),
        (lambda s: s.step(X, 1000, X.long()), TypeError, "sample: got dtype"),
        (lambda s: s.step(X, X, X), ValueError, "timestep: got Tensor of shape"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(KacEulerScheduler(a=9.0, c=3.0))


def test_noise_under_transforms():
    """vmap over samples and forward mode; the check of the noise is left out there."""
    scheduler = KacEulerScheduler(a=9.0, c=3.0)
    x, timesteps = torch.randn(4, 2, generator=seeded(0)), torch.full((4,), 300.0)
    noise = scheduler.sample_noise(x, timesteps, generator=seeded(1))
    for function in (scheduler.add_noise, scheduler.get_velocity):
        wanted = function(x, noise, timesteps)
        single = torch.func.vmap(lambda x, n, t, f=function: f(x[None], n[None], t[None])[0])
        torch.testing.assert_close(single(x, noise, timesteps), wanted)
        out, tangent = torch.func.jvp(
            lambda x, f=function: f(x, noise, timesteps), (x,), (torch.ones_like(x),)
        )
        torch.testing.assert_close(out, wanted)
        slope = 0.7 if function == scheduler.add_noise else -1.0
        torch.testing.assert_close(tangent, torch.full_like(x, slope))


def test_kac_noise_is_never_refused():
    scheduler = KacEulerScheduler(a=9.0, c=3.0)
    x = torch.zeros(2000, 5)
    for dtype, seed in itertools.product((torch.float32, torch.float64), range(5)):
        timesteps = 1000 * torch.rand(2000, generator=seeded(seed))
        noise = scheduler.sample_noise(x.to(dtype), timesteps, generator=seeded(seed))
        scheduler.add_noise(x.to(dtype), noise, timesteps)


@SCHEDULERS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("clock", ["linear", "square"])
def test_noise_of_16_bits(kind, clock, dtype):
    """The usual line of mixed precision, noise.to(weight_dtype): never refused, and the atoms,
    which rounding moves to either side of the light cone, keep their velocity."""
    scheduler = kind(a=9.0, c=3.0, clock=clock)
    x = torch.randn(500, 40, generator=seeded(0)).to(dtype)
    timesteps = 1000 * torch.rand(500, generator=seeded(1)) ** 3
    timesteps[:3] = torch.tensor([0.0, 1e-4, 1000.0])
    exact = scheduler.sample_noise(x, timesteps, generator=seeded(2))
    noise = exact.to(dtype)
    noisy = scheduler.add_noise(x, noise, timesteps)
    assert torch.equal(scheduler.scale_noise(x, timesteps, noise), noisy)
    for got, wanted in (
        (noisy, scheduler.add_noise(x, exact, timesteps)),
        (scheduler.get_velocity(x, noise, timesteps), scheduler.get_velocity(x, exact, timesteps)),
    ):
        assert got.dtype == dtype
        close = (got.double() - wanted.double()).abs() < 0.1
        assert close.double().mean() > 0.998  # but for the few beside the edge that are no atoms
    with pytest.raises(ValueError, match="beyond c g"):
        scheduler.add_noise(x, 1.02 * noise, timesteps)


@pytest.mark.parametrize(
    ("drawn", "used"), [*itertools.permutations((torch.float32, torch.float64))]
)
def test_atoms_of_noise_in_another_type_keep_their_velocity(drawn, used):
    scheduler = KacEulerScheduler(a=1.0, c=3.0)
    x = torch.zeros(500, 40)
    timesteps = 1000 * torch.rand(500, generator=seeded(1), dtype=torch.float64)
    noise = scheduler.sample_noise(x.to(drawn), timesteps, generator=seeded(2))
    cast = scheduler.get_velocity(x.to(used), noise, timesteps)
    wanted = scheduler.get_velocity(x.to(drawn), noise, timesteps)
    assert cast.dtype == used and (wanted.abs() == 3.0).double().mean() > 0.6
    assert ((cast - wanted).abs() < 1e-4).double().mean() > 1 - 1e-4


def test_timesteps_of_16_bits():
    """Rounded beyond the last one, and where T itself is rounded up."""
    for most, T in ((999, 1.0), (1000, 0.3), (1000, 2.3)):
        scheduler = KacEulerScheduler(a=9.0, c=3.0, T=T, num_train_timesteps=most)
        for dtype in (torch.bfloat16, torch.float16):
            x, timesteps = torch.zeros(3, 2, dtype=dtype), torch.full((3,), most, dtype=dtype)
            x_t, _ = scheduler.sample_pair(x, timesteps, generator=seeded(0))
            noise = scheduler.sample_noise(x, timesteps, generator=seeded(0))
            assert torch.equal(noise.to(dtype), x_t)


def test_pipeline_of_16_bits():
    """The network computes in its own type, the points between in float32."""
    pipeline = quiet(KacPipeline(small_unet().to(torch.bfloat16), KacEulerScheduler(a=9.0, c=3.0)))
    options = {"num_inference_steps": 50, "output_type": "latent"}
    got = pipeline(np.int64(2), seeded(3), **options).images
    x = pipeline.scheduler.init_noise((2, 1, 8, 8), generator=seeded(3)).bfloat16().float()
    with torch.no_grad():
        for i in range(50):
            timestep = torch.tensor(1000 * (1 - i / 50))
            x = x - pipeline.unet(x.bfloat16(), timestep).sample.float() / 50
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, x.bfloat16(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"generator": 0}, TypeError, "generator: got int 0"),
        ({"generator": np.random.default_rng(0)}, TypeError, "generator: got Generator"),
        ({"generator": [seeded(0)]}, ValueError, "generator: got 1"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
        ({"batch_size": "2"}, TypeError, "batch_size: got str '2'"),
        ({"num_inference_steps": None}, TypeError, "num_inference_steps: got None"),
        ({"output_type": None}, TypeError, "output_type: got None"),
        ({"return_dict": 1}, TypeError, "return_dict: got int 1"),
    ],
)
def test_bad_input_of_the_pipeline(options, error, message):
    pipeline = quiet(KacPipeline(small_unet(), KacEulerScheduler(a=9.0, c=3.0)))
    with pytest.raises(error, match=message):
        pipeline(**{"batch_size": 2, "num_inference_steps": 1, **options})

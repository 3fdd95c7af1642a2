"""What a step of the schedulers remembers: the running point, its number, the velocity before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from schedulers import SCHEDULERS, field, integrate

from kacflow.adapters.diffusers import KacAB2Scheduler, KacEulerScheduler


@SCHEDULERS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_running_point_is_kept_in_float32(kind, dtype):
    """Increments below half a spacing add up, and samples that the caller changes are obeyed."""
    scheduler = kind(a=9.0, c=3.0)
    for steps in (1, 10, 300, 1000):
        scheduler.set_timesteps(steps)
        x = torch.ones(2, 3, dtype=dtype)
        for timestep in scheduler.timesteps:
            x = scheduler.step(-torch.ones_like(x), timestep, x).prev_sample
        assert x.dtype == dtype and torch.equal(x, torch.full_like(x, 2.0))
    scheduler.set_timesteps(300)
    x = torch.ones(2, 3, dtype=dtype)
    for timestep in scheduler.timesteps:
        x = scheduler.step(-torch.ones_like(x), timestep, x).prev_sample.clone()
        if timestep == scheduler.timesteps[150]:
            x[0] = 5.0
    assert torch.equal(x[1], torch.full_like(x[1], 2.0))
    torch.testing.assert_close(x[0].float(), torch.full((3,), 5 + 149 / 300), rtol=4e-3, atol=0)
    for begin in (lambda: scheduler.set_timesteps(3500), lambda: scheduler.set_begin_index(0)):
        begin()
        scheduler.step(-torch.ones_like(x), scheduler.timesteps[0], torch.ones_like(x))
        begin()  # forgets the unrounded point, which rounds to the sample
        x = scheduler.step(torch.zeros_like(x), scheduler.timesteps[0], torch.ones_like(x))[0]
        second = scheduler.step(-torch.ones_like(x), scheduler.timesteps[1], x).prev_sample
        assert torch.equal(second, torch.ones_like(x))


def test_gradients_pass_the_sample_that_is_given():
    """Whether the sample is what the last step returned, or a leaf of the same numbers."""
    scheduler = KacEulerScheduler(a=9.0, c=3.0)
    scheduler.set_timesteps(300)
    x = torch.ones(2, 3, dtype=torch.bfloat16)
    for timestep in scheduler.timesteps[:5]:
        x = scheduler.step(-torch.ones_like(x), timestep, x).prev_sample
    leaf = x.clone().requires_grad_()
    out = scheduler.step(0 * leaf, scheduler.timesteps[5], leaf).prev_sample
    assert torch.equal(torch.autograd.grad(out.sum(), leaf)[0], torch.ones_like(leaf))


@SCHEDULERS
@pytest.mark.parametrize("returned", [torch.float32, torch.float64, torch.bfloat16])
def test_the_dtype_is_that_of_the_sample(kind, returned):
    scheduler = kind(a=9.0, c=3.0)
    scheduler.set_timesteps(3)
    x = torch.ones(2, 3)
    for timestep in scheduler.timesteps:
        x = scheduler.step(x.to(returned), timestep, x).prev_sample
    assert x.dtype == torch.float32


@SCHEDULERS
def test_a_loop_that_is_broken_off_and_begun_again(kind):
    scheduler = kind(a=9.0, c=3.0)
    start = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    wanted = integrate(scheduler, start, num_inference_steps=6)
    scheduler.set_timesteps(6)

    def loop(numbers):
        x = start
        for timestep in scheduler.timesteps[numbers]:
            t = scheduler.time(timestep).double().expand(len(x))
            x = scheduler.step(field(x, t), timestep, x).prev_sample
        return x

    loop(slice(0, 1))
    loop(slice(0, 4))
    assert torch.equal(loop(slice(None)), wanted)
    scheduler.set_timesteps(6)
    late = loop(slice(3, None))  # as image-to-image pipelines begin
    scheduler.set_timesteps(6)
    loop(slice(2, 5))
    scheduler.set_begin_index(3)
    assert scheduler.step_index is None and scheduler.begin_index == 3
    assert torch.equal(loop(slice(3, None)), late)


@SCHEDULERS
def test_unexpected_timesteps_are_refused(kind):
    scheduler = kind(a=9.0, c=3.0)
    scheduler.set_timesteps(10)
    x, times = torch.ones(2, 2), scheduler.timesteps
    scheduler.step(x, times[0], x)
    for skipped in (times[2], float(times[2]), 800):
        with pytest.raises(ValueError, match="timestep: got 800; allowed: 900, the next of"):
            scheduler.step(x, skipped, x)
    with pytest.raises(ValueError, match="timestep: got 901; allowed: one of"):
        scheduler.step(x, 901, x)
    scheduler.set_begin_index(4)
    for other in (times[0], times[3], times[5]):
        with pytest.raises(ValueError, match="allowed: 600, the next of"):
            scheduler.step(x, other, x)
    scheduler.step(x, 600, x)
    assert scheduler.step_index == 5


def test_timesteps_of_other_types():
    """Of NumPy, of 16 bits where several round to one, of integers; in a batch of another size."""
    scheduler = KacAB2Scheduler(a=9.0, c=3.0)
    x = torch.ones(2, 2)
    for kind in (np.float32, np.float64, lambda t: t.bfloat16(), lambda t: t.double(), torch.clone):
        scheduler.set_timesteps(np.int64(999))
        for timestep in scheduler.timesteps:
            scheduler.step(x, kind(timestep), x)
    scheduler.set_timesteps(timesteps=np.array([1000, 500]))
    assert scheduler.index_for_timestep(torch.tensor([500])) == 1
    scheduler.step(x, 1000, x)
    with pytest.raises(ValueError, match="sample: got shape"):
        scheduler.step(x[:1], 500, x[:1])


def test_parameters_of_numpy_can_be_saved(tmp_path):
    parameters = {
        "a": np.float32(9),
        "c": 3,
        "T": np.float64(2),
        "num_train_timesteps": np.int32(9),
    }
    KacEulerScheduler(**parameters, t_min=np.float16(0.5)).save_pretrained(tmp_path)
    config = KacEulerScheduler.from_pretrained(tmp_path).config
    assert {name: config[name] for name in parameters} == {
        "a": 9.0, "c": 3.0, "T": 2.0, "num_train_timesteps": 9,
    }  # fmt: skip

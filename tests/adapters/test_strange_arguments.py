"""Strange values for every argument of generation, the wave equation and the adapters."""

from __future__ import annotations

import pytest
import torch
from strange import Case, complaints

from kacflow import KacPath, KacProcess, generate, telegrapher
from kacflow.adapters.telegraphers import TorchKacConstantSampler, compute_velocity

pytest.importorskip("torchdiffeq", reason="adaptive methods")
torchcfm = pytest.importorskip("kacflow.adapters.torchcfm", exc_type=ImportError)
flow_matching = pytest.importorskip("kacflow.adapters.flow_matching", exc_type=ImportError)
schedulers = pytest.importorskip("schedulers", reason="it needs diffusers")
from kacflow.adapters.diffusers import (  # noqa: E402
    KacAB2Scheduler,
    KacPipeline,
    NoiseEulerScheduler,
)

PATH = KacPath(KacProcess(9.0, 3.0))
X, T = torch.full((2, 3), 0.25), torch.tensor([0.5, 0.75])
NOISE, STEPS = torch.zeros(2, 3), 1000 * T
OF_PATH = {"generator": None, "first": 0}
DRAW = {**OF_PATH, "dtype": torch.float32, "device": "cpu"}
PARAMETERS = {"a": 9.0, "c": 3.0, "T": 1.0, "signal": "linear", "clock": "linear"}


def field(x, t):
    return -x


def method(make, name):
    """A method of an object that is made anew for every call."""
    return lambda **arguments: getattr(make(), name)(**arguments)


def matcher():
    return torchcfm.KacConditionalFlowMatcher(9.0, 3.0)


def prob_path():
    return flow_matching.KacProbPath(9.0, 3.0)


def scheduler():
    return KacAB2Scheduler(a=9.0, c=3.0)


def sampler():
    return TorchKacConstantSampler(9.0, 3.0, 1.0, 10, device="cpu")


UNET = schedulers.small_unet()


def pipeline(**arguments):
    return schedulers.quiet(KacPipeline(UNET, scheduler()))(**arguments)


GENERATE = {"model": field, "x_T": X, "path": PATH, "t_grid": None, "return_trajectory": False}
WAVE = {"t": 0.5, "a": 9.0, "c": 3.0}
CASES = [
    Case(
        "generate",
        generate,
        {**GENERATE, "steps": 2, "method": "heun", "t_min": 0.1},
        reshapes=("x_T", "return_trajectory"),
        data=("x_T",),
    ),
    Case(
        "generate, adaptive",
        generate,
        {**GENERATE, "method": "dopri5", "rtol": 1e-3, "atol": 1e-3, "options": None},
        reshapes=("x_T", "return_trajectory"),
    ),
    Case(
        "solve, spectral",
        telegrapher.solve,
        {**WAVE, "f0": X, "method": "spectral", "period": 1.0, "time_derivative": False},
        reshapes=("f0", "t", "time_derivative"),
        data=("f0",),
    ),
    Case(
        "solve, monte_carlo",
        telegrapher.solve,
        {
            **WAVE, "f0": torch.cos, "method": "monte_carlo", "x": X[0], "samples": 4,
            "antithetic": False, "generator": None,
        },
        reshapes=("x", "t"),
        data=("x",),
    ),
    Case(
        "TorchKacConstantSampler",
        TorchKacConstantSampler,
        {
            "a": 9.0, "c": 3.0, "T": 1.0, "M": 10, "K": 10, "device": "cpu",
            "dtype": torch.float32,
        },
    ),
    Case("sampler.sample", method(sampler, "sample"), {"t": T, "dim": 2}, reshapes=("t", "dim")),
    Case(
        "compute_velocity",
        compute_velocity,
        {"x": X[:, 0], "t": T, "a": 9.0, "c": 3.0, "epsilon": 1e-6, "T": 1.0},
        reshapes=("x", "t", "a", "c"),
        data=("x",),
    ),
    Case("KacConditionalFlowMatcher", torchcfm.KacConditionalFlowMatcher, PARAMETERS),
    Case(
        "matcher.compute_mu_t",
        method(matcher, "compute_mu_t"),
        {"x0": None, "x1": X, "t": T},
        reshapes=("x1",),
        data=("x1",),
    ),
    Case("matcher.compute_sigma_t", method(matcher, "compute_sigma_t"), {"t": T}, reshapes=("t",)),
    Case(
        "matcher.compute_conditional_flow",
        method(matcher, "compute_conditional_flow"),
        {"x0": None, "x1": X, "t": T, "xt": X},
    ),
    Case(
        "matcher.sample_noise_like", method(matcher, "sample_noise_like"), {"x": X}, reshapes=("x",)
    ),
    Case(
        "matcher.sample_location_and_conditional_flow",
        method(matcher, "sample_location_and_conditional_flow"),
        {"x0": X, "x1": X, "t": T, "return_noise": False},
        reshapes=("return_noise",),
    ),
    Case(
        "matcher.guided_sample_location_and_conditional_flow",
        method(matcher, "guided_sample_location_and_conditional_flow"),
        {"x0": X, "x1": X, "t": T, "return_noise": False},
        reshapes=("return_noise",),
    ),
    Case("KacProbPath", flow_matching.KacProbPath, PARAMETERS),
    Case("prob_path.sample", method(prob_path, "sample"), {"x_0": X, "x_1": X, "t": T}),
    Case(
        "prob_path.sample_prior",
        method(prob_path, "sample_prior"),
        {"shape": (2, 3), **DRAW},
        reshapes=("shape",),
    ),
    Case(
        "prob_path.target_to_velocity",
        method(prob_path, "target_to_velocity"),
        {"x_1": X, "x_t": X, "t": T},
    ),
    Case(
        "KacAB2Scheduler", KacAB2Scheduler, {**PARAMETERS, "num_train_timesteps": 9, "t_min": 0.1}
    ),
    Case(
        "NoiseEulerScheduler", NoiseEulerScheduler,
        {"path": PATH, "num_train_timesteps": 9, "t_min": 0.1},
    ),
    Case(
        "scheduler.time",
        method(scheduler, "time"),
        {"timesteps": STEPS},
        reshapes=("timesteps",),
        data=("timesteps",),
    ),
    Case(
        "scheduler.set_timesteps",
        method(scheduler, "set_timesteps"),
        {"num_inference_steps": 2, "device": None, "timesteps": None},
    ),
    Case(
        "scheduler.set_timesteps to given ones",
        method(scheduler, "set_timesteps"),
        {"num_inference_steps": None, "timesteps": [900, 100]},
    ),
    Case("scheduler.set_begin_index", method(scheduler, "set_begin_index"), {"begin_index": 3}),
    Case("scheduler.index_for_timestep", method(scheduler, "index_for_timestep"), {"timestep": 3}),
    Case(
        "scheduler.init_noise",
        method(scheduler, "init_noise"),
        {"shape": (2, 3), **DRAW},
        reshapes=("shape",),
    ),
    Case(
        "scheduler.scale_model_input",
        method(scheduler, "scale_model_input"),
        {"sample": X},
        reshapes=("sample",),
        data=("sample",),
    ),
    Case(
        "scheduler.step",
        method(scheduler, "step"),
        {"model_output": X, "timestep": 900, "sample": X, "generator": None, "return_dict": False},
    ),
    Case(
        "scheduler.sample_pair",
        method(scheduler, "sample_pair"),
        {"sample": X, "timesteps": STEPS, **OF_PATH},
        reshapes=("sample",),
        data=("sample",),
    ),
    Case(
        "scheduler.sample_noise",
        method(scheduler, "sample_noise"),
        {"sample": X, "timesteps": STEPS, **OF_PATH},
        reshapes=("sample",),
    ),
    Case(
        "scheduler.add_noise",
        method(scheduler, "add_noise"),
        {"original_samples": X, "noise": NOISE, "timesteps": STEPS},
    ),
    Case(
        "scheduler.scale_noise",
        method(scheduler, "scale_noise"),
        {"sample": X, "timestep": STEPS, "noise": NOISE},
    ),
    Case(
        "scheduler.get_velocity",
        method(scheduler, "get_velocity"),
        {"sample": X, "noise": NOISE, "timesteps": STEPS},
    ),
    Case(
        "pipeline",
        pipeline,
        {
            "batch_size": 1, "num_inference_steps": 1, "output_type": "pt", "return_dict": False,
            **OF_PATH,
        },
        reshapes=("batch_size",),
    ),
]  # fmt: skip


def walk():
    for case in CASES:
        for argument, usual in case.good.items():
            if argument == "x0" and usual is None:
                continue  # not looked at
            yield pytest.param(case, argument, id=f"{case.name}: {argument}")


@pytest.mark.parametrize(("case", "argument"), list(walk()))
def test_strange_values(case, argument):
    assert complaints(case, argument) == []

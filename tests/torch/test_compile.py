"""torch.compile in one graph for every batch size, operator checks, torch.export of a sampler."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo
from operator_calls import NOT_IN_16_BITS, listed, operator_calls
from torch import nn
from torch._dynamo.utils import counters
from torch.library import opcheck

from kacflow import GaussianPath, KacPath, KacProcess, generate

PATH = KacPath(KacProcess(9.0, 3.0), signal="cosine", clock="square")
SIZES = (5, 8, 13, 64)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graphs():
    """Graphs compiled since the test began."""
    return counters["stats"]["unique_graphs"]


def batch(size):
    generator = torch.Generator().manual_seed(size)
    return torch.randn(size, 3, generator=generator), torch.rand(size, generator=generator)


def pair(x_0, t):
    return PATH.sample(x_0, t)[2:]


def part_of_a_batch(x_0, t):
    return PATH.sample(x_0, t, first=3 * len(x_0))[2:]


def gaussian_pair(x_0, t):
    return GaussianPath("flow_matching").sample(x_0, t)[2:]


def velocity(x, t):
    return PATH.process.velocity(x, t[:, None])


def prior(x, t):
    return PATH.sample_prior(x.shape)


def paper_step(x_0, t):
    from kacflow.adapters.telegraphers import TorchKacConstantSampler, compute_velocity

    sampler = TorchKacConstantSampler(9.0, 3.0, 1.0, 1000, device="cpu")
    tau = sampler.sample(t, dim=x_0.shape[1])
    return x_0 + tau, compute_velocity(tau, t[:, None], 9.0, 3.0, epsilon=1e-4)


FUNCTIONS = (pair, part_of_a_batch, gaussian_pair, velocity, prior, paper_step)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_one_graph_for_every_batch_size(function):
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in SIZES:
        arguments = batch(size)
        torch.manual_seed(size)
        wanted = function(*arguments)
        torch.manual_seed(size)
        torch.testing.assert_close(compiled(*arguments), wanted)
    assert graphs() == 1


def test_batch_marked_dynamic():
    """Without dynamic=True: one graph if the axis is marked, a second on the second size if not."""
    compiled = torch.compile(pair, fullgraph=True, backend="aot_eager")
    for size in SIZES:
        arguments = batch(size)
        for value in arguments:
            torch._dynamo.mark_dynamic(value, 0)
        compiled(*arguments)
    assert graphs() == 1
    torch._dynamo.reset()
    for size in SIZES:
        compiled(*batch(size))
    assert graphs() == 1 + 2


def test_every_call_draws_anew():
    compiled = torch.compile(pair, fullgraph=True, backend="aot_eager")
    first, second = compiled(*batch(8))[0], compiled(*batch(8))[0]
    assert not torch.equal(first, second)


class Field(nn.Module):
    """A small velocity field."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, x, t):
        return self.layers(torch.cat((x, t[:, None]), dim=1))


def test_whole_training_step_by_torch_func():
    """Draws, loss, gradients and the update, in one graph for every batch size."""
    torch.manual_seed(0)
    model = Field()

    def loss(parameters, x_0, t):
        sample = PATH.sample(x_0, t)
        out = torch.func.functional_call(model, parameters, (sample.x_t, sample.t))
        return (out - sample.dx_t).square().mean()

    def step(parameters, x_0, t):
        slopes, value = torch.func.grad_and_value(loss)(parameters, x_0, t)
        return {k: v - 0.1 * slopes[k] for k, v in parameters.items()}, value

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    parameters = {k: v.detach().clone() for k, v in model.named_parameters()}
    for size in SIZES:
        torch.manual_seed(size)
        parameters, value = compiled(parameters, *batch(size))
        torch.manual_seed(size)
        wanted = loss(dict(model.named_parameters()), *batch(size))
        torch.testing.assert_close(value, wanted)
        slopes = torch.autograd.grad(wanted, list(model.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter.sub_(slope, alpha=0.1)
    torch.testing.assert_close(parameters, dict(model.named_parameters()))
    assert graphs() == 1


@pytest.mark.skipif(
    not hasattr(torch._dynamo.config, "trace_autograd_ops"),
    reason="this torch does not compile backward() within a function",
)
def test_whole_training_step_by_backward():
    """As a loop is written: loss.backward() and the update within the compiled function.

    The update is written out, since torch.optim breaks the graph on purpose.
    """

    def run(compiled):
        torch.manual_seed(0)
        model = Field()

        def step(x_0, t):
            sample = PATH.sample(x_0, t)
            loss = (model(sample.x_t, sample.t) - sample.dx_t).square().mean()
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.sub_(parameter.grad, alpha=0.1)
                    parameter.grad = None
            return loss.detach()

        options = {"fullgraph": True, "backend": "aot_eager", "dynamic": True}
        function = torch.compile(step, **options) if compiled else step
        losses = []
        for size in SIZES:
            torch.manual_seed(size)
            losses.append(function(*batch(size)))
        return torch.stack(losses), list(model.parameters())

    with torch._dynamo.config.patch(trace_autograd_ops=True):
        torch.testing.assert_close(run(True), run(False))
    assert graphs() == 1


def test_every_operator_has_its_calls():
    """What torch's dispatcher lists under kacflow:: is what is checked below."""
    assert listed() == set(operator_calls())


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name in operator_calls()
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
        if dtype.itemsize > 2 or name not in NOT_IN_16_BITS
    ],
    ids=str,
)
def test_opcheck_of_every_operator(name, dtype):
    """Schemas, fake implementations (with dynamic shapes too) and autograd registrations."""
    arguments = operator_calls(dtype)[name]
    opcheck(getattr(torch.ops.kacflow, name), tuple(arguments.values()))


class Sampler(nn.Module):
    """Noise from a seed, then the loop from T to 0."""

    def __init__(self, method):
        super().__init__()
        torch.manual_seed(0)
        self.field, self.method = Field(), method

    def forward(self, like, seed):
        ones = [torch.full((), value) for value in (1.0, 9.0, 3.0)]
        shape = list(like.shape)
        x_T = torch.ops.kacflow.sample(*ones, seed, 0, shape, torch.float32)
        return generate(self.field, x_T, PATH, steps=6, method=self.method)


@pytest.mark.parametrize("method", ["euler", "ab2", "heun"])
def test_export_of_a_sampler(method, tmp_path):
    module = Sampler(method)
    size = torch.export.Dim("size", min=2, max=4096)
    with torch.no_grad():
        program = torch.export.export(
            module, (torch.empty(5, 3), torch.tensor(0)), dynamic_shapes=({0: size}, None)
        )
        torch.export.save(program, tmp_path / "sampler.pt2")
        loaded = torch.export.load(tmp_path / "sampler.pt2").module()
        for rows, seed in ((11, 1), (4, 2)):
            arguments = torch.empty(rows, 3), torch.tensor(seed)
            assert torch.equal(loaded(*arguments), module(*arguments))


def test_export_that_draws_from_torchs_generator():
    class FromPrior(Sampler):
        def forward(self, like):
            return generate(self.field, PATH.sample_prior(like.shape), PATH, steps=3)

    module = FromPrior("euler")
    size = torch.export.Dim("size", min=2, max=4096)
    program = torch.export.export(module, (torch.empty(5, 3),), dynamic_shapes=({0: size},))
    results = []
    for function in (module, program.module(), program.module()):
        torch.manual_seed(3)
        results.append(function(torch.empty(9, 3)))
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])

"""What happens to tensors on a GPU before and after the kernels, by fake ones: nothing computes.

Devices of results and gradients, what a compiled graph holds, and where numbers are put.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from kacflow import GaussianPath, KacPath, KacProcess, ops
from kacflow.ops import _derivatives
from kacflow.ops._velocity_hessian import velocity_hessian

GPU = torch.device("cuda", 0)
PATH = KacPath(KacProcess(9.0, 3.0))


def data() -> tuple[Tensor, Tensor]:
    """Fake data and times on a GPU."""
    with FakeTensorMode():
        return torch.empty(8, 3, 4, device=GPU), torch.empty(8, device=GPU)


FUNCTIONS = {
    "pair": lambda x, t: PATH.sample(x, t)[2:],
    "pair at one time": lambda x, t: PATH.sample(x, 0.5)[2:],
    "other schedules": lambda x, t: KacPath(PATH.process, 2.0, "cosine", "square").sample(x, t)[2:],
    "sample": lambda x, t: PATH.process.sample(t, (8, 4)),
    "sample at one time": lambda x, t: PATH.process.sample(0.5, (8, 4), device=GPU),
    "sample on the current device": lambda x, t: PATH.process.sample(t, (8, 4), device="cuda"),
    "velocity": lambda x, t: PATH.process.velocity(x, 0.5),
    "velocity of the path": lambda x, t: PATH.velocity(x, t, x),
    "divergence": lambda x, t: PATH.divergence(x, t, x),
    "path": lambda x, t: PATH.process.sample_path(t, (5,)),
    "law": lambda x, t: (PATH.process.log_prob(x, 0.5), PATH.process.cdf(x, 0.5)),
    "prior": lambda x, t: PATH.sample_prior((8, 3, 4), device=GPU, x_0=x),
    "Gaussian prior": lambda x, t: GaussianPath().sample_prior((8, 3, 4), device="cuda"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_on_the_gpu(name: str):
    x, t = data()
    with x.fake_mode:
        found = FUNCTIONS[name](x, t)
    for value in found if isinstance(found, tuple) else (found,):
        assert value.device == GPU


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_compiled_graph_holds_nothing_of_the_cpu(name: str):
    """Else torch.compile(mode="reduce-overhead") would leave CUDA graphs out."""
    x, t = data()
    graphs = []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    with x.fake_mode:
        torch.compile(FUNCTIONS[name], backend=keep, fullgraph=True)(x, t)
    [graph] = graphs
    nodes = [n for n in graph.graph.nodes if n.users and "example_value" in n.meta]
    tensors = [n.meta["example_value"] for n in nodes]
    devices = {v.device for v in tensors if isinstance(v, Tensor)}
    assert devices == {GPU}, graph.code


@pytest.mark.parametrize("ndim", [0, 1])
@pytest.mark.parametrize("name", ops._OPERATORS)
def test_derivatives_beside_numbers_on_the_cpu(name: str, ndim: int):
    """Rate and speed that were given as numbers are 0-d tensors on the CPU."""
    with FakeTensorMode():
        x, t = torch.empty(8, 3, device=GPU), torch.empty((8,) * ndim, device=GPU)
        spread = t.reshape((8, 1)[: 2 * ndim])
        a, c = torch.empty(()), torch.empty(())
        seed, one = torch.empty((), dtype=torch.int64, device=GPU), torch.ones((), device=GPU)
        inputs: dict[str, tuple] = {
            "sample": (t, a, c, seed, 0, (8, 3), torch.float32),
            "sample_pair": (x, a, c, t, one, t, one, seed, 0),
            "sample_pair_scheduled": (x, t, a, c, seed, 0, 4, 2, 1.0),
            "sample_pair_partly": (x, t, a, c, t, one, seed, 0, 4, 0, 1.0),
            "sample_path": (t.reshape(-1), a, c, seed, 0, (8, 3), torch.float32),
            "transport": (x, spread, spread, a, c),
        }
        args = inputs.get(name, (x, spread, a, c))
        found = getattr(torch.ops.kacflow, name)(*args)
        outputs = found if isinstance(found, tuple) else (found,)
        rule = ops._OPERATORS[name].rule
        needed = [isinstance(v, Tensor) and v.device == GPU for v in args]
        if name in ("sample_path", "_velocity_hessian", "_draw_acceleration"):
            with pytest.raises(RuntimeError, match=r"gradient|derivative"):
                rule.backward(args, outputs, needed, outputs)
            return
        grads = rule.backward(args, outputs, needed, outputs)
        for i in rule.inputs:
            value, grad = args[i], grads[i]
            if needed[i] and grad is not None:
                assert grad.shape == value.shape and grad.device == GPU
        for function in (
            _derivatives.draw_velocity, _derivatives.draw_acceleration, velocity_hessian
        ):  # fmt: skip
            made = function(x, spread, a, c)
            assert all(v.device == GPU for v in (made if isinstance(made, tuple) else (made,)))


def test_a_clock_on_the_cpu_beside_data_on_a_gpu():
    with FakeTensorMode():
        x, one = torch.empty(8, 3, device=GPU), torch.ones(())
        seed = torch.empty((), dtype=torch.int64)
        args = (x, one, one, one, one, one, one, seed, 0)
        needed = [i == 6 for i in range(9)]
        grads = ops._OPERATORS["sample_pair"].rule.backward(args, (), needed, (x, x))
        assert grads[6] is not None and grads[6].shape == ()


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_fake_tensors_are_not_read(device: str):
    """As torch.export and shape propagation make them, outside torch.compile."""
    with FakeTensorMode():
        x, t = torch.empty(4, 2, device=device), torch.empty(4, device=device)
        pair = PATH.sample(x, t)
        assert pair.x_t.shape == (4, 2) and pair.x_t.device == x.device
        assert KacProcess(1.0, 2.0).sample(t).shape == (4,)


def test_a_default_device_changes_no_number():
    """With torch.set_default_device("cuda") numbers stay on the CPU, from where they go by value;
    the meta device stands for it here.
    """
    x, t = torch.randn(5, 2), torch.rand(5)

    def draw() -> tuple[Tensor, ...]:
        path = KacPath(KacProcess(9.0, 3.0), T=2.0, clock="square")
        plain = KacPath(KacProcess(9.0, 3.0)).sample(x, t)  # the direct way
        prior = path.sample_prior((5, 2))
        return *path.sample(x, t)[2:], *plain[2:], prior, path.process.variance(0.5)

    torch.manual_seed(3)
    want = draw()
    torch.manual_seed(3)
    with torch.device("meta"):
        got = draw()
    for value, expected in zip(got, want, strict=True):
        assert torch.equal(value, expected)

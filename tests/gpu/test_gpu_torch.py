"""Operators on a GPU: streams, devices, graphs, compilation, gradients."""

from __future__ import annotations

import pytest
import torch
from operator_calls import operator_calls

from kacflow import KacPath, KacProcess, QuantileProcess

PATH = KacPath(KacProcess(a=9.0, c=3.0))


def data(*shape: int, device: str = "cuda") -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(shape, device=device), torch.rand(shape[0], device=device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_cpu_generator_gives_the_noise_of_the_cpu(gpu_backend: str, dtype: torch.dtype):
    x, t = data(33, 3, 17)
    x = x.to(dtype)
    got = PATH.sample(x, t, generator=torch.Generator().manual_seed(3))
    want = PATH.sample(x.cpu(), t.cpu(), generator=torch.Generator().manual_seed(3))
    tolerance = 2e-2 if x.element_size() == 2 else 2e-5
    for value, expected in ((got.x_t, want.x_t), (got.dx_t, want.dx_t)):
        assert value.is_cuda and value.dtype == dtype
        torch.testing.assert_close(value.cpu(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("clock", ["linear", "square"])
@pytest.mark.parametrize("signal", ["constant", "linear", "exp", "cosine", "lambda"])
def test_schedules_inside_the_kernel(gpu_backend: str, signal: str, clock: str):
    """In float64 every row's schedules are those of the CPU to a few units in the last place."""
    path = KacPath(PATH.process, 0.7, signal, clock)
    x, t = torch.randn(64, 7, dtype=torch.float64), 0.7 * torch.rand(64, dtype=torch.float64)
    draws = [
        path.sample(x.to(d), t.to(d), generator=torch.Generator().manual_seed(1), first=5)
        for d in ("cuda", "cpu")
    ]
    for name in ("x_t", "dx_t"):
        got, want = (getattr(drawn, name) for drawn in draws)
        torch.testing.assert_close(got.cpu(), want, rtol=1e-11, atol=1e-11)


def test_the_generator_of_the_device_decides(gpu_backend: str):
    x, t = data(64, 5)
    draws = []
    for seed in (1, 1, 2):
        torch.cuda.manual_seed(seed)
        draws.append(PATH.sample(x, t).x_t)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_current_stream(gpu_backend: str):
    x, t = data(512, 3, 64, 64)
    want = PATH.sample(x, t, generator=torch.Generator().manual_seed(1)).x_t
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = torch.empty_like(x)
        torch.cuda._sleep(50_000_000)
        late.copy_(x)
        got = PATH.sample(late, t, generator=torch.Generator().manual_seed(1)).x_t
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(got, want)


def test_no_call_waits_for_the_device(gpu_backend: str):
    x, t = data(8, 3)
    process = PATH.process
    torch.cuda.set_sync_debug_mode("error")
    try:
        PATH.sample(x, t)
        PATH.sample(x, 0.5)
        process.sample(0.5, (4,), device="cuda")
        process.velocity(x, 0.5)
        process.log_prob(x, 0.5)
        process.cdf(x, 0.5)
        process.sample_path(torch.linspace(0, 1, 5, device="cuda"), (4,))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_numbers_are_checked_beside_values_that_are_not(gpu_backend: str):
    x, t = data(8, 3)
    process = KacProcess(1e300, 3.0)
    for call in (lambda: PATH.process.velocity(x, 1e300), lambda: process.sample(t, (8, 3)),
                 lambda: PATH.process.sample(1e300, 4, device="cuda"),
                 lambda: KacPath(process).sample(x, t)):  # fmt: skip
        with pytest.raises(ValueError, match=r"allowed: (finite|at most)"):
            call()
    got = PATH.process.sample(0.5, (64,), generator=torch.Generator().manual_seed(1), device="cuda")
    want = PATH.process.sample(0.5, (64,), generator=torch.Generator().manual_seed(1))
    assert got.is_cuda and torch.allclose(got.cpu(), want, atol=2e-5)


def test_the_current_device_and_numbers_on_it(gpu_backend: str):
    _, t = data(8, 3)
    assert PATH.process.sample(t, (8, 3), device="cuda").device == t.device
    with torch.device("cuda"):
        drawn = KacPath(KacProcess(9.0, 3.0)).sample_prior((8, 3), device=t.device)
    assert drawn.device == t.device and bool(drawn.any())


def test_graph_replays_draw_fresh_noise(gpu_backend: str):
    x, t = data(256, 3, 32, 32)
    for _ in range(3):
        PATH.sample(x, t)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sample = PATH.sample(x, t)
    draws = []
    for _ in range(3):
        graph.replay()
        draws.append(sample.x_t.clone())
    assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[1], draws[2])
    assert all(bool(torch.isfinite(draw).all()) for draw in draws)


def test_compiled_with_graphs(gpu_backend: str):
    x, t = data(256, 3, 16, 16)

    @torch.compile(mode="reduce-overhead", fullgraph=True)
    def step(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        pair = PATH.sample(x, t)
        return (pair.x_t - pair.dx_t).square().mean()

    values = {float(step(x, t)) for _ in range(6)}
    assert len(values) == 6


@pytest.mark.parametrize("operator", operator_calls())
def test_opcheck(gpu_backend: str, operator: str):
    arguments = operator_calls(device="cuda")[operator]
    torch.library.opcheck(getattr(torch.ops.kacflow, operator), tuple(arguments.values()))


def test_gradients_are_those_of_the_cpu(gpu_backend: str):
    x, t = data(16, 5)
    grads = []
    for device in ("cuda", "cpu"):
        a = torch.tensor(5.0, device=device, requires_grad=True)
        path = KacPath(KacProcess(a, 2.0))
        y = x.detach().to(device).requires_grad_()
        pair = path.sample(y, t.to(device), generator=torch.Generator().manual_seed(2))
        (pair.x_t.square().sum() + pair.dx_t.sum()).backward()
        grads.append((y.grad.cpu(), a.grad.cpu()))
    for value, want in zip(*grads, strict=True):
        torch.testing.assert_close(value, want, rtol=1e-3, atol=1e-3)


def test_gradients_beside_numbers(gpu_backend: str):
    """Rate and speed are 0-d tensors on the CPU here."""
    _, t = data(16, 5)
    grads = []
    for device in ("cuda", "cpu"):
        times = t.detach().to(device).requires_grad_()
        generator = torch.Generator().manual_seed(2)
        x = PATH.process.sample(times, (16, 5), generator=generator)
        pair = PATH.sample(x.detach(), times, generator=generator)
        (x.square().sum() + pair.x_t.square().sum() + pair.dx_t.sum()).backward()
        grads.append(times.grad.cpu())
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-3)


def test_every_device(gpu_backend: str):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU only")
    for number in range(torch.cuda.device_count()):
        x, t = data(64, 3, device=f"cuda:{number}")
        got = PATH.sample(x, t, generator=torch.Generator().manual_seed(1))
        want = PATH.sample(x.cpu(), t.cpu(), generator=torch.Generator().manual_seed(1))
        assert got.x_t.device == x.device
        torch.testing.assert_close(got.x_t.cpu(), want.x_t, rtol=2e-5, atol=2e-5)


def test_more_than_two_to_the_31_elements(gpu_backend: str):
    free, _ = torch.cuda.mem_get_info()
    n = 2**31 + 1000
    if free < 6 * n + 2**30:
        pytest.skip("not enough memory")
    x = torch.zeros(n, dtype=torch.float16, device="cuda")
    one = torch.tensor(1.0, device="cuda")
    seed = torch.tensor(5)
    x_t, _ = torch.ops.kacflow.sample_pair(x, 3 * one, 2 * one, one, one, one, one, seed, 0)
    tail = torch.ops.kacflow.sample_pair(
        x[-1000:], 3 * one, 2 * one, one, one, one, one, seed, n - 1000
    )[0]
    assert torch.equal(x_t[-1000:], tail) and bool((tail != 0).any())


@pytest.mark.parametrize("shape", [(), (48,)])
def test_a_learned_noise_on_the_gpu(gpu_backend: str, shape: tuple[int, ...]):
    """Draws and gradients are those of the CPU; the gradients the same ones at every call."""
    noises = [QuantileProcess(shape, bins=16).to(device) for device in ("cpu", "cuda", "cuda")]
    found = []
    for noise in noises:
        with torch.no_grad():
            for value in noise.parameters():
                made = torch.Generator().manual_seed(1)
                value += 0.3 * torch.randn(value.shape, generator=made).to(value.device)
        seed = torch.Generator().manual_seed(2)
        z, log_slope = noise.base_pair((4000, 48), generator=seed, device=noise.middle.device)
        (z.square().mean() - log_slope.mean()).backward()
        found.append([z.detach(), *(value.grad for value in noise.parameters())])
    for got, again, want in zip(found[1], found[2], found[0], strict=True):
        assert torch.equal(got, again)
        torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-4)

"""Rates and speeds as tensors: conventions, gradients, the divergence; no device is read."""

from __future__ import annotations

import pytest
import torch

from kacflow import KacPath, KacProcess, generate

SHAPES = {
    "all": (),
    "sample": (4,),
    "channel": (1, 3),
    "sample and channel": (4, 3),
    "spelled out": (1, 3, 1, 1),
    "pixel": (1, 1, 2, 5),
}


def uniform(*shape, low=0.5, high=1.5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, dtype=dtype, generator=generator)


def images():
    """(x_t inside the light cone, t, x_0) of shapes (4, 3, 2, 5), (4,), (4, 3, 2, 5)."""
    t = uniform(4, low=0.2, high=0.9)
    x_0 = uniform(4, 3, 2, 5, seed=1)
    inside = uniform(4, 3, 2, 5, low=-0.4, high=0.4, seed=2) * t[:, None, None, None]
    return (1 - t)[:, None, None, None] * x_0 + inside, t, x_0


def element_by_element(method, a, c, x_t, t, x_0):
    """A path's field with one process of plain numbers per element."""
    whole = [v.reshape(v.shape + (1,) * (4 - v.ndim)).expand(x_t.shape) for v in (a, c)]
    result = torch.empty_like(x_t)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in x_t.shape)):
        at = tuple(index)
        path = KacPath(KacProcess(*(float(v[at]) for v in whole)))
        point = [v[at].reshape(1) for v in (x_t, x_0)]
        result[at] = getattr(path, method)(point[0], t[at[0]].reshape(1), point[1])[0]
    return result


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_paths_align_parameters_with_leading_axes(shape):
    """In the velocity and its divergence as in the draws."""
    a, c = uniform(*shape, low=1, high=9, seed=3), uniform(*shape, seed=4)
    path = KacPath(KacProcess(a, c))
    x_t, t, x_0 = images()
    wanted = element_by_element("velocity", a, c, x_t, t, x_0)
    torch.testing.assert_close(path.velocity(x_t, t, x_0), wanted, rtol=1e-13, atol=1e-13)
    wanted = element_by_element("divergence", a, c, x_t, t, x_0).sum((1, 2, 3))
    torch.testing.assert_close(path.divergence(x_t, t, x_0), wanted, rtol=1e-13, atol=1e-13)
    pair = path.sample(x_0, t, generator=torch.Generator().manual_seed(0))
    noise = pair.x_t - (1 - t)[:, None, None, None] * x_0
    edge = 1e-9 * t[:, None, None, None]
    whole = c.reshape(shape + (1,) * (4 - len(shape))) * t[:, None, None, None]
    inside = noise.abs() < whole - edge
    again = path.velocity(pair.x_t, t, x_0)
    assert inside.any()
    torch.testing.assert_close(again[inside], pair.dx_t[inside], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", ["velocity", "divergence"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients_of_path_fields(shape, method):
    x_t, t, x_0 = images()
    t = t.requires_grad_()
    a = uniform(*shape, low=1, high=9, seed=3).requires_grad_()
    c = uniform(*shape, seed=4).requires_grad_()

    def field(a, c, t):
        return getattr(KacPath(KacProcess(a, c), clock="square"), method)(x_t, t, x_0)

    assert torch.autograd.gradcheck(field, (a, c, t), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_divergence_is_the_trace_of_the_jacobian(dtype):
    """With one rate and one speed per dimension."""
    a, c = uniform(1, 3, low=1, high=9, seed=3), uniform(1, 3, seed=4)
    process = KacProcess(a, c)
    x, t = uniform(4, 3, low=-0.5, high=0.5), uniform(4, 1, seed=1)
    x[0, 0] = -9.0  # outside the light cone: adds nothing
    jacobian = torch.func.jacrev(lambda x: process.velocity(x, t).sum(0))(x)
    trace = torch.einsum("ibi->b", jacobian)
    assert trace[0] < trace[1:].min()
    got = process.divergence(x.to(dtype), t.to(dtype))
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(got.double(), trace, rtol=tolerance, atol=0)
    path = KacPath(process, T=2.0, signal="cosine", clock="square")
    x_0, times = uniform(4, 3, seed=5), t[:, 0]
    f, g = path.signal.value(times)[:, None], path.clock.value(times)[:, None]
    wanted = path.clock.derivative(times) * process.divergence(x * 0.1, g)
    got = path.divergence(f * x_0 + x * 0.1, times, x_0)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_divergence_has_the_shape_of_the_batch():
    process = KacProcess(9.0, 3.0)
    assert process.divergence(torch.zeros(2, 3, 4), 0.5).shape == (2,)
    assert process.divergence(torch.zeros(0, 3), 0.5).shape == (0,)
    line = torch.linspace(-1, 1, 7)
    one = process.divergence(line, 0.5)
    torch.testing.assert_close(
        one, torch.func.vmap(torch.func.grad(process.velocity), (0, None))(line, 0.5)
    )
    assert process.divergence(torch.tensor(0.3), 0.5).shape == ()


def test_the_continuity_equation_of_the_density():
    """d/dt log p along the field is minus its divergence: checked on log p itself."""
    a, c = 2.0, 1.5
    t = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-1.1, 1.1, 9, dtype=torch.float64, requires_grad=True)
    z = torch.sqrt((a * t) ** 2 - (a * x / c) ** 2)
    density = torch.exp(-a * t) * (torch.special.i0(z) + a * t * torch.special.i1(z) / z)
    log_x = torch.autograd.grad(density.log().sum(), x, retain_graph=True)[0]
    process = KacProcess(a, c)
    log_t = torch.stack([torch.autograd.grad(v, t, retain_graph=True)[0] for v in density.log()])
    along = log_t + process.velocity(x, t) * log_x
    torch.testing.assert_close(along, -process.divergence(x, t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["velocity", "divergence"])
def test_shapes_that_do_not_align(method):
    path = KacPath(KacProcess(torch.ones(5, dtype=torch.float64), 3.0))
    x_t, t, x_0 = images()
    with pytest.raises(ValueError, match=r"a: shape \(5,\) does not broadcast against the leading"):
        getattr(path, method)(x_t, t, x_0)
    path = KacPath(KacProcess(1.0, torch.ones(4, 2)))
    with pytest.raises(ValueError, match=r"c: shape \(4, 2\) does not broadcast"):
        getattr(path, method)(x_t[:, 0, 0, 0], t, x_0[:, 0, 0, 0])


def test_nothing_reads_a_device():
    """Meta tensors have no numbers: whoever asks for one fails, as it would wait for a GPU."""
    with torch.device("meta"):
        a, c = torch.ones(1, 3), torch.ones(())
        x, t = torch.ones(4, 3, requires_grad=True), torch.ones(4, requires_grad=True)
    rate, speed = (v.requires_grad_() for v in (a, c))
    for process in (KacProcess(9.0, 3.0), KacProcess(rate, speed)):
        for clock in ("linear", "square"):
            path = KacPath(process, clock=clock, signal="lambda")
            for times in (0.5, t):
                pair = path.sample(x, times)
                fields = path.velocity(pair.x_t, times, x), path.divergence(pair.x_t, times, x)
                total = pair.x_t.sum() + pair.dx_t.sum() + sum(f.sum() for f in fields)
                total.backward()
            assert path.sample_prior((4, 3), x_0=x, device="meta").device.type == "meta"
        draw = process.sample(t, (4, 3))
        assert draw.device.type == "meta"
        (draw.sum() + process.velocity(draw, t[:, None]).sum()).backward()
        assert process.divergence(draw, 0.5).shape == (4,)
        one = t[:, None]
        assert process.variance(one).device == process.atom_mass(one).device == x.device
        assert generate(lambda x, t: x * t[:, None], x, path, steps=2).device == x.device
    assert rate.grad.shape == (1, 3) and speed.grad.shape == ()
    drawn = KacProcess(rate, 3.0).sample(0.5, (4, 3))  # where the rate is
    assert drawn.device.type == "meta" and drawn.requires_grad


def test_values_are_checked_where_they_can_be_read():
    with pytest.raises(ValueError, match="a: got"):
        KacProcess(torch.tensor([1.0, -1.0]), 1.0)
    KacProcess(torch.full((2,), -1.0, device="meta"), 1.0)

    def draw(a):
        return KacProcess(a, 1.0).sample(0.5, (3,), generator=torch.Generator().manual_seed(0))

    with pytest.raises(ValueError, match="a: got -1"):  # under a transform, by the kernels
        torch.func.vmap(draw, randomness="same")(torch.tensor([1.0, -1.0]))

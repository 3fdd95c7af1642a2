"""torch.func, torch.vmap, forward mode and export over the operators."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from kacflow import KacPath, KacProcess, ops

DOUBLE = torch.float64
SEED = torch.tensor(5)
ELEMENTWISE = {
    "velocity": ops.velocity,
    "velocity_grad": ops.velocity_grad,
    "_velocity_hessian": torch.ops.kacflow._velocity_hessian,
    "_draw_velocity": torch.ops.kacflow._draw_velocity,
    "_draw_acceleration": torch.ops.kacflow._draw_acceleration,
}


def numbers(*shape, low=0.5, high=1.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, dtype=DOUBLE, generator=generator)


def by_loop(function, in_dims, args):
    """What vmap means."""
    size = next(v.shape[d] for v, d in zip(args, in_dims, strict=True) if d is not None)
    results = [
        function(*(v if d is None else v.select(d, i) for v, d in zip(args, in_dims, strict=True)))
        for i in range(size)
    ]
    if isinstance(results[0], torch.Tensor):
        return torch.stack(results)
    return tuple(torch.stack(values) for values in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("shapes", "in_dims"),
    [
        (((4, 2, 3), (), (), ()), (0, None, None, None)),
        (((2, 4, 3), (2, 1), (3, 4), (4,)), (1, None, 1, 0)),
        (((2, 3), (4,), (4, 3), ()), (None, 0, 0, None)),
        (((3,), (3,), (4, 2, 3), (1,)), (None, None, 0, None)),
        (((4,), (4,), (2, 1), ()), (0, 0, None, None)),
    ],
)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_vmap_of_elementwise_operators(name, shapes, in_dims):
    args = [numbers(*shape, seed=i) for i, shape in enumerate(shapes)]
    function = ELEMENTWISE[name]
    got = vmap(function, in_dims=in_dims)(*args)
    torch.testing.assert_close(got, by_loop(function, in_dims, args), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("seeds", [None, 0])
@pytest.mark.parametrize("in_dims", [(0, None, None), (1, 0, None), (None, None, 0)])
def test_vmap_of_draws_is_the_loop(in_dims, seeds):
    """Entries have noise of their own if and only if their seeds differ."""
    args = [numbers(*((4, 4) if d is not None else (4,)), seed=i) for i, d in enumerate(in_dims)]
    seed = torch.arange(4) if seeds == 0 else SEED
    x_0 = numbers(4, 3, seed=9)

    def sample(t, a, c, seed):
        return ops.sample(t, a, c, seed, 2, (4, 3), DOUBLE)

    def pair(t, a, c, seed):
        return ops.sample_pair(x_0, a, c, t, -t, t, t, seed, 2)

    for function in (sample, pair):
        got = vmap(function, in_dims=(*in_dims, seeds))(*args, seed)
        wanted = by_loop(function, (*in_dims, seeds), [*args, seed])
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_a_batch_without_entries_is_refused():
    with pytest.raises(ValueError, match="a batch without entries"):
        vmap(lambda seed: ops.sample(*POINT, seed, 0, (4,), DOUBLE))(torch.arange(0))


def test_randomness_follows_torch():
    process = KacProcess(2.0, 1.0)
    times = torch.full((3,), 0.7)

    def draw(t):
        return process.sample(t, (5,), dtype=DOUBLE)

    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(draw)(times)
    same = vmap(draw, randomness="same")(times)
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])
    different = vmap(draw, randomness="different")(times)
    assert len(torch.unique(different, dim=0)) == 3


def test_nested_vmap():
    x, a = numbers(3, 4), numbers(2, seed=1)
    t, c = numbers(), numbers(seed=2)
    got = vmap(vmap(lambda x, a: ops.velocity(x, t, a, c), (1, None)), (None, 0))(x, a)
    wanted = torch.stack([ops.velocity(x.T, t, rate, c) for rate in a])
    torch.testing.assert_close(got, wanted)

    def draw(a, seed):
        return ops.sample(t, a, c, seed, 0, (4,), DOUBLE)

    got = vmap(vmap(draw, (None, 0)), (0, None))(a, torch.arange(3))
    wanted = torch.stack(
        [torch.stack([draw(rate, torch.tensor(s)) for s in range(3)]) for rate in a]
    )
    assert torch.equal(got, wanted)


def functions():
    """Functions of (t, a, c) to a vector, each over one operator."""
    x = numbers(5, low=-0.4, high=0.4)
    x_0, seed = numbers(5, seed=4), torch.tensor(11)

    def pair(output):
        return lambda t, a, c: ops.sample_pair(x_0, a, c, t, -t, t, c, seed, 0)[output]

    return {
        "velocity": lambda t, a, c: ops.velocity(x, t, a, c),
        "slope": lambda t, a, c: ops.velocity_grad(x, t, a, c)[1],
        "sample": lambda t, a, c: ops.sample(t, a, c, seed, 0, (5,), DOUBLE),
        "x_t": pair(0),
        "dx_t": pair(1),
    }


POINT = tuple(torch.tensor(v, dtype=DOUBLE) for v in (0.6, 2.0, 1.3))
TANGENT = tuple(torch.tensor(v, dtype=DOUBLE) for v in (0.3, -0.5, 0.7))


@pytest.mark.parametrize("name", functions())
def test_forward_and_reverse_agree(name):
    function = functions()[name]
    every = (0, 1, 2)
    reverse = jacrev(function, every)(*POINT)
    forward = jacfwd(function, every)(*POINT)
    torch.testing.assert_close(forward, reverse, rtol=1e-12, atol=1e-12)
    assert all(column.abs().sum() > 0 for column in reverse)
    value, along = jvp(function, POINT, TANGENT)
    wanted = sum(column * v for column, v in zip(reverse, TANGENT, strict=True))
    torch.testing.assert_close(along, wanted, rtol=1e-12, atol=1e-12)
    weights = numbers(5, seed=8)
    _, pull = vjp(function, *POINT)
    for got, column in zip(pull(weights), reverse, strict=True):
        torch.testing.assert_close(got, (weights * column).sum(), rtol=1e-12, atol=1e-12)
    with forward_ad.dual_level():
        dual = function(*map(forward_ad.make_dual, POINT, TANGENT))
        primal, tangent = forward_ad.unpack_dual(dual)
        torch.testing.assert_close(primal, value, rtol=0, atol=0)
        torch.testing.assert_close(tangent, along, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["velocity", "sample", "x_t"])
def test_hessians(name):
    """Forward over reverse, reverse over reverse and plain double backward agree."""
    function = functions()[name]
    every = (0, 1, 2)

    weights = numbers(5, seed=8)

    def total(*point):
        return (weights * function(*point).square()).sum()

    second = hessian(total, every)(*POINT)
    torch.testing.assert_close(jacrev(jacrev(total, every), every)(*POINT), second)
    leaves = [v.clone().requires_grad_() for v in POINT]
    first = torch.autograd.grad(total(*leaves), leaves, create_graph=True)
    for got, row in zip(first, second, strict=True):
        plain = torch.autograd.grad(got, leaves, retain_graph=True)
        torch.testing.assert_close(plain, row)


def test_gradient_per_sample():
    x, t = numbers(6, 3), numbers(6, seed=1)

    def loss(log_a, x, t):
        return KacProcess(log_a.exp(), 2.0).velocity(x, t).square().sum()

    log_a = torch.tensor(0.4, dtype=DOUBLE)
    got = vmap(grad(loss), in_dims=(None, 0, 0))(log_a, x, t)
    wanted = torch.stack([grad(loss)(log_a, *row) for row in zip(x, t, strict=True)])
    torch.testing.assert_close(got, wanted)


def test_paths_under_transforms():
    """The way past the dispatcher is not taken where it would drop a transform."""
    path = KacPath(KacProcess(9.0, 3.0))
    x_0, t = numbers(4, 3), numbers(4, low=0.1, high=0.9, seed=1)

    def noised(x_0):
        return path.sample(x_0, t, generator=torch.Generator().manual_seed(0)).x_t

    _, tangent = jvp(noised, (x_0,), (torch.ones_like(x_0),))
    torch.testing.assert_close(tangent, (1 - t)[:, None].expand(4, 3))
    with forward_ad.dual_level():
        dual = noised(forward_ad.make_dual(x_0, torch.ones_like(x_0)))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, tangent)
    batch = vmap(lambda x_0, t: path.sample(x_0, t).x_t, randomness="different")(x_0, t)
    assert batch.shape == (4, 3) and torch.isfinite(batch).all()


@pytest.mark.parametrize("transform", [grad, hessian])
def test_transforms_compile(transform):
    """A forward mode that a compiled graph does not show must not come out as zero."""
    x, t = numbers(2, 3), numbers(2, 1, seed=1)

    def loss(log_a):
        return KacProcess(log_a.exp(), 2.0).velocity(x, t).square().sum()

    log_a = torch.tensor(0.4, dtype=DOUBLE)
    wanted = transform(loss)(log_a)
    got = torch.compile(transform(loss), fullgraph=True, backend="aot_eager")(log_a)
    torch.testing.assert_close(got, wanted)
    assert wanted.abs() > 1e-3


class Model(torch.nn.Module):
    """A process with parameters, to export."""

    def __init__(self):
        super().__init__()
        self.log_a = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x, t):
        process = KacProcess(self.log_a.exp(), 3.0)
        pair = KacPath(process).sample(x, t)
        return pair.x_t, process.velocity(pair.x_t, t[:, None])


def test_export():
    model, x, t = Model(), torch.randn(5, 3), torch.rand(5)
    exported = torch.export.export(model, (x, t)).module()
    for size in (0, 1):  # twice: a seed is drawn in every call
        torch.manual_seed(size)
        wanted = model(x, t)
        torch.manual_seed(size)
        torch.testing.assert_close(exported(x, t), wanted)

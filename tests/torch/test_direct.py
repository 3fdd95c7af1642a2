"""The short way of eager pairs: the same numbers as the operator, and only where it may be."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch

import kacflow_core
from kacflow import KacPath, KacProcess, _bridge

pytestmark = pytest.mark.skipif(
    kacflow_core.available_backends()[0] != "native", reason="the short way needs the compiled core"
)

SHAPES = [(1,), (5, 1), (256, 2), (3, 2, 5), (70, 130), (2, 3, 64, 64), (1500, 4)]


def path(signal: str = "linear", T: float = 1.0) -> KacPath:
    return KacPath(KacProcess(9.0, 3.0), T=T, signal=signal)


def operator(made: KacPath, x_0: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The pair through torch's dispatcher, with the seed that the path would draw."""
    f, df = made.signal.value(t), made.signal.derivative(t)
    rest = [torch.as_tensor(v, dtype=t.dtype) for v in (f, df, t, 1.0)]
    a, c = (torch.tensor(v, dtype=t.dtype) for v in (9.0, 3.0))
    return torch.ops.kacflow.sample_pair(x_0, a, c, *rest, _bridge.draw_seed(None), 0)


@pytest.fixture
def general(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with every pair that takes the general way through arrays."""
    taken: list[object] = []
    original = _bridge.pair_of_arrays

    def spy(*args, **kwargs):
        taken.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(_bridge, "pair_of_arrays", spy)
    return taken


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("signal", ["linear", "constant"])
def test_same_numbers_as_the_operator(shape, dtype, signal, general) -> None:
    torch.manual_seed(1)
    x_0, t = torch.randn(shape, dtype=dtype), torch.rand(shape[0], dtype=dtype)
    made = path(signal)
    torch.manual_seed(2)
    drawn = made.sample(x_0, t)
    after = torch.get_rng_state()
    assert not general
    torch.manual_seed(2)
    x_t, dx_t = operator(made, x_0, t)
    assert torch.equal(torch.get_rng_state(), after)
    assert torch.equal(drawn.x_t, x_t) and torch.equal(drawn.dx_t, dx_t)
    assert drawn.x_0 is x_0 and drawn.t is t


def test_horizons_other_than_one(general) -> None:
    """1 - t/T is rounded once here and in torch in two steps: within an ulp of the signal."""
    x_0, t = torch.randn(64, 32), 0.7 * torch.rand(64)
    made = path(T=0.7)
    torch.manual_seed(3)
    drawn = made.sample(x_0, t)
    assert not general
    torch.manual_seed(3)
    x_t, dx_t = operator(made, x_0, t)
    torch.testing.assert_close(drawn.x_t, x_t, rtol=0.0, atol=1e-6)
    assert torch.equal(drawn.dx_t, dx_t)


def test_the_generator_is_used() -> None:
    x_0, t = torch.randn(8, 3), torch.rand(8)
    first, second = (
        path().sample(x_0, t, generator=torch.Generator().manual_seed(5)).x_t for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, path().sample(x_0, t).x_t)


def short_batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 4), torch.rand(6)


GENERAL: dict[str, Callable[[], object]] = {
    "one time for all": lambda: path().sample(short_batch()[0], 0.5),
    "an offset": lambda: path().sample(*short_batch(), offset=3),
    "another signal": lambda: path("cosine").sample(*short_batch()),
    "the square clock": lambda: KacPath(KacProcess(9.0, 3.0), clock="square").sample(
        *short_batch()
    ),
    "16-bit data": lambda: path().sample(short_batch()[0].bfloat16(), short_batch()[1]),
    "two types": lambda: path().sample(short_batch()[0].double(), short_batch()[1]),
    "strides": lambda: path().sample(torch.randn(4, 6).T, short_batch()[1]),
    "strided times": lambda: path().sample(short_batch()[0], torch.rand(12)[::2]),
    "no samples": lambda: path().sample(torch.empty(0, 4), torch.empty(0)),
    "a subclass": lambda: path().sample(
        torch.nn.Parameter(short_batch()[0], requires_grad=False), short_batch()[1]
    ),
}


@pytest.mark.parametrize("name", GENERAL)
def test_the_general_way_is_taken_for(name: str, general) -> None:
    GENERAL[name]()
    assert len(general) == 1


def test_gradients_take_the_operator() -> None:
    x_0, t = short_batch()
    x_0.requires_grad_()
    drawn = path().sample(x_0, t)
    drawn.x_t.sum().backward()
    assert x_0.grad is not None
    torch.testing.assert_close(x_0.grad, (1.0 - t)[:, None].expand(6, 4))


def test_transforms_and_modes_do_not_see_addresses() -> None:
    x_0, t = short_batch()
    x_t = torch.func.vmap(lambda x: path().sample(x, t).x_t, randomness="different")(
        x_0.expand(3, 6, 4)
    )
    assert x_t.shape == (3, 6, 4)
    made = path()
    with torch._subclasses.FakeTensorMode() as mode:
        fake = mode.from_tensor(x_0), mode.from_tensor(t)
        assert made._direct_pair()(*fake, None, 0) is None
        assert made._direct_pair()(x_0, t, None, 0) is None  # the mode would see no operation
    with torch.autograd.forward_ad.dual_level():
        assert made._direct_pair()(x_0, t, None, 0) is None
    assert made._direct_pair()(x_0, t, None, 0) is not None


def test_compiled_steps_go_through_the_operator(general) -> None:
    made, (x_0, t) = path(), short_batch()
    compiled = torch.compile(
        lambda x, at: made.sample(x, at).x_t, fullgraph=True, backend="aot_eager"
    )
    assert compiled(x_0, t).shape == x_0.shape
    assert made.sample(x_0, t).x_t.shape == x_0.shape


@pytest.mark.parametrize("bad", [float("nan"), -1e-3, 1.01, float("inf")])
def test_times_outside_are_refused_as_ever(bad: float) -> None:
    x_0, t = short_batch()
    t[4] = bad
    with pytest.raises(ValueError, match="t: got"):
        path().sample(x_0, t)
    with pytest.raises(ValueError, match="t: got shape"):
        path().sample(x_0, torch.rand(5))


def test_times_may_exceed_the_horizon_by_their_rounding() -> None:
    x_0, t = short_batch()
    t[0] = 1.0 + 2.0**-23
    assert bool(path().sample(x_0, t).x_t.isfinite().all())


def test_paths_are_copied_and_pickled_without_it() -> None:
    made, (x_0, t) = path(), short_batch()
    made.sample(x_0, t)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        torch.manual_seed(7)
        expected = made.sample(x_0, t).x_t
        torch.manual_seed(7)
        assert torch.equal(other.sample(x_0, t).x_t, expected)


def test_replaced_attributes_count() -> None:
    made, (x_0, t) = path(), short_batch()
    made.sample(x_0, t)
    for name in ("signal", "process", "clock", "T"):
        other = KacPath(KacProcess(4.0, 1.0), T=2.0, signal="constant", clock="square")
        changed = copy.copy(made)
        changed.sample(x_0, t)
        setattr(changed, name, getattr(other, name))
        fresh = copy.copy(made)
        setattr(fresh, name, getattr(other, name))
        torch.manual_seed(8)
        expected = fresh.sample(x_0, t)
        torch.manual_seed(8)
        got = changed.sample(x_0, t)
        assert torch.equal(got.x_t, expected.x_t) and torch.equal(got.dx_t, expected.dx_t)
    made.process.a.fill_(1.0)
    torch.manual_seed(9)
    changed_rate = made.sample(x_0, t).x_t
    torch.manual_seed(9)
    assert torch.equal(changed_rate, KacPath(KacProcess(1.0, 3.0)).sample(x_0, t).x_t)
    made.process.a.fill_(-1.0)
    with pytest.raises(ValueError, match="a: got"):
        made.sample(x_0, t)

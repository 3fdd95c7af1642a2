"""One pair, whatever way it goes: eager, with gradients, compiled, exported, traced, in parts.

The same seed gives the same bits.
"""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch import Tensor

import kacflow_core
from kacflow import GaussianPath, KacPath, KacProcess, ops, schedules
from kacflow.ops import _kernels

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SIGNALS, CLOCKS = list(schedules.SIGNALS), list(schedules.CLOCKS)
T = 0.7
SHAPE = (129, 3)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x_0 = torch.randn(SHAPE, generator=generator, dtype=torch.float64).to(dtype)
    times = T * torch.rand(SHAPE[0], generator=generator, dtype=torch.float64)
    times[:3] = torch.tensor([0.0, T / 2, T])
    return x_0, times.to(torch.float64 if dtype == torch.float64 else torch.float32)


def same(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    for value, wanted in zip(got, want, strict=True):
        assert value.dtype == wanted.dtype
        assert torch.equal(value.detach(), wanted.detach())


class Own:
    """A user's schedule, with the formula of a named one."""

    def __init__(self, kind: type[schedules.Named]) -> None:
        self.value, self.derivative = kind(T).value, kind(T).derivative


def made(signal: str, clock: str, own: str) -> tuple[str | Own, str | Own]:
    """Both by name but those that ``own`` mentions."""
    f, g = schedules.SIGNALS[signal], schedules.CLOCKS[clock]
    return Own(f) if "signal" in own else signal, Own(g) if "clock" in own else clock


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("own", ["", "signal", "clock", "signal and clock"])
@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_eager_gradients_operator_and_parts(signal: str, clock: str, own: str, dtype: torch.dtype):
    f, g = made(signal, clock, own)
    path = KacPath(KacProcess(9.0, 3.0), T, f, g)
    x_0, t = batch(dtype)
    want = path.sample(x_0, t, generator=seeded())[2:]
    same(path.sample(x_0, t, generator=seeded())[2:], want)  # the second time
    strided = torch.stack([x_0, x_0], -1)[..., 0], torch.stack([t, t], -1)[:, 0]
    same(path.sample(*strided, generator=seeded())[2:], want)
    for grad in (x_0.clone().requires_grad_(), x_0):
        time = t if grad is not x_0 else t.clone().requires_grad_()
        same(path.sample(grad, time, generator=seeded())[2:], want)
    tensors = KacProcess(torch.tensor(9.0), torch.tensor([[3.0, 3.0, 3.0]]))
    same(KacPath(tensors, T, f, g).sample(x_0, t, generator=seeded())[2:], want)
    learned = KacProcess(torch.tensor(9.0, requires_grad=True), 3.0)
    same(KacPath(learned, T, f, g).sample(x_0, t, generator=seeded())[2:], want)
    parts = [
        path.sample(x_0[rows], t[rows], first=rows.start, generator=seeded())[2:]
        for rows in (slice(0, 50), slice(50, SHAPE[0]))
    ]
    same(tuple(torch.cat(pieces) for pieces in zip(*parts, strict=True)), want)
    number = path.sample(x_0, float(t[1]), generator=seeded())[2:]
    one = path.sample(x_0, t[1].expand(SHAPE[0]).contiguous(), generator=seeded())[2:]
    same(number, one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("signal", "clock", "own"),
    [
        ("cosine", "square", ""), ("lambda", "linear", ""),
        ("lambda", "square", "clock"), ("linear", "square", "signal"),
    ],
)  # fmt: skip
def test_compiled_and_exported(signal: str, clock: str, own: str, dtype: torch.dtype):
    torch.compiler.reset()
    path = KacPath(KacProcess(9.0, 3.0), T, *made(signal, clock, own))
    x_0, t = batch(dtype)

    def pair(x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        return path.sample(x, at)[2:]  # type: ignore[return-value]

    torch.manual_seed(3)
    want = pair(x_0, t)
    compiled = torch.compile(pair, fullgraph=True, backend="aot_eager")
    torch.manual_seed(3)
    same(compiled(x_0, t), want)

    class Module(torch.nn.Module):
        def forward(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
            return pair(x, at)

    exported = torch.export.export(Module(), (x_0, t)).module()
    torch.manual_seed(3)
    same(exported(x_0, t), want)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
@pytest.mark.parametrize("signal", ["linear", "cosine"])
def test_traced_graphs_hold_the_operator(signal: str):
    path = KacPath(KacProcess(9.0, 3.0), signal=signal)
    x_0, t = torch.zeros(6, 4), torch.rand(6)
    traced = torch.jit.trace(
        lambda x, at: tuple(path.sample(x, at))[2:], (x_0, t), check_trace=False
    )
    assert "kacflow::sample_pair" in {node.kind() for node in traced.graph.nodes()}
    torch.manual_seed(0)
    zero = traced(x_0, t)[0]
    torch.manual_seed(0)
    moved = traced(x_0 + 100, t)[0]
    assert bool((zero.abs() <= 3).all()) and not torch.equal(zero, moved)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "draw",
    [
        lambda x, t: KacProcess(9.0, 3.0).sample(0.5, x.shape),
        lambda x, t: KacProcess(9.0, 3.0).sample(t[:, None].expand(x.shape), x.shape),
        lambda x, t: GaussianPath().sample(x, t).x_t,
        lambda x, t: GaussianPath().sample_prior(x.shape),
        lambda x, t: KacPath(KacProcess(9.0, 3.0)).sample_prior(x.shape),
    ],
)
def test_traces_of_other_draws_hold_the_operator(draw):
    arguments = torch.zeros(6, 4), torch.rand(6)
    traced = torch.jit.trace(draw, arguments, check_trace=False)
    assert "kacflow::sample_pair" in {node.kind() for node in traced.graph.nodes()}
    first, second = traced(*arguments), traced(*arguments)
    assert first.shape == (6, 4) and not torch.equal(first, second)
    for shape in ((1, 4), (3, 5)):  # that of the data, not that of the trace
        assert traced(torch.zeros(shape), torch.rand(shape[0])).shape == shape


def test_one_number_of_the_generator_whatever_happens():
    """Also where a process is beyond what most are: parts are then parts of the whole."""
    for a, c in ((9.0, 3.0), (1e13, 3e6), (1e-31, 1.0), (2.0, 1e13)):
        path = KacPath(KacProcess(a, c))
        x_0, t = torch.zeros(6, 4), torch.linspace(0.1, 1.0, 6)
        generator = seeded()
        whole = path.sample(x_0, t, generator=generator).x_t
        after = seeded()
        torch.randint(2**63 - 1, (), generator=after)
        assert torch.equal(generator.get_state(), after.get_state())
        parts = [
            path.sample(x_0[rows], t[rows], first=rows.start, generator=seeded()).x_t
            for rows in (slice(0, 2), slice(2, 6))
        ]
        assert torch.equal(torch.cat(parts), whole)


# --- tensors that torch keeps otherwise -----------------------------------------------------------
def test_tensors_with_a_lazy_sign():
    path = KacPath(KacProcess(9.0, 3.0))
    z = torch.full((5, 3), 1 + 2j)
    t = torch.full((5,), 0.3)
    for x_0, at in (
        (z.conj().imag, t),
        (z.conj().imag[:1, :1], t[:1]),
        (torch._neg_view(torch.full((5, 3), 2.0)), t),
        (torch.zeros(5, 3), torch._neg_view(-t)),
    ):
        want = path.sample(x_0.clone(), at.clone(), generator=seeded())[2:]
        same(path.sample(x_0, at, generator=seeded())[2:], want)
        same((path.process.velocity(x_0, 0.5),), (path.process.velocity(x_0.clone(), 0.5),))


def test_tensors_without_memory():
    path = KacPath(KacProcess(9.0, 3.0))
    t = torch.linspace(0.1, 0.9, 4)
    want = path.sample(torch.zeros(4, 3), t, generator=seeded())[2:]
    same(path.sample(torch._efficientzerotensor((4, 3)), t, generator=seeded())[2:], want)
    leaked: list[Tensor] = []
    torch.func.functionalize(lambda x: leaked.append(x) or x)(torch.zeros(4, 3))
    for wrapped in (leaked[0], torch._to_functional_tensor(torch.zeros(4, 3))):
        try:
            drawn = path.sample(wrapped, t, generator=seeded())[2:]
        except (RuntimeError, ValueError, TypeError):
            continue
        values = tuple(
            torch._from_functional_tensor(v) if torch._is_functional_tensor(v) else v for v in drawn
        )
        same(values, want)


def test_one_argument_elsewhere_is_an_error():
    x, half, one = torch.ones(3), torch.tensor(0.5, device="meta"), torch.tensor(1.0)
    seed = torch.tensor(5)
    for call in (
        lambda: ops.velocity(x, half, one, one),
        lambda: ops.cdf(x, one, half, one),
        lambda: ops.sample(one, one, one, seed.to("meta"), 0, (3,), torch.float32),
        lambda: ops.sample_pair(x, one, one, one, one, half, one, seed, 0),
    ):
        with pytest.raises((ValueError, RuntimeError), match=r"meta|device"):
            call()


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.complex64, torch.bool])
def test_draws_of_other_types(dtype: torch.dtype):
    one, seed = torch.tensor(1.0), torch.tensor(5)
    with pytest.raises(TypeError, match="dtype: got"):
        ops.sample(one, one, one, seed, 0, (3,), dtype)
    with pytest.raises(ValueError, match="seed: got"):
        ops.sample(one, one, one, torch.tensor(1.7), 0, (3,), torch.float32)


# --- one process, whatever is done to it ----------------------------------------------------------
def reach(path: KacPath) -> list[float]:
    """The largest draw in units of c t, by three ways."""
    x_0, t = torch.zeros(2000, 1), torch.ones(2000)
    draws = path.process.sample(1.0, (2000,)), path.sample_prior((2000,)), path.sample(x_0, t).x_t
    return [draw.abs().max().item() for draw in draws]


def test_a_changed_speed_counts_everywhere():
    new = torch.tensor(30.0, dtype=torch.float64)

    def filled(path: KacPath) -> None:
        path.process.c.fill_(30.0)

    def replaced(path: KacPath) -> None:
        path.process.c.data = new

    for copied in (lambda p: p, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))):
        for change in (filled, replaced):
            path = KacPath(KacProcess(9.0, 3.0))
            assert max(reach(path)) <= 3.0001  # draws before the change, which keeps its job
            path = copied(path)
            change(path)
            assert all(15 < value <= 30.001 for value in reach(path)), (copied, change)
    process = KacProcess(9.0, 3.0)
    copy.copy(process).c.fill_(30.0)  # whose tensors are those of the first
    assert all(15 < value <= 30.001 for value in reach(KacPath(process)))
    path = KacPath(KacProcess(9.0, 3.0))
    path.sample(torch.zeros(2, 2), torch.ones(2))
    path.process.a.fill_(-1.0)
    with pytest.raises(ValueError, match="a: got -1"):
        path.sample(torch.zeros(2, 2), torch.ones(2))


def test_attributes_cannot_be_replaced():
    path = KacPath(KacProcess(9.0, 3.0))
    for owner, name in (
        *((path, name) for name in ("T", "signal", "clock", "process", "noise")),
        *((path.process, name) for name in ("a", "c")),
    ):
        with pytest.raises(AttributeError):
            setattr(owner, name, getattr(owner, name))


def test_tensors_that_move_to_shared_memory():
    """As on the way to a spawned worker: the address from before is somebody else's then."""
    for share in (ForkingPickler.dumps, lambda p: (p.process.a.share_memory_(), None)):
        for _ in range(20):
            path = KacPath(KacProcess(9.0, 3.0))
            path.sample(torch.zeros(1000, 1), torch.ones(1000))
            share(path)
            _others = [torch.full((1,), 50.0 + i, dtype=torch.float64) for i in range(200)]
            assert all(value <= 3.0001 for value in reach(path))


# --- the kernels see what they should -------------------------------------------------------------
def test_numba_draws_the_same(monkeypatch: pytest.MonkeyPatch):
    """Without the compiled core: schedules in NumPy, arrays instead of addresses."""
    if "numba" not in kacflow_core.available_backends():
        pytest.skip("numba cannot be used here")
    from kacflow_core import _dispatch

    x_0, t = batch(torch.float32)
    for signal, own in itertools.product(SIGNALS, ("", "signal", "clock")):
        path = KacPath(KacProcess(9.0, 3.0), T, *made(signal, "square", own))
        want = path.sample(x_0, t, generator=seeded())[2:]
        with monkeypatch.context() as patch:
            patch.setattr(_dispatch, "_default", _dispatch.get_backend("numba"))
            got = path.sample(x_0, t, generator=seeded())[2:]
        for value, wanted in zip(got, want, strict=True):
            torch.testing.assert_close(value, wanted, rtol=2e-6, atol=2e-6)


def test_kept_jobs_do_not_outlive_their_shapes():
    """Shapes, strides and types that follow one another."""
    path = KacPath(KacProcess(9.0, 3.0))
    for shape in ((4, 2), (2, 4), (8,), (4, 2), (1, 8), (4, 2, 1), (4, 2)):
        for dtype in (torch.float32, torch.float64):
            x_0 = torch.zeros(shape, dtype=dtype)
            t = torch.linspace(0.1, 0.9, shape[0], dtype=dtype)
            got = path.sample(x_0, t, generator=seeded()).x_t
            _kernels._READY.clear()
            assert torch.equal(got, path.sample(x_0, t, generator=seeded()).x_t)


def test_what_one_type_of_times_may_exceed_another_may_not():
    """A kept job forgets no check: times of 16 bits may lie beyond T by their rounding."""
    path, x_0 = KacPath(KacProcess(9.0, 3.0), T=0.999), torch.zeros(2, 3)
    beyond = torch.tensor([0.5, 1.0])
    for _ in range(3):
        path.sample(x_0, beyond.to(torch.bfloat16))
        with pytest.raises(ValueError, match=r"t: got values from 0\.5 to 1; allowed: 0"):
            path.sample(x_0, beyond)


@pytest.mark.parametrize("own", ["signal", "clock", "signal and clock"])
def test_own_schedules_are_not_asked_about_times_beyond(own: str):
    path, x_0 = KacPath(KacProcess(9.0, 3.0), T, *made("cosine", "square", own)), torch.zeros(2, 3)
    for _ in range(2):
        path.sample(x_0, torch.tensor([0.1, T]))
        for bad in (torch.tensor([0.1, 1.01 * T]), torch.tensor([-1e-3, 0.1]), -0.1, 1.01 * T):
            with pytest.raises(ValueError, match=r"t: got values from .* 0 <= t <= T = 0\.7"):
                path.sample(x_0, bad)
        with pytest.raises(ValueError, match=r"t: got shape \(3,\)"):
            path.sample(x_0, torch.full((3,), 0.1))


@pytest.mark.parametrize(("signal", "clock"), [("lambda", "square"), ("cosine", "linear")])
@pytest.mark.parametrize("own", ["signal", "clock"])
def test_derivatives_where_one_schedule_is_named(signal: str, clock: str, own: str):
    """Those of the same formulas in torch, or both named."""
    x_0, t = batch(torch.float64)
    gradients = []
    for which in (own, "signal and clock", ""):
        rate = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
        path = KacPath(KacProcess(rate, 3.0), T, *made(signal, clock, which))
        data, at = x_0.clone().requires_grad_(), t.clamp(0.05, T - 0.05).requires_grad_()
        drawn = path.sample(data, at, generator=seeded())
        (drawn.x_t.square().sum() + drawn.dx_t.sum()).backward()
        gradients.append((data.grad, at.grad, rate.grad))
    for got, *others in zip(*gradients, strict=True):
        for want in others:
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_what_was_allowed_before_does_not_hide_what_is_not():
    process = KacProcess(torch.full((4,), 9.0), torch.full((4,), 3.0))
    path, t = KacPath(process), torch.tensor([0.0, 0.2, 0.6, 1.0])
    x_0, x = torch.zeros(4, 2), torch.zeros(4)
    calls = (
        lambda: path.sample(x_0, t),
        lambda: process.sample(t, (4, 2)),
        lambda: process.velocity(x, t),
        lambda: process.transport(x, t, t),
    )
    for tensor, bad in ((t, -1e-3), (t, torch.nan), (process.a, 0.0), (process.c, torch.inf)):
        for call in calls:
            call()
            kept = tensor[2].item()
            tensor[2] = bad
            for _ in range(2):
                with pytest.raises(ValueError, match=f"got .*{bad:g}"):
                    call()
            tensor[2] = kept
            call()
    for rate, time in ((1e14, 1.0), (1.0, 1e14), (1e14, 1.0)):  # each is allowed, not all between
        process.a.fill_(rate)
        process.velocity(x, t.fill_(time))
    with pytest.raises(ValueError, match=r"a\*t: got up to 1e\+16"):
        process.velocity(x, t.fill_(100.0))


class Scripted:
    """A schedule that answers what it is told to, and counts the questions."""

    def __init__(self, start: float) -> None:
        self.answer: object = start
        self.slope: object = 1.0
        self.asked = 0

    def value(self, t: Tensor) -> object:
        self.asked += 1
        return self.answer if t.ndim else 1.0 * (self.answer == 1.0)

    def derivative(self, t: Tensor) -> object:
        return self.slope


def test_answers_are_looked_at_each_time():
    signal = Scripted(1.0)
    path = KacPath(KacProcess(9.0, 3.0), 1.0, signal, "linear")  # type: ignore[arg-type]
    x_0, t = torch.ones(4, 2), torch.rand(4)
    usual = 1.0 - t
    for answer, error, message in (
        (math.inf, ValueError, r"signal: value\(t\): got inf; allowed: numbers in the range"),
        (usual.reshape(2, 2), ValueError, r"signal: value\(t\): got shape \(2, 2\)"),
        (usual[:3], ValueError, r"signal: value\(t\): got shape \(3,\)"),
        (usual * torch.nan, ValueError, "signal: got nan; allowed: finite"),
        (None, TypeError, r"signal: value\(t\): got NoneType"),
        ("1", TypeError, r"signal: value\(t\): got str"),
        (usual.to_sparse(), TypeError, r"signal: value\(t\): got layout"),
    ):
        for good in (usual, 0.5, usual[0]):
            signal.answer = good
            path.sample(x_0, t)
        signal.answer = answer
        for _ in range(2):
            asked = signal.asked
            with pytest.raises(error, match=message):
                path.sample(x_0, t)
            assert signal.asked == asked + 1
    want: dict[str, Tensor] = {}
    for _ in range(3):  # of other types, which are converted first: kept jobs are not for them
        for name, answer in (
            ("float", usual), ("double", usual.double() + 1e-12), ("half", usual.half()),
            ("strided", torch.stack([usual, usual], 1)[:, 0]), ("integer", 1), ("number", 0.5),
            ("negative", torch.complex(usual, -usual).conj().imag),
        ):  # fmt: skip
            signal.answer = answer
            got = path.sample(x_0, t, generator=seeded()).x_t
            assert torch.equal(want.setdefault(name, got), got)
    assert all(torch.equal(want[name], want["float"]) for name in ("double", "strided", "negative"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_times_of_other_types_and_data_that_are_not_contiguous(dtype: torch.dtype):
    path = KacPath(KacProcess(9.0, 3.0), T)
    x_0, t = batch(dtype)
    want = path.sample(x_0, t, generator=seeded())
    for x in (x_0, x_0.t().contiguous().t()):
        for at in (t, t.double()) if t.dtype is torch.float32 else (t,):
            got = path.sample(x, at, generator=seeded())
            same(got[1:], want[1:])
            assert got.x_0 is x
    early = t.clamp(max=0.5)  # T itself may round to more
    for at in (early.half(), early.bfloat16()):
        want = path.sample(x_0, at.to(t.dtype), generator=seeded())
        for x in (x_0, x_0.t().contiguous().t()):
            same(path.sample(x, at, generator=seeded())[1:], want[1:])

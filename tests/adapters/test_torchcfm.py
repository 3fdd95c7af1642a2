"""The flow matcher against torchcfm itself: interface, conventions, training, generation."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch.nn.functional import mse_loss

torchcfm = pytest.importorskip("torchcfm", reason="make test installs torchcfm")

from kacflow import (  # noqa: E402
    BrownianProcess,
    KacProcess,
    Path,
    QuantileProcess,
    UniformProcess,
)
from kacflow.adapters.torchcfm import (  # noqa: E402
    KacConditionalFlowMatcher,
    NoiseConditionalFlowMatcher,
)


def matcher(run):
    return KacConditionalFlowMatcher(run.a, run.c, run.T, run.signal, run.clock)


@pytest.mark.parametrize(
    ("parent", "name"),
    [
        (torchcfm.ConditionalFlowMatcher, "sample_location_and_conditional_flow"),
        (torchcfm.ConditionalFlowMatcher, "compute_mu_t"),
        (torchcfm.ConditionalFlowMatcher, "compute_sigma_t"),
        (torchcfm.ConditionalFlowMatcher, "compute_conditional_flow"),
        (torchcfm.ConditionalFlowMatcher, "sample_noise_like"),
        (
            torchcfm.ExactOptimalTransportConditionalFlowMatcher,
            "guided_sample_location_and_conditional_flow",
        ),
    ],
)
def test_signatures_are_the_librarys(parent, name):
    assert issubclass(KacConditionalFlowMatcher, torchcfm.ConditionalFlowMatcher)
    ours, theirs = (
        [
            (p.name, p.default, p.kind)
            for p in inspect.signature(getattr(c, name)).parameters.values()
        ]
        for c in (KacConditionalFlowMatcher, parent)
    )
    assert ours == theirs


def test_what_comes_back_is_what_the_library_gives_back():
    x0, x1, y = torch.randn(8, 3), torch.randn(8, 3), torch.arange(8)
    kac = KacConditionalFlowMatcher(9.0, 3.0)
    for noise in (False, True):
        plain = torchcfm.ConditionalFlowMatcher(0.1)
        plan = torchcfm.ExactOptimalTransportConditionalFlowMatcher(0.1)
        pairs = [
            [
                m.sample_location_and_conditional_flow(x0, x1, return_noise=noise)
                for m in (kac, plain)
            ],
            [
                m.guided_sample_location_and_conditional_flow(
                    x0, x1, y0=y, y1=y, return_noise=noise
                )
                for m in (kac, plan)
            ],
        ]
        for ours, theirs in pairs:
            assert [(v.shape, v.dtype) for v in ours] == [(v.shape, v.dtype) for v in theirs]


def test_ends_and_direction():
    x1, x0 = torch.randn(1000, 4), torch.randn(1000, 4)
    kac = KacConditionalFlowMatcher(9.0, 3.0, T=2.0)
    _, data, ut = kac.sample_location_and_conditional_flow(x0, x1, torch.ones(1000))
    assert torch.equal(data, x1) and ut.isfinite().all()
    torch.manual_seed(0)
    _, noise, _ = kac.sample_location_and_conditional_flow(x0, x1, torch.zeros(1000))
    torch.manual_seed(0)
    assert torch.equal(noise, kac.sample_noise_like(x1))  # x0 does not matter
    torch.manual_seed(0)
    again = kac.sample_location_and_conditional_flow(torch.zeros_like(x0), x1, torch.zeros(1000))
    assert torch.equal(again[1], noise)
    # ut points along t: x1 - noise on average
    _, xt, ut = kac.sample_location_and_conditional_flow(x0, x1, torch.full((1000,), 0.9))
    assert ((x1 - xt) * ut).mean() > 0


def test_noise_mean_and_deviation(run):
    """xt = mu_t + sigma_t eps with eps of variance 1, as the library documents it."""
    kac = matcher(run)
    x1 = torch.randn(20_000, 3, dtype=torch.float64)
    for time in (0.0, 0.3, 0.97, 1.0):
        t = torch.full((len(x1),), time, dtype=torch.float64)
        _, xt, _, eps = kac.sample_location_and_conditional_flow(x1, x1, t, return_noise=True)
        built = kac.sample_xt(x1, x1, t, eps)
        torch.testing.assert_close(built, xt, rtol=0, atol=1e-12)
        wanted = 0.0 if time == 1.0 else 1.0
        assert eps.square().mean().item() == pytest.approx(wanted, rel=0.03)
        assert abs(eps.mean().item()) < 4 / math.sqrt(eps.numel())


def test_flow_at_given_points(run):
    kac = matcher(run)
    x1 = torch.randn(500, 3, dtype=torch.float64)
    t, xt, ut = kac.sample_location_and_conditional_flow(x1, x1)
    inside = (xt - kac.compute_mu_t(None, x1, t)).abs() < (
        0.999 * run.c * run.path.clock.value(run.T * (1 - t))[:, None]
    )
    again = kac.compute_conditional_flow(None, x1, t, xt)
    assert inside.any()
    torch.testing.assert_close(again[inside], ut[inside], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("guided", [False, True])
def test_training_is_that_of_kac_path(run, guided):
    """The loop of torchcfm's examples; its model(t, x) is -T times ours at s = T (1 - t)."""
    kac = matcher(run)

    def loss(model, x_0, s, sign=-1.0):
        x1, x0 = x_0, torch.full_like(x_0, math.nan)
        time = 1 - s / run.T
        if guided:
            label = torch.arange(len(x1))
            out = kac.guided_sample_location_and_conditional_flow(x0, x1, y1=label, t=time)
            assert out[3] is None and torch.equal(out[4], label)
            t, xt, ut = out[:3]
        else:
            t, xt, ut = kac.sample_location_and_conditional_flow(x0, x1, t=time)
        vt = sign * run.T * model(xt, run.T * (1 - t))
        return mse_loss(vt, ut) / run.T**2

    wanted = run.reference()
    torch.testing.assert_close(run.losses(loss), wanted, rtol=1e-10, atol=0)
    wrong = run.losses(lambda model, x_0, s: loss(model, x_0, s, sign=1.0))
    assert not torch.allclose(wrong, wanted, rtol=1e-3)


def test_generation_by_torchdiffeq():
    """From Kac noise at t = 0 along the flow of a single point to that point at t = 1."""
    odeint = pytest.importorskip("torchdiffeq").odeint
    kac = KacConditionalFlowMatcher(9.0, 3.0, T=1.5)
    point = torch.tensor([[0.7, -0.4]]).expand(64, 2)
    torch.manual_seed(0)
    start = kac.sample_noise_like(point)
    end = odeint(
        lambda t, x: kac.compute_conditional_flow(None, point, t, x),
        start, torch.linspace(0, 1, 401), method="euler",
    )[-1]  # fmt: skip
    assert (end - point).abs().max() < 2.5 * (3.0 * 1.5 + 1) / 400


def test_no_score():
    with pytest.raises(NotImplementedError, match="no score"):
        KacConditionalFlowMatcher(9.0, 3.0).compute_lambda(torch.ones(1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (torch.zeros(3, 2), torch.zeros(4, 2)),
            ValueError,
            r"x0: got \(3, 2\); allowed: a tensor",
        ),
        ((None, torch.zeros(4, 2)), ValueError, "x0: got NoneType"),
        ((torch.zeros(4, 2), torch.zeros(4, 2), 0.5), TypeError, "t: got float 0.5"),
        ((torch.zeros(4, 2), torch.zeros(4, 2), torch.rand(3)), ValueError, "t: got shape"),
        (
            (torch.zeros(4, 2), torch.zeros(4, 2), torch.ones(4) + 1),
            ValueError,
            "t: got values from 2 to 2",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        KacConditionalFlowMatcher(9.0, 3.0).sample_location_and_conditional_flow(*arguments)


ROWS, TIMES = torch.zeros(4, 2), torch.rand(4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda k: k.sample_location_and_conditional_flow(ROWS, None), TypeError, "x1: got None"),
        (
            lambda k: k.sample_location_and_conditional_flow(ROWS[0, 0], ROWS[0, 0]),
            ValueError,
            "x1",
        ),
        (lambda k: k.sample_location_and_conditional_flow(ROWS, ROWS.long()), TypeError, "x1: got"),
        (
            lambda k: k.sample_location_and_conditional_flow(ROWS, ROWS, TIMES, "yes"),
            TypeError,
            "return_noise: got str 'yes'",
        ),
        (lambda k: k.compute_mu_t(None, 3.0, TIMES), TypeError, r"x1: got float 3\.0"),
        (lambda k: k.compute_sigma_t(TIMES + 1), ValueError, "t: got values"),
        (lambda k: k.compute_sigma_t(math.nan), ValueError, "t: got"),
        (lambda k: k.compute_sigma_t(True), TypeError, "t: got bool True"),
        (
            lambda k: k.compute_conditional_flow(None, ROWS[:, 0], TIMES, ROWS),
            ValueError,
            "x1: got",
        ),
        (
            lambda k: k.compute_conditional_flow(None, ROWS, TIMES, ROWS.long()),
            TypeError,
            "xt: got",
        ),
        (lambda k: k.sample_noise_like([1.0]), TypeError, "x: got list"),
    ],
)
def test_bad_input_of_the_other_methods(call, error, message):
    with pytest.raises(error, match=message):
        call(KacConditionalFlowMatcher(9.0, 3.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_deviation_at_times_of_16_bits(dtype):
    kac = KacConditionalFlowMatcher(9.0, 3.0, T=2.0)
    t = torch.linspace(0, 1, 9).to(dtype)
    sigma = kac.compute_sigma_t(t)
    assert sigma.dtype == dtype and sigma.shape == t.shape
    assert torch.equal(sigma, kac.compute_sigma_t(t.double()).to(dtype))
    torch.testing.assert_close(sigma[4], kac.compute_sigma_t(0.5).to(dtype))


def test_any_path():
    """The pairs of the path itself, of any noise."""
    path = Path(UniformProcess(2.0), T=2.0, signal="cosine")
    matcher, x1 = NoiseConditionalFlowMatcher(path), torch.randn(64, 4)
    torch.manual_seed(0)
    t, xt, ut = matcher.sample_location_and_conditional_flow(torch.empty(64, 4), x1)
    torch.manual_seed(0)
    theirs = path.sample(x1, 2.0 * (1.0 - torch.rand(64)))
    assert torch.equal(xt, theirs.x_t) and torch.equal(ut, -2.0 * theirs.dx_t)
    again = matcher.compute_conditional_flow(None, x1, t, xt)
    torch.testing.assert_close(again, ut, rtol=1e-3, atol=1e-3)
    assert matcher.sample_noise_like(x1).abs().max() <= 2.0
    with pytest.raises(TypeError, match=r"path: got .*; allowed: a kacflow.Path"):
        NoiseConditionalFlowMatcher(9.0)


class Bare:
    """The two methods that a path asks for."""

    def __init__(self):
        self.sample, self.velocity = UniformProcess().sample, UniformProcess().velocity


CHANNELS = KacProcess(torch.tensor([[2.0, 9.0, 30.0]]), torch.tensor([[1.0, 3.0, 3.0]]))
UNEQUAL = QuantileProcess((3, 1, 1), bins=4)
with torch.no_grad():
    UNEQUAL.heights.add_(torch.tensor([-1.0, 0.0, 2.0]).reshape(3, 1, 1, 1))


@pytest.mark.parametrize(
    "noise", [UniformProcess(2.0), BrownianProcess(0.5), QuantileProcess(), CHANNELS, UNEQUAL],
    ids=["uniform", "Brownian", "quantile", "Kac per channel", "quantile per channel"],
)  # fmt: skip
def test_noise_in_units_of_its_deviation(noise):
    """``eps`` has variance 1 at each time and in each component, and makes the points."""
    matcher = NoiseConditionalFlowMatcher(Path(noise, T=2.0))
    x1, t = torch.randn(3000, 3, 2, 2), torch.linspace(0.0, 1.0, 3000)
    torch.manual_seed(0)
    t, xt, _, eps = matcher.sample_location_and_conditional_flow(x1, x1, t, return_noise=True)
    square = eps[:-1].square()
    assert (square.mean((0, 2, 3)) - 1).abs().max() < 0.06  # 12,000 numbers a channel
    assert abs(square[:500].mean() - 1) < 0.15 and not eps[-1].any()
    if noise in (CHANNELS, UNEQUAL):
        with pytest.raises(
            ValueError, match=r"has a deviation for each component; allowed: a nois"
        ):
            matcher.compute_sigma_t(t)
    else:
        sigma = matcher.compute_sigma_t(t).reshape(-1, 1, 1, 1)
        torch.testing.assert_close(
            matcher.compute_mu_t(x1, x1, t) + sigma * eps, xt, rtol=1e-4, atol=1e-5
        )


def test_a_noise_without_variance():
    matcher = NoiseConditionalFlowMatcher(Path(Bare()))
    x1, t = torch.randn(4, 2), torch.rand(4)
    matcher.sample_location_and_conditional_flow(x1, x1, t)
    for call in (
        lambda: matcher.compute_sigma_t(t),
        lambda: matcher.sample_location_and_conditional_flow(x1, x1, t, return_noise=True),
    ):
        with pytest.raises(TypeError, match=r"its noise .*Bare.* has no variance\(t\); allowed"):
            call()


def test_points_of_given_noise_do_not_broadcast():
    matcher = KacConditionalFlowMatcher(9.0, 3.0)
    x1, t = torch.randn(4, 1), torch.rand(4)
    epsilon = torch.randn(4, 1)
    want = matcher.compute_mu_t(x1, x1, t) + matcher.compute_sigma_t(t)[:, None] * epsilon
    torch.testing.assert_close(matcher.sample_xt(x1, x1, t, epsilon), want)
    for wrong in (epsilon[:, 0], 1.0, epsilon.numpy()):
        with pytest.raises((ValueError, TypeError), match=r"epsilon|x1"):
            matcher.sample_xt(x1, x1, t, wrong)

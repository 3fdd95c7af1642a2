"""Every noise of kacflow passes the checks of ``kacflow.testing``, and broken ones do not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from kacflow import (
    BrownianProcess,
    KacProcess,
    QuantileProcess,
    StraightProcess,
    UniformProcess,
)
from kacflow.noise import ScaledProcess
from kacflow.testing import ConformanceError, check_names, check_noise

SHAPE = (3, 2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learned(*shape: int, **options: object) -> QuantileProcess:
    """A quantile function that is not that of any start."""
    process = QuantileProcess(shape, bins=9, **options)
    with torch.no_grad():
        for value in process.parameters():
            value += 0.5 * torch.randn(value.shape, generator=seeded())
    return process


def leaf(values: list[float]) -> Tensor:
    return torch.tensor(values).reshape(1, -1, 1).requires_grad_()


NOISES = {
    "Kac": lambda: KacProcess(9.0, 3.0),
    "Kac with large atoms": lambda: KacProcess(2.0, 1.0),
    "Kac, learned": lambda: KacProcess(leaf([4.0, 9.0, 2.0]), leaf([1.0, 3.0, 2.0])),
    "Brownian": BrownianProcess,
    "straight": lambda: StraightProcess(0.5),
    "uniform": UniformProcess,
    "uniform, long after": lambda: UniformProcess(0.05),
    "quantile": QuantileProcess,
    "quantile, Kac": lambda: QuantileProcess(bins=16, start=KacProcess(9.0, 3.0), at=2.0),
    "quantile, learned": learned,
    "quantile per component": lambda: learned(3, 2),
    "quantile per channel": lambda: learned(3, 1),
    "quantile without tails": lambda: learned(2, tails="none", start=UniformProcess(2.0)),
}


@pytest.mark.parametrize("check", check_names())
@pytest.mark.parametrize("name", NOISES)
def test_conformance(name: str, check: str) -> None:
    found = check_noise(NOISES[name](), shape=SHAPE, only=check)[check]
    assert found == (
        "left out: no to(device)" if (name, check) == ("Kac, learned", "meta") else "ok"
    )


class Plain(ScaledProcess):
    """N_t = t e: what the defects are made of."""

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, torch.ones_like(t)

    def base_log_prob(self, z: Tensor) -> Tensor:
        return torch.distributions.Normal(0.0, 1.0).log_prob(z)

    def base_cdf(self, z: Tensor) -> Tensor:
        return torch.special.ndtr(z)

    def base_icdf(self, q: Tensor) -> Tensor:
        return torch.special.ndtri(q)

    def base_variance(self) -> float:
        return 1.0


class Global(Plain):
    def base_sample(self, shape, *, generator, first, dtype, device):
        return torch.randn(tuple(shape), dtype=dtype, device=device)


class WithoutParts(Plain):
    def base_sample(self, shape, *, generator, first, dtype, device):
        return super().base_sample(
            shape, generator=generator, first=0, dtype=dtype, device=device
        )  # fmt: skip


class Single(Plain):
    def base_sample(self, shape, **options):
        return super().base_sample(shape, **options).float()


class OnTheCpu(Plain):
    def base_sample(self, shape, **options):
        return super().base_sample(shape, **{**options, "device": "cpu"})


class OtherPair(Plain):
    def sample(self, t, shape, **options):
        return self.pair(t, shape, **options)[1]


class Shifted(Plain):
    def sample(self, t, shape, **options):
        return self.pair(t, shape, **options)[0] + 1e-3


class Detached(Plain):
    def sample(self, t, shape, **options):
        return self.pair(t, shape, **options)[0].detach()


class Slow(Plain):
    def scales(self, t):
        return t, 0.99 * torch.ones_like(t)


class OtherQuantiles(Plain):
    def base_icdf(self, q):
        return 1.02 * torch.special.ndtri(q)

    def base_sample(self, shape, **options):
        return super().base_sample(shape, **options) / 1.02


class NearlyNormal(Plain):
    def base_sample(self, shape, **options):
        return 1.1 * super().base_sample(shape, **options)


class Wider(Plain):
    def base_variance(self):
        return 1.1


class Stays(Plain):
    def transport(self, x, t, s):
        return x


class OtherDensity(Plain):
    def base_log_prob(self, z):
        return super().base_log_prob(z) + 0.01


class OtherPrior(Plain):
    """The pair is right, a draw alone is not."""

    def sample(self, t, shape, **options):
        return 1.01 * self.pair(t, shape, **options)[0]


class Backwards(Plain):
    def velocity(self, x, t):
        return -super().velocity(x, t)


class OneTime(Plain):
    """Its density takes one time for all."""

    def log_prob(self, x, t):
        return super().log_prob(x, float(t))


DEFECTS = {
    "seeds": Global, "parts": WithoutParts, "shapes": Single, "meta": OnTheCpu, "pairs": OtherPair,
    "begins_at_zero": Shifted, "gradient": Detached, "flow": Slow, "quantiles": OtherQuantiles,
    "law": NearlyNormal, "moments": Wider, "transport": Stays, "density": OtherDensity,
    "on_a_path": OtherPrior, "generates": Backwards, "likelihood": OneTime,
}  # fmt: skip


def test_the_sound_one_of_the_defects_passes() -> None:
    assert set(check_noise(Plain(), shape=SHAPE).values()) == {"ok"}


@pytest.mark.parametrize("check", check_names())
def test_a_defect_is_found(check: str) -> None:
    with pytest.raises(ConformanceError, match=f"^{check}: "):
        check_noise(DEFECTS[check](), shape=SHAPE, only=check)


class Least:
    """The two methods that a path asks for."""

    def __init__(self) -> None:
        self._inner = Plain()

    def sample(self, t, shape, **options):
        return self._inner.sample(t, shape, **options)

    def velocity(self, x, t):
        return self._inner.velocity(x, t)


def test_what_a_process_lacks_is_left_out() -> None:
    found = check_noise(Least(), shape=2)
    left = {"pairs": "pair", "flow": "icdf", "quantiles": "cdf", "law": "cdf"}
    left |= {"moments": "variance", "transport": "transport"}
    left |= {"density": "log_prob", "likelihood": "log_prob"}
    assert {k: v for k, v in found.items() if v != "ok"} == {
        check: f"left out: no {method}" for check, method in left.items()
    }


class Drawn(ScaledProcess):
    """What is enough to train and to generate."""

    def scales(self, t):
        return t, torch.ones_like(t)

    def base_icdf(self, q):
        return torch.special.ndtri(q)


def test_what_a_process_does_not_implement_is_left_out() -> None:
    found = check_noise(Drawn(), shape=2)
    left = {"quantiles": "cdf(z)", "law": "cdf(z)", "moments": "variance()"}
    left |= {"density": "cdf(z)", "likelihood": "log_prob(z)"}
    assert {k: v for k, v in found.items() if v != "ok"} == {
        check: f"left out: Drawn has no base_{method}" for check, method in left.items()
    }


def test_an_infinite_variance_is_left_out() -> None:
    class Heavy(Plain):
        def base_variance(self):
            return float("inf")

    found = check_noise(Heavy(), shape=2, only="moments")
    assert found == {"moments": "left out: no finite variance"}


def test_the_process_stays_as_it_is() -> None:
    process = learned(3, 2)
    before = copy.deepcopy(process.state_dict())
    check_noise(process, shape=SHAPE, only=("meta", "seeds"))
    assert all(torch.equal(before[name], value) for name, value in process.state_dict().items())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"times": (0.5, 0.25)}, ValueError, "times: got"),
        ({"times": (0.0, 1.0)}, ValueError, "times: got"),
        ({"times": ()}, ValueError, "times: got"),
        ({"times": 1.0}, TypeError, "times: got"),
        ({"times": (0.5, float("nan"))}, ValueError, "times: got"),
        ({"times": (0.5, float("inf"))}, ValueError, "times: got"),
        ({"only": "speed"}, ValueError, "only: got 'speed'; allowed: seeds"),
        ({"only": 3}, TypeError, "only: got int 3; allowed"),
        ({"shape": -1}, ValueError, "shape: got"),
        ({"shape": (2, 0)}, ValueError, "shape: got"),
        ({"noise": None}, TypeError, "noise: got NoneType; allowed: a process"),
        ({"noise": Plain}, TypeError, "noise: got type; allowed: a process"),
    ],
)
def test_bad_arguments(options, error, message) -> None:
    with pytest.raises(error, match=message):
        check_noise(**{"noise": Plain(), **options})

"""Is a process a noise?  The checks that those of kacflow pass, for one of your own.

In a test of yours::

    from kacflow.testing import check_noise

    def test_my_process():
        check_noise(MyProcess())

Nothing beyond torch is needed.  The numbers are drawn with fixed seeds: a check that passes once
passes always.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kacflow import _arguments
from kacflow.empirical import EmpiricalField
from kacflow.generate import generate
from kacflow.likelihood import log_likelihood
from kacflow.ops._rules import leading
from kacflow.path import Path
from kacflow.process import over_dimensions

__all__ = ["ConformanceError", "check_names", "check_noise"]

_ROWS = 6  #: of a small batch
_DRAWS = 20_000
_LEVEL = 1e-6  #: of the test of the law
_STEP = 1e-5  #: of numerical derivatives, in float64
_Q = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.97)


class ConformanceError(AssertionError):
    """A process is not what a path asks of its noise; the message says what is wrong."""


class _Missing(Exception):
    """The process lacks a method that a check needs."""


class _Subject:
    """A process under test, and the draws that are made of it."""

    def __init__(self, noise: Any, shape: tuple[int, ...], times: Sequence[float]) -> None:
        self.noise, self.shape, self.times = noise, shape, tuple(times)

    def method(self, name: str) -> Callable[..., Any]:
        found = getattr(self.noise, name, None)
        if not callable(found):
            raise _Missing(name)
        return found

    def draw(
        self, t: Any, rows: int = _ROWS, *, name: str = "sample", seed: Any = 0, first: int = 0,
        dtype: torch.dtype = torch.float64, device: str | None = None, noise: Any = None,
    ) -> Any:  # fmt: skip
        """A draw of ``rows`` samples at t."""
        subject = self.noise if noise is None else noise
        source = _seeded(seed) if isinstance(seed, int) else seed
        return getattr(subject, name)(
            t, (rows, *self.shape), generator=source, first=first, dtype=dtype, device=device
        )

    def some_times(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Different times for the rows of a small batch."""
        return torch.linspace(self.times[0], self.times[-1], _ROWS, dtype=dtype)

    def path(self) -> Path:
        return Path(self.noise, self.times[-1])

    def quantiles(self, t: float) -> tuple[Tensor, Tensor]:
        """(q, x): probabilities, one row each, and their quantiles at t, for each component."""
        q = torch.tensor(_Q, dtype=torch.float64).reshape(-1, *(1,) * len(self.shape))
        q = q.expand(-1, *self.shape)
        return q, self.method("icdf")(q, t).detach()


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _must(good: Any, text: str) -> None:
    if not bool(good):
        raise ConformanceError(text)


def _near(got: Tensor, want: Tensor, text: str, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    try:
        torch.testing.assert_close(got, want, rtol=rtol, atol=atol, equal_nan=False)
    except AssertionError as error:
        raise ConformanceError(f"{text}: {' '.join(str(error).split())}") from None


def _same(one: Any, other: Any, text: str) -> None:
    pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
    _must(all(torch.equal(a, b) for a, b in pairs), text)


def _kinds(s: _Subject) -> list[str]:
    """The methods that draw."""
    return ["sample", "pair"] if callable(getattr(s.noise, "pair", None)) else ["sample"]


def seeds(s: _Subject) -> None:
    """A seed gives the same numbers each time, another one others; one number of it is taken."""
    for name in _kinds(s):
        t = s.some_times()
        taken, once = _seeded(0), _seeded(0)
        one, again, other = (s.draw(t, name=name, seed=seed) for seed in (0, taken, 1))
        _same(again, one, f"{name}: one seed gave two results")
        x, y = (v[0] if isinstance(v, tuple) else v for v in (one, other))
        _must((x != y).any(), f"{name}: two seeds gave one result")
        torch.randint(2**62, (), generator=once)
        _must(torch.equal(taken.get_state(), once.get_state()),
              f"{name}: took other than one 64-bit number of the generator")  # fmt: skip


def parts(s: _Subject) -> None:
    """A batch that is drawn in parts, by ``first``, has the numbers of the whole."""
    for name in _kinds(s):
        for dtype in (torch.float32, torch.float64):
            t = s.some_times(dtype)
            whole = s.draw(t, name=name, dtype=dtype)
            for low, high in ((0, 2), (2, _ROWS)):
                part = s.draw(t[low:high], high - low, name=name, first=low, dtype=dtype)
                want = tuple(v[low:high] for v in whole) if name == "pair" else whole[low:high]
                _same(part, want, f"{name}: first={low} drew other numbers than the whole")


def shapes(s: _Subject) -> None:
    """Draws have the shape, type and device asked for, with one time for all or one a sample."""
    for name in _kinds(s):
        for dtype in (torch.float32, torch.float64):
            one = torch.tensor(s.times[0], dtype=dtype)
            for t, rows in ((one, 0), (one, 1), (one, _ROWS), (s.some_times(dtype), _ROWS)):
                found = s.draw(t, rows, name=name, dtype=dtype)
                for x in found if isinstance(found, tuple) else (found,):
                    _must(x.shape == (rows, *s.shape) and x.dtype == dtype,
                          f"{name}: gave {_arguments.given(x)} for {rows} of {dtype}")  # fmt: skip
                    _must(x.isfinite().all(), f"{name}: drew numbers that are not finite")
    x = s.draw(s.some_times(torch.float32), dtype=torch.float32).detach()
    t = leading(s.some_times(torch.float32), x.ndim)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        v = s.noise.velocity(x.to(dtype), t)
        _must(v.shape == x.shape and v.dtype == dtype,
              f"velocity: gave {_arguments.given(v)} for x of {dtype}")  # fmt: skip


def meta(s: _Subject) -> None:
    """On the device "meta", which has shapes and no numbers, draws and velocities are there too."""
    noise: Any = s.noise
    if isinstance(noise, nn.Module):
        noise = copy.deepcopy(noise).to("meta")
    held = () if noise is not s.noise else vars(noise).values()
    if any(isinstance(value, Tensor) and value.ndim for value in held):
        raise _Missing("to(device)")
    t = s.some_times(torch.float32).to("meta")
    x = s.draw(t, dtype=torch.float32, device="meta", noise=noise)
    v = noise.velocity(x, leading(t, x.ndim))
    for value in (x, v):
        _must(value.is_meta and value.shape == (_ROWS, *s.shape), "draws on meta are elsewhere")


def pairs(s: _Subject) -> None:
    """``pair`` is ``sample`` and the velocity there, of the same seed."""
    s.method("pair")
    for dtype, rtol in ((torch.float32, 1e-3), (torch.float64, 1e-6)):
        t = s.some_times(dtype)
        x, v = s.draw(t, name="pair", dtype=dtype)
        _near(x, s.draw(t, dtype=dtype), "pair and sample differ", rtol, 1e-6)
        want = s.noise.velocity(x, leading(t, x.ndim))
        _near(v, want, "pair and velocity differ", rtol, rtol * float(v.detach().abs().max()))


def begins_at_zero(s: _Subject) -> None:
    """N_0 = 0, and the velocity there is finite."""
    x = s.draw(torch.tensor(0.0, dtype=torch.float64))
    _must((x == 0).all(), "sample: is not 0 at t = 0")
    v = s.noise.velocity(x.detach(), torch.tensor(0.0, dtype=torch.float64))
    _must(v.isfinite().all(), "velocity: is not finite at x = 0, t = 0")


def gradient(s: _Subject) -> None:
    """The derivative of a draw in its time is the velocity there."""
    t = s.some_times().requires_grad_()
    x = s.draw(t)
    _must(x.requires_grad, "sample: has no gradient in t")
    (got,) = torch.autograd.grad(x.sum(), t)
    v = s.noise.velocity(x.detach(), leading(t.detach(), x.ndim))
    _near(got, over_dimensions(v).detach(), "the derivative of a draw is not its velocity", 1e-5)


def flow(s: _Subject) -> None:
    """The velocity moves the law: d/dt of a quantile is the velocity at it."""
    for t in s.times:
        q, x = s.quantiles(t)
        h = _STEP * t
        slope = (s.noise.icdf(q, t + h) - s.noise.icdf(q, t - h)).detach() / (2.0 * h)
        v = s.noise.velocity(x, torch.tensor(t, dtype=torch.float64)).detach()
        scale = float(v.abs().max())
        _near(slope, v, f"icdf does not move with velocity at t = {t:g}", 1e-4,
              1e-5 * scale + 1e-9 * float(x.abs().max()) / t)  # fmt: skip


def quantiles(s: _Subject) -> None:
    """``icdf`` and ``cdf`` are inverse to each other, at all but the atoms, and increase."""
    s.method("cdf")
    for t in s.times:
        q, x = s.quantiles(t)
        _must((x.diff(dim=0) >= 0).all(), "icdf: does not increase")
        found = s.noise.cdf(x, t).detach()
        low = s.noise.cdf(x - 1e-9 * (1.0 + x.abs()), t).detach()
        _must((found >= q - 1e-6).all(), "cdf: is less than q at the quantile of q")
        _must((low <= q + 1e-6).all(), "cdf: is more than q below the quantile of q")


def law(s: _Subject) -> None:
    """Draws follow ``cdf``, by the Dvoretzky-Kiefer-Wolfowitz inequality at a level of 1e-6."""
    cdf = s.method("cdf")
    rows = -(-_DRAWS // max(1, math.prod(s.shape)))
    for t in s.times:
        for dtype in (torch.float32, torch.float64):
            time = torch.tensor(t, dtype=dtype)
            x = s.draw(time, rows, dtype=dtype, seed=2).detach().double()
            off = 1e-7 * (t + x.abs())  # a draw was rounded, an atom too
            share = cdf(x + off, float(time)).detach().flatten()
            least = cdf(x - off, float(time)).detach().flatten()
            n = len(share)
            bound = math.sqrt(math.log(2.0 / _LEVEL) / (2.0 * n)) + 1e-5
            rank = torch.arange(n, dtype=torch.float64)
            # of numbers that share an atom, cdf jumps over the ranks of all
            high = (share.sort().values - rank / n).min()
            low = (least.sort().values - (rank + 1.0) / n).max()
            _must(high >= -bound and low <= bound,
                  f"draws at t = {t:g} do not follow cdf: off by {float(max(-high, low)):.3g} "
                  f"with {n} numbers, where {bound:.3g} is allowed")  # fmt: skip


def moments(s: _Subject) -> None:
    """``variance`` is that of draws, within six standard errors."""
    variance = s.method("variance")
    rows = -(-_DRAWS // max(1, math.prod(s.shape)))
    for t in s.times:
        time = torch.tensor(t, dtype=torch.float64)
        want = variance(time).detach()
        if not want.isfinite().all():
            raise _Missing("finite variance")
        x = s.draw(time, rows, seed=6).detach()
        share = (x - x.mean(0)).square() / want
        off = abs(float(share.mean()) - 1.0)
        bound = 6.0 * float(share.std()) / math.sqrt(share.numel()) + 1.0 / rows
        _must(off <= bound, f"variance at t = {t:g} is not that of draws: off by {off:.2g} of it, "
              f"where {bound:.2g} is allowed")  # fmt: skip


def transport(s: _Subject) -> None:
    """``transport`` leads quantiles to those of an earlier time, and to a later one and back."""
    move = s.method("transport")
    for t in s.times:
        q, x = s.quantiles(t)
        far = 1e-6 * float(x.abs().max())
        for end in s.times:
            got = move(x, t, end).detach()
            if end <= t:  # later atoms are smaller
                want = s.noise.icdf(q, end).detach()
                _near(got, want, f"transport from {t:g} to {end:g} is not that of icdf", 1e-5, far)
            else:
                _near(move(got, end, t).detach(), x, f"transport from {t:g} to {end:g} and back "
                      "leads elsewhere", 1e-5, far)  # fmt: skip


def density(s: _Subject) -> None:
    """``log_prob`` is the logarithm of the derivative of ``cdf``, at all but the atoms."""
    log_prob, cdf = s.method("log_prob"), s.method("cdf")
    for t in s.times:
        q, x = s.quantiles(t)
        near = [s.noise.icdf(q + step, t).detach() for step in (-1e-3, 1e-3)]
        h = 1e-3 * (near[1] - near[0])
        slope = ((cdf(x + h, t) - cdf(x - h, t)) / (2.0 * h)).detach()
        inside = (near[0] < x) & (x < near[1])
        _must(inside.any(), "icdf: is constant")
        got = log_prob(x, t).detach().exp()
        _near(got[inside], slope[inside], f"log_prob is not that of cdf at t = {t:g}", 1e-3)


def on_a_path(s: _Subject) -> None:
    """A ``Path`` of it makes pairs, in parts too, velocities and priors."""
    path, T = s.path(), s.times[-1]
    x_0 = torch.randn((_ROWS, *s.shape), generator=_seeded(3), dtype=torch.float64)
    t = s.some_times()
    whole = path.sample(x_0, t, generator=_seeded(0))
    f = leading(1.0 - t / T, x_0.ndim)
    _near(whole.x_t, f * x_0 + s.draw(t), "a path does not add the draw to the data")
    v, dx_t = path.velocity(whole.x_t.detach(), t, x_0), whole.dx_t.detach()
    with contextlib.suppress(_Missing, NotImplementedError):
        cdf = s.method("cdf")  # which tells of atoms, that x_t is too round for
        x, time = s.draw(t).detach(), leading(t, x_0.ndim)
        below, above = (cdf(x * w, time).detach() for w in (1.0 - 1e-9, 1.0 + 1e-9))
        v = torch.where((above - below).abs() > 1e-6, dx_t, v)
    _near(v, dx_t, "the velocity of a path is not that of its pairs", 1e-5,
          1e-6 * float(dx_t.abs().max()))  # fmt: skip
    part = path.sample(x_0[3:], t[3:], generator=_seeded(0), first=3)
    _same(part[2:], tuple(v[3:] for v in whole[2:]), "parts of pairs differ from the whole")
    prior = path.sample_prior(x_0.shape, generator=_seeded(0), dtype=torch.float64)
    end = s.draw(torch.tensor(T, dtype=torch.float64))
    _same(prior, end, "the prior of a path is not the noise at T")
    half = path.sample(x_0.to(torch.bfloat16), t.to(torch.float32), generator=_seeded(0))
    _must(half.x_t.dtype == half.dx_t.dtype == torch.bfloat16, "16-bit data does not stay so")


def generates(s: _Subject) -> None:
    """``generate`` leads from noise to the data: with one datum, to that."""
    path = s.path()
    x_T = path.sample_prior((_ROWS, *s.shape), generator=_seeded(4), dtype=torch.float64).detach()
    datum = torch.randn(s.shape, generator=_seeded(5), dtype=torch.float64)

    def field(x: Tensor, t: Tensor) -> Tensor:
        return path.velocity(x, t, datum.expand_as(x))

    with torch.no_grad():
        x = generate(field, x_T, path, steps=100)
    far = float((x - datum).abs().max() / (x_T - datum).abs().max())
    _must(far < 0.2, f"generation ended {far:.0%} of the way's length beside the datum")


def likelihood(s: _Subject) -> None:
    """``log_likelihood`` adds ``log_prob`` of the noise to the change of volume, and
    ``EmpiricalField`` has the velocity to a datum.
    """
    log_prob, path, T = s.method("log_prob"), s.path(), s.times[-1]
    x = 0.3 * s.draw(torch.tensor(T, dtype=torch.float64)).detach()
    rate = 0.5 / T
    with torch.no_grad():
        got = log_likelihood(lambda x, t: rate * x, x, path, steps=20, solver="rk4")
        end = over_dimensions(log_prob(x * math.exp(0.5), T))
    _near(got, end + 0.5 * math.prod(s.shape), "log_likelihood is another", 1e-5)
    datum = torch.randn((1, *s.shape), generator=_seeded(5), dtype=torch.float64)
    with torch.no_grad():
        got = EmpiricalField(datum, path)(x, s.some_times())
        want = path.velocity(x, s.some_times(), datum.expand_as(x))
    _near(got, want, "EmpiricalField of one datum is another than the path's velocity", 1e-5)


_CHECKS: tuple[Callable[[_Subject], None], ...] = (
    seeds, parts, shapes, meta, pairs, begins_at_zero, gradient, flow, quantiles, law, moments,
    transport, density, on_a_path, generates, likelihood,
)  # fmt: skip


def check_names() -> list[str]:
    """Names of the checks, in the order in which they run.

    Examples
    --------
    >>> from kacflow.testing import check_names
    >>> check_names()[:3]
    ['seeds', 'parts', 'shapes']
    """
    return [check.__name__ for check in _CHECKS]


def check_noise(
    noise: Any,
    *,
    shape: int | Sequence[int] = (3, 2),
    times: Sequence[float] = (0.25, 0.6, 1.0),
    only: str | Iterable[str] | None = None,
) -> dict[str, str]:
    """Check that a process is what :class:`kacflow.Path` asks of its noise, and all that it offers.

    The same numbers for the same seed, one number of the generator for a draw, parts of a batch
    equal to the whole, shapes, types and devices, ``pair`` equal to ``sample`` and ``velocity``,
    gradients in time; the velocity is the flow of the law, draws follow ``cdf`` and have
    ``variance``, ``transport`` keeps the law, ``log_prob`` is its derivative; paths, generation and
    likelihoods work.  What needs a method that the process lacks, or does not implement, is left
    out.

    Parameters
    ----------
    noise : Noise
        The process.  It is not changed.
    shape : int or sequence of int
        Of one sample.
    times : sequence of float
        Increasing times > 0; the last one is the horizon of paths.
    only : str or iterable of str, optional
        Names of the checks to make, of :func:`check_names`; by default all.

    Returns
    -------
    dict
        For each check "ok", or "left out: no cdf" and the like.

    Raises
    ------
    ConformanceError
        An AssertionError, with the name of the first check that fails, and what is wrong.
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> from kacflow import BrownianProcess
    >>> from kacflow.testing import check_noise
    >>> set(check_noise(BrownianProcess(0.5)).values())
    {'ok'}
    """
    moments = _arguments.reals("times", times, "increasing floats > 0")
    finite = all(map(math.isfinite, moments))
    good = moments and finite and moments[0] > 0 and sorted(set(moments)) == moments
    _arguments.must(good, "times", moments, "increasing floats > 0")
    wanted = check_names() if only is None else [only] if isinstance(only, str) else only
    if not isinstance(wanted, Iterable):
        raise _arguments.wrong_type("only", only, "names of check_names()")
    wanted = [_arguments.choice("only", name, check_names()) for name in wanted]
    extents = _arguments.shape(shape)
    _arguments.must(math.prod(extents), "shape", extents, "of one number at least")
    Path(noise, moments[-1])  # which says what is no process
    subject, done = _Subject(noise, extents, moments), {}
    for check in _CHECKS:
        name = check.__name__
        if name not in wanted:
            continue
        try:
            check(subject)
        except _Missing as missing:
            done[name] = f"left out: no {missing}"
        except NotImplementedError as error:
            done[name] = f"left out: {error}"
        except ConformanceError as error:
            raise ConformanceError(f"{name}: {error}") from None
        except Exception as error:
            raise ConformanceError(f"{name}: {type(error).__name__}: {error}") from error
        else:
            done[name] = "ok"
    return done

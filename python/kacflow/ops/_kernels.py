"""The operators' kernels, on the CPU and on a GPU alike: tensors in, one kernel, tensors out.

Nothing here waits for a GPU: there values are not checked, a seed that is on the device is read by
the kernel itself, so that a captured graph draws fresh noise at every replay, and numbers on the
CPU go by value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kacflow import _arguments
from kacflow.ops._tensors import drawn_seed, rounded, working_dtype
from kacflow_core import _gpu_arrays, _run, _validate
from kacflow_core._arrays import HOST
from kacflow_core._dispatch import get_backend, get_gpu_backend
from kacflow_core._run import Target
from kacflow_core._validate import native_extent
from kacflow_core.backends import _jobs
from kacflow_core.backends._jobs import GIVEN, Noise, Schedules

NAMES = {torch.float32: "float32", torch.float64: "float64"}
_KINDS: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)
}  # fmt: skip
#: Of what data of a type computes in.
_LIMITS = {
    dtype: _validate.LIMITS[_KINDS[working_dtype(dtype)]] for dtype in _arguments.FLOATS
}  # fmt: skip
_TORCH = _gpu_arrays.library("torch")
_LAST_WORD = 2**64 - 1
_CPU = torch.device("cpu")

Value = Tensor | float
Extent = tuple[float, float]


def target_of(name: str, value: Tensor) -> Target:
    """Where a call computes whose result is where ``value`` is."""
    if value.is_cpu:
        return Target(get_backend(), _TORCH, HOST, torch.get_num_threads())
    if not value.is_cuda:
        raise ValueError(f"{name}: is on {value.device}; allowed: the CPU or a GPU")
    return Target(get_gpu_backend(), _TORCH, value.get_device())


def readable(value: Tensor) -> Tensor:
    """A tensor whose numbers are those in memory, without a gradient."""
    if value.is_neg():
        value = value.resolve_neg()
    return value.detach() if value.requires_grad else value


def _parameter(name: str, value: Value, device: torch.device) -> Value:
    """A parameter as :mod:`kacflow_core._run` takes it."""
    if type(value) is float:
        return value
    if not isinstance(value, Tensor):
        return _arguments.real(name, value)
    value = readable(value)
    if value.device != device:
        if value.numel() == 1 and value.is_cpu:
            return float(value)
        raise ValueError(f"{name}: is on {value.device}; allowed: {device}, where the data is")
    if value.dtype in NAMES:
        return value
    _arguments.tensor(name, value, _arguments.NUMBERS)
    return value.to(torch.float32 if value.is_floating_point() else torch.float64)


def parameters(where: Tensor, **given: Value) -> dict[str, Value]:
    """The parameters of a call beside the tensor ``where``."""
    return {name: _parameter(name, value, where.device) for name, value in given.items()}


def extent(value: Value) -> tuple[float, float]:
    """(least, most) of numbers, NaN if one is; none are read on a GPU, as if there were none."""
    if isinstance(value, float):
        return value, value
    if not value.is_cpu:
        return math.inf, -math.inf
    if native_extent is None:
        return _validate.extent(value.numpy())
    size = value.element_size()
    return native_extent(value.data_ptr(), size, value.shape, value.stride(), size)


def check_process(dtype: torch.dtype, t: Extent, a: Extent, c: Extent, *s: Extent) -> None:
    """Times t and s, rates and speeds in the range of the working type."""
    _validate.check_process(t, a, c, _LIMITS[dtype])
    for end in s:
        _validate.check_process(end, a, c, _LIMITS[dtype], "s")


def noise_of(seed: Tensor | int, offset: int, where: Tensor) -> tuple[Noise, Tensor | None]:
    """Key and counter, and the tensor that holds the key until the kernel has started."""
    if isinstance(seed, Tensor):
        if seed.numel() != 1 or seed.is_floating_point() or seed.is_complex():
            raise ValueError(
                f"seed: got shape {tuple(seed.shape)} of {seed.dtype}; allowed: one integer"
            )
        if not seed.is_cpu:
            if seed.device != where.device:
                raise ValueError(f"seed: is on {seed.device}; allowed: {where.device} or the CPU")
            here = seed.to(torch.int64)  # the kernel reads 64 bits
            return Noise(0, offset & _LAST_WORD, here.data_ptr()), here
        seed = int(seed)
    return Noise(_validate.word64("seed", seed), offset & _LAST_WORD), None


class _Ready:
    """A kernel whose arguments were checked and laid out before."""

    def __init__(self, driver: Any, number: int, job: bytes) -> None:
        #: Of threads, seed and offset, words of parameters, and addresses of the data.
        self.run: Callable[..., None] = partial(driver.run, number, job)
        self._extents: Callable[..., Any] = partial(driver.extents, number, job)
        self._box: tuple[Extent, ...] | None = None

    def check(self, words: Sequence[Any], check: Callable[..., None], *known: Any) -> None:
        """``check(*known, *extents)`` of the parameters with these words, unless they lie between
        others that it has let pass: no check allows less of what is between than of the ends.
        """
        found = self._extents(self._box, *words)
        if found is None:
            return
        box = tuple(
            (min(low, least), max(high, most))
            for (low, high), (least, most) in zip(found, self._box or found, strict=True)
        )
        try:
            check(*known, *box)
        except ValueError:
            check(*known, *(box := found))
        self._box = box


#: Kernels on the CPU by all that they depend on beside addresses, seeds and the values of tensors:
#: for a small batch the kernel takes two microseconds, and the way there several times that.
_READY: dict[Any, _Ready] = {}
_MOST_READY = 4096


def _form(
    kind: Any, dtype: torch.dtype, shape: Sequence[int], parameters: Sequence[Any]
) -> tuple[Any, list[Any]]:
    """(key, words): what a job depends on, of a number nothing and of a tensor where its numbers
    are; and what is put into it for the parameters.
    """
    key: tuple[Any, ...] = kind, dtype, shape, get_backend()
    words: list[Any] = []
    for value in parameters:
        kind = type(value)
        if kind is not float and isinstance(value, Tensor):
            key += value.dtype, value.shape, value.stride(), value.is_cpu
            value = value.data_ptr()
        else:
            key += (kind,)
        words.append(value)
    return key, words


def _keep(
    key: Any, target: Target, shape: Sequence[int], given: dict[str, Value],
    as_given: Sequence[Any], make: _run.Make,
) -> None:  # fmt: skip
    """Keep a job for the next time, if its parameters are where the kernel reads them."""
    if all(value is v for value, v in zip(given.values(), as_given, strict=True)):
        made = _run.kept(target, shape, given, make)
        if made is not None:
            if len(_READY) >= _MOST_READY:
                _READY.clear()
            _READY[key] = _Ready(target.kernels.driver, *made)


def sample(
    t: Value, a: Value, c: Value, seed: Tensor | int, offset: int, shape: Sequence[int],
    dtype: torch.dtype, where: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """K(t) where the tensor ``t`` is, or ``where``."""
    place = t if isinstance(t, Tensor) else where
    if place is None:
        raise TypeError("t: got a number; allowed: a tensor, or where to draw beside it")
    keeps = type(seed) is int and place.is_cpu and dtype in NAMES
    if keeps:
        key, words = _form("sample", dtype, shape, (t, a, c))
        ready = _READY.get(key)
        if ready is not None:
            ready.check(words, check_process, dtype)
            out = torch.empty(shape, dtype=dtype, device=_CPU)
            threads = torch.get_num_threads()
            ready.run(threads, seed, offset & _LAST_WORD, *words, out.data_ptr())
            return out
    _arguments.dtype(dtype)
    target, given = target_of("t", place), parameters(place, t=t, a=a, c=c)
    check_process(dtype, *map(extent, given.values()))
    noise, _kept = noise_of(seed, offset, place)
    out = _run.sample(target, tuple(shape), NAMES[dtype], given, noise)
    if keeps:
        _keep(
            key, target, shape, given, (t, a, c),
            lambda layout, rows: _jobs.sample(
                NAMES[dtype], layout, 0, rows[0], rows[1], rows[2], Noise(0, 0), host=True
            ),
        )  # fmt: skip
    return out


def sample_pair(
    x_0: Tensor, a: Value, c: Value, signal: Value, dsignal: Value, clock: Value, dclock: Value,
    seed: Tensor | int, offset: int, like: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair where ``x_0`` is, with given values of the schedules, at times ``like``."""
    _arguments.tensor("x_0", x_0)
    values = a, c, clock, signal, dsignal, dclock
    given = parameters(
        x_0, a=a, c=c, clock=clock, signal=signal, dsignal=dsignal, dclock=dclock
    )  # fmt: skip
    _check_given(x_0.dtype, *map(extent, given.values()))
    kind = None if like is None else (like.dtype, like.shape)
    return _pair(x_0, given, seed, offset, GIVEN, kind, values)


def sample_pair_scheduled(
    x_0: Tensor, t: Value, a: Value, c: Value, seed: Tensor | int, offset: int,
    schedules: tuple[int, int, float], slack: float = 2.0**-8,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair where ``x_0`` is, with schedules (signal, clock, T) at the times ``t``.

    Times beyond the horizon T by more than ``slack`` of it are refused.
    """
    _arguments.tensor("x_0", x_0)
    given = parameters(x_0, a=a, c=c, clock=t)
    _check_scheduled(x_0.dtype, schedules, slack, *map(extent, given.values()))
    return _pair(x_0, given, seed, offset, Schedules(*schedules), (schedules, slack), (a, c, t))


def _check_given(
    dtype: torch.dtype, a: Extent, c: Extent, clock: Extent, signal: Extent, dsignal: Extent,
    dclock: Extent,
) -> None:  # fmt: skip
    """The process and given values of schedules in the range of the working type."""
    limits = _LIMITS[dtype]
    _validate.check_process(clock, a, c, limits, "clock")
    most = limits.most
    for name, (low, high) in ("signal", signal), ("dsignal", dsignal), ("dclock", dclock):
        if not (low >= -most and high <= most):
            _validate.check_finite(name, low, high, most, limits.name)


def _check_scheduled(
    dtype: torch.dtype, schedules: tuple[int, int, float], slack: float,
    a: Extent, c: Extent, t: Extent,
) -> None:  # fmt: skip
    """Times within the horizon; the process in the range of the working type at all of them."""
    _, clock, horizon = schedules
    low, high = t
    if not (low >= 0.0 and high <= horizon * (1.0 + slack)) and not (low > high):
        raise ValueError(
            f"t: got values from {low:g} to {high:g}; allowed: 0 <= t <= T = {horizon:g}"
        )
    most = high if clock == 1 or low > high else high * (high / horizon)
    _validate.check_process((low, most), a, c, _LIMITS[dtype], "clock")


def pair_again(
    x_0: Tensor, schedules: tuple[int, int, float] | None, slack: float, like: Tensor | None,
    parameters: Sequence[Any], generator: torch.Generator | None, offset: int,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """The pair where one of the same form was drawn before and answers of schedules are allowed,
    else None and nothing done.

    All tensors are addressable and ``x_0`` is on the CPU.  The parameters are a, c and the times
    of named schedules, or values of others: of clock, signal, dsignal and dclock at times ``like``.
    """
    kind = (schedules, slack) if like is None else (like.dtype, like.shape)
    key, words = _form(kind, x_0.dtype, x_0.shape, parameters)
    ready = _READY.get(key)
    if ready is None:
        return None
    if schedules is not None:
        ready.check(words, _check_scheduled, x_0.dtype, schedules, slack)
    else:
        try:
            ready.check(words, _check_given, x_0.dtype)
        except ValueError:  # the long way says which answer was wrong
            return None
    seed = drawn_seed(generator, x_0.device)
    data = x_0.contiguous()
    x_t, dx_t = torch.empty_like(data), torch.empty_like(data)
    ready.run(
        torch.get_num_threads(), seed, offset & _LAST_WORD, *words,
        data.data_ptr(), x_t.data_ptr(), dx_t.data_ptr(),
    )  # fmt: skip
    return _held(x_t, dx_t)


def _held(x_t: Tensor, dx_t: Tensor) -> tuple[Tensor, Tensor]:
    """A pair, which float16 must be able to hold."""
    if x_t.dtype is not torch.float16:
        return x_t, dx_t
    return rounded("x_0", x_t, x_t.dtype), rounded("x_0", dx_t, x_t.dtype)


def _pair(
    x_0: Tensor, given: dict[str, Value], seed: Tensor | int, offset: int, schedules: Schedules,
    kind: Any, values: Sequence[Any],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A pair with checked parameters, whose job is kept for ``kind`` unless that is None."""
    target = target_of("x_0", x_0)
    noise, _kept = noise_of(seed, offset, x_0)
    if kind is not None and x_0.is_cpu and type(seed) is int:
        _keep(
            _form(kind, x_0.dtype, x_0.shape, values)[0], target, x_0.shape, given, values,
            lambda layout, rows: _run.pair_job(
                target.library.dtype(x_0), layout, (0, 0, 0), rows, Noise(0, 0), schedules,
                host=True,
            ),
        )  # fmt: skip
    return _held(*_run.pair(target, readable(x_0), given, noise, schedules))


def sample_path(
    times: Tensor, a: Value, c: Value, seed: Tensor | int, offset: int, shape: Sequence[int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(positions, directions) of paths where ``times`` are."""
    _arguments.dtype(dtype)
    _arguments.tensor("times", times, _arguments.NUMBERS)
    target, given = target_of("times", times), parameters(times, a=a, c=c)
    grid = readable(times)
    _validate.grid(grid)
    exact = grid.to(torch.float64) if times.is_cpu else grid
    extents = extent(exact), extent(given["a"]), extent(given["c"])
    _validate.check_process(*extents, _LIMITS[dtype], "times")
    if times.is_cpu:
        _validate.increasing(grid.to(dtype).numpy(), _KINDS[dtype])
    noise, _kept = noise_of(seed, offset, times)
    return _run.path(target, grid.to(dtype), tuple(shape), NAMES[dtype], given, noise)


def points(
    operation: str, outputs: int = 1, allowed: Sequence[torch.dtype] = _arguments.FLOATS
) -> Callable[..., Any]:
    """The kernel of a function of the position, ``(x, t, a, c)``; everything broadcasts.

    Of the transport the other time s follows.
    """
    name = "q" if operation == "ppf" else "x"

    def kernel(x: Tensor, t: Value, a: Value, c: Value, *s: Value) -> Any:
        _arguments.tensor(name, x, allowed)
        keeps = x.is_cpu and x.is_contiguous() and not x.is_neg()
        if keeps:
            key, words = _form(operation, x.dtype, x.shape, (t, a, c, *s))
            ready = _READY.get(key)
            if ready is not None:
                ready.check(words, check_process, x.dtype)
                check(x)
                results = tuple([torch.empty_like(x) for _ in range(outputs)])
                ready.run(
                    torch.get_num_threads(), *words, x.data_ptr(), results[0].data_ptr(),
                    results[1].data_ptr() if outputs == 2 else 0,
                )  # fmt: skip
                return results[0] if outputs == 1 else results
        given = parameters(x, t=t, a=a, c=c, **dict(zip("s", s, strict=False)))
        data, target = readable(x), target_of(name, x)
        check_process(x.dtype, *map(extent, given.values()))
        check(data)
        if keeps and _run.broadcasts_to(x.shape, given):
            _keep(
                key, target, x.shape, given, (t, a, c, *s),
                lambda layout, rows: _jobs.point(
                    operation, target.library.dtype(x), layout, 0, (0, 0), *rows, host=True
                ),
            )  # fmt: skip
        results = tuple(_run.points(target, operation, name, data, given, outputs))
        return results[0] if outputs == 1 else results

    def check(x: Tensor) -> None:
        if operation == "ppf":
            low, high = extent(x)
            _validate.check_probabilities("q", low, high)

    return kernel


velocity = points("velocity")
velocity_grad = points("velocity_grad", 2)
logpdf, cdf, ppf, _transport = (
    points(kind, 1, _arguments.WORKING) for kind in ("logpdf", "cdf", "ppf", "transport")
)


def transport(x: Tensor, t: Value, s: Value, a: Value, c: Value) -> Tensor:
    """Where the flow of the velocity leads ``x`` from t to s."""
    found: Tensor = _transport(x, t, a, c, s)
    return found

"""The operators' kernels, on the CPU and on a GPU alike: tensors in, one kernel, tensors out.

Nothing here waits for a GPU: there values are not checked, a seed that is on the device is read by
the kernel itself, so that a captured graph draws fresh noise at every replay, and numbers on the
CPU go by value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kacflow import _arguments
from kacflow.ops._tensors import drawn_seed, working_dtype
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
_LIMITS = {dtype: _validate.LIMITS[kind] for dtype, kind in _KINDS.items()}
_TORCH = _gpu_arrays.library("torch")
_LAST_WORD = 2**64 - 1

Value = Tensor | float


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
    shape, double = value.shape, value.dtype is torch.float64
    size = 8 if double else 4
    if len(shape) > 2 or native_extent is None:
        return _validate.extent(value.numpy())
    if len(shape) == 1:
        step = value.stride(0) * size
        return native_extent(value.data_ptr(), double, 1, 0, shape[0], step)
    n0, n1 = shape or (1, 1)
    step0, step1 = value.stride() or (1, 1)
    return native_extent(value.data_ptr(), double, n0, step0 * size, n1, step1 * size)


def check_process(
    t: Value | tuple[float, float], a: Value, c: Value, dtype: torch.dtype, time_name: str = "t"
) -> None:
    """Times, rates and speeds in the range of the working type, as far as they can be read here."""
    times = t if isinstance(t, tuple) else extent(t)
    _validate.check_process(times, extent(a), extent(c), _LIMITS[dtype], time_name)


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


class _Ready(NamedTuple):
    """A kernel whose arguments were checked and laid out before."""

    run: Callable[..., None]
    number: int  #: of the kernel
    job: bytes
    checked: tuple[Any, Any, float] = (None, None, 0.0)  #: numbers a and c, and up to which time


#: Kernels on the CPU by all that they depend on beside addresses, seeds and the values of tensors:
#: for a small batch the kernel takes two microseconds, and the way there several times that.
_READY: dict[Any, _Ready] = {}
_MOST_READY = 4096


def _form(value: Value) -> Any:
    """What a job depends on of a parameter: nothing of a number, and where a tensor's are."""
    if type(value) is float:
        return None
    return value.dtype, value.shape, value.stride(), value.is_cpu  # type: ignore[union-attr]


def _word(value: Value) -> Any:
    """What is put into a job for a parameter."""
    return value if type(value) is float else value.data_ptr()  # type: ignore[union-attr]


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
            _READY[key] = _Ready(target.kernels.driver.run, *made)


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
        key = "sample", dtype, shape, _form(t), _form(a), _form(c), get_backend()
        ready = _READY.get(key)
        if ready is not None:
            check_process(t, a, c, dtype)
            out = torch.empty(shape, dtype=dtype, device="cpu")
            words = seed, offset & _LAST_WORD, _word(t), _word(a), _word(c), out.data_ptr()
            ready.run(ready.number, ready.job, torch.get_num_threads(), *words)
            return out
    _arguments.dtype(dtype)
    target, given = target_of("t", place), parameters(place, t=t, a=a, c=c)
    check_process(given["t"], given["a"], given["c"], dtype)
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
    seed: Tensor | int, offset: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair where ``x_0`` is, with given values of the schedules."""
    _arguments.tensor("x_0", x_0)
    values = a, c, clock, signal, dsignal, dclock
    keeps = type(seed) is int and x_0.is_cpu and x_0.is_contiguous()
    if keeps:
        key = (x_0.dtype, x_0.shape, *map(_form, values), get_backend())
        ready = _READY.get(key)
        if ready is not None:
            _check_given(x_0, *values)
            return _pair_again(ready, x_0, seed, offset, values)
    given = parameters(
        x_0, a=a, c=c, clock=clock, signal=signal, dsignal=dsignal, dclock=dclock
    )  # fmt: skip
    _check_given(x_0, *given.values())
    return _pair(x_0, given, seed, offset, GIVEN, key if keeps else None, values)


def _check_given(
    x_0: Tensor, a: Value, c: Value, clock: Value, signal: Value, dsignal: Value, dclock: Value
) -> None:
    working = working_dtype(x_0.dtype)
    check_process(clock, a, c, working, "clock")
    most = _LIMITS[working].most
    for name, value in (("signal", signal), ("dsignal", dsignal), ("dclock", dclock)):
        low, high = extent(value)
        if not (low >= -most and high <= most):
            _validate.check_finite(name, low, high, most, NAMES[working])


def sample_pair_scheduled(
    x_0: Tensor, t: Value, a: Value, c: Value, seed: Tensor | int, offset: int,
    schedules: tuple[int, int, float], slack: float = 2.0**-8,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair where ``x_0`` is, with schedules (signal, clock, T) at the times ``t``.

    Times beyond the horizon T by more than ``slack`` of it are refused.
    """
    _arguments.tensor("x_0", x_0)
    _, clock, horizon = schedules
    key = None
    if x_0.is_cpu and type(seed) is int and x_0.is_contiguous():
        key = _scheduled_key(x_0, t, a, c, schedules)
        ready = _READY.get(key)
        if ready is not None:
            _check_scheduled(x_0, t, a, c, clock, horizon, slack)
            return _pair_again(ready, x_0, seed, offset, (a, c, t))
    given = parameters(x_0, a=a, c=c, clock=t)
    _check_scheduled(x_0, given["clock"], given["a"], given["c"], clock, horizon, slack)
    return _pair(x_0, given, seed, offset, Schedules(*schedules), key, (a, c, t))


def _scheduled_key(x_0: Tensor, t: Value, a: Value, c: Value, schedules: Any) -> Any:
    """All that a pair with named schedules depends on beside addresses, seed and values."""
    return (
        x_0.dtype, x_0.shape, schedules,
        None if type(a) is float else (a.dtype, a.shape, a.stride()),  # type: ignore[union-attr]
        None if type(c) is float else (c.dtype, c.shape, c.stride()),  # type: ignore[union-attr]
        None if type(t) is float else (t.dtype, t.shape, t.stride()),  # type: ignore[union-attr]
        get_backend(),
    )  # fmt: skip


def scheduled_again(
    x_0: Tensor, t: Value, a: Value, c: Value, schedules: tuple[int, int, float],
    slack: float, generator: torch.Generator | None, offset: int,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """:func:`sample_pair_scheduled` where one of the same form was drawn before, else None and
    nothing done.  All tensors are addressable and on the CPU.
    """
    ready = _READY.get(key := _scheduled_key(x_0, t, a, c, schedules))
    if ready is None or not x_0.is_contiguous():
        return None
    low, high = extent(t)
    rate, speed, most = ready.checked
    if not (low >= 0.0 and high <= most and rate == a and speed == c):
        _, clock, horizon = schedules
        _check_scheduled(x_0, t, a, c, clock, horizon, slack)
        if type(a) is float and type(c) is float:  # numbers: not again up to this time, which is
            # at most T: by how much one may exceed it depends on the type of the times
            _READY[key] = ready._replace(checked=(a, c, min(high, horizon)))
    return _pair_again(ready, x_0, drawn_seed(generator, x_0.device), offset, (a, c, t))


def _check_scheduled(
    x_0: Tensor, t: Value, a: Value, c: Value, clock: int, horizon: float, slack: float
) -> None:
    """Times within the horizon; the process in the range of the working type at all of them."""
    low, high = extent(t)
    if not (low >= 0.0 and high <= horizon * (1.0 + slack)) and not (low > high):
        raise ValueError(
            f"t: got values from {low:g} to {high:g}; allowed: 0 <= t <= T = {horizon:g}"
        )
    most = high if clock == 1 or low > high else high * (high / horizon)
    check_process((low, most), a, c, working_dtype(x_0.dtype), "clock")


def _pair_again(
    ready: _Ready, x_0: Tensor, seed: Any, offset: int, values: Sequence[Any]
) -> tuple[Tensor, Tensor]:
    """A pair whose job is there."""
    x_t, dx_t = torch.empty_like(x_0), torch.empty_like(x_0)
    words = [v if type(v) is float else v.data_ptr() for v in values]
    ready.run(
        ready.number, ready.job, torch.get_num_threads(), seed, offset & _LAST_WORD, *words,
        x_0.data_ptr(), x_t.data_ptr(), dx_t.data_ptr(),
    )  # fmt: skip
    return x_t, dx_t


def _pair(
    x_0: Tensor, given: dict[str, Value], seed: Tensor | int, offset: int, schedules: Schedules,
    key: Any, values: Sequence[Any],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A pair with checked parameters, whose job is kept under ``key`` unless that is None."""
    target = target_of("x_0", x_0)
    noise, _kept = noise_of(seed, offset, x_0)
    if key is not None:
        _keep(
            key, target, x_0.shape, given, values,
            lambda layout, rows: _run.pair_job(
                target.library.dtype(x_0), layout, (0, 0, 0), rows, Noise(0, 0), schedules,
                host=True,
            ),
        )  # fmt: skip
    return _run.pair(target, readable(x_0), given, noise, schedules)


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
    check_process(exact, given["a"], given["c"], dtype, "times")
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
            forms = _form(t), _form(a), _form(c), *map(_form, s)
            key = operation, x.dtype, x.shape, *forms, get_backend()
            ready = _READY.get(key)
            if ready is not None:
                check(x, t, a, c, *s)
                results = tuple([torch.empty_like(x) for _ in range(outputs)])
                ready.run(
                    ready.number, ready.job, torch.get_num_threads(),
                    _word(t), _word(a), _word(c), *map(_word, s), x.data_ptr(),
                    results[0].data_ptr(), results[1].data_ptr() if outputs == 2 else 0,
                )  # fmt: skip
                return results[0] if outputs == 1 else results
        given = parameters(x, t=t, a=a, c=c, **dict(zip("s", s, strict=False)))
        data, target = readable(x), target_of(name, x)
        check(data, *given.values())
        if keeps and _run.broadcasts_to(x.shape, given):
            _keep(
                key, target, x.shape, given, (t, a, c, *s),
                lambda layout, rows: _jobs.point(
                    operation, target.library.dtype(x), layout, 0, (0, 0), *rows, host=True
                ),
            )  # fmt: skip
        results = tuple(_run.points(target, operation, name, data, given, outputs))
        return results[0] if outputs == 1 else results

    def check(x: Tensor, t: Value, a: Value, c: Value, *s: Value) -> None:
        working = working_dtype(x.dtype)
        check_process(t, a, c, working)
        for end in s:
            check_process(end, a, c, working, "s")
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

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
from kacflow.ops._tensors import _CPU, drawn_seed, first_element, form, working_dtype
from kacflow_core import _gpu_arrays, _run, _validate
from kacflow_core._arrays import HOST
from kacflow_core._dispatch import POINT_FUNCTIONS, get_backend, get_gpu_backend
from kacflow_core._run import Target
from kacflow_core._schedules import CLOCKS
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
_PAIR = "a", "c", "clock", "signal", "dsignal", "dclock"
_SQUARE = CLOCKS["square"]

Value = Tensor | float
Kinds = tuple[int, int, float]
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

    def __init__(
        self, driver: Any, number: int, job: bytes, check: Callable[..., None], like: Any
    ) -> None:
        self._run: Callable[..., Any] = partial(driver.run, number, job)
        self._check = check
        self.like = like  #: of the result's type and shape, without its memory
        self._box: tuple[Extent, ...] = ()

    def run(self, *words: Any) -> None:
        """The kernel with threads, seed and offset, words of parameters, and addresses of the data.

        Parameters are checked unless they lie between others that were allowed: no check allows
        less of what is between than of the ends.
        """
        found = self._run(self._box, *words)
        if found is None:
            return
        box = tuple(
            (min(low, least), max(high, most))
            for (low, high), (least, most) in zip(found, self._box or found, strict=True)
        )
        try:
            self._check(*box)
        except ValueError:
            self._check(*(box := found))
        self._box = box
        self._run(None, *words)


#: Kernels on the CPU by all that they depend on beside addresses, seeds and the values of tensors:
#: for a small batch the kernel takes two microseconds, and the way there several times that.
_READY: dict[Any, _Ready] = {}
_MOST_READY = 4096


def _keep(
    key: Any, target: Target, shape: Sequence[int], given: dict[str, Value],
    as_given: Sequence[Any], check: Callable[..., None], make: _run.Make,
    like: Tensor | None = None,
) -> None:  # fmt: skip
    """Keep a job for the next time, if its parameters are where the kernel reads them."""
    if all(value is v for value, v in zip(given.values(), as_given, strict=True)):
        made = _run.kept(target, shape, given, make)
        if made is not None:
            if len(_READY) >= _MOST_READY:
                _READY.clear()
            _READY[key] = _Ready(target.kernels.driver, *made, check, like)


def sample(
    t: Value, a: Value, c: Value, seed: Tensor | int, offset: int, shape: Sequence[int],
    dtype: torch.dtype, where: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """K(t) where the tensor ``t`` is, or ``where``."""
    place = t if isinstance(t, Tensor) else where
    if place is None:
        raise TypeError("t: got a number; allowed: a tensor, or where to draw beside it")
    found = form(t, a, c) if type(seed) is int and place.is_cpu and dtype in NAMES else None
    if found is not None:
        key = "sample", get_backend(), dtype, shape, *found[0]
        ready = _READY.get(key)
        if ready is not None:
            out = torch.empty_like(ready.like)
            threads = torch.get_num_threads()
            ready.run(threads, seed, offset & _LAST_WORD, *found[1], out.data_ptr())
            return out
    _arguments.dtype(dtype)
    target, given = target_of("t", place), parameters(place, t=t, a=a, c=c)
    check = partial(check_process, dtype)
    check(*map(extent, given.values()))
    noise, _kept = noise_of(seed, offset, place)
    out = _run.sample(target, tuple(shape), NAMES[dtype], given, noise)
    if found is not None:
        _keep(
            key, target, shape, given, (t, a, c), check,
            lambda layout, rows: _jobs.sample(
                NAMES[dtype], layout, 0, rows[0], rows[1], rows[2], Noise(0, 0), host=True
            ),
            torch.empty((), dtype=dtype, device=_CPU).expand(shape),
        )  # fmt: skip
    return out


def _check_pair(
    dtype: torch.dtype, schedules: Kinds, slack: float,
    a: Extent, c: Extent, clock: Extent, *others: Extent,
) -> None:  # fmt: skip
    """Given values of schedules and the process in the range of the working type, times of named
    ones within the horizon T and at most ``slack`` of it beyond.
    """
    limits, (signal, kind, horizon) = _LIMITS[dtype], schedules
    if signal or kind:
        low, high = clock if kind else others[0]
        if not (low >= 0.0 and high <= horizon * (1.0 + slack)) and not (low > high):
            raise ValueError(
                f"t: got values from {low:g} to {high:g}; allowed: 0 <= t <= T = {horizon:g}"
            )
        if kind == _SQUARE and not low > high:
            clock = low, high * (high / horizon)
    _validate.check_process(clock, a, c, limits, "clock")
    most = limits.most
    for name, (low, high) in zip(_PAIR[3:], others, strict=False):
        if not (low >= -most and high <= most):
            _validate.check_finite(name, low, high, most, limits.name)


def pair(
    x_0: Tensor, values: Sequence[Value], seed: Tensor | int, offset: int, schedules: Kinds = GIVEN,
    slack: float = 2.0**-8, like: Tensor | None = None, *, keep: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair where ``x_0`` is; ``values`` as in :func:`pair_again`, for which a job is
    kept where it may be and ``keep`` says so.
    """
    _arguments.tensor("x_0", x_0)
    given = parameters(x_0, **dict(zip(_PAIR, values, strict=False)))
    check = partial(_check_pair, x_0.dtype, schedules, slack)
    check(*map(extent, given.values()))
    target = target_of("x_0", x_0)
    noise, _kept = noise_of(seed, offset, x_0)
    found = form(*values, x_0) if keep and x_0.is_cpu and type(seed) is int else None
    if found is not None:
        kind = slack if like is None else (like.dtype, like.shape)
        _keep(
            (schedules, kind, get_backend(), *found[0]), target, x_0.shape, given, values, check,
            lambda layout, rows: _run.pair_job(
                target.library.dtype(x_0), layout, (0, 0, 0), rows, Noise(0, 0),
                Schedules(*schedules), host=True,
            ),
        )  # fmt: skip
    return _run.pair(target, readable(x_0), given, noise, Schedules(*schedules))


def pair_again(
    x_0: Tensor, values: Sequence[Any], generator: torch.Generator | None, first: int,
    schedules: Kinds, slack: float = 2.0**-8, like: Tensor | None = None,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """The pair where one of the same form was drawn before and all is as allowed, else None.

    The schedules are numbers of a signal and a clock, 0 where its values are given, and the horizon
    T.  The values are a, c, and those of clock, signal, dsignal and dclock: for named schedules
    times, which may exceed T by ``slack`` of it, as those of the clock or else of the signal.
    Answers for times ``like`` have to be looked at in the other way, or have been.
    """
    found = form(*values, x_0)
    if found is None:
        return None
    traits, words = found
    kind = slack if like is None else (like.dtype, like.shape)
    ready = _READY.get((schedules, kind, get_backend(), *traits))
    if ready is None:
        return None
    offset = 0 if type(first) is int and not first else first_element(first, x_0.shape) & _LAST_WORD
    seed, data = drawn_seed(generator, _CPU), x_0
    if traits[-2] is not True:
        data = x_0.contiguous()
        words[-1] = data.data_ptr()
    x_t, dx_t = torch.empty_like(data), torch.empty_like(data)
    try:
        ready.run(
            torch.get_num_threads(), seed, offset, *words, x_t.data_ptr(), dx_t.data_ptr()
        )  # fmt: skip
    except ValueError:  # the other way says which value was wrong
        return None
    return x_t, dx_t


def sample_pair(
    x_0: Tensor, a: Value, c: Value, signal: Value, dsignal: Value, clock: Value, dclock: Value,
    seed: Tensor | int, offset: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair with given values of the schedules."""
    return pair(x_0, (a, c, clock, signal, dsignal, dclock), seed, offset)


def sample_pair_scheduled(
    x_0: Tensor, t: Value, a: Value, c: Value, seed: Tensor | int, offset: int, schedules: Kinds
) -> tuple[Tensor, Tensor]:
    """The training pair with named schedules at the times ``t``."""
    return pair(x_0, (a, c, t), seed, offset, schedules)


def sample_pair_partly(
    x_0: Tensor, t: Value, a: Value, c: Value, value: Value, slope: Value, seed: Tensor | int,
    offset: int, schedules: Kinds,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The training pair with one named schedule, and of the other values and slopes."""
    rest = (value, t, 0.0, slope) if schedules[0] else (t, value, slope, 0.0)
    try:
        return pair(x_0, (a, c, *rest), seed, offset, schedules)
    except (TypeError, ValueError) as error:
        if str(error).partition(":")[0] not in _PAIR[2:]:
            raise
        raise type(error)(f"value or slope: {error}") from None


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


def check_points(operation: str, x: Any) -> str:
    """The name of the first argument of a function of the position, which is checked."""
    name = "q" if operation == "ppf" else "x"
    sixteen_bit = POINT_FUNCTIONS[operation].sixteen_bit
    _arguments.tensor(name, x, _arguments.FLOATS if sixteen_bit else _arguments.WORKING)
    return name


def points(operation: str) -> Callable[..., Any]:
    """The kernel of a function of the position, ``(x, t, a, c)``; everything broadcasts.

    Of the transport the other time s follows.
    """
    outputs = len(POINT_FUNCTIONS[operation].results)

    def kernel(x: Tensor, t: Value, a: Value, c: Value, *s: Value) -> Any:
        name = check_points(operation, x)
        found = form(t, a, c, *s, x) if x.is_cpu else None
        key = None
        if found is not None and found[0][-2] is True:
            key = operation, get_backend(), *found[0]
            ready = _READY.get(key)
            if ready is not None:
                check(x)
                results = tuple([torch.empty_like(x) for _ in range(outputs)])
                second = results[1].data_ptr() if outputs == 2 else 0
                ready.run(torch.get_num_threads(), *found[1], results[0].data_ptr(), second)
                return results[0] if outputs == 1 else results
        given = parameters(x, t=t, a=a, c=c, **dict(zip("s", s, strict=False)))
        data, target = readable(x), target_of(name, x)
        check(data)
        allows = partial(check_process, x.dtype)
        allows(*map(extent, given.values()))
        if key is not None and _run.broadcasts_to(x.shape, given):
            _keep(
                key, target, x.shape, given, (t, a, c, *s), allows,
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


POINTS = {operation: points(operation) for operation in POINT_FUNCTIONS}


def transport(x: Tensor, t: Value, s: Value, a: Value, c: Value) -> Tensor:
    """Where the flow of the velocity leads ``x`` from t to s."""
    found: Tensor = POINTS["transport"](x, t, a, c, s)
    return found

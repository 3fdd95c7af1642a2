"""Schedulers and an unconditional pipeline of diffusers on the Kac path, or any other.

Conventions, as in that library: large timesteps are noise, small ones data.  A timestep is
kacflow's time t in units of T / num_train_timesteps: ``num_train_timesteps`` is noise (t = T), 0 is
data (t = 0).  The model predicts kacflow's own velocity dx/dt, which points from data to noise, per
unit of t and not of a timestep; a step goes back in time, ``prev_sample = sample + (t_prev - t) *
model_output`` with t_prev < t.  The noise slot of :meth:`~NoiseEulerScheduler.add_noise` holds
noise of the same timesteps (:meth:`~NoiseEulerScheduler.sample_noise`), whose size depends on the
timestep: for Kac noise, numbers of ``torch.randn`` are refused.

Needs diffusers: ``pip install diffusers``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._arguments import (
    NUMBERS,
    answer,
    given,
    integer,
    must,
    positive,
    real,
    same_shape,
    tensor,
)
from kacflow._optional import require
from kacflow._times import as_tensor, batch_times, spread
from kacflow.adapters._diffusers_pipeline import KacPipeline, generators
from kacflow.adapters._paths import describe, noise_variance, on_cone, restore
from kacflow.adapters._timesteps import Timesteps
from kacflow.generate import MAX_STEPS, end_time
from kacflow.ops import _tensors
from kacflow.path import KacPath, Path
from kacflow.process import KacProcess
from kacflow.schedules import CLOCKS, SIGNALS

_library = require("diffusers", __name__)
_CPU = torch.device("cpu")
ConfigMixin: Any = _library.ConfigMixin
#: Public: diffusers looks for it here when it loads a pipeline with a scheduler of this module.
SchedulerMixin: Any = _library.SchedulerMixin
register_to_config: Any = require("diffusers.configuration_utils", __name__).register_to_config
SchedulerOutput: Any = require("diffusers.schedulers.scheduling_utils", __name__).SchedulerOutput

__all__ = [
    "KacAB2Scheduler",
    "KacEulerScheduler",
    "KacPipeline",
    "NoiseAB2Scheduler",
    "NoiseEulerScheduler",
]


class NoiseEulerScheduler(Timesteps, SchedulerMixin, ConfigMixin):
    """Euler steps along any path: timestep ``num_train_timesteps`` is noise, 0 is data.

    The model predicts dx/dt, from data to noise; a step integrates it back in time.  The noise slot
    of :meth:`add_noise` holds noise of :meth:`sample_noise`, not ``torch.randn``.

    Attributes
    ----------
    path : Path
        The path in kacflow's own time.
    timesteps : Tensor
        Where the model is evaluated, decreasing, float32; set by :meth:`set_timesteps`.

    Parameters
    ----------
    path : Path
        With noise at t = T.  Like the other parameters by name only, since diffusers'
        configurations do not keep what is given by position.
    num_train_timesteps : int
        The timestep that stands for t = T, 1 to 1,000,000.
    t_min : float
        Where integration ends, in [0, T).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    Processes of kacflow with named schedules are part of the configuration, parameters that were
    learned included: the scheduler has a copy of them as they were, without gradients, which
    follows the samples to their device.  A noise or a schedule of your own is used as it is; saved
    configurations only show it, and ``from_pretrained(folder, path=path)`` gives it back.

    Examples
    --------
    >>> import torch
    >>> from kacflow import Path, UniformProcess
    >>> from kacflow.adapters.diffusers import NoiseEulerScheduler
    >>> scheduler = NoiseEulerScheduler(path=Path(UniformProcess(2.0), clock="square"))
    >>> noisy, target = scheduler.sample_pair(torch.zeros(4, 3, 8, 8), 1000 * torch.rand(4))
    >>> scheduler.config.path["noise"]
    'UniformProcess'
    """

    order = 1

    @register_to_config
    def __init__(self, *, path: Path, num_train_timesteps: int = 1000, t_min: float = 0.0) -> None:
        # A loaded configuration has the description.
        said = describe(path) if isinstance(path, Path) else path
        own = isinstance(path, Path) and "own" in said
        self._begin(path if own else restore(said, _CPU), num_train_timesteps, t_min, path=said)

    def _begin(self, path: Path, most: Any, t_min: Any, /, **said: Any) -> None:
        """The state, and the configuration in Python's own numbers, which can be saved."""
        most = integer("num_train_timesteps", most, 1, MAX_STEPS)
        self.path, self._moved = path, (_CPU, path)
        said |= {"num_train_timesteps": most, "t_min": end_time(t_min, path.T)}
        self.register_to_config(**said)
        self.set_timesteps(most)

    def _path_at(self, device: torch.device) -> Path:
        """The path, with what it has of tensors on the device of the samples."""
        said = getattr(self.config, "path", {})
        if "tensors" not in said or device == _CPU:
            return self.path
        if device != self._moved[0]:
            self._moved = device, restore(said, device)
        return self._moved[1]

    def __len__(self) -> int:
        return self.config.num_train_timesteps

    # --- generation -------------------------------------------------------------------------------
    def init_noise(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | list[torch.Generator] | None = None,
        first: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw N(g(T)), where generation starts; ``torch.randn`` has another law.

        Arguments as in :meth:`kacflow.KacPath.sample_prior`; ``generator`` may be a list, one for
        each sample.
        """
        shape = _arguments.shape(shape)
        sources = generators(generator, shape)
        if not isinstance(sources, list):
            path = self.path if device is None else self._path_at(_arguments.device(device))
            return path.sample_prior(
                shape, generator=sources, first=first, dtype=dtype, device=device
            )
        must(first == 0, "first", given(first), "0 beside a list of generators")
        one = (1, *shape[1:])
        drawn = [self.init_noise(one, generator=g, dtype=dtype, device=device) for g in sources]
        return torch.cat(drawn)

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of :meth:`init_noise`, for pipelines that scale a Gaussian by it: the
        root of the mean variance where components differ.
        """
        end = torch.tensor(self.path.T, dtype=torch.float64, device="cpu")
        return float(noise_variance(self.path, end).mean().sqrt())

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The input of the model: ``sample`` itself."""
        return tensor("sample", sample)

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """One step back in time, towards the data.

        Steps are taken in the order of :attr:`timesteps`.  A timestep that was passed already
        begins a new loop there, which remembers nothing of the last; one further on is refused.

        The running point is kept in float32 where samples have 16 bits: elements of ``sample`` that
        are those which the last step returned are taken as they were before rounding.

        Parameters
        ----------
        model_output : Tensor
            dx/dt at ``sample``, from data to noise: of its shape, in any floating type.
        timestep : Tensor or float
            One of :attr:`timesteps`: the next one, or any to begin with.
        sample : Tensor
            The present point, computed with in float32 at least.
        generator
            Not used: the steps are deterministic.
        return_dict : bool
            Return a ``SchedulerOutput``, or a tuple.

        Returns
        -------
        SchedulerOutput or tuple
            ``prev_sample``, in the dtype of ``sample``.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed; also when all steps are done.
        """
        tensor("sample", sample)
        answer("model_output: got", model_output, sample)
        generators(generator, sample.shape)
        _arguments.flag("return_dict", return_dict)
        index = self._next_index(timestep)
        working = _tensors.working_dtype(sample.dtype)
        length = self._grid[index + 1] - self._grid[index]
        point = self._unrounded(sample) + self._increment(model_output.to(working), length)
        self.step_index = index + 1
        self._point = None if sample.dtype == working else point.detach()
        moved = _tensors.rounded("sample", point, sample.dtype)
        return SchedulerOutput(prev_sample=moved) if return_dict else (moved,)

    def _unrounded(self, sample: Tensor) -> Tensor:
        """The sample in its working type, with what the last step lost in rounding."""
        point = sample.to(_tensors.working_dtype(sample.dtype))
        last = self._point
        if last is None or last.shape != sample.shape or last.device != sample.device:
            return point
        rounded = last.to(sample.dtype)
        return point + torch.where(rounded == sample, last - rounded, 0.0)

    def _increment(self, velocity: Tensor, length: float) -> Tensor:
        """The change of the point over a step of ``length`` < 0."""
        return length * velocity

    # --- training ---------------------------------------------------------------------------------
    def sample_pair(
        self,
        sample: Tensor,
        timesteps: Tensor,
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Draw a training pair in one pass: the noised sample and the velocity to predict.

        Parameters
        ----------
        sample : Tensor
            Data, shape (B, ...).
        timesteps : Tensor or float
            In [0, num_train_timesteps], one for all or shape (B,); they need not be integers.
        generator, first
            As in :meth:`kacflow.KacPath.sample`.

        Returns
        -------
        tuple of Tensor
            The path at these timesteps, and dx/dt there, from data to noise.
        """
        times = self._times("timesteps", timesteps, "sample", sample)
        drawn = self._path_at(sample.device).sample(sample, times, generator=generator, first=first)
        return drawn.x_t, drawn.dx_t

    def sample_noise(
        self,
        sample: Tensor,
        timesteps: Tensor,
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
    ) -> Tensor:
        """Draw N(g(t)) of the shape of ``sample``, for :meth:`add_noise` and :meth:`get_velocity`.

        float64 for float64 samples, else float32.  It may be cast to a 16-bit type of the samples:
        what moves with ±c, of Kac noise, is recognised there up to the rounding of that type, but
        noise in float32 gives the exact velocity.  Other arguments as in :meth:`sample_pair`.
        """
        times = self._times("timesteps", timesteps, "sample", sample)
        noise: Tensor = self._path_at(sample.device).noise.sample(
            as_tensor(self.path.clock.value(times), times),
            sample.shape,
            generator=generator,
            first=first,
            dtype=times.dtype,
            device=sample.device,
        )
        return noise

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """f(t) original_samples + noise, in the dtype of the samples.

        Parameters
        ----------
        original_samples : Tensor
            Data, shape (B, ...).
        noise : Tensor
            That of the same timesteps, of :meth:`sample_noise`, of any floating type.
        timesteps : Tensor or float
            In [0, num_train_timesteps], one for all or shape (B,).

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed; for noise beyond the light
            cone, which Kac noise leaves by the rounding of its type at most (checked on the CPU).
        """
        times = self._times("timesteps", timesteps, "original_samples", original_samples)
        return self._noised("original_samples", original_samples, noise, times)

    def _noised(self, name: str, sample: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """f sample + noise, the noise checked."""
        noise = self._checked(noise, name, sample, times)
        f = spread(self.path.signal.value(times), noise)
        return _tensors.rounded("sample", f * sample.to(noise.dtype) + noise, sample.dtype)

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor | None = None) -> Tensor:
        """As :meth:`add_noise`; draws the noise, from torch's generator, if it is not given."""
        times = self._times("timestep", timestep, "sample", sample)
        if noise is None:
            noise = self.sample_noise(sample, timestep)
        return self._noised("sample", sample, noise, times)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """dx/dt of the path through these samples and noise, f' sample + g' v(g, noise).

        Arguments as in :meth:`add_noise`.
        """
        times = self._times("timesteps", timesteps, "sample", sample)
        noise = self._checked(noise, "sample", sample, times)
        df = spread(self.path.signal.derivative(times), noise)
        dg = spread(self.path.clock.derivative(times), noise)
        velocity = self._path_at(noise.device)._velocity(noise, times)
        moved = df * sample.to(noise.dtype) + dg * velocity
        return _tensors.rounded("sample", moved, sample.dtype)

    def _times(self, name: str, timesteps: Any, other: str, sample: Tensor) -> Tensor:
        """Times of a batch in its working type, of shape () or (B,), and a check of the batch.

        Timesteps may exceed the last by the rounding of their type.
        """
        tensor(other, sample)
        most = self.config.num_train_timesteps
        allowed = "numbers in [0, num_train_timesteps], one for all or one per sample"
        if isinstance(timesteps, Tensor):
            tensor(name, timesteps, NUMBERS)
            if _tensors.plain(timesteps) and timesteps.numel():
                low, high = (float(v) for v in torch.aminmax(timesteps.detach()))
                slack = torch.finfo(timesteps.dtype).eps if timesteps.is_floating_point() else 0
                within = low >= 0 and high <= most * (1 + max(slack, 1e-6))
                must(within, name, f"{low:g} to {high:g}", allowed)
        else:
            must(0 <= real(name, timesteps, allowed) <= most, name, timesteps, allowed)
        times: Any = self.time(timesteps)
        last = self.path.T
        times = times.clamp(max=last) if isinstance(timesteps, Tensor) else min(times, last)
        return batch_times(times, sample, last, name=name)

    def _checked(self, noise: Tensor, name: str, sample: Tensor, times: Tensor) -> Tensor:
        """The noise in the type of the times; Kac noise checked, and its atoms recognised."""
        tensor("noise", noise)
        same_shape("noise", noise, sample.shape, name)
        _tensors.check_same_device("noise", noise, name, sample.device)
        clock = as_tensor(self.path.clock.value(times), times)
        if isinstance(self.path.noise, KacProcess):
            return on_cone(noise, self._path_at(noise.device).noise, clock)
        return noise.to(times.dtype)


class KacEulerScheduler(NoiseEulerScheduler):
    """Euler steps along the Kac path: timestep ``num_train_timesteps`` is noise, 0 is data.

    The model predicts dx/dt, from data to noise; a step integrates it back in time.  The noise slot
    of :meth:`add_noise` holds Kac noise of :meth:`sample_noise`, not ``torch.randn``.

    Attributes
    ----------
    path : KacPath
        The path in kacflow's own time.
    timesteps : Tensor
        Where the model is evaluated, decreasing, float32; set by :meth:`set_timesteps`.

    Parameters
    ----------
    a, c : float
        Jump rate and speed of the process, > 0.  Like the other parameters by name only, since
        diffusers' configurations do not keep what is given by position.
    T : float
        Horizon, > 0.
    signal, clock : str
        Names of the schedules, as in :class:`kacflow.KacPath`.
    num_train_timesteps : int
        The timestep that stands for t = T, 1 to 1,000,000.
    t_min : float
        Where integration ends, in [0, T).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> import torch
    >>> from kacflow.adapters.diffusers import KacEulerScheduler
    >>> scheduler = KacEulerScheduler(a=9.0, c=3.0)
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps
    tensor([1000.,  750.,  500.,  250.])
    >>> x = scheduler.init_noise((2, 3, 8, 8))
    >>> for t in scheduler.timesteps:
    ...     x = scheduler.step(torch.zeros_like(x), t, x).prev_sample
    """

    @register_to_config
    def __init__(
        self,
        *,
        a: float,
        c: float,
        T: float = 1.0,
        signal: str = "linear",
        clock: str = "linear",
        num_train_timesteps: int = 1000,
        t_min: float = 0.0,
    ) -> None:
        a, c, T = positive("a", a), positive("c", c), positive("T", T)
        _arguments.choice("signal", signal, SIGNALS)
        _arguments.choice("clock", clock, CLOCKS)
        path = KacPath(KacProcess(a, c), T, signal, clock)
        self._begin(path, num_train_timesteps, t_min, a=a, c=c, T=T)


class _AB2(Timesteps):
    """Adams-Bashforth steps of second order in place of those of Euler."""

    _before: Tensor | None
    _last: float

    def _begin_anew(self, index: int | None) -> None:
        super()._begin_anew(index)
        self._before, self._last = None, 0.0

    def _increment(self, velocity: Tensor, length: float) -> Tensor:
        moved = length * velocity
        if self._before is not None:
            same_shape("sample", velocity, self._before.shape, "the step before")
            moved = moved + 0.5 * length * length / self._last * (velocity - self._before)
        self._before, self._last = velocity.clone(), length  # models may use their memory again
        return moved


class NoiseAB2Scheduler(_AB2, NoiseEulerScheduler):
    """Adams-Bashforth steps of second order along any path, at one evaluation of the model each.

    Conventions, arguments and methods are those of :class:`NoiseEulerScheduler`: timestep
    ``num_train_timesteps`` is noise, 0 is data; the model predicts dx/dt, from data to noise; the
    noise slot of ``add_noise`` holds noise of ``sample_noise``.  The first step is one of Euler;
    each other uses the velocity of the step before as well, for steps of any two lengths, as
    ``kacflow.generate(method="ab2")`` does.
    """


class KacAB2Scheduler(_AB2, KacEulerScheduler):
    """Adams-Bashforth steps of second order, at one evaluation of the model per step.

    Conventions, arguments and methods are those of :class:`KacEulerScheduler`: timestep
    ``num_train_timesteps`` is noise, 0 is data; the model predicts dx/dt, from data to noise; the
    noise slot of ``add_noise`` holds Kac noise.  The steps are those of
    :class:`NoiseAB2Scheduler`.
    """

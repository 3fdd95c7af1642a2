"""Schedulers and an unconditional pipeline of diffusers on the Kac path.

Conventions, as in that library: large timesteps are noise, small ones data.  A timestep is
kacflow's time t in units of T / num_train_timesteps: ``num_train_timesteps`` is noise (t = T), 0 is
data (t = 0).  The model predicts kacflow's own velocity dx/dt, which points from data to noise, per
unit of t and not of a timestep; a step goes back in time, ``prev_sample = sample + (t_prev - t) *
model_output`` with t_prev < t.  The noise slot of :meth:`~KacEulerScheduler.add_noise` holds Kac
noise of the same timesteps (:meth:`~KacEulerScheduler.sample_noise`), whose size depends on the
timestep: numbers of ``torch.randn`` are refused.

Needs diffusers: ``pip install diffusers``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._optional import require
from kacflow.adapters._diffusers_pipeline import KacPipeline
from kacflow.ops import _tensors
from kacflow.path import KacPath, as_tensor, batch_times, spread
from kacflow.process import KacProcess

_library = require("diffusers", __name__)
ConfigMixin: Any = _library.ConfigMixin
#: Public: diffusers looks for it here when it loads a pipeline with a scheduler of this module.
SchedulerMixin: Any = _library.SchedulerMixin
register_to_config: Any = require("diffusers.configuration_utils", __name__).register_to_config
SchedulerOutput: Any = require("diffusers.schedulers.scheduling_utils", __name__).SchedulerOutput

__all__ = ["KacAB2Scheduler", "KacEulerScheduler", "KacPipeline"]


class KacEulerScheduler(SchedulerMixin, ConfigMixin):
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
        The timestep that stands for t = T, >= 1.
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

    order = 1

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
        for name, value in (("a", a), ("c", c)):
            if isinstance(value, Tensor):
                raise TypeError(f"{name}: got a tensor; allowed: a float, which can be saved")
        for name, schedule in (("signal", signal), ("clock", clock)):
            if not isinstance(schedule, str):
                raise TypeError(f"{name}: got {type(schedule).__name__}; allowed: a name")
        self.path = KacPath(KacProcess(a, c), T, signal, clock)
        if not 0 <= t_min < T:
            raise ValueError(f"t_min: got {t_min}; allowed: 0 <= t_min < T = {T:g}")
        self.set_timesteps(num_train_timesteps)

    def __len__(self) -> int:
        return self.config.num_train_timesteps

    # --- times ------------------------------------------------------------------------------------
    def time(self, timesteps: Tensor | float) -> Tensor | float:
        """kacflow's time t of timesteps, T * timesteps / num_train_timesteps."""
        scale = self.config.T / self.config.num_train_timesteps
        if isinstance(timesteps, Tensor) and not timesteps.is_floating_point():
            timesteps = timesteps.to(torch.float32)
        return timesteps * scale

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Choose the steps from noise to data, and begin anew.

        Parameters
        ----------
        num_inference_steps : int
            Steps of equal length from T to ``t_min``, >= 1.
        device : torch.device or str, optional
            Where ``timesteps`` is to live.
        timesteps : sequence of float, optional
            Instead: decreasing timesteps to evaluate the model at; the last step ends at ``t_min``.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.
        """
        most = self.config.num_train_timesteps
        T, end = float(self.config.T), float(self.config.t_min)
        if timesteps is not None:
            if num_inference_steps not in (None, len(timesteps)):
                raise ValueError(
                    f"num_inference_steps: got {num_inference_steps}; allowed: None, beside "
                    f"{len(timesteps)} timesteps"
                )
            grid = [float(t) * T / most for t in timesteps] + [end]
            if len(grid) < 2 or any(not s < t for t, s in itertools.pairwise(grid)) or grid[0] > T:
                raise ValueError(
                    f"timesteps: got {list(timesteps)}; allowed: decreasing numbers from at most "
                    f"{most} to above {end * most / T:g}"
                )
        else:
            steps = num_inference_steps
            if isinstance(steps, bool) or not isinstance(steps, int):
                raise TypeError(
                    f"num_inference_steps: got {type(steps).__name__}; allowed: an int >= 1"
                )
            if steps < 1:
                raise ValueError(f"num_inference_steps: got {steps}; allowed: an int >= 1")
            grid = [T + (end - T) * i / steps for i in range(steps)] + [end]
        self.num_inference_steps = len(grid) - 1
        self._grid = grid
        self.timesteps = torch.tensor([t * most / T for t in grid[:-1]], dtype=torch.float32).to(
            device
        )
        self._step_index: int | None = None
        self._begin_index: int | None = None

    @property
    def step_index(self) -> int | None:
        """Number of the next step; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Number of the first step, if :meth:`set_begin_index` was called."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin with this step, whatever the timestep that comes first."""
        self._begin_index = begin_index

    def index_for_timestep(self, timestep: Tensor | float) -> int:
        """Number of the step that starts at ``timestep``, one of :attr:`timesteps`."""
        found = (self.timesteps == timestep).nonzero()
        if not len(found):
            raise ValueError(
                f"timestep: got {float(timestep):g}; allowed: one of scheduler.timesteps"
            )
        return int(found[0])

    # --- generation -------------------------------------------------------------------------------
    def init_noise(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        first: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw K(g(T)), where generation starts; a Gaussian has another law.

        Arguments as in :meth:`kacflow.KacPath.sample_prior`; ``generator`` may be a list, one for
        each sample.
        """
        if isinstance(generator, Sequence):
            if len(generator) != shape[0]:
                raise ValueError(
                    f"generator: got {len(generator)}; allowed: one, or {shape[0]}, one per sample"
                )
            one = (1, *shape[1:])
            drawn = [
                self.init_noise(one, generator=g, dtype=dtype, device=device) for g in generator
            ]
            return torch.cat(drawn)
        return self.path.sample_prior(
            shape, generator=generator, first=first, dtype=dtype, device=device
        )

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of :meth:`init_noise`, for pipelines that scale a Gaussian by it."""
        end = torch.tensor(self.path.T, dtype=torch.float64, device="cpu")
        return float(self.path.process.variance(float(self.path.clock.value(end))).sqrt())

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The input of the model: ``sample`` itself."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """One step back in time, towards the data.

        Parameters
        ----------
        model_output : Tensor
            dx/dt at ``sample``, from data to noise.
        timestep : Tensor or float
            One of :attr:`timesteps`; only the first call after :meth:`set_timesteps` reads it.
        sample : Tensor
            The present point, computed with in float32 at least.
        generator
            Not used: the steps are deterministic.
        return_dict : bool
            Return a ``SchedulerOutput``, or a tuple.

        Returns
        -------
        SchedulerOutput or tuple
            ``prev_sample``, in the dtype of ``model_output``.

        Raises
        ------
        ValueError
            If ``timestep`` is not one of :attr:`timesteps`, or all steps are done.
        """
        if self._step_index is None:
            begin = self._begin_index
            self._step_index = self.index_for_timestep(timestep) if begin is None else begin
            self._reset()
        if self._step_index >= len(self._grid) - 1:
            raise ValueError("step: all steps are done; allowed: to call set_timesteps again")
        length = self._grid[self._step_index + 1] - self._grid[self._step_index]
        working = _tensors.working_dtype(sample.dtype)
        moved = sample.to(working) + self._increment(model_output.to(working), length)
        self._step_index += 1
        moved = moved.to(model_output.dtype)
        return SchedulerOutput(prev_sample=moved) if return_dict else (moved,)

    def _reset(self) -> None:
        """Forget earlier steps."""

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
        timesteps : Tensor
            Shape (B,), in [0, num_train_timesteps]; they need not be integers.
        generator, first
            As in :meth:`kacflow.KacPath.sample`.

        Returns
        -------
        tuple of Tensor
            The path at these timesteps, and dx/dt there, from data to noise.
        """
        drawn = self.path.sample(sample, self.time(timesteps), generator=generator, first=first)
        return drawn.x_t, drawn.dx_t

    def sample_noise(
        self,
        sample: Tensor,
        timesteps: Tensor,
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
    ) -> Tensor:
        """Draw K(g(t)) of the shape of ``sample``, for :meth:`add_noise` and :meth:`get_velocity`.

        float64 for float64 samples, else float32.  Other arguments as in :meth:`sample_pair`.
        """
        _arguments.tensor("sample", sample)
        times = batch_times(self.time(timesteps), sample, self.path.T)
        return self.path.process.sample(
            as_tensor(self.path.clock.value(times), times),
            sample.shape,
            generator=generator,
            first=first,
            dtype=times.dtype,
            device=sample.device,
        )

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """f(t) original_samples + noise, in the dtype of the samples.

        Parameters
        ----------
        original_samples : Tensor
            Data, shape (B, ...).
        noise : Tensor
            Kac noise of the same timesteps, of :meth:`sample_noise`.
        timesteps : Tensor
            Shape (B,), in [0, num_train_timesteps].

        Raises
        ------
        ValueError
            For noise beyond the light cone, which Kac noise never leaves (checked on the CPU).
        """
        times = self._checked(original_samples, noise, timesteps)
        f = spread(self.path.signal.value(times), noise)
        return (f * original_samples + noise).to(original_samples.dtype)

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor | None = None) -> Tensor:
        """As :meth:`add_noise`; draws the noise, from torch's generator, if it is not given."""
        if noise is None:
            noise = self.sample_noise(sample, timestep)
        return self.add_noise(sample, noise, timestep)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """dx/dt of the path through these samples and noise, f' sample + g' v(g, noise).

        Arguments as in :meth:`add_noise`.
        """
        times = self._checked(sample, noise, timesteps)
        df = spread(self.path.signal.derivative(times), noise)
        dg = spread(self.path.clock.derivative(times), noise)
        clock = as_tensor(self.path.clock.value(times), times)
        clock = clock.reshape(-1, *(1,) * (noise.ndim - 1)) if clock.ndim else clock
        return (df * sample + dg * self.path.process.velocity(noise, clock)).to(sample.dtype)

    def _checked(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Times of a batch, and a check of its noise where that waits for nothing."""
        _arguments.tensor("noise", noise)
        if noise.shape != sample.shape:
            raise ValueError(
                f"noise: got shape {tuple(noise.shape)}; allowed: {tuple(sample.shape)}"
            )
        times = batch_times(self.time(timesteps), noise, self.path.T)
        if _tensors.plain(noise) and noise.numel():
            edge = float(self.path.process.c) * torch.as_tensor(self.path.clock.value(times))
            excess = noise.detach().abs().reshape(len(noise), -1).amax(1) - edge * (1 + 1e-6)
            if bool((excess > 0).any()):
                raise ValueError(
                    f"noise: got numbers beyond c g(t) by up to {float(excess.max()):g}; allowed: "
                    "Kac noise of these timesteps, drawn by sample_noise"
                )
        return times


class KacAB2Scheduler(KacEulerScheduler):
    """Adams-Bashforth steps of second order, at one evaluation of the model per step.

    Conventions, arguments and methods are those of :class:`KacEulerScheduler`: timestep
    ``num_train_timesteps`` is noise, 0 is data; the model predicts dx/dt, from data to noise; the
    noise slot of ``add_noise`` holds Kac noise.  The first step is one of Euler; each other uses
    the velocity of the step before as well, for steps of any two lengths, as
    ``kacflow.generate(method="ab2")`` does.
    """

    def _reset(self) -> None:
        self._before: Tensor | None = None
        self._last = 0.0

    def _increment(self, velocity: Tensor, length: float) -> Tensor:
        moved = length * velocity
        if self._before is not None:
            moved = moved + 0.5 * length * length / self._last * (velocity - self._before)
        self._before, self._last = velocity, length
        return moved

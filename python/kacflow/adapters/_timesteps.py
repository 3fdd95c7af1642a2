"""The timesteps of the schedulers of :mod:`kacflow.adapters.diffusers`, and which comes next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._arguments import NUMBERS, given, integer, must, numeric, real, reals, tensor
from kacflow.generate import MAX_STEPS
from kacflow.ops import _tensors
from kacflow.path import Path
from kacflow_core._validate import shown


class Timesteps:
    """Decreasing timesteps from noise to data, taken one after the other.

    Attributes
    ----------
    timesteps : Tensor
        Where the model is evaluated, float32; set by :meth:`set_timesteps`.
    step_index : int or None
        Number of the next step; None before the first.
    begin_index : int or None
        Number of the first step, if :meth:`set_begin_index` was called.
    """

    config: Any  #: of diffusers: ``t_min`` and ``num_train_timesteps``
    path: Path
    timesteps: Tensor
    num_inference_steps: int
    _grid: list[float]  #: kacflow's times of the steps, and the last end
    _numbers: Tensor  #: ``timesteps`` on the CPU
    begin_index: int | None
    step_index: int | None
    _point: Tensor | None  #: what the last step returned, before it was rounded to 16 bits

    def time(self, timesteps: Tensor | float) -> Tensor | float:
        """kacflow's time t of timesteps, T * timesteps / num_train_timesteps.

        float64 for float64 timesteps, else float32; a float for a number.
        """
        scale = self.path.T / self.config.num_train_timesteps
        if not isinstance(timesteps, Tensor):
            return real("timesteps", timesteps, "a number or a tensor") * scale
        tensor("timesteps", timesteps, NUMBERS)
        return timesteps.to(_tensors.working_dtype(timesteps.dtype)) * scale

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
        T, end = self.path.T, self.config.t_min
        if timesteps is not None:
            name, allowed = "timesteps", f"decreasing numbers in ({end * most / T:g}, {most}]"
            grid = [t / most * T for t in reals(name, timesteps, allowed)]
            steps = num_inference_steps
            fits = steps is None or integer("num_inference_steps", steps, 1) == len(grid)
            beside = f"None, beside {len(grid)} timesteps"
            must(fits, "num_inference_steps", shown(steps), beside)
            must(grid and grid[0] <= T and grid[-1] > end, name, str(timesteps)[:80], allowed)
        else:
            name, allowed = "num_inference_steps", f"an int in [1, {MAX_STEPS}]"
            steps = integer(name, num_inference_steps, 1, MAX_STEPS)
            grid = [T + (end - T) * i / steps for i in range(steps)]
        where = None if device is None else _arguments.device(device)
        numbers = torch.tensor([t * most / T for t in grid], dtype=torch.float32, device="cpu")
        got = num_inference_steps if timesteps is None else str(timesteps)[:80]
        decrease = all(s < t for t, s in itertools.pairwise(numbers.tolist()))
        must(decrease, name, got, f"{allowed}, whose timesteps float32 can tell apart")
        self.num_inference_steps = len(grid)
        self._grid = [*grid, end]
        self._numbers = numbers
        self.timesteps = numbers.to(where)
        self._begin_anew(None)

    def _begin_anew(self, index: int | None) -> None:
        """Forget all earlier steps; ``index`` is that of the first one, if it is known."""
        self.begin_index = index
        self.step_index = None
        self._point = None

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin anew with this step, 0 <= begin_index < steps; its timestep must come first."""
        self._begin_anew(integer("begin_index", begin_index, 0, len(self._numbers) - 1))

    def index_for_timestep(self, timestep: Tensor | float) -> int:
        """Number of the step that starts at ``timestep``, one of :attr:`timesteps`.

        A timestep of a tensor is known up to the rounding of its type.
        """
        return self._index(timestep, 0)

    def _index(self, timestep: Any, expected: int) -> int:
        """Number of a step by its timestep, ``expected`` where several round to that."""
        allowed = "one of scheduler.timesteps"
        numbers = self._numbers
        if isinstance(timestep, Tensor):
            place = self._place(timestep)
            if place is not None:
                return place
            one = numeric("timestep", timestep, allowed).numel() == 1
            must(one, "timestep", given(timestep), allowed)
            if timestep.is_floating_point():
                numbers = numbers.to(timestep.dtype).to(numbers.dtype)
            timestep = timestep.item()
        number = real("timestep", timestep, allowed)
        found = (numbers == number).nonzero().flatten().tolist()
        if not found:
            raise ValueError(f"timestep: got {number:g}; allowed: {allowed}")
        return expected if expected in found else found[0]

    def _place(self, timestep: Tensor) -> int | None:
        """Number of an element of :attr:`timesteps` itself, by its address: nothing waits."""
        own = self.timesteps
        if type(timestep) is not Tensor or timestep.is_meta or timestep.numel() != 1:
            return None
        if (timestep.device, timestep.dtype) != (own.device, own.dtype):
            return None
        place, rest = divmod(timestep.data_ptr() - own.data_ptr(), own.element_size())
        return place if not rest and 0 <= place < len(own) else None

    def _next_index(self, timestep: Any) -> int:
        """Number of the step to take; a new loop where a timestep that was passed comes again."""
        expected = self.begin_index if self.step_index is None else self.step_index
        if expected is None:
            index = self._index(timestep, 0)
        elif expected == len(self._numbers):
            raise ValueError("step: all steps are done; allowed: to call set_timesteps again")
        else:
            index = self._index(timestep, expected)
            if index > expected or (self.step_index is None and index < expected):
                raise ValueError(
                    f"timestep: got {float(timestep):g}; allowed: "
                    f"{float(self._numbers[expected]):g}, the next of scheduler.timesteps, or one "
                    "that was passed, to begin anew (set_begin_index begins elsewhere)"
                )
        if self.step_index is None or index != expected:
            self._begin_anew(self.begin_index)
        return index

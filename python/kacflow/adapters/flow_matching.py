"""A ``ProbPath`` of flow_matching on the Kac path.

Conventions, as in that library: source (noise) at t = 0, target (data) at t = 1; ``x_1`` is data
and ``x_0`` is the noise slot, whose numbers are not used: the Kac noise, whose law depends on t,
replaces them.  ``dx_t`` is dx/dt from noise to data, against kacflow's own: with kacflow's time
s = T (1 - t), it is -T times that of :class:`kacflow.KacPath`.

To generate, start an ``ODESolver`` from Kac noise (:meth:`KacProbPath.sample_prior`), not from
``torch.randn``.

Needs flow_matching: ``pip install flow_matching``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow._optional import require
from kacflow.adapters._paths import OnKacPath, check_path
from kacflow.adapters._unit_time import check_pair, check_points, own_time
from kacflow.path import Path

_library = require("flow_matching.path", __name__)
_Parent: Any = _library.ProbPath

__all__ = ["KacProbPath", "NoiseProbPath"]


class NoiseProbPath(_Parent):
    """X_t = f(s) X_1 + N(g(s)) with s = T (1 - t), for any noise N: noise at t = 0, data ``x_1`` at
    t = 1.

    ``x_0`` is the noise slot: only its shape counts.  ``dx_t`` is dx/dt, from noise to data: -T
    times the velocity of the path.

    Parameters
    ----------
    path : Path
        The path in kacflow's own time s, with noise at s = T.

    Raises
    ------
    TypeError
        For another object.

    Examples
    --------
    >>> import torch
    >>> from kacflow import Path, UniformProcess
    >>> from kacflow.adapters.flow_matching import NoiseProbPath
    >>> path = NoiseProbPath(Path(UniformProcess(2.0)))
    >>> x_1 = torch.zeros(8, 2)
    >>> path.sample(x_0=torch.randn_like(x_1), x_1=x_1, t=torch.rand(8)).dx_t.shape
    torch.Size([8, 2])
    """

    def __init__(self, path: Path) -> None:
        self.path = check_path(path)

    def sample(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> Any:
        """Draw X_t and dx/dt there; noise at t = 0, data at t = 1.

        Parameters
        ----------
        x_0 : Tensor
            The noise slot, of the shape of ``x_1``; its numbers are not used.
        x_1 : Tensor
            Data, shape (B, ...).
        t : Tensor
            Times in [0, 1], shape (B,).

        Returns
        -------
        flow_matching.path.PathSample
            ``x_1``, ``x_0`` and ``t`` as given; ``x_t``; ``dx_t``, from noise to data.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Notes
        -----
        One 64-bit number of torch's generator is consumed.
        """
        check_pair("x_0", x_0, "x_1", x_1, t)
        drawn = self.path.sample(x_1, own_time(t, x_1, self.path.T))
        return _library.PathSample(
            x_1=x_1, x_0=x_0, t=t, x_t=drawn.x_t, dx_t=-self.path.T * drawn.dx_t
        )

    def sample_prior(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        first: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw X_0, the noise at t = 0 to start an ``ODESolver`` from.

        Arguments as in :meth:`kacflow.KacPath.sample_prior`.
        """
        return self.path.sample_prior(
            shape, generator=generator, first=first, dtype=dtype, device=device
        )

    def target_to_velocity(self, x_1: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """dx/dt at ``x_t`` given the data ``x_1``, from noise to data.

        -T times :meth:`kacflow.Path.velocity`; an atom is recognised only up to the rounding of
        ``x_t``, whose shape is that of ``x_1``.
        """
        check_points("x_t", x_t, "x_1", x_1)
        return -self.path.T * self.path.velocity(x_t, own_time(t, x_t, self.path.T), x_1)


class KacProbPath(OnKacPath, NoiseProbPath):
    """X_t = f(s) X_1 + K(g(s)) with s = T (1 - t): noise at t = 0, data ``x_1`` at t = 1.

    ``x_0`` is the noise slot: only its shape counts, the Kac noise replaces its numbers.  ``dx_t``
    is dx/dt, from noise to data: -T times the velocity of :class:`kacflow.KacPath`.

    Attributes
    ----------
    path : KacPath
        The same path in kacflow's own time s.

    Parameters
    ----------
    a, c : float or Tensor
        Jump rate and speed, as in :class:`kacflow.KacProcess`, in units of s.
    T : float
        Length of the path in s, > 0.
    signal, clock : str or Schedule
        f and g, as in :class:`kacflow.KacPath`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Examples
    --------
    >>> import torch
    >>> from kacflow.adapters.flow_matching import KacProbPath
    >>> path = KacProbPath(a=9.0, c=3.0)
    >>> x_1 = torch.zeros(8, 2)
    >>> sample = path.sample(x_0=torch.randn_like(x_1), x_1=x_1, t=torch.rand(8))
    >>> sample.x_t.shape, bool(sample.dx_t.abs().max() <= 3.0)
    (torch.Size([8, 2]), True)
    """

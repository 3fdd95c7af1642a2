"""The exact field of a finite data set: what a perfect network would learn."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kacflow import _arguments
from kacflow._times import batch_times, spread
from kacflow.ops import logpdf, velocity
from kacflow.ops._tensors import check_labels, check_same_device, plain, working_dtype
from kacflow.path import KacPath, Path, check_density
from kacflow.process import KacProcess, over_dimensions

#: Numbers that the temporary tensors of one chunk hold, where no chunk is given.
_NUMBERS = 2**21
#: By how many spacings of its type a point may miss the edge of a light cone and still be on it.
_ULPS = 4.0


class EmpiricalField:
    """The velocity E[dX_t | X_t = x] of a path whose data are finitely many points.

    For points x_i, all equally likely,

        u(x, t) = sum_i w_i u_i,  u_i = f'(t) x_i + g'(t) v(g(t), x - f(t) x_i),  w_i ~ p_i,

    with the weights p_i = prod_k p(g(t), x_k - f(t) x_ik), the law of the noise for each component
    k.  This minimises the loss of training over all fields: :func:`kacflow.generate` with it ends
    at the data.

    Parameters
    ----------
    data : Tensor
        The points, shape (n, ...) with n >= 1, finite; float32, float64, bfloat16 or float16.
    path : Path
        A path whose noise has a ``log_prob(x, t)``, such as :class:`kacflow.KacPath` or
        :class:`kacflow.GaussianPath`.
    labels : Tensor, optional
        Classes of the points, int64 of shape (n,), to condition on.
    chunk : int, optional
        How many points are looked at together, >= 1; a temporary tensor then holds ``chunk``
        batches.  By default so many that it holds about two million numbers, and at least one.
        The chunk changes the result by rounding only.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    Kac noise has atoms: ``x`` is on one in component k where abs(x_k - f x_ik) is c g, up to 4
    spacings of the type of ``x`` at abs(f x_ik) + c g, since that is how well ``x`` tells it (a
    draw of ``path.sample`` in float32 or float64 misses by less than 3).  An atom is infinitely
    more likely than a density, so of the points x_i only those count that have the most atoms,
    weighted by the density of the other components and the masses e^(-a g)/2 of the atoms; there v
    is ±c.  What is on an atom by accident counts as well: for many points in many dimensions take
    float64, where that hardly happens.

    Where ``x`` is outside the light cones of all points, as the steps of an integration may lead,
    the point with the nearest cone counts, in Euclidean distance from ``x`` to the cube of half
    width c g about f x_i; v is ±c in the components outside.  For other noises it is the nearest
    point f x_i where all densities are 0, as at t = 0.  So the field is defined for all x, and of a
    Kac path it is at most c abs(g') + abs(f') max_i abs(x_ik) in component k.

    Examples
    --------
    >>> import torch
    >>> from kacflow import EmpiricalField, KacPath, KacProcess, generate
    >>> path = KacPath(KacProcess(9.0, 3.0))
    >>> field = EmpiricalField(torch.tensor([[-1.0], [1.0]]), path)
    >>> field(torch.zeros(3, 1), 0.5).flatten()
    tensor([0., 0., 0.])
    >>> x = generate(field, torch.tensor([[-0.5], [0.1], [2.0]]), path, steps=200)
    >>> x.flatten().round(decimals=1)
    tensor([-1.,  1.,  1.])
    """

    def __init__(
        self, data: Tensor, path: Path, labels: Tensor | None = None, *, chunk: int | None = None
    ) -> None:
        _arguments.tensor("data", data)
        some = data.ndim and len(data)
        _arguments.must(some, "data", f"shape {tuple(data.shape)}", "(n, ...) with n >= 1")
        if plain(data) and not bool(data.isfinite().all()):
            raise ValueError("data: got inf or NaN; allowed: finite numbers")
        check_density(path)
        if labels is not None:
            check_labels(labels, data, "data")
        if isinstance(path.noise, KacProcess) and not isinstance(path, KacPath):
            path = KacPath(path.noise, path.T, path.signal, path.clock)
        self._data, self._path, self._labels = data.detach(), path, labels
        self._chunk = None if chunk is None else _arguments.integer("chunk", chunk, 1)

    @property
    def data(self) -> Tensor:
        """The points."""
        return self._data

    @property
    def path(self) -> Path:
        """The path."""
        return self._path

    @property
    def labels(self) -> Tensor | None:
        """Classes of the points."""
        return self._labels

    def __repr__(self) -> str:
        return f"EmpiricalField({len(self._data)} points of shape {tuple(self._data.shape[1:])})"

    def __call__(self, x: Tensor, t: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """u(x, t).

        Parameters
        ----------
        x : Tensor
            Shape (B, ...), that of the points but for the first axis; float32, float64, bfloat16 or
            float16, on the device of the points.  16 bits are computed in float32.
        t : float or Tensor
            Time in [0, T]: one for all, or shape (B,).
        labels : Tensor, optional
            int64 of shape (B,): only points of this class count, all of them for -1.  A class that
            no point has raises ValueError on the CPU; elsewhere, where looking would have to wait
            for the device, it counts as -1.

        Returns
        -------
        Tensor
            Shape and dtype of ``x``.  Differentiable with respect to ``x``, as far as atoms and
            edges allow: they are taken as fixed.  With several chunks, each is computed again when
            it is differentiated, so that memory stays bounded.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.
        """
        _arguments.tensor("x", x)
        data, shape = self._data, self._data.shape[1:]
        if not x.ndim or x.shape[1:] != shape:
            allowed = f"(B, {', '.join(map(str, shape))})"
            raise ValueError(f"x: got shape {tuple(x.shape)}; allowed: {allowed}, as the data")
        check_same_device("data", data, "x", x.device)
        times, B, D = batch_times(t, x, self._path.T), len(x), math.prod(shape)
        classes = self._classes(labels, x)
        point = x.to(working_dtype(x.dtype))
        chunk = self._chunk or max(1, _NUMBERS // max(1, B * D))
        # For each sample: the best rank yet, and of the points that have it the largest log weight,
        # the sums of the weights, of the weighted points and of the weighted velocities.
        sums: tuple[Tensor, ...] = (
            point.new_full((B, 1), math.inf), point.new_full((B, 1), -math.inf),
            point.new_zeros(B, 1), point.new_zeros(B, D), point.new_zeros(B, D),
        )  # fmt: skip
        again = len(data) > chunk and torch.is_grad_enabled() and point.requires_grad
        for i in range(0, len(data), chunk):
            part = data[i : i + chunk].to(point.dtype)
            own = None if self._labels is None else self._labels[i : i + chunk]
            given = (sums, point, torch.finfo(x.dtype).eps, times, part, classes, own)
            if again:
                sums = checkpoint(self._add, *given, use_reentrant=False, preserve_rng_state=False)
            else:
                sums = self._add(*given)
        _, _, total, where, moving = sums
        path = self._path
        df, dg = (spread(s.derivative(times), where) for s in (path._signal, path._clock))
        return ((df * where + dg * moving) / total).reshape(x.shape).to(x.dtype)

    def _classes(self, labels: Any, x: Tensor) -> Tensor | None:
        """The checked classes asked for."""
        if labels is None:
            return None
        if self._labels is None:
            raise ValueError("labels: got some; allowed: None, since the points have none")
        check_labels(labels, x, "x")
        if plain(labels, self._labels):
            unknown = labels[(labels != -1) & ~torch.isin(labels, self._labels)]
            if len(unknown):
                known = self._labels.unique().tolist()
                raise ValueError(
                    f"labels: got {unknown[0].item()}; allowed: -1 or a class of the points, "
                    f"{str(known)[:80]}"
                )
        return labels

    def _add(
        self,
        sums: tuple[Tensor, ...],
        x: Tensor,
        eps: float,
        times: Tensor,
        data: Tensor,
        classes: Tensor | None,
        own: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """The sums with more points."""
        best, top, total, where, moving = sums
        B, n, D = len(x), len(data), math.prod(x.shape[1:])
        if times.ndim:
            times = times.repeat_interleave(n)
        pairs = (B * n, *x.shape[1:])
        f = spread(self._path._signal.value(times), x)
        mean = f * data.expand(B, *data.shape).reshape(pairs)
        noise = x[:, None].expand(B, *data.shape).reshape(pairs) - mean
        weigh = self._weigh_kac if isinstance(self._path, KacPath) else self._weigh
        weight, rank, v = (r.reshape(B, n, *r.shape[1:]) for r in weigh(noise, times, mean, eps))
        if classes is not None and own is not None:
            other = (classes[:, None] != own) & (classes[:, None] != -1)
            rank = rank.masked_fill(other, math.inf)
        # The least rank decides; weights relative to the largest of that rank.
        least = torch.minimum(best, rank.amin(1, keepdim=True))
        weight = torch.where(rank == least, weight, -math.inf)
        before = torch.where(best == least, top, -math.inf)
        top = torch.maximum(before, weight.detach().amax(1, keepdim=True))
        kept, w = (before - top).exp(), (weight - top).exp()
        return (
            least,
            top,
            kept * total + w.sum(1, keepdim=True),
            kept * where + (w[..., None] * data.reshape(n, D)).sum(1),  # no matrix product, which
            kept * moving + (w[..., None] * v.reshape(B, n, D)).sum(1),  # autocast would round
        )

    def _weigh(
        self, noise: Tensor, times: Tensor, mean: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of each row of noise: its log density, its rank and v.

        The less the likelier, without limit: minus the number of components with infinite density;
        for rows without density the squared distance.
        """
        density = self._path._log_prob(noise, times)
        atom = density == math.inf
        weight = over_dimensions(torch.where(atom, 0.0, density))
        none = weight == -math.inf
        distance = over_dimensions(noise.detach().square())
        rank = torch.where(none, distance, -over_dimensions(atom.to(noise.dtype)))
        return torch.where(none, 0.0, weight), rank, self._path._velocity(noise, times)

    def _weigh_kac(
        self, noise: Tensor, times: Tensor, mean: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same of Kac noise, whose atoms are known up to rounding; the distance is that to the
        light cone.
        """
        g, a, c = self._path._aligned(noise, times)  # type: ignore[attr-defined]
        reach = c * g
        beyond = (noise.abs() - reach).detach()
        slack = _ULPS * eps * (mean.abs() + reach)
        inside, outside = beyond < -slack, beyond > slack
        held = torch.where(inside, noise, torch.zeros_like(noise))  # no derivatives at the edge
        mass = torch.where(outside, torch.zeros_like(noise), -a * g - math.log(2.0))
        weight = torch.where(inside, logpdf(held, g, a, c), mass)
        v = torch.where(inside, velocity(held, g, a, c), c * noise.sign())
        atoms = over_dimensions((~(inside | outside)).to(noise.dtype))
        distance = over_dimensions(torch.where(outside, beyond, 0.0).square())
        rank = torch.where(distance > 0, distance, -atoms)
        return over_dimensions(weight), rank, v

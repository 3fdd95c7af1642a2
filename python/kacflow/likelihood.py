"""Likelihoods of the flow that a learned field defines, by the change of variables along it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kacflow import _arguments
from kacflow._normal import normal
from kacflow.generate import (
    ADAPTIVE,
    FIXED_STEP,
    PREDICTIONS,
    Field,
    adaptive,
    learned_field,
    times_between,
    tolerances,
)
from kacflow.ops._tensors import working_dtype
from kacflow.path import Path, check_density
from kacflow.process import over_dimensions
from kacflow.time_grids import RHO

METHODS = ("exact", "hutchinson")


def log_likelihood(
    model: Field,
    x_0: Tensor,
    path: Path,
    *,
    method: str = "exact",
    probes: int = 1,
    steps: int = 100,
    solver: str = "heun",
    t_grid: str | Sequence[float] | None = None,
    t_min: float = 0.0,
    rho: float = RHO,
    labels: Tensor | None = None,
    guidance: float = 0.0,
    prediction: str = "velocity",
    generator: torch.Generator | None = None,
    first: int = 0,
    **options: Any,
) -> Tensor:
    """Log density, in nats, of the law that :func:`kacflow.generate` draws from.

    From ``x_0`` at ``t_min`` it follows dx/dt = u(x, t) up to T, with the field u that a model
    gives, and adds up the divergence of u:

        log p(x_0) = log p_T(x(T)) + int_{t_min}^T div u(x(t), t) dt,

    with the density p_T of ``path.noise`` at the clock's time g(T), the law from which
    ``path.sample_prior`` draws.  Each sample of a batch must have its own velocity, whatever the
    others are: no batch normalisation in training mode.

    Parameters
    ----------
    model : callable
        As in :func:`kacflow.generate`, and differentiable in x by torch's autograd.
    x_0 : Tensor
        Data, shape (B, ...); float32, float64, bfloat16 or float16.  16-bit data is integrated in
        float32, and the model sees points and times rounded to 16 bits.
    path : Path
        Its ``T`` is where the integration ends; its noise has a ``log_prob(x, t)``, as
        :class:`kacflow.KacProcess` and :class:`kacflow.BrownianProcess` do.
    method : {"exact", "hutchinson"}
        The divergence: the whole trace, at the cost of one backward pass of the model per dimension
        of a sample; or Hutchinson's estimate e . (du/dx) e with random signs e, without bias (of
        the integral, for the same x(t)), at one backward pass per probe.  Its variance, where A is
        the symmetric part of du/dx, is 2 sum_{i != j} A_ij^2.
    probes : int
        Vectors e per sample, >= 1, averaged over; for "hutchinson".  They stay the same during the
        integration.
    steps, t_grid, t_min, rho
        Times as in :func:`kacflow.generate`, gone through from the last to the first.
    solver : str
        ``"heun"``, ``"euler"``, ``"ab2"``, ``"midpoint"``, ``"rk4"``, or an adaptive method of
        torchdiffeq, as ``method`` of :func:`kacflow.generate`.  All evaluate the field at ``t_min``
        itself.
    labels, guidance, prediction
        As in :func:`kacflow.generate`; ``prediction="data"`` asks for ``t_min > 0``.
    generator : torch.Generator, optional
        Source of the probes; by default torch's own.  One 64-bit number of it is consumed by
        "hutchinson", whatever the shape, and none by "exact".
    first : int
        Number of the first sample in a larger batch, >= 0: with equal seeds, a batch that is done
        in parts has the probes of the whole.
    **options
        For adaptive methods, as in :func:`kacflow.generate`.

    Returns
    -------
    Tensor
        Shape (B,), in nats; float64 for float64 data, else float32.  Gradients follow the caller's
        grad mode, at the cost of one more evaluation and of memory for all steps: wrap the call in
        ``torch.no_grad()`` if none are needed.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed; ``path`` for a noise without
        ``log_prob``, ``model`` for a velocity that autograd cannot differentiate.
    ImportError
        For an adaptive method without torchdiffeq.

    Notes
    -----
    The law of a Kac process has atoms, which have no density: ``log_prob`` is that of its
    continuous part, of mass 1 - e^(-a g(T)) per dimension, on the light cone and its edge.  A point
    that the flow carries out of the light cone has density 0, and the result is -inf.  As in
    ``sample_prior``, the signal's rest f(T) x_0, of "exp" and "constant", is left out of p_T.

    The divergence is what autograd finds: of a field that jumps, as :class:`kacflow.EmpiricalField`
    of several points does on a Kac path where the light cone of one ends inside that of another,
    what the jumps contribute is missing.

    The field that generates data of a density is smooth down to t = 0 only if the density is; for
    data on a lower-dimensional set, such as finitely many points, the density at ``t_min`` has no
    limit as ``t_min`` goes to 0.

    References
    ----------
    Chen, Rubanova, Bettencourt, Duvenaud, arXiv 1806.07366; Grathwohl, Chen, Bettencourt,
    Sutskever, Duvenaud, arXiv 1810.01367.

    Examples
    --------
    >>> import torch
    >>> from kacflow import GaussianPath, log_likelihood
    >>> path = GaussianPath("flow_matching")
    >>> x_0 = torch.tensor([[0.0], [1.0]])
    >>> log_likelihood(lambda x, t: 0.0 * x, x_0, path)  # the noise itself, N(0, 1)
    tensor([-0.9189, -1.4189])
    """
    _arguments.choice("method", method, METHODS)
    _arguments.integer("probes", probes, 1, 2**31)
    _arguments.choice("solver", solver, (*FIXED_STEP, *ADAPTIVE))
    _arguments.choice("prediction", prediction, PREDICTIONS)
    check_density(path)
    dtype = _arguments.tensor("x_0", x_0).dtype
    _arguments.must(x_0.ndim, "x_0", "shape ()", "(B, ...), one sample per row")
    times = times_between(path, steps, t_grid, t_min, rho)
    if prediction == "data" and times[-1] == 0:
        raise ValueError("t_min: got 0; allowed for prediction 'data': t_min > 0")
    chosen = tolerances(options, solver, "x_0", x_0, "solver")
    _arguments.generator(generator)
    _arguments.integer("first", first)
    working, shape, wanted = working_dtype(dtype), x_0.shape, torch.is_grad_enabled()
    # Tensors made in inference mode have no derivatives, within it either.
    with torch.inference_mode(False), torch.set_grad_enabled(wanted):
        start = _outside_inference(x_0)
        labels = _outside_inference(labels) if isinstance(labels, Tensor) else labels
        field = learned_field(
            model, start, path, times,
            labels=labels, guidance=guidance, prediction=prediction, name="x_0",
        )  # fmt: skip
        if wanted:  # and if there is something to differentiate with respect to
            wanted = start.requires_grad or field(start.to(working), times[-1]).requires_grad
        signs = None
        if method == "hutchinson":
            e = normal(
                (len(x_0), probes, *shape[1:]),
                generator=generator, first=first, dtype=working, device=x_0.device,
            )  # fmt: skip
            signs = torch.where(e < 0, -1.0, 1.0).to(working).unbind(1)

        def change(state: Tensor, t: Any) -> Tensor:
            """Of the points and, in a last column, of the log density."""
            u, divergence = _with_divergence(field, state[:, :-1].reshape(shape), t, signs, wanted)
            return torch.cat((u.reshape(rows.shape), divergence[:, None]), 1)

        rows = start.to(working).reshape(len(x_0), math.prod(shape[1:]))
        state = torch.cat((rows, rows.new_zeros(len(rows), 1)), 1)
        if solver in FIXED_STEP:
            for point in FIXED_STEP[solver](change, times[::-1], state):
                state = point
        elif x_0.numel():
            ends = [times[-1], times[0]]
            state = adaptive(change, state, ends, solver, chosen, "solver")[-1]
        end = torch.full((), path.T, dtype=working, device=x_0.device)
        prior = path._log_prob(state[:, :-1].reshape(shape), end)
        return over_dimensions(prior) + state[:, -1]


def _outside_inference(value: Tensor) -> Tensor:
    """A tensor that autograd may keep."""
    return value.clone() if value.is_inference() else value


def _with_divergence(
    field: Callable[[Tensor, Any], Tensor],
    x: Tensor,
    t: Any,
    signs: Sequence[Tensor] | None,
    wanted: bool,
) -> tuple[Tensor, Tensor]:
    """u(x, t) and its divergence or, with vectors e, the mean of e . (du/dx) e.

    ``wanted``: whether derivatives of the result will be asked for.
    """
    with torch.enable_grad():
        if not (wanted and x.requires_grad):
            x = x.detach().requires_grad_()
        u = field(x, t)
        rows = u.reshape(len(u), math.prod(u.shape[1:]))

        def back(value: Tensor, keep: bool) -> Tensor:
            """The derivative of a sum over the samples, as rows."""
            found = None
            if u.requires_grad:
                (found,) = torch.autograd.grad(
                    value.sum(), x, retain_graph=keep or wanted, create_graph=wanted,
                    allow_unused=True,
                )  # fmt: skip
            if found is None:
                raise ValueError(
                    "model: returned a velocity that autograd finds independent of x; allowed: one "
                    "that it can differentiate"
                )
            return found.reshape(rows.shape)

        total, D = rows.new_zeros(len(rows)), rows.shape[1]
        if signs is None:
            for i in range(D):
                total = total + back(rows[:, i], i + 1 < D)[:, i]
        else:
            for k, e in enumerate(v.reshape(rows.shape) for v in signs):
                total = total + (back(rows * e, k + 1 < len(signs)) * e).sum(1) / len(signs)
    return (u, total) if wanted else (u.detach(), total.detach())


def bits_per_dim(log_likelihood: Tensor, shape: Sequence[int], levels: int = 256) -> Tensor:
    """Bits per dimension of quantised data, from its log density: what a code of it costs.

    For data with ``levels`` equally spaced values in [-1, 1], such as images that ``kacflow train``
    scales: -log2 of the density times the spacing 2/(levels - 1) to the power D, over D.  It bounds
    the cost of the levels from above on average if noise, uniform on one spacing, was added to the
    data before :func:`log_likelihood`.

    Parameters
    ----------
    log_likelihood : Tensor
        In nats, one for each sample.
    shape : sequence of int
        Shape of one sample, of D >= 1 numbers.
    levels : int
        In [2, 2^53]; of 8-bit images 256.

    Returns
    -------
    Tensor
        Of the shape and dtype of ``log_likelihood``, in bits.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    References
    ----------
    Theis, van den Oord, Bethge, arXiv 1511.01844.

    Examples
    --------
    >>> import torch
    >>> from kacflow.likelihood import bits_per_dim
    >>> uniform = torch.tensor([-12 * torch.log(torch.tensor(512 / 255.0))])  # on the 256 levels
    >>> bits_per_dim(uniform, (3, 2, 2))
    tensor([8.])
    """
    value = _arguments.tensor("log_likelihood", log_likelihood, _arguments.WORKING)
    extents = _arguments.shape(shape)
    D = math.prod(extents)
    _arguments.must(D, "shape", extents, "no axis of length 0")
    spacing = 2.0 / (_arguments.integer("levels", levels, 2, 2**53) - 1)
    return -value / (D * math.log(2.0)) - math.log2(spacing)

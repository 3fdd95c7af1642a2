"""How large a field is and how fast it changes, as t goes to 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality import measures, pictures
from kacflow.path import Path
from kacflow.training.data import torch_generator

#: Times of all measurements; the networks are trained from 1e-3 on.
TIMES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 0.95)
ITERATIONS = 20  #: of the power iteration
MEASURES = {
    "norm": "root mean square over samples of |v(x_t, t)| / sqrt(d), by t",
    "largest_norm": "largest |v(x_t, t)| / sqrt(d), by t",
    "lipschitz": "median over samples of the largest singular value of dv/dx at x_t, by t",
    "largest_lipschitz": "largest of them, by t",
}
Field = Callable[[Tensor, Tensor], Tensor]


def largest_singular_values(field: Field, x: Tensor, t: Tensor, seed: int = 0) -> Tensor:
    """Largest singular value of the Jacobian of the field at each sample, shape (B,).

    By power iteration on J^T J, with J v from two backward passes, so that nothing but first and
    second derivatives of the field is asked for.  A lower bound that converges from below.
    """
    x = x.detach().requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(x.shape, generator=generator).to(x)
    size = x.new_zeros(len(x))

    def length(w: Tensor) -> Tensor:
        return w.flatten(1).norm(dim=1)

    def scaled(w: Tensor) -> Tensor:
        norm = length(w).clamp(min=torch.finfo(w.dtype).tiny)
        return w / norm.reshape(-1, *[1] * (w.ndim - 1))

    u = field(x, t)
    probe = torch.zeros_like(u, requires_grad=True)
    [pulled] = torch.autograd.grad(u, x, probe, create_graph=True)  # linear in the probe: J^T
    for _ in range(ITERATIONS):
        v = scaled(v)
        [pushed] = torch.autograd.grad(pulled, probe, v, retain_graph=True)  # J v
        size = length(pushed)
        [v] = torch.autograd.grad(u, x, pushed, retain_graph=True)
    return size.detach()


def measured(
    field: Field, path: Path, x_0: Tensor, seed: int, *, lipschitz: bool = True
) -> measures.Measured:
    """All measures of a field along its path, at the same samples and noise for every time."""
    found: measures.Measured = {name: {} for name in MEASURES}
    root = x_0[0].numel() ** 0.5
    for time in TIMES:
        generator = torch_generator(seed, "noise")
        x_t = path.sample(x_0, time, generator=generator).x_t
        t = torch.full((len(x_t),), time)
        with torch.no_grad():
            norms = field(x_t, t).flatten(1).double().norm(dim=1) / root
        point = f"{time:g}"
        found["norm"][point] = measures.finite(float(norms.square().mean().sqrt()))
        found["largest_norm"][point] = measures.finite(float(norms.max()))
        if lipschitz:
            values = largest_singular_values(field, x_t, t).double()
            found["lipschitz"][point] = measures.finite(float(values.median()))
            found["largest_lipschitz"][point] = measures.finite(float(values.max()))
    return found


def draw(figure: Any, content: dict[str, Any], labels: Any, styles: Any) -> None:
    """Norm and Lipschitz constant against t."""
    said = {"norm": "|v| / sqrt(d)", "lipschitz": "largest singular value of dv/dx"}
    for number, (name, y_label) in enumerate(said.items(), 1):
        axes = figure.add_subplot(1, 2, number)
        pictures.curves(axes, content, name, labels, styles)
        axes.set(yscale="log", xlabel="t", ylabel=y_label)

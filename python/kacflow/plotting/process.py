"""Pictures of the process itself, beside diffusion's: no training needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

import kacflow_core
from kacflow.plotting import figure, save

_KAC, _DIFFUSION = "#1f4e79", "#c0504d"
#: (a, c) with c^2/a = 1: all tend to standard Brownian motion.
_GROWING = ((1.0, 1.0), (9.0, 3.0), (100.0, 10.0), (10_000.0, 100.0))


def paths(file: Path) -> Path:
    """Sample paths for growing (a, c) at c^2/a = 1, beside Brownian motion and inside the cone."""
    picture = figure(14, 3.4)
    panels = picture.subplots(1, len(_GROWING) + 1, sharey=True)
    times = np.linspace(0.0, 1.0, 1001)
    for axes, (a, c) in zip(panels, _GROWING, strict=False):
        position, _ = kacflow_core.sample_path(times, 6, a=a, c=c, seed=1)
        axes.plot(times, position.T, color=_KAC, linewidth=0.8)
        axes.plot(times, c * times, times, -c * times, color="0.6", linestyle=":")
        axes.set(title=f"a = {a:g}, c = {c:g}", xlabel="t", ylim=(-2.5, 2.5))
    steps = np.random.default_rng(1).normal(scale=math.sqrt(times[1]), size=(6, times.size - 1))
    brownian = np.concatenate([np.zeros((6, 1)), steps.cumsum(1)], axis=1)
    panels[-1].plot(times, brownian.T, color=_DIFFUSION, linewidth=0.8)
    panels[-1].set(title="Brownian motion", xlabel="t")
    panels[0].set_ylabel("x")
    return save(picture, file)


def density(file: Path) -> Path:
    """Density of K(t) with its two atoms as time grows, beside the Gaussian of equal variance."""
    a, c = 9.0, 3.0
    moments = (0.05, 0.15, 0.4, 1.0)
    picture = figure(13, 3.2)
    for i, t in enumerate(moments):
        axes = picture.add_subplot(1, len(moments), i + 1)
        edge = c * t
        x = np.linspace(-edge, edge, 801)
        axes.plot(x / edge, edge * kacflow_core.pdf(x, t, a=a, c=c), color=_KAC, label="density")
        mass = float(kacflow_core.atom_mass(t, a=a)) / 2.0
        axes.vlines([-1.0, 1.0], 0.0, mass, color=_KAC, linewidth=2.5)
        axes.plot([-1.0, 1.0], [mass, mass], "o", color=_KAC, label="atoms (mass)")
        deviation = math.sqrt(float(kacflow_core.variance(t, a=a, c=c))) / edge
        gauss = np.exp(-0.5 * (x / edge / deviation) ** 2) / (deviation * math.sqrt(2.0 * math.pi))
        axes.plot(x / edge, gauss, color=_DIFFUSION, linestyle="--", label="Gaussian")
        axes.set(title=f"t = {t:g}, a t = {a * t:g}", xlabel="x/(c t)", ylim=(0.0, None))
    picture.axes[0].legend(fontsize=8)
    return save(picture, file)


def velocity(file: Path) -> Path:
    """Conditional velocity over (t, x), bounded by c, beside diffusion's x/(2 t)."""
    a, c = 9.0, 3.0
    t = np.linspace(0.0, 1.0, 401)[1:]
    x = np.linspace(-1.5, 1.5, 401)
    field = kacflow_core.velocity(x[:, None], t[None, :], a=a, c=c)
    inside = np.abs(x)[:, None] <= c * t
    picture = figure(9.5, 3.6)
    panels = picture.subplots(1, 2, sharey=True)
    for axes, values, title in (
        (panels[0], np.where(inside, field, np.nan), "Kac: |v| ≤ c"),
        (panels[1], x[:, None] / (2.0 * t), "diffusion: x/(2 t)"),
    ):
        image = axes.imshow(
            values, origin="lower", aspect="auto", extent=(0.0, 1.0, x[0], x[-1]), vmin=-c,
            vmax=c, cmap="RdBu_r",
        )  # fmt: skip
        axes.set(title=title, xlabel="t")
    panels[0].set_ylabel("x")
    picture.colorbar(image, ax=panels, label=f"velocity, cut off at ±{c:g}", extend="both")
    return save(picture, file)


def norm(file: Path) -> Path:
    """Root mean square velocity as t -> 0: that of Kac tends to c, diffusion's grows as t^-1/2."""
    a, c = 9.0, 3.0
    times = np.geomspace(1e-4, 1.0, 60)
    n = 20_000
    _, speed = kacflow_core.sample_pair(
        np.zeros((times.size, n)), a=a, c=c, signal=0.0, dsignal=0.0, clock=times, dclock=1.0,
        seed=2,
    )  # fmt: skip
    picture = figure(5.5, 3.6)
    axes = picture.add_subplot()
    axes.loglog(times, np.sqrt((speed**2).mean(1)), color=_KAC, label="Kac")
    axes.loglog(times, 0.5 * np.sqrt(c * c / a / times), color=_DIFFUSION, label="diffusion")
    axes.axhline(c, color="0.6", linestyle=":", label="c")
    axes.set(xlabel="t", ylabel="root mean square velocity")
    axes.legend()
    return save(picture, file)


def wave(file: Path) -> Path:
    """A damped wave: the telegrapher's equation from a bump, in one dimension and in two."""
    import torch

    from kacflow import telegrapher

    a, c, n = 4.0, 2.0, 256
    x = torch.arange(n, dtype=torch.float64) / n * 2.0 - 1.0
    bump = torch.exp(-0.5 * (x / 0.04) ** 2)
    moments = torch.tensor([0.0, 0.1, 0.2, 0.35], dtype=torch.float64)
    line = telegrapher.solve(bump, moments, a=a, c=c, period=2.0)
    plane = telegrapher.solve(bump[:, None] * bump, moments, a=a, c=c, period=2.0)
    picture = figure(11, 5.4)
    panels = picture.subplots(2, len(moments))
    for i, t in enumerate(moments.tolist()):
        panels[0, i].plot(x, line[i], color=_KAC)
        panels[0, i].set(title=f"t = {t:g}", ylim=(-0.05, 1.05))
        top = float(plane[i].max())
        panels[1, i].imshow(plane[i] / top, extent=(-1, 1, -1, 1), cmap="magma", vmin=0.0)
        panels[1, i].set(xticks=[], yticks=[], xlabel=f"peak {top:.2g}")
    return save(picture, file)


#: Name of each picture (and of its file) and the function that draws it.
PICTURES: dict[str, Callable[[Path], Path]] = {
    draw.__name__: draw for draw in (paths, density, velocity, norm, wave)
}

"""Checks of ``velocity`` and ``velocity_grad``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from kacflow_core import reference
from kacflow_core.testing import strategies
from kacflow_core.testing._compare import equal, within
from kacflow_core.testing._subject import Subject
from kacflow_core.testing.strategies import Points

#: Units in the last place.  Backends and the reference are allowed four each (tests/core holds both
#: against 40 digits); in float32 the float64 reference has no error of its own.
ULPS = {"float32": 4, "float64": 8}
GRADIENT_TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def sweep() -> Iterator[Points]:
    """tau from 1e-4 to 1e7, every twentieth of a decade, and places up to one unit inside the edge.

    Towards the edge the gap is halved down to that unit.  c t is not exact in either type.
    """
    for dtype in ULPS:
        kind = np.dtype(dtype).type
        t, c = kind(0.7), kind(3.3)
        gaps = 0.5 ** np.arange(1, np.finfo(dtype).nmant + 2)
        xi = np.concatenate([[1e-3, 0.3, 0.8], 1 - gaps]).astype(dtype)
        x = np.minimum(xi * (c * t), np.nextafter(c * t, kind(0)))
        for tau in 10.0 ** np.linspace(-4, 7, 221):
            yield Points(x, float(t), float(kind(tau / t)), float(c))


def everywhere(core: Subject, holds: Callable[[Points], None], known: Iterable[Points]) -> None:
    """Check known places and look for others."""
    for p in known:
        holds(p)
    core.search(holds, p=strategies.dtypes().flatmap(strategies.points))


def velocity_error(core: Subject) -> None:
    """v is that of the reference, to 4 (float32) and 8 (float64) units in the last place."""

    def holds(p: Points) -> None:
        got = core.velocity(p.x, p.t, a=p.a, c=p.c)
        assert got.dtype == p.x.dtype, f"v has dtype {got.dtype}, x {p.x.dtype}"
        want = reference.velocity(p.x, p.t, a=p.a, c=p.c, dtype=p.x.dtype)
        unit = np.spacing(np.abs(want).astype(p.x.dtype)).astype(np.float64)
        within(got, want, ULPS[p.x.dtype.name] * unit, f"{p.x.dtype} velocity")

    everywhere(core, holds, sweep())


def velocity_is_bounded(core: Subject) -> None:
    """|v| <= c, v has the sign of x, is odd in x, and exactly +-c for |x| >= c t."""

    def holds(p: Points) -> None:
        c = p.x.dtype.type(p.c)
        edge = c * p.x.dtype.type(p.t)
        got = core.velocity(p.x, p.t, a=p.a, c=p.c)
        assert np.all(np.abs(got) <= c), f"|v| reaches {np.abs(got).max()!s}, above c = {c!s}"
        assert np.all(got * np.sign(p.x) >= 0), "v and x have opposite signs"
        equal(core.velocity(-p.x, p.t, a=p.a, c=p.c), -got, "v(-x) against -v(x)")
        atom = np.abs(p.x) >= edge
        equal(got[atom], (np.sign(p.x) * c)[atom], "v on and outside the edge c t")

    core.search(holds, p=strategies.dtypes().flatmap(strategies.points))
    zero = np.zeros(3)
    equal(core.velocity(zero, 0.0, a=9.0, c=3.0), zero, "v(0, 0)")
    equal(core.velocity(zero, 1.0, a=9.0, c=3.0), zero, "v(1, 0)")


def velocity_grad_error(core: Subject) -> None:
    """dv/dx and dv/dt are those of the reference, to 1e-5 and 1e-10; 0 for |x| >= c t."""

    def holds(p: Points) -> None:
        info = np.finfo(p.x.dtype)
        inside = np.abs(p.x) < p.x.dtype.type(p.c) * p.x.dtype.type(p.t)
        slopes = core.velocity_grad(p.x, p.t, a=p.a, c=p.c)
        wanted = reference.velocity_grad(p.x, p.t, a=p.a, c=p.c, dtype=p.x.dtype)
        for got, want, name in zip(slopes, wanted, ("dv/dx", "dv/dt"), strict=True):
            assert got.dtype == p.x.dtype, f"{name} has dtype {got.dtype}, x {p.x.dtype}"
            allowed = GRADIENT_TOLERANCE[p.x.dtype.name] * np.abs(want)
            # Below the normal range, and where a product on the way leaves it, digits are lost.
            allowed += np.where(inside, float(info.tiny / info.eps), 0.0)
            within(got, want, allowed, f"{p.x.dtype} {name}")

    everywhere(core, holds, sweep())


CHECKS = (velocity_error, velocity_is_bounded, velocity_grad_error)

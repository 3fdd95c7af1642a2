"""Backends whose splines are wrong in one way each: see defects.py."""

from __future__ import annotations

import numpy as np

from kacflow_core.backends.reference import ReferenceBackend


class SplineOff(ReferenceBackend):
    """1e-5 too steep."""

    def spline(self, x, y, slope, *rest, **threads):
        super().spline(x, y, slope, *rest, **threads)
        slope *= 1 + 1e-5


class KnotsToTheLeft(ReferenceBackend):
    """A knot belongs to the bin on its left."""

    def spline(self, x, y, slope, layout, edges, *rest, **threads):
        at_knots = np.isin(x, edges)
        moved = np.where(at_knots, np.nextafter(x, x.dtype.type(-np.inf)), x)
        super().spline(moved, y, slope, layout, edges, *rest, **threads)
        y[at_knots] += 1


class InverseOfTheFirst(ReferenceBackend):
    """The inverse of the first spline for all."""

    def spline_inverse(self, y, x, layout, *knots, threads):
        same = (np.repeat(v[:1], layout.n1, axis=0) for v in knots)
        super().spline_inverse(y, x, layout, *same, threads=threads)


class RightKnotForgotten(ReferenceBackend):
    """The last knot has no gradient."""

    def spline_grad(self, x, f, g, grad_x, grad_knots, *rest, **threads):
        super().spline_grad(x, f, g, grad_x, grad_knots, *rest, **threads)
        grad_knots[..., -1] = 0


class SumsOfThreads(ReferenceBackend):
    """Sums that depend on the number of threads."""

    def spline_grad(self, x, f, g, grad_x, grad_knots, *rest, threads):
        super().spline_grad(x, f, g, grad_x, grad_knots, *rest, threads=threads)
        grad_knots *= 1 + threads * np.finfo(x.dtype).eps


class SlopeNotWritten(ReferenceBackend):
    def spline(self, x, y, slope, *rest, **threads):
        before = slope[-1:].copy()
        super().spline(x, y, slope, *rest, **threads)
        slope[-1:] = before


#: For each defect the check that is meant for it, and words of its message.
SPLINE_DEFECTS = [
    (SplineOff, "spline_error", "y'"),
    (KnotsToTheLeft, "spline_error", "y: "),
    (InverseOfTheFirst, "spline_error", "inverse"),
    (RightKnotForgotten, "spline_grad_error", "gradient in the edges"),
    (SumsOfThreads, "spline_of_any_array", "with other threads"),
    (SlopeNotWritten, "spline_of_any_array", "left 1 of "),
]

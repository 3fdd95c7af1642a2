"""Methods of a backend that computes functions of points by their names."""

from __future__ import annotations

from collections.abc import Sequence

from kacflow_core._dispatch import DistributionKind
from kacflow_core._layout import Array, Layout


class AtPoints:
    """These methods of :class:`kacflow_core._dispatch.Backend` and of its ``Splines``, by two that
    take the operation.
    """

    def _point(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        rows: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        """A function of the position; ``rows`` are t, a and c, and of the transport s."""
        raise NotImplementedError

    def _at_knots(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        knots: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        """``"spline"`` or ``"spline_inverse"``."""
        raise NotImplementedError

    def velocity(
        self, x: Array, out: Array, layout: Layout, t: Array, a: Array, c: Array, *, threads: int
    ) -> None:
        self._point("velocity", layout, x, [out], [t, a, c], threads)

    def velocity_grad(
        self, x: Array, dv_dx: Array, dv_dt: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._point("velocity_grad", layout, x, [dv_dx, dv_dt], [t, a, c], threads)

    def distribution(
        self, kind: DistributionKind, x: Array, out: Array, layout: Layout,
        t: Array, a: Array, c: Array, *, threads: int,
    ) -> None:  # fmt: skip
        self._point(kind, layout, x, [out], [t, a, c], threads)

    def transport(
        self, x: Array, out: Array, layout: Layout, t: Array, s: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._point("transport", layout, x, [out], [t, a, c, s], threads)

    def spline(
        self, x: Array, y: Array, slope: Array, layout: Layout, edges: Array, values: Array,
        slopes: Array, *, threads: int,
    ) -> None:  # fmt: skip
        self._at_knots("spline", layout, x, [y, slope], [edges, values, slopes], threads)

    def spline_inverse(
        self, y: Array, x: Array, layout: Layout, edges: Array, values: Array, slopes: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._at_knots("spline_inverse", layout, y, [x], [edges, values, slopes], threads)

"""What an event-by-event simulation returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kacflow_core import _layout, _validate
from kacflow_core._layout import Array

_FLOAT64 = np.dtype(np.float64)
_PIECE = 1 << 16  # numbers in a piece of ``at``'s tables


class Events(NamedTuple):
    """Turning times of many paths of the Kac process, and the directions in which they start.

    Path e of the flattened shape turns at ``times[offsets[e]:offsets[e + 1]]``.
    """

    times: Array  #: float64 (total,), in order within each path
    offsets: Array  #: int64 (n + 1,), from 0 to total
    directions: Array  #: float64, of the shape of the paths: +1 or -1, the first direction of each

    def at(self, times: ArrayLike, *, c: ArrayLike) -> tuple[Array, Array]:
        """Position and direction of every path at given times, followed from turn to turn.

        ::

            K(t) = c D_0 (s_1 - s_2 + ... + (-1)^(k-1) s_k + (-1)^k (t - t_k)),  s_i = t_i - t_(i-1)

        for t_k <= t < t_(k+1): at a turning time the path has turned.

        Parameters
        ----------
        times : array_like
            Times >= 0 in any order, shape ``(T,)``, or leading axes of the paths' shape and then T:
            a grid of its own for each of them.  Beyond the ``t_max`` of the simulation the turns
            are not known, and the result would be wrong.
        c : array_like
            Speed, > 0; aligned with the leading axes of the paths' shape.

        Returns
        -------
        tuple of numpy.ndarray
            ``(positions, directions)``, float64, of the paths' shape and then T.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Examples
        --------
        >>> import numpy as np, kacflow_core as kc
        >>> events = kc.Events(np.array([1.0, 1.5]), np.array([0, 2]), np.array([1.0]))
        >>> positions, directions = events.at([0.5, 1.25, 2.0], c=2.0)
        >>> positions.tolist(), directions.tolist()
        ([[1.0, 1.5, 2.0]], [[1.0, -1.0, 1.0]])
        """
        when, _, speeds = _validate.process(times, 1.0, c, _FLOAT64, "times")
        _validate.grid(when)
        shape = self.directions.shape
        grids = np.ascontiguousarray(when, dtype=np.float64)
        layout, (speed,) = _layout.leading_grids(shape, grids, {"c": speeds})
        positions = np.empty((layout.size, grids.shape[-1]))
        directions = np.empty_like(positions)
        if positions.size:
            grid = _layout.grid_rows(grids, layout, shape)
            grid = np.broadcast_to(grid, (layout.n0, layout.n1, grid.shape[-1]))
            (speed,) = _layout.full_rows(layout, speed)
            for piece in self._pieces(grid.shape[-1]):
                i0, i1 = np.divmod(np.arange(piece.start, piece.stop) // layout.inner, layout.n1)
                place, turns = self._follow(piece, grid[i0, i1])
                signs = np.where(turns % 2, -1.0, 1.0)
                signs *= self.directions.reshape(-1)[piece, None]
                positions[piece] = speed[i0, i1, None] * signs * place
                directions[piece] = signs
        whole = (*shape, grids.shape[-1])
        return positions.reshape(whole), directions.reshape(whole)

    def _pieces(self, points: int) -> Iterator[slice]:
        """Slices of the paths whose turning times and points fill tables of about _PIECE."""
        start, n = 0, self.offsets.size - 1
        while start < n:
            widths = np.maximum.accumulate(np.diff(self.offsets[start : start + _PIECE + 1]))
            cells = np.arange(1, widths.size + 1) * (widths + points)
            stop = start + max(1, int(np.searchsorted(cells, _PIECE)))
            yield slice(start, stop)
            start = stop

    def _follow(self, piece: slice, t: Array) -> tuple[Array, Array]:
        """(K(t)/(c D), turns before t) with D the direction at t; t is (paths, T)."""
        turns = np.diff(self.offsets[piece.start : piece.stop + 1])
        width = int(turns.max()) + 1
        # Column 0 is the start, column i turn i, and infinity where there are fewer turns.
        table = np.full((turns.size, width), np.inf)
        table[:, 0] = 0.0
        known = np.arange(1, width) <= turns[:, None]
        table[:, 1:][known] = self.times[self.offsets[piece.start] : self.offsets[piece.stop]]
        sign = np.where(np.arange(width) % 2, 1.0, -1.0)
        moves = np.zeros_like(table)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            moves[:, 1:] = np.where(known, sign[1:] * np.diff(table), 0.0)
        corners = np.cumsum(moves, axis=1)  # K/(c D_0) at each turn

        low = np.zeros(t.shape, np.intp)  # bisection: the last column that is not after t
        high = np.full(t.shape, width)
        while np.any(high - low > 1):
            middle = (low + high) // 2
            past = np.take_along_axis(table, middle, 1) <= t
            low, high = np.where(past, middle, low), np.where(past, high, middle)
        since = t - np.take_along_axis(table, low, 1)
        return since - sign[low] * np.take_along_axis(corners, low, 1), low

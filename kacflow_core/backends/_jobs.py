"""What a kernel is launched with, on the CPU and on a GPU: the job as bytes, and the grid of a GPU.

The other side of ``csrc/jobs.h`` and ``csrc/cuda/tiles.h``: a job is a C struct whose members are
all 64 bits wide.  The compiled backends launch what is made here, and so does the test that runs
the threads' functions of a GPU on the CPU.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import NamedTuple

from kacflow_core._layout import Layout

#: Operations: the C++ name (csrc/cuda/operations.h), and of what the constants of a row consist:
#: words of the working type, and doubles.
OPERATIONS = {
    "sample": ("SampleOp", 11, 0),
    "sample_pair": ("PairOp", 14, 0),
    "sample_path": ("PathOp", 9, 1),
    "velocity": ("VelocityOp", 7, 0),
    "velocity_grad": ("GradientOp", 7, 0),
    "pdf": ("PdfOp", 12, 0),
    "logpdf": ("LogPdfOp", 12, 0),
    "cdf": ("CdfOp", 12, 0),
    "ppf": ("PpfOp", 12, 0),
    "transport": ("TransportOp", 10, 0),
    "spline": ("SplineOp", 0, 1),
    "spline_grad": ("SplineGradOp", 0, 1),
    "spline_inverse": ("SplineInverseOp", 0, 1),
    "count_events": ("CountEventsOp", 0, 2),
    "fill_events": ("FillEventsOp", 0, 2),
}
#: Storage: the C++ type, and the bytes of an element and of the working type.
STORAGES = {
    "float32": ("float", 4, 4),
    "float64": ("double", 8, 8),
    "bfloat16": ("kac::bfloat16", 2, 4),
    "float16": ("kac::float16", 2, 4),
}

_ACCESS = 16  #: bytes that a thread reads or writes at once
_SHARED = 48 * 1024  #: shared memory that every GPU grants a block
_MAX_BLOCKS = 2**31 - 1
_ENOUGH_BLOCKS = 1024  #: several for each multiprocessor of the largest GPUs
_WARP = 32


class Plan(NamedTuple):
    """How a kernel is launched."""

    blocks: int
    threads: int
    shared: int  #: bytes of shared memory
    groups: int  #: groups of 16 bytes per thread
    rows: int  #: the most rows that a block's tile touches
    magic: int  #: ceil(2^31 / inner) where a tile is longer than a row, else 0
    whole: bool  #: whether groups lie within one row


ON_CPU = Plan(0, 0, 0, 0, 0, 0, False)  #: where nothing is cut into tiles


class Launch(NamedTuple):
    """One launch, ready for a driver."""

    operation: str
    storage: str
    plan: Plan
    job: bytes


class Parameter(NamedTuple):
    """One value per row: in an array (``pointer``), or the same number for all."""

    pointer: int = 0
    value: float = 0.0
    is_double: bool = False
    stride0: int = 0  #: in elements
    stride1: int = 0


class Schedules(NamedTuple):
    """Named schedules of a pair, by the numbers of csrc/kac/schedules.h; 0: values are given."""

    signal: int = 0
    clock: int = 0
    horizon: float = 1.0


GIVEN = Schedules()


class Grid(NamedTuple):
    """Time grids, one per row; strides in elements."""

    pointer: int
    n: int  #: times of a grid
    stride0: int
    stride1: int
    stride: int


class Noise(NamedTuple):
    """Key and counter: the seed as a number, or where it is on a GPU."""

    seed: int
    offset: int
    seed_pointer: int = 0


def entry_bytes(operation: str, storage: str) -> int:
    """Size of an entry of the table of rows: an odd number of 16 bytes."""
    _, words, doubles = OPERATIONS[operation]
    size = words * STORAGES[storage][2] + doubles * 8
    return _ACCESS * (-(-size // _ACCESS) | 1)


def touched(tile: int, inner: int, rows: int) -> int:
    """The most rows that a tile of consecutive elements can lie in."""
    return min((tile - 1) // inner + 2, tile, rows)


def _magic(inner: int, tile: int) -> int:
    """Multiplier that stands for 1/inner, in units of 2^-31."""
    return -(-(2**31) // inner) if inner < tile else 0


def _blocks(size: int, tile: int) -> int:
    blocks = -(-size // tile)
    if blocks > _MAX_BLOCKS:
        raise ValueError(f"{size} elements: more than the {_MAX_BLOCKS * tile} of one launch")
    return blocks


@functools.lru_cache(maxsize=1024)
def plan(operation: str, storage: str, rows: int, inner: int) -> Plan:
    """The launch for ``rows`` rows of ``inner`` elements; ValueError for more than a grid can hold
    (at least 2^31 blocks of 128).
    """
    vector = _ACCESS // STORAGES[storage][1]
    size, entry = rows * inner, entry_bytes(operation, storage)
    threads, groups = (256 if vector <= 4 else 128), 4

    def table() -> int:
        return touched(threads * groups * vector, inner, rows)

    # Several groups a thread spread the cost of a table, as long as there are blocks enough and one
    # warp fills it; then fewer threads where many short rows need a large table.
    while groups > 1 and (size < _ENOUGH_BLOCKS * threads * groups * vector or table() > _WARP):
        groups //= 2
    while threads > _WARP and _ACCESS + table() * entry > _SHARED:
        threads //= 2
    tile = threads * groups * vector
    return Plan(
        blocks=_blocks(size, tile),
        threads=threads,
        shared=_ACCESS + table() * entry,
        groups=groups,
        rows=table(),
        magic=_magic(inner, tile),
        whole=inner % vector == 0,
    )


@functools.lru_cache(maxsize=1024)
def path_plan(storage: str, rows: int, inner: int) -> Plan:
    """The launch for ``rows`` rows of ``inner`` paths; ``groups`` is the intervals of a round."""
    entry, real = entry_bytes("sample_path", storage), STORAGES[storage][2]
    threads, intervals = 128, 16

    def shared() -> int:
        results = 2 * threads * (intervals + 1) * real
        return touched(threads, inner, rows) * intervals * entry + results

    while threads > _WARP and shared() > _SHARED:
        threads //= 2
    while shared() > _SHARED:
        intervals //= 2
    return Plan(
        blocks=_blocks(rows * inner, threads),
        threads=threads,
        shared=shared(),
        groups=intervals,
        rows=touched(threads, inner, rows),
        magic=_magic(inner, threads),
        whole=True,
    )


def _head(p: Plan, layout: Layout, data: Sequence[int]) -> tuple[int, ...]:
    """The words that every job begins with."""
    rows = layout.n0 * layout.n1
    wide = p.blocks > 0 and not any(pointer % _ACCESS for pointer in data)
    return rows, layout.n1, layout.inner, rows * layout.inner, p.groups, p.rows, p.magic, wide


@functools.lru_cache(maxsize=1024)
def spline_plan(storage: str, parts: int, bins: int) -> Plan:
    """The launch for the gradients of ``parts`` parts of splines, a block for each."""
    threads, real = 128, STORAGES[storage][2]
    sums = -(-3 * (bins + 1) * real // _ACCESS) * _ACCESS
    return Plan(
        blocks=_blocks(parts, 1),
        threads=threads,
        shared=sums + threads * (6 * real + 4),
        groups=1,
        rows=0,
        magic=0,
        whole=True,
    )


#: Elements of a part of a spline, or so: sums over them are written down, and then added.
_PART = 1024


class Parts(NamedTuple):
    """How the rows of splines are cut into parts, the same ones wherever they are summed."""

    rows: int  #: in a part
    number: int

    @classmethod
    def of(cls, layout: Layout, bins: int) -> Parts:
        """For rows (n0, splines, inner)."""
        rows = -(-max(_PART, 8 * bins) // max(layout.inner, 1))
        return cls(rows, -(-layout.n0 // rows))


_HEAD, _NOISE, _PARAMETER = "8q", "3Q", "Qd3q"
_SAMPLE = struct.Struct("<" + _HEAD + _NOISE + 3 * _PARAMETER + "Q")
_PAIR = struct.Struct("<" + _HEAD + _NOISE + 6 * _PARAMETER + "2qd" + "3Q")
_PATH = struct.Struct("<" + _HEAD + _NOISE + 2 * _PARAMETER + "Q4q" + "2Q")
_EVENTS = struct.Struct("<" + _HEAD + _NOISE + 2 * _PARAMETER + "4Q")
_NONE = Parameter()
_POINT = struct.Struct("<" + _HEAD + 4 * _PARAMETER + "3Q")
_SPLINE = struct.Struct("<" + _HEAD + "q8Q3q")


def sample(
    storage: str, layout: Layout, out: int, t: Parameter, a: Parameter, c: Parameter, noise: Noise,
    *, host: bool = False,
) -> Launch:  # fmt: skip
    """K(t) into the array at ``out``; ``host``: for the CPU, here and below."""
    p = ON_CPU if host else plan("sample", storage, layout.n0 * layout.n1, layout.inner)
    seed, offset, pointer = noise
    job = _SAMPLE.pack(*_head(p, layout, (out,)), pointer, seed, offset, *t, *a, *c, out)
    return Launch("sample", storage, p, job)


def sample_pair(
    storage: str, layout: Layout, x_0: int, x_t: int, dx_t: int,
    parameters: Sequence[Parameter], noise: Noise, schedules: Schedules = GIVEN,
    *, host: bool = False,
) -> Launch:  # fmt: skip
    """The training pair; ``parameters`` are a, c, signal, dsignal, clock and dclock.

    Where ``schedules`` names them, ``clock`` holds the times.
    """
    p = ON_CPU if host else plan("sample_pair", storage, layout.n0 * layout.n1, layout.inner)
    a, c, f, df, g, dg = parameters
    seed, offset, pointer = noise
    head = _head(p, layout, (x_0, x_t, dx_t))
    job = _PAIR.pack(
        *head, pointer, seed, offset, *a, *c, *g, *f, *df, *dg, *schedules, x_0, x_t, dx_t
    )
    return Launch("sample_pair", storage, p, job)


def sample_path(
    storage: str, layout: Layout, positions: int, directions: int, times: Grid,
    a: Parameter, c: Parameter, noise: Noise, *, host: bool = False,
) -> Launch:  # fmt: skip
    """Paths on time grids; elements are paths."""
    p = ON_CPU if host else path_plan(storage, layout.n0 * layout.n1, layout.inner)
    seed, offset, pointer = noise
    job = _PATH.pack(
        *_head(p, layout, ()), pointer, seed, offset, *a, *c, *times, positions, directions
    )
    return Launch("sample_path", storage, p, job)


def events(
    operation: str, layout: Layout, t_max: Parameter, a: Parameter, noise: Noise,
    *, counts: int = 0, directions: int = 0, offsets: int = 0, times: int = 0, host: bool = False,
) -> Launch:  # fmt: skip
    """``"count_events"``, which writes the first two, or ``"fill_events"``."""
    p = ON_CPU if host else plan(operation, "float64", layout.n0 * layout.n1, layout.inner)
    seed, offset, pointer = noise
    arrays = counts, directions, offsets, times
    job = _EVENTS.pack(*_head(p, layout, ()), pointer, seed, offset, *t_max, *a, *arrays)
    return Launch(operation, "float64", p, job)


def point(
    operation: str, storage: str, layout: Layout, x: int, outputs: Sequence[int],
    t: Parameter, a: Parameter, c: Parameter, s: Parameter = _NONE, *, host: bool = False,
) -> Launch:  # fmt: skip
    """A function of the position with one or two results; ``s`` is the other time of one."""
    p = ON_CPU if host else plan(operation, storage, layout.n0 * layout.n1, layout.inner)
    first, second = (*outputs, 0)[:2]
    job = _POINT.pack(*_head(p, layout, (x, *outputs)), *t, *a, *c, *s, x, first, second)
    return Launch(operation, storage, p, job)


def spline(
    operation: str, storage: str, layout: Layout, bins: int, knots: Sequence[int], x: int,
    outputs: Sequence[int], *, host: bool = False,
) -> Launch:  # fmt: skip
    """``"spline"``, with the results y and y', or ``"spline_inverse"``; row (i0, i1) belongs to
    spline i1, whose edges, values and slopes are at ``knots``.
    """
    p = ON_CPU if host else plan(operation, storage, layout.n0 * layout.n1, layout.inner)
    first, second = (*outputs, 0)[:2]
    head = _head(p, layout, (x, *outputs))
    job = _SPLINE.pack(*head, bins, *knots, x, first, second, 0, 0, 0, 0, 0)
    return Launch(operation, storage, p, job)


def spline_grad(
    storage: str, layout: Layout, bins: int, knots: Sequence[int], x: int, grads: Sequence[int],
    grad_x: int, sums: int, *, host: bool = False,
) -> Launch:  # fmt: skip
    """Gradients in x, and the sums over each of :class:`Parts` of those in the knots."""
    parts = Parts.of(layout, bins)
    units = Layout(parts.number, layout.n1, 1)
    p = ON_CPU if host else spline_plan(storage, parts.number * layout.n1, bins)
    job = _SPLINE.pack(
        *_head(p, units, ()), bins, *knots, x, grad_x, sums, *grads, layout.n0, layout.inner,
        parts.rows,
    )  # fmt: skip
    return Launch("spline_grad", storage, p, job)


def source_of(operation: str, storage: str, whole: bool, kernel: str) -> str:
    """CUDA text that defines ``kernel``, for a compiler with csrc on its include path."""
    op, real = OPERATIONS[operation][0], STORAGES[storage][0]
    return (
        '#include "cuda/operations.h"\n#include "cuda/kernel.h"\n'
        f"KACFLOW_KERNEL({kernel}, kacflow::device::{op}<{real}>, {str(whole).lower()})\n"
    )

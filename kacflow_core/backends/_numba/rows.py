"""Blocks of elements, and the constants of the rows that they lie in.

A kernel works on blocks of at most ``BLOCK`` elements.  What their rows need is computed once per
row into a *table*, in a loop over rows, and then spread over the block's *lanes*, so that the loop
over elements reads everything in order.  Table and lanes are arrays of shape (constants, BLOCK).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray, types

from kacflow_core.backends._numba.arithmetic import local
from kacflow_core.backends._numba.compiler import element, kernel, part

BLOCK = 64


class Block(NamedTuple):
    """Elements [e, e + n) of a job."""

    n: Any
    row: Any  #: of element e
    skipped: Any  #: elements of that row before e
    first_row: Any  #: of the table
    new_rows: Any  #: rows to compute into the table, from ``row`` on; 0 if it holds them
    new_lanes: Any  #: whether the lanes are other than those of the block before


@element
def block_at(e, end, inner, first_row, end_row):
    """The block at element ``e`` of a job that ends at ``end``, with the rows that the table holds.

    Rows of half a block or more are not mixed with others, and as many of them are computed at once
    as the table takes.
    """
    row = e // inner
    skipped = e - row * inner
    n = min(BLOCK, end - e)
    mixed = inner < BLOCK // 2
    if not mixed:
        n = min(n, inner - skipped)
    if (e + n - 1) // inner < end_row:
        return Block(n, row, skipped, first_row, 0, mixed or skipped == 0)
    last = e + n - 1 if mixed else end - 1
    return Block(n, row, skipped, row, min(BLOCK, last // inner - row + 1), True)


@element
def load(parameter, n1, block, out):
    """The values of a parameter, of shape (n0 or 1, n1 or 1), for the new rows of a block."""
    several0, several1 = parameter.shape[0] > 1, parameter.shape[1] > 1
    if not (several0 or several1):
        for j in range(block.new_rows):
            out[j] = parameter[0, 0]
    elif n1 == 1:
        for j in range(block.new_rows):
            out[j] = parameter[block.row + j, 0]
    else:
        i0 = block.row // n1
        i1 = block.row - i0 * n1
        for j in range(block.new_rows):
            out[j] = parameter[i0 * np.int64(several0), i1 * np.int64(several1)]
            i1 += 1
            if i1 == n1:
                i0, i1 = i0 + 1, 0


def process_rows(real: Any, constants: Callable[..., None]) -> Any:
    """prepare of :func:`row_kernel`, for parameters of which (t, a, c) are the first.

    ``constants(a, c, t, table, j)`` writes those of one row into place j of the table.
    """
    new_values = local(real, BLOCK)

    @part
    def process_rows(block, n1, parameters, table):
        times, rates = carray(new_values(), BLOCK), carray(new_values(), BLOCK)
        speeds = carray(new_values(), BLOCK)
        load(parameters[0], n1, block, times)
        load(parameters[1], n1, block, rates)
        load(parameters[2], n1, block, speeds)
        for j in range(block.new_rows):
            constants(rates[j], speeds[j], times[j], table, j)

    return process_rows


@element
def lane_rows(block, inner, out):
    """The place in the table of each lane's row, where they differ.

    That is a quotient of numbers below 96 by one below 32, which floor(2^16/d) + 1 gives exactly:
    its product with d exceeds 2^16 by at most d, and 96 d < 2^16.
    """
    if block.skipped + block.n > inner:
        first, skipped = np.uint64(block.row - block.first_row), np.uint64(block.skipped)
        inverse = np.uint64(65536 // inner + 1)
        for i in range(block.n):
            out[i] = first + ((skipped + np.uint64(i)) * inverse >> np.uint64(16))


@element
def spread(table, block, inner, place, lanes):
    """The constants of the table to the lanes, ``place`` being what lane_rows wrote."""
    for k in range(table.shape[0]):
        if block.skipped + block.n <= inner:
            for i in range(block.n):
                lanes[k, i] = table[k, block.row - block.first_row]
        elif inner == 1:
            for i in range(block.n):
                lanes[k, i] = table[k, i]
        else:
            for i in range(block.n):
                lanes[k, i] = table[k, place[i]]


def row_kernel(
    real: Any,
    *,
    inputs: int,
    outputs: int,
    parameters: int,
    words: int,
    constants: int,
    prepare: Callable[..., None],
    evaluate: Callable[..., None],
) -> Any:
    """A kernel ``(data, begin, end, n1, inner, parameters, words)`` for elements [begin, end).

    It reads and writes so many arrays of data (``inputs`` and ``outputs``) in the working type, and
    takes so many ``parameters``, of shape (n0 or 1, n1 or 1), and uint64 ``words``.  All come in
    tuples, the data of element ``begin`` first in its arrays; a row has so many ``constants``.

    Of functions compiled by ``part``, ``prepare(block, n1, parameters, table)`` computes the
    constants of the block's new rows, and ``evaluate(data, first, e, n, lanes, words)`` the results
    of elements [e, e + n), whose data are at [first, first + n).
    """
    shape, new_table = (constants, BLOCK), local(real, constants * BLOCK)
    new_places = local(np.uint64, BLOCK)
    kind = numba.from_dtype(real)
    read = [types.Array(kind, 1, "C", readonly=True)] * inputs
    written = [types.Array(kind, 1, "C")] * outputs
    given = types.UniTuple(types.Array(kind, 2, "A", readonly=True), parameters)
    i64 = types.int64

    @kernel(
        types.Tuple(read + written), i64, i64, i64, i64, given, types.UniTuple(types.uint64, words)
    )
    def run(data, begin, end, n1, inner, parameters, words):
        table, lanes = carray(new_table(), shape), carray(new_table(), shape)
        place = carray(new_places(), BLOCK)
        e = begin
        first_row = end_row = 0
        while e < end:
            block = block_at(e, end, inner, first_row, end_row)
            if block.new_rows > 0:
                prepare(block, n1, parameters, table)
                first_row, end_row = block.row, block.row + block.new_rows
            if block.new_lanes:
                lane_rows(block, inner, place)
                spread(table, block, inner, place, lanes)
            evaluate(data, e - begin, e, block.n, lanes, words)
            e += block.n

    return run

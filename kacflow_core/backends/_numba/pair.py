"""One element of the training pair: ``csrc/kac/pair.h``.

X_t = f X_0 + K(g) and dX_t = f' X_0 + g' v(g, K(g)), with the velocity taken at the unrounded draw
and from its exact atom flag.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from kacflow_core.backends._numba.arithmetic import fma, local, select, sqrt
from kacflow_core.backends._numba.compiler import element, part, template
from kacflow_core.backends._numba.philox import LINES, draw, fill
from kacflow_core.backends._numba.rows import BLOCK, load, process_rows, row_kernel
from kacflow_core.backends._numba.sampler import CT, NOISE_LINES, TAU, C, endpoint, noise_constants
from kacflow_core.backends._numba.velocity import fast_interior_velocity

# Lines of the table after those of the noise: f, f' and g'.
SIGNAL = NOISE_LINES
DSIGNAL = NOISE_LINES + 1
DCLOCK = NOISE_LINES + 2
PAIR_LINES = NOISE_LINES + 3


@template
def noise(real: Any) -> Any:
    """K(t) and the conditional velocity there, with the constants of lane ``i``."""
    place, inside = endpoint(real), fast_interior_velocity(real)

    @element
    def noise(u, k, i):
        p = place(u, k, i)
        tau = k[TAU, i]
        v = inside(tau * p.xi, tau, tau * sqrt(p.one_minus_xi2))
        return k[CT, i] * p.xi, k[C, i] * select(p.atom, p.xi, v)

    return noise


@template
def sample_pair(real: Any) -> Any:
    """Kernel with data (x_0, x_t, dx_t) and words (seed, offset).

    The parameters are (clock, a, c, signal, dsignal, dclock).
    """
    rows = process_rows(real, noise_constants(real))
    fill_words, uniforms, drawn = fill(real), draw(real), noise(real)
    new_words, shape = local(np.uint32, LINES[real] * BLOCK), (LINES[real], BLOCK)

    @part
    def prepare(block, n1, parameters, table):
        rows(block, n1, parameters, table)
        load(parameters[3], n1, block, table[SIGNAL])
        load(parameters[4], n1, block, table[DSIGNAL])
        load(parameters[5], n1, block, table[DCLOCK])

    @part
    def evaluate(data, first, e, n, lanes, words):
        raw = carray(new_words(), shape)
        fill_words(raw, words[0], words[1] + np.uint64(e), np.uint64(0), n)
        x_0, x_t = data[0][first : first + n], data[1][first : first + n]
        dx_t = data[2][first : first + n]
        for i in range(n):
            k, v = drawn(uniforms(raw, i), lanes, i)
            x = x_0[i]
            x_t[i] = fma(lanes[SIGNAL, i], x, k)
            dx_t[i] = fma(lanes[DSIGNAL, i], x, lanes[DCLOCK, i] * v)

    return row_kernel(
        real, inputs=1, outputs=2, parameters=6, words=2, constants=PAIR_LINES,
        prepare=prepare, evaluate=evaluate,
    )  # fmt: skip

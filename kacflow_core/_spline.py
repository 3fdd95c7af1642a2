"""Monotone rational-quadratic splines with linear tails, on arrays.

What :class:`kacflow.QuantileProcess` learns (:mod:`kacflow.ops`); not part of the public interface.
Formulas, their source and accuracy are in ``csrc/kac/spline.h``.
"""

from __future__ import annotations

from typing import Any

from kacflow_core import _run
from kacflow_core._call import Call
from kacflow_core._run import aligned

Arrays = tuple[Any, Any, Any]


def _arguments(call: Call, **given: Any) -> list[Any]:
    """Data of one shape (n0, C, inner), and after them the knots, as kernels take them."""
    names = list(given)
    arrays = [call.data(name, value, sixteen_bit=False) for name, value in given.items()]
    first, *others = arrays
    dtype, shape = call.library.dtype(first), tuple(first.shape)
    if len(shape) != 3:
        raise ValueError(f"{names[0]}: got shape {shape}; allowed: (n0, C, inner), for C splines")
    knots = tuple(arrays[-3].shape)
    if len(knots) != 2 or knots[0] != shape[1] or knots[1] < 2:
        raise ValueError(
            f"{names[-3]}: got shape {knots}; allowed: ({shape[1]}, bins + 1), for data of shape "
            f"{shape}"
        )
    for i, (name, value) in enumerate(zip(names[1:], others, strict=True), 1):
        want = knots if i >= len(names) - 3 else shape
        if tuple(value.shape) != want:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}; allowed: {want}")
        if call.library.dtype(value) != dtype:
            raise TypeError(
                f"{name}: got dtype {call.library.dtype(value)}; allowed: {dtype}, as {names[0]}"
            )
    return [call.library.contiguous(aligned(call.library, array)) for array in arrays]


def spline(
    x: Any, edges: Any, values: Any, slopes: Any, *, backend: str | None = None,
    threads: int | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """y and y' at ``x``, arrays like it.

    ``x`` is (n0, C, inner) of float32 or float64, entry (i, j, k) belonging to spline j; infinities
    give infinities, NaN gives NaN.  ``edges``, ``values`` and ``slopes``, (C, bins + 1) of the type
    of ``x``, are abscissas and ordinates of the knots, both increasing, and slopes > 0 there, all
    finite.  That is not looked at: knots without order give numbers without meaning.  ``backend``
    and ``threads`` are as of :func:`kacflow_core.velocity`; ValueError or TypeError names the
    argument, what was given and what is allowed.

    >>> import numpy as np
    >>> from kacflow_core import _spline
    >>> line = np.array([[-1.0, 0.0, 1.0]])
    >>> y, slope = _spline.spline(np.array([[[0.25, 3.0]]]), line, 2 * line, line * 0 + 2)
    >>> y, slope
    (array([[[0.5, 6. ]]]), array([[[2., 2.]]]))
    """
    with Call("x", x, backend, threads) as call:
        data, *knots = _arguments(call, x=x, edges=edges, values=values, slopes=slopes)
        y, slope = call.give_back(_run.splines(call.target, "spline", data, knots, 2))
        return y, slope


def spline_inverse(
    y: Any, edges: Any, values: Any, slopes: Any, *, backend: str | None = None,
    threads: int | None = None,
) -> Any:  # fmt: skip
    """The x where the splines are ``y``; arguments as for :func:`spline`.

    >>> import numpy as np
    >>> from kacflow_core import _spline
    >>> line = np.array([[-1.0, 0.0, 1.0]])
    >>> _spline.spline_inverse(np.array([[[0.5, 6.0]]]), line, 2 * line, line * 0 + 2)
    array([[[0.25, 3.  ]]])
    """
    with Call("y", y, backend, threads) as call:
        data, *knots = _arguments(call, y=y, edges=edges, values=values, slopes=slopes)
        return call.give_back(_run.splines(call.target, "spline_inverse", data, knots))[0]


def spline_grad(
    x: Any, grad_y: Any, grad_slope: Any, edges: Any, values: Any, slopes: Any,
    *, backend: str | None = None, threads: int | None = None,
) -> tuple[Any, Arrays]:  # fmt: skip
    """Gradients of sum(grad_y y + grad_slope y') in ``x`` and in (edges, values, slopes).

    Arguments as for :func:`spline`; the gradients have the shapes of what they are in.  They are
    the same numbers for any number of threads.

    >>> import numpy as np
    >>> from kacflow_core import _spline
    >>> line = np.array([[-1.0, 0.0, 1.0]])
    >>> at = np.array([[[0.5]]])
    >>> grad_x, (_, grad_values, _) = _spline.spline_grad(at, at, 0 * at, line, line, 0 * line + 1)
    >>> grad_x, grad_values
    (array([[[0.5]]]), array([[0.  , 0.25, 0.25]]))
    """
    with Call("x", x, backend, threads) as call:
        data, f, g, *knots = _arguments(
            call, x=x, grad_y=grad_y, grad_slope=grad_slope, edges=edges, values=values,
            slopes=slopes,
        )  # fmt: skip
        grad_x, sums = _run.spline_grad(call.target, data, (f, g), knots)
        first, *others = call.give_back([grad_x, *sums])
        return first, (others[0], others[1], others[2])

"""The public functions that draw noise and evaluate the velocity: checks, then one kernel."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike, DTypeLike

from kacflow_core import _run, _validate
from kacflow_core._arrays import NUMPY
from kacflow_core._call import Call, at_points, noise, working
from kacflow_core._gpu_arrays import on_gpu
from kacflow_core._layout import Array


def sample(
    t: ArrayLike,
    shape: int | Sequence[int],
    *,
    a: ArrayLike,
    c: ArrayLike,
    seed: int,
    offset: int = 0,
    dtype: DTypeLike = "float32",
    backend: str | None = None,
    threads: int | None = None,
) -> Array:
    """Draw K(t), the Kac process at time t, independently for every element.

    K starts at 0 in a random direction, moves at speed c and turns round at rate a; its law solves
    the telegrapher's equation u_tt + 2 a u_t = c^2 u_xx.  The draw is exact: a closed-form map of
    three uniforms, the same cost for every a t.

    Parameters
    ----------
    t : array_like
        Time, >= 0.  ``t``, ``a`` and ``c`` broadcast against the leading axes of ``shape``: a
        vector of length ``shape[0]`` is per sample, shape ``(1, C)`` is per channel.
    shape : int or sequence of int
        Shape of the result.
    a, c : array_like
        Jump rate (1/time) and speed (length/time), > 0.
    seed : int
        Key of the generator, in [0, 2**64).
    offset : int
        Element i of the flattened result uses counter ``(offset + i) mod 2**64`` and nothing else,
        so that results do not depend on threads, backend or how a batch is split.
    dtype : {"float32", "float64"}
        Working type and type of the result; ``t``, ``a`` and ``c`` are rounded to it.  A float64
        draw refines the float32 draw of the same seed.
    backend : str, optional
        Name out of :func:`available_backends`; by default the fastest for arrays of that kind.
    threads : int, optional
        CPU threads; by default ``KACFLOW_NUM_THREADS``, else the CPUs of this process.

    Returns
    -------
    numpy.ndarray, or an array on the GPU
        Lengths in [-c t, c t]; exactly ``±c*t`` (the product rounded in ``dtype``) on the atoms,
        whose probability is e^(-a t).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    Accuracy: the error of K/(c t) against the same map in exact arithmetic is below
    1e-5 min(1, (a t)^-1/2) in float32 and 1e-11 min(1, (a t)^-1/2) in float64; the probabilities of
    the cases are right to 2^-32 and 2^-53.

    Arrays on a GPU (of CuPy, torch, JAX or Numba, by DLPack or ``__cuda_array_interface__``) are
    computed there, on the current stream of their library, and answered with arrays of that
    library; what is given beside them is on the same GPU or a number.  Here ``t``, ``a`` or ``c``
    decide; in the other functions the data or the time grid.  Nothing waits for the device, so
    values there are not checked: a negative time or rate gives NaN.  The uniforms are those of the
    CPU bit for bit; results differ by at most 2.2e-6 s in float32 and 3e-15 s in float64, with
    s = c t min(1, (a t)^-1/2), as ``tests/gpu`` found on an H100: see docs/gpu.md.

    References
    ----------
    Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641, for the process and its law.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> x = kc.sample(0.5, (4, 3), a=9.0, c=3.0, seed=0)
    >>> x.shape, bool(abs(x).max() <= 1.5)
    ((4, 3), True)
    """
    given = ("t", t), ("a", a), ("c", c)
    name, first = next((pair for pair in given if on_gpu(pair[1])), given[0])
    with Call(name, first, backend, threads) as call:
        extents, kind = _validate.shape(shape), NUMPY.names[_validate.real_dtype(dtype)]
        parameters = dict(zip("tac", call.process(t, a, c, kind), strict=True))
        key = noise(seed, offset)
        return call.give_back([_run.sample(call.target, extents, kind, parameters, key)])[0]


def sample_pair(
    x0: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    signal: ArrayLike,
    dsignal: ArrayLike,
    clock: ArrayLike,
    dclock: ArrayLike,
    seed: int,
    offset: int = 0,
    backend: str | None = None,
    threads: int | None = None,
) -> tuple[Array, Array]:
    """Draw the training pair of the Kac flow in one pass: the noised data and its velocity.

    With data x0 at t = 0, signal schedule f and noise clock g::

        x_t  = f(t) x0 + K(g(t))
        dx_t = f'(t) x0 + g'(t) v(g(t), K(g(t)))

    with v the conditional velocity of :func:`velocity`, taken at the unrounded draw and from its
    exact atom flag, never from a rounded x_t.

    Parameters
    ----------
    x0 : array_like
        Data, float32, float64, float16 or bfloat16; 16-bit data computes in float32.  Data on a GPU
        stays there, see the notes of :func:`sample`.
    a, c : array_like
        Jump rate and speed, > 0.  All parameters broadcast against the leading axes of ``x0``: a
        vector of length ``x0.shape[0]`` is per sample, shape ``(1, C)`` is per channel.
    signal, dsignal, clock, dclock : array_like
        f(t), f'(t), g(t) >= 0 and g'(t) of each sample, finite.
    seed, offset, backend, threads
        As in :func:`sample`, and with the same noise: ``x_t`` with signal 0 is ``sample(clock)``.

    Returns
    -------
    tuple of arrays
        ``(x_t, dx_t)``, of the shape, dtype and kind of ``x0``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    NaN or infinite data affects its own element only.

    Examples
    --------
    >>> import numpy as np, kacflow_core as kc
    >>> x0 = np.zeros((2, 5), dtype=np.float32)
    >>> t = np.array([0.25, 0.75])
    >>> x_t, dx_t = kc.sample_pair(x0, a=9.0, c=3.0, signal=1 - t, dsignal=-1.0, clock=t,
    ...                            dclock=1.0, seed=0)
    >>> bool((x_t == kc.sample(t, (2, 5), a=9.0, c=3.0, seed=0)).all())
    True
    """
    with Call("x0", x0, backend, threads) as call:
        data = call.data("x0", x0)
        kind = working(call.library.dtype(data))
        times, rates, speeds = call.process(clock, a, c, kind, "clock")
        parameters = {
            "a": rates,
            "c": speeds,
            "clock": times,
            "signal": call.parameter("signal", signal, kind),
            "dsignal": call.parameter("dsignal", dsignal, kind),
            "dclock": call.parameter("dclock", dclock, kind),
        }
        results = _run.pair(call.target, data, parameters, noise(seed, offset))
        x_t, dx_t = call.give_back(results)
        return x_t, dx_t


def velocity(
    x: ArrayLike,
    t: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    backend: str | None = None,
    threads: int | None = None,
) -> Array:
    """Conditional velocity v(t, x) of the Kac flow that starts at the point 0.

    ::

        v(t, x) = a x / (a t + q(z)),  q(z) = z I0(z)/I1(z),  z^2 = (a/c)^2 (c^2 t^2 - x^2)
                                                                              for |x| < c t
        v(t, x) = c sign(x)                                                   for |x| >= c t

    Parameters
    ----------
    x : array_like
        Positions; float32, float64, float16 or bfloat16.  Arrays on a GPU stay there, see the notes
        of :func:`sample`.
    t, a, c : array_like
        Time >= 0, jump rate > 0 and speed > 0, rounded to the working type (float64 for float64
        positions, else float32).  ``x``, ``t``, ``a`` and ``c`` broadcast as in NumPy.
    backend, threads
        As in :func:`sample`.

    Returns
    -------
    numpy.ndarray, or an array on the GPU
        Speeds in [-c, c], in the dtype of ``x``; NaN where ``x`` is NaN.  Points with |x| >= c t
        (the product rounded in the working type) are atoms and move at speed c; v(0, 0) = 0.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    Relative error at most 4 units in the last place, right up to the edge of the light cone.  The
    limit of the interior velocity there, c a t/(a t + 2), is not that of the atoms, c.

    References
    ----------
    Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> float(kc.velocity(1.5, 0.5, a=9.0, c=3.0)), float(kc.velocity(0.0, 0.5, a=9.0, c=3.0))
    (3.0, 0.0)
    """
    return at_points("velocity", "x", x, t, a, c, backend, threads)[0]


def velocity_grad(
    x: ArrayLike,
    t: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    backend: str | None = None,
    threads: int | None = None,
) -> tuple[Array, Array]:
    """Derivatives (dv/dx, dv/dt) of the conditional velocity, in closed form.

    With tau = a t, y = a x/c and rho = q'(z)/z = 1 + q (2 - q)/z^2 from the Riccati equation of q::

        dv/dx =  a (tau + q + y^2 rho) / (tau + q)^2
        dv/dt = -a c y (1 + tau rho) / (tau + q)^2

    Arguments, broadcasting, dtype and errors are those of :func:`velocity`; both are 0 on the
    atoms.  The other two derivatives follow by scaling: dv/da = (t dv/dt + x dv/dx)/a and
    dv/dc = (v - x dv/dx)/c.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> dv_dx, dv_dt = kc.velocity_grad(0.3, 0.5, a=9.0, c=3.0)
    >>> bool(dv_dx > 0 > dv_dt)
    True
    """
    dv_dx, dv_dt = at_points("velocity_grad", "x", x, t, a, c, backend, threads)
    return dv_dx, dv_dt

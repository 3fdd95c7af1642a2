"""The law of K(t) at points: density, distribution function, quantiles, transport in time."""

from __future__ import annotations

from numpy.typing import ArrayLike

from kacflow_core import _validate
from kacflow_core._call import at_points
from kacflow_core._gpu_arrays import on_gpu
from kacflow_core._layout import Array


def pdf(
    x: ArrayLike,
    t: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    backend: str | None = None,
    threads: int | None = None,
) -> Array:
    """Density of the continuous part of K(t): its integral over |x| < c t is 1 - e^(-a t).

    ::

        p(x) = (a/2c) e^-tau (I0(z) + tau I1(z)/z),    tau = a t,  z^2 = (a/c)^2 (c^2 t^2 - x^2)
                                                                              for |x| <= c t
        p(x) = 0                                                              for |x| > c t

    The other e^(-a t) sits in the atoms at ±c t (:func:`atom_mass`).

    Parameters
    ----------
    x : array_like
        Places; float32 or float64.  Arrays on a GPU stay there, see the notes of :func:`sample`.
    t, a, c : array_like
        Time >= 0, jump rate > 0 and speed > 0, rounded to the dtype of ``x``.  ``x``, ``t``, ``a``
        and ``c`` broadcast as in NumPy.
    backend : str, optional
        Name out of :func:`available_backends`; by default the fastest for arrays of that kind.
    threads : int, optional
        CPU threads; by default ``KACFLOW_NUM_THREADS``, else the CPUs of this process.

    Returns
    -------
    numpy.ndarray
        1/length, in the dtype of ``x``; NaN where ``x`` is NaN.  At |x| = c t (the product
        rounded in that dtype) it is the limit from inside, (a/2c) e^-tau (1 + tau/2).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    With D = tau - z the relative error is below 2e-15 (1 + D) in float64 and 6e-7 (1 + D) in
    float32: rounding x alone changes p by D units in the last place.

    References
    ----------
    Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> float(kc.pdf(2.0, 0.5, a=9.0, c=3.0)), round(float(kc.pdf(0.0, 0.5, a=9.0, c=3.0)), 6)
    (0.0, 0.547736)
    """
    return at_points("pdf", "x", x, t, a, c, backend, threads)[0]


def logpdf(
    x: ArrayLike,
    t: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    backend: str | None = None,
    threads: int | None = None,
) -> Array:
    """Natural logarithm of :func:`pdf`, finite wherever the density is positive.

    Arguments, broadcasting, dtype and errors are those of :func:`pdf`; -inf for |x| > c t.  It is
    computed as ln((a/2c) e^-z (I0(z) + tau I1(z)/z)) - D with D = tau - z = (a x/c)^2/(tau + z), so
    it does not underflow; the absolute error is below 1e-15 (1 + D + |logpdf|) in float64 and
    4e-7 (1 + D + |logpdf|) in float32.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> float(kc.pdf(290.0, 100.0, a=90.0, c=3.0)) > 0.0
    False
    >>> round(float(kc.logpdf(290.0, 100.0, a=90.0, c=3.0)), 3)
    -6696.148
    """
    return at_points("logpdf", "x", x, t, a, c, backend, threads)[0]


def cdf(
    x: ArrayLike,
    t: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    backend: str | None = None,
    threads: int | None = None,
) -> Array:
    """Distribution function F(x) = P(K(t) <= x), the atoms at ±c t included.

    Right-continuous: 0 for x < -c t, e^(-a t)/2 at -c t, 1/2 at 0 and 1 from c t on; F(-x) is
    1 - F(x) at every other x.  At t = 0 it is the step at 0.

    Arguments, broadcasting, dtype and errors are those of :func:`pdf`.

    Notes
    -----
    The absolute error is below 6e-16 in float64 and 3e-7 in float32.  The lower tail keeps its
    relative accuracy, 2e-15 (1 + D) and 4e-7 (1 + D) with D = a t - z as in :func:`pdf`; for the
    upper tail take F(-x).

    Examples
    --------
    >>> import kacflow_core as kc
    >>> [float(kc.cdf(x, 0.5, a=9.0, c=3.0)) for x in (-2.0, 0.0, 1.5)]
    [0.0, 0.5, 1.0]
    """
    return at_points("cdf", "x", x, t, a, c, backend, threads)[0]


def ppf(
    q: ArrayLike,
    t: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    backend: str | None = None,
    threads: int | None = None,
) -> Array:
    """Quantiles of K(t): the least x with P(K(t) <= x) >= q.

    Parameters
    ----------
    q : array_like
        Probabilities in [0, 1]; float32 or float64.
    t, a, c : array_like
        Time >= 0, jump rate > 0 and speed > 0, rounded to the dtype of ``q``.  Everything
        broadcasts as in NumPy.
    backend, threads
        As in :func:`pdf`.

    Returns
    -------
    numpy.ndarray
        Lengths in [-c t, c t], in the dtype of ``q``: -c t for q <= e^(-a t)/2 and c t for
        1 - q <= e^(-a t)/2 (the atoms), 0 at q = 1/2, and odd: ppf(1 - q) = -ppf(q) where 1 - q is
        exact.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed; probabilities outside [0, 1] and
        NaN are refused.

    Notes
    -----
    The error is that of the distribution function, F(ppf(q)) = q to a few units in the last place,
    divided by the density: for small a t, where nearly all of the mass is in the atoms, the places
    between them are only as well determined by q.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> x = kc.ppf([0.0, 0.25, 0.5, 1.0], 0.5, a=9.0, c=3.0)
    >>> [round(float(v), 6) for v in x]
    [-1.5, -0.485273, 0.0, 1.5]
    >>> [round(float(v), 12) for v in kc.cdf(x, 0.5, a=9.0, c=3.0)]
    [0.005554498269, 0.25, 0.5, 1.0]
    """
    if not on_gpu(q):
        q = _validate.probabilities("q", q)
    return at_points("ppf", "q", q, t, a, c, backend, threads)[0]


def transport(
    x: ArrayLike,
    t: ArrayLike,
    s: ArrayLike,
    *,
    a: ArrayLike,
    c: ArrayLike,
    backend: str | None = None,
    threads: int | None = None,
) -> Array:
    """Move places along the conditional velocity from time t to time s, exactly.

    The flow of dx/dt = v(t, x) (:func:`velocity`) keeps the distribution function constant::

        X(s, x) = Q_s(F_t(x))                                                 for |x| < c t
        X(s, x) = c s sign(x)                                                 for |x| >= c t

    with F of :func:`cdf` and Q of :func:`ppf`, in one kernel, and without the probability between
    them, of which tails and centre would lose their digits.  Atoms stay atoms, as does a place that
    comes to the edge of the light cone on its way to an earlier time.

    Parameters
    ----------
    x : array_like
        Places; float32 or float64.  Arrays on a GPU stay there, see the notes of :func:`sample`.
    t, s : array_like
        The time of ``x`` and the other one, earlier or later, both >= 0.
    a, c : array_like
        Jump rate > 0 and speed > 0.  All are rounded to the dtype of ``x`` and broadcast as in
        NumPy.
    backend, threads
        As in :func:`pdf`.

    Returns
    -------
    numpy.ndarray
        Places in [-c s, c s], in the dtype of ``x``; odd in ``x``, 0 at 0, NaN where ``x`` is.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is allowed.

    Notes
    -----
    The error is below 3e-7 (float32) and 1e-15 (float64) of |X| and c s min(1, (a s)^-1/2), about
    the standard deviation of K(s), and that of K(t) times dX/dx: no more than a rounding of ``x``
    and of X.

    References
    ----------
    Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641, for the velocity and the law.

    Examples
    --------
    >>> import kacflow_core as kc
    >>> x = kc.transport([0.0, 0.3, 1.4, 1.5], 0.5, 0.2, a=9.0, c=3.0)
    >>> [round(float(v), 6) for v in x]
    [0.0, 0.199377, 0.6, 0.6]
    >>> q = kc.cdf([-0.3, x[1]], [0.5, 0.2], a=9.0, c=3.0)
    >>> round(float(q.sum()), 12)
    1.0
    """
    return at_points("transport", "x", x, t, a, c, backend, threads, ends=(s,))[0]

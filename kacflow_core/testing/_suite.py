"""The table of checks and the function that runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kacflow_core._dispatch import get_backend, register_backend
from kacflow_core.testing import (
    _array_checks,
    _law_checks,
    _noise_checks,
    _path_checks,
    _spline_checks,
    _velocity_checks,
)
from kacflow_core.testing._report import ConformanceError, Report, Result
from kacflow_core.testing._subject import FencedBackend, Subject

#: A check is named by its function, promises what the docstring says, and raises where the subject
#: breaks the promise.  A module of checks ends with the tuple of its own.
Check = Callable[[Subject], None]

CHECKS: tuple[Check, ...] = (
    *_noise_checks.CHECKS,
    *_velocity_checks.CHECKS,
    *_array_checks.CHECKS,
    *_law_checks.CHECKS,
    *_path_checks.CHECKS,
    *_spline_checks.CHECKS,
)

_EXAMPLES, _THOROUGH = 40, 1000


def check_names() -> list[str]:
    """Names of all checks, in the order in which they run.

    Examples
    --------
    >>> from kacflow_core.testing import check_names
    >>> check_names()[:2]
    ['philox_vectors', 'sample_error']
    """
    return [check.__name__ for check in CHECKS]


def _chosen(only: Iterable[str] | None, backend: Any) -> list[Check]:
    """The checks to run: by default those of splines (:class:`kacflow_core._dispatch.Splines`) only
    for a backend that has them.
    """
    if only is None:
        there = getattr(backend, "spline", None) is not None
        left_out = () if there else _spline_checks.CHECKS
        return [check for check in CHECKS if check not in left_out]
    wanted = [only] if isinstance(only, str) else list(only)
    for name in wanted:
        if name not in check_names():
            raise ValueError(f"only: got {name!r}; allowed: {', '.join(check_names())}")
    return [check for check in CHECKS if check.__name__ in wanted]


def _run(check: Check, subject: Subject) -> Result:
    promise = " ".join((check.__doc__ or "").split())
    subject.example = ""
    try:
        check(subject)
    except Exception as error:  # whatever a kernel under test may raise
        return Result(check.__name__, promise, error, subject.example)
    return Result(check.__name__, promise, None, "")


def check_backend(
    name: str,
    *,
    thorough: bool = False,
    only: Iterable[str] | None = None,
    partial: bool = False,
) -> Report:
    """Test a backend, built in or your own, against :mod:`kacflow_core.reference`.

    Every check runs, also after one has failed.  Inputs are searched by Hypothesis over the ranges
    of :mod:`kacflow_core.testing.strategies`, the same ones in every run of a program; no example
    is stored on disk.
    Output arrays lie between fences, so that a kernel that writes past an end, into its input, or
    not at all is found.

    Parameters
    ----------
    name : str
        Out of :func:`kacflow_core.available_backends`, or registered with
        :func:`kacflow_core.testing.register_backend`.
    thorough : bool
        Search through 1000 instead of 40 examples for every property.
    only : iterable of str, optional
        Run these checks alone, out of :func:`check_names`; for work on one kernel.
    partial : bool
        Accept a backend without some of the methods.  A check that needs one of them is reported as
        missing, neither passed nor failed; without ``partial`` that is an error, but for
        ``transport`` and those of splines, which a backend may do without.

    Returns
    -------
    Report
        With ``results``, one for each check; as text a table of one line per check.  ``missing``
        lists the checks without their method; ``ok`` is true only where there are none.

    Raises
    ------
    ConformanceError
        An AssertionError, if a check fails or a method is missing that has to be there: it lists
        every such check with the smallest failing example found, and carries the report.
    ValueError, TypeError
        If there is no such backend or check.
    RuntimeError
        If the backend cannot be used here; the message says why.

    Examples
    --------
    >>> from kacflow_core.testing import check_backend
    >>> report = check_backend("reference", only=["velocity_is_bounded"])
    >>> report.ok, len(report.results)
    (True, 1)
    """
    backend = get_backend(name)
    checks = _chosen(only, backend)
    fenced = f"{name} (fenced)"
    register_backend(fenced, lambda: FencedBackend(backend))
    try:
        subject = Subject(fenced, backend, _THOROUGH if thorough else _EXAMPLES)
        report = Report(name, [_run(check, subject) for check in checks])
    finally:
        register_backend(fenced, None)
    if report.wrong(partial):
        cause = (report.failed or report.wrong(partial))[0].error
        raise ConformanceError(report, partial) from cause
    return report

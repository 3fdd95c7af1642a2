"""What a run of the conformance suite found."""

from __future__ import annotations

from typing import NamedTuple

from kacflow_core._dispatch import OPTIONAL, MissingMethod


class Result(NamedTuple):
    """The outcome of one check."""

    name: str  #: of the check
    promise: str  #: what a backend has to fulfil, in a line
    error: Exception | None  #: None where it is fulfilled
    example: str  #: the smallest failing example that Hypothesis found, where it searched for one

    @property
    def ok(self) -> bool:
        """Whether the promise is kept."""
        return self.error is None

    @property
    def missing(self) -> bool:
        """Whether the backend lacks a method that the check needs."""
        return isinstance(self.error, MissingMethod)

    @property
    def optional(self) -> bool:
        """Whether that is one which a backend may do without."""
        return isinstance(self.error, MissingMethod) and self.error.method in OPTIONAL

    @property
    def message(self) -> str:
        """What is wrong, in a line; empty where nothing is."""
        if self.error is None:
            return ""
        text = " ".join(str(self.error).split())
        own = isinstance(self.error, (AssertionError, MissingMethod))
        return text if own else f"{type(self.error).__name__}: {text}"


def _state(result: Result) -> str:
    return "ok" if result.ok else "missing" if result.missing else "FAILED"


class Report(NamedTuple):
    """The results of all checks of one backend; as text a table of one line per check."""

    backend: str
    results: list[Result]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(result.ok for result in self.results)

    @property
    def failed(self) -> list[Result]:
        """The results of the checks that did not pass, but for the missing ones."""
        return [result for result in self.results if not (result.ok or result.missing)]

    @property
    def missing(self) -> list[Result]:
        """The results of the checks whose method the backend does not have."""
        return [result for result in self.results if result.missing]

    def wrong(self, partial: bool) -> list[Result]:
        """The results that are an error: without ``partial`` also where a method is missing that a
        backend has to have.
        """
        return [r for r in self.results if not (r.ok or r.optional or (partial and r.missing))]

    def __str__(self) -> str:
        width = max((len(result.name) for result in self.results), default=0)
        lines = [
            f"{_state(result):7}  {result.name:{width}}  "
            f"{result.promise if result.ok else result.message}"
            for result in self.results
        ]
        passed = sum(result.ok for result in self.results)
        total = f"{passed} of {len(self.results)} checks passed"
        return "\n".join([f"backend {self.backend!r}: {total}", *lines])


class ConformanceError(AssertionError):
    """A backend does not do what :mod:`kacflow_core.reference` defines.

    The message lists every failed check: what it demands, what is wrong, and the smallest failing
    example; and every check whose method is missing, unless that was allowed.  ``report`` holds the
    results, ``__cause__`` the first error with its traceback.
    """

    def __init__(self, report: Report, partial: bool = False) -> None:
        self.report = report
        wrong = report.wrong(partial)
        parts = [
            f"backend {report.backend!r} fails {len(wrong)} of {len(report.results)} "
            "conformance checks"
        ]
        for result in wrong:
            parts.append(f"{result.name}: {result.promise}\n    {result.message}")
            if result.example:
                parts.append(f"    smallest failing example: {result.example}")
        super().__init__("\n".join(parts))

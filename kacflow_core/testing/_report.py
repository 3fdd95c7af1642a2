"""What a run of the conformance suite found."""

from __future__ import annotations

from typing import NamedTuple


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
    def message(self) -> str:
        """What is wrong, in a line; empty where nothing is."""
        if self.error is None:
            return ""
        text = " ".join(str(self.error).split())
        return text if isinstance(self.error, AssertionError) else f"{_kind(self.error)}: {text}"


def _kind(error: Exception) -> str:
    return type(error).__name__


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
        """The results of the checks that did not pass."""
        return [result for result in self.results if not result.ok]

    def __str__(self) -> str:
        width = max((len(result.name) for result in self.results), default=0)
        lines = [
            f"{'ok    ' if result.ok else 'FAILED'}  {result.name:{width}}  "
            f"{result.promise if result.ok else result.message}"
            for result in self.results
        ]
        total = f"{len(self.results) - len(self.failed)} of {len(self.results)} checks passed"
        return "\n".join([f"backend {self.backend!r}: {total}", *lines])


class ConformanceError(AssertionError):
    """A backend does not do what :mod:`kacflow_core.reference` defines.

    The message lists every failed check: what it demands, what is wrong, and the smallest failing
    example.  ``report`` holds the results, ``__cause__`` the first error with its traceback.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        parts = [
            f"backend {report.backend!r} fails {len(report.failed)} of {len(report.results)} "
            "conformance checks"
        ]
        for result in report.failed:
            parts.append(f"{result.name}: {result.promise}\n    {result.message}")
            if result.example:
                parts.append(f"    smallest failing example: {result.example}")
        super().__init__("\n".join(parts))

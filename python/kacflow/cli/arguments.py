"""What the commands share: a parser that fails with one line, and types of their options."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from kacflow.training.processes import is_main


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the usage in one line."""

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {line}; see {self.prog} --help\n")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that is an integer in [least, most]."""
    allowed = f"an integer >= {least}" if most is None else f"an integer in [{least}, {most}]"

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"got {text!r}; allowed: {allowed}")
        return value

    return convert


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Within, the main process says a UserWarning in one line, and the others do not."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        before = warnings.showwarning

        def say(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if category is not UserWarning:
                before(message, category, *where, **more)
            elif is_main():
                print(f"kacflow: warning: {' '.join(str(message).split())}", file=sys.stderr)

        warnings.showwarning = say
        yield


def failed(program: str, error: Exception) -> int:
    """Say in one line why ``program`` failed; returns its exit status."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        text = f"out of memory{text and f' ({text})'}; allowed: what this machine can hold"
    elif not text or not isinstance(error, (ValueError, TypeError, OSError, RuntimeError,
                                            ImportError, ArithmeticError)):  # fmt: skip
        text = f"{type(error).__name__}: {text}"
    print(f"{program}: error: {text}", file=sys.stderr)
    return 1

"""``python -m kacflow_core.testing``: check the backends of this installation."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from kacflow_core._dispatch import available_backends, backend_reasons
from kacflow_core.testing import ConformanceError, check_backend, check_names


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the usage in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks that the command line asks for; 0 if all of them pass, else 1."""
    parser = _Parser(
        prog="python -m kacflow_core.testing",
        description="Check backends against kacflow_core.reference: one line per check, "
        "exit status 1 if one fails.",
    )
    parser.add_argument("--backend", metavar="NAME", help="default: every one usable here")
    parser.add_argument("--thorough", action="store_true", help="25 times as many examples")
    parser.add_argument("--partial", action="store_true", help="accept missing methods")
    parser.add_argument(
        "--only", metavar="CHECK", action="append", choices=check_names(), help="may be repeated"
    )
    parser.add_argument(
        "--import", metavar="MODULE", dest="module", help="that registers a backend of your own"
    )
    options = parser.parse_args(argv)
    if options.module:
        try:
            importlib.import_module(options.module)
        except Exception as error:  # whatever a module does
            parser.error(f"argument --import: got {options.module!r}, which fails: {error!r}")
    good = True
    for name in [options.backend] if options.backend else available_backends():
        try:
            print(
                check_backend(
                    name, thorough=options.thorough, only=options.only, partial=options.partial
                )
            )
        except ConformanceError as failure:
            good = False
            print(failure.report)
            for result in failure.report.failed:
                if result.example:
                    print(f"{result.name}: smallest failing example: {result.example}")
        except (ValueError, RuntimeError) as error:
            print(f"{error}\nusable here: {', '.join(available_backends())}", file=sys.stderr)
            for other, reason in backend_reasons().items():
                print(f"not usable: {other}: {reason}", file=sys.stderr)
            return 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

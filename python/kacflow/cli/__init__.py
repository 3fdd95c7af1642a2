"""The command ``kacflow``: train, distill, presets, sample, evaluate, plot, info."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kacflow.cli import distill, evaluate, info, presets, results, train
from kacflow.cli.arguments import Parser, failed
from kacflow.training.processes import process_group

_DESCRIPTION = """\
Generative models on the telegrapher's equation: data at time 0 turns into the noise of a Kac
process at time T, and a trained network leads back.

  kacflow train --out runs/digits          learn handwritten digits (a few minutes)
  kacflow presets                          the configurations of train --preset
  kacflow sample runs/digits --n 64        generate new ones from that run
  kacflow distill runs/digits --out new    teach students that do so in 20, 4, 2 and 1 steps
  kacflow evaluate runs/digits --against digits   measure them against data
  kacflow plot runs/digits                 draw its loss, noising and samples
  kacflow info                             versions, backends, threads, processor
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="kacflow",
        description=_DESCRIPTION,
        epilog="'kacflow COMMAND --help' lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    train.add_parser(commands)
    distill.add_parser(commands)
    presets.add_parser(commands)
    results.add_sample_parser(commands)
    evaluate.add_parser(commands)
    results.add_plot_parser(commands)
    info.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0: done; 1: it failed, with one line that says why; 2: wrong usage; 130: stopped by Ctrl-C.
    """
    try:
        arguments = build_parser().parse_args(argv)
        with process_group():
            arguments.run(arguments)
    except KeyboardInterrupt as stop:
        print(f"kacflow: {stop or 'stopped'}", file=sys.stderr)
        return 130
    except Exception as error:
        return failed("kacflow", error)
    return 0

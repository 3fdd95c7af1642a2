"""``kacflow distill``: few-step students of a trained run."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from kacflow.cli.arguments import whole
from kacflow.cli.train import add_options
from kacflow.generate import FIXED_STEP
from kacflow.training import processes
from kacflow.training.config import STUDENT_LOSSES
from kacflow.training.students import CHANGES, PICTURE, STEPS, TRAIN_STEPS, distill

_DESCRIPTION = """\
Teach students of a trained run that generate in few steps: each is a run in OUT/steps-M that learns
to go in one Euler step to where its teacher leads in many (DistillKac, arXiv 2509.21513). The same
command again goes on where it was stopped. OUT/students.png shows teacher and students.
"""
_EXAMPLES = """\
examples:
  kacflow distill runs/digits --out runs/students
  kacflow distill runs/digits --steps 4 1 --guidance 1 --out runs/guided
  kacflow sample runs/students/steps-4
"""
#: Options of the command that are arguments of the function.
_OWN = ("chain", "guidance", "substeps", "solver", "loss", "train_steps")


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers ``commands``."""
    parser = commands.add_parser(
        "distill",
        help="teach few-step students of a trained run",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", metavar="RUN", help="the teacher: a run, or its checkpoint")
    parser.add_argument("--out", required=True, metavar="OUT", help="folder of the students")
    parser.add_argument(
        "--steps", type=whole(1), nargs="+", default=STEPS, metavar="M", help="steps of the "
        f"students, decreasing (default: {' '.join(map(str, STEPS))})",
    )  # fmt: skip
    parser.add_argument(
        "--chain", action="store_true", help="each student teaches the next: cheaper, but errors "
        "add up; each M must divide the one before (default: RUN teaches all)",
    )  # fmt: skip
    parser.add_argument(
        "--guidance", type=float, default=0.0, metavar="W", help="weight of the teacher's guidance "
        "towards the class, >= 0, which the students have in themselves (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--substeps", type=whole(1), metavar="N", help="steps of the teacher for one of the "
        "student (default: so many that the teacher takes at least 40 from T to 0, and 2)",
    )  # fmt: skip
    parser.add_argument(
        "--solver", choices=FIXED_STEP, default="ab2", help="of the teacher (default: ab2)"
    )
    parser.add_argument(
        "--loss", choices=STUDENT_LOSSES, default="velocity", help="squared distance of the "
        "endpoints ('position'), or the same over the squared step (default: velocity)",
    )  # fmt: skip
    parser.add_argument(
        "--train-steps", type=whole(1), default=TRAIN_STEPS, metavar="INT",
        help=f"optimiser steps for each student (default: {TRAIN_STEPS})",
    )  # fmt: skip
    add_options(parser, CHANGES, "the teacher's")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    given = {k: v for k, v in vars(arguments).items() if k in (*CHANGES, *_OWN)}
    done = distill(
        arguments.run_folder, arguments.out, arguments.steps, progress=not arguments.quiet, **given
    )
    if not processes.is_main():
        return
    for result in done:
        if math.isnan(result.loss):
            print(f"{result.out}: all {result.step} steps were trained before")
        else:
            print(f"{result.out}: {result.seconds:.1f} s, loss {result.loss:.4g}")
    print(f"wrote {Path(arguments.out) / PICTURE}; generate with: kacflow sample {done[-1].out}")

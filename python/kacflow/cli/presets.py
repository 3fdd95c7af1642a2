"""``kacflow presets``: the configurations that ``kacflow train --preset`` knows."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from kacflow.training._presets import PRESETS, preset_file, read_preset


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers ``commands``."""
    parser = commands.add_parser(
        "presets",
        help="list the configurations of kacflow train --preset",
        description="List the presets with their descriptions and sources, or print one of them.",
        epilog="example: kacflow presets cifar10",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", choices=PRESETS, help="print this file")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.name is not None:
        print(preset_file(arguments.name).read_text(encoding="utf-8"), end="")
        return
    for name in PRESETS:
        found = read_preset(name)
        print(name)
        for text in (found["description"], f"Source: {found['source']}"):
            print(textwrap.indent(textwrap.fill(text, 96), "    "))

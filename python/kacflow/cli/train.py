"""``kacflow train``: one option for each field of the configuration."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from kacflow.training import processes
from kacflow.training._presets import PRESETS, read_preset
from kacflow.training.checkpoint import load_checkpoint
from kacflow.training.config import RESUMABLE, TrainConfig
from kacflow.training.loop import train

_DESCRIPTION = """\
Train a network and write a folder with checkpoint.safetensors, config.json and log.jsonl.
Ctrl-C finishes the step and leaves a checkpoint; --resume continues from it, and on the CPU ends
with the same bits as a run that was never stopped.
"""
_EXAMPLES = """\
examples:
  kacflow train --out runs/digits
  kacflow train --data grid9 --steps 3000 --width 128 --out runs/grid9
  kacflow train --data photos.zip --image-size 32 --width 64 --blocks 2 --lr 2e-4 --out runs/photos
  kacflow train --preset cifar10 --data cifar10.zip --precision bf16
  kacflow train --out runs/digits --resume
"""


NAMES = tuple(item.name for item in dataclasses.fields(TrainConfig))


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers ``commands``."""
    parser = commands.add_parser(
        "train",
        help="train a network on a data set",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument(
        "--preset", choices=PRESETS, help="begin with these options (kacflow presets tells of "
        "them); those of --config and those given here win",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="take options from this JSON file (config.json "
        "of another run); options given here win",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in --out with its configuration; "
        f"only {', '.join(_flag(name) for name in sorted(RESUMABLE))} may be given anew",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=_run)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def add_options(
    parser: argparse.ArgumentParser, names: Sequence[str] = NAMES, default: str | None = None
) -> None:
    """Options of fields of the configuration; ``default`` says where their values come from."""
    hints = get_type_hints(TrainConfig)
    for item in dataclasses.fields(TrainConfig):
        if item.name not in names:
            continue
        kind, text = hints[item.name], item.metadata["help"].replace("%", "%%")
        options: dict[str, Any] = {
            "dest": item.name,
            "default": argparse.SUPPRESS,
            "help": f"{text} (default: {item.default if default is None else default})",
        }
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = kind
            if item.metadata["choices"]:
                options["choices"] = item.metadata["choices"]
            else:
                options["metavar"] = {int: "INT", float: "FLOAT", str: "TEXT"}[kind]
        parser.add_argument(_flag(item.name), **options)


def _options_of(file: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError for anything else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"--config: cannot read {str(file)!r} as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(
            f"--config: got {str(file)!r}, which holds a JSON {type(found).__name__}; allowed: an "
            "object of options and their values"
        )
    return found


def _run(arguments: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(arguments).items() if name in NAMES}
    values: dict[str, Any] = {}
    if arguments.preset is not None:
        values = read_preset(arguments.preset)["config"]
    if arguments.config is not None:
        values.update(_options_of(arguments.config))
    if arguments.resume:
        out = TrainConfig(out=given.get("out", values.get("out", TrainConfig.out))).out
        values = {**load_checkpoint(out).config.to_dict(), **values, "out": out}
    config = TrainConfig.from_dict({**values, **given})
    result = train(
        config,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        progress=not arguments.quiet,
    )
    if not processes.is_main():
        return
    if math.isnan(result.loss):
        done = f"nothing left to do: all {result.step} steps are trained"
    else:
        done = f"trained {result.step} steps in {result.seconds:.1f} s, loss {result.loss:.4f}"
    print(f"{done}; generate with: kacflow sample {result.out}")

"""``kacflow evaluate``: how good generated samples are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kacflow._arguments import must
from kacflow.cli import results
from kacflow.cli.arguments import one_line_warnings, whole
from kacflow.evaluation import DATA_OPTIONS, NAMES, PROTOCOLS, evaluate
from kacflow.training import processes
from kacflow.training.checkpoint import write_atomically

_OPTIONS = ("features", "n", "protocol", "part", "steps", "method", "seed", "label", "guidance",
            "grid", "device", "weights", "picture")  # fmt: skip


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers ``commands``."""
    parser = commands.add_parser(
        "evaluate",
        help="measure generated samples against data",
        description="Measure samples against data: Frechet and kernel distance, precision and "
        "recall, distances to the nearest training samples, balance of the classes. A run "
        "generates the samples first, equally many of each class if it has labels.",
        epilog="example: kacflow evaluate runs/digits --against digits:held-out --n 1000 --json "
        "quality.json",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="the folder of a run, a checkpoint, a .npz (array "
        "'samples') or .npy of samples, or a folder or .zip of images",
    )  # fmt: skip
    parser.add_argument(
        "--against", required=True, metavar="DATA", help="the data: 'digits', or a path, as "
        "kacflow train --data takes it, and ':train' or ':held-out' behind it for a part",
    )  # fmt: skip
    parser.add_argument(
        "--part", choices=("train", "held-out"), help="compare with this part of the data "
        "(default: held-out if there is one; of --protocol paper train)",
    )  # fmt: skip
    parser.add_argument(
        "--features", default="pixels", help=f"what is compared: {', '.join(NAMES)}, or a "
        "TorchScript file (.pt, .ts) of images (n, 3, height, width) in [-1, 1] to (n, d) "
        "(default: pixels)",
    )  # fmt: skip
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weights of inception: torch-fidelity's file "
        "(default: in the cache of torch.hub)",
    )  # fmt: skip
    parser.add_argument(
        "--protocol", default="standard", choices=PROTOCOLS, help="'paper': 50000 samples against "
        "the training part, images resized to 75x75 first, as the paper's authors do; 'standard' "
        "(default): 10000 samples, images as they are",
    )  # fmt: skip
    parser.add_argument(
        "--n", type=whole(2), help="samples to generate (default: as --protocol says), or to take "
        "from a file (default: all)",
    )  # fmt: skip
    results.add_generation(parser.add_argument_group("how a run generates"), "equally many of each")
    data = parser.add_argument_group(
        "the data", "as kacflow train has them (default: as the run was trained)"
    )
    data.add_argument("--key", help="name of the array of samples")
    data.add_argument("--label-key", help="name of the array of labels")
    data.add_argument("--image-size", type=whole(2), help="side in pixels")
    data.add_argument("--channels", type=int, choices=(1, 3), help="3 (colour) or 1 (grey)")
    data.add_argument("--held-out", type=float, metavar="SHARE", help="share that is held out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the generated samples that are nearest "
        "to training samples, beside these",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    alone = "1 process, which may evaluate what kacflow sample --out FILE.npz wrote under torchrun"
    must(processes.launched() == 1, "WORLD_SIZE", processes.launched(), alone)
    arguments.device = processes.usable_device(arguments.device, "--device")
    arguments.label = None if arguments.label == "each" else arguments.label
    given = vars(arguments)
    with one_line_warnings():
        report = evaluate(
            arguments.source,
            arguments.against,
            ema=not arguments.last_weights,
            **{name: given[name] for name in _OPTIONS},
            **{name: given[name] for name in DATA_OPTIONS if given[name] is not None},
        )
    print(_text(report))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        write_atomically(arguments.json, text.encode())
        print(f"wrote {arguments.json}")
    if arguments.picture is not None:
        print(f"wrote {arguments.picture}")


def _text(report: dict[str, Any]) -> str:
    """The report in lines."""
    against, near, balance = (report[name] for name in ("against", "nearest", "class_balance"))
    error, unseen = report["kid_standard_error"], near["held_out"]
    lines = [
        f"{report['n']} samples against {against['n']} of {against['data']} ({against['part']}), "
        f"features {report['features']['name']}, protocol {report['protocol']}",
        f"Frechet distance  {report['frechet_distance']:.6g}",
        f"kernel distance   {report['kid']:.4g}" + (f" +- {error:.2g}" if error else ""),
        f"precision, recall {report['precision']:.4f}, {report['recall']:.4f}",
        f"nearest training sample: mean {near['mean']:.4g}, median {near['median']:.4g}, least "
        f"{near['least']:.4g}"
        + (f" (of held-out samples {unseen['mean']:.4g}, {unseen['median']:.4g}, "
           f"{unseen['least']:.4g})" if unseen else ""),
    ]  # fmt: skip
    if balance is not None:
        lines.append(f"classes: total variation {balance['total_variation']:.4f} to the data's")
    return "\n".join(lines)

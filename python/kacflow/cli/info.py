"""``kacflow info``: what this installation consists of."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from typing import Any

from kacflow._optional import version_of

_EXTRAS = (
    "scipy", "scikit-learn", "diffusers", "accelerate", "torchdiffeq", "safetensors", "tqdm",
    "matplotlib", "pillow",
)  # fmt: skip


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers ``commands``."""
    parser = commands.add_parser(
        "info",
        help="show versions, backends, threads and the processor",
        description="Show what this installation consists of: put it into a bug report.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_run)


def collect() -> dict[str, Any]:
    """Versions of kacflow, Python and packages; torch's and the core's settings, and variables
    of the environment that change them."""
    import torch

    import kacflow_core

    return {
        "python": platform.python_version(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "platform": platform.platform(),
        "core": kacflow_core.build_info(),
        "torch": {
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda,
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("KACFLOW_", "OMP_"))
        },
        "packages": {name: version_of(name) for name in ("numpy", "numba", *_EXTRAS)},
    }


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "not there" if value is None else str(value)


def _run(arguments: argparse.Namespace) -> None:
    info = collect()
    if arguments.json:
        print(json.dumps(info, indent=2, default=str))
        return
    core = dict(info["core"])
    missing = core.pop("missing", {})
    rows = [("kacflow", core.pop("version", None)), ("python", info["python"])]
    rows += [("gil", "on" if info["gil"] else "off"), ("platform", info["platform"])]
    rows += [(f"core {name}", value) for name, value in core.items()]
    rows += [(f"no backend {name}", reason) for name, reason in missing.items()]
    rows += [(f"torch {name}", value) for name, value in info["torch"].items()]
    rows += list(info["packages"].items())
    for name, value in rows:
        print(f"{name.replace('_', ' '):<24} {_text(value)}")
    for name, value in info["environment"].items():
        print(f"{name:<24} {value}")
    absent = [name for name in _EXTRAS if info["packages"][name] is None]
    if absent:
        print(f"for training, install also {', '.join(absent)}: pip install 'kacflow[train]'")

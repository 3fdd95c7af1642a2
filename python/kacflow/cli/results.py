"""``kacflow sample`` and ``kacflow plot``: what a trained run can do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from kacflow import plotting
from kacflow.cli.arguments import one_line_warnings, whole
from kacflow.plotting.process import PICTURES
from kacflow.time_grids import NAMES
from kacflow.training import processes
from kacflow.training.checkpoint import FILE_NAME, TrainedModel, load_model
from kacflow.training.data import load_dataset, random_samples
from kacflow.training.sampling import (
    MOST,
    balanced_labels,
    draw_samples,
    draw_samples_together,
    motion_strip,
)

_RUN = f"the folder of a run, or a {FILE_NAME}"
#: Pictures of a run.
_OF_RUN = ("loss", "strip", "samples")


def _label(text: str) -> int | str:
    """A class, or "each"."""
    return text if text == "each" else whole(0, 2**63 - 1)(text)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="RUN", help=_RUN)
    parser.add_argument("--n", type=whole(1, MOST), default=64, help="samples (default: 64)")
    add_generation(parser)


def add_generation(parser: Any, label: str = "without") -> None:
    """Add the options that say how a run generates; ``label`` says what it does without one."""
    parser.add_argument(
        "--steps", type=whole(1), help="steps from noise to data (default: 100; a student takes "
        "those it was made for)",
    )  # fmt: skip
    parser.add_argument(
        "--method", default="euler", help="integrator: euler, heun, midpoint, ab2, rk4, "
        "transport for a network that predicts the data, or an adaptive one of torchdiffeq such as "
        "dopri5 (default: euler)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=whole(0, 2**63 - 1), default=0, help="decides the noise (default: 0)"
    )
    parser.add_argument(
        "--label", type=_label, metavar="CLASS", help="generate this class, or 'each' equally "
        f"often, with a run trained on labels (default: {label})",
    )  # fmt: skip
    parser.add_argument(
        "--guidance", type=float, default=0.0, metavar="W", help="weight of guidance towards the "
        "class, >= 0 (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--grid", default="uniform", choices=NAMES, help="how the steps lie in time (default: "
        "uniform)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    parser.add_argument(
        "--last-weights", action="store_true", help="use the last weights, not their average"
    )


def add_sample_parser(commands: Any) -> None:
    """Add ``sample`` to the subparsers ``commands``."""
    parser = commands.add_parser(
        "sample",
        help="generate samples from a trained run",
        description="Generate samples and write them as a picture, as numbers, or both.",
        epilog="example: kacflow sample runs/digits --n 100 --steps 20 --out new.png --out new.npz",
    )
    _add_common(parser)
    parser.add_argument(
        "--out", type=Path, action="append", metavar="FILE", help="where to write: .png for a "
        "picture, .npz for numbers (array 'samples', float32); may be given more than once "
        "(default: samples.png beside the checkpoint)",
    )  # fmt: skip
    parser.set_defaults(run=_sample)


def add_plot_parser(commands: Any) -> None:
    """Add ``plot`` to the subparsers ``commands``."""
    parser = commands.add_parser(
        "plot",
        help="draw loss, noising and samples of a run, or pictures of the process itself",
        description="Draw loss.png (loss curve), strip.png (data turning into noise and back) and "
        "samples.png (generated beside real samples) of a run. With the word 'process' in place of "
        "a run, draw the Kac process beside diffusion: paths.png, density.png, velocity.png, "
        "norm.png (of the velocity as t -> 0) and wave.png (the damped wave equation).",
        epilog="examples: kacflow plot runs/digits; kacflow plot process --out pictures",
    )
    _add_common(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write (default: the run's folder, or "
        "this one)",
    )  # fmt: skip
    parser.add_argument(
        "--only", choices=(*_OF_RUN, *PICTURES), action="append",
        help="draw only this; may be given more than once",
    )  # fmt: skip
    parser.set_defaults(run=_plot)


def _model(arguments: argparse.Namespace, device: Any = None) -> TrainedModel:
    device = device or processes.usable_device(arguments.device, "--device")
    return load_model(arguments.checkpoint, ema=not arguments.last_weights, device=device)


def _folder(arguments: argparse.Namespace) -> Path:
    place = Path(arguments.checkpoint)
    if not place.exists():
        raise ValueError(f"RUN: found none at {str(place)!r}; allowed: {_RUN}")
    return place if place.is_dir() else place.parent


def _options(arguments: argparse.Namespace, model: TrainedModel) -> dict[str, Any]:
    given = {name: getattr(arguments, name) for name in ("steps", "method", "seed", "guidance")}
    if arguments.label is not None:
        label = None if arguments.label == "each" else arguments.label
        given["labels"] = balanced_labels(arguments.n, max(model.classes, 1), label)
    return {**given, "t_grid": arguments.grid}


def _draw_alone_or_together(arguments: argparse.Namespace) -> Any:
    """The samples; processes that torchrun started divide the work."""
    if processes.launched() == 1:
        model = _model(arguments)
        return draw_samples(model, arguments.n, **_options(arguments, model))
    accelerator = processes.accelerator(arguments.device)
    model = _model(arguments, accelerator.device)
    return draw_samples_together(accelerator, model, arguments.n, **_options(arguments, model))


def _sample(arguments: argparse.Namespace) -> None:
    files = arguments.out or [_folder(arguments) / "samples.png"]
    for file in files:
        if file.suffix.lower() not in (".png", ".npz"):
            raise ValueError(f"--out: got {str(file)!r}; allowed: a file ending in .png or .npz")
    with one_line_warnings():
        samples = _draw_alone_or_together(arguments)
    if not processes.is_main():
        return
    for file in files:
        if file.suffix.lower() == ".png":
            plotting.plot_samples(samples, file)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(file, samples=samples.numpy())
        print(f"wrote {len(samples)} samples to {file}")


def _plot(arguments: argparse.Namespace) -> None:
    of_process = arguments.checkpoint == "process"
    known = tuple(PICTURES) if of_process else _OF_RUN
    wanted = [name for name in known if name in (arguments.only or known)]
    if set(arguments.only or ()) - set(known):
        whom = f"{'the process' if of_process else 'a run'}: {', '.join(known)}"
        raise ValueError(f"--only: got {', '.join(arguments.only)}; allowed for {whom}")
    if of_process:
        done = [PICTURES[name]((arguments.out or Path()) / f"{name}.png") for name in wanted]
    else:
        done = _plot_run(arguments, set(wanted))
    for file in done:
        print(f"wrote {file}")


def _plot_run(arguments: argparse.Namespace, wanted: set[str]) -> list[Path]:
    folder = arguments.out or _folder(arguments)
    done = []
    if "loss" in wanted:
        run = _folder(arguments)
        done.append(plotting.plot_loss([(run.name, run)], folder / "loss.png"))
    if wanted & {"strip", "samples"}:
        model = _model(arguments)
        real = random_samples(load_dataset(model.config), arguments.n, arguments.seed)
        image = plotting.is_image(model.sample_shape)
        if "strip" in wanted:
            rows, times = motion_strip(model, real[: 16 if image else None], steps=arguments.steps)
            done.append(plotting.plot_strip(rows, times, folder / "strip.png"))
        if "samples" in wanted:
            with one_line_warnings():
                samples = draw_samples(model, arguments.n, **_options(arguments, model))
            done.append(plotting.plot_samples(samples, folder / "samples.png", real=real))
    return done

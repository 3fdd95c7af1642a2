"""The demonstration: handwritten digits from a Kac flow, in a few minutes on two cores.

``python -m kacflow.demo --out runs/demo`` trains the same class-conditional network for the same
number of steps on Kac noise (the paper's best for images: a = 25, c = 2, T = 1, linear signal,
square clock) and on the Gaussian baseline (flow matching), generates each class, and writes
samples.png, strip.png, loss.png and metrics.json.  Each predicts what was better for it over five
seeds (docs/experiments.md): the data with Kac noise, the velocity with Gaussian noise.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kacflow import plotting
from kacflow.cli.arguments import Parser, failed, whole
from kacflow.demo.report import machine, pair_time_ratio, quality
from kacflow.training import TrainConfig, load_model
from kacflow.training.checkpoint import write_atomically
from kacflow.training.data import digits_split
from kacflow.training.sampling import draw_samples, motion_strip

#: Directory and path name of the two trainings.
RUNS = {"kac": "Kac", "flow_matching": "Gaussian (flow matching)"}
#: What differs from the defaults of a configuration.
CHANGES: dict[str, dict[str, Any]] = {
    "kac": {"a": 25.0, "c": 2.0, "clock": "square", "prediction": "data"},
    "flow_matching": {},
}
STEPS = 6000


def configurations(out: Path, steps: int) -> dict[str, TrainConfig]:
    """The two configurations: alike but for the noise and what is predicted."""
    return {
        name: TrainConfig(
            data="digits", out=str(out / name), path=name, steps=steps, labels=True, **changes
        )
        for name, changes in CHANGES.items()
    }


def _start(config: TrainConfig, threads: int, quiet: bool) -> subprocess.Popen[bytes]:
    """A training in a process of its own, restricted to ``threads`` CPU threads."""
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.json"
    wanted.write_text(config.to_json())
    command = [sys.executable, "-m", "kacflow.cli", "train", "--config", str(wanted)]
    command += ["--overwrite"] + (["--quiet"] if quiet else [])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    environment["KACFLOW_NUM_THREADS"] = str(threads)
    return subprocess.Popen(command, env=environment)


def _finish(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all; end the others if one fails.

    Ctrl-C reaches the children too: they are given time to write their checkpoints.
    """
    try:
        while any(process.poll() is None for process in processes):
            if any(process.returncode for process in processes):
                break
            time.sleep(0.2)
    except KeyboardInterrupt:
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        raise
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if any(process.returncode for process in processes):
        raise RuntimeError("a training failed; its message is above")


def train_both(configs: Sequence[TrainConfig], cores: int) -> float:
    """Run the trainings side by side, each on its share of the cores; returns seconds.

    On one core they run one after the other.
    """
    began = time.perf_counter()
    together = cores >= len(configs)
    groups = [list(configs)] if together else [[config] for config in configs]
    for group in groups:
        threads = max(1, cores // len(group))
        _finish([_start(config, threads, quiet=i > 0) for i, config in enumerate(group)])
    return time.perf_counter() - began


def run(out: Path, steps: int = STEPS, n: int = 1000) -> dict[str, Any]:
    """Train each network for ``steps`` steps, generate, measure on ``n`` digits and write the
    results into the folder ``out``; returns the content of ``metrics.json``.
    """
    began = time.perf_counter()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    configs = configurations(out, steps)
    print(f"training two networks for {steps} steps, with Kac and with Gaussian noise; "
          f"the bar shows the first", flush=True)  # fmt: skip
    training_seconds = train_both(list(configs.values()), cores or 1)
    models = {name: load_model(config.out) for name, config in configs.items()}

    print("generating and measuring ...", flush=True)
    _, _, held_out, classes = digits_split()
    rows, times = motion_strip(models["kac"], held_out[:9])
    plotting.plot_strip(rows, times, out / "strip.png")
    a_row_each = torch.arange(10).repeat_interleave(10)
    generated = draw_samples(models["kac"], 100, labels=a_row_each)
    real = torch.cat([held_out[classes == digit][:10] for digit in range(10)])
    plotting.plot_samples(generated, out / "samples.png", real=real)
    plotting.plot_loss([(RUNS[name], c.out) for name, c in configs.items()], out / "loss.png")
    report = {
        **quality(models, n),
        "pair_time": pair_time_ratio(),
        "configuration": configs["kac"].to_dict(),
        "machine": machine(),
        "seconds": {
            "training_both": training_seconds,
            "total": time.perf_counter() - began,
        },
    }
    write_atomically(out / "metrics.json", (json.dumps(report, indent=2) + "\n").encode())
    return report


def _summary(report: dict[str, Any], out: Path) -> str:
    distance, judged = report["frechet_distance"], report["classifier"]
    return (
        f"Frechet distance to held-out digits: Kac {distance['kac']['100']:.2f}, "
        f"Gaussian {distance['flow_matching']['100']:.2f}, real to real "
        f"{distance['real_to_real']:.2f}\n"
        f"classifiers agree on {judged['kac']['agreement']:.1%} of the Kac digits "
        f"(real digits: {judged['held_out']['agreement']:.1%}); the first takes "
        f"{judged['kac']['accuracy']:.1%} for the digit that they were to be\n"
        f"Kac pair time / Gaussian pair time: {report['pair_time']['ratio']:.2f}\n"
        f"{report['seconds']['total']:.0f} s; see samples.png, strip.png, loss.png and "
        f"metrics.json in {out}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the demonstration; returns the exit status."""
    parser = Parser(
        prog="python -m kacflow.demo",
        description="Train on handwritten digits with Kac and with Gaussian noise, generate, "
        "and write pictures and metrics.json.",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for results")
    parser.add_argument(
        "--steps", type=whole(1), default=STEPS, help="training steps of each network"
    )
    parser.add_argument(
        "--n", type=whole(2), default=1000, help="digits the distances are measured on"
    )
    arguments = parser.parse_args(argv)
    try:
        report = run(arguments.out, arguments.steps, arguments.n)
    except KeyboardInterrupt:
        print("demo: stopped; start it again to begin anew", file=sys.stderr)
        return 130
    except Exception as error:
        return failed("demo", error)
    print(_summary(report, arguments.out))
    return 0

"""One training in a process of its own: ``python -m benchmarks.quality.worker TASK``.

It trains, or goes on with what an earlier process has left, generates, measures, and writes
``measured-QUESTION.json`` beside the checkpoint.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from typing import Any

import torch

import kacflow
from benchmarks import results
from benchmarks.quality import measures
from benchmarks.quality.plan import Task
from kacflow.plotting import read_log
from kacflow.training import TrainedModel, load_model, train
from kacflow.training.checkpoint import FILE_NAME, write_atomically


def of_log(folder: pathlib.Path, batch: int) -> tuple[float, float]:
    """Mean loss of the last tenth of the steps, and seconds of all, out of a run's log.

    The log has the mean loss and the throughput since the line before; the last line counts even
    if it lies a tenth of the steps or more behind the one before.
    """
    lines, before, seconds = read_log(folder), 0.0, 0.0
    total = weight = 0.0
    for line in lines:
        steps = line["step"] - before
        before = line["step"]
        seconds += steps * batch / line["samples_per_second"]
        if line["step"] > 0.9 * lines[-1]["step"]:
            total += steps * line["loss"]
            weight += steps
    return total / weight, seconds


def trained(task: Task) -> tuple[TrainedModel | None, measures.Measured]:
    """The model of a task, and its loss and seconds; no model where none is needed, or it diverged.

    What a diverged run has of a log counts as its own.
    """
    config = task.config
    if config is None:
        return None, {}
    try:
        train(config, resume=(task.folder / FILE_NAME).exists(), progress=False)
        model = load_model(task.folder, device=task.device)
    except FloatingPointError:
        return None, {}
    if hasattr(task.asked, "TRAINING"):  # another question's, which has them
        return model, {}
    loss, seconds = of_log(task.folder, config.batch)
    point = str(config.steps)
    return model, {"training_loss": {point: loss}, "training_seconds": {point: seconds}}


def run(task: Task) -> dict[str, Any]:
    """Train and measure; the content of the file of results."""
    model, of_training = trained(task)
    began = time.perf_counter()
    measured = task.asked.measure(model, task)
    cuda = task.device == "cuda"
    content = {
        "description": task.description,
        "measured": {**measured, **of_training},
        "measuring_seconds": time.perf_counter() - began,
        "where": {
            "device": torch.cuda.get_device_name() if cuda else results.processor(),
            "torch": torch.__version__,
            "kacflow": kacflow.__version__,
            "commit": results.commit(),
        },
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    task.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(task.result, text.encode())
    return content


def result_of(task: Task) -> dict[str, Any] | None:
    """What an earlier process has measured of exactly this task, None if nothing."""
    try:
        content = json.loads(task.result.read_text())
        same = content["description"] == task.description
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if same else None


def main(arguments: list[str]) -> int:
    """Run the task that the arguments name, on one CPU thread."""
    torch.set_num_threads(1)
    question, condition, seed, budget, device, out, data = arguments
    run(Task(question, condition, int(seed), budget, device, pathlib.Path(out), data))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

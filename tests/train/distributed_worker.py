"""What each process of test_distributed.py does; started by torchrun, not by pytest."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from kacflow import cli
from kacflow.training import TrainConfig, load_model, loop, processes, train
from kacflow.training.checkpoint import FILE_NAME
from kacflow.training.sampling import draw_samples_together


def record(config: TrainConfig, **options: bool) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Train; return x_t, t and dx_t of this process in every step, flattened per sample, and the
    parameters of its noise after the last."""
    seen, noise = [], {}
    batch = loop._Run.batch

    def recording(run: loop._Run) -> tuple[torch.Tensor, ...]:
        drawn = batch(run)
        flat = [value.detach().reshape(len(value), -1) for value in drawn]
        seen.append(torch.cat(flat, dim=1))
        noise.update(run.noise.named_parameters())  # trained in place
        return drawn

    loop._Run.batch = recording
    try:
        train(config, progress=False, **options)
    finally:
        loop._Run.batch = batch
    return seen, {name: value.detach() for name, value in noise.items()}


def stop_one(config: TrainConfig, stopped: bool) -> str:
    """Train; if ``stopped``, this process is told to stop when it asks for the second time."""
    interruptible = loop._interruptible

    class Told(threading.Event):
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return stopped and self.asked > 1

    loop._interruptible = lambda: contextlib.nullcontext(Told())
    try:
        train(config, progress=False)
    except KeyboardInterrupt as stop:
        return str(stop)
    finally:
        loop._interruptible = interruptible
    return "not stopped"


def run_guide(file: Path) -> dict[str, torch.Tensor]:
    """Run the python block of the guide; return its weights and the last noise."""
    code = file.read_text().partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    exec(compile(code, str(file), "exec"), names)
    weights = names["accelerator"].unwrap_model(names["model"]).state_dict()
    return {**weights, "x_t": names["sample"].x_t}


def main() -> None:
    folder, guide = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    tasks = json.loads((folder / "tasks.json").read_text())
    accelerator = processes.accelerator("cpu")
    rank = accelerator.process_index
    result = {"world": accelerator.num_processes, "noise": {}, "learned": {}}
    for name, values in tasks["train"].items():
        config = TrainConfig.from_dict(values)
        resume = (Path(config.out) / FILE_NAME).exists()
        accelerator.wait_for_everyone()  # before a checkpoint is written there
        result["noise"][name], result["learned"][name] = record(config, resume=resume)
    try:
        train(TrainConfig.from_dict(tasks["indivisible"]), progress=False)
    except ValueError as error:
        result["refused"] = str(error)
    result["stopped"] = stop_one(TrainConfig.from_dict(tasks["stopped"]), rank == 1)
    model = load_model(tasks["model"])
    for name, options in tasks["draw"].items():
        result[name] = draw_samples_together(accelerator, model, **options)
    result["guide"] = run_guide(guide)
    for command in tasks["commands"]:
        assert cli.main(command) == 0, command
    torch.save(result, folder / f"rank{rank}.pt")
    accelerator.wait_for_everyone()
    torch.distributed.destroy_process_group()
    processes.leave(0)


if __name__ == "__main__":
    main()

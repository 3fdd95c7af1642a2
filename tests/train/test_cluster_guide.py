"""docs/multi-device.md: its commands parse, and its SLURM script runs, on one node.

``srun`` and ``scontrol`` are stand-ins: the one starts the command, for two processes, the other
names this machine.  torchrun, its rendezvous, gloo and the training are real.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.run import get_args_parser

from kacflow.cli import build_parser
from kacflow.training import TrainConfig, train
from kacflow.training.checkpoint import load_checkpoint

GUIDE = (Path(__file__).parents[2] / "docs" / "multi-device.md").read_text()
SLURM = GUIDE.partition("## SLURM\n")[2].partition("```bash\n")[2].partition("```")[0]
BATCH, SIZE = 4, 8
FIRST, LAST = 2, 4
SRUN = """\
#!/bin/bash
exec "$@"
"""
SCONTROL = """\
#!/bin/bash
[ "$*" = "show hostnames node[1-4]" ] || { echo "scontrol: got $*" >&2; exit 1; }
printf 'localhost\\nnode2\\n'
"""


def commands() -> list[list[str]]:
    """The commands of the guide, variables of the shell left as they are."""
    indented = re.findall(r"^    (?:torchrun|kacflow)(?:.*\\\n)*.*$", GUIDE, re.MULTILINE)
    script = re.findall(r"^srun (?:.*\\\n)*.*$", SLURM, re.MULTILINE)
    return [shlex.split(text.replace("\\\n", " ")) for text in [*indented, *script]]


def as_module(words: list[str]) -> tuple[dict[str, object], list[str]]:
    """torchrun's own options, and the arguments of ``kacflow.cli``."""
    parsed = vars(get_args_parser().parse_args(words))
    assert parsed.pop("module") and parsed.pop("training_script") == "kacflow.cli"
    return parsed, parsed.pop("training_script_args")  # type: ignore[return-value]


def test_commands_parse() -> None:
    found = commands()
    assert [words[0] for words in found] == [
        "torchrun", "torchrun", "torchrun", "kacflow", "torchrun", "srun",
    ]  # fmt: skip
    for words in found:
        if words[0] == "srun":
            assert words.pop() == "$resume"
            words.pop(0)
        arguments = words[1:] if words[0] == "kacflow" else as_module(words[1:])[1]
        assert build_parser().parse_args(arguments).command in ("train", "sample")


def test_torchrun_passes_every_option_on() -> None:
    """After ``--``; without it torchrun refuses what could be short for several of its own."""
    (subparsers,) = (
        action.choices
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    refused = set()
    for name in ("train", "sample"):
        for option in subparsers[name]._option_string_actions:
            assert as_module(["-m", "--", "kacflow.cli", name, option])[1] == [name, option]
            try:
                as_module(["-m", "kacflow.cli", name, option])
            except SystemExit:
                refused.add(option)
    assert {"--n", "--signal"} <= refused  # those that the guide names


def test_slurm_starts_what_is_started_by_hand() -> None:
    """The same options of torchrun and kacflow for many nodes, but for what SLURM knows."""
    by_hand, by_slurm = commands()[-2:]
    known = {
        "$SLURM_NNODES": "4", "$SLURM_JOB_ID": "kacflow", "$head:29500": "HOST:29500",
        "$out": "/shared/runs/photos",
    }  # fmt: skip
    assert by_slurm[0] == "srun" and by_slurm[-1] == "$resume"
    filled = [known.get(word, word) for word in by_slurm[1:-1]]
    assert as_module(filled[1:]) == as_module(by_hand[1:])
    assert "#SBATCH --nodes=4\n" in SLURM and "#SBATCH --gpus-per-node=8\n" in SLURM
    assert "#SBATCH --ntasks-per-node=1\n" in SLURM


def make_photos(folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (7, SIZE, SIZE, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i}.png")


def scaled_down(out: Path, port: int, steps: int) -> str:
    """The script with smaller numbers, its folder, a free port and a network for a test."""
    script = SLURM
    for old, new in {
        "/shared/runs/photos": str(out),
        ":29500": f":{port}",
        "--nproc-per-node 8": "--nproc-per-node 2",
        "--data photos.zip --image-size 64 --batch 4096": f"--data photos --image-size {SIZE} "
        f"--batch {BATCH} --width 8 --blocks 1 --lr-schedule constant --warmup 1 --device cpu "
        f"--seed 7 --steps {steps}",
    }.items():
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    return script


@pytest.fixture
def submit(tmp_path: Path, child_environment: dict[str, str]):
    """Runs a script as sbatch would, and returns what it printed."""
    programs = tmp_path / "bin"
    programs.mkdir()
    torchrun = f'#!/bin/bash\nexec "{sys.executable}" -m torch.distributed.run "$@"\n'
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("torchrun", torchrun)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        **child_environment, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "node[1-4]", "SLURM_NNODES": "1", "SLURM_JOB_ID": "17",
    }  # fmt: skip

    def submit(script: str) -> str:
        (tmp_path / "job.sh").write_text(script)
        job = subprocess.Popen(
            ["bash", "-eu", "job.sh"], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            said, complaints = job.communicate(timeout=200)
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)  # torchrun and its processes too
            raise
        assert job.returncode == 0, said + complaints
        return said

    return submit


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_a_job_that_is_queued_again_goes_on(submit, tmp_path: Path) -> None:
    """Two steps, then the same script to the end: the bits of one process that never stopped."""
    out = tmp_path / "run"
    make_photos(tmp_path / "photos")
    said = submit(scaled_down(out, free_port(), FIRST))
    assert said.count("trained") == 1 and f"trained {FIRST} steps" in said  # one process says so
    assert load_checkpoint(out).step == FIRST
    before = (out / "log.jsonl").read_text()
    submit(scaled_down(out, free_port(), LAST))
    # The lines of the first job are there still, with the times that it took.
    assert "samples_per_second" in before and (out / "log.jsonl").read_text().startswith(before)
    resumed = load_checkpoint(out)
    assert resumed.step == LAST
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").open()]
    assert steps == [FIRST, LAST]
    values = {**resumed.config.to_dict(), "out": str(tmp_path / "whole"), "accumulate": 2}
    values["data"] = str(tmp_path / "photos")
    train(TrainConfig.from_dict(values), progress=False)
    whole = load_checkpoint(tmp_path / "whole")
    for name, value in whole.tensors.items():
        assert torch.equal(value, resumed.tensors[name]), name


@pytest.mark.parametrize(("world", "said"), [("1", "done\ntaken down\n"), ("2", "done\n")])
def test_processes_leave_without_taking_python_down(
    child_environment: dict[str, str], world: str, said: str
) -> None:
    """Their output is written all the same, and the status is theirs."""
    code = (
        "import atexit; from kacflow.training.processes import leave; "
        "atexit.register(print, 'taken down'); print('done'); leave(3)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**child_environment, "WORLD_SIZE": world},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, said, "")

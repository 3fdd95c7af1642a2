"""Two CPU processes (gloo) under torchrun against one: noise, weights, resume, generation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed_worker as worker
import numpy as np
import pytest
import torch

from kacflow.training import TrainConfig, build_path, learned_noise, load_model, train
from kacflow.training.checkpoint import Checkpoint, load_checkpoint
from kacflow.training.processes import own_rows
from kacflow.training.sampling import draw_samples

ROOT = str(Path(__file__).parents[2])  # whose kacflow_core is not the installed one

GUIDE = Path(__file__).parents[2] / "docs" / "multi-device.md"
STEPS, HALF = 12, 5
VALUES: dict[str, Any] = {
    "width": 16, "blocks": 2, "batch": 16, "warmup": 2, "log_every": 4, "checkpoint_every": 100,
    "device": "cpu", "seed": 7, "steps": STEPS, "lr_schedule": "constant",
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "kac": {"data": "digits"},
    "diffusion": {"data": "grid9", "path": "diffusion"},
    "flips": {"data": "IMAGES", "network": "unet", "image_size": 8, "width": 8, "blocks": 1,
              "batch": 4, "flip": True, "steps": 2},
}  # fmt: skip
#: A noise that is learned in the first steps, with draws in every bin of its spline: a bin without
#: has no gradient but rounding, by which Adam moves it all the same.
LEARNED: dict[str, Any] = {
    "data": "grid9", "path": "quantile", "noise_components": "each", "noise_bins": 4,
    "noise_bound": 1.5, "noise_steps": 9, "noise_lr": 0.05, "noise_entropy": 0.01,
}  # fmt: skip
DRAW: dict[str, dict[str, Any]] = {
    "even": {"n": 8, "steps": 3, "seed": 3, "chunk": 4},  # each process computes one chunk
    "uneven": {"n": 7, "steps": 3, "seed": 3, "method": "heun"},
}


@dataclass
class Launch:
    """What the two processes left behind, and the runs of one process to compare it with."""

    folder: Path
    ranks: list[dict[str, Any]]

    def config(self, name: str, run: str, **changes: Any) -> TrainConfig:
        values = {
            **VALUES,
            **{**RUNS, "learned": LEARNED}[run],
            "out": str(self.folder / name),
            **changes,
        }
        if values["data"] == "IMAGES":
            values["data"] = str(self.folder / "images")
        return TrainConfig(**values)

    def saved(self, name: str) -> Checkpoint:
        return load_checkpoint(self.folder / name)


def make_images(folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """One start of two processes, which do everything that these tests look at."""
    result = Launch(tmp_path_factory.mktemp("processes"), [])
    folder = result.folder
    make_images(folder / "images")
    train(result.config("resumed", "kac", steps=HALF), progress=False)  # two processes go on
    configs = {name: result.config(name, name) for name in RUNS}
    configs["half"] = result.config("half", "kac", steps=HALF)  # one process goes on
    configs["resumed"] = result.config("resumed", "kac")
    configs["learned"] = result.config("learned", "learned")
    configs["unpaired"] = result.config("unpaired", "learned", noise_ot=0.0)
    configs["learned-half"] = result.config("learned-cut", "learned", steps=HALF)
    configs["learned-cut"] = result.config("learned-cut", "learned")  # goes on with that
    drawn = str(folder / "cli.npz")
    by_command = [
        ["train", "--config", str(folder / "command.json"), "--quiet"],
        ["sample", str(folder / "command"), "--n", "5", "--steps", "2", "--out", drawn],
    ]
    (folder / "command.json").write_text(result.config("command", "diffusion", steps=2).to_json())
    tasks = {
        "train": {name: config.to_dict() for name, config in configs.items()},
        "indivisible": result.config("indivisible", "kac", batch=15).to_dict(),
        "stopped": result.config("stopped", "kac").to_dict(),
        "model": configs["kac"].out,
        "draw": DRAW,
        "commands": by_command,
    }
    (folder / "tasks.json").write_text(json.dumps(tasks))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
        worker.__file__, str(folder), str(GUIDE),
    ]  # fmt: skip
    path = os.pathsep.join(entry for entry in sys.path if entry not in ("", ROOT))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    result.ranks = [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]
    return result


def weights(saved: Checkpoint) -> dict[str, torch.Tensor]:
    return {**saved.part("model"), **{f"ema.{k}": v for k, v in saved.part("ema").items()}}


def test_there_were_two_processes(launch: Launch) -> None:
    assert [rank["world"] for rank in launch.ranks] == [2, 2]


@pytest.mark.parametrize("run", RUNS)
def test_noise_is_that_of_one_process(launch: Launch, run: str, tmp_path: Path) -> None:
    """Data, flips, times, noise and velocities: bit for bit, and different in the two processes."""
    config = launch.config(str(tmp_path / "one"), run)
    whole, _ = worker.record(config)
    first, second = (rank["noise"][run] for rank in launch.ranks)
    assert len(whole) == len(first) == len(second) == config.steps
    for one, left, right in zip(whole, first, second, strict=True):
        assert torch.equal(torch.cat((left, right)), one)
        assert not torch.isclose(left, right).all(dim=1).any()


@pytest.mark.parametrize("run", RUNS)
def test_weights_are_those_of_one_process(launch: Launch, run: str, tmp_path: Path) -> None:
    """To the bit if it adds up the same two halves, else to rounding."""
    two = launch.saved(run)
    halves = launch.config(str(tmp_path / "halves"), run, accumulate=2)
    train(halves, progress=False)
    one = load_checkpoint(halves.out)
    assert one.step == two.step
    assert one.tensors.keys() == two.tensors.keys()
    for name, value in one.tensors.items():
        assert torch.equal(value, two.tensors[name]), name
    at_once = launch.config(str(tmp_path / "whole"), run)
    train(at_once, progress=False)
    if run != "flips":  # a bias before a normalisation has no gradient but rounding: Adam moves it
        torch.testing.assert_close(
            weights(load_checkpoint(at_once.out)), weights(two), rtol=1e-3, atol=1e-5
        )
    model = load_model(at_once.out)
    x = torch.randn(3, *model.sample_shape, generator=torch.Generator().manual_seed(0))
    left, right = (m.network(x, 0.5) for m in (model, load_model(launch.folder / run)))
    torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def losses(out: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in map(json.loads, (out / "log.jsonl").open())]


def test_log_holds_the_mean_of_all_processes(launch: Launch, tmp_path: Path) -> None:
    train(launch.config(str(tmp_path / "one"), "kac"), progress=False)
    one, two = losses(tmp_path / "one"), losses(launch.folder / "kac")
    assert [step for step, _ in one] == [step for step, _ in two] == [4, 8, 12]
    for (_, left), (_, right) in zip(one, two, strict=True):
        assert left == pytest.approx(right, rel=1e-5)


def test_resume_with_another_number_of_processes(launch: Launch) -> None:
    """One process after two, and two after one: the bits of an uninterrupted run."""
    whole = launch.saved("kac")
    assert launch.saved("half").step == HALF
    train(launch.config("half", "kac", accumulate=2), resume=True, progress=False)
    after_two = launch.saved("half")
    assert after_two.step == STEPS
    for name, value in whole.tensors.items():
        assert torch.equal(value, after_two.tensors[name]), name
    # The first steps of the other run were those of one process that computed the batch at once.
    torch.testing.assert_close(
        weights(launch.saved("resumed")), weights(whole), rtol=1e-3, atol=1e-5
    )
    assert losses(launch.folder / "resumed")[-1][0] == STEPS


@pytest.mark.parametrize("run", ["learned", "unpaired"])
def test_learned_noise_is_that_of_one_process(
    launch: Launch, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both processes have the mean of their gradients: the weights of one that pairs each half of a
    batch for itself, as they do, but for what Adam makes of rounding."""
    pytest.importorskip("ot")

    def by_halves(data: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        n = len(data) // 2
        return torch.cat((pairs(data[:n], noise[:n]), n + pairs(data[n:], noise[n:])))

    pairs = learned_noise.optimal_pairs
    monkeypatch.setattr(learned_noise, "optimal_pairs", by_halves)
    changes = {"noise_ot": 0.0} if run == "unpaired" else {}
    config = launch.config(str(tmp_path / "one"), "learned", **changes)
    drawn, noise = worker.record(config)
    first, second = (rank["noise"][run] for rank in launch.ranks)
    torch.testing.assert_close(torch.cat((first[0], second[0])), drawn[0], rtol=1e-5, atol=1e-6)
    for one, left, right in zip(drawn, first, second, strict=True):
        assert (torch.cat((left, right)) - one).abs().mean() < 1e-3
    left, right = (rank["learned"][run] for rank in launch.ranks)
    begin = dict(build_path(config, (2,)).noise.named_parameters())
    assert set(left) == set(noise) == set(begin)
    for name, value in noise.items():
        assert torch.equal(left[name], right[name])
        assert torch.equal(left[name], launch.saved(run).part("noise")[name])
        assert not torch.isclose(left[name], begin[name]).all()
        assert (left[name] - value).norm() < 0.1 * (value - begin[name]).norm(), name
    ours, theirs = weights(launch.saved(run)), weights(load_checkpoint(config.out))
    for name, value in theirs.items():
        assert (ours[name] - value).norm() < 1e-2 * value.norm() + 1e-4, name


def test_learned_noise_resumes(launch: Launch) -> None:
    """Two processes that were stopped, and go on: the bits of a run that was not, log and all."""
    assert len(launch.ranks[0]["noise"]["learned-cut"]) == STEPS - HALF
    whole, cut = launch.saved("learned"), launch.saved("learned-cut")
    assert whole.step == cut.step == STEPS and whole.tensors.keys() == cut.tensors.keys()
    for name, value in whole.tensors.items():
        assert torch.equal(value, cut.tensors[name]), name
    last = [(launch.folder / name / "log.jsonl").read_text().splitlines()[-1]
            for name in ("learned", "learned-cut")]  # fmt: skip
    for name in ("loss", "ot", "entropy"):
        assert json.loads(last[0])[name] == json.loads(last[1])[name]


def test_processes_stop_together(launch: Launch) -> None:
    """Ctrl-C that reaches one process stops both, after the same step, with a checkpoint."""
    for rank in launch.ranks:
        assert rank["stopped"].startswith("stopped after step 4 of 12")
    assert launch.saved("stopped").step == 4


def test_batch_must_be_divisible(launch: Launch) -> None:
    for rank in launch.ranks:
        assert rank["refused"].startswith("batch: got 15; allowed: multiples of 2, for 2 processes")
    with pytest.raises(ValueError, match="batch: got 16; allowed: multiples of 3"):
        train(launch.config("indivisible", "kac", accumulate=3), progress=False)


def test_generation_is_that_of_one_process(launch: Launch) -> None:
    model = load_model(launch.folder / "kac")
    for name, options in DRAW.items():
        wanted = draw_samples(model, **options)
        for rank in launch.ranks:
            if name == "even":
                assert torch.equal(rank[name], wanted)
            else:
                torch.testing.assert_close(rank[name], wanted, rtol=1e-4, atol=1e-5)
    parts = [draw_samples(model, 3, first=k, steps=1, seed=3) for k in (0, 3)]
    whole = draw_samples(model, 6, steps=1, seed=3, chunk=2)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)


def test_command_line(launch: Launch, tmp_path: Path) -> None:
    assert launch.saved("command").step == 2
    with np.load(launch.folder / "cli.npz") as file:
        samples = file["samples"]
    wanted = draw_samples(load_model(launch.folder / "command"), 5, steps=2)
    np.testing.assert_allclose(samples, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_loop_of_the_guide(launch: Launch) -> None:
    torch.set_num_threads(1)
    one = worker.run_guide(GUIDE)
    left, right = (rank["guide"] for rank in launch.ranks)
    assert torch.equal(torch.cat((left.pop("x_t"), right.pop("x_t"))), one.pop("x_t"))
    torch.testing.assert_close(left, one, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(right, left, rtol=0, atol=0)


def test_rows_of_processes() -> None:
    assert [own_rows(12, rank, 3) for rank in range(3)] == [range(4), range(4, 8), range(8, 12)]

"""Paths in other processes: the same noise there as here, and here as before."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing
from torch.utils.data import DataLoader, Dataset

from kacflow import KacPath, KacProcess

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def without_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start anew import what this process did, not the sources beside it."""
    root = str(Path(__file__).parents[2])
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", root)])


def paths() -> list[KacPath]:
    """One of numbers, one of tensors."""
    tensors = KacProcess(torch.tensor(9.0), torch.tensor([[1.0, 3.0]]))
    return [KacPath(KacProcess(9.0, 3.0)), KacPath(tensors, 2.0, "cosine", "square")]


def draw(path: KacPath, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    t = torch.linspace(0.1, 1.0, 64)
    return torch.stack(path.sample(torch.zeros(64, 2), t, generator=generator)[2:])


class Draws(Dataset):
    """Item i is the draw of seed i."""

    def __init__(self, path: KacPath) -> None:
        self.path = path

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        return draw(self.path, index)


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_of_a_loader(context: str):
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {context}")
    for path in paths():
        wanted = [draw(path, index) for index in range(2)]
        loader = DataLoader(
            Draws(path), batch_size=None, num_workers=1, multiprocessing_context=context, timeout=90
        )
        for got, want in zip(loader, wanted, strict=True):
            assert torch.equal(got, want)
        assert torch.equal(draw(path), wanted[0])


def answer(rank: int, path: KacPath | None, questions, answers) -> None:
    """Draws from ``path``, then from every one of the queue, until there is None."""
    while path is not None:
        answers.put(pickle.dumps(draw(path)))
        path = questions.get()


def test_arguments_and_queues_of_a_spawned_process():
    context = multiprocessing.get_context("spawn")
    questions, answers = context.SimpleQueue(), context.SimpleQueue()
    given = paths()
    wanted = [draw(path) for path in given]
    child = multiprocessing.spawn(answer, (given[0], questions, answers), join=False)
    for path in (*given[1:], None):
        questions.put(path)
    for path, want in zip(given, wanted, strict=True):
        assert torch.equal(pickle.loads(answers.get()), want)
        assert torch.equal(draw(path), want)
    assert child.join(60)


def test_tensors_in_shared_memory():
    for path in paths():
        want = draw(path)
        for tensor in (path.process.a, path.process.c):
            tensor.share_memory_()
        for _ in range(20):  # what was freed is filled with other numbers
            torch.full((2,), 50.0, dtype=torch.float64)
            assert torch.equal(draw(path), want)
        path.process.c.mul_(2.0)
        assert not torch.equal(draw(path), want)

"""The timing module of the benchmarks."""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np
import pytest
import torch

from benchmarks import timing
from benchmarks.timing import Spread, Timing


def test_spread_is_quartiles() -> None:
    assert timing.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(2.0, 3.0, 4.0)
    assert timing.spread([7.0]) == Spread(7.0, 7.0, 7.0)


def test_ratio_pairs_calls_of_the_same_round() -> None:
    ours = Timing((1.0, 10.0, 1.0), (0, 1, 2))  # the machine was slow in round 1
    theirs = Timing((20.0, 2.0), (1, 2))
    assert timing.ratio(theirs, ours).mid == 2.0


def test_slow_competitors_sit_out_rounds_and_still_get_their_calls() -> None:
    order: list[str] = []

    def call(name: str, seconds: float):
        def run() -> None:
            order.append(name)
            time.sleep(seconds)

        return run

    calls = {"ours": call("ours", 1e-3), "same": call("same", 1e-3), "slow": call("slow", 0.05)}
    taken = timing.measure(calls, seconds=0.3, least=3, warm_up=1)
    counts = {name: len(timed.seconds) for name, timed in taken.items()}
    assert counts["slow"] >= 3
    assert counts["ours"] > 2 * counts["slow"]
    assert counts["same"] > counts["ours"] / 2
    assert set(taken["slow"].rounds) <= set(taken["ours"].rounds)
    assert taken["slow"].spread.low >= 0.05
    assert {"ours same", "same ours"} <= {f"{a} {b}" for a, b in itertools.pairwise(order)}


def test_least_calls_come_even_without_time() -> None:
    taken = timing.measure({"a": lambda: None, "b": lambda: None}, seconds=0.0, least=4)
    assert {len(timed.seconds) for timed in taken.values()} == {4}


def test_threads_are_set_and_restored() -> None:
    before = torch.get_num_threads()
    with timing.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_devices_by_name() -> None:
    assert timing.find_device("cpu") == torch.device("cpu")
    for name in ("gpu", "mps", "cuda:99", ""):
        with pytest.raises(ValueError, match="got"):
            timing.find_device(name)


def test_a_gpu_is_timed_by_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """With events that stand in for a GPU's: their clock counts, and they are waited for."""
    clock = itertools.count()

    class Event:
        at, waited = 0, True

        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at, self.waited = next(clock), False

        def synchronize(self) -> None:
            self.waited = True

        def elapsed_time(self, end: Event) -> float:
            assert end.waited
            return 5.0 * (end.at - self.at)  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    taken = timing.measure({"a": lambda: None}, seconds=0.0, least=3, device="cuda")
    assert taken["a"].seconds == (5e-3,) * 3


def test_fresh_data_exceeds_the_caches() -> None:
    shape = (64, 1024)
    take = timing.fresh(shape, torch.float32)
    seen = [take() for _ in range(timing.buffers(shape, torch.float32))]
    places = {tensor.data_ptr() for tensor in seen}
    assert len(places) * seen[0].numel() * 4 >= 2 * timing.cache_bytes()
    assert take().data_ptr() == seen[0].data_ptr()
    small = timing.fresh((8, 2), torch.float32)
    assert small().data_ptr() == small().data_ptr()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's own count")
def test_peak_memory_sees_what_was_freed_again() -> None:
    size = 64 * 2**20
    peak = timing.peak_bytes(lambda: np.ones(size, np.uint8).sum())
    if peak is None:
        pytest.skip("/proc/self/clear_refs cannot be written here")
    assert 0.9 * size < peak < 1.5 * size
    assert timing.peak_bytes(lambda: None) < size // 8


def test_free_memory_is_plausible() -> None:
    assert 2**20 < timing.free_bytes() < 2**50

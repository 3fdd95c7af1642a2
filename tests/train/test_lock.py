"""One run at a time in a folder, and what killed runs leave there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kacflow.cli import main
from kacflow.training import TrainConfig, _lock, train
from kacflow.training._lock import locked
from kacflow.training.checkpoint import FILE_NAME, load_checkpoint

Small = Callable[..., TrainConfig]


@contextmanager
def training(config: TrainConfig, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A run in a process of its own, that has written a checkpoint."""
    out = Path(config.out)
    wanted = out.with_suffix(".json")
    wanted.write_text(config.to_json())
    command = [sys.executable, "-m", "kacflow.cli", "train", "--config", str(wanted), "--quiet"]
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (out / FILE_NAME).exists() and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.05)
        yield child
    finally:
        child.kill()
        child.wait()


def test_a_second_run_is_refused_until_the_first_has_ended(
    small: Small, child_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed without a chance to clean up: its lock is gone with it, its half-written file too."""
    long = small(steps=10**7, lr_schedule="constant", log_every=1, checkpoint_every=1)
    out = Path(long.out)
    again = ["train", "--config", str(out.with_suffix(".json")), "--quiet", "--steps", "2"]
    with training(long, child_environment) as child:
        for options in ([], ["--overwrite"], ["--resume", "--steps", str(10**8)]):
            assert main([*again, *options]) == 1
            said = capsys.readouterr().err
            assert f"out: got {str(out)!r}, in which another run is training" in said
            assert said.count("\n") == 1
        assert child.poll() is None
        child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        child.wait()
    for name in (".checkpoint.safetensors.17.tmp", ".log.jsonl.3.tmp", ".config.json.5.tmp"):
        (out / name).write_bytes(b"half")
    (out / ".notes.tmp").write_text("not ours")
    assert main([*again, "--overwrite"]) == 0
    assert load_checkpoint(out).step == 2
    assert sorted(os.listdir(out)) == [
        ".notes.tmp", "checkpoint.safetensors", "config.json", "log.jsonl",
    ]  # fmt: skip


def test_a_lock_keeps_others_out_and_ends_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "new"):
        with pytest.raises(ValueError, match="another run is training"), locked(tmp_path / "new"):
            pass
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()  # nothing was written
    (tmp_path / "old").mkdir()
    with locked(tmp_path / "old"):
        (tmp_path / "old" / ".lock").unlink()
    with locked(tmp_path / "old"), locked(tmp_path / "new"):
        pass
    assert os.listdir(tmp_path) == ["old"] and not os.listdir(tmp_path / "old")


def test_a_lock_on_a_file_that_was_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ended between this one's opening and locking of the file."""
    take, tried = _lock._take, []

    def late(file: int) -> None:
        tried.append(file)
        if len(tried) == 1:
            (tmp_path / ".lock").unlink()
        take(file)

    monkeypatch.setattr(_lock, "_take", late)
    with locked(tmp_path), pytest.raises(ValueError, match="another run"), locked(tmp_path):
        pass
    assert len(tried) == 3


def test_only_the_main_process_locks(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def main_only(folder: Path) -> None:
        raise AssertionError("locked by another than the main process")

    monkeypatch.setattr("kacflow.training.loop.locked", main_only)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("kacflow.training.loop._train", lambda *_: "trained")
    assert train(small(), progress=False) == "trained"


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(file: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(_lock, "_take", without)
    with pytest.warns(UserWarning, match="cannot be locked"), locked(tmp_path):
        pass


def test_resuming_nothing_makes_no_folder(small: Small) -> None:
    with pytest.raises(ValueError, match="found none"):
        train(small(), resume=True, progress=False)
    assert not Path(small().out).exists()

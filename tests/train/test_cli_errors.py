"""Whatever the command line is given, it ends with one line that names it, and no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kacflow.cli
import kacflow.demo
from kacflow.cli import main
from kacflow.plotting import read_log

SMALL = ["--data", "grid9", "--steps", "2", "--width", "8", "--blocks", "1", "--batch", "4",
         "--log-every", "1", "--device", "cpu", "--quiet"]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "--out", "run"]) == 0
    return tmp_path / "run"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must fail; returns its status and its line."""

    def said(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        try:
            status = main([str(word) for word in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        line = capsys.readouterr().err
        assert status in (1, 2) and line.count("\n") == 1, line
        assert line.startswith("kacflow"), line
        return status, line

    return said


@pytest.mark.parametrize("command", ["sample", "plot"])
@pytest.mark.parametrize(
    ("option", "values"),
    [("--seed", [-1, "x", 2**63, 0.5, ""]), ("--n", [0, -3, "many", 1.5, 10**20]),
     ("--label", [-1, 10**20, "all"]),
     ("--steps", [0, "inf"]), ("--device", ["meta", "nowhere", "", "cpu:x", "xla", "hip"])],
)  # fmt: skip
def test_options_that_cannot_be(run: Path, said, command: str, option: str, values: list) -> None:
    for value in values:
        assert option in said(command, run, option, value)[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["sample", "plot"])
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there(run: Path, said, command: str, device: str) -> None:
    assert f"--device: got {device!r}" in said(command, run, "--device", device)[1]
    assert "device: got 'cuda'" in said("train", *SMALL, "--device", "cuda", "--out", "new")[1]


def test_runs_that_are_not_there(run: Path, said) -> None:
    assert "'nowhere'" in said("plot", "nowhere")[1]
    assert "'nowhere'" in said("sample", "nowhere")[1]
    (run / "empty").mkdir()
    assert "empty" in said("sample", run / "empty")[1]
    assert "empty" in said("plot", run / "empty")[1]
    assert "config.json" in said("sample", run / "config.json")[1]
    assert "method: got 'leap'" in said("sample", run, "--method", "leap")[1]
    assert "'nowhere'" in said("train", "--resume", "--out", "nowhere")[1]
    assert "run" in said("train", *SMALL, "--out", run / "config.json")[1]


@pytest.mark.parametrize(
    "text",
    ["[1]", "{", "", "3", '"x"', "null", "[" * 10_000, b"\xff\xfe", '{"width": }', '{"steps": "x"}',
     '{"steps": true}', '{"steps": 1.5}', '{"steps": null}', '{"a": "nine"}', '{"a": [9]}',
     '{"out": 5}', '{"out": ""}', '{"out": "a\\u0000b"}', '{"data": {}}', '{"flip": 1}',
     '{"lr": NaN}', '{"unknown": 1}', '{"seed": -1}', '{"width": 1e400}', '{"path": null}',
     '{"width": 1000000000000000000000000}', '{"batch": 1000000000000}', '{"ema": "inf"}'],
)  # fmt: skip
def test_configuration_files_of_every_wrong_kind(run: Path, said, text: str | bytes) -> None:
    file = run / "bad.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    of_file = b'"out"' in file.read_bytes()
    for more in ([], ["--resume"] if of_file else ["--resume", "--out", run]):
        line = said("train", "--config", file, *more, "--quiet")[1]
        assert "bad.json" in line or "got" in line


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "RANK"])
def test_variables_of_torchrun(
    run: Path, said, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "x")
    command = ["sample", run] if variable == "WORLD_SIZE" else ["train", *SMALL, "--out", run]
    assert f"{variable}: got 'x'" in said(*command)[1]


def test_a_configuration_file_that_is_not_there(run: Path, said) -> None:
    assert "'nowhere.json'" in said("train", "--config", "nowhere.json")[1]
    assert "--config" in said("train", "--config", run)[1]


@pytest.mark.parametrize(
    "line", ["{}", '{"step": 1}', '{"loss": 1}', '{"step": 1, "loss": null}', "[1]", "{", "",
             '{"step": true, "loss": 1}', '{"step": 1, "loss": "low"}'],
)  # fmt: skip
def test_a_log_with_a_wrong_line(run: Path, said, line: str) -> None:
    log = run / "log.jsonl"
    log.write_text(log.read_text() + line + "\n")
    assert "line 3 of" in said("plot", run, "--only", "loss")[1]


def test_a_line_that_was_cut_off_is_none(run: Path) -> None:
    log = run / "log.jsonl"
    whole = read_log(run)
    log.write_text(log.read_text() + '{"step": 3, "lo')
    assert read_log(run) == whole and len(whole) == 2


def test_a_checkpoint_that_is_damaged(run: Path, said) -> None:
    file = run / "checkpoint.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    for command in (["sample", run], ["plot", run], ["train", "--resume", "--out", run]):
        line = said(*command)[1]
        assert str(file) in line and "SHA-256" in line


@pytest.mark.parametrize(
    "error",
    [MemoryError(), KeyError("x"), AssertionError(), ZeroDivisionError("float"),
     OSError(28, "full"), RecursionError("deep"), UnicodeError("odd"),
     RuntimeError("several\nlines\n"), EOFError()],
)  # fmt: skip
def test_whatever_goes_wrong_inside(
    said, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("kacflow.cli.train.train", fail)
    status, line = said("train", *SMALL, "--out", "nowhere")
    assert status == 1 and len(line) > len("kacflow: error: \n")
    monkeypatch.setattr(kacflow.demo, "run", fail)
    assert kacflow.demo.main([]) == 1


@pytest.mark.parametrize("program", [kacflow.cli, kacflow.demo])
def test_ctrl_c(
    program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kacflow.cli.info.collect", stop)
    monkeypatch.setattr("kacflow.demo.run", stop)
    assert program.main(["info"] if program is kacflow.cli else []) == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_wrong_usage_is_one_line(said, capsys: pytest.CaptureFixture[str]) -> None:
    assert said("train", "--steps", "x")[0] == 2
    assert "--path" in said("train", "--path", "brownian")[1]
    assert said("fly")[0] == 2
    assert said()[0] == 2
    with pytest.raises(SystemExit):
        kacflow.demo.main(["--n", "1"])
    assert capsys.readouterr().err.count("\n") == 1


def test_modules_run(child_environment: dict[str, str]) -> None:
    """``python -m``, with the status of the command."""
    for module, arguments, status in (
        ("kacflow.cli", ["info", "--json"], 0), ("kacflow.cli", ["plot", "nowhere"], 1),
        ("kacflow.demo", ["--help"], 0), ("kacflow.demo", ["--steps", "0"], 2),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments], env=child_environment, capture_output=True
        )
        assert done.returncode == status, done.stderr
        assert b"Traceback" not in done.stderr
        assert "--json" not in arguments or json.loads(done.stdout)

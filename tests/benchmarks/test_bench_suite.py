"""The suite from the command line: a smoke run, comparison of results, pictures.

Nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import compare, questions, results
from benchmarks.results import Row
from benchmarks.timing import Spread

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results and pictures of a smoke run."""
    folder = tmp_path_factory.mktemp("smoke")
    done = run("--smoke", "--json", str(folder / "a.json"), "--pictures", str(folder / "pictures"))
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout)
    return folder


def test_every_question_is_answered(smoke: Path) -> None:
    content = results.read(smoke / "a.json")
    text = (smoke / "output.txt").read_text()
    for name in questions.NAMES:
        rows = content["questions"][name]
        if not rows:
            assert any(line.startswith(f"{name}:") for line in content["skipped"]), name
            continue
        assert f"== {name}: {questions.load(name).TITLE}" in text
        assert (smoke / "pictures" / f"{name}.png").stat().st_size > 5_000
        for row in rows:
            assert 0.0 < row.seconds.low <= row.seconds.mid <= row.seconds.high < math.inf
            assert row.calls >= 1 and row.threads >= 1


NO_DRAWS = "floor: no pair", "floor: bare loop", "floor: no noise"


def test_every_competitor_has_its_error_beside_its_time(smoke: Path) -> None:
    content = results.read(smoke / "a.json")
    for name, rows in content["questions"].items():
        for row in rows:
            if row.name in NO_DRAWS:
                continue
            assert row.error is not None and row.error_kind, (name, row.name)
            limit = {"kacflow": 2e-6, "floor": 1e-6, "part": 2e-6}.get(
                row.name.split(":")[0].split()[0], 0.6
            )
            if not row.error_kind.startswith("Kolmogorov"):
                assert row.error < limit, (name, row.name)


def test_record_says_where_it_comes_from(smoke: Path) -> None:
    content = json.loads((smoke / "a.json").read_text())
    assert content["command"].startswith("python -m benchmarks --smoke")
    for key in ("processor", "cpus", "torch", "numpy", "kacflow", "commit", "date", "compiler"):
        assert content["environment"][key], key


def row(name: str = "kacflow", seconds: float = 1.0, error: float | None = 1e-7) -> Row:
    around = Spread(0.9 * seconds, seconds, 1.1 * seconds)
    return Row("case", name, "cpu", 1, 10, 9, around, Spread(1.0, 1.0, 1.0), error, "a kind")


def record(*rows: Row) -> dict:
    return results.record("command", "short", {"torch": "1"}, {"pair": list(rows)}, [])


def written(folder: Path, name: str, *rows: Row) -> Path:
    file = folder / name
    results.write(file, record(*rows))
    return file


def test_results_survive_their_file(tmp_path: Path) -> None:
    assert results.read(written(tmp_path, "a.json", row()))["questions"]["pair"] == [row()]


def test_compare_marks_what_lies_beyond_the_spread(tmp_path: Path) -> None:
    def marks(new: Row) -> list[str]:
        old = results.read(written(tmp_path, "a.json", row(), row("table")))
        return compare.compare(old, results.read(written(tmp_path, "b.json", new)))[1]

    assert marks(row()) == []
    assert marks(row(seconds=1.15)) == []  # quartiles overlap
    assert len(marks(row(seconds=1.3))) == 1
    assert marks(row(seconds=0.5)) == []
    assert "less accurate" in marks(row(error=2e-7))[0]
    assert marks(row("table", seconds=9.0)) == []  # not ours


def test_compare_from_the_command_line(
    smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [str(smoke / "a.json")] * 2
    assert command.main(["compare", *same, "--strict"]) == 0
    assert "regressions: 0" in capsys.readouterr().out
    slow = copy.deepcopy(json.loads((smoke / "a.json").read_text()))
    for values in slow["questions"]["pair"]:
        values["seconds"] = [9.0 * s for s in values["seconds"]]
    file = tmp_path / "slow.json"
    file.write_text(json.dumps(slow))
    assert command.main(["compare", same[0], str(file)]) == 0
    assert "slower" in capsys.readouterr().out
    assert command.main(["compare", same[0], str(file), "--strict"]) == 1


def test_pictures_from_results(smoke: Path, tmp_path: Path) -> None:
    assert command.main(["draw", str(smoke / "a.json"), str(tmp_path)]) == 0
    drawn = {file.name for file in tmp_path.glob("*.png")}
    assert drawn == {file.name for file in (smoke / "pictures").glob("*.png")}
    one = tmp_path / "one"
    assert command.main(["draw", str(smoke / "a.json"), str(one), "rate"]) == 0
    assert [file.name for file in one.glob("*")] == ["rate.png"]
    with pytest.raises(SystemExit):
        command.main(["draw", str(smoke / "a.json"), str(one), "nothing"])


def test_device_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Questions that make sense on any device, with the device named."""
    names = ["pair", "endpoint", "velocity", "rate", "size", "paths", "training", "accuracy"]
    file = tmp_path / "cpu.json"
    given = ["--smoke", "--device", "cpu", "--seconds", "0.001", "--json", str(file)]
    assert command.main([*given, "--only", *names]) == 0
    content = results.read(file)
    assert list(content["questions"]) == names
    assert all({r.device for r in rows} == {"cpu"} for rows in content["questions"].values())


def test_tables_need_their_rows(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["tables", str(smoke / "a.json")])
    assert "no row" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "nothing"],
        ["--threads", "0"],
        ["--smoke", "--full"],
        ["--device", "abacus"],
        ["--device", "cuda:99"],
        ["compare", "/nowhere/a.json", "/nowhere/b.json"],
    ],
)
def test_bad_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(arguments)
    assert refused.value.code == 2
    line = capsys.readouterr().err
    assert "error:" in line and line.count("\n") == 1


def test_other_json_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(ValueError, match="not a result of this suite"):
        results.read(other)
    a, b = (results.read(written(tmp_path, f"{name}.json", row(name))) for name in "ab")
    with pytest.raises(ValueError, match="no row in common"):
        compare.compare(a, b)


def test_questions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(
        questions.NAMES
    )

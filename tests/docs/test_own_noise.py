"""docs/own_noise.md: its code runs in one go, and the process in it passes the checks."""

from __future__ import annotations

import pathlib
import re

import pytest
import torch

from kacflow.testing import ConformanceError, check_noise

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "own_noise.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def run(code: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile(code, str(GUIDE), "exec"), names)
    return names


def test_the_guide_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("\n".join(BLOCKS))
    said = capsys.readouterr().out
    assert set(re.findall(r"'\w+': '([^']+)'", said)) == {"ok", "left out: no finite variance"}
    assert torch.isfinite(names["loss"]) and names["x"].shape == (64, 2)


def test_a_slip_in_its_process_is_found() -> None:
    """Of two degrees of freedom one: a wrong factor in the quantiles."""
    slip = BLOCKS[0].replace("(2 * q * (1 - q))", "(1.9 * q * (1 - q))")
    assert slip != BLOCKS[0]
    process = run(slip)["StudentProcess"]
    with pytest.raises(ConformanceError, match=r"^quantiles: "):
        check_noise(process())

"""Every figure of speed in README.md and benchmarks/README.md comes from the committed results."""

from __future__ import annotations

import copy
import pathlib
import re
import sys
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))  # the suite is not part of the installed package

from benchmarks import pictures, results, tables  # noqa: E402

CONTENT = results.read(ROOT / "benchmarks" / "results" / "cpu.json")
PICTURE = ROOT / "docs" / "images" / "accuracy.png"


def missing(document: str, text: str, content: dict[str, Any] = CONTENT) -> list[str]:
    """Names of the tables that ``text`` does not hold word for word."""
    made = tables.all_tables(content)
    return [name for name in tables.DOCUMENTS[document] if made[name] not in text]


@pytest.mark.parametrize("document", tables.DOCUMENTS)
def test_tables_are_those_of_the_results(document: str) -> None:
    assert missing(document, (ROOT / document).read_text()) == []


@pytest.mark.parametrize("document", tables.DOCUMENTS)
def test_a_changed_number_is_noticed(document: str) -> None:
    """In the document, and in the results."""
    text = (ROOT / document).read_text()
    for name in tables.DOCUMENTS[document]:
        table = tables.all_tables(CONTENT)[name]
        figure = re.findall(r"\| [^|]*\d\.\d\d[^|]*(?= \|)", table)[0]
        other = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), figure)
        assert name in missing(document, text.replace(figure, other)), name
    slower = copy.deepcopy(CONTENT)
    for rows in slower["questions"].values():
        for row in rows:
            object.__setattr__(row, "seconds", type(row.seconds)(*(1.2 * s for s in row.seconds)))
            object.__setattr__(row, "ratio", type(row.ratio)(*(1.2 * s for s in row.ratio)))
    assert missing(document, text, slower) == list(tables.DOCUMENTS[document])


def test_documents_state_the_command_and_the_machine() -> None:
    for document in tables.DOCUMENTS:
        text = (ROOT / document).read_text()
        assert f"`{CONTENT['command']}`" in text
        assert CONTENT["environment"]["processor"] in text


def test_picture_is_drawn_from_the_results() -> None:
    from PIL import Image

    assert PICTURE.stat().st_size < 100_000
    with Image.open(PICTURE) as image:
        source = image.info["Source"]
    rows = CONTENT["questions"]["accuracy"]
    assert source == pictures.fingerprint(rows)
    assert source != pictures.fingerprint(rows[1:])
    page = ROOT / "docs" / "benchmarks.md"
    assert f"]({PICTURE.relative_to(page.parent)})" in page.read_text()

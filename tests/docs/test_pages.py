"""The sources of the site: links lead somewhere, snippets run, commands parse, nothing is lost."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import re
import shlex
from pathlib import Path

import pytest
from pages import DOCS, OTHERS, PAGES, ROOT, TUTORIALS, anchors, commands, fences, prose

from kacflow.cli import build_parser, main

#: What fenced blocks there may be, and who runs them: python and console here, notebooks in
#: test_tutorials.py, diffs in tests/adapters, the one script in tests/train/test_cluster_guide.py.
KINDS = {"python", "console", "{code-cell} python"}
ELSEWHERE = {"adapters.md": {"diff"}, "multi-device.md": {"bash"}}

name_of = lambda path: str(path.relative_to(ROOT))  # noqa: E731


def links(path: Path) -> list[str]:
    """Where a page leads to, out of the repository aside."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    return [link for link in found if not link.startswith(("http://", "https://", "mailto:"))]


def faults(path: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in links(path):
        place, _, anchor = link.partition("#")
        target = (path.parent / place) if place else path
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    assert faults(path) == []
    for kind, _ in fences(path):
        if kind.startswith("{include}"):  # what it leads to has to be on the site as well
            included = (path.parent / kind.split()[1]).resolve()
            places = [included.parent / link.partition("#")[0] for link in links(included)]
            assert set(places) <= {*PAGES, included.parent}, kind


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A title, with a comma\n(label)=\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[](there.md) [](there.md#a-title-with-a-comma) [x](there.md#label) [x](gone.md)\n"
        "[x](there.md#gone) ![x](gone.png) [x](https://gone)\n```python\n[x](code)\n```\n"
    )
    assert faults(page) == ["gone.md", "there.md#gone", "gone.png"]


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_roles_name_what_there_is(path: Path) -> None:
    for name in re.findall(r"\{py:\w+\}`([\w.]+)`", path.read_text()):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            module, _, last = name.rpartition(".")
            assert hasattr(importlib.import_module(module), last), name


def test_every_page_is_in_the_contents() -> None:
    listed = set()
    for path in PAGES:
        folder = path.parent.relative_to(DOCS)
        for kind, text in fences(path):
            if kind == "{toctree}":
                listed |= {str(folder / line) for line in text.split() if line[0] != ":"}
    for path in set(PAGES) - {DOCS / "index.md"}:
        page = str(path.relative_to(DOCS).with_suffix(""))
        assert any(fnmatch.fnmatch(page, entry) for entry in listed), page


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_snippet_is_of_a_kind_that_is_run(path: Path) -> None:
    directives = {"{toctree}"}
    for kind, _ in fences(path):
        allowed = KINDS | directives | ELSEWHERE.get(path.name, set())
        assert kind in allowed or kind.startswith("{include} "), kind
    assert path in TUTORIALS or all("{code-cell}" not in kind for kind, _ in fences(path))


RUN = [path for path in PAGES if any(kind in ("python", "console") for kind, _ in fences(path))]


@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_snippets_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the page: Python in one namespace, commands in one folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, text in fences(path):
        if kind == "python":
            exec(compile(text, f"{path.name}: {text[:40]!r}", "exec"), names)
        elif kind == "console":
            for line in text.replace("\\\n", " ").splitlines():
                assert line.startswith("$ kacflow "), line
                status = main(shlex.split(line)[2:])
                assert status == 0, f"{line}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=name_of)
def test_commands_parse(path: Path) -> None:
    """Those that need data, a GPU or hours, and so are not run."""
    for command in commands(path):
        words = shlex.split(command, comments=True)
        if words[:1] == ["kacflow"]:
            build_parser().parse_args(words[1:])
        elif words[:2] == ["python", "-m"]:
            assert (ROOT / words[2].replace(".", "/")).exists() or importlib.import_module(words[2])
        elif path in PAGES:
            assert words[0] in ("pip", "make", "torchrun"), command


def texts(tree: ast.AST) -> list[str]:
    """The string literals of a source, a message as one with dots for what is filled in."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (getattr(part, "value", None) for part in node.values)
            found.append("".join(part if isinstance(part, str) else "..." for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def messages() -> list[str]:
    """Words of messages in the tables of errors, without what is filled in."""
    errors = (DOCS / "questions.md").read_text().partition("\n## Errors\n")[2]
    cells = re.findall(r"^\| (.*?) \|", errors, re.MULTILINE)
    spans = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    parts = [part for span in spans for part in re.split(r"\.\.\.|(?:got|allowed|run):? ", span)]
    return [part for part in parts if len(part) > 6]


def test_messages_on_the_page_are_those_of_the_sources() -> None:
    files = [
        file for package in ("python", "kacflow_core") for file in (ROOT / package).rglob("*.py")
    ]
    said = [text for file in files for text in texts(ast.parse(file.read_text()))]
    missing = lambda parts: [part for part in parts if not any(part in text for text in said)]  # noqa: E731
    assert len(messages()) > 20 and missing(messages()) == []
    assert missing(["two installations are one"]) == ["two installations are one"]

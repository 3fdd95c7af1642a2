"""No public name is without its page in the reference; and what checks the built site."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest
from pages import ROOT

sys.path.append(str(ROOT / "scripts"))

import api_pages
import check_site
from public_names import homes, public_names, resolve

NAMES = public_names()
PAGES = api_pages.api_pages()


def listed() -> dict[str, list[str]]:
    """Every ``__all__`` of the installed packages, read from the sources without importing them."""
    found = {}
    for package in ("kacflow", "kacflow_core"):
        spec = importlib.util.find_spec(package)
        assert spec and spec.origin
        root = Path(spec.origin).parent
        for path in root.rglob("*.py"):
            parts = [package, *path.relative_to(root).with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    names = ast.literal_eval(node.value)
                    found[".".join(parts)] = [n for n in names if not n.startswith("__")]
    return found


def test_every_public_name_is_found() -> None:
    there = listed()
    assert {"kacflow", "kacflow_core", "kacflow.training", "kacflow_core.testing"} <= set(there)
    for module, names in there.items():
        assert NAMES[module] == names, module


def test_every_public_name_has_its_entry() -> None:
    entries = re.findall(r"^\.\. auto\w+:: (\S+)$", "\n".join(PAGES.values()), re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(entries) == set(homes(NAMES).values()) | set(NAMES)


@pytest.mark.parametrize("name", sorted(set(homes(NAMES).values())))
def test_every_entry_says_something(name: str) -> None:
    if name in NAMES:
        assert (inspect.getdoc(importlib.import_module(name)) or "").strip()
        return
    value = resolve(name)
    if callable(value):
        assert (inspect.getdoc(value) or "").strip()
    else:  # or the page says what its type is
        module, _, last = name.rpartition(".")
        source = inspect.getsource(importlib.import_module(module))
        assert re.search(rf"^#: .*\n(#: .*\n)*{last}\b", source, re.MULTILINE)


def test_every_module_is_linked_from_names_that_stand_elsewhere() -> None:
    assert "`TrainConfig <kacflow.TrainConfig>`" in PAGES["kacflow.training"]
    assert "kacflow.training.TrainConfig" not in PAGES


def test_members_of_other_projects_have_no_entry() -> None:
    page = PAGES["kacflow.QuantileProcess"]  # a torch module, and a ScaledProcess
    (line,) = (line for line in page.splitlines() if ":inherited-members:" in line)
    names = line.partition(":inherited-members:")[2].split(", ")
    assert [name.strip() for name in names] == ["Module", "object"]
    noise = resolve("kacflow.noise.Noise")
    arguments = (None, "class", "n", noise, None, "(*args)", "")
    assert api_pages.signature(*arguments) == ("", None)  # type: ignore[arg-type]
    process = resolve("kacflow.QuantileProcess")
    arguments = (None, "class", "n", process, None, "(*args)", "")
    assert api_pages.signature(*arguments) is None  # type: ignore[arg-type]
    for name, owner, skipped in (
        ("extra_repr", process, True),
        ("base_icdf", process, None),
        ("noise", resolve("kacflow.Path"), None),
    ):
        member = getattr(owner, name, None)
        assert api_pages.skip(None, "class", name, member, False, None) is skipped  # type: ignore[arg-type]
    variance = resolve("torch.distributions.Normal").variance
    assert api_pages.skip(None, "class", "variance", variance, False, None)  # type: ignore[arg-type]


def test_formulas_are_not_markup() -> None:
    lines = ["|v| <= c, and ``|x|`` * 2:", "", "* one *star*", "::", "", "    |x|", "", "|y|"]
    api_pages.escape(None, "function", "f", None, None, lines)  # type: ignore[arg-type]
    assert lines[0] == r"\|v\| <= c, and ``|x|`` \* 2:"
    assert lines[2] == r"* one \*star\*"
    assert lines[5] == "    |x|" and lines[7] == r"\|y\|"
    lines = ["as x -> 0, ``2 *", "x -> 3 * |y|`` and * z", "", ">>> 2 * 3", "* ``a`` *"]
    api_pages.escape(None, "function", "f", None, None, lines)  # type: ignore[arg-type]
    assert lines == [
        "as x → 0, ``2 *", r"x -> 3 * |y|`` and \* z", "", ">>> 2 * 3", r"* ``a`` \*",
    ]  # fmt: skip


def test_faults_of_a_built_site_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">x</a><a href="b.html#gone">x</a><a href="c.html">x</a>'
        '<a href="https://elsewhere">x</a><img src="data:,"><a href="#self" id="self">x</a>'
        '<script src="https://elsewhere/x.js"></script><img src="no.png">'
    )
    (tmp_path / "b.html").write_text('<p id="there">x</p>')
    assert check_site.broken(tmp_path) == [
        "a.html: b.html#gone: no such place there",
        "a.html: c.html: no such file",
        "a.html: loads https://elsewhere/x.js",
        "a.html: no.png: no such file",
    ]
    (tmp_path / "a.html").write_text('<a href="b.html#there">x</a>')
    assert check_site.broken(tmp_path) == []

"""Writes the pages of the reference: one for every public module, name and command.

They are made anew at every build, in ``docs/reference/api`` and ``docs/reference/commands.rst``.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from public_names import has_list, homes, public_names, resolve

if TYPE_CHECKING:  # the tests read the pages without it
    from sphinx.application import Sphinx


def _title(text: str, mark: str = "=") -> str:
    return f"{text}\n{mark * len(text)}\n\n"


def _from_elsewhere(value: type) -> list[str]:
    """The classes of other projects above a class, whose members would fill the page."""
    return [base.__name__ for base in value.__mro__ if not base.__module__.startswith("kacflow")]


def _entry(name: str) -> str:
    """The directive of a function, a class, an exception or a constant."""
    value = resolve(name)
    if not inspect.isclass(value):
        return f".. {'autofunction' if callable(value) else 'autodata'}:: {name}\n"
    kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    text = f".. {kind}:: {name}\n   :members:\n"
    text += f"   :inherited-members: {', '.join(_from_elsewhere(value))}\n"
    if "__call__" in vars(value):
        text += "   :special-members: __call__\n"
    return text


def _object_page(name: str) -> str:
    """A page of one name."""
    module, _, last = name.rpartition(".")
    return _title(last) + f".. currentmodule:: {module}\n\n{_entry(name)}"


def _module_page(module: str, names: list[str], pages: dict[str, str]) -> str:
    """The docstring of a module, a table of its names, and their pages below it.

    What a module without an ``__all__`` defines is on its own page.
    """
    text = _title(module) + f".. automodule:: {module}\n   :no-members:\n\n"
    rows = [(name, pages[f"{module}.{name}"]) for name in names]
    if rows:
        text += ".. list-table::\n   :widths: 30 70\n\n"
    for name, page in rows:
        value = resolve(f"{module}.{name}")
        role = "mod" if inspect.ismodule(value) else "obj"
        text += f"   * - :py:{role}:`{name} <{page}>`\n     - {_summary(value)}\n"
    own = _own_pages(module, names, pages)
    if not has_list(module):
        text += "\n" + "\n".join(_entry(name) for name in own)
    elif own:
        text += "\n.. toctree::\n   :hidden:\n\n"
        text += "".join(f"   {page.rpartition('.')[2]} <{page}>\n" for page in own)
    return text


def _own_pages(module: str, names: list[str], pages: dict[str, str]) -> list[str]:
    """The names of a module that have no shorter one, submodules aside."""
    every = [f"{module}.{name}" for name in names]
    return [n for n in every if pages[n] == n and not inspect.ismodule(resolve(n))]


def _summary(value: Any) -> str:
    """The first sentence of a docstring; of a constant its value."""
    if not (callable(value) or inspect.ismodule(value)):
        return f"``{value!r}``"
    return _escaped(" ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()))


def _escaped(text: str) -> str:
    """Text with bars and stars outside of literals meant as they stand, and with arrows."""
    kept = r"``.*?``|:\w+:`.*?`|^ *\* "
    return re.sub(
        rf"({kept})|->|[|*]",
        lambda found: found[1] or ("→" if found[0] == "->" else "\\" + found[0]),
        text,
        flags=re.DOTALL | re.MULTILINE,
    )


def _commands() -> str:
    """What ``kacflow COMMAND --help`` says, for every command."""
    from kacflow.cli import build_parser

    parser = build_parser()
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    text = _title("The command line")
    text += "``kacflow COMMAND --help`` says what is below.\n\n"
    for heading, command in [("kacflow", parser), *action.choices.items()]:
        with mock.patch.dict(os.environ, {"COLUMNS": "88", "NO_COLOR": "1"}):
            lines = command.format_help().replace("\n", "\n   ")
        text += _title(heading, "-") + f".. code-block:: text\n\n   {lines}\n\n"
    return text


def _write(path: Path, text: str) -> None:
    """Leave a file alone that says so already: Sphinx reads changed ones anew."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def api_pages() -> dict[str, str]:
    """The text of every page, by the name of the module or object that it is about."""
    names = public_names()
    pages = homes(names)
    texts = {module: _module_page(module, listed, pages) for module, listed in names.items()}
    for module, listed in names.items():
        if has_list(module):
            texts |= {page: _object_page(page) for page in _own_pages(module, listed, pages)}
    return texts


def write_pages(app: Sphinx) -> None:
    """Write the pages, and remove those of names that are gone."""
    folder = Path(app.srcdir) / "reference" / "api"
    folder.mkdir(parents=True, exist_ok=True)
    texts = api_pages()
    for stale in {path.stem for path in folder.glob("*.rst")} - set(texts):
        (folder / f"{stale}.rst").unlink()
    for name, text in texts.items():
        _write(folder / f"{name}.rst", text)
    modules = "".join(f"   api/{module}\n" for module in public_names())
    _write(folder.parent / "modules.rst", _title("Modules") + f".. toctree::\n\n{modules}")
    _write(folder.parent / "commands.rst", _commands())


def escape(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Bars and stars of formulas in docstrings stand for themselves, not for markup."""
    literal: int | None = None  # indentation of the text before a literal block
    block: list[int] = []  # lines of a paragraph: a literal may go on from one to the next
    for i, line in enumerate([*lines, ""]):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None and line.strip() and not re.match(r"\s*(>>> |\.\.\. )", line):
            block.append(i)
            if line.rstrip().endswith("::"):
                literal = indent
        else:
            _escape_block(lines, block)
            block = []


def _escape_block(lines: list[str], block: list[int]) -> None:
    text = _escaped("\n".join(lines[i] for i in block))
    for i, line in zip(block, text.split("\n"), strict=False):
        lines[i] = line


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """What NamedTuple, torch or diffusers say of their own members has no entry."""
    doc = getattr(obj, "__doc__", None) or ""
    if isinstance(obj, property):
        borrowed = not obj.fget.__module__.startswith("kacflow")
    else:
        borrowed = getattr(tuple, name, None) is not None or name == "extra_repr"
    return True if borrowed or doc.startswith("Alias for field number") else None


def signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, arguments: str, returns: str
) -> tuple[str, None] | None:
    """A protocol is not called, so it has no arguments."""
    return ("", None) if getattr(obj, "_is_protocol", False) else None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

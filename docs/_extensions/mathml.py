"""Mathematics as MathML, which browsers draw by themselves: no script, no network.

The letters are those of STIX Two Math, a free font that the package ziamath brings along; it is
copied to the site, so that a page looks alike where no font for mathematics is installed.
"""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path
from typing import Any

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset_file
from sphinx.writers.html5 import HTML5Translator

FONT = "STIXTwoMath-Regular.ttf"

#: What latex2mathml leaves to be mended: no space beside the name of a function, wide spaces around
#: strokes and bars, and a prime, which this font raises by itself, raised and made small again.
_MENDED = [
    (
        r"(</(?:mi|mn|msub|msup|msqrt)>)(<mi>(?:cos|cosh|sin|sinh|ln)</mi>)",
        r'\1<mspace width="0.167em" />\2',
    ),
    (r"(<mi>(?:cos|cosh|sin|sinh|ln)</mi>)(?!<mo)", r'\1<mspace width="0.167em" />'),
    (r'<mo( stretchy="false")?>(&#x000(?:2F|7C);)</mo>', r'<mo\1 lspace="0" rspace="0">\2</mo>'),
    (
        r"<msup>(<mi>[^<]*</mi>)<mi>(&#x0203[23];)</mi></msup>",
        r'\1<mo lspace="0" rspace="0">\2</mo>',
    ),
]


def convert(latex: str, display: str) -> str:
    """LaTeX as a ``<math>`` element."""
    text: str = latex2mathml.converter.convert(latex, display=display)
    for pattern, replacement in _MENDED:
        text = re.sub(pattern, replacement, text)
    return text


def inline(self: HTML5Translator, node: nodes.math) -> None:
    text = convert(node.astext(), "inline")
    before, after = node.get("beside", ("", ""))
    if before or after:
        text = f'<span class="math-inline">{before}{text}{after}</span>'
    self.body.append(text)
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    anchor = f' id="{node["ids"][0]}"' if node["ids"] else ""
    self.body.append(f'<div class="math-block"{anchor}>')
    self.body.append(convert(node.astext(), "block"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({node["number"]})</span>')
    self.body.append("</div>")
    raise nodes.SkipNode


def keep_together(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Hand brackets and punctuation beside mathematics to it, or a line may end between them."""
    for node in list(doctree.findall(nodes.math)):
        before = after = ""
        place = node.parent.index(node)
        texts = node.parent[max(0, place - 1) : place + 2]
        if place and isinstance(texts[0], nodes.Text):
            before = re.search(r"[(\[]*$", texts[0])[0]  # type: ignore[index]
            node.parent[place - 1] = nodes.Text(texts[0].removesuffix(before))
        if isinstance(texts[-1], nodes.Text) and texts[-1] is not texts[0]:
            after = re.match(r"[)\],.;:?!]*", texts[-1])[0]  # type: ignore[index]
            node.parent[place + 1] = nodes.Text(texts[-1].removeprefix(after))
        node["beside"] = (before, after)


def copy_font(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        source = importlib.resources.files("ziamath") / "fonts" / FONT
        with importlib.resources.as_file(source) as path:
            copy_asset_file(path, Path(app.outdir) / "_static")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("doctree-resolved", keep_together)
    app.connect("build-finished", copy_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

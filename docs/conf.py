"""The site: ``make docs`` builds it into site/."""

from __future__ import annotations

import pathlib
import sys

from docutils import nodes
from sphinx.application import Sphinx

import kacflow_core

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "kacflow"
author = "kacflow contributors"
copyright = author
version = release = kacflow_core.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",
    "api_pages",
]
exclude_patterns = ["_extensions"]
smartquotes_action = "D"  # dashes alone: quotes are those of Python
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"kacflow {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["attrs_inline", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 1800  # a cell takes seconds, unless the machine is busy
nb_execution_in_temp = True
nb_output_stderr = "remove"  # warnings of other packages, with paths of this machine

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it, with shapes
napoleon_google_docstring = False
napoleon_use_param = False  # or a parameter of type "path" links to anything of that name
napoleon_use_rtype = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True


def keep_whole(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Mark code whose words fit any line, for site.css: they are not broken at their dashes."""
    for literal in doctree.findall(nodes.literal):
        text = literal.astext()
        if "-" in text and max(map(len, text.split())) <= 30:
            literal["classes"].append("whole")


def setup(app: Sphinx) -> None:
    app.connect("doctree-resolved", keep_whole)

"""Sphinx's configuration: pages in Markdown, the reference from docstrings, tables from the library itself."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import gorgo

sys.path.insert(0, str(Path(__file__).parent))
import generate

generate.write(Path(__file__).parent / "generated")

project = "Gorgo"
author = "The Gorgo authors"
copyright = "the Gorgo authors"
version = release = gorgo.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "generated/environment.md", "generated/dtypes.md"]
html_theme = "furo"
html_title = f"Gorgo {release}"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source"]
default_role = "code"  # `name` in a docstring is code, as in Markdown


def escape_stars(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Let docstrings be plain text: a star, a bar or a final underscore outside code means itself."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")) and "``" not in line:
            pieces = re.split(r"(`[^`]*`)", line)
            pieces[::2] = [re.sub(r"(?<!\\)([*|])|(?<=\w)(_)(?!\w)", r"\\\1\2", piece) for piece in pieces[::2]]
            lines[i] = "".join(pieces)


def setup(app: Any) -> None:
    """Escape before napoleon, which comes at 500, reads the sections."""
    app.connect("autodoc-process-docstring", escape_stars, priority=400)

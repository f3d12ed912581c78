"""Every Python block of the documentation runs, a page's blocks one after another; links lead somewhere."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gorgo

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Blocks that show how something is written in the library's own sources.
NOT_RUN = {"architecture.md"}


def blocks_of(page: str) -> list[tuple[int, str]]:
    """Return (line, text) of each block."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in BLOCK.finditer(text)]


def run(page: str, blocks: list[tuple[int, str]]) -> None:
    """Run blocks in one namespace: prompts as doctests, the rest as a program."""
    names: dict[str, object] = {"gg": gorgo, "__name__": "docs"}
    for line, text in blocks:
        if text.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(text, names, page, str(DOCS / page), line - 1)
            printed: list[str] = []
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            doctest.DocTestRunner(verbose=False, optionflags=flags).run(test, out=printed.append, clear_globs=False)
            assert not printed, "".join(printed)
            names.update(test.globs)
        else:
            exec(compile("\n" * (line - 1) + text, str(DOCS / page), "exec"), names)  # so that an error tells the line


@pytest.mark.parametrize("page", [page for page in PAGES if page not in NOT_RUN])
def test_page(page: str, tmp_path: Path) -> None:
    """In a process of its own: pages set limits and look at what is in use, as a reader's program would."""
    ran = subprocess.run(
        [sys.executable, __file__, page],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_a_wrong_block_is_seen() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run("index.md", [(1, ">>> 1 + 1\n3\n")])
    with pytest.raises(AssertionError):
        run("index.md", [(1, "assert 1 + 1 == 3\n")])
    assert sum(len(blocks_of(page)) for page in PAGES) > 40


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith(("http", "generated/")):
            assert (DOCS / target).exists(), f"{page} links to {target}"


if __name__ == "__main__":
    run(sys.argv[1], blocks_of(sys.argv[1]))

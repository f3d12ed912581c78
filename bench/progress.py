"""A progress bar on a terminal, and silence anywhere else.

Invariant: standard output carries results alone; the bar goes to standard error. tqdm is used where it is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from typing_extensions import Self


class Progress:
    """Called with the name of what is being done; counts the calls."""

    def __init__(self, title: str, total: int | None = None) -> None:
        self._bar: Any = None
        if sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=title, file=sys.stderr, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, what: str, count: int = 0) -> None:
        """Show what is being done; `count` says how many parts of the total are finished by it."""
        if self._bar is not None:
            self._bar.set_postfix_str(what, refresh=False)
            self._bar.update(count)

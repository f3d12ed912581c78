"""Lets `pytest bench/` find the package `bench` from any working folder, and shares the workers among all tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from typing import TYPE_CHECKING

from bench.harness import Workers
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_report_header() -> list[str]:
    """Say which libraries have no tests here, and why."""
    reasons = {name: library.missing() for name, library in LIBRARIES.items()}
    return [f"bench: without {name}: {reason}" for name, reason in reasons.items() if reason is not None]


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Share one process per library for the whole session."""
    with Workers() as started:
        yield started

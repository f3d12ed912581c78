"""Lets `pytest bench/` find the package `bench` from any working folder, and shares the workers among all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.harness import Workers  # noqa: E402
from bench.libraries import LIBRARIES  # noqa: E402


def pytest_report_header() -> list[str]:
    """Say which libraries have no tests here, and why."""
    reasons = {name: library.missing() for name, library in LIBRARIES.items()}
    return [f"bench: without {name}: {reason}" for name, reason in reasons.items() if reason is not None]


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Share one process per library for the whole session."""
    with Workers() as started:
        yield started

"""What every test may use: one random generator with a fixed seed, and no mode left over from a test before."""

import gc

import numpy as np
import pytest

import gorgo as gg


def pytest_addoption(parser):
    parser.addoption("--part", metavar="K/N", help="run every Nth test, from the Kth on (1/2 and 2/2 together run all)")


def pytest_collection_modifyitems(config, items):
    if config.getoption("part") is None:
        return
    try:
        k, n = map(int, config.getoption("part").split("/"))
    except ValueError:
        k, n = 0, 0
    if not 1 <= k <= n:
        raise pytest.UsageError(f"--part must be K/N with 1 <= K <= N, got {config.getoption('part')}")
    config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i % n != k - 1])
    items[:] = items[k - 1 :: n]


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


@pytest.fixture(autouse=True)
def _modes_are_restored():
    yield
    left_on = gg.is_grad_enabled()
    gg.set_grad_enabled(True)
    assert left_on, "the test left gradient recording off"


@pytest.fixture
def live_records():
    """Return how many tape records are alive, garbage collected first."""

    def count():
        gc.collect()
        return gg._core._live_records()

    return count

"""What every test may use: one random generator with a fixed seed, and no mode left over from a test before."""

import gc

import numpy as np
import pytest

import gorgo as gg


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

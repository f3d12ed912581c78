"""Memory runs out at each single allocation of a training step, and everything holds: clean errors, no loss, no leak.

An allocation is made to fail on purpose, which the pool does in its debug mode only; so each case has an interpreter of
its own, where this file is imported and one of its functions run.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn, optim

Array = np.ndarray


class Attention(nn.Module):
    """One head over (n, tokens, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        scores = self.query(x) @ self.key(x).mT / x.shape[-1] ** 0.5
        return x + gg.softmax(scores, axis=-1) @ self.value(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.tokens = nn.Sequential(Attention(16), nn.LayerNorm(16), nn.Dropout(0.25))
        self.head = nn.Linear(64, 3)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        return self.head(gg.reshape(self.tokens(gg.reshape(self.image(x), (-1, 4, 16))), (-1, 64)))


class Training:
    def __init__(self) -> None:
        gg.random.seed(3)
        self.model = Net()
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.01, weight_decay=0.01)
        self.images, self.labels = gg.random.randn(6, 1, 8, 8), gg.arange(6) % 3
        state = [v for entry in self.optimizer.state.values() for v in entry.values()]
        self.tensors = [*self.model.parameters(), *self.model.buffers(), *state]
        self.start = self.state()
        self.generator = gg.random.get_state().copy()

    def step(self) -> gg.Tensor:
        self.optimizer.zero_grad()
        loss = gg.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def state(self) -> list[Array]:
        return [np.array(t.detach()) for t in self.tensors]

    def restore(self) -> None:
        with gg.no_grad():
            for tensor, value in zip(self.tensors, self.start, strict=True):
                tensor.copy_(gg.asarray(value))
        gg.random.set_state(self.generator)
        self.optimizer.zero_grad()


def figures() -> tuple[int, int]:
    gc.collect()
    return gg.memory.stats()["active_bytes"], gg._core._live_records()


def same(a: list[Array], b: list[Array]) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def break_off_everywhere(training: Training, prepare: Callable[[], Callable[[], gg.Tensor]]) -> int:
    """Let each allocation of the call that `prepare` returns fail in turn; return how many there were."""
    fail = gg._core.memory.fail_allocation
    training.restore()
    expected = float(training.step())
    trained = training.state()
    count = 0
    while True:
        call = prepare()
        training.restore()
        before = figures()
        fail(count)
        loss, said = None, ""
        try:
            loss = float(call())
        except gg.OutOfMemoryError as error:
            said = str(error)
        ahead = fail(-1)
        if ahead >= 0:  # the call has fewer allocations than that
            assert loss == expected
            return count
        assert re.match(r"cpu memory: allocation of \d+ bytes must fit", said), f"allocation {count}: {said!r}"
        for now, start, end in zip(training.state(), training.start, trained, strict=True):
            assert now.tobytes() in (start.tobytes(), end.tobytes()), f"allocation {count} left a state half written"
        training.optimizer.zero_grad()
        assert figures() == before, f"allocation {count} left something behind"
        training.restore()
        assert float(call()) == expected
        assert same(training.state(), trained), f"the step after allocation {count} trained otherwise"
        count += 1


def eager() -> None:
    training = Training()
    training.step()
    print(break_off_everywhere(training, lambda: training.step))


def recorded() -> None:
    """Break off the first call of a compiled function, which records; the call after that records."""
    training = Training()
    training.step()
    print(break_off_everywhere(training, lambda: gg.compile(training.step)))


def replayed() -> None:
    """A replay allocates only where the caller has kept earlier results, so here they are kept."""
    training = Training()
    step = gg.compile(training.step)
    kept = [step() for _ in range(3)]

    def prepare() -> Callable[[], gg.Tensor]:
        kept[:] = [step(), step()]
        return step

    print(break_off_everywhere(training, prepare))
    assert step.recordings == 1


@pytest.mark.parametrize(("way", "least"), [("eager", 50), ("recorded", 50), ("replayed", 1)])
def test_every_allocation_of_a_step_may_fail(way: str, least: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import test_out_of_memory as t; t.{way}()"],
        env={**os.environ, "GORGO_MEMORY_DEBUG": "1", "GORGO_NUM_THREADS": "2"},
        cwd=Path(__file__).parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least


def test_failing_on_purpose_needs_debug_mode() -> None:
    if gg.memory.debug_mode():
        assert gg._core.memory.fail_allocation(-1) == -1
        return
    with pytest.raises(RuntimeError, match="cpu memory: debug mode must be on for an allocation to fail on purpose"):
        gg._core.memory.fail_allocation(0)

"""Captured functions as CUDA graphs: steps side by side, addresses and numbers that change from run to run.

Every result is compared, bit for bit, with the same function called eagerly.
Read first: csrc/graph/device_replay.cpp (Program::enqueue), csrc/graph/order.h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn, optim

DEVICE = "cuda:0"


def draw(seed: int, *shape: int) -> gg.Tensor:
    return gg.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32)).to(DEVICE)


def bits(t: gg.Tensor) -> Any:
    return t.detach().cpu().numpy().view(np.uint32)


def assert_same(got: gg.Tensor, expected: gg.Tensor, what: str) -> None:
    np.testing.assert_array_equal(bits(got), bits(expected), err_msg=what)


def diamond(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
    """Return what four branches of several kernels each make, together."""
    a, b = x @ y, y @ x
    c, d = gg.exp(gg.sin(x)), gg.softmax(y, 0)
    for _ in range(3):
        a, b, c, d = gg.tanh(a) + c, b * 0.5 - d, gg.sort(c, axis=0), d.sum(axis=1, keepdims=True) + d
    return (a @ b) + (c @ d) + a.mean()


def test_branches_that_run_side_by_side() -> None:
    f = gg.compile(diamond)
    for k in range(40):
        x, y = draw(2 * k, 96, 96), draw(2 * k + 1, 96, 96)
        assert_same(f(x, y), diamond(x, y), f"run {k}")
    assert f.recordings == 1


def test_writes_that_other_branches_read_around() -> None:
    state = gg.zeros((64, 64), device=DEVICE)
    other = gg.zeros((64, 64), device=DEVICE)

    def f(x: gg.Tensor) -> gg.Tensor:
        before = state @ x  # reads what is then written
        state[8:40] = x[8:40] * 2
        after = state + x
        other[:, ::3] = after[:, ::3]
        state[0] = other[3]
        return before + after @ other

    run = gg.compile(f)
    inputs = [draw(k, 64, 64) for k in range(3)]
    got = [run(inputs[k % 3]).copy() for k in range(12)]
    states = state.copy(), other.copy()
    state[...] = 0.0
    other[...] = 0.0
    for k in range(12):
        assert_same(got[k], f(inputs[k % 3]), f"run {k}")
    assert_same(state, states[0], "state")
    assert_same(other, states[1], "other")


@pytest.mark.parametrize("places", [1, 3, 4, 5, 9])
def test_inputs_in_ever_other_places(places: int) -> None:
    f = gg.compile(diamond)
    pairs = [(draw(2 * k, 32, 32), draw(2 * k + 1, 32, 32)) for k in range(places)]
    expected = [diamond(x, y) for x, y in pairs]
    for k in range(6 * places):
        assert_same(f(*pairs[k % places]), expected[k % places], f"run {k}")


def test_results_that_are_kept() -> None:
    f = gg.compile(diamond)
    x, y = draw(1, 32, 32), draw(2, 32, 32)
    kept = [f(x, y) for _ in range(30)]
    expected = diamond(x, y)
    for k, t in enumerate(kept):
        assert_same(t, expected, f"result {k}")
    assert len({t.__cuda_array_interface__["data"][0] for t in kept}) == len(kept)


def test_inputs_that_are_not_aligned_alike() -> None:
    whole = [draw(k, 4 * 1000 + 8) for k in range(12)]
    views = [t[k % 4 : k % 4 + 4000] for k, t in enumerate(whole)]

    def chain(x: gg.Tensor) -> gg.Tensor:
        return (x * 2 + 1).sum() + gg.tanh(x)

    f = gg.compile(chain)
    for k in range(36):
        assert_same(f(views[k % 12]), chain(views[k % 12]), f"run {k}")


def test_arguments_that_are_what_is_written() -> None:
    state = draw(0, 512)
    places = [draw(1, 512), state, draw(2, 512), draw(3, 512), draw(4, 512), draw(5, 512)]

    def f(x: gg.Tensor) -> gg.Tensor:
        y = gg.exp(x) * 0.25
        state[100:356] = y[:256]  # x may be this one
        return x + y  # and is read again

    start = state.copy()
    eager = [f(places[k % 6]).copy() for k in range(30)]
    last = state.copy()
    state[...] = start
    run = gg.compile(f)
    for k in range(30):
        assert_same(run(places[k % 6]), eager[k], f"run {k}")
    assert_same(state, last, "state")
    assert run.recordings == 2


def network(seed: int) -> nn.Module:
    gg.random.seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(96, 32), nn.GELU(), nn.Linear(32, 10)),
    ).to(DEVICE)


def train(steps: int, places: int, wrap: Callable[[Any], Any]) -> tuple[list[Any], list[Any]]:
    """Return losses and weights after training with a rate that changes at each step, every result kept."""
    model = network(3)
    update = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.lr_scheduler.CosineAnnealingLR(update, steps)

    def step(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        update.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        update.step()
        return loss

    run = wrap(step)
    rng = np.random.default_rng(5)
    batches = [(draw(k, 16, 1, 8, 8), gg.asarray(rng.integers(0, 10, 16)).to(DEVICE)) for k in range(places)]
    losses = []
    for k in range(steps):
        losses.append(run(*batches[k % places]))
        schedule.step()
    return [bits(t) for t in losses], [bits(p) for p in model.parameters()]


@pytest.mark.parametrize("places", [1, 4, 7])
def test_training_with_a_rate_that_changes_at_each_step(places: int) -> None:
    eager, captured = train(24, places, lambda f: f), train(24, places, gg.compile)
    for of_eager, of_captured in zip(eager, captured, strict=True):
        for k, (e, c) in enumerate(zip(of_eager, of_captured, strict=True)):
            np.testing.assert_array_equal(c, e, err_msg=f"{k}")


def test_random_draws_follow_one_another_in_replays() -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        return nn.functional.dropout(x, 0.5) + nn.functional.dropout(gg.tanh(x), 0.25)

    inputs = [draw(k, 300) for k in range(6)]
    gg.random.seed(11)
    expected = [f(inputs[k % 6]) for k in range(24)]
    run = gg.compile(f)
    gg.random.seed(11)
    for k in range(24):
        assert_same(run(inputs[k % 6]), expected[k], f"run {k}")


def test_a_captured_function_stays_on_one_device() -> None:
    with pytest.raises(NotImplementedError, match=r"must be on one device, got cuda:0 and cpu"):
        gg.compile(lambda x: (x + 1.0, gg.ones((2,)) * 2.0))(gg.ones((2,), device=DEVICE))

"""What captured functions keep of weights between calls: no result shows it, whoever writes to the weights and how."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fuse_chains import DTYPES, same_bits

import gorgo as gg
from gorgo.nn import functional as F

Function = Callable[[gg.Tensor], gg.Tensor]


def drawn(*shape: int, dtype: str = "float32", seed: int = 0) -> gg.Tensor:
    """Return normal numbers in memory of our own."""
    return gg.asarray(np.random.default_rng(seed).normal(size=shape)).astype(getattr(gg, dtype)).copy()


def check(f: Function, *inputs: gg.Tensor) -> Function:
    """Compare replays with the eager call, and return what replays."""
    compiled: Function = gg.compile(f)
    for _ in range(3):
        for x in inputs:
            same_bits(compiled(x), f(x))
    return compiled


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 4, 29, 100])
@pytest.mark.parametrize(("n", "k"), [(10, 128), (300, 420), (257, 900), (1, 70), (64, 0)])
def test_products_equal_eager(rows: int, n: int, k: int, dtype: str) -> None:
    w, bias = drawn(n, k, dtype=dtype), drawn(n, dtype=dtype, seed=1)
    across = w.T.copy()
    x, other = (drawn(rows, k, dtype=dtype, seed=seed) for seed in (2, 3))
    check(lambda x: gg.relu(gg.linear(x, w, bias)), x, other)
    check(lambda x: x @ across, x, other)
    check(lambda x: x[None] @ across, x, other)


def test_stacks_equal_eager() -> None:
    stack = drawn(3, 90, 110)
    check(lambda x: x @ stack, drawn(3, 40, 90, seed=1), drawn(3, 40, 90, seed=2))
    check(lambda x: x @ stack.mT, drawn(1, 40, 110, seed=1), drawn(1, 40, 110, seed=2))


CONVOLUTIONS: dict[str, Callable[[gg.Tensor, gg.Tensor], gg.Tensor]] = {
    "filtered": lambda x, w: F.conv2d(x, w, padding=1),
    "by outputs": lambda x, w: F.conv2d(x, w, stride=2),
    "transposed": lambda x, w: F.conv_transpose2d(x, w, padding=1),
    "in phases": lambda x, w: F.conv_transpose2d(x, w, stride=2),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_equal_eager(kind: str, dtype: str) -> None:
    f, w = CONVOLUTIONS[kind], drawn(24, 24, 3, 3, dtype=dtype)
    images = [drawn(2, 24, 13, 11, dtype=dtype, seed=seed) for seed in (1, 2)]
    compiled = check(lambda x: f(x, w), *images)
    w *= 2.0
    same_bits(compiled(images[0]), f(images[0], w))


def numpy_view(w: gg.Tensor) -> None:
    np.asarray(w)[3] += 7.0


def through_dlpack(w: gg.Tensor) -> None:
    np.from_dlpack(w)[5] += 1.0


def in_place(w: gg.Tensor) -> None:
    w *= 0.5


def through_a_view(w: gg.Tensor) -> None:
    w.T[2, 4:9] -= 1.0


def by_an_optimizer(w: gg.Tensor) -> None:
    p = gg.nn.Parameter(w)
    p.grad = gg.ones(w.shape)
    gg.optim.SGD([p], lr=0.1).step()


WRITERS: list[Callable[[gg.Tensor], None]] = [numpy_view, through_dlpack, in_place, through_a_view, by_an_optimizer]


@pytest.mark.parametrize("write", WRITERS)
def test_writes_between_calls_are_seen(write: Callable[[gg.Tensor], None]) -> None:
    w, x = drawn(300, 420), drawn(6, 420, seed=1)
    compiled = check(lambda x: gg.linear(x, w), x)
    for _ in range(2):
        before = compiled(x).copy()
        write(w)
        after = compiled(x)
        same_bits(after, gg.linear(x, w))
        assert not np.array_equal(np.asarray(before), np.asarray(after))
        same_bits(compiled(x), gg.linear(x, w))


def test_writes_through_a_view_that_was_exported_before_are_seen() -> None:
    w, x = drawn(300, 420), drawn(6, 420, seed=1)
    outside = np.asarray(w)
    compiled = check(lambda x: gg.linear(x, w), x)
    outside[:] = 2.0
    same_bits(compiled(x), gg.linear(x, w))


def test_memory_of_others_is_read_anew_at_each_call() -> None:
    values = np.random.default_rng(0).normal(size=(300, 420)).astype(np.float32)
    w, x = gg.from_dlpack(values), drawn(6, 420, seed=1)
    compiled = check(lambda x: gg.linear(x, w), x)
    values[:] = 3.0
    same_bits(compiled(x), gg.linear(x, w))


def test_writes_in_the_graph_are_seen() -> None:
    def run(captured: bool) -> list[gg.Tensor]:
        w, x = drawn(300, 420), drawn(6, 420, seed=1)
        same = w.T

        def before(x: gg.Tensor) -> gg.Tensor:
            y = gg.linear(x, w)
            same.__imul__(0.5)
            return y + gg.linear(x, w)

        call = gg.compile(before) if captured else before
        return [call(x).copy() for _ in range(4)]

    for got, want in zip(run(True), run(False), strict=True):
        same_bits(got, want)


def test_training_and_inference_take_turns() -> None:
    def run(captured: bool) -> list[gg.Tensor]:
        gg.random.seed(3)
        net = gg.nn.Sequential(gg.nn.Linear(40, 300), gg.nn.ReLU(), gg.nn.Linear(300, 10))
        optimizer = gg.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        x, labels = drawn(12, 40), gg.asarray(np.arange(12) % 10)

        def step(x: gg.Tensor) -> gg.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        def infer(x: gg.Tensor) -> gg.Tensor:
            with gg.no_grad():
                result: gg.Tensor = net(x)
            return result

        calls = [gg.compile(step), gg.compile(infer)] if captured else [step, infer]
        return [f(x).detach().copy() for _ in range(5) for f in (*calls, calls[1])]

    for got, want in zip(run(True), run(False), strict=True):
        same_bits(got, want)


def test_threads_keep_their_own() -> None:
    w, inputs = drawn(300, 420), [drawn(6, 420, seed=seed) for seed in range(4)]
    compiled = check(lambda x: gg.linear(x, w), inputs[0])
    wrong: list[Any] = []

    def work(x: gg.Tensor) -> None:
        want = np.asarray(gg.linear(x, w)).tobytes()
        wrong.extend(i for i in range(200) if np.asarray(compiled(x)).tobytes() != want)

    threads = [threading.Thread(target=work, args=(x,)) for x in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_kept_is_bounded() -> None:
    w = drawn(5000, 5000)  # 100 MB
    small = drawn(5000, 64, seed=1)
    x = drawn(4, 5000, seed=2)
    before = gg.memory.stats()["active_bytes"]
    compiled = check(lambda x: gg.linear(x, w) @ small, x)
    assert gg.memory.stats()["active_bytes"] - before < 16 << 20  # of which tasks on tiles take half for themselves
    w += 1.0
    same_bits(compiled(x), gg.linear(x, w) @ small)

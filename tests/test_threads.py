"""Threads: the same bits for any number of them, several Python threads at once, thread-local modes, and forks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn, optim

SEED = np.random.default_rng(7)


def sample(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape, dtype=np.float32)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = gg.get_num_threads()
    yield
    gg.set_num_threads(before)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run work(0) ... work(count - 1) at the same time; the first exception is ours, and so is a hang."""
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def run(i: int) -> None:
        try:
            start.wait(60)
            work(i)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread hangs"
    if failures:
        raise failures[0]


# Sizes from which the kernels split their work; one row for each family of ops.
X = sample(768, 520)
IMAGES = sample(8, 6, 30, 30)
FAMILIES: dict[str, Callable[[gg.Tensor], gg.Tensor]] = {
    "elementwise": lambda x: gg.exp(x * 0.5) + x * x,
    "broadcast": lambda x: x * x[0] + x[:, :1],
    "strided": lambda x: gg.tanh(x.T) * 2.0,
    "sum of all": lambda x: x.sum(),
    "sum of rows": lambda x: x.sum(axis=1),
    "sum of columns": lambda x: x.sum(axis=0),
    "variance": lambda x: gg.var(x, axis=0),
    "max": lambda x: gg.max(x, axis=1),
    "prod": lambda x: gg.prod(1.0 + x * 0.001, axis=0),
    "softmax": lambda x: gg.softmax(x, axis=-1),
    "log_softmax": lambda x: gg.log_softmax(x, axis=0),
    "logsumexp": lambda x: gg.logsumexp(x, axis=-1),
    "matmul": lambda x: x @ x.T,
    "matrix times vector": lambda x: x @ x[0],
    "batched matmul": lambda x: x.reshape((8, 96, 520)) @ x.reshape((8, 520, 96)),
    "concat": lambda x: gg.concat([x, x * 2.0], axis=1),
    "roll": lambda x: gg.roll(x, 3, axis=0),
    "take": lambda x: gg.take(x, gg.arange(700) % 31, axis=0),
    "sort": lambda x: gg.sort(x, axis=-1),
    "where": lambda x: gg.where(x > 0.0, x, x * 0.1),
}


def families_forward_and_backward() -> dict[str, list[np.ndarray]]:
    out: dict[str, list[np.ndarray]] = {}
    for name, run in FAMILIES.items():
        x = gg.asarray(X)
        x.requires_grad_()
        y = run(x)
        y.backward(gg.cos(y.detach()))
        out[name] = [np.asarray(y.detach()), np.asarray(x.grad)]
    images = gg.asarray(IMAGES)
    images.requires_grad_()
    weight = gg.asarray(sample_weight())
    weight.requires_grad_()
    y = gg.max_pool2d(gg.conv2d(images, weight, padding=1), 2)
    y.backward(gg.cos(y.detach()))
    out["conv"] = [np.asarray(y.detach()), np.asarray(images.grad), np.asarray(weight.grad)]
    return out


def sample_weight() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((16, 6, 3, 3), dtype=np.float32)


def test_one_and_several_threads_give_the_same_bits() -> None:
    gg.set_num_threads(1)
    alone = families_forward_and_backward()
    for threads in (2, 3):
        gg.set_num_threads(threads)
        together = families_forward_and_backward()
        assert alone.keys() == together.keys()
        for name, values in alone.items():
            for a, b in zip(values, together[name], strict=True):
                assert a.tobytes() == b.tobytes(), f"{name} with {threads} threads"


def test_random_numbers_do_not_depend_on_threads() -> None:
    drawn = []
    for threads in (1, 2):
        gg.set_num_threads(threads)
        gg.random.seed(5)
        drawn.append(np.asarray(gg.random.randn(300_000)).tobytes())
    assert drawn[0] == drawn[1]


def test_python_threads_compute_and_differentiate_at_once() -> None:
    gg.set_num_threads(2)
    weights = sample(300, 300)

    def once(i: int) -> np.ndarray:
        x = gg.asarray(weights * (0.1 + 0.01 * i))
        x.requires_grad_()
        y = gg.tanh(x @ x)
        (y * y).sum().backward()
        return np.asarray(x.grad)

    expected = [once(i) for i in range(4)]

    def work(i: int) -> None:
        for _ in range(8):
            assert np.array_equal(once(i), expected[i])

    in_threads(4, work)


def test_a_leaf_shared_by_threads_sums_every_gradient() -> None:
    shared = gg.ones((1000,))
    shared.requires_grad_()

    def work(i: int) -> None:
        for _ in range(50):
            (shared * float(i + 1)).sum().backward()

    in_threads(4, work)
    assert np.array_equal(np.asarray(shared.grad), np.full(1000, 50.0 * (1 + 2 + 3 + 4), dtype=np.float32))


def test_threads_compile_and_replay_at_once() -> None:
    gg.set_num_threads(2)

    @gg.compile
    def shared(x: gg.Tensor) -> gg.Tensor:
        return gg.tanh(x * 2.0 + 1.0) @ x

    inputs = [gg.asarray(sample(64 + 8 * (i % 2), 64 + 8 * (i % 2))) for i in range(4)]
    expected = [np.asarray(gg.tanh(x * 2.0 + 1.0) @ x) for x in inputs]

    def work(i: int) -> None:
        model = nn.Linear(20, 5)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @gg.compile
        def step(x: gg.Tensor) -> gg.Tensor:
            optimizer.zero_grad()
            loss = (model(x) * model(x)).mean()
            loss.backward()
            optimizer.step()
            return loss

        x = gg.ones((16, 20))
        losses = [float(step(x)) for _ in range(20)]
        assert losses[-1] < losses[0]
        for _ in range(20):
            assert np.array_equal(np.asarray(shared(inputs[i])), expected[i])

    in_threads(4, work)


def test_threads_read_one_model_while_each_trains_its_own() -> None:
    gg.set_num_threads(2)
    shared = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5))
    target = gg.asarray(sample(8, 5))
    x = gg.asarray(sample(8, 20))

    @gg.compile
    def predict(x: gg.Tensor) -> gg.Tensor:
        with gg.no_grad():
            return shared(x)

    expected = np.asarray(predict(x)).copy()

    def trained() -> list[np.ndarray]:
        own = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5))
        own.load_state_dict(shared.state_dict())
        optimizer = optim.Adam(own.parameters(), lr=0.01)
        for _ in range(30):
            optimizer.zero_grad()
            loss = (own(x) - target + predict(x) - shared(x).detach()).square().mean()
            loss.backward()
            optimizer.step()
            assert np.array_equal(np.asarray(predict(x)), expected)
        return [np.asarray(p.detach()) for p in own.parameters()]

    alone = trained()

    def work(_: int) -> None:
        for mine, other in zip(trained(), alone, strict=True):
            assert np.array_equal(mine, other)

    in_threads(4, work)
    assert all(p.grad is None for p in shared.parameters())


def test_no_grad_belongs_to_its_thread() -> None:
    inside = threading.Event()
    leave = threading.Event()
    seen: list[bool] = []

    def without() -> None:
        with gg.no_grad():
            inside.set()
            assert leave.wait(60)
            seen.append(gg.is_grad_enabled())

    thread = threading.Thread(target=without)
    thread.start()
    assert inside.wait(60)
    assert gg.is_grad_enabled()
    x = gg.ones((3,))
    x.requires_grad_()
    assert (x * 2.0).requires_grad
    leave.set()
    thread.join(60)
    assert seen == [False]


def test_blocks_freed_on_another_thread_go_home() -> None:
    def handover() -> None:
        made = [gg.ones((n,)) for n in (1, 10, 1000, 100_000, 1_000_000) for _ in range(8)]

        def drop() -> None:
            made.clear()

        thread = threading.Thread(target=drop)
        thread.start()
        thread.join(60)
        assert made == []

    # What earlier tests left in this thread's cache may join to a block that the pool would rather not cut.
    gg.memory.empty_cache()
    handover()
    before = gg.memory.stats()
    for _ in range(30):
        handover()
    after = gg.memory.stats()
    assert after["active_bytes"] == before["active_bytes"]
    assert after["reserved_bytes"] <= before["reserved_bytes"] + (8 << 20)


def test_a_graph_made_on_one_thread_is_differentiated_and_freed_on_another(live_records) -> None:
    before = live_records()
    x = gg.ones((50, 50))
    x.requires_grad_()
    holder = [(gg.exp(x) @ x).sum()]

    def work(_: int) -> None:
        holder[0].backward()
        holder.clear()

    in_threads(1, work)
    assert x.grad is not None
    assert live_records() == before


def test_the_number_of_threads_changes_while_others_compute() -> None:
    x = gg.asarray(sample(400, 400))
    expected = np.asarray(x @ x)

    def work(i: int) -> None:
        for k in range(30):
            if i == 0:
                gg.set_num_threads(1 + k % 3)
                time.sleep(0.002)
            else:
                assert np.array_equal(np.asarray(x @ x), expected)

    in_threads(3, work)


def run_python(source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


# ---- forks ----


def wait_for(child: int, seconds: float = 60.0) -> int:
    """Exit code of the child; one that hangs is killed and fails the test."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"the forked child was still running after {seconds:g} s")


def train_a_little() -> bytes:
    gg.set_num_threads(2)
    x = gg.asarray(X)
    x.requires_grad_()
    gg.softmax(x @ x.T, axis=-1).max(axis=0).sum().backward()
    return np.asarray(x.grad).tobytes()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
def test_a_child_computes_with_threads_and_the_parent_goes_on() -> None:
    expected = train_a_little()  # the pool runs, blocks are cached
    for _ in range(3):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if train_a_little() == expected else 2
            finally:
                os._exit(code)
        assert train_a_little() == expected
        assert wait_for(child) == 0
    assert train_a_little() == expected


@needs_fork
def test_a_fork_while_other_threads_compute() -> None:
    expected = train_a_little()
    stop = threading.Event()

    def busy() -> None:
        x = gg.asarray(X)
        while not stop.is_set():
            (x @ x.T).sum()

    threads = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = 0 if train_a_little() == expected else 2
                finally:
                    os._exit(code)
            assert wait_for(child) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def grandchild(queue: multiprocessing.Queue[bytes]) -> None:
    queue.put(train_a_little()[:64])


def answers_of_workers() -> list[bytes]:
    """What a little training gives here and in two processes forked from here."""
    here = train_a_little()[:64]
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[bytes] = context.Queue()
    workers = [context.Process(target=grandchild, args=(queue,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        there = [queue.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
    finally:
        for worker in workers:
            worker.kill()
    return [here, *there]


# In an interpreter of its own: other libraries' threads do not survive forks as ours do.
@needs_fork
def test_multiprocessing_by_fork() -> None:
    folder = str(Path(__file__).parent)
    out = run_python(f"""
        import sys
        sys.path.insert(0, {folder!r})
        import test_threads
        print(len(set(test_threads.answers_of_workers())))
        """)
    assert out == "1\n"


# ---- the end of the interpreter ----


def test_the_interpreter_ends_while_threads_are_in_kernels() -> None:
    source = """
        import threading, time
        import gorgo as gg
        gg.set_num_threads(2)
        @gg.compile
        def twice(x):
            return x @ x
        def work():
            x = gg.ones((200, 200))
            with gg.no_grad():
                while True:
                    x @ x
                    twice(x)
                    gg.memory.stats()
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.02)
        """
    for _ in range(5):
        run_python(source)


def test_the_interpreter_ends_with_everything_alive() -> None:
    out = run_python(
        """
        import threading
        import gorgo as gg
        gg.set_num_threads(2)
        kept = {}
        @gg.compile
        def f(x):
            return gg.tanh(x @ x)
        x = gg.ones((300, 300))
        x.requires_grad_()
        kept["loss"] = (x @ x).sum()
        kept["replayed"] = [f(x.detach()) for _ in range(3)]
        kept["self"] = kept
        local = threading.local()
        release = threading.Event()
        def work():
            local.value = gg.ones((100, 100)) * 2.0
            with gg.no_grad():
                while not release.wait(0.001):
                    f(local.value)
        threading.Thread(target=work, daemon=True).start()
        for _ in range(50):
            f(x.detach())
        print("end", flush=True)
        """
    )
    assert out == "end\n"


def test_the_interpreter_ends_within_a_capture() -> None:
    out = run_python(
        """
        import sys
        import gorgo as gg
        keep = []
        @gg.compile
        def f(x):
            y = x * 2.0
            keep.append(y)
            print("end", flush=True)
            sys.exit(0)
        f(gg.ones((3,)))
        """
    )
    assert out == "end\n"

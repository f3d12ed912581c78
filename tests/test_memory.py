"""The memory pool and the thread pool, seen through the Python API."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn, optim

MIB = 1 << 20


@pytest.fixture(autouse=True)
def limits_as_before() -> Iterator[None]:
    gc.collect()
    before = gg.memory.stats()
    yield
    gg.memory.set_tracing(False)
    gg.memory.set_limit(before["limit"])
    gg.memory.set_cache_limit(before["cache_limit"])


def active_bytes() -> int:
    return int(gg.memory.stats()["active_bytes"])


def run_python(source: str, *args: str, **environment: str) -> str:
    """Output of a fresh interpreter; its failure is ours."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *args],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_figures_add_up() -> None:
    keep = [gg.zeros((n, 3)) for n in range(1, 200, 7)]
    figures = gg.memory.stats()
    assert figures["active_bytes"] + figures["cached_bytes"] == figures["reserved_bytes"]
    assert figures["hits"] + figures["misses"] == figures["allocations"]
    assert figures["peak_active_bytes"] >= figures["active_bytes"] > 0
    assert figures["peak_reserved_bytes"] >= figures["reserved_bytes"]
    assert figures["allocations"] - figures["releases"] == len(gg.memory.snapshot())
    assert 0 <= figures["largest_free_block"] <= figures["cached_bytes"]
    assert 0.0 <= figures["fragmentation"] <= 1.0
    assert len(keep) == 29


def test_a_tensor_is_active_while_it_lives_and_cached_afterwards() -> None:
    before = active_bytes()
    x = gg.zeros((MIB,))
    assert active_bytes() == before + 4 * MIB
    view = x[10:20]
    del x
    assert active_bytes() == before + 4 * MIB  # the view holds the bytes
    del view
    figures = gg.memory.stats()
    assert figures["active_bytes"] == before
    assert figures["cached_bytes"] >= 4 * MIB


def test_a_loop_of_equal_steps_asks_the_system_for_nothing_more() -> None:
    def step() -> None:
        x = gg.ones((256, 256))
        y = x * x + x
        z = y * 2.0
        del x, y, z

    step()
    before = gg.memory.stats()
    for _ in range(50):
        step()
    after = gg.memory.stats()
    assert after["misses"] == before["misses"]
    assert after["reserved_bytes"] == before["reserved_bytes"]
    assert after["active_bytes"] == before["active_bytes"]
    assert after["allocations"] > before["allocations"]


def test_the_peak_remembers_what_is_gone() -> None:
    gg.memory.reset_peak()
    before = active_bytes()
    assert gg.memory.stats()["peak_active_bytes"] == before
    x = gg.zeros((2 * MIB,))
    del x
    figures = gg.memory.stats()
    assert figures["active_bytes"] == before
    assert figures["peak_active_bytes"] >= before + 8 * MIB
    gg.memory.reset_peak()
    assert gg.memory.stats()["peak_active_bytes"] == before


def test_empty_cache_gives_large_memory_back() -> None:
    x = gg.zeros((8 * MIB,))
    del x
    assert gg.memory.stats()["cached_bytes"] >= 32 * MIB
    gg.memory.empty_cache()
    figures = gg.memory.stats()
    assert figures["largest_free_block"] < 32 * MIB
    assert figures["reserved_bytes"] >= figures["active_bytes"]


def test_empty_cache_reaches_what_other_threads_released() -> None:
    # In a process of its own: what other tests left alive may share a slab with the block.
    figures = run_python("""
        import threading
        import gorgo as gg
        released, checked = threading.Event(), threading.Event()

        def work():
            x = gg.zeros((4 << 20,))
            del x
            released.set()
            assert checked.wait(60)

        thread = threading.Thread(target=work)
        thread.start()
        assert released.wait(60)
        full = gg.memory.stats()["reserved_bytes"]
        gg.memory.empty_cache()
        emptied = gg.memory.stats()["reserved_bytes"]
        checked.set()
        thread.join()
        print(full - emptied)
    """)
    assert int(figures) >= 16 * MIB


def test_the_limit_raises_with_figures_and_nothing_breaks() -> None:
    gg.memory.empty_cache()
    reserved = gg.memory.stats()["reserved_bytes"]
    gg.memory.set_limit(reserved + 16 * MIB)
    assert gg.memory.stats()["limit"] == reserved + 16 * MIB
    with pytest.raises(gg.OutOfMemoryError, match=rf"allocation of {256 * MIB} bytes .*limit {reserved + 16 * MIB}"):
        gg.zeros((64 * MIB,))
    x = gg.zeros((2 * MIB,))
    assert float(x[5]) == 0.0
    gg.memory.set_limit(None)
    assert gg.memory.stats()["limit"] is None
    del x
    y = gg.zeros((8 * MIB,))
    assert y.shape == (8 * MIB,)


def test_out_of_memory_is_a_memory_error() -> None:
    assert issubclass(gg.OutOfMemoryError, MemoryError)


def test_the_limit_lets_cached_memory_make_room() -> None:
    gg.memory.empty_cache()
    reserved = gg.memory.stats()["reserved_bytes"]
    gg.memory.set_limit(reserved + 40 * MIB)
    for n in (5, 6, 7, 8):  # together beyond the limit, one at a time below it
        x = gg.zeros((n * MIB,))
        del x
        assert gg.memory.stats()["reserved_bytes"] <= reserved + 40 * MIB


def test_the_cache_limit_is_kept() -> None:
    gg.memory.set_cache_limit(8 * MIB)
    gg.memory.empty_cache()
    base = gg.memory.stats()["cached_bytes"]  # shares slabs with live blocks
    held = [gg.zeros((MIB // 2,)) for _ in range(10)]
    while held:
        held.pop()
        assert gg.memory.stats()["cached_bytes"] <= max(base, 8 * MIB) + 2 * MIB


def test_a_cache_limit_of_nothing_keeps_nothing_large() -> None:
    largest = run_python("""
        import gorgo as gg
        gg.memory.set_cache_limit(0)
        x = gg.zeros((4 << 20,))
        del x
        print(gg.memory.stats()["largest_free_block"])
    """)
    assert int(largest) < 16 * MIB


@pytest.mark.parametrize("setter", [gg.memory.set_limit, gg.memory.set_cache_limit])
def test_negative_bytes_are_refused(setter) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"bytes must be at least 0, got -1"):
        setter(-1)
    with pytest.raises(TypeError):
        setter("many")


def test_snapshot_names_the_line_only_while_tracing() -> None:
    x = gg.zeros((1234,))
    gg.memory.set_tracing(True)
    y = gg.zeros((4321,))  # the traced line
    gg.memory.set_tracing(False)
    z = gg.zeros((2143,))
    blocks = {block["requested_bytes"]: block for block in gg.memory.snapshot()}
    assert blocks[x.nbytes]["source"] is None
    assert blocks[z.nbytes]["source"] is None
    source = blocks[y.nbytes]["source"]
    lines = Path(__file__).read_text().splitlines()
    traced = next(n for n, text in enumerate(lines, 1) if text.endswith("# the traced line"))
    assert source == f"test_memory.py:{traced} in test_snapshot_names_the_line_only_while_tracing"
    assert blocks[y.nbytes]["bytes"] >= y.nbytes
    assert blocks[y.nbytes]["address"] % 64 == 0
    assert blocks[y.nbytes]["stream"] == 0


def test_leak_report_names_what_is_left() -> None:
    gg.memory.set_tracing(True)
    big = gg.zeros((3 * MIB,))
    report = gg.memory.leak_report(most=1)
    first, second = report.splitlines()[:2]
    assert first.startswith("cpu memory: ")
    assert str(big.nbytes) in second
    assert "test_memory.py:" in second
    assert "test_leak_report_names_what_is_left" in second
    with pytest.raises(ValueError, match=r"most must be at least 0, got -3"):
        gg.memory.leak_report(-3)


def test_nothing_leaks_from_failing_calls() -> None:
    x = gg.zeros((100,))
    gc.collect()
    before = active_bytes()
    for _ in range(100):
        with pytest.raises(ValueError, match="shape"):
            x + gg.zeros((99,))
    gc.collect()
    assert active_bytes() == before


def test_threads_side_by_side_leave_exact_figures() -> None:
    before = gg.memory.stats()

    def work() -> None:
        for i in range(300):
            x = gg.ones((i + 1, 7))
            assert float((x + x)[0, 0]) == 2.0

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = gg.memory.stats()
    assert after["active_bytes"] == before["active_bytes"]
    assert after["allocations"] - before["allocations"] == after["releases"] - before["releases"]
    assert after["allocations"] - before["allocations"] >= 4 * 300


def test_no_damage_in_this_process() -> None:
    assert gg.memory.check_guards() == []


def test_debug_mode_surrounds_blocks_and_finds_damage() -> None:
    out = run_python(
        """
        import ctypes
        import gorgo as gg
        x = gg.zeros((25,))
        assert gg.memory.debug_mode()
        assert gg.memory.check_guards() == []
        block = next(b for b in gg.memory.snapshot() if b["requested_bytes"] == 100)
        ctypes.memset(block["address"] + 100, 1, 4)
        (damage,) = gg.memory.check_guards()
        assert damage["address"] == block["address"]
        print(damage["kind"], damage["requested_bytes"])
        """,
        GORGO_MEMORY_DEBUG="1",
    )
    assert out.split("\n")[0] == "written after the block 100"


def test_the_environment_sets_the_limits() -> None:
    out = run_python(
        """
        import gorgo as gg
        figures = gg.memory.stats()
        print(figures["cache_limit"], figures["limit"], gg.get_num_threads())
        """,
        GORGO_CACHE_LIMIT="1000000",
        GORGO_MEMORY_LIMIT="50000000",
        GORGO_NUM_THREADS="3",
    )
    assert out.split() == ["1000000", "50000000", "3"]


def test_omp_num_threads_is_heeded_and_ours_wins() -> None:
    source = "import gorgo as gg; print(gg.get_num_threads())"
    assert run_python(source, OMP_NUM_THREADS="2,1", GORGO_NUM_THREADS="").strip() == "2"
    assert run_python(source, OMP_NUM_THREADS="2", GORGO_NUM_THREADS="5").strip() == "5"


def test_the_number_of_threads_can_be_set() -> None:
    before = gg.get_num_threads()
    try:
        gg.set_num_threads(3)
        assert gg.get_num_threads() == 3
        x = gg.ones((512, 512))
        assert (np.asarray(x @ x + x) == 513.0).all()
        for bad in (0, -1, 100000):
            with pytest.raises(ValueError, match=rf"must be in \[1, 4096\], got {bad}"):
                gg.set_num_threads(bad)
        assert gg.get_num_threads() == 3
    finally:
        gg.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes_and_counts() -> None:
    out = run_python(
        """
        import os
        import numpy as np
        import gorgo as gg
        gg.set_num_threads(2)
        x = gg.ones((600, 600))
        works = lambda: bool((np.asarray(x @ x + x) == 601.0).all())
        assert works()
        child = os.fork()
        if child == 0:
            ok = works()
            figures = gg.memory.stats()
            ok = ok and figures["active_bytes"] + figures["cached_bytes"] == figures["reserved_bytes"]
            gg.memory.empty_cache()
            os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
        assert works()
        print(os.waitstatus_to_exitcode(status))
        """
    )
    assert out.strip() == "0"


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def tiny_training_step() -> Callable[[], None]:
    gg.random.seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x = gg.ones((3, 4))

    def step() -> None:
        optimizer.zero_grad()
        y = model(x)
        (y * y).mean().backward()
        optimizer.step()

    return step


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("steps", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_training_steps_leave_memory_flat(steps: int) -> None:
    step = tiny_training_step()
    for _ in range(2_000):
        step()
    gc.collect()
    before, resident = gg.memory.stats(), resident_bytes()
    for _ in range(steps):
        step()
    gc.collect()
    after = gg.memory.stats()
    assert after["active_bytes"] == before["active_bytes"]
    assert after["reserved_bytes"] == before["reserved_bytes"]
    if not gg._core._config()["sanitizers"]:  # which keep what was freed for a while
        assert resident_bytes() - resident < 4 * MIB  # a byte a step would be as much in the long run


def held_by_the_process() -> tuple[int, int]:
    """Descriptors and threads."""
    return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("recordings", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_recordings_leave_memory_descriptors_and_threads_flat(recordings: int, live_records: Callable[[], int]) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = optim.Adam(model.parameters())
    x = gg.ones((3, 4))

    def record_and_replay() -> None:
        @gg.compile
        def step(x: gg.Tensor) -> gg.Tensor:
            optimizer.zero_grad()
            loss = (model(x) * model(x)).mean()
            loss.backward()
            optimizer.step()
            return loss

        step(x)
        step(x)
        assert step.recordings == 1

    for _ in range(100):
        record_and_replay()
    optimizer.zero_grad()
    gc.collect()
    active, resident, held, records = active_bytes(), resident_bytes(), held_by_the_process(), live_records()
    for _ in range(recordings):
        record_and_replay()
    optimizer.zero_grad()
    gc.collect()
    assert active_bytes() == active
    assert held_by_the_process() == held
    assert live_records() == records
    if not gg._core._config()["sanitizers"]:  # which keep what was freed for a while
        assert resident_bytes() - resident < 4 * MIB


def test_a_loss_never_differentiated_leaves_nothing(live_records: Callable[[], int]) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = gg.ones((3, 4))
    records = live_records()
    before = active_bytes()
    for _ in range(100):
        loss = (model(x) * model(x)).mean()
        assert loss.requires_grad
    del loss
    assert live_records() == records
    assert active_bytes() == before


def test_running_out_at_every_allocation_of_a_step_leaves_everything_usable() -> None:
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 8))
    optimizer = optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    x = gg.ones((4096, 256))

    def step() -> float:
        optimizer.zero_grad()
        y = model(x)
        loss = (y * y).mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    expected = step()
    optimizer.zero_grad()
    gc.collect()
    gg.memory.empty_cache()
    active = active_bytes()
    refused = 0
    # Each room is a little larger than the one before, so the step breaks off a little later each time.
    for extra in range(0, 256 * MIB, 2 * MIB):
        gg.memory.set_limit(None)
        gg.memory.empty_cache()
        gg.memory.set_limit(gg.memory.stats()["reserved_bytes"] + extra)
        got = None
        try:
            got = step()
        except gg.OutOfMemoryError:
            refused += 1
        optimizer.zero_grad()
        gc.collect()
        if got is not None:
            assert got == expected
            break
        assert active_bytes() == active
    assert refused >= 5
    gg.memory.set_limit(None)
    assert step() == expected


SOME_OPERATIONS = """
    import numpy as np
    import gorgo as gg
    from gorgo import nn, optim
    assert gg.memory.debug_mode()
    gg.set_num_threads(2)
    for n in (1, 3, 7, 17, 33, 65, 129, 257):
        for dtype in (gg.float32, gg.float64, gg.int64, gg.bfloat16, gg.int8, gg.uint8):
            x = gg.ones((n, n + 2), dtype=dtype)
            for y in (x.T.copy(), x[::2, 1:].copy(), gg.concat([x, x], axis=1), gg.roll(x, 1, axis=0), x + x,
                      gg.where(x > 0, x, x), gg.sum(x, axis=0), gg.max(x, axis=1), gg.flip(x, axis=0).copy()):
                assert y.shape
        x = gg.ones((n, n + 2))
        x.requires_grad_()
        for f in (gg.exp, gg.tanh, gg.erf, gg.log1p, lambda v: gg.softmax(v, axis=-1), lambda v: v @ v.T,
                  lambda v: gg.sort(v, axis=0), lambda v: gg.prod(v, axis=0), lambda v: gg.var(v, axis=1),
                  lambda v: gg.logsumexp(v, axis=0), lambda v: gg.take(v, gg.arange(n), axis=0)):
            f(x).sum().backward()
    for size in (8, 13, 29):
        images = gg.ones((2, 3, size, size))
        images.requires_grad_()
        model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                              nn.Linear(5 * (size // 2) ** 2, 7))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        @gg.compile
        def step(v):
            optimizer.zero_grad()
            loss = gg.cross_entropy(model(v), gg.zeros((2,), dtype=gg.int64))
            loss.backward()
            optimizer.step()
            return loss

        for _ in range(3):
            step(images.detach())
    assert gg.memory.check_guards() == []
    print("whole")
"""


def test_operations_stay_within_their_blocks() -> None:
    assert run_python(SOME_OPERATIONS, GORGO_MEMORY_DEBUG="1").endswith("whole\n")


def test_every_op_stays_within_its_blocks() -> None:
    """All samples of the registry's matrix, each block with guards around it and poison in it."""
    source = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import test_registry
        import gorgo as gg
        assert gg.memory.debug_mode()
        assert len(test_registry.every_result()) >= 200
        assert gg.memory.check_guards() == []
        print("whole")
        """
    assert run_python(source, str(Path(__file__).parent), GORGO_MEMORY_DEBUG="1") == "whole\n"


def test_an_overrun_is_named_when_the_block_is_released() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                import ctypes
                import gorgo as gg
                gg.memory.set_tracing(True)
                x = gg.zeros((25,))
                block = next(b for b in gg.memory.snapshot() if b["requested_bytes"] == 100)
                ctypes.memset(block["address"] - 4, 1, 4)
                del x
                (damage,) = gg.memory.check_guards()
                print(damage["kind"], damage["requested_bytes"], damage["source"])
                """
            ),
        ],
        env={**os.environ, "GORGO_MEMORY_DEBUG": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("written before the block 100 ")
    assert "<string>:5" in done.stdout
    assert "written before the block" in done.stderr

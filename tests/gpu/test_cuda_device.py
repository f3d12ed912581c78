"""A card as a place for tensors: copies, streams and events, the pool, faults, training, capture.

What the kernels compute is the matrix's affair (test_matrix.py) and that of test_cuda_kernels.py.
"""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn, optim

DEVICE = "cuda:0"
MIB = 1 << 20
DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
CUTS = [
    np.s_[...],
    np.s_[::2, ::-1],
    np.s_[::-1, ::-2],
    np.s_[1],
    np.s_[:, 3],
    np.s_[1:1],
    np.s_[None, :, None],
    np.s_[1, 2],
]


def stats() -> dict[str, Any]:
    return gg.memory.stats(device=DEVICE)


@pytest.fixture(autouse=True)
def limits_as_before() -> Iterator[None]:
    gc.collect()
    before = stats()
    yield
    gg.memory.set_limit(before["limit"], device=DEVICE)
    gg.memory.set_cache_limit(before["cache_limit"], device=DEVICE)
    gg.cuda.synchronize()


def spin(x: gg.Tensor, times: int) -> gg.Tensor:
    """Return x after a while: work on the current stream that leaves the values as they are."""
    busy = gg.ones((1024, 1024), device=DEVICE)
    for _ in range(times):
        busy = busy @ busy * (1.0 / 1024)
    return x * busy[0, 0]


# ---- what there is ----


def test_the_card_is_listed_with_its_figures() -> None:
    assert gg.cuda.is_available()
    assert gg.cuda.device_count() >= 1
    figures = gg.cuda.properties(DEVICE)
    assert figures == {**gg.cuda.properties(0), "free_bytes": figures["free_bytes"]}
    assert isinstance(figures["name"], str)
    assert figures["name"]
    assert figures["compute_capability"] >= (7, 5)
    assert figures["multiprocessors"] > 0
    assert 0 < figures["free_bytes"] <= figures["total_bytes"]
    assert figures["shared_bytes"] >= 48 << 10


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"cuda:0.*got 'cuda:15'"):
        gg.zeros((2,), device="cuda:15")
    with pytest.raises(ValueError, match="got 'cuda:x'"):
        gg.ones((2,)).to("cuda:x")


# ---- copies ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2), (1000, 1031)], ids=str)
def test_every_dtype_travels_both_ways(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    bits = rng.integers(0, 2 if dtype == "bool" else 256, (*shape, np.dtype(dtype).itemsize)).astype(np.uint8)
    a = np.ascontiguousarray(bits).view(dtype).reshape(shape)
    t = gg.asarray(a.copy()).to(DEVICE)
    assert (t.device, t.shape, t.dtype) == (DEVICE, shape, a.dtype)
    back = t.cpu()
    assert (back.device, back.shape, back.dtype) == ("cpu", shape, a.dtype)
    assert back.numpy().tobytes() == a.tobytes()


def test_bfloat16_travels_both_ways() -> None:
    t = gg.asarray([1.0, 2.5, -3.0]).astype(gg.bfloat16)
    there = t.to(DEVICE)
    assert there.dtype is gg.bfloat16
    assert there.cpu().tolist() == t.tolist()


@pytest.mark.parametrize("dtype", ["int32", "float32", "float16", "bool", "complex64", "complex128"])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_views_travel_as_what_they_show(dtype: str, cut: Any) -> None:
    a = np.arange(12).reshape(3, 4).astype(dtype)
    onto = gg.asarray(a)[cut].to(DEVICE)
    off = gg.asarray(a).to(DEVICE)[cut]
    np.testing.assert_array_equal(onto.cpu().numpy(), a[cut])
    np.testing.assert_array_equal(off.cpu().numpy(), a[cut])
    assert off.shape == a[cut].shape


def test_ways_to_say_where() -> None:
    x = gg.asarray([1.0, 2.0])
    for there in (x.to("cuda"), x.cuda(), x.to(DEVICE), x.cuda(DEVICE), x.to_device(DEVICE), x.to(x.to(DEVICE))):
        assert there.device == DEVICE
        assert there.tolist() == [1.0, 2.0]
    there = x.to(DEVICE)
    assert there.to(DEVICE) is there
    assert there.cuda().data_ptr() == there.data_ptr()
    assert x.cpu().data_ptr() == x.data_ptr()
    assert there.to("cpu").device == "cpu"
    small = x.to(DEVICE, dtype="float16")
    assert (small.device, small.dtype) == (DEVICE, gg.float16)


def test_a_copy_is_a_copy() -> None:
    x = gg.asarray([1.0, 2.0])
    there = x.to(DEVICE)
    x += 1
    assert there.tolist() == [1.0, 2.0]
    there *= 3
    assert x.tolist() == [2.0, 3.0]
    assert there.tolist() == [3.0, 6.0]
    again = there.to(DEVICE, copy=True)
    assert again.data_ptr() != there.data_ptr()


def test_creation_on_the_card() -> None:
    made: list[tuple[Any, Any]] = [
        (gg.zeros((2, 3), device=DEVICE), np.zeros((2, 3))),
        (gg.ones((2,), dtype="int64", device="cuda"), np.ones(2)),
        (gg.full((2, 2), 7, device=DEVICE), np.full((2, 2), 7)),
        (gg.arange(2, 9, 3, device=DEVICE), np.arange(2, 9, 3)),
        (gg.linspace(0, 1, 5, device=DEVICE), np.linspace(0, 1, 5)),
        (gg.eye(3, device=DEVICE), np.eye(3)),
        (gg.asarray([[1, 2], [3, 4]], device=DEVICE), np.array([[1, 2], [3, 4]])),
        (gg.asarray(np.arange(4.0), device=DEVICE), np.arange(4.0)),
        (gg.tensor([1.5], device=DEVICE), np.array([1.5])),
        (gg.zeros_like(gg.ones((2, 2), device=DEVICE)), np.zeros((2, 2))),
        (gg.ones((), device=DEVICE), np.ones(())),
        (gg.zeros((0, 3), device=DEVICE), np.zeros((0, 3))),
    ]
    for t, expected in made:
        assert t.device == DEVICE
        np.testing.assert_array_equal(t.cpu().numpy(), expected)
    assert gg.empty((3, 5), device=DEVICE).shape == (3, 5)
    assert gg.ones_like(gg.ones((2,), device=DEVICE), device="cpu").device == "cpu"


def test_reading_values_copies_by_itself() -> None:
    t = gg.asarray([[1.5, 2.0], [3.0, 4.0]], device=DEVICE)
    assert t[0, 0].item() == 1.5
    assert t.tolist() == [[1.5, 2.0], [3.0, 4.0]]
    assert float(t[1, 1]) == 4.0
    assert int(t[1, 0]) == 3
    assert bool(t[0, 0] > 1)
    assert bool((t == t).all())
    assert "1.5" in repr(t)
    assert "cuda:0" in repr(t)
    assert f"{t[0, 0]:.2f}" == "1.50"
    assert [row.tolist() for row in t] == [[1.5, 2.0], [3.0, 4.0]]
    assert 3.0 in t


def test_numpy_is_told_to_ask_for_a_copy() -> None:
    t = gg.ones((2,), device=DEVICE)
    with pytest.raises(TypeError, match=r"\.cpu\(\)"):
        np.asarray(t)
    with pytest.raises(TypeError, match=r"\.cpu\(\)"):
        t.numpy()
    with pytest.raises(BufferError):
        memoryview(t)


def test_elements_are_read_and_written_by_index() -> None:
    a = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    t = gg.asarray(a.copy()).to(DEVICE)
    rows = gg.asarray([3, 0, -1], device=DEVICE)
    np.testing.assert_array_equal(t[1:3, ::2].cpu().numpy(), a[1:3, ::2])
    np.testing.assert_array_equal(t[rows].cpu().numpy(), a[[3, 0, -1]])
    np.testing.assert_array_equal(t[t > 7].cpu().numpy(), a[a > 7])
    t[1:3, 0] = -1.0
    a[1:3, 0] = -1.0
    t[0] = gg.ones((6,), device=DEVICE)
    a[0] = 1.0
    t[t > 20] = 0.0
    a[a > 20] = 0.0
    np.testing.assert_array_equal(t.cpu().numpy(), a)


def test_operands_on_two_devices_are_refused_and_both_named() -> None:
    here, there = gg.ones((3, 3)), gg.ones((3, 3), device=DEVICE)
    calls: dict[str, Callable[[], Any]] = {
        "add": lambda: here + there,
        "multiply": lambda: there * here,
        "matmul": lambda: there @ here,
        "where": lambda: gg.where(there > 0, there, here),
        "concat": lambda: gg.concat([there, here]),
        "linear": lambda: nn.functional.linear(there, here),
    }
    for op, call in calls.items():
        with pytest.raises(ValueError, match=rf"^{op}: ") as caught:
            call()
        assert "cpu" in str(caught.value), op
        assert "cuda:0" in str(caught.value), op
    with pytest.raises(ValueError, match="cuda:0"):
        there += here
    assert (there + 1).tolist() == [[2.0] * 3] * 3  # a number has no place


def test_gradients_cross_between_devices() -> None:
    x = gg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (x.to(DEVICE) * gg.asarray([2.0, 3.0, 4.0], device=DEVICE)).sum()
    y.backward()
    assert x.grad is not None
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [2.0, 3.0, 4.0]
    z = gg.tensor([1.0, 2.0], device=DEVICE, requires_grad=True)
    (z.cpu() * gg.asarray([5.0, 6.0])).sum().backward()
    assert z.grad is not None
    assert z.grad.device == DEVICE
    assert z.grad.tolist() == [5.0, 6.0]


def test_deep_copies_and_pickles() -> None:
    t = gg.asarray([1.0, 2.0], device=DEVICE)
    twin = copy.deepcopy(t)
    assert (twin.device, twin.tolist()) == (DEVICE, [1.0, 2.0])
    assert twin.data_ptr() != t.data_ptr()
    again = pickle.loads(pickle.dumps(t))
    assert again.tolist() == [1.0, 2.0]


# ---- streams and events ----


def test_calls_run_in_the_order_of_their_stream() -> None:
    x = gg.zeros((MIB,), device=DEVICE)
    for _ in range(200):
        x = x + 1
    assert x[0].item() == 200.0
    assert x.sum().item() == 200.0 * MIB


def test_the_current_stream_is_the_threads_own() -> None:
    before = gg.cuda.current_stream()
    s = gg.cuda.Stream()
    seen: list[int] = []
    with gg.cuda.stream(s) as inside:
        assert inside is s
        assert gg.cuda.current_stream() == s.handle != 0
        thread = threading.Thread(target=lambda: seen.append(gg.cuda.current_stream()))
        thread.start()
        thread.join()
    assert seen == [before]
    assert gg.cuda.current_stream() == before
    with pytest.raises(RuntimeError, match="inside"), gg.cuda.stream(s):
        raise RuntimeError("inside")
    assert gg.cuda.current_stream() == before
    assert "cuda:0" in repr(s)


def test_events_order_two_streams() -> None:
    first, second = gg.cuda.Stream(), gg.cuda.Stream()
    for k in range(10):
        event = gg.cuda.Event()
        with gg.cuda.stream(first):
            x = spin(gg.full((MIB,), float(k), device=DEVICE), 20)
            event.record()
        event.wait(second)
        with gg.cuda.stream(second):
            y = x + 1
            total = y.sum()
        second.synchronize()
        assert total.cpu().item() == (k + 1.0) * MIB


def test_a_stream_waits_for_another_and_for_an_event() -> None:
    first, second = gg.cuda.Stream(), gg.cuda.Stream()
    with gg.cuda.stream(first):
        x = spin(gg.full((MIB,), 3.0, device=DEVICE), 20)
        event = gg.cuda.Event()
        event.record(first)
    second.wait_stream(first)
    with gg.cuda.stream(second):
        y = x * 2
    second.synchronize()
    assert event.query()
    second.wait_event(event)
    gg.cuda.synchronize(DEVICE)
    assert y[-1].item() == 6.0


def test_events_tell_the_time_between() -> None:
    start, end = gg.cuda.Event(timing=True), gg.cuda.Event(timing=True)
    start.record()
    x = spin(gg.ones((4,), device=DEVICE), 50)
    end.record()
    end.synchronize()
    assert end.query()
    assert 0.0 < start.elapsed_ms(end) < 10_000.0
    assert x.tolist() == [1.0] * 4
    with pytest.raises(ValueError, match="timing=True"):
        gg.cuda.Event().elapsed_ms(end)


def test_threads_with_streams_of_their_own() -> None:
    failures: list[str] = []

    def work(k: int) -> None:
        s = gg.cuda.Stream()
        with gg.cuda.stream(s):
            x = gg.full((1000, 100), float(k), device=DEVICE)
            for _ in range(50):
                x = x + 1
            total = x.sum().item()
        if total != (k + 50.0) * 100_000:
            failures.append(f"thread {k}: {total}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_memory_that_another_stream_still_reads_is_not_given_out() -> None:
    home, reader = gg.cuda.Stream(), gg.cuda.Stream()
    count = 4 * MIB
    for _ in range(5):
        with gg.cuda.stream(home):
            x = gg.ones((count,), device=DEVICE)
        reader.wait_stream(home)
        with gg.cuda.stream(reader):
            late = spin(gg.ones((1,), device=DEVICE), 100)
            total = (x * late).sum()
        del x
        with gg.cuda.stream(home):
            others = [gg.full((count,), 2.0, device=DEVICE) for _ in range(4)]
        gg.cuda.synchronize()
        assert total.cpu().item() == float(count)
        assert others[0][0].item() == 2.0
        del others, total, late
    gg.cuda.synchronize()


# ---- the pool ----


def test_figures_of_the_pool_add_up() -> None:
    keep = [gg.zeros((n, 300), device=DEVICE) for n in range(1, 200, 7)]
    figures = stats()
    assert figures["active_bytes"] + figures["cached_bytes"] == figures["reserved_bytes"]
    assert figures["hits"] + figures["misses"] == figures["allocations"]
    assert figures["peak_active_bytes"] >= figures["active_bytes"] > 0
    assert figures["allocations"] - figures["releases"] == len(gg.memory.snapshot(device=DEVICE))
    assert 0.0 <= figures["fragmentation"] <= 1.0
    assert len(keep) == 29


def test_the_pools_are_apart() -> None:
    before, there = gg.memory.stats(), stats()
    x = gg.zeros((MIB,), device=DEVICE)
    after = gg.memory.stats()
    assert after["active_bytes"] - before["active_bytes"] < MIB
    assert stats()["active_bytes"] == there["active_bytes"] + 4 * MIB
    del x
    assert stats()["active_bytes"] == there["active_bytes"]


def test_released_memory_is_used_again() -> None:
    x = gg.zeros((MIB + 17,), device=DEVICE)
    del x
    x = gg.zeros((MIB + 17,), device=DEVICE)
    place = x.data_ptr()
    del x
    before = stats()
    for _ in range(100):
        x = gg.empty((MIB + 17,), device=DEVICE)
        assert x.data_ptr() == place
        del x
    after = stats()
    assert after["misses"] == before["misses"]
    assert after["reserved_bytes"] == before["reserved_bytes"]


def test_a_loop_of_equal_steps_asks_the_driver_for_nothing_more() -> None:
    def step() -> None:
        x = gg.ones((256, 256), device=DEVICE)
        y = x * x + x
        z = y @ x
        del x, y, z

    step()
    before = stats()
    for _ in range(50):
        step()
    after = stats()
    assert after["misses"] == before["misses"]
    assert after["raw_allocations"] == before["raw_allocations"]
    assert after["active_bytes"] == before["active_bytes"]


def test_blocks_belong_to_a_stream() -> None:
    gg.memory.empty_cache(device=DEVICE)
    s = gg.cuda.Stream()
    with gg.cuda.stream(s):
        x = gg.zeros((3 * MIB,), device=DEVICE)
    assert s.handle in {block["stream"] for block in gg.memory.snapshot(device=DEVICE)}
    place = x.data_ptr()
    del x
    y = gg.zeros((3 * MIB,), device=DEVICE)
    assert y.data_ptr() != place  # the other stream may not have finished
    with gg.cuda.stream(s):
        z = gg.zeros((3 * MIB,), device=DEVICE)
    assert z.data_ptr() == place
    gg.cuda.synchronize()


def test_empty_cache_gives_memory_back_to_the_card() -> None:
    x = gg.zeros((64 * MIB,), device=DEVICE)
    held = stats()["reserved_bytes"]
    del x
    assert stats()["cached_bytes"] >= 256 * MIB
    gg.memory.empty_cache(device=DEVICE)
    assert stats()["largest_free_block"] < 256 * MIB
    assert stats()["reserved_bytes"] <= held - 256 * MIB


def test_the_peak_remembers_what_is_gone() -> None:
    gg.memory.reset_peak(device=DEVICE)
    before = stats()["active_bytes"]
    x = gg.zeros((2 * MIB,), device=DEVICE)
    del x
    assert stats()["active_bytes"] == before
    assert stats()["peak_active_bytes"] >= before + 8 * MIB


def test_a_limit_raises_with_figures_and_leaves_everything_usable() -> None:
    gg.memory.empty_cache(device=DEVICE)
    gg.memory.set_limit(stats()["reserved_bytes"] + 64 * MIB, device=DEVICE)
    keep = gg.ones((MIB,), device=DEVICE)
    with pytest.raises(gg.OutOfMemoryError) as caught:
        gg.zeros((64 * MIB,), device=DEVICE)
    text = str(caught.value)
    assert "cuda:0" in text
    for words in ("allocation of 268435456 bytes", "active", "cached", "limit", "largest free block"):
        assert words in text, text
    assert (keep + 1).sum().item() == 2.0 * MIB
    gg.memory.set_limit(None, device=DEVICE)
    assert gg.zeros((64 * MIB,), device=DEVICE)[0].item() == 0.0


def test_cached_memory_is_given_back_before_a_limit_raises() -> None:
    gg.memory.empty_cache(device=DEVICE)
    gg.memory.set_limit(stats()["reserved_bytes"] + 96 * MIB, device=DEVICE)
    for count in (12 * MIB, 20 * MIB, 15 * MIB, 22 * MIB):  # each fits alone, no two together
        x = gg.ones((count,), device=DEVICE)
        assert x[-1].item() == 1.0
        del x


def test_more_than_the_card_has() -> None:
    beyond = 2 * gg.cuda.properties(DEVICE)["total_bytes"]
    with pytest.raises(gg.OutOfMemoryError):
        gg.empty((beyond,), dtype="uint8", device=DEVICE)
    assert gg.ones((3,), device=DEVICE).sum().item() == 3.0


# ---- faults ----

BAD = [[0, 7], [-5, 1]]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_index_is_told_at_the_next_synchronization(bad: list[int]) -> None:
    x = gg.ones((4, 3), device=DEVICE)
    wrong = next(i for i in bad if not -4 <= i < 4)
    y = gg.take(x, gg.asarray(bad, device=DEVICE), axis=0)
    with pytest.raises(IndexError, match=rf"^take: index must be in \[-4, 4\), got {wrong} "):
        gg.cuda.synchronize()
    gg.cuda.synchronize()  # told once
    assert (x + 1).sum().item() == 24.0
    del y


def test_a_bad_index_is_told_when_a_value_is_read() -> None:
    x = gg.ones((4, 3), device=DEVICE)
    y = x[gg.asarray([9], device=DEVICE)]
    with pytest.raises(IndexError, match="got 9"):
        y.tolist()
    assert gg.take(x, gg.asarray([3], device=DEVICE), axis=0).tolist() == [[1.0] * 3]


def test_a_bad_target_is_told_with_the_losss_name() -> None:
    logits = gg.zeros((3, 5), device=DEVICE)
    loss = nn.functional.cross_entropy(logits, gg.asarray([0, 5, 1], device=DEVICE))
    with pytest.raises(IndexError, match=r"^cross_entropy: .*got 5"):
        loss.item()
    assert nn.functional.cross_entropy(logits, gg.asarray([0, 4, 1], device=DEVICE)).item() > 0


def test_a_bad_index_in_a_captured_function() -> None:
    x = gg.ones((4, 3), device=DEVICE)
    pick = gg.compile(lambda i: gg.take(x, i, axis=0) * 2)
    good, bad = gg.asarray([1, 3], device=DEVICE), gg.asarray([1, 4], device=DEVICE)
    for _ in range(4):
        assert pick(good).tolist() == [[2.0] * 3] * 2
    for _ in range(2):
        y = pick(bad)
        with pytest.raises(IndexError, match=r"^take: .*got 4"):
            gg.cuda.synchronize()
        del y
        assert pick(good).tolist() == [[2.0] * 3] * 2


# ---- networks ----


def digits_network(seed: int) -> nn.Module:
    gg.random.seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def batches(count: int) -> list[tuple[Any, Any]]:
    """Return images with a bright square whose place is their class."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(count):
        labels = rng.integers(0, 10, 64)
        images = rng.normal(0.0, 0.3, (64, 1, 8, 8)).astype(np.float32)
        for i, label in enumerate(labels):
            images[i, 0, label // 4 * 3 : label // 4 * 3 + 2, label % 4 * 2 : label % 4 * 2 + 2] += 1.0
        made.append((images, labels))
    return made


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda ps: optim.SGD(ps, lr=0.1),
    "SGD with momentum": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "Adam": lambda ps: optim.Adam(ps, lr=2e-3),
    "AdamW": lambda ps: optim.AdamW(ps, lr=2e-3, weight_decay=0.01),
    "RMSprop": lambda ps: optim.RMSprop(ps, lr=1e-3),
    "Adagrad": lambda ps: optim.Adagrad(ps, lr=1e-2),
}


def training_step(device: str, optimizer: str) -> tuple[nn.Module, Callable[[Any, Any], gg.Tensor]]:
    model = digits_network(5).to(device)
    update = OPTIMIZERS[optimizer](model.parameters())

    def step(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        update.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        update.step()
        return loss

    return model, step


def train(device: str, optimizer: str, steps: int, captured: bool = False) -> tuple[list[float], list[Any]]:
    model, step = training_step(device, optimizer)
    run: Any = gg.compile(step) if captured else step
    ring = [(gg.asarray(x).to(device), gg.asarray(y).to(device)) for x, y in batches(4)]
    losses = [run(*ring[k % 4]) for k in range(steps)]
    return [t.item() for t in losses], [p.detach().cpu().numpy() for p in model.parameters()]


def test_a_module_moves_with_its_parameters_and_buffers() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    names = list(model.state_dict())
    moved = model.to(DEVICE)
    assert moved is model
    assert list(model.state_dict()) == names
    for name, t in model.state_dict().items():
        assert t.device == DEVICE, name
    assert all(isinstance(p, nn.Parameter) and p.requires_grad and p.is_leaf for p in model.parameters())
    x = gg.ones((3, 1, 8, 8), device=DEVICE)
    model(x).sum().backward()
    assert all(p.grad is not None and p.grad.device == DEVICE for p in model.parameters())
    assert all(t.device == "cpu" for t in model.to("cpu").state_dict().values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_gives_the_losses_of_the_cpu(optimizer: str) -> None:
    here, _ = train("cpu", optimizer, 30)
    there, _ = train(DEVICE, optimizer, 30)
    # Sums run in another order; what that changes grows from step to step.
    np.testing.assert_allclose(there[:5], here[:5], rtol=1e-4)
    np.testing.assert_allclose(there, here, rtol=2e-2, atol=2e-3)
    assert there[-1] < there[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_captured_training_step_equals_the_eager_one(optimizer: str) -> None:
    eager, weights = train(DEVICE, optimizer, 12)
    captured, others = train(DEVICE, optimizer, 12, captured=True)
    assert captured == eager
    for w, o in zip(weights, others, strict=True):
        np.testing.assert_array_equal(w, o)


def test_training_twice_gives_the_same_bits() -> None:
    first, weights = train(DEVICE, "Adam", 10)
    second, others = train(DEVICE, "Adam", 10)
    assert first == second
    for w, o in zip(weights, others, strict=True):
        np.testing.assert_array_equal(w, o)


def test_a_captured_step_replays_a_hundred_times_without_allocating() -> None:
    model, step = training_step(DEVICE, "SGD with momentum")
    run = gg.compile(step)
    ring = [(gg.asarray(x).to(DEVICE), gg.asarray(y).to(DEVICE)) for x, y in batches(4)]
    first = run(*ring[0]).item()
    for k in range(1, 12):
        run(*ring[k % 4])
    before = stats()
    for k in range(100):
        run(*ring[k % 4])
    gg.cuda.synchronize()
    after = stats()
    assert after["misses"] == before["misses"]
    assert after["active_bytes"] == before["active_bytes"]
    assert run.recordings == 1
    assert run(*ring[0]).item() < 0.2 * first
    assert all(np.isfinite(p.detach().cpu().numpy()).all() for p in model.parameters())


def test_a_captured_step_follows_the_learning_rate() -> None:
    w = gg.tensor([1.0], device=DEVICE, requires_grad=True)
    update = optim.SGD([w], lr=0.5)

    @gg.compile
    def step(x: gg.Tensor) -> gg.Tensor:
        update.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        update.step()
        return loss

    x = gg.ones((1,), device=DEVICE)
    for expected in (0.5, 0.0, -0.5, -1.0):
        step(x)
        assert w.item() == expected
    update.param_groups[0]["lr"] = 0.25
    for expected in (-1.25, -1.5, -1.75):
        step(x)
        assert w.item() == expected


def test_a_captured_function_with_inputs_that_move() -> None:
    double = gg.compile(lambda x, y: x * 2 + y)
    kept = []
    for k in range(12):  # every input and result lies somewhere else
        x, y = gg.full((1000,), float(k), device=DEVICE), gg.ones((1000,), device=DEVICE)
        out = double(x, y)
        kept.append((k, x, y, out))
    for k, _, _, out in kept:
        assert out[0].item() == 2.0 * k + 1
        assert out.sum().item() == 1000 * (2.0 * k + 1)
    assert double.recordings == 1


def test_a_captured_function_on_two_streams() -> None:
    f = gg.compile(lambda x: (x @ x) * 0.5 + x)
    x = gg.eye(64, device=DEVICE)
    gg.cuda.synchronize()
    s = gg.cuda.Stream()
    for k in range(6):
        if k % 2:
            with gg.cuda.stream(s):
                out = f(x)
            s.synchronize()
        else:
            out = f(x)
        assert out.cpu().sum().item() == 96.0


def test_the_same_function_on_the_cpu_and_on_the_card() -> None:
    f = gg.compile(lambda x: gg.exp(x).sum())
    x = gg.asarray([0.0, 1.0, 2.0])
    for _ in range(3):
        assert f(x).device == "cpu"
        assert f(x.to(DEVICE)).device == DEVICE
        np.testing.assert_allclose(f(x.to(DEVICE)).item(), f(x).item(), rtol=1e-6)
    assert f.recordings == 2


def test_random_numbers_are_those_of_the_cpu() -> None:
    p = gg.full((1000,), 0.25)
    gg.random.seed(9)
    here = gg.random.bernoulli(p)
    gg.random.seed(9)
    there = gg.random.bernoulli(p.to(DEVICE))
    assert there.device == DEVICE
    assert there.tolist() == here.tolist()


def test_dropout_on_the_card_eager_and_captured() -> None:
    x = gg.ones((64, 64), device=DEVICE)
    layer = nn.Dropout(0.25)
    gg.random.seed(4)
    eager = [layer(x).cpu().numpy() for _ in range(4)]
    assert all(set(np.unique(y)) == {0.0, np.float32(1 / 0.75)} for y in eager)
    assert 0.6 < np.mean(eager[0] != 0) < 0.9
    assert (eager[0] != eager[1]).any()
    gg.random.seed(4)
    captured = gg.compile(layer)
    for y in eager:
        np.testing.assert_array_equal(captured(x).cpu().numpy(), y)

"""Datasets, orders, and the loader: same batches for any number of workers, resumed mid-epoch, no thread left over."""

from __future__ import annotations

import collections
import gc
import json
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest

import gorgo as gg
from gorgo.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)


def plain(batch):
    """Return a batch as lists."""
    if isinstance(batch, gg.Tensor):
        return batch.tolist()
    if isinstance(batch, dict):
        return {key: plain(value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return [plain(member) for member in batch]
    return batch


def batches_of(loader):
    return [plain(batch) for batch in loader]


class Squares:
    """Items made one by one, at uneven speed."""

    def __init__(self, n=23):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        time.sleep(0.002 if i % 3 == 0 else 0)
        return {"x": np.full((2,), i, np.float32), "y": i * i}


def workers():
    return [t for t in threading.enumerate() if t.name.startswith("gorgo-data")]


def no_workers_within(seconds):
    end = time.monotonic() + seconds
    while workers() and time.monotonic() < end:
        time.sleep(0.01)
    return not workers()


def test_tensor_dataset_shares_memory_and_gathers():
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    dataset = TensorDataset(x, gg.asarray([1, 2, 3, 4]))
    x[0, 0] = 50
    assert dataset[0][0].tolist() == [50, 1, 2]
    assert dataset[-1][1].item() == 4
    assert plain(dataset.gather([3, 0])) == [[[9, 10, 11], [50, 1, 2]], [4, 1]]
    with pytest.raises(IndexError, match=r"TensorDataset: index must be in \[-4, 4\), got 4"):
        dataset[4]


def test_subsets_and_concatenations():
    dataset = TensorDataset(gg.arange(10))
    part = Subset(dataset, [7, 1, 5])
    assert [plain(part[i]) for i in range(-1, 3)] == [[5], [7], [1], [5]]
    assert plain(part.gather([2, 0])) == [[5, 7]]
    assert plain(Subset(part, [1]).gather([0])) == [[1]]
    both = ConcatDataset([part, [["a"]], part])
    assert [plain(both[i]) for i in (0, 3, 4, 6)] == [[7], ["a"], [7], [5]]
    with pytest.raises(IndexError, match=r"ConcatDataset: index must be in \[-7, 7\), got 7"):
        both[7]


@pytest.mark.parametrize(
    ("size", "lengths", "expected"),
    [
        (10, [7, 3], [7, 3]),
        (10, list(np.asarray([7, 3])), [7, 3]),
        (10, [0.75, 0.25], [8, 2]),
        (10, [1 / 3] * 3, [4, 3, 3]),
        (3, [0, 3], [0, 3]),
        (1, [1], [1]),
    ],
)
def test_random_split_divides_everything(size, lengths, expected):
    parts = random_split(range(size), lengths, gg.random.Generator(1))
    assert [len(p) for p in parts] == expected
    assert sorted(p[i] for p in parts for i in range(len(p))) == list(range(size))
    again = random_split(range(size), lengths, gg.random.Generator(1))
    assert [p.indices for p in parts] == [p.indices for p in again]


def test_samplers():
    assert list(SequentialSampler(range(3))) == [0, 1, 2]
    stream = gg.random.Generator(0)
    drawn = RandomSampler(range(50), generator=stream)
    first, second = list(drawn), list(drawn)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert len(set(RandomSampler(range(50), num_samples=9))) == 9
    often = list(RandomSampler(range(3), replacement=True, num_samples=100))
    assert collections.Counter(often).keys() == {0, 1, 2}
    assert sorted(SubsetRandomSampler([4, 9, 2])) == [2, 4, 9]
    assert [len(b) for b in BatchSampler(range(7), 3, drop_last=True)] == [3, 3]
    assert len(BatchSampler(range(7), 3, drop_last=False)) == 3


def test_weights_decide_how_often_items_come():
    weights = np.array([0.0, 1.0, 2.0, 0.0, 5.0, 0.0])
    stream = gg.random.Generator(0)
    counts = np.bincount(list(WeightedRandomSampler(weights, 20_000, generator=stream)), minlength=6)
    expected = 20_000 * weights / weights.sum()
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()
    # Without replacement the first item drawn has those shares too, and all positive ones come once.
    orders = [list(WeightedRandomSampler(weights, 3, False, stream)) for _ in range(4000)]
    assert all(sorted(order) == [1, 2, 4] for order in orders)
    counts = np.bincount([order[0] for order in orders], minlength=6)
    expected = 4000 * weights / weights.sum()
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()
    loader = DataLoader(range(6), 4, sampler=WeightedRandomSampler(weights, 10, generator=stream))
    it = iter(loader)
    next(it)
    state, rest = loader.state_dict(), [plain(b) for b in it]
    other = DataLoader(range(6), 4, sampler=WeightedRandomSampler(weights, 10))
    other.load_state_dict(state)
    assert batches_of(other) == rest


@pytest.mark.parametrize("num_workers", [0, 1, 2, 5])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_do_not_depend_on_workers(num_workers, shuffle, drop_last):
    def load(workers):
        loader = DataLoader(Squares(), 4, shuffle, seed=3, drop_last=drop_last, num_workers=workers, prefetch=1)
        return [batches_of(loader), batches_of(loader)], len(loader)

    epochs, count = load(num_workers)
    assert (epochs, count) == load(0)
    assert [len(e) for e in epochs] == [count] * 2 == [5 if drop_last else 6] * 2
    assert (epochs[0] != epochs[1]) == shuffle
    seen = [v for batch in epochs[0] for v in batch["y"]]
    if not drop_last:
        assert sorted(seen) == [i * i for i in range(23)]
    assert no_workers_within(5)


def test_tensors_are_gathered_once_per_batch():
    calls = []

    class Counting(TensorDataset):
        def gather(self, indices):
            calls.append(indices)
            return super().gather(indices)

        def __getitem__(self, index):
            raise AssertionError("an item was fetched")

    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    loader = DataLoader(Counting(x, np.arange(10)), 4, shuffle=True, seed=0)
    rows = [(a, b) for x_batch, y_batch in loader for a, b in zip(x_batch.tolist(), y_batch.tolist(), strict=True)]
    assert len(calls) == 3
    assert sorted(b for _, b in rows) == list(range(10))
    assert all(a == [2 * b, 2 * b + 1] for a, b in rows)
    order = gg.random.permutation(10, generator=gg.random.Generator(0)).tolist()
    assert [b for _, b in rows] == order


def test_the_default_seed_comes_from_the_default_generator():
    def order():
        gg.random.seed(5)
        return batches_of(DataLoader(range(20), 4, shuffle=True))

    assert order() == order()
    gg.random.seed(6)
    assert batches_of(DataLoader(range(20), 4, shuffle=True)) != order()


@pytest.mark.parametrize("num_workers", [0, 3])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("taken", [0, 1, 3, 6, 7, 12])
def test_a_loader_continues_with_exactly_the_batches_left(num_workers, shuffle, taken):
    def make(seed):
        return DataLoader(Squares(), 4, shuffle, seed=seed, num_workers=num_workers)

    def stream(loader):
        while True:
            yield from loader

    one = make(1)
    batches = stream(one)
    for _ in range(taken):
        next(batches)
    state = json.loads(json.dumps(one.state_dict()))
    rest = [plain(next(batches)) for _ in range(14)]
    other = make(2)
    other.load_state_dict(state)
    batches = stream(other)
    assert [plain(next(batches)) for _ in range(14)] == rest


def test_a_state_of_a_continued_epoch_counts_from_its_start():
    one = DataLoader(range(12), 2, shuffle=True, seed=1)
    expected = batches_of(one)
    one = DataLoader(range(12), 2, shuffle=True, seed=1)
    it = iter(one)
    next(it), next(it)
    two = DataLoader(range(12), 2, shuffle=True, seed=9)
    two.load_state_dict(one.state_dict())
    assert two.state_dict() == one.state_dict()
    it = iter(two)
    assert plain(next(it)) == expected[2]
    three = DataLoader(range(12), 2, shuffle=True, seed=8)
    three.load_state_dict(two.state_dict())
    assert batches_of(three) == expected[3:]


def test_a_sampler_of_ones_own_is_resumed_too():
    class Rotating(Sampler):
        def __init__(self):
            self.turn = 0

        def __iter__(self):
            self.turn += 1
            return iter([(i + self.turn) % 6 for i in range(6)])

        def __len__(self):
            return 6

        def state_dict(self):
            return {"turn": self.turn}

        def load_state_dict(self, state):
            self.turn = state["turn"]

    one = DataLoader(range(6), 2, sampler=Rotating())
    batches_of(one)
    it = iter(one)
    next(it)
    state = one.state_dict()
    other = DataLoader(range(6), 2, sampler=Rotating())
    other.load_state_dict(state)
    assert batches_of(other) == [plain(b) for b in it] == [[4, 5], [0, 1]]


class Failing(Squares):
    def __getitem__(self, i):
        if i == 9:
            raise RuntimeError("item nine is broken")
        return super().__getitem__(i)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_workers_error_comes_with_its_traceback(num_workers):
    seen = []
    it = iter(DataLoader(Failing(), 4, num_workers=num_workers))
    with pytest.raises(RuntimeError, match="item nine is broken") as caught:
        seen.extend(batch["y"].tolist() for batch in it)
    assert [len(b) for b in seen] == [4, 4]
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "__getitem__" in frames
    assert "raise RuntimeError" in "".join(traceback.format_exception(caught.value))
    assert next(it, None) is None
    assert no_workers_within(5)


def test_dropping_an_iterator_stops_its_threads():
    loader = DataLoader(Squares(1000), 2, num_workers=3, prefetch=4)
    for _ in range(20):
        it = iter(loader)
        next(it)
        assert workers()
        del it
    gc.collect()
    assert no_workers_within(5)
    for batch in loader:  # a loop that is left early
        assert batch["y"].tolist() == [0, 1]
        break
    del batch
    gc.collect()
    assert no_workers_within(5)


def test_two_iterators_of_one_loader_do_not_disturb_each_other():
    loader = DataLoader(range(6), 2, num_workers=2)
    pairs = [(plain(a), plain(b)) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [([0, 1], [0, 1]), ([2, 3], [2, 3]), ([4, 5], [4, 5])]


def test_no_more_than_prefetch_is_made_ahead():
    made = []

    class Noting(Squares):
        def __getitem__(self, i):
            made.append(i)
            return i

    it = iter(DataLoader(Noting(100), 1, num_workers=2, prefetch=3))
    next(it)
    time.sleep(0.2)
    assert len(made) == 6
    it.close()


def test_ctrl_c_ends_the_process_while_workers_wait(tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(
        "import signal, sys, time\nimport gorgo as gg\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have had it ignored\n"
        "class Slow:\n    def __len__(self): return 50\n"
        "    def __getitem__(self, i):\n        time.sleep(0.5)\n        return i\n"
        "it = iter(gg.data.DataLoader(Slow(), 4, num_workers=2))\n"
        "print('ready', flush=True)\n"
        "try:\n    next(it)\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "interrupted\n"
    assert process.returncode == 0


def test_a_captured_step_reads_from_a_loader():
    w = gg.zeros((2,)).requires_grad_()
    opt = gg.optim.SGD([w], lr=0.1)

    @gg.compile
    def step(x):
        opt.zero_grad()
        loss = ((x @ w - 1.0) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    loader = DataLoader(TensorDataset(gg.ones((8, 2))), 4, num_workers=2)
    losses = [step(x).item() for _ in range(10) for (x,) in loader]
    assert losses[-1] < 1e-3 < losses[0]
    assert step.recordings == 1


def test_collate_of_every_kind():
    Point = collections.namedtuple("Point", "x y")  # noqa: PYI024
    assert default_collate([True, False]).dtype == gg.bool
    assert default_collate([1, 2]).dtype == gg.int64
    assert default_collate([1.5, 2]).tolist() == [1.5, 2.0]
    assert default_collate([np.float64(1), np.float64(2)]).dtype == gg.float64
    assert default_collate(["a", "b"]) == ["a", "b"]
    point = default_collate([Point(1, "a"), Point(2, "b")])
    assert isinstance(point, Point)
    assert plain(point) == [[1, 2], ["a", "b"]]
    assert plain(default_collate([[1, (2, gg.ones((1,)))], [3, (4, gg.zeros((1,)))]])) == [[1, 3], [[2, 4], [[1], [0]]]]
    assert default_collate([np.ones((2, 3), np.float16)] * 4).shape == (4, 2, 3)


def test_a_collate_function_takes_the_place_of_gathering():
    loader = DataLoader(TensorDataset(gg.arange(4)), 2, collate_fn=lambda items: [i[0].item() for i in items])
    assert list(loader) == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TensorDataset(), ValueError, "TensorDataset: tensors must be one or more"),
        (lambda: TensorDataset(1.0), ValueError, r"axis of items, got shape \(\) at position 0"),
        (lambda: TensorDataset(gg.ones((2,)), gg.ones((3,))), ValueError, r"one length, got \[2, 3\]"),
        (lambda: Subset([1], [0, 1]), IndexError, r"Subset: indices must be in \[0, 1\), got 1 at position 1"),
        (lambda: ConcatDataset([]), ValueError, "ConcatDataset: datasets must be one or more"),
        (lambda: random_split([1, 2], [4]), ValueError, r"integers that sum to 2 or shares that sum to 1, got \[4\]"),
        (lambda: random_split([1, 2], [3, -1]), ValueError, r"lengths must be 0 or more, got \[3, -1\]"),
        (lambda: RandomSampler([1], num_samples=2), ValueError, "at most 1 without replacement, got 2"),
        (lambda: RandomSampler([1], num_samples=0), ValueError, "num_samples must be 1 or more, got 0"),
        (lambda: WeightedRandomSampler([[1.0]], 1), ValueError, r"weights must have shape \(n,\), got \(1, 1\)"),
        (lambda: WeightedRandomSampler([1.0, -1.0], 1), ValueError, "not all 0, got -1.0 to 1.0"),
        (lambda: WeightedRandomSampler([0.0], 1), ValueError, "not all 0, got 0.0 to 0.0"),
        (lambda: WeightedRandomSampler([1.0, 0.0], 2, False), ValueError, "at most the 1 positive weights .* got 2"),
        (lambda: WeightedRandomSampler([1.0], 0), ValueError, "num_samples must be 1 or more, got 0"),
        (lambda: DataLoader(3), TypeError, "DataLoader: dataset must have a length and items by number, got int"),
        (lambda: DataLoader({}), TypeError, "got dict"),
        (lambda: DataLoader([1], 0), ValueError, "batch_size must be 1 or more, got 0"),
        (lambda: DataLoader([1], 1.5), TypeError, "batch_size must be an integer, got float"),
        (lambda: DataLoader([1], num_workers=-1), ValueError, "num_workers must be 0 or more, got -1"),
        (lambda: DataLoader([1], prefetch=0), ValueError, "prefetch must be 1 or more, got 0"),
        (lambda: DataLoader([1], shuffle=True, sampler=[0]), ValueError, "shuffle must be off beside a sampler"),
        (lambda: DataLoader([1], seed=1, generator=gg.random.Generator(1)), ValueError, "exclude each other"),
        (lambda: DataLoader([1], collate_fn=3), TypeError, "collate_fn must be callable, got int"),
        (lambda: default_collate([]), ValueError, "items must be one or more"),
        (
            lambda: default_collate([1, "a"]),
            TypeError,
            "item must be of one type in a batch, got int at 0 and str at 1",
        ),
        (lambda: default_collate([{1}]), TypeError, "item must be a tensor, array, .* got set"),
        (
            lambda: default_collate([{"x": (gg.ones((2,)), 1)}, {"x": (gg.ones((3,)), 1)}]),
            ValueError,
            r"item\['x'\]\[0\] must have one shape in a batch, got \(2,\) at 0 and \(3,\) at 1",
        ),
        (lambda: default_collate([np.ones(2), np.ones(3)]), ValueError, r"got \(2,\) at 0 and \(3,\) at 1"),
        (lambda: default_collate([{"a": 1}, {"b": 1}]), ValueError, r"keys in a batch, got \['a'\] at 0 and \['b'\]"),
        (lambda: default_collate([(1,), (1, 2)]), ValueError, "one length in a batch, got 1 at 0 and 2 at 1"),
        (lambda: DataLoader([1]).load_state_dict({}), KeyError, "state must hold"),
        (
            lambda: DataLoader([1, 2]).load_state_dict(DataLoader([1]).state_dict()),
            ValueError,
            "state must be of items 2, got 1",
        ),
        (
            lambda: DataLoader([1, 2], 2).load_state_dict(DataLoader([1, 2]).state_dict()),
            ValueError,
            "state must be of batch_size 2, got 1",
        ),
        (
            lambda: DataLoader([1, 2], shuffle=True).load_state_dict(DataLoader([1, 2]).state_dict()),
            ValueError,
            r"sampler with \['generator'\], got \[\]",
        ),
    ],
)
def test_messages(make, error, message):
    with pytest.raises(error, match=message):
        make()

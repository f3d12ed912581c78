"""Datasets, the order in which they are read, and the loader that makes batches of them.

A loader's order depends on its generator's state alone: not on the number of workers, nor on how far they have come.
Its state_dict is the generator's state where the epoch began and how many batches have been handed out, so that a
loader made anew continues with exactly the batches that were left.

Workers are threads. Reading files, decompressing, NumPy's and our own kernels all release Python's lock, tensors need
not be sent from process to process, and nothing has to be picklable; the price is that items made by pure Python code
are made one at a time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Integral
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import gorgo as gg
from gorgo.arguments import as_integer

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class Dataset(Protocol[T_co]):
    """What has a length and items by number; any such object is one, a list too.

    A dataset may define `gather(indices)` besides, which returns a whole batch for a list of numbers or a tensor (n,)
    int64 of them; a loader without collate_fn then calls it once per batch instead of fetching items.

    Example:
        >>> import gorgo as gg
        >>> isinstance([1, 2, 3], gg.data.Dataset)
        True
    """

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def __getitem__(self, index: int, /) -> T_co:
        """Return an item."""
        ...


def _check_dataset(dataset: Any, name: str) -> None:
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(dataset, Mapping):
        raise TypeError(f"{name}: dataset must have a length and items by number, got {type(dataset).__name__}")


def _position(index: Any, size: int, name: str) -> int:
    """Return an index within [0, size), negative ones counted from the end."""
    i = index.__index__()
    if not -size <= i < size:
        raise IndexError(f"{name}: index must be in [{-size}, {size}), got {i}")
    return int(i + size if i < 0 else i)


def _indices(indices: Any, device: str = "cpu") -> gg.Tensor:
    """Return numbers of items as a tensor on the device of what they are looked up in."""
    if isinstance(indices, gg.Tensor):
        return indices.to(device=device)
    listed = indices if hasattr(indices, "__array_interface__") else list(indices)
    return gg.asarray(listed, dtype=gg.int64, device=device)


class TensorDataset(Generic[T]):
    """Rows of one or several tensors; a batch is one gather from each.

    Args:
        tensors: tensors or arrays (n, ...) any, of the same n; memory is shared.

    Raises:
        ValueError: when there is none, one has no axis, or their lengths differ.

    Example:
        >>> import gorgo as gg
        >>> dataset = gg.data.TensorDataset(gg.arange(6).reshape(3, 2), gg.asarray([7, 8, 9]))
        >>> len(dataset), dataset[1][0].tolist(), dataset.gather([2, 0])[1].tolist()
        (3, [2, 3], [9, 7])
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset: tensors must be one or more, got none")
        self.tensors = tuple(t if isinstance(t, gg.Tensor) else gg.asarray(t) for t in tensors)
        for i, t in enumerate(self.tensors):
            if t.ndim == 0:
                raise ValueError(f"TensorDataset: tensors must have an axis of items, got shape () at position {i}")
        lengths = [t.shape[0] for t in self.tensors]
        if len(set(lengths)) > 1:
            raise ValueError(f"TensorDataset: tensors must have one length, got {lengths}")

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: int) -> tuple[gg.Tensor, ...]:
        i = _position(index, len(self), "TensorDataset")
        return tuple(t[i] for t in self.tensors)

    def gather(self, indices: Any) -> tuple[gg.Tensor, ...]:
        """Return the rows of each tensor, (k, ...), where the tensor is."""
        chosen: dict[str, gg.Tensor] = {}
        for t in self.tensors:
            if t.device not in chosen:
                chosen[t.device] = _indices(indices, t.device)
        return tuple(gg.take(t, chosen[t.device], axis=0) for t in self.tensors)


class Subset(Generic[T]):
    """Some items of a dataset, in a given order.

    Args:
        dataset: the dataset.
        indices: numbers of its items.

    Raises:
        IndexError: when a number is beyond the dataset.

    Example:
        >>> import gorgo as gg
        >>> gg.data.Subset(["a", "b", "c"], [2, 0])[0]
        'c'
    """

    def __init__(self, dataset: Dataset[T], indices: Iterable[int] | gg.Tensor) -> None:
        _check_dataset(dataset, "Subset")
        self.dataset = dataset
        self.indices = [int(i.__index__()) for i in indices]
        size = len(dataset)
        for place, i in enumerate(self.indices):
            if not 0 <= i < size:
                raise IndexError(f"Subset: indices must be in [0, {size}), got {i} at position {place}")
        inner = getattr(dataset, "gather", None)
        if inner is not None:
            table = _indices(self.indices)
            self.gather = lambda indices: inner(gg.take(table, _indices(indices), axis=0))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> T:
        return self.dataset[self.indices[_position(index, len(self), "Subset")]]


class ConcatDataset(Generic[T]):
    """Datasets one after the other.

    Args:
        datasets: one or more datasets.

    Raises:
        ValueError: when there is none.

    Example:
        >>> import gorgo as gg
        >>> both = gg.data.ConcatDataset([["a", "b"], ["c"]])
        >>> len(both), both[2], both[-3]
        (3, 'c', 'a')
    """

    def __init__(self, datasets: Iterable[Dataset[T]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets must be one or more, got none")
        self._ends: list[int] = []
        for dataset in self.datasets:
            _check_dataset(dataset, "ConcatDataset")
            self._ends.append((self._ends[-1] if self._ends else 0) + len(dataset))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> T:
        import bisect

        i = _position(index, len(self), "ConcatDataset")
        which = bisect.bisect_right(self._ends, i)
        return self.datasets[which][i - (self._ends[which - 1] if which else 0)]


def random_split(
    dataset: Dataset[T], lengths: Sequence[float], generator: gg.random.Generator | None = None
) -> list[Subset[T]]:
    """Divide a dataset at random.

    Args:
        dataset: the dataset.
        lengths: numbers of items that sum to its length, or shares that sum to 1; what shares leave by rounding down
            goes one by one to the parts in turn.
        generator: the stream to draw from; the default one when None.

    Returns:
        A Subset for each length.

    Raises:
        ValueError: when lengths do not add up.

    Example:
        >>> import gorgo as gg
        >>> [len(part) for part in gg.data.random_split(range(10), [0.75, 0.25])]
        [8, 2]
    """
    _check_dataset(dataset, "random_split")
    size = len(dataset)
    counts = list(lengths)
    if any(not n >= 0 for n in counts):
        raise ValueError(f"random_split: lengths must be 0 or more, got {counts}")
    if all(isinstance(n, Integral) for n in counts):
        counts = [int(n) for n in counts]
    if counts and math.isclose(sum(counts), 1.0) and not (size == 1 and all(isinstance(n, int) for n in counts)):
        counts = [math.floor(size * n) for n in counts]
        for i in range(size - int(sum(counts))):
            counts[i % len(counts)] += 1
    if any(not isinstance(n, int) for n in counts) or sum(counts) != size:
        raise ValueError(
            f"random_split: lengths must be integers that sum to {size} or shares that sum to 1, got {list(lengths)}"
        )
    order = gg.random.permutation(size, generator=generator).tolist()
    parts, start = [], 0
    for n in counts:
        parts.append(Subset(dataset, order[start : start + int(n)]))
        start += int(n)
    return parts


class Sampler:
    """Base of the orders: iterating one yields the numbers of an epoch's items.

    Subclasses define `__iter__` and `__len__`, and may define state_dict and load_state_dict for what the next epoch's
    order depends on.

    Example:
        >>> import gorgo as gg
        >>> class Backwards(gg.data.Sampler):
        ...     def __iter__(self):
        ...         return iter([2, 1, 0])
        ...
        ...     def __len__(self):
        ...         return 3
        >>> list(gg.data.DataLoader("abc", sampler=Backwards()))
        [['c'], ['b'], ['a']]
    """

    def __iter__(self) -> Iterator[int]:
        raise NotImplementedError(f"{type(self).__name__}: __iter__ must be defined")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: __len__ must be defined")

    def state_dict(self) -> dict[str, Any]:
        """Return what the next epoch's order depends on: nothing, unless a subclass says more."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what state_dict returned."""


class SequentialSampler(Sampler):
    """All items in order.

    Args:
        dataset: what has the items.

    Example:
        >>> import gorgo as gg
        >>> list(gg.data.SequentialSampler("abc"))
        [0, 1, 2]
    """

    def __init__(self, dataset: Any) -> None:
        self.size = len(dataset)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))

    def __len__(self) -> int:
        return self.size


class RandomSampler(Sampler):
    """All items in an order drawn anew for each epoch, or items drawn with replacement.

    Args:
        dataset: what has the items.
        replacement: whether an item may come several times.
        num_samples: how many are drawn; all when None.
        generator: the stream to draw from; when None, one of its own with a seed from the default generator.

    Raises:
        ValueError: when num_samples is below 1, or beyond the dataset without replacement.

    Example:
        >>> import gorgo as gg
        >>> sorted(gg.data.RandomSampler("abc"))
        [0, 1, 2]
    """

    def __init__(
        self,
        dataset: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: gg.random.Generator | None = None,
    ) -> None:
        self.size = len(dataset)
        self.replacement = replacement
        self.num_samples = self.size if num_samples is None else num_samples
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"RandomSampler: num_samples must be 1 or more, got {num_samples}")
        if not replacement and self.num_samples > self.size:
            raise ValueError(
                f"RandomSampler: num_samples must be at most {self.size} without replacement, got {num_samples}"
            )
        self.generator = generator if generator is not None else _own_generator()

    def draw(self) -> gg.Tensor:
        """Draw an epoch's order, (n,) int64."""
        if self.replacement:
            return gg.random.choice(self.size, (self.num_samples,), generator=self.generator)
        return gg.random.permutation(self.size, generator=self.generator)[: self.num_samples]

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw().tolist())

    def __len__(self) -> int:
        return int(self.num_samples)

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return {"generator": self.generator.get_state().tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the generator from a state."""
        self.generator.set_state(gg.asarray(state["generator"], dtype=gg.uint64))


class SubsetRandomSampler(RandomSampler):
    """Given items in an order drawn anew for each epoch.

    Args:
        indices: numbers of the items.
        generator: the stream to draw from; when None, one of its own with a seed from the default generator.

    Example:
        >>> import gorgo as gg
        >>> sorted(gg.data.SubsetRandomSampler([5, 2, 9]))
        [2, 5, 9]
    """

    def __init__(self, indices: Sequence[int], generator: gg.random.Generator | None = None) -> None:
        super().__init__(indices, generator=generator)
        self.indices = _indices(indices)

    def draw(self) -> gg.Tensor:
        """Draw an epoch's order, (n,) int64."""
        return gg.take(self.indices, super().draw(), axis=0)


class WeightedRandomSampler(RandomSampler):
    """Items drawn anew for each epoch, each with its own weight.

    Args:
        weights: numbers of 0 or more, (n,) float; they need not sum to 1.
        num_samples: how many are drawn.
        replacement: whether an item may come several times.
        generator: the stream to draw from; when None, one of its own with a seed from the default generator.

    Raises:
        ValueError: when weights are no list of finite numbers of 0 or more with a positive one, or num_samples is below
            1, or beyond the positive weights without replacement.

    Source: without replacement, Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Information
    Processing Letters 97 (2006).

    Example:
        >>> import gorgo as gg
        >>> list(gg.data.WeightedRandomSampler([0.0, 0.0, 3.0], 4))
        [2, 2, 2, 2]
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: gg.random.Generator | None = None,
    ) -> None:
        import numpy as np

        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1:
            raise ValueError(f"WeightedRandomSampler: weights must have shape (n,), got {self.weights.shape}")
        if not np.isfinite(self.weights).all() or (self.weights < 0).any() or not self.weights.sum() > 0:
            raise ValueError(
                "WeightedRandomSampler: weights must be finite, 0 or more, and not all 0, got"
                f" {self.weights.min(initial=np.inf)} to {self.weights.max(initial=-np.inf)}"
            )
        positive = int((self.weights > 0).sum())
        super().__init__(self.weights, True, num_samples, generator)
        if not replacement and num_samples > positive:
            raise ValueError(
                f"WeightedRandomSampler: num_samples must be at most the {positive} positive weights without"
                f" replacement, got {num_samples}"
            )
        self.replacement = replacement

    def draw(self) -> gg.Tensor:
        """Draw an epoch's order, (n,) int64."""
        import numpy as np

        if self.replacement:
            drawn = gg.random.uniform(shape=self.num_samples, dtype=gg.float64, generator=self.generator).numpy()
            ends = np.cumsum(self.weights)
            # side="right" never takes an item of weight 0; rounding at the very end could, were it not limited.
            last = int(np.flatnonzero(self.weights)[-1])
            return gg.asarray(np.minimum(np.searchsorted(ends, drawn * ends[-1], side="right"), last))
        drawn = gg.random.uniform(shape=self.size, dtype=gg.float64, generator=self.generator).numpy()
        with np.errstate(divide="ignore"):  # the time of an item of weight 0 is infinite
            times = np.where(self.weights > 0, -np.log1p(-drawn) / self.weights, np.inf)
        return gg.asarray(np.argsort(times, kind="stable")[: self.num_samples])


class BatchSampler(Sampler):
    """Another order in lists of batch_size numbers.

    Args:
        sampler: the order.
        batch_size: numbers in a list.
        drop_last: whether a shorter last list is left out.

    Raises:
        ValueError: when batch_size is below 1.

    Example:
        >>> import gorgo as gg
        >>> list(gg.data.BatchSampler(range(5), 2, drop_last=False))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        _check_batch_size(batch_size, "BatchSampler")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[Any]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        size = len(self.sampler)
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)


def _own_generator() -> gg.random.Generator:
    return gg.random.Generator(int(gg.random.randint(0, 2**62, ()).item()))


def _check_batch_size(batch_size: Any, name: str) -> None:
    if as_integer(name, "batch_size", batch_size) < 1:
        raise ValueError(f"{name}: batch_size must be 1 or more, got {batch_size}")


def default_collate(items: Sequence[Any]) -> Any:
    """Make one batch of several items.

    Tensors and arrays are stacked along a new first axis, numbers become a tensor (n,), strings and bytes a list;
    dicts, tuples and lists of these are combined member by member.

    Args:
        items: one or more items of one kind.

    Returns:
        The batch, of the items' kind.

    Raises:
        TypeError: when items are of another kind, or of several.
        ValueError: when shapes, lengths or keys differ.

    Example:
        >>> import gorgo as gg
        >>> batch = gg.data.default_collate([{"x": gg.ones((2,)), "y": 1}, {"x": gg.zeros((2,)), "y": 2}])
        >>> batch["x"].shape, batch["y"].tolist()
        ((2, 2), [1, 2])
    """
    return _collate(items, "item")


def _collate(items: Sequence[Any], place: str) -> Any:
    if not items:
        raise ValueError("collate: items must be one or more, got none")
    first = items[0]
    kind = type(first)
    for i, item in enumerate(items):
        if type(item) is not kind and not (isinstance(item, int | float) and isinstance(first, int | float)):
            raise TypeError(
                f"collate: {place} must be of one type in a batch, got {kind.__name__} at 0 and"
                f" {type(item).__name__} at {i}"
            )
    if isinstance(first, str | bytes):
        return list(items)
    if isinstance(first, bool | int | float | complex) and not hasattr(first, "__array_interface__"):
        return gg.asarray(list(items))
    if isinstance(first, Mapping):
        for i, item in enumerate(items):
            if item.keys() != first.keys():
                raise ValueError(
                    f"collate: {place} must have one set of keys in a batch, got {list(first)} at 0 and"
                    f" {list(item)} at {i}"
                )
        return {key: _collate([item[key] for item in items], f"{place}[{key!r}]") for key in first}
    if isinstance(first, tuple | list):
        for i, item in enumerate(items):
            if len(item) != len(first):
                raise ValueError(
                    f"collate: {place} must have one length in a batch, got {len(first)} at 0 and {len(item)} at {i}"
                )
        members = [_collate(list(column), f"{place}[{i}]") for i, column in enumerate(zip(*items, strict=True))]
        if hasattr(first, "_fields"):
            return kind(*members)
        return tuple(members) if isinstance(first, tuple) else members
    if isinstance(first, gg.Tensor):
        _check_shapes([tuple(t.shape) for t in items], place)
        return gg.stack(list(items))
    if hasattr(first, "__array_interface__"):  # NumPy's arrays and scalars
        import numpy as np

        _check_shapes([tuple(a.shape) for a in items], place)
        return gg.asarray(np.stack(items))
    raise TypeError(
        f"collate: {place} must be a tensor, array, number, string, or dict, tuple or list of these,"
        f" got {kind.__name__} (give collate_fn for other kinds)"
    )


def _check_shapes(shapes: list[tuple[int, ...]], place: str) -> None:
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"collate: {place} must have one shape in a batch, got {shapes[0]} at 0 and {shape} at {i}"
            )


class DataLoader(Generic[T]):
    """Batches of a dataset, in order or shuffled, made ahead by threads.

    The order and the batches are the same for any number of workers. Iterating starts an epoch; each epoch of a
    shuffled loader has a new order. Dropping an iterator, or an error in it, stops its threads after the item at hand.

    Args:
        dataset: what has a length and items by number.
        batch_size: items in a batch.
        shuffle: whether the order is drawn anew for each epoch.
        sampler: an order of its own instead.
        seed: of the order; drawn from the default generator when None.
        generator: the stream to draw orders from, instead of seed.
        drop_last: whether a shorter last batch is left out.
        num_workers: threads that make batches; 0 makes each when it is asked for.
        prefetch: batches that each worker may be ahead.
        collate_fn: makes a batch of a list of items; default_collate when None, or the dataset's `gather`.

    Raises:
        TypeError: when dataset has no length or items, or a number is no integer.
        ValueError: when a number is out of range, or options exclude each other.

    Example:
        >>> import gorgo as gg
        >>> dataset = gg.data.TensorDataset(gg.arange(5), gg.arange(5) * 10)
        >>> for x, y in gg.data.DataLoader(dataset, batch_size=2):
        ...     print(x.tolist(), y.tolist())
        [0, 1] [0, 10]
        [2, 3] [20, 30]
        [4] [40]
    """

    def __init__(
        self,
        dataset: Dataset[T],
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Any = None,
        *,
        seed: int | None = None,
        generator: gg.random.Generator | None = None,
        drop_last: bool = False,
        num_workers: int = 0,
        prefetch: int = 2,
        collate_fn: Callable[[list[T]], Any] | None = None,
    ) -> None:
        _check_dataset(dataset, "DataLoader")
        _check_batch_size(batch_size, "DataLoader")
        for name, value, least in (("num_workers", num_workers, 0), ("prefetch", prefetch, 1)):
            if as_integer("DataLoader", name, value) < least:
                raise ValueError(f"DataLoader: {name} must be {least} or more, got {value}")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: shuffle must be off beside a sampler, got both")
        if seed is not None and generator is not None:
            raise ValueError("DataLoader: seed and generator exclude each other, got both")
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(f"DataLoader: collate_fn must be callable, got {type(collate_fn).__name__}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.num_workers = num_workers
        self.prefetch = prefetch
        self.collate_fn = collate_fn
        if sampler is None and shuffle:
            stream = gg.random.Generator(seed) if seed is not None else generator
            sampler = RandomSampler(dataset, generator=stream)
        self.sampler = SequentialSampler(dataset) if sampler is None else sampler
        self._epoch_start: dict[str, Any] | None = None  # the sampler's state where the epoch under way began
        self._handed_out = 0
        self._skip = 0  # batches of the next epoch that were handed out before the state was saved
        self._epoch: object = None  # which iterator counts

    def __len__(self) -> int:
        size = len(self.sampler)
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        self._epoch_start = _sampler_state(self.sampler)
        self._handed_out, self._skip = self._skip, 0
        batches = self._index_batches(self._handed_out)
        self._epoch = token = object()
        return _Batches(self, batches, token)

    def _index_batches(self, skip: int) -> Iterator[Any]:
        """Return an epoch's numbers in batches, as slices of a tensor where the order is one."""
        gathers = self.collate_fn is None and hasattr(self.dataset, "gather")
        draw = getattr(self.sampler, "draw", None)
        if draw is not None or isinstance(self.sampler, SequentialSampler):
            order = (
                draw() if draw is not None else (gg.arange(self.sampler.size) if gathers else range(self.sampler.size))
            )
            if not gathers and isinstance(order, gg.Tensor):
                order = order.tolist()
            size = len(self.sampler)
            stop = size - size % self.batch_size if self.drop_last else size
            # Bound to this epoch's order now; the sampler may be asked for the next one before these are used up.
            return (order[i : i + self.batch_size] for i in range(skip * self.batch_size, stop, self.batch_size))
        lists = iter(BatchSampler(self.sampler, self.batch_size, self.drop_last))
        for _ in range(skip):
            next(lists, None)
        return lists

    def _load(self, indices: Any) -> Any:
        """Make the batch of some numbers; runs in a worker."""
        with gg.no_grad():
            if self.collate_fn is None and hasattr(self.dataset, "gather"):
                return self.dataset.gather(indices)
            items = [self.dataset[i] for i in indices]
            return default_collate(items) if self.collate_fn is None else self.collate_fn(items)

    def _facts(self) -> dict[str, int | bool]:
        return {"items": len(self.sampler), "batch_size": self.batch_size, "drop_last": self.drop_last}

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is, as numbers, strings and lists of them; a JSON file can hold it.

        In the middle of an epoch the state names the batches that are left; after the last batch and before the first
        one it names the next epoch.
        """
        if self._epoch_start is None or self._handed_out >= len(self):
            return {"sampler": _sampler_state(self.sampler), "handed_out": self._skip, **self._facts()}
        return {"sampler": self._epoch_start, "handed_out": self._handed_out, **self._facts()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another loader was: the next iteration yields the batches that were left.

        Raises:
            KeyError: when names are missing.
            ValueError: when the state is of other data or another batch size.
        """
        missing = [key for key in ("sampler", "handed_out", *self._facts()) if key not in state]
        if missing:
            raise KeyError(f"DataLoader.load_state_dict: state must hold {missing}, got {sorted(map(str, state))}")
        for key, own in self._facts().items():
            if state[key] != own:
                raise ValueError(f"DataLoader.load_state_dict: state must be of {key} {own}, got {state[key]}")
        if set(state["sampler"]) != set(_sampler_state(self.sampler)):
            raise ValueError(
                f"DataLoader.load_state_dict: state must be of a sampler with {sorted(_sampler_state(self.sampler))},"
                f" got {sorted(state['sampler'])}"
            )
        if hasattr(self.sampler, "load_state_dict"):
            self.sampler.load_state_dict(state["sampler"])
        self._epoch, self._epoch_start = None, None
        self._handed_out, self._skip = 0, int(state["handed_out"])


def _sampler_state(sampler: Any) -> dict[str, Any]:
    return dict(sampler.state_dict()) if hasattr(sampler, "state_dict") else {}


class _Batches:
    """One epoch's batches; owns the threads that make them.

    The threads know the loader and the numbers, never this object: so it dies when it is dropped, and they end.
    """

    def __init__(self, loader: DataLoader[Any], batches: Iterator[Any], token: object) -> None:
        self._loader = loader
        self._batches = batches
        self._token = token
        self._ahead: deque[Future[Any]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        if loader.num_workers > 0:
            self._pool = ThreadPoolExecutor(loader.num_workers, thread_name_prefix="gorgo-data")

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> Any:
        try:
            batch = self._next()
        except BaseException:  # the end, a worker's error, Ctrl-C: threads are let go, the next call is the end
            self.close()
            raise
        if self._loader._epoch is self._token:
            self._loader._handed_out += 1
        return batch

    def _next(self) -> Any:
        if self._pool is None:
            return self._loader._load(next(self._batches))
        wanted = self._loader.num_workers * self._loader.prefetch
        while len(self._ahead) < wanted:
            indices = next(self._batches, None)
            if indices is None:
                break
            self._ahead.append(self._pool.submit(self._loader._load, indices))
        if not self._ahead:
            raise StopIteration
        return self._ahead.popleft().result()

    def close(self) -> None:
        """Stop the threads after the item at hand, without waiting for them."""
        self._batches = iter(())
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            self.close()

"""Reading and writing at positions, sorting and searching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from samples.rows import COMPLEX, LARGE, Array, Make, Sample, add, call

# ---- indexing ----


def index_key(x_rank: int, indices: list[Array], axes: Sequence[int]) -> tuple[Any, ...]:
    key: list[Any] = [slice(None)] * x_rank
    for i, axis in zip(indices, axes, strict=True):
        key[axis] = i
    return tuple(key)


def index_adjoint(g: Array, indices: list[Array], axes: Sequence[int], shape: Sequence[int]) -> Array:
    out = np.zeros(shape, g.dtype)
    np.add.at(out, index_key(len(shape), indices, axes), g)
    return out


def index_put(x: Array, values: Array, indices: list[Array], axes: Sequence[int], accumulate: bool = False) -> Array:
    out = x.copy()
    if accumulate:
        np.add.at(out, index_key(x.ndim, indices, axes), values)
    else:
        out[index_key(x.ndim, indices, axes)] = values
    return out


def along_key(indices: Array, axis: int) -> tuple[Array, ...]:
    grid = list(np.indices(indices.shape))
    grid[axis] = indices
    return tuple(grid)


def scatter(x: Array, indices: Array, values: Array, axis: int = -1) -> Array:
    out = x.copy()
    out[along_key(indices, axis)] = values
    return out


def scatter_add(x: Array, indices: Array, values: Array, axis: int = -1) -> Array:
    out = x.copy()
    np.add.at(out, along_key(indices, axis), values)
    return out


def take_along_axis_adjoint(g: Array, indices: Array, axis: int, shape: Sequence[int]) -> Array:
    return scatter_add(np.zeros(shape, g.dtype), indices, g, axis)


def each_once(make: Make, rows: int, size: int) -> Array:
    """Return rows of positions in an axis of `size`, none twice in a row, so that the order of writes does not matter."""  # noqa: E501
    return np.argsort(make.rng.random((rows, size)), axis=1)[:, : size - 1]


add(
    "take",
    lambda m: [
        call(m(5), m.indices(4, size=5)),
        call(m(3, 5), m.indices(2, 2, size=5), axis=1),
        call(m(3, 5), m.indices(size=3), axis=0),
        call(m(3, 5), m.indices(0, size=5), axis=-1),
    ],
    lambda x, indices, axis=None: np.take(x, indices, axis),
    large=lambda m: call(m(*LARGE), m.indices(400, size=517), axis=0),
)
add(
    "index",
    lambda m: [
        call(m(4, 3, 5), [m.indices(2, size=4), m.indices(3, 1, size=5)], axes=(0, 2)),
        call(m(4, 3), [m.indices(2, 2, size=3)], axes=(1,)),
        call(m(4, 3), [m.indices(size=4)], axes=(0,)),
        call(m(4, 3), [m.indices(0, size=4)], axes=(0,)),
    ],
    lambda x, indices, axes: x[index_key(x.ndim, indices, axes)],
    large=lambda m: call(m(*LARGE), [m.indices(400, size=517)], axes=(0,)),
)
add(
    "take_along_axis",
    lambda m: [
        call(m(3, 5), m.indices(3, 2, size=5)),
        call(m(3, 5), m.indices(4, 5, size=3), axis=0),
        call(m(3, 5), m.indices(3, 0, size=5)),
    ],
    lambda x, indices, axis=-1: np.take_along_axis(x, indices, axis),
    large=lambda m: call(m(*LARGE), m.indices(517, 200, size=259)),
    no_rank0="there is no axis to take along",
)
add(
    "nonzero",
    lambda m: [call(m(3, 5, low=-1, high=1)), call(m(0, 3)), call(m(7, low=0, high=1))],
    lambda x: np.argwhere(x),
    large=lambda m: call(m(*LARGE, low=-1, high=1)),
    no_rank0="a position needs an axis",
)
add(
    "index_adjoint",
    lambda m: [
        call(m(3, 2, 3), [m.indices(2, size=4), m.indices(3, 1, size=5)], axes=(0, 2), shape=(4, 3, 5)),
        call(m(3), [m.indices(size=4)], axes=(0,), shape=(4, 3)),
        call(m(), [m.indices(size=4)], axes=(0,), shape=(4,)),
        call(m(0, 3), [m.indices(0, size=4)], axes=(0,), shape=(4, 3)),
    ],
    index_adjoint,
    large=lambda m: call(m(400, 259), [m.indices(400, size=517)], axes=(0,), shape=LARGE),
)
add(
    "take_along_axis_adjoint",
    lambda m: [
        call(m(3, 2), m.indices(3, 2, size=5), axis=-1, shape=(3, 5)),
        call(m(4, 5), m.indices(4, 5, size=3), axis=0, shape=(3, 5)),
        call(m(3, 0), m.indices(3, 0, size=5), axis=1, shape=(3, 5)),
    ],
    take_along_axis_adjoint,
    large=lambda m: call(m(517, 200), m.indices(517, 200, size=259), axis=1, shape=LARGE),
    no_rank0="there is no axis to take along",
)
add(
    "index_put",
    lambda m: [
        call(m(4, 3), m(3, 3), [np.array([2, 0, -1])], axes=(0,)),
        call(m(4, 3), m(3), [np.array([2, 0, 2])], axes=(0,), accumulate=m.dtype != "bool"),
        call(m(4, 3, 5), m(), [np.array([0, 3]), np.array([4, 1])], axes=(0, 2)),
        call(m(4, 3), m(0, 3), [m.indices(0, size=4)], axes=(0,)),
    ],
    index_put,
    large=lambda m: call(m(*LARGE), m(400, 259), [each_once(m, 1, 517)[0, :400]], axes=(0,)),
    no_expanded="of positions that are named twice, the last value wins, and which one that is depends on the operand",
)
for name, function in (("scatter", scatter), ("scatter_add", scatter_add)):
    add(
        name,
        lambda m: [
            call(m(3, 5), each_once(m, 3, 5), m(3, 4)),
            call(m(3, 5), each_once(m, 5, 3).T, m(5), axis=0),
            call(m(3, 5), each_once(m, 2, 5), m()),
            call(m(3, 5), m.indices(3, 0, size=5), m(3, 0)),
        ],
        function,
        large=lambda m: call(m(*LARGE), each_once(m, 517, 259), m(517, 258)),
    )


def scatter_combine(x: Array, indices: Array, values: Array, axis: int, reduce: str) -> Array:
    out = x.copy()
    function = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}[reduce]
    function.at(out, along_key(indices, axis), np.broadcast_to(values, indices.shape))
    return out


add(
    "scatter_combine",
    lambda m: (
        [
            call(m(3, 5), m.indices(3, 9, size=5), m(3, 9), axis=1, reduce=reduce)
            for reduce in (("prod",) if m.dtype in COMPLEX else ("prod", "amax", "amin"))
        ]
        + [
            call(m(4, 3), m.indices(6, 2, size=4), m(2), axis=0, reduce="prod"),
            call(m(4, 3), m.indices(6, 2, size=4), m(), axis=0, reduce="prod"),
            call(m(3, 5), m.indices(3, 0, size=5), m(3, 0), axis=-1, reduce="prod"),
        ]
    ),
    scatter_combine,
    large=lambda m: call(m(*LARGE), m.indices(517, 300, size=259), m(517, 300), axis=1, reduce="amax"),
    no_specials="the oracle's extremes and products of NaN and infinities depend on the order of positions",
)

# ---- sorting ----


def bucketize(x: Array, boundaries: Array, right: bool = False) -> Array:
    side = "right" if right else "left"
    if np.ndim(boundaries) == 1:
        return np.searchsorted(boundaries, x, side)
    lines = [np.searchsorted(boundaries[i], x[i], side) for i in np.ndindex(boundaries.shape[:-1])]
    return np.reshape(lines, x.shape)


def order(x: Array, axis: int = -1, descending: bool = False, nan_last: bool = True) -> Array:
    """Return positions in sorted order, equal elements as they came."""
    if not descending or (nan_last and x.dtype.kind == "f"):
        return np.argsort(-x if descending else x, axis=axis, kind="stable")
    backwards = np.flip(x, axis)
    return np.flip(x.shape[axis] - 1 - np.argsort(backwards, axis=axis, kind="stable"), axis)


def topk(x: Array, k: int, axis: int = -1, largest: bool = True) -> tuple[Array, Array]:
    at = np.take(order(x, axis, largest, nan_last=False), np.arange(k), axis=axis)
    return np.take_along_axis(x, at, axis), at


def sorts(make: Make) -> list[Sample]:
    return [
        call(make(3, 7)),
        call(make(3, 7), axis=0, descending=True),
        call(make(1)),
        call(make(0, 3)),
        call(make(200)),
    ]


NO_SORT_AXIS = "there is no axis to sort"
add(
    "sort",
    sorts,
    lambda x, axis=-1, descending=False: np.take_along_axis(x, order(x, axis, descending), axis),
    large=lambda m: call(m(*LARGE)),
    no_rank0=NO_SORT_AXIS,
)
add("argsort", sorts, order, large=lambda m: call(m(*LARGE)), no_rank0=NO_SORT_AXIS)
add(
    "topk",
    lambda m: [call(m(3, 7), k=2), call(m(7, 3), k=3, axis=0, largest=False), call(m(3, 7), k=0), call(m(0, 3), k=2)],
    topk,
    large=lambda m: call(m(*LARGE), k=5),
    no_rank0=NO_SORT_AXIS,
)

add(
    "bucketize",
    lambda m: [
        call(m(3, 7), np.sort(m(9))),
        call(m(3, 7), np.sort(m(9)), right=True),
        call(m(2, 3, 4), np.sort(m(2, 3, 5), axis=-1)),
        call(m(), np.sort(m(9))),
        call(m(3), m(0)),
        call(m(0, 2), np.sort(m(3))),
    ],
    bucketize,
    large=lambda m: call(m(*LARGE), np.sort(m(100))),
    no_specials="boundaries must be sorted",
)

"""Views, and moves of elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import gorgo as gg
from samples.rows import LARGE, Array, Make, Sample, add, call

# ---- views ----

NO_WORK = "a view runs no kernel"


def view(op: str, samples: Callable[[Make], list[Sample]], oracle: Callable[..., Any], **facts: Any) -> None:
    add(op, samples, oracle, no_large=NO_WORK, **facts)


def index_view(x: Array, start: Any, step: Any, length: Any, insert: Any = ()) -> Array:
    cut = tuple(
        s if n == -1 else np.arange(s, s + d * n, d)[:n] if n else np.arange(0)
        for s, d, n in zip(start, step, length, strict=True)
    )
    for axis in reversed(range(x.ndim)):
        x = np.take(x, cut[axis], axis=axis)
    return np.expand_dims(x, tuple(insert))


def as_strided(x: Array, shape: Sequence[int], strides: Sequence[int], offset: int) -> Array:
    flat = x.reshape(-1)
    at = np.zeros(shape, np.int64) + offset
    for axis, (n, s) in enumerate(zip(shape, strides, strict=True)):
        at += (np.arange(n) * s).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return flat[at] if at.size else np.zeros(shape, x.dtype)


def view_adjoint(
    g: Array, base_shape: Any, shape: Any, strides: Any, offset: int = 0, accumulate: bool = False
) -> Array:
    out = np.zeros(math.prod(base_shape), g.dtype)  # `accumulate` is a promise about the strides
    at = as_strided(np.arange(out.size), shape, strides, offset)
    np.add.at(out, at.reshape(-1), g.reshape(-1))
    return out.reshape(base_shape)


def view_scatter(base: Array, src: Array, shape: Any, strides: Any, offset: int) -> Array:
    out = base.copy()
    at = as_strided(np.arange(out.size), shape, strides, offset)
    out.reshape(-1)[at.reshape(-1)] = np.broadcast_to(src, shape).reshape(-1)
    return out


def split(x: Array, sections: Any, axis: int = 0) -> tuple[Array, ...]:
    ends = np.cumsum(sections)[:-1] if isinstance(sections, tuple) else np.arange(sections, x.shape[axis], sections)
    return tuple(np.split(x, ends, axis=axis))


view(
    "permute_dims",
    lambda m: [call(m(2, 3, 4), axes=(2, 0, 1)), call(m(), axes=()), call(m(0, 3), axes=(-1, 0))],
    lambda x, axes: np.transpose(x, axes),
)
view(
    "broadcast_to",
    lambda m: [call(m(3, 1), shape=(2, 3, 4)), call(m(), shape=(2,)), call(m(1, 3), shape=(0, 3))],
    lambda x, shape: np.broadcast_to(x, shape),
)
view(
    "expand_dims",
    lambda m: [call(m(2, 3)), call(m(2, 3), axis=(0, -1)), call(m()), call(m(0))],
    lambda x, axis=(0,): np.expand_dims(x, axis),
)
view(
    "squeeze",
    lambda m: [call(m(1, 2, 1)), call(m(1, 2, 1), axis=(-1,)), call(m()), call(m(0, 1))],
    lambda x, axis=None: np.squeeze(x, axis),
)
view(
    "flip",
    lambda m: [call(m(2, 3)), call(m(2, 3), axis=(1,)), call(m()), call(m(0, 2))],
    lambda x, axis=None: np.flip(x, axis),
)
view(
    "diagonal",
    lambda m: [call(m(3, 4)), call(m(3, 2, 4), offset=1, axis1=0, axis2=2), call(m(3, 0))],
    lambda x, offset=0, axis1=-2, axis2=-1: np.diagonal(x, offset, axis1, axis2),
    no_rank0="a diagonal lies in two axes",
)
view(
    "reshape",
    lambda m: [
        call(m(2, 6), shape=(3, -1)),
        call(m(), shape=(1, 1)),
        call(m(0, 2), shape=(2, 0)),
        call(m(1), shape=()),
    ],
    lambda x, shape: np.reshape(x, shape),
    function=gg.reshape,
)
view(
    "split",
    lambda m: [call(m(5, 3), sections=2), call(m(2, 5), sections=(1, 4), axis=1), call(m(0, 3), sections=1, axis=1)],
    split,
    function=gg.split,
    no_rank0="there is no axis to cut",
)
view(
    "unstack",
    lambda m: [call(m(3, 2)), call(m(2, 3), axis=-1), call(m(2, 0)), call(m(3))],
    lambda x, axis=0: tuple(np.moveaxis(x, axis, 0)),
    function=gg.unstack,
    no_rank0="there is no axis to cut",
)
view(
    "index_view",
    lambda m: [
        call(m(4, 5), start=(3, 1), step=(-2, 1), length=(2, 3)),
        call(m(4, 5), start=(1, 0), step=(1, 2), length=(-1, 3), insert=(0,)),
        call(m(), start=(), step=(), length=(), insert=(0, 1)),
        call(m(0, 5), start=(0, 0), step=(1, 1), length=(0, 5)),
    ],
    index_view,
)
CONTIGUOUS = "it is said in terms of a contiguous base"
view(
    "as_strided",
    lambda m: [
        call(m(4, 5), shape=(2, 3), strides=(6, 1), offset=3),
        call(m(7), shape=(3, 3), strides=(1, 1), offset=0),
        call(m(), shape=(2,), strides=(0,), offset=0),
        call(m(3), shape=(0, 2), strides=(1, 1), offset=0),
    ],
    as_strided,
    contiguous_only=CONTIGUOUS,
)
add(
    "view_adjoint",
    lambda make: [
        call(make(2, 3), base_shape=(4, 5), shape=(2, 3), strides=(6, 1), offset=3),
        call(make(3, 3), base_shape=(7,), shape=(3, 3), strides=(1, 1), accumulate=True),
        call(make(), base_shape=(3,), shape=(), strides=(), offset=1),
        call(make(0, 2), base_shape=(3,), shape=(0, 2), strides=(1, 1)),
    ],
    view_adjoint,
    large=lambda make: call(make(517, 100), base_shape=LARGE, shape=(517, 100), strides=(259, 2), offset=3),
)
add(
    "view_scatter",
    lambda make: [
        call(make(4, 5), make(2, 3), shape=(2, 3), strides=(6, 1), offset=3),
        call(make(4, 5), make(3), shape=(2, 3), strides=(-5, 2), offset=15),
        call(make(), make(), shape=(), strides=(), offset=0),
        call(make(3), make(0), shape=(0,), strides=(1,), offset=0),
    ],
    view_scatter,
    large=lambda make: call(make(*LARGE), make(517, 100), shape=(517, 100), strides=(259, 2), offset=3),
    contiguous_only=CONTIGUOUS,
)

# ---- moves ----

add(
    "concat",
    lambda m: [call([m(2, 3), m(1, 3), m(0, 3)]), call([m(2, 3), m(2, 1)], axis=-1), call([m(0)])],
    lambda arrays, axis=0: np.concatenate(arrays, axis),
    large=lambda m: call([m(*LARGE), m(*LARGE)], axis=1),
    no_rank0="there is no axis to join",
)
add(
    "stack",
    lambda m: [call([m(2, 3), m(2, 3)]), call([m(2, 3), m(2, 3)], axis=-1), call([m(), m()]), call([m(0), m(0)])],
    lambda arrays, axis=0: np.stack(arrays, axis),
    large=lambda m: call([m(*LARGE), m(*LARGE)], axis=1),
)
add(
    "tile",
    lambda m: [
        call(m(2, 3), repetitions=(2, 2)),
        call(m(2), repetitions=(3, 1)),
        call(m(), repetitions=(2,)),
        call(m(0, 2), repetitions=(2,)),
    ],
    lambda x, repetitions: np.tile(x, repetitions),
    large=lambda m: call(m(*LARGE), repetitions=(2, 1)),
)
add(
    "roll",
    lambda m: [
        call(m(3, 4), shift=(1, -2), axis=(0, 1)),
        call(m(3, 4), shift=(5,)),
        call(m(), shift=(1,)),
        call(m(0, 2), shift=(1,), axis=(0,)),
    ],
    lambda x, shift, axis=None: np.roll(x, shift[0] if axis is None else shift, axis),
    large=lambda m: call(m(*LARGE), shift=(3, 5), axis=(0, 1)),
)
add(
    "repeat",
    lambda m: [
        call(m(2, 3), repeats=2, axis=1),
        call(m(2, 3), repeats=3),
        call(m(), repeats=2),
        call(m(0, 2), repeats=2, axis=0),
    ],
    lambda x, repeats, axis=None: np.repeat(x, repeats, axis),
    large=lambda m: call(m(*LARGE), repeats=2, axis=0),
)
for name, function in (("tril", np.tril), ("triu", np.triu)):
    add(
        name,
        lambda m: [call(m(3, 4)), call(m(2, 3, 3), k=1), call(m(4, 3), k=-1), call(m(0, 3))],
        lambda x, k=0, f=function: f(x, k),
        large=lambda m: call(m(*LARGE)),
        no_rank0="a triangle lies in two axes",
    )


NUMPY_PAD_MODES = {"replicate": "edge", "circular": "wrap"}


def pad_pairs(width: Any, rank: int) -> list[tuple[int, int]]:
    """Return a pair for each axis; `width` is one number, a pair, or the pairs of all axes in a row."""
    flat = [width, width] if isinstance(width, int) else list(width)
    flat = flat * 2 if len(flat) == 1 else flat
    return [tuple(flat)] * rank if len(flat) == 2 else [(flat[2 * i], flat[2 * i + 1]) for i in range(rank)]


def pad(x: Array, pad_width: Any, mode: str = "constant", value: Any = 0) -> Array:
    mode = NUMPY_PAD_MODES.get(mode, mode)
    more = {"constant_values": value} if mode == "constant" else {}
    return np.pad(x, pad_pairs(pad_width, x.ndim), mode, **more) if x.ndim else x.copy()


def pad_adjoint(g: Array, pad_width: Any, mode: str, shape: Sequence[int]) -> Array:
    out = np.zeros(shape, g.dtype)
    np.add.at(out.reshape(-1), pad(np.arange(out.size).reshape(shape), pad_width, mode).reshape(-1), g.reshape(-1))
    return out


PAD_MODES = ("reflect", "symmetric", "edge", "replicate", "wrap", "circular")
add(
    "pad",
    lambda m: [
        call(m(3, 5), pad_width=1),
        call(m(3, 5), pad_width=(1, 2), value=True if m.dtype == "bool" else 3),
        call(m(2, 3, 4), pad_width=(0, 1, 2, 0, 3, 1)),
        *[call(m(2, 3, 4), pad_width=(3, 2, 1, 0, 0, 2), mode=mode) for mode in PAD_MODES],
        *[call(m(3, 4), pad_width=9, mode=mode) for mode in PAD_MODES],
        *[call(m(1, 2), pad_width=(3, 1), mode=mode) for mode in PAD_MODES],
        call(m(), pad_width=2),
        call(m(0, 2), pad_width=(1, 1, 0, 3)),
    ],
    pad,
    large=lambda m: call(m(*LARGE), pad_width=(3, 5), mode="reflect"),
)
add(
    "pad_adjoint",
    lambda m: [
        *[call(m(7, 4, 6), pad_width=(3, 2, 1, 0, 0, 2), mode=mode, shape=(2, 3, 4)) for mode in PAD_MODES],
        *[call(m(21, 22), pad_width=9, mode=mode, shape=(3, 4)) for mode in PAD_MODES],
        call(m(0, 2), pad_width=0, mode="wrap", shape=(0, 2)),
        call(m(), pad_width=2, mode="edge", shape=()),
    ],
    pad_adjoint,
    large=lambda m: call(m(525, 267), pad_width=(3, 5), mode="reflect", shape=LARGE),
)

"""Pooling and what lays windows out as columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from samples.convolution import NO_IMAGE_RANK0
from samples.rows import Array, Make, Sample, add, call


def windows(
    size: Sequence[int],
    kernel_size: Sequence[int] = (),
    stride: Any = None,
    padding: Any = None,
    dilation: Any = None,
    ceil_mode: bool = False,
    output_size: Sequence[int] = (),
) -> list[list[tuple[list[int], int]]]:
    """Return, for each axis and each window on it, its places in the image and its length in the padded one."""
    if output_size:
        parts = zip(size, output_size, strict=True)
        both = [[list(range(o * n // m, -(-(o + 1) * n // m))) for o in range(m)] for n, m in parts]
        return [[(inside, len(inside)) for inside in axis] for axis in both]
    out, ones, zeros = [], [1] * len(size), [0] * len(size)
    for n, k, s, p, d in zip(size, kernel_size, stride or kernel_size, padding or zeros, dilation or ones, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1
        whole = [[o * s + i * d - p for i in range(k) if o * s + i * d < n + 2 * p] for o in range(count)]
        out.append([([at for at in window if 0 <= at < n], len(window)) for window in whole])
    return out


def axes_of(attrs: dict[str, Any]) -> int:
    return len(attrs.get("output_size") or attrs["kernel_size"])


def max_places(x: Array, **attrs: Any) -> Array:
    """Return for each window the flat position, in its image, of the first of its largest elements."""
    axes = axes_of(attrs)
    lead, size = x.shape[:-axes], x.shape[-axes:]
    along = windows(size, **{k: v for k, v in attrs.items() if k != "return_indices"})
    at = np.zeros((*lead, *map(len, along)), np.int64)
    for position in np.ndindex(*map(len, along)):
        inside = np.ravel_multi_index(
            np.meshgrid(*[along[i][o][0] for i, o in enumerate(position)], indexing="ij"), size
        ).reshape(-1)
        values = x.reshape(*lead, math.prod(size))[..., inside]
        at[(..., *position)] = inside[np.argmax(values, axis=-1)] if x.size else 0
    return at


def max_pool_gather(v: Array, x: Array, **attrs: Any) -> Array:
    at, axes = max_places(x, **attrs), axes_of(attrs)
    lead = v.shape[:-axes]
    flat, places = (t.reshape(*lead, math.prod(t.shape[-axes:])) for t in (v, at))
    return np.take_along_axis(flat, places, axis=-1).reshape(at.shape)


def max_pool(x: Array, **attrs: Any) -> Any:
    values = max_pool_gather(x, x, **attrs)
    return (values, max_places(x, **attrs)) if attrs.get("return_indices") else values


def max_pool_grad(g: Array, x: Array, **attrs: Any) -> Array:
    at, out, axes = max_places(x, **attrs), np.zeros_like(x), axes_of(attrs)
    for position in np.ndindex(at.shape):
        out[position[:-axes]].reshape(-1)[at[position]] += g[position]
    return out


def averages(
    size: Sequence[int], count_include_pad: bool = True, divisor_override: int | None = None, **attrs: Any
) -> Array:
    """Return the matrix, of shape (*results, *size), that takes an image to its averages."""
    along = windows(size, **attrs)
    matrix = np.zeros((*map(len, along), *size))
    for position in np.ndindex(*map(len, along)):
        inside = [along[i][o] for i, o in enumerate(position)]
        count = math.prod(whole if count_include_pad else len(places) for places, whole in inside)
        matrix[position][np.ix_(*[places for places, _ in inside])] = 1.0 / (divisor_override or count)
    return matrix


def avg_pool(x: Array, **attrs: Any) -> Array:
    axes = axes_of(attrs)
    return np.tensordot(x, averages(x.shape[-axes:], **attrs), (range(-axes, 0), range(axes, 2 * axes)))


def avg_pool_grad(g: Array, input_size: Sequence[int], **attrs: Any) -> Array:
    axes = axes_of(attrs)
    return np.tensordot(g, averages(input_size, **attrs), (range(-axes, 0), range(axes)))


# By the number of axes: the size of the image, and windows in it.
POOL_SIZES: dict[int, tuple[int, ...]] = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}
MAX_POOLS: dict[int, list[dict[str, Any]]] = {
    1: [{"kernel_size": (2,)}, {"kernel_size": (3,), "stride": (2,), "padding": (1,), "ceil_mode": True}],
    2: [
        {"kernel_size": (2, 2)},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), "ceil_mode": True},
        {"kernel_size": (2, 2), "stride": (1, 1), "dilation": (2, 2)},
    ],
    3: [
        {"kernel_size": (2, 2, 2)},
        {"kernel_size": (2, 3, 2), "stride": (1, 2, 1), "padding": (1, 1, 0), "dilation": (2, 1, 2)},
    ],
}
AVG_POOLS: dict[int, list[dict[str, Any]]] = {
    1: [{"kernel_size": (2,)}, {"kernel_size": (3,), "stride": (2,), "padding": (1,), "ceil_mode": True}],
    2: [
        {"kernel_size": (2, 2)},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), "count_include_pad": False},
        {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True},
    ],
    3: [
        {"kernel_size": (2, 2, 2), "divisor_override": 3},
        {"kernel_size": (2, 3, 2), "stride": (1, 2, 1), "padding": (1, 1, 0), "count_include_pad": False},
    ],
}
ADAPTIVE: dict[int, list[dict[str, Any]]] = {
    1: [{"output_size": (4,)}, {"output_size": (1,)}],
    2: [{"output_size": (3, 6)}, {"output_size": (1, 1)}],
    3: [{"output_size": (2, 3, 4)}, {"output_size": (1, 1, 1)}],
}
# Of a gradient's attributes, which list no defaults that depend on the number of axes.
PLAIN_WINDOW: dict[str, Any] = {"padding": (0, 0), "dilation": (1, 1)}


def pooled(size: Sequence[int], attrs: dict[str, Any]) -> list[int]:
    words = ("count_include_pad", "divisor_override", "return_indices", "input_size")
    return [len(axis) for axis in windows(size, **{k: v for k, v in attrs.items() if k not in words})]


def apart(make: Make, *shape: int) -> Array:
    """Return operands for a maximum: where it is differentiated, no two so near that a step could swap them."""
    if not make.interior:
        return make(*shape)
    return make.rng.permutation(np.linspace(-2.0, 2.0, math.prod(shape))).reshape(shape).astype(make.dtype)


NO_POOL_SPECIALS = "the averages' oracle is a product with zeros; the family's own tests look at NaN"
ONE_NAN = "which of several NaN wins cannot be told from the result; the family's own tests look at one"


def pools(axes: int) -> None:
    """Add the rows of the pools of so many axes."""
    size, large_size = POOL_SIZES[axes], {1: (1024,), 2: (32, 32), 3: (8, 12, 12)}[axes]

    def samples(cases: list[dict[str, Any]]) -> Callable[[Make], list[Sample]]:
        return lambda make: [
            *(call(apart(make, 2, 3, *size), **attrs) for attrs in cases),
            call(apart(make, 3, *size), **cases[0]),
            call(make(0, 3, *size), **cases[0]),
        ]

    def large(attrs: dict[str, Any]) -> Callable[[Make], Sample]:
        return lambda make: call(make(8, 16, *large_size), **attrs)

    indices = [{**MAX_POOLS[axes][1], "return_indices": True}]
    adaptive_indices = [{**ADAPTIVE[axes][0], "return_indices": True}]
    add(
        f"max_pool{axes}d",
        samples([*MAX_POOLS[axes], *indices]),
        max_pool,
        large=large({"kernel_size": (2,) * axes}),
        no_rank0=NO_IMAGE_RANK0,
        no_specials=ONE_NAN,
    )
    add(
        f"adaptive_max_pool{axes}d",
        samples([*ADAPTIVE[axes], *adaptive_indices]),
        max_pool,
        large=large({"output_size": (3,) * axes}),
        no_rank0=NO_IMAGE_RANK0,
        no_specials=ONE_NAN,
    )
    add(
        f"avg_pool{axes}d",
        samples(AVG_POOLS[axes]),
        avg_pool,
        large=large({"kernel_size": (2,) * axes}),
        no_rank0=NO_IMAGE_RANK0,
        no_specials=NO_POOL_SPECIALS,
    )
    add(
        f"adaptive_avg_pool{axes}d",
        samples(ADAPTIVE[axes]),
        avg_pool,
        large=large({"output_size": (3,) * axes}),
        no_rank0=NO_IMAGE_RANK0,
        no_specials=NO_POOL_SPECIALS,
    )


for number in (1, 2, 3):
    pools(number)


def gradient_cases(cases: dict[int, list[dict[str, Any]]], words: Sequence[str]) -> list[tuple[Any, dict[str, Any]]]:
    """Return sizes, and attributes with all that a gradient must be told, of plain and adaptive windows."""
    both = [
        (POOL_SIZES[axes], {**{w: PLAIN_WINDOW[w][:1] * axes for w in words}, **attrs})
        for axes in (1, 2, 3)
        for attrs in cases[axes]
    ]
    return both + [(POOL_SIZES[axes], {"kernel_size": (), **attrs}) for axes in (1, 2, 3) for attrs in ADAPTIVE[axes]]


MAX_GRADS = gradient_cases(MAX_POOLS, ("padding", "dilation"))
AVG_GRADS = gradient_cases(AVG_POOLS, ("padding",))
WIDE_MAX: dict[str, Any] = {"kernel_size": (2, 2), **PLAIN_WINDOW}
add(
    "max_pool_grad",
    lambda make: [
        *(call(make(2, 3, *pooled(size, attrs)), apart(make, 2, 3, *size), **attrs) for size, attrs in MAX_GRADS),
        call(make(0, 3, 3, 3), make(0, 3, 7, 6), **WIDE_MAX),
    ],
    max_pool_grad,
    large=lambda make: call(make(8, 16, 16, 16), make(8, 16, 32, 32), **WIDE_MAX),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)
add(
    "max_pool_gather",
    lambda make: [
        *(call(make(2, 3, *size), apart(make, 2, 3, *size), **attrs) for size, attrs in MAX_GRADS),
        call(make(0, 3, 7, 6), make(0, 3, 7, 6), **WIDE_MAX),
    ],
    max_pool_gather,
    large=lambda make: call(make(8, 16, 32, 32), make(8, 16, 32, 32), **WIDE_MAX),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)
add(
    "avg_pool_grad",
    lambda make: [
        *(call(make(2, 3, *pooled(size, attrs)), input_size=size, **attrs) for size, attrs in AVG_GRADS),
        call(make(0, 3, 3, 3), input_size=(7, 6), kernel_size=(2, 2), padding=(0, 0)),
    ],
    avg_pool_grad,
    large=lambda make: call(make(8, 16, 16, 16), input_size=(32, 32), kernel_size=(2, 2), padding=(0, 0)),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)


def column_places(size: Sequence[int], **attrs: Any) -> Array:
    """Return the matrix, of shape (taps, windows, *size), that takes an image to its columns."""
    kernel = attrs["kernel_size"]
    dilation, padding, stride = ((attrs.get(k) or (d, d)) for k, d in (("dilation", 1), ("padding", 0), ("stride", 1)))
    counts = [(size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    matrix = np.zeros((*kernel, *counts, *size))
    for tap in np.ndindex(*kernel, *counts):
        at = [tap[i] * dilation[i] + tap[2 + i] * stride[i] - padding[i] for i in (0, 1)]
        if all(0 <= at[i] < size[i] for i in (0, 1)):
            matrix[(*tap, *at)] = 1.0
    return matrix.reshape(math.prod(kernel), math.prod(counts), *size)


def im2col(x: Array, **attrs: Any) -> Array:
    cut = np.tensordot(x, column_places(x.shape[-2:], **attrs), ((-2, -1), (2, 3)))  # (..., c, taps, windows)
    return cut.reshape(*x.shape[:-3], x.shape[-3] * cut.shape[-2], cut.shape[-1])


def col2im(x: Array, output_size: Sequence[int], **attrs: Any) -> Array:
    matrix = column_places(output_size, **attrs)
    parts = x.reshape(*x.shape[:-2], x.shape[-2] // matrix.shape[0], *matrix.shape[:2])
    return np.tensordot(parts, matrix, ((-2, -1), (0, 1)))


COLUMNS: list[dict[str, Any]] = [
    {"kernel_size": (2, 3)},
    {"kernel_size": (3, 2), "dilation": (2, 1), "padding": (2, 1), "stride": (1, 2)},
]
add(
    "im2col",
    lambda make: [
        *(call(make(2, 3, 7, 6), **attrs) for attrs in COLUMNS),
        call(make(3, 7, 6), **COLUMNS[0]),
        call(make(0, 3, 7, 6), **COLUMNS[0]),
    ],
    im2col,
    large=lambda make: call(make(4, 16, 32, 32), kernel_size=(3, 3)),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)
add(
    "col2im",
    lambda make: [
        call(make(2, 18, 24), output_size=(7, 6), **COLUMNS[0]),
        call(make(2, 18, 28), output_size=(7, 6), **COLUMNS[1]),
        call(make(18, 24), output_size=(7, 6), **COLUMNS[0]),
        call(make(0, 18, 24), output_size=(7, 6), **COLUMNS[0]),
    ],
    col2im,
    large=lambda make: call(make(4, 144, 900), output_size=(32, 32), kernel_size=(3, 3)),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)

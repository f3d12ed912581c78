"""Reductions and scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from samples.rows import ALL, COMPLEX, FLOATS, INTEGERS, LARGE, Array, Make, Sample, add, call

# ---- reductions ----

AXES: list[dict[str, Any]] = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}]


def reduction(
    op: str,
    oracle: Callable[..., Array],
    *,
    identity: bool = True,
    low: float = -2.0,
    high: float = 2.0,
    axes: list[dict[str, Any]] = AXES,
    **facts: Any,
) -> None:
    """Add the row of a reduction; one without an identity reduces no empty axis."""

    def samples(make: Make) -> list[Sample]:
        draw = lambda *shape: make(*shape, low=low, high=high)  # noqa: E731
        out = [call(draw(3, 4, 5), **attrs) for attrs in axes]
        if not make.interior:
            out += [call(draw()), call(draw(60)), call(draw(0, 3), axis=0) if identity else call(draw(0, 3), axis=1)]
        return out

    add(op, samples, oracle, large=lambda make: call(make(*LARGE, low=low, high=high)), **facts)


def sum_oracle(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    if x.dtype.kind in "bui":
        x = x.astype(np.uint64 if x.dtype.kind == "u" else np.int64)
    return np.sum(x, axis=axis, keepdims=keepdims)


ROUGH = "elements that lie otherwise are added in another order"
EVERY_REAL = ["bool", *INTEGERS, *FLOATS]
ONE_AXIS: list[dict[str, Any]] = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}]
reduction("sum", sum_oracle, dtypes=ALL, rough_layouts=ROUGH)
reduction(
    "prod",
    lambda x, **a: np.prod(x, **a),
    low=0.9,
    high=1.1,
    dtypes=[*INTEGERS, *FLOATS, *COMPLEX],
    scale=16.0,
    rough_layouts=ROUGH,
)
reduction("mean", lambda x, **a: np.mean(x, **a), identity=False, dtypes=ALL, rough_layouts=ROUGH)
reduction(
    "var",
    lambda x, correction=0.0, **a: np.var(x, ddof=correction, **a),
    identity=False,
    axes=[*AXES, {"axis": 1, "correction": 1.0}],
    rough_layouts=ROUGH,
)
reduction(
    "std",
    lambda x, correction=0.0, **a: np.std(x, ddof=correction, **a),
    identity=False,
    axes=[*AXES[1:], {"axis": 1, "correction": 1.0}],
    rough_layouts=ROUGH,
)
reduction("max", lambda x, **a: np.max(x, **a), identity=False)
reduction("min", lambda x, **a: np.min(x, **a), identity=False)
reduction("argmax", lambda x, **a: np.argmax(x, **a), identity=False, axes=ONE_AXIS)
reduction("argmin", lambda x, **a: np.argmin(x, **a), identity=False, axes=ONE_AXIS)
reduction("any", lambda x, **a: np.any(x, **a))
reduction("all", lambda x, **a: np.all(x, **a))
reduction("count_nonzero", lambda x, **a: np.count_nonzero(x, **a))


def sum_to(x: Array, shape: Sequence[int]) -> Array:
    lead = x.ndim - len(shape)
    axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1))
    return np.sum(x, axis=axes, keepdims=True).reshape(shape)


add(
    "sum_to",
    lambda make: [
        call(make(3, 4, 5), shape=(4, 1)),
        call(make(3, 4), shape=()),
        call(make(3, 4), shape=(3, 4)),
        call(make(), shape=()),
        call(make(0, 4), shape=(1, 4)),
    ],
    sum_to,
    large=lambda make: call(make(*LARGE), shape=(LARGE[0], 1)),
    rough_layouts=ROUGH,
)

# ---- scans ----


def cumulative(function: Callable[..., Array], start: int) -> Callable[..., Array]:
    def oracle(x: Array, axis: int | None = None, include_initial: bool = False) -> Array:
        axis = 0 if axis is None else axis
        x = x.astype(np.int64 if x.dtype == bool else x.dtype)
        first = np.full([1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)], start, x.dtype)
        out = function(x, axis=axis)
        return np.concatenate([first.astype(out.dtype), out], axis) if include_initial else out

    return oracle


def extreme(greatest: bool) -> Callable[..., tuple[Array, Array]]:
    def oracle(x: Array, axis: int = -1) -> tuple[Array, Array]:
        lines = np.moveaxis(x, axis, -1)
        values, at = lines.copy(), np.zeros(lines.shape, np.int64)
        for line in np.ndindex(lines.shape[:-1]):
            best = 0
            for i, v in enumerate(lines[line]):
                top = lines[line][best]
                if v != v or (top == top and (v >= top if greatest else v <= top)):
                    best = i
                values[(*line, i)], at[(*line, i)] = lines[line][best], best
        return np.moveaxis(values, -1, axis), np.moveaxis(at, -1, axis)

    return oracle


def logcumsumexp(x: Array, axis: int = -1) -> Array:
    return np.logaddexp.accumulate(x.astype(np.float64), axis)


def linear_scan(a: Array, b: Array, axis: int = -1) -> Array:
    a, b = np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)
    y = b.copy()
    for i in range(1, y.shape[-1]):
        y[..., i] = a[..., i] * y[..., i - 1] + b[..., i]
    return np.moveaxis(y, -1, axis)


NO_SCAN_AXIS = "there is no axis to go along"
for name, oracle in (("cumulative_sum", cumulative(np.cumsum, 0)), ("cumulative_prod", cumulative(np.cumprod, 1))):
    add(
        name,
        lambda m: [
            call(m(7)),
            call(m(3, 5, 2), axis=1),
            call(m(4, 3), axis=-1, include_initial=True),
            call(m(4, 3), axis=0, include_initial=True),
            call(m(0)),
            call(m(2, 0, 3), axis=1, include_initial=True),
        ],
        oracle,
        large=lambda m: call(m(*LARGE), axis=0),
        dtypes=[d for d in ALL if d != "bool"],
        no_rank0=NO_SCAN_AXIS,
    )
for name, greatest in (("cummax", True), ("cummin", False)):
    add(
        name,
        lambda m: [call(m(3, 7)), call(m(3, 7), axis=0), call(m(2, 4, 3), axis=-2), call(m(0, 2)), call(m(2, 0))],
        extreme(greatest),
        large=lambda m: call(m(*LARGE)),
        no_rank0=NO_SCAN_AXIS,
    )
add(
    "logcumsumexp",
    lambda m: [call(m(3, 7)), call(m(3, 7), axis=0), call(m(2, 4, 3), axis=-2), call(m(0, 2)), call(m(2, 0))],
    logcumsumexp,
    large=lambda m: call(m(*LARGE)),
    no_rank0=NO_SCAN_AXIS,
)
add(
    "linear_scan",
    lambda m: [call(m(3, 7), m(3, 7)), call(m(5, 3), m(5, 3), axis=0), call(m(0, 2), m(0, 2)), call(m(2, 0), m(2, 0))],
    linear_scan,
    large=lambda m: call(m(*LARGE, low=-0.9, high=0.9), m(*LARGE)),
    no_rank0=NO_SCAN_AXIS,
)

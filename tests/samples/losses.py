"""Softmax and losses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

import gorgo as gg
from samples.reductions import ROUGH
from samples.rows import EPS, LARGE, REGISTRY, ROWS, SPACINGS, Array, Make, Sample, add, call, round_to_bfloat16, widen


def softmax_backward(g: Array, y: Array, axis: int = -1) -> Array:
    return y * (g - np.sum(g * y, axis=axis, keepdims=True))


def log_softmax_backward(g: Array, y: Array, axis: int = -1) -> Array:
    return g - np.exp(y) * np.sum(g, axis=axis, keepdims=True)


def along(*rest: dict[str, Any]) -> Callable[[Make], list[Sample]]:
    return lambda make: [
        call(make(3, 5)),
        call(make(2, 4, 3), axis=1),
        *(call(make(2, 4, 3), **attrs) for attrs in rest),
        call(make(0, 3)),
    ]


SOFTMAX_RANK0 = "there is no axis to normalize over"
SOFTMAX_SPECIALS = (
    "the oracles give NaN for a line with an infinity in other ways; the family's own tests look at these"
)
for name, oracle in (("softmax", scipy.special.softmax), ("log_softmax", scipy.special.log_softmax)):
    add(
        name,
        along({"axis": 0}),
        lambda x, axis=-1, oracle=oracle: oracle(x, axis=axis),
        scale=8.0,
        large=lambda make: call(make(*LARGE)),
        no_rank0=SOFTMAX_RANK0,
        no_specials=SOFTMAX_SPECIALS,
        rough_layouts=ROUGH,
    )
add(
    "logsumexp",
    along({"axis": 0, "keepdims": True}),
    lambda x, axis=-1, keepdims=False: scipy.special.logsumexp(x, axis=axis, keepdims=keepdims),
    scale=8.0,
    large=lambda make: call(make(*LARGE)),
    no_rank0=SOFTMAX_RANK0,
    no_specials=SOFTMAX_SPECIALS,
    rough_layouts=ROUGH,
)
for name, function in (("softmax_backward", softmax_backward), ("log_softmax_backward", log_softmax_backward)):
    low = 0.0 if name == "softmax_backward" else -2.0
    add(
        name,
        lambda make, low=low: [
            call(make(3, 5), make(3, 5, low=low, high=0.5)),
            call(make(2, 4, 3), make(2, 4, 3, low=low, high=0.5), axis=1),
            call(make(0, 3), make(0, 3)),
        ],
        function,
        large=lambda make, low=low: call(make(*LARGE), make(*LARGE, low=low, high=0.5)),
        scale=8.0,
        no_rank0=SOFTMAX_RANK0,
        no_specials=SOFTMAX_SPECIALS,
        rough_layouts=ROUGH,
    )


def cross_entropy(
    logits: Array, target: Array, reduction: str = "mean", ignore_index: int = -100, label_smoothing: float = 0.0
) -> Array:
    axis = 0 if logits.ndim == 1 else 1
    classes = logits.shape[axis]
    lines = scipy.special.log_softmax(logits, axis=axis)
    kept = target != ignore_index
    picked = np.take_along_axis(lines, np.expand_dims(np.where(kept, target, 0), axis), axis=axis).squeeze(axis)
    losses = -(1.0 - label_smoothing) * picked - label_smoothing / classes * lines.sum(axis=axis)
    losses = np.where(kept, losses, 0.0)
    if reduction == "none":
        return losses
    return losses.sum() / (kept.sum() if reduction == "mean" else 1.0)


def cross_entropy_backward(logits: Array, target: Array, g: Array, **attrs: Any) -> Array:
    """By differences of the loss, one logit at a time."""
    out, h = np.zeros_like(logits), 1e-4
    for i in range(logits.size):

        def at(k: int, i: int = i) -> Array:
            moved = logits.copy()
            moved.reshape(-1)[i] += k * h
            return cross_entropy(moved, target, **attrs)

        out.reshape(-1)[i] = np.sum(g * (8 * (at(1) - at(-1)) - (at(2) - at(-2)))) / (12 * h)
    return out


def labels(make: Make, *shape: int, classes: int, ignored: bool = False) -> Array:
    target = make.rng.integers(0, classes, shape)
    if ignored:
        target.reshape(-1)[::3] = -100
    return target


LOSS_SPECIALS = "lines with an infinity are looked at by the family's own tests"
add(
    "cross_entropy",
    lambda make: [
        call(make(6, 4), labels(make, 6, classes=4)),
        call(make(6, 4), labels(make, 6, classes=4, ignored=True), label_smoothing=0.2),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4, ignored=True), reduction="sum"),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4), reduction="none", label_smoothing=0.1),
        call(make(4), labels(make, classes=4)),
        call(make(0, 4), labels(make, 0, classes=4), reduction="sum"),
    ],
    cross_entropy,
    large=lambda make: call(make(700, 100), labels(make, 700, classes=100)),
    no_specials=LOSS_SPECIALS,
    scale=8.0,
    rough_layouts=ROUGH,
)
add(
    "cross_entropy_backward",
    lambda make: [
        call(make(6, 4), labels(make, 6, classes=4, ignored=True), make(), label_smoothing=0.2),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4), make(2, 3), reduction="none"),
        call(make(6, 4), labels(make, 6, classes=4), make(), reduction="sum"),
        call(make(0, 4), labels(make, 0, classes=4), make(), reduction="sum"),
    ],
    cross_entropy_backward,
    large=lambda make: call(make(700, 100), labels(make, 700, classes=100), make()),
    no_specials=LOSS_SPECIALS,
    scale=8.0,
    rough_layouts=ROUGH,
)
ROWS["cross_entropy_backward"].tolerance = lambda dtype: max(1e-9, 8.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]


def reduced(losses: Array, reduction: str) -> Array:
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)


def by_input(loss: Callable[..., Array], x: Array, *others: Array, **attrs: Any) -> Array:
    """Return sum(g * d loss / d x) by differences, one element of x at a time; g is the last operand."""
    *others_, g = others
    out, h = np.zeros_like(x), 1e-4
    for i in range(x.size):

        def at(k: int, i: int = i) -> Array:
            moved = x.copy()
            moved.reshape(-1)[i] += k * h
            return loss(moved, *others_, **attrs)

        out.reshape(-1)[i] = np.sum(g * (8 * (at(1) - at(-1)) - (at(2) - at(-2)))) / (12 * h)
    return out


POINTWISE: dict[str, Callable[..., Array]] = {
    "mse_loss": lambda d: d**2,
    "l1_loss": np.abs,
    "smooth_l1_loss": lambda d, beta=1.0: np.where(np.abs(d) < beta, d**2 / (2 * beta), np.abs(d) - beta / 2),
    "huber_loss": lambda d, delta=1.0: np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - delta / 2)),
}


def pointwise_loss(op: str) -> Callable[..., Array]:
    def loss(x: Array, t: Array, reduction: str = "mean", **attrs: Any) -> Array:
        if op == "binary_cross_entropy_with_logits":
            return reduced(np.logaddexp(0.0, x) - t * x, reduction)
        return reduced(POINTWISE[op](x - t, **attrs), reduction)

    return loss


for name, extra in (
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.5}),
    ("huber_loss", {"delta": 0.7}),
    ("binary_cross_entropy_with_logits", {}),
):
    # Inputs above targets by quarters that are no kinks, so that differences may be taken.
    def pair(make: Make, *shape: int) -> list[Array]:
        steps = make.rng.integers(-6, 6, shape) / 4 + 0.125
        t = np.asarray(np.abs(make(*shape, low=0.0, high=1.0)))
        x = (np.asarray(widen(t)) + steps).astype(np.float64)
        x = round_to_bfloat16(x) if make.dtype == "bfloat16" else x.astype(make.dtype)
        return [np.asarray(x), t]

    add(
        name,
        lambda make, extra=extra, pair=pair: [
            call(*pair(make, 5, 7), **extra),
            call(*pair(make, 3, 40), reduction="sum"),
            call(*pair(make, 2, 3, 4), reduction="none", **extra),
            call(*pair(make)),
            call(*pair(make, 0, 2), reduction="sum"),
        ],
        pointwise_loss(name),
        large=lambda make, extra=extra, pair=pair: call(*pair(make, *LARGE), **extra),
        scale=8.0,
        no_specials="what NaN and infinities give in a sum is looked at by the family's own tests",
    )
    add(
        name + "_backward",
        lambda make, extra=extra, pair=pair: [
            call(*pair(make, 5, 7), make(), **extra),
            call(*pair(make, 2, 3), make(2, 3), reduction="none", **extra),
            call(*pair(make, 2, 3), make(), reduction="sum"),
            call(*pair(make, 0, 2), make(), reduction="sum"),
        ],
        functools.partial(by_input, pointwise_loss(name)),
        large=lambda make, extra=extra, pair=pair: call(*pair(make, *LARGE), make(), **extra),
        scale=8.0,
        no_specials="its operands come from an op that has been there already",
    ).tolerance = lambda dtype: max(1e-9, 8.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]


def nll_loss(x: Array, target: Array, reduction: str = "mean", ignore_index: int = -100) -> Array:
    axis = 0 if x.ndim == 1 else 1
    kept = target != ignore_index
    picked = np.take_along_axis(x, np.expand_dims(np.where(kept, target, 0), axis), axis=axis).squeeze(axis)
    losses = np.where(kept, -picked, 0.0)
    if reduction == "none":
        return losses
    return losses.sum() / (kept.sum() if reduction == "mean" else 1.0)


add(
    "nll_loss",
    lambda make: [
        call(make(6, 4), labels(make, 6, classes=4)),
        call(make(6, 4), labels(make, 6, classes=4, ignored=True)),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4, ignored=True), reduction="sum"),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4), reduction="none"),
        call(make(4), labels(make, classes=4)),
        call(make(0, 4), labels(make, 0, classes=4), reduction="sum"),
    ],
    nll_loss,
    large=lambda make: call(make(40, 100, 700), labels(make, 40, 700, classes=100)),
    no_specials=LOSS_SPECIALS,
    scale=8.0,
)
add(
    "nll_loss_backward",
    lambda make: [
        call(make(6, 4), labels(make, 6, classes=4, ignored=True), make()),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4), make(2, 3), reduction="none"),
        call(make(6, 4), labels(make, 6, classes=4), make(), reduction="sum"),
        call(make(0, 4), labels(make, 0, classes=4), make(), reduction="sum"),
    ],
    functools.partial(by_input, nll_loss),
    large=lambda make: call(make(40, 100, 700), labels(make, 40, 700, classes=100), make()),
    no_specials=LOSS_SPECIALS,
    scale=8.0,
).tolerance = lambda dtype: max(1e-9, 8.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]


def alignments(x: Array, labels: Sequence[int], blank: int) -> Array:
    """Return minus the logarithm of the summed weights of all paths that read `labels`, by going through every path."""
    times, classes = x.shape
    total = -np.inf
    for path in np.ndindex(*(classes,) * times):
        merged = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
        if [c for c in merged if c != blank] == list(labels):
            total = np.logaddexp(total, sum(x[t, c] for t, c in enumerate(path)))
    return np.asarray(-total)


def ctc_loss(
    x: Array,
    targets: Array,
    times: Array,
    counts: Array,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:
    starts = np.cumsum(counts) - counts
    losses = np.zeros(x.shape[1])
    for n in range(x.shape[1]):
        line = targets[n] if targets.ndim == 2 else targets[starts[n] :]
        losses[n] = alignments(x[: times[n], n], [int(k) for k in line[: counts[n]]], blank)
    if zero_infinity:
        losses[np.isinf(losses)] = 0.0
    if reduction == "mean":
        return np.mean(losses / np.maximum(counts, 1))
    return losses.sum() if reduction == "sum" else losses


def ctc_gradient(x: Array, targets: Array, times: Array, counts: Array, g: Array, **attrs: Any) -> Array:
    return by_input(ctc_loss, x, targets, times, counts, g, **attrs)


def ctc_curvature(x: Array, targets: Array, times: Array, counts: Array, g: Array, h: Array, **attrs: Any) -> Array:
    """By differences of the gradient of our own, whose row stands for itself."""

    def at(k: float) -> Array:
        moved = [gg.asarray(v) for v in (x + k * h, targets, times, counts, g)]
        return np.asarray(REGISTRY["ctc_loss_backward"](*moved, **attrs))

    return (8 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3


def ctc_case(make: Make, layout: int = 2) -> list[Array]:
    """Return four cases: a repeated label, one label, none, and fewer times than there are."""
    padded = np.array([[1, 1], [2, 0], [0, 0], [1, 2]])
    counts = np.array([2, 1, 0, 2])
    targets = padded if layout == 2 else np.concatenate([row[:n] for row, n in zip(padded, counts, strict=True)])
    return [make(4, 4, 3), targets, np.array([4, 4, 4, 3]), counts]


def long_ctc_case(make: Make) -> list[Array]:
    counts = make.rng.integers(0, 20, 20)
    return [make(60, 20, 9, low=-4.0, high=0.0), labels(make, 20, 20, classes=8) + 1, np.full(20, 60), counts]


CTC_RANK0 = "lengths are one for each case"
for name, oracle, extras in (
    ("ctc_loss", ctc_loss, 0),
    ("ctc_loss_backward", ctc_gradient, 1),
    ("ctc_loss_curvature", ctc_curvature, 2),
):

    def operands(make: Make, extras: int, n: tuple[int, ...], *case: Array) -> list[Array]:
        return [*case, *([make(*n)] if extras else []), *([make(*case[0].shape)] if extras > 1 else [])]

    add(
        name,
        lambda make, e=extras, operands=operands: [
            call(*operands(make, e, (), *ctc_case(make))),
            call(*operands(make, e, (4,), *ctc_case(make, 1)), reduction="none"),
            call(*operands(make, e, (), *ctc_case(make)), reduction="sum", zero_infinity=True),
            call(*operands(make, e, (), make(3, 1, 3), np.array([[0, 2]]), np.array([3]), np.array([2])), blank=1),
            call(
                *operands(
                    make, e, (), make(2, 0, 3), np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
                ),
                reduction="sum",
            ),
        ],
        oracle,
        large=lambda make, e=extras, operands=operands: call(*operands(make, e, (), *long_ctc_case(make))),
        no_rank0="" if name != "ctc_loss" else CTC_RANK0,
        no_specials="log-probabilities of nothing are looked at by the family's own tests",
        no_expanded="every case would be the same, with targets that are none",
        no_second="third derivatives of ctc_loss are not offered" if name == "ctc_loss_backward" else "",
    ).tolerance = lambda dtype: max(1e-8, 8.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]

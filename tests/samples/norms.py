"""Norms, against means and variances."""

from __future__ import annotations

import math

import numpy as np

from samples.rows import LARGE, Array, Make, Sample, add, call


def normalized(x: Array, axes: tuple[int, ...], eps: float, centered: bool = True) -> tuple[Array, Array]:
    """Return x with mean 0 and mean square 1 over the axes, and what it was multiplied by."""
    d = x - x.mean(axes, keepdims=True) if centered else x
    rstd = 1.0 / np.sqrt((d * d).mean(axes, keepdims=True) + eps)
    return d * rstd, rstd


def norm_gradients(
    g: Array, x: Array, w: Array, axes: tuple[int, ...], over: tuple[int, ...], eps: float, centered: bool = True
) -> tuple[Array, Array, Array]:
    """Return the gradients by x, weight and bias; `w` broadcasts against x, and stands on the axes not in `over`."""
    hat, rstd = normalized(x, axes, eps, centered)
    gw = g * w
    dx = gw - hat * (gw * hat).mean(axes, keepdims=True)
    if centered:
        dx = dx - gw.mean(axes, keepdims=True)
    return dx * rstd, (g * hat).sum(over), g.sum(over)


def channels_of(v: Array | None, x: Array, otherwise: float) -> Array:
    return np.full(1, otherwise) if v is None else v.reshape((-1,) + (1,) * (x.ndim - 2))


def affine(y: Array, x: Array, weight: Array | None, bias: Array | None) -> Array:
    return y * channels_of(weight, x, 1.0) + channels_of(bias, x, 0.0)


def layer_norm(x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5) -> Array:
    y = normalized(x, (-1,), eps)[0]
    return y * (1.0 if weight is None else weight) + (0.0 if bias is None else bias)


def rms_norm(x: Array, weight: Array | None = None, eps: float = 1e-5) -> Array:
    return normalized(x, (-1,), eps, False)[0] * (1.0 if weight is None else weight)


def channel_groups(x: Array, groups: int) -> Array:
    return x.reshape((x.shape[0], groups, x.shape[1] // groups, math.prod(x.shape[2:])))


def group_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, groups: int = 1, eps: float = 1e-5
) -> Array:
    return affine(normalized(channel_groups(x, groups), (2, 3), eps)[0].reshape(x.shape), x, weight, bias)


def batch_axes(x: Array) -> tuple[int, ...]:
    return tuple(i for i in range(x.ndim) if i != 1)


def batch_norm_train(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    num_batches: Array | None = None,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, ...]:
    y = affine(normalized(x, batch_axes(x), eps)[0], x, weight, bias)
    share = momentum if momentum is not None else 1.0 / (1 if num_batches is None else num_batches + 1)
    if running_mean is not None:
        running_mean = (1 - share) * running_mean + share * x.mean(batch_axes(x))
    if running_var is not None:
        running_var = (1 - share) * running_var + share * x.var(batch_axes(x), ddof=1)
    counted = None if num_batches is None else num_batches + 1
    return y, *(v for v in (x, weight, bias, running_mean, running_var, counted) if v is not None)


def batch_norm(
    x: Array, mean: Array, variance: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    return affine((x - channels_of(mean, x, 0.0)) / np.sqrt(channels_of(variance, x, 1.0) + eps), x, weight, bias)


def layer_norm_backward(g: Array, x: Array, weight: Array | None = None, eps: float = 1e-5) -> tuple[Array, ...]:
    return norm_gradients(g, x, np.ones(1) if weight is None else weight, (-1,), tuple(range(x.ndim - 1)), eps)


def rms_norm_backward(g: Array, x: Array, weight: Array | None = None, eps: float = 1e-5) -> tuple[Array, ...]:
    w = np.ones(1) if weight is None else weight
    return norm_gradients(g, x, w, (-1,), tuple(range(x.ndim - 1)), eps, False)[:2]


def group_norm_backward(
    g: Array, x: Array, weight: Array | None = None, groups: int = 1, eps: float = 1e-5
) -> tuple[Array, ...]:
    w = np.ones((1, 1, 1)) if weight is None else weight.reshape((groups, -1, 1))
    dx, dw, db = norm_gradients(channel_groups(g, groups), channel_groups(x, groups), w, (2, 3), (0, 3), eps)
    return dx.reshape(x.shape), dw.reshape(-1), db.reshape(-1)


def batch_norm_backward(g: Array, x: Array, weight: Array | None = None, eps: float = 1e-5) -> tuple[Array, ...]:
    return norm_gradients(g, x, channels_of(weight, x, 1.0), batch_axes(x), batch_axes(x), eps)


NORM_SPECIALS = "an infinity or NaN takes its whole line with it; the family's own tests look at that"
NORM_RANK0 = "there is no axis to normalize over"
NORM_SCALE = 16.0
add(
    "layer_norm",
    lambda m: [
        call(m(3, 5), m(5), m(5)),
        call(m(2, 3, 40), m(40), None, eps=0.25),
        call(m(7)),
        call(m(2, 9), None, m(9)),
        call(m(0, 3), m(3), m(3)),
    ],
    layer_norm,
    large=lambda m: call(m(*LARGE), m(LARGE[1]), m(LARGE[1])),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)
add(
    "rms_norm",
    lambda m: [call(m(3, 5), m(5)), call(m(2, 3, 40), eps=0.25), call(m(7), m(7)), call(m(0, 3), m(3))],
    rms_norm,
    large=lambda m: call(m(*LARGE), m(LARGE[1])),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)
add(
    "group_norm",
    lambda m: [
        call(m(3, 6), m(6), m(6), groups=2),
        call(m(2, 4, 5), m(4), m(4), groups=2),
        call(m(2, 4, 3, 7), m(4), None, groups=4, eps=0.25),
        call(m(2, 4, 3, 7), groups=1),
        call(m(0, 4, 3), m(4), m(4), groups=2),
    ],
    group_norm,
    large=lambda m: call(m(37, 32, 65), m(32), m(32), groups=4),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)


def batches(m: Make) -> list[Sample]:
    def running(c: int) -> list[Array]:
        return [] if m.interior else [m(c), m(c, low=0.5), np.array(3)]

    return [
        call(m(7, 5), m(5), m(5), *running(5)),
        call(m(3, 4, 5), m(4), m(4), *running(4), momentum=None),
        call(m(2, 3, 4, 9), None, m(3), *running(3)[:2], momentum=0.5, eps=0.25),
        call(m(6, 40)),
    ]


add(
    "batch_norm_train",
    batches,
    batch_norm_train,
    large=lambda m: call(m(37, 32, 65), m(32), m(32)),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    no_empty="a channel needs two values",
    no_expanded="only what it writes must have distinct elements; the family's own tests look at that",
    scale=NORM_SCALE,
)
add(
    "batch_norm",
    lambda m: [
        call(m(7, 5), m(5), m(5, low=0.5), m(5), m(5)),
        call(m(3, 4, 5), m(4), m(4, low=0.5)),
        call(m(2, 3, 4, 9), m(3), m(3, low=0.5), m(3), None, eps=0.25),
        call(m(0, 3, 2), m(3), m(3, low=0.5)),
    ],
    batch_norm,
    large=lambda m: call(m(37, 32, 65), m(32), m(32, low=0.5), m(32), m(32)),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)
for name, function in (("layer_norm_backward", layer_norm_backward), ("rms_norm_backward", rms_norm_backward)):
    add(
        name,
        lambda m: [
            call(m(3, 5), m(3, 5), m(5)),
            call(m(2, 3, 40), m(2, 3, 40), eps=0.25),
            call(m(7), m(7), m(7)),
            call(m(0, 3), m(0, 3), m(3)),
        ],
        function,
        large=lambda m: call(m(*LARGE), m(*LARGE), m(LARGE[1])),
        no_specials=NORM_SPECIALS,
        no_rank0=NORM_RANK0,
        scale=NORM_SCALE,
    )
add(
    "group_norm_backward",
    lambda m: [
        call(m(3, 6), m(3, 6), m(6), groups=2),
        call(m(2, 4, 5), m(2, 4, 5), m(4), groups=2),
        call(m(2, 4, 3, 7), m(2, 4, 3, 7), groups=4, eps=0.25),
        call(m(0, 4, 3), m(0, 4, 3), m(4), groups=2),
    ],
    group_norm_backward,
    large=lambda m: call(m(37, 32, 65), m(37, 32, 65), m(32), groups=4),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)
add(
    "batch_norm_backward",
    lambda m: [
        call(m(7, 5), m(7, 5), m(5)),
        call(m(3, 4, 5), m(3, 4, 5)),
        call(m(2, 3, 4, 9), m(2, 3, 4, 9), m(3), eps=0.25),
    ],
    batch_norm_backward,
    large=lambda m: call(m(37, 32, 65), m(37, 32, 65), m(32)),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    no_empty="a channel needs two values",
    scale=NORM_SCALE,
)

"""Creation, random numbers, and updates of optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from samples.rows import ALL, LARGE, Array, Make, Sample, add, call, mask

DEEP = "the bits are compared with an independent generator by the family's own tests"
NO_OPERAND = "it has no operand of that kind"
add(
    "full",
    lambda m: [call(shape=s, fill_value=m.dtype == "bool" or 3, dtype=m.dtype) for s in ((2, 3), (), (0, 2))],
    lambda shape, fill_value, dtype: np.full(shape, fill_value),  # noqa: ARG005
    large=lambda m: call(shape=LARGE, fill_value=m.dtype == "bool" or 3, dtype=m.dtype),
    no_specials=NO_OPERAND,
)
add(
    "to_device",
    lambda m: [call(m(*s), to_type=0, to_index=0, from_type=0, from_index=0) for s in ((2, 3), (), (0, 2))],
    lambda x, **_: x,
    dtypes=ALL,
    no_large="the driver copies",
)
add(
    "ramp",
    lambda m: [call(start=1, step=3, count=n, dtype=m.dtype) for n in (17, 0, 1)],
    lambda start, step, count, dtype: start + step * np.arange(count),  # noqa: ARG005
    large=lambda m: (
        call(start=1, step=1, count=100, dtype=m.dtype)
        if m.dtype in ("int8", "uint8")
        else call(start=1, step=0, count=100_000, dtype=m.dtype)
    ),
    no_specials=NO_OPERAND,
    no_rank0="it makes one axis",
)
add(
    "eye",
    lambda m: [
        call(rows=3, columns=4, dtype=m.dtype),
        call(rows=3, columns=3, k=-1, dtype=m.dtype),
        call(rows=0, columns=2, dtype=m.dtype),
    ],
    lambda rows, columns, dtype, k=0: np.eye(rows, columns, k, bool if dtype == "bool" else float),
    no_large="it is filled by one task",
    no_specials=NO_OPERAND,
    no_rank0="it makes a matrix",
)
add(
    "random_key",
    lambda m: [call(m.key())],
    lambda state: (state, state + np.array([0, 1], np.uint64)),
    no_large="it writes one number",
    no_empty="a state is two numbers",
    no_rank0="a state is two numbers",
)
for name, attrs in {
    "random_uniform": {"low": -1.0, "high": 2.0},
    "random_normal": {"mean": 1.0, "std": 2.0},
    "random_randint": {"low": 0, "high": 100},
    "random_bernoulli": {"p": 0.3},
}.items():

    def attrs_of(make: Make, name: str = name, attrs: dict[str, Any] = attrs) -> dict[str, Any]:
        return attrs if name == "random_bernoulli" else {**attrs, "dtype": make.dtype}

    add(
        name,
        lambda make, of=attrs_of: [call(make.key(), shape=shape, **of(make)) for shape in ((3, 5), (), (0, 2))],
        no_oracle=DEEP,
        large=lambda make, of=attrs_of: call(make.key(), shape=LARGE, **of(make)),
    )
add(
    "random_permutation",
    lambda m: [call(m.key(), n=n) for n in (10, 0, 1)],
    no_oracle=DEEP,
    large=lambda m: call(m.key(), n=100_000),
    no_rank0="it makes one axis",
)
for name, low, high in (
    ("random_bernoulli_each", 0.0, 1.0),
    ("random_geometric", 0.1, 1.0),
    ("random_poisson", 0.5, 30.0),
    ("random_gamma", 0.2, 5.0),
):

    def shapes_of(make: Make, low: float = low, high: float = high) -> list[Sample]:
        return [
            call(make.key(), make(3, 5, low=low, high=high)),
            call(make.key(), make(low=low, high=high)),
            call(make.key(), make(0, 2, low=low, high=high)),
            call(make.key(), make(3, 1, low=low, high=high), shape=(2, 3, 20)),
        ]

    add(
        name,
        shapes_of,
        no_oracle=DEEP,
        large=lambda make, low=low, high=high: call(make.key(), make(*LARGE, low=low, high=high)),
        no_differences="a rejected proposal makes a draw jump" if name == "random_gamma" else "",
    )
add(
    "random_gamma_slope",
    lambda m: [call(m(*shape, low=0.5, high=5.0), m(*shape, low=0.1, high=8.0)) for shape in ((3, 5), (), (0, 2))],
    no_oracle="the family's own tests compare it with differences of the incomplete gamma function",
    large=lambda m: call(m(*LARGE, low=0.5, high=5.0), m(*LARGE, low=0.1, high=8.0)),
)
add(
    "random_binomial",
    lambda m: [
        call(m.key(), np.ceil(m(3, 5, low=1.0, high=60.0)), m(5, low=0.0, high=1.0)),
        call(m.key(), np.ceil(m(low=1.0, high=60.0)), m(low=0.0, high=1.0)),
        call(m.key(), np.ceil(m(0, 2, low=1.0, high=60.0)), m(low=0.0, high=1.0)),
    ],
    no_oracle=DEEP,
    large=lambda m: call(m.key(), np.ceil(m(*LARGE, low=1.0, high=60.0)), m(LARGE[1], low=0.0, high=1.0)),
)
add(
    "random_parameter",
    lambda m: [
        call(m(*shape, low=0.5, high=5.0), of="exponential: scale", rule="positive and finite")
        for shape in ((3, 5), (), (0, 2))
    ],
    lambda x, **_: x,
    large=lambda m: call(m(*LARGE), of="laplace: loc", rule="finite"),
    no_specials="it refuses them",
)
add(
    "random_truncated_normal",
    lambda m: [call(m.key(), m(*s, low=-3.0, high=0.5), m(*s, low=1.0, high=4.0)) for s in ((3, 5), (), (0, 2))],
    no_oracle=DEEP,
    large=lambda m: call(m.key(), m(*LARGE, low=-3.0, high=0.5), m(*LARGE, low=1.0, high=4.0)),
    no_differences="a rejected proposal makes a draw jump",
)


def truncated_slope(low: Array, draw: Array, high: Array, by_high: bool = False) -> Array:
    first, here, last = (scipy.special.ndtr(x) for x in (low, draw, high))
    end = high if by_high else low
    share = (here - first if by_high else last - here) / (last - first)
    return np.exp((draw * draw - end * end) / 2) * share


add(
    "random_truncated_normal_slope",
    lambda m: [
        call(m(*s, low=-3.0, high=-1.0), m(*s, low=-1.0, high=1.0), m(*s, low=1.0, high=3.0), by_high=by_high)
        for s in ((3, 5), (), (0, 2))
        for by_high in (False, True)
    ],
    truncated_slope,
    relative=True,
    no_specials="tests/ops/test_random_distributions.py has its limits",
    large=lambda m: call(m(*LARGE, low=-3.0, high=-1.0), m(*LARGE, low=-1.0, high=1.0), m(*LARGE, low=1.0, high=3.0)),
)
add(
    "random_multinomial",
    lambda m: [
        call(m.key(), m(3, 9, low=0.1, high=1.0), count=4),
        call(m.key(), m(9, low=0.1, high=1.0), count=40, replacement=True),
        call(m.key(), m(0, 9, low=0.1, high=1.0), count=2),
    ],
    no_oracle=DEEP,
    large=lambda m: call(m.key(), m(4, 900, low=0.1, high=1.0), count=9000, replacement=True),
    no_rank0="it draws along an axis",
)
add(
    "dropout",
    lambda m: [call(m(*shape), m.key(), p=0.3) for shape in ((3, 5), (), (0, 2))],
    no_oracle=DEEP,
    large=lambda m: call(m(*LARGE), m.key(), p=0.3),
)
add(
    "dropout_adjoint",
    lambda m: [call(m(*shape), mask(m, *shape), p=0.25) for shape in ((3, 5), (), (0, 2))],
    lambda g, mask, p: np.where(mask, g / (1 - p), 0.0),
    large=lambda m: call(m(*LARGE), mask(m, *LARGE), p=0.25),
)


def sgd_update(
    operands: list[Array],
    count: int,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> tuple[Array, ...]:
    out = list(operands)
    for i in range(count):
        g = out[count + i] + weight_decay * out[i] if weight_decay else out[count + i]
        if momentum:
            first = out[3 * count + i] == 0
            buffer = out[2 * count + i] = np.where(first, g, momentum * out[2 * count + i] + g)
            out[3 * count + i] = out[3 * count + i] + 1
            g = g + momentum * buffer if nesterov else buffer
        out[i] = out[i] - lr * g
    return tuple(out)


add(
    "sgd_update",
    lambda m: [
        call([m(3, 5), m(), m(3, 5), m()], count=2, lr=0.1, weight_decay=0.1),
        call([m(3, 5), m(3, 5), m(3, 5), np.array(0)], count=1, lr=0.1, momentum=0.9, nesterov=True),
        call([m(3, 5), m(3, 5), m(3, 5), np.array(2)], count=1, lr=0.1, momentum=0.9),
        call([m(0, 2), m(0, 2)], count=1, lr=0.1),
    ],
    sgd_update,
    large=lambda m: call([m(*LARGE), m(*LARGE)], count=1, lr=0.1, weight_decay=0.1),
)


def adam_update(
    operands: list[Array],
    count: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    amsgrad: bool = False,
    maximize: bool = False,
) -> tuple[Array, ...]:
    out = list(operands)
    for i in range(count):
        p, g, m, v = (out[k * count + i] for k in range(4))
        step = out[-count + i] + 1
        g = -g if maximize else g
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        largest = np.maximum(out[4 * count + i], v) if amsgrad else v
        p = p - lr / (1 - beta1**step) * m / (np.sqrt(largest / (1 - beta2**step)) + 1e-8)
        out[i], out[2 * count + i], out[3 * count + i], out[-count + i] = p, m, v, step
        if amsgrad:
            out[4 * count + i] = largest
    return tuple(out)


def rmsprop_update(
    operands: list[Array],
    count: int,
    lr: float,
    alpha: float = 0.99,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Array, ...]:
    out = list(operands)
    for i in range(count):
        g = out[count + i] + weight_decay * out[i]
        square = out[2 * count + i] = alpha * out[2 * count + i] + (1 - alpha) * g**2
        if centered:
            mean = out[3 * count + i] = alpha * out[3 * count + i] + (1 - alpha) * g
            square = square - mean**2
        move = g / (np.sqrt(square) + 1e-8)
        if momentum:
            move = out[-count + i] = momentum * out[-count + i] + move
        out[i] = out[i] - lr * move
    return tuple(out)


def adagrad_update(
    operands: list[Array], count: int, lr: float, lr_decay: float = 0.0, weight_decay: float = 0.0
) -> tuple[Array, ...]:
    out = list(operands)
    for i in range(count):
        g = out[count + i] + weight_decay * out[i]
        total = out[2 * count + i] = out[2 * count + i] + g**2
        out[i] = out[i] - lr / (1 + out[3 * count + i] * lr_decay) * g / (np.sqrt(total) + 1e-10)
        out[3 * count + i] = out[3 * count + i] + 1
    return tuple(out)


UPDATE_SPECIALS = "what the oracle squares in float64 overflows in float32; the optimizers' own tests look at these"


# Second moments stay away from zero, where the root magnifies what half types round.
def moments(m: Make, *shape: int) -> Array:
    return m(*shape, low=0.5, high=2.0)


add(
    "adam_update",
    lambda m: [
        call(
            [m(3, 5), m(), m(3, 5), m(), m(3, 5), m(), moments(m, 3, 5), moments(m), np.array(0), np.array(7)],
            count=2,
            lr=0.1,
            weight_decay=0.1,
        ),
        call(
            [*(m(3, 5) for _ in range(3)), moments(m, 3, 5), moments(m, 3, 5), np.array(2)],
            count=1,
            lr=0.1,
            amsgrad=True,
        ),
        call(
            [*(m(4) for _ in range(3)), moments(m, 4), np.array(2)],
            count=1,
            lr=0.1,
            beta1=0.25,
            weight_decay=0.5,
            decoupled=True,
            maximize=True,
        ),
        call([m(0, 2) for _ in range(4)] + [np.array(0)], count=1, lr=0.1),
    ],
    adam_update,
    no_specials=UPDATE_SPECIALS,
    large=lambda m: call([*(m(*LARGE) for _ in range(3)), moments(m, *LARGE), np.array(3)], count=1, lr=0.1),
)
add(
    "rmsprop_update",
    lambda m: [
        call([m(3, 5), m(), m(3, 5), m(), moments(m, 3, 5), moments(m)], count=2, lr=0.1, weight_decay=0.1),
        call([m(3, 5), m(3, 5), moments(m, 3, 5), m(3, 5)], count=1, lr=0.1, momentum=0.5),
        call([m(3, 5), m(3, 5), m(3, 5, low=4.0, high=6.0), m(3, 5)], count=1, lr=0.1, centered=True, alpha=0.75),
        call([m(0, 2) for _ in range(3)], count=1, lr=0.1),
    ],
    rmsprop_update,
    no_specials=UPDATE_SPECIALS,
    large=lambda m: call([m(*LARGE), m(*LARGE), moments(m, *LARGE), m(*LARGE)], count=1, lr=0.1, momentum=0.5),
)
add(
    "adagrad_update",
    lambda m: [
        call([m(3, 5), m(), m(3, 5), m(), moments(m, 3, 5), moments(m), np.array(0), np.array(4)], count=2, lr=0.1),
        call([m(3, 5), m(3, 5), moments(m, 3, 5), np.array(4)], count=1, lr=0.1, lr_decay=0.5, weight_decay=0.1),
        call([m(0, 2) for _ in range(3)] + [np.array(0)], count=1, lr=0.1),
    ],
    adagrad_update,
    no_specials=UPDATE_SPECIALS,
    large=lambda m: call([m(*LARGE), m(*LARGE), moments(m, *LARGE), np.array(1)], count=1, lr=0.1),
)

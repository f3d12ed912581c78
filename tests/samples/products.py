"""Matrix products."""

from __future__ import annotations

import numpy as np

from samples.rows import Array, add, call


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    y = x @ weight.T
    return y if bias is None else y + bias


add(
    "matmul",
    lambda make: [
        call(make(3, 5), make(5, 4)),
        call(make(5), make(5)),
        call(make(2, 1, 3, 5), make(4, 5, 2)),
        call(make(3, 5), make(5)),
        call(make(5), make(2, 5, 3)),
        call(make(0, 5), make(5, 4)),
        call(make(3, 0), make(0, 4)),
    ],
    np.matmul,
    large=lambda make: call(make(300, 150), make(150, 200)),
    no_rank0="a product of matrices needs an axis",
)
add(
    "linear",
    lambda make: [
        call(make(3, 5), make(4, 5), make(4)),
        call(make(5), make(4, 5)),
        call(make(2, 3, 5), make(4, 5), make(4)),
        call(make(0, 5), make(4, 5), make(4)),
    ],
    linear,
    large=lambda make: call(make(300, 150), make(200, 150), make(200)),
    no_rank0="x has an axis of features",
)
add(
    "matmul_integer",
    lambda make: [
        call(make(3, 5, low=-128, high=127), make(5, 4, low=-128, high=127)),
        call(make(5), make(5)),
        call(make(2, 1, 3, 5), make(4, 5, 2)),
        call(make(0, 5), make(5, 4)),
        call(make(3, 0), make(0, 4)),
    ],
    lambda x1, x2: np.matmul(x1.astype(np.int32), x2.astype(np.int32)),
    large=lambda make: call(make(300, 260, low=-128, high=127), make(260, 250, low=-128, high=127)),
    no_rank0="a product of matrices needs an axis",
)

"""Random elementwise programs for the tests of fusion, on any device."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

import gorgo as gg

DTYPES = ["float32", "bfloat16", "float16", "float64"]

UNARY = [
    "negative",
    "abs",
    "sign",
    "floor",
    "ceil",
    "trunc",
    "round",
    "square",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "tanh",
    "erf",
    "sigmoid",
    "relu",
    "softplus",
    "silu",
    "gelu",
    "gelu_tanh",
    "hardsigmoid",
    "hardswish",
]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "minimum", "leaky_relu"]
COMPARE = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]


def same_bits(got: gg.Tensor, want: gg.Tensor, *, any_nan: bool = False) -> None:
    """Fail unless two tensors are equal bit for bit, NaN (unless any will do) and the signs of zeros included."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    a, b = got.cpu(), want.cpu()
    if a.dtype == gg.bfloat16:
        a, b = a.astype(gg.float32), b.astype(gg.float32)
    x, y = np.asarray(a), np.asarray(b)
    if any_nan and x.dtype.kind == "f":
        x, y = (np.where(np.isnan(v), np.nan, v).astype(v.dtype) for v in (x, y))
    assert x.tobytes() == y.tobytes(), (x[x != y], y[x != y])


class Chain:
    """A program of some ten ops over four operands: whole, a row, a column, a transposed one."""

    def __init__(self, rng: random.Random, dtype: str, shape: tuple[int, int] = (37, 29)) -> None:
        """Draw the program."""
        self.rng = rng
        self.dtype = getattr(gg, dtype)
        self.shape = shape
        self.steps = [self._step(k + 4) for k in range(rng.randrange(2, 22))]
        self.kept = sorted({rng.randrange(4, 4 + len(self.steps)) for _ in range(3)} | {3 + len(self.steps)})

    def _step(self, known: int) -> Callable[[list[Any]], Any]:
        rng = self.rng
        pick = [
            rng.randrange(max(0, known - 5), known) if rng.random() < 0.7 else rng.randrange(known) for _ in range(4)
        ]
        number = rng.choice([0.0, -0.0, 0.5, 2.0, -1.25, 3.0])
        kind = rng.random()
        if kind < 0.35:
            op = getattr(gg, rng.choice(UNARY))
            return lambda v: op(v[pick[0]])
        if kind < 0.65:
            op = getattr(gg, rng.choice(BINARY))
            form = rng.randrange(3)
            if form == 0:
                return lambda v: op(v[pick[0]], number)
            if form == 1:
                return lambda v: op(number, v[pick[0]])
            return lambda v: op(v[pick[0]], v[pick[1]])
        if kind < 0.8:
            compare = getattr(gg, rng.choice(COMPARE))
            both = rng.choice([gg.logical_and, gg.logical_or, gg.logical_xor])
            form = rng.randrange(3)
            if form == 0:
                return lambda v: gg.where(compare(v[pick[0]], v[pick[1]]), v[pick[2]], number)
            if form == 1:
                return lambda v: gg.where(
                    both(compare(v[pick[0]], number), gg.logical_not(gg.isnan(v[pick[1]]))), v[pick[2]], v[pick[3]]
                )
            return lambda v: compare(v[pick[0]], v[pick[1]]).astype(self.dtype)
        if kind < 0.9:
            return lambda v: gg.clip(v[pick[0]], -0.75, number if number > 0 else None)
        if kind < 0.95:
            return lambda v: v[pick[0]] ** exponent(number)
        other = gg.float32 if self.dtype in (gg.bfloat16, gg.float16) else self.dtype
        return lambda v: (v[pick[0]].astype(other) * 1.5).astype(self.dtype)

    def operands(self, device: str = "cpu") -> list[gg.Tensor]:
        """Draw operands, with some special values among them."""
        rows, columns = self.shape
        noise = np.random.default_rng(self.rng.randrange(1000))
        made = []
        for shape in ((rows, columns), (columns,), (rows, 1), (columns, rows)):
            values = noise.normal(size=shape) * 2
            values.flat[:: max(1, values.size // 7)] = noise.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40])
            made.append(gg.asarray(values).astype(self.dtype))
        return [x.to(device) for x in made]

    def __call__(self, *args: gg.Tensor) -> tuple[gg.Tensor, ...]:
        """Run the program."""
        values: list[Any] = [*args[:3], args[3].T]
        for step in self.steps:
            values.append(step(values))
        return tuple(values[k] for k in self.kept)


def exponent(number: float) -> float:
    """Return an exponent that has a short cut, or another."""
    return {0.5: 2.0, 2.0: 1.0}.get(number, 3.0)

"""Ops with an epilogue: those of the op, and then of the elementwise op after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from samples import convolution, pooling, products  # noqa: F401 (their rows come first)
from samples.rows import REGISTRY, ROWS, Array, Make, Row, Sample, add, widen


def relu(y: Array) -> Array:
    return np.where(y < 0, 0, y)


def gated(y: Array, saved: Array) -> Array:
    return np.where(saved <= 0, 0, y)


def add_with_epilogue(row: Row, name: str, *, reads_saved: bool) -> None:
    """Add a row whose operands are those of `row` and, where it reads one, a saved value with zeros of both signs."""
    slots = len(REGISTRY[row.op].__op_facts__["slots"])
    oracle = row.oracle
    assert oracle is not None
    assert row.large is not None
    large = row.large

    def given(sample: Sample, make: Make) -> Sample:
        if not reads_saved:
            return sample
        shape = np.shape(oracle(*[widen(a) for a in sample.args], **sample.attrs))
        saved = make(*shape)
        if saved.ndim:
            saved.reshape(-1)[::5], saved.reshape(-1)[1::5] = 0.0, -0.0
        return Sample([*sample.args, *[None] * (slots - len(sample.args)), saved], sample.attrs)

    def joined(*args: Any, **attrs: Any) -> Array:
        return gated(oracle(*args[:-1], **attrs), args[-1]) if reads_saved else relu(oracle(*args, **attrs))

    add(
        f"{row.op}_{name}",
        lambda make: [given(sample, make) for sample in row.samples(make)],
        joined,
        large=lambda make: given(large(make), make),
        no_rank0=row.no_rank0,
        no_specials=row.no_specials,
    )


for base in [f"conv{way}{axes}d" for way in ("", "_transpose") for axes in (1, 2, 3)]:
    add_with_epilogue(ROWS[base], "relu", reads_saved=False)
    add_with_epilogue(ROWS[base], "relu_backward", reads_saved=True)
add_with_epilogue(ROWS["linear"], "relu", reads_saved=False)
add_with_epilogue(ROWS["matmul"], "relu", reads_saved=False)
add_with_epilogue(ROWS["matmul"], "relu_backward", reads_saved=True)
add_with_epilogue(ROWS["max_pool_grad"], "relu_backward", reads_saved=True)

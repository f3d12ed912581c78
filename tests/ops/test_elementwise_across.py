"""Elementwise ops whose operands lie across each other: one's rows along another's columns, as in x + y.T."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gorgo as gg

SHAPES = [(300, 257), (33, 64), (5, 1000), (1000, 3), (700, 16), (7, 40, 50), (16, 30, 2), (2, 8, 12, 20), (40, 8, 8)]
DTYPES = ["bool", "uint8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128"]


def whole_numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 2 if dtype == "bool" else 11, shape).astype(dtype)


def across(shape: tuple[int, ...], dtype: str) -> Iterator[tuple[np.ndarray, gg.Tensor]]:
    """Give the views of one array by all orders of its axes."""
    x = whole_numbers(shape, dtype)
    t = gg.asarray(x)
    for order in itertools.permutations(range(len(shape))):
        yield x.transpose(order), gg.permute_dims(t, order)


def same(got: Any, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(got), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_operands_across_each_other(shape: tuple[int, ...], dtype: str) -> None:
    for x, t in across(shape, dtype):
        y = np.ascontiguousarray(np.flip(x))
        u = gg.asarray(y)
        if dtype == "bool":
            same(gg.logical_xor(t, u), x ^ y)
            same(gg.logical_or(t, t), x)
            continue
        same(t + u, x + y)
        same(t * t, x * x)
        same(t * 3, x * x.dtype.type(3))
        same(t - t[:1], x - x[:1])
        same(t + t[..., :1], x + x[..., :1])
        same(t + gg.flip(t), x + np.flip(x))
        same(t != u, x != y)
        same(gg.where(t != u, t, u), np.where(x != y, x, y))


@pytest.mark.parametrize("dtype", ["int16", "float16", "float32", "complex128"])
@pytest.mark.parametrize("shape", SHAPES)
def test_writes_across(shape: tuple[int, ...], dtype: str) -> None:
    for order in itertools.permutations(range(len(shape))):
        x = whole_numbers(shape, dtype)
        t = gg.asarray(x.copy())
        view, expected = gg.permute_dims(t, order), x.transpose(order)
        y = np.ascontiguousarray(np.flip(expected))
        view += gg.asarray(y)
        expected = expected + y
        same(view, expected)
        view *= view
        same(view, expected * expected)
        view[1:] -= view[:-1]
        same(view[0], (expected * expected)[0])
        same(view[1:], (expected * expected)[1:] - (expected * expected)[:-1])


@pytest.mark.parametrize("source", ["bool", "uint8", "float16", "float32", "int64"])
@pytest.mark.parametrize("target", ["uint8", "float16", "float32", "float64", "complex64"])
def test_casts_and_operands_of_two_dtypes(source: str, target: str) -> None:
    for shape in [(130, 77), (40, 6, 50)]:
        for x, t in across(shape, source):
            same(t.astype(target), x.astype(target))
            same(gg.where(t != 0, t.astype(target), 1), np.where(x != 0, x.astype(target), 1))


def test_a_square_and_its_own_transpose() -> None:
    x = whole_numbers((129, 129), "float32")
    t = gg.asarray(x.copy())
    same(t + t.T, x + x.T)
    t += t.T
    same(t, x + x.T)
    t.T[:] = t.T * 2.0
    same(t, 2 * (x + x.T))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["exp", "tanh", "silu"])
def test_functions_give_the_bits_of_a_copy(name: str, dtype: str) -> None:
    t = gg.asarray(np.random.default_rng(1).standard_normal((90, 8, 133))).astype(dtype)
    function = getattr(gg, name)
    for order in itertools.permutations(range(3)):
        view = gg.permute_dims(t, order)
        same(function(view).astype("float64"), np.asarray(function(view.contiguous()).astype("float64")))


@pytest.mark.parametrize("rows", [2048, 2047])  # whole lines of the cache, and others
def test_results_larger_than_caches(rows: int) -> None:
    x = whole_numbers((1100, rows), "float32")
    y = np.ascontiguousarray(x.T[::-1])
    t, u = gg.asarray(x), gg.asarray(y)
    same(t.T + t.T, x.T + x.T)
    same(t.T + u, x.T + y)
    same(t.T.astype("float64"), x.T)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_captured_chains_give_the_eager_bits(dtype: str) -> None:
    def chain(x: gg.Tensor, y: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        product = gg.exp(x * 0.25) * y
        return product - x, gg.where(y > 0.0, product, x)

    compiled = gg.compile(chain)
    random = np.random.default_rng(2)
    for shape in [(150, 71), (3, 16, 300)]:
        for order in itertools.permutations(range(len(shape))):
            x = gg.permute_dims(gg.asarray(random.standard_normal(shape)).astype(dtype), order)
            y = gg.asarray(random.standard_normal(x.shape)).astype(dtype)
            for operands in ((x, y), (x, x), (y, x)):
                expected = chain(*(operand.contiguous() for operand in operands))
                for _ in range(2):
                    for got, of in zip(compiled(*operands), expected, strict=True):
                        same(got.astype("float64"), np.asarray(of.astype("float64")))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    t = gg.asarray(np.random.default_rng(3).standard_normal((700, 333)).astype(np.float32))
    before = gg.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            gg.set_num_threads(threads)
            results.append([np.asarray(v).tobytes() for v in (gg.exp(t.T), t.T * t.T, t.T + t.T.contiguous())])
    finally:
        gg.set_num_threads(before)
    assert results[0] == results[1] == results[2]

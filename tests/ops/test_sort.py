"""sort, argsort and topk: against NumPy and PyTorch, stability, NaN, gradients, messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gorgo as gg

DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]


def filled(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("float"):
        return (rng.integers(-50, 50, shape) / 4).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"), [((7,), 0), ((3, 200), 1), ((200, 3), 0), ((2, 3, 4), -2), ((0, 3), 0), ((3, 1), -1)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_orders_agree_with_numpy(dtype: str, shape: tuple[int, ...], axis: int, descending: bool) -> None:
    x = filled(shape, dtype)
    # NumPy sorts rising only; a falling stable order is the reversed stable order of the reversed line.
    if descending:
        flipped = np.flip(x, axis)
        order = x.shape[axis] - 1 - np.flip(np.argsort(flipped, axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    for tensor in (gg.asarray(x), gg.asarray(np.array(x.T, order="C")).permute_dims(tuple(range(x.ndim))[::-1])):
        np.testing.assert_array_equal(np.asarray(gg.argsort(tensor, axis=axis, descending=descending)), order)
        values = gg.sort(tensor, axis=axis, descending=descending)
        assert str(values.dtype) == dtype
        np.testing.assert_array_equal(np.asarray(values), np.take_along_axis(x, order, axis))


@pytest.mark.parametrize("n", [5, 100])
def test_nan_comes_last_and_zeros_of_both_signs_tie(n: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(n).astype(np.float32)
    x[1], x[3] = np.nan, -np.nan
    x[0], x[2], x[4] = 0.0, -0.0, np.inf
    for descending in (False, True):
        values = np.asarray(gg.sort(gg.asarray(x), descending=descending))
        assert np.isnan(values[-2:]).all()
        np.testing.assert_array_equal(values[:-2], np.sort(x[~np.isnan(x)])[:: -1 if descending else 1])
        order = gg.argsort(gg.asarray(x), descending=descending).tolist()
        assert order.index(0) < order.index(2)
        assert order[-2:] == [1, 3]


def test_bfloat16_sorts_by_value() -> None:
    x = np.array([1.5, -2.0, 0.0, 300.0, -0.5], dtype=np.float32)
    ours = gg.sort(gg.asarray(x).astype(gg.bfloat16))
    np.testing.assert_array_equal(np.asarray(ours.astype(gg.float32)), np.sort(x))


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(("k", "axis"), [(1, 0), (3, -1), (0, 1), (4, 1)])
def test_topk_agrees_with_pytorch(k: int, axis: int, largest: bool) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).permutation(60).reshape(5, 4, 3).astype(np.float64)
    k = min(k, x.shape[axis])
    values, indices = gg.topk(gg.asarray(x), k, axis=axis, largest=largest)
    expected = torch.topk(torch.from_numpy(x), k, dim=axis, largest=largest)
    np.testing.assert_array_equal(np.asarray(values), expected.values.numpy())
    np.testing.assert_array_equal(np.asarray(indices), expected.indices.numpy())


def test_topk_takes_nan_for_the_greatest_and_the_first_of_equals() -> None:
    x = gg.asarray([1.0, float("nan"), 3.0, 3.0])
    values, indices = gg.topk(x, 3)
    assert np.isnan(values[0].item())
    assert indices.tolist() == [1, 2, 3]
    assert gg.topk(x, 4, largest=False).indices.tolist() == [0, 2, 3, 1]


def test_gradients_agree_with_differences() -> None:
    x = gg.asarray(np.random.default_rng(0).permutation(24).reshape(4, 6) / 7.0)
    for axis in (0, 1):
        gg.testing.gradcheck(lambda x, a=axis: gg.square(gg.sort(x, axis=a, descending=True)), [x], second=True)
        gg.testing.gradcheck(lambda x, a=axis: gg.square(gg.topk(x, 2, axis=a).values), [x], second=True)


def test_a_sort_of_one_number_passes_its_gradient() -> None:
    x = gg.asarray(2.0).requires_grad_()
    (gg.sort(x) * 3.0).backward()
    assert x.grad.item() == 3.0


def test_threads_do_not_change_results() -> None:
    x = gg.asarray(np.random.default_rng(0).standard_normal((70, 1000)))
    before = gg.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            results.append(np.asarray(gg.sort(x, axis=0)).tobytes() + np.asarray(gg.argsort(x)).tobytes())
    finally:
        gg.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: gg.sort(x, axis=2), ValueError, r"sort: axis must be in \[-2, 2\), got 2 \(x has shape \(2, 3\)\)"),
        (lambda x: gg.argsort(x.astype(gg.complex64)), TypeError, r"argsort: x must have an order, got complex64"),
        (lambda x: gg.topk(x, 4), ValueError, r"topk: k must be in \[0, 3\], got 4 \(x has shape \(2, 3\)\)"),
        (lambda x: gg.topk(x[0, 0], 1), ValueError, r"topk: x must have an axis, got shape \(\)"),
    ],
)
def test_messages_name_op_argument_and_value(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gg.zeros((2, 3)))


# Lines from 2**18 elements on are sorted in blocks of the line and then of the result.
@pytest.mark.parametrize("ties", ["few", "many", "all"])
@pytest.mark.parametrize("shape", [(300_001,), (2, 262_144), (700_000, 3)])
def test_long_lines_are_sorted_in_blocks(shape: tuple[int, ...], ties: str) -> None:
    rng = np.random.default_rng(0)
    highest = {"few": 2**31 - 1, "many": 5, "all": 1}[ties]
    x = rng.integers(0, highest, shape).astype(np.int32)
    axis = int(np.argmax(shape))
    order = np.argsort(x, axis=axis, kind="stable")
    t = gg.asarray(x)
    np.testing.assert_array_equal(np.asarray(gg.argsort(t, axis=axis)), order)
    np.testing.assert_array_equal(np.asarray(gg.sort(t, axis=axis)), np.take_along_axis(x, order, axis))
    falling = np.argsort(highest - x, axis=axis, kind="stable")
    np.testing.assert_array_equal(np.asarray(gg.argsort(t, axis=axis, descending=True)), falling)
    values, indices = gg.topk(t, 200_000, axis=axis)
    first = np.take(falling, range(200_000), axis)
    np.testing.assert_array_equal(np.asarray(indices), first)
    np.testing.assert_array_equal(np.asarray(values), np.take_along_axis(x, first, axis))


def test_keys_of_all_ones_are_cut_too() -> None:
    x = np.where(np.random.default_rng(0).random(400_000) < 0.5, np.uint64(2**64 - 1), np.uint64(3))
    np.testing.assert_array_equal(np.asarray(gg.argsort(gg.asarray(x))), np.argsort(x, kind="stable"))


def key_bits(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}")


def stable_order(x: np.ndarray[Any, Any], axis: int, descending: bool, nan_last: bool) -> np.ndarray[Any, Any]:
    """Order by NumPy: NaN, then values, then places."""
    nan = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    values = np.where(nan, x.dtype.type(0), x)
    if x.dtype.kind == "f":
        values = -values if descending else values
    elif descending:
        values = ~values
    return np.lexsort((values, np.where(nan, 1 if nan_last or not descending else -1, 0)), axis=axis)


# A network sorts short lines, several beside each other; longer ones are sorted by digits; topk collects.
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2, 1), 1),
        ((1, 64), 1),
        ((37, 8), 1),
        ((37, 64), 1),
        ((19, 65), 1),
        ((9, 512), 1),
        ((3, 512), 1),
        ((6, 513), 1),
        ((64, 37), 0),
        ((130, 40), 0),
        ((3, 70, 5), 1),
        ((4000,), 0),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64"])
def test_every_length_gives_the_stable_order_bit_for_bit(
    dtype: str, shape: tuple[int, ...], axis: int, descending: bool
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, shape).astype(dtype) if dtype == "uint8" else rng.integers(-9, 9, shape).astype(dtype)
    if dtype.startswith("float"):
        kind = rng.integers(0, 12, shape)
        for i, special in enumerate((np.nan, -np.nan, np.inf, -np.inf, -0.0)):
            x[kind == i] = special
    order = stable_order(x, axis, descending, nan_last=True)
    first = stable_order(x, axis, descending, nan_last=False)
    doubled = gg.asarray(np.repeat(x, 2, axis=-1))[..., ::2]
    for tensor in (gg.asarray(x), doubled):
        np.testing.assert_array_equal(np.asarray(gg.argsort(tensor, axis=axis, descending=descending)), order)
        values = np.asarray(gg.sort(tensor, axis=axis, descending=descending))
        np.testing.assert_array_equal(key_bits(values), key_bits(np.take_along_axis(x, order, axis)))
        for k in {1, min(5, shape[axis]), shape[axis] // 3, shape[axis]}:
            best, where = gg.topk(tensor, k, axis=axis, largest=descending)
            expected = np.take(first, range(k), axis)
            np.testing.assert_array_equal(np.asarray(where), expected)
            np.testing.assert_array_equal(key_bits(np.asarray(best)), key_bits(np.take_along_axis(x, expected, axis)))


@pytest.mark.parametrize("make", [np.sort, lambda x: np.sort(x)[::-1], lambda x: x, lambda x: np.round(x)])
@pytest.mark.parametrize("n", [200, 5000, 262_145, 400_000])
def test_topk_of_long_lines_is_the_head_of_the_order(n: int, make: Any) -> None:
    x = np.ascontiguousarray(make(np.random.default_rng(0).standard_normal(n).astype(np.float32)))
    for k in (1, 10, n // 20):
        for largest in (False, True):
            expected = np.argsort(-x if largest else x, kind="stable")[:k]
            values, indices = gg.topk(gg.asarray(x), k, largest=largest)
            np.testing.assert_array_equal(np.asarray(indices), expected)
            np.testing.assert_array_equal(np.asarray(values), x[expected])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_signs_of_zeros_and_nan_keep_their_order_in_long_lines(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.choice([1.0, 0.0, -0.0, -1.0, np.nan, -np.nan], 300_000).astype(dtype)
    order = stable_order(x, 0, False, nan_last=True)
    before = gg.get_num_threads()
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            np.testing.assert_array_equal(key_bits(np.asarray(gg.sort(gg.asarray(x)))), key_bits(x[order]))
            np.testing.assert_array_equal(
                np.asarray(gg.topk(gg.asarray(x), 7).indices), np.flatnonzero(np.isnan(x))[:7]
            )
    finally:
        gg.set_num_threads(before)


# Keys that are alike in their upper halves, or all but a few of them.
@pytest.mark.parametrize("spread", [1, 1000, 2**33])
def test_long_keys_are_told_apart_by_their_lower_halves(spread: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, 20_000) * 2**40 + rng.integers(0, spread, 20_000)
    np.testing.assert_array_equal(np.asarray(gg.sort(gg.asarray(x))), np.sort(x))
    np.testing.assert_array_equal(np.asarray(gg.argsort(gg.asarray(x))), np.argsort(x, kind="stable"))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("n", [17, 33, 63, 64, 100, 129, 256, 511, 513, 1000, 3000])
def test_topk_of_lines_of_any_length_is_the_head_of_the_stable_order(n: int, dtype: str, largest: bool) -> None:
    rng = np.random.default_rng(n)
    lines = [rng.integers(0, 100, n), rng.integers(0, 3, n), np.zeros(n), np.arange(n), np.arange(n)[::-1]]
    x = np.stack(lines).astype(dtype)
    if x.dtype.kind == "f":
        x[0, rng.random(n) < 0.1] = np.nan
        x[1] = np.nan
        x[2, ::2] = -0.0
        x[3, 5] = np.nan
    else:
        info = np.iinfo(dtype)
        x[2] = info.max if largest else info.min
        x[0, : n // 3] = info.min
        x[0, n // 3 : n // 2] = info.max
    # NaN is the greatest either way, and the first of equals comes first.
    rank = np.empty(x.shape, dtype=np.int64)
    for row, line in enumerate(x):
        rank[row] = np.unique(line, return_inverse=True)[1]
    order = np.argsort(-rank if largest else rank, axis=1, kind="stable")
    for k in {1, 2, 5, 8, 9, 16, 50, 100, n // 4} & set(range(1, n)):
        for t, axis in ((gg.asarray(x), 1), (gg.asarray(np.array(x.T, order="C")), 0)):
            values, indices = gg.topk(t, k, axis=axis, largest=largest)
            got = np.moveaxis(np.asarray(indices), axis, 1)
            np.testing.assert_array_equal(got, order[:, :k])
            np.testing.assert_array_equal(
                np.moveaxis(np.asarray(values), axis, 1), np.take_along_axis(x, order[:, :k], axis=1)
            )


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int16", "float16"])
@pytest.mark.parametrize("shape", [(262_144,), (2, 300_001), (300_001, 2)])
def test_orders_of_many_small_elements_are_stable(shape: tuple[int, ...], dtype: str, descending: bool) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 100).astype(dtype)
    x.ravel()[: x.size // 5] = x.ravel()[0]
    axis = int(np.argmax(shape))
    order = stable_order(x, axis, descending, nan_last=True)
    np.testing.assert_array_equal(np.asarray(gg.argsort(gg.asarray(x), axis=axis, descending=descending)), order)
    values = np.asarray(gg.sort(gg.asarray(x), axis=axis, descending=descending))
    np.testing.assert_array_equal(key_bits(values), key_bits(np.take_along_axis(x, order, axis)))

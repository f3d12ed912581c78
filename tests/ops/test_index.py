"""Reading and writing at positions: against NumPy, gradients by differences, thread counts, messages."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg

INTEGERS = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
DTYPES = ["bool", *INTEGERS, "float16", "float32", "float64", "complex64", "complex128"]

X = np.arange(60.0).reshape(3, 4, 5)
I = np.array([2, 0, -1])  # noqa: E741 (names of the array API's examples)
J = np.array([[1], [-4]])
M = np.array([True, False, True])
# What stands between the brackets of x[...]; x has shape (3, 4, 5).
KEYS: list[tuple[str, Any]] = [
    ("one", (I,)),
    ("first two", (I, np.array([0, 3, 1]))),
    ("broadcast", (I, J)),
    ("all three", (I, J, np.array(2))),
    ("middle", (slice(None), J)),
    ("last", (Ellipsis, I)),
    ("apart", (I, slice(None), np.array([0, 1, -1]))),
    ("slice before", (slice(1, None), np.array([0, 2]), np.array([1, 1]))),
    ("slice with step", (slice(None, None, -2), slice(None), np.array([0, 4]))),
    ("integer beside", (1, slice(None), np.array([0, 4]))),
    ("new axis", (None, I)),
    ("rank 0", (np.array(1),)),
    ("empty", (np.zeros((0,), dtype=np.int64),)),
    ("mask", (M,)),
    ("mask of rank 2", (X[:, :, 0] > 20,)),
    ("mask of rank 3", (X % 7 == 0,)),
    ("mask in the middle", (slice(None), np.array([True, False, False, True]))),
    ("mask of nothing", (np.zeros(3, dtype=bool),)),
]


def ours_of(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(gg.asarray(k) if isinstance(k, np.ndarray) else k for k in key)


@pytest.mark.parametrize("key", [k for _, k in KEYS], ids=[name for name, _ in KEYS])
def test_reading_agrees_with_numpy(key: tuple[Any, ...]) -> None:
    expected = X[key]
    actual = gg.asarray(X)[ours_of(key)]
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(actual), expected)
    strided = gg.permute_dims(gg.asarray(np.array(X.transpose(2, 0, 1), order="C")), (1, 2, 0))
    np.testing.assert_array_equal(np.asarray(strided[ours_of(key)]), expected)


@pytest.mark.parametrize("key", [k for _, k in KEYS], ids=[name for name, _ in KEYS])
def test_gradients_of_reading_agree_with_differences(key: tuple[Any, ...]) -> None:
    x = gg.asarray(np.random.default_rng(0).standard_normal(X.shape))
    gg.testing.gradcheck(lambda x: gg.square(x[ours_of(key)]), [x], second=True)


@pytest.mark.parametrize("key", [k for _, k in KEYS], ids=[name for name, _ in KEYS])
def test_writing_agrees_with_numpy(key: tuple[Any, ...]) -> None:
    for values in (np.float64(7.0), np.random.default_rng(0).standard_normal(X[key].shape)):
        expected = X.copy()
        expected[key] = values
        actual = gg.asarray(X.copy())
        actual[ours_of(key)] = gg.asarray(values) if values.ndim else float(values)
        np.testing.assert_array_equal(np.asarray(actual), expected)


@pytest.mark.parametrize("key", [k for _, k in KEYS], ids=[name for name, _ in KEYS])
def test_gradients_of_writing_agree_with_differences(key: tuple[Any, ...]) -> None:
    rng = np.random.default_rng(0)
    shape = X[key].shape  # elements that a key names twice keep the last value, which alone has a gradient

    def write(x: gg.Tensor, v: gg.Tensor) -> gg.Tensor:
        y = x * 1.0
        y[ours_of(key)] = v
        return gg.square(y)

    operands = [gg.asarray(rng.standard_normal(X.shape)), gg.asarray(rng.standard_normal(shape))]
    gg.testing.gradcheck(write, operands, second=True)


TWICE: list[tuple[str, Any]] = [
    ("rows", (np.array([1, 0, -2, 1]),)),
    ("columns", (slice(None), np.array([[1, 3], [3, 1]]))),
    ("pairs", (np.array([[0], [2]]), np.array([1, -3, 1]))),
    ("apart", (np.array([2, 2, 0]), slice(None), np.array([4, 4, 1]))),
    ("last", (Ellipsis, np.array([0, 0, 0, 4], dtype=np.int8))),
]


@pytest.mark.parametrize("key", [k for _, k in TWICE], ids=[name for name, _ in TWICE])
def test_of_several_values_for_an_element_the_last_alone_has_a_gradient(key: tuple[Any, ...]) -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.standard_normal(X[key].shape), rng.standard_normal(X.shape)
    # Which value an element keeps, by writing one after the other.
    at = np.arange(60).reshape(3, 4, 5)[key].reshape(-1)
    last = {int(place): i for i, place in enumerate(at)}
    expected = np.zeros(at.size)
    expected[list(last.values())] = weights.reshape(-1)[list(last)]

    def write(v: gg.Tensor) -> gg.Tensor:
        y = gg.zeros((3, 4, 5), dtype=gg.float64)
        y[ours_of(key)] = v
        return gg.sum(y * gg.asarray(weights))

    v = gg.asarray(values).requires_grad_()
    (eager,) = gg.grad(write(v), [v])
    np.testing.assert_array_equal(np.asarray(eager).reshape(-1), expected)
    captured = gg.compile(lambda v: gg.grad(write(v), [v])[0])
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(captured(v)), np.asarray(eager))
    # What was overwritten does not pass on what is not a number.
    (through,) = gg.grad(write(v), [v], gg.asarray(np.float64("inf")))
    assert np.isnan(np.asarray(through)).sum() == 0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_of_several_values_scattered_to_an_element_the_last_alone_has_a_gradient(axis: int) -> None:
    rng = np.random.default_rng(axis + 2)
    shape = [2, 3, 2]
    shape[axis] = 5
    i = rng.integers(-2, 2, shape)
    values, weights = rng.standard_normal(shape), rng.standard_normal((3, 4, 2))
    expected = np.zeros(shape)
    kept: dict[tuple[int, ...], tuple[int, ...]] = {}
    for place in np.ndindex(*shape):
        to = list(place)
        to[axis] = i[place] % (3, 4, 2)[axis]
        kept[tuple(to)] = max(place, kept.get(tuple(to), place), key=lambda p: p[axis])
    for to_, place in kept.items():
        expected[place] = weights[to_]
    x = gg.asarray(rng.standard_normal((3, 4, 2)))
    v = gg.asarray(values).requires_grad_()

    def loss(v: gg.Tensor) -> gg.Tensor:
        return gg.sum(gg.scatter(x, gg.asarray(i), v, axis=axis) * gg.asarray(weights))

    (eager,) = gg.grad(loss(v), [v])
    np.testing.assert_array_equal(np.asarray(eager), expected)
    captured = gg.compile(lambda v: gg.grad(loss(v), [v])[0])
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(captured(v)), expected)
    gg.testing.gradcheck(lambda x, v: gg.square(gg.scatter(x, gg.asarray(i), v, axis=axis)), [x, v], second=True)
    # One row of values for all, and one value.
    one = [n if a == axis % 3 else 1 for a, n in enumerate(shape)]
    for small in (one, [1, 1, 1]):
        w = gg.asarray(rng.standard_normal(small))
        gg.testing.gradcheck(lambda w: gg.square(gg.scatter(x, gg.asarray(i), w, axis=axis)), [w], second=True)


@pytest.mark.parametrize("integer", INTEGERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_take_serves_every_pair_of_dtypes(dtype: str, integer: str) -> None:
    x = (np.arange(12) % (2 if dtype == "bool" else 12)).reshape(3, 4).astype(dtype)
    i = np.array([[2, 0], [1, 2]], dtype=integer)
    for axis in (0, 1, -1):
        np.testing.assert_array_equal(
            np.asarray(gg.take(gg.asarray(x), gg.asarray(i), axis=axis)), np.take(x, i, axis=axis)
        )
    j = np.array([[2, 0, 1, 1]], dtype=integer)
    np.testing.assert_array_equal(
        np.asarray(gg.take_along_axis(gg.asarray(x), gg.asarray(j), axis=0)), np.take_along_axis(x, j, axis=0)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_scatters_agree_with_loops(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (3, 4, 2)).astype(dtype)
    v = rng.integers(0, 2, (3, 6, 2)).astype(dtype)
    i = rng.integers(-4, 4, (3, 6, 2))
    put, added = x.copy(), x.copy()
    for a, b, c in np.ndindex(3, 6, 2):
        put[a, i[a, b, c], c] = v[a, b, c]
        added[a, i[a, b, c], c] += v[a, b, c]
    tensors = [gg.asarray(t) for t in (x, i, v)]
    np.testing.assert_array_equal(np.asarray(gg.scatter(*tensors, axis=1)), put)
    np.testing.assert_array_equal(np.asarray(gg.scatter_add(*tensors, axis=1)), added)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gradients_along_an_axis_agree_with_differences(axis: int) -> None:
    rng = np.random.default_rng(0)
    x = gg.asarray(rng.standard_normal((3, 4, 2)))
    shape = [2, 3, 2]
    i = np.array([rng.permutation(n) for n in [2] * 6]).reshape(shape)  # distinct along the last axis
    if axis != -1:
        i = np.broadcast_to(np.expand_dims(np.arange(shape[axis]), tuple({0, 1, 2} - {axis})), shape).copy()
    index = gg.asarray(i)
    v = gg.asarray(rng.standard_normal(shape))
    gg.testing.gradcheck(lambda x, v: gg.square(gg.scatter(x, index, v, axis=axis)), [x, v], second=True)
    gg.testing.gradcheck(lambda x, v: gg.square(gg.scatter_add(x, index, v, axis=axis)), [x, v], second=True)
    repeated = gg.asarray(rng.integers(0, 2, [4 if a == axis % 3 else n for a, n in enumerate((3, 4, 2))]))
    gg.testing.gradcheck(lambda x: gg.square(gg.take_along_axis(x, repeated, axis=axis)), [x], second=True)
    gg.testing.gradcheck(lambda x: gg.square(gg.take(x, gg.asarray([1, 0, 1]), axis=axis)), [x], second=True)


def test_take_along_axis_broadcasts_both_ways() -> None:
    rng = np.random.default_rng(0)
    x, i = rng.standard_normal((1, 5, 3)), rng.integers(0, 5, (4, 2, 1))
    expected = np.take_along_axis(np.broadcast_to(x, (4, 5, 3)), np.broadcast_to(i, (4, 2, 3)), axis=1)
    np.testing.assert_array_equal(np.asarray(gg.take_along_axis(gg.asarray(x), gg.asarray(i), axis=1)), expected)
    gg.testing.gradcheck(
        lambda x: gg.square(gg.take_along_axis(x, gg.asarray(i), axis=1)), [gg.asarray(x)], second=True
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 2), (0,), (4, 0), (200, 300)])
def test_nonzero_agrees_with_numpy(shape: tuple[int, ...], dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    if dtype.startswith(("float", "complex")) and x.size:
        x.flat[0], x.flat[-1] = -0.0, np.nan
    ours = gg.nonzero(gg.asarray(x))
    assert isinstance(ours, tuple)
    assert len(ours) == x.ndim
    for mine, theirs in zip(ours, np.nonzero(x), strict=True):
        assert mine.dtype == gg.int64
        np.testing.assert_array_equal(np.asarray(mine), theirs)
    transposed = gg.nonzero(gg.asarray(x).T) if x.ndim == 2 else ()
    for mine, theirs in zip(transposed, np.nonzero(x.T), strict=False):
        np.testing.assert_array_equal(np.asarray(mine), theirs)


def test_scattered_sums_have_the_same_bits_for_any_thread_count() -> None:
    rng = np.random.default_rng(0)
    x = gg.asarray(rng.standard_normal((50, 400)).astype(np.float32)).requires_grad_()
    i = gg.asarray(rng.integers(0, 50, 3000))
    w = gg.asarray(rng.standard_normal((3000, 400)).astype(np.float32))
    j = gg.asarray(rng.integers(0, 50, (300, 400)))
    before = gg.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            (g,) = gg.grad((gg.take(x, i, axis=0) * w).sum(), [x])
            along = gg.scatter_add(x.detach(), j, w[:300], axis=0)
            results.append((np.asarray(g).tobytes(), np.asarray(along).tobytes()))
    finally:
        gg.set_num_threads(before)
    assert results[0] == results[1]
    expected = np.zeros((50, 400))
    np.add.at(expected, np.asarray(i), np.asarray(w, dtype=np.float64))
    np.testing.assert_allclose(
        np.frombuffer(results[0][0], np.float32).reshape(50, 400), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: gg.take(x, gg.asarray([0, 1, 0, 7]), axis=1),
            IndexError,
            r"^take: index must be in \[-5, 5\), got 7 \(position 3 of indices\)$",
        ),
        (lambda x: gg.take(x, gg.asarray([-6]), axis=1), IndexError, r"take: index must be in \[-5, 5\), got -6"),
        (lambda x: gg.take(x, gg.asarray([0.5]), axis=1), TypeError, r"take: indices must be integers, got float32"),
        (lambda x: gg.take(x, gg.asarray([0])), ValueError, r"take: axis must be given unless x has rank 1, got None"),
        (lambda x: gg.take(x, gg.asarray([0]), axis=2), ValueError, r"take: axis must be in \[-2, 2\), got 2"),
        (
            lambda x: gg.take_along_axis(x, gg.asarray([[9]]), axis=0),
            IndexError,
            r"take_along_axis: index must be in \[-3, 3\), got 9 \(position 0 of indices\)",
        ),
        (
            lambda x: gg.take_along_axis(x, gg.asarray([0]), axis=0),
            ValueError,
            r"take_along_axis: indices must have the rank of x, 2, got 1",
        ),
        (lambda x: x[gg.asarray([0, 3])], IndexError, r"index: index must be in \[-3, 3\), got 3 \(position 1"),
        (lambda x: x[gg.asarray([True, False])], IndexError, r"mask"),
        (
            lambda x: gg.scatter(x, gg.asarray([[3]]), gg.asarray([[1.0]]), axis=0),
            IndexError,
            r"scatter: index must be in \[-3, 3\), got 3",
        ),
        (
            lambda x: gg.scatter(x, gg.asarray([[0]]), gg.asarray([[1]]), axis=0),
            TypeError,
            r"scatter: values must have dtype float32, got int64",
        ),
        (lambda x: gg.nonzero(x[0, 0]), ValueError, r"nonzero: x must have an axis, got shape \(\)"),
    ],
)
def test_messages_name_op_argument_and_value(call: Callable[[gg.Tensor], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gg.zeros((3, 5)))


def test_an_empty_axis_of_a_mask_chooses_nothing() -> None:
    x = gg.asarray(X)
    for shape, expected in (((0,), (0, 4, 5)), ((0, 4), (0, 5)), ((3, 0, 5), (0,))):
        mask = gg.zeros(shape, dtype=gg.bool)
        assert x[mask].shape == expected
        x[mask] = 7.0
    np.testing.assert_array_equal(np.asarray(x), X)
    with pytest.raises(IndexError, match="mask must have the length 4 of axis 1 or 0"):
        x[gg.zeros((0, 3), dtype=gg.bool)]


def test_a_bad_index_writes_nothing() -> None:
    x = gg.zeros((3,))
    with pytest.raises(IndexError, match="got 5"):
        x[gg.asarray([0, 5])] = gg.asarray([1.0, 2.0])
    assert x.tolist() == [0.0, 0.0, 0.0]


def test_the_first_of_several_bad_indices_is_named() -> None:
    i = np.zeros(100_000, dtype=np.int64)
    i[[20_000, 70_000, 99_999]] = [11, 12, 13]
    for _ in range(5):
        with pytest.raises(IndexError, match=r"got 11 \(position 20000 of indices\)"):
            gg.take(gg.zeros((3,)), gg.asarray(i))


@pytest.mark.parametrize("n", [0, 1, 7])
def test_slices_are_numpys_at_every_bound(n: int) -> None:
    most = sys.maxsize
    bounds: list[Any] = [None, 0, 1, -1, 2, -2, 7, -7, 8, -8, 100, -100, most, -most - 1, 2**63, 2**70, -(2**63) - 1]
    bounds += [True, np.int64(3)]
    x = np.arange(float(n))
    ours = gg.asarray(x)
    for start, stop, step in itertools.product(bounds, bounds, [None, 1, 2, -1, -3]):
        got = ours[start:stop:step].numpy()
        assert got.shape == x[start:stop:step].shape, (start, stop, step)
        assert np.array_equal(got, x[start:stop:step]), (start, stop, step)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1,), (63,), (64,), (65,), (40_001,), (5, 7), (100, 300), (2, 3, 40, 7)])
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "int32", "int64", "float16", "float32", "complex64", "complex128"]
)
def test_nonzero_and_masks_agree_with_numpy_however_many_there_are(
    dtype: str, shape: tuple[int, ...], share: float
) -> None:
    rng = np.random.default_rng(0)
    hit = rng.random(shape) < share
    x = np.where(hit, rng.integers(1, 100, shape), 0).astype(dtype)
    if x.dtype.kind == "f":
        x[~hit & (rng.random(shape) < 0.5)] = -0.0
        x[hit & (rng.random(shape) < 0.1)] = np.nan
    if x.dtype.kind == "c":
        x[hit] *= 1j
    reversed_axes = tuple(range(x.ndim))[::-1]
    for t in (gg.asarray(x), gg.asarray(np.array(x.T, order="C")).permute_dims(reversed_axes)):
        got = gg.nonzero(t)
        for ours, theirs in zip(got, np.nonzero(x), strict=True):
            np.testing.assert_array_equal(np.asarray(ours), theirs)
    values = rng.standard_normal(shape).astype(np.float32)
    mask = gg.asarray(x != 0)
    y = gg.asarray(values.copy())
    np.testing.assert_array_equal(np.asarray(y[mask]), values[x != 0])
    y[mask] = y[mask] * 2.0
    np.testing.assert_array_equal(np.asarray(y), np.where(x != 0, values * 2, values))


@pytest.mark.parametrize("share", [0.5, 0.97, 1.0])
@pytest.mark.parametrize("shape", [(3, 700), (2, 3, 300)])
def test_masks_on_several_axes_read_write_and_differentiate_as_numpy_has_it(
    shape: tuple[int, ...], share: float
) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((*shape, 2))
    for rank in range(1, len(shape) + 1):
        mask = rng.random(shape[:rank]) < share
        x = gg.asarray(values.copy())
        x.requires_grad = True
        gg.sum(x[gg.asarray(mask)] * 3.0).backward()
        grad = np.zeros_like(values)
        grad[mask] = 3.0
        np.testing.assert_array_equal(np.asarray(x.grad), grad)
        y = gg.asarray(values.copy())
        view = gg.permute_dims(y, tuple(range(y.ndim)))
        expected = values.copy()
        expected[mask] = expected[mask][::-1].copy()
        view[gg.asarray(mask)] = gg.flip(view[gg.asarray(mask)], axis=0)
        np.testing.assert_array_equal(np.asarray(y), expected)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("step", [1, 2])
def test_many_indices_of_every_integer_type_read_and_write_as_numpy_has_it(dtype: str, step: int) -> None:
    rng = np.random.default_rng(2)
    info = np.iinfo(dtype)
    for width, inner in itertools.product((7, 100, 3000), (1, 2, 4, 5, 40)):
        low, high = max(info.min, -width), min(info.max, width - 1)
        index = rng.integers(low, high, 1500 * step, endpoint=True).astype(dtype)[::step]
        t = gg.asarray(np.repeat(index, step))[::step]
        x = rng.standard_normal((3, width, inner)).astype(np.float32)
        picked = index.astype(np.int64)
        np.testing.assert_array_equal(np.asarray(gg.take(gg.asarray(x), t, axis=1)), np.take(x, picked, axis=1))
        line = x[0, :, 0].copy()
        y = gg.asarray(line.copy())
        y[t] = 2.0
        line[picked] = 2.0
        np.testing.assert_array_equal(np.asarray(y), line)
        counts = gg.scatter_add(gg.zeros((width,), dtype=gg.int64), t, gg.asarray(1), axis=0)
        np.testing.assert_array_equal(np.asarray(counts), np.bincount(picked % width, minlength=width))
        along = np.broadcast_to(index[None, :, None], (3, 1500, inner))
        np.testing.assert_array_equal(
            np.asarray(gg.take_along_axis(gg.asarray(x), gg.reshape(t, (1, 1500, 1)), axis=1)),
            np.take_along_axis(x, along.astype(np.int64), axis=1),
        )


@pytest.mark.parametrize("place", [0, 255, 256, 700, 39_999])
def test_the_first_of_many_indices_that_is_out_of_range_is_told(place: int) -> None:
    index = np.full(40_000, 2)
    index[place] = 3
    index[place + 1 :: 97] = -4
    t = gg.asarray(index)
    x = gg.asarray(np.arange(3.0))
    for call in (
        lambda: gg.take(x, t),
        lambda: x[t],
        lambda: gg.take_along_axis(x, t, axis=0),
        lambda: gg.scatter_add(x, t, 1.0, axis=0),
        lambda: gg.take(gg.asarray(np.zeros((5, 3, 2))), t, axis=1),
    ):
        with pytest.raises(IndexError, match=rf"got 3 \(position {place} of indices\)"):
            call()
    np.testing.assert_array_equal(np.asarray(x), np.arange(3.0))


def test_an_unsigned_index_beyond_the_largest_signed_one_is_out_of_range() -> None:
    t = gg.asarray(np.array([0, 2**64 - 1], dtype=np.uint64))
    for call in (lambda: gg.take(gg.asarray([1.0, 2.0]), t), lambda: gg.take_along_axis(gg.asarray([1.0, 2.0]), t, 0)):
        with pytest.raises(IndexError, match="index must be in"):
            call()

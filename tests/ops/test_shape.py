"""Views and moves against NumPy: values, memory shared or not, first and second gradients, messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    "complex64",
    "complex128",
]

# (name, how ours is called, how NumPy's is called, shapes of the operands)
Case = tuple[str, Callable[..., Any], Callable[..., Any], list[tuple[int, ...]]]
VIEWS: list[Case] = [
    ("permute_dims", lambda x: gg.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), [(2, 3, 4)]),
    ("permute_dims negative", lambda x: gg.permute_dims(x, (-1, 0)), np.transpose, [(2, 3)]),
    ("permute_dims of nothing", lambda x: gg.permute_dims(x, ()), lambda x: x, [()]),
    ("T", lambda x: x.T, lambda x: x.T, [(2, 5)]),
    ("matrix_transpose", gg.matrix_transpose, lambda x: x.swapaxes(-1, -2), [(2, 3, 4)]),
    ("broadcast_to", lambda x: gg.broadcast_to(x, (4, 2, 3)), lambda x: np.broadcast_to(x, (4, 2, 3)), [(2, 1)]),
    ("broadcast_to empty", lambda x: gg.broadcast_to(x, (0, 3)), lambda x: np.broadcast_to(x, (0, 3)), [(1, 3)]),
    ("broadcast_to from rank 0", lambda x: gg.broadcast_to(x, (2, 2)), lambda x: np.broadcast_to(x, (2, 2)), [()]),
    ("expand_dims", lambda x: gg.expand_dims(x, axis=-2), lambda x: np.expand_dims(x, -2), [(2, 3)]),
    ("expand_dims two", lambda x: gg.expand_dims(x, axis=(0, 3)), lambda x: np.expand_dims(x, (0, 3)), [(2, 3)]),
    ("squeeze", lambda x: gg.squeeze(x, axis=(0, -1)), lambda x: np.squeeze(x, (0, -1)), [(1, 3, 1)]),
    ("squeeze all", gg.squeeze, np.squeeze, [(1, 3, 1, 2)]),
    ("reshape", lambda x: gg.reshape(x, (4, -1)), lambda x: x.reshape(4, -1), [(2, 6)]),
    ("reshape to rank 0", lambda x: gg.reshape(x, ()), lambda x: x.reshape(()), [(1, 1)]),
    ("reshape empty", lambda x: gg.reshape(x, (5, 0)), lambda x: x.reshape(5, 0), [(0, 3)]),
    ("flip", gg.flip, np.flip, [(3, 4)]),
    ("flip axis", lambda x: gg.flip(x, axis=(0, -1)), lambda x: np.flip(x, (0, -1)), [(3, 2, 4)]),
    ("flip empty", gg.flip, np.flip, [(0, 2)]),
    ("diagonal", gg.diagonal, lambda x: np.diagonal(x, 0, -2, -1), [(2, 3, 4)]),
    ("diagonal above", lambda x: gg.diagonal(x, 2), lambda x: np.diagonal(x, 2), [(3, 4)]),
    ("diagonal below", lambda x: gg.diagonal(x, -1, 0, 2), lambda x: np.diagonal(x, -1, 0, 2), [(4, 2, 3)]),
    ("diagonal outside", lambda x: gg.diagonal(x, 9), lambda x: np.diagonal(x, 9), [(3, 4)]),
    ("slices", lambda x: x[1:, ::-2, None, 1], lambda x: x[1:, ::-2, None, 1], [(3, 5, 2)]),
    ("ellipsis", lambda x: x[..., -1], lambda x: x[..., -1], [(2, 3, 4)]),
    ("empty slice", lambda x: x[5:2], lambda x: x[5:2], [(6, 2)]),
    ("integers", lambda x: x[1, -1], lambda x: x[1, -1], [(3, 4)]),
    ("unstack", lambda x: gg.unstack(x, axis=1)[2], lambda x: x[:, 2], [(2, 5)]),
]
MOVES: list[Case] = [
    ("reshape with copy", lambda x: gg.reshape(x.T, (-1,)), lambda x: x.T.reshape(-1), [(3, 4)]),
    ("concat", lambda *xs: gg.concat(xs, axis=1), lambda *xs: np.concatenate(xs, 1), [(2, 3), (2, 1), (2, 0)]),
    ("concat negative", lambda *xs: gg.concat(xs, axis=-2), lambda *xs: np.concatenate(xs, -2), [(2, 3), (5, 3)]),
    (
        "concat flat",
        lambda *xs: gg.concat(xs, axis=None),
        lambda *xs: np.concatenate(xs, None),
        [(2, 3), (), (0,), (4,)],
    ),
    ("concat one", lambda x: gg.concat([x]), lambda x: x.copy(), [(2, 3)]),
    ("stack", lambda *xs: gg.stack(xs, axis=1), lambda *xs: np.stack(xs, 1), [(2, 3)] * 3),
    ("stack last", lambda *xs: gg.stack(xs, axis=-1), lambda *xs: np.stack(xs, -1), [(2, 3)] * 2),
    ("stack rank 0", lambda *xs: gg.stack(xs), lambda *xs: np.stack(xs), [()] * 3),
    ("tile", lambda x: gg.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), [(2, 3)]),
    ("tile fewer", lambda x: gg.tile(x, (3,)), lambda x: np.tile(x, (3,)), [(2, 3)]),
    ("tile none", lambda x: gg.tile(x, (0, 2)), lambda x: np.tile(x, (0, 2)), [(2, 3)]),
    ("tile rank 0", lambda x: gg.tile(x, (2,)), lambda x: np.tile(x, (2,)), [()]),
    ("repeat", lambda x: gg.repeat(x, 3, axis=0), lambda x: np.repeat(x, 3, 0), [(2, 3)]),
    ("repeat last", lambda x: gg.repeat(x, 2, axis=-1), lambda x: np.repeat(x, 2, -1), [(2, 3)]),
    ("repeat flat", lambda x: gg.repeat(x, 2), lambda x: np.repeat(x, 2), [(2, 3)]),
    (
        "repeat each",
        lambda x: gg.repeat(x, gg.asarray([2, 0, 1]), axis=1),
        lambda x: np.repeat(x, [2, 0, 1], 1),
        [(2, 3)],
    ),
    ("repeat by one", lambda x: x.repeat(gg.asarray([2]), 0), lambda x: np.repeat(x, [2], 0), [(2, 3)]),
    (
        "repeat each flat",
        lambda x: gg.repeat(x, gg.asarray([0, 1, 2, 3, 0, 1], dtype=gg.uint8)),
        lambda x: np.repeat(x, [0, 1, 2, 3, 0, 1]),
        [(2, 3)],
    ),
    ("repeat rank 0", lambda x: gg.repeat(x, 2), lambda x: np.repeat(x, 2), [()]),
    ("repeat none", lambda x: gg.repeat(x, 0, axis=1), lambda x: np.repeat(x, 0, 1), [(2, 3)]),
    ("roll", lambda x: gg.roll(x, (1, -2), axis=(0, 1)), lambda x: np.roll(x, (1, -2), (0, 1)), [(3, 5)]),
    ("roll one", lambda x: gg.roll(x, 7, axis=0), lambda x: np.roll(x, 7, 0), [(3, 5)]),
    ("roll twice", lambda x: gg.roll(x, 1, axis=(1, 1)), lambda x: np.roll(x, 1, (1, 1)), [(3, 5)]),
    ("roll flat", lambda x: gg.roll(x, -4), lambda x: np.roll(x, -4), [(3, 5)]),
    ("roll empty", lambda x: gg.roll(x, 1), lambda x: np.roll(x, 1), [(0, 5)]),
    ("tril", gg.tril, np.tril, [(2, 3, 4)]),
    ("tril above", lambda x: gg.tril(x, k=1), lambda x: np.tril(x, 1), [(4, 3)]),
    ("tril far", lambda x: gg.tril(x, k=-9), lambda x: np.tril(x, -9), [(4, 3)]),
    ("triu", lambda x: gg.triu(x, k=-1), lambda x: np.triu(x, -1), [(4, 3)]),
    ("triu far", lambda x: gg.triu(x, k=9), lambda x: np.triu(x, 9), [(4, 3)]),
    ("split", lambda x: gg.concat(gg.split(x, 2, axis=1)[::-1], axis=1), lambda x: x[:, [4, 2, 3, 0, 1]], [(2, 5)]),
]


def filled(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2 if dtype == "bool" else 100, shape)
    if dtype.startswith("complex"):
        return (values + 1j * rng.integers(0, 100, shape)).astype(dtype)
    return np.asarray(values).astype(dtype)


def layouts(array: np.ndarray[Any, Any]) -> Iterator[gg.Tensor]:
    """Yield tensors with the array's elements in several memory layouts."""
    yield gg.asarray(array)
    yield gg.permute_dims(gg.asarray(np.array(array.T, order="C")), tuple(range(array.ndim))[::-1])
    wide = np.zeros(tuple(2 * n for n in array.shape), dtype=array.dtype)
    wide[tuple(slice(None, None, 2) for _ in array.shape)] = array
    yield gg.asarray(wide)[tuple(slice(None, None, 2) for _ in array.shape)]


@pytest.mark.parametrize(
    ("ours", "theirs", "shapes"), [c[1:] for c in VIEWS + MOVES], ids=[c[0] for c in VIEWS + MOVES]
)
def test_values_agree_with_numpy_in_every_layout(
    ours: Callable[..., Any], theirs: Callable[..., Any], shapes: list[tuple[int, ...]]
) -> None:
    arrays = [filled(shape, "int64", i) for i, shape in enumerate(shapes)]
    expected = theirs(*arrays)
    for operands in zip(*(layouts(a) for a in arrays), strict=True):
        actual = ours(*operands)
        assert actual.shape == expected.shape
        np.testing.assert_array_equal(np.asarray(actual), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("ours", "theirs", "shapes"), [c[1:] for c in MOVES], ids=[c[0] for c in MOVES])
def test_moves_serve_every_dtype(
    ours: Callable[..., Any], theirs: Callable[..., Any], shapes: list[tuple[int, ...]], dtype: str
) -> None:
    arrays = [filled(shape, dtype, i) for i, shape in enumerate(shapes)]
    actual = ours(*(gg.asarray(a) for a in arrays))
    assert str(actual.dtype) == dtype
    np.testing.assert_array_equal(np.asarray(actual), theirs(*arrays))


@pytest.mark.parametrize(("ours", "shapes"), [(c[1], c[3]) for c in VIEWS], ids=[c[0] for c in VIEWS])
def test_views_share_memory(ours: Callable[..., Any], shapes: list[tuple[int, ...]]) -> None:
    x = gg.zeros(shapes[0], dtype=gg.float32)
    y = ours(x)
    x.fill_(5.0)
    assert (np.asarray(y) == 5.0).all()


@pytest.mark.parametrize(("ours", "shapes"), [(c[1], c[3]) for c in VIEWS + MOVES], ids=[c[0] for c in VIEWS + MOVES])
def test_gradients_agree_with_differences(ours: Callable[..., Any], shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    operands = [gg.asarray(rng.standard_normal(shape)) for shape in shapes]
    gg.testing.gradcheck(lambda *xs: gg.square(ours(*xs)), operands, second=True)


@pytest.mark.parametrize(
    "ours",
    [
        lambda x: gg.concat([x, x.T], axis=1),
        lambda x: gg.tile(x.T, (2, 2)),
        lambda x: gg.roll(x.T, 3, axis=1),
        lambda x: gg.tril(x.T),
        lambda x: gg.grad(x[::2, 1:].sum(), [x])[0],
        lambda x: gg.grad(gg.broadcast_to(x[0], (7, 300)).sum(), [x])[0],
    ],
)
def test_threads_do_not_change_bits(ours: Callable[[gg.Tensor], gg.Tensor]) -> None:
    before = gg.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            x = gg.asarray(np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)).requires_grad_()
            results.append(np.asarray(ours(x).detach()).tobytes())
    finally:
        gg.set_num_threads(before)
    assert results[0] == results[1]


def test_concat_and_stack_promote() -> None:
    parts = [gg.asarray([1, 2]), gg.asarray([0.5, 1.5], dtype=gg.float64)]
    assert gg.concat(parts).dtype == gg.float64
    assert gg.concat(parts).tolist() == [1.0, 2.0, 0.5, 1.5]
    assert gg.stack(parts).dtype == gg.float64


def test_concat_takes_more_operands_than_a_mask_has_bits() -> None:
    parts = [gg.asarray([i], dtype=gg.int32 if i % 2 else gg.int64) for i in range(100)]
    assert gg.concat(parts).tolist() == list(range(100))
    leaves = [gg.asarray([float(i)]).requires_grad_() for i in range(50)]
    (gg.concat(leaves) * gg.asarray(np.arange(50.0, dtype=np.float32))).sum().backward()
    assert [x.grad.item() for x in leaves] == [float(i) for i in range(50)]


def test_split_by_sizes_and_gradients_of_unused_sections() -> None:
    x = gg.asarray(np.arange(6.0)).requires_grad_()
    first, middle, last = gg.split(x, (1, 2, 3))
    assert middle.tolist() == [1.0, 2.0]
    ((first * 10.0).sum() + (last * last).sum()).backward()
    assert x.grad.tolist() == [10.0, 0.0, 0.0, 6.0, 8.0, 10.0]


def test_rank_32_and_what_is_above() -> None:
    x = gg.zeros((1,) * 31 + (2,))
    assert gg.flip(x).shape == (1,) * 31 + (2,)
    with pytest.raises(ValueError, match="rank must be at most 32, got 33"):
        gg.expand_dims(x, axis=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: gg.permute_dims(x, (0,)),
            ValueError,
            r"permute_dims: axes must be a permutation of the 2 axes of x",
        ),
        (lambda x: gg.broadcast_to(x, (3, 3)), ValueError, r"broadcast_to: shape must be one that x of shape \(2, 3\)"),
        (lambda x: gg.expand_dims(x, axis=4), IndexError, r"expand_dims: axis must be in \[-3, 3\), got 4"),
        (
            lambda x: gg.squeeze(x, axis=0),
            ValueError,
            r"squeeze: axis must name an axis of length 1, got 0 of le",
        ),
        (lambda x: gg.reshape(x, (4, 2)), ValueError, r"reshape: shape must have 6 elements.*got \(4, 2\)"),
        (lambda x: gg.reshape(x, (-1, -1)), ValueError, r"reshape: shape must have 6 elements, with at most one size"),
        (lambda x: gg.flip(x, axis=2), ValueError, r"flip: axis must be in \[-2, 2\), got 2"),
        (lambda x: gg.diagonal(x, 0, 1, 1), ValueError, r"diagonal: axis1 and axis2 must differ, got 1 and 1"),
        (lambda x: gg.diagonal(x[0]), ValueError, r"diagonal: x must have rank at least 2, got 1"),
        (lambda x: gg.concat([x, x[0]]), ValueError, r"concat: arrays must have the same shape but for axis 0"),
        (lambda x: gg.concat([x][:0]), ValueError, r"concat: arrays must hold at least one tensor, got none"),
        (lambda x: gg.concat([x], axis=2), ValueError, r"concat: axis must be in \[-2, 2\), got 2"),
        (
            lambda x: gg.stack([x, x.T]),
            ValueError,
            r"stack: arrays must have the same shape, got \(2, 3\) and",
        ),
        (lambda x: gg.tile(x, (-1,)), ValueError, r"tile: repetitions must not be negative, got \(-1,\)"),
        (lambda x: gg.repeat(x, -1), ValueError, r"repeat: repeats must not be negative, got -1"),
        (lambda x: gg.roll(x, (1, 2), axis=0), ValueError, r"roll: shift must be one integer or one per axis"),
        (lambda x: gg.tril(x[0]), ValueError, r"tril: x must have rank at least 2, got 1"),
        (lambda x: gg.split(x, (1, 2)), ValueError, r"split: sizes must sum to the length 2 of the axis, got \(1, 2\)"),
        (lambda x: gg.split(x, 0), ValueError, r"split: size must be at least 1, got 0"),
        (lambda x: gg.unstack(x, axis=2), ValueError, r"unstack: axis must be in \[-2, 2\), got 2"),
    ],
)
def test_messages_name_op_argument_and_value(call: Callable[[gg.Tensor], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gg.zeros((2, 3)))


def test_repeats_of_a_tensor_have_figures_in_their_errors() -> None:
    x = gg.ones((2, 3))
    with pytest.raises(ValueError, match="repeat: repeats must have 1 or 3 elements, one for each of axis 1, got 2"):
        gg.repeat(x, gg.asarray([1, 2]), axis=1)
    with pytest.raises(ValueError, match="repeat: repeats must not be negative, got -1"):
        gg.repeat(x, gg.asarray([1, -1]), axis=0)
    with pytest.raises(TypeError, match=r"repeat: repeats must be an integer or .*got shape \(2, 2\) and dtype int64"):
        gg.repeat(x, gg.asarray([[1, 2], [3, 4]]), axis=0)
    with pytest.raises(TypeError, match="and dtype float32"):
        gg.repeat(x, gg.asarray([0.5]), axis=0)


@pytest.mark.parametrize("dtype", ["bool", "int16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 16, 33, 70])
def test_many_short_lines_are_joined_and_repeated_as_numpy_does(width: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1301, width)) * 9).astype(dtype)
    y = (rng.standard_normal((1301, 3)) * 9).astype(dtype)
    z = (rng.standard_normal((5, 270, width)) * 9).astype(dtype)
    for a, b, c in (
        (gg.asarray(x), gg.asarray(y), gg.asarray(z)),
        (
            gg.asarray(np.array(x.T, order="C")).T,
            gg.asarray(np.repeat(y, 2, axis=1))[:, ::2],
            gg.flip(gg.asarray(z[::-1].copy()), axis=0),
        ),
    ):
        for ours, theirs in (
            (gg.concat([a, b, a], axis=1), np.concatenate([x, y, x], axis=1)),
            (gg.concat([a, a], axis=0), np.concatenate([x, x])),
            (gg.concat([a, b], axis=None), np.concatenate([x, y], axis=None)),
            (gg.concat([c, c, c], axis=1), np.concatenate([z, z, z], axis=1)),
            (gg.stack([a, a], axis=1), np.stack([x, x], axis=1)),
            (gg.stack([a, a, a], axis=-1), np.stack([x, x, x], axis=-1)),
            (gg.stack([c, c], axis=1), np.stack([z, z], axis=1)),
            (gg.tile(a, (2, 3)), np.tile(x, (2, 3))),
            (gg.tile(c, (3, 1, 2)), np.tile(z, (3, 1, 2))),
            (gg.repeat(a, 3, axis=1), np.repeat(x, 3, axis=1)),
            (gg.repeat(a, 2, axis=0), np.repeat(x, 2, axis=0)),
            (gg.repeat(c, 5, axis=1), np.repeat(z, 5, axis=1)),
            (gg.roll(a, 1, axis=1), np.roll(x, 1, axis=1)),
            (gg.roll(c, -3, axis=-1), np.roll(z, -3, axis=-1)),
        ):
            np.testing.assert_array_equal(np.asarray(ours), theirs)

"""Compositions that cut, join, lay out and multiply: against NumPy, SciPy and PyTorch; views, gradients, messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import gorgo as gg
from gorgo import contraction

torch = pytest.importorskip("torch")

Case = tuple[str, Callable[..., Any], Callable[..., Any], list[tuple[int, ...]]]
# (name, ours, NumPy's, shapes of the operands); a result may be a tuple
CASES: list[Case] = [
    ("tensor_split", lambda x: gg.tensor_split(x, 3), lambda x: np.array_split(x, 3), [(7, 2)]),
    ("tensor_split at", lambda x: gg.tensor_split(x, (1, 5, 9), 1), lambda x: np.split(x, (1, 5, 9), 1), [(2, 7)]),
    ("tensor_split back", lambda x: gg.tensor_split(x, (-3, -1)), lambda x: np.split(x, (-3, -1)), [(7,)]),
    ("tensor_split many", lambda x: gg.tensor_split(x, 5), lambda x: np.array_split(x, 5), [(3,)]),
    ("hsplit", lambda x: gg.hsplit(x, 3), lambda x: np.hsplit(x, 3), [(2, 6)]),
    ("hsplit of a vector", lambda x: gg.hsplit(x, (2,)), lambda x: np.hsplit(x, (2,)), [(6,)]),
    ("vsplit", lambda x: gg.vsplit(x, 2), lambda x: np.vsplit(x, 2), [(4, 3)]),
    ("dsplit", lambda x: gg.dsplit(x, 2), lambda x: np.dsplit(x, 2), [(2, 3, 4)]),
    ("unbind", lambda x: gg.unbind(x, 1), lambda x: tuple(np.moveaxis(x, 1, 0)), [(2, 3)]),
    ("chunk", lambda x: gg.chunk(x, 3, 1), lambda x: (x[:, :3], x[:, 3:6], x[:, 6:]), [(2, 7)]),
    ("flatten", lambda x: gg.flatten(x), lambda x: x.reshape(-1), [(2, 3, 4)]),
    ("flatten some", lambda x: gg.flatten(x, 1, 2), lambda x: x.reshape(2, 12, 5), [(2, 3, 4, 5)]),
    ("flatten nothing", lambda x: gg.flatten(x), lambda x: x.reshape(1), [()]),
    ("ravel", gg.ravel, np.ravel, [(2, 3)]),
    ("unflatten", lambda x: gg.unflatten(x, -1, (3, -1)), lambda x: x.reshape(2, 3, 4), [(2, 12)]),
    ("movedim", lambda x: gg.movedim(x, (0, 1), (-1, 0)), lambda x: np.moveaxis(x, (0, 1), (-1, 0)), [(2, 3, 4)]),
    *[
        (f"rot90 {k}", lambda x, k=k: gg.rot90(x, k, (0, 2)), lambda x, k=k: np.rot90(x, k, (0, 2)), [(2, 3, 4)])
        for k in range(-2, 5)
    ],
    ("flipud", gg.flipud, np.flipud, [(3, 2)]),
    ("fliplr", gg.fliplr, np.fliplr, [(3, 2)]),
    *[
        (f"atleast_{n}d of {s}", getattr(gg, f"atleast_{n}d"), getattr(np, f"atleast_{n}d"), [s])
        for n in (1, 2, 3)
        for s in ((), (2,), (2, 3), (2, 3, 4))
    ],
    ("hstack", lambda *xs: gg.hstack(xs), lambda *xs: np.hstack(xs), [(2, 1), (2, 3)]),
    ("hstack vectors", lambda *xs: gg.hstack(xs), lambda *xs: np.hstack(xs), [(2,), (3,)]),
    ("hstack numbers", lambda *xs: gg.hstack(xs), lambda *xs: np.hstack(xs), [(), ()]),
    ("vstack", lambda *xs: gg.vstack(xs), lambda *xs: np.vstack(xs), [(3,), (2, 3)]),
    ("dstack", lambda *xs: gg.dstack(xs), lambda *xs: np.dstack(xs), [(2, 3), (2, 3, 2)]),
    ("column_stack", lambda *xs: gg.column_stack(xs), lambda *xs: np.column_stack(xs), [(2,), (2, 3)]),
    ("block_diag", gg.block_diag, scipy.linalg.block_diag, [(2, 3), (4,), (), (1, 2)]),
    (
        "cartesian_prod",
        gg.cartesian_prod,
        lambda *xs: np.stack([g.reshape(-1) for g in np.meshgrid(*xs, indexing="ij")], -1),
        [(2,), (3,), (2,)],
    ),
    ("cartesian_prod of one", gg.cartesian_prod, lambda x: x, [(3,)]),
    ("diag", lambda x: gg.diag(x, 1), lambda x: np.diag(x, 1), [(3, 4)]),
    ("diag of a vector", lambda x: gg.diag(x, -2), lambda x: np.diag(x, -2), [(3,)]),
    ("diag_embed", lambda x: gg.diag_embed(x, 1), lambda x: np.stack([np.diag(v, 1) for v in x]), [(2, 3)]),
    ("trace", lambda x: gg.trace(x, offset=1), lambda x: np.trace(x, 1, -2, -1), [(2, 3, 4)]),
    ("outer", gg.outer, np.outer, [(3,), (2, 2)]),
    ("inner", gg.inner, np.inner, [(2, 3), (4, 3)]),
    ("inner of vectors", gg.inner, np.inner, [(3,), (3,)]),
    ("inner with a number", gg.inner, np.inner, [(), (3,)]),
    ("kron", gg.kron, np.kron, [(2, 3), (3, 2)]),
    ("kron of ranks", gg.kron, np.kron, [(2,), (2, 3, 2)]),
    ("cross", gg.cross, np.cross, [(2, 3), (3,)]),
    ("cross elsewhere", lambda x, y: gg.cross(x, y, axis=0), lambda x, y: np.cross(x, y, axis=0), [(3, 2), (3, 2)]),
    ("vander", lambda x: gg.vander(x), lambda x: np.vander(x), [(4,)]),
    ("vander rising", lambda x: gg.vander(x, 3, increasing=True), lambda x: np.vander(x, 3, increasing=True), [(4,)]),
    ("vander of none", lambda x: gg.vander(x, 0), lambda x: np.vander(x, 0), [(4,)]),
    (
        "repeat_interleave",
        lambda x: gg.repeat_interleave(x, gg.asarray([2, 0, 3]), 1),
        lambda x: np.repeat(x, [2, 0, 3], 1),
        [(2, 3)],
    ),
    ("repeat_interleave flat", lambda x: gg.repeat_interleave(x, 2), lambda x: np.repeat(x, 2), [(2, 3)]),
]
IDS = [c[0] for c in CASES]


def listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]


@pytest.mark.parametrize(("ours", "theirs", "shapes"), [c[1:] for c in CASES], ids=IDS)
@pytest.mark.parametrize("dtype", ["float32", "int16", "complex128"])
def test_values_agree_with_numpy(
    ours: Callable[..., Any], theirs: Callable[..., Any], shapes: list[tuple[int, ...]], dtype: str
) -> None:
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.integers(0, 4, shape)).astype(dtype) for shape in shapes]
    got, expected = listed(ours(*[gg.asarray(a) for a in arrays])), listed(theirs(*arrays))
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(g), e)


@pytest.mark.parametrize(("ours", "shapes"), [(c[1], c[3]) for c in CASES], ids=IDS)
def test_gradients_agree_with_differences(ours: Callable[..., Any], shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    operands = [gg.asarray(rng.standard_normal(shape)) for shape in shapes]

    def function(*xs: gg.Tensor) -> gg.Tensor:
        return gg.concat([gg.reshape(gg.square(part), (-1,)) for part in listed(ours(*xs))], axis=0)

    gg.testing.gradcheck(function, operands, second=True)


def test_splits_and_turns_are_views() -> None:
    x = gg.zeros((4, 6))
    for view in (
        gg.tensor_split(x, 4)[1],
        gg.hsplit(x, 2)[1],
        gg.chunk(x, 2)[0],
        gg.rot90(x),
        gg.rot90(x, 3),
        gg.flatten(x),
        gg.unflatten(x, 1, (2, 3)),
        gg.diag(x),
        gg.fliplr(x),
        x.unbind()[2],
    ):
        x.zero_()
        view.fill_(1.0)
        assert bool(x.any())


def test_positions_of_triangles() -> None:
    for n, m, k in ((3, 4, 0), (4, 3, -1), (3, 3, 2), (2, 5, -3)):
        np.testing.assert_array_equal(np.asarray(gg.tril_indices(n, m, k)), torch.tril_indices(n, m, k).numpy())
        np.testing.assert_array_equal(np.asarray(gg.triu_indices(n, m, k)), torch.triu_indices(n, m, k).numpy())
    assert gg.tril_indices(3).shape == (2, 6)


def test_diag_embed_agrees_with_pytorch() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3))
    for offset, axes in ((0, (-2, -1)), (2, (0, 2)), (-1, (2, 0)), (1, (1, -3))):
        expected = torch.diag_embed(torch.from_numpy(x), offset, *axes).numpy()
        np.testing.assert_array_equal(np.asarray(gg.diag_embed(gg.asarray(x), offset, *axes)), expected)


EQUATIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    (" i j , j k -> k i ", [(2, 3), (3, 4)]),
    ("ba", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ii", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("iji->j", [(3, 2, 3)]),
    ("iij,ijj->ij", [(2, 2, 3), (2, 3, 3)]),
    ("ij,ij->", [(2, 3), (2, 3)]),
    ("i,j->ji", [(2,), (3,)]),
    ("i,i->i", [(3,), (3,)]),
    (",->", [(), ()]),
    (",i", [(), (3,)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 2, 5)]),
    ("bhqk,bkhd->bqhd", [(2, 3, 4, 5), (2, 5, 3, 2)]),
    ("abc,bad->cd", [(2, 3, 4), (3, 2, 5)]),
    ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]),
    ("...ij,jk", [(2, 2, 3), (3, 4)]),
    ("i...->...", [(3, 2, 4)]),
    ("i...,i...->...i", [(3, 2), (3, 4, 1)]),
    ("...,...", [(2, 3), (3,)]),
    ("ij,ik,jk->", [(2, 3), (2, 4), (3, 4)]),
    ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 2), (2, 3)]),
    ("ab,b,b,bc->ac", [(2, 3), (3,), (3,), (3, 4)]),
    ("ij,jk,kl,lm,mn,no,op->ip", [(2, 3), (3, 2), (2, 3), (3, 2), (2, 3), (3, 2), (2, 3)]),
    ("ij,ij->i", [(1, 4), (3, 4)]),
    ("ij,jk->k", [(1, 4), (4, 3)]),
    ("aj,jk->ak", [(0, 4), (4, 3)]),
    ("aj,jk->ak", [(2, 0), (0, 3)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
def test_einsum_agrees_with_numpy(equation: str, shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    expected = np.einsum(equation, *arrays)
    got = gg.einsum(equation, *[gg.asarray(a) for a in arrays])
    assert got.shape == expected.shape
    np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-13, atol=1e-13)
    wide = [gg.asarray(np.array(a.T, order="C")).permute_dims(tuple(range(a.ndim))[::-1]) for a in arrays]
    np.testing.assert_allclose(np.asarray(gg.einsum(equation, *wide)), expected, rtol=1e-13, atol=1e-13)
    if all(np.size(a) for a in arrays):
        gg.testing.gradcheck(
            lambda *xs: gg.square(gg.einsum(equation, *xs)), [gg.asarray(a) for a in arrays], second=True
        )


def test_einsum_takes_complex_numbers_integers_and_sums_ellipses_that_go() -> None:
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(np.asarray(gg.einsum("ij,jk->ik", gg.asarray(a), gg.asarray(b))), a @ b)
    np.testing.assert_array_equal(np.asarray(gg.einsum("ij,jk", gg.asarray(a * 1j), gg.asarray(b * 1.0))), a @ b * 1j)
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(np.asarray(gg.einsum("...i->i", gg.asarray(x))), x.sum((0, 1)))


def test_einsum_contracts_in_the_cheapest_order() -> None:
    # From the left this would make a matrix of a million elements; from the right only vectors.
    big, vector = gg.ones((1000, 2)), gg.ones((1000,))
    out = gg.einsum("ik,jk,j->i", big, big, vector)
    np.testing.assert_array_equal(np.asarray(out), np.full(1000, 2000.0, np.float32))
    plan = contraction._plan("ik,jk,j->i", ((1000, 2), (1000, 2), (1000,)))
    assert plan.orders[0] == (1, 2)


def test_einsum_can_be_captured() -> None:
    rng = np.random.default_rng(0)
    arrays = [gg.asarray(rng.standard_normal(s).astype(np.float32)) for s in ((4, 3), (3, 5), (5, 2))]

    def function(*xs: gg.Tensor) -> gg.Tensor:
        return gg.einsum("ab,bc,cd->ad", *xs)

    compiled = gg.compile(function)
    for _ in range(3):
        assert compiled(*arrays).tolist() == function(*arrays).tolist()
    assert compiled.recordings == 1


def test_numpy_integers_are_integers() -> None:
    x = gg.asarray(np.arange(12.0).reshape(2, 6))
    two, one = np.int64(2), np.int32(1)
    calls: list[Callable[[Any, Any], Any]] = [
        lambda n, axis: gg.chunk(x, n, axis),
        lambda n, axis: gg.tensor_split(x, n, axis),
        lambda n, axis: (*gg.hsplit(x, n), *gg.split(x, n, axis=axis)),
        lambda n, axis: (gg.flatten(x, 0, axis), gg.unflatten(x, axis, (n, -1)), gg.diff(x, n=n, axis=axis)),
        lambda n, axis: (gg.moveaxis(x, axis, 0), gg.rot90(x, n, (axis, 0)), gg.kthvalue(x, n, axis).values),
    ]
    for call in calls:
        for got, expected in zip(call(two, one), call(2, 1), strict=True):
            np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))
    # An array without axes is a number.
    assert [part.shape for part in gg.tensor_split(x, np.array(3), 1)] == [(2, 2)] * 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: gg.einsum("ij,jk", x), ValueError, r"einsum: equation must name 1 operands, got 2 in 'ij,jk'"),
        (lambda x: gg.einsum("ijk", x), ValueError, r"einsum: operand 0 must have 3 axes, as 'ijk' says, got 2"),
        (lambda x: gg.einsum("ijk...", x), ValueError, r"einsum: operand 0 must have at least 3 axes"),
        (lambda x: gg.einsum("i1", x), ValueError, r"einsum: equation must consist of letters"),
        (lambda x: gg.einsum("ij->ik", x), ValueError, r"einsum: output must name labels of the operands once each"),
        (lambda x: gg.einsum("ij->ii", x), ValueError, r"einsum: output must name labels of the operands once each"),
        (lambda x: gg.einsum("ii", x), ValueError, r"einsum: label 'i' must have one length, got 2 and 3"),
        (lambda x: gg.einsum("ij,ij", x, x.T), ValueError, r"einsum: label 'i' must have one length, got 2 and 3"),
        (lambda x: gg.einsum("...,...", x, x.T), ValueError, r"einsum: an axis of the ellipsis must have one length"),
        (lambda _: gg.einsum("ij"), ValueError, r"einsum: operands must be given, got none"),
        (lambda x: gg.einsum(x, x), TypeError, r"einsum: equation must be a str, got Tensor"),
        (lambda x: gg.chunk(x, 0), ValueError, r"chunk: chunks must be positive, got 0"),
        (lambda x: gg.tensor_split(x, 0), ValueError, r"tensor_split: sections must be positive, got 0"),
        (lambda x: gg.tensor_split(x, 2, 5), ValueError, r"tensor_split: axis must be in \[-2, 2\), got 5"),
        (lambda x: gg.hsplit(x, 2), ValueError, r"hsplit: sections must divide the length 3 of axis 1, got 2"),
        (lambda x: gg.vsplit(x[0], 1), ValueError, r"vsplit: x must have two axes or more, got shape \(3,\)"),
        (lambda x: gg.dsplit(x, 1), ValueError, r"dsplit: x must have three axes or more"),
        (lambda x: gg.flatten(x, 1, 0), ValueError, r"flatten: end_axis must not lie before start_axis, got 1 and 0"),
        (
            lambda x: gg.unflatten(x, 1, (2, -1)),
            ValueError,
            r"unflatten: sizes must multiply to the length 3 of axis 1",
        ),
        (lambda x: gg.rot90(x, 1, (0, 0)), ValueError, r"rot90: axes must differ, got \(0, 0\)"),
        (
            lambda x: gg.repeat_interleave(x, gg.asarray([1, -1]), 0),
            ValueError,
            r"repeat_interleave: repeats must not be",
        ),
        (
            lambda x: gg.repeat_interleave(x, gg.asarray([1] * 3), 0),
            ValueError,
            r"repeat_interleave: repeats must have shape",
        ),
        (lambda _: gg.block_diag(), ValueError, r"block_diag: arrays must hold at least one tensor, got none"),
        (lambda x: gg.cartesian_prod(x), ValueError, r"cartesian_prod: vectors must have one axis, got shape \(2, 3\)"),
        (lambda x: gg.diag(x[None]), ValueError, r"diag: x must have one or two axes, got shape \(1, 2, 3\)"),
        (lambda x: gg.diag_embed(x, 0, 1, 1), ValueError, r"diag_embed: axis1 and axis2 must differ, got 1 and 1"),
        (lambda x: gg.cross(x, x, axis=0), ValueError, r"cross: axis 0 must be of length 3 in both"),
        (lambda x: gg.vander(x), ValueError, r"vander: x must have one axis, got shape \(2, 3\)"),
    ],
)
def test_messages_name_op_argument_and_value(call: Callable[[gg.Tensor], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gg.zeros((2, 3)))

"""Searching, sets, counting and order statistics against NumPy and PyTorch: values, gradients, NaN, messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")

NAN = float("nan")


def array(t: gg.Tensor) -> Any:
    return np.asarray(t.detach())


# ---- searching ----


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64"])
def test_searchsorted_agrees_with_numpy(side: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    edges = np.sort(rng.integers(0, 9, 20).astype(dtype))
    values = rng.integers(0, 10, (3, 7)).astype(dtype)
    expected = np.searchsorted(edges, values, side)
    got = gg.searchsorted(gg.asarray(edges), gg.asarray(values), side=side)
    assert got.dtype == gg.int64
    np.testing.assert_array_equal(array(got), expected)
    order = rng.permutation(20)
    shuffled, sorter = edges[order], np.argsort(edges[order], kind="stable")
    got = gg.searchsorted(gg.asarray(shuffled), gg.asarray(values), side=side, sorter=gg.asarray(sorter))
    np.testing.assert_array_equal(array(got), expected)


@pytest.mark.parametrize("right", [False, True])
def test_lines_are_searched_for_lines(right: bool) -> None:
    rng = np.random.default_rng(0)
    edges, values = np.sort(rng.standard_normal((2, 3, 9))), rng.standard_normal((2, 3, 5))
    expected = torch.searchsorted(torch.from_numpy(edges), torch.from_numpy(values), right=right).numpy()
    np.testing.assert_array_equal(array(gg.bucketize(gg.asarray(values), gg.asarray(edges), right=right)), expected)
    side = "right" if right else "left"
    np.testing.assert_array_equal(array(gg.searchsorted(gg.asarray(edges), gg.asarray(values), side=side)), expected)


def test_nan_lies_behind_all_numbers() -> None:
    edges = np.array([1.0, np.inf, np.nan, np.nan])
    values = np.array([np.nan, np.inf, 0.0])
    for side in ("left", "right"):
        got = gg.searchsorted(gg.asarray(edges), gg.asarray(values), side=side)
        np.testing.assert_array_equal(array(got), np.searchsorted(edges, values, side))


def test_numbers_and_dtypes_mix() -> None:
    assert gg.searchsorted(gg.asarray([1, 2, 3]), 2.5).item() == 2
    assert gg.bucketize(2, gg.asarray([1.0, 2.0])).item() == 1
    assert gg.searchsorted(gg.asarray([1, 2, 3]), gg.asarray([0.5, 2.5], dtype=gg.float64)).tolist() == [0, 2]


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 4)])
def test_argwhere_agrees_with_numpy(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 2, shape)
    np.testing.assert_array_equal(array(gg.argwhere(gg.asarray(x))), np.argwhere(x))


# ---- sets ----


@pytest.mark.parametrize("dtype", ["bool", "uint16", "int8", "int64", "float16", "float32", "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (4, 9), (300,)])
def test_unique_agrees_with_numpy(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = np.asarray(rng.integers(0, 6, shape)).astype(dtype)
    if "complex" in dtype:
        x = x + np.asarray(rng.integers(0, 3, shape) * 1j).astype(dtype)
    values, indices, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    found = gg.unique_all(gg.asarray(x))
    expected = (values, indices, inverse.reshape(shape), counts)
    for g, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array(g), e)
    np.testing.assert_array_equal(array(gg.unique_values(gg.asarray(x))), values)
    np.testing.assert_array_equal(array(gg.unique_counts(gg.asarray(x)).counts), counts)
    np.testing.assert_array_equal(array(gg.unique_inverse(gg.asarray(x)).inverse_indices), inverse.reshape(shape))
    assert [str(t.dtype).removeprefix("gorgo.") for t in found[1:]] == ["int64"] * 3


def test_every_nan_is_distinct_and_zeros_are_not() -> None:
    found = gg.unique_all(gg.asarray([NAN, 0.0, -0.0, NAN]))
    np.testing.assert_array_equal(array(found.values), [0.0, NAN, NAN])
    assert found.counts.tolist() == [2, 1, 1]
    assert sorted(found.inverse_indices.tolist()) == [0, 0, 1, 2]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_unique_slices_agree_with_numpy(axis: int) -> None:
    x = np.random.default_rng(0).integers(0, 2, (12, 3, 2))
    values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True, axis=axis)
    got = gg.unique(gg.asarray(x), return_inverse=True, return_counts=True, axis=axis)
    for g, e in zip(got, (values, inverse.reshape(-1), counts), strict=True):
        np.testing.assert_array_equal(array(g), e)


@pytest.mark.parametrize("invert", [False, True])
def test_isin_agrees_with_numpy(invert: bool) -> None:
    rng = np.random.default_rng(0)
    for dtype in ("int32", "float32", "complex64", "bool"):
        x, among = rng.integers(0, 9, (4, 5)).astype(dtype), rng.integers(3, 6, (2, 2)).astype(dtype)
        got = gg.isin(gg.asarray(x), gg.asarray(among), invert=invert)
        np.testing.assert_array_equal(array(got), np.isin(x, among, invert=invert))
    assert gg.isin(gg.asarray([1.0, NAN]), gg.asarray([NAN, 1.0]), invert=invert).tolist() == [not invert, invert]
    assert gg.isin(gg.asarray([1, 2]), gg.asarray([], dtype=gg.int64), invert=invert).tolist() == [invert] * 2
    assert gg.isin(gg.asarray([1, 2]), 2, invert=invert).tolist() == [invert, not invert]
    assert gg.isin(3, gg.asarray([1, 2]), invert=invert).item() == invert


# ---- counting ----


def test_bincount_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 9, 50), rng.standard_normal(50)
    np.testing.assert_array_equal(array(gg.bincount(gg.asarray(x), minlength=12)), np.bincount(x, minlength=12))
    np.testing.assert_allclose(array(gg.bincount(gg.asarray(x), gg.asarray(w))), np.bincount(x, w), rtol=1e-14)
    assert gg.bincount(gg.asarray([], dtype=gg.int64)).tolist() == []
    weights = gg.asarray(w)
    gg.testing.gradcheck(lambda v: gg.square(gg.bincount(gg.asarray(x), v)), [weights], second=True)


@pytest.mark.parametrize("bins", [1, 7, np.array([-1.0, 0.0, 0.25, 2.0])])
@pytest.mark.parametrize("limits", [None, (-1.0, 1.5)])
@pytest.mark.parametrize("density", [False, True])
def test_histogram_agrees_with_numpy(bins: Any, limits: Any, density: bool) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 6, 50))
    ours = gg.asarray(bins) if isinstance(bins, np.ndarray) else bins
    for weights in (None, w):
        expected, edges = np.histogram(x, bins, limits, density=density, weights=weights)
        counts, cuts = gg.histogram(
            gg.asarray(x), ours, limits, None if weights is None else gg.asarray(weights), density
        )
        np.testing.assert_allclose(array(counts), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(array(cuts), edges, rtol=1e-14)


def test_histogram_at_its_ends() -> None:
    counts, edges = gg.histogram(gg.asarray([3, 3, 3]), 2)
    assert counts.tolist() == np.histogram([3, 3, 3], 2)[0].tolist()
    assert edges.tolist() == [2.5, 3.0, 3.5]
    assert gg.histogram(gg.asarray([1.0, 2.0, 3.0]), gg.asarray([1.0, 2.0, 3.0]))[0].tolist() == [1, 2]
    assert gg.histogram(gg.zeros((0,)), 2)[0].tolist() == [0, 0]


# ---- order statistics ----


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_picked_elements_agree_with_pytorch(axis: int, keepdims: bool) -> None:
    x = np.random.default_rng(0).permutation(60).reshape(5, 12).astype(np.float64)
    t, g = torch.from_numpy(x), gg.asarray(x)
    pairs: list[tuple[Any, Any]] = [
        (gg.kthvalue(g, 3, axis, keepdims), torch.kthvalue(t, 3, axis, keepdims)),
        (gg.median(g, axis, keepdims), torch.median(t, axis, keepdims)),
        (gg.nanmedian(g, axis, keepdims), torch.nanmedian(t, axis, keepdims)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(array(ours.values), theirs.values.numpy())
        np.testing.assert_array_equal(array(ours.indices), theirs.indices.numpy())


def test_medians_of_nan_and_of_everything() -> None:
    x = np.array([[4.0, NAN, 1.0, 3.0], [4.0, 2.0, 1.0, 3.0], [NAN] * 4])
    t, g = torch.from_numpy(x), gg.asarray(x)
    np.testing.assert_array_equal(array(gg.median(g, 1).values), torch.median(t, 1).values.numpy())
    np.testing.assert_array_equal(array(gg.nanmedian(g, 1).values), torch.nanmedian(t, 1).values.numpy())
    assert np.isnan(gg.median(g).item())
    assert gg.nanmedian(g).item() == torch.nanmedian(t).item()
    assert gg.median(gg.asarray([3, 1, 2, 4])).item() == 2
    assert gg.median(gg.asarray([[3, 1]]), keepdims=True).shape == (1, 1)


def test_mode_agrees_with_pytorch() -> None:
    x = np.random.default_rng(0).integers(0, 4, (6, 15))
    for axis in (0, 1):
        ours, theirs = gg.mode(gg.asarray(x), axis), torch.mode(torch.from_numpy(x), axis)
        np.testing.assert_array_equal(array(ours.values), theirs.values.numpy())
        picked = np.take_along_axis(x, np.expand_dims(array(ours.indices), axis), axis).squeeze(axis)
        np.testing.assert_array_equal(picked, theirs.values.numpy())


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "nearest", "midpoint"])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("q", [0.0, 0.35, 1.0, [0.1, 0.5, 0.9]])
def test_quantiles_agree_with_numpy(interpolation: Any, axis: int | None, q: Any) -> None:
    x = np.random.default_rng(0).standard_normal((7, 10))
    for keepdims in (False, True):
        expected = np.quantile(x, q, axis, method=interpolation, keepdims=keepdims)
        got = gg.quantile(gg.asarray(x), q, axis, keepdims, interpolation=interpolation)
        np.testing.assert_allclose(array(got), expected, rtol=1e-14, atol=1e-15)
    x[2, 3] = NAN
    np.testing.assert_allclose(
        array(gg.quantile(gg.asarray(x), q, axis, interpolation=interpolation)),
        np.quantile(x, q, axis, method=interpolation),
        rtol=1e-14,
    )
    np.testing.assert_allclose(
        array(gg.nanquantile(gg.asarray(x), q, axis, interpolation=interpolation)),
        np.nanquantile(x, q, axis, method=interpolation),
        rtol=1e-13,
    )
    share = np.asarray(q) * 100
    np.testing.assert_allclose(
        array(gg.percentile(gg.asarray(x[3:]), gg.asarray(share), axis)),
        np.percentile(x[3:], share, axis),
        rtol=1e-13,
        atol=1e-15,
    )


def test_gradients_go_to_what_was_picked() -> None:
    x = gg.asarray(np.random.default_rng(0).standard_normal((4, 7)))
    for f in (
        lambda t: gg.kthvalue(t, 2, 1)[0],
        lambda t: gg.median(t, 0)[0],
        lambda t: gg.median(t),
        lambda t: gg.nanmedian(t, 1)[0],
        lambda t: gg.quantile(t, [0.2, 0.7], 1),
        lambda t: gg.mode(t, 1)[0],
        lambda t: gg.aminmax(t, 1).max,
        lambda t: gg.nanvar(t, 1),
        lambda t: gg.nanmean(t, 0),
        lambda t: gg.unique_values(t),
    ):
        gg.testing.gradcheck(lambda t, f=f: gg.square(f(t)), [x], second=True)


# ---- reductions that leave out NaN ----


@pytest.mark.parametrize("function", [gg.nanvar, gg.nanstd])
def test_spread_without_nan_refuses_complex_numbers(function: Callable[[gg.Tensor], gg.Tensor]) -> None:
    message = re.escape("nanvar: x must have a real dtype, got complex64 (x has shape (2,))")
    with pytest.raises(TypeError, match=message):
        function(gg.asarray([1.0 + 2.0j, 3.0]))


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmean", "nanmax", "nanmin", "nanvar", "nanstd"])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.filterwarnings("ignore:.*NaN|.*Degrees of freedom|.*empty slice:RuntimeWarning")
def test_what_is_nan_is_left_out(name: str, axis: Any) -> None:
    x = np.random.default_rng(0).standard_normal((4, 5))
    x[x < -0.5] = NAN
    x[:, 2] = NAN
    for keepdims in (False, True):
        expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        got = getattr(gg, name)(gg.asarray(x), axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(array(got), expected, rtol=1e-13)
    whole = np.arange(6).reshape(2, 3)
    ours = array(getattr(gg, name)(gg.asarray(whole), axis=1))
    np.testing.assert_allclose(ours, getattr(np, name)(whole, axis=1), rtol=1e-6)


def test_gradients_of_what_leaves_out_nan() -> None:
    x = gg.asarray([1.0, NAN, 3.0], dtype=gg.float64).requires_grad_()
    for f, expected in ((gg.nansum, [1.0, 0.0, 1.0]), (gg.nanmean, [0.5, 0.0, 0.5]), (gg.nanvar, [-1.0, 0.0, 1.0])):
        [g] = gg.grad(f(x), [x])
        assert g.tolist() == expected


def test_methods_are_the_functions() -> None:
    x = gg.asarray([[3.0, 1.0, 2.0]])
    assert x.median().item() == 2.0
    assert x.quantile(0.5, axis=1).tolist() == [2.0]
    assert x.unique().tolist() == [1.0, 2.0, 3.0]
    assert [t.item() for t in x.aminmax()] == [1.0, 3.0]
    assert gg.Tensor.flatten(x).tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: gg.searchsorted(x[0], x, side="middle"),
            ValueError,
            r"searchsorted: side must be 'left' or 'right'",
        ),
        (
            lambda x: gg.searchsorted(x[0], x, sorter=gg.asarray([0])),
            ValueError,
            r"searchsorted: sorter must have x1's",
        ),
        (lambda x: gg.bucketize(x, x[0, 0]), ValueError, r"bucketize: boundaries must have an axis, got shape \(\)"),
        (lambda x: gg.bucketize(x[:1], x), ValueError, r"bucketize: boundaries must have rank 1 or all axes of x but"),
        (lambda x: gg.bucketize(x.astype("complex64"), x[0]), TypeError, r"bucketize: x and boundaries must have an o"),
        (lambda x: gg.bincount(x), TypeError, r"bincount: x must be integers, got float32"),
        (lambda _: gg.bincount(gg.asarray([[1]])), ValueError, r"bincount: x must have one axis, got shape \(1, 1\)"),
        (lambda _: gg.bincount(gg.asarray([1, -2])), ValueError, r"bincount: x must not be negative, got -2"),
        (lambda x: gg.bincount(gg.asarray([1]), x), ValueError, r"bincount: weights must have x's shape \(1,\)"),
        (lambda x: gg.histogram(x, 0), ValueError, r"histogram: bins must be positive, got 0"),
        (lambda x: gg.histogram(x, 2, (1.0, 0.0)), ValueError, r"histogram: range must be finite and rise, got"),
        (lambda x: gg.histogram(x, gg.asarray([1.0])), ValueError, r"histogram: bins must be two or more rising edges"),
        (lambda x: gg.kthvalue(x, 4), ValueError, r"kthvalue: k must be in \[1, 3\], got 4 \(x has shape \(2, 3\)\)"),
        (lambda x: gg.median(x, 2), ValueError, r"median: axis must be in \[-2, 2\), got 2 \(x has shape \(2, 3\)\)"),
        (lambda x: gg.median(x[:0], 0), ValueError, r"median: x must have an element along axis 0, got shape \(0, 3\)"),
        (lambda x: gg.quantile(x, 1.5), ValueError, r"quantile: q must be in \[0, 1\], got 1.5"),
        (lambda x: gg.percentile(x, [5, 101]), ValueError, r"percentile: q must be in \[0, 100\], got \[5, 101\]"),
        (lambda x: gg.quantile(x, 0.5, interpolation="cubic"), ValueError, r"quantile: interpolation must be one of"),
        (lambda x: gg.quantile(x.astype("int64"), 0.5), TypeError, r"quantile: x must be floating, got int64"),
        (lambda x: gg.mode(x, -3), ValueError, r"mode: axis must be in \[-2, 2\), got -3"),
        (lambda x: gg.unique(x, axis=2), ValueError, r"unique: axis must be in \[-2, 2\), got 2"),
    ],
)
def test_messages_name_op_argument_and_value(call: Callable[[gg.Tensor], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gg.zeros((2, 3)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 100, 1000])
def test_places_of_many_elements_agree_with_numpy(count: int, dtype: str, side: str) -> None:
    rng = np.random.default_rng(count)
    edges = np.sort((rng.standard_normal(count) * 50).astype(dtype))
    x = (rng.standard_normal(5003) * 60).astype(dtype)
    if edges.dtype.kind == "f":
        edges[max(count - 2, 0) :] = np.nan
        x[rng.random(5003) < 0.01] = np.nan
        x[:2] = np.inf, -np.inf
    for values in (x, np.sort(x), np.sort(x)[::-1].copy()):
        expected = np.searchsorted(edges, values, side=side)  # type: ignore[call-overload]
        wide = np.repeat(edges, 2)
        for e in (gg.asarray(edges), gg.asarray(wide)[::2]):
            for v in (gg.asarray(values), gg.asarray(np.repeat(values, 2))[::2]):
                np.testing.assert_array_equal(np.asarray(gg.searchsorted(e, v, side=side)), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint64", "int64"])
def test_isin_of_integers_agrees_with_numpy_however_far_they_lie_apart(dtype: str) -> None:
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    ends = np.array([info.min, info.max, info.max - 1], dtype=dtype)
    x = np.concatenate([rng.integers(0, 100, 500).astype(dtype), ends])
    for others in (
        rng.integers(20, 60, 30).astype(dtype),
        ends,
        np.array([info.max, info.max - 3], dtype=dtype),
        np.array([info.min], dtype=dtype),
    ):
        np.testing.assert_array_equal(np.asarray(gg.isin(gg.asarray(x), gg.asarray(others))), np.isin(x, others))


def test_isin_can_be_captured() -> None:
    found = gg.compile(lambda x: gg.isin(x, gg.asarray([3, 5])))
    for _ in range(3):
        assert found(gg.asarray([1, 3, 5, 7])).tolist() == [False, True, True, False]

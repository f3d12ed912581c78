"""The reductions: values against float64 NumPy, gradients against PyTorch and differences, layouts, dtypes, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gorgo as gg

Array = Any

FLOATS = ["float32", "float64", "float16", "bfloat16"]
INTEGERS = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
# One rounding of the result, and for sums what a few additions in float32 lose.
TOLERANCE = {"float64": 1e-14, "float32": 5e-7, "float16": 1e-3, "bfloat16": 8e-3}

# Lengths around the vectors, groups, tiles and chunks of the kernels.
CASES: list[tuple[tuple[int, ...], Any]] = [
    ((), None),
    ((1,), None),
    ((7,), 0),
    ((16,), None),
    ((65,), 0),
    ((1000,), -1),
    ((40000,), None),
    ((5, 3), 1),
    ((5, 3), 0),
    ((64, 10), 0),
    ((64, 10), 1),
    ((17, 130), 0),
    ((17, 130), 1),
    ((3, 700), 0),
    ((2000, 3), 0),
    ((5000, 8), 0),
    ((1111, 17), 0),
    ((2500, 28), 0),
    ((700, 300), 0),
    ((200, 1500), 0),
    ((3, 900, 5), 1),
    ((300, 100), 0),
    ((4, 5, 6), 1),
    ((4, 5, 6), (0, 2)),
    ((4, 5, 6), (0, 1, 2)),
    ((4, 5, 6), ()),
    ((2, 3, 4, 5), (1, -1)),
    ((2, 70, 70), (1, 2)),
    ((1, 9, 1), (0, 2)),
]
REFERENCES = {
    "sum": np.sum,
    "prod": np.prod,
    "mean": np.mean,
    "var": np.var,
    "std": np.std,
    "max": np.max,
    "min": np.min,
    "any": np.any,
    "all": np.all,
    "count_nonzero": np.count_nonzero,
}


def fn(name: str) -> Any:
    return getattr(gg, name)


def made(shape: tuple[int, ...], dtype: str, *key: object, low: float = -3.0, high: float = 3.0) -> Any:
    rng = np.random.default_rng([sum(map(ord, repr((shape, dtype, *key))))])
    if dtype in FLOATS:
        return gg.asarray(rng.uniform(low, high, shape)).astype(dtype)
    if dtype == "bool":
        return gg.asarray(rng.integers(0, 2, shape).astype(bool))
    return gg.asarray(rng.integers(0 if dtype.startswith("u") else -4, 5, shape).astype(dtype))


def exact(x: Any) -> Array:
    """The elements as NumPy has them best: float64, or the integer dtype itself."""
    kind = str(x.dtype).removeprefix("gorgo.")
    return x.astype("float64").numpy() if kind in FLOATS else x.numpy()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", list(REFERENCES))
def test_values_equal_numpys(name: str, dtype: str) -> None:
    for shape, axis in CASES:
        # Products stay near one, so that no format overflows.
        x = made(shape, dtype, low=0.97, high=1.03) if name == "prod" else made(shape, dtype)
        reference = exact(x)
        expected = np.asarray(REFERENCES[name](reference, axis=axis))
        got = fn(name)(x, axis=axis)
        assert got.shape == expected.shape, (shape, axis)
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(got.numpy(), expected, err_msg=f"{shape} {axis}")
            continue
        assert got.dtype == x.dtype
        magnitude = np.sum(np.abs(reference), axis=axis) if name == "sum" else np.abs(expected)
        if name == "mean":
            magnitude = np.mean(np.abs(reference), axis=axis)
        if name == "prod":  # each factor adds a rounding, of double in long products
            magnitude = np.abs(expected) * 8
        error = np.abs(exact(got) - expected)
        assert np.all(error <= TOLERANCE[dtype] * magnitude + 1e-300), (shape, axis, error.max())
        kept = fn(name)(x, axis=axis, keepdims=True)
        assert kept.shape == np.asarray(REFERENCES[name](reference, axis=axis, keepdims=True)).shape
        np.testing.assert_array_equal(exact(kept).ravel(), exact(got).ravel())


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_summed_exactly_in_the_widest_dtype(dtype: str) -> None:
    for shape, axis in CASES:
        x = made(shape, dtype)
        a = x.numpy()
        wide = "uint64" if dtype.startswith("u") else "int64"
        for name in ("sum", "prod"):
            got = fn(name)(x, axis=axis)
            with np.errstate(over="ignore"):
                expected = REFERENCES[name](a, axis=axis, dtype=wide)
            assert got.dtype == wide
            np.testing.assert_array_equal(got.numpy(), expected)
        for name in ("max", "min", "any", "all", "count_nonzero"):
            np.testing.assert_array_equal(fn(name)(x, axis=axis).numpy(), REFERENCES[name](a, axis=axis))
        for name in ("mean", "var"):
            got = fn(name)(x, axis=axis)
            assert got.dtype == gg.float32
            np.testing.assert_allclose(got.numpy(), REFERENCES[name](a, axis=axis), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("shape", [(1,), (200003,), (7, 30001), (30001, 7)])
def test_long_sums_of_the_ends_of_small_integers(dtype: str, shape: tuple[int, ...]) -> None:
    info = np.iinfo(dtype)
    for end in (info.min, info.max):
        x = gg.asarray(np.full(shape, end, dtype))
        for axis in (None, *range(len(shape))):
            count = int(np.prod(shape)) if axis is None else shape[axis]
            assert np.all(np.asarray(gg.sum(x, axis=axis)) == end * count)
            np.testing.assert_allclose(np.asarray(gg.mean(x, axis=axis)), end, rtol=1e-7)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int16"])
def test_one_element_that_differs_is_found_wherever_it_stands(dtype: str) -> None:
    ends = [1] if dtype == "bool" else [1, np.iinfo(dtype).min or np.iinfo(dtype).max]
    n = 4099
    for end in ends:
        for place in (0, 1, 31, 32, 63, 64, 2048, n - 2, n - 1):
            a = np.zeros(n, dtype)
            a[place] = end
            b = np.full(n, end, dtype)
            b[place] = 0
            x, y = gg.asarray(a), gg.asarray(b)
            assert bool(gg.any(x))
            assert not bool(gg.any(x[place + 1 :]))
            assert not bool(gg.all(y))
            assert bool(gg.all(y[place + 1 :]))
            for name in ("argmax", "argmin"):
                assert int(fn(name)(x)) == getattr(np, name)(a)
                assert int(fn(name)(y)) == getattr(np, name)(b)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_equal_numpys(name: str, dtype: str) -> None:
    for shape in [(1,), (7,), (300,), (40000,), (5, 3), (64, 10), (3, 700), (1100, 4), (4, 5, 6)]:
        x = made(shape, dtype, name)
        for axis in [None, *range(-1, len(shape))]:
            got = fn(name)(x, axis=axis)
            assert got.dtype == gg.int64
            expected = getattr(np, name)(exact(x), axis=axis)
            np.testing.assert_array_equal(got.numpy(), expected, err_msg=f"{shape} {axis}")
    x = made((4, 5, 6), dtype)
    flipped = gg.permute_dims(x, (2, 0, 1))[::-1, :, ::2]
    for axis in (None, 0, 1, 2):
        expected = getattr(np, name)(exact(flipped), axis=axis)
        np.testing.assert_array_equal(fn(name)(flipped, axis=axis).numpy(), expected)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_strided_inputs(name: str) -> None:
    x = gg.asarray(np.random.default_rng(3).uniform(0.5, 1.5, (6, 40, 34)))
    views = [
        gg.permute_dims(x, (2, 0, 1)),
        x[::-1, ::3, 5:],
        x[:, :, ::-2],
        gg.broadcast_to(x[:, :1], (6, 9, 34)),
        gg.permute_dims(x, (1, 2, 0))[4],
    ]
    for view in views:
        a = view.numpy()
        for axis in (None, 0, -1, (0, 1)):
            got = fn(name)(view, axis=axis).numpy()
            np.testing.assert_allclose(got, REFERENCES[name](a, axis=axis), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_sums(dtype: str) -> None:
    rng = np.random.default_rng(5)
    a = (rng.normal(size=(30, 40)) + 1j * rng.normal(size=(30, 40))).astype(dtype)
    x = gg.asarray(a)
    for axis in (None, 0, 1):
        for name in ("sum", "mean"):
            expected = REFERENCES[name](a.astype("complex128"), axis=axis)
            np.testing.assert_allclose(fn(name)(x, axis=axis).numpy(), expected, rtol=2e-5, atol=1e-5)
        for name in ("any", "all", "count_nonzero"):
            np.testing.assert_array_equal(fn(name)(x, axis=axis).numpy(), REFERENCES[name](a, axis=axis))
    np.testing.assert_allclose(gg.prod(x[:5, :3]).item(), np.prod(a[:5, :3].astype("complex128")), rtol=1e-5)
    for name in ("max", "var", "argmin"):
        with pytest.raises(TypeError, match=rf"{name}: x must have a real dtype"):
            fn(name)(x)


def test_a_long_float32_sum_keeps_six_digits() -> None:
    a = np.full(10_000_000, 0.1, dtype=np.float32)
    expected = a.astype(np.float64).sum()
    assert abs(gg.sum(gg.asarray(a)).item() - expected) < 1e-6 * expected
    columns = gg.asarray(a.reshape(-1, 10))
    np.testing.assert_allclose(gg.sum(columns, axis=0).numpy(), expected / 10, rtol=1e-6)


@pytest.mark.parametrize("name", ["sum", "var", "max"])
@pytest.mark.parametrize("rows", [30, 700])
def test_a_column_does_not_see_the_columns_beside_it(name: str, rows: int) -> None:
    """However rows are read, a column has the same bits, and nothing beside it comes in."""
    a = np.random.default_rng(5).standard_normal((rows, 1100)).astype("float32")
    reduce = getattr(gg, name)
    expected = reduce(gg.asarray(a), axis=0).numpy()
    for width in (2, 3, 5, 8, 17, 31, 32, 33, 100, 300, 700, 1024):
        assert np.array_equal(reduce(gg.asarray(a[:, :width].copy()), axis=0).numpy(), expected[:width]), width
        masked = np.full_like(a, np.nan)
        masked[:, :width] = a[:, :width]
        assert np.array_equal(reduce(gg.asarray(masked)[:, :width], axis=0).numpy(), expected[:width]), width


def test_a_variance_far_from_zero_keeps_its_digits() -> None:
    a = 1e6 + np.random.default_rng(1).normal(size=(50, 3000))
    for axis in (None, 0, 1):
        expected = np.var(a.astype(np.longdouble), axis=axis).astype(float)
        np.testing.assert_allclose(gg.var(gg.asarray(a), axis=axis).numpy(), expected, rtol=1e-9)


def test_correction_of_the_variance() -> None:
    a = np.random.default_rng(2).normal(size=(8, 5))
    np.testing.assert_allclose(gg.var(gg.asarray(a), axis=0, correction=1).numpy(), a.var(axis=0, ddof=1), rtol=1e-13)
    np.testing.assert_allclose(gg.std(gg.asarray(a), correction=2.5).item(), a.std() * np.sqrt(40 / 37.5), rtol=1e-13)
    assert np.isnan(gg.var(gg.asarray([3.0]), correction=1).item())


def test_the_dtype_of_a_sum_can_be_chosen() -> None:
    x = gg.asarray(np.full(300, 100, dtype=np.uint8))
    assert gg.sum(x, dtype=gg.uint8).item() == 300 * 100 % 256
    assert gg.sum(x, dtype=gg.float32).dtype == gg.float32
    assert gg.sum(gg.asarray([0.1] * 3, dtype=gg.float32), dtype=gg.float64).item() == np.float64(np.float32(0.1)) * 3
    assert gg.sum(gg.asarray([True, True]), dtype=gg.int32).dtype == gg.int32
    with pytest.raises(TypeError, match="sum: dtype must be one that holds sums of float32, got int32"):
        gg.sum(gg.asarray([1.5], dtype=gg.float32), dtype=gg.int32)


@pytest.mark.parametrize("to", [name for name in INTEGERS if name != "bool"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_sum_stored_in_a_narrow_dtype_wraps_and_keeps_to_its_elements(dtype: str, to: str) -> None:
    for name in ("sum", "prod"):
        for shape, axis in CASES:
            x = made(shape, dtype)
            got = fn(name)(x, axis=axis, dtype=getattr(gg, to))
            with np.errstate(over="ignore"):
                expected = REFERENCES[name](x.numpy(), axis=axis, dtype=to)
            assert got.dtype == to
            np.testing.assert_array_equal(got.numpy(), expected)


def test_nan_and_infinity() -> None:
    nan, inf = np.nan, np.inf
    a = np.array([[1.0, nan, 3.0], [inf, 2.0, -inf], [5.0, 4.0, inf]])
    for dtype in FLOATS:
        x = gg.asarray(a).astype(dtype)
        with np.errstate(invalid="ignore"):
            for name in ("sum", "prod", "mean", "max", "min", "any", "all", "argmax", "argmin"):
                reference = getattr(np, name)
                for axis in (None, 0, 1):
                    got = fn(name)(x, axis=axis)
                    got = got.astype("float64") if name not in ("any", "all") else got
                    np.testing.assert_array_equal(got.numpy(), reference(a, axis=axis), err_msg=f"{name} {axis}")
    long = np.zeros(50000)
    long[33333] = nan
    assert gg.argmax(gg.asarray(long)).item() == 33333
    assert np.isnan(gg.min(gg.asarray(long)).item())


def test_empty_tensors() -> None:
    x = gg.zeros((0, 3))
    assert gg.sum(x).item() == 0.0
    assert gg.prod(x, axis=0).tolist() == [1.0, 1.0, 1.0]
    assert gg.sum(x, axis=1).shape == (0,)
    assert gg.max(x, axis=1).shape == (0,)
    assert np.isnan(gg.mean(x, axis=0).numpy()).all()
    assert np.isnan(gg.var(x).item())
    assert gg.any(x).item() is False
    assert gg.all(x).item() is True
    assert gg.count_nonzero(x, axis=0).tolist() == [0, 0, 0]
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError, match=rf"{name}: x must have an element to choose .*, got shape \(0, 3\)"):
            fn(name)(x, axis=0)


def test_wrong_axes() -> None:
    x = gg.zeros((4, 5))
    with pytest.raises(ValueError, match=r"sum: axis must be in \[-2, 2\), got 2"):
        gg.sum(x, axis=2)
    with pytest.raises(ValueError, match="mean: axis"):
        gg.mean(x, axis=(0, -2))
    with pytest.raises(ValueError, match=r"argmax: axis must be in \[-2, 2\), got -3"):
        gg.argmax(x, axis=-3)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (0, 1, 2), ()])
@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "max", "min"])
def test_first_and_second_gradients_agree_with_differences(name: str, axis: Any) -> None:
    if name == "std" and axis == ():  # the deviation of one element is zero, and has a kink there
        axis = None
    x = gg.asarray(np.random.default_rng(7).normal(size=(3, 4, 5)))
    for keepdims in (False, True):
        gg.testing.gradcheck(lambda t, k=keepdims: fn(name)(t, axis=axis, keepdims=k), [x], second=True)
    gg.testing.gradcheck(lambda t: fn(name)(gg.permute_dims(t, (2, 0, 1)) * 1.5, axis=axis), [x], second=True)


def test_gradients_at_ties_and_zeros_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    a = np.array([[2.0, 2.0, 1.0], [0.0, 3.0, 0.0], [5.0, 0.0, 2.0]])
    weight = np.array([1.0, 10.0, 100.0])
    for name, theirs in (("max", torch.amax), ("min", torch.amin), ("prod", lambda t, axis: torch.prod(t, dim=axis))):
        for axis in (0, 1):
            peer = torch.tensor(a, requires_grad=True)
            theirs(peer, axis).backward(torch.tensor(weight))
            ours = gg.asarray(a).requires_grad_()
            fn(name)(ours, axis=axis).backward(gg.asarray(weight))
            np.testing.assert_allclose(ours.grad.numpy(), peer.grad.numpy(), rtol=1e-14, err_msg=f"{name} {axis}")
    full = torch.tensor(a, requires_grad=True)
    full.min().backward()
    ours = gg.asarray(a).requires_grad_()
    gg.min(ours).backward()
    np.testing.assert_allclose(ours.grad.numpy(), full.grad.numpy())


@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients_keep_the_dtype(dtype: str) -> None:
    for name in ("sum", "prod", "mean", "var", "std", "max", "min"):
        x = made((6, 7), dtype, low=0.5, high=1.5).requires_grad_()
        fn(name)(x, axis=1).sum().backward()
        assert x.grad.dtype == x.dtype
        wide = x.detach().astype("float64").requires_grad_()
        fn(name)(wide, axis=1).sum().backward()
        tolerance = 20 * TOLERANCE[dtype]
        np.testing.assert_allclose(exact(x.grad), wide.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [*REFERENCES, "argmax", "argmin"])
def test_one_thread_and_two_give_the_same_bits(name: str) -> None:
    rng = np.random.default_rng(11)
    before = gg.get_num_threads()
    try:
        for shape in [(300_000,), (70_000, 3), (3, 70_000), (40, 50, 60)]:
            x = gg.asarray(rng.uniform(0.9, 1.1, shape).astype(np.float32))
            for axis in (None, 0, -1):
                results = []
                for threads in (1, 2):
                    gg.set_num_threads(threads)
                    results.append(fn(name)(x, axis=axis).numpy().tobytes())
                assert results[0] == results[1]
    finally:
        gg.set_num_threads(before)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_a_row_of_a_batch_equals_the_batch_of_one(name: str) -> None:
    rng = np.random.default_rng(13)
    for shape in [(50, 37), (5, 3000), (3, 70_000), (20, 8, 9), (3, 900, 5)]:
        x = gg.asarray(rng.uniform(0.9, 1.1, shape).astype(np.float32))
        axes: list[Any] = [-1] if len(shape) == 2 else [1, 2, (1, 2)]
        for axis in axes:
            whole = fn(name)(x, axis=axis).numpy()
            for i in range(shape[0]):
                assert fn(name)(x[i : i + 1], axis=axis).numpy().tobytes() == whole[i : i + 1].tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [1, 3, 8, 16, 17, 31, 49, 64])
def test_a_short_row_does_not_see_the_rows_beside_it(count: int, dtype: str) -> None:
    drawn = np.random.default_rng(17).standard_normal((37, count))
    drawn[5, 0], drawn[9, -1] = np.nan, np.inf
    x = gg.asarray(drawn).astype(dtype)
    whole = exact(gg.sum(x, axis=1))
    alone = np.concatenate([exact(gg.sum(x[i : i + 1], axis=1)) for i in range(len(drawn))])
    np.testing.assert_array_equal(whole, alone)
    assert np.isnan(whole[5])
    assert np.isinf(whole[9])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8"])
@pytest.mark.parametrize("n", [1, 2048, 2049, 32_768, 100_003])
def test_any_and_all_find_a_single_element_wherever_it_is(n: int, dtype: str) -> None:
    for place in sorted({0, n // 3, 2047 % n, 2048 % n, n - 1}):
        for value in (1, np.array(128).astype(dtype)[()]):
            x = np.zeros((3, n), dtype=dtype)
            x[1, place] = value
            for t in (gg.asarray(x), gg.asarray(np.array(x.T, order="C")).T):
                assert gg.any(t, axis=1).tolist() == [False, True, False]
                assert gg.any(t[1]).item()
                assert gg.any(t).item()
                assert not gg.any(t[::2]).item()
                assert gg.all(t == 0, axis=1).tolist() == [True, False, True]
                full = t == 0
                assert not gg.all(full[1]).item()
                assert not gg.all(full).item()
                assert gg.all(full[::2]).item()

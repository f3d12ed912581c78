"""Scans against NumPy and PyTorch in float64: values, dtypes, first and second gradients, long lines, messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")


@pytest.fixture
def _threads_are_restored() -> Iterator[None]:
    before = gg.get_num_threads()
    yield
    gg.set_num_threads(before)


PAIRS: list[tuple[str, Callable[[Any, int], Any], Callable[[Any, int], Any]]] = [
    ("cumsum", lambda x, axis: gg.cumulative_sum(x, axis=axis), torch.cumsum),
    ("cumprod", lambda x, axis: gg.cumulative_prod(x, axis=axis), torch.cumprod),
    ("cummax", lambda x, axis: gg.cummax(x, axis=axis)[0], lambda x, axis: torch.cummax(x, axis)[0]),
    ("cummin", lambda x, axis: gg.cummin(x, axis=axis)[0], lambda x, axis: torch.cummin(x, axis)[0]),
    ("logcumsumexp", lambda x, axis: gg.logcumsumexp(x, axis=axis), torch.logcumsumexp),
]
IDS = [p[0] for p in PAIRS]


@pytest.mark.parametrize(("ours", "theirs"), [p[1:] for p in PAIRS], ids=IDS)
@pytest.mark.parametrize(("shape", "axis"), [((7,), 0), ((3, 5), 1), ((3, 5), 0), ((2, 6, 3), 1), ((4, 1, 200), 0)])
def test_values_and_gradients_agree_with_pytorch(
    ours: Callable[..., Any], theirs: Callable[..., Any], shape: tuple[int, ...], axis: int
) -> None:
    rng = np.random.default_rng(0)
    array = rng.standard_normal(shape)
    weights, directions = rng.standard_normal((2, *shape))

    def derivatives(x: Any, w: Any, d: Any, f: Callable[..., Any], grad: Callable[..., Any]) -> list[Any]:
        y = f(x, axis)
        [first] = grad([(y * y * w).sum()], [x], create_graph=True)
        [second] = grad([(first * d).sum()], [x])
        return [y, first, second]

    t = [torch.from_numpy(a) for a in (array, weights, directions)]
    expected = derivatives(t[0].requires_grad_(), *t[1:], theirs, torch.autograd.grad)
    g = [gg.asarray(a) for a in (array, weights, directions)]
    got = derivatives(g[0].requires_grad_(), *g[1:], ours, gg.grad)
    for mine, other in zip(got, expected, strict=True):
        scale = max(1.0, float(other.detach().abs().max()))
        np.testing.assert_allclose(np.asarray(mine.detach()), other.detach().numpy(), rtol=1e-12, atol=1e-12 * scale)


def test_indices_agree_with_pytorch() -> None:
    array = np.array([[2.0, 5.0, 5.0, np.nan, 1.0, np.nan], [-np.inf, -np.inf, 0.0, -0.0, 0.0, 7.0]])
    for ours, theirs in ((gg.cummax, torch.cummax), (gg.cummin, torch.cummin)):
        for axis in (0, 1):
            values, indices = ours(gg.asarray(array), axis=axis)
            expected = theirs(torch.from_numpy(array), axis)
            np.testing.assert_array_equal(np.asarray(values), expected.values.numpy())
            np.testing.assert_array_equal(np.asarray(indices), expected.indices.numpy())
    assert gg.cummax(gg.asarray([1, 2])).indices.dtype == gg.int64


@pytest.mark.parametrize("zeros", [[], [2], [0], [1, 4], [5]])
def test_gradients_of_products_at_zeros(zeros: list[int]) -> None:
    array = np.array([1.5, -2.0, 0.5, 3.0, -1.0, 2.0])
    array[zeros] = 0.0
    x = torch.from_numpy(array).requires_grad_()
    weights = np.arange(1.0, 7.0)
    [expected] = torch.autograd.grad((torch.cumprod(x, 0) * torch.from_numpy(weights)).sum(), [x])
    mine = gg.asarray(array).requires_grad_()
    [got] = gg.grad((gg.cumulative_prod(mine) * gg.asarray(weights)).sum(), [mine])
    np.testing.assert_allclose(np.asarray(got), expected.numpy(), rtol=1e-14, atol=1e-14)
    gg.testing.gradcheck(lambda t: gg.square(gg.cumulative_prod(t)), [gg.asarray(array)], second=True)


def test_gradients_with_the_initial_element() -> None:
    x = gg.asarray(np.random.default_rng(0).standard_normal((3, 4)))
    for f in (gg.cumulative_sum, gg.cumulative_prod):
        for axis in (0, 1):
            gg.testing.gradcheck(
                lambda t, f=f, axis=axis: gg.square(f(t, axis=axis, include_initial=True)), [x], second=True
            )


def test_gradients_of_complex_scans() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5)) + 1j * rng.standard_normal((2, 5))
    x = torch.from_numpy(a).requires_grad_()
    [expected] = torch.autograd.grad((torch.cumprod(x, 0) * torch.from_numpy(b)).real.sum(), [x])
    mine = gg.asarray(a).requires_grad_()
    [got] = gg.grad(gg.real(gg.cumulative_prod(mine) * gg.asarray(b)).sum(), [mine])
    np.testing.assert_allclose(np.asarray(got), expected.numpy(), rtol=1e-13)


@pytest.mark.parametrize(
    "line", [[-np.inf, -np.inf, 1.0, 2.0], [-np.inf] * 3, [0.0, -1e4, 1e4, 1e4, -np.inf], [700.0] * 4]
)
def test_logcumsumexp_at_extremes(line: list[float]) -> None:
    array = np.array(line)
    mine = gg.asarray(array).requires_grad_()
    y = gg.logcumsumexp(mine)
    np.testing.assert_allclose(np.asarray(y.detach()), np.logaddexp.accumulate(array), rtol=1e-15)
    weights = np.where(np.isfinite(np.asarray(y.detach())), np.arange(1.0, array.size + 1), 0.0)
    [got] = gg.grad([y], [mine], [gg.asarray(weights)])
    with np.errstate(all="ignore"):
        shares = np.exp(array[None, :] - np.logaddexp.accumulate(array)[:, None])
    shares = np.tril(np.where(np.isnan(shares), 0.0, shares))
    np.testing.assert_allclose(np.asarray(got), weights @ shares, rtol=1e-13, atol=0)


def test_logcumsumexp_passes_nan_and_infinity_on() -> None:
    assert gg.logcumsumexp(gg.asarray([0.0, float("inf"), 1.0])).tolist() == [0.0, float("inf"), float("inf")]
    assert np.isnan(np.asarray(gg.logcumsumexp(gg.asarray([0.0, float("nan"), 1.0])))).tolist() == [False, True, True]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"])
def test_integers_are_widened_and_wrap(dtype: str) -> None:
    x = np.array([3, 0, 1, 100, 27, 2]).astype(dtype)
    wide = np.uint64 if dtype.startswith("u") else np.int64
    for ours, theirs in ((gg.cumulative_sum, np.cumsum), (gg.cumulative_prod, np.cumprod)):
        got = np.asarray(ours(gg.asarray(x)))
        assert got.dtype == wide
        np.testing.assert_array_equal(got, theirs(x, dtype=wide))
        np.testing.assert_array_equal(np.asarray(ours(gg.asarray(x), dtype="int8")), theirs(x, dtype=np.int8))
        np.testing.assert_array_equal(np.asarray(ours(gg.asarray(x), dtype="float64")), theirs(x, dtype=np.float64))


def test_names_of_elsewhere() -> None:
    x = gg.asarray([[1, 2], [3, 4]])
    assert gg.cumsum(x, 0).tolist() == [[1, 2], [4, 6]]
    assert gg.cumprod(x, axis=1).tolist() == [[1, 2], [3, 12]]
    assert x.cumsum(1).tolist() == [[1, 3], [3, 7]]
    assert x.cumulative_sum(axis=0).tolist() == [[1, 2], [4, 6]]


@pytest.mark.parametrize("count", [4095, 4096, 4097, 200_003])
def test_long_float32_sums_are_exact_to_rounding(count: int) -> None:
    x = np.random.default_rng(0).random(count, dtype=np.float32)
    exact = np.add.accumulate(x.astype(np.longdouble)).astype(np.float64)
    got = np.asarray(gg.cumulative_sum(gg.asarray(x))).astype(np.float64)
    # Half a spacing of float32 for the store; float64 adds less than a hundred thousandth of that.
    assert (np.abs(got - exact) <= np.spacing(exact.astype(np.float32)).astype(np.float64) * 0.50001).all()


def test_long_float64_sums_lose_little() -> None:
    x = np.random.default_rng(0).standard_normal(100_000)
    got = np.asarray(gg.cumulative_sum(gg.asarray(x)))
    exact = Fraction(0)
    bound = np.add.accumulate(np.abs(x)) * (4096 / 4 + 4 + 100_000 / 4096) * 2.0**-53
    for i, v in enumerate(x):
        exact += Fraction(v)
        if i % 997 == 0:
            assert abs(Fraction(got[i]) - exact) <= Fraction(bound[i])


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int32"])
@pytest.mark.usefixtures("_threads_are_restored")
def test_neither_threads_nor_layout_nor_other_lines_change_bits(dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((9001, 17)) * 100
    x = x.astype(dtype)
    results = []
    for threads in (1, 2):
        gg.set_num_threads(threads)
        t = gg.asarray(x)
        results.append(np.asarray(gg.cumulative_sum(t, axis=0)).tobytes())
        across = gg.cumulative_sum(gg.asarray(np.array(x.T, order="C")), axis=1)
        results.append(np.asarray(across).T.copy().tobytes())
        one_by_one = [np.asarray(gg.cumulative_sum(t[:, i])) for i in range(17)]
        results.append(np.stack(one_by_one, 1).tobytes())
        long = np.tile(x[:, 0], 20)
        line = np.asarray(gg.cumulative_sum(gg.asarray(long)))
        twice = np.asarray(gg.cumulative_sum(gg.asarray(np.stack([long] * 40)), axis=1))
        assert all(row.tobytes() == line.tobytes() for row in twice)
    assert len(set(results)) == 1


def test_linear_scan_is_a_discounted_sum() -> None:
    rewards = np.random.default_rng(0).standard_normal((3, 50))
    expected = np.zeros_like(rewards)
    total = np.zeros(3)
    for t in reversed(range(50)):
        total = rewards[:, t] + 0.99 * total
        expected[:, t] = total
    backwards = gg.flip(gg.asarray(rewards), axis=1)
    got = gg.flip(gg.linear_scan(gg.full((3, 50), 0.99, dtype=gg.float64), backwards, axis=1), axis=1)
    np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: gg.cumulative_sum(x),
            ValueError,
            r"cumulative_sum: axis must be given unless x has rank 1, got None",
        ),
        (
            lambda x: gg.cumulative_sum(x, axis=2),
            ValueError,
            r"cumulative_sum: axis must be in \[-2, 2\), got 2 \(x has",
        ),
        (lambda x: gg.cumulative_prod(x[0, 0]), ValueError, r"cumulative_prod: x must have an axis, got shape \(\)"),
        (
            lambda x: gg.cumulative_sum(x, axis=0, dtype="int32"),
            TypeError,
            r"cumulative_sum: dtype must be one that holds",
        ),
        (
            lambda x: gg.cumulative_sum(x, axis=0, dtype="bool"),
            TypeError,
            r"cumulative_sum: dtype must be one that holds",
        ),
        (lambda x: gg.cummax(x, axis=-3), ValueError, r"cummax: axis must be in \[-2, 2\), got -3"),
        (lambda x: gg.cummin(x.astype("complex64")), TypeError, r"cummin: x must have an order, got complex64"),
        (
            lambda x: gg.logcumsumexp(x.astype("complex64")),
            TypeError,
            r"logcumsumexp: x must have a real dtype, got co",
        ),
        (
            lambda x: gg.linear_scan(x, x[0]),
            ValueError,
            r"linear_scan: b must be like a, float32 \(2, 3\), got float32",
        ),
        (
            lambda x: gg.linear_scan(x.astype("int32"), x),
            TypeError,
            r"linear_scan: a must be float or complex, got int32",
        ),
        (
            lambda x: gg.cumsum(x, dim=0),
            TypeError,
            r"cumsum: keyword must be one of ours, got dim; here it is called axis",
        ),
    ],
)
def test_messages_name_op_argument_and_value(call: Callable[[gg.Tensor], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gg.zeros((2, 3)))


@pytest.mark.usefixtures("_threads_are_restored")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint16"])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 4095, 4097, 140_001])
def test_running_sums_are_alike_however_lines_lie(dtype: str, n: int) -> None:
    x = (np.random.default_rng(0).standard_normal((3, n)) * 50).astype(dtype)
    lain = {"rows": gg.asarray(x), "columns": gg.asarray(np.ascontiguousarray(x.T)).T}
    results = []
    for threads in (1, 2):
        gg.set_num_threads(threads)
        results += [np.asarray(gg.cumulative_sum(t, axis=1)) for t in lain.values()]
    assert len({r.tobytes() for r in results}) == 1
    if np.issubdtype(x.dtype, np.integer):
        np.testing.assert_array_equal(results[0], np.cumsum(x, axis=1).astype(results[0].dtype))
    elif dtype != "float16":
        # Sums are made in double: what is left is the rounding of the result.
        expected = np.cumsum(x.astype(np.longdouble), axis=1)
        np.testing.assert_allclose(
            results[0], expected.astype(np.float64), rtol=2.0 ** (-23 if dtype == "float32" else -50), atol=1e-9
        )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(37, 10), (5, 4), (1, 1000), (3, 7, 5)])
def test_logcumsumexp_of_a_line_is_that_of_lines_side_by_side(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 20).astype(dtype)
    x.flat[:3] = -np.inf
    x.flat[7] = np.inf
    x.flat[11] = np.nan
    alone = gg.logcumsumexp(gg.asarray(x), axis=-1)
    beside = gg.logcumsumexp(gg.asarray(np.array(np.moveaxis(x, -1, 0), order="C")), axis=0)
    np.testing.assert_array_equal(np.asarray(alone), np.moveaxis(np.asarray(beside), 0, -1))
    with np.errstate(invalid="ignore"):
        expected = np.logaddexp.accumulate(x.astype(np.float64), axis=-1)
    rtol = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(np.asarray(alone), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("length", [1, 3, 4, 10, 33])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "complex64"])
def test_scans_of_many_short_lines_agree_with_numpy(dtype: str, length: int, initial: bool) -> None:
    rng = np.random.default_rng(1)
    x = (rng.random((3000, length)) * 2).astype(dtype)
    wide = x.astype({"f": np.float64, "c": np.complex128}.get(x.dtype.kind, x.dtype))
    for ours, theirs, first in (
        (gg.cumulative_sum, np.cumsum, 0),
        (gg.cumulative_prod, np.cumprod, 1),
    ):
        got = np.asarray(ours(gg.asarray(x), axis=1, include_initial=initial))
        expected = theirs(wide, axis=1)
        if initial:
            expected = np.concatenate([np.full((3000, 1), first, expected.dtype), expected], axis=1)
        if x.dtype.kind in "iu":
            np.testing.assert_array_equal(got, expected.astype(got.dtype))
        else:
            np.testing.assert_allclose(
                got, expected, rtol=3e-7 if x.dtype.itemsize == 4 or dtype == "complex64" else 1e-14
            )

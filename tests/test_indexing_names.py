"""Indexing in PyTorch's words (gather, index_add, masked_fill, ...) against PyTorch; x[key] against NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 5))
ROWS = np.array([2, 0, 2])
ALONG = RNG.integers(0, 4, (3, 5))
MASK = RNG.random((4, 5)) < 0.5
ONE_ROW = np.array([True, False, True, True, False])

# (name, ours, PyTorch's): functions of x, the integers and masks above, and of values
CASES: list[tuple[str, Callable[..., Any], Callable[..., Any], tuple[int, ...]]] = [
    (
        "gather",
        lambda x, v: gg.gather(x, 0, gg.asarray(ALONG)) * v,
        lambda x, v: torch.gather(x, 0, torch.from_numpy(ALONG)) * v,
        (3, 5),
    ),
    (
        "gather of fewer",
        lambda x, v: x.gather(0, gg.asarray(ALONG[:, :2])) * v,
        lambda x, v: x.gather(0, torch.from_numpy(ALONG[:, :2])) * v,
        (3, 2),
    ),
    (
        "index_select",
        lambda x, v: gg.index_select(x, 0, gg.asarray(ROWS)) * v,
        lambda x, v: torch.index_select(x, 0, torch.from_numpy(ROWS)) * v,
        (3, 5),
    ),
    (
        "index_add",
        lambda x, v: gg.index_add(x, 0, gg.asarray(ROWS), v, alpha=2),
        lambda x, v: torch.index_add(x, 0, torch.from_numpy(ROWS), v, alpha=2),
        (3, 5),
    ),
    (
        "index_copy",
        lambda x, v: gg.index_copy(x, 1, gg.asarray([0, 3]), v),
        lambda x, v: torch.index_copy(x, 1, torch.tensor([0, 3]), v),
        (4, 2),
    ),
    (
        "index_fill",
        lambda x, v: gg.index_fill(x, 1, gg.asarray(ROWS), v),
        lambda x, v: torch.index_fill(x, 1, torch.from_numpy(ROWS), v),
        (),
    ),
    (
        "masked_fill",
        lambda x, v: gg.masked_fill(x, gg.asarray(MASK), v),
        lambda x, v: torch.masked_fill(x, torch.from_numpy(MASK), v),
        (),
    ),
    (
        "masked_fill broadcast",
        lambda x, v: x.masked_fill(gg.asarray(ONE_ROW), v),
        lambda x, v: x.masked_fill(torch.from_numpy(ONE_ROW), v),
        (),
    ),
    (
        "masked_select",
        lambda x, v: gg.masked_select(x, gg.asarray(MASK)) * v,
        lambda x, v: torch.masked_select(x, torch.from_numpy(MASK)) * v,
        (),
    ),
    (
        "masked_select broadcast",
        lambda x, v: gg.masked_select(x, gg.asarray(ONE_ROW)) * v,
        lambda x, v: torch.masked_select(x, torch.from_numpy(ONE_ROW)) * v,
        (),
    ),
    (
        "masked_scatter",
        lambda x, v: gg.masked_scatter(x, gg.asarray(MASK), v),
        lambda x, v: torch.masked_scatter(x, torch.from_numpy(MASK), v),
        (20,),
    ),
    ("narrow", lambda x, v: gg.narrow(x, 1, 1, 3) * v, lambda x, v: torch.narrow(x, 1, 1, 3) * v, (3,)),
    (
        "scatter_add",
        lambda x, v: gg.scatter_add(x, 0, gg.asarray(ALONG), v),
        lambda x, v: torch.scatter_add(x, 0, torch.from_numpy(ALONG), v),
        (3, 5),
    ),
    *[
        (
            f"scatter_reduce {reduce} {include}",
            lambda x, v, r=reduce, i=include: gg.scatter_reduce(x, 0, gg.asarray(ALONG), v, r, include_self=i),
            lambda x, v, r=reduce, i=include: torch.scatter_reduce(x, 0, torch.from_numpy(ALONG), v, r, include_self=i),
            (3, 5),
        )
        for reduce in ("sum", "prod", "mean", "amax", "amin")
        for include in (True, False)
    ],
]


@pytest.mark.parametrize(("ours", "theirs", "shape"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_values_and_gradients_agree_with_pytorch(
    ours: Callable[..., Any], theirs: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    values = np.random.default_rng(1).standard_normal(shape)
    t = [torch.from_numpy(a).requires_grad_() for a in (X.copy(), np.asarray(values))]
    g = [gg.asarray(a).requires_grad_() for a in (X.copy(), np.asarray(values))]
    expected, got = theirs(*t), ours(*g)
    np.testing.assert_allclose(np.asarray(got.detach()), expected.detach().numpy(), rtol=1e-14, atol=1e-15)
    weights = np.random.default_rng(2).standard_normal(expected.shape)
    (expected * expected * torch.from_numpy(weights)).sum().backward()
    (got * got * gg.asarray(weights)).sum().backward()
    for mine, other in zip(g, t, strict=True):
        assert other.grad is not None
        np.testing.assert_allclose(np.asarray(mine.grad), other.grad.numpy(), rtol=1e-12, atol=1e-13)
    gg.testing.gradcheck(lambda *xs: gg.square(ours(*xs)), [gg.asarray(X), gg.asarray(values)], second=True)


def test_in_place_methods_agree_with_the_functions() -> None:
    rows, along, mask = gg.asarray(ROWS), gg.asarray(ALONG), gg.asarray(MASK)
    lines, values = gg.asarray(X[:3] * 2), gg.asarray(np.arange(20.0))
    pairs: list[tuple[Callable[[gg.Tensor], Any], Callable[[gg.Tensor], Any]]] = [
        (lambda x: x.index_add_(0, rows, lines), lambda x: gg.index_add(x, 0, rows, lines)),
        (lambda x: x.index_copy_(0, rows, lines), lambda x: gg.index_copy(x, 0, rows, lines)),
        (lambda x: x.index_fill_(1, rows, 7.0), lambda x: gg.index_fill(x, 1, rows, 7.0)),
        (lambda x: x.masked_fill_(mask, 7.0), lambda x: gg.masked_fill(x, mask, 7.0)),
        (lambda x: x.masked_scatter_(mask, values), lambda x: gg.masked_scatter(x, mask, values)),
        (lambda x: x.scatter_(0, along, 7.0), lambda x: gg.scatter(x, 0, along, 7.0)),
        (lambda x: x.scatter_add_(0, along, lines), lambda x: gg.scatter_add(x, 0, along, lines)),
        (lambda x: x.scatter_reduce_(0, along, lines, "amax"), lambda x: gg.scatter_reduce(x, 0, along, lines, "amax")),
    ]
    for in_place, plain in pairs:
        x = gg.asarray(X.copy())
        expected = plain(x).tolist()
        before = x.data_ptr()
        assert in_place(x) is x
        assert x.tolist() == expected
        assert x.data_ptr() == before


def test_scatters_take_both_orders_and_longer_values() -> None:
    x, along = gg.zeros((4, 5), dtype=gg.float64), gg.asarray(ALONG)
    values = gg.asarray(X)
    expected = torch.zeros(4, 5, dtype=torch.float64).scatter(0, torch.from_numpy(ALONG), torch.from_numpy(X)).tolist()
    assert gg.scatter(x, 0, along, values).tolist() == expected
    assert gg.scatter(x, along, values, 0).tolist() == expected
    assert gg.scatter(x, along, values, axis=0).tolist() == expected
    assert gg.scatter(x, axis=0, indices=along, values=values).tolist() == expected
    assert x.scatter(0, along, values).tolist() == expected


def test_put_along_axis_agrees_with_numpy() -> None:
    for axis, indices in ((1, np.array([[0], [3], [1], [2]])), (0, np.array([[1, 0, 3, 2, 1]])), (1, np.array([[2]]))):
        expected = X.copy()
        np.put_along_axis(expected, indices, 9.0, axis)
        got = gg.put_along_axis(gg.asarray(X), gg.asarray(indices), 9.0, axis)
        np.testing.assert_array_equal(np.asarray(got), expected)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16", "float32"])
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
def test_scatter_reduce_serves_other_dtypes(dtype: str, reduce: str) -> None:
    x = np.arange(1, 5).astype(dtype)
    places, values = np.array([0, 0, 3, 0]), np.array([2, 5, 1, 0]).astype(dtype)
    rounded = {
        "sum": [8, 2, 3, 5],
        "prod": [0, 2, 3, 4],
        "mean": [2, 2, 3, 2.5],
        "amax": [5, 2, 3, 4],
        "amin": [0, 2, 3, 1],
    }
    expected = np.floor(rounded[reduce]) if "int" in dtype else np.array(rounded[reduce])
    got = gg.scatter_reduce(gg.asarray(x), 0, gg.asarray(places), gg.asarray(values), reduce)
    assert str(np.asarray(got).dtype) == dtype
    np.testing.assert_array_equal(np.asarray(got), expected.astype(dtype))


def test_products_with_zeros_have_exact_gradients() -> None:
    values = np.array([0.0, 3.0, 0.0, 0.0, 5.0])
    x, places = np.array([2.0, 0.0, 4.0]), np.array([0, 0, 1, 2, 2])
    t = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, values)]
    g = [gg.asarray(a).requires_grad_() for a in (x, values)]
    torch.scatter_reduce(t[0], 0, torch.from_numpy(places), t[1], "prod").sum().backward()
    gg.scatter_reduce(g[0], 0, gg.asarray(places), g[1], "prod").sum().backward()
    for mine, other in zip(g, t, strict=True):
        assert other.grad is not None
        np.testing.assert_array_equal(np.asarray(mine.grad), other.grad.numpy())


# Destinations that meet no zero, one, two and three of them, in x and among the values; some are named from the end.
FACTOR_PLACES = np.array([0, 3, 1, -4, 3, 1, 2, -1, 1, 2, 2])
FACTORS = np.array([0.0, 3.0, 0.0, 0.0, 5.0, 0.0, 2.0, -4.0, 0.0, 0.0, 7.0])
BASES = np.array([2.0, 5.0, 0.0, 1.5])


def product(x: gg.Tensor, values: gg.Tensor) -> gg.Tensor:
    return gg.scatter_reduce(x, 0, gg.asarray(FACTOR_PLACES), values, "prod")


def test_products_with_zeros_have_second_gradients() -> None:
    gg.testing.gradcheck(product, [gg.asarray(BASES), gg.asarray(FACTORS)], second=True)

    def parts(x: gg.Tensor, values: gg.Tensor, turned: gg.Tensor) -> gg.Tensor:
        z = product(x * (1.0 + 0.5j), values * 0.7 - turned * 1.0j)
        return gg.stack([gg.real(z), gg.imag(z)])

    turned = np.where(FACTORS == 0.0, 0.0, np.arange(11.0) - 4.5)
    gg.testing.gradcheck(parts, [gg.asarray(a) for a in (BASES, FACTORS, turned)], second=True)


def test_products_with_zeros_have_third_gradients() -> None:
    vectors = np.random.default_rng(0).standard_normal((3, FACTORS.size))
    v = gg.asarray(FACTORS).requires_grad_()
    derivative = gg.sum(product(gg.asarray(BASES), v))
    for vector in vectors:
        (g,) = gg.grad(derivative, [v], create_graph=True)
        derivative = gg.sum(g * gg.asarray(vector))
    expected = 0.0
    for place in range(4):
        own = np.flatnonzero(np.equal(FACTOR_PLACES % 4, place)).tolist()
        for triple in itertools.permutations(own, 3):
            rest = np.prod([FACTORS[i] for i in own if i not in triple])
            expected += BASES[place] * rest * np.prod([vectors[k][i] for k, i in enumerate(triple)])
    assert abs(expected) > 1.0
    np.testing.assert_allclose(derivative.item(), expected, rtol=1e-12)


# ---- x[key] ----


def keys(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return a random key: integers, slices, None, an Ellipsis, integer arrays and masks, mixed."""
    key: list[Any] = []
    axis, dots = 0, False
    common = tuple(rng.integers(1, 4, rng.integers(0, 3)))
    selected = int(rng.integers(1, 5))  # how many elements masks choose, so that they broadcast
    while axis < len(shape):
        n = shape[axis]
        kind = rng.integers(0, 9)
        if kind == 0:
            key.append(int(rng.integers(-n, n)))
        elif kind in (1, 2):
            start, stop = sorted(rng.integers(-n, n + 1, 2))
            key.append(slice(int(start), int(stop), int(rng.choice([-2, -1, 1, 2, 3]))))
        elif kind == 3:
            key.append(None)
            continue
        elif kind == 4 and not dots:
            dots = True
            key.append(Ellipsis)
            axis += int(rng.integers(0, len(shape) - axis + 1))
            continue
        elif kind in (5, 6):
            sub = tuple(1 if rng.random() < 0.3 else m for m in common[rng.integers(0, len(common) + 1) :])
            key.append(rng.integers(-n, n, sub))
        elif kind == 7 and not common:
            key.append(rng.integers(0, n, ()).item())
        elif common == () or common == (selected,):
            mask = np.zeros(n, bool)
            mask[rng.permutation(n)[: min(selected if common else 1, n)]] = True
            key.append(mask)
        else:
            key.append(slice(None))
        axis += 1
    return tuple(key)


def test_random_keys_read_and_write_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    agreed = refused = 0
    for _ in range(3000):
        shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 5)))
        x = rng.integers(0, 1000, shape)
        key = keys(rng, shape)
        ours = tuple(gg.asarray(k) if isinstance(k, np.ndarray) and rng.random() < 0.5 else k for k in key)
        try:
            expected = x[key]
        except IndexError:
            with pytest.raises((IndexError, ValueError)):
                gg.asarray(x)[ours]
            refused += 1
            continue
        got = gg.asarray(x)[ours]
        assert got.shape == expected.shape, (shape, key)
        np.testing.assert_array_equal(np.asarray(got), expected, str((shape, key)))
        written, mine = x.copy(), gg.asarray(x.copy())
        written[key] = 7
        mine[ours] = 7
        np.testing.assert_array_equal(np.asarray(mine), written, str((shape, key)))
        flat = np.arange(np.size(expected)).reshape(np.shape(expected))
        once = np.size(np.unique(np.arange(x.size).reshape(shape)[key])) == np.size(expected)
        if once:  # else the last one wins in an order that NumPy leaves open
            written[key] = flat
            mine[ours] = gg.asarray(flat)
            np.testing.assert_array_equal(np.asarray(mine), written, str((shape, key)))
        written[key] += 3
        mine[ours] += 3
        np.testing.assert_array_equal(np.asarray(mine), written, str((shape, key)))
        agreed += 1
    assert agreed > 2000
    assert refused < 900


@pytest.mark.parametrize(
    "key",
    [
        np.array([2, 0, 2]),
        [1, 1, -1],
        (slice(None), np.array([[0, 4], [1, 1]])),
        (np.array([0, 3]), np.array([4, 4])),
        (np.array([0, 3]), slice(1, 4)),
        (np.array([[0], [3]]), None, np.array([1, 2])),
        MASK,
        (MASK[:, 0], 2),
        (Ellipsis, ONE_ROW),
        (None, 1, ONE_ROW),
    ],
    ids=str,
)
def test_gradients_by_tensor_and_by_values(key: Any) -> None:
    def ours(k: Any) -> Any:
        return tuple(ours(i) for i in k) if isinstance(k, tuple) else gg.asarray(k) if isinstance(k, np.ndarray) else k

    ours_key = ours(key)
    x = gg.asarray(X)
    gg.testing.gradcheck(lambda t: gg.square(t[ours_key]), [x], second=True)
    region = X[key]
    if np.size(np.unique(np.arange(X.size).reshape(X.shape)[key])) != np.size(region):
        return

    def write(t: gg.Tensor, v: gg.Tensor) -> gg.Tensor:
        out = t.clone()
        out[ours_key] = v
        return gg.square(out)

    gg.testing.gradcheck(write, [x, gg.asarray(np.random.default_rng(3).standard_normal(region.shape))], second=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: gg.gather(x, 0, gg.asarray([[5]])),
            IndexError,
            r"take_along_axis: index must be in \[-2, 2\), got 5",
        ),
        (
            lambda x: gg.gather(x, 0, gg.asarray([0])),
            ValueError,
            r"gather: indices must have rank 2 and no length above",
        ),
        (lambda x: gg.gather(x, 2, gg.asarray([[0]])), ValueError, r"gather: axis must be in \[-2, 2\), got 2"),
        (lambda x: gg.gather(x, 0, [[0]]), TypeError, r"gather: indices must be a tensor, got list"),
        (lambda x: gg.scatter(x, 0, gg.asarray([[2]]), 1.0), IndexError, r"scatter: index must be in \[-2, 2\), got 2"),
        (
            lambda x: gg.scatter(x, 0, gg.asarray([[0]]), "a"),
            TypeError,
            r"scatter: values must be a tensor or a number",
        ),
        (
            lambda x: gg.index_select(x, 0, gg.asarray([[0]])),
            ValueError,
            r"index_select: indices must have at most one",
        ),
        (lambda x: gg.index_add(x, 0, gg.asarray([0]), x), ValueError, r"index_add: source must have shape \(1, 3\)"),
        (
            lambda x: gg.index_add(x, 0, gg.asarray([0]), x[:1].astype("int32")),
            TypeError,
            r"index_add: source must hav",
        ),
        (lambda x: gg.index_fill(x, 0, gg.asarray([0]), x[0]), ValueError, r"index_fill: value must be a number or a"),
        (lambda x: gg.masked_fill(x, x, 1.0), TypeError, r"masked_fill: mask must be bool, got float32"),
        (lambda x: gg.masked_fill(x, x > 1, 1j), TypeError, r"masked_fill: value must fit dtype float32, got 1j"),
        (lambda x: gg.masked_select(x, x), TypeError, r"masked_select: mask must be bool, got float32"),
        (lambda x: gg.masked_scatter(x, x == 0, x[0]), IndexError, r"take: index must be in"),
        (lambda x: gg.narrow(x, 1, 2, 2), ValueError, r"narrow: start and length must stay within axis 1 of length 3"),
        (
            lambda x: gg.scatter_reduce(x, 0, gg.asarray([[0]]), x, "max"),
            ValueError,
            r"scatter_reduce: reduce must be on",
        ),
    ],
)
def test_messages_name_op_argument_and_value(call: Callable[[gg.Tensor], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gg.zeros((2, 3)))

"""The elementwise ops: values against NumPy and SciPy, gradients of both orders against PyTorch, layouts, dtypes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from samples import BINARY as ALL_BINARY
from samples import UNARY as ALL_UNARY

import gorgo as gg

Array = Any


NOT_REAL = ["conj", "isnan", "isinf", "isfinite", "logical_not", "bitwise_invert", "real", "imag", "copy", "signbit"]
NO_TORCH_GRADIENT = ["floor_divide", "heaviside", "digamma"]  # of the last it has nine figures
COMPARE = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
# Those of real numbers that PyTorch knows too; tests/test_registry.py sweeps all.
UNARY = {name: row for name, row in ALL_UNARY.items() if name not in NOT_REAL}
BINARY = {
    name: row
    for name, row in ALL_BINARY.items()
    if not name.startswith(("bitwise", "logical")) and name not in [*COMPARE, "gcd", "lcm"]
}
COMPLEX = [
    "negative", "square", "sqrt", "reciprocal", "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "conj", "expm1", "log1p", "log2", "log10", "sign",
]  # fmt: skip
FLOATS = ["float16", "float32", "float64"]
INTEGERS = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]


def fn(name: str) -> Callable[..., gg.Tensor]:
    return getattr(gg, name, None) or getattr(gg._core, name)


def rng(*key: object) -> np.random.Generator:
    return np.random.default_rng(sum(map(ord, "".join(map(str, key)))))


def uniform(low: float, high: float, shape: tuple[int, ...], dtype: str, *key: object) -> np.ndarray:
    return rng(dtype, *key).uniform(low, high, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_unary_special_values(name: str, dtype: str) -> None:
    oracle = UNARY[name][0]
    tiny = float(np.finfo(dtype).tiny)
    x = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, tiny, -tiny, tiny / 8, 2.5, -2.5, 0.5, 1e4, -1e4], dtype
    )
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = oracle(x.astype(np.float64)).astype(dtype)
    if name in ("silu", "gelu"):
        expected[3] = np.nan  # -inf times 0
    if name == "gelu_tanh":
        expected[[3]] = np.nan
        expected[-1] = -0.0
    if name == "reciprocal" and dtype == "float32":
        expected[[9]] = np.inf  # of a denormal
    got = np.asarray(fn(name)(gg.asarray(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-5 if dtype == "float32" else 1e-13, atol=0)
    zero = expected == 0
    if name not in ("gelu", "gelu_tanh", "silu", "relu", "sign", "sinc", "erfinv"):
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", COMPLEX)
def test_complex_values(name: str, dtype: str) -> None:
    random = rng(name)
    x = (random.uniform(-2, 2, (5, 9)) + 1j * random.uniform(-2, 2, (5, 9))).astype(dtype)
    numpy_name = {
        "asin": "arcsin",
        "acos": "arccos",
        "atan": "arctan",
        "asinh": "arcsinh",
        "acosh": "arccosh",
        "atanh": "arctanh",
    }
    expected = getattr(np, numpy_name.get(name, name))(x.astype(np.complex128))
    got = np.asarray(fn(name)(gg.asarray(x)))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=2e-6 if dtype == "complex64" else 1e-13)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "floor_divide", "remainder", "maximum", "minimum"])
def test_integers_wrap_as_numpy_does(name: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    random = rng(name, dtype)
    a = random.integers(info.min, info.max, 301, dtype=dtype, endpoint=True)
    b = random.integers(info.min, info.max, 301, dtype=dtype, endpoint=True)
    small = random.integers(0, 5, 301).astype(dtype)
    ends = np.array([info.min, info.max, 0, 1], dtype)
    lowest = np.full(4, np.array(-1).astype(dtype))
    for x, y in ((a, b), (a, small), (ends, lowest), (ends, ends)):
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(x, y)
        np.testing.assert_array_equal(np.asarray(fn(name)(gg.asarray(x), gg.asarray(y))), expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_bitwise_ops_and_shifts(dtype: str) -> None:
    info = np.iinfo(dtype)
    random = rng("bits", dtype)
    a = random.integers(info.min, info.max, 99, dtype=dtype, endpoint=True)
    b = random.integers(info.min, info.max, 99, dtype=dtype, endpoint=True)
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        np.testing.assert_array_equal(np.asarray(fn(name)(gg.asarray(a), gg.asarray(b))), getattr(np, name)(a, b))
    np.testing.assert_array_equal(np.asarray(gg.bitwise_invert(gg.asarray(a))), ~a)
    count = random.integers(0, info.bits + 3, 99).astype(dtype)
    np.testing.assert_array_equal(
        np.asarray(gg.bitwise_left_shift(gg.asarray(a), gg.asarray(count))), np.left_shift(a, count)
    )
    np.testing.assert_array_equal(
        np.asarray(gg.bitwise_right_shift(gg.asarray(a), gg.asarray(count))), np.right_shift(a, count)
    )


def whole_range(dtype: str, *key: object) -> np.ndarray:
    """Every number of up to 16 bits; of wider ones the ends, those around 0, and random ones."""
    info = np.iinfo(dtype)
    if info.bits <= 16:
        return np.arange(info.min, info.max + 1).astype(dtype)
    ends = [info.min, info.min + 1, info.max - 1, info.max, info.max // 2, info.max // 2 + 1]
    near = np.arange(-40 if info.min < 0 else 0, 40)
    some = rng("range", dtype, *key).integers(info.min, info.max, 2001, dtype=dtype, endpoint=True)
    return np.concatenate([np.array(ends, dtype), near.astype(dtype), some])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_divided_by_one_number(dtype: str) -> None:
    info = np.iinfo(dtype)
    a = whole_range(dtype)
    divisors = {0, 1, 2, 3, 7, 10, 64, 100, info.max, info.max - 1, info.max // 2 + 1, info.max // 3}
    divisors |= {-1, -2, -7, info.min, info.min + 1} if info.min < 0 else set()
    divisors |= {int(d) >> shift for d, shift in zip(a[:: len(a) // 40], range(info.bits), strict=False)}
    x = gg.asarray(a)
    for d in sorted(divisors):
        divisor = np.array(d, dtype)
        for name in ("floor_divide", "remainder"):
            with np.errstate(all="ignore"):
                expected = getattr(np, name)(a, divisor)
            for view in (slice(None), slice(1, None, 3)):
                got = fn(name)(x[view], gg.asarray(divisor))
                np.testing.assert_array_equal(np.asarray(got), expected[view], err_msg=f"{name} by {d}")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_shifts_by_one_count(dtype: str) -> None:
    info = np.iinfo(dtype)
    a = whole_range(dtype)
    x = gg.asarray(a)
    counts = [*range(info.bits + 2), 100, *([-1, -100] if info.min < 0 else [])]
    for count in counts:
        one = gg.asarray(np.array(count, dtype))
        beyond = not 0 <= count < info.bits
        left = np.zeros_like(a) if beyond else a << np.array(count, dtype)
        right = a >> np.array(info.bits - 1 if info.min < 0 and beyond else count, dtype)
        if beyond and info.min == 0:
            right = np.zeros_like(a)
        np.testing.assert_array_equal(np.asarray(gg.bitwise_left_shift(x, one)), left, err_msg=f"by {count}")
        np.testing.assert_array_equal(np.asarray(gg.bitwise_right_shift(x, one)), right, err_msg=f"by {count}")
        np.testing.assert_array_equal(np.asarray(gg.bitwise_right_shift(x[::-2], one)), right[::-2])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_small_integers_in_every_layout_and_length(dtype: str) -> None:
    info = np.iinfo(dtype)
    random = rng("small", dtype)
    names = ["add", "multiply", "floor_divide", "remainder", "maximum", "less", "not_equal", "bitwise_xor"]
    for n in (1, 2, 15, 16, 17, 31, 33, 63, 65, 127, 8193):
        a, b = random.integers(info.min, info.max, (2, 2 * n, 3), dtype=dtype, endpoint=True)
        x, y = gg.asarray(a), gg.asarray(b)
        layouts = [
            ((a, b), (x, y)),
            ((a[::2], b[1::2]), (x[::2], y[1::2])),
            ((a.T, b.T), (x.T, y.T)),
            ((a[:, 1], b[:, 2]), (x[:, 1], y[:, 2])),
            ((a, b[:1]), (x, y[:1])),
            ((a[:, :1], b), (x[:, :1], y)),
            ((a[3 % n :, 1:], b[0, 0]), (x[3 % n :, 1:], y[0, 0])),
        ]
        for (p, q), (u, v) in layouts:
            for name in names:
                with np.errstate(all="ignore"):
                    expected = getattr(np, name)(p, q)
                np.testing.assert_array_equal(np.asarray(fn(name)(u, v)), expected, err_msg=f"{name} of {p.shape}")
            low, high = sorted((int(info.max // 3), int(info.max // 2)))
            np.testing.assert_array_equal(np.asarray(gg.clip(u, low, high)), np.clip(p, low, high))


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
@pytest.mark.parametrize("name", COMPARE)
def test_comparisons(name: str, dtype: str) -> None:
    if dtype == "bool" and name != "equal" and name != "not_equal":
        with pytest.raises(TypeError, match=f"{name}: x1 and x2 must meet in a dtype that is real, got bool"):
            fn(name)(gg.asarray(np.array([True])), gg.asarray(np.array([True])))
        return
    random = rng(name, dtype)
    a, b = random.integers(0, 3, (2, 77)).astype(dtype)
    if dtype in FLOATS:
        a[::7] = np.nan
        b[::5] = np.inf
    got = np.asarray(fn(name)(gg.asarray(a), gg.asarray(b)))
    assert got.dtype == np.bool_
    np.testing.assert_array_equal(got, getattr(np, name)(a, b))


def test_logical_ops_ask_whether_elements_are_zero() -> None:
    a = np.array([0.0, 2.0, np.nan, -0.0])
    b = np.array([1, 0, 3, 0])
    for name in ("logical_and", "logical_or", "logical_xor"):
        np.testing.assert_array_equal(np.asarray(fn(name)(gg.asarray(a), gg.asarray(b))), getattr(np, name)(a, b))
    np.testing.assert_array_equal(np.asarray(gg.logical_not(gg.asarray(a))), np.logical_not(a))


def test_questions() -> None:
    x = np.array([0.0, np.nan, np.inf, -np.inf, 1e300])
    for name in ("isnan", "isinf", "isfinite"):
        np.testing.assert_array_equal(np.asarray(fn(name)(gg.asarray(x))), getattr(np, name)(x))
        z = np.empty(5, np.complex128)
        z.real, z.imag = 1.0, x
        np.testing.assert_array_equal(np.asarray(fn(name)(gg.asarray(z))), getattr(np, name)(z))


def test_where_broadcasts_and_takes_numbers() -> None:
    random = rng("where")
    condition = random.random((4, 1)) < 0.5
    a, b = random.random((2, 1, 3)), random.random(3)
    got = gg.where(gg.asarray(condition), gg.asarray(a), gg.asarray(b))
    np.testing.assert_array_equal(np.asarray(got), np.where(condition, a, b))
    np.testing.assert_array_equal(
        np.asarray(gg.where(gg.asarray(condition), gg.asarray(a[:1]), 0.5)), np.where(condition, a[:1], 0.5)
    )
    with pytest.raises(TypeError, match="where: condition dtype must be bool, got float64"):
        gg.where(gg.asarray(a), gg.asarray(a), gg.asarray(a))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (1, 1), (517,), (3, 5, 7)])
def test_every_shape(shape: tuple[int, ...]) -> None:
    x = rng("shape").random(shape).astype(np.float32)
    got = gg.exp(gg.asarray(x))
    assert got.shape == shape
    np.testing.assert_allclose(np.asarray(got), np.exp(x), rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(gg.asarray(x) + gg.asarray(x)), x + x)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "int64", "complex128", "bool"])
def test_layouts_give_the_same_elements(dtype: str) -> None:
    x = rng("layout", dtype).integers(0, 2, (6, 10, 8)).astype(dtype)
    t = gg.asarray(x)
    views = [
        (t, x),
        (t[1:5, ::3, 2:], x[1:5, ::3, 2:]),
        (gg.flip(t), np.flip(x)),
        (gg.permute_dims(t, (2, 0, 1)), np.transpose(x, (2, 0, 1))),
        (gg.broadcast_to(t[:, :1], (6, 10, 8)), np.broadcast_to(x[:, :1], (6, 10, 8))),
    ]
    for view, expected in views:
        np.testing.assert_array_equal(np.asarray(gg.copy(view)), expected)
        np.testing.assert_array_equal(
            np.asarray(gg.not_equal(view, gg.zeros(view.shape, dtype=view.dtype))), expected != 0
        )
        if dtype != "bool":
            np.testing.assert_array_equal(np.asarray(view + view), expected + expected)
            np.testing.assert_array_equal(np.asarray(view * view[:1]), expected * expected[:1])


@pytest.mark.parametrize("shape", [(1, 1024), (300, 257), (1024, 33), (17, 4, 129), (35, 5000)])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "complex128"])
def test_copy_of_a_transpose(shape: tuple[int, ...], dtype: str) -> None:
    x = rng("transpose", shape).integers(0, 100, shape).astype(dtype)
    t = gg.asarray(x)
    axes = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    got = gg.copy(gg.permute_dims(t, axes))
    np.testing.assert_array_equal(np.asarray(got), np.transpose(x, axes))
    np.testing.assert_array_equal(np.asarray(gg.copy(gg.permute_dims(t, tuple(reversed(range(len(shape))))))), x.T)
    np.testing.assert_array_equal(np.asarray(gg.permute_dims(t, axes).astype(dtype)), np.transpose(x, axes))
    np.testing.assert_array_equal(
        np.asarray(gg.copy(gg.permute_dims(t[..., 1:], axes))), np.transpose(x[..., 1:], axes)
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "complex128"])
def test_copy_of_a_transpose_larger_than_caches(dtype: str) -> None:
    whole = (9 << 20) // (1024 * np.dtype(dtype).itemsize)
    for width in (whole, whole + 7):  # rows of whole lines of the cache, and others
        x = rng("large transpose", width).integers(0, 100, (width, 1024)).astype(dtype)
        np.testing.assert_array_equal(np.asarray(gg.copy(gg.asarray(x).T)), x.T)


@pytest.mark.parametrize("source", ["bool", *INTEGERS, *FLOATS, "complex64", "complex128"])
@pytest.mark.parametrize("target", ["bool", *INTEGERS, *FLOATS, "complex64", "complex128"])
def test_astype_of_values_that_fit(source: str, target: str) -> None:
    x = np.array([0, 1, 2, 3, 100, 127]).astype(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = x.astype(target)
    np.testing.assert_array_equal(np.asarray(gg.asarray(x).astype(getattr(gg, target))), expected)


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("target", ["uint8", "int8", "uint16", "int16", "int32"])
def test_astype_to_integers_goes_to_the_nearest_of_32_bits_and_keeps_the_low_ones(source: str, target: str) -> None:
    ends = [127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**33, 1e20, np.inf, 0.0, 0.5, 1.999]
    x = np.array([*ends, *(-end for end in ends), np.nan], source)
    x = np.concatenate([x, rng("cast", source, target).uniform(-70000, 70000, 1000).astype(source)])
    whole = np.clip(np.trunc(np.nan_to_num(x.astype(np.float64), posinf=1e300, neginf=-1e300)), -(2**31), 2**31 - 1)
    expected = whole.astype(np.int64).astype(target)
    for n in (1, 7, 16, 33, len(x)):
        np.testing.assert_array_equal(np.asarray(gg.asarray(x[-n:]).astype(getattr(gg, target))), expected[-n:])
    view = gg.asarray(x)[::-3]
    np.testing.assert_array_equal(np.asarray(view.astype(getattr(gg, target))), expected[::-3])


@pytest.mark.parametrize("source", ["bool", *INTEGERS])
@pytest.mark.parametrize("target", [*INTEGERS, "float32", "float64"])
def test_astype_of_integers_wraps_as_numpy_does(source: str, target: str) -> None:
    x = np.arange(2, dtype=np.uint8).repeat(40).astype(bool) if source == "bool" else whole_range(source, target)
    for n in (1, 7, 33, len(x)):
        got = np.asarray(gg.asarray(x[-n:]).astype(getattr(gg, target)))
        np.testing.assert_array_equal(got, x[-n:].astype(target))
    matrix = x[: len(x) // 8 * 8].reshape(-1, 8)
    got = np.asarray(gg.asarray(matrix).T.astype(getattr(gg, target)))
    np.testing.assert_array_equal(got, matrix.T.astype(target))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_remainders_of_floats_are_exact(dtype: str) -> None:
    random = rng("fmod", dtype)
    special = np.array([0.0, 1e-45, 1.0, 1.5, 3.0, 1e10, 1e-10, 1e30, 3e38, np.inf, np.nan])
    special = np.concatenate([special, -special]).astype(dtype)
    spread = random.standard_normal((2, 4001)) * np.exp(random.uniform(-60, 60, (2, 4001)))
    near = random.standard_normal((2, 4001)) * [[100.0], [1.0]]
    multiples = np.stack([random.integers(-999, 999, 999), random.integers(1, 30, 999)])
    pairs = np.concatenate([spread, near, multiples], 1).astype(dtype)
    x = np.concatenate([np.repeat(special, len(special)), pairs[0]])
    y = np.concatenate([np.tile(special, len(special)), pairs[1]])
    finite = np.isfinite(x) & np.isfinite(y)
    for name in ("fmod", "remainder", "floor_divide"):
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(x, y)
        got = np.asarray(fn(name)(gg.asarray(x), gg.asarray(y)))
        told = finite if name != "fmod" else np.ones_like(finite)
        np.testing.assert_array_equal(got[told], expected[told], err_msg=name)
        if name != "floor_divide":
            told &= ~np.isnan(expected)
            np.testing.assert_array_equal(np.signbit(got[told]), np.signbit(expected[told]), err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round"])
def test_rounding_to_whole_numbers(name: str, dtype: str) -> None:
    halves = np.arange(-20, 20) / 2
    x = np.concatenate([halves, np.nextafter(halves, -99), np.nextafter(halves, 99), [2**23 + 0.5, 2**52 + 0.5]])
    x = np.concatenate([x, [-0.0, 1e-30, -1e-30, 1e30, np.inf, -np.inf, np.nan]]).astype(dtype)
    got, expected = np.asarray(fn(name)(gg.asarray(x))), getattr(np, name)(x)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[:-1]), np.signbit(expected[:-1]))


def test_the_magnitude_of_a_complex_number_is_within_one_ulp() -> None:
    random = rng("magnitude")
    size = np.exp(random.uniform(-85, 85, 4003))
    x = ((random.standard_normal(4003) + 1j * random.standard_normal(4003)) * size).astype(np.complex64)
    x[:6] = [0, complex(np.inf, np.nan), complex(np.nan, -np.inf), complex(np.nan, 1), complex(3e38, 3e38), 1e-45]
    expected = np.hypot(x.real.astype(np.float64), x.imag.astype(np.float64))
    with np.errstate(over="ignore"):
        nearest = expected.astype(np.float32)
    got = np.asarray(gg.abs(gg.asarray(x)))
    usual = np.isfinite(nearest)
    np.testing.assert_array_equal(got[~usual], nearest[~usual])
    assert np.all(np.abs(got[usual] - expected[usual]) <= np.spacing(nearest[usual]))
    np.testing.assert_array_equal(np.asarray(gg.abs(gg.asarray(x)[5::7])), got[5::7])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["add", "subtract", "multiply"])
def test_arithmetic_of_half_types_rounds_once(name: str, dtype: str) -> None:
    half = getattr(gg, dtype)
    x, y = (gg.asarray(uniform(-9, 9, (1004,), "float32", dtype, key)).astype(half) for key in "xy")
    for u, v in ((x, y), (x[::2], y[1::2]), (x, y[7])):
        exact = getattr(np, name)(*(np.asarray(z.astype(gg.float64)) for z in (u, v)))
        rounded = np.asarray(gg.asarray(exact).astype(half).astype(gg.float64))
        np.testing.assert_array_equal(np.asarray(fn(name)(u, v).astype(gg.float64)), rounded)


@pytest.mark.parametrize("source", ["float32", "float64", "int64"])
def test_astype_to_float16_rounds_once(source: str) -> None:
    x = (rng("half", source).uniform(-70000, 70000, 5000)).astype(source)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    np.testing.assert_array_equal(np.asarray(gg.asarray(x).astype(gg.float16)), expected)


def test_in_place_keeps_dtype_and_refuses_a_higher_one() -> None:
    x = gg.asarray(np.arange(4, dtype=np.int32))
    same = x
    x += 3
    assert x is same
    assert x.tolist() == [3, 4, 5, 6]
    with pytest.raises(TypeError, match="result must have the target's dtype int32"):
        x += 0.5
    y = gg.asarray(np.arange(12.0).reshape(3, 4))
    y.T.exp_()
    np.testing.assert_allclose(np.asarray(y), np.exp(np.arange(12.0).reshape(3, 4)), rtol=1e-15)


def test_numbers_are_weak() -> None:
    i = gg.asarray(np.array([1, 2], dtype=np.uint8))
    f = gg.asarray(np.array([1, 2], dtype=np.float16))
    assert str((i + 1).dtype).endswith("uint8")
    assert str((i + 1.5).dtype).endswith("float32")
    assert str((f * 2).dtype).endswith("float16")
    assert str((f * 2j).dtype).endswith("complex64")
    assert (2 - i).tolist() == [1, 0]
    with pytest.raises(OverflowError, match="add: scalar must fit uint8"):
        i + 300


def _torch_function(name: str) -> Callable[..., Any]:
    torch = pytest.importorskip("torch")
    special = {
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "silu": torch.nn.functional.silu,
        "softplus": torch.nn.functional.softplus,
        "hardsigmoid": lambda x: torch.nn.functional.relu6(x + 3) / 6,
        "hardswish": torch.nn.functional.hardswish,
        "leaky_relu": lambda x, slope: torch.where(x > 0, x, slope * x),
    }
    return special.get(name) or getattr(torch, name)


@pytest.mark.parametrize("name", [n for n in (*UNARY, *BINARY) if n not in NO_TORCH_GRADIENT])
def test_first_and_second_gradients_equal_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    unary = name in UNARY
    _, low, high = UNARY[name] if unary else BINARY[name]
    low = max(low, 0.05) if name == "sqrt" else low
    arrays = [uniform(low, high, (3, 11), "float64", name, k) for k in range(1 if unary else 2)]
    weight, direction = rng(name, "w").normal(size=(2, 3, 11))

    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = _torch_function(name)(*theirs)
    first = torch.autograd.grad(y, theirs, torch.tensor(weight), create_graph=True)
    projected = sum((g * torch.tensor(direction)).sum() for g in first)
    zero_second = not projected.requires_grad
    second = [None] * len(theirs) if zero_second else torch.autograd.grad(projected, theirs, allow_unused=True)

    ours = [gg.asarray(a).requires_grad_() for a in arrays]
    # The fused gradient, and the composed one that can be differentiated again.
    fused = gg.grad(fn(name)(*ours), ours, gg.asarray(weight))
    composed = gg.grad(fn(name)(*ours), ours, gg.asarray(weight), create_graph=True)
    for f, c, t in zip(fused, composed, first, strict=True):
        np.testing.assert_allclose(np.asarray(f.detach()), t.detach().numpy(), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(np.asarray(c.detach()), t.detach().numpy(), rtol=1e-11, atol=1e-13)
    terms = [(c, gg.asarray(direction)) for c in composed if c.requires_grad]
    if zero_second or not terms:
        assert all(s is None or not np.any(s.numpy(force=True)) for s in second)
        return
    ours_second = gg.grad([c for c, _ in terms], ours, [d for _, d in terms], allow_unused=True)
    for mine, t in zip(ours_second, second, strict=True):
        expected = np.zeros((3, 11)) if t is None else t.numpy(force=True)
        got = np.zeros((3, 11)) if mine is None else np.asarray(mine.detach())
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_gradients_equal_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    random = rng(name, "complex")
    x, weight = random.normal(size=(2, 13)) + 1j * random.normal(size=(2, 13))
    theirs = torch.tensor(x, requires_grad=True)
    function = _torch_function("sgn" if name == "sign" else name)
    expected = torch.autograd.grad(function(theirs), theirs, torch.tensor(weight))[0]
    ours = gg.asarray(x).requires_grad_()
    for create_graph in (False, True):
        got = gg.grad(fn(name)(ours), [ours], gg.asarray(weight), create_graph=create_graph)[0]
        np.testing.assert_allclose(np.asarray(got.detach()), expected.resolve_conj().numpy(), rtol=1e-11, atol=1e-12)


def test_gradients_of_broadcast_operands_are_summed() -> None:
    torch = pytest.importorskip("torch")
    random = rng("broadcast")
    a, b = random.random((4, 1, 3)) + 0.5, random.random((5, 1)) + 0.5
    for name in ("add", "multiply", "divide", "pow", "maximum", "atan2"):
        theirs = [torch.tensor(v, requires_grad=True) for v in (a, b)]
        getattr(torch, name)(*theirs).sum().backward()
        for create_graph in (False, True):
            ours = [gg.asarray(v).requires_grad_() for v in (a, b)]
            y = fn(name)(*ours)
            grads = gg.grad(y, ours, gg.ones(y.shape, dtype=gg.float64), create_graph=create_graph)
            for mine, t in zip(grads, theirs, strict=True):
                np.testing.assert_allclose(np.asarray(mine.detach()), t.grad.numpy(), rtol=1e-12)


def test_gradients_through_complex_numbers() -> None:
    x = np.array([1.0 + 2.0j, -0.5j])
    for create_graph in (False, True):
        t = gg.asarray(x).requires_grad_()
        ones = gg.ones((2,), dtype=gg.complex128)
        got = gg.grad(t * 2j + t / 4j + t ** (1 + 1j), [t], ones, create_graph=create_graph)[0]
        expected = np.conj(2j + 1 / 4j + (1 + 1j) * x**1j)
        np.testing.assert_allclose(np.asarray(got.detach()), expected, rtol=1e-13)
        base = gg.grad((2.0 + 1.0j) ** t, [t], ones, create_graph=create_graph)[0]
        np.testing.assert_allclose(
            np.asarray(base.detach()), np.conj((2.0 + 1.0j) ** x * np.log(2.0 + 1.0j)), rtol=1e-13
        )


def test_logical_ops_take_numbers_of_any_kind() -> None:
    x = gg.asarray(np.array([0.0, 2.0]))
    assert gg.logical_and(x, 1.5).tolist() == [False, True]
    assert gg.logical_or(x, 0).tolist() == [False, True]
    assert gg.compile(lambda t: gg.logical_xor(t, 2j))(x).tolist() == [True, False]


def test_pow_by_a_number() -> None:
    x = gg.asarray(np.array([-2.0, 0.0, 3.0])).requires_grad_()
    for exponent in (0, 1, 2, 3, -1, 0.5):
        with np.errstate(all="ignore"):
            expected = np.array([-2.0, 0.0, 3.0]) ** exponent
            slope = 0 * expected if exponent == 0 else exponent * np.array([-2.0, 0.0, 3.0]) ** (exponent - 1)
        y = x**exponent
        np.testing.assert_allclose(np.asarray(y.detach()), expected, rtol=1e-15)
        for create_graph in (False, True):
            got = gg.grad(x**exponent, [x], gg.ones((3,), dtype=gg.float64), create_graph=create_graph)[0]
            np.testing.assert_allclose(np.asarray(got.detach()), slope if exponent != 0 else np.zeros(3), rtol=1e-14)


def test_errors_name_op_argument_and_value() -> None:
    flag = gg.asarray(np.array([True]))
    real = gg.asarray(np.array([1.0]))
    with pytest.raises(TypeError, match="add: x1 and x2 must meet in a dtype that is numeric, got bool"):
        gg.add(flag, flag)
    with pytest.raises(TypeError, match="bitwise_invert: x dtype must be integer or bool, got float64"):
        gg.bitwise_invert(real)
    with pytest.raises(TypeError, match="floor: x dtype must be real, got complex64"):
        gg.floor(gg.asarray(np.array([1j], dtype=np.complex64)))
    with pytest.raises(ValueError, match="multiply"):
        gg.multiply(gg.ones((2, 3)), gg.ones((4,)))


# ---- the rarer ops ----


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nextafter_as_numpy(dtype: str) -> None:
    info = np.finfo(dtype)
    ends = [0.0, -0.0, info.tiny, -info.tiny, info.smallest_subnormal, 1.0, -1.0, 1.5, info.max, info.min, np.inf]
    values = np.array([*ends, -np.inf, np.nan], dtype)
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = np.where(a == b, b, np.nextafter(a, b))  # of float16 zeros NumPy keeps the first
    got = np.asarray(gg.nextafter(gg.asarray(a), gg.asarray(b)))
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(expected[got == 0]))


def test_nextafter_of_bfloat16_moves_by_one_bit() -> None:
    bits = np.array([0x0000, 0x8000, 0x3F80, 0xBF80, 0x7F7F, 0x0001, 0x8001], np.uint16)
    x = gg.asarray((bits.astype(np.uint32) << 16).view(np.float32)).astype(gg.bfloat16)

    def bits_of(t: gg.Tensor) -> list[int]:
        return (np.asarray(t.astype(gg.float32)).view(np.uint32) >> 16).tolist()  # type: ignore[no-any-return]

    up = gg.nextafter(x, gg.full((7,), gg.inf, dtype=gg.bfloat16))
    assert bits_of(up) == [0x0001, 0x0001, 0x3F81, 0xBF7F, 0x7F80, 0x0002, 0x8000]
    down = gg.nextafter(x, gg.full((7,), -gg.inf, dtype=gg.bfloat16))
    assert bits_of(down) == [0x8001, 0x8001, 0x3F7F, 0xBF81, 0x7F7E, 0x0000, 0x8002]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_signs_of_zeros_and_nans(dtype: str) -> None:
    x = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan], dtype)
    np.testing.assert_array_equal(np.asarray(gg.signbit(gg.asarray(x))), np.signbit(x))
    a, b = (v.ravel() for v in np.meshgrid(x, x))
    got, expected = np.asarray(gg.copysign(gg.asarray(a), gg.asarray(b))), np.copysign(a, b)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


def test_floor_divide_beside_infinities_is_the_array_apis() -> None:
    inf = np.inf
    a = np.array([inf, inf, -inf, -inf, inf, 1.0, 1.0, -1.0, -1.0, 0.0, -0.0])
    b = np.array([2.0, -2.0, 2.0, -2.0, inf, inf, -inf, inf, -inf, -inf, inf])
    expected = np.array([inf, -inf, -inf, inf, np.nan, 0.0, -0.0, -0.0, 0.0, -0.0, -0.0])
    for got in (gg.floor_divide(gg.asarray(a), gg.asarray(b)), gg.asarray(a) // gg.asarray(b)):
        np.testing.assert_array_equal(np.asarray(got), expected)
        zero = expected == 0
        np.testing.assert_array_equal(np.signbit(np.asarray(got)[zero]), np.signbit(expected[zero]))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["gcd", "lcm", "fmod"])
def test_whole_numbers_as_numpy(name: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    a, b = rng(name, dtype).integers(info.min, info.max, (2, 301), dtype=dtype, endpoint=True)
    a[:4], b[:4] = [0, info.min, info.min, 6], [0, 0, np.array(-1).astype(dtype), 4]
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(a, b)
    np.testing.assert_array_equal(np.asarray(fn(name)(gg.asarray(a), gg.asarray(b))), expected)


def test_complex_logarithms_keep_their_figures_near_zero_and_the_unit_circle() -> None:
    mpmath = pytest.importorskip("mpmath")
    z = np.array(
        [1e-9 + 1e-5j, -1e-12 + 1.4142135e-6j, 3e-17j, -1.0 + 1.0j, -0.5 + 0.8660254j, -2.0 + 1e-8j, 0.7 - 0.1j]
    )
    with mpmath.workdps(60):
        log1p = [complex(mpmath.log(1 + mpmath.mpc(v))) for v in z.tolist()]
        expm1 = [complex(mpmath.exp(mpmath.mpc(v)) - 1) for v in z.tolist()]
    for got, expected in ((gg.log1p(gg.asarray(z)), log1p), (gg.expm1(gg.asarray(z)), expm1)):
        np.testing.assert_allclose(np.asarray(got).real, np.real(expected), rtol=1e-14)
        np.testing.assert_allclose(np.asarray(got).imag, np.imag(expected), rtol=1e-14)


def test_complex_sign_and_round() -> None:
    z = np.array([0j, 3 + 4j, -2.5 + 0.5j, 1e308 + 1e308j, -1j, complex(np.nan, 1.0)])
    with np.errstate(all="ignore"):
        expected = z / np.hypot(z.real / 2, z.imag / 2) / 2
    expected[0] = 0
    expected[-1] = complex(np.nan, np.nan)
    got = np.asarray(gg.sign(gg.asarray(z)))
    np.testing.assert_allclose(got.real, expected.real, rtol=1e-15)
    np.testing.assert_allclose(got.imag, expected.imag, rtol=1e-15)
    np.testing.assert_array_equal(np.asarray(gg.round(gg.asarray(z))), np.round(z))
    t = gg.asarray(z[1:4]).requires_grad_()
    gg.round(t).real.sum().backward()
    assert t.grad is not None
    assert t.grad.tolist() == [0j, 0j, 0j]


def test_signs_of_zeros_that_the_array_api_settles() -> None:
    zeros = gg.asarray(np.array([0.0, -0.0]))
    assert not np.signbit(np.asarray(gg.sign(zeros))).any()
    assert not np.signbit(np.asarray(gg.expm1(gg.asarray(np.array([complex(-0.0, 0.0), 0j])))).real).any()
    assert np.signbit(np.asarray(gg.expm1(zeros))).tolist() == [False, True]


def test_tanh_of_an_infinite_real_part_keeps_the_sign_of_the_imaginary_one() -> None:
    z = np.array([complex(np.inf, 2.0), complex(np.inf, -2.0), complex(-np.inf, 2.0), complex(-np.inf, -2.0)])
    for dtype in ("complex64", "complex128"):
        got = np.asarray(gg.tanh(gg.asarray(z.astype(dtype))))
        np.testing.assert_array_equal(got, [1, 1, -1, -1])
        np.testing.assert_array_equal(np.signbit(got.imag), [False, True, False, True])


@pytest.mark.parametrize("low", [None, "number", "tensor"])
@pytest.mark.parametrize("high", [None, "number", "tensor"])
def test_clip_and_its_gradients_as_pytorch(low: str | None, high: str | None) -> None:
    torch = pytest.importorskip("torch")
    nan = np.nan
    x = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0, nan], [0.5, -1.5, 1.0, 3.0, -1.0, 0.0]])
    bounds = {
        ("low", "number"): -1.0,
        ("high", "number"): 1.0,
        ("low", "tensor"): np.array([-1.0, -1.0, 0.0, 2.0, -1.0, nan]),  # above the other bound in one place
        ("high", "tensor"): np.array([[1.0], [0.5]]),
    }
    given = [bounds.get((which, kind)) if kind else None for which, kind in (("low", low), ("high", high))]
    weight = rng("clip").normal(size=(2, 6))

    def run(make: Callable[[Array], Any], clip: Callable[..., Any]) -> tuple[list[Any], Any]:
        leaves = [make(x)]
        operands = []
        for bound in given:
            operands.append(make(bound) if isinstance(bound, np.ndarray) else bound)
            leaves += operands[-1:] if isinstance(bound, np.ndarray) else []
        return leaves, clip(leaves[0], *operands)

    mine, y = run(lambda a: gg.asarray(a).requires_grad_(), gg.clip)
    if low is None and high is None:  # PyTorch asks for one of them
        np.testing.assert_array_equal(np.asarray(y.detach()), x)
        [dx] = gg.grad(y, mine, gg.asarray(weight))
        np.testing.assert_array_equal(np.asarray(dx), weight)
        return
    if "tensor" in (low, high):  # PyTorch takes two tensors or two numbers
        given = [torch.tensor(g, dtype=torch.float64) if isinstance(g, float) else g for g in given]
    theirs, expected = run(lambda a: torch.tensor(a, requires_grad=True), torch.clamp)
    np.testing.assert_array_equal(np.asarray(y.detach()), expected.detach().numpy())
    slopes = torch.autograd.grad(expected, theirs, torch.tensor(weight))
    for create_graph in (False, True):
        got = gg.grad(y, mine, gg.asarray(weight), retain_graph=True, create_graph=create_graph)
        for ours, slope in zip(got, slopes, strict=True):
            np.testing.assert_allclose(np.asarray(ours.detach()), slope.numpy(), rtol=1e-15, atol=1e-15)


def test_clip_in_place_dtypes_and_errors() -> None:
    x = gg.asarray([-3, 0, 3])
    assert x.clamp_(-1, 1) is x
    assert x.tolist() == [-1, 0, 1]
    assert gg.clip(x, max=0).tolist() == [-1, 0, 0]
    assert gg.clip(x, 0.5).dtype == gg.float32
    assert gg.clip(gg.ones((2,), dtype=gg.uint8), min=None, max=None).dtype == gg.uint8
    with pytest.raises(TypeError, match="clip: x, min and max must meet in a dtype that is real, got complex64"):
        gg.clip(gg.asarray([1j]), 0)
    with pytest.raises(ValueError, match="clip"):
        gg.clip(gg.ones((2, 3)), gg.ones((4,)))
    step = gg.compile(lambda t: gg.clip(t, -1.0, None) * 2)
    for _ in range(3):
        assert step(gg.asarray([-5.0, 5.0])).tolist() == [-2.0, 10.0]


def test_gamma_functions_at_poles_limits_and_negative_numbers() -> None:
    special = pytest.importorskip("scipy.special")
    x = np.array([-0.5, -1.25, -2.75, -10.1, 0.25, 1.4616321449683623, 2.0, 1e-3, 1e5])
    np.testing.assert_allclose(np.asarray(gg.digamma(gg.asarray(x))), special.digamma(x), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(np.asarray(gg.lgamma(gg.asarray(x))), special.gammaln(x), rtol=1e-13)
    mpmath = pytest.importorskip("mpmath")
    for n in range(1, 6):
        expected = [float(mpmath.psi(n, v)) for v in x.tolist()]
        np.testing.assert_allclose(np.asarray(gg.polygamma(n, gg.asarray(x))), expected, rtol=1e-12)
    ends = gg.asarray(np.array([0.0, -0.0, -1.0, np.inf, -np.inf, np.nan]))
    inf, nan = np.inf, np.nan
    np.testing.assert_array_equal(np.asarray(gg.digamma(ends)), [-inf, inf, nan, inf, nan, nan])
    np.testing.assert_array_equal(np.asarray(gg.lgamma(ends)), [inf, inf, inf, inf, inf, nan])
    np.testing.assert_array_equal(np.asarray(gg.polygamma(1, ends)), [inf, inf, inf, 0.0, nan, nan])
    np.testing.assert_array_equal(np.asarray(gg.polygamma(2, ends)), [-inf, inf, nan, 0.0, nan, nan])
    with pytest.raises(ValueError, match=r"polygamma: n must be in \[0, 20\], got 21"):
        gg.polygamma(21, ends)
    with pytest.raises(TypeError, match="polygamma: x dtype must be real, got complex64"):
        gg.polygamma(1, gg.asarray([1j]))
    # PyTorch's and SciPy's order; the method has x first.
    assert gg.polygamma(x=ends[3], n=2).item() == ends[3].polygamma(2).item() == 0.0
    with pytest.raises(TypeError, match="polygamma: n must be an integer, got a tensor"):
        gg.polygamma(ends, 1)


def test_gradients_at_kinks_and_poles_as_pytorch() -> None:
    torch = pytest.importorskip("torch")
    inf = np.inf
    cases: dict[str, list[tuple[float, ...]]] = {
        "copysign": [(0.0, 1.0), (-2.0, 0.0), (-2.0, -0.0), (3.0, -1.0)],
        "hypot": [(3.0, 0.0), (0.0, -2.0), (0.0, 0.0)],
        "logaddexp": [(1.0, 1.0), (inf, 1.0), (-inf, 0.0), (-inf, -inf)],
        "xlogy": [(0.0, 0.0), (0.0, -1.0), (0.0, 2.0), (1.0, 0.0), (2.0, -1.0)],
        "fmod": [(7.5, 2.0), (-7.5, 2.0), (7.5, -2.0)],
        "sinc": [(0.0,), (1.0,), (0.05,), (-0.11,)],
    }
    for name, points in cases.items():
        for point in points:
            theirs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in point]
            expected = torch.autograd.grad(getattr(torch, name)(*theirs), theirs)
            for create_graph in (False, True):
                ours = [gg.asarray(v, dtype=gg.float64).requires_grad_() for v in point]
                got = gg.grad(fn(name)(*ours), ours, create_graph=create_graph)
                for mine, slope in zip(got, expected, strict=True):
                    np.testing.assert_allclose(mine.item(), slope.item(), rtol=1e-10, err_msg=f"{name}{point}")
    a = gg.asarray([-1.0, 0.0, 2.0]).requires_grad_()
    b = gg.asarray([5.0, 6.0, 7.0]).requires_grad_()
    gg.heaviside(a, b).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([0, 0, 0], [0, 1, 0])  # type: ignore[union-attr]


def test_pytorchs_names_are_the_same_ops() -> None:
    x = gg.asarray([0.25, -0.5])
    for alias, name in {
        "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan",
        "arctanh": "atanh", "expit": "sigmoid", "fix": "trunc", "positive": "copy", "sgn": "sign",
    }.items():  # fmt: skip
        np.testing.assert_array_equal(np.asarray(getattr(gg, alias)(x)), np.asarray(getattr(gg, name)(x)))
        np.testing.assert_array_equal(np.asarray(getattr(x, alias)()), np.asarray(getattr(x, name)()))
    for alias, name in {
        "arctan2": "atan2", "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
        "ge": "greater_equal", "true_divide": "divide",
    }.items():  # fmt: skip
        assert getattr(gg, alias)(x, 0.25).tolist() == getattr(gg, name)(x, 0.25).tolist()
    assert gg.bitwise_not(gg.asarray([0, 5])).tolist() == [-1, -6]

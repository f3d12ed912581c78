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


NOT_REAL = ["conj", "isnan", "isinf", "isfinite", "logical_not", "bitwise_invert", "real", "imag", "copy"]
COMPARE = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
# Those of real numbers that PyTorch knows too; tests/test_registry.py sweeps all.
UNARY = {name: row for name, row in ALL_UNARY.items() if name not in NOT_REAL}
BINARY = {
    name: row for name, row in ALL_BINARY.items() if not name.startswith(("bitwise", "logical")) and name not in COMPARE
}
COMPLEX = [
    "negative", "square", "sqrt", "reciprocal", "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "conj",
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
    if name not in ("gelu", "gelu_tanh", "silu", "relu", "sign"):
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


@pytest.mark.parametrize("shape", [(1, 1024), (300, 257), (1024, 33), (17, 4, 129)])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "complex128"])
def test_copy_of_a_transpose(shape: tuple[int, ...], dtype: str) -> None:
    x = rng("transpose", shape).integers(0, 100, shape).astype(dtype)
    t = gg.asarray(x)
    axes = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    got = gg.copy(gg.permute_dims(t, axes))
    np.testing.assert_array_equal(np.asarray(got), np.transpose(x, axes))
    np.testing.assert_array_equal(np.asarray(gg.copy(gg.permute_dims(t, tuple(reversed(range(len(shape))))))), x.T)


@pytest.mark.parametrize("source", ["bool", *INTEGERS, *FLOATS, "complex64", "complex128"])
@pytest.mark.parametrize("target", ["bool", *INTEGERS, *FLOATS, "complex64", "complex128"])
def test_astype_of_values_that_fit(source: str, target: str) -> None:
    x = np.array([0, 1, 2, 3, 100, 127]).astype(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = x.astype(target)
    np.testing.assert_array_equal(np.asarray(gg.asarray(x).astype(getattr(gg, target))), expected)


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
    }
    return special.get(name) or getattr(torch, name)


@pytest.mark.parametrize("name", [*UNARY, *(n for n in BINARY if n != "floor_divide")])
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
    expected = torch.autograd.grad(_torch_function(name)(theirs), theirs, torch.tensor(weight))[0]
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

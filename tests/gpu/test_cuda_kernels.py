"""Shapes that the small samples of the matrix do not reach: whole tiles, tails, layouts, long sums, many rows.

Expected values are NumPy's in float64; a tolerance counts roundings of the dtype. Read first: test_matrix.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from samples import round_to_bfloat16
from samples.convolution import conv_grad_weight, convolve

import gorgo as gg
from gorgo.nn import functional as F

Array = Any
DEVICE = "cuda:0"
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def draw(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    """Return numbers that the dtype can hold, as float64."""
    x = rng.uniform(-1.0, 1.0, shape)
    if dtype == "bfloat16":
        return round_to_bfloat16(x).astype(np.float64)
    return x.astype(dtype).astype(np.float64)


def put(x: Array, dtype: str) -> gg.Tensor:
    t = gg.asarray(np.ascontiguousarray(x, np.float64 if dtype == "float64" else np.float32)).to(DEVICE)
    return t if str(t.dtype).endswith(dtype) else t.astype(dtype)


def take(t: gg.Tensor) -> Array:
    assert t.device == DEVICE
    return t.detach().astype("float64").cpu().numpy()


def assert_rounded(got: Array, expected: Array, dtype: str, terms: int, what: str) -> None:
    """Expect one rounding to the dtype, and sums of `terms` products of about 1 rounded in float32 (or float64)."""
    assert got.shape == expected.shape, what
    inner = EPS["float64" if dtype == "float64" else "float32"]
    # Partial sums grow like a third of the root of their terms; as many deviations of what their rounding adds up to as
    # the largest of so many results is away, at least four.
    deviations = max(4.0, float(np.sqrt(2 * np.log(max(got.size, 2)))))
    atol = inner * (4 + 0.1 * deviations * terms) + (EPS[dtype] if dtype in ("float16", "bfloat16") else 0.0) * 0.01
    np.testing.assert_allclose(got, expected, rtol=EPS[dtype] + 4 * inner, atol=atol, err_msg=what)


# ---- matmul ----

MATRICES = [
    (1, 1, 1),
    (1, 7, 512),
    (7, 1, 33),
    (16, 16, 16),
    (17, 19, 23),
    (64, 64, 64),
    (65, 63, 129),
    (128, 128, 32),
    (128, 256, 64),
    (129, 257, 65),
    (192, 72, 1000),
    (256, 256, 2048),
    (300, 500, 31),
    (1, 1000, 1000),
    (1000, 1, 1000),
    (512, 384, 200),
    (1024, 8, 4096),
    (12, 1004, 328),  # few rows, with tails along the other factor and along k
    (1004, 5, 72),
    (9, 36, 8200),
    (2, 64, 4),
    (64, 256, 784),
    (200, 152, 1032),
    (448, 448, 448),
    (5, 3, 0),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), MATRICES)
def test_matmul_in_all_layouts(m: int, n: int, k: int, dtype: str, rng: np.random.Generator) -> None:
    a, b = draw(rng, dtype, m, k), draw(rng, dtype, k, n)
    expected = a @ b
    plain_a, plain_b = put(a, dtype), put(b, dtype)
    turned_a, turned_b = put(a.T, dtype).T, put(b.T, dtype).T
    wide_a = put(np.pad(a, ((1, 2), (3, 5))), dtype)[1 : 1 + m, 3 : 3 + k]
    skipped_b = put(np.repeat(np.repeat(b, 2, 0), 2, 1), dtype)[::2, ::2]
    pairs = {
        "NN": (plain_a, plain_b),
        "TN": (turned_a, plain_b),
        "NT": (plain_a, turned_b),
        "TT": (turned_a, turned_b),
        "a part of a wider matrix": (wide_a, plain_b),
        "every second element": (plain_a, skipped_b),
    }
    for name, (x, y) in pairs.items():
        got = x @ y
        assert_rounded(take(got), expected, dtype, k, f"{name} {m}x{n}x{k} {dtype}")
        np.testing.assert_array_equal(take(x @ y), take(got), f"twice: {name}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((5, 16, 8), (5, 8, 24)),
        ((3, 65, 33), (3, 33, 17)),
        ((4, 1, 64, 64), (3, 64, 64)),
        ((7, 128, 64), (64, 128)),
        ((128, 64), (6, 64, 40)),
        ((2, 3, 5, 7), (2, 1, 7, 5)),
        ((300, 4, 4), (300, 4, 4)),
        ((64,), (3, 64, 9)),
        ((0, 4, 5), (0, 5, 4)),
        ((70000, 2, 2), (2, 2)),
        ((3, 12, 264), (3, 264, 72)),
        ((2, 3, 40, 200), (2, 1, 200, 8)),
        # k is long beside the rest, and is cut into parts.
        ((2, 128, 784), (2, 784, 256)),
        ((3, 2, 96, 2048), (2, 2048, 160)),
    ],
    ids=str,
)
def test_matmul_in_batches(a: tuple[int, ...], b: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    x, y = draw(rng, dtype, *a), draw(rng, dtype, *b)
    got = take(put(x, dtype) @ put(y, dtype))
    assert_rounded(got, x @ y, dtype, a[-1], f"{a} @ {b} {dtype}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_linear_with_and_without_bias(dtype: str, rng: np.random.Generator) -> None:
    for rows, inside, out in ((1, 64, 10), (64, 784, 256), (100, 33, 129), (256, 1024, 512)):
        x, w, b = draw(rng, dtype, rows, inside), draw(rng, dtype, out, inside), draw(rng, dtype, out)
        what = f"{rows} rows of {inside} to {out} {dtype}"
        assert_rounded(take(F.linear(put(x, dtype), put(w, dtype))), x @ w.T, dtype, inside, what)
        with_bias = F.linear(put(x, dtype), put(w, dtype), put(b, dtype))
        assert_rounded(take(with_bias), x @ w.T + b, dtype, inside, what)


def test_a_float32_product_is_as_accurate_as_float32(rng: np.random.Generator) -> None:
    """No tensor core rounds operands to fewer digits behind the caller's back."""
    a, b = draw(rng, "float32", 512, 512), draw(rng, "float32", 512, 512)
    error = np.abs(take(put(a, "float32") @ put(b, "float32")) - a @ b).max()
    assert error < 3e-5, error


@pytest.fixture
def precision() -> Iterator[Callable[[str], None]]:
    """Give the setter of float32 products, and set it back."""
    yield gg.set_float32_matmul_precision
    gg.set_float32_matmul_precision("highest")


FEWER_DIGITS = {"high": 2.0**-11, "medium": 2.0**-8}  # the rounding of a factor


@pytest.mark.parametrize("setting", FEWER_DIGITS)
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(512, 512, 512), (128, 256, 784), (600, 136, 1000), (513, 259, 1001), (1024, 1024, 4096), (16, 9, 70)],
)
def test_float32_products_with_fewer_digits(
    m: int, n: int, k: int, setting: str, precision: Callable[[str], None], rng: np.random.Generator
) -> None:
    a, b = draw(rng, "float32", m, k), draw(rng, "float32", k, n)
    bias = draw(rng, "float32", n)
    plain_a, plain_b = put(a, "float32"), put(b, "float32")
    turned_a, turned_b = put(a.T, "float32").T, put(b.T, "float32").T
    exact = take(plain_a @ plain_b)
    precision(setting)
    # Errors of independent roundings: their root mean square, and six deviations of it.
    bound = 6 * FEWER_DIGITS[setting] * np.sqrt(k) / 3 + EPS["float32"] * 0.4 * k
    for name, (x, y) in {
        "NN": (plain_a, plain_b),
        "TN": (turned_a, plain_b),
        "NT": (plain_a, turned_b),
        "TT": (turned_a, turned_b),
    }.items():
        got = take(x @ y)
        np.testing.assert_allclose(got, a @ b, rtol=0, atol=bound, err_msg=name)
        np.testing.assert_array_equal(take(x @ y), got, f"twice: {name}")
    for weight in (turned_b.T, plain_b.T):
        linear = take(F.linear(plain_a, weight, put(bias, "float32")))
        np.testing.assert_allclose(linear, a @ b + bias, rtol=0, atol=bound)
    pairs = take(put(np.stack([a, 2 * a]), "float32") @ put(np.stack([b, 3 * b]), "float32"))
    np.testing.assert_allclose(pairs, np.stack([a @ b, 6 * a @ b]), rtol=0, atol=6 * bound)
    stack = take(put(np.stack([a, 2 * a]), "float32") @ plain_b)
    np.testing.assert_allclose(stack, np.stack([a @ b, 2 * a @ b]), rtol=0, atol=2 * bound)
    precision("highest")
    np.testing.assert_array_equal(take(plain_a @ plain_b), exact)


def test_captured_products_follow_the_precision(precision: Callable[[str], None], rng: np.random.Generator) -> None:
    x, y = put(draw(rng, "float32", 512, 512), "float32"), put(draw(rng, "float32", 512, 512), "float32")
    product = gg.compile(lambda x, y: x @ y)
    wanted = {}
    for setting in ("highest", "high", "medium"):
        precision(setting)
        wanted[setting] = take(x @ y)
    for _ in range(3):  # enqueued, captured, replayed
        for setting, expected in wanted.items():
            precision(setting)
            np.testing.assert_array_equal(take(product(x, y)), expected, setting)
    assert product.recordings == 1


def test_products_enqueued_in_a_row_wait_for_each_other(rng: np.random.Generator) -> None:
    """Kernels that begin before the one in front has ended read what it wrote."""
    for dtype, size in (("bfloat16", 512), ("float32", 96), ("float32", 1024), ("bfloat16", 64)):
        turn = np.eye(size)[:, rng.permutation(size)]
        p, x = put(turn, dtype), draw(rng, dtype, size, size)
        y = put(x, dtype)
        for _ in range(40):
            y = p @ y
        expected = x
        for _ in range(40):
            expected = turn @ expected
        np.testing.assert_allclose(take(y), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("shape", [(7, 5), (300, 700), (2000, 1024)])
def test_sums_enqueued_in_a_row_wait_for_each_other(
    shape: tuple[int, int], axis: int | None, rng: np.random.Generator
) -> None:
    """Small whole numbers, whose sums are exact."""
    expected = rng.integers(0, 7, shape).astype(np.float64)
    y = put(expected, "float32")
    for _ in range(20):
        y = (y + y.sum(axis=axis, keepdims=True)) % 7
        expected = (expected + expected.sum(axis=axis, keepdims=True)) % 7
    np.testing.assert_array_equal(take(y), expected)
    totals = [take(y.sum(axis=axis)) for _ in range(5)]
    for total in totals:
        np.testing.assert_array_equal(total, expected.sum(axis=axis))


# ---- convolution ----


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("x", "w", "attrs"),
    [
        ((2, 3, 32, 32), (32, 3, 3, 3), {"padding": 1}),
        ((4, 64, 14, 14), (128, 64, 3, 3), {"padding": 1}),
        ((2, 64, 17, 15), (64, 64, 3, 3), {"padding": 1, "stride": 2}),
        ((3, 32, 9, 9), (48, 32, 1, 1), {}),
        ((2, 16, 20, 20), (32, 8, 5, 5), {"padding": 2, "groups": 2}),
        ((2, 32, 12, 12), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
        ((1, 8, 23, 19), (24, 8, 3, 3), {"dilation": 2}),
        ((64, 1, 28, 28), (8, 1, 5, 5), {}),
        # Large enough for the copy engine: tails of channels and pixels, steps, phases with few taps or none, images
        # whose gradient is read in place.
        ((8, 64, 28, 28), (64, 64, 3, 3), {"padding": 1}),
        ((16, 64, 16, 16), (130, 64, 3, 3), {"padding": 1}),
        ((16, 130, 7, 7), (96, 130, 3, 3), {"padding": 1}),
        ((8, 64, 29, 26), (128, 64, 3, 3), {"padding": 1, "stride": 2}),
        ((32, 128, 28, 27), (128, 128, 1, 1), {"stride": 2}),
        ((8, 96, 30, 25), (72, 96, 3, 5), {"padding": (0, 3), "stride": (2, 1), "dilation": (2, 1)}),
        ((64, 64, 3, 3), (512, 64, 3, 3), {"padding": 2}),
        ((4, 64, 20, 20), (64, 64, 7, 7), {"padding": 3}),
        # Taps of a row that share pixels: other heights, steps, paddings on either side of what a window reaches.
        ((2, 64, 24, 56), (64, 64, 3, 3), {"padding": 1}),
        ((4, 72, 21, 44), (130, 72, 2, 3), {"padding": (1, 4), "dilation": (1, 4)}),
        ((8, 64, 20, 28), (64, 64, 3, 3), {"padding": (0, 3)}),
        ((8, 64, 20, 27), (64, 64, 3, 3), {"padding": (1, 0), "stride": (2, 1)}),
    ],
    ids=str,
)
def test_conv2d_forward_and_both_gradients(
    x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Any], dtype: str, rng: np.random.Generator
) -> None:
    a, kernel, bias = draw(rng, dtype, *x), draw(rng, dtype, *w), draw(rng, dtype, w[0])
    what, terms = f"{x} by {w} {attrs} {dtype}", w[1] * w[2] * w[3]
    points = [put(v, dtype).requires_grad_() for v in (a, kernel, bias)]
    y = F.conv2d(*points, **attrs)
    expected = convolve(a, kernel, bias, **attrs)
    assert_rounded(take(y), expected, dtype, terms, what)
    g = draw(rng, dtype, *expected.shape)
    by_x, by_w, by_bias = gg.grad([y], points, [put(g, dtype)])
    sums = x[0] * g.shape[2] * g.shape[3]
    slack = 8 if dtype == "bfloat16" else 1
    expected_w = conv_grad_weight(a, g, w[2:], **attrs)
    assert_rounded(take(by_w) / slack, expected_w / slack, dtype, sums, f"by the weight: {what}")
    assert_rounded(take(by_bias), g.sum((0, 2, 3)), dtype, sums, f"by the bias: {what}")
    # The gradient by the image is the adjoint: <g, conv(d)> = <grad, d> for any d.
    d = draw(rng, dtype, *x)
    left, right = float((g * convolve(d, kernel, **attrs)).sum()), float((take(by_x) * d).sum())
    scale = float(np.abs(take(by_x)).sum()) * (EPS[dtype] if dtype == "bfloat16" else 1e-6)
    assert abs(left - right) <= scale, f"by the image: {what}: {left} and {right}"


LAYOUTS = {
    "channels last": lambda t: t.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "channels first": lambda t: t.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3),
    "off by one": lambda t: gg.cat([gg.zeros((1,), dtype=t.dtype, device=DEVICE), t.reshape(-1)])[1:].reshape(t.shape),
    "every other row": lambda t: gg.stack([t, t], 3).reshape(*t.shape[:2], -1, t.shape[3])[:, :, ::2],
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_conv2d_of_views_has_the_bits_of_dense_tensors(layout: str, dtype: str, rng: np.random.Generator) -> None:
    x, w = put(draw(rng, dtype, 8, 64, 24, 28), dtype), put(draw(rng, dtype, 72, 64, 3, 3), dtype)
    g = put(draw(rng, dtype, 8, 72, 24, 28), dtype)

    def results(change: Any) -> list[Array]:
        points = [change(t).detach().requires_grad_() for t in (x, w)]
        y = F.conv2d(*points, padding=1)
        return [take(t) for t in (y, *gg.grad([y], points, [change(g)]))]

    for got, expected in zip(results(LAYOUTS[layout]), results(lambda t: t), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("op", "x", "w", "attrs"),
    [
        ("conv1d", (32, 96, 300), (64, 96, 5), {"padding": 2, "stride": 2}),
        ("conv_transpose1d", (32, 96, 300), (96, 64, 5), {"stride": 2, "output_padding": 1}),
        ("conv_transpose2d", (8, 96, 20, 17), (96, 64, 3, 3), {"padding": 1}),
        ("conv_transpose2d", (8, 128, 15, 14), (128, 64, 4, 4), {"padding": 1, "stride": 2}),
        ("conv_transpose2d", (8, 128, 15, 14), (128, 72, 3, 3), {"stride": 2, "output_padding": 1, "padding": 1}),
        ("conv_transpose2d", (32, 128, 15, 14), (128, 72, 2, 1), {"stride": 2, "output_padding": (0, 1)}),
        ("conv_transpose2d", (8, 128, 15, 14), (128, 64, 3, 3), {"stride": 3, "dilation": 2}),
    ],
    ids=str,
)
def test_other_convolutions_equal_those_of_the_cpu(
    op: str, x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Any], dtype: str, rng: np.random.Generator
) -> None:
    a, kernel = draw(rng, dtype, *x), draw(rng, dtype, *w)
    bias = draw(rng, dtype, w[0] if op == "conv1d" else w[1])
    here = [gg.asarray(v.astype(np.float32)) for v in (a, kernel, bias)]
    expected = getattr(gg, op)(*here, **attrs).numpy().astype(np.float64)
    got = getattr(gg, op)(*(put(v, dtype) for v in (a, kernel, bias)), **attrs)
    assert_rounded(take(got), expected, dtype, 2 * x[1] * int(np.prod(w[2:])), f"{op} {x} by {w} {attrs} {dtype}")


# ---- attention ----


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("queries", "keys", "width"), [(64, 64, 64), (100, 77, 32), (1, 300, 64), (130, 260, 128)])
def test_attention_equals_softmax_of_scores(
    queries: int, keys: int, width: int, causal: bool, dtype: str, rng: np.random.Generator
) -> None:
    if causal and queries > keys:
        keys = queries
    q, k, v = (draw(rng, dtype, 2, 3, n, width) for n in (queries, keys, keys))
    points = [put(t, dtype).requires_grad_() for t in (q, k, v)]
    y = F.scaled_dot_product_attention(*points, is_causal=causal)
    here = [gg.asarray(t).requires_grad_() for t in (q, k, v)]
    expected = F.scaled_dot_product_attention(*here, is_causal=causal)
    tolerance = 2e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(take(y), expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    g = draw(rng, dtype, *y.shape)
    got = gg.grad([y], points, [put(g, dtype)])
    wanted = gg.grad([expected], here, [gg.asarray(g)])
    for mine, other, name in zip(got, wanted, "qkv", strict=True):
        floor = max(float(np.abs(other.numpy()).max()), 1.0)
        np.testing.assert_allclose(take(mine), other.numpy(), rtol=tolerance, atol=tolerance * floor, err_msg=name)


# ---- reductions, rows, chains ----


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3_000_001,), None),
        ((1, 1_000_000), 1),
        ((1_000_000, 1), 0),
        ((100_000, 3), 1),
        ((3, 100_000), 0),
        ((1000, 1000), 0),
        ((1000, 1000), 1),
        ((33, 129, 65), 1),
        ((33, 129, 65), (0, 2)),
        ((7, 1, 5000), (0, 1)),
    ],
    ids=str,
)
def test_sums_over_any_axis(shape: tuple[int, ...], axis: Any, dtype: str, rng: np.random.Generator) -> None:
    x = np.abs(draw(rng, dtype, *shape))
    t = put(x, dtype)
    rtol = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 2.0**-8}[dtype]
    for name in ("sum", "mean", "max", "min"):
        got, expected = take(getattr(t, name)(axis=axis)), np.asarray(getattr(x, name)(axis=axis))
        np.testing.assert_allclose(got, expected, rtol=0 if name in ("max", "min") else rtol, err_msg=name)
    np.testing.assert_array_equal(take(t.sum(axis=axis)), take(t.sum(axis=axis)))
    if isinstance(axis, int):
        np.testing.assert_array_equal(t.argmax(axis=axis).cpu().numpy(), x.argmax(axis))


def test_ten_million_float32_elements_sum_to_a_millionth(rng: np.random.Generator) -> None:
    x = rng.uniform(0.0, 1.0, 10_000_000).astype(np.float32)
    got = gg.asarray(x).to(DEVICE).sum().item()
    assert abs(got / x.sum(dtype=np.float64) - 1) < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (4, 10), (1000, 33), (3, 1024), (64, 4096), (2, 50_257), (70_000, 8)], ids=str
)
def test_softmax_and_norms_of_rows(shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> None:
    x = 4 * draw(rng, dtype, *shape)
    t = put(x, dtype)
    tolerance = 4e-6 if dtype == "float32" else 2.0**-7
    shifted = np.exp(x - x.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    np.testing.assert_allclose(take(F.softmax(t, axis=1)), probabilities, rtol=tolerance, atol=1e-7)
    logs = x - x.max(1, keepdims=True) - np.log(shifted.sum(1, keepdims=True))
    np.testing.assert_allclose(take(F.log_softmax(t, axis=1)), logs, rtol=tolerance, atol=tolerance)
    normed = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(take(F.layer_norm(t, (shape[1],))), normed, rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("count", [1, 3, 4, 255, 256, 257, 65_537, 3_000_001])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "bool"])
def test_elementwise_calls_reach_every_element(count: int, dtype: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 2, count + 3).astype(dtype)
    y = rng.integers(0, 2, count + 3).astype(dtype)
    for first in (0, 1, 3):  # views that begin inside a vector
        a, b = gg.asarray(x).to(DEVICE)[first : first + count], gg.asarray(y).to(DEVICE)[first : first + count]
        p, q = x[first : first + count], y[first : first + count]
        np.testing.assert_array_equal((a == b).cpu().numpy(), p == q)
        np.testing.assert_array_equal(gg.where(a != 0, b, a).cpu().numpy(), np.where(p != 0, q, p))
        target = gg.asarray(x).to(DEVICE)
        target[first : first + count] = b
        expected = x.copy()
        expected[first : first + count] = q
        np.testing.assert_array_equal(target.cpu().numpy(), expected)


def test_a_fused_chain_rounds_as_its_parts(rng: np.random.Generator) -> None:
    for dtype in ("float32", "bfloat16"):
        x, y = (put(draw(rng, dtype, 1000, 257), dtype) for _ in range(2))

        def chain(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
            return gg.tanh(x * y + 0.5) * gg.exp(-x) - gg.maximum(x, y) / 3

        expected = take(chain(x, y))
        compiled = gg.compile(chain)
        for _ in range(3):
            np.testing.assert_array_equal(take(compiled(x, y)), expected)


def test_sorting_and_picking_many(rng: np.random.Generator) -> None:
    x = rng.normal(size=(17, 5003)).astype(np.float32)
    x[:, ::7] = 0.5  # ties
    t = gg.asarray(x).to(DEVICE)
    np.testing.assert_array_equal(gg.sort(t, axis=1).cpu().numpy(), np.sort(x, 1))
    np.testing.assert_array_equal(gg.argsort(t, axis=1, stable=True).cpu().numpy(), np.argsort(x, 1, kind="stable"))
    values, _ = gg.topk(t, 9, axis=1)
    np.testing.assert_array_equal(values.cpu().numpy(), -np.sort(-x, 1)[:, :9])
    flat = rng.integers(-1000, 1000, 200_003)
    np.testing.assert_array_equal(gg.sort(gg.asarray(flat).to(DEVICE)).cpu().numpy(), np.sort(flat))


def test_scatter_of_many_into_few_gives_the_same_bits_each_time(rng: np.random.Generator) -> None:
    values = rng.normal(size=(50_000, 8)).astype(np.float32)
    rows = rng.integers(0, 13, 50_000)
    expected = np.zeros((13, 8))
    np.add.at(expected, rows, values.astype(np.float64))
    v, i = gg.asarray(values).to(DEVICE), gg.asarray(rows).to(DEVICE)
    results = [gg.index_add(gg.zeros((13, 8), device=DEVICE), 0, i, v).cpu().numpy() for _ in range(5)]
    np.testing.assert_allclose(results[0], expected, rtol=1e-5, atol=1e-3)
    for other in results[1:]:
        assert other.tobytes() == results[0].tobytes()


def test_an_embedding_and_its_gradient(rng: np.random.Generator) -> None:
    table = rng.normal(size=(500, 65)).astype(np.float32)
    ids = rng.integers(0, 500, (40, 33))
    w = gg.asarray(table).to(DEVICE).requires_grad_()
    y = F.embedding(gg.asarray(ids).to(DEVICE), w)
    np.testing.assert_array_equal(y.detach().cpu().numpy(), table[ids])
    g = rng.normal(size=y.shape).astype(np.float32)
    expected = np.zeros(table.shape)
    np.add.at(expected, ids.reshape(-1), g.reshape(-1, 65).astype(np.float64))
    got = gg.grad([y], [w], [gg.asarray(g).to(DEVICE)])[0]
    np.testing.assert_allclose(got.cpu().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_more_elements_than_32_bits_count() -> None:
    count = (1 << 32) + 5
    if gg.cuda.properties(DEVICE)["free_bytes"] < 4 * count:
        pytest.skip("the CUDA card has too little free memory")
    x = gg.zeros((count,), dtype="uint8", device=DEVICE)
    x[-1] = 7
    y = x + 1
    assert y[-1].item() == 8
    assert y[0].item() == 1
    assert (y > 7).sum().item() == 1
    del x, y
    gg.memory.empty_cache(device=DEVICE)

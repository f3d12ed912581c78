"""matmul and linear: values in every layout and dtype, gradients to the second order, the same bits for any batch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import accuracy_products
import numpy as np
import pytest
from accuracy_products import precision_of

import gorgo as gg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(7)

SHAPES = [
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (7, 3, 4)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((1, 2, 3), (4, 3, 1)),
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((5, 2, 0), (5, 0, 4)),
    ((0, 2, 3), (3, 4)),
]
LARGE = [
    ((6, 40, 50), (6, 50, 60)),
    ((130, 300), (300, 200)),
    ((1, 900), (900, 70)),
    ((90, 800), (800, 1)),
    ((2, 64, 700), (700, 64)),
]


def random(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if np.dtype(dtype).kind in "iu":
        return RNG.integers(0, 9, shape).astype(dtype)
    values = RNG.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * RNG.standard_normal(shape)
    return values.astype(dtype)


def layouts(x: np.ndarray) -> list[gg.Tensor]:
    """Return the same elements dense, with the last axes swapped in memory, and with gaps."""
    found = [gg.asarray(x)]
    if x.ndim >= 2:
        swapped = gg.asarray(np.ascontiguousarray(np.swapaxes(x, -2, -1)))
        found.append(gg.matrix_transpose(swapped))
        wide = np.zeros((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), x.dtype)
        wide[..., ::2, ::3] = x
        found.append(gg.asarray(wide)[..., ::2, ::3])
    return found


def _bytes(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return bytes of every value; the least and the greatest are many."""
    x = RNG.integers(0, 256, shape)
    return np.where(RNG.random(shape) < 0.2, RNG.choice([0, 127, 128, 255], shape), x).astype("uint8").view(dtype)


def _like_strides(x: gg.Tensor) -> gg.Tensor:
    """Return x in bfloat16, in memory as x lies."""
    if x.ndim < 2 or 0 in x.shape:
        return x.astype("bfloat16")
    if x.strides[-1] == 3:
        wide = gg.zeros((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), dtype="bfloat16")
        view = wide[..., ::2, ::3]
        view[...] = x.astype("bfloat16")
        return view
    if x.strides[-1] != 1:
        return gg.matrix_transpose(gg.matrix_transpose(x).copy().astype("bfloat16"))
    return x.astype("bfloat16")


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int8", "uint8", "uint16", "int32", "int64", "complex64", "complex128"]
)
def test_matmul_agrees_with_numpy(dtype: str) -> None:
    for shape1, shape2 in SHAPES + LARGE:
        a, b = random(shape1, dtype), random(shape2, dtype)
        wide = {"float16": "float64", "float32": "float64", "complex64": "complex128"}.get(dtype, dtype)
        expected = np.matmul(a.astype(wide), b.astype(wide))
        magnitude = np.matmul(np.abs(a).astype("float64"), np.abs(b).astype("float64"))
        for x1, x2 in itertools.product(layouts(a), layouts(b)):
            found = gg.matmul(x1, x2)
            assert found.shape == expected.shape
            values = np.asarray(found)
            assert values.dtype == dtype
            if np.dtype(dtype).kind in "iu":
                np.testing.assert_array_equal(values, expected)
                continue
            roundoff = {"float16": 2.0**-11, "float32": 2.0**-24, "complex64": 2.0**-22}.get(dtype, 2.0**-51)
            sums = roundoff if dtype != "float16" else 2.0**-24
            bound = (shape1[-1] + 2) * sums * magnitude + roundoff * np.abs(expected)
            assert (np.abs(values - expected) <= bound).all(), (shape1, shape2)


def test_matmul_of_bfloat16_rounds_sums_of_float32_once() -> None:
    for shape1, shape2 in [*SHAPES, *LARGE, ((3, 17, 1601), (1601, 33))]:
        a, b = (torch.from_numpy(random(shape, "float32")).bfloat16() for shape in (shape1, shape2))
        wide1, wide2 = a.double().numpy(), b.double().numpy()
        expected = np.matmul(wide1, wide2)
        magnitude = np.matmul(np.abs(wide1), np.abs(wide2))
        for x1, x2 in itertools.product(layouts(wide1), layouts(wide2)):
            found = gg.matmul(x1.astype("bfloat16"), x2.astype("bfloat16"))
            strided = gg.matmul(_like_strides(x1), _like_strides(x2))
            values = np.asarray(found.astype("float64"))
            np.testing.assert_array_equal(np.asarray(strided.astype("float64")), values)
            bound = (shape1[-1] + 2) * 2.0**-24 * magnitude + 2.0**-8 * np.abs(expected)
            assert (np.abs(values - expected) <= bound).all(), (shape1, shape2)


@pytest.mark.parametrize("dtype1", ["int8", "uint8"])
@pytest.mark.parametrize("dtype2", ["int8", "uint8"])
def test_matmul_integer_is_exact(dtype1: str, dtype2: str) -> None:
    for shape1, shape2 in [*SHAPES, *LARGE, ((3, 9, 3201), (3201, 33)), ((600, 64), (64, 40))]:
        a, b = (_bytes(shape, dtype) for shape, dtype in ((shape1, dtype1), (shape2, dtype2)))
        expected = np.matmul(a.astype("int64"), b.astype("int64"))
        for x1, x2 in itertools.product(layouts(a), layouts(b)):
            found = gg.matmul_integer(x1, x2)
            assert found.dtype == gg.int32
            assert found.shape == expected.shape
            np.testing.assert_array_equal(np.asarray(found), expected)


def test_sums_of_matmul_integer_wrap() -> None:
    ones = gg.full((1, 40000), 255, dtype=gg.uint8)
    expected = np.array(255 * 255 * 40000, np.int64).astype(np.int32)
    assert gg.matmul_integer(ones, ones.T).item() == expected
    low = gg.full((40000,), -128, dtype=gg.int8)
    assert gg.matmul_integer(low, low).item() == 128 * 128 * 40000


def test_matmul_integer_takes_bytes_alone() -> None:
    x = gg.ones((2, 3), dtype=gg.int8)
    with pytest.raises(TypeError, match=re.escape("matmul_integer: x2 must have dtype int8 or uint8, got int16")):
        gg.matmul_integer(x, gg.ones((3, 2), dtype=gg.int16))
    with pytest.raises(ValueError, match=re.escape("matmul_integer: x2 must have length 3 along axis -2")):
        gg.matmul_integer(x, x)


def test_stacks_of_bytes_share_a_factor_of_many_rows() -> None:
    a = _bytes((4, 2, 40, 3201), "int8")
    b = _bytes((3201, 40), "int8")
    wide = np.zeros((4, 3, 40, 3201), np.int8)
    wide[:, :2] = a
    before = gg.get_num_threads()
    try:
        gg.set_num_threads(2)
        found = gg.matmul(gg.asarray(wide)[:, :2], gg.asarray(b))
    finally:
        gg.set_num_threads(before)
    np.testing.assert_array_equal(np.asarray(found), np.matmul(a.astype("int64"), b.astype("int64")).astype("int8"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("shared", [False, True])
def test_elements_of_a_long_stack_are_products_of_their_own(dtype: str, shared: bool) -> None:
    # More elements than tasks, of a size that packs; a right factor for all, by rows that do not fold.
    a, b = (
        _bytes(s, "int8") if dtype == "int8" else random(s, "float32") for s in ((150, 2, 64, 65), (150, 2, 65, 70))
    )
    left = gg.asarray(a).astype(dtype)
    left = gg.moveaxis(gg.moveaxis(left, 0, 1).copy(), 0, 1)
    right = gg.asarray(b[0, 0] if shared else b).astype(dtype)
    product = gg.matmul_integer if dtype == "int8" else gg.matmul
    whole = np.asarray(product(left, right).astype("float64"))
    for i, j in itertools.product((0, 1, 74, 149), (0, 1)):
        alone = product(left[i, j], right if shared else right[i, j])
        np.testing.assert_array_equal(np.asarray(alone.astype("float64")), whole[i, j])


def test_matmul_promotes_and_reads_broadcast_operands() -> None:
    a, b = random((4, 3), "int32"), random((3, 2), "float32")
    assert gg.matmul(gg.asarray(a), gg.asarray(b)).dtype == gg.result_type(gg.int32, gg.float32)
    row = gg.broadcast_to(gg.asarray(random((3,), "float64")), (4, 3))
    np.testing.assert_allclose(np.asarray(row @ gg.asarray(b)), np.asarray(row) @ b, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape1", "shape2", "message"),
    [
        (
            (2, 3),
            (4, 5),
            (
                "matmul: x2 must have length 3 along axis -2, the length of x1's last axis, got 4 "
                "(x1 has shape (2, 3), x2 (4, 5))"
            ),
        ),
        ((), (4, 5), "matmul: x1 must have at least one axis, got shape () (x1 has shape (), x2 (4, 5))"),
        ((2, 2, 3), (3, 3, 5), "matmul: shapes must broadcast, got (2,) and (3,)"),
    ],
)
def test_matmul_names_what_does_not_fit(shape1: tuple[int, ...], shape2: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        gg.matmul(gg.zeros(shape1), gg.zeros(shape2))


def test_matmul_of_bool_is_refused() -> None:
    with pytest.raises(TypeError, match="matmul: operands must have a numeric dtype, got bool"):
        gg.matmul(gg.asarray(np.ones((2, 2), bool)), gg.asarray(np.ones((2, 2), bool)))


@pytest.mark.parametrize(("shape1", "shape2"), [s for s in SHAPES if 0 not in s[0] + s[1]])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_matmul_gradients_to_the_second_order_agree_with_torch(
    shape1: tuple[int, ...], shape2: tuple[int, ...], dtype: str
) -> None:
    check_two_orders(gg.matmul, torch.matmul, [random(shape1, dtype), random(shape2, dtype)])


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_agrees_with_torch_to_the_second_order(shape: tuple[int, ...], bias: bool) -> None:
    arrays = [random(shape, "float64"), random((7, 5), "float64")] + ([random((7,), "float64")] if bias else [])
    np.testing.assert_allclose(
        np.asarray(gg.linear(*map(gg.asarray, arrays))),
        torch.nn.functional.linear(*map(torch.from_numpy, arrays)).numpy(),
        rtol=1e-12,
    )
    check_two_orders(gg.linear, torch.nn.functional.linear, arrays)


def test_linear_takes_any_strides() -> None:
    x, weight, bias = random((70, 33), "float32"), random((40, 33), "float32"), random((40,), "float32")
    expected = x.astype("float64") @ weight.T + bias
    spaced = np.zeros(80, "float32")
    spaced[::2] = bias
    for x_, weight_ in itertools.product(layouts(x), layouts(weight)):
        found = gg.linear(x_, weight_, gg.asarray(spaced)[::2])
        np.testing.assert_allclose(np.asarray(found), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            [(2, 3), (4, 5)],
            "linear: x must have length 5 along its last axis, got shape (2, 3) (weight has shape (4, 5))",
        ),
        ([(2, 5), (4, 5), (3,)], "linear: bias must have shape (4,), got (3,) (weight has shape (4, 5))"),
        ([(2, 5), (4,)], "linear: weight must have two axes (out, in), got shape (4,)"),
    ],
)
def test_linear_names_what_does_not_fit(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        gg.linear(*(gg.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("float32", "highest"), ("float32", "medium"), ("float64", "highest"), ("bfloat16", "highest")],
)
@pytest.mark.parametrize(
    ("m", "k", "n"), [(45, 300, 1), (45, 128, 10), (64, 784, 256), (33, 800, 40), (40, 70, 65), (128, 128, 128)]
)
def test_bits_depend_neither_on_threads_nor_on_the_batch(dtype: str, precision: str, m: int, k: int, n: int) -> None:
    numbers = random((m, k), "float32")
    if precision == "medium":  # rows that are not rounded stand alone too
        numbers[3, 5], numbers[7], numbers[8] = np.inf, 1e-42, 1e36
    x = gg.asarray(numbers).astype(dtype)
    weight = gg.asarray(random((n, k), "float32")).astype(dtype)
    before = gg.get_num_threads()
    # Kernels for AMX and less precise ones keep to a row's bits when they are asked to, others always.
    gg.set_batch_invariant(gg._core._config()["isa"] == "amx" or precision == "medium")
    try:
        with precision_of(precision):
            results = []
            for threads in (1, 2):
                gg.set_num_threads(threads)
                results.append(np.asarray(gg.linear(x, weight).astype("float64")))
            np.testing.assert_array_equal(results[0], results[1])
            for i in range(m):
                alone = np.asarray(gg.linear(x[i : i + 1], weight).astype("float64"))
                np.testing.assert_array_equal(alone[0], results[0][i])
    finally:
        gg.set_num_threads(before)
        gg.set_batch_invariant(False)


# How far a product may be off in units of |A| |B|, beside the roundings of its sums.
LEFT_OUT = {"highest": 0.0, "medium": accuracy_products.LEFT_OUT["medium"]}

EXTREMES = {
    "infinity": np.inf,
    "minus infinity": -np.inf,
    "NaN": np.nan,
    "the largest": np.finfo(np.float32).max,
    "1e38": 1e38,
    "1e-38": 1e-38,
    "denormal": 1e-40,
    "the least": 2.0**-149,
}


class Truth:
    """A product in float64, and how far from it one in float32 may be: roundings of the sums and of denormals."""

    def __init__(self, a: np.ndarray, b: np.ndarray, precision: str) -> None:
        a, b = a.astype(np.float64), b.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            true = a @ b
            sizes = np.where(np.isfinite(a), np.abs(a), 0) @ np.where(np.isfinite(b), np.abs(b), 0)
        is_plain = sizes < 2.0**127  # beyond, the order of a sum decides whether it overflows
        self.special = is_plain & ~np.isfinite(true)
        self.specials = true[self.special].astype(np.float32)
        self.finite = is_plain & np.isfinite(true)
        self.values = true[self.finite]
        self.bound = a.shape[1] * (2.0**-24 * sizes[self.finite] + 2.0**-149) + LEFT_OUT[precision] * sizes[self.finite]

    def check(self, found: np.ndarray) -> None:
        np.testing.assert_array_equal(found[self.special], self.specials)
        assert (np.abs(found[self.finite] - self.values) <= self.bound).all()


@pytest.mark.parametrize("precision", LEFT_OUT)
@pytest.mark.parametrize("what", EXTREMES)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(("m", "k", "n"), [(64, 64, 64), (97, 130, 75), (70, 1100, 100)])
def test_matmul_of_extreme_numbers_beside_others_is_what_plain_sums_give(
    what: str, side: int, m: int, k: int, n: int, precision: str
) -> None:
    value = np.float32(EXTREMES[what])
    operands = [random((m, k), "float32"), random((k, n), "float32")]
    x = operands[side]
    x[x.shape[0] // 2, x.shape[1] // 3] = value  # one among others
    line = (0, slice(None)) if side == 0 else (slice(None), n - 1)
    x[line] = value * np.abs(x[line] / 8) if np.isfinite(value) else value  # a whole row or column of such a size
    alone = (5, slice(None)) if side == 0 else (slice(None), 40)
    x[alone] = 0  # one among zeros
    x[5, 40] = value
    truth = Truth(*operands, precision)
    with precision_of(precision):
        for left, right in itertools.product(*map(layouts, operands)):
            truth.check(np.asarray(left @ right))


@pytest.mark.parametrize("precision", LEFT_OUT)
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-25, 1e18, 1e36, np.inf])
@pytest.mark.parametrize("side", [0, 1, 2])
def test_matmul_of_factors_of_extreme_numbers_alone_is_what_plain_sums_give(
    scale: float, side: int, precision: str
) -> None:
    operands = [random((70, 600), "float32") / 8, random((600, 100), "float32") / 8]
    for i in {0: [0], 1: [1], 2: [0, 1]}[side]:
        operands[i] = (operands[i].astype(np.float64) * scale).astype(np.float32)
    truth = Truth(*operands, precision)
    with precision_of(precision):
        for left, right in zip(*map(layouts, operands), strict=True):
            truth.check(np.asarray(left @ right))


def test_every_precision_of_float32_products_takes_extreme_numbers_for_what_they_are() -> None:
    a, b = random((70, 200), "float32"), random((200, 80), "float32")
    a[3, 4], a[10, 7], b[9, 60] = np.inf, np.nan, -np.inf
    a[20] *= np.float32(1e-42)
    a[21] *= np.float32(1e35)
    true = a.astype(np.float64) @ b.astype(np.float64)
    sizes = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    for precision, off in (("highest", 2.0**-17), ("high", 2.0**-14), ("medium", 2.0**-6)):
        with precision_of(precision):
            found = np.asarray(gg.asarray(a) @ gg.asarray(b))
        finite = np.isfinite(true)
        np.testing.assert_array_equal(found[~finite], true[~finite].astype(np.float32))
        assert (np.abs(found[finite] - true[finite]) <= off * sizes[finite] + 200 * 2.0**-149).all(), precision


@pytest.mark.parametrize("shape", [(300, 70, 64), (96, 128, 128), (70, 600, 300)], ids=str)
def test_less_precise_products_have_their_epilogues_batches_and_gradients(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    x, w = random((3, m, k), "float32"), random((n, k), "float32")
    bias, g, stack = random((n,), "float32"), random((3, m, n), "float32"), random((3, k, n), "float32")
    x[1, 4, 5], x[2, :, 7] = 1e-41, 0
    wide = [a.astype(np.float64) for a in (x, w, bias, g, stack)]

    def check(found: gg.Tensor, true: np.ndarray, sizes: np.ndarray, terms: int) -> None:
        off = np.abs(np.asarray(found.detach()) - true)
        assert (off <= (LEFT_OUT["medium"] + terms * 2.0**-24) * sizes + 1e-6).all()

    sums, sizes = wide[0] @ wide[1].T + wide[2], np.abs(wide[0]) @ np.abs(wide[1]).T + np.abs(wide[2])
    with precision_of("medium"):
        leaves = [gg.asarray(a).requires_grad_() for a in (x, w, bias)]
        out = gg.linear(*leaves)
        check(out, sums, sizes, k + 1)
        check(gg.relu(out), np.maximum(sums, 0), sizes, k + 1)
        fused = gg.compile(lambda a, b, c: gg.relu(gg.linear(a, b, c)))(*(leaf.detach() for leaf in leaves))
        np.testing.assert_array_equal(np.asarray(fused), np.asarray(gg.relu(out).detach()))
        by_x, by_w, _ = gg.grad(out, leaves, gg.asarray(g))
        check(by_x, wide[3] @ wide[1], np.abs(wide[3]) @ np.abs(wide[1]), n)
        rows = [a.reshape(-1, a.shape[-1]) for a in (wide[3], wide[0])]
        check(by_w, rows[0].T @ rows[1], np.abs(rows[0]).T @ np.abs(rows[1]), 3 * m)
        check(gg.asarray(x) @ gg.asarray(stack), wide[0] @ wide[4], np.abs(wide[0]) @ np.abs(wide[4]), k)


def test_captured_products_follow_precision_and_batch_invariance_as_eager_ones_do() -> None:
    b = gg.asarray(random((300, 70), "float32"))
    factors = [gg.asarray(random((m, 300), "float32")) for m in (1, 20, 40, 100)]
    captured = gg.compile(lambda x: x @ b)
    try:
        for precision, asked in itertools.product(("highest", "medium", "high", "highest"), (False, True, False)):
            gg.set_batch_invariant(asked)
            with precision_of(precision):
                for x in factors:
                    for _ in range(2):
                        np.testing.assert_array_equal(np.asarray(captured(x)), np.asarray(x @ b))
    finally:
        gg.set_batch_invariant(False)


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("float32", "highest"), ("float32", "medium"), ("bfloat16", "highest"), ("int8", "highest")],
)
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (64, 64, 64),
        (65, 65, 65),
        (96, 63, 128),
        (127, 1025, 33),
        (300, 600, 310),
        (31, 1100, 1000),
        (128, 130, 128),
        (200, 512, 512),
    ],
)
def test_bits_depend_neither_on_threads_nor_on_where_operands_begin(
    dtype: str, precision: str, m: int, k: int, n: int
) -> None:
    a, b = (_bytes(s, "int8") if dtype == "int8" else random(s, "float32") for s in ((m, k), (k, n)))
    before = gg.get_num_threads()
    results = []
    try:
        for threads, shift in ((1, 0), (2, 0), (2, 1), (1, 3)):
            gg.set_num_threads(threads)
            operands = []
            for x in (a, b):
                room = gg.zeros(x.size + shift, dtype=dtype)
                room[shift:] = gg.asarray(x.ravel()).astype(dtype)
                operands.append(room[shift:].reshape(x.shape))
            with precision_of(precision):
                product = gg.matmul_integer(*operands) if dtype == "int8" else operands[0] @ operands[1]
            results.append(np.asarray(product.astype("float64")))
    finally:
        gg.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("m", "k", "n"), [(90, 400, 7001), (200, 801, 3010), (64, 784, 257), (31, 1024, 513), (250, 512, 300)]
)
def test_products_in_every_layout_on_any_number_of_threads(dtype: str, m: int, k: int, n: int) -> None:
    a, b, bias = random((m, k), "float64"), random((k, n), "float64"), random((n,), "float64")
    before = gg.get_num_threads()
    left, right, add = (gg.asarray(x).astype(dtype) for x in (a, b, bias))
    a, b, bias = (np.asarray(x.astype("float64")) for x in (left, right, add))
    expected = a @ b
    # A sum is off by a rounding of each of its terms at most, and a stored one by one more.
    off = {"float32": 2.0**-24, "float64": 2.0**-53, "bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    limit = (k * min(off, 2.0**-24)) * (np.abs(a) @ np.abs(b)) + 2 * off * (np.abs(expected) + np.abs(bias))
    results = []
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            for x, y in ((left, right), (left.mT.copy().mT, right.mT.copy().mT)):
                plain = x @ y
                assert (np.abs(np.asarray(plain.astype("float64")) - expected) <= limit).all()
                results.append(
                    (np.asarray(plain.astype("float64")), np.asarray(gg.linear(x, y.mT, add).astype("float64")))
                )
    finally:
        gg.set_num_threads(before)
    assert (np.abs(results[0][1] - (expected + bias)) <= limit).all()
    for other in results[1:]:
        np.testing.assert_array_equal(results[0][0], other[0])
        np.testing.assert_array_equal(results[0][1], other[1])
    # A stack whose elements share the right factor, and cannot be one product.
    stack = gg.stack([left.mT, left.mT * 2]).mT
    for found, factor in zip(stack @ right, (1, 2), strict=True):
        np.testing.assert_array_equal(np.asarray(found.astype("float64")), results[0][0] * factor)
    kept = gg.compile(lambda x: x @ right)
    for _ in range(3):
        np.testing.assert_array_equal(np.asarray(kept(left).astype("float64")), results[0][0])


def check_two_orders(
    ours: Callable[..., gg.Tensor], theirs: Callable[..., torch.Tensor], arrays: list[np.ndarray]
) -> None:
    """Compare first gradients, and gradients of a random projection of them."""
    mine = [gg.asarray(a).requires_grad_() for a in arrays]
    their = [torch.from_numpy(a).requires_grad_() for a in arrays]
    out, expected = ours(*mine), theirs(*their)
    np.testing.assert_allclose(np.asarray(out.detach()), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    seed = random(expected.shape, str(arrays[0].dtype))
    first = gg.grad(out, mine, gg.asarray(seed), create_graph=True)
    first_expected = torch.autograd.grad(expected, their, torch.from_numpy(np.asarray(seed)), create_graph=True)
    for a, b in zip(first, first_expected, strict=True):
        np.testing.assert_allclose(np.asarray(a.detach()), b.detach().numpy(), rtol=1e-10, atol=1e-12)
    if arrays[0].dtype.kind == "c":
        return
    probes = [random(a.shape, str(a.dtype)) for a in arrays]
    projection = sum((a * gg.asarray(p)).sum() for a, p in zip(first, probes, strict=True))
    projection_expected = sum((a * torch.from_numpy(p)).sum() for a, p in zip(first_expected, probes, strict=True))
    # A bias has no second gradient.
    second = gg.grad(projection, mine[:2])
    second_expected = torch.autograd.grad(projection_expected, their[:2])
    for a, b in zip(second, second_expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), b.numpy(), rtol=1e-10, atol=1e-12)

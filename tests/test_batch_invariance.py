"""Row i of a batch equals the batch of one, bit for bit; and the setting that asks for it.

Every op that treats a batch's rows apart, in forward and evaluation mode, over ragged sizes of batch, rows and columns,
and over sizes large enough that kernels pack, block and share their work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn

DTYPES = [gg.float32, gg.float64, gg.bfloat16, gg.float16]
BATCHES = [2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64, 70]
RowOp = Callable[[gg.Tensor], gg.Tensor]


@pytest.fixture(autouse=True)
def _asked_for() -> Iterator[None]:
    gg.set_batch_invariant(True)
    yield
    gg.set_batch_invariant(False)


class Draw:
    """Draws operands of one dtype."""

    def __init__(self, dtype: gg.dtype) -> None:
        self.rng = np.random.default_rng(5)
        self.dtype = dtype

    def __call__(self, *shape: int) -> gg.Tensor:
        return gg.asarray(self.rng.standard_normal(shape)).astype(self.dtype)


def bits(t: gg.Tensor) -> bytes:
    t = t.detach()
    return np.ascontiguousarray(np.asarray(t.astype("float32") if t.dtype == gg.bfloat16 else t)).tobytes()


def assert_rows_stand_alone(f: RowOp, x: gg.Tensor, what: Any) -> None:
    whole = f(x)
    n = x.shape[0]
    for i in sorted({0, n // 2, n - 1}):
        assert bits(whole[i : i + 1]) == bits(f(x[i : i + 1])), f"row {i} of {n}: {what}"
        # A row that is a batch of its own, with memory of its own.
        assert bits(whole[i : i + 1]) == bits(f(x[i : i + 1].copy())), f"row {i} of {n}, copied: {what}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products(dtype: gg.dtype) -> None:
    draw = Draw(dtype)
    sizes = [(1, 1), (3, 1), (7, 5), (33, 17), (129, 1), (257, 31), (300, 257), (1025, 3), (64, 64)]
    for k, n in sizes:
        w, w_t, b, v = draw(k, n), draw(n, k), draw(n), draw(k)
        for batch in BATCHES:
            x = draw(batch, k)
            what = (k, n)
            assert_rows_stand_alone(lambda x, w=w: x @ w, x, what)
            assert_rows_stand_alone(lambda x, w=w_t: x @ w.T, x, what)
            assert_rows_stand_alone(lambda x, w=w_t, b=b: gg.linear(x, w, b), x, what)
            assert_rows_stand_alone(lambda x, v=v: x @ v, x, what)
            across = draw(k, batch).T  # rows that are columns in memory
            assert_rows_stand_alone(lambda x, w=w: x @ w, across, what)
    for batch in BATCHES:
        x, y = draw(batch, 5, 33), draw(batch, 33, 3)
        w = draw(33, 17)
        assert_rows_stand_alone(lambda x, w=w: x @ w, x, "a stack by a matrix")
        both = x @ y
        i = batch // 2
        assert bits(both[i : i + 1]) == bits(x[i : i + 1] @ y[i : i + 1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_products(dtype: gg.dtype) -> None:
    draw = Draw(dtype)
    for k, n in [(512, 512), (2049, 255), (1024, 1), (4096, 17), (100, 1500)]:
        w, w_t, b = draw(k, n), draw(n, k), draw(n)
        for batch in (2, 7, 64, 200):
            x = draw(batch, k)
            assert_rows_stand_alone(lambda x, w=w: x @ w, x, (k, n))
            assert_rows_stand_alone(lambda x, w=w_t, b=b: gg.linear(x, w, b), x, (k, n))


def test_rows_of_products_stand_alone_beside_rows_of_extreme_numbers() -> None:
    draw = Draw(gg.float32)
    for k, n in [(64, 64), (300, 100), (1100, 70)]:
        w = draw(k, n)
        for batch in (5, 40, 70):
            x = np.array(draw(batch, k))
            x[::3] *= np.float32(1e-30)
            x[1, 3] = np.inf
            x[batch // 2, 5] = 1e-41
            x[batch - 1] *= np.float32(1e36)
            assert_rows_stand_alone(lambda x, w=w: x @ w, gg.asarray(x), (k, n))


REDUCTIONS = ["sum", "mean", "prod", "max", "min", "var", "std", "logsumexp"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reductions_and_softmax_along_other_axes(dtype: gg.dtype) -> None:
    draw = Draw(dtype)
    cases = [((batch, 6, 9, 7), axis) for batch in BATCHES for axis in (1, 2, 3, (1, 2), (2, 3), (1, 3), (1, 2, 3))]
    cases += [((batch, 5003), 1) for batch in (2, 3, 64)] + [
        ((3, 100_003), 1),
        ((2, 14_286, 7), 1),
        ((2, 7, 14_286), 2),
    ]
    for shape, axis in cases:
        x = draw(*shape)
        for name in REDUCTIONS:
            if name == "logsumexp" and isinstance(axis, tuple):
                continue
            op = getattr(gg, name)
            assert_rows_stand_alone(lambda x, op=op, axis=axis: op(x, axis=axis, keepdims=True), x, (name, shape, axis))
        if isinstance(axis, int):
            for scan in (gg.cumulative_sum, gg.cumulative_prod, gg.logcumsumexp):
                assert_rows_stand_alone(lambda x, op=scan, axis=axis: op(x, axis=axis), x, (shape, axis))
            for softmax in (gg.softmax, gg.log_softmax):
                assert_rows_stand_alone(lambda x, op=softmax, axis=axis: op(x, axis=axis), x, (shape, axis))


ELEMENTWISE = [
    "exp",
    "log",
    "log1p",
    "tanh",
    "sigmoid",
    "gelu",
    "gelu_tanh",
    "silu",
    "erf",
    "erfc",
    "sin",
    "cos",
    "tan",
    "softplus",
    "expm1",
    "sqrt",
    "rsqrt",
    "atan",
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_elementwise_ops_with_tails_of_vectors(dtype: gg.dtype) -> None:
    draw = Draw(dtype)
    for batch in BATCHES:
        for row in ((1,), (3,), (37,), (5, 9)):
            x = gg.abs(draw(batch, *row))
            for name in ELEMENTWISE:
                assert_rows_stand_alone(getattr(gg, name), x, (name, row))
            y = draw(*row)
            assert_rows_stand_alone(lambda x, y=y: x * y + y / x, x, row)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_convolution_pooling_and_norms(dtype: gg.dtype) -> None:
    draw = Draw(dtype)
    shapes = [
        (6, 9, 7, out, size, stride, groups)
        for out, size, stride, groups in [
            (5, 3, 1, 1),
            (6, 3, 2, 1),
            (6, 1, 1, 1),
            (6, 3, 1, 6),
            (9, 3, 1, 3),
            (1, 3, 1, 1),
        ]
    ]
    shapes += [
        (64, 14, 14, 64, 3, 1, 1),
        (3, 32, 32, 16, 7, 2, 1),
        (32, 15, 15, 32, 3, 1, 32),
        (33, 15, 15, 31, 5, 1, 1),
    ]
    for c, h, w, out, size, stride, groups in shapes:
        weight, bias, scale = draw(out, c // groups, size, size), draw(out), draw(c)
        ops: dict[str, RowOp] = {
            "conv2d": lambda x, k=weight, b=bias, s=stride, p=size // 2, g=groups: gg.conv2d(
                x, k, b, stride=s, padding=p, groups=g
            ),
            "max_pool2d": lambda x: nn.functional.max_pool2d(x, 3, stride=2),
            "avg_pool2d": lambda x: gg.avg_pool2d(x, 3, stride=2, padding=1),
            "group_norm": lambda x, s=scale: gg.group_norm(x, s, s, groups=1),
            "batch_norm": lambda x, s=scale: gg.batch_norm(x, s, gg.abs(s), s, s),
        }
        for batch in BATCHES if c == 6 else (2, 5):
            x = draw(batch, c, h, w)
            for name, op in ops.items():
                assert_rows_stand_alone(op, x, (name, c, h, w, out, size, stride, groups))
    for batch in (2, 5, 17):
        lines, volumes = draw(batch, 6, 31), draw(batch, 4, 5, 6, 7)
        k1, k3 = draw(5, 6, 3), draw(5, 4, 3, 3, 3)
        assert_rows_stand_alone(lambda x, k=k1: gg.conv1d(x, k, padding=1), lines, "conv1d")
        assert_rows_stand_alone(lambda x, k=k3: gg.conv3d(x, k, padding=1), volumes, "conv3d")
        t2 = draw(6, 5, 3, 3)
        assert_rows_stand_alone(
            lambda x, k=t2: gg.conv_transpose2d(x, k, stride=2), draw(batch, 6, 5, 7), "conv_transpose2d"
        )
    for length in (1, 5, 37, 1000, 20_001):
        weight = draw(length)
        for batch in BATCHES if length < 100 else (2, 5):
            x = draw(batch, length)
            assert_rows_stand_alone(lambda x, w=weight: gg.layer_norm(x, w, w), x, length)
            assert_rows_stand_alone(lambda x, w=weight: gg.rms_norm(x, w), x, length)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attention(dtype: gg.dtype) -> None:
    draw = Draw(dtype)
    for heads, queries, keys, size in [(1, 1, 1, 4), (3, 5, 7, 9), (2, 33, 65, 16), (4, 1, 300, 32), (2, 130, 130, 24)]:
        for batch in (2, 3, 17):
            q, k, v = draw(batch, heads, queries, size), draw(batch, heads, keys, size), draw(batch, heads, keys, size)
            for causal in (False, True):
                whole = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
                for i in (0, batch - 1):
                    row = slice(i, i + 1)
                    one = nn.functional.scaled_dot_product_attention(q[row], k[row], v[row], is_causal=causal)
                    assert bits(whole[row]) == bits(one), (heads, queries, keys, size, batch, causal)


def test_a_network_in_evaluation_mode_eager_and_captured() -> None:
    gg.random.seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 5 * 5, 7),
    )
    net.eval()
    x = Draw(gg.float32)(70, 3, 10, 10)
    compiled = gg.compile(lambda x: net(x))
    with gg.no_grad():
        assert_rows_stand_alone(net, x, "eager")
        compiled(x)
        assert_rows_stand_alone(compiled, x, "captured")


def test_the_setting_is_part_of_what_a_captured_function_depends_on() -> None:
    assert gg.is_batch_invariant()
    assert gg._core._config()["batch_invariant"]
    compiled = gg.compile(lambda x: gg.sum(x, axis=1))
    x = gg.ones((3, 4))
    compiled(x)
    compiled(x)
    gg.set_batch_invariant(True)  # no change, nothing recorded again
    compiled(x)
    assert compiled.recordings == 1
    gg.set_batch_invariant(False)
    assert not gg.is_batch_invariant()
    compiled(x)
    assert compiled.recordings == 2
    assert compiled.last_miss == "set_batch_invariant was called"
    gg.set_batch_invariant(True)
    compiled(x)
    assert compiled.recordings == 2  # the first recording still stands
    with pytest.raises(TypeError):
        gg.set_batch_invariant("yes")

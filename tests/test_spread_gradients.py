"""Gradients that one number was spread into, as a sum's are, give what the same numbers in memory of their own give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import gorgo as gg
import gorgo.nn.functional as F

OPS: dict[str, tuple[tuple[int, ...], Callable[[gg.Tensor], gg.Tensor]]] = {
    "relu": ((5, 1031), gg.relu),
    "multiply": ((5, 1031), lambda x: x * 3.0),
    "leaky_relu": ((5, 1031), lambda x: gg.leaky_relu(x, 0.1)),
    "where": ((5, 1031), lambda x: gg.where(x > 0.0, x, 0.0)),
    "softmax": ((5, 1031), lambda x: F.softmax(x, axis=1)),
    "softmax, columns": ((64, 67), lambda x: F.softmax(x, axis=0)),
    "log_softmax": ((5, 1031), lambda x: F.log_softmax(x, axis=1)),
    "layer_norm": ((5, 1031), lambda x: F.layer_norm(x, tuple(x.shape[1:]))),
    "rms_norm": ((5, 1031), lambda x: F.rms_norm(x, tuple(x.shape[1:]))),
    "group_norm": ((2, 6, 15, 17), lambda x: F.group_norm(x, 3)),
    "batch_norm": ((2, 6, 15, 17), lambda x: F.batch_norm(x, None, None, training=True)),
    "avg_pool2d": ((2, 3, 60, 62), lambda x: F.avg_pool2d(x, 2)),
    "interpolate": ((2, 3, 20, 22), lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "conv2d": ((2, 3, 30, 31), lambda x: F.conv2d(x, gg.ones((4, 3, 3, 3)), padding=1)),
    "tile": ((30, 31), lambda x: gg.tile(x, (2, 3))),
    "concat": ((30, 71), lambda x: gg.concat([x, x], axis=1)),
    "transposed": ((30, 71), lambda x: x.T * 2.0),
}


@pytest.mark.parametrize("small", [False, True], ids=["large", "small"])
@pytest.mark.parametrize("name", OPS)
def test_a_spread_gradient_is_one_in_memory(name: str, small: bool) -> None:
    shape, f = OPS[name]
    if small:
        shape = (*shape[:-1], 7)
    x = gg.asarray(np.random.default_rng(3).standard_normal(shape).astype("float32")).requires_grad_()
    y = f(x)
    (spread,) = gg.grad(gg.sum(y), [x])
    (dense,) = gg.grad(f(x), [x], gg.ones(tuple(y.shape)))
    np.testing.assert_array_equal(np.asarray(spread), np.asarray(dense))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 33), (513,), (5, 1000), (70000,)])
def test_copies_of_one_element_fill_and_touch_nothing_else(shape: tuple[int, ...], dtype: str) -> None:
    one = np.asarray(1).astype(dtype)
    room = gg.zeros((int(np.prod(shape)) + 16,), dtype=dtype)
    room[8:-8] = gg.broadcast_to(gg.asarray(one), shape).reshape((-1,))
    expected = np.zeros(room.shape, dtype)
    expected[8:-8] = one
    np.testing.assert_array_equal(np.asarray(room), expected)
    np.testing.assert_array_equal(np.asarray(gg.broadcast_to(gg.asarray(one), shape).copy()), np.full(shape, one))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_one_element_spread_over_a_shape_is_an_operand(dtype: str) -> None:
    x = gg.arange(3000, dtype="float32").reshape((3, 1000)).astype(dtype)
    two = gg.asarray(2).astype(dtype)
    spread = gg.broadcast_to(two, (3, 1000))
    assert (x + spread).tolist() == (x + two).tolist()
    assert (spread + spread).tolist() == gg.full((3, 1000), 4, dtype=dtype).tolist()

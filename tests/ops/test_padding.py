"""pad against NumPy and nn.functional.pad against PyTorch: values, first and second gradients, messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo.nn import functional as F

torch = pytest.importorskip("torch")

NUMPY_MODES = ["constant", "reflect", "symmetric", "edge", "wrap"]
TORCH_MODES = ["constant", "reflect", "replicate", "circular"]


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("width", [0, 1, 7, (2, 3), ((1, 2), (0, 5)), [[4, 0], [0, 0]], ((0, 11), (13, 1))])
@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "int32", "float64", "complex128"])
def test_values_agree_with_numpy(mode: str, width: Any, dtype: str) -> None:
    x = (np.arange(12).reshape(3, 4) % 7).astype(dtype)
    expected = np.pad(x, width, mode)
    np.testing.assert_array_equal(np.asarray(gg.pad(gg.asarray(x), width, mode=mode)), expected)
    np.testing.assert_array_equal(np.asarray(gg.asarray(x).pad(width, mode=mode)), expected)
    transposed = gg.asarray(np.array(x.T, order="C")).T
    np.testing.assert_array_equal(np.asarray(gg.pad(transposed, width, mode=mode)), expected)
    backwards = gg.asarray(np.array(x[::-1, ::-1]))[::-1, ::-1]
    np.testing.assert_array_equal(np.asarray(gg.pad(backwards, width, mode=mode)), expected)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("bool", True), ("uint64", 2**64 - 1), ("int64", -(2**63)), ("float32", float("nan")), ("float16", -0.0)],
)
def test_constant_values_are_exact(dtype: str, value: Any) -> None:
    x = np.ones((2, 2), dtype)
    got = np.asarray(gg.pad(gg.asarray(x), 1, value=value))
    expected = np.pad(x, 1, constant_values=np.asarray(value).astype(dtype))
    assert got.tobytes() == expected.tobytes()


def test_complex_and_bfloat16_values() -> None:
    assert gg.pad(gg.asarray([1.0 + 0j]), (1, 0), value=2 + 3j).tolist() == [2 + 3j, 1 + 0j]
    assert gg.pad(gg.ones((1,), dtype=gg.bfloat16), 1, value=1.5).tolist() == [1.5, 1.0, 1.5]


def test_edges_of_shape() -> None:
    assert gg.pad(gg.asarray(5), 3).tolist() == 5
    assert gg.pad(gg.zeros((0,)), 2, value=1.0).tolist() == [1.0] * 4
    assert gg.pad(gg.zeros((0, 2)), ((0, 0), (1, 1)), mode="edge").shape == (0, 4)
    assert gg.pad(gg.asarray([7]), 2, mode="reflect").tolist() == [7] * 5
    assert gg.pad(gg.ones((1,) * 17), 1).shape == (3,) * 17


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("width", [1, ((2, 0), (5, 9)), ((0, 0), (0, 0))])
def test_gradients_agree_with_differences(mode: str, width: Any) -> None:
    x = gg.asarray(np.random.default_rng(0).standard_normal((3, 4)))
    gg.testing.gradcheck(lambda t: gg.square(gg.pad(t, width, mode=mode)), [x], second=True)


# (shape, pad): PyTorch pads the last one, two or three axes behind two others unless the mode is constant.
TORCH_CASES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((2, 3, 6), (2, 3)),
    ((2, 3, 6), (-1, 2)),
    ((2, 3, 5, 6), (1, 2, 4, 0)),
    ((2, 3, 5, 6), (-2, 1, 2, -1)),
    ((1, 2, 4, 3, 5), (1, 1, 2, 0, 3, 3)),
]


@pytest.mark.parametrize("mode", TORCH_MODES)
@pytest.mark.parametrize(("shape", "pad"), TORCH_CASES)
def test_layers_pad_agrees_with_pytorch(mode: str, shape: tuple[int, ...], pad: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    array = rng.standard_normal(shape)
    theirs = torch.from_numpy(array).requires_grad_()
    ours = gg.asarray(array).requires_grad_()
    expected = torch.nn.functional.pad(theirs, pad, mode=mode)
    got = F.pad(ours, pad, mode=mode)
    np.testing.assert_array_equal(np.asarray(got.detach()), expected.detach().numpy())
    weights = rng.standard_normal(expected.shape)
    (expected * torch.from_numpy(weights)).sum().backward()
    (got * gg.asarray(weights)).sum().backward()
    np.testing.assert_allclose(np.asarray(ours.grad), theirs.grad.numpy(), rtol=1e-14, atol=1e-14)


def test_layers_pad_with_a_value_and_on_many_axes() -> None:
    array = np.arange(6.0).reshape(1, 2, 3)
    for pad in ((), (1, 2), (0, 1, -1, 2), (1, 1, 2, 2, 3, 3), (-3, 3)):
        expected = torch.nn.functional.pad(torch.from_numpy(array), pad, value=2.5).numpy()
        np.testing.assert_array_equal(np.asarray(F.pad(gg.asarray(array), pad, value=2.5)), expected)


def test_threads_do_not_change_bits() -> None:
    before = gg.get_num_threads()
    x = np.random.default_rng(0).standard_normal((300, 301)).astype(np.float32)
    found = []
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            t = gg.asarray(x).requires_grad_()
            y = gg.pad(t, 200, mode="symmetric")
            [g] = gg.grad(gg.square(y).sum(), [t])
            found.append(np.asarray(y.detach()).tobytes() + np.asarray(g).tobytes())
    finally:
        gg.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: gg.pad(x, -1), ValueError, r"pad: pad_width must not be negative, got \(-1,\)"),
        (lambda x: gg.pad(x, ((1, 2, 3),)), TypeError, r"pad: pad_width must hold pairs \(before, after\), got tuple"),
        (
            lambda x: gg.pad(x, ((1, 2), (1, 2), (1, 2))),
            ValueError,
            r"pad: pad_width must be an integer, a pair or 2 pairs \(before, after\), got 6 integers",
        ),
        (lambda x: gg.pad(x, 1.5), TypeError, r"pad: pad_width must be an integer or a tuple of integers, got float"),
        (
            lambda x: gg.pad(x, 1, mode="mirror"),
            ValueError,
            r"pad: mode must be one of 'constant',.*'mirror'",
        ),
        (
            lambda x: gg.pad(x[:0], 1, mode="edge"),
            ValueError,
            r"pad: axis 0 must have elements to take",
        ),
        (lambda x: gg.pad(x, 1, value=1j), TypeError, r"pad: "),
        (lambda x: gg.pad(x.astype("int8"), 1, value=300), OverflowError, r"pad: "),
        (lambda x: gg.pad(x, 2**63 - 1), OverflowError, r"pad: axis 0 must have fewer than 2\*\*63 elements"),
        (lambda x: F.pad(x, (1,)), ValueError, r"pad: pad must hold at most 2 pairs, got \(1,\)"),
        (lambda x: F.pad(x, (1,) * 6), ValueError, r"pad: pad must hold at most 2 pairs"),
        (lambda x: F.pad(x, (-2, -2)), ValueError, r"pad: pad must not cut off more than axis 1 has"),
        (
            lambda x: F.pad(x, (3, 0), mode="reflect"),
            ValueError,
            r"pad: pad must be at most 2 along axis 1 for",
        ),
        (lambda x: F.pad(x, (4, 0), mode="circular"), ValueError, r"pad: pad must be at most 3 along axis 1"),
        (lambda x: F.pad(x, (1, 0), mode="edge"), ValueError, r"pad: mode must be one of 'constant'.*got 'edge'"),
        (lambda x: F.pad(x, (1, 0), "reflect", 1.0), ValueError, r"pad: value must be None unless mode is 'constant'"),
    ],
)
def test_messages_name_op_argument_and_value(call: Callable[[gg.Tensor], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gg.zeros((2, 3)))

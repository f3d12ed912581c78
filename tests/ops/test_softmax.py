"""softmax, log_softmax and logsumexp: values against SciPy, gradients of both orders, layouts, dtypes, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

import gorgo as gg

Array = Any

REFERENCES = {
    "softmax": scipy.special.softmax,
    "log_softmax": scipy.special.log_softmax,
    "logsumexp": scipy.special.logsumexp,
}
TOLERANCE = {"float64": 1e-14, "float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}
# Lengths around the vectors, by rows (last axis) and by columns.
CASES = [
    ((1,), 0),
    ((10,), 0),
    ((16, 10), -1),
    ((5, 16), 1),
    ((3, 33), 1),
    ((2, 1000), 1),
    ((4, 10), 0),
    ((7, 20, 3), 1),
    ((2, 6, 5, 17), 1),
    ((3, 4, 40), 0),
]


def fn(name: str) -> Any:
    return getattr(gg, name)


def exact(x: Any) -> Array:
    return x.detach().astype("float64").numpy()


def made(shape: tuple[int, ...], dtype: str = "float64", scale: float = 4.0) -> Any:
    rng = np.random.default_rng([len(shape), *shape])
    return gg.asarray(scale * rng.normal(size=shape)).astype(dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("name", list(REFERENCES))
def test_values_equal_scipys(name: str, dtype: str) -> None:
    for shape, axis in CASES:
        x = made(shape, dtype)
        got = fn(name)(x, axis=axis)
        assert got.dtype == x.dtype
        expected = REFERENCES[name](exact(x), axis=axis)
        tolerance = TOLERANCE[dtype]
        np.testing.assert_allclose(exact(got), expected, rtol=tolerance, atol=tolerance / 10)
    x = made((3, 5, 4))
    np.testing.assert_allclose(fn(name)(x).numpy(), REFERENCES[name](x.numpy(), axis=-1), rtol=1e-13)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_strided_inputs(name: str) -> None:
    x = made((6, 21, 34))
    for view in (gg.permute_dims(x, (2, 0, 1)), x[::-1, ::2, 3:], x[:, :, ::-3], gg.broadcast_to(x[:, :1], (6, 9, 34))):
        for axis in (0, 1, 2):
            expected = REFERENCES[name](view.numpy(), axis=axis)
            # Near zero a logarithm is a difference of numbers near one.
            np.testing.assert_allclose(fn(name)(view, axis=axis).numpy(), expected, rtol=1e-13, atol=2e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_scores_do_not_overflow(dtype: str) -> None:
    x = gg.asarray([[1e4, 1e4 - 1.0, -1e4], [-1e30, -1e30, -1e30]], dtype=dtype)
    np.testing.assert_allclose(gg.softmax(x).numpy(), scipy.special.softmax(x.numpy().astype(float), axis=1), rtol=1e-6)
    logs = [[-0.3132617, -1.3132617, -20000.3132617], [-1.0986123] * 3]
    np.testing.assert_allclose(gg.log_softmax(x).numpy(), logs, rtol=1e-6)
    np.testing.assert_allclose(gg.logsumexp(x).numpy(), [1e4 + 0.31326169, -1e30], rtol=1e-6)


def test_infinities_and_nan_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    inf, nan = np.inf, np.nan
    a = np.array([[0.0, -inf, 1.0], [-inf, -inf, -inf], [inf, 0.0, 1.0], [nan, 0.0, 1.0]])
    for columns in (False, True):
        x = gg.asarray(a.T.copy() if columns else a)
        t = torch.tensor(a.T.copy() if columns else a)
        axis = 0 if columns else 1
        for name in REFERENCES:
            expected = getattr(torch, name)(t, dim=axis).numpy()
            np.testing.assert_allclose(fn(name)(x, axis=axis).numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("place", [0, 1, 15, 16, 40, 63, 64, 70])
@pytest.mark.parametrize("axis", [0, 1])
def test_one_nan_anywhere_makes_its_line_nan(place: int, axis: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(place)
    a = rng.normal(size=(3, 71)).astype(np.float32)
    a[1, place] = np.nan
    a[2, (place + 3) % 71] = np.inf
    lines = np.swapaxes(a, 0, 1).copy() if axis == 0 else a
    for name, reference in (
        ("softmax", torch.softmax),
        ("log_softmax", torch.log_softmax),
        ("logsumexp", torch.logsumexp),
    ):
        got = np.asarray(fn(name)(gg.asarray(lines), axis=axis))
        np.testing.assert_allclose(got, reference(torch.from_numpy(lines), axis).numpy(), rtol=2e-6, atol=1e-6)
    logits = gg.asarray(a.copy()).requires_grad_()
    loss = gg.nn.functional.cross_entropy(logits, gg.asarray([4, 5, 6]), reduction="none")
    loss.sum().backward()
    other = torch.from_numpy(a).requires_grad_()
    expected = torch.nn.functional.cross_entropy(other, torch.tensor([4, 5, 6]), reduction="none")
    expected.sum().backward()
    np.testing.assert_allclose(np.asarray(loss.detach()), expected.detach().numpy(), rtol=2e-6)
    assert logits.grad is not None
    np.testing.assert_allclose(np.asarray(logits.grad), other.grad.numpy(), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_first_and_second_gradients(name: str) -> None:
    torch = pytest.importorskip("torch")
    for shape, axis in [((4, 5), 1), ((4, 5), 0), ((2, 37), 1), ((3, 6, 5), 1), ((9,), 0)]:
        x = made(shape, scale=1.5)
        gg.testing.gradcheck(lambda t, a=axis: fn(name)(t, axis=a), [x], second=True)
        peer = torch.tensor(x.numpy(), requires_grad=True)
        theirs = getattr(torch, name)(peer, dim=axis)
        weight = np.random.default_rng(1).normal(size=tuple(theirs.shape))
        theirs.backward(torch.tensor(weight))
        ours = x.detach().requires_grad_()
        fn(name)(ours, axis=axis).backward(gg.asarray(weight))
        np.testing.assert_allclose(ours.grad.numpy(), peer.grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", list(REFERENCES))
def test_gradients_keep_the_dtype(name: str, dtype: str) -> None:
    x = made((5, 12), dtype).requires_grad_()
    (fn(name)(x, axis=1) ** 2).sum().backward()
    wide = x.detach().astype("float64").requires_grad_()
    (fn(name)(wide, axis=1) ** 2).sum().backward()
    assert x.grad.dtype == x.dtype
    np.testing.assert_allclose(exact(x.grad), wide.grad.numpy(), rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


def test_shapes_and_errors() -> None:
    assert gg.softmax(gg.zeros((0, 3))).shape == (0, 3)
    assert gg.softmax(gg.zeros((3, 0))).shape == (3, 0)
    assert gg.logsumexp(gg.zeros((2, 0))).tolist() == [-np.inf, -np.inf]
    assert gg.logsumexp(gg.zeros((2, 3)), axis=0, keepdims=True).shape == (1, 3)
    assert gg.softmax(gg.asarray(5.0)).item() == 1.0
    assert gg.softmax(gg.asarray([1, 1])).dtype == gg.float32
    with pytest.raises(ValueError, match=r"softmax: axis must be in \[-2, 2\), got 3 \(x has shape \(4, 5\)\)"):
        gg.softmax(gg.zeros((4, 5)), axis=3)
    with pytest.raises(TypeError, match="log_softmax: x must have a real dtype, got complex64"):
        gg.log_softmax(gg.asarray([1j]).astype("complex64"))


@pytest.mark.parametrize("name", list(REFERENCES))
def test_threads_and_batches_do_not_change_bits(name: str) -> None:
    before = gg.get_num_threads()
    try:
        for shape, axis in [((3000, 33), 1), ((30, 4000), 1), ((40, 12, 90), 1)]:
            x = made(shape, "float32")
            results = []
            for threads in (1, 2):
                gg.set_num_threads(threads)
                results.append(fn(name)(x, axis=axis).numpy())
            assert results[0].tobytes() == results[1].tobytes()
            for i in (0, shape[0] - 1):
                assert fn(name)(x[i : i + 1], axis=axis).numpy().tobytes() == results[0][i : i + 1].tobytes()
    finally:
        gg.set_num_threads(before)

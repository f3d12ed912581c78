"""The norms beyond what the matrix asks: stability, rows alone and in batches, NaN, threads, writes, messages."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gorgo as gg


def draw(*shape: int, seed: int = 0, dtype: str = "float32") -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def t(a: Any) -> gg.Tensor:
    return gg.asarray(a)


ROW_OPS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "layer_norm": (lambda x: gg.layer_norm(x, t(draw(70, seed=1)), t(draw(70, seed=2))), (9, 70)),
    "rms_norm": (lambda x: gg.rms_norm(x, t(draw(70, seed=1))), (9, 70)),
    "group_norm": (lambda x: gg.group_norm(x, t(draw(6, seed=1)), t(draw(6, seed=2)), groups=2), (9, 6, 5, 7)),
    "group_norm of features": (lambda x: gg.group_norm(x, t(draw(6, seed=1)), groups=2), (9, 6)),
    "batch_norm": (lambda x: gg.batch_norm(x, t(draw(6)), t(draw(6) ** 2), t(draw(6)), t(draw(6))), (9, 6, 5, 7)),
    "batch_norm of features": (lambda x: gg.batch_norm(x, t(draw(70)), t(draw(70) ** 2)), (9, 70)),
}


@pytest.mark.parametrize("name", ROW_OPS)
def test_a_row_alone_equals_the_row_in_a_batch(name: str) -> None:
    function, shape = ROW_OPS[name]
    x = draw(*shape, seed=3)
    whole = function(t(x)).numpy()
    for i in (0, 4, 8):
        assert function(t(x[i : i + 1].copy())).numpy().tobytes() == whole[i : i + 1].tobytes()


@pytest.mark.parametrize("name", ROW_OPS)
def test_nan_stays_in_its_row(name: str) -> None:
    function, shape = ROW_OPS[name]
    x = draw(*shape, seed=3)
    clean = function(t(x)).numpy()
    dirty = x.copy()
    dirty.reshape(9, -1)[3, 5] = np.nan
    dirty.reshape(9, -1)[6, 5] = np.inf
    out = function(t(dirty)).numpy().reshape(9, -1)
    assert np.isnan(out[3]).any()
    assert not np.isfinite(out[6]).all()
    kept = [0, 1, 2, 4, 5, 7, 8]
    assert out[kept].tobytes() == clean.reshape(9, -1)[kept].tobytes()


OFFSETS = [0.0, 1e3, 1e5]
STABLE: dict[str, Any] = {
    "layer_norm": (lambda x: gg.layer_norm(x), (4, 1000), (1,)),
    "group_norm": (lambda x: gg.group_norm(x, groups=2), (4, 2, 500), (2,)),
    "batch_norm_train": (lambda x: gg.batch_norm_train(x), (40, 3, 100), (0, 2)),
    "batch_norm_train of features": (lambda x: gg.batch_norm_train(x), (1000, 5), (0,)),
}


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", STABLE)
def test_a_large_mean_costs_no_digits(name: str, offset: float) -> None:
    function, shape, axes = STABLE[name]
    x = (draw(*shape, seed=5, dtype="float64") + offset).astype(np.float32)
    wide = x.astype(np.float64)
    d = wide - wide.mean(axes, keepdims=True)
    expected = d / np.sqrt((d * d).mean(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(function(t(x)).numpy(), expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_statistics_equal_pytorchs(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    for shape in ((8, 5), (4, 5, 6), (3, 5, 4, 9)):
        mean, var, count = t(draw(5, dtype=dtype)), t(draw(5, dtype=dtype) ** 2), gg.zeros((), dtype=gg.int64)
        peer_mean, peer_var = torch.tensor(draw(5, dtype=dtype)), torch.tensor(draw(5, dtype=dtype) ** 2)
        for step in range(5):
            x = draw(*shape, seed=step, dtype=dtype)
            ours = gg.batch_norm_train(t(x), None, None, mean, var, count, momentum=0.3)
            theirs = torch.nn.functional.batch_norm(torch.tensor(x), peer_mean, peer_var, training=True, momentum=0.3)
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(mean.numpy(), peer_mean.numpy(), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(var.numpy(), peer_var.numpy(), rtol=tolerance, atol=tolerance)
        assert count.item() == 5


def test_what_is_written_must_have_distinct_elements() -> None:
    with pytest.raises(ValueError, match="batch_norm_train: target must have distinct elements"):
        gg.batch_norm_train(gg.ones((3, 2)), None, None, gg.broadcast_to(gg.zeros((1,)), (2,)))


def test_gradients_have_the_same_bits_for_one_thread_and_two() -> None:
    before = gg.get_num_threads()
    calls: dict[str, Any] = {
        "layer": lambda x, w, b: gg.layer_norm(x.reshape((-1, 32)), w, b),
        "group": lambda x, w, b: gg.group_norm(x, w, b, groups=4),
        "batch": lambda x, w, b: gg.batch_norm_train(x, w, b),
        "features": lambda x, w, b: gg.batch_norm_train(x.reshape((-1, 32)), w, b),
    }
    try:
        for name, function in calls.items():
            results = []
            for threads in (1, 2):
                gg.set_num_threads(threads)
                leaves = [t(a).requires_grad_() for a in (draw(64, 32, 50), draw(32, seed=1), draw(32, seed=2))]
                y = function(*leaves)
                grads = gg.grad(y, leaves, t(draw(64, 32, 50, seed=3)).reshape(y.shape))
                results.append(b"".join(a.numpy().tobytes() for a in (y.detach(), *grads)))
            assert results[0] == results[1], name
    finally:
        gg.set_num_threads(before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gg.layer_norm(gg.ones((2, 3)), gg.ones((4,))),
            ValueError,
            "layer_norm: weight must be float32 (3,), got float32 (4,) (x has shape (2, 3))",
        ),
        (
            lambda: gg.layer_norm(gg.ones((2, 3)), None, gg.ones((3,), dtype=gg.float64)),
            ValueError,
            "layer_norm: bias must be float32 (3,), got float64 (3,)",
        ),
        (lambda: gg.layer_norm(gg.ones(())), ValueError, "layer_norm: x must have shape (..., n), got ()"),
        (
            lambda: gg.rms_norm(gg.ones((2,), dtype=gg.int64)),
            TypeError,
            "rms_norm: x must have a real floating dtype, got int64",
        ),
        (
            lambda: gg.group_norm(gg.ones((2,)), groups=1),
            ValueError,
            "group_norm: x must have shape (n, c, ...), got (2,)",
        ),
        (
            lambda: gg.group_norm(gg.ones((2, 6)), groups=4),
            ValueError,
            "group_norm: groups must divide the 6 channels, got 4 (x has shape (2, 6))",
        ),
        (
            lambda: gg.batch_norm_train(gg.ones((1, 3))),
            ValueError,
            "batch_norm_train: x must have two values or more for each channel, got 1 (x has shape (1, 3))",
        ),
        (
            lambda: gg.batch_norm_train(gg.ones((2, 3)), None, None, gg.ones((2,))),
            ValueError,
            "batch_norm_train: running_mean must be float32 (3,), got float32 (2,)",
        ),
        (
            lambda: gg.batch_norm_train(gg.ones((2, 3)), num_batches=gg.ones(())),
            ValueError,
            "batch_norm_train: num_batches must be one int64, got float32 ()",
        ),
        (
            lambda: gg.batch_norm(gg.ones((2, 3)), gg.ones((3,)), gg.ones((2,))),
            ValueError,
            "batch_norm: variance must be float32 (3,), got float32 (2,)",
        ),
    ],
)
def test_messages(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()

"""cross_entropy: values and gradients of both orders against PyTorch and differences; targets; layouts; threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gorgo as gg

SHAPES = [(6, 10), (3, 16), (5, 33), (4, 7, 5), (2, 20, 4, 6), (2, 300), (9,)]


def case(shape: tuple[int, ...], dtype: str = "float64", ignored: bool = False) -> tuple[Any, Any]:
    rng = np.random.default_rng([len(shape), *shape])
    classes = shape[0] if len(shape) == 1 else shape[1]
    target = rng.integers(0, classes, shape[:1] + shape[2:] if len(shape) > 1 else ())
    if ignored and target.ndim > 0:
        target.flat[1] = -100
    return gg.asarray(3 * rng.normal(size=shape)).astype(dtype), gg.asarray(target)


def exact(x: Any) -> Any:
    return x.detach().astype("float64").numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_values_and_gradients_equal_pytorchs(reduction: str, smoothing: float) -> None:
    torch = pytest.importorskip("torch")
    for shape in SHAPES:
        x, target = case(shape, ignored=True)
        peer = torch.tensor(x.numpy(), requires_grad=True)
        theirs = torch.nn.functional.cross_entropy(
            peer, torch.tensor(target.numpy()), reduction=reduction, label_smoothing=smoothing
        )
        weight = np.random.default_rng(1).normal(size=tuple(theirs.shape))
        theirs.backward(torch.tensor(weight))
        ours = x.detach().requires_grad_()
        loss = gg.cross_entropy(ours, target, reduction=reduction, label_smoothing=smoothing)
        assert loss.shape == tuple(theirs.shape)
        np.testing.assert_allclose(loss.detach().numpy(), theirs.detach().numpy(), rtol=1e-12)
        loss.backward(gg.asarray(weight))
        np.testing.assert_allclose(ours.grad.numpy(), peer.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_first_and_second_gradients_agree_with_differences(reduction: str, smoothing: float) -> None:
    for shape in [(6, 10), (4, 7, 5), (9,)]:
        x, target = case(shape, ignored=True)

        def loss(t: Any, target: Any = target) -> Any:
            return gg.cross_entropy(t, target, reduction=reduction, label_smoothing=smoothing)

        gg.testing.gradcheck(loss, [x], second=True)
        # A loss that is used twice: g of the fused gradient needs a gradient too.
        gg.testing.gradcheck(lambda t, f=loss: f(t) ** 2, [x], second=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_lower_precision(dtype: str, tolerance: float) -> None:
    for shape in SHAPES:
        x, target = case(shape, dtype)
        wide = x.detach().astype("float64").requires_grad_()
        x = x.requires_grad_()
        for reduction in ("mean", "none"):
            ours = gg.cross_entropy(x, target, reduction=reduction)
            assert ours.dtype == x.dtype
            expected = gg.cross_entropy(wide, target, reduction=reduction)
            np.testing.assert_allclose(exact(ours), exact(expected), rtol=tolerance, atol=tolerance)
        gg.cross_entropy(x, target).backward()
        gg.cross_entropy(wide, target).backward()
        np.testing.assert_allclose(exact(x.grad), wide.grad.numpy(), rtol=2 * tolerance, atol=tolerance / 10)


def test_strided_logits_and_targets() -> None:
    x, _ = case((8, 9, 6))
    rng = np.random.default_rng(3)
    target = gg.asarray(rng.integers(0, 6, (9, 16)))
    logits = gg.permute_dims(x, (1, 2, 0))
    view = target[:, ::2]
    got = gg.cross_entropy(logits, view, reduction="none")
    expected = gg.cross_entropy(gg.asarray(logits.numpy()), gg.asarray(view.numpy()), reduction="none")
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-14)
    ours = logits.detach().requires_grad_()
    gg.cross_entropy(ours, view).backward()
    peer = gg.asarray(logits.numpy()).requires_grad_()
    gg.cross_entropy(peer, gg.asarray(view.numpy())).backward()
    np.testing.assert_allclose(ours.grad.numpy(), peer.grad.numpy(), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"])
def test_targets_of_any_integer_dtype(dtype: str) -> None:
    x, target = case((6, 10))
    assert gg.cross_entropy(x, target.astype(dtype)).item() == gg.cross_entropy(x, target).item()


def test_targets_out_of_range_are_named() -> None:
    x = gg.zeros((3, 4))
    with pytest.raises(IndexError, match=r"cross_entropy: target must be in \[0, 4\) .*, got 4 at index \(1,\)"):
        gg.cross_entropy(x, gg.asarray([0, 4, -7]))
    with pytest.raises(IndexError, match=r"got -7 at index \(2,\)"):
        gg.cross_entropy(x, gg.asarray([0, 3, -7]))
    with pytest.raises(IndexError, match=r"got 9 at index \(1, 2\)"):
        gg.cross_entropy(gg.zeros((2, 4, 3)), gg.asarray([[0, 0, 0], [0, 0, 9]]))
    assert gg.cross_entropy(x, gg.asarray([0, 7, 7]), ignore_index=7).item() == pytest.approx(np.log(4), rel=1e-6)


def test_a_mean_over_no_cases_is_nan_and_its_gradient_zero() -> None:
    x = gg.zeros((2, 3)).requires_grad_()
    loss = gg.cross_entropy(x, gg.asarray([-100, -100]))
    assert np.isnan(loss.item())
    loss.backward()
    assert x.grad.tolist() == [[0.0] * 3] * 2
    assert np.isnan(gg.cross_entropy(gg.zeros((0, 3)), gg.zeros((0,), dtype=gg.int64)).item())
    assert gg.cross_entropy(gg.zeros((0, 3)), gg.zeros((0,), dtype=gg.int64), reduction="none").shape == (0,)


def test_ignored_lines_may_hold_anything() -> None:
    x = gg.asarray([[1.0, 2.0], [np.nan, np.inf]]).requires_grad_()
    loss = gg.cross_entropy(x, gg.asarray([1, -100]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log1p(np.exp(-1.0)), rel=1e-6)
    assert x.grad[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("classes", [3, 40])
def test_a_line_whose_loss_does_not_count_has_no_gradient(dtype: str, classes: int) -> None:
    logits = np.linspace(-1.0, 1.0, 4 * classes).reshape(4, classes)
    logits[1] = np.inf
    logits[2, 1] = np.nan
    x = gg.asarray(logits).astype(dtype).requires_grad_()
    losses = gg.cross_entropy(x, gg.asarray([0, 1, 2, 1]), reduction="none")
    losses.backward(gg.asarray([1.0, 0.0, 0.0, 0.0]).astype(dtype))
    assert x.grad[1:].astype("float64").tolist() == [[0.0] * classes] * 3
    assert np.isfinite(x.grad[0].astype("float64").numpy()).all()


def test_wrong_arguments() -> None:
    x = gg.zeros((3, 4))
    with pytest.raises(ValueError, match=r"target must have shape \(3,\), that of logits \(3, 4\).*, got \(4,\)"):
        gg.cross_entropy(x, gg.asarray([0, 1, 2, 3]))
    with pytest.raises(TypeError, match="target must have an integer dtype, got float32"):
        gg.cross_entropy(x, gg.zeros((3,)))
    with pytest.raises(TypeError, match="logits must have a real floating dtype, got int64"):
        gg.cross_entropy(gg.asarray([[1, 2]]), gg.asarray([0]))
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\], got 1.5"):
        gg.cross_entropy(x, gg.asarray([0, 1, 2]), label_smoothing=1.5)
    with pytest.raises(ValueError, match="reduction"):
        gg.cross_entropy(x, gg.asarray([0, 1, 2]), reduction="average")


def test_one_thread_and_two_give_the_same_bits() -> None:
    before = gg.get_num_threads()
    try:
        for shape in [(5000, 10), (40, 3000), (8, 12, 900)]:
            x, target = case(shape, "float32")
            results = []
            for threads in (1, 2):
                gg.set_num_threads(threads)
                leaf = x.detach().requires_grad_()
                loss = gg.cross_entropy(leaf, target)
                loss.backward()
                results.append(loss.detach().numpy().tobytes() + leaf.grad.numpy().tobytes())
            assert results[0] == results[1]
    finally:
        gg.set_num_threads(before)

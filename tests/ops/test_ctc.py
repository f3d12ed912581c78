"""ctc_loss against PyTorch in float64: values, gradients through log_softmax, layouts, lengths, messages, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gorgo as gg

F = gg.nn.functional


def case(times: int, n: int, classes: int, longest: int, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, classes, (n, longest))
    targets[:, 1::3] = targets[:, ::3][:, : targets[:, 1::3].shape[1]]  # labels that stand twice in a row
    return (
        rng.normal(size=(times, n, classes)),
        targets,
        rng.integers(times // 2 + 1, times + 1, n),
        rng.integers(0, longest + 1, n),
    )


def concatenated(targets: Any, counts: Any) -> Any:
    return np.concatenate([row[:k] for row, k in zip(targets, counts, strict=True)])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(9, 3, 5, 3), (20, 40, 4, 6), (60, 2, 30, 17), (1, 2, 3, 1)])
def test_values_and_gradients_equal_pytorchs(shape: tuple[int, int, int, int], reduction: str) -> None:
    torch = pytest.importorskip("torch")
    x, targets, times, counts = case(*shape)
    for layout in (targets, concatenated(targets, counts)):
        peer = torch.tensor(x, requires_grad=True)
        theirs = torch.nn.functional.ctc_loss(
            torch.log_softmax(peer, -1),
            torch.tensor(layout),
            torch.tensor(times),
            torch.tensor(counts),
            reduction=reduction,
            zero_infinity=True,
        )
        ours = gg.asarray(x.copy()).requires_grad_()
        loss = F.ctc_loss(
            gg.log_softmax(ours, axis=-1),
            gg.asarray(layout),
            gg.asarray(times),
            gg.asarray(counts),
            reduction=reduction,
            zero_infinity=True,
        )
        np.testing.assert_allclose(loss.detach().numpy(), theirs.detach().numpy(), rtol=1e-11, atol=1e-12)
        theirs.sum().backward()
        loss.sum().backward()
        np.testing.assert_allclose(ours.grad.numpy(), peer.grad.numpy(), rtol=1e-9, atol=1e-13)


def test_labels_of_the_blanks_class_and_another_blank() -> None:
    torch = pytest.importorskip("torch")
    x, targets, times, counts = case(12, 4, 5, 4, seed=3)
    for blank in (2, 4):
        labels = np.where(targets == blank, 0, targets)
        args = (labels, times, counts)
        theirs = torch.nn.functional.ctc_loss(
            torch.log_softmax(torch.tensor(x), -1), *[torch.tensor(a) for a in args], blank=blank, reduction="none"
        )
        ours = F.ctc_loss(
            gg.log_softmax(gg.asarray(x), axis=-1), *[gg.asarray(a) for a in args], blank=blank, reduction="none"
        )
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-11)


def test_first_and_second_gradients_agree_with_differences() -> None:
    x, targets, times, counts = case(6, 3, 4, 2, seed=5)
    rest = [gg.asarray(a) for a in (targets, times, counts)]
    for reduction in ("mean", "none"):

        def loss(x: Any, reduction: str = reduction) -> Any:
            return F.ctc_loss(gg.log_softmax(x, axis=-1), *rest, reduction=reduction)

        gg.testing.gradcheck(loss, [gg.asarray(x)], second=True)
        gg.testing.gradcheck(lambda x, f=loss: f(x) ** 2, [gg.asarray(x)], second=True)


def test_labels_that_do_not_fit() -> None:
    x = gg.log_softmax(gg.zeros((2, 2, 3)), axis=-1).requires_grad_()
    args = (gg.asarray([[1, 1], [1, 2]]), gg.asarray([2, 2]), gg.asarray([2, 2]))
    loss = F.ctc_loss(x, *args, reduction="none")
    assert loss[0].item() == float("inf")  # a repeated label needs a blank between
    assert np.isfinite(loss[1].item())
    zeroed = F.ctc_loss(x, *args, reduction="none", zero_infinity=True)
    assert zeroed[0].item() == 0.0
    zeroed.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert (x.grad.numpy()[:, 0] == 0.0).all()


def test_cases_without_times_or_labels() -> None:
    x = gg.log_softmax(gg.zeros((3, 3, 2)), axis=-1).requires_grad_()
    args = (gg.asarray([[1], [1], [1]]), gg.asarray([0, 0, 2]), gg.asarray([0, 1, 0]))
    loss = F.ctc_loss(x, *args, reduction="none")
    assert loss.tolist()[:2] == [0.0, float("inf")]
    assert loss[2].item() == pytest.approx(2 * np.log(2), rel=1e-6)
    loss[2].backward()
    expected = np.zeros((3, 3, 2))
    expected[:2, 2, 0] = -1.0
    np.testing.assert_allclose(x.grad.numpy(), expected, atol=1e-6)


def test_a_single_case_and_lengths_as_numbers() -> None:
    x, targets, _, _ = case(8, 1, 4, 3)
    whole = F.ctc_loss(gg.asarray(x), gg.asarray(targets), [8], [3])
    single = F.ctc_loss(gg.asarray(x[:, 0]), gg.asarray(targets[0]), 8, 3)
    assert single.shape == ()
    assert single.item() == whole.item()
    assert F.ctc_loss(gg.asarray(x[:, 0]), gg.asarray(targets[0]), 8, 3, reduction="none").shape == ()
    layer = gg.nn.CTCLoss(reduction="sum")
    assert layer(gg.asarray(x), gg.asarray(targets), (8,), (3,)).item() == pytest.approx(3 * whole.item())


def test_probabilities_of_zero() -> None:
    x = np.log(
        np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float64),
        where=[[[True, False]], [[False, True]]],
        out=np.full((2, 1, 2), -np.inf),
    )
    leaf = gg.asarray(x).requires_grad_()
    loss = F.ctc_loss(leaf, gg.asarray([[1]]), [2], [1])
    assert loss.item() == 0.0
    loss.backward()
    np.testing.assert_array_equal(leaf.grad.numpy(), [[[-1.0, 0.0]], [[0.0, -1.0]]])


def test_messages() -> None:
    x = gg.zeros((4, 2, 3))
    targets, times, counts = gg.ones((2, 2), dtype=gg.int64), gg.asarray([4, 4]), gg.asarray([2, 2])
    with pytest.raises(ValueError, match=r"ctc_loss: log_probs must have shape \(t, n, c\), got \(4,\)"):
        gg.ctc_loss(gg.zeros((4,)), targets, times, counts)
    with pytest.raises(ValueError, match=r"ctc_loss: blank must be in \[0, 3\), got 3"):
        F.ctc_loss(x, targets, times, counts, blank=3)
    with pytest.raises(
        ValueError, match=r"ctc_loss: targets must have shape \(2, s\) or \(sum of target_lengths,\), got \(3, 2\)"
    ):
        F.ctc_loss(x, gg.ones((3, 2), dtype=gg.int64), times, counts)
    with pytest.raises(ValueError, match=r"ctc_loss: input_lengths must have shape \(2,\), .*got \(1,\)"):
        F.ctc_loss(x, targets, [4], counts)
    with pytest.raises(ValueError, match=r"ctc_loss: input_lengths must be in \[0, 4\], got 5 at index 1"):
        F.ctc_loss(x, targets, [4, 5], counts)
    with pytest.raises(ValueError, match=r"ctc_loss: target_lengths must be in \[0, 2\], .*got 3 at index 0"):
        F.ctc_loss(x, targets, times, [3, 2])
    with pytest.raises(ValueError, match=r"ctc_loss: target_lengths must be in \[0, 1\], .*got 2 at index 1"):
        F.ctc_loss(x, gg.asarray([1, 2, 1]), times, counts)
    with pytest.raises(IndexError, match=r"ctc_loss: targets must be in \[0, 3\), got 7 at index \(1, 0\)"):
        F.ctc_loss(x, gg.asarray([[1, 1], [7, 1]]), times, counts)
    with pytest.raises(TypeError, match="ctc_loss: targets must have an integer dtype, got float32"):
        F.ctc_loss(x, gg.ones((2, 2)), times, counts)
    leaf = gg.log_softmax(x, axis=-1).requires_grad_()
    (first,) = gg.grad(F.ctc_loss(leaf, targets, times, counts), [leaf], create_graph=True)
    (second,) = gg.grad((first**2).sum(), [leaf], create_graph=True)
    with pytest.raises(NotImplementedError, match=r"ctc_loss_curvature: .*third derivatives of ctc_loss"):
        gg.grad(second.sum(), [leaf])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_lower_precision(dtype: str, tolerance: float) -> None:
    x, targets, times, counts = case(20, 4, 5, 6)
    rest = [gg.asarray(a) for a in (targets, times, counts)]
    low = gg.log_softmax(gg.asarray(x), axis=-1).astype(dtype).requires_grad_()
    wide = low.detach().astype("float64").requires_grad_()
    ours, exact = (F.ctc_loss(v, *rest, reduction="none", zero_infinity=True) for v in (low, wide))
    assert ours.dtype == low.dtype
    np.testing.assert_allclose(ours.detach().astype("float64").numpy(), exact.detach().numpy(), rtol=tolerance)
    ours.sum().backward()
    exact.sum().backward()
    np.testing.assert_allclose(
        low.grad.astype("float64").numpy(), wide.grad.numpy(), rtol=tolerance, atol=tolerance / 10
    )

"""Losses as functions, with PyTorch's names, arguments, values and subgradients at kinks.

The ones that small training scripts call at every step are ops of their own with a fused gradient (mse_loss, l1_loss,
smooth_l1_loss, huber_loss, binary_cross_entropy_with_logits, cross_entropy, nll_loss, ctc_loss); the others are
compositions, those with margins in margin_losses.py. All have derivatives of second order. Shapes must agree: a target
of shape (n, 1) beside an input of shape (n,) is an error here and no silent (n, n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gorgo as gg
from gorgo.arguments import as_integers
from gorgo.nn.distances import clamp_constant

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
]

_FLOATS = frozenset((gg.float16, gg.bfloat16, gg.float32, gg.float64))
Lengths = gg.Tensor | Sequence[int] | int


def check_reduction(op: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def reduced(op: str, losses: gg.Tensor, reduction: str) -> gg.Tensor:
    check_reduction(op, reduction)
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def check_same_shape(op: str, x: gg.Tensor, name: str, other: gg.Tensor, of: str = "input") -> None:
    if other.shape != x.shape:
        raise ValueError(f"{op}: {name} must have {of}'s shape {tuple(x.shape)}, got {tuple(other.shape)}")


def _weighted(op: str, losses: gg.Tensor, weight: gg.Tensor, reduction: str) -> gg.Tensor:
    """Reduce weighted losses; a mean is one by weight."""
    check_same_shape(op, losses, "weight", weight)
    if reduction == "mean":
        return (losses * weight).sum() / weight.sum()
    return reduced(op, losses * weight, reduction)


def mse_loss(
    input: gg.Tensor, target: gg.Tensor, reduction: str = "mean", weight: gg.Tensor | None = None
) -> gg.Tensor:
    """Compute the squared differences of two tensors, or their mean.

    Args:
        input: tensor (...) float.
        target: tensor (...) of input's dtype.
        reduction: 'mean' over all elements (by weight, if there is one), 'sum', or 'none' for a loss per element.
        weight: tensor (...) float, a factor for each element, or None.

    Returns:
        Tensor () or, for 'none', (...): (input - target)**2.

    Raises:
        ValueError: shapes differ, or reduction is none of the words.
        TypeError: dtypes differ.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.mse_loss(gg.asarray([1.0, 2.0]), gg.asarray([1.0, 4.0])).item()
        2.0
    """
    if weight is None:
        return gg.mse_loss(input, target, reduction=reduction)
    return _weighted("mse_loss", gg.mse_loss(input, target, reduction="none"), weight, reduction)


def l1_loss(input: gg.Tensor, target: gg.Tensor, reduction: str = "mean", weight: gg.Tensor | None = None) -> gg.Tensor:
    """Compute the absolute differences of two tensors, or their mean.

    Args:
        input: tensor (...) float.
        target: tensor (...) of input's dtype.
        reduction: 'mean' over all elements (by weight, if there is one), 'sum', or 'none' for a loss per element.
        weight: tensor (...) float, a factor for each element, or None.

    Returns:
        Tensor () or, for 'none', (...): |input - target|; the gradient is zero where they are equal.

    Raises:
        ValueError: shapes differ, or reduction is none of the words.
        TypeError: dtypes differ.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.l1_loss(gg.asarray([1.0, 2.0]), gg.asarray([1.0, 4.0])).item()
        1.0
    """
    if weight is None:
        return gg.l1_loss(input, target, reduction=reduction)
    return _weighted("l1_loss", gg.l1_loss(input, target, reduction="none"), weight, reduction)


def smooth_l1_loss(input: gg.Tensor, target: gg.Tensor, reduction: str = "mean", beta: float = 1.0) -> gg.Tensor:
    """Compute absolute differences, squared and divided by 2 beta below beta; see gorgo.smooth_l1_loss.

    Args:
        input: tensor (...) float.
        target: tensor (...) of input's dtype.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.
        beta: where the parabola ends; zero gives l1_loss.

    Returns:
        Tensor () or, for 'none', (...).

    Raises:
        ValueError: shapes differ, beta is negative, or reduction is none of the words.
        TypeError: dtypes differ.

    Source: Girshick, "Fast R-CNN", ICCV 2015.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.smooth_l1_loss(gg.asarray([1.0, 3.0]), gg.zeros((2,))).item()
        1.5
    """
    return gg.smooth_l1_loss(input, target, reduction=reduction, beta=beta)


def huber_loss(
    input: gg.Tensor,
    target: gg.Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: gg.Tensor | None = None,
) -> gg.Tensor:
    """Compute half the squared differences, and lines of slope delta beyond delta; see gorgo.huber_loss.

    Args:
        input: tensor (...) float.
        target: tensor (...) of input's dtype.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.
        delta: where the parabola ends; positive.
        weight: tensor (...) float, a factor for each element, or None.

    Returns:
        Tensor () or, for 'none', (...).

    Raises:
        ValueError: shapes differ, delta is not positive, or reduction is none of the words.
        TypeError: dtypes differ.

    Source: Huber, "Robust estimation of a location parameter", Ann. Math. Stat. 35 (1964).

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.huber_loss(gg.asarray([1.0, 3.0]), gg.zeros((2,))).item()
        1.5
    """
    if weight is None:
        return gg.huber_loss(input, target, reduction=reduction, delta=delta)
    losses = gg.huber_loss(input, target, reduction="none", delta=delta)
    check_same_shape("huber_loss", losses, "weight", weight)
    return reduced("huber_loss", losses * weight, reduction)


def binary_cross_entropy_with_logits(
    input: gg.Tensor,
    target: gg.Tensor,
    weight: gg.Tensor | None = None,
    reduction: str = "mean",
    pos_weight: gg.Tensor | None = None,
) -> gg.Tensor:
    """Compute the cross-entropy between two-class scores and target probabilities.

    Args:
        input: tensor (...) float, the logits.
        target: tensor (...) of input's dtype, the probabilities wanted.
        weight: tensor that broadcasts to (...), a factor for each loss, or None.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.
        pos_weight: tensor that broadcasts to (...), a factor of the first class's part, or None.

    Returns:
        Tensor () or, for 'none', (...), without overflow.

    Raises:
        ValueError: shapes differ, or reduction is none of the words.
        TypeError: dtypes differ.

    Example:
        >>> import gorgo as gg
        >>> loss = gg.nn.functional.binary_cross_entropy_with_logits(gg.asarray([100.0, -100.0]), gg.zeros((2,)))
        >>> loss.item()
        50.0
    """
    op = "binary_cross_entropy_with_logits"
    if weight is None and pos_weight is None:
        return gg.binary_cross_entropy_with_logits(input, target, reduction=reduction)
    if pos_weight is None:
        losses = gg.binary_cross_entropy_with_logits(input, target, reduction="none")
    else:
        check_same_shape(op, input, "target", target)
        losses = (1.0 - target) * input + (1.0 + (pos_weight - 1.0) * target) * gg.softplus(-input)
    if weight is not None:
        losses = losses * weight
    check_same_shape(op, input, "what weight and pos_weight broadcast to", losses)
    return reduced(op, losses, reduction)


def binary_cross_entropy(
    input: gg.Tensor, target: gg.Tensor, weight: gg.Tensor | None = None, reduction: str = "mean"
) -> gg.Tensor:
    """Compute the cross-entropy between probabilities and target probabilities.

    Logarithms are taken as -100 at least. Prefer binary_cross_entropy_with_logits, which loses no digits.

    Args:
        input: tensor (...) float, in [0, 1].
        target: tensor (...) of input's dtype, in [0, 1].
        weight: tensor that broadcasts to (...), a factor for each loss, or None.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.

    Returns:
        Tensor () or, for 'none', (...): -(target log(input) + (1 - target) log(1 - input)).

    Raises:
        ValueError: shapes differ, or reduction is none of the words.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.binary_cross_entropy(gg.asarray([1.0, 0.0]), gg.asarray([1.0, 1.0])).item()
        50.0
    """
    op = "binary_cross_entropy"
    check_same_shape(op, input, "target", target)
    # Where a logarithm is cut off, value and slope are numbers; the slope's divisor is 1e-12.
    edge = gg.logical_or(input < math.exp(-100.0), input >= 1.0)
    inside = gg.where(edge, 0.5, input)
    losses = -(target * gg.log(inside) + (1.0 - target) * gg.log1p(-inside))
    with gg.no_grad():
        low = gg.maximum(gg.log(input), -100.0)
        high = gg.maximum(gg.log1p(-input), -100.0)
        slope = gg.where(edge, (input - target) * 1e12, 0.0)
        fixed = input.detach()
    at_edge = -(target * low + (1.0 - target) * high) + slope * (input - fixed)
    losses = gg.where(edge, at_edge, losses)
    if weight is not None:
        losses = losses * weight
        check_same_shape(op, input, "what weight broadcasts to", losses)
    return reduced(op, losses, reduction)


def check_class_weights(op: str, weight: gg.Tensor, classes: int) -> None:
    if tuple(weight.shape) != (classes,):
        raise ValueError(f"{op}: weight must have shape ({classes},), one for each class, got {tuple(weight.shape)}")


def _weights_of_targets(weight: gg.Tensor, target: gg.Tensor, ignore_index: int) -> gg.Tensor:
    """Return each target's class weight, zero for the ignored ones."""
    ignored = target == ignore_index
    return gg.where(ignored, 0.0, gg.take(weight, gg.where(ignored, 0, target), axis=0))


def nll_loss(
    input: gg.Tensor,
    target: gg.Tensor,
    weight: gg.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> gg.Tensor:
    """Compute minus the log-probabilities of the target classes.

    Args:
        input: tensor (n, c, ...) float, log-probabilities, one for each class on axis 1; or (c,) for a single case.
        target: tensor (n, ...) integer, in [0, c).
        weight: tensor (c,) float, a factor for each class, or None; a mean is then one by weight.
        ignore_index: cases with this target yield zero and do not count.
        reduction: 'mean' over the cases that count, 'sum', or 'none' for a loss per case.

    Returns:
        Tensor () or, for 'none', (n, ...).

    Raises:
        ValueError: shapes do not fit, or reduction is none of the words.
        TypeError: target is not of integers.
        IndexError: a target is out of range.

    Example:
        >>> import gorgo as gg
        >>> x = gg.asarray([[-1.0, -2.0], [-3.0, -4.0]])
        >>> gg.nn.functional.nll_loss(x, gg.asarray([1, 0])).item()
        2.5
    """
    if weight is None:
        return gg.nll_loss(input, target, reduction=reduction, ignore_index=ignore_index)
    losses = gg.nll_loss(input, target, reduction="none", ignore_index=ignore_index)
    check_class_weights("nll_loss", weight, input.shape[0 if input.ndim == 1 else 1])
    weights = _weights_of_targets(weight, target, ignore_index)
    if reduction == "mean":
        return (losses * weights).sum() / weights.sum()
    return reduced("nll_loss", losses * weights, reduction)


def cross_entropy(
    input: gg.Tensor,
    target: gg.Tensor,
    weight: gg.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> gg.Tensor:
    """Compute the cross-entropy between class scores and target classes, or target probabilities.

    Args:
        input: tensor (n, c, ...) float, scores, one for each class on axis 1; or (c,) for a single case.
        target: tensor (n, ...) integer, the classes, in [0, c); or of input's shape and dtype, their probabilities.
        weight: tensor (c,) float, a factor for each class, or None; a mean over classes is then one by weight.
        ignore_index: cases with this class as target yield zero and do not count.
        reduction: 'mean' over the cases that count, 'sum', or 'none' for a loss per case.
        label_smoothing: the share of the target, in [0, 1], that is spread evenly over the classes.

    Returns:
        Tensor () or, for 'none', (n, ...).

    Raises:
        ValueError: shapes do not fit, label_smoothing is out of range, or reduction is none of the words.
        TypeError: target is neither of integers nor of input's dtype.
        IndexError: a target is out of range.

    Example:
        >>> import gorgo as gg
        >>> logits = gg.asarray([[0.0, 100.0], [100.0, 0.0]])
        >>> gg.nn.functional.cross_entropy(logits, gg.asarray([1, 1])).item()
        50.0
        >>> gg.nn.functional.cross_entropy(logits, gg.asarray([[0.5, 0.5], [1.0, 0.0]])).item()
        25.0
    """
    soft = target.dtype == input.dtype and target.ndim > 0 and target.shape == input.shape
    if not soft and target.dtype in _FLOATS:
        raise TypeError(
            f"cross_entropy: target must be of integers, or of input's shape {tuple(input.shape)} and dtype"
            f" {input.dtype}, got {target.dtype} of shape {tuple(target.shape)}"
        )
    if weight is None and not soft:
        return gg.cross_entropy(
            input, target, reduction=reduction, ignore_index=ignore_index, label_smoothing=label_smoothing
        )
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}")
    axis = 0 if input.ndim == 1 else 1
    classes = input.shape[axis]
    by_class = None
    if weight is not None:
        check_class_weights("cross_entropy", weight, classes)
        by_class = weight.reshape((-1,) + (1,) * (input.ndim - 1 - axis))
    lines = gg.log_softmax(input, axis=axis)
    if soft:
        if label_smoothing > 0.0:
            target = (1.0 - label_smoothing) * target + label_smoothing / classes
        scores = target * lines if by_class is None else target * lines * by_class
        losses = -scores.sum(axis=axis)
        return reduced("cross_entropy", losses, reduction)
    assert weight is not None  # noqa: S101
    assert by_class is not None  # noqa: S101
    losses = gg.nll_loss(lines, target, reduction="none", ignore_index=ignore_index)
    weights = _weights_of_targets(weight, target, ignore_index)
    losses = losses * weights
    if label_smoothing > 0.0:
        spread = gg.where(target == ignore_index, 0.0, -(lines * by_class).sum(axis=axis))
        losses = (1.0 - label_smoothing) * losses + label_smoothing / classes * spread
    if reduction == "mean":
        return losses.sum() / weights.sum()
    return reduced("cross_entropy", losses, reduction)


def kl_div(input: gg.Tensor, target: gg.Tensor, reduction: str = "mean", log_target: bool = False) -> gg.Tensor:
    """Compute the pointwise Kullback-Leibler divergence of log-probabilities from target probabilities.

    Args:
        input: tensor (...) float, log-probabilities.
        target: tensor (...) float, probabilities, or their logarithms with log_target.
        reduction: 'batchmean' for the sum divided by the length of axis 0, 'mean' over all elements, 'sum', or 'none'.
        log_target: whether target holds logarithms.

    Returns:
        Tensor () or, for 'none', (...): target (log(target) - input).

    Raises:
        ValueError: shapes differ, or reduction is none of the words.

    Source: Kullback, Leibler, "On information and sufficiency", Ann. Math. Stat. 22 (1951).

    Example:
        >>> import gorgo as gg
        >>> even = gg.log(gg.full((1, 2), 0.5))
        >>> gg.nn.functional.kl_div(even, even, "batchmean", log_target=True).item()
        0.0
    """
    check_same_shape("kl_div", input, "target", target)
    if log_target:
        losses = gg.exp(target) * (target - input)
    else:
        none = target == 0.0
        entropy = gg.where(none, 0.0, target * gg.log(gg.where(none, 1.0, target)))
        losses = entropy - target * input
    if reduction != "batchmean":
        return reduced("kl_div", losses, reduction)
    if input.ndim == 0:
        raise ValueError("kl_div: input must have an axis for 'batchmean', got shape ()")
    return losses.sum() / input.shape[0]


def gaussian_nll_loss(
    input: gg.Tensor,
    target: gg.Tensor,
    var: gg.Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> gg.Tensor:
    """Compute minus the log-likelihood of targets under normal distributions.

    Args:
        input: tensor (...) float, the means.
        target: tensor (...) float, the samples.
        var: tensor (...) or with one axis of length 1 or without the last axis, or a number: the variances.
        full: whether the constant log(2 pi) / 2 is added.
        eps: the least variance; below it the value is cut off, the gradient is not.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.

    Returns:
        Tensor () or, for 'none', (...): (log(var) + (input - target)**2 / var) / 2.

    Raises:
        ValueError: shapes do not fit, a variance is negative, or reduction is none of the words.

    Source: Nix, Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.gaussian_nll_loss(gg.asarray([1.0]), gg.asarray([3.0]), 1.0).item()
        2.0
    """
    op = "gaussian_nll_loss"
    check_reduction(op, reduction)
    if not isinstance(var, gg.Tensor):
        var = gg.full_like(input, float(var))
    if not gg.graph.is_capturing() and (var < 0.0).any().item():
        raise ValueError(f"{op}: var must not be negative, got {var.min().item()}")
    if var.shape != input.shape:
        if tuple(var.shape) == tuple(input.shape[:-1]):
            var = gg.expand_dims(var, axis=-1)
        elif var.ndim != input.ndim or [a for a, b in zip(var.shape, input.shape, strict=True) if a != b] != [1]:
            raise ValueError(
                f"{op}: var must have input's shape {tuple(input.shape)}, one axis of length 1 or no last axis,"
                f" got {tuple(var.shape)}"
            )
    var = clamp_constant(var, eps)
    losses = 0.5 * (gg.log(var) + gg.square(input - target) / var)
    return reduced(op, losses + 0.5 * math.log(2.0 * math.pi) if full else losses, reduction)


def poisson_nll_loss(
    input: gg.Tensor,
    target: gg.Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> gg.Tensor:
    """Compute minus the log-likelihood of counts under Poisson distributions.

    Args:
        input: tensor (...) float, the expected counts, or their logarithms with log_input.
        target: tensor (...) of input's dtype, the counts.
        log_input: whether input holds logarithms.
        full: whether Stirling's approximation of log(target!) is added for targets above 1.
        eps: added to input before its logarithm is taken.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.

    Returns:
        Tensor () or, for 'none', (...): exp(input) - target input, or input - target log(input + eps).

    Raises:
        ValueError: shapes differ, or reduction is none of the words.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.poisson_nll_loss(gg.asarray([0.0]), gg.asarray([5.0])).item()
        1.0
    """
    op = "poisson_nll_loss"
    check_same_shape(op, input, "target", target)
    losses = gg.exp(input) - target * input if log_input else input - target * gg.log(input + eps)
    if full:
        large = target > 1.0
        t = gg.where(large, target, 1.0)
        losses = losses + gg.where(large, t * gg.log(t) - t + 0.5 * gg.log(2.0 * math.pi * t), 0.0)
    return reduced(op, losses, reduction)


def _lengths(lengths: Lengths, device: Any) -> gg.Tensor:
    if isinstance(lengths, gg.Tensor):
        return lengths.to(device=device).reshape((-1,))
    return gg.asarray(as_integers("ctc_loss", "lengths", lengths), dtype=gg.int64, device=device)


def ctc_loss(
    log_probs: gg.Tensor,
    targets: gg.Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> gg.Tensor:
    """Compute minus the log-probability of label sequences, summed over all alignments with the inputs.

    Args:
        log_probs: tensor (t, n, c) float, log-probabilities as log_softmax gives them; or (t, c) for a single case.
        targets: tensor (n, s) or (sum of target_lengths,) integer, the labels; or (s,) for a single case.
        input_lengths: tensor (n,) integer, or integers: how many times count in each case.
        target_lengths: tensor (n,) integer, or integers: how many labels count in each case.
        blank: the class that stands for no label.
        reduction: 'mean' over the cases after division by their target lengths, 'sum', or 'none' for a loss per case.
        zero_infinity: whether a case whose labels do not fit its inputs yields zero instead of infinity.

    Returns:
        Tensor () or, for 'none', (n,).

    Raises:
        ValueError: shapes do not fit, or blank or a length is out of range.
        IndexError: a target is out of range.

    Source: Graves et al., "Connectionist temporal classification", ICML 2006.

    Example:
        >>> import gorgo as gg
        >>> even = gg.log_softmax(gg.zeros((2, 2)))
        >>> round(gg.nn.functional.ctc_loss(even, gg.asarray([1]), 2, 1).item(), 4)  # three of four paths read "1"
        0.2877
    """
    single = log_probs.ndim == 2
    if single:
        log_probs = gg.expand_dims(log_probs, axis=1)
        targets = targets.reshape((1, -1))
    times, labels = _lengths(input_lengths, log_probs.device), _lengths(target_lengths, log_probs.device)
    losses = gg.ctc_loss(
        log_probs, targets, times, labels, blank=blank, reduction=reduction, zero_infinity=zero_infinity
    )
    return losses.reshape(()) if single else losses

"""Losses with margins as functions, with PyTorch's names, arguments, values and subgradients at kinks.

All are compositions with derivatives of second order.
"""

from __future__ import annotations

from collections.abc import Callable

import gorgo as gg
from gorgo.nn.distances import cosine_similarity_of_squares, pairwise_distance
from gorgo.nn.losses import check_class_weights, check_same_shape, reduced

__all__ = [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def _positive_part(x: gg.Tensor) -> gg.Tensor:
    """Return max(x, 0) with slope one at zero, as PyTorch's clamp has it."""
    return gg.where(x < 0.0, 0.0, x)


def hinge_embedding_loss(
    input: gg.Tensor, target: gg.Tensor, margin: float = 1.0, reduction: str = "mean"
) -> gg.Tensor:
    """Compute input where target is 1, and max(0, margin - input) where it is -1.

    Args:
        input: tensor (...) float, distances.
        target: tensor (...) of 1 and -1.
        margin: the distance wanted of what does not belong together.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.

    Returns:
        Tensor () or, for 'none', (...).

    Raises:
        ValueError: shapes differ, or reduction is none of the words.

    Example:
        >>> import gorgo as gg
        >>> loss = gg.nn.functional.hinge_embedding_loss(gg.asarray([3.0, 0.5]), gg.asarray([1, -1]), reduction="none")
        >>> loss.tolist()
        [3.0, 0.5]
    """
    check_same_shape("hinge_embedding_loss", input, "target", target)
    apart = gg.where(target != 1, _positive_part(margin - input), 0.0)
    return reduced("hinge_embedding_loss", apart + gg.where(target != -1, input, 0.0), reduction)


def margin_ranking_loss(
    input1: gg.Tensor, input2: gg.Tensor, target: gg.Tensor, margin: float = 0.0, reduction: str = "mean"
) -> gg.Tensor:
    """Compute max(0, margin - target (input1 - input2)): target 1 wants the first to be larger, -1 the second.

    Args:
        input1: tensor (...) float.
        input2: tensor (...) float.
        target: tensor (...) of 1 and -1.
        margin: the difference wanted.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.

    Returns:
        Tensor () or, for 'none', (...).

    Raises:
        ValueError: shapes differ, or reduction is none of the words.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.margin_ranking_loss(gg.asarray([1.0]), gg.asarray([3.0]), gg.asarray([1])).item()
        2.0
    """
    op = "margin_ranking_loss"
    check_same_shape(op, input1, "input2", input2, "input1")
    check_same_shape(op, input1, "target", target, "input1")
    sign = target.astype(input1.dtype)
    return reduced(op, _positive_part(margin - sign * (input1 - input2)), reduction)


def soft_margin_loss(input: gg.Tensor, target: gg.Tensor, reduction: str = "mean") -> gg.Tensor:
    """Compute log(1 + exp(-target input)) for targets 1 and -1, without overflow.

    Args:
        input: tensor (...) float, scores.
        target: tensor (...) of 1 and -1.
        reduction: 'mean' over all elements, 'sum', or 'none' for a loss per element.

    Returns:
        Tensor () or, for 'none', (...).

    Raises:
        ValueError: shapes differ, or reduction is none of the words.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.soft_margin_loss(gg.asarray([1000.0]), gg.asarray([-1])).item()
        1000.0
    """
    check_same_shape("soft_margin_loss", input, "target", target)
    return reduced("soft_margin_loss", gg.softplus(-target.astype(input.dtype) * input), reduction)


def _cases(op: str, input: gg.Tensor) -> gg.Tensor:
    """Return (n, c), a single case (c,) as one."""
    if input.ndim not in (1, 2) or input.shape[-1] == 0:
        raise ValueError(f"{op}: input must have shape (n, c) or (c,), got {tuple(input.shape)}")
    return input.reshape((1, -1)) if input.ndim == 1 else input


def multi_margin_loss(
    input: gg.Tensor,
    target: gg.Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: gg.Tensor | None = None,
    reduction: str = "mean",
) -> gg.Tensor:
    """Compute how far other classes' scores come within a margin of the target's, to the power p, over all classes.

    Args:
        input: tensor (n, c) float, scores; or (c,) for a single case.
        target: tensor (n,) or () integer, the classes, in [0, c).
        p: the power, 1 or 2.
        margin: the distance wanted.
        weight: tensor (c,) float, a factor for each class, or None.
        reduction: 'mean' over the cases, 'sum', or 'none' for a loss per case.

    Returns:
        Tensor () or, for 'none', (n,): max(0, margin - x[target] + x[j])**p, summed over j other than target, over c.

    Raises:
        ValueError: shapes do not fit, p is neither 1 nor 2, or reduction is none of the words.
        IndexError: a target is out of range.

    Source: Crammer, Singer, "On the algorithmic implementation of multiclass kernel-based vector machines", JMLR 2001.

    Example:
        >>> import gorgo as gg
        >>> loss = gg.nn.functional.multi_margin_loss(gg.asarray([[0.0, 0.5, 3.0]]), gg.asarray([1]))
        >>> round(loss.item(), 4)
        1.3333
    """
    op = "multi_margin_loss"
    if p not in (1, 2):
        raise ValueError(f"{op}: p must be 1 or 2, got {p}")
    x = _cases(op, input)
    n, classes = x.shape
    if tuple(target.shape) != tuple(input.shape[:-1]):
        raise ValueError(f"{op}: target must have shape {tuple(input.shape[:-1])}, got {tuple(target.shape)}")
    wanted = _in_range(op, target.reshape((n, 1)), classes)
    away = gg.relu(margin - gg.take_along_axis(x, wanted, axis=1) + x)
    if p == 2:
        away = away * away
    others = gg.arange(classes, device=x.device) != wanted
    losses = gg.where(others, away, 0.0)
    if weight is not None:
        check_class_weights(op, weight, classes)
        losses = losses * gg.take(weight, wanted.reshape((-1,)), axis=0).reshape((n, 1))
    losses = losses.sum(axis=1) / classes
    return reduced(op, losses.reshape(target.shape), reduction)


def _in_range(op: str, target: gg.Tensor, classes: int, lowest: int = 0) -> gg.Tensor:
    """Return the targets, none of them out of range.

    An eager call names the first that is. A captured one cannot look at values: there a wrong target becomes one that
    the op which reads by it refuses, while a negative one of its own would count from the end.
    """
    wrong = gg.logical_or(target < lowest, target >= classes)
    if gg.graph.is_capturing():
        return gg.where(wrong, classes, target)
    if target.size == 0:
        return target
    if wrong.any().item():
        at = gg.argmax(wrong.reshape((-1,)).astype(gg.int32)).item()
        raise IndexError(f"{op}: target must be in [{lowest}, {classes}), got {target.reshape((-1,))[int(at)].item()}")
    return target


def multilabel_margin_loss(input: gg.Tensor, target: gg.Tensor, reduction: str = "mean") -> gg.Tensor:
    """Compute how far scores of classes outside a set come within 1 of those inside, over all pairs.

    Args:
        input: tensor (n, c) float, scores; or (c,) for a single case.
        target: tensor of input's shape, integer: the classes of the set, up to the first -1.
        reduction: 'mean' over the cases, 'sum', or 'none' for a loss per case.

    Returns:
        Tensor () or, for 'none', (n,): the sum of max(0, 1 - x[i] + x[j]) for i in the set and j outside, over c.

    Raises:
        ValueError: shapes differ, or reduction is none of the words.
        IndexError: a target is out of range.

    Example:
        >>> import gorgo as gg
        >>> scores, labels = gg.asarray([[0.0, 0.5, 3.0]]), gg.asarray([[2, -1, 0]])
        >>> gg.nn.functional.multilabel_margin_loss(scores, labels).item()
        0.0
    """
    op = "multilabel_margin_loss"
    x = _cases(op, input)
    check_same_shape(op, input, "target", target)
    n, classes = x.shape
    labels = _in_range(op, target.reshape(x.shape), classes, -1)
    ends = labels < 0
    place = gg.arange(classes, device=x.device)
    first_end = gg.where(ends, place, classes).min(axis=1, keepdims=True)
    counts = place < first_end
    safe = gg.where(gg.logical_or(counts, labels >= classes), labels, 0)  # refused wherever it stands
    inside = gg.scatter_add(gg.zeros((n, classes), dtype=gg.int64, device=x.device), 1, safe, counts.astype(gg.int64))
    scores = gg.take_along_axis(x, safe, axis=1)
    away = gg.relu(1.0 - gg.expand_dims(scores, axis=2) + gg.expand_dims(x, axis=1))
    pairs = gg.logical_and(gg.expand_dims(counts, axis=2), gg.expand_dims(inside == 0, axis=1))
    losses = gg.where(pairs, away, 0.0).sum(axis=(1, 2)) / classes
    return reduced(op, losses.reshape(input.shape[:-1]), reduction)


def multilabel_soft_margin_loss(
    input: gg.Tensor, target: gg.Tensor, weight: gg.Tensor | None = None, reduction: str = "mean"
) -> gg.Tensor:
    """Compute the two-class cross-entropy of each class's score, averaged over the classes.

    Args:
        input: tensor (..., c) float, scores.
        target: tensor (..., c) of input's dtype, 0 or 1.
        weight: tensor that broadcasts to (..., c), a factor for each class, or None.
        reduction: 'mean' over the cases, 'sum', or 'none' for a loss per case.

    Returns:
        Tensor () or, for 'none', (...).

    Raises:
        ValueError: shapes differ, or reduction is none of the words.

    Example:
        >>> import gorgo as gg
        >>> loss = gg.nn.functional.multilabel_soft_margin_loss(gg.zeros((1, 3)), gg.asarray([[1.0, 0.0, 1.0]]))
        >>> round(loss.item(), 4)
        0.6931
    """
    op = "multilabel_soft_margin_loss"
    if input.ndim == 0:
        raise ValueError(f"{op}: input must have shape (..., c), got ()")
    losses = gg.binary_cross_entropy_with_logits(input, target, reduction="none")
    if weight is not None:
        losses = losses * weight
        check_same_shape(op, input, "what weight broadcasts to", losses)
    return reduced(op, losses.sum(axis=-1) / input.shape[-1], reduction)


def triplet_margin_loss(
    anchor: gg.Tensor,
    positive: gg.Tensor,
    negative: gg.Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> gg.Tensor:
    """Compute how far anchors are closer to negatives than a margin beyond their positives.

    Args:
        anchor: tensor (..., d) float.
        positive: tensor (..., d) float, what belongs to the anchors.
        negative: tensor (..., d) float, what does not.
        margin: the difference of distances wanted; positive.
        p: the norm.
        eps: added to differences.
        swap: whether the positive stands in for the anchor where it is closer to the negative.
        reduction: 'mean' over the cases, 'sum', or 'none' for a loss per case.

    Returns:
        Tensor () or, for 'none', (...): max(0, margin + |a - p| - |a - n|).

    Raises:
        ValueError: ranks differ, margin is not positive, or reduction is none of the words.

    Source: Balntas et al., "Learning local feature descriptors with triplets and shallow CNNs", BMVC 2016.

    Example:
        >>> import gorgo as gg
        >>> a, p, n = gg.zeros((1, 1)), gg.ones((1, 1)), gg.full((1, 1), 1.5)
        >>> round(gg.nn.functional.triplet_margin_loss(a, p, n).item(), 4)
        0.5
    """

    def distance(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        return pairwise_distance(x, y, p, eps)

    return _triplet("triplet_margin_loss", anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: gg.Tensor,
    positive: gg.Tensor,
    negative: gg.Tensor,
    *,
    distance_function: Callable[[gg.Tensor, gg.Tensor], gg.Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> gg.Tensor:
    """Compute triplet_margin_loss with a distance of one's own.

    Args:
        anchor: tensor (..., d) float.
        positive: tensor (..., d) float, what belongs to the anchors.
        negative: tensor (..., d) float, what does not.
        distance_function: gives the distances of two such tensors; pairwise_distance by default.
        margin: the difference of distances wanted; positive.
        swap: whether the positive stands in for the anchor where it is closer to the negative.
        reduction: 'mean' over the cases, 'sum', or 'none' for a loss per case.

    Returns:
        Tensor () or, for 'none', whatever shape distances have.

    Raises:
        ValueError: ranks differ, margin is not positive, or reduction is none of the words.

    Example:
        >>> import gorgo as gg
        >>> F = gg.nn.functional
        >>> x, y = gg.zeros((1, 2)), gg.ones((1, 2))
        >>> loss = F.triplet_margin_with_distance_loss(x, x, y, distance_function=lambda a, b: abs(a - b).sum(axis=-1))
        >>> loss.item()
        0.0
    """
    distance = pairwise_distance if distance_function is None else distance_function
    op = "triplet_margin_with_distance_loss"
    return _triplet(op, anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(
    op: str,
    anchor: gg.Tensor,
    positive: gg.Tensor,
    negative: gg.Tensor,
    distance: Callable[[gg.Tensor, gg.Tensor], gg.Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> gg.Tensor:
    if not margin > 0.0:
        raise ValueError(f"{op}: margin must be positive, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ValueError(
            f"{op}: anchor, positive and negative must have the same rank, got shapes {tuple(anchor.shape)},"
            f" {tuple(positive.shape)} and {tuple(negative.shape)}"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = gg.minimum(far, distance(positive, negative))
    return reduced(op, _positive_part(margin + near - far), reduction)


def cosine_embedding_loss(
    input1: gg.Tensor, input2: gg.Tensor, target: gg.Tensor, margin: float = 0.0, reduction: str = "mean"
) -> gg.Tensor:
    """Compute 1 - cos(x1, x2) where target is 1, and max(0, cos(x1, x2) - margin) where it is -1.

    Args:
        input1: tensor (n, d) or (d,) float.
        input2: tensor (n, d) or (d,) float.
        target: tensor (n,) or () of 1 and -1.
        margin: the cosine that is small enough for what does not belong together.
        reduction: 'mean' over the cases, 'sum', or 'none' for a loss per case.

    Returns:
        Tensor () or, for 'none', (n,).

    Raises:
        ValueError: shapes do not fit, or reduction is none of the words.

    Example:
        >>> import gorgo as gg
        >>> x, y = gg.asarray([[1.0, 0.0]]), gg.asarray([[0.0, 1.0]])
        >>> gg.nn.functional.cosine_embedding_loss(x, y, gg.asarray([1])).item()
        1.0
    """
    op = "cosine_embedding_loss"
    check_same_shape(op, input1, "input2", input2, "input1")
    if input1.ndim not in (1, 2) or tuple(target.shape) != tuple(input1.shape[:-1]):
        raise ValueError(
            f"{op}: target must have shape (n,) for inputs (n, d), or () for (d,), got {tuple(target.shape)}"
            f" (input1 has shape {tuple(input1.shape)})"
        )
    cosine = cosine_similarity_of_squares(input1, input2, 1e-12)
    together = gg.where(target == 1, 1.0 - cosine, 0.0)
    return reduced(op, together + gg.where(target == -1, _positive_part(cosine - margin), 0.0), reduction)

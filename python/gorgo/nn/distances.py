"""Distances, norms and angles along an axis, with PyTorch's values and its subgradients at zero; and their layers."""

from __future__ import annotations

import math

import gorgo as gg
from gorgo.nn.module import Module

__all__ = [
    "CosineSimilarity",
    "PairwiseDistance",
    "cosine_similarity",
    "normalize",
    "pairwise_distance",
]


def clamp_constant(x: gg.Tensor, least: float) -> gg.Tensor:
    """Return max(x, least) with the gradient of x everywhere."""
    with gg.no_grad():
        lift = gg.maximum(x, least) - x
    return x + lift


def norm_along(x: gg.Tensor, p: float, axis: int | tuple[int, ...], keepdims: bool = False) -> gg.Tensor:
    """Return the p-norm along an axis; where it is zero the gradient is zero too."""
    if p == math.inf:
        return abs(x).max(axis=axis, keepdims=keepdims)
    if p == -math.inf:
        return abs(x).min(axis=axis, keepdims=keepdims)
    if p == 0:
        return (x != 0.0).astype(x.dtype).sum(axis=axis, keepdims=keepdims)
    if p == 1:
        return abs(x).sum(axis=axis, keepdims=keepdims)
    if p == 2:
        total = gg.square(x).sum(axis=axis, keepdims=keepdims)
        none = total == 0.0
        return gg.where(none, 0.0, gg.sqrt(gg.where(none, 1.0, total)))
    size = abs(x)
    none = size == 0.0
    total = gg.where(none, 0.0, gg.pow(gg.where(none, 1.0, size), p)).sum(axis=axis, keepdims=keepdims)
    none = total == 0.0
    return gg.where(none, 0.0, gg.pow(gg.where(none, 1.0, total), 1.0 / p))


def normalize(x: gg.Tensor, p: float = 2.0, axis: int | tuple[int, ...] = 1, eps: float = 1e-12) -> gg.Tensor:
    """Divide by the p-norm along an axis.

    Args:
        x: tensor (...) float.
        p: the norm; inf for the largest magnitude.
        axis: along which the norm is taken, or several.
        eps: the least divisor.

    Returns:
        Tensor like x.

    Raises:
        ValueError: axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.normalize(gg.asarray([[3.0, 4.0]]), p=1, axis=1).tolist()
        [[0.4285714328289032, 0.5714285969734192]]
    """
    size = norm_along(x, p, axis, keepdims=True)
    return x / gg.where(size < eps, eps, size)


def cosine_similarity(x1: gg.Tensor, x2: gg.Tensor, axis: int = 1, eps: float = 1e-8) -> gg.Tensor:
    """Compute the cosine of the angle between vectors along an axis.

    Args:
        x1: tensor float; broadcast against x2.
        x2: tensor float.
        axis: of the broadcast shape, along which the vectors lie.
        eps: the least length that is divided by.

    Returns:
        Tensor of the broadcast shape without the axis.

    Raises:
        ValueError: the shapes do not broadcast, or axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.cosine_similarity(gg.asarray([[1.0, 0.0]]), gg.asarray([[0.0, 2.0]])).tolist()
        [0.0]
    """
    x1, x2 = gg.broadcast_arrays(x1, x2)
    a, b = (x / clamp_constant(norm_along(x, 2, axis, keepdims=True), eps) for x in (x1, x2))
    return (a * b).sum(axis=axis)


def cosine_similarity_of_squares(x1: gg.Tensor, x2: gg.Tensor, eps: float) -> gg.Tensor:
    """Return the cosine along the last axis with eps added to squared lengths, as cosine_embedding_loss takes it."""
    squares = (gg.square(x1).sum(axis=-1) + eps) * (gg.square(x2).sum(axis=-1) + eps)
    return (x1 * x2).sum(axis=-1) / gg.sqrt(squares)


def pairwise_distance(
    x1: gg.Tensor, x2: gg.Tensor, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False
) -> gg.Tensor:
    """Compute the p-norm of the differences of vectors along the last axis.

    Args:
        x1: tensor (..., d) float; broadcast against x2.
        x2: tensor (..., d) float.
        p: the norm; inf for the largest magnitude.
        eps: added to the differences.
        keepdims: whether the last axis stays, with length 1.

    Returns:
        Tensor (...) or (..., 1).

    Raises:
        ValueError: the shapes do not broadcast.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.pairwise_distance(gg.asarray([[3.0, 4.0]]), gg.zeros((1, 2)), eps=0.0).tolist()
        [5.0]
    """
    return norm_along(x1 - x2 + eps, p, -1, keepdims)


class CosineSimilarity(Module):
    """Cosine of the angle between vectors along an axis.

    Args:
        axis: along which the vectors lie.
        eps: the least length that is divided by.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.CosineSimilarity()(gg.asarray([[1.0, 0.0]]), gg.asarray([[2.0, 0.0]])).tolist()
        [1.0]
    """

    def __init__(self, axis: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.axis = axis
        self.eps = eps

    def forward(self, x1: gg.Tensor, x2: gg.Tensor) -> gg.Tensor:
        """Return the cosines of x1 and x2, broadcast, without the axis."""
        return cosine_similarity(x1, x2, self.axis, self.eps)

    def extra_repr(self) -> str:
        """Return the axis and eps."""
        return f"axis={self.axis}, eps={self.eps}"


class PairwiseDistance(Module):
    """Norm of the differences of vectors along the last axis.

    Args:
        p: the norm; inf for the largest magnitude.
        eps: added to the differences.
        keepdims: whether the last axis stays, with length 1.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.PairwiseDistance(eps=0.0)(gg.asarray([[3.0, 4.0]]), gg.zeros((1, 2))).tolist()
        [5.0]
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> None:
        super().__init__()
        self.p = p
        self.eps = eps
        self.keepdims = keepdims

    def forward(self, x1: gg.Tensor, x2: gg.Tensor) -> gg.Tensor:
        """Return the distances of x1 (..., d) and x2 (..., d)."""
        return pairwise_distance(x1, x2, self.p, self.eps, self.keepdims)

    def extra_repr(self) -> str:
        """Return the norm and eps."""
        return f"p={self.p}, eps={self.eps}"

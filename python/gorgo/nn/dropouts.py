"""Dropout of whole channels and dropout for self-normalizing networks, as functions and layers."""

from __future__ import annotations

import gorgo as gg
from gorgo.nn.module import Module

__all__ = [
    "AlphaDropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "alpha_dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]

# What selu tends to far on the negative side.
_SATURATED = -1.7580993408473766


def _check(op: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{op}: p must be in [0, 1], got {p}")


def _channels(op: str, x: gg.Tensor, p: float, training: bool, ranks: tuple[int, ...], single: int) -> gg.Tensor:
    """Drop channels: axis 1, or axis 0 of a single case, which has rank `single`."""
    _check(op, p)
    if x.ndim not in ranks:
        raise ValueError(f"{op}: x must have a rank of {ranks}, got shape {tuple(x.shape)}")
    if not training or p == 0.0:
        return x
    kept = 1 if x.ndim == single else 2
    ones = gg.ones((*x.shape[:kept], *(1,) * (x.ndim - kept)), dtype=x.dtype, device=x.device)
    return x * gg.random.dropout(ones, p)


def dropout1d(x: gg.Tensor, p: float = 0.5, training: bool = True) -> gg.Tensor:
    """Set whole channels of a sequence to zero with probability p and scale the others by 1 / (1 - p).

    Args:
        x: tensor (n, c, l) or (c, l) float.
        p: probability in [0, 1].
        training: when false, x is returned as it is.

    Returns:
        Tensor like x.

    Raises:
        ValueError: p is outside [0, 1], or x has another rank.

    Source: Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.dropout1d(gg.ones((2, 3, 4)), 1.0).sum().item()
        0.0
    """
    return _channels("dropout1d", x, p, training, (2, 3), 2)


def dropout2d(x: gg.Tensor, p: float = 0.5, training: bool = True) -> gg.Tensor:
    """Set whole channels of an image to zero with probability p and scale the others by 1 / (1 - p).

    Args:
        x: tensor (n, c, h, w) or (n, c, l) float.
        p: probability in [0, 1].
        training: when false, x is returned as it is.

    Returns:
        Tensor like x.

    Raises:
        ValueError: p is outside [0, 1], or x has another rank.

    Source: Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.dropout2d(gg.ones((2, 3, 4, 4)), training=False).sum().item()
        96.0
    """
    return _channels("dropout2d", x, p, training, (3, 4), 0)


def dropout3d(x: gg.Tensor, p: float = 0.5, training: bool = True) -> gg.Tensor:
    """Set whole channels of a volume to zero with probability p and scale the others by 1 / (1 - p).

    Args:
        x: tensor (n, c, d, h, w) or (c, d, h, w) float.
        p: probability in [0, 1].
        training: when false, x is returned as it is.

    Returns:
        Tensor like x.

    Raises:
        ValueError: p is outside [0, 1], or x has another rank.

    Source: Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.dropout3d(gg.ones((1, 1, 2, 2, 2)), 1.0).sum().item()
        0.0
    """
    return _channels("dropout3d", x, p, training, (4, 5), 4)


def _saturate(op: str, x: gg.Tensor, p: float, training: bool, shape: tuple[int, ...]) -> gg.Tensor:
    _check(op, p)
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return gg.zeros_like(x) * x
    # Scaled and shifted so that mean and variance stay 0 and 1.
    scale = ((1.0 - p) * (1.0 + p * _SATURATED**2)) ** -0.5
    shift = -scale * _SATURATED * p
    dropped = gg.random.bernoulli(p, shape, device=x.device)
    return gg.where(dropped, scale * _SATURATED + shift, scale * x + shift)


def alpha_dropout(x: gg.Tensor, p: float = 0.5, training: bool = False) -> gg.Tensor:
    """Set elements to selu's limit with probability p; mean 0 and variance 1 are kept.

    Args:
        x: tensor (...) float.
        p: probability in [0, 1].
        training: when false, x is returned as it is.

    Returns:
        Tensor like x.

    Raises:
        ValueError: p is outside [0, 1].

    Source: Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.alpha_dropout(gg.ones((2,))).tolist()
        [1.0, 1.0]
    """
    return _saturate("alpha_dropout", x, p, training, tuple(x.shape))


def feature_alpha_dropout(x: gg.Tensor, p: float = 0.5, training: bool = False) -> gg.Tensor:
    """Set whole channels to selu's limit with probability p; mean 0 and variance 1 are kept.

    Args:
        x: tensor (n, c, ...) float.
        p: probability in [0, 1].
        training: when false, x is returned as it is.

    Returns:
        Tensor like x.

    Raises:
        ValueError: p is outside [0, 1], or x has no channels.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.feature_alpha_dropout(gg.ones((1, 2, 1))).tolist()
        [[[1.0], [1.0]]]
    """
    if x.ndim < 2:
        raise ValueError(f"feature_alpha_dropout: x must have shape (n, c, ...), got {tuple(x.shape)}")
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return _saturate("feature_alpha_dropout", x, p, training, shape)


class _Dropout(Module):
    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        _check(type(self).__name__, p)
        self.p = p

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"


class Dropout1d(_Dropout):
    """Set whole channels of a sequence to zero with probability p while training.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Dropout1d(1.0)(gg.ones((1, 2, 3))).sum().item()
        0.0
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (n, c, l) with channels dropped in training mode."""
        return dropout1d(x, self.p, self.training)


class Dropout2d(_Dropout):
    """Set whole channels of an image to zero with probability p while training.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Dropout2d(1.0)(gg.ones((1, 2, 3, 3))).sum().item()
        0.0
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (n, c, h, w) with channels dropped in training mode."""
        return dropout2d(x, self.p, self.training)


class Dropout3d(_Dropout):
    """Set whole channels of a volume to zero with probability p while training.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Dropout3d(1.0)(gg.ones((1, 2, 3, 3, 3))).sum().item()
        0.0
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (n, c, d, h, w) with channels dropped in training mode."""
        return dropout3d(x, self.p, self.training)


class AlphaDropout(_Dropout):
    """Set elements to selu's limit with probability p while training; mean 0 and variance 1 are kept.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AlphaDropout(0.3).eval()(gg.ones((2,))).tolist()
        [1.0, 1.0]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (...) with elements dropped in training mode."""
        return alpha_dropout(x, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """Set whole channels to selu's limit with probability p while training; mean 0 and variance 1 are kept.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.FeatureAlphaDropout(0.3).eval()(gg.ones((1, 2))).tolist()
        [[1.0, 1.0]]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (n, c, ...) with channels dropped in training mode."""
        return feature_alpha_dropout(x, self.p, self.training)

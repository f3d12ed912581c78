"""Layers as functions: the same ops as in the main namespace, with PyTorch's signatures where layers need them."""

from __future__ import annotations

import gorgo as gg

__all__ = [
    "conv2d",
    "cross_entropy",
    "dropout",
    "linear",
    "log_softmax",
    "max_pool2d",
    "relu",
    "softmax",
]

conv2d = gg.conv2d
cross_entropy = gg.cross_entropy
linear = gg.linear
log_softmax = gg.log_softmax
max_pool2d = gg.max_pool2d
relu = gg.relu
softmax = gg.softmax


def dropout(x: gg.Tensor, p: float = 0.5, training: bool = True) -> gg.Tensor:
    """Set elements to zero with probability p and scale the others by 1 / (1 - p).

    Args:
        x: tensor (...) float.
        p: probability in [0, 1].
        training: when false, x is returned as it is.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        ValueError: when p is outside [0, 1].

    Source: Srivastava et al., "Dropout", JMLR 15 (2014).

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.dropout(gg.ones((3,)), 0.5, training=False).tolist()
        [1.0, 1.0, 1.0]
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    if not training or p == 0.0:
        return x
    dropped: gg.Tensor = gg.random.dropout(x, p)
    return dropped

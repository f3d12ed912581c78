"""Initial values of parameters, written in place under no_grad."""

from __future__ import annotations

import math

import gorgo as gg

__all__ = ["kaiming_uniform_", "normal_", "uniform_", "zeros_"]


def uniform_(tensor: gg.Tensor, low: float = 0.0, high: float = 1.0) -> gg.Tensor:
    """Fill with draws from [low, high).

    Example:
        >>> import gorgo as gg
        >>> bool((gg.nn.init.uniform_(gg.empty((4,)), 1.0, 2.0) >= 1.0).all())
        True
    """
    with gg.no_grad():
        tensor.copy_(gg.random.uniform(low, high, tuple(tensor.shape), dtype=tensor.dtype))
    return tensor


def normal_(tensor: gg.Tensor, mean: float = 0.0, std: float = 1.0) -> gg.Tensor:
    """Fill with draws from the normal distribution."""
    with gg.no_grad():
        tensor.copy_(gg.random.normal(mean, std, tuple(tensor.shape), dtype=tensor.dtype))
    return tensor


def zeros_(tensor: gg.Tensor) -> gg.Tensor:
    """Fill with zeros."""
    with gg.no_grad():
        tensor.fill_(0)
    return tensor


def fan_in_of(tensor: gg.Tensor) -> int:
    """Return the number of inputs that feed one output of a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ValueError(f"fan_in_of: tensor must have rank 2 or more, got shape {tuple(tensor.shape)}")
    return math.prod(tensor.shape[1:])


def kaiming_uniform_(tensor: gg.Tensor, a: float = 0.0) -> gg.Tensor:
    """Fill with the uniform distribution that keeps variance through a leaky relu of slope `a`.

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015, eq. 10 and 14.
    """
    bound = math.sqrt(6.0 / ((1.0 + a * a) * max(fan_in_of(tensor), 1)))
    return uniform_(tensor, -bound, bound)

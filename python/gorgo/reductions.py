"""Reductions composed of others: extremes together, and those that leave out NaN. Found as ``gorgo.nansum`` and so on.

Read next: gorgo/searching.py (order statistics).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import gorgo
from gorgo import Tensor, dtype

__all__ = [
    "AMinMaxResult",
    "aminmax",
    "nanmax",
    "nanmean",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
]

Axes = int | Sequence[int] | None


class AMinMaxResult(NamedTuple):
    """The least and the greatest elements."""

    min: Tensor
    max: Tensor


def aminmax(x: Tensor, axis: Axes = None, keepdims: bool = False) -> AMinMaxResult:
    """Find the least and the greatest elements.

    Args:
        x (Tensor): the tensor (...) real.
        axis (int or tuple of int): the axes to reduce; None for all.
        keepdims (bool): whether they stay, with length 1.

    Returns:
        min (...) any: the least elements.
        max (...) any: the greatest.

    Raises:
        ValueError: there is no element to choose, or an axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> [t.item() for t in gg.aminmax(gg.asarray([3, 1, 2]))]
        [1, 3]
    """
    return AMinMaxResult(gorgo.min(x, axis=axis, keepdims=keepdims), gorgo.max(x, axis=axis, keepdims=keepdims))


def _missing(x: Tensor) -> Tensor | None:
    if gorgo.isdtype(x.dtype, ("bool", "integral")):
        return None
    return gorgo.isnan(x.detach())


def _without(x: Tensor, missing: Tensor | None, instead: float) -> Tensor:
    return x if missing is None else gorgo.where(missing, instead, x)


def nansum(x: Tensor, axis: Axes = None, keepdims: bool = False, *, dtype: dtype | None = None) -> Tensor:
    """Add up what is not NaN; the sum of nothing is 0. See gorgo.sum.

    Args:
        x (Tensor): the tensor (...) numeric.
        axis (int or tuple of int): the axes to reduce; None for all.
        keepdims (bool): whether they stay, with length 1.
        dtype (dtype): the dtype of the result; None means int64 (uint64) for integers and bool, else x's.

    Returns:
        (...) any: the sums.

    Raises:
        ValueError: an axis is out of range or repeats.
        TypeError: dtype cannot hold the sum.

    Example:
        >>> import gorgo as gg
        >>> gg.nansum(gg.asarray([1.0, float("nan"), 2.0])).item()
        3.0
    """
    return gorgo.sum(_without(x, _missing(x), 0.0), axis=axis, keepdims=keepdims, dtype=dtype)


def nanprod(x: Tensor, axis: Axes = None, keepdims: bool = False, *, dtype: dtype | None = None) -> Tensor:
    """Multiply what is not NaN; the product of nothing is 1. See gorgo.prod.

    Args:
        x (Tensor): the tensor (...) numeric.
        axis (int or tuple of int): the axes to reduce; None for all.
        keepdims (bool): whether they stay, with length 1.
        dtype (dtype): the dtype of the result; None means int64 (uint64) for integers and bool, else x's.

    Returns:
        (...) any: the products.

    Raises:
        ValueError: an axis is out of range or repeats.
        TypeError: dtype cannot hold the product.

    Example:
        >>> import gorgo as gg
        >>> gg.nanprod(gg.asarray([3.0, float("nan"), 2.0])).item()
        6.0
    """
    return gorgo.prod(_without(x, _missing(x), 1.0), axis=axis, keepdims=keepdims, dtype=dtype)


def _numbers(x: Tensor, missing: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    real = gorgo.real(x).dtype if gorgo.isdtype(x.dtype, "complex floating") else x.dtype
    return gorgo.count_nonzero(gorgo.logical_not(missing), axis=axis, keepdims=keepdims).astype(real)


def nanmean(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Take the mean of what is not NaN; that of nothing is NaN. See gorgo.mean.

    Args:
        x (Tensor): the tensor (...) numeric.
        axis (int or tuple of int): the axes to reduce; None for all.
        keepdims (bool): whether they stay, with length 1.

    Returns:
        (...) float: the means, of x's dtype, or the default one for integers and bool.

    Raises:
        ValueError: an axis is out of range or repeats.

    Example:
        >>> import gorgo as gg
        >>> gg.nanmean(gg.asarray([1.0, float("nan"), 3.0])).item()
        2.0
    """
    missing = _missing(x)
    if missing is None:
        return gorgo.mean(x, axis=axis, keepdims=keepdims)
    total = gorgo.sum(_without(x, missing, 0.0), axis=axis, keepdims=keepdims)
    return total / _numbers(x, missing, axis, keepdims)


def nanvar(x: Tensor, axis: Axes = None, keepdims: bool = False, *, correction: float = 0.0) -> Tensor:
    """Take the variance of what is not NaN; that of nothing is NaN. See gorgo.var.

    Args:
        x (Tensor): the tensor (...) real.
        axis (int or tuple of int): the axes to reduce; None for all.
        keepdims (bool): whether they stay, with length 1.
        correction (float): what is taken off the number of elements before it divides.

    Returns:
        (...) float: the variances, of x's dtype, or the default one for integers and bool.

    Raises:
        TypeError: x is complex.
        ValueError: an axis is out of range or repeats.

    Example:
        >>> import gorgo as gg
        >>> gg.nanvar(gg.asarray([1.0, float("nan"), 3.0])).item()
        1.0
    """
    if gorgo.isdtype(x.dtype, "complex floating"):
        raise TypeError(f"nanvar: x must have a real dtype, got {x.dtype} (x has shape {tuple(x.shape)})")
    missing = _missing(x)
    if missing is None:
        return gorgo.var(x, axis=axis, keepdims=keepdims, correction=correction)
    numbers = _numbers(x, missing, axis, True)
    center = gorgo.sum(_without(x, missing, 0.0), axis=axis, keepdims=True) / numbers
    squares = gorgo.sum(gorgo.square(_without(x - center, missing, 0.0)), axis=axis, keepdims=keepdims)
    return squares / gorgo.maximum(_numbers(x, missing, axis, keepdims) - correction, 0.0)


def nanstd(x: Tensor, axis: Axes = None, keepdims: bool = False, *, correction: float = 0.0) -> Tensor:
    """Take the standard deviation of what is not NaN; see nanvar.

    Args:
        x (Tensor): the tensor (...) real.
        axis (int or tuple of int): the axes to reduce; None for all.
        keepdims (bool): whether they stay, with length 1.
        correction (float): what is taken off the number of elements before it divides.

    Returns:
        (...) float: the deviations, of x's dtype, or the default one for integers and bool.

    Raises:
        TypeError: x is complex.
        ValueError: an axis is out of range or repeats.

    Example:
        >>> import gorgo as gg
        >>> gg.nanstd(gg.asarray([1.0, float("nan"), 3.0])).item()
        1.0
    """
    return gorgo.sqrt(nanvar(x, axis, keepdims, correction=correction))


def _extreme(find: Callable[..., Tensor], x: Tensor, last: float, axis: Axes, keepdims: bool) -> Tensor:
    """Find an extreme with `last`, which never wins, for what is missing."""
    missing = _missing(x)
    if missing is None:
        return find(x, axis=axis, keepdims=keepdims)
    found = find(_without(x, missing, last), axis=axis, keepdims=keepdims)
    return gorgo.where(gorgo.all(missing, axis=axis, keepdims=keepdims), float("nan"), found)


def nanmax(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Find the greatest element that is not NaN; NaN where there is none. See gorgo.max.

    Args:
        x (Tensor): the tensor (...) real.
        axis (int or tuple of int): the axes to reduce; None for all.
        keepdims (bool): whether they stay, with length 1.

    Returns:
        (...) any: the greatest elements, of x's dtype.

    Raises:
        ValueError: there is no element to choose, or an axis is out of range or repeats.
        TypeError: x is complex.

    Example:
        >>> import gorgo as gg
        >>> gg.nanmax(gg.asarray([1.0, float("nan"), 3.0])).item()
        3.0
    """
    return _extreme(gorgo.max, x, float("-inf"), axis, keepdims)


def nanmin(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Find the least element that is not NaN; NaN where there is none. See gorgo.min.

    Args:
        x (Tensor): the tensor (...) real.
        axis (int or tuple of int): the axes to reduce; None for all.
        keepdims (bool): whether they stay, with length 1.

    Returns:
        (...) any: the least elements, of x's dtype.

    Raises:
        ValueError: there is no element to choose, or an axis is out of range or repeats.
        TypeError: x is complex.

    Example:
        >>> import gorgo as gg
        >>> gg.nanmin(gg.asarray([1.0, float("nan"), 3.0])).item()
        1.0
    """
    return _extreme(gorgo.min, x, float("inf"), axis, keepdims)

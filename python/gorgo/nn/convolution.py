"""Convolutions as functions with PyTorch's signatures: paddings by name and images without a batch axis.

The ops of the main namespace do the work; they take a batch, and paddings as numbers, two for each axis where the
sides differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gorgo as gg
from gorgo.arguments import as_integers

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

Sizes = int | Sequence[int]


def numbers(value: Sizes, axes: int, name: str, where: str) -> tuple[int, ...]:
    """Return one integer for each axis."""
    each = as_integers(where, name, value, axes)
    if len(each) != axes:
        raise ValueError(f"{where}: {name} must be an integer or {axes} of them, got {value!r}")
    return each


def padding_numbers(
    padding: Sizes | str, kernel: Sequence[int], stride: Sizes, dilation: Sizes, where: str
) -> Sequence[int] | int:
    """Return the zeros that a padding by name stands for: an entry for each axis, or two where the sides differ."""
    if not isinstance(padding, str):
        return padding
    axes = len(kernel)
    if padding == "valid":
        return 0
    if padding != "same":
        raise ValueError(f"{where}: padding must be numbers, 'same' or 'valid', got {padding!r}")
    if any(s != 1 for s in numbers(stride, axes, "stride", where)):
        raise ValueError(f"{where}: padding 'same' must come with stride 1, got stride {stride!r}")
    total = [d * (k - 1) for d, k in zip(numbers(dilation, axes, "dilation", where), kernel, strict=True)]
    before = [t // 2 for t in total]
    after = [t - b for t, b in zip(total, before, strict=True)]
    return before if before == after else [*before, *after]


def _batched(op: Callable[..., gg.Tensor], axes: int, x: gg.Tensor, *operands: Any) -> gg.Tensor:
    """Call op, on a batch of one where x has none."""
    if x.ndim != axes + 1:
        return op(x, *operands)
    alone: gg.Tensor = gg.squeeze(op(gg.expand_dims(x, axis=0), *operands), axis=0)
    return alone


def _conv(
    op: Callable[..., gg.Tensor],
    axes: int,
    x: gg.Tensor,
    weight: gg.Tensor,
    bias: gg.Tensor | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> gg.Tensor:
    if isinstance(padding, str):
        padding = padding_numbers(padding, weight.shape[2:], stride, dilation, f"conv{axes}d")
    return _batched(op, axes, x, weight, bias, stride, padding, dilation, groups)


def conv1d(
    x: gg.Tensor,
    weight: gg.Tensor,
    bias: gg.Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> gg.Tensor:
    """Convolve signals with a bank of kernels.

    Args:
        x: tensor (n, c, l) or (c, l) float.
        weight: tensor (o, c / groups, k) float.
        bias: tensor (o) float, or None.
        stride: the step between windows.
        padding: zeros on each side, 'valid' for none, or 'same' for as many as keep the length (stride 1 only).
        dilation: the step between the elements of a window.
        groups: channels are split into so many groups that do not see each other.

    Returns:
        Tensor (n, o, ol) or (o, ol) float.

    Raises:
        ValueError: when shapes or sizes do not fit each other.
        TypeError: when an operand is not of a real floating dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.conv1d(gg.ones((1, 4)), gg.ones((1, 1, 2)), padding="same").tolist()
        [[2.0, 2.0, 2.0, 1.0]]
    """
    return _conv(gg.conv1d, 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: gg.Tensor,
    weight: gg.Tensor,
    bias: gg.Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> gg.Tensor:
    """Convolve images with a bank of kernels.

    Args:
        x: tensor (n, c, h, w) or (c, h, w) float.
        weight: tensor (o, c / groups, kh, kw) float.
        bias: tensor (o) float, or None.
        stride: the step between windows.
        padding: zeros on each side, 'valid' for none, or 'same' for as many as keep the size (stride 1 only).
        dilation: the step between the elements of a window.
        groups: channels are split into so many groups that do not see each other.

    Returns:
        Tensor (n, o, oh, ow) or (o, oh, ow) float.

    Raises:
        ValueError: when shapes or sizes do not fit each other.
        TypeError: when an operand is not of a real floating dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.conv2d(gg.ones((1, 5, 6)), gg.ones((2, 1, 3, 3)), padding="same").shape
        (2, 5, 6)
    """
    return _conv(gg.conv2d, 2, x, weight, bias, stride, padding, dilation, groups)


def conv3d(
    x: gg.Tensor,
    weight: gg.Tensor,
    bias: gg.Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> gg.Tensor:
    """Convolve volumes with a bank of kernels.

    Args:
        x: tensor (n, c, d, h, w) or (c, d, h, w) float.
        weight: tensor (o, c / groups, kd, kh, kw) float.
        bias: tensor (o) float, or None.
        stride: the step between windows.
        padding: zeros on each side, 'valid' for none, or 'same' for as many as keep the size (stride 1 only).
        dilation: the step between the elements of a window.
        groups: channels are split into so many groups that do not see each other.

    Returns:
        Tensor (n, o, od, oh, ow) or (o, od, oh, ow) float.

    Raises:
        ValueError: when shapes or sizes do not fit each other.
        TypeError: when an operand is not of a real floating dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.conv3d(gg.ones((1, 1, 4, 5, 6)), gg.ones((2, 1, 3, 3, 3))).shape
        (1, 2, 2, 3, 4)
    """
    return _conv(gg.conv3d, 3, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    x: gg.Tensor,
    weight: gg.Tensor,
    bias: gg.Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> gg.Tensor:
    """Spread each element of signals over a window: the gradient of conv1d by its signals.

    Args:
        x: tensor (n, c, l) or (c, l) float.
        weight: tensor (c, o / groups, k) float.
        bias: tensor (o) float, or None.
        stride: the step between where x's elements go.
        padding: what is left out on each side of the result.
        output_padding: further elements behind the result, fewer than stride or dilation.
        groups: channels are split into so many groups that do not see each other.
        dilation: the step between the elements of a window.

    Returns:
        Tensor (n, o, ol) or (o, ol) float.

    Raises:
        ValueError: when shapes or sizes do not fit each other.
        TypeError: when an operand is not of a real floating dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.conv_transpose1d(gg.ones((1, 3)), gg.ones((1, 1, 3)), stride=2).tolist()
        [[1.0, 1.0, 2.0, 1.0, 2.0, 1.0, 1.0]]
    """
    return _batched(gg.conv_transpose1d, 1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    x: gg.Tensor,
    weight: gg.Tensor,
    bias: gg.Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> gg.Tensor:
    """Spread each element of images over a window: the gradient of conv2d by its images.

    Args:
        x: tensor (n, c, h, w) or (c, h, w) float.
        weight: tensor (c, o / groups, kh, kw) float.
        bias: tensor (o) float, or None.
        stride: the step between where x's elements go.
        padding: what is left out on each side of the result.
        output_padding: further elements behind the result along each axis, fewer than stride or dilation.
        groups: channels are split into so many groups that do not see each other.
        dilation: the step between the elements of a window.

    Returns:
        Tensor (n, o, oh, ow) or (o, oh, ow) float.

    Raises:
        ValueError: when shapes or sizes do not fit each other.
        TypeError: when an operand is not of a real floating dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.conv_transpose2d(gg.ones((1, 4, 4)), gg.ones((1, 2, 2, 2)), stride=2).shape
        (2, 8, 8)
    """
    return _batched(gg.conv_transpose2d, 2, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    x: gg.Tensor,
    weight: gg.Tensor,
    bias: gg.Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> gg.Tensor:
    """Spread each element of volumes over a window: the gradient of conv3d by its volumes.

    Args:
        x: tensor (n, c, d, h, w) or (c, d, h, w) float.
        weight: tensor (c, o / groups, kd, kh, kw) float.
        bias: tensor (o) float, or None.
        stride: the step between where x's elements go.
        padding: what is left out on each side of the result.
        output_padding: further elements behind the result along each axis, fewer than stride or dilation.
        groups: channels are split into so many groups that do not see each other.
        dilation: the step between the elements of a window.

    Returns:
        Tensor (n, o, od, oh, ow) or (o, od, oh, ow) float.

    Raises:
        ValueError: when shapes or sizes do not fit each other.
        TypeError: when an operand is not of a real floating dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.conv_transpose3d(gg.ones((1, 1, 2, 2, 2)), gg.ones((1, 1, 2, 2, 2)), stride=2).shape
        (1, 1, 4, 4, 4)
    """
    return _batched(gg.conv_transpose3d, 3, x, weight, bias, stride, padding, output_padding, groups, dilation)

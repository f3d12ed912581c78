"""Pooling: maxima, averages and powers over windows of one to three axes, as functions and layers with PyTorch's names.

The layers of one kind differ in the number of axes alone, so each kind has one class that does the work and a subclass
for each number. L_p pools are compositions of the averages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gorgo as gg
from gorgo.arguments import as_integer, as_integers
from gorgo.nn.module import Module

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

Size = int | Sequence[int]
OutputSize = int | None | Sequence[int | None]

max_pool1d = gg.max_pool1d
max_pool2d = gg.max_pool2d
max_pool3d = gg.max_pool3d
avg_pool1d = gg.avg_pool1d
avg_pool2d = gg.avg_pool2d
avg_pool3d = gg.avg_pool3d
adaptive_max_pool1d = gg.adaptive_max_pool1d
adaptive_avg_pool1d = gg.adaptive_avg_pool1d


def _filled(x: gg.Tensor, output_size: OutputSize, axes: int) -> Size:
    """Return the size with None, which stands for x's own, replaced."""
    if output_size is not None and not isinstance(output_size, Sequence):
        return output_size
    sizes = [None] * axes if output_size is None else list(output_size)
    own = x.shape[-axes:]
    if len(sizes) != axes or len(own) != axes:
        return tuple(size for size in sizes if size is not None)  # the op says what is wrong
    return tuple(n if size is None else size for size, n in zip(sizes, own, strict=True))


def adaptive_avg_pool2d(x: gg.Tensor, output_size: OutputSize) -> gg.Tensor:
    """Average over windows that part the images into output_size; None keeps a size. See gorgo.adaptive_avg_pool2d.

    Args:
        x: tensor (n, c, h, w) float.
        output_size: the sizes of the result, one for each of the last 2 axes or one for all; None keeps one.

    Returns:
        Tensor (n, c, oh, ow) float.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.adaptive_avg_pool2d(gg.ones((1, 3, 5, 7)), (None, 2)).shape
        (1, 3, 5, 2)
    """
    pooled: gg.Tensor = gg.adaptive_avg_pool2d(x, _filled(x, output_size, 2))
    return pooled


def adaptive_avg_pool3d(x: gg.Tensor, output_size: OutputSize) -> gg.Tensor:
    """Average over windows that part the volumes into output_size; None keeps a size. See gorgo.adaptive_avg_pool3d.

    Args:
        x: tensor (n, c, d, h, w) float.
        output_size: the sizes of the result, one for each of the last 3 axes or one for all; None keeps one.

    Returns:
        Tensor (n, c, od, oh, ow) float.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.adaptive_avg_pool3d(gg.ones((1, 3, 5, 7, 9)), (2, None, 1)).shape
        (1, 3, 2, 7, 1)
    """
    pooled: gg.Tensor = gg.adaptive_avg_pool3d(x, _filled(x, output_size, 3))
    return pooled


def adaptive_max_pool2d(x: gg.Tensor, output_size: OutputSize, return_indices: bool = False) -> Any:
    """Take maxima of windows that part the images into output_size; None keeps a size. See gorgo.adaptive_max_pool2d.

    Args:
        x: tensor (n, c, h, w) float.
        output_size: the sizes of the result, one for each of the last 2 axes or one for all; None keeps one.
        return_indices: give the places of the maxima too.

    Returns:
        Tensor (n, c, oh, ow) float; with return_indices a pair of it and the places, int64.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.adaptive_max_pool2d(gg.ones((1, 3, 5, 7)), (None, 2)).shape
        (1, 3, 5, 2)
    """
    return gg.adaptive_max_pool2d(x, _filled(x, output_size, 2), return_indices)


def adaptive_max_pool3d(x: gg.Tensor, output_size: OutputSize, return_indices: bool = False) -> Any:
    """Take maxima of windows that part the volumes into output_size; None keeps a size. See gorgo.adaptive_max_pool3d.

    Args:
        x: tensor (n, c, d, h, w) float.
        output_size: the sizes of the result, one for each of the last 3 axes or one for all; None keeps one.
        return_indices: give the places of the maxima too.

    Returns:
        Tensor (n, c, od, oh, ow) float; with return_indices a pair of it and the places, int64.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.adaptive_max_pool3d(gg.ones((1, 3, 5, 7, 9)), (2, None, 1)).shape
        (1, 3, 2, 7, 1)
    """
    return gg.adaptive_max_pool3d(x, _filled(x, output_size, 3), return_indices)


def _lp_pool(axes: int, x: gg.Tensor, p: float, kernel_size: Size, stride: Size | None, ceil_mode: bool) -> gg.Tensor:
    if p == 0:
        raise ValueError(f"lp_pool{axes}d: norm_type must not be 0, got {p}")
    if math.isinf(p):
        top = (max_pool1d, max_pool2d, max_pool3d)[axes - 1]
        largest: gg.Tensor = top(gg.abs(x) if p > 0 else -gg.abs(x), kernel_size, stride, 0, 1, ceil_mode)
        return largest if p > 0 else -largest
    average = (avg_pool1d, avg_pool2d, avg_pool3d)[axes - 1]
    mean: gg.Tensor = average(gg.pow(x, p), kernel_size, stride, 0, ceil_mode)
    count = math.prod(as_integers(f"lp_pool{axes}d", "kernel_size", kernel_size, axes))
    total = mean * float(count)
    # At zero the root has no slope; there the gradient is zero, as from a constant.
    zero = total == 0.0
    root: gg.Tensor = gg.pow(gg.where(zero, gg.ones_like(total), total), 1.0 / p)
    return gg.where(zero, gg.zeros_like(total), root)


def lp_pool1d(
    x: gg.Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> gg.Tensor:
    """Take the L_p norm of each window: (sum of x ** p) ** (1 / p).

    Args:
        x: tensor ((n,) c, l) float.
        norm_type: the power p, not 0.
        kernel_size: length of a window.
        stride: the step between windows; None means kernel_size.
        ceil_mode: keep a last window that sticks out; its average counts as that of a whole one.

    Returns:
        Tensor ((n,) c, ol) float.

    Raises:
        ValueError: when norm_type is 0, or shapes do not fit.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.lp_pool1d(gg.asarray([[3.0, 4.0]]), 2.0, 2).tolist()
        [[5.0]]
    """
    return _lp_pool(1, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    x: gg.Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> gg.Tensor:
    """Take the L_p norm of each window of images ((n,) c, h, w); see lp_pool1d.

    Args:
        x: tensor ((n,) c, h, w) float.
        norm_type: the power p, not 0.
        kernel_size: size of a window.
        stride: the step between windows; None means kernel_size.
        ceil_mode: keep last windows that stick out.

    Returns:
        Tensor ((n,) c, oh, ow) float.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.lp_pool2d(gg.asarray([[[3.0, 4.0]]]), 2.0, (1, 2)).tolist()
        [[[5.0]]]
    """
    return _lp_pool(2, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    x: gg.Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> gg.Tensor:
    """Take the L_p norm of each window of volumes ((n,) c, d, h, w); see lp_pool1d.

    Args:
        x: tensor ((n,) c, d, h, w) float.
        norm_type: the power p, not 0.
        kernel_size: size of a window.
        stride: the step between windows; None means kernel_size.
        ceil_mode: keep last windows that stick out.

    Returns:
        Tensor ((n,) c, od, oh, ow) float.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.lp_pool3d(gg.asarray([[[[3.0, 4.0]]]]), 2.0, (1, 1, 2)).tolist()
        [[[[5.0]]]]
    """
    return _lp_pool(3, x, norm_type, kernel_size, stride, ceil_mode)


def _sizes(value: Size, name: str, layer: str, axes: int, least: int) -> tuple[int, ...]:
    sizes = as_integers(layer, name, value, axes)
    if len(sizes) != axes or any(size < least for size in sizes):
        raise ValueError(f"{layer}: {name} must be {axes} integers of at least {least}, or one for all, got {value!r}")
    return sizes


class _MaxPool(Module):
    axes: int

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        layer, axes = type(self).__name__, self.axes
        self.kernel_size = _sizes(kernel_size, "kernel_size", layer, axes, 1)
        self.stride = self.kernel_size if stride is None else _sizes(stride, "stride", layer, axes, 1)
        self.padding = _sizes(padding, "padding", layer, axes, 0)
        self.dilation = _sizes(dilation, "dilation", layer, axes, 1)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, x: gg.Tensor) -> Any:
        """Return the pooled x ((n,) c, ...), and where its elements were if asked for."""
        pool = (max_pool1d, max_pool2d, max_pool3d)[self.axes - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        """Return the window."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding},"
            f" dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """Largest element of each window of a line ((n,) channels, length).

    Args:
        kernel_size: length of the window.
        stride: step of the window; the window's size by default.
        padding: places that never win around the line.
        dilation: distance of window elements.
        return_indices: whether the places of the maxima are given, too.
        ceil_mode: whether a last partial window counts.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.MaxPool1d(2)(gg.ones((1, 1, 4))).shape
        (1, 1, 2)
    """

    axes = 1


class MaxPool2d(_MaxPool):
    """Largest element of each window of an image ((n,) channels, height, width).

    Args:
        kernel_size: height and width of the window.
        stride: step of the window; the window's size by default.
        padding: rows and columns that never win around the image.
        dilation: distance of window elements.
        return_indices: whether the places of the maxima are given, too.
        ceil_mode: whether a last partial window counts.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.MaxPool2d(2)(gg.ones((1, 1, 4, 4))).shape
        (1, 1, 2, 2)
    """

    axes = 2


class MaxPool3d(_MaxPool):
    """Largest element of each window of a volume ((n,) channels, depth, height, width).

    Args:
        kernel_size: depth, height and width of the window.
        stride: step of the window; the window's size by default.
        padding: places that never win around the volume.
        dilation: distance of window elements.
        return_indices: whether the places of the maxima are given, too.
        ceil_mode: whether a last partial window counts.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.MaxPool3d(2)(gg.ones((1, 1, 4, 4, 4))).shape
        (1, 1, 2, 2, 2)
    """

    axes = 3


class _AvgPool(Module):
    axes: int

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        layer, axes = type(self).__name__, self.axes
        self.kernel_size = _sizes(kernel_size, "kernel_size", layer, axes, 1)
        self.stride = self.kernel_size if stride is None else _sizes(stride, "stride", layer, axes, 1)
        self.padding = _sizes(padding, "padding", layer, axes, 0)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = (
            None if divisor_override is None else as_integer(layer, "divisor_override", divisor_override)
        )

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the pooled x ((n,) c, ...)."""
        pool = (avg_pool1d, avg_pool2d, avg_pool3d)[self.axes - 1]
        pooled: gg.Tensor = pool(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )
        return pooled

    def extra_repr(self) -> str:
        """Return the window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """Average of each window of a line ((n,) channels, length).

    Args:
        kernel_size: length of the window.
        stride: step of the window; the window's size by default.
        padding: zeros around the line.
        ceil_mode: whether a last partial window counts.
        count_include_pad: whether the zeros count as elements.
        divisor_override: a number to divide by instead.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AvgPool1d(2)(gg.asarray([[1.0, 2.0, 4.0, 3.0]])).tolist()
        [[1.5, 3.5]]
    """

    axes = 1


class AvgPool2d(_AvgPool):
    """Average of each window of an image ((n,) channels, height, width).

    Args:
        kernel_size: height and width of the window.
        stride: step of the window; the window's size by default.
        padding: zeros around the image.
        ceil_mode: whether a last partial window counts.
        count_include_pad: whether the zeros count as elements.
        divisor_override: a number to divide by instead.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AvgPool2d(2)(gg.asarray([[[1.0, 2.0], [4.0, 3.0]]])).tolist()
        [[[2.5]]]
    """

    axes = 2


class AvgPool3d(_AvgPool):
    """Average of each window of a volume ((n,) channels, depth, height, width).

    Args:
        kernel_size: depth, height and width of the window.
        stride: step of the window; the window's size by default.
        padding: zeros around the volume.
        ceil_mode: whether a last partial window counts.
        count_include_pad: whether the zeros count as elements.
        divisor_override: a number to divide by instead.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AvgPool3d(2)(gg.ones((1, 1, 4, 4, 4))).shape
        (1, 1, 2, 2, 2)
    """

    axes = 3


class _Adaptive(Module):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """Return the size."""
        return f"output_size={self.output_size}"


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveAvgPool1d(_Adaptive):
    """Averages over windows that part a line ((n,) channels, length) into output_size.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AdaptiveAvgPool1d(1)(gg.asarray([[1.0, 2.0, 3.0]])).tolist()
        [[2.0]]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the averages ((n,) c, output_size)."""
        averages: gg.Tensor = adaptive_avg_pool1d(x, self.output_size)
        return averages


class AdaptiveAvgPool2d(_Adaptive):
    """Averages over windows that part an image ((n,) channels, height, width) into output_size; None keeps a size.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AdaptiveAvgPool2d((1, None))(gg.ones((2, 3, 5, 7))).shape
        (2, 3, 1, 7)
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the averages ((n,) c, *output_size)."""
        return adaptive_avg_pool2d(x, self.output_size)


class AdaptiveAvgPool3d(_Adaptive):
    """Averages over windows that part a volume ((n,) channels, depth, height, width) into output_size.

    None in it keeps a size.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AdaptiveAvgPool3d(1)(gg.ones((2, 3, 5, 7, 9))).shape
        (2, 3, 1, 1, 1)
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the averages ((n,) c, *output_size)."""
        return adaptive_avg_pool3d(x, self.output_size)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """Maxima of windows that part a line ((n,) channels, length) into output_size.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AdaptiveMaxPool1d(1)(gg.asarray([[1.0, 3.0, 2.0]])).tolist()
        [[3.0]]
    """

    def forward(self, x: gg.Tensor) -> Any:
        """Return the maxima ((n,) c, output_size), and where they were if asked for."""
        return adaptive_max_pool1d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMax):
    """Maxima of windows that part an image ((n,) channels, height, width) into output_size; None keeps a size.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AdaptiveMaxPool2d(2)(gg.ones((2, 3, 5, 7))).shape
        (2, 3, 2, 2)
    """

    def forward(self, x: gg.Tensor) -> Any:
        """Return the maxima ((n,) c, *output_size), and where they were if asked for."""
        return adaptive_max_pool2d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMax):
    """Maxima of windows that part a volume ((n,) channels, depth, height, width) into output_size; None keeps a size.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.AdaptiveMaxPool3d(2)(gg.ones((2, 3, 5, 7, 9))).shape
        (2, 3, 2, 2, 2)
    """

    def forward(self, x: gg.Tensor) -> Any:
        """Return the maxima ((n,) c, *output_size), and where they were if asked for."""
        return adaptive_max_pool3d(x, self.output_size, self.return_indices)


class _LPPool(Module):
    axes: int

    def __init__(
        self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        layer, axes = type(self).__name__, self.axes
        self.kernel_size = _sizes(kernel_size, "kernel_size", layer, axes, 1)
        self.stride = self.kernel_size if stride is None else _sizes(stride, "stride", layer, axes, 1)
        self.ceil_mode = ceil_mode

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the norms of the windows of x ((n,) c, ...)."""
        return _lp_pool(self.axes, x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """Return the power and the window."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride},"
            f" ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """L_p norm of each window of a line ((n,) channels, length); see nn.functional.lp_pool1d.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.LPPool1d(2.0, 2)(gg.asarray([[3.0, 4.0]])).tolist()
        [[5.0]]
    """

    axes = 1


class LPPool2d(_LPPool):
    """L_p norm of each window of an image ((n,) channels, height, width); see nn.functional.lp_pool2d.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.LPPool2d(2.0, (1, 2))(gg.asarray([[[3.0, 4.0]]])).tolist()
        [[[5.0]]]
    """

    axes = 2


class LPPool3d(_LPPool):
    """L_p norm of each window of a volume ((n,) channels, depth, height, width); see nn.functional.lp_pool3d.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.LPPool3d(2.0, (1, 1, 2))(gg.asarray([[[[3.0, 4.0]]]])).tolist()
        [[[[5.0]]]]
    """

    axes = 3

"""Padding layers with PyTorch's names: nn.functional.pad with the widths kept.

What is laid does not depend on the number of axes: the layers for one, two and three axes only keep more widths.
"""

from __future__ import annotations

from collections.abc import Sequence

import gorgo as gg
from gorgo.arguments import as_integers
from gorgo.nn import functional
from gorgo.nn.module import Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]

Widths = int | Sequence[int]


class _Pad(Module):
    """What the layers share: widths before and after each axis, from the last axis on, and a forward by the mode."""

    axes: int
    mode: str

    def __init__(self, padding: Widths) -> None:
        super().__init__()
        widths = as_integers(type(self).__name__, "padding", padding, 2 * self.axes)
        if len(widths) != 2 * self.axes:
            raise ValueError(
                f"{type(self).__name__}: padding must be {2 * self.axes} integers, or one for all, got {padding!r}"
            )
        self.padding = widths

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x ((n,) c, ...) with elements laid around the axes after the channels."""
        if x.ndim not in (self.axes + 1, self.axes + 2):
            raise ValueError(
                f"{type(self).__name__}: x must have {self.axes + 1} or {self.axes + 2} axes,"
                f" got shape {tuple(x.shape)}"
            )
        return functional.pad(x, self.padding, self.mode)

    def extra_repr(self) -> str:
        """Return the widths."""
        return f"padding={self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Widths, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (..., with at least as many axes as are padded) with the value laid around its last axes."""
        return functional.pad(x, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """Return the widths and the value."""
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Widths) -> None:
        super().__init__(padding, 0)

    def extra_repr(self) -> str:
        """Return the widths."""
        return f"padding={self.padding}"


class _CircularPad(_Pad):
    mode = "circular"


class _ReflectionPad(_Pad):
    mode = "reflect"


class _ReplicationPad(_Pad):
    mode = "replicate"


class ZeroPad1d(_ZeroPad):
    """Lines ((n,) channels, length) with zeros laid around.

    Args:
        padding: widths left and right, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ZeroPad1d((1, 2))(gg.asarray([[1, 2, 3]])).tolist()
        [[0, 1, 2, 3, 0, 0]]
    """

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Images ((n,) channels, height, width) with zeros laid around.

    Args:
        padding: widths left, right, top and bottom, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ZeroPad2d((1, 2, 0, 0))(gg.asarray([[[1, 2, 3]]])).tolist()
        [[[0, 1, 2, 3, 0, 0]]]
    """

    axes = 2


class ZeroPad3d(_ZeroPad):
    """Volumes ((n,) channels, depth, height, width) with zeros laid around.

    Args:
        padding: widths left, right, top, bottom, front and back, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ZeroPad3d((1, 2, 0, 0, 0, 0))(gg.asarray([[[[1, 2, 3]]]])).tolist()
        [[[[0, 1, 2, 3, 0, 0]]]]
    """

    axes = 3


class ConstantPad1d(_ConstantPad):
    """Lines ((n,) channels, length) with a value laid around.

    Args:
        padding: widths left and right, or one for all; negative ones cut off.
        value: what is laid.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ConstantPad1d((1, 2), 7)(gg.asarray([[1, 2, 3]])).tolist()
        [[7, 1, 2, 3, 7, 7]]
    """

    axes = 1


class ConstantPad2d(_ConstantPad):
    """Images ((n,) channels, height, width) with a value laid around.

    Args:
        padding: widths left, right, top and bottom, or one for all; negative ones cut off.
        value: what is laid.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ConstantPad2d((1, 2, 0, 0), 7)(gg.asarray([[[1, 2, 3]]])).tolist()
        [[[7, 1, 2, 3, 7, 7]]]
    """

    axes = 2


class ConstantPad3d(_ConstantPad):
    """Volumes ((n,) channels, depth, height, width) with a value laid around.

    Args:
        padding: widths left, right, top, bottom, front and back, or one for all; negative ones cut off.
        value: what is laid.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ConstantPad3d((1, 2, 0, 0, 0, 0), 7)(gg.asarray([[[[1, 2, 3]]]])).tolist()
        [[[[7, 1, 2, 3, 7, 7]]]]
    """

    axes = 3


class ReflectionPad1d(_ReflectionPad):
    """Lines ((n,) channels, length) mirrored at their outermost elements.

    Args:
        padding: widths left and right, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ReflectionPad1d((1, 2))(gg.asarray([[1, 2, 3]])).tolist()
        [[2, 1, 2, 3, 2, 1]]
    """

    axes = 1


class ReflectionPad2d(_ReflectionPad):
    """Images ((n,) channels, height, width) mirrored at their outermost elements.

    Args:
        padding: widths left, right, top and bottom, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ReflectionPad2d((1, 2, 0, 0))(gg.asarray([[[1, 2, 3]]])).tolist()
        [[[2, 1, 2, 3, 2, 1]]]
    """

    axes = 2


class ReflectionPad3d(_ReflectionPad):
    """Volumes ((n,) channels, depth, height, width) mirrored at their outermost elements.

    Args:
        padding: widths left, right, top, bottom, front and back, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ReflectionPad3d((1, 2, 0, 0, 0, 0))(gg.asarray([[[[1, 2, 3]]]])).tolist()
        [[[[2, 1, 2, 3, 2, 1]]]]
    """

    axes = 3


class ReplicationPad1d(_ReplicationPad):
    """Lines ((n,) channels, length) whose outermost elements are repeated.

    Args:
        padding: widths left and right, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ReplicationPad1d((1, 2))(gg.asarray([[1, 2, 3]])).tolist()
        [[1, 1, 2, 3, 3, 3]]
    """

    axes = 1


class ReplicationPad2d(_ReplicationPad):
    """Images ((n,) channels, height, width) whose outermost elements are repeated.

    Args:
        padding: widths left, right, top and bottom, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ReplicationPad2d((1, 2, 0, 0))(gg.asarray([[[1, 2, 3]]])).tolist()
        [[[1, 1, 2, 3, 3, 3]]]
    """

    axes = 2


class ReplicationPad3d(_ReplicationPad):
    """Volumes ((n,) channels, depth, height, width) whose outermost elements are repeated.

    Args:
        padding: widths left, right, top, bottom, front and back, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ReplicationPad3d((1, 2, 0, 0, 0, 0))(gg.asarray([[[[1, 2, 3]]]])).tolist()
        [[[[1, 1, 2, 3, 3, 3]]]]
    """

    axes = 3


class CircularPad1d(_CircularPad):
    """Lines ((n,) channels, length) that begin again at the other end.

    Args:
        padding: widths left and right, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.CircularPad1d((1, 2))(gg.asarray([[1, 2, 3]])).tolist()
        [[3, 1, 2, 3, 1, 2]]
    """

    axes = 1


class CircularPad2d(_CircularPad):
    """Images ((n,) channels, height, width) that begin again at the other end.

    Args:
        padding: widths left, right, top and bottom, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.CircularPad2d((1, 2, 0, 0))(gg.asarray([[[1, 2, 3]]])).tolist()
        [[[3, 1, 2, 3, 1, 2]]]
    """

    axes = 2


class CircularPad3d(_CircularPad):
    """Volumes ((n,) channels, depth, height, width) that begin again at the other end.

    Args:
        padding: widths left, right, top, bottom, front and back, or one for all; negative ones cut off.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.CircularPad3d((1, 2, 0, 0, 0, 0))(gg.asarray([[[[1, 2, 3]]]])).tolist()
        [[[[3, 1, 2, 3, 1, 2]]]]
    """

    axes = 3

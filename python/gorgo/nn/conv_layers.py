"""Layers that convolve: Conv1d to Conv3d and the transposed ones; arguments, state and first values as PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gorgo as gg
from gorgo.arguments import named_integers
from gorgo.nn import convolution, functional
from gorgo.nn.convolution import Sizes, numbers, padding_numbers
from gorgo.nn.layers import _weights
from gorgo.nn.module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What all of them have: the window, the channels, weight and bias."""

    axes: int
    transposed: bool

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes | str,
        output_padding: Sizes,
        dilation: Sizes,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        in_channels, out_channels, groups = named_integers(
            name, in_channels=in_channels, out_channels=out_channels, groups=groups
        )
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"{name}: channels must be positive, got {in_channels} and {out_channels}")
        if groups < 1 or in_channels % groups != 0 or out_channels % groups != 0:
            raise ValueError(
                f"{name}: groups must divide both channel counts, got groups {groups},"
                f" channels {in_channels} and {out_channels}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = numbers(kernel_size, self.axes, "kernel_size", name)
        if min(self.kernel_size) < 1:
            raise ValueError(f"{name}: kernel_size must be positive, got {self.kernel_size}")
        self.stride = numbers(stride, self.axes, "stride", name)
        self.padding = padding if isinstance(padding, str) else numbers(padding, self.axes, "padding", name)
        self.output_padding = numbers(output_padding, self.axes, "output_padding", name)
        self.dilation = numbers(dilation, self.axes, "dilation", name)
        self.groups = groups
        self.padding_mode = padding_mode
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (first, second // groups, *self.kernel_size)
        self.weight, bias_value = _weights(shape, bias, out_channels, dtype, device)
        self.register_parameter("bias", bias_value)

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        ones, zeros = (1,) * self.axes, (0,) * self.axes
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        for name, default in (
            ("padding", zeros),
            ("output_padding", zeros),
            ("dilation", ones),
            ("groups", 1),
            ("padding_mode", "zeros"),
        ):
            value = getattr(self, name)
            if value != default:
                parts.append(f"{name}={value!r}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class _Conv(_Convolution):
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"{type(self).__name__}: padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}"
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        pads = padding_numbers(self.padding, self.kernel_size, self.stride, self.dilation, type(self).__name__)
        pads = (pads,) * self.axes if isinstance(pads, int) else tuple(pads)
        self._pads = pads  # an entry for each axis, or two: before, then after
        self._op = (convolution.conv1d, convolution.conv2d, convolution.conv3d)[self.axes - 1]

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the convolution of x (n, in, *size), or of one image (in, *size)."""
        if self.padding_mode == "zeros":
            return self._op(x, self.weight, self.bias, self.stride, self._pads, self.dilation, self.groups)
        return self._op(self._padded(x), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _padded(self, x: gg.Tensor) -> gg.Tensor:
        """Return x with its own elements around it, as the padding mode says."""
        before, after = self._pads[: self.axes], self._pads[-self.axes :]
        from_last = [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]
        padded: gg.Tensor = functional.pad(x, from_last, self.padding_mode)
        return padded


class Conv1d(_Conv):
    """One-dimensional convolution of signals (n, channels, length) or (channels, length).

    Args:
        in_channels: channels of x.
        out_channels: channels of the result.
        kernel_size: length of the kernel.
        stride: step of the kernel.
        padding: elements around the signal, 'valid' for none, or 'same' for as many as keep its length.
        dilation: distance of kernel elements.
        groups: independent groups of channels.
        bias: whether there is one.
        padding_mode: 'zeros', or what continues the signal: 'reflect', 'replicate', 'circular'.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Conv1d(1, 4, 3, padding="same")(gg.ones((2, 1, 8))).shape
        (2, 4, 8)
    """

    axes = 1


class Conv2d(_Conv):
    """Two-dimensional convolution of images (n, channels, height, width) or (channels, height, width).

    Args:
        in_channels: channels of x.
        out_channels: channels of the result.
        kernel_size: height and width of the kernel.
        stride: step of the kernel.
        padding: elements around the image, 'valid' for none, or 'same' for as many as keep its size.
        dilation: distance of kernel elements.
        groups: independent groups of channels.
        bias: whether there is one.
        padding_mode: 'zeros', or what continues the image: 'reflect', 'replicate', 'circular'.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Conv2d(1, 4, 3, padding=1)(gg.ones((2, 1, 8, 8))).shape
        (2, 4, 8, 8)
    """

    axes = 2


class Conv3d(_Conv):
    """Three-dimensional convolution of volumes (n, channels, depth, height, width), or of one without the batch axis.

    Args:
        in_channels: channels of x.
        out_channels: channels of the result.
        kernel_size: depth, height and width of the kernel.
        stride: step of the kernel.
        padding: elements around the volume, 'valid' for none, or 'same' for as many as keep its size.
        dilation: distance of kernel elements.
        groups: independent groups of channels.
        bias: whether there is one.
        padding_mode: 'zeros', or what continues the volume: 'reflect', 'replicate', 'circular'.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Conv3d(1, 4, 3, stride=2)(gg.ones((2, 1, 7, 8, 9))).shape
        (2, 4, 3, 3, 4)
    """

    axes = 3


class _ConvTranspose(_Convolution):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode must be 'zeros', got {padding_mode!r}")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        self._pads = numbers(padding, self.axes, "padding", name)
        self._op = (convolution.conv_transpose1d, convolution.conv_transpose2d, convolution.conv_transpose3d)[
            self.axes - 1
        ]

    def forward(self, x: gg.Tensor, output_size: Sequence[int] | None = None) -> gg.Tensor:
        """Return the transposed convolution of x (n, in, *size), or of one image (in, *size).

        Args:
            x: tensor (n, in, *size) or (in, *size) float.
            output_size: the result's sizes, with or without its leading axes, in place of output_padding.

        Returns:
            Tensor (n, out, *output_size) or (out, *output_size).

        Raises:
            ValueError: when no output padding leads to output_size.
        """
        output_padding = self.output_padding if output_size is None else self._padding_to(x, output_size)
        return self._op(x, self.weight, self.bias, self.stride, self._pads, output_padding, self.groups, self.dilation)

    def _padding_to(self, x: gg.Tensor, output_size: Sequence[int]) -> list[int]:
        """Return the output padding that leads to these sizes."""
        name = type(self).__name__
        if len(output_size) not in (self.axes, x.ndim):
            raise ValueError(f"{name}: output_size must have {self.axes} or {x.ndim} entries, got {tuple(output_size)}")
        sizes = output_size[-self.axes :]
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                x.shape[-self.axes :], self.stride, self._pads, self.dilation, self.kernel_size, strict=True
            )
        ]
        if any(not low <= size < low + s for size, low, s in zip(sizes, least, self.stride, strict=True)):
            most = tuple(low + s - 1 for low, s in zip(least, self.stride, strict=True))
            raise ValueError(
                f"{name}: output_size must be between {tuple(least)} and {most}, got {tuple(output_size)}"
                f" (x has shape {tuple(x.shape)})"
            )
        return [size - low for size, low in zip(sizes, least, strict=True)]


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of signals (n, channels, length) or (channels, length).

    Args:
        in_channels: channels of x.
        out_channels: channels of the result.
        kernel_size: length of the kernel.
        stride: distance of where x's elements go.
        padding: elements left out on each side of the result.
        output_padding: further elements behind the result.
        groups: independent groups of channels.
        bias: whether there is one.
        dilation: distance of kernel elements.
        padding_mode: 'zeros' only.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Zeiler et al., "Deconvolutional networks", CVPR 2010.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ConvTranspose1d(1, 4, 4, stride=2, padding=1)(gg.ones((2, 1, 8))).shape
        (2, 4, 16)
    """

    axes = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of images (n, channels, height, width) or (channels, height, width).

    Args:
        in_channels: channels of x.
        out_channels: channels of the result.
        kernel_size: height and width of the kernel.
        stride: distance of where x's elements go.
        padding: rows and columns left out on each side of the result.
        output_padding: further rows and columns behind the result.
        groups: independent groups of channels.
        bias: whether there is one.
        dilation: distance of kernel elements.
        padding_mode: 'zeros' only.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Zeiler et al., "Deconvolutional networks", CVPR 2010.

    Example:
        >>> import gorgo as gg
        >>> layer = gg.nn.ConvTranspose2d(1, 4, 3, stride=2, padding=1)
        >>> layer(gg.ones((2, 1, 8, 8))).shape, layer(gg.ones((2, 1, 8, 8)), output_size=(16, 16)).shape
        ((2, 4, 15, 15), (2, 4, 16, 16))
    """

    axes = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes (n, channels, depth, height, width), or of one without the batch axis.

    Args:
        in_channels: channels of x.
        out_channels: channels of the result.
        kernel_size: depth, height and width of the kernel.
        stride: distance of where x's elements go.
        padding: elements left out on each side of the result along each axis.
        output_padding: further elements behind the result along each axis.
        groups: independent groups of channels.
        bias: whether there is one.
        dilation: distance of kernel elements.
        padding_mode: 'zeros' only.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Zeiler et al., "Deconvolutional networks", CVPR 2010.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ConvTranspose3d(2, 1, 2, stride=2)(gg.ones((1, 2, 3, 4, 5))).shape
        (1, 1, 6, 8, 10)
    """

    axes = 3

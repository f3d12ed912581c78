"""Images of another size, and images taken apart and put together: functions and layers with PyTorch's names.

interpolate samples one axis after the other, the last one first; every mode is linear, so gradients are the adjoints of
the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gorgo as gg
from gorgo.nn.module import Module

__all__ = [
    "Fold",
    "PixelShuffle",
    "PixelUnshuffle",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "fold",
    "interpolate",
    "pixel_shuffle",
    "pixel_unshuffle",
    "unfold",
]

Size = int | Sequence[int]
Factor = float | Sequence[float]

# mode: (what it is along one axis, the number of axes it wants or None for one to three)
_MODES: dict[str, tuple[str, int | None]] = {
    "nearest": ("nearest", None),
    "nearest-exact": ("nearest-exact", None),
    "linear": ("linear", 1),
    "bilinear": ("linear", 2),
    "trilinear": ("linear", 3),
    "bicubic": ("cubic", 2),
    "area": ("area", None),
}


def _for_each_axis(value: Any, name: str, axes: int) -> list[Any]:
    values = list(value) if isinstance(value, Sequence) else [value] * axes
    if len(values) != axes:
        raise ValueError(f"interpolate: {name} must have one number for each of {axes} axes, got {value!r}")
    return values


def interpolate(
    x: gg.Tensor,
    size: Size | None = None,
    scale_factor: Factor | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> gg.Tensor:
    """Sample images at evenly spaced places, so that they get another size.

    Args:
        x: tensor (n, c, ...) float, with one to three axes after the channels.
        size: the lengths of those axes in the result, or one for all.
        scale_factor: what to multiply their lengths with, instead of size; rounded down.
        mode: "nearest" (the element at or before a place), "nearest-exact", "linear" (one axis), "bilinear" (two),
            "trilinear" (three), "bicubic" (two) or "area" (averages over the places that a result covers).
        align_corners: for the modes with "linear" or "cubic": the corners' elements stay what they are, instead of the
            corners of the elements seen as cells.
        recompute_scale_factor: take the quotient of the lengths, instead of scale_factor, for the places.
        antialias: must be false.

    Returns:
        Tensor (n, c, ...) of x's dtype.

    Raises:
        ValueError: when not exactly one of size and scale_factor is given, or they do not fit, or the mode is unknown,
            or does not fit the number of axes or align_corners.
        NotImplementedError: when antialias is set.

    Source: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE ASSP 29 (1981), with a = -3/4.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.interpolate(gg.asarray([[[1.0, 3.0]]]), size=4, mode="linear").tolist()
        [[[1.0, 1.5, 2.5, 3.0]]]
        >>> gg.nn.functional.interpolate(gg.ones((1, 3, 4, 6)), scale_factor=(0.5, 2)).shape
        (1, 3, 2, 12)
    """
    shape = tuple(x.shape)
    axes = len(shape) - 2
    if mode not in _MODES:
        raise ValueError(f"interpolate: mode must be one of {', '.join(map(repr, _MODES))}, got {mode!r}")
    along, wanted = _MODES[mode]
    if not 1 <= axes <= 3 or (wanted is not None and axes != wanted):
        raise ValueError(
            f"interpolate: x must have {wanted or 'one to three'} axes after (n, c) for mode {mode!r},"
            f" got shape {shape}"
        )
    if align_corners is not None and along not in ("linear", "cubic"):
        raise ValueError(f"interpolate: align_corners must be None for mode {mode!r}, got {align_corners}")
    if antialias:
        raise NotImplementedError("interpolate: antialias must be False, got True; average before, or use mode 'area'")
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: size or scale_factor must be given, not both, got size {size}, scale_factor {scale_factor}"
        )
    scales: list[float | None] = [None] * axes
    if size is not None:
        if recompute_scale_factor:
            raise ValueError("interpolate: recompute_scale_factor must go with scale_factor, got size")
        sizes = [int(n) for n in _for_each_axis(size, "size", axes)]
    else:
        factors = [float(f) for f in _for_each_axis(scale_factor, "scale_factor", axes)]
        if not all(f > 0.0 and math.isfinite(f) for f in factors):
            raise ValueError(f"interpolate: scale_factor must be positive and finite, got {scale_factor}")
        sizes = [math.floor(n * f) for n, f in zip(shape[2:], factors, strict=True)]
        if not recompute_scale_factor:
            scales = list(factors)
    if min(sizes) < 1 or min(shape[2:]) < 1:
        raise ValueError(f"interpolate: x and the result must have elements along each axis, got {shape} and {sizes}")
    if along == "area":
        pool = (gg.adaptive_avg_pool1d, gg.adaptive_avg_pool2d, gg.adaptive_avg_pool3d)[axes - 1]
        averages: gg.Tensor = pool(x, sizes)
        return averages
    narrow = x.dtype in (gg.float16, gg.bfloat16) and axes > 1
    out = x.astype(gg.float32) if narrow else x  # rounded once, after the last axis
    for i in reversed(range(axes)):
        scale = _scale_in_use(along, axes, shape[2 + i], sizes[i], scales[i])
        if sizes[i] == shape[2 + i] and (scale is None or scale == 1.0):
            continue
        out = gg.resample(out, sizes[i], 2 + i, along, align_corners=bool(align_corners), scale=scale)
    if out is x:
        return gg.copy(x)  # a tensor of its own, as in every other case
    return out.astype(x.dtype) if narrow else out


def _scale_in_use(along: str, axes: int, length: int, size: int, scale: float | None) -> float | None:
    """Return the scale for the places; PyTorch's nearest mode of two and three axes drops those near 1 and 2."""
    if along == "nearest" and axes > 1 and size in (length, 2 * length):
        return None
    return scale


def unfold(x: gg.Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> gg.Tensor:
    """Lay the windows of images out as columns; see gorgo.im2col.

    Args:
        x: tensor ((n,) c, h, w) float.
        kernel_size: height and width of a window.
        dilation: the step between the elements of a window.
        padding: zeros around the images.
        stride: the step between windows.

    Returns:
        Tensor ((n,) c kh kw, windows) of x's dtype.

    Raises:
        ValueError: when x is no stack of images, or the window does not fit.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.unfold(gg.ones((2, 3, 5, 5)), 3, padding=1).shape
        (2, 27, 25)
    """
    columns: gg.Tensor = gg.im2col(x, kernel_size, dilation, padding, stride)
    return columns


def fold(
    x: gg.Tensor, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> gg.Tensor:
    """Add columns into images, each where its window lies; see gorgo.col2im.

    Args:
        x: tensor ((n,) c kh kw, windows) float.
        output_size: height and width of the images.
        kernel_size: height and width of a window.
        dilation: the step between the elements of a window.
        padding: places around the images whose sums are dropped.
        stride: the step between windows.

    Returns:
        Tensor ((n,) c, h, w) of x's dtype.

    Raises:
        ValueError: when the columns do not fit the windows, or the window the images.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.fold(gg.ones((2, 27, 25)), 5, 3, padding=1).shape
        (2, 3, 5, 5)
    """
    images: gg.Tensor = gg.col2im(x, output_size, kernel_size, dilation, padding, stride)
    return images


def pixel_shuffle(x: gg.Tensor, upscale_factor: int) -> gg.Tensor:
    """Move channels into the image: each group of r * r channels becomes an image r times as high and wide.

    Args:
        x: tensor (..., c r r, h, w) of any dtype.
        upscale_factor: r.

    Returns:
        Tensor (..., c, h r, w r) of x's dtype.

    Raises:
        ValueError: when r is not positive, or r * r does not divide the channels.

    Source: Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional
    neural network", CVPR 2016.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.pixel_shuffle(gg.asarray([[[1]], [[2]], [[3]], [[4]]]), 2).tolist()
        [[[1, 2], [3, 4]]]
    """
    r, shape = upscale_factor, tuple(x.shape)
    if r < 1 or len(shape) < 3 or shape[-3] % (r * r) != 0:
        raise ValueError(
            f"pixel_shuffle: upscale_factor must be positive, and its square divide the channels (..., c, h, w),"
            f" got {r} (x has shape {shape})"
        )
    *batch, channels, h, w = shape
    n = len(batch)
    parts = x.reshape((*batch, channels // (r * r), r, r, h, w))
    turned = gg.permute_dims(parts, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return turned.reshape((*batch, channels // (r * r), h * r, w * r))


def pixel_unshuffle(x: gg.Tensor, downscale_factor: int) -> gg.Tensor:
    """Move the image into channels: the inverse of pixel_shuffle.

    Args:
        x: tensor (..., c, h r, w r) of any dtype.
        downscale_factor: r.

    Returns:
        Tensor (..., c r r, h, w) of x's dtype.

    Raises:
        ValueError: when r is not positive, or does not divide height and width.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.pixel_unshuffle(gg.asarray([[[1, 2], [3, 4]]]), 2).tolist()
        [[[1]], [[2]], [[3]], [[4]]]
    """
    r, shape = downscale_factor, tuple(x.shape)
    if r < 1 or len(shape) < 3 or shape[-2] % r != 0 or shape[-1] % r != 0:
        raise ValueError(
            f"pixel_unshuffle: downscale_factor must be positive and divide height and width (..., c, h, w),"
            f" got {r} (x has shape {shape})"
        )
    *batch, channels, h, w = shape
    n = len(batch)
    parts = x.reshape((*batch, channels, h // r, r, w // r, r))
    turned = gg.permute_dims(parts, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return turned.reshape((*batch, channels * r * r, h // r, w // r))


class Upsample(Module):
    """Images of another size; see nn.functional.interpolate.

    Args:
        size: the lengths of the axes after the channels, or one for all.
        scale_factor: what to multiply them with instead.
        mode: as in interpolate.
        align_corners: as in interpolate.
        recompute_scale_factor: as in interpolate.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Upsample(scale_factor=2, mode="bilinear")(gg.ones((1, 3, 4, 4))).shape
        (1, 3, 8, 8)
    """

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: Factor | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (n, c, ...) with the axes after the channels sampled anew."""
        return interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def extra_repr(self) -> str:
        """Return the size and the mode."""
        how = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images (n, channels, height, width) of another size, with the nearest elements.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.UpsamplingNearest2d(scale_factor=2)(gg.ones((1, 3, 4, 4))).shape
        (1, 3, 8, 8)
    """

    def __init__(self, size: Size | None = None, scale_factor: Factor | None = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Images (n, channels, height, width) of another size, bilinear, with the corners kept.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.UpsamplingBilinear2d(scale_factor=2)(gg.ones((1, 3, 4, 4))).shape
        (1, 3, 8, 8)
    """

    def __init__(self, size: Size | None = None, scale_factor: Factor | None = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class PixelShuffle(Module):
    """Channels (..., c r r, h, w) moved into images (..., c, h r, w r).

    Example:
        >>> import gorgo as gg
        >>> gg.nn.PixelShuffle(3)(gg.ones((1, 9, 4, 4))).shape
        (1, 1, 12, 12)
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the images."""
        return pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        """Return the factor."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Images (..., c, h r, w r) moved into channels (..., c r r, h, w).

    Example:
        >>> import gorgo as gg
        >>> gg.nn.PixelUnshuffle(3)(gg.ones((1, 1, 12, 12))).shape
        (1, 9, 4, 4)
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the channels."""
        return pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        """Return the factor."""
        return f"downscale_factor={self.downscale_factor}"


class Unfold(Module):
    """Windows of images ((n,) c, h, w) as columns ((n,) c kh kw, windows); see nn.functional.unfold.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Unfold(3, padding=1)(gg.ones((2, 3, 5, 5))).shape
        (2, 27, 25)
    """

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the columns."""
        return unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """Return the window."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Columns ((n,) c kh kw, windows) added into images ((n,) c, h, w); see nn.functional.fold.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Fold(5, 3, padding=1)(gg.ones((2, 27, 25))).shape
        (2, 3, 5, 5)
    """

    def __init__(
        self, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the images."""
        return fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """Return the size and the window."""
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation},"
            f" padding={self.padding}, stride={self.stride}"
        )

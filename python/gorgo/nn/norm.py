"""Layers that normalize: LayerNorm, RMSNorm, GroupNorm, BatchNorm, InstanceNorm; arguments and state as PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gorgo as gg
from gorgo.arguments import as_integer, as_integers, named_integers
from gorgo.nn import functional
from gorgo.nn.module import Module, Parameter

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
]


class LayerNorm(Module):
    """Normalize over the last axes to mean 0 and variance 1, then scale and shift.

    Args:
        normalized_shape: the sizes of those axes; an integer for one.
        eps: added to the variance.
        elementwise_affine: whether there are weight and bias.
        bias: whether there is a bias beside the weight.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Ba, Kiros, Hinton, "Layer normalization", arXiv 1607.06450.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.LayerNorm(2, eps=0.0)(gg.asarray([[1.0, 3.0]])).tolist()
        [[-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _sizes(normalized_shape, "LayerNorm")
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        _register_affine(self, self.normalized_shape, elementwise_affine, bias, device, dtype)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (..., *normalized_shape) normalized."""
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """Divide by the root of the mean square over the last axes, then scale.

    Args:
        normalized_shape: the sizes of those axes; an integer for one.
        eps: added to the mean square; None for the dtype's spacing at 1.
        elementwise_affine: whether there is a weight.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Zhang, Sennrich, "Root mean square layer normalization", NeurIPS 2019.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.RMSNorm(2, eps=0.0)(gg.asarray([[2.0, -2.0]])).tolist()
        [[1.0, -1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _sizes(normalized_shape, "RMSNorm")
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        ones = gg.ones(self.normalized_shape, dtype=dtype, device=device) if elementwise_affine else None
        self.register_parameter("weight", None if ones is None else Parameter(ones))

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (..., *normalized_shape) normalized."""
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalize each group of channels of each case to mean 0 and variance 1, then scale and shift each channel.

    Args:
        num_groups: how many groups of neighbouring channels there are.
        num_channels: channels of x, a multiple of num_groups.
        eps: added to the variance.
        affine: whether there are weight and bias.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Raises:
        ValueError: when num_groups does not divide num_channels.

    Source: Wu, He, "Group normalization", ECCV 2018.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.GroupNorm(2, 4)(gg.ones((1, 4, 3))).shape
        (1, 4, 3)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        num_groups, num_channels = named_integers("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_groups < 1 or num_channels < 1 or num_channels % num_groups != 0:
            raise ValueError(
                f"GroupNorm: num_groups must divide num_channels, got groups {num_groups}, channels {num_channels}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        _register_affine(self, (num_channels,), affine, True, device, dtype)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (n, c, ...) normalized."""
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class _ChannelNorm(Module):
    """What batch and instance norms share: parameters, running statistics, the rank of x."""

    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        num_features = as_integer(type(self).__name__, "num_features", num_features)
        if num_features < 1:
            raise ValueError(f"{type(self).__name__}: num_features must be positive, got {num_features}")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        _register_affine(self, (num_features,), affine, True, device, dtype)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, None)
        if track_running_stats:
            self.register_buffer("running_mean", gg.zeros((num_features,), dtype=dtype, device=device))
            self.register_buffer("running_var", gg.ones((num_features,), dtype=dtype, device=device))
            self.register_buffer("num_batches_tracked", gg.zeros((), dtype=gg.int64, device=device))

    def reset_running_stats(self) -> None:
        """Set mean 0, variance 1 and no batches."""
        if self.track_running_stats:
            with gg.no_grad():
                self.running_mean.fill_(0)
                self.running_var.fill_(1)
                self.num_batches_tracked.fill_(0)

    def _check(self, x: gg.Tensor) -> None:
        if x.ndim not in self.ranks or x.shape[self._channel_axis(x)] != self.num_features:
            ranks = " or ".join(map(str, self.ranks))
            raise ValueError(
                f"{type(self).__name__}: x must have rank {ranks} and {self.num_features} channels on axis"
                f" {self._channel_axis(x)}, got shape {tuple(x.shape)}"
            )

    def _channel_axis(self, x: gg.Tensor) -> int:
        return 1 if x.ndim > 1 else 0

    def extra_repr(self) -> str:
        """Return the options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine},"
            f" track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (n, c, ...) normalized: by the batch in training mode, else by the running statistics."""
        self._check(x)
        if self.training or self.running_mean is None:
            following = (self.running_mean, self.running_var, self.num_batches_tracked) if self.training else ()
            normalized: gg.Tensor = gg.batch_norm_train(
                x, self.weight, self.bias, *following, momentum=self.momentum, eps=self.eps
            )
            return normalized
        plain: gg.Tensor = gg.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return plain


class BatchNorm1d(_BatchNorm):
    """Normalize each channel over the batch to mean 0 and variance 1, then scale and shift.

    In training mode by the statistics of the batch, which running_mean and running_var follow; in evaluation mode by
    those.

    Args:
        num_features: channels of x (n, c) or (n, c, l).
        eps: added to the variance.
        momentum: the share of a new batch in the running statistics; None for the plain mean of all batches.
        affine: whether there are weight and bias.
        track_running_stats: whether there are running statistics.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Ioffe, Szegedy, "Batch normalization", ICML 2015.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.BatchNorm1d(1, eps=0.0)(gg.asarray([[1.0], [3.0]])).tolist()
        [[-1.0], [1.0]]
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalize each channel of images (n, c, h, w) over the batch; see BatchNorm1d.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.BatchNorm2d(3)(gg.ones((2, 3, 4, 4))).shape
        (2, 3, 4, 4)
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Normalize each channel of volumes (n, c, d, h, w) over the batch; see BatchNorm1d.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.BatchNorm3d(3)(gg.ones((2, 3, 2, 4, 4))).shape
        (2, 3, 2, 4, 4)
    """

    ranks = (5,)


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def _channel_axis(self, x: gg.Tensor) -> int:
        return 1 if x.ndim == self.ranks[-1] else 0

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (n, c, ...) or (c, ...) normalized."""
        self._check(x)
        alone = x.ndim < self.ranks[-1]
        y = functional.instance_norm(
            gg.expand_dims(x, axis=0) if alone else x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return gg.squeeze(y, axis=0) if alone else y


class InstanceNorm1d(_InstanceNorm):
    """Normalize each channel of each case over its positions to mean 0 and variance 1.

    Args:
        num_features: channels of x (n, c, l) or (c, l).
        eps: added to the variance.
        momentum: the share of a new batch in the running statistics.
        affine: whether there are weight and bias.
        track_running_stats: whether there are running statistics, used in evaluation mode.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Source: Ulyanov, Vedaldi, Lempitsky, "Instance normalization", arXiv 1607.08022.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.InstanceNorm1d(1, eps=0.0)(gg.asarray([[[1.0, 3.0]]])).tolist()
        [[[-1.0, 1.0]]]
    """

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Normalize each channel of each image (n, c, h, w) or (c, h, w); see InstanceNorm1d.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.InstanceNorm2d(3)(gg.ones((2, 3, 4, 4))).shape
        (2, 3, 4, 4)
    """

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Normalize each channel of each volume (n, c, d, h, w) or (c, d, h, w); see InstanceNorm1d.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.InstanceNorm3d(3)(gg.ones((2, 3, 2, 4, 4))).shape
        (2, 3, 2, 4, 4)
    """

    ranks = (4, 5)


def _sizes(shape: int | Sequence[int], layer: str) -> tuple[int, ...]:
    sizes = as_integers(layer, "normalized_shape", shape)
    if not sizes or any(size < 1 for size in sizes):
        raise ValueError(f"{layer}: normalized_shape must be positive sizes, got {shape!r}")
    return sizes


def _register_affine(module: Module, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any) -> None:
    ones = Parameter(gg.ones(shape, dtype=dtype, device=device)) if weight else None
    zeros = Parameter(gg.zeros(shape, dtype=dtype, device=device)) if weight and bias else None
    module.register_parameter("weight", ones)
    module.register_parameter("bias", zeros)

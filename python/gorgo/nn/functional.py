"""Layers as functions: the same ops as in the main namespace, with PyTorch's signatures where layers need them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gorgo as gg
from gorgo.arguments import as_integers
from gorgo.nn.activations import (
    celu,
    elu,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    prelu,
    relu6,
    rrelu,
    selu,
    sigmoid,
    silu,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from gorgo.nn.attention import scaled_dot_product_attention
from gorgo.nn.convolution import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from gorgo.nn.distances import cosine_similarity, normalize, pairwise_distance
from gorgo.nn.dropouts import alpha_dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from gorgo.nn.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    ctc_loss,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from gorgo.nn.margin_losses import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from gorgo.nn.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from gorgo.nn.resampling import fold, interpolate, pixel_shuffle, pixel_unshuffle, unfold
from gorgo.nn.small_layers import bilinear, local_response_norm

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "embedding",
    "feature_alpha_dropout",
    "fold",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "group_norm",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mish",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "rms_norm",
    "rrelu",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "unfold",
]

linear = gg.linear
log_softmax = gg.log_softmax
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


def _sizes(shape: int | Sequence[int], name: str) -> tuple[int, ...]:
    """Return normalized_shape as a tuple; a layer's is one."""
    return shape if type(shape) is tuple else as_integers(name, "normalized_shape", shape)


def _lines(x: gg.Tensor, sizes: tuple[int, ...], name: str) -> gg.Tensor:
    """Return x with the last axes, which must have this shape, merged into one."""
    if not sizes or tuple(x.shape[-len(sizes) :]) != sizes:
        raise ValueError(f"{name}: x must end in the axes {sizes}, got shape {tuple(x.shape)}")
    return x if len(sizes) == 1 else x.reshape((*x.shape[: -len(sizes)], math.prod(sizes)))


def _line(weight: gg.Tensor | None, shape: tuple[int, ...], name: str) -> gg.Tensor | None:
    if weight is not None and tuple(weight.shape) != shape:
        raise ValueError(f"{name}: weight and bias must have shape {shape}, got {tuple(weight.shape)}")
    return weight if weight is None or weight.ndim == 1 else weight.reshape((-1,))


def layer_norm(
    x: gg.Tensor,
    normalized_shape: int | Sequence[int],
    weight: gg.Tensor | None = None,
    bias: gg.Tensor | None = None,
    eps: float = 1e-5,
) -> gg.Tensor:
    """Normalize over the last axes to mean 0 and variance 1, then scale and shift.

    Args:
        x: tensor (..., *normalized_shape) float.
        normalized_shape: the sizes of those axes; an integer for one.
        weight: tensor (*normalized_shape), or None for 1.
        bias: tensor (*normalized_shape), or None for 0.
        eps: added to the variance.

    Returns:
        Tensor like x.

    Raises:
        ValueError: when shapes or dtypes do not fit.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.layer_norm(gg.ones((2, 3, 4)), (3, 4)).shape
        (2, 3, 4)
    """
    sizes = _sizes(normalized_shape, "layer_norm")
    lines = _lines(x, sizes, "layer_norm")
    w, b = (_line(t, sizes, "layer_norm") for t in (weight, bias))
    return gg.layer_norm(lines, w, b, eps=eps).reshape(x.shape)


def rms_norm(
    x: gg.Tensor, normalized_shape: int | Sequence[int], weight: gg.Tensor | None = None, eps: float | None = None
) -> gg.Tensor:
    """Divide by the root of the mean square over the last axes, then scale.

    Args:
        x: tensor (..., *normalized_shape) float.
        normalized_shape: the sizes of those axes; an integer for one.
        weight: tensor (*normalized_shape), or None for 1.
        eps: added to the mean square; None for the dtype's spacing at 1.

    Returns:
        Tensor like x.

    Raises:
        ValueError: when shapes or dtypes do not fit.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.rms_norm(gg.asarray([2.0, -2.0]), (2,), eps=0.0).tolist()
        [1.0, -1.0]
    """
    sizes = _sizes(normalized_shape, "rms_norm")
    lines = _lines(x, sizes, "rms_norm")
    added = float(gg.finfo(x.dtype).eps) if eps is None else eps
    return gg.rms_norm(lines, _line(weight, sizes, "rms_norm"), eps=added).reshape(x.shape)


def group_norm(
    x: gg.Tensor,
    num_groups: int,
    weight: gg.Tensor | None = None,
    bias: gg.Tensor | None = None,
    eps: float = 1e-5,
) -> gg.Tensor:
    """Normalize each group of channels of each case (n, c, ...); see gorgo.group_norm.

    Args:
        x: (n, c, ...) float, the cases.
        num_groups: groups of channels; it divides c.
        weight: (c) float, scales each channel, or None.
        bias: (c) float, is added to each channel, or None.
        eps: added to the variance.

    Returns:
        (n, c, ...) float: the normalized cases.

    Raises:
        ValueError: when shapes do not fit, or num_groups does not divide c.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.group_norm(gg.asarray([[1.0, 3.0]]), 1, eps=0.0).tolist()
        [[-1.0, 1.0]]
    """
    normalized: gg.Tensor = gg.group_norm(x, weight, bias, groups=num_groups, eps=eps)
    return normalized


def batch_norm(
    x: gg.Tensor,
    running_mean: gg.Tensor | None,
    running_var: gg.Tensor | None,
    weight: gg.Tensor | None = None,
    bias: gg.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> gg.Tensor:
    """Normalize each channel of x (n, c, ...), by the batch when training, else by the running statistics.

    Args:
        x: (n, c, ...) float, the cases.
        running_mean: (c) float, means over batches, updated when training; or None.
        running_var: (c) float, variances, likewise.
        weight: (c) float, scales each channel, or None.
        bias: (c) float, is added to each channel, or None.
        training: whether the batch's own mean and variance are used.
        momentum: the share of the batch in the running statistics.
        eps: added to the variance.

    Returns:
        (n, c, ...) float: the normalized cases.

    Raises:
        ValueError: when shapes do not fit, or the running statistics are missing and training is not set.

    Example:
        >>> import gorgo as gg
        >>> x = gg.asarray([[1.0], [3.0]])
        >>> gg.nn.functional.batch_norm(x, None, None, training=True, eps=0.0).tolist()
        [[-1.0], [1.0]]
    """
    if training:
        trained: gg.Tensor = gg.batch_norm_train(x, weight, bias, running_mean, running_var, momentum=momentum, eps=eps)
        return trained
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm: running_mean and running_var must be given without training, got None")
    plain: gg.Tensor = gg.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    return plain


def instance_norm(
    x: gg.Tensor,
    running_mean: gg.Tensor | None = None,
    running_var: gg.Tensor | None = None,
    weight: gg.Tensor | None = None,
    bias: gg.Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> gg.Tensor:
    """Normalize each channel of each case of x (n, c, ...) over its positions.

    Running statistics, when given, follow the means over the cases; without use_input_stats they are what normalizes.

    Args:
        x: (n, c, ...) float, the cases.
        running_mean: (c) float, means over cases; or None.
        running_var: (c) float, variances, likewise.
        weight: (c) float, scales each channel, or None.
        bias: (c) float, is added to each channel, or None.
        use_input_stats: whether each case's own mean and variance are used.
        momentum: the share of the cases in the running statistics.
        eps: added to the variance.

    Returns:
        (n, c, ...) float: the normalized cases.

    Raises:
        ValueError: when shapes do not fit, or a channel has fewer than two positions.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.instance_norm(gg.asarray([[[1.0, 3.0]]]), eps=0.0).tolist()
        [[[-1.0, 1.0]]]
    """
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    positions = math.prod(x.shape[2:])
    if x.ndim < 3 or positions < 2:
        raise ValueError(
            f"instance_norm: x must have two positions or more for each channel, got shape {tuple(x.shape)}"
        )
    if running_mean is not None and running_var is not None:
        with gg.no_grad():
            spots = x.detach().reshape((x.shape[0], x.shape[1], positions))
            for running, now in (
                (running_mean, gg.mean(spots, axis=2)),
                (running_var, gg.var(spots, axis=2, correction=1.0)),
            ):
                running.copy_(running * (1.0 - momentum) + gg.mean(now, axis=0) * momentum)
    return group_norm(x, x.shape[1], weight, bias, eps)


def embedding(indices: gg.Tensor, weight: gg.Tensor, padding_idx: int | None = None) -> gg.Tensor:
    """Look up the rows of a table.

    Args:
        indices: tensor (...) int, in [-rows, rows).
        weight: tensor (rows, size).
        padding_idx: a row that gets no gradient.

    Returns:
        Tensor (..., size) of weight's dtype.

    Raises:
        IndexError: when an index is out of range.
        ValueError: when weight has not two axes, or padding_idx is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.embedding(gg.asarray([1, 0]), gg.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[3.0, 4.0], [1.0, 2.0]]
    """
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must have shape (rows, size), got {tuple(weight.shape)}")
    rows = weight.shape[0]
    found: gg.Tensor = gg.take(weight, indices, axis=0)
    if padding_idx is None:
        return found
    if not -rows <= padding_idx < rows:
        raise ValueError(f"embedding: padding_idx must be in [{-rows}, {rows}), got {padding_idx}")
    row = padding_idx % rows
    padding = gg.logical_or(indices == row, indices == row - rows)
    kept: gg.Tensor = gg.where(gg.expand_dims(padding, axis=-1), found.detach(), found)
    return kept


def one_hot(indices: gg.Tensor, num_classes: int = -1) -> gg.Tensor:
    """Mark each index by a one in a line of zeros.

    Args:
        indices: tensor (...) int; negative ones count from the end.
        num_classes: the length of a line; -1 for the largest index plus one.

    Returns:
        Tensor (..., num_classes) int64.

    Raises:
        TypeError: when indices are not integers.
        ValueError: when num_classes is neither positive nor -1, or -1 without an index.
        IndexError: when an index is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.one_hot(gg.asarray([2, 0]), 3).tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    if num_classes == -1:
        if indices.size == 0:
            raise ValueError(f"one_hot: num_classes must be given without indices, got shape {tuple(indices.shape)}")
        num_classes = int(indices.max().item()) + 1
    if num_classes < 1:
        raise ValueError(f"one_hot: num_classes must be positive or -1, got {num_classes}")
    zeros = gg.zeros((*indices.shape, num_classes), dtype=gg.int64, device=indices.device)
    marked: gg.Tensor = gg.scatter(zeros, -1, gg.expand_dims(indices, axis=-1), 1)
    return marked


_PAD_MODES = ("constant", "reflect", "replicate", "circular")


def pad(x: gg.Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> gg.Tensor:
    """Lay elements around the last axes, or cut some off.

    Args:
        x: tensor (...) of any dtype.
        pad: how many to lay before and after the last axis, then before and after the one in front of it, and so on; a
            negative number cuts elements off instead.
        mode: "constant" lays a value, "reflect" mirrors at the outermost elements, "replicate" repeats those,
            "circular" begins again at the other end.
        value: what "constant" lays; None for 0.

    Returns:
        Tensor (...) of x's dtype; all axes that pad does not reach stay as they are.

    Raises:
        ValueError: when pad has an odd length or more pairs than x has axes, cuts off more than there is, mode is
            unknown, value is given with another mode than "constant", or an axis is reflected by its own length or
            more, or wrapped by more than that.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.pad(gg.asarray([[1, 2, 3]]), (1, 0)).tolist()
        [[0, 1, 2, 3]]
        >>> gg.nn.functional.pad(gg.asarray([1, 2, 3]), (-1, 2), mode="replicate").tolist()
        [2, 3, 3, 3]
    """
    shape = tuple(x.shape)
    if len(pad) % 2 or len(pad) > 2 * len(shape):
        raise ValueError(f"pad: pad must hold at most {len(shape)} pairs, got {tuple(pad)} (x has shape {shape})")
    if mode not in _PAD_MODES:
        raise ValueError(f"pad: mode must be one of {', '.join(map(repr, _PAD_MODES))}, got {mode!r}")
    if mode != "constant" and value is not None:
        raise ValueError(f"pad: value must be None unless mode is 'constant', got {value} (mode is {mode!r})")
    widths = [(0, 0)] * len(shape)
    kept: list[slice] = [slice(None)] * len(shape)
    for i in range(len(pad) // 2):
        axis = len(shape) - 1 - i
        before, after = int(pad[2 * i]), int(pad[2 * i + 1])
        first, last = max(-before, 0), shape[axis] - max(-after, 0)
        if last < first:
            raise ValueError(
                f"pad: pad must not cut off more than axis {axis} has, got {(before, after)} (x has shape {shape})"
            )
        kept[axis] = slice(first, last)
        widths[axis] = (max(before, 0), max(after, 0))
        longest = last - first - 1 if mode == "reflect" else last - first
        if mode in ("reflect", "circular") and max(widths[axis]) > longest:
            raise ValueError(
                f"pad: pad must be at most {longest} along axis {axis} for mode {mode!r}, got {(before, after)}"
                f" (x has shape {shape})"
            )
    if any(n < 0 for n in pad):
        x = x[tuple(kept)]
    padded: gg.Tensor = gg.pad(x, widths, mode=mode, value=0 if value is None else value)
    return padded

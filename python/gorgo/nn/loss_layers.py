"""Losses as layers, with PyTorch's names and arguments: each keeps its options and calls its function."""

from __future__ import annotations

from collections.abc import Callable

import gorgo as gg
from gorgo.nn import losses, margin_losses
from gorgo.nn.losses import Lengths
from gorgo.nn.module import Module

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]


class _Loss(Module):
    """A loss with options: numbers are attributes, tensors are buffers and move with the module."""

    _shown: tuple[str, ...] = ()

    def __init__(self, reduction: str) -> None:
        super().__init__()
        allowed = ("mean", "sum", "none", "batchmean") if isinstance(self, KLDivLoss) else ("mean", "sum", "none")
        if reduction not in allowed:
            raise ValueError(f"{type(self).__name__}: reduction must be one of {allowed}, got {reduction!r}")
        self.reduction = reduction

    def extra_repr(self) -> str:
        """Return the options."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in (*self._shown, "reduction"))


class MSELoss(_Loss):
    """Squared differences of predictions and targets, or their mean.

    Args:
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.MSELoss()(gg.asarray([1.0, 2.0]), gg.asarray([1.0, 4.0])).item()
        2.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of input (...) and target (...)."""
        return losses.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """Absolute differences of predictions and targets, or their mean.

    Args:
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.L1Loss()(gg.asarray([1.0, 2.0]), gg.asarray([1.0, 4.0])).item()
        1.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of input (...) and target (...)."""
        return losses.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """Absolute differences, squared and divided by 2 beta below beta.

    Args:
        reduction: 'mean', 'sum' or 'none'.
        beta: where the parabola ends; zero gives L1Loss.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.SmoothL1Loss()(gg.asarray([1.0, 3.0]), gg.zeros((2,))).item()
        1.5
    """

    _shown = ("beta",)

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of input (...) and target (...)."""
        return losses.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """Half the squared differences, and lines of slope delta beyond delta.

    Args:
        reduction: 'mean', 'sum' or 'none'.
        delta: where the parabola ends; positive.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.HuberLoss()(gg.asarray([1.0, 3.0]), gg.zeros((2,))).item()
        1.5
    """

    _shown = ("delta",)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of input (...) and target (...)."""
        return losses.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class BCELoss(_Loss):
    """Cross-entropy between probabilities and target probabilities.

    Args:
        weight: tensor that broadcasts to the losses, a factor for each, or None.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.BCELoss()(gg.asarray([1.0, 0.0]), gg.asarray([1.0, 1.0])).item()
        50.0
    """

    def __init__(self, weight: gg.Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of probabilities input (...) and target (...)."""
        return losses.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Cross-entropy between two-class scores and target probabilities.

    Args:
        weight: tensor that broadcasts to the losses, a factor for each, or None.
        reduction: 'mean', 'sum' or 'none'.
        pos_weight: tensor that broadcasts to the losses, a factor of the first class's part, or None.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.BCEWithLogitsLoss()(gg.asarray([100.0, -100.0]), gg.zeros((2,))).item()
        50.0
    """

    def __init__(
        self, weight: gg.Tensor | None = None, reduction: str = "mean", pos_weight: gg.Tensor | None = None
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of logits input (...) and target (...)."""
        return losses.binary_cross_entropy_with_logits(
            input, target, weight=self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class NLLLoss(_Loss):
    """Minus the log-probabilities of the target classes.

    Args:
        weight: tensor (c,) float, a factor for each class, or None.
        ignore_index: cases with this target do not count.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.NLLLoss()(gg.asarray([[-1.0, -2.0], [-3.0, -4.0]]), gg.asarray([1, 0])).item()
        2.5
    """

    _shown = ("ignore_index",)

    def __init__(self, weight: gg.Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of log-probabilities input (n, c, ...) and target (n, ...) int."""
        return losses.nll_loss(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class CrossEntropyLoss(_Loss):
    """Cross-entropy between class scores and target classes, or target probabilities.

    Args:
        weight: tensor (c,) float, a factor for each class, or None.
        ignore_index: cases with this target do not count.
        reduction: 'mean', 'sum' or 'none'.
        label_smoothing: the share of the target that is spread evenly over the classes.

    Example:
        >>> import gorgo as gg
        >>> loss = gg.nn.CrossEntropyLoss()(gg.zeros((2, 4)), gg.asarray([0, 3]))
        >>> round(loss.item(), 4)
        1.3863
    """

    _shown = (
        "ignore_index",
        "label_smoothing",
    )

    def __init__(
        self,
        weight: gg.Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of logits input (n, c, ...) and target (n, ...) int or (n, c, ...)."""
        return losses.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class KLDivLoss(_Loss):
    """Kullback-Leibler divergence of log-probabilities from target probabilities.

    Args:
        reduction: 'batchmean', 'mean', 'sum' or 'none'.
        log_target: whether targets are logarithms.

    Example:
        >>> import gorgo as gg
        >>> even = gg.full((1, 2), 0.5)
        >>> gg.nn.KLDivLoss("batchmean")(gg.log(even), even).item()
        0.0
    """

    _shown = ("log_target",)

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of log-probabilities input (...) and target (...)."""
        return losses.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class HingeEmbeddingLoss(_Loss):
    """Distances of what belongs together, and what others lack to a margin.

    Args:
        margin: the distance wanted of what does not belong together.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.HingeEmbeddingLoss()(gg.asarray([3.0, 0.5]), gg.asarray([1, -1])).item()
        1.75
    """

    _shown = ("margin",)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of distances input (...) and target (...) of 1 and -1."""
        return margin_losses.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    """What the differences of two scores lack to a margin in the wanted direction.

    Args:
        margin: the difference wanted.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.MarginRankingLoss()(gg.asarray([1.0]), gg.asarray([3.0]), gg.asarray([1])).item()
        2.0
    """

    _shown = ("margin",)

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: gg.Tensor, input2: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of input1 (...), input2 (...) and target (...) of 1 and -1."""
        return margin_losses.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """Logistic loss of scores for targets 1 and -1.

    Args:
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.SoftMarginLoss()(gg.asarray([1000.0]), gg.asarray([-1])).item()
        1000.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of scores input (...) and target (...) of 1 and -1."""
        return margin_losses.soft_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(_Loss):
    """How far other classes' scores come within a margin of the target's.

    Args:
        p: the power, 1 or 2.
        margin: the distance wanted.
        weight: tensor (c,) float, a factor for each class, or None.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.MultiMarginLoss()(gg.asarray([[0.0, 0.5, 3.0]]), gg.asarray([1])).item(), 4)
        1.3333
    """

    _shown = (
        "p",
        "margin",
    )

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: gg.Tensor | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.p = p
        self.margin = margin
        self.register_buffer("weight", weight)

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of scores input (n, c) and target (n,) int."""
        return margin_losses.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class MultiLabelMarginLoss(_Loss):
    """How far scores of classes outside a set come within 1 of those inside.

    Args:
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.MultiLabelMarginLoss()(gg.asarray([[0.0, 0.5, 3.0]]), gg.asarray([[2, -1, 0]])).item()
        0.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of scores input (n, c) and target (n, c) int, labels up to the first -1."""
        return margin_losses.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_Loss):
    """Two-class cross-entropy of each class's score, averaged over the classes.

    Args:
        weight: tensor that broadcasts to the scores, a factor for each class, or None.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> loss = gg.nn.MultiLabelSoftMarginLoss()(gg.zeros((1, 3)), gg.asarray([[1.0, 0.0, 1.0]]))
        >>> round(loss.item(), 4)
        0.6931
    """

    def __init__(self, weight: gg.Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of scores input (..., c) and target (..., c)."""
        return margin_losses.multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)


class TripletMarginLoss(_Loss):
    """How far anchors are closer to negatives than a margin beyond their positives.

    Args:
        margin: the difference of distances wanted; positive.
        p: the norm.
        eps: added to differences.
        swap: whether the positive stands in for the anchor where it is closer to the negative.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> a, p, n = gg.zeros((1, 1)), gg.ones((1, 1)), gg.full((1, 1), 1.5)
        >>> round(gg.nn.TripletMarginLoss()(a, p, n).item(), 4)
        0.5
    """

    _shown = (
        "margin",
        "p",
        "eps",
        "swap",
    )

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: gg.Tensor, positive: gg.Tensor, negative: gg.Tensor) -> gg.Tensor:
        """Return the loss of anchor, positive and negative (..., d)."""
        return margin_losses.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class CosineEmbeddingLoss(_Loss):
    """Cosines that what belongs together lacks, and others have beyond a margin.

    Args:
        margin: the cosine that is small enough for what does not belong together.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> x, y = gg.asarray([[1.0, 0.0]]), gg.asarray([[0.0, 1.0]])
        >>> gg.nn.CosineEmbeddingLoss()(x, y, gg.asarray([1])).item()
        1.0
    """

    _shown = ("margin",)

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: gg.Tensor, input2: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of input1 (n, d), input2 (n, d) and target (n,) of 1 and -1."""
        return margin_losses.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class GaussianNLLLoss(_Loss):
    """Minus the log-likelihood of targets under normal distributions.

    Args:
        full: whether the constant log(2 pi) / 2 is added.
        eps: the least variance.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.GaussianNLLLoss()(gg.asarray([1.0]), gg.asarray([3.0]), 1.0).item()
        2.0
    """

    _shown = (
        "full",
        "eps",
    )

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: gg.Tensor, target: gg.Tensor, var: gg.Tensor | float) -> gg.Tensor:
        """Return the loss of means input (...), target (...) and var."""
        return losses.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class PoissonNLLLoss(_Loss):
    """Minus the log-likelihood of counts under Poisson distributions.

    Args:
        log_input: whether inputs are logarithms.
        full: whether Stirling's approximation is added for targets above 1.
        eps: added to inputs before their logarithm is taken.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.PoissonNLLLoss()(gg.asarray([0.0]), gg.asarray([5.0])).item()
        1.0
    """

    _shown = (
        "log_input",
        "full",
        "eps",
    )

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, input: gg.Tensor, target: gg.Tensor) -> gg.Tensor:
        """Return the loss of input (...) and target (...)."""
        return losses.poisson_nll_loss(
            input, target, log_input=self.log_input, full=self.full, eps=self.eps, reduction=self.reduction
        )


class CTCLoss(_Loss):
    """Minus the log-probability of label sequences, over all alignments with the inputs.

    Args:
        blank: the class that stands for no label.
        reduction: 'mean', 'sum' or 'none'.
        zero_infinity: whether labels that do not fit their inputs yield zero instead of infinity.

    Example:
        >>> import gorgo as gg
        >>> even = gg.log_softmax(gg.zeros((2, 1, 2)))
        >>> round(gg.nn.CTCLoss()(even, gg.asarray([[1]]), [2], [1]).item(), 4)
        0.2877
    """

    _shown = (
        "blank",
        "zero_infinity",
    )

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: gg.Tensor, targets: gg.Tensor, input_lengths: Lengths, target_lengths: Lengths
    ) -> gg.Tensor:
        """Return the loss of log_probs (t, n, c) and targets (n, s) int with their lengths."""
        return losses.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            blank=self.blank,
            reduction=self.reduction,
            zero_infinity=self.zero_infinity,
        )


class TripletMarginWithDistanceLoss(_Loss):
    """TripletMarginLoss with a distance of one's own.

    Args:
        distance_function: gives the distances of two tensors (..., d); pairwise_distance by default.
        margin: the difference of distances wanted; positive.
        swap: whether the positive stands in for the anchor where it is closer to the negative.
        reduction: 'mean', 'sum' or 'none'.

    Example:
        >>> import gorgo as gg
        >>> x, y = gg.zeros((1, 2)), gg.ones((1, 2))
        >>> gg.nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: abs(a - b).sum(axis=-1))(x, x, y).item()
        0.0
    """

    _shown = ("margin", "swap")

    def __init__(
        self,
        *,
        distance_function: Callable[[gg.Tensor, gg.Tensor], gg.Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.distance_function = distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: gg.Tensor, positive: gg.Tensor, negative: gg.Tensor) -> gg.Tensor:
        """Return the loss of anchor, positive and negative (..., d)."""
        return margin_losses.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )

"""Gradient clipping, under the module name that PyTorch users look for.

Both functions write the gradients in place and may stand inside a captured step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import gorgo as gg

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def _gradients(parameters: gg.Tensor | Iterable[gg.Tensor], op: str) -> list[gg.Tensor]:
    given = [parameters] if isinstance(parameters, gg.Tensor) else list(parameters)
    for i, p in enumerate(given):
        if not isinstance(p, gg.Tensor):
            raise TypeError(f"{op}: parameters must be tensors, got {type(p).__name__} at position {i}")
    return [p.grad for p in given if p.grad is not None]


def _norm(x: gg.Tensor, norm_type: float) -> gg.Tensor:
    size = gg.abs(x)
    if size.dtype in (gg.float16, gg.bfloat16):
        size = size.astype(gg.float32)  # squares of small halves are 0, and their sums end at 65504
    if norm_type == 2.0:
        return (size * size).sum().sqrt()
    if norm_type == 1.0:
        return size.sum()
    if math.isinf(norm_type):
        return size.max() if norm_type > 0 else size.min()
    if norm_type == 0.0:
        return (size != 0).astype(size.dtype).sum()
    return (size**norm_type).sum() ** (1.0 / norm_type)


def clip_grad_norm_(
    parameters: gg.Tensor | Iterable[gg.Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> gg.Tensor:
    """Scale all gradients by one factor, so that their common norm is at most max_norm.

    The factor is max_norm / (norm + 1e-6), or 1 where that is less. Norms of float16 and bfloat16 gradients are
    computed in float32.

    Args:
        parameters: tensor or tensors (...) float; those without a gradient are left out.
        max_norm: the largest norm that is let pass.
        norm_type: the order of the norm, inf for the largest element.
        error_if_nonfinite: whether a norm that is infinite or not a number is an error. It reads the norm, which a
            function being recorded cannot.

    Returns:
        () float: the norm of all gradients before they were scaled.

    Raises:
        RuntimeError: the norm is not finite and error_if_nonfinite is set.
        TypeError: a parameter is no tensor.

    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013.

    Example:
        >>> import gorgo as gg
        >>> w = gg.asarray([0.0, 0.0]).requires_grad_()
        >>> (w * gg.asarray([3.0, 4.0])).sum().backward()
        >>> gg.nn.utils.clip_grad_norm_(w, 1.0).item()
        5.0
        >>> [round(g, 4) for g in w.grad.tolist()]
        [0.6, 0.8]
    """
    max_norm, norm_type = float(max_norm), float(norm_type)
    if math.isnan(norm_type):
        raise ValueError(f"clip_grad_norm_: norm_type must be a number, got {norm_type}")
    gradients = _gradients(parameters, "clip_grad_norm_")
    if not gradients:
        return gg.zeros(())
    with gg.no_grad():
        norms = [_norm(g.detach(), norm_type) for g in gradients]
        widest = gg.result_type(*norms)
        total = norms[0]
        if len(norms) > 1:
            total = _norm(gg.stack([n.to(dtype=widest, device=total.device) for n in norms]), norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise RuntimeError(
                f"clip_grad_norm_: norm of order {norm_type} must be finite, got {total.item()}"
                f" over {len(gradients)} gradients"
            )
        factor = gg.minimum(max_norm / (total + 1e-6), 1.0)
        for g in gradients:
            g.mul_(factor.to(dtype=gg.real(g).dtype if g.dtype.is_complex else g.dtype, device=g.device))
    return total


def clip_grad_value_(parameters: gg.Tensor | Iterable[gg.Tensor], clip_value: float) -> None:
    """Limit each element of the gradients to [-clip_value, clip_value]; what is not a number stays so.

    Args:
        parameters: tensor or tensors (...) float; those without a gradient are left out.
        clip_value: the limit.

    Raises:
        TypeError: a parameter is no tensor.

    Example:
        >>> import gorgo as gg
        >>> w = gg.asarray([0.0, 0.0]).requires_grad_()
        >>> (w * gg.asarray([3.0, -0.25])).sum().backward()
        >>> gg.nn.utils.clip_grad_value_([w], 1.0)
        >>> w.grad.tolist()
        [1.0, -0.25]
    """
    limit = float(clip_value)
    with gg.no_grad():
        for g in _gradients(parameters, "clip_grad_value_"):
            g.copy_(gg.maximum(gg.minimum(g.detach(), limit), -limit))

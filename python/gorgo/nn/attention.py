"""Attention as a function with PyTorch's arguments: gorgo.attention where it can be, else a composition."""

from __future__ import annotations

import math

import gorgo as gg

__all__ = ["scaled_dot_product_attention"]

# The longest vectors that the fused op takes.
_MAX_HEAD_SIZE = 512


def scaled_dot_product_attention(
    query: gg.Tensor,
    key: gg.Tensor,
    value: gg.Tensor,
    attn_mask: gg.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> gg.Tensor:
    """Mix values by the softmax of scaled products of queries and keys.

    The scores are never stored, in neither direction, unless there is dropout, or vectors are longer than 512.

    Args:
        query: tensor (..., h, l, e) float.
        key: tensor (..., h, s, e) float; with enable_gqa its heads may be fewer and divide the queries'.
        value: tensor (..., h, s, ev) float.
        attn_mask: tensor that broadcasts to (..., h, l, s): bool, where False takes a key away from a query; or float,
            added to the scores.
        dropout_p: probability in [0, 1] that a weight is dropped. Always applied: pass 0 outside of training.
        is_causal: whether query i sees the keys up to i only; not together with attn_mask.
        scale: factor of the scores; 1 / sqrt(e) by default.
        enable_gqa: whether heads of keys and values may each serve several heads of queries.

    Returns:
        Tensor (..., h, l, ev). A query that sees no key yields zero.

    Raises:
        ValueError: shapes do not fit, or both attn_mask and is_causal are given.
        TypeError: dtypes differ.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017; Dao et al., "FlashAttention", NeurIPS 2022.

    Example:
        >>> import gorgo as gg
        >>> q, k, v = gg.zeros((2, 4)), gg.ones((3, 4)), gg.asarray([[0.0], [3.0], [6.0]])
        >>> gg.nn.functional.scaled_dot_product_attention(q, k, v).tolist()
        [[3.0], [3.0]]
        >>> gg.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).tolist()
        [[0.0], [1.5]]
    """
    op = "scaled_dot_product_attention"
    if attn_mask is not None and is_causal:
        raise ValueError(f"{op}: attn_mask and is_causal must not both be given, got is_causal=True beside a mask")
    if not 0.0 <= dropout_p <= 1.0:
        raise ValueError(f"{op}: dropout_p must be in [0, 1], got {dropout_p}")
    if not enable_gqa:
        query, key, value = _with_same_axes(op, query, key, value)
    if dropout_p == 0.0 and query.shape[-1] <= _MAX_HEAD_SIZE and value.shape[-1] <= _MAX_HEAD_SIZE:
        return gg.attention(query, key, value, attn_mask, is_causal=is_causal, scale=scale)[0]
    if key.ndim > 2 and key.shape[-3] != query.shape[-3]:
        shared = query.shape[-3] // key.shape[-3]
        key, value = (gg.repeat(x, shared, axis=-3) for x in (key, value))
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    if dropout_p > 0.0:
        weights = gg.random.dropout(weights, dropout_p)
    return gg.matmul(weights, value)


def _with_same_axes(op: str, *tensors: gg.Tensor) -> tuple[gg.Tensor, ...]:
    """Broadcast the leading axes."""
    if all(t.ndim >= 2 and t.shape[:-2] == tensors[0].shape[:-2] for t in tensors):
        return tensors
    if any(t.ndim < 2 for t in tensors):
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        raise ValueError(f"{op}: query, key and value must have two axes or more, got shapes {shapes}")
    try:
        lead = gg.broadcast_shapes(*[tuple(t.shape[:-2]) for t in tensors])
    except ValueError:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        raise ValueError(
            f"{op}: leading axes of query, key and value must broadcast (enable_gqa lets heads be shared), got {shapes}"
        ) from None
    return tuple(gg.broadcast_to(t, (*lead, *t.shape[-2:])) for t in tensors)


def attention_weights(
    query: gg.Tensor, key: gg.Tensor, mask: gg.Tensor | None, is_causal: bool, scale: float | None
) -> gg.Tensor:
    """Return the softmax of the scores, zeros for a query that sees no key."""
    scores = gg.matmul(query, gg.swapaxes(key, -1, -2)) * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    visible = None
    if mask is not None and mask.dtype == gg.bool:
        visible = mask
    elif mask is not None:
        visible = mask > -math.inf
        scores = scores + gg.where(visible, mask, 0.0)
    if is_causal:
        before = gg.tril(gg.ones(scores.shape[-2:], dtype=gg.bool, device=scores.device))
        visible = before if visible is None else gg.logical_and(visible, before)
    if visible is None:
        return gg.softmax(scores, axis=-1)
    hidden = gg.where(visible, scores, float(gg.finfo(scores.dtype).min))
    return gg.where(visible, gg.softmax(hidden, axis=-1), 0.0)

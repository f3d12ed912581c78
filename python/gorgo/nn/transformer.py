"""Multi-head attention and transformer encoders, with PyTorch's arguments and state names."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import gorgo as gg
from gorgo.arguments import as_integer, named_integers
from gorgo.nn import functional, init
from gorgo.nn.attention import attention_weights, scaled_dot_product_attention
from gorgo.nn.containers import ModuleList
from gorgo.nn.layers import Dropout, Linear
from gorgo.nn.module import Module, Parameter
from gorgo.nn.norm import LayerNorm

__all__ = ["MultiheadAttention", "TransformerEncoder", "TransformerEncoderLayer"]


def _as_seen(mask: gg.Tensor) -> gg.Tensor:
    """Turn the layers' masks, where True hides, into the function's, where True shows; numbers stay."""
    return gg.logical_not(mask) if mask.dtype == gg.bool else mask


def _both(a: gg.Tensor | None, b: gg.Tensor | None, dtype: Any) -> gg.Tensor | None:
    """Return one mask for two, either of which may be absent."""
    if a is None or b is None:
        return b if a is None else a
    if a.dtype == gg.bool and b.dtype == gg.bool:
        return gg.logical_and(a, b)

    def numbers(mask: gg.Tensor) -> gg.Tensor:
        return gg.where(mask, 0.0, -math.inf).astype(dtype) if mask.dtype == gg.bool else mask

    return numbers(a) + numbers(b)


class MultiheadAttention(Module):
    """Attention of several heads, each on its share of projected queries, keys and values.

    Args:
        embed_dim: size of queries and of the result; a multiple of num_heads.
        num_heads: how many heads.
        dropout: probability that a weight is dropped while training.
        bias: whether projections have one.
        add_bias_kv: whether a trained key and value are added.
        add_zero_attn: whether a key and value of zeros are added.
        kdim: size of keys, embed_dim by default.
        vdim: size of values, embed_dim by default.
        batch_first: whether the batch is axis 0 instead of axis 1.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Raises:
        ValueError: num_heads does not divide embed_dim.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Example:
        >>> import gorgo as gg
        >>> x = gg.ones((2, 5, 8))
        >>> out, weights = gg.nn.MultiheadAttention(8, 2, batch_first=True)(x, x, x)
        >>> out.shape, weights.shape
        ((2, 5, 8), (2, 5, 5))
    """

    in_proj_weight: gg.Tensor | None
    in_proj_bias: gg.Tensor | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        embed_dim, num_heads = named_integers("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads != 0:
            raise ValueError(
                f"MultiheadAttention: num_heads must divide embed_dim, got num_heads {num_heads}, embed_dim {embed_dim}"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"MultiheadAttention: dropout must be in [0, 1], got {dropout}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.kdim = embed_dim if kdim is None else as_integer("MultiheadAttention", "kdim", kdim)
        self.vdim = embed_dim if vdim is None else as_integer("MultiheadAttention", "vdim", vdim)
        if self.kdim < 1 or self.vdim < 1:
            raise ValueError(f"MultiheadAttention: sizes must be positive, got kdim {self.kdim}, vdim {self.vdim}")
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn

        def drawn(*shape: int) -> gg.Tensor:
            return Parameter(init.xavier_uniform_(gg.empty(shape, dtype=dtype, device=device)))

        self.register_parameter("in_proj_weight", None)
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v"):
            self.register_parameter(name, None)
        if self.kdim == embed_dim and self.vdim == embed_dim:
            self.in_proj_weight = drawn(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = drawn(embed_dim, embed_dim)
            self.k_proj_weight = drawn(embed_dim, self.kdim)
            self.v_proj_weight = drawn(embed_dim, self.vdim)
        if bias:
            self.in_proj_bias = Parameter(gg.zeros((3 * embed_dim,), dtype=dtype, device=device))
        self.out_proj = Linear(embed_dim, embed_dim, bias, device=device, dtype=dtype)
        if bias:
            init.zeros_(self.out_proj.bias)
        if add_bias_kv:
            for name in ("bias_k", "bias_v"):
                row = init.xavier_normal_(gg.empty((1, 1, embed_dim), dtype=dtype, device=device))
                setattr(self, name, Parameter(row))

    def forward(
        self,
        query: gg.Tensor,
        key: gg.Tensor,
        value: gg.Tensor,
        key_padding_mask: gg.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: gg.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[gg.Tensor, gg.Tensor | None]:
        """Return what the queries gather, and the weights.

        Args:
            query: tensor (l, n, embed_dim), or (n, l, embed_dim) with batch_first; or (l, embed_dim) for a single case.
            key: tensor (s, n, kdim), laid out likewise.
            value: tensor (s, n, vdim), laid out likewise.
            key_padding_mask: tensor (n, s) or (s,): bool, True hides a key; or float, added to the scores.
            need_weights: whether weights are returned; the scores are stored for that.
            attn_mask: tensor (l, s) or (n * num_heads, l, s): bool, True hides a key from a query; or float.
            average_attn_weights: whether weights are averaged over the heads.
            is_causal: says that attn_mask hides the keys behind each query; without one it does so itself.

        Returns:
            Tensor laid out like query, and None or a tensor (n, l, s) or (n, num_heads, l, s), without n for one case.

        Raises:
            ValueError: shapes do not fit.
        """
        single = query.ndim == 2
        same = query is key and key is value
        if single:
            query, key, value = (gg.expand_dims(x, axis=0) for x in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = gg.expand_dims(key_padding_mask, axis=0)
        elif not self.batch_first:
            query, key, value = (gg.swapaxes(x, 0, 1) for x in (query, key, value))
        self._check(query, key, value)
        n, length, _ = query.shape
        q, k, v = self._project(query, key, value, same)
        mask = self._mask(attn_mask, n, length, k.shape[1])
        padding = None if key_padding_mask is None else self._padding(key_padding_mask, n, k.shape[1])
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (
                gg.concat([x, gg.broadcast_to(row, (n, 1, self.embed_dim))], axis=1)
                for x, row in ((k, self.bias_k), (v, self.bias_v))
            )
        if self.add_zero_attn:
            k, v = (
                gg.concat([x, gg.zeros((n, 1, self.embed_dim), dtype=x.dtype, device=x.device)], axis=1) for x in (k, v)
            )
        hides = is_causal and mask is None
        if hides and k.shape[1] != key.shape[1]:  # added keys are seen by all
            mask = gg.tril(gg.ones((length, key.shape[1]), dtype=gg.bool, device=q.device))
            hides = False
        mask, padding = (self._widened(m, k.shape[1]) for m in (mask, padding))
        mask = _both(mask, padding, q.dtype)
        if hides and mask is not None:
            mask = _both(mask, gg.tril(gg.ones((length, k.shape[1]), dtype=gg.bool, device=q.device)), q.dtype)
            hides = False
        q, k, v = (self._heads(x) for x in (q, k, v))
        dropped = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = attention_weights(q, k, mask, hides, None)
            if dropped > 0.0:
                weights = gg.random.dropout(weights, dropped)
            mixed = gg.matmul(weights, v)
            if average_attn_weights:
                weights = weights.mean(axis=1)
            if single:
                weights = weights[0]
        else:
            mixed = scaled_dot_product_attention(q, k, v, mask, dropped, hides)
        out = self.out_proj(gg.swapaxes(mixed, 1, 2).reshape((n, length, self.embed_dim)))
        if single:
            return out[0], weights
        return out if self.batch_first else gg.swapaxes(out, 0, 1), weights

    def _check(self, query: gg.Tensor, key: gg.Tensor, value: gg.Tensor) -> None:
        sizes = (self.embed_dim, self.kdim, self.vdim)
        fits = all(x.ndim == 3 and x.shape[-1] == size for x, size in zip((query, key, value), sizes, strict=True))
        if not fits or query.shape[0] != key.shape[0] or key.shape[:2] != value.shape[:2]:
            raise ValueError(
                f"MultiheadAttention: query, key and value must have one batch, as many keys as values, sizes {sizes},"
                f" got (batch first) {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
            )

    def _project(
        self, query: gg.Tensor, key: gg.Tensor, value: gg.Tensor, same: bool
    ) -> tuple[gg.Tensor, gg.Tensor, gg.Tensor]:
        size = self.embed_dim
        if self.in_proj_weight is not None and same:
            joined = functional.linear(query, self.in_proj_weight, self.in_proj_bias)
            return joined[..., :size], joined[..., size : 2 * size], joined[..., 2 * size :]
        weights: list[gg.Tensor] = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        if self.in_proj_weight is not None:
            weights = [self.in_proj_weight[i * size : (i + 1) * size] for i in range(3)]
        biases: list[gg.Tensor | None] = [None] * 3
        if self.in_proj_bias is not None:
            biases = [self.in_proj_bias[i * size : (i + 1) * size] for i in range(3)]
        q, k, v = (functional.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def _heads(self, x: gg.Tensor) -> gg.Tensor:
        """(n, l, embed_dim) as (n, heads, l, head_dim)."""
        return gg.swapaxes(x.reshape((*x.shape[:2], self.num_heads, self.head_dim)), 1, 2)

    def _mask(self, mask: gg.Tensor | None, n: int, length: int, keys: int) -> gg.Tensor | None:
        if mask is None:
            return None
        shape = tuple(mask.shape)
        if shape == (length, keys):
            return _as_seen(mask)
        if shape != (n * self.num_heads, length, keys):
            raise ValueError(
                f"MultiheadAttention: attn_mask must have shape {(length, keys)} or"
                f" {(n * self.num_heads, length, keys)}, got {shape}"
            )
        return _as_seen(mask).reshape((n, self.num_heads, length, keys))

    def _padding(self, mask: gg.Tensor, n: int, keys: int) -> gg.Tensor:
        if tuple(mask.shape) != (n, keys):
            raise ValueError(
                f"MultiheadAttention: key_padding_mask must have shape {(n, keys)}, got {tuple(mask.shape)}"
            )
        return _as_seen(mask).reshape((n, 1, 1, keys))

    def _widened(self, mask: gg.Tensor | None, keys: int) -> gg.Tensor | None:
        """Let the added keys be seen."""
        if mask is None or mask.shape[-1] == keys:
            return mask
        more = (*mask.shape[:-1], keys - mask.shape[-1])
        seen = gg.full(more, mask.dtype == gg.bool, dtype=mask.dtype, device=mask.device)
        return gg.concat([mask, seen], axis=-1)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.embed_dim}, {self.num_heads}, batch_first={self.batch_first}"


class TransformerEncoderLayer(Module):
    """Self-attention and two linear layers, each with a residual and a norm.

    Args:
        d_model: size of the vectors.
        nhead: heads of the attention.
        dim_feedforward: size between the linear layers.
        dropout: probability while training.
        activation: between the linear layers: 'relu', 'gelu' or a function.
        layer_norm_eps: of the norms.
        batch_first: whether the batch is axis 0 instead of axis 1.
        norm_first: whether the norms stand before instead of after.
        bias: whether linear layers and norms have one.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Raises:
        ValueError: nhead does not divide d_model, or activation is unknown.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)(gg.ones((3, 5, 8))).shape
        (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[gg.Tensor], gg.Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        known = {"relu": gg.relu, "gelu": gg.gelu}
        if isinstance(activation, str) and activation not in known:
            raise ValueError(f"TransformerEncoderLayer: activation must be 'relu' or 'gelu', got {activation!r}")
        place = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = known[activation] if isinstance(activation, str) else activation

    def forward(
        self,
        src: gg.Tensor,
        src_mask: gg.Tensor | None = None,
        src_key_padding_mask: gg.Tensor | None = None,
        is_causal: bool = False,
    ) -> gg.Tensor:
        """Return src (l, n, d_model), or batch first, after both parts; masks are those of MultiheadAttention."""

        def attend(x: gg.Tensor) -> gg.Tensor:
            mixed, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)
            out: gg.Tensor = self.dropout1(mixed)
            return out

        def feed(x: gg.Tensor) -> gg.Tensor:
            out: gg.Tensor = self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))
            return out

        x = src
        if self.norm_first:
            x = x + attend(self.norm1(x))
            return x + feed(self.norm2(x))
        x = self.norm1(x + attend(x))
        out: gg.Tensor = self.norm2(x + feed(x))
        return out


class TransformerEncoder(Module):
    """Several encoder layers, one after the other.

    Args:
        encoder_layer: what is copied num_layers times.
        num_layers: how many.
        norm: a last norm, or None.

    Example:
        >>> import gorgo as gg
        >>> layer = gg.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> gg.nn.TransformerEncoder(layer, 2)(gg.ones((3, 5, 8))).shape
        (3, 5, 8)
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.num_layers = as_integer("TransformerEncoder", "num_layers", num_layers)
        if self.num_layers < 1:
            raise ValueError(f"TransformerEncoder: num_layers must be positive, got {num_layers}")
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(self.num_layers)])
        self.norm = norm

    def forward(
        self,
        src: gg.Tensor,
        mask: gg.Tensor | None = None,
        src_key_padding_mask: gg.Tensor | None = None,
        is_causal: bool = False,
    ) -> gg.Tensor:
        """Return src (l, n, d_model), or batch first, after all layers."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)

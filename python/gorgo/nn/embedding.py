"""Embedding: a trained table of vectors."""

from __future__ import annotations

from typing import Any

import gorgo as gg
from gorgo.arguments import as_integer, named_integers
from gorgo.nn import functional, init
from gorgo.nn.module import Module, Parameter

__all__ = ["Embedding"]


class Embedding(Module):
    """Look up a trained vector for each index; the same index twice adds its gradients, in a fixed order.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: length of a vector.
        padding_idx: a row that starts at zero and gets no gradient; negative counts from the end.
        device: where the table lives.
        dtype: its dtype, float32 by default.

    Raises:
        ValueError: when a size is not positive or padding_idx is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Embedding(10, 3)(gg.asarray([[1, 2, 4], [4, 3, 2]])).shape
        (2, 3, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        num_embeddings, embedding_dim = named_integers(
            "Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim
        )
        padding_idx = None if padding_idx is None else as_integer("Embedding", "padding_idx", padding_idx)
        if num_embeddings < 1 or embedding_dim < 1:
            raise ValueError(
                f"Embedding: sizes must be positive, got num_embeddings {num_embeddings}, embedding_dim {embedding_dim}"
            )
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"Embedding: padding_idx must be in [{-num_embeddings}, {num_embeddings}), got {padding_idx}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        table = init.normal_(gg.empty((num_embeddings, embedding_dim), dtype=dtype, device=device))
        if self.padding_idx is not None:
            table[self.padding_idx] = 0.0
        self.weight = Parameter(table)

    def forward(self, indices: gg.Tensor) -> gg.Tensor:
        """Return the vectors (..., embedding_dim) of indices (...)."""
        return functional.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"

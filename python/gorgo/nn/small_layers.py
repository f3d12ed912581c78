"""Small layers: Unflatten, Bilinear, LocalResponseNorm, and the functions of the last two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gorgo as gg
from gorgo.arguments import as_integer, as_integers, named_integers
from gorgo.nn import init
from gorgo.nn.module import Module, Parameter

__all__ = ["Bilinear", "LocalResponseNorm", "Unflatten", "bilinear", "local_response_norm"]


def bilinear(x1: gg.Tensor, x2: gg.Tensor, weight: gg.Tensor, bias: gg.Tensor | None = None) -> gg.Tensor:
    """Compute x1^T W x2 + b for each matrix W of the weight.

    Args:
        x1: tensor (..., i) float.
        x2: tensor (..., j) float, with the same leading axes.
        weight: tensor (out, i, j).
        bias: tensor (out,), or None.

    Returns:
        Tensor (..., out).

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> import gorgo as gg
        >>> x = gg.asarray([[1.0, 2.0]])
        >>> gg.nn.functional.bilinear(x, x, gg.ones((1, 2, 2))).tolist()
        [[9.0]]
    """
    if weight.ndim != 3 or x1.ndim < 1 or x1.shape[:-1] != x2.shape[:-1]:
        raise ValueError(
            f"bilinear: x1 and x2 must have the same leading axes and weight shape (out, i, j), got {tuple(x1.shape)},"
            f" {tuple(x2.shape)} and {tuple(weight.shape)}"
        )
    out, i, j = weight.shape
    if x1.shape[-1] != i or x2.shape[-1] != j:
        raise ValueError(
            f"bilinear: x1 and x2 must end in weight's axes {i} and {j}, got {tuple(x1.shape)} and {tuple(x2.shape)}"
        )
    half = gg.matmul(x1, gg.permute_dims(weight, (1, 0, 2)).reshape((i, out * j)))
    half = half.reshape((*x1.shape[:-1], out, j))
    result = gg.matmul(half, gg.expand_dims(x2, axis=-1)).reshape((*x1.shape[:-1], out))
    return result if bias is None else result + bias


class Bilinear(Module):
    """Bilinear map of two vectors: y = x1^T W x2 + b.

    Args:
        in1_features: size of x1.
        in2_features: size of x2.
        out_features: size of the result.
        bias: whether there is one.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Raises:
        ValueError: a size is not positive.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Bilinear(2, 3, 4)(gg.ones((5, 2)), gg.ones((5, 3))).shape
        (5, 4)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        in1_features, in2_features, out_features = named_integers(
            "Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features
        )
        if min(in1_features, in2_features, out_features) < 1:
            raise ValueError(f"Bilinear: sizes must be positive, got {in1_features}, {in2_features} and {out_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        bound = in1_features**-0.5

        def drawn(*shape: int) -> gg.Tensor:
            return Parameter(init.uniform_(gg.empty(shape, dtype=dtype, device=device), -bound, bound))

        self.weight = drawn(out_features, in1_features, in2_features)
        self.register_parameter("bias", drawn(out_features) if bias else None)

    def forward(self, x1: gg.Tensor, x2: gg.Tensor) -> gg.Tensor:
        """Return the map of x1 (..., in1) and x2 (..., in2), shape (..., out)."""
        return bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.in1_features}, {self.in2_features}, {self.out_features}, bias={self.bias is not None}"


def local_response_norm(x: gg.Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> gg.Tensor:
    """Divide by a power of the mean square over neighbouring channels.

    Args:
        x: tensor (n, c, ...) float of rank 3 or more.
        size: how many channels are neighbours; those beyond the ends count as zero.
        alpha: factor of the mean square.
        beta: the power.
        k: what is added.

    Returns:
        Tensor like x: x / (k + alpha mean(x**2))**beta.

    Raises:
        ValueError: x has a lower rank, or size is not positive.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", NeurIPS 2012.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.local_response_norm(gg.full((1, 1, 1), 2.0), 1, alpha=1.0, beta=1.0, k=0.0).item()
        0.5
    """
    if x.ndim < 3:
        raise ValueError(f"local_response_norm: x must have shape (n, c, ...) of rank 3 or more, got {tuple(x.shape)}")
    if size < 1:
        raise ValueError(f"local_response_norm: size must be positive, got {size}")
    squares = gg.square(x)
    channels = x.shape[1]
    total = squares
    # Channel i meets channels i - size // 2 to i + (size - 1) // 2.
    for offset in range(-(size // 2), (size - 1) // 2 + 1):
        if offset == 0 or abs(offset) >= channels:
            continue
        rest = gg.zeros_like(squares[:, : abs(offset)])
        near = [squares[:, offset:], rest] if offset > 0 else [rest, squares[:, :offset]]
        total = total + gg.concat(near, axis=1)
    return x / gg.pow(total * (alpha / size) + k, beta)


class LocalResponseNorm(Module):
    """Division by a power of the mean square over neighbouring channels.

    Args:
        size: how many channels are neighbours.
        alpha: factor of the mean square.
        beta: the power.
        k: what is added.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.LocalResponseNorm(1, alpha=1.0, beta=1.0, k=0.0)(gg.full((1, 1, 1), 2.0)).item()
        0.5
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = as_integer("LocalResponseNorm", "size", size)
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the normalized x (n, c, ...)."""
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """Return the options."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class Unflatten(Module):
    """Split an axis into several: what Flatten undoes.

    Args:
        axis: which.
        unflattened_size: the sizes that take its place; one may be -1.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Unflatten(1, (2, -1))(gg.ones((3, 8))).shape
        (3, 2, 4)
    """

    def __init__(self, axis: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.axis = as_integer("Unflatten", "axis", axis)
        self.unflattened_size = as_integers("Unflatten", "unflattened_size", unflattened_size)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x with the axis split."""
        if not -x.ndim <= self.axis < x.ndim:
            raise ValueError(f"Unflatten: axis must be in [{-x.ndim}, {x.ndim}), got {self.axis}")
        axis = self.axis % x.ndim
        sizes = self.unflattened_size
        known = math.prod(n for n in sizes if n != -1)
        fits = known == x.shape[axis] if -1 not in sizes else known > 0 and x.shape[axis] % known == 0
        if not fits:
            raise ValueError(
                f"Unflatten: unflattened_size must multiply to {x.shape[axis]}, axis {axis} of x, got {sizes}"
                f" (x has shape {tuple(x.shape)})"
            )
        return x.reshape((*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        """Return the axis and sizes."""
        return f"axis={self.axis}, unflattened_size={self.unflattened_size}"

"""The layers themselves: parameters and a forward that calls one op."""

from __future__ import annotations

import math
from typing import Any

import gorgo as gg
from gorgo.arguments import named_integers
from gorgo.nn import functional, init
from gorgo.nn.module import Module, Parameter

__all__ = ["Dropout", "Flatten", "Linear", "ReLU"]


def _weights(
    shape: tuple[int, ...], bias: bool, out: int, dtype: Any, device: Any
) -> tuple[gg.Tensor, gg.Tensor | None]:
    """Return weight and bias drawn as PyTorch's layers draw theirs: uniform within 1 / sqrt(fan_in)."""
    weight = gg.empty(shape, dtype=dtype, device=device)
    init.kaiming_uniform_(weight, a=math.sqrt(5.0))
    if not bias:
        return Parameter(weight), None
    bound = 1.0 / math.sqrt(max(init.fan_in_of(weight), 1))
    return Parameter(weight), Parameter(init.uniform_(gg.empty((out,), dtype=dtype, device=device), -bound, bound))


class Linear(Module):
    """Affine map: y = x @ weight.T + bias.

    Args:
        in_features: size of the last axis of x.
        out_features: size of the last axis of the result.
        bias: whether there is one.
        device: where the parameters live.
        dtype: their dtype, float32 by default.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Linear(3, 2)(gg.ones((4, 3))).shape
        (4, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        in_features, out_features = named_integers("Linear", in_features=in_features, out_features=out_features)
        if in_features < 1 or out_features < 1:
            raise ValueError(
                f"Linear: sizes must be positive, got in_features {in_features}, out_features {out_features}"
            )
        self.in_features = in_features
        self.out_features = out_features
        self.weight, bias_value = _weights((out_features, in_features), bias, out_features, dtype, device)
        self.register_parameter("bias", bias_value)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x (..., in) @ weight.T + bias, shape (..., out)."""
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Merge the axes from start_axis to end_axis into one.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Flatten()(gg.ones((2, 3, 4))).shape
        (2, 12)
    """

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        super().__init__()
        self.start_axis, self.end_axis = named_integers("Flatten", start_axis=start_axis, end_axis=end_axis)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x with the axes merged."""
        rank = x.ndim
        first = self.start_axis + rank if self.start_axis < 0 else self.start_axis
        last = self.end_axis + rank if self.end_axis < 0 else self.end_axis
        if not 0 <= first <= last < rank:
            raise ValueError(
                f"Flatten: axes must be within rank {rank} and in order, got {self.start_axis} to {self.end_axis}"
                f" (x has shape {tuple(x.shape)})"
            )
        merged = math.prod(x.shape[first : last + 1])
        return x.reshape((*x.shape[:first], merged, *x.shape[last + 1 :]))


class ReLU(Module):
    """Positive part: max(x, 0).

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ReLU()(gg.asarray([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the positive part of x."""
        return functional.relu(x)


class Dropout(Module):
    """Set elements to zero with probability p while training.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Dropout(0.5).eval()(gg.ones((3,))).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p must be in [0, 1], got {p}")
        self.p = p

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return x with elements dropped in training mode."""
        return functional.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"

"""Activations: functions and layers made of the elementwise ops, with PyTorch's names, defaults and subgradients.

Every function is a composition, so it takes part in gradients of any order, in captured steps, and runs wherever its
ops do. An operand that a branch does not use is set to zero before the branch's curve is taken: an infinity there would
otherwise come back as a NaN in the gradient. A NaN in x stays a NaN.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import gorgo as gg
from gorgo.arguments import as_integer
from gorgo.nn.module import Module, Parameter

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "prelu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
]

# The fixed point of Klambauer et al.: layers of zero mean and unit variance keep both.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805

sigmoid = gg.sigmoid
silu = gg.silu
tanh = gg.tanh


def _check_real(x: gg.Tensor, op: str) -> None:
    """Refuse what is no tensor, and complex numbers, which have no order."""
    if not isinstance(x, gg.Tensor):
        raise TypeError(f"{op}: x must be a tensor, got {type(x).__name__}")
    if x.dtype in (gg.complex64, gg.complex128):
        raise TypeError(f"{op}: x must be real, got {x.dtype}")


def elu(x: gg.Tensor, alpha: float = 1.0) -> gg.Tensor:
    """Bend the negative side to an exponential: x above zero, alpha * (exp(x) - 1) elsewhere.

    Args:
        x: tensor (...) float.
        alpha: minus the limit on the negative side.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Source: Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units", ICLR 2016.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.elu(gg.asarray([-100.0, 2.0])).tolist()
        [-1.0, 2.0]
    """
    _check_real(x, "elu")
    above = x > 0.0
    return gg.where(above, x, alpha * gg.expm1(gg.where(above, 0.0, x)))


def selu(x: gg.Tensor) -> gg.Tensor:
    """Scale elu so that layers of zero mean and unit variance keep both.

    Args:
        x: tensor (...) float.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.functional.selu(gg.asarray(1.0)).item(), 4)
        1.0507
    """
    _check_real(x, "selu")
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def celu(x: gg.Tensor, alpha: float = 1.0) -> gg.Tensor:
    """Bend the negative side to an exponential with slope one at zero: alpha * (exp(x / alpha) - 1).

    Args:
        x: tensor (...) float.
        alpha: minus the limit on the negative side; not zero.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        ValueError: alpha is zero.
        TypeError: x is complex or no tensor.

    Source: Barron, "Continuously Differentiable Exponential Linear Units", 2017.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.celu(gg.asarray([-100.0, 3.0]), 2.0).tolist()
        [-2.0, 3.0]
    """
    _check_real(x, "celu")
    if alpha == 0.0:
        raise ValueError(f"celu: alpha must not be zero, got {alpha}")
    above = x > 0.0
    return gg.where(above, x, alpha * gg.expm1(gg.where(above, 0.0, x) / alpha))


def leaky_relu(x: gg.Tensor, negative_slope: float = 0.01) -> gg.Tensor:
    """Keep what is above zero and scale the rest.

    Args:
        x: tensor (...) float.
        negative_slope: factor of what is not above zero.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.leaky_relu(gg.asarray([-2.0, 3.0]), 0.5).tolist()
        [-1.0, 3.0]
    """
    _check_real(x, "leaky_relu")
    return gg.leaky_relu(x, negative_slope)


def rrelu(x: gg.Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> gg.Tensor:
    """Keep what is not below zero and scale the rest by random slopes.

    Args:
        x: tensor (...) float.
        lower: least slope.
        upper: end of the slopes, which are drawn evenly for each element.
        training: when false, all slopes are the middle of the range.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor, or lower or upper is no number.
        ValueError: lower is above upper, or one of them is not finite.

    Source: Xu et al., "Empirical Evaluation of Rectified Activations in Convolutional Network", 2015.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.rrelu(gg.asarray([-2.0, 3.0]), 0.25, 0.75).tolist()
        [-1.0, 3.0]
    """
    _check_real(x, "rrelu")
    _check_slopes("rrelu", lower, upper)
    slopes: gg.Tensor | float = (lower + upper) / 2
    if training:
        dtype = x.dtype if x.dtype.is_floating_point else None  # integers become float32, as outside of training
        slopes = gg.random.uniform(lower, upper, shape=tuple(x.shape), dtype=dtype, device=x.device)
    return gg.where(x >= 0.0, x, slopes * x)


def _check_slopes(op: str, lower: Any, upper: Any) -> None:
    """Raise unless lower <= upper, real numbers and finite."""
    for name, value in (("lower", lower), ("upper", upper)):
        if not isinstance(value, numbers.Real):
            raise TypeError(f"{op}: {name} must be a real number, got {type(value).__name__}")
    if not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
        raise ValueError(f"{op}: lower must be at most upper and both finite, got {lower} and {upper}")


def prelu(x: gg.Tensor, weight: gg.Tensor) -> gg.Tensor:
    """Keep what is above zero and scale the rest by a learned slope.

    Args:
        x: tensor (n, c, ...) float.
        weight: tensor () or (1,), or (c,) with a slope for each channel on axis 1.

    Returns:
        Tensor (n, c, ...).

    Raises:
        ValueError: weight has another shape.
        TypeError: x is complex or no tensor.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.prelu(gg.asarray([[-4.0, -4.0, 1.0]]), gg.asarray([0.25, 0.5, 1.0])).tolist()
        [[-1.0, -2.0, 1.0]]
    """
    _check_real(x, "prelu")
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or (weight.size != 1 and weight.size != channels):
        raise ValueError(
            f"prelu: weight must have shape (), (1,) or ({channels},), that of x's channels, got {tuple(weight.shape)}"
            f" (x has shape {tuple(x.shape)})"
        )
    slopes = weight.reshape((1, channels) + (1,) * (x.ndim - 2)) if weight.size != 1 else weight.reshape(())
    return gg.leaky_relu(x, slopes)


def hardtanh(x: gg.Tensor, min_val: float = -1.0, max_val: float = 1.0) -> gg.Tensor:
    """Hold x between two numbers; the gradient at both is zero.

    Args:
        x: tensor (...) float.
        min_val: what is lower becomes this.
        max_val: what is higher becomes this.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        ValueError: min_val is above max_val.
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.hardtanh(gg.asarray([-3.0, 0.5, 2.0])).tolist()
        [-1.0, 0.5, 1.0]
    """
    _check_real(x, "hardtanh")
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val must not be above max_val, got {min_val} and {max_val}")
    return gg.where(x <= min_val, min_val, gg.where(x >= max_val, max_val, x))


def relu6(x: gg.Tensor) -> gg.Tensor:
    """Hold x between 0 and 6.

    Args:
        x: tensor (...) float.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.relu6(gg.asarray([-1.0, 3.0, 8.0])).tolist()
        [0.0, 3.0, 6.0]
    """
    _check_real(x, "relu6")
    return hardtanh(x, 0.0, 6.0)


def hardsigmoid(x: gg.Tensor) -> gg.Tensor:
    """Approximate sigmoid by a ramp from 0 at -3 to 1 at 3.

    Args:
        x: tensor (...) float.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.hardsigmoid(gg.asarray([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    _check_real(x, "hardsigmoid")
    return gg.hardsigmoid(x)


def hardswish(x: gg.Tensor) -> gg.Tensor:
    """Approximate silu: zero up to -3, x from 3, and x * (x + 3) / 6 between; the limits at the infinities.

    Args:
        x: tensor (...) float.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.hardswish(gg.asarray([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.0, 4.0]
    """
    _check_real(x, "hardswish")
    return gg.hardswish(x)


def mish(x: gg.Tensor) -> gg.Tensor:
    """Multiply x by tanh(softplus(x)).

    Args:
        x: tensor (...) float.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Source: Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", BMVC 2020.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.functional.mish(gg.asarray(1.0)).item(), 4)
        0.8651
    """
    _check_real(x, "mish")
    return x * gg.tanh(gg.softplus(x))


def softsign(x: gg.Tensor) -> gg.Tensor:
    """Divide x by 1 + |x|.

    Args:
        x: tensor (...) float.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.softsign(gg.asarray([-1.0, 3.0])).tolist()
        [-0.5, 0.75]
    """
    _check_real(x, "softsign")
    return x / (1.0 + gg.abs(x))


def tanhshrink(x: gg.Tensor) -> gg.Tensor:
    """Subtract tanh(x) from x.

    Args:
        x: tensor (...) float.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.tanhshrink(gg.asarray([0.0, 100.0])).tolist()
        [0.0, 99.0]
    """
    _check_real(x, "tanhshrink")
    return x - gg.tanh(x)


def softshrink(x: gg.Tensor, lambd: float = 0.5) -> gg.Tensor:
    """Move x towards zero by lambd, and what is within lambd of it to zero.

    Args:
        x: tensor (...) float.
        lambd: the distance, not negative.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        ValueError: lambd is negative.
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.softshrink(gg.asarray([-2.0, 0.25, 2.0])).tolist()
        [-1.5, 0.0, 1.5]
    """
    _check_real(x, "softshrink")
    if not lambd >= 0.0:
        raise ValueError(f"softshrink: lambd must be at least 0, got {lambd}")
    return gg.where(x > lambd, x - lambd, gg.where(x < -lambd, x + lambd, x * 0.0))


def hardshrink(x: gg.Tensor, lambd: float = 0.5) -> gg.Tensor:
    """Set what is within lambd of zero to zero.

    Args:
        x: tensor (...) float.
        lambd: the distance.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.hardshrink(gg.asarray([-2.0, 0.25, 2.0])).tolist()
        [-2.0, 0.0, 2.0]
    """
    _check_real(x, "hardshrink")
    return gg.where(gg.abs(x) <= lambd, 0.0, x)


def threshold(x: gg.Tensor, threshold: float, value: float) -> gg.Tensor:
    """Replace what is not above a threshold.

    Args:
        x: tensor (...) float.
        threshold: what is above it stays.
        value: what the rest becomes.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.threshold(gg.asarray([0.5, 2.0]), 1.0, -7.0).tolist()
        [-7.0, 2.0]
    """
    _check_real(x, "threshold")
    return gg.where(x <= threshold, value, x)


def logsigmoid(x: gg.Tensor) -> gg.Tensor:
    """Compute log(sigmoid(x)) without overflow.

    Args:
        x: tensor (...) float.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.logsigmoid(gg.asarray(-200.0)).item()
        -200.0
    """
    _check_real(x, "logsigmoid")
    return -gg.softplus(-x)


def softplus(x: gg.Tensor, beta: float = 1.0, threshold: float = 20.0) -> gg.Tensor:
    """Compute log(1 + exp(beta * x)) / beta, and x itself where beta * x is above a threshold.

    Args:
        x: tensor (...) float.
        beta: sharpness of the bend; not zero.
        threshold: where the function becomes x; infinity for never, which cannot overflow here either.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        ValueError: beta is zero.
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.functional.softplus(gg.asarray(0.0), beta=2.0).item(), 4)
        0.3466
    """
    _check_real(x, "softplus")
    if beta == 0.0:
        raise ValueError(f"softplus: beta must not be zero, got {beta}")
    scaled = x if beta == 1.0 else beta * x
    bent = gg.softplus(scaled) if beta == 1.0 else gg.softplus(scaled) / beta
    # Above 20 the two differ by less than 2.1e-9, which no dtype but float64 shows there, in value or gradient.
    if threshold >= 20.0 and bent.dtype != gg.float64:
        return bent
    return gg.where(scaled > threshold, x, bent)


def gelu(x: gg.Tensor, approximate: str = "none") -> gg.Tensor:
    """Multiply x by the normal distribution function of x, or by its tanh approximation.

    Args:
        x: tensor (...) float.
        approximate: 'none' or 'tanh'.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        ValueError: approximate is something else.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.functional.gelu(gg.asarray(1.0), "tanh").item(), 4)
        0.8412
    """
    if approximate == "none":
        return gg.gelu(x)
    if approximate == "tanh":
        return gg.gelu_tanh(x)
    raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")


def glu(x: gg.Tensor, axis: int = -1) -> gg.Tensor:
    """Multiply the first half of an axis by the sigmoid of the second.

    Args:
        x: tensor (..., 2 * n, ...) float.
        axis: the one to halve.

    Returns:
        Tensor (..., n, ...) of x's dtype.

    Raises:
        ValueError: x has no axes, or an odd size there.
        IndexError: the axis is out of range.
        TypeError: x is complex or no tensor.

    Source: Dauphin et al., "Language Modeling with Gated Convolutional Networks", ICML 2017.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.glu(gg.asarray([3.0, 5.0, 0.0, 100.0])).tolist()
        [1.5, 5.0]
    """
    _check_real(x, "glu")
    if x.ndim == 0:
        raise ValueError("glu: x must have an axis to halve, got shape ()")
    if not -x.ndim <= axis < x.ndim:
        raise IndexError(f"glu: axis must be in [{-x.ndim}, {x.ndim}), got {axis}")
    if x.shape[axis] % 2 != 0:
        raise ValueError(f"glu: axis {axis} must have an even size, got {x.shape[axis]} (x has shape {tuple(x.shape)})")
    first, second = gg.split(x, x.shape[axis] // 2, axis)
    return first * gg.sigmoid(second)


def softmin(x: gg.Tensor, axis: int = -1) -> gg.Tensor:
    """Compute softmax(-x).

    Args:
        x: tensor (...) float.
        axis: the one that sums to one.

    Returns:
        Tensor (...) of x's dtype.

    Raises:
        TypeError: x is complex or no tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.functional.softmin(gg.asarray([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """
    _check_real(x, "softmin")
    return gg.softmax(-x, axis)


class ELU(Module):
    """Exponential linear unit: x above zero, alpha * (exp(x) - 1) elsewhere.

    Args:
        alpha: minus the limit on the negative side.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ELU()(gg.asarray([-100.0, 2.0])).tolist()
        [-1.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return elu(x)."""
        return elu(x, self.alpha)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"alpha={self.alpha}"


class SELU(Module):
    """Self-normalizing exponential linear unit.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.SELU()(gg.asarray(1.0)).item(), 4)
        1.0507
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return selu(x)."""
        return selu(x)


class CELU(Module):
    """Exponential linear unit with slope one at zero.

    Args:
        alpha: minus the limit on the negative side; not zero.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.CELU(2.0)(gg.asarray([-100.0, 3.0])).tolist()
        [-2.0, 3.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        if alpha == 0.0:
            raise ValueError(f"CELU: alpha must not be zero, got {alpha}")
        self.alpha = alpha

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return celu(x)."""
        return celu(x, self.alpha)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"alpha={self.alpha}"


class LeakyReLU(Module):
    """Keep what is above zero and scale the rest.

    Args:
        negative_slope: factor of what is not above zero.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.LeakyReLU(0.5)(gg.asarray([-2.0, 3.0])).tolist()
        [-1.0, 3.0]
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return leaky_relu(x)."""
        return leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"negative_slope={self.negative_slope}"


class RReLU(Module):
    """Keep what is not below zero and scale the rest by random slopes; by their middle when not training.

    Args:
        lower: least slope.
        upper: end of the slopes.

    Raises:
        TypeError: lower or upper is no number.
        ValueError: lower is above upper, or one of them is not finite.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.RReLU(0.25, 0.75).eval()(gg.asarray([-2.0, 3.0])).tolist()
        [-1.0, 3.0]
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        super().__init__()
        _check_slopes("RReLU", lower, upper)
        self.lower = lower
        self.upper = upper

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return rrelu(x)."""
        return rrelu(x, self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"lower={self.lower}, upper={self.upper}"


class PReLU(Module):
    """Keep what is above zero and scale the rest by learned slopes.

    Args:
        num_parameters: one slope for all, or the number of channels on axis 1.
        init: what the slopes start from.
        device: where the parameter lives.
        dtype: its dtype, float32 by default.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.PReLU()(gg.asarray([[-4.0, 1.0]])).tolist()
        [[-1.0, 1.0]]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        num_parameters = as_integer("PReLU", "num_parameters", num_parameters)
        if num_parameters < 1:
            raise ValueError(f"PReLU: num_parameters must be positive, got {num_parameters}")
        self.num_parameters = num_parameters
        self.weight = Parameter(gg.full((num_parameters,), init, dtype=dtype or gg.float32, device=device))

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return prelu(x, weight)."""
        return prelu(x, self.weight)

    def extra_repr(self) -> str:
        """Return the number of slopes."""
        return f"num_parameters={self.num_parameters}"


class ReLU6(Module):
    """Hold x between 0 and 6.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.ReLU6()(gg.asarray([-1.0, 3.0, 8.0])).tolist()
        [0.0, 3.0, 6.0]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return relu6(x)."""
        return relu6(x)


class Hardtanh(Module):
    """Hold x between two numbers.

    Args:
        min_val: what is lower becomes this.
        max_val: what is higher becomes this.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Hardtanh()(gg.asarray([-3.0, 0.5, 2.0])).tolist()
        [-1.0, 0.5, 1.0]
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        if min_val > max_val:
            raise ValueError(f"Hardtanh: min_val must not be above max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return hardtanh(x)."""
        return hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Hardsigmoid(Module):
    """Ramp from 0 at -3 to 1 at 3.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Hardsigmoid()(gg.asarray([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return hardsigmoid(x)."""
        return hardsigmoid(x)


class Hardswish(Module):
    """Multiply x by a ramp from 0 at -3 to 1 at 3.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Hardswish()(gg.asarray([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.0, 4.0]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return hardswish(x)."""
        return hardswish(x)


class Mish(Module):
    """Multiply x by tanh(softplus(x)).

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.Mish()(gg.asarray(1.0)).item(), 4)
        0.8651
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return mish(x)."""
        return mish(x)


class Softsign(Module):
    """Divide x by 1 + |x|.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Softsign()(gg.asarray([-1.0, 3.0])).tolist()
        [-0.5, 0.75]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return softsign(x)."""
        return softsign(x)


class Tanhshrink(Module):
    """Subtract tanh(x) from x.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Tanhshrink()(gg.asarray([0.0, 100.0])).tolist()
        [0.0, 99.0]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return tanhshrink(x)."""
        return tanhshrink(x)


class Softshrink(Module):
    """Move x towards zero by lambd.

    Args:
        lambd: the distance, not negative.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Softshrink()(gg.asarray([-2.0, 0.25, 2.0])).tolist()
        [-1.5, 0.0, 1.5]
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        if not lambd >= 0.0:
            raise ValueError(f"Softshrink: lambd must be at least 0, got {lambd}")
        self.lambd = lambd

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return softshrink(x)."""
        return softshrink(x, self.lambd)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"lambd={self.lambd}"


class Hardshrink(Module):
    """Set what is within lambd of zero to zero.

    Args:
        lambd: the distance.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Hardshrink()(gg.asarray([-2.0, 0.25, 2.0])).tolist()
        [-2.0, 0.0, 2.0]
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return hardshrink(x)."""
        return hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"lambd={self.lambd}"


class Threshold(Module):
    """Replace what is not above a threshold.

    Args:
        threshold: what is above it stays.
        value: what the rest becomes.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Threshold(1.0, -7.0)(gg.asarray([0.5, 2.0])).tolist()
        [-7.0, 2.0]
    """

    def __init__(self, threshold: float, value: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return threshold(x)."""
        return threshold(x, self.threshold, self.value)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"threshold={self.threshold}, value={self.value}"


class LogSigmoid(Module):
    """Logarithm of sigmoid.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.LogSigmoid()(gg.asarray(-200.0)).item()
        -200.0
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return logsigmoid(x)."""
        return logsigmoid(x)


class GLU(Module):
    """Multiply the first half of an axis by the sigmoid of the second.

    Args:
        axis: the one to halve.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.GLU()(gg.asarray([3.0, 5.0, 0.0, 100.0])).tolist()
        [1.5, 5.0]
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = as_integer("GLU", "axis", axis)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return glu(x)."""
        return glu(x, self.axis)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"axis={self.axis}"


class Softmax(Module):
    """Exponentials that sum to one along an axis.

    Args:
        axis: the one that sums to one.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Softmax()(gg.asarray([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = as_integer("Softmax", "axis", axis)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return gg.softmax(x)."""
        return gg.softmax(x, self.axis)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"axis={self.axis}"


class LogSoftmax(Module):
    """Logarithm of softmax.

    Args:
        axis: the one along which softmax sums to one.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.LogSoftmax()(gg.asarray([0.0, 300.0])).tolist()
        [-300.0, 0.0]
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = as_integer("LogSoftmax", "axis", axis)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return gg.log_softmax(x)."""
        return gg.log_softmax(x, self.axis)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"axis={self.axis}"


class Softmin(Module):
    """Softmax of -x.

    Args:
        axis: the one that sums to one.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Softmin()(gg.asarray([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = as_integer("Softmin", "axis", axis)

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return softmin(x)."""
        return softmin(x, self.axis)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"axis={self.axis}"


class Softmax2d(Module):
    """Softmax over the channels of images (n, c, h, w) or (c, h, w).

    Raises:
        TypeError: x is complex or no tensor.
        ValueError: x has neither three nor four axes.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Softmax2d()(gg.zeros((2, 1, 1))).tolist()
        [[[0.5]], [[0.5]]]
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return softmax(x) along axis -3."""
        _check_real(x, "Softmax2d")
        if x.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: tensor must have 3 or 4 axes, got {x.ndim}")
        return gg.softmax(x, axis=-3)


class Softplus(Module):
    """Smooth ramp log(1 + exp(beta * x)) / beta.

    Args:
        beta: sharpness of the bend; not zero.
        threshold: the ramp is x itself where beta * x is above it.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.Softplus(2.0)(gg.asarray(0.0)).item(), 4)
        0.3466
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        if beta == 0.0:
            raise ValueError(f"Softplus: beta must not be zero, got {beta}")
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return softplus(x)."""
        return softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """Logistic function 1 / (1 + exp(-x)).

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Sigmoid()(gg.asarray(0.0)).item()
        0.5
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return gg.sigmoid(x)."""
        return gg.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Tanh()(gg.asarray(0.0)).item()
        0.0
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return gg.tanh(x)."""
        return gg.tanh(x)


class GELU(Module):
    """Multiply x by the normal distribution function of x.

    Args:
        approximate: 'none' or 'tanh'.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.GELU()(gg.asarray(1.0)).item(), 4)
        0.8413
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return gelu(x)."""
        return gelu(x, self.approximate)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """Multiply x by its sigmoid.

    Example:
        >>> import gorgo as gg
        >>> round(gg.nn.SiLU()(gg.asarray(1.0)).item(), 4)
        0.7311
    """

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return gg.silu(x)."""
        return gg.silu(x)


class Identity(Module):
    """Return x; arguments are accepted and dropped, so that it can stand for any layer.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.Identity(54, unused=True)(gg.ones((2,))).tolist()
        [1.0, 1.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        """Return x."""
        return x

"""Initial values of parameters, written in place under no_grad; formulas and names are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import gorgo as gg

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def uniform_(tensor: gg.Tensor, low: float = 0.0, high: float = 1.0) -> gg.Tensor:
    """Fill with draws from [low, high).

    Args:
        tensor: (...) float, what is filled.
        low: the lower end.
        high: the upper end.

    Returns:
        The tensor.

    Example:
        >>> import gorgo as gg
        >>> bool((gg.nn.init.uniform_(gg.empty((4,)), 1.0, 2.0) >= 1.0).all())
        True
    """
    with gg.no_grad():
        tensor.copy_(gg.random.uniform(low, high, tuple(tensor.shape), dtype=tensor.dtype, device=tensor.device))
    return tensor


def normal_(tensor: gg.Tensor, mean: float = 0.0, std: float = 1.0) -> gg.Tensor:
    """Fill with draws from the normal distribution.

    Args:
        tensor: (...) float, what is filled.
        mean: of the distribution.
        std: its standard deviation.

    Returns:
        The tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.normal_(gg.empty((2, 3))).shape
        (2, 3)
    """
    with gg.no_grad():
        tensor.copy_(gg.random.normal(mean, std, tuple(tensor.shape), dtype=tensor.dtype, device=tensor.device))
    return tensor


def trunc_normal_(tensor: gg.Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> gg.Tensor:
    """Fill with draws from the normal distribution that lie in [a, b].

    Args:
        tensor: what is filled, of any shape.
        mean: mean before the ends are cut.
        std: standard deviation before the ends are cut.
        a: the smallest value.
        b: the largest value.

    Returns:
        The tensor.

    Raises:
        ValueError: when std is not positive, or a is not below b.

    Source: rejection, from the normal distribution or, where [a, b] holds little of it, from the uniform one.

    Example:
        >>> import gorgo as gg
        >>> bool((gg.nn.init.trunc_normal_(gg.empty((9,)), a=1.0, b=2.0) >= 1.0).all())
        True
    """
    if not std > 0.0:
        raise ValueError(f"trunc_normal_: std must be positive, got {std}")
    if not a < b:
        raise ValueError(f"trunc_normal_: a must be below b, got {a} and {b}")
    low, high = (a - mean) / std, (b - mean) / std
    mass = 0.5 * (math.erf(high / math.sqrt(2.0)) - math.erf(low / math.sqrt(2.0)))
    densest = min(max(0.0, low), high)
    dtype = tensor.dtype if tensor.dtype == gg.float64 else gg.float32
    shape: Any = {"shape": tuple(tensor.shape), "dtype": dtype, "device": tensor.device}

    def propose() -> tuple[gg.Tensor, gg.Tensor]:
        if mass > 0.25:
            z = gg.random.normal(0.0, 1.0, **shape)
            return z, gg.logical_and(z >= low, z <= high)
        # Nine deviations beyond the densest point there is nothing that a draw would find.
        z = gg.random.uniform(max(low, densest - 9.0), min(high, densest + 9.0), **shape)
        return z, gg.random.uniform(0.0, 1.0, **shape) < gg.exp((densest * densest - z * z) * 0.5)

    with gg.no_grad():
        z, done = propose()
        while not bool(done.all()):
            more, kept = propose()
            z, done = gg.where(done, z, more), gg.logical_or(done, kept)
        tensor.copy_(gg.minimum(gg.maximum(z * std + mean, a), b).astype(tensor.dtype))
    return tensor


def constant_(tensor: gg.Tensor, value: float) -> gg.Tensor:
    """Fill with one number.

    Args:
        tensor: (...) float, what is filled.
        value: the number.

    Returns:
        The tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.constant_(gg.empty((2,)), 3.0)
        tensor([3., 3.])
    """
    with gg.no_grad():
        tensor.fill_(value)
    return tensor


def zeros_(tensor: gg.Tensor) -> gg.Tensor:
    """Fill with zeros.

    Args:
        tensor: (...) float, what is filled.

    Returns:
        The tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.zeros_(gg.empty((2,)))
        tensor([0., 0.])
    """
    return constant_(tensor, 0)


def ones_(tensor: gg.Tensor) -> gg.Tensor:
    """Fill with ones.

    Args:
        tensor: (...) float, what is filled.

    Returns:
        The tensor.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.ones_(gg.empty((2,)))
        tensor([1., 1.])
    """
    return constant_(tensor, 1)


def eye_(tensor: gg.Tensor) -> gg.Tensor:
    """Fill a matrix with ones on the diagonal and zeros elsewhere.

    Args:
        tensor: (m, n) float, what is filled.

    Returns:
        The tensor.

    Raises:
        ValueError: when tensor has not two axes.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.eye_(gg.empty((2, 2)))
        tensor([[1., 0.],
                [0., 1.]])
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_: tensor must have rank 2, got shape {tuple(tensor.shape)}")
    with gg.no_grad():
        tensor.copy_(gg.eye(tensor.shape[0], tensor.shape[1], dtype=tensor.dtype, device=tensor.device))
    return tensor


def dirac_(tensor: gg.Tensor, groups: int = 1) -> gg.Tensor:
    """Fill the weight (out, in, *kernel) of a convolution so that it passes its input on, in each group.

    Args:
        tensor: (out, in, *kernel) float, a weight.
        groups: of the convolution.

    Returns:
        The tensor.

    Raises:
        ValueError: when tensor has not three to five axes, or groups does not divide its first.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.dirac_(gg.empty((1, 1, 3))).tolist()
        [[[0.0, 1.0, 0.0]]]
    """
    if not 3 <= tensor.ndim <= 5:
        raise ValueError(f"dirac_: tensor must have rank 3 to 5, got shape {tuple(tensor.shape)}")
    if groups < 1 or tensor.shape[0] % groups != 0:
        raise ValueError(f"dirac_: groups must divide the first axis, got {groups} and shape {tuple(tensor.shape)}")
    size = tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    with gg.no_grad():
        tensor.fill_(0)
        for group in range(groups if size > 0 else 0):
            for channel in range(min(size, tensor.shape[1])):
                tensor[(group * size + channel, channel, *middle)] = 1.0
    return tensor


def orthogonal_(tensor: gg.Tensor, gain: float = 1.0) -> gg.Tensor:
    """Fill with a random matrix of orthonormal rows or columns, the axes after the first taken as one.

    Args:
        tensor: (m, ...) float, what is filled.
        gain: the length of each row or column.

    Returns:
        The tensor.

    Raises:
        ValueError: when tensor has fewer than two axes.

    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", ICLR 2014; the signs of R's diagonal make the distribution uniform.

    Example:
        >>> import gorgo as gg
        >>> w = gg.nn.init.orthogonal_(gg.empty((2, 5)))
        >>> bool(gg.all(gg.abs(w @ w.T - gg.eye(2)) < 1e-5))
        True
    """
    import numpy as np

    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor must have rank 2 or more, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    drawn = gg.random.normal(0.0, 1.0, (max(rows, columns), min(rows, columns)), dtype=gg.float64).numpy()
    q, r = np.linalg.qr(drawn)
    q = q * np.sign(np.diag(r))
    flat = np.ascontiguousarray(q if rows >= columns else q.T).reshape(tuple(tensor.shape))
    with gg.no_grad():
        tensor.copy_(gg.asarray(gain * flat).to(dtype=tensor.dtype, device=tensor.device))
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights make up for what a nonlinearity takes from the variance.

    Args:
        nonlinearity: 'linear', 'conv1d' to 'conv3d', 'conv_transpose1d' to 'conv_transpose3d', 'sigmoid', 'tanh',
            'relu', 'leaky_relu' or 'selu'.
        param: the slope of leaky_relu, 0.01 by default.

    Returns:
        float: the factor.

    Raises:
        ValueError: for another name.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.calculate_gain("leaky_relu", 1.0)
        1.0
    """
    if nonlinearity in ("linear", "sigmoid") or str(nonlinearity).startswith("conv"):
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1.0 + slope * slope))
    gains = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: nonlinearity must be linear, conv*, sigmoid, leaky_relu, {', '.join(gains)},"
            f" got {nonlinearity!r}"
        )
    return gains[nonlinearity]


def fan_in_of(tensor: gg.Tensor) -> int:
    """Return the number of inputs that feed one output of a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ValueError(f"fan_in_of: tensor must have rank 2 or more, got shape {tuple(tensor.shape)}")
    return math.prod(tensor.shape[1:])


def _fans(tensor: gg.Tensor, name: str) -> tuple[int, int]:
    """Return how many inputs feed an output of a weight (out, in, *kernel), and how many outputs an input feeds."""
    if tensor.ndim < 2:
        raise ValueError(f"{name}: tensor must have rank 2 or more, got shape {tuple(tensor.shape)}")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def xavier_uniform_(tensor: gg.Tensor, gain: float = 1.0) -> gg.Tensor:
    """Fill with the uniform distribution that keeps variance forwards and backwards.

    Args:
        tensor: (out, in, *kernel) float, a weight.
        gain: a factor, as `calculate_gain` gives it.

    Returns:
        The tensor.

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.

    Example:
        >>> import gorgo as gg
        >>> w = gg.nn.init.xavier_uniform_(gg.empty((4, 2)))
        >>> bool(gg.all(gg.abs(w) <= 1.0))
        True
    """
    bound = gain * math.sqrt(6.0 / max(sum(_fans(tensor, "xavier_uniform_")), 1))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: gg.Tensor, gain: float = 1.0) -> gg.Tensor:
    """Fill with the normal distribution that keeps variance forwards and backwards.

    Args:
        tensor: (out, in, *kernel) float, a weight.
        gain: a factor, as `calculate_gain` gives it.

    Returns:
        The tensor.

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.xavier_normal_(gg.empty((4, 2))).shape
        (4, 2)
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(sum(_fans(tensor, "xavier_normal_")), 1)))


def _kaiming_std(tensor: gg.Tensor, a: float, mode: str, nonlinearity: str, name: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(tensor, name)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: gg.Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> gg.Tensor:
    """Fill with the uniform distribution that keeps variance through a nonlinearity.

    Args:
        tensor: weight (out, in, *kernel).
        a: slope of leaky_relu.
        mode: 'fan_in' keeps variance forwards, 'fan_out' backwards.
        nonlinearity: as for calculate_gain.

    Returns:
        The tensor.

    Raises:
        ValueError: when tensor has fewer than two axes, or a name is unknown.

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015, eq. 10 and 14.

    Example:
        >>> import gorgo as gg
        >>> w = gg.nn.init.kaiming_uniform_(gg.empty((4, 6)))
        >>> bool(gg.all(gg.abs(w) <= 1.0))
        True
    """
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: gg.Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> gg.Tensor:
    """Fill with the normal distribution that keeps variance through a nonlinearity; see kaiming_uniform_.

    Args:
        tensor: (out, in, *kernel) float, a weight.
        a: the slope of a leaky ReLU below 0.
        mode: 'fan_in' keeps variance forwards, 'fan_out' backwards.
        nonlinearity: as for `calculate_gain`.

    Returns:
        The tensor.

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015, eq. 10 and 14.

    Example:
        >>> import gorgo as gg
        >>> gg.nn.init.kaiming_normal_(gg.empty((4, 6))).shape
        (4, 6)
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_normal_"))

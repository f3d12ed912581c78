"""Random numbers that depend on (seed, counter, index) alone, whatever the shape split, the device or the threads.

A generator is two numbers, seed and counter, in a tensor. Each call takes the next counter, however much it draws;
element i of what it draws is a function of seed, counter and i (Philox 4x32-10). Since the state is a tensor, captured
functions replay with fresh numbers. Parameters may be numbers or tensors.
Read next: gorgo/random_generator.py (streams), gorgo/random_distributions.py (what is made of uniforms and normals).
"""

from __future__ import annotations

import math
from typing import Any

import gorgo as gg
from gorgo import _core
from gorgo.arguments import device_of
from gorgo.random_distributions import (
    beta,
    binomial,
    cauchy,
    checked,
    chisquare,
    dirichlet,
    drawn_dtype,
    drawn_shape,
    exponential,
    gamma,
    geometric,
    gumbel,
    laplace,
    log_normal,
    logistic,
    lognormal,
    pareto,
    poisson,
    rayleigh,
    sizes_of,
    truncated_normal,
    weibull,
)
from gorgo.random_generator import (
    Generator,
    Real,
    Shape,
    default_generator,
    get_state,
    key_of,
    manual_seed,
    seed,
    set_state,
)

__all__ = [
    "Generator",
    "bernoulli",
    "bernoulli_",
    "beta",
    "binomial",
    "cauchy",
    "cauchy_",
    "chisquare",
    "choice",
    "default_generator",
    "dirichlet",
    "dropout",
    "exponential",
    "exponential_",
    "gamma",
    "geometric",
    "geometric_",
    "get_state",
    "gumbel",
    "integers",
    "laplace",
    "log_normal",
    "log_normal_",
    "logistic",
    "lognormal",
    "manual_seed",
    "multinomial",
    "normal",
    "normal_",
    "pareto",
    "permutation",
    "permuted",
    "poisson",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "rayleigh",
    "seed",
    "set_state",
    "shuffle",
    "truncated_normal",
    "uniform",
    "uniform_",
    "weibull",
]


def uniform(
    low: Real = 0.0,
    high: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw numbers that are uniform in [low, high).

    Args:
        low: the lower end.
        high: the upper end; rounding may reach it when it is not 1.
        shape: the shape of the result; that of low and high when None.
        dtype: a real floating one; that of low and high when None, float32 when they are numbers.
        device: where the numbers are made; that of low and high when None, the cpu when they are numbers.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the numbers.

    Raises:
        ValueError: low and high are numbers, and low is above high.

    Source:
        Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Example:
        >>> import gorgo as gg
        >>> gg.random.uniform(-1.0, 1.0, (2, 3)).shape
        (2, 3)
    """
    sizes, to = drawn_shape("uniform", shape, low, high), drawn_dtype("random_uniform", dtype, low, high)
    if isinstance(low, gg.Tensor) or isinstance(high, gg.Tensor):
        return (
            low + (high - low) * _core.random_uniform(key_of(generator, device, low, high), sizes, 0.0, 1.0, to)
        ).astype(to)
    return _core.random_uniform(key_of(generator, device, low, high), sizes, low, high, to)


def normal(
    mean: Real = 0.0,
    std: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw normally distributed numbers.

    Args:
        mean: the mean.
        std: the standard deviation.
        shape: the shape of the result; that of mean and std when None.
        dtype: a real floating one; that of mean and std when None, float32 when they are numbers.
        device: where the numbers are made; that of mean and std when None, the cpu when they are numbers.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the numbers.

    Raises:
        ValueError: an entry of std is negative.

    Source:
        Box, Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29 (1958).

    Example:
        >>> import gorgo as gg
        >>> gg.random.normal(0.0, 2.0, (4,)).shape
        (4,)
    """
    sizes, to = drawn_shape("normal", shape, mean, std), drawn_dtype("random_normal", dtype, mean, std)
    if isinstance(mean, gg.Tensor) or isinstance(std, gg.Tensor):
        std = checked("normal", "std", std, "not negative")
        return (mean + std * _core.random_normal(key_of(generator, device, mean, std), sizes, 0.0, 1.0, to)).astype(to)
    return _core.random_normal(key_of(generator, device, mean, std), sizes, mean, std, to)


def randint(
    low: int,
    high: int,
    shape: Shape = (),
    *,
    dtype: gg.dtype = gg.int64,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw integers that are uniform in [low, high).

    Args:
        low: the lowest.
        high: one above the highest.
        shape: the shape of the result.
        dtype: an integer one.
        device: where the numbers are made; the cpu when None.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) integer: the numbers.

    Raises:
        ValueError: low is not below high.
        OverflowError: the range does not fit the dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.random.randint(5, 6, (2,)).tolist()
        [5, 5]
    """
    return _core.random_randint(key_of(generator, device), shape, low, high, dtype)


def integers(
    low: int,
    high: int | None = None,
    shape: Shape = (),
    *,
    endpoint: bool = False,
    dtype: gg.dtype = gg.int64,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw integers that are uniform from low to high, or from 0 to low when high is None, as NumPy's generators do.

    Args:
        low: the lowest, or what lies one above the highest when high is None.
        high: one above the highest; the highest itself with endpoint.
        shape: the shape of the result.
        endpoint: whether the upper end may be drawn.
        dtype: an integer one.
        device: where the numbers are made; the cpu when None.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) integer: the numbers.

    Raises:
        ValueError: the range is empty.
        OverflowError: the range does not fit the dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.random.integers(1, shape=(2,)).tolist(), gg.random.integers(3, 3, (2,), endpoint=True).tolist()
        ([0, 0], [3, 3])
    """
    first, last = (0, low) if high is None else (low, high)
    return randint(first, last + endpoint, shape, dtype=dtype, device=device, generator=generator)


def bernoulli(
    p: Real = 0.5, shape: Shape | None = None, *, device: str | None = None, generator: Generator | None = None
) -> gg.Tensor:
    """Draw bools that are true with probability p.

    Args:
        p: the probability, in [0, 1].
        shape: the shape of the result; that of p when None.
        device: where the numbers are made; that of p when None, the cpu when it is a number.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) bool: the draws.

    Raises:
        ValueError: an entry of p is outside [0, 1].

    Example:
        >>> import gorgo as gg
        >>> gg.random.bernoulli(1.0, (2,)).tolist()
        [True, True]
    """
    sizes = drawn_shape("bernoulli", shape, p)
    if isinstance(p, gg.Tensor):
        return _core.random_bernoulli_each(key_of(generator, device, p), p, sizes)
    return _core.random_bernoulli(key_of(generator, device, p), sizes, p)


def permutation(
    x: int | gg.Tensor, axis: int = 0, *, device: str | None = None, generator: Generator | None = None
) -> gg.Tensor:
    """Draw an order: of the integers below x, or of a tensor's entries along an axis.

    Args:
        x: a number of integers, or a tensor of rank 1 or more.
        axis: along which a tensor's entries are put in order.
        device: where integers are drawn; that of the tensors among the arguments when None, else the cpu.
        generator: the stream to draw from; the default one when None.

    Returns:
        (n,) int64 or x's shape and dtype: the integers, or the entries, in random order.

    Raises:
        ValueError: the number is negative, or the tensor has rank 0.

    Example:
        >>> import gorgo as gg
        >>> sorted(gg.random.permutation(4).tolist())
        [0, 1, 2, 3]
    """
    if not isinstance(x, gg.Tensor):
        return _core.random_permutation(key_of(generator, device, x), x)
    return gg.take(
        x, _core.random_permutation(key_of(generator, device, x), _length("permutation", x, axis)), axis=axis
    )


def _length(name: str, x: gg.Tensor, axis: int) -> int:
    if x.ndim == 0:
        raise ValueError(f"{name}: x must have an axis, got shape ()")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{name}: axis must be in [{-x.ndim}, {x.ndim}), got {axis} (x has shape {tuple(x.shape)})")
    return x.shape[axis]


def shuffle(x: gg.Tensor, axis: int = 0, *, generator: Generator | None = None) -> None:
    """Put a tensor's entries along an axis in random order, in place.

    Args:
        x: the tensor, of rank 1 or more.
        axis: along which.
        generator: the stream to draw from; the default one when None.

    Raises:
        ValueError: the tensor has rank 0.

    Example:
        >>> import gorgo as gg
        >>> x = gg.arange(4)
        >>> gg.random.shuffle(x)
        >>> sorted(x.tolist())
        [0, 1, 2, 3]
    """
    with gg.no_grad():
        x.copy_(permutation(x, axis, generator=generator))


def permuted(x: gg.Tensor, axis: int = 0, *, generator: Generator | None = None) -> gg.Tensor:
    """Put the entries along an axis in random order, in another one at each position of the other axes.

    Args:
        x: the tensor, of rank 1 or more.
        axis: along which.
        generator: the stream to draw from; the default one when None.

    Returns:
        (...) as x: the entries.

    Raises:
        ValueError: the tensor has rank 0.

    Example:
        >>> import gorgo as gg
        >>> sorted(gg.random.permuted(gg.asarray([[1, 2, 3], [1, 2, 3]]), 1)[0].tolist())
        [1, 2, 3]
    """
    _length("permuted", x, axis)
    tickets = _core.random_randint(key_of(generator, None, x), tuple(x.shape), -(2**63), 2**63 - 1)
    return gg.take_along_axis(x, gg.argsort(tickets, axis=axis), axis=axis)


def choice(
    x: int | gg.Tensor,
    shape: Shape = (),
    *,
    replace: bool = True,
    p: gg.Tensor | None = None,
    axis: int = 0,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from the integers below x, or from a tensor's entries along an axis.

    Args:
        x: a number of integers, or a tensor of rank 1 or more.
        shape: the shape of the draws.
        replace: whether one entry may be drawn several times.
        p: how likely each entry is, (n,) and not negative; it need not sum to one. All equally when None.
        axis: along which a tensor's entries lie.
        device: where integers are drawn; that of the tensors among the arguments when None, else the cpu.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) int64 or (..., *shape, ...) any: the draws, in place of the axis.

    Raises:
        ValueError: there is nothing to draw from, not enough without replacement, or p does not fit.

    Example:
        >>> import gorgo as gg
        >>> gg.random.choice(gg.asarray([7, 7]), (3,)).tolist()
        [7, 7, 7]
    """
    sizes = sizes_of(shape)
    if isinstance(x, gg.Tensor):
        count, device = _length("choice", x, axis), device_of(x) if device is None else device
        positions = choice(count, sizes, replace=replace, p=p, device=device, generator=generator)
        taken = gg.take(x, positions.reshape((-1,)), axis=axis)
        at = axis % x.ndim
        return taken.reshape((*x.shape[:at], *sizes, *x.shape[at + 1 :]))
    count = math.prod(sizes)
    if not replace and count > x:
        raise ValueError(f"choice: shape must have at most {x} elements without replacement, got {sizes}")
    if p is not None:
        if tuple(p.shape) != (x,):
            raise ValueError(f"choice: p must have shape ({x},), got {tuple(p.shape)}")
        return multinomial(p, count, replace, generator=generator).reshape(sizes)
    if replace:
        return randint(0, x, sizes, device=device, generator=generator)
    return permutation(x, device=device, generator=generator)[:count].reshape(sizes)


def multinomial(
    weights: gg.Tensor, num_samples: int = 1, replacement: bool = False, *, generator: Generator | None = None
) -> gg.Tensor:
    """Draw positions in rows of weights, each as likely as its weight says.

    Args:
        weights: the weights, (n,) or (m, n), not negative; a row need not sum to one.
        num_samples: how many draws of each row.
        replacement: whether a position may be drawn several times.
        generator: the stream to draw from; the default one when None.

    Returns:
        (num_samples,) or (m, num_samples) int64: the positions.

    Raises:
        ValueError: a weight is negative or not finite, a row's sum is zero, or it has too few positive weights.

    Source:
        Efraimidis, Spirakis, "Weighted random sampling with a reservoir", Inf. Process. Lett. 97 (2006).

    Example:
        >>> import gorgo as gg
        >>> gg.random.multinomial(gg.asarray([0.0, 2.0, 1.0]), 1).shape
        (1,)
    """
    return _core.random_multinomial(key_of(generator, None, weights), weights, num_samples, replacement)


def dropout(x: gg.Tensor, p: float = 0.5, *, generator: Generator | None = None) -> gg.Tensor:
    """Make elements zero with probability p and divide the others by 1 - p.

    Args:
        x: the tensor, (...) float.
        p: the probability, in [0, 1].
        generator: the stream to draw from; the default one when None.

    Returns:
        (...) float: the result.

    Raises:
        ValueError: p is outside [0, 1].

    Source:
        Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).

    Example:
        >>> import gorgo as gg
        >>> gg.random.dropout(gg.ones((3,)), 1.0).tolist()
        [0.0, 0.0, 0.0]
    """
    return _core.dropout(x, key_of(generator, None, x), p)[0]


def rand(*shape: int, device: str | None = None) -> gg.Tensor:
    """Draw float32 numbers that are uniform in [0, 1).

    Args:
        *shape: the length of each axis.
        device: where the draws are made; the cpu when None.

    Returns:
        (*shape) float32: the draws.

    Example:
        >>> import gorgo as gg
        >>> gg.random.rand(2, 3).shape
        (2, 3)
    """
    return uniform(0.0, 1.0, shape, device=device)


def randn(*shape: int, device: str | None = None) -> gg.Tensor:
    """Draw float32 numbers of the standard normal distribution.

    Args:
        *shape: the length of each axis.
        device: where the draws are made; the cpu when None.

    Returns:
        (*shape) float32: the draws.

    Example:
        >>> import gorgo as gg
        >>> gg.random.randn(2, 3).shape
        (2, 3)
    """
    return normal(0.0, 1.0, shape, device=device)


def _float_of(x: gg.Tensor, dtype: gg.dtype | None) -> gg.dtype:
    return x.dtype if dtype is None else dtype


def rand_like(x: gg.Tensor, *, dtype: gg.dtype | None = None, generator: Generator | None = None) -> gg.Tensor:
    """Draw numbers that are uniform in [0, 1), of x's shape, and dtype unless one is given.

    Args:
        x: the tensor whose shape is taken.
        dtype: of the draws; None is x's.
        generator: the stream to draw from; the default one when None.

    Returns:
        (...) float: the draws.

    Example:
        >>> import gorgo as gg
        >>> gg.random.rand_like(gg.zeros((2, 3))).shape
        (2, 3)
    """
    return uniform(0.0, 1.0, tuple(x.shape), dtype=_float_of(x, dtype), device=x.device, generator=generator)


def randn_like(x: gg.Tensor, *, dtype: gg.dtype | None = None, generator: Generator | None = None) -> gg.Tensor:
    """Draw numbers of the standard normal distribution, of x's shape, and dtype unless one is given.

    Args:
        x: the tensor whose shape is taken.
        dtype: of the draws; None is x's.
        generator: the stream to draw from; the default one when None.

    Returns:
        (...) float: the draws.

    Example:
        >>> import gorgo as gg
        >>> gg.random.randn_like(gg.zeros((2, 3))).shape
        (2, 3)
    """
    return normal(0.0, 1.0, tuple(x.shape), dtype=_float_of(x, dtype), device=x.device, generator=generator)


def randint_like(
    x: gg.Tensor, low: int, high: int, *, dtype: gg.dtype | None = None, generator: Generator | None = None
) -> gg.Tensor:
    """Draw integers that are uniform in [low, high), of x's shape; int64 when x and dtype are no integers.

    Args:
        x: the tensor whose shape is taken.
        low: the smallest.
        high: one above the largest.
        dtype: of the draws; None is x's where that is an integer's, else int64.
        generator: the stream to draw from; the default one when None.

    Returns:
        (...) int: the draws.

    Example:
        >>> import gorgo as gg
        >>> gg.random.randint_like(gg.zeros((2,)), 4, 5).tolist()
        [4, 4]
    """
    if dtype is None:
        dtype = x.dtype if gg.isdtype(x.dtype, "integral") else gg.int64
    return randint(low, high, tuple(x.shape), dtype=dtype, device=x.device, generator=generator)


# ---- in place; the methods of Tensor call these ----


def _filled(x: gg.Tensor, drawn: gg.Tensor) -> gg.Tensor:
    x.copy_(drawn if drawn.dtype == x.dtype else drawn.astype(x.dtype))
    return x


def _draws_for(name: str, x: gg.Tensor, generator: Generator | None) -> dict[str, Any]:
    if not gg.isdtype(x.dtype, "real floating"):
        raise TypeError(f"{name}: x must be real floating, got {x.dtype}")
    return {"shape": tuple(x.shape), "dtype": x.dtype, "device": x.device, "generator": generator}


def uniform_(x: gg.Tensor, low: Real = 0.0, high: Real = 1.0, *, generator: Generator | None = None) -> gg.Tensor:
    """Overwrite x with numbers that are uniform in [low, high).

    Args:
        x: what is overwritten, (...) float.
        low: the lower end.
        high: the upper end.
        generator: the stream to draw from; the default one when None.

    Returns:
        x.

    Example:
        >>> import gorgo as gg
        >>> gg.zeros((2,)).uniform_(3.0, 3.0).tolist()
        [3.0, 3.0]
    """
    return _filled(x, uniform(low, high, **_draws_for("uniform_", x, generator)))


def normal_(x: gg.Tensor, mean: Real = 0.0, std: Real = 1.0, *, generator: Generator | None = None) -> gg.Tensor:
    """Overwrite x with normally distributed numbers.

    Args:
        x: what is overwritten, (...) float.
        mean: of the distribution.
        std: its standard deviation.
        generator: the stream to draw from; the default one when None.

    Returns:
        x.

    Example:
        >>> import gorgo as gg
        >>> gg.zeros((2,)).normal_(3.0, 0.0).tolist()
        [3.0, 3.0]
    """
    return _filled(x, normal(mean, std, **_draws_for("normal_", x, generator)))


def log_normal_(x: gg.Tensor, mean: Real = 0.0, std: Real = 1.0, *, generator: Generator | None = None) -> gg.Tensor:
    """Overwrite x with numbers whose logarithm is normally distributed.

    Args:
        x: what is overwritten, (...) float.
        mean: of the logarithm.
        std: the logarithm's standard deviation.
        generator: the stream to draw from; the default one when None.

    Returns:
        x.

    Example:
        >>> import gorgo as gg
        >>> gg.zeros((2,)).log_normal_(0.0, 0.0).tolist()
        [1.0, 1.0]
    """
    return _filled(x, log_normal(mean, std, **_draws_for("log_normal_", x, generator)))


def cauchy_(x: gg.Tensor, loc: Real = 0.0, scale: Real = 1.0, *, generator: Generator | None = None) -> gg.Tensor:
    """Overwrite x with draws from Cauchy distributions.

    Args:
        x: what is overwritten, (...) float.
        loc: the median.
        scale: half the width at half the height.
        generator: the stream to draw from; the default one when None.

    Returns:
        x.

    Example:
        >>> import gorgo as gg
        >>> gg.zeros((2,)).cauchy_().shape
        (2,)
    """
    return _filled(x, cauchy(loc, scale, **_draws_for("cauchy_", x, generator)))


def exponential_(x: gg.Tensor, rate: Real = 1.0, *, generator: Generator | None = None) -> gg.Tensor:
    """Overwrite x with draws from exponential distributions of mean 1 / rate: PyTorch's method takes the rate too.

    Args:
        x: what is overwritten, (...) float.
        rate: one over the mean.
        generator: the stream to draw from; the default one when None.

    Returns:
        x.

    Example:
        >>> import gorgo as gg
        >>> gg.zeros((2,)).exponential_(2.0).shape
        (2,)
    """
    rate = checked("exponential_", "rate", rate, "positive and finite")
    return _filled(x, exponential(1.0 / rate, **_draws_for("exponential_", x, generator)))


def geometric_(x: gg.Tensor, p: Real, *, generator: Generator | None = None) -> gg.Tensor:
    """Overwrite x with numbers of trials up to the first success.

    Args:
        x: what is overwritten, (...) any.
        p: the probability of a success.
        generator: the stream to draw from; the default one when None.

    Returns:
        x.

    Example:
        >>> import gorgo as gg
        >>> gg.zeros((2,)).geometric_(1.0).tolist()
        [1.0, 1.0]
    """
    return _filled(x, geometric(p, tuple(x.shape), device=x.device, generator=generator))


def bernoulli_(x: gg.Tensor, p: Real = 0.5, *, generator: Generator | None = None) -> gg.Tensor:
    """Overwrite x with ones, with probability p, and zeros.

    Args:
        x: what is overwritten, (...) any.
        p: the probability of a one.
        generator: the stream to draw from; the default one when None.

    Returns:
        x.

    Example:
        >>> import gorgo as gg
        >>> gg.zeros((2,)).bernoulli_(1.0).tolist()
        [1.0, 1.0]
    """
    return _filled(x, bernoulli(p, tuple(x.shape), device=x.device, generator=generator))

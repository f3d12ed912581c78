"""Distributions: what gorgo.random draws beside bits, uniforms and normals.

Most are functions of uniforms and normals, so that gradients with respect to their parameters, capture and fusion
come from the ops composed. The others are kernels by rejection, in which each element has a stream of its own.
Invariants: element i depends on (seed, counter, i) and its own parameters alone; a parameter out of range is an
error, be it a number or an element of a tensor, and in a captured function as in an eager one.
Read next: gorgo/random_generator.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import gorgo as gg
from gorgo import _core
from gorgo.arguments import as_integers, device_of
from gorgo.random_generator import Generator, Real, Shape, key_of

__all__ = [
    "beta",
    "binomial",
    "cauchy",
    "chisquare",
    "dirichlet",
    "exponential",
    "gamma",
    "geometric",
    "gumbel",
    "laplace",
    "log_normal",
    "logistic",
    "lognormal",
    "pareto",
    "poisson",
    "rayleigh",
    "truncated_normal",
    "weibull",
]


def sizes_of(shape: Shape) -> tuple[int, ...]:
    """Return a shape as a tuple; a number is one axis."""
    return as_integers("random", "shape", shape)


def drawn_shape(name: str, shape: Shape | None, *parameters: Real) -> tuple[int, ...]:
    """Return the shape of a draw: the one asked for, or the parameters' own."""
    common = gg.broadcast_shapes((), *(tuple(p.shape) for p in parameters if isinstance(p, gg.Tensor)))
    if shape is None:
        return common
    sizes = sizes_of(shape)
    if common and gg.broadcast_shapes(common, sizes) != sizes:
        raise ValueError(
            f"{name}: shape must be one that the parameters broadcast to, got {sizes} (they are of shape {common})"
        )
    return sizes


def drawn_dtype(name: str, dtype: gg.dtype | None, *parameters: Real) -> gg.dtype:
    """Return the dtype of a draw: the one asked for, or the parameters' own; float32 without floating tensors."""
    if dtype is None:
        floats = [p.dtype for p in parameters if isinstance(p, gg.Tensor) and gg.isdtype(p.dtype, "real floating")]
        return gg.result_type(*floats) if floats else gg.float32
    if not gg.isdtype(dtype, "real floating"):
        raise TypeError(f"{name}: dtype must be a real floating one, got {dtype}")
    return dtype


RULES: dict[str, Callable[[float], bool]] = {
    "finite": math.isfinite,
    "not negative": lambda v: v >= 0.0,
    "positive and finite": lambda v: 0.0 < v < math.inf,
}


def checked(name: str, argument: str, value: Real, rule: str) -> Real:
    """Return a parameter that follows a rule; a tensor's elements are looked at when the draw runs, captured or not."""
    if isinstance(value, gg.Tensor):
        passed: gg.Tensor = _core.random_parameter(value, f"{name}: {argument}", rule)
        return passed
    if not hasattr(type(value), "__float__"):
        raise TypeError(f"{name}: {argument} must be a real number or a tensor, got {type(value).__name__}")
    number = float(value)
    if not RULES[rule](number):
        raise ValueError(f"{name}: {argument} must be {rule}, got {number:g}")
    return number


def compute_dtype(dtype: gg.dtype) -> gg.dtype:
    """Return what the formulas are computed in: uniforms of 16 bits would be too coarse for a logarithm."""
    return gg.float64 if dtype == gg.float64 else gg.float32


class Draw:
    """One call of a distribution: the shape, dtype and device that its arguments ask for, and what it starts from.

    Parameters are named by what is expected of them, and are in `checked` afterwards; others come as they are.
    """

    def __init__(
        self,
        name: str,
        shape: Shape | None,
        dtype: gg.dtype | None,
        device: str | None,
        generator: Generator | None,
        *others: Real,
        finite: dict[str, Real] | None = None,
        positive: dict[str, Real] | None = None,
    ) -> None:
        finite, positive = finite or {}, positive or {}
        self.checked = [checked(name, argument, value, "finite") for argument, value in finite.items()]
        self.checked += [checked(name, argument, value, "positive and finite") for argument, value in positive.items()]
        parameters = (*others, *finite.values(), *positive.values())
        self.dtype, self.shape = drawn_dtype(name, dtype, *parameters), drawn_shape(name, shape, *parameters)
        self.wide = compute_dtype(self.dtype)
        self.device = device_of(*parameters) if device is None else device
        self.generator = generator

    def key(self) -> gg.Tensor:
        """Take the key that the call draws from."""
        return key_of(self.generator, self.device)

    def parameter(self, value: Real, dtype: gg.dtype) -> gg.Tensor:
        """Return a parameter as a tensor of `dtype` where the draw is made."""
        if isinstance(value, gg.Tensor):
            return value.astype(dtype)
        return gg.full((), value, dtype=dtype, device=self.device)

    def exponential(self) -> gg.Tensor:
        """Draw from the exponential distribution of mean one; 1 - u is exact and never zero."""
        return -gg.log(1.0 - self._uniform())

    def uniform(self) -> gg.Tensor:
        """Draw from (0, 1), without both ends and without the middle: odd multiples of the resolution."""
        half = 2.0**-53 if self.wide == gg.float64 else 2.0**-24
        return gg.floor(self._uniform() * (0.5 / half)) * (2.0 * half) + half

    def _uniform(self) -> gg.Tensor:
        return _core.random_uniform(self.key(), self.shape, 0.0, 1.0, self.wide)

    def located(self, x: gg.Tensor, location: Real, scale: Real) -> gg.Tensor:
        """Return location + scale x in the draw's dtype."""
        return located(x, location, scale, self.dtype)


def located(x: gg.Tensor, location: Real, scale: Real, dtype: gg.dtype) -> gg.Tensor:
    """Return location + scale x in `dtype`; for the plain numbers 0 and 1, x itself."""
    if isinstance(scale, gg.Tensor) or scale != 1.0:
        x = x * scale
    if isinstance(location, gg.Tensor) or location != 0.0:
        x = x + location
    return x if x.dtype == dtype else x.astype(dtype)


def exponential(
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from exponential distributions.

    Args:
        scale: the means.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of scale is not positive and finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter II.2.

    Example:
        >>> import gorgo as gg
        >>> gg.random.exponential(2.0, (3,)).shape
        (3,)
    """
    draw = Draw("exponential", shape, dtype, device, generator, positive={"scale": scale})
    (scale,) = draw.checked
    return draw.located(draw.exponential(), 0.0, scale)


def laplace(
    loc: Real = 0.0,
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from Laplace distributions.

    Args:
        loc: where the middle is.
        scale: the mean distance from the middle.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of scale is not positive and finite, or one of loc not finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter II.2.

    Example:
        >>> import gorgo as gg
        >>> gg.random.laplace(0.0, 2.0, (3,)).shape
        (3,)
    """
    draw = Draw("laplace", shape, dtype, device, generator, finite={"loc": loc}, positive={"scale": scale})
    loc, scale = draw.checked
    side = 2.0 * draw.uniform() - 1.0
    return draw.located(-gg.sign(side) * gg.log(1.0 - gg.abs(side)), loc, scale)


def logistic(
    loc: Real = 0.0,
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from logistic distributions.

    Args:
        loc: where the middle is.
        scale: sqrt(3) / pi standard deviations.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of scale is not positive and finite, or one of loc not finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter II.2.

    Example:
        >>> import gorgo as gg
        >>> gg.random.logistic(0.0, 2.0, (3,)).shape
        (3,)
    """
    draw = Draw("logistic", shape, dtype, device, generator, finite={"loc": loc}, positive={"scale": scale})
    loc, scale = draw.checked
    u = draw.uniform()
    return draw.located(gg.log(u) - gg.log(1.0 - u), loc, scale)


def gumbel(
    loc: Real = 0.0,
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from Gumbel distributions, those of maxima.

    Args:
        loc: where the mode is.
        scale: sqrt(6) / pi standard deviations.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of scale is not positive and finite, or one of loc not finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter II.2.

    Example:
        >>> import gorgo as gg
        >>> gg.random.gumbel(0.0, 2.0, (3,)).shape
        (3,)
    """
    draw = Draw("gumbel", shape, dtype, device, generator, finite={"loc": loc}, positive={"scale": scale})
    loc, scale = draw.checked
    return draw.located(-gg.log(-gg.log(draw.uniform())), loc, scale)


def cauchy(
    loc: Real = 0.0,
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from Cauchy distributions.

    Args:
        loc: where the middle is.
        scale: half the distance between the quartiles.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of scale is not positive and finite, or one of loc not finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter II.2.

    Example:
        >>> import gorgo as gg
        >>> gg.random.cauchy(0.0, 2.0, (3,)).shape
        (3,)
    """
    draw = Draw("cauchy", shape, dtype, device, generator, finite={"loc": loc}, positive={"scale": scale})
    loc, scale = draw.checked
    return draw.located(gg.tan(gg.pi * (draw.uniform() - 0.5)), loc, scale)


def log_normal(
    mean: Real = 0.0,
    std: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw numbers whose logarithm is normally distributed.

    Args:
        mean: the mean of the logarithm.
        std: the standard deviation of the logarithm.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of std is negative.

    Example:
        >>> import gorgo as gg
        >>> bool(gg.all(gg.random.log_normal(0.0, 1.0, (9,)) > 0.0))
        True
    """
    draw = Draw("log_normal", shape, dtype, device, generator, mean, std)
    std = checked("log_normal", "std", std, "not negative")
    z = _core.random_normal(draw.key(), draw.shape, 0.0, 1.0, draw.wide)
    return gg.exp(located(z, mean, std, draw.wide)).astype(draw.dtype)


lognormal = log_normal


def weibull(
    a: Real,
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from Weibull distributions.

    Args:
        a: the exponents.
        scale: the scales.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of a or scale is not positive and finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter II.2.

    Example:
        >>> import gorgo as gg
        >>> gg.random.weibull(1.5, shape=(3,)).shape
        (3,)
    """
    draw = Draw("weibull", shape, dtype, device, generator, positive={"a": a, "scale": scale})
    a, scale = draw.checked
    return draw.located(draw.exponential() ** (1.0 / a), 0.0, scale)


def pareto(
    a: Real,
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from Pareto distributions, whose draws are scale or more.

    Args:
        a: the exponents.
        scale: the lower ends.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of a or scale is not positive and finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter II.2.

    Example:
        >>> import gorgo as gg
        >>> bool(gg.all(gg.random.pareto(2.0, 3.0, (9,)) >= 3.0))
        True
    """
    draw = Draw("pareto", shape, dtype, device, generator, positive={"a": a, "scale": scale})
    a, scale = draw.checked
    return draw.located(gg.exp(draw.exponential() / a), 0.0, scale)


def rayleigh(
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from Rayleigh distributions.

    Args:
        scale: the modes.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of scale is not positive and finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter II.2.

    Example:
        >>> import gorgo as gg
        >>> gg.random.rayleigh(2.0, (3,)).shape
        (3,)
    """
    draw = Draw("rayleigh", shape, dtype, device, generator, positive={"scale": scale})
    (scale,) = draw.checked
    return draw.located(gg.sqrt(2.0 * draw.exponential()), 0.0, scale)


def gamma(
    concentration: Real,
    scale: Real = 1.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from gamma distributions.

    Args:
        concentration: the shape parameters, above 0.
        scale: what the draws are multiplied by.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of concentration or scale is not positive and finite.

    Source:
        Marsaglia, Tsang, "A simple method for generating gamma variables", ACM Trans. Math. Softw. 26 (2000).
        Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients", NeurIPS 2018.

    Example:
        >>> import gorgo as gg
        >>> gg.random.gamma(0.5, shape=(3,)).shape
        (3,)
    """
    draw = Draw("gamma", shape, dtype, device, generator, positive={"concentration": concentration, "scale": scale})
    concentration, scale = draw.checked
    x = _core.random_gamma(draw.key(), draw.parameter(concentration, draw.dtype), draw.shape)
    return draw.located(x, 0.0, scale)


def chisquare(
    df: Real,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from chi-square distributions.

    Args:
        df: the degrees of freedom, above 0.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of df is not positive and finite.

    Source:
        Marsaglia, Tsang, "A simple method for generating gamma variables", ACM Trans. Math. Softw. 26 (2000).

    Example:
        >>> import gorgo as gg
        >>> gg.random.chisquare(3.0, (3,)).shape
        (3,)
    """
    draw = Draw("chisquare", shape, dtype, device, generator, positive={"df": df})
    (df,) = draw.checked
    return 2.0 * _core.random_gamma(draw.key(), draw.parameter(df, draw.dtype) * 0.5, draw.shape)


def beta(
    a: Real,
    b: Real,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from beta distributions.

    Args:
        a: the first shape parameters, above 0.
        b: the second shape parameters, above 0.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: an entry of a or b is not positive and finite.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter IX.4.

    Example:
        >>> import gorgo as gg
        >>> gg.random.beta(0.5, 2.0, (3,)).shape
        (3,)
    """
    draw = Draw("beta", shape, dtype, device, generator, positive={"a": a, "b": b})
    a, b = draw.checked
    both = [gg.broadcast_to(draw.parameter(p, draw.wide), draw.shape) for p in (a, b)]
    # By logarithms, which do not underflow where a and b are small.
    logs = _core.random_gamma(draw.key(), gg.stack(both), log=True)
    return gg.sigmoid(logs[0] - logs[1]).astype(draw.dtype)


def dirichlet(
    concentration: gg.Tensor | Sequence[float],
    shape: Shape = (),
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from Dirichlet distributions: shares that sum to one along the last axis.

    Args:
        concentration: the shape parameters, (..., n) and above 0.
        shape: further axes in front.
        dtype: a real floating one; that of concentration when None.
        device: where the draws are made; that of concentration when None.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape, ..., n) float: the draws.

    Raises:
        ValueError: an entry of concentration is not positive and finite, or it has no axis.

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter XI.4.

    Example:
        >>> import gorgo as gg
        >>> gg.random.dirichlet([0.5, 1.0, 2.0], (4,)).shape
        (4, 3)
    """
    given = concentration
    if not isinstance(given, gg.Tensor):
        given = gg.asarray(given, dtype=gg.float32, device=device)
    if given.ndim == 0:
        raise ValueError("dirichlet: concentration must have an axis, got shape ()")
    to = drawn_dtype("dirichlet", dtype, given)
    alpha = checked("dirichlet", "concentration", given.astype(compute_dtype(to)), "positive and finite")
    logs = _core.random_gamma(key_of(generator, device, alpha), alpha, (*sizes_of(shape), *given.shape), log=True)
    return gg.softmax(logs, axis=-1).astype(to)


def standard_end(draw: Draw, end: Real, mean: Real, std: Real) -> gg.Tensor:
    """Return (end - mean) / std; an infinite end stays, so that no gradient meets inf / inf."""
    at = draw.parameter(end, draw.wide)
    if not isinstance(end, gg.Tensor):
        return at if end in (gg.inf, -gg.inf) else (at - mean) / std
    open_ended = gg.isinf(at)
    return gg.where(open_ended, at, (gg.where(open_ended, 0.0, at) - mean) / std)


def truncated_normal(
    mean: Real = 0.0,
    std: Real = 1.0,
    low: Real = -2.0,
    high: Real = 2.0,
    shape: Shape | None = None,
    *,
    dtype: gg.dtype | None = None,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from normal distributions whatever of them lies in [low, high].

    Args:
        mean: the means before the ends are cut.
        std: the standard deviations before the ends are cut.
        low: the lower ends, which may be -inf.
        high: the upper ends, which may be inf.
        shape: the shape of the result; that of the parameters when None.
        dtype: a real floating one; that of the parameters when None, float32 when none of them is a floating tensor.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the draws.

    Raises:
        ValueError: low is not below high, or an entry of std is not positive and finite.

    Source:
        Robert, "Simulation of truncated normal variables", Statistics and Computing 5 (1995); gradients keep a draw's
        quantile: Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients", NeurIPS 2018.

    Example:
        >>> import gorgo as gg
        >>> bool(gg.all(gg.abs(gg.random.truncated_normal(shape=(9,))) <= 2.0))
        True
    """
    draw = Draw("truncated_normal", shape, dtype, device, generator, mean, low, high, positive={"std": std})
    (std,) = draw.checked
    first, last = (standard_end(draw, end, mean, std) for end in (low, high))
    z = _core.random_truncated_normal(draw.key(), first, last, draw.shape)
    # Rounding may have left the interval by a little.
    return gg.minimum(gg.maximum(located(z, mean, std, draw.wide), low), high).astype(draw.dtype)


def geometric(
    p: Real,
    shape: Shape | None = None,
    *,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw numbers of trials up to the first success.

    Args:
        p: the probability of success, in (0, 1].
        shape: the shape of the result; that of the parameters when None.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) int64: the draws.

    Raises:
        ValueError: an entry of p is outside (0, 1].

    Source:
        Devroye, "Non-uniform random variate generation", Springer 1986, chapter X.2.

    Example:
        >>> import gorgo as gg
        >>> gg.random.geometric(1.0, (2,)).tolist()
        [1, 1]
    """
    return _core.random_geometric(key_of(generator, device, p), p, drawn_shape("geometric", shape, p))


def poisson(
    rate: Real = 1.0,
    shape: Shape | None = None,
    *,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw counts of events that come at a rate.

    Args:
        rate: the expected counts, in [0, 2**60].
        shape: the shape of the result; that of the parameters when None.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) int64: the draws.

    Raises:
        ValueError: an entry of rate is outside [0, 2**60].

    Source:
        Hoermann, "The transformed rejection method for generating Poisson random variables", Insurance: Mathematics and
        Economics 12 (1993).

    Example:
        >>> import gorgo as gg
        >>> gg.random.poisson(0.0, (2,)).tolist()
        [0, 0]
    """
    return _core.random_poisson(key_of(generator, device, rate), rate, drawn_shape("poisson", shape, rate))


def binomial(
    count: Real,
    p: Real,
    shape: Shape | None = None,
    *,
    device: str | None = None,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw numbers of successes among trials.

    Args:
        count: the numbers of trials, whole and in [0, 2**40).
        p: the probability of success, in [0, 1].
        shape: the shape of the result; that of the parameters when None.
        device: where the draws are made; that of the parameters when None, the cpu when none of them is a tensor.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) int64: the draws.

    Raises:
        ValueError: an entry of count or p is out of range.

    Source:
        Hoermann, "The generation of binomial random variates", J. Statist. Comput. Simul. 46 (1993).

    Example:
        >>> import gorgo as gg
        >>> gg.random.binomial(5, 1.0, (2,)).tolist()
        [5, 5]
    """
    return _core.random_binomial(
        key_of(generator, device, count, p), count, p, drawn_shape("binomial", shape, count, p)
    )

"""Random numbers that depend on (seed, counter, index) alone, whatever the shape split, the device or the threads.

A generator is two numbers, seed and counter, in a tensor. Each call takes the next counter, however much it draws;
element i of what it draws is a function of seed, counter and i (Philox 4x32-10). Since the state is a tensor, captured
functions replay with fresh numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import gorgo as gg
from gorgo import _core

__all__ = [
    "Generator",
    "bernoulli",
    "choice",
    "default_generator",
    "dropout",
    "get_state",
    "manual_seed",
    "normal",
    "permutation",
    "rand",
    "randint",
    "randn",
    "seed",
    "set_state",
    "uniform",
]

Shape = int | Sequence[int]


class Generator:
    """A stream of random numbers with a state of its own.

    Args:
        seed: in [0, 2**64); drawn from the operating system when None.

    Example:
        >>> import gorgo as gg
        >>> a, b = gg.random.Generator(7), gg.random.Generator(7)
        >>> gg.random.uniform(shape=3, generator=a).tolist() == gg.random.uniform(shape=3, generator=b).tolist()
        True
    """

    def __init__(self, seed: int | None = None) -> None:
        self._state = gg.zeros((2,), dtype=gg.uint64)
        self.seed(seed)

    def seed(self, seed: int | None = None) -> Generator:
        """Start anew: the counter becomes zero. The seed is drawn from the operating system when None."""
        if seed is None:
            seed = int.from_bytes(os.urandom(8), "little")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed: seed must be in [0, 2**64), got {seed}")
        self._state[0] = seed
        self._state[1] = 0
        return self

    def get_state(self) -> gg.Tensor:
        """Return a copy of the state, (2,) uint64: seed and counter."""
        return gg.copy(self._state)

    def set_state(self, state: gg.Tensor) -> Generator:
        """Continue from a state that get_state returned."""
        if state.dtype != gg.uint64 or tuple(state.shape) != (2,):
            raise TypeError(f"set_state: state must be uint64 of shape (2,), got {state.dtype} of {tuple(state.shape)}")
        self._state[:] = state
        return self

    def key(self) -> gg.Tensor:
        """Take the next key, (2,) uint64: what one call of a random op draws from."""
        return _core.random_key(self._state)

    def __repr__(self) -> str:
        seed, counter = self._state.tolist()
        return f"Generator(seed={seed}, counter={counter})"

    def __getstate__(self) -> list[int]:
        return [int(word) for word in self._state.tolist()]

    def __setstate__(self, state: list[int]) -> None:
        self._state = gg.asarray(state, dtype=gg.uint64)


# Made at import, so that a captured function finds its state there and does not make it.
default_generator = Generator()


def _key(generator: Generator | None) -> gg.Tensor:
    return (default_generator if generator is None else generator).key()


def seed(seed: int | None = None) -> Generator:
    """Start the default generator anew, from the operating system's entropy when None.

    Example:
        >>> import gorgo as gg
        >>> gg.random.seed(3)
        Generator(seed=3, counter=0)
    """
    return default_generator.seed(seed)


manual_seed = seed


def get_state() -> gg.Tensor:
    """Return a copy of the default generator's state."""
    return default_generator.get_state()


def set_state(state: gg.Tensor) -> None:
    """Continue the default generator from a state that get_state returned."""
    default_generator.set_state(state)


def uniform(
    low: float = 0.0,
    high: float = 1.0,
    shape: Shape = (),
    *,
    dtype: gg.dtype = gg.float32,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw numbers that are uniform in [low, high).

    Args:
        low: the lower end.
        high: the upper end; rounding may reach it when it is not 1.
        shape: the shape of the result.
        dtype: a real floating one.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the numbers.

    Raises:
        ValueError: low is above high.

    Source:
        Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Example:
        >>> import gorgo as gg
        >>> gg.random.uniform(-1.0, 1.0, (2, 3)).shape
        (2, 3)
    """
    return _core.random_uniform(_key(generator), shape, low, high, dtype)


def normal(
    mean: float = 0.0,
    std: float = 1.0,
    shape: Shape = (),
    *,
    dtype: gg.dtype = gg.float32,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw normally distributed numbers.

    Args:
        mean: the mean.
        std: the standard deviation.
        shape: the shape of the result.
        dtype: a real floating one.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) float: the numbers.

    Raises:
        ValueError: std is negative.

    Source:
        Box, Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29 (1958).

    Example:
        >>> import gorgo as gg
        >>> gg.random.normal(0.0, 2.0, (4,)).shape
        (4,)
    """
    return _core.random_normal(_key(generator), shape, mean, std, dtype)


def randint(
    low: int,
    high: int,
    shape: Shape = (),
    *,
    dtype: gg.dtype = gg.int64,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw integers that are uniform in [low, high).

    Args:
        low: the lowest.
        high: one above the highest.
        shape: the shape of the result.
        dtype: an integer one.
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
    return _core.random_randint(_key(generator), shape, low, high, dtype)


def bernoulli(p: float = 0.5, shape: Shape = (), *, generator: Generator | None = None) -> gg.Tensor:
    """Draw bools that are true with probability p.

    Args:
        p: the probability, in [0, 1].
        shape: the shape of the result.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) bool: the draws.

    Raises:
        ValueError: p is outside [0, 1].

    Example:
        >>> import gorgo as gg
        >>> gg.random.bernoulli(1.0, (2,)).tolist()
        [True, True]
    """
    return _core.random_bernoulli(_key(generator), shape, p)


def permutation(x: int | gg.Tensor, *, generator: Generator | None = None) -> gg.Tensor:
    """Draw an order: of the integers below x, or of a tensor's entries along its first axis.

    Args:
        x: a number of integers, or a tensor of rank 1 or more.
        generator: the stream to draw from; the default one when None.

    Returns:
        (n,) int64 or (n, ...) any: the integers, or the entries, in random order.

    Raises:
        ValueError: the number is negative, or the tensor has rank 0.

    Example:
        >>> import gorgo as gg
        >>> sorted(gg.random.permutation(4).tolist())
        [0, 1, 2, 3]
    """
    if not isinstance(x, gg.Tensor):
        return _core.random_permutation(_key(generator), x)
    if x.ndim == 0:
        raise ValueError("permutation: x must have an axis, got shape ()")
    return gg.take(x, _core.random_permutation(_key(generator), x.shape[0]), axis=0)


def choice(
    x: int | gg.Tensor,
    shape: Shape = (),
    *,
    replace: bool = True,
    generator: Generator | None = None,
) -> gg.Tensor:
    """Draw from the integers below x, or from a tensor's entries along its first axis, all equally likely.

    Args:
        x: a number of integers, or a tensor of rank 1 or more.
        shape: the shape of the draws.
        replace: whether one entry may be drawn several times.
        generator: the stream to draw from; the default one when None.

    Returns:
        (*shape) int64 or (*shape, ...) any: the draws.

    Raises:
        ValueError: there is nothing to draw from, or not enough without replacement.

    Example:
        >>> import gorgo as gg
        >>> gg.random.choice(gg.asarray([7, 7]), (3,)).tolist()
        [7, 7, 7]
    """
    if isinstance(x, gg.Tensor):
        if x.ndim == 0:
            raise ValueError("choice: x must have an axis, got shape ()")
        index = choice(x.shape[0], shape, replace=replace, generator=generator)
        return gg.take(x, index, axis=0)
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if replace:
        return randint(0, x, sizes, generator=generator)
    count = math.prod(sizes)
    if count > x:
        raise ValueError(f"choice: shape must have at most {x} elements without replacement, got {sizes}")
    return permutation(x, generator=generator)[:count].reshape(sizes)


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
    return _core.dropout(x, _key(generator), p)[0]


def rand(*shape: int) -> gg.Tensor:
    """Draw float32 numbers that are uniform in [0, 1).

    Example:
        >>> import gorgo as gg
        >>> gg.random.rand(2, 3).shape
        (2, 3)
    """
    return uniform(0.0, 1.0, shape)


def randn(*shape: int) -> gg.Tensor:
    """Draw float32 numbers of the standard normal distribution.

    Example:
        >>> import gorgo as gg
        >>> gg.random.randn(2, 3).shape
        (2, 3)
    """
    return normal(0.0, 1.0, shape)

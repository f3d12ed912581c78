"""Generators: streams of random numbers, each a seed and a counter in a tensor.

Invariant: a call takes the next counter, however much it draws. Since the state is a tensor, captured functions replay
with fresh numbers. Read next: gorgo/random.py (what is drawn).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import gorgo as gg
from gorgo import _core

Shape = int | Sequence[int]
Real = float | gg.Tensor


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

    def spawn(self, count: int) -> list[Generator]:
        """Make generators whose streams are independent of this one's and of each other's.

        Takes one key, from which the seeds are drawn: the same state always has the same children.

        Args:
            count: how many.

        Returns:
            list of Generator: they, each at counter zero.

        Raises:
            ValueError: count is negative.

        Example:
            >>> import gorgo as gg
            >>> [child.get_state().tolist()[1] for child in gg.random.Generator(7).spawn(2)]
            [0, 0]
        """
        if count < 0:
            raise ValueError(f"spawn: count must not be negative, got {count}")
        return [Generator(seed) for seed in _core.random_randint(self.key(), (count,), 0, 2**63 - 1).tolist()]

    def jump(self, calls: int) -> Generator:
        """Go ahead, or back, as if so many calls had drawn; the counter is taken modulo 2**64.

        Example:
            >>> import gorgo as gg
            >>> gg.random.Generator(7).jump(1_000_000)
            Generator(seed=7, counter=1000000)
        """
        self._state[1] = (int(self._state[1].item()) + calls) % 2**64
        return self

    def __repr__(self) -> str:
        seed, counter = self._state.tolist()
        return f"Generator(seed={seed}, counter={counter})"

    def __getstate__(self) -> list[int]:
        return [int(word) for word in self._state.tolist()]

    def __setstate__(self, state: list[int]) -> None:
        self._state = gg.asarray(state, dtype=gg.uint64)


# Made at import, so that a captured function finds its state there and does not make it.
default_generator = Generator()


def key_of(generator: Generator | None) -> gg.Tensor:
    """Take the next key of a generator; of the default one when None."""
    if generator is None:
        return default_generator.key()
    if not isinstance(generator, Generator):
        raise TypeError(f"random: generator must be a gorgo.random.Generator or None, got {type(generator).__name__}")
    return generator.key()


def seed(seed: int | None = None) -> Generator:
    """Start the default generator anew, from the operating system's entropy when None.

    Args:
        seed: a whole number, or None.

    Returns:
        Generator: the default generator.

    Example:
        >>> import gorgo as gg
        >>> gg.random.seed(3)
        Generator(seed=3, counter=0)
    """
    return default_generator.seed(seed)


manual_seed = seed


def get_state() -> gg.Tensor:
    """Return a copy of the default generator's state.

    Returns:
        (2,) uint64: seed and counter, for `set_state`.

    Example:
        >>> import gorgo as gg
        >>> state = gg.random.get_state()
        >>> a = gg.random.uniform(shape=(3,))
        >>> gg.random.set_state(state)
        >>> bool(gg.all(a == gg.random.uniform(shape=(3,))))
        True
    """
    return default_generator.get_state()


def set_state(state: gg.Tensor) -> None:
    """Continue the default generator from a state that get_state returned.

    Args:
        state: what get_state returned.

    Example:
        >>> import gorgo as gg
        >>> gg.random.set_state(gg.random.get_state())
    """
    default_generator.set_state(state)

"""Generators: streams of random numbers, each a seed and a counter in a tensor on every device that draws.

Invariant: a call takes the next counter, however much it draws. Since the state is a tensor, captured functions replay
with fresh numbers. Read next: gorgo/random.py (what is drawn).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import gorgo as gg
from gorgo import _core
from gorgo.arguments import as_integer, device_of

Shape = int | Sequence[int]
Real = float | gg.Tensor


class Generator:
    """A stream of random numbers with a state of its own.

    Numbers are drawn on the device where they are wanted, and so each device has a state of its own there: a captured
    function advances it without leaving the device. The cpu's is made with the generator, another device's at its
    first use, as it was after the last `seed` or `set_state`, moved by `jump`. So the first draw on a card is that of
    the cpu after the same seed, the second is the second, whatever was drawn elsewhere in between. Pickled and copied
    is the cpu's state; other devices go on from it in the copy.

    Args:
        seed: in [0, 2**64); drawn from the operating system when None.

    Example:
        >>> import gorgo as gg
        >>> a, b = gg.random.Generator(7), gg.random.Generator(7)
        >>> gg.random.uniform(shape=3, generator=a).tolist() == gg.random.uniform(shape=3, generator=b).tolist()
        True
    """

    def __init__(self, seed: int | None = None) -> None:
        self._begin(gg.zeros((2,), dtype=gg.uint64))
        self.seed(seed)

    def _begin(self, state: gg.Tensor) -> None:
        self._states: dict[str, gg.Tensor] = {"cpu": state}
        self._start = gg.copy(state)  # what devices begin from that draw for the first time

    def _all(self) -> list[gg.Tensor]:
        return [*{id(state): state for state in self._states.values()}.values(), self._start]

    def state_on(self, device: str | None = None) -> gg.Tensor:
        """Return the state on a device, the cpu unless another is named; it is made if nothing was drawn there yet."""
        state = self._states.get("cpu" if device is None else device)
        if state is None:
            state = gg.zeros((2,), dtype=gg.uint64, device=device)
            if state.device == "null":  # has no numbers to go on from
                return state
            if state.device not in self._states:
                state[0], state[1] = self._start.tolist()
            # Another thread may have been faster, and the device may have been named in another way.
            state = self._states[str(device)] = self._states.setdefault(str(state.device), state)
        return state

    def seed(self, seed: int | None = None) -> Generator:
        """Start anew on all devices: the counter becomes zero. The operating system gives the seed when it is None."""
        if seed is None:
            seed = int.from_bytes(os.urandom(8), "little")
        seed = as_integer("seed", "seed", seed)
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed: seed must be in [0, 2**64), got {seed}")
        for state in self._all():
            state[0] = seed
            state[1] = 0
        return self

    def get_state(self, device: str | None = None) -> gg.Tensor:
        """Return a copy of a device's state, (2,) uint64 on the cpu: seed and counter. The cpu's when None."""
        return gg.copy(self.state_on(device).to("cpu"))

    def set_state(self, state: gg.Tensor, device: str | None = None) -> Generator:
        """Continue from a state that get_state returned, on one device, or on all of them when None."""
        if state.dtype != gg.uint64 or tuple(state.shape) != (2,):
            raise TypeError(f"set_state: state must be uint64 of shape (2,), got {state.dtype} of {tuple(state.shape)}")
        for own in self._all() if device is None else [self.state_on(device)]:
            own[:] = state.to(device=own.device)
        return self

    def key(self, device: str | None = None) -> gg.Tensor:
        """Take the next key of a device's stream, (2,) uint64 there: what one call of a random op draws from.

        Args:
            device: which one; the cpu when None.
        """
        return _core.random_key(self.state_on(device))

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
        """Go ahead, or back, as if so many calls had drawn on each device; counters are taken modulo 2**64.

        Example:
            >>> import gorgo as gg
            >>> gg.random.Generator(7).jump(1_000_000)
            Generator(seed=7, counter=1000000)
        """
        for state in self._all():
            state[1] = (int(state[1].item()) + calls) % 2**64
        return self

    def __repr__(self) -> str:
        seed, counter = self._states["cpu"].tolist()
        return f"Generator(seed={seed}, counter={counter})"

    def __getstate__(self) -> list[int]:
        return [int(word) for word in self._states["cpu"].tolist()]

    def __setstate__(self, state: list[int]) -> None:
        self._begin(gg.asarray(state, dtype=gg.uint64))


# Made at import, so that a captured function finds its state there and does not make it.
default_generator = Generator()


def key_of(generator: Generator | None, device: str | None = None, *parameters: object) -> gg.Tensor:
    """Take the next key of a generator, of the default one when None, for a draw with these parameters.

    Where no device is named, that of the first tensor among the parameters is meant, else the cpu.
    """
    if device is None and parameters:
        device = device_of(*parameters)
    if generator is None:
        return default_generator.key(device)
    if not isinstance(generator, Generator):
        raise TypeError(f"random: generator must be a gorgo.random.Generator or None, got {type(generator).__name__}")
    return generator.key(device)


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


def get_state(device: str | None = None) -> gg.Tensor:
    """Return a copy of the default generator's state.

    Args:
        device: on which device; the cpu when None.

    Returns:
        (2,) uint64: seed and counter, on the cpu, for `set_state`.

    Example:
        >>> import gorgo as gg
        >>> state = gg.random.get_state()
        >>> a = gg.random.uniform(shape=(3,))
        >>> gg.random.set_state(state)
        >>> bool(gg.all(a == gg.random.uniform(shape=(3,))))
        True
    """
    return default_generator.get_state(device)


def set_state(state: gg.Tensor, device: str | None = None) -> None:
    """Continue the default generator from a state that get_state returned.

    Args:
        state: what get_state returned.
        device: which device continues; all of them when None.

    Example:
        >>> import gorgo as gg
        >>> gg.random.set_state(gg.random.get_state())
    """
    default_generator.set_state(state, device)

"""What the fuzz tests draw: tensors of any dtype, shape and layout, extreme numbers, and wild things."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from samples import ALL, round_to_bfloat16

import gorgo as gg

Array = Any
SANITIZED = bool(gg._core._config()["sanitizers"])
EXAMPLES = int(os.environ.get("GORGO_FUZZ", "4" if os.environ.get("GORGO_REDUCED") == "1" else "6"))
LOG = os.environ.get("GORGO_FUZZ_LOG")
MIB = 1 << 20
# No call gets more memory than this beyond what is there, and none may take longer.
ROOM_BYTES = 64 * MIB
LONGEST_S = 120.0 if SANITIZED else 30.0
ERRORS = {TypeError, ValueError, IndexError, OverflowError, NotImplementedError, RuntimeError, gg.OutOfMemoryError}

fuzz = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def bounds() -> Iterator[None]:
    """Bound memory, and let a call that does not end fail instead of hang."""

    def late(_signal: int, _frame: object) -> None:
        raise AssertionError(f"a call took longer than {LONGEST_S:g} s")

    before, limit = signal.signal(signal.SIGALRM, late), gg.memory.stats()["limit"]
    gg.memory.empty_cache()
    gg.memory.set_limit(gg.memory.stats()["reserved_bytes"] + ROOM_BYTES)
    try:
        yield
    finally:
        gg.memory.set_limit(limit)
        signal.signal(signal.SIGALRM, before)
    assert gg.memory.check_guards() == []


@contextmanager
def timed() -> Iterator[None]:
    """Raise the alarm if what runs inside takes too long."""
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


# ---- operands ----

LAYOUTS: dict[str, Callable[[gg.Tensor], gg.Tensor]] = {
    "plain": lambda t: t,
    "stepped": lambda t: gg.stack([t, t], axis=-1)[..., 1] if t.ndim else t,
    "flipped": lambda t: gg.flip(gg.flip(t).copy()),
    "transposed": lambda t: t.mT.copy().mT if t.ndim > 1 else t,
    "offset": lambda t: gg.stack([t, t])[1],
    "expanded": lambda t: gg.broadcast_to(t[:1], t.shape) if t.ndim else t,
    "read-only": lambda t: gg.asarray(frozen(np.asarray(t))) if t.dtype != gg.bfloat16 else t,
}


def frozen(a: Array) -> Array:
    a = a.copy()
    a.flags.writeable = False
    return a


@dataclass(repr=False)
class Operand:
    """A tensor to be made, each time anew: elements, dtype, layout, whether it wants a gradient."""

    elements: Array
    dtype: str
    layout: str = "plain"
    grad: bool = False

    def __call__(self) -> gg.Tensor:
        t = gg.asarray(self.elements.copy())
        if str(t.dtype) != f"gorgo.{self.dtype}":
            t = t.astype(self.dtype)
        t = LAYOUTS[self.layout](t).detach()
        if self.grad and (t.dtype.is_floating_point or t.dtype.is_complex):
            t.requires_grad_()
        return t

    def __repr__(self) -> str:
        return f"<{self.dtype} {self.elements.shape} {self.layout}{' grad' * self.grad}>"


def made(x: Any) -> Any:
    if isinstance(x, Operand):
        return x()
    if isinstance(x, list | tuple) and any(isinstance(v, Operand) for v in x):
        return type(x)(made(v) for v in x)
    return x


sizes = st.sampled_from([0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 17, 33])
shapes = st.lists(sizes, max_size=6).map(lambda s: tuple(s) if np.prod(s, dtype=np.int64) <= 5000 else tuple(s[:2]))
# Half of the time what ops mostly take, so that most draws get beyond the checks.
dtypes = st.one_of(st.sampled_from(["float32", "int64", "float64", "bool"]), st.sampled_from(ALL))
EXTREMES = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e300, -1e300, 1e-310, 0.5]


def elements(shape: tuple[int, ...], dtype: str, kind: str) -> Array:
    rng = np.random.default_rng(len(shape) + 7 * len(kind))
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith(("int", "uint")):
        info = np.iinfo(dtype)
        if kind == "extreme":
            return rng.choice(np.array([info.min, info.max, 0, 1], dtype), shape)
        return rng.integers(max(info.min, -3), 4, shape).astype(dtype)
    with np.errstate(all="ignore"):
        x = rng.choice(EXTREMES, shape) if kind == "extreme" else rng.standard_normal(shape)
        if dtype == "bfloat16":
            return round_to_bfloat16(np.asarray(x, np.float32))
        return np.asarray(x).astype(dtype)


layouts = st.one_of(st.just("plain"), st.sampled_from(list(LAYOUTS)))


@st.composite
def operands(draw: Any) -> Operand:
    dtype, shape = draw(dtypes), draw(shapes)
    kind = draw(st.sampled_from(["plain", "plain", "extreme"]))
    return Operand(elements(shape, dtype, kind), dtype, draw(layouts), draw(st.booleans()))


class Foreign:
    """Something that no op has heard of."""

    def __repr__(self) -> str:
        return "Foreign()"


class Raises:
    """An object whose conversions all fail."""

    def __index__(self) -> int:
        raise ValueError("Raises: must not be asked, got __index__ 1")

    def __float__(self) -> float:
        raise ValueError("Raises: must not be asked, got __float__ 1")

    __len__ = __index__

    def __repr__(self) -> str:
        raise ValueError("Raises: must not be asked, got __repr__ 1")


INTS = [0, 1, 2, 3, 4, 5, 7, -1, -2, -3, -7, 100, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63)]
FLOATS = [0.0, 0.5, 1.0, -1.0, 1.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"), -0.0]
OTHERS: list[Any] = [
    None,
    True,
    False,
    2**64,
    -(2**70),
    2 + 1j,
    "a",
    "float32",
    "",
    "\ud800",
    b"ab",
    [],
    (),
    [1.5],
    [[1]],
    ["a"],
    [None],
    {},
    {1: 2},
    range(3),
    np.ones(2, np.float32),
    np.zeros((0, 3)),
    np.float32(1.5),
    np.int8(-3),
    np.bool_(True),
    np.longdouble(1),
    np.array("x"),
    np.datetime64("2020-01-01"),
    object,
    Foreign(),
    Raises(),
    gg.float32,
    gg.Tensor,
    len,
    Ellipsis,
    slice(1, 2),
]
wild = st.one_of(
    st.sampled_from(OTHERS),
    st.sampled_from(INTS),
    st.sampled_from(FLOATS),
    operands(),
    st.lists(operands(), max_size=3),
)
ints = st.one_of(st.integers(-4, 6), st.sampled_from(INTS))
few_ints = st.one_of(
    st.lists(st.integers(0, 4), max_size=5),
    st.lists(ints, max_size=4),
    st.lists(ints, min_size=30, max_size=40),
).map(tuple)
floats = st.one_of(st.sampled_from([0.1, 0.5, 1.0, 2]), st.sampled_from(FLOATS), st.sampled_from(INTS))

"""What a row says, and how operands are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gorgo as gg

Array = Any
REGISTRY: dict[str, Any] = gg._core._registry

INTEGERS = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]
ALL = ["bool", *INTEGERS, *FLOATS, *COMPLEX]
# Spacing at 1, and how many such spacings a formula of a few rounded steps may lose.
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
EPS |= {"complex64": EPS["float32"], "complex128": EPS["float64"]}
SPACINGS = {"float16": 1.0, "bfloat16": 1.0, "float32": 8.0, "float64": 32.0, "complex64": 8.0, "complex128": 32.0}


def round_to_bfloat16(x: Array) -> Array:
    """Return float32 numbers that bfloat16 can hold: the nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).reshape(np.shape(x))


class Make:
    """Draws operands of one dtype; called with a shape and a domain.

    `interior` keeps away from the ends of the domain and from special operands, where differences say nothing.
    """

    def __init__(self, op: str, dtype: str, *, interior: bool = False) -> None:
        self.rng = np.random.default_rng(sum(map(ord, op + dtype)))
        self.dtype = dtype
        self.interior = interior

    def __call__(self, *shape: int, low: float = -2.0, high: float = 2.0) -> Array:
        if self.dtype == "bool":
            return self.rng.random(shape) < 0.5
        if self.dtype in INTEGERS:
            low = max(low, 0) if self.dtype.startswith("uint") else low
            first, last = math.ceil(low), math.floor(high)
            return self.rng.integers(first, max(first, last) + 1, shape).astype(self.dtype)
        if self.interior:
            low, high = low + 0.02 * (high - low), high - 0.02 * (high - low)
        if self.dtype in COMPLEX:
            low, high = max(low, -2.0), min(high, 2.0)
            return (self.rng.uniform(low, high, shape) + 1j * self.rng.uniform(low, high, shape)).astype(self.dtype)
        x = self.rng.uniform(low, high, shape)
        return np.asarray(round_to_bfloat16(x) if self.dtype == "bfloat16" else np.asarray(x).astype(self.dtype))

    def indices(self, *shape: int, size: int) -> Array:
        """Return positions in an axis of `size`, from both ends."""
        return self.rng.integers(-size, size, shape)

    def key(self) -> Array:
        return np.array([2**60 + 12345, 7], np.uint64)


@dataclass
class Sample:
    """One call: operands, attributes, and what it must give where the row's oracle is not asked."""

    args: list[Any]
    attrs: dict[str, Any] = field(default_factory=dict)
    expected: Any = None


def call(*args: Any, **attrs: Any) -> Sample:
    def operand(a: Any) -> Any:
        if isinstance(a, list):
            return [operand(v) for v in a]
        return np.asarray(a) if isinstance(a, np.generic) else a

    return Sample([operand(a) for a in args], attrs)


@dataclass
class Row:
    op: str
    samples: Callable[[Make], list[Sample]]
    oracle: Callable[..., Any] | None = None
    no_oracle: str = ""
    large: Callable[[Make], Sample] | None = None  # enough work for two threads
    no_large: str = ""
    dtypes: list[str] = field(default_factory=list)  # default: those with a kernel
    scale: float = 4.0  # how many times SPACINGS a result may be off
    relative: bool = False  # to each element itself, not to the largest
    no_empty: str = ""
    no_rank0: str = ""
    no_specials: str = ""  # why NaN and infinities are left out
    contiguous_only: str = ""
    no_expanded: str = ""
    no_second: str = ""  # why its gradient has none of its own
    rough_layouts: str = ""  # why another layout may round differently
    no_differences: str = ""  # why differences say nothing of the gradient, which the family's tests then check
    function: Callable[..., Any] | None = None  # what is called; default: the op as the registry has it

    def __post_init__(self) -> None:
        facts = REGISTRY[self.op].__op_facts__ if self.op in REGISTRY else {"dtypes": [], "view": True}
        if not self.dtypes:
            self.dtypes = ALL if facts["view"] else facts["dtypes"]

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        return (self.function or REGISTRY[self.op])(*args, **attrs)

    def tolerance(self, dtype: str) -> float:
        return SPACINGS[dtype] * EPS[dtype] * self.scale


ROWS: dict[str, Row] = {}


def add(
    op: str, samples: Callable[[Make], list[Sample]], oracle: Callable[..., Any] | None = None, **facts: Any
) -> Row:
    assert op not in ROWS, f"{op} has two rows"
    row = ROWS[op] = Row(op, samples, oracle, **facts)
    return row


LARGE = (517, 259)  # enough work for two threads


def widen(x: Any) -> Any:
    """Return floats as float64 and complex numbers as complex128, in lists too."""
    if isinstance(x, list):
        return [widen(v) for v in x]
    if isinstance(x, np.ndarray) and x.dtype.kind in "fc":
        return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    return x


def mask(make: Make, *shape: int) -> Array:
    return make.rng.random(shape) < 0.5

"""One row for each op of the registry: sample operands, an independent oracle, tolerances. test_registry.py runs them.

A row of an elementwise op is one call of `unary` or `binary`: the domain is given and the operands are drawn; its fused
gradient `<name>_backward` gets its row by itself. Other rows list their samples. Operands are NumPy arrays (those of
bfloat16 are float32 arrays that bfloat16 can hold), Python numbers, None, or a list of arrays for a list of operands.
An oracle takes the operands with floats as float64 or complex128 and the attributes, and returns an array or a tuple.
Where the matrix would ask for something that an op cannot have, the row says why in words.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.special

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


# ---- elementwise ----

# name: (function of float64 arrays, lowest and highest ordinary operand), for this file and for the family's own tests
UNARY: dict[str, tuple[Callable[[Array], Array], float, float]] = {}
BINARY: dict[str, tuple[Callable[[Array, Array], Array], float, float]] = {}
SHAPES: list[tuple[int, ...]] = [(7, 33), (), (0,), (3, 0, 2), (1,)]
PAIRS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((7, 33), (7, 33)),
    ((3, 1, 4), (5, 1)),
    ((), (6,)),
    ((0, 3), ()),
]
LARGE = (517, 259)


def unary(op: str, oracle: Callable[[Array], Array], low: float, high: float, **facts: Any) -> None:
    """Add the row of an elementwise op of one operand, which ordinarily lies between low and high."""
    UNARY[op] = (oracle, low, high)

    def samples(make: Make) -> list[Sample]:
        shapes = [(3, 5)] if make.interior else SHAPES
        return [call(make(*shape, low=low, high=high)) for shape in shapes]

    add(op, samples, oracle, relative=True, large=lambda make: call(make(*LARGE, low=low, high=high)), **facts)
    if op + "_backward" in REGISTRY:
        add_backward(op, 1, lambda make, *shape: make(*shape, low=low, high=high), oracle)


def binary(op: str, oracle: Callable[[Array, Array], Array], low: float, high: float, **facts: Any) -> None:
    """Add the row of an elementwise op of two operands, which ordinarily lie between low and high."""
    BINARY[op] = (oracle, low, high)

    def samples(make: Make) -> list[Sample]:
        pairs = [((3, 1, 4), (5, 1))] if make.interior else PAIRS
        both = [call(make(*a, low=low, high=high), make(*b, low=low, high=high)) for a, b in pairs]
        if not make.interior and make.dtype != "bool":
            number = 2 if make.dtype in INTEGERS else 1.5
            both += [call(make(4, low=low, high=high), number), call(number, make(4, low=low, high=high))]
        return both

    def large(make: Make) -> Sample:
        return call(make(*LARGE, low=low, high=high), make(*LARGE, low=low, high=high))

    add(op, samples, oracle, relative=True, large=large, **facts)
    if op + "_backward" in REGISTRY:
        add_backward(op, 2, lambda make, *shape: make(*shape, low=low, high=high), oracle)


def slope(function: Callable[..., Array], operands: Sequence[Array], which: int) -> Array:
    """Return a partial derivative by the difference of fourth order."""
    h = 1e-4 * np.maximum(1e-1, np.abs(operands[which]))

    def at(k: int) -> Array:
        return function(*[x + k * h if i == which else x for i, x in enumerate(operands)])

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)


def add_backward(op: str, count: int, draw: Callable[..., Array], oracle: Callable[..., Array]) -> None:
    """Add the row of an op's fused gradient: float64 against differences of the oracle, others against float64."""
    facts = REGISTRY[op].__op_facts__
    saves_out = facts["saves_outputs"] & 1 and (count == 2 or not facts["saves_inputs"])

    def operands_of(make: Make, *shape: int) -> tuple[list[Array], list[Array]]:
        x = [draw(make, *shape) for _ in range(count)]
        kept = [np.asarray(widen(v)) for v in x]
        if not saves_out:
            return x, kept
        with np.errstate(all="ignore"):
            y = np.asarray(oracle(*kept))
        y = np.asarray(round_to_bfloat16(y) if make.dtype == "bfloat16" else y.astype(make.dtype))
        return ([*x, y] if count == 2 else [y]), kept

    slots = len(REGISTRY[op + "_backward"].__op_facts__["slots"]) - 1

    def samples(make: Make) -> list[Sample]:
        was, make.interior = make.interior, True
        out = []
        for shape in [(3, 5)] if was else [(3, 11), (), (0, 2)]:
            g = make(*shape)
            operands, kept = operands_of(make, *shape)
            sample = call(g, *operands[:slots])
            if make.dtype in ("float64", "complex128"):
                slopes = [widen(g) * np.conj(slope(oracle, kept, i)) for i in range(count)]
                sample.expected = slopes[0] if count == 1 else tuple(slopes)
            out.append(sample)
        make.interior = was
        return out

    def large(make: Make) -> Sample:
        return call(make(*LARGE), *operands_of(make, *LARGE)[0][:slots])

    def wide(*args: Array) -> Any:
        result = REGISTRY[op + "_backward"](*[gg.asarray(a) for a in args])
        return tuple(np.asarray(r) for r in result) if isinstance(result, tuple) else np.asarray(result)

    # Differences are good to ten digits or so; a derivative near zero is a difference of like numbers.
    row = add(op + "_backward", samples, wide, large=large)
    row.no_specials = "its operands come from an op that has been there already"
    row.tolerance = lambda dtype: max(1e-9, Row.tolerance(row, dtype))  # type: ignore[method-assign]


def widen(x: Any) -> Any:
    """Return floats as float64 and complex numbers as complex128, in lists too."""
    if isinstance(x, list):
        return [widen(v) for v in x]
    if isinstance(x, np.ndarray) and x.dtype.kind in "fc":
        return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    return x


def gelu_tanh(x: Array) -> Array:
    # 0.5 (1 + tanh u) as a logistic function: the former cancels in the left tail.
    return x * scipy.special.expit(2.0 * np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))


def floor_divide(a: Array, b: Array) -> Array:
    # Beside infinities NumPy has NaN and -1, the array API the quotient rounded down.
    infinite = np.isinf(a) | np.isinf(b)
    whole = np.floor_divide(a, b)
    return np.where(infinite, np.floor(np.divide(a, b)), whole) if np.any(infinite) else whole


def lgamma(x: Array) -> Array:
    # SciPy overflows next to zero and has another limit at minus infinity than C.
    value = np.where(np.abs(x) < 1e-300, -np.log(np.abs(x)), scipy.special.gammaln(x))
    return np.where(np.isneginf(x), np.inf, value)


unary("negative", np.negative, -5, 5)
unary("abs", np.abs, -5, 5)
unary("sign", np.sign, -5, 5)
unary("floor", np.floor, -5, 5)
unary("ceil", np.ceil, -5, 5)
unary("trunc", np.trunc, -5, 5)
unary("round", np.round, -5, 5)
unary("square", np.square, -5, 5)
unary("sqrt", np.sqrt, 0, 9)
unary("rsqrt", lambda x: 1 / np.sqrt(x), 0.1, 9)
unary("reciprocal", np.reciprocal, 0.1, 9)
unary("exp", np.exp, -8, 8)
unary("exp2", np.exp2, -8, 8)
unary("expm1", np.expm1, -3, 3)
unary("log", np.log, 0.01, 9)
unary("log1p", np.log1p, -0.9, 9)
unary("log2", np.log2, 0.01, 9)
unary("log10", np.log10, 0.01, 9)
unary("sin", np.sin, -9, 9)
unary("cos", np.cos, -9, 9)
unary("tan", np.tan, -1.3, 1.3)
unary("asin", np.arcsin, -0.99, 0.99)
unary("acos", np.arccos, -0.99, 0.99)
unary("atan", np.arctan, -9, 9)
unary("sinh", np.sinh, -5, 5)
unary("cosh", np.cosh, -5, 5)
unary("tanh", np.tanh, -5, 5)
unary("asinh", np.arcsinh, -5, 5)
unary("acosh", np.arccosh, 1.01, 9)
unary("atanh", np.arctanh, -0.99, 0.99)
unary("erf", scipy.special.erf, -4, 4)
unary("erfc", scipy.special.erfc, -4, 4)
unary("sigmoid", scipy.special.expit, -8, 8)
unary("relu", lambda x: np.where(x < 0, np.zeros_like(x), x), -5, 5)
unary("logit", scipy.special.logit, 0.02, 0.98)
unary("softplus", lambda x: np.logaddexp(x, 0.0), -8, 8)
unary("silu", lambda x: x * scipy.special.expit(x), -8, 8)
unary("gelu", lambda x: x * scipy.special.ndtr(x), -4, 4)
unary("gelu_tanh", gelu_tanh, -3, 3)
unary("conj", np.conj, -5, 5)
unary("isnan", np.isnan, -5, 5)
unary("isinf", np.isinf, -5, 5)
unary("isfinite", np.isfinite, -5, 5)
unary("logical_not", np.logical_not, -1, 1, dtypes=ALL)
unary("bitwise_invert", np.invert, -99, 99)
unary("real", np.real, -2, 2)
unary("imag", np.imag, -2, 2)
unary("copy", np.copy, -5, 5)
unary("signbit", np.signbit, -5, 5)
unary("sinc", lambda x: np.where((x == np.round(x)) & (x != 0), 0.0, np.sinc(x)), -3, 3)
unary("lgamma", lgamma, 0.1, 9)
unary("digamma", lambda x: np.where(np.isneginf(x), np.nan, scipy.special.digamma(x)), 0.1, 9)
unary("erfinv", scipy.special.erfinv, -0.99, 0.99)

binary("add", np.add, -5, 5)
binary("subtract", np.subtract, -5, 5)
binary("multiply", np.multiply, -5, 5)
binary("divide", np.divide, 0.5, 5)
binary("floor_divide", floor_divide, 0.5, 5)
binary("remainder", np.remainder, 0.5, 5)
binary("pow", np.power, 0.1, 3)
binary("maximum", np.maximum, -5, 5)
binary("minimum", np.minimum, -5, 5)
binary("atan2", np.arctan2, -5, 5)
binary("equal", np.equal, -1, 1)
binary("not_equal", np.not_equal, -1, 1)
binary("less", np.less, -1, 1)
binary("less_equal", np.less_equal, -1, 1)
binary("greater", np.greater, -1, 1)
binary("greater_equal", np.greater_equal, -1, 1)
binary("logical_and", np.logical_and, -1, 1, dtypes=ALL)
binary("logical_or", np.logical_or, -1, 1, dtypes=ALL)
binary("logical_xor", np.logical_xor, -1, 1, dtypes=ALL)
binary("bitwise_and", np.bitwise_and, -99, 99)
binary("bitwise_or", np.bitwise_or, -99, 99)
binary("bitwise_xor", np.bitwise_xor, -99, 99)
binary("bitwise_left_shift", np.left_shift, 0, 6)
binary("bitwise_right_shift", np.right_shift, 0, 6)
binary("copysign", np.copysign, -5, 5)
binary("heaviside", np.heaviside, -5, 5)
binary("hypot", np.hypot, -5, 5)
binary("logaddexp", np.logaddexp, -5, 5)
binary("logaddexp2", np.logaddexp2, -5, 5)
binary("fmod", np.fmod, 0.5, 5)
binary("xlogy", scipy.special.xlogy, 0.1, 3)
binary("gcd", np.gcd, -99, 99)
binary("lcm", np.lcm, -11, 11)


def pairs_of_numbers(make: Make) -> list[Sample]:
    return [call(make(*a, low=-5, high=5), make(*b, low=-5, high=5)) for a, b in PAIRS]


add(
    "nextafter",
    pairs_of_numbers,
    no_oracle="neighbours are the dtype's own: tests/ops/test_elementwise.py compares them with NumPy's and with bits",
    large=lambda make: call(make(*LARGE), make(*LARGE)),
)


def clip_samples(make: Make) -> list[Sample]:
    def low(*shape: int) -> Array:
        return make(*shape, low=-1.5, high=-0.5) if make.dtype not in INTEGERS else make(*shape, low=0, high=1)

    def high(*shape: int) -> Array:
        return make(*shape, low=0.5, high=1.5) if make.dtype not in INTEGERS else make(*shape, low=2, high=3)

    x = make(3, 1, 4, low=-4, high=5)
    both = [call(x, low(5, 1), high(4)), call(x, None, high(3, 5, 4)), call(x, low(4), None)]
    if make.interior:
        return both
    first, last = (1, 2) if make.dtype in INTEGERS else (-1.25, 0.5)
    numbers = [call(make(7, 33, low=-4, high=5), first, last), call(make(), None, last), call(make(0, 3), first, None)]
    return [*both, *numbers, call(make(9), None, None), call(make(6), high(6), low(6))]


def clip(x: Array, low: Any, high: Any) -> Array:
    out = x if low is None else np.maximum(x, low)
    return out if high is None else np.minimum(out, high)


def clip_backward(g: Array, x: Array, low: Any, high: Any) -> Array:
    return np.where((True if low is None else x >= low) & (True if high is None else x <= high), g, 0.0)


add("clip", clip_samples, clip, relative=True, large=lambda make: call(make(*LARGE), None, 1))
add(
    "clip_backward",
    lambda make: [
        call(make(7, 33), make(7, 33), -1.0, 0.5),
        call(make(), make(), make(), None),
        call(make(0, 3), make(0, 3), None, make(3)),
        call(make(5, 3), make(5, 3), make(3), make(5, 1)),
    ],
    clip_backward,
    large=lambda make: call(make(*LARGE), make(*LARGE), None, 1.0),
)
add(
    "polygamma",
    lambda make: [
        *(call(make(7, 5, low=0.3, high=9), n=n) for n in range(4)),
        *(call(make(*shape, low=0.3, high=9), n=1) for shape in ((), (0, 3))),
    ],
    lambda x, n: scipy.special.polygamma(n, x),
    relative=True,
    no_specials="tests/ops/test_elementwise.py has its poles and limits",
    large=lambda make: call(make(*LARGE, low=0.3, high=9), n=1),
)


def mask(make: Make, *shape: int) -> Array:
    return make.rng.random(shape) < 0.5


add(
    "where",
    lambda make: [
        call(mask(make, 4, 1), make(2, 1, 3), make(3)),
        call(mask(make), make(), make()),
        call(mask(make, 0, 2), make(2), make(0, 1)),
        call(mask(make, 5), make(5), 1),
    ],
    np.where,
    large=lambda make: call(mask(make, *LARGE), make(*LARGE), make(*LARGE)),
)
add(
    "astype",
    lambda make: [
        call(make(*shape, low=0), dtype=dtype)
        for shape, dtype in [
            ((3, 5), "float64"),
            ((), "float32"),
            ((0, 2), "int32"),
            ((7,), "complex64"),
            ((), "complex64"),
            ((0,), "complex64"),
        ]
        if not (make.dtype in COMPLEX and dtype != "complex64") and not (make.interior and dtype != "float64")
    ],
    lambda x, dtype: x.astype("complex128" if dtype.startswith("complex") else dtype),
    large=lambda make: call(make(*LARGE), dtype="float32" if make.dtype not in COMPLEX else "complex64"),
    no_specials="what NaN becomes as an integer is looked at by the family's own tests",
)

# ---- products ----


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    y = x @ weight.T
    return y if bias is None else y + bias


add(
    "matmul",
    lambda make: [
        call(make(3, 5), make(5, 4)),
        call(make(5), make(5)),
        call(make(2, 1, 3, 5), make(4, 5, 2)),
        call(make(3, 5), make(5)),
        call(make(5), make(2, 5, 3)),
        call(make(0, 5), make(5, 4)),
        call(make(3, 0), make(0, 4)),
    ],
    np.matmul,
    large=lambda make: call(make(150, 70), make(70, 130)),
    no_rank0="a product of matrices needs an axis",
)
add(
    "linear",
    lambda make: [
        call(make(3, 5), make(4, 5), make(4)),
        call(make(5), make(4, 5)),
        call(make(2, 3, 5), make(4, 5), make(4)),
        call(make(0, 5), make(4, 5), make(4)),
    ],
    linear,
    large=lambda make: call(make(150, 70), make(130, 70), make(130)),
    no_rank0="x has an axis of features",
)

# ---- convolution ----


def each_axis(value: Any, axes: int, default: int) -> list[int]:
    """Return an entry for each axis, from an attribute that may be one number or absent."""
    value = default if value is None else value
    return [value] * axes if isinstance(value, int) else list(value)


def conv_pads(axes: int, attrs: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the zeros before and after each axis of the image."""
    pads = each_axis(attrs.get("padding"), axes, 0)
    return list(zip(pads[:axes], pads[-axes:], strict=True))


def conv_taps(x_size: Sequence[int], kernel: Sequence[int], attrs: dict[str, Any]) -> tuple[list[int], list[Any]]:
    """Return the output's sizes and, for each tap of the kernel, the part of the padded input that it meets."""
    axes = len(kernel)
    strides, steps = (each_axis(attrs.get(name), axes, 1) for name in ("stride", "dilation"))
    pads = conv_pads(axes, attrs)
    out = [(x_size[i] + sum(pads[i]) - steps[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in range(axes)]
    taps = []
    for tap in np.ndindex(*kernel):
        first = [t * d for t, d in zip(tap, steps, strict=True)]
        met = tuple(slice(f, f + s * (n - 1) + 1, s) for f, s, n in zip(first, strides, out, strict=True))
        taps.append((tap, (..., *met)))
    return out, taps


def grouped(x: Array, groups: int, axis: int) -> Array:
    return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])


def convolve(x: Array, weight: Array, bias: Array | None = None, **attrs: Any) -> Array:
    """Convolve images of any number of axes, one tap of the kernel at a time."""
    axes, groups = x.ndim - 2, attrs.get("groups", 1)
    out, taps = conv_taps(x.shape[2:], weight.shape[2:], attrs)
    xp = grouped(np.pad(x, [(0, 0), (0, 0), *conv_pads(axes, attrs)]), groups, 1)
    w = grouped(weight, groups, 0)
    y = np.zeros((x.shape[0], groups, w.shape[1], *out))
    for tap, met in taps:
        y += np.einsum("ngc...,goc->ngo...", xp[met], w[(..., *tap)])
    y = y.reshape(x.shape[0], weight.shape[0], *out)
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


def convolve_transposed(x: Array, weight: Array, bias: Array | None = None, **attrs: Any) -> Array:
    """Spread each element over its window, one tap of the kernel at a time."""
    axes, groups = x.ndim - 2, attrs.get("groups", 1)
    strides, steps = (each_axis(attrs.get(name), axes, 1) for name in ("stride", "dilation"))
    pads, further = conv_pads(axes, attrs), each_axis(attrs.get("output_padding"), axes, 0)
    full = [(x.shape[i + 2] - 1) * strides[i] + steps[i] * (weight.shape[i + 2] - 1) + 1 for i in range(axes)]
    xg, w = grouped(x, groups, 1), grouped(weight, groups, 0)
    y = np.zeros((x.shape[0], groups, w.shape[2], *[n + f for n, f in zip(full, further, strict=True)]))
    for tap in np.ndindex(*weight.shape[2:]):
        first = [t * d for t, d in zip(tap, steps, strict=True)]
        met = tuple(slice(f, f + s * (n - 1) + 1, s) for f, s, n in zip(first, strides, x.shape[2:], strict=True))
        y[(..., *met)] += np.einsum("ngo...,goc->ngc...", xg, w[(..., *tap)])
    kept = tuple(slice(b, n + f - a) for n, f, (b, a) in zip(full, further, pads, strict=True))
    y = y.reshape(x.shape[0], groups * w.shape[2], *y.shape[3:])[(..., *kept)]
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


def conv_grad_weight(x: Array, g: Array, kernel_size: Sequence[int], **attrs: Any) -> Array:
    axes, groups = x.ndim - 2, attrs.get("groups", 1)
    _, taps = conv_taps(x.shape[2:], kernel_size, attrs)
    xp = grouped(np.pad(x, [(0, 0), (0, 0), *conv_pads(axes, attrs)]), groups, 1)
    windows_of_one = math.prod(g.shape[2:])
    gg_ = grouped(g, groups, 1).reshape(g.shape[0], groups, g.shape[1] // groups, windows_of_one)
    w = np.zeros((groups, gg_.shape[2], xp.shape[2], *kernel_size))
    for tap, met in taps:
        part = xp[met]
        w[(..., *tap)] = np.einsum("ngop,ngcp->goc", gg_, part.reshape(*part.shape[:3], windows_of_one))
    return w.reshape(-1, *w.shape[2:])


# Sizes of an image and of a kernel by number of axes, the hard attributes, and how many windows those leave.
CONV_SIZES: dict[int, Any] = {
    1: ((7,), (3,), {"stride": (2,), "padding": (2,), "dilation": (2,), "groups": 2}),
    2: ((6, 5), (3, 3), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}),
    3: ((4, 5, 3), (2, 3, 2), {"stride": (1, 2, 1), "padding": (1, 1, 0, 0, 2, 1), "dilation": (2, 1, 1), "groups": 2}),
}
NO_IMAGE_RANK0 = "an image has three axes or more"
NO_PADDED_SPECIALS = "padding may be multiplied or left out, which zero times infinity tells apart"


def add_convolutions(axes: int) -> None:
    size, kernel, hard = CONV_SIZES[axes]
    plain_out, hard_out = conv_taps(size, kernel, {})[0], conv_taps(size, kernel, hard)[0]
    big = {1: (4000,), 2: (24, 24), 3: (8, 8, 9)}[axes]
    same = {"padding": [k // 2 for k in kernel] + [k - 1 - k // 2 for k in kernel]}
    facts: dict[str, Any] = {"no_rank0": NO_IMAGE_RANK0, "no_specials": NO_PADDED_SPECIALS}
    add(
        f"conv{axes}d",
        lambda make: [
            call(make(2, 3, *size), make(4, 3, *kernel), make(4)),
            call(make(2, 4, *size), make(6, 2, *kernel), **hard),
            call(make(0, 3, *size), make(4, 3, *kernel)),
        ],
        convolve,
        large=lambda make: call(make(4, 8, *big), make(16, 8, *kernel), make(16), **same),
        **facts,
    )
    add(
        f"conv_transpose{axes}d",
        lambda make: [
            call(make(2, 4, *plain_out), make(4, 3, *kernel), make(3)),
            call(make(2, 6, *hard_out), make(6, 2, *kernel), **hard, output_padding=[d - 1 for d in hard["dilation"]]),
            call(make(2, 16, *plain_out), make(16, 8, *kernel), make(8), **same),
            call(make(0, 4, *plain_out), make(4, 3, *kernel)),
        ],
        convolve_transposed,
        large=lambda make: call(make(4, 16, *big), make(16, 8, *kernel), **same),
        **facts,
    )
    add(
        f"conv{axes}d_grad_weight",
        lambda make: [
            call(make(2, 3, *size), make(2, 4, *plain_out), kernel_size=kernel),
            call(make(2, 4, *size), make(2, 6, *hard_out), kernel_size=kernel, **hard),
            call(make(0, 3, *size), make(0, 4, *plain_out), kernel_size=kernel),
        ],
        conv_grad_weight,
        large=lambda make: call(make(4, 8, *big), make(4, 16, *big), kernel_size=kernel, **same),
        **facts,
    )


for conv_axes in CONV_SIZES:
    add_convolutions(conv_axes)

# ---- pooling ----


def windows(
    size: Sequence[int],
    kernel_size: Sequence[int] = (),
    stride: Any = None,
    padding: Any = None,
    dilation: Any = None,
    ceil_mode: bool = False,
    output_size: Sequence[int] = (),
) -> list[list[tuple[list[int], int]]]:
    """Return, for each axis and each window on it, its places in the image and its length in the padded one."""
    if output_size:
        parts = zip(size, output_size, strict=True)
        both = [[list(range(o * n // m, -(-(o + 1) * n // m))) for o in range(m)] for n, m in parts]
        return [[(inside, len(inside)) for inside in axis] for axis in both]
    out, ones, zeros = [], [1] * len(size), [0] * len(size)
    for n, k, s, p, d in zip(size, kernel_size, stride or kernel_size, padding or zeros, dilation or ones, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1
        whole = [[o * s + i * d - p for i in range(k) if o * s + i * d < n + 2 * p] for o in range(count)]
        out.append([([at for at in window if 0 <= at < n], len(window)) for window in whole])
    return out


def axes_of(attrs: dict[str, Any]) -> int:
    return len(attrs.get("output_size") or attrs["kernel_size"])


def max_places(x: Array, **attrs: Any) -> Array:
    """Return for each window the flat position, in its image, of the first of its largest elements."""
    axes = axes_of(attrs)
    lead, size = x.shape[:-axes], x.shape[-axes:]
    along = windows(size, **{k: v for k, v in attrs.items() if k != "return_indices"})
    at = np.zeros((*lead, *map(len, along)), np.int64)
    for position in np.ndindex(*map(len, along)):
        inside = np.ravel_multi_index(
            np.meshgrid(*[along[i][o][0] for i, o in enumerate(position)], indexing="ij"), size
        ).reshape(-1)
        values = x.reshape(*lead, math.prod(size))[..., inside]
        at[(..., *position)] = inside[np.argmax(values, axis=-1)] if x.size else 0
    return at


def max_pool_gather(v: Array, x: Array, **attrs: Any) -> Array:
    at, axes = max_places(x, **attrs), axes_of(attrs)
    lead = v.shape[:-axes]
    flat, places = (t.reshape(*lead, math.prod(t.shape[-axes:])) for t in (v, at))
    return np.take_along_axis(flat, places, axis=-1).reshape(at.shape)


def max_pool(x: Array, **attrs: Any) -> Any:
    values = max_pool_gather(x, x, **attrs)
    return (values, max_places(x, **attrs)) if attrs.get("return_indices") else values


def max_pool_grad(g: Array, x: Array, **attrs: Any) -> Array:
    at, out, axes = max_places(x, **attrs), np.zeros_like(x), axes_of(attrs)
    for position in np.ndindex(at.shape):
        out[position[:-axes]].reshape(-1)[at[position]] += g[position]
    return out


def averages(
    size: Sequence[int], count_include_pad: bool = True, divisor_override: int | None = None, **attrs: Any
) -> Array:
    """Return the matrix, of shape (*results, *size), that takes an image to its averages."""
    along = windows(size, **attrs)
    matrix = np.zeros((*map(len, along), *size))
    for position in np.ndindex(*map(len, along)):
        inside = [along[i][o] for i, o in enumerate(position)]
        count = math.prod(whole if count_include_pad else len(places) for places, whole in inside)
        matrix[position][np.ix_(*[places for places, _ in inside])] = 1.0 / (divisor_override or count)
    return matrix


def avg_pool(x: Array, **attrs: Any) -> Array:
    axes = axes_of(attrs)
    return np.tensordot(x, averages(x.shape[-axes:], **attrs), (range(-axes, 0), range(axes, 2 * axes)))


def avg_pool_grad(g: Array, input_size: Sequence[int], **attrs: Any) -> Array:
    axes = axes_of(attrs)
    return np.tensordot(g, averages(input_size, **attrs), (range(-axes, 0), range(axes)))


# By the number of axes: the size of the image, and windows in it.
POOL_SIZES: dict[int, tuple[int, ...]] = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}
MAX_POOLS: dict[int, list[dict[str, Any]]] = {
    1: [{"kernel_size": (2,)}, {"kernel_size": (3,), "stride": (2,), "padding": (1,), "ceil_mode": True}],
    2: [
        {"kernel_size": (2, 2)},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), "ceil_mode": True},
        {"kernel_size": (2, 2), "stride": (1, 1), "dilation": (2, 2)},
    ],
    3: [
        {"kernel_size": (2, 2, 2)},
        {"kernel_size": (2, 3, 2), "stride": (1, 2, 1), "padding": (1, 1, 0), "dilation": (2, 1, 2)},
    ],
}
AVG_POOLS: dict[int, list[dict[str, Any]]] = {
    1: [{"kernel_size": (2,)}, {"kernel_size": (3,), "stride": (2,), "padding": (1,), "ceil_mode": True}],
    2: [
        {"kernel_size": (2, 2)},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), "count_include_pad": False},
        {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True},
    ],
    3: [
        {"kernel_size": (2, 2, 2), "divisor_override": 3},
        {"kernel_size": (2, 3, 2), "stride": (1, 2, 1), "padding": (1, 1, 0), "count_include_pad": False},
    ],
}
ADAPTIVE: dict[int, list[dict[str, Any]]] = {
    1: [{"output_size": (4,)}, {"output_size": (1,)}],
    2: [{"output_size": (3, 6)}, {"output_size": (1, 1)}],
    3: [{"output_size": (2, 3, 4)}, {"output_size": (1, 1, 1)}],
}
# Of a gradient's attributes, which list no defaults that depend on the number of axes.
PLAIN_WINDOW: dict[str, Any] = {"padding": (0, 0), "dilation": (1, 1)}


def pooled(size: Sequence[int], attrs: dict[str, Any]) -> list[int]:
    words = ("count_include_pad", "divisor_override", "return_indices", "input_size")
    return [len(axis) for axis in windows(size, **{k: v for k, v in attrs.items() if k not in words})]


def apart(make: Make, *shape: int) -> Array:
    """Return operands for a maximum: where it is differentiated, no two so near that a step could swap them."""
    if not make.interior:
        return make(*shape)
    return make.rng.permutation(np.linspace(-2.0, 2.0, math.prod(shape))).reshape(shape).astype(make.dtype)


NO_POOL_SPECIALS = "the averages' oracle is a product with zeros; the family's own tests look at NaN"
ONE_NAN = "which of several NaN wins cannot be told from the result; the family's own tests look at one"


def pools(axes: int) -> None:
    """Add the rows of the pools of so many axes."""
    size, large_size = POOL_SIZES[axes], {1: (1024,), 2: (32, 32), 3: (8, 12, 12)}[axes]

    def samples(cases: list[dict[str, Any]]) -> Callable[[Make], list[Sample]]:
        return lambda make: [
            *(call(apart(make, 2, 3, *size), **attrs) for attrs in cases),
            call(apart(make, 3, *size), **cases[0]),
            call(make(0, 3, *size), **cases[0]),
        ]

    def large(attrs: dict[str, Any]) -> Callable[[Make], Sample]:
        return lambda make: call(make(8, 16, *large_size), **attrs)

    indices = [{**MAX_POOLS[axes][1], "return_indices": True}]
    adaptive_indices = [{**ADAPTIVE[axes][0], "return_indices": True}]
    add(
        f"max_pool{axes}d",
        samples([*MAX_POOLS[axes], *indices]),
        max_pool,
        large=large({"kernel_size": (2,) * axes}),
        no_rank0=NO_IMAGE_RANK0,
        no_specials=ONE_NAN,
    )
    add(
        f"adaptive_max_pool{axes}d",
        samples([*ADAPTIVE[axes], *adaptive_indices]),
        max_pool,
        large=large({"output_size": (3,) * axes}),
        no_rank0=NO_IMAGE_RANK0,
        no_specials=ONE_NAN,
    )
    add(
        f"avg_pool{axes}d",
        samples(AVG_POOLS[axes]),
        avg_pool,
        large=large({"kernel_size": (2,) * axes}),
        no_rank0=NO_IMAGE_RANK0,
        no_specials=NO_POOL_SPECIALS,
    )
    add(
        f"adaptive_avg_pool{axes}d",
        samples(ADAPTIVE[axes]),
        avg_pool,
        large=large({"output_size": (3,) * axes}),
        no_rank0=NO_IMAGE_RANK0,
        no_specials=NO_POOL_SPECIALS,
    )


for number in (1, 2, 3):
    pools(number)


def gradient_cases(cases: dict[int, list[dict[str, Any]]], words: Sequence[str]) -> list[tuple[Any, dict[str, Any]]]:
    """Return sizes, and attributes with all that a gradient must be told, of plain and adaptive windows."""
    both = [
        (POOL_SIZES[axes], {**{w: PLAIN_WINDOW[w][:1] * axes for w in words}, **attrs})
        for axes in (1, 2, 3)
        for attrs in cases[axes]
    ]
    return both + [(POOL_SIZES[axes], {"kernel_size": (), **attrs}) for axes in (1, 2, 3) for attrs in ADAPTIVE[axes]]


MAX_GRADS = gradient_cases(MAX_POOLS, ("padding", "dilation"))
AVG_GRADS = gradient_cases(AVG_POOLS, ("padding",))
WIDE_MAX: dict[str, Any] = {"kernel_size": (2, 2), **PLAIN_WINDOW}
add(
    "max_pool_grad",
    lambda make: [
        *(call(make(2, 3, *pooled(size, attrs)), apart(make, 2, 3, *size), **attrs) for size, attrs in MAX_GRADS),
        call(make(0, 3, 3, 3), make(0, 3, 7, 6), **WIDE_MAX),
    ],
    max_pool_grad,
    large=lambda make: call(make(8, 16, 16, 16), make(8, 16, 32, 32), **WIDE_MAX),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)
add(
    "max_pool_gather",
    lambda make: [
        *(call(make(2, 3, *size), apart(make, 2, 3, *size), **attrs) for size, attrs in MAX_GRADS),
        call(make(0, 3, 7, 6), make(0, 3, 7, 6), **WIDE_MAX),
    ],
    max_pool_gather,
    large=lambda make: call(make(8, 16, 32, 32), make(8, 16, 32, 32), **WIDE_MAX),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)
add(
    "avg_pool_grad",
    lambda make: [
        *(call(make(2, 3, *pooled(size, attrs)), input_size=size, **attrs) for size, attrs in AVG_GRADS),
        call(make(0, 3, 3, 3), input_size=(7, 6), kernel_size=(2, 2), padding=(0, 0)),
    ],
    avg_pool_grad,
    large=lambda make: call(make(8, 16, 16, 16), input_size=(32, 32), kernel_size=(2, 2), padding=(0, 0)),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)


def column_places(size: Sequence[int], **attrs: Any) -> Array:
    """Return the matrix, of shape (taps, windows, *size), that takes an image to its columns."""
    kernel = attrs["kernel_size"]
    dilation, padding, stride = ((attrs.get(k) or (d, d)) for k, d in (("dilation", 1), ("padding", 0), ("stride", 1)))
    counts = [(size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    matrix = np.zeros((*kernel, *counts, *size))
    for tap in np.ndindex(*kernel, *counts):
        at = [tap[i] * dilation[i] + tap[2 + i] * stride[i] - padding[i] for i in (0, 1)]
        if all(0 <= at[i] < size[i] for i in (0, 1)):
            matrix[(*tap, *at)] = 1.0
    return matrix.reshape(math.prod(kernel), math.prod(counts), *size)


def im2col(x: Array, **attrs: Any) -> Array:
    cut = np.tensordot(x, column_places(x.shape[-2:], **attrs), ((-2, -1), (2, 3)))  # (..., c, taps, windows)
    return cut.reshape(*x.shape[:-3], x.shape[-3] * cut.shape[-2], cut.shape[-1])


def col2im(x: Array, output_size: Sequence[int], **attrs: Any) -> Array:
    matrix = column_places(output_size, **attrs)
    parts = x.reshape(*x.shape[:-2], x.shape[-2] // matrix.shape[0], *matrix.shape[:2])
    return np.tensordot(parts, matrix, ((-2, -1), (0, 1)))


COLUMNS: list[dict[str, Any]] = [
    {"kernel_size": (2, 3)},
    {"kernel_size": (3, 2), "dilation": (2, 1), "padding": (2, 1), "stride": (1, 2)},
]
add(
    "im2col",
    lambda make: [
        *(call(make(2, 3, 7, 6), **attrs) for attrs in COLUMNS),
        call(make(3, 7, 6), **COLUMNS[0]),
        call(make(0, 3, 7, 6), **COLUMNS[0]),
    ],
    im2col,
    large=lambda make: call(make(4, 16, 32, 32), kernel_size=(3, 3)),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)
add(
    "col2im",
    lambda make: [
        call(make(2, 18, 24), output_size=(7, 6), **COLUMNS[0]),
        call(make(2, 18, 28), output_size=(7, 6), **COLUMNS[1]),
        call(make(18, 24), output_size=(7, 6), **COLUMNS[0]),
        call(make(0, 18, 24), output_size=(7, 6), **COLUMNS[0]),
    ],
    col2im,
    large=lambda make: call(make(4, 144, 900), output_size=(32, 32), kernel_size=(3, 3)),
    no_rank0=NO_IMAGE_RANK0,
    no_specials=NO_POOL_SPECIALS,
)

# ---- resampling ----


def cubic_weight(distance: float) -> float:
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def sampling(
    n: int, size: int, mode: str = "nearest", align_corners: bool = False, scale: float | None = None
) -> Array:
    """Return the matrix (size, n) of resample."""
    matrix = np.zeros((size, n))
    step = 1 / scale if scale else n / size
    for o in range(size):
        if mode.startswith("nearest"):
            matrix[o, min(int((o + (0.5 if mode == "nearest-exact" else 0.0)) * step), n - 1)] = 1.0
            continue
        place = step * (o + 0.5) - 0.5
        if align_corners:
            place = o * (n - 1) / (size - 1) if size > 1 else 0.0
        if mode == "linear":
            place = min(max(place, 0.0), n - 1)
        for at in range(math.floor(place) - 1, math.floor(place) + 3):
            weight = max(0.0, 1 - abs(place - at)) if mode == "linear" else cubic_weight(place - at)
            matrix[o, min(max(at, 0), n - 1)] += weight
    return matrix


def resample(x: Array, size: int, axis: int = -1, **attrs: Any) -> Array:
    return np.moveaxis(np.tensordot(x, sampling(x.shape[axis], size, **attrs), ((axis,), (1,))), -1, axis)


def resample_grad(g: Array, input_size: int, size: int, axis: int = -1, **attrs: Any) -> Array:
    return np.moveaxis(np.tensordot(g, sampling(input_size, size, **attrs), ((axis,), (0,))), -1, axis)


# Along axis 1 of five elements, and along the last of seven.
RESAMPLINGS: list[dict[str, Any]] = [
    {"size": 8, "axis": 1},
    {"size": 3, "axis": 1, "mode": "nearest-exact"},
    {"size": 12, "mode": "linear"},
    {"size": 3, "axis": 1, "mode": "linear", "align_corners": True},
    {"size": 9, "axis": 1, "mode": "cubic"},
    {"size": 4, "mode": "cubic", "align_corners": True},
    {"size": 9, "mode": "linear", "scale": 1.3},
    {"size": 9, "mode": "nearest", "scale": 1.375},
]
NO_RESAMPLING_SPECIALS = "a weight of zero may be multiplied or left out, which zero times infinity tells apart"
NO_AXIS = "there must be an axis"


def sampled(shape: tuple[int, ...], attrs: dict[str, Any]) -> list[int]:
    out = list(shape)
    out[attrs.get("axis", -1)] = attrs["size"]
    return out


add(
    "resample",
    lambda make: [
        *(call(make(3, 5, 7), **attrs) for attrs in RESAMPLINGS),
        call(make(0, 5, 7), size=4, mode="linear"),
    ],
    resample,
    large=lambda make: call(make(64, 16, 64), size=32, axis=1, mode="linear"),
    no_rank0=NO_AXIS,
    no_specials=NO_RESAMPLING_SPECIALS,
)
add(
    "resample_grad",
    lambda make: [
        *(
            call(make(*sampled((3, 5, 7), attrs)), input_size=5 if attrs.get("axis") == 1 else 7, **attrs)
            for attrs in RESAMPLINGS
        ),
        call(make(0, 5, 4), input_size=7, size=4, mode="linear"),
    ],
    resample_grad,
    large=lambda make: call(make(64, 32, 64), input_size=16, size=32, axis=1, mode="linear"),
    no_rank0=NO_AXIS,
    no_specials=NO_RESAMPLING_SPECIALS,
)

# ---- reductions ----

AXES: list[dict[str, Any]] = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}]


def reduction(
    op: str,
    oracle: Callable[..., Array],
    *,
    identity: bool = True,
    low: float = -2.0,
    high: float = 2.0,
    axes: list[dict[str, Any]] = AXES,
    **facts: Any,
) -> None:
    """Add the row of a reduction; one without an identity reduces no empty axis."""

    def samples(make: Make) -> list[Sample]:
        draw = lambda *shape: make(*shape, low=low, high=high)  # noqa: E731
        out = [call(draw(3, 4, 5), **attrs) for attrs in axes]
        if not make.interior:
            out += [call(draw()), call(draw(60)), call(draw(0, 3), axis=0) if identity else call(draw(0, 3), axis=1)]
        return out

    add(op, samples, oracle, large=lambda make: call(make(*LARGE, low=low, high=high)), **facts)


def sum_oracle(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    if x.dtype.kind in "bui":
        x = x.astype(np.uint64 if x.dtype.kind == "u" else np.int64)
    return np.sum(x, axis=axis, keepdims=keepdims)


ROUGH = "elements that lie otherwise are added in another order"
EVERY_REAL = ["bool", *INTEGERS, *FLOATS]
ONE_AXIS: list[dict[str, Any]] = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}]
reduction("sum", sum_oracle, dtypes=ALL, rough_layouts=ROUGH)
reduction(
    "prod",
    lambda x, **a: np.prod(x, **a),
    low=0.9,
    high=1.1,
    dtypes=[*INTEGERS, *FLOATS, *COMPLEX],
    scale=16.0,
    rough_layouts=ROUGH,
)
reduction("mean", lambda x, **a: np.mean(x, **a), identity=False, dtypes=ALL, rough_layouts=ROUGH)
reduction(
    "var",
    lambda x, correction=0.0, **a: np.var(x, ddof=correction, **a),
    identity=False,
    axes=[*AXES, {"axis": 1, "correction": 1.0}],
    rough_layouts=ROUGH,
)
reduction(
    "std",
    lambda x, correction=0.0, **a: np.std(x, ddof=correction, **a),
    identity=False,
    axes=[*AXES[1:], {"axis": 1, "correction": 1.0}],
    rough_layouts=ROUGH,
)
reduction("max", lambda x, **a: np.max(x, **a), identity=False)
reduction("min", lambda x, **a: np.min(x, **a), identity=False)
reduction("argmax", lambda x, **a: np.argmax(x, **a), identity=False, axes=ONE_AXIS)
reduction("argmin", lambda x, **a: np.argmin(x, **a), identity=False, axes=ONE_AXIS)
reduction("any", lambda x, **a: np.any(x, **a))
reduction("all", lambda x, **a: np.all(x, **a))
reduction("count_nonzero", lambda x, **a: np.count_nonzero(x, **a))


def sum_to(x: Array, shape: Sequence[int]) -> Array:
    lead = x.ndim - len(shape)
    axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1))
    return np.sum(x, axis=axes, keepdims=True).reshape(shape)


add(
    "sum_to",
    lambda make: [
        call(make(3, 4, 5), shape=(4, 1)),
        call(make(3, 4), shape=()),
        call(make(3, 4), shape=(3, 4)),
        call(make(), shape=()),
        call(make(0, 4), shape=(1, 4)),
    ],
    sum_to,
    large=lambda make: call(make(*LARGE), shape=(LARGE[0], 1)),
    rough_layouts=ROUGH,
)

# ---- scans ----


def cumulative(function: Callable[..., Array], start: int) -> Callable[..., Array]:
    def oracle(x: Array, axis: int | None = None, include_initial: bool = False) -> Array:
        axis = 0 if axis is None else axis
        x = x.astype(np.int64 if x.dtype == bool else x.dtype)
        first = np.full([1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)], start, x.dtype)
        out = function(x, axis=axis)
        return np.concatenate([first.astype(out.dtype), out], axis) if include_initial else out

    return oracle


def extreme(greatest: bool) -> Callable[..., tuple[Array, Array]]:
    def oracle(x: Array, axis: int = -1) -> tuple[Array, Array]:
        lines = np.moveaxis(x, axis, -1)
        values, at = lines.copy(), np.zeros(lines.shape, np.int64)
        for line in np.ndindex(lines.shape[:-1]):
            best = 0
            for i, v in enumerate(lines[line]):
                top = lines[line][best]
                if v != v or (top == top and (v >= top if greatest else v <= top)):
                    best = i
                values[(*line, i)], at[(*line, i)] = lines[line][best], best
        return np.moveaxis(values, -1, axis), np.moveaxis(at, -1, axis)

    return oracle


def logcumsumexp(x: Array, axis: int = -1) -> Array:
    return np.logaddexp.accumulate(x.astype(np.float64), axis)


def linear_scan(a: Array, b: Array, axis: int = -1) -> Array:
    a, b = np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)
    y = b.copy()
    for i in range(1, y.shape[-1]):
        y[..., i] = a[..., i] * y[..., i - 1] + b[..., i]
    return np.moveaxis(y, -1, axis)


NO_SCAN_AXIS = "there is no axis to go along"
for name, oracle in (("cumulative_sum", cumulative(np.cumsum, 0)), ("cumulative_prod", cumulative(np.cumprod, 1))):
    add(
        name,
        lambda m: [
            call(m(7)),
            call(m(3, 5, 2), axis=1),
            call(m(4, 3), axis=-1, include_initial=True),
            call(m(4, 3), axis=0, include_initial=True),
            call(m(0)),
            call(m(2, 0, 3), axis=1, include_initial=True),
        ],
        oracle,
        large=lambda m: call(m(*LARGE), axis=0),
        dtypes=[d for d in ALL if d != "bool"],
        no_rank0=NO_SCAN_AXIS,
    )
for name, greatest in (("cummax", True), ("cummin", False)):
    add(
        name,
        lambda m: [call(m(3, 7)), call(m(3, 7), axis=0), call(m(2, 4, 3), axis=-2), call(m(0, 2)), call(m(2, 0))],
        extreme(greatest),
        large=lambda m: call(m(*LARGE)),
        no_rank0=NO_SCAN_AXIS,
    )
add(
    "logcumsumexp",
    lambda m: [call(m(3, 7)), call(m(3, 7), axis=0), call(m(2, 4, 3), axis=-2), call(m(0, 2)), call(m(2, 0))],
    logcumsumexp,
    large=lambda m: call(m(*LARGE)),
    no_rank0=NO_SCAN_AXIS,
)
add(
    "linear_scan",
    lambda m: [call(m(3, 7), m(3, 7)), call(m(5, 3), m(5, 3), axis=0), call(m(0, 2), m(0, 2)), call(m(2, 0), m(2, 0))],
    linear_scan,
    large=lambda m: call(m(*LARGE, low=-0.9, high=0.9), m(*LARGE)),
    no_rank0=NO_SCAN_AXIS,
)

# ---- softmax and losses ----


def softmax_backward(g: Array, y: Array, axis: int = -1) -> Array:
    return y * (g - np.sum(g * y, axis=axis, keepdims=True))


def log_softmax_backward(g: Array, y: Array, axis: int = -1) -> Array:
    return g - np.exp(y) * np.sum(g, axis=axis, keepdims=True)


def along(*rest: dict[str, Any]) -> Callable[[Make], list[Sample]]:
    return lambda make: [
        call(make(3, 5)),
        call(make(2, 4, 3), axis=1),
        *(call(make(2, 4, 3), **attrs) for attrs in rest),
        call(make(0, 3)),
    ]


SOFTMAX_RANK0 = "there is no axis to normalize over"
SOFTMAX_SPECIALS = (
    "the oracles give NaN for a line with an infinity in other ways; the family's own tests look at these"
)
add(
    "softmax",
    along({"axis": 0}),
    lambda x, axis=-1: scipy.special.softmax(x, axis=axis),
    scale=8.0,
    large=lambda make: call(make(*LARGE)),
    no_rank0=SOFTMAX_RANK0,
    no_specials=SOFTMAX_SPECIALS,
    rough_layouts=ROUGH,
)
add(
    "log_softmax",
    along({"axis": 0}),
    lambda x, axis=-1: scipy.special.log_softmax(x, axis=axis),
    scale=8.0,
    large=lambda make: call(make(*LARGE)),
    no_rank0=SOFTMAX_RANK0,
    no_specials=SOFTMAX_SPECIALS,
    rough_layouts=ROUGH,
)
add(
    "logsumexp",
    along({"axis": 0, "keepdims": True}),
    lambda x, axis=-1, keepdims=False: scipy.special.logsumexp(x, axis=axis, keepdims=keepdims),
    scale=8.0,
    large=lambda make: call(make(*LARGE)),
    no_rank0=SOFTMAX_RANK0,
    no_specials=SOFTMAX_SPECIALS,
    rough_layouts=ROUGH,
)
for name, function in (("softmax_backward", softmax_backward), ("log_softmax_backward", log_softmax_backward)):
    low = 0.0 if name == "softmax_backward" else -2.0
    add(
        name,
        lambda make, low=low: [
            call(make(3, 5), make(3, 5, low=low, high=0.5)),
            call(make(2, 4, 3), make(2, 4, 3, low=low, high=0.5), axis=1),
            call(make(0, 3), make(0, 3)),
        ],
        function,
        large=lambda make, low=low: call(make(*LARGE), make(*LARGE, low=low, high=0.5)),
        scale=8.0,
        no_rank0=SOFTMAX_RANK0,
        no_specials=SOFTMAX_SPECIALS,
        rough_layouts=ROUGH,
    )


def cross_entropy(
    logits: Array, target: Array, reduction: str = "mean", ignore_index: int = -100, label_smoothing: float = 0.0
) -> Array:
    axis = 0 if logits.ndim == 1 else 1
    classes = logits.shape[axis]
    lines = scipy.special.log_softmax(logits, axis=axis)
    kept = target != ignore_index
    picked = np.take_along_axis(lines, np.expand_dims(np.where(kept, target, 0), axis), axis=axis).squeeze(axis)
    losses = -(1.0 - label_smoothing) * picked - label_smoothing / classes * lines.sum(axis=axis)
    losses = np.where(kept, losses, 0.0)
    if reduction == "none":
        return losses
    return losses.sum() / (kept.sum() if reduction == "mean" else 1.0)


def cross_entropy_backward(logits: Array, target: Array, g: Array, **attrs: Any) -> Array:
    """By differences of the loss, one logit at a time."""
    out, h = np.zeros_like(logits), 1e-4
    for i in range(logits.size):

        def at(k: int, i: int = i) -> Array:
            moved = logits.copy()
            moved.reshape(-1)[i] += k * h
            return cross_entropy(moved, target, **attrs)

        out.reshape(-1)[i] = np.sum(g * (8 * (at(1) - at(-1)) - (at(2) - at(-2)))) / (12 * h)
    return out


def labels(make: Make, *shape: int, classes: int, ignored: bool = False) -> Array:
    target = make.rng.integers(0, classes, shape)
    if ignored:
        target.reshape(-1)[::3] = -100
    return target


LOSS_SPECIALS = "lines with an infinity are looked at by the family's own tests"
add(
    "cross_entropy",
    lambda make: [
        call(make(6, 4), labels(make, 6, classes=4)),
        call(make(6, 4), labels(make, 6, classes=4, ignored=True), label_smoothing=0.2),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4, ignored=True), reduction="sum"),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4), reduction="none", label_smoothing=0.1),
        call(make(4), labels(make, classes=4)),
        call(make(0, 4), labels(make, 0, classes=4), reduction="sum"),
    ],
    cross_entropy,
    large=lambda make: call(make(700, 100), labels(make, 700, classes=100)),
    no_specials=LOSS_SPECIALS,
    scale=8.0,
    rough_layouts=ROUGH,
)
add(
    "cross_entropy_backward",
    lambda make: [
        call(make(6, 4), labels(make, 6, classes=4, ignored=True), make(), label_smoothing=0.2),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4), make(2, 3), reduction="none"),
        call(make(6, 4), labels(make, 6, classes=4), make(), reduction="sum"),
        call(make(0, 4), labels(make, 0, classes=4), make(), reduction="sum"),
    ],
    cross_entropy_backward,
    large=lambda make: call(make(700, 100), labels(make, 700, classes=100), make()),
    no_specials=LOSS_SPECIALS,
    scale=8.0,
    rough_layouts=ROUGH,
)
ROWS["cross_entropy_backward"].tolerance = lambda dtype: max(1e-9, 8.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]


def reduced(losses: Array, reduction: str) -> Array:
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)


def by_input(loss: Callable[..., Array], x: Array, *others: Array, **attrs: Any) -> Array:
    """Return sum(g * d loss / d x) by differences, one element of x at a time; g is the last operand."""
    *others_, g = others
    out, h = np.zeros_like(x), 1e-4
    for i in range(x.size):

        def at(k: int, i: int = i) -> Array:
            moved = x.copy()
            moved.reshape(-1)[i] += k * h
            return loss(moved, *others_, **attrs)

        out.reshape(-1)[i] = np.sum(g * (8 * (at(1) - at(-1)) - (at(2) - at(-2)))) / (12 * h)
    return out


POINTWISE: dict[str, Callable[..., Array]] = {
    "mse_loss": lambda d: d**2,
    "l1_loss": np.abs,
    "smooth_l1_loss": lambda d, beta=1.0: np.where(np.abs(d) < beta, d**2 / (2 * beta), np.abs(d) - beta / 2),
    "huber_loss": lambda d, delta=1.0: np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - delta / 2)),
}


def pointwise_loss(op: str) -> Callable[..., Array]:
    def loss(x: Array, t: Array, reduction: str = "mean", **attrs: Any) -> Array:
        if op == "binary_cross_entropy_with_logits":
            return reduced(np.logaddexp(0.0, x) - t * x, reduction)
        return reduced(POINTWISE[op](x - t, **attrs), reduction)

    return loss


for name, extra in (
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.5}),
    ("huber_loss", {"delta": 0.7}),
    ("binary_cross_entropy_with_logits", {}),
):
    # Inputs above targets by quarters that are no kinks, so that differences may be taken.
    def pair(make: Make, *shape: int) -> list[Array]:
        steps = make.rng.integers(-6, 6, shape) / 4 + 0.125
        t = np.asarray(np.abs(make(*shape, low=0.0, high=1.0)))
        x = (np.asarray(widen(t)) + steps).astype(np.float64)
        x = round_to_bfloat16(x) if make.dtype == "bfloat16" else x.astype(make.dtype)
        return [np.asarray(x), t]

    add(
        name,
        lambda make, extra=extra, pair=pair: [
            call(*pair(make, 5, 7), **extra),
            call(*pair(make, 3, 40), reduction="sum"),
            call(*pair(make, 2, 3, 4), reduction="none", **extra),
            call(*pair(make)),
            call(*pair(make, 0, 2), reduction="sum"),
        ],
        pointwise_loss(name),
        large=lambda make, extra=extra, pair=pair: call(*pair(make, *LARGE), **extra),
        scale=8.0,
        no_specials="what NaN and infinities give in a sum is looked at by the family's own tests",
    )
    add(
        name + "_backward",
        lambda make, extra=extra, pair=pair: [
            call(*pair(make, 5, 7), make(), **extra),
            call(*pair(make, 2, 3), make(2, 3), reduction="none", **extra),
            call(*pair(make, 2, 3), make(), reduction="sum"),
            call(*pair(make, 0, 2), make(), reduction="sum"),
        ],
        functools.partial(by_input, pointwise_loss(name)),
        large=lambda make, extra=extra, pair=pair: call(*pair(make, *LARGE), make(), **extra),
        scale=8.0,
        no_specials="its operands come from an op that has been there already",
    ).tolerance = lambda dtype: max(1e-9, 8.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]


def nll_loss(x: Array, target: Array, reduction: str = "mean", ignore_index: int = -100) -> Array:
    axis = 0 if x.ndim == 1 else 1
    kept = target != ignore_index
    picked = np.take_along_axis(x, np.expand_dims(np.where(kept, target, 0), axis), axis=axis).squeeze(axis)
    losses = np.where(kept, -picked, 0.0)
    if reduction == "none":
        return losses
    return losses.sum() / (kept.sum() if reduction == "mean" else 1.0)


add(
    "nll_loss",
    lambda make: [
        call(make(6, 4), labels(make, 6, classes=4)),
        call(make(6, 4), labels(make, 6, classes=4, ignored=True)),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4, ignored=True), reduction="sum"),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4), reduction="none"),
        call(make(4), labels(make, classes=4)),
        call(make(0, 4), labels(make, 0, classes=4), reduction="sum"),
    ],
    nll_loss,
    large=lambda make: call(make(40, 100, 700), labels(make, 40, 700, classes=100)),
    no_specials=LOSS_SPECIALS,
    scale=8.0,
)
add(
    "nll_loss_backward",
    lambda make: [
        call(make(6, 4), labels(make, 6, classes=4, ignored=True), make()),
        call(make(2, 4, 3), labels(make, 2, 3, classes=4), make(2, 3), reduction="none"),
        call(make(6, 4), labels(make, 6, classes=4), make(), reduction="sum"),
        call(make(0, 4), labels(make, 0, classes=4), make(), reduction="sum"),
    ],
    functools.partial(by_input, nll_loss),
    large=lambda make: call(make(40, 100, 700), labels(make, 40, 700, classes=100), make()),
    no_specials=LOSS_SPECIALS,
    scale=8.0,
).tolerance = lambda dtype: max(1e-9, 8.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]


def alignments(x: Array, labels: Sequence[int], blank: int) -> Array:
    """Return minus the logarithm of the summed weights of all paths that read `labels`, by going through every path."""
    times, classes = x.shape
    total = -np.inf
    for path in np.ndindex(*(classes,) * times):
        merged = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
        if [c for c in merged if c != blank] == list(labels):
            total = np.logaddexp(total, sum(x[t, c] for t, c in enumerate(path)))
    return np.asarray(-total)


def ctc_loss(
    x: Array,
    targets: Array,
    times: Array,
    counts: Array,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:
    starts = np.cumsum(counts) - counts
    losses = np.zeros(x.shape[1])
    for n in range(x.shape[1]):
        line = targets[n] if targets.ndim == 2 else targets[starts[n] :]
        losses[n] = alignments(x[: times[n], n], [int(k) for k in line[: counts[n]]], blank)
    if zero_infinity:
        losses[np.isinf(losses)] = 0.0
    if reduction == "mean":
        return np.mean(losses / np.maximum(counts, 1))
    return losses.sum() if reduction == "sum" else losses


def ctc_gradient(x: Array, targets: Array, times: Array, counts: Array, g: Array, **attrs: Any) -> Array:
    return by_input(ctc_loss, x, targets, times, counts, g, **attrs)


def ctc_curvature(x: Array, targets: Array, times: Array, counts: Array, g: Array, h: Array, **attrs: Any) -> Array:
    """By differences of the gradient of our own, whose row stands for itself."""

    def at(k: float) -> Array:
        moved = [gg.asarray(v) for v in (x + k * h, targets, times, counts, g)]
        return np.asarray(REGISTRY["ctc_loss_backward"](*moved, **attrs))

    return (8 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3


def ctc_case(make: Make, layout: int = 2) -> list[Array]:
    """Return four cases: a repeated label, one label, none, and fewer times than there are."""
    padded = np.array([[1, 1], [2, 0], [0, 0], [1, 2]])
    counts = np.array([2, 1, 0, 2])
    targets = padded if layout == 2 else np.concatenate([row[:n] for row, n in zip(padded, counts, strict=True)])
    return [make(4, 4, 3), targets, np.array([4, 4, 4, 3]), counts]


def long_ctc_case(make: Make) -> list[Array]:
    counts = make.rng.integers(0, 20, 20)
    return [make(60, 20, 9, low=-4.0, high=0.0), labels(make, 20, 20, classes=8) + 1, np.full(20, 60), counts]


CTC_RANK0 = "lengths are one for each case"
for name, oracle, extras in (
    ("ctc_loss", ctc_loss, 0),
    ("ctc_loss_backward", ctc_gradient, 1),
    ("ctc_loss_curvature", ctc_curvature, 2),
):

    def operands(make: Make, extras: int, n: tuple[int, ...], *case: Array) -> list[Array]:
        return [*case, *([make(*n)] if extras else []), *([make(*case[0].shape)] if extras > 1 else [])]

    add(
        name,
        lambda make, e=extras, operands=operands: [
            call(*operands(make, e, (), *ctc_case(make))),
            call(*operands(make, e, (4,), *ctc_case(make, 1)), reduction="none"),
            call(*operands(make, e, (), *ctc_case(make)), reduction="sum", zero_infinity=True),
            call(*operands(make, e, (), make(3, 1, 3), np.array([[0, 2]]), np.array([3]), np.array([2])), blank=1),
            call(
                *operands(
                    make, e, (), make(2, 0, 3), np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
                ),
                reduction="sum",
            ),
        ],
        oracle,
        large=lambda make, e=extras, operands=operands: call(*operands(make, e, (), *long_ctc_case(make))),
        no_rank0="" if name != "ctc_loss" else CTC_RANK0,
        no_specials="log-probabilities of nothing are looked at by the family's own tests",
        no_expanded="every case would be the same, with targets that are none",
        no_second="third derivatives of ctc_loss are not offered" if name == "ctc_loss_backward" else "",
    ).tolerance = lambda dtype: max(1e-8, 8.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]


# ---- attention ----


def attention(
    q: Array, k: Array, v: Array, mask: Array | None = None, is_causal: bool = False, scale: float | None = None
) -> Any:
    if q.ndim > 2 and k.shape[-3] != q.shape[-3]:
        k, v = (np.repeat(x, q.shape[-3] // k.shape[-3], axis=-3) for x in (k, v))
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    logs = (
        scipy.special.logsumexp(scores, axis=-1, keepdims=True) if scores.shape[-1] else scores.sum(-1, keepdims=True)
    )
    weights = np.where(np.isneginf(logs), 0.0, np.exp(scores - np.where(np.isneginf(logs), 0.0, logs)))
    return weights @ v, logs[..., 0]


def attention_backward(
    q: Array, k: Array, v: Array, mask: Array | None, out: Array, logs: Array, g: Array, g_logs: Array, **attrs: Any
) -> Any:
    """By differences of the op's oracle; `out` and `logs` are what it gives."""

    def at(*moved: Array) -> float:
        o, s = attention(*moved, mask, **attrs)
        return float(np.sum(g * o) + np.sum(g_logs * s))

    grads = []
    for i, x in enumerate((q, k, v)):
        grad = np.zeros_like(x)
        for j in range(x.size):

            def along(step: float, i: int = i, j: int = j) -> float:
                moved = [q.copy(), k.copy(), v.copy()]
                moved[i].reshape(-1)[j] += step * 1e-4
                return at(*moved)

            grad.reshape(-1)[j] = (8 * (along(1) - along(-1)) - (along(2) - along(-2))) / 12e-4
        grads.append(grad)
    return tuple(grads)


def heads(make: Make, *lead: int, l: int, s: int, e: int, ev: int, key_heads: int = 0) -> list[Array]:  # noqa: E741
    of_keys = (*lead[:-1], key_heads) if key_heads else lead
    return [make(*lead, l, e), make(*of_keys, s, e), make(*of_keys, s, ev)]


def with_results(make: Make, qkv: list[Array], mask: Array | None = None, **attrs: Any) -> Sample:
    out, logs = attention(*[widen(x) for x in qkv], None if mask is None else widen(mask), **attrs)
    out = round_to_bfloat16(out) if make.dtype == "bfloat16" else out.astype(make.dtype)
    logs = logs.astype("float64" if make.dtype == "float64" else "float32")
    g_logs = make.rng.uniform(-1, 1, logs.shape).astype(logs.dtype)
    return call(*qkv, mask, np.asarray(out), np.asarray(logs), make(*out.shape), g_logs, **attrs)


def attention_backward_of(*args: Any, **attrs: Any) -> Any:
    """Call the op with its logarithms in float32, where the matrix makes bfloat16 of them."""
    at = [a.astype("float32") if i in (5, 7) and a.dtype != gg.float64 else a for i, a in enumerate(args)]
    return REGISTRY["attention_backward"](*at, **attrs)


ATTENTION_SPECIALS = "rows with infinities are looked at by the family's own tests"
add(
    "attention",
    lambda make: [
        call(*heads(make, 2, 3, l=4, s=5, e=6, ev=7)),
        call(*heads(make, 2, l=5, s=5, e=8, ev=8), is_causal=True),
        call(*heads(make, 2, 4, l=3, s=6, e=5, ev=4, key_heads=2), mask(make, 4, 1, 6), scale=0.5),
        call(*heads(make, 2, l=3, s=4, e=2, ev=3), make(3, 4)),
        call(*heads(make, l=1, s=3, e=4, ev=1)),
        call(*heads(make, 2, l=0, s=3, e=4, ev=2)),
    ],
    attention,
    large=lambda make: call(*heads(make, 3, l=300, s=290, e=24, ev=40)),
    no_rank0="queries and keys are matrices",
    no_specials=ATTENTION_SPECIALS,
    scale=16.0,
)
add(
    "attention_backward",
    lambda make: [
        with_results(make, heads(make, 2, l=4, s=5, e=3, ev=4)),
        with_results(make, heads(make, 4, l=3, s=3, e=2, ev=3, key_heads=2), is_causal=True),
        with_results(make, heads(make, 2, l=3, s=4, e=2, ev=3), make(3, 4), scale=0.5),
        with_results(make, heads(make, 2, l=0, s=3, e=4, ev=2)),
    ],
    attention_backward,
    function=attention_backward_of,
    large=lambda make: with_results(make, heads(make, 3, l=300, s=290, e=24, ev=40)),
    no_rank0="queries and keys are matrices",
    no_specials=ATTENTION_SPECIALS,
    scale=32.0,
).tolerance = lambda dtype: max(1e-9, 32.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]

# ---- views ----

NO_WORK = "a view runs no kernel"


def view(op: str, samples: Callable[[Make], list[Sample]], oracle: Callable[..., Any], **facts: Any) -> None:
    add(op, samples, oracle, no_large=NO_WORK, **facts)


def index_view(x: Array, start: Any, step: Any, length: Any, insert: Any = ()) -> Array:
    cut = tuple(
        s if n == -1 else np.arange(s, s + d * n, d)[:n] if n else np.arange(0)
        for s, d, n in zip(start, step, length, strict=True)
    )
    for axis in reversed(range(x.ndim)):
        x = np.take(x, cut[axis], axis=axis)
    return np.expand_dims(x, tuple(insert))


def as_strided(x: Array, shape: Sequence[int], strides: Sequence[int], offset: int) -> Array:
    flat = x.reshape(-1)
    at = np.zeros(shape, np.int64) + offset
    for axis, (n, s) in enumerate(zip(shape, strides, strict=True)):
        at += (np.arange(n) * s).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return flat[at] if at.size else np.zeros(shape, x.dtype)


def view_adjoint(
    g: Array, base_shape: Any, shape: Any, strides: Any, offset: int = 0, accumulate: bool = False
) -> Array:
    out = np.zeros(math.prod(base_shape), g.dtype)  # `accumulate` is a promise about the strides
    at = as_strided(np.arange(out.size), shape, strides, offset)
    np.add.at(out, at.reshape(-1), g.reshape(-1))
    return out.reshape(base_shape)


def view_scatter(base: Array, src: Array, shape: Any, strides: Any, offset: int) -> Array:
    out = base.copy()
    at = as_strided(np.arange(out.size), shape, strides, offset)
    out.reshape(-1)[at.reshape(-1)] = np.broadcast_to(src, shape).reshape(-1)
    return out


def split(x: Array, sections: Any, axis: int = 0) -> tuple[Array, ...]:
    ends = np.cumsum(sections)[:-1] if isinstance(sections, tuple) else np.arange(sections, x.shape[axis], sections)
    return tuple(np.split(x, ends, axis=axis))


view(
    "permute_dims",
    lambda m: [call(m(2, 3, 4), axes=(2, 0, 1)), call(m(), axes=()), call(m(0, 3), axes=(-1, 0))],
    lambda x, axes: np.transpose(x, axes),
)
view(
    "broadcast_to",
    lambda m: [call(m(3, 1), shape=(2, 3, 4)), call(m(), shape=(2,)), call(m(1, 3), shape=(0, 3))],
    lambda x, shape: np.broadcast_to(x, shape),
)
view(
    "expand_dims",
    lambda m: [call(m(2, 3)), call(m(2, 3), axis=(0, -1)), call(m()), call(m(0))],
    lambda x, axis=(0,): np.expand_dims(x, axis),
)
view(
    "squeeze",
    lambda m: [call(m(1, 2, 1)), call(m(1, 2, 1), axis=(-1,)), call(m()), call(m(0, 1))],
    lambda x, axis=None: np.squeeze(x, axis),
)
view(
    "flip",
    lambda m: [call(m(2, 3)), call(m(2, 3), axis=(1,)), call(m()), call(m(0, 2))],
    lambda x, axis=None: np.flip(x, axis),
)
view(
    "diagonal",
    lambda m: [call(m(3, 4)), call(m(3, 2, 4), offset=1, axis1=0, axis2=2), call(m(3, 0))],
    lambda x, offset=0, axis1=-2, axis2=-1: np.diagonal(x, offset, axis1, axis2),
    no_rank0="a diagonal lies in two axes",
)
view(
    "reshape",
    lambda m: [
        call(m(2, 6), shape=(3, -1)),
        call(m(), shape=(1, 1)),
        call(m(0, 2), shape=(2, 0)),
        call(m(1), shape=()),
    ],
    lambda x, shape: np.reshape(x, shape),
    function=gg.reshape,
)
view(
    "split",
    lambda m: [call(m(5, 3), sections=2), call(m(2, 5), sections=(1, 4), axis=1), call(m(0, 3), sections=1, axis=1)],
    split,
    function=gg.split,
    no_rank0="there is no axis to cut",
)
view(
    "unstack",
    lambda m: [call(m(3, 2)), call(m(2, 3), axis=-1), call(m(2, 0)), call(m(3))],
    lambda x, axis=0: tuple(np.moveaxis(x, axis, 0)),
    function=gg.unstack,
    no_rank0="there is no axis to cut",
)
view(
    "index_view",
    lambda m: [
        call(m(4, 5), start=(3, 1), step=(-2, 1), length=(2, 3)),
        call(m(4, 5), start=(1, 0), step=(1, 2), length=(-1, 3), insert=(0,)),
        call(m(), start=(), step=(), length=(), insert=(0, 1)),
        call(m(0, 5), start=(0, 0), step=(1, 1), length=(0, 5)),
    ],
    index_view,
)
CONTIGUOUS = "it is said in terms of a contiguous base"
view(
    "as_strided",
    lambda m: [
        call(m(4, 5), shape=(2, 3), strides=(6, 1), offset=3),
        call(m(7), shape=(3, 3), strides=(1, 1), offset=0),
        call(m(), shape=(2,), strides=(0,), offset=0),
        call(m(3), shape=(0, 2), strides=(1, 1), offset=0),
    ],
    as_strided,
    contiguous_only=CONTIGUOUS,
)
add(
    "view_adjoint",
    lambda make: [
        call(make(2, 3), base_shape=(4, 5), shape=(2, 3), strides=(6, 1), offset=3),
        call(make(3, 3), base_shape=(7,), shape=(3, 3), strides=(1, 1), accumulate=True),
        call(make(), base_shape=(3,), shape=(), strides=(), offset=1),
        call(make(0, 2), base_shape=(3,), shape=(0, 2), strides=(1, 1)),
    ],
    view_adjoint,
    large=lambda make: call(make(517, 100), base_shape=LARGE, shape=(517, 100), strides=(259, 2), offset=3),
)
add(
    "view_scatter",
    lambda make: [
        call(make(4, 5), make(2, 3), shape=(2, 3), strides=(6, 1), offset=3),
        call(make(4, 5), make(3), shape=(2, 3), strides=(-5, 2), offset=15),
        call(make(), make(), shape=(), strides=(), offset=0),
        call(make(3), make(0), shape=(0,), strides=(1,), offset=0),
    ],
    view_scatter,
    large=lambda make: call(make(*LARGE), make(517, 100), shape=(517, 100), strides=(259, 2), offset=3),
    contiguous_only=CONTIGUOUS,
)

# ---- moves ----

add(
    "concat",
    lambda m: [call([m(2, 3), m(1, 3), m(0, 3)]), call([m(2, 3), m(2, 1)], axis=-1), call([m(0)])],
    lambda arrays, axis=0: np.concatenate(arrays, axis),
    large=lambda m: call([m(*LARGE), m(*LARGE)], axis=1),
    no_rank0="there is no axis to join",
)
add(
    "stack",
    lambda m: [call([m(2, 3), m(2, 3)]), call([m(2, 3), m(2, 3)], axis=-1), call([m(), m()]), call([m(0), m(0)])],
    lambda arrays, axis=0: np.stack(arrays, axis),
    large=lambda m: call([m(*LARGE), m(*LARGE)], axis=1),
)
add(
    "tile",
    lambda m: [
        call(m(2, 3), repetitions=(2, 2)),
        call(m(2), repetitions=(3, 1)),
        call(m(), repetitions=(2,)),
        call(m(0, 2), repetitions=(2,)),
    ],
    lambda x, repetitions: np.tile(x, repetitions),
    large=lambda m: call(m(*LARGE), repetitions=(2, 1)),
)
add(
    "roll",
    lambda m: [
        call(m(3, 4), shift=(1, -2), axis=(0, 1)),
        call(m(3, 4), shift=(5,)),
        call(m(), shift=(1,)),
        call(m(0, 2), shift=(1,), axis=(0,)),
    ],
    lambda x, shift, axis=None: np.roll(x, shift[0] if axis is None else shift, axis),
    large=lambda m: call(m(*LARGE), shift=(3, 5), axis=(0, 1)),
)
add(
    "repeat",
    lambda m: [
        call(m(2, 3), repeats=2, axis=1),
        call(m(2, 3), repeats=3),
        call(m(), repeats=2),
        call(m(0, 2), repeats=2, axis=0),
    ],
    lambda x, repeats, axis=None: np.repeat(x, repeats, axis),
    large=lambda m: call(m(*LARGE), repeats=2, axis=0),
)
for name, function in (("tril", np.tril), ("triu", np.triu)):
    add(
        name,
        lambda m: [call(m(3, 4)), call(m(2, 3, 3), k=1), call(m(4, 3), k=-1), call(m(0, 3))],
        lambda x, k=0, f=function: f(x, k),
        large=lambda m: call(m(*LARGE)),
        no_rank0="a triangle lies in two axes",
    )


NUMPY_PAD_MODES = {"replicate": "edge", "circular": "wrap"}


def pad_pairs(width: Any, rank: int) -> list[tuple[int, int]]:
    """Return a pair for each axis; `width` is one number, a pair, or the pairs of all axes in a row."""
    flat = [width, width] if isinstance(width, int) else list(width)
    flat = flat * 2 if len(flat) == 1 else flat
    return [tuple(flat)] * rank if len(flat) == 2 else [(flat[2 * i], flat[2 * i + 1]) for i in range(rank)]


def pad(x: Array, pad_width: Any, mode: str = "constant", value: Any = 0) -> Array:
    mode = NUMPY_PAD_MODES.get(mode, mode)
    more = {"constant_values": value} if mode == "constant" else {}
    return np.pad(x, pad_pairs(pad_width, x.ndim), mode, **more) if x.ndim else x.copy()


def pad_adjoint(g: Array, pad_width: Any, mode: str, shape: Sequence[int]) -> Array:
    out = np.zeros(shape, g.dtype)
    np.add.at(out.reshape(-1), pad(np.arange(out.size).reshape(shape), pad_width, mode).reshape(-1), g.reshape(-1))
    return out


PAD_MODES = ("reflect", "symmetric", "edge", "replicate", "wrap", "circular")
add(
    "pad",
    lambda m: [
        call(m(3, 5), pad_width=1),
        call(m(3, 5), pad_width=(1, 2), value=True if m.dtype == "bool" else 3),
        call(m(2, 3, 4), pad_width=(0, 1, 2, 0, 3, 1)),
        *[call(m(2, 3, 4), pad_width=(3, 2, 1, 0, 0, 2), mode=mode) for mode in PAD_MODES],
        *[call(m(3, 4), pad_width=9, mode=mode) for mode in PAD_MODES],
        *[call(m(1, 2), pad_width=(3, 1), mode=mode) for mode in PAD_MODES],
        call(m(), pad_width=2),
        call(m(0, 2), pad_width=(1, 1, 0, 3)),
    ],
    pad,
    large=lambda m: call(m(*LARGE), pad_width=(3, 5), mode="reflect"),
)
add(
    "pad_adjoint",
    lambda m: [
        *[call(m(7, 4, 6), pad_width=(3, 2, 1, 0, 0, 2), mode=mode, shape=(2, 3, 4)) for mode in PAD_MODES],
        *[call(m(21, 22), pad_width=9, mode=mode, shape=(3, 4)) for mode in PAD_MODES],
        call(m(0, 2), pad_width=0, mode="wrap", shape=(0, 2)),
        call(m(), pad_width=2, mode="edge", shape=()),
    ],
    pad_adjoint,
    large=lambda m: call(m(525, 267), pad_width=(3, 5), mode="reflect", shape=LARGE),
)

# ---- indexing ----


def index_key(x_rank: int, indices: list[Array], axes: Sequence[int]) -> tuple[Any, ...]:
    key: list[Any] = [slice(None)] * x_rank
    for i, axis in zip(indices, axes, strict=True):
        key[axis] = i
    return tuple(key)


def index_adjoint(g: Array, indices: list[Array], axes: Sequence[int], shape: Sequence[int]) -> Array:
    out = np.zeros(shape, g.dtype)
    np.add.at(out, index_key(len(shape), indices, axes), g)
    return out


def index_put(x: Array, values: Array, indices: list[Array], axes: Sequence[int], accumulate: bool = False) -> Array:
    out = x.copy()
    if accumulate:
        np.add.at(out, index_key(x.ndim, indices, axes), values)
    else:
        out[index_key(x.ndim, indices, axes)] = values
    return out


def along_key(indices: Array, axis: int) -> tuple[Array, ...]:
    grid = list(np.indices(indices.shape))
    grid[axis] = indices
    return tuple(grid)


def scatter(x: Array, indices: Array, values: Array, axis: int = -1) -> Array:
    out = x.copy()
    out[along_key(indices, axis)] = values
    return out


def scatter_add(x: Array, indices: Array, values: Array, axis: int = -1) -> Array:
    out = x.copy()
    np.add.at(out, along_key(indices, axis), values)
    return out


def take_along_axis_adjoint(g: Array, indices: Array, axis: int, shape: Sequence[int]) -> Array:
    return scatter_add(np.zeros(shape, g.dtype), indices, g, axis)


def each_once(make: Make, rows: int, size: int) -> Array:
    """Return rows of positions in an axis of `size`, none twice in a row, so that the order of writes does not matter."""  # noqa: E501
    return np.argsort(make.rng.random((rows, size)), axis=1)[:, : size - 1]


add(
    "take",
    lambda m: [
        call(m(5), m.indices(4, size=5)),
        call(m(3, 5), m.indices(2, 2, size=5), axis=1),
        call(m(3, 5), m.indices(size=3), axis=0),
        call(m(3, 5), m.indices(0, size=5), axis=-1),
    ],
    lambda x, indices, axis=None: np.take(x, indices, axis),
    large=lambda m: call(m(*LARGE), m.indices(400, size=517), axis=0),
)
add(
    "index",
    lambda m: [
        call(m(4, 3, 5), [m.indices(2, size=4), m.indices(3, 1, size=5)], axes=(0, 2)),
        call(m(4, 3), [m.indices(2, 2, size=3)], axes=(1,)),
        call(m(4, 3), [m.indices(size=4)], axes=(0,)),
        call(m(4, 3), [m.indices(0, size=4)], axes=(0,)),
    ],
    lambda x, indices, axes: x[index_key(x.ndim, indices, axes)],
    large=lambda m: call(m(*LARGE), [m.indices(400, size=517)], axes=(0,)),
)
add(
    "take_along_axis",
    lambda m: [
        call(m(3, 5), m.indices(3, 2, size=5)),
        call(m(3, 5), m.indices(4, 5, size=3), axis=0),
        call(m(3, 5), m.indices(3, 0, size=5)),
    ],
    lambda x, indices, axis=-1: np.take_along_axis(x, indices, axis),
    large=lambda m: call(m(*LARGE), m.indices(517, 200, size=259)),
    no_rank0="there is no axis to take along",
)
add(
    "nonzero",
    lambda m: [call(m(3, 5, low=-1, high=1)), call(m(0, 3)), call(m(7, low=0, high=1))],
    lambda x: np.argwhere(x),
    large=lambda m: call(m(*LARGE, low=-1, high=1)),
    no_rank0="a position needs an axis",
)
add(
    "index_adjoint",
    lambda m: [
        call(m(3, 2, 3), [m.indices(2, size=4), m.indices(3, 1, size=5)], axes=(0, 2), shape=(4, 3, 5)),
        call(m(3), [m.indices(size=4)], axes=(0,), shape=(4, 3)),
        call(m(), [m.indices(size=4)], axes=(0,), shape=(4,)),
        call(m(0, 3), [m.indices(0, size=4)], axes=(0,), shape=(4, 3)),
    ],
    index_adjoint,
    large=lambda m: call(m(400, 259), [m.indices(400, size=517)], axes=(0,), shape=LARGE),
)
add(
    "take_along_axis_adjoint",
    lambda m: [
        call(m(3, 2), m.indices(3, 2, size=5), axis=-1, shape=(3, 5)),
        call(m(4, 5), m.indices(4, 5, size=3), axis=0, shape=(3, 5)),
        call(m(3, 0), m.indices(3, 0, size=5), axis=1, shape=(3, 5)),
    ],
    take_along_axis_adjoint,
    large=lambda m: call(m(517, 200), m.indices(517, 200, size=259), axis=1, shape=LARGE),
    no_rank0="there is no axis to take along",
)
add(
    "index_put",
    lambda m: [
        call(m(4, 3), m(3, 3), [np.array([2, 0, -1])], axes=(0,)),
        call(m(4, 3), m(3), [np.array([2, 0, 2])], axes=(0,), accumulate=m.dtype != "bool"),
        call(m(4, 3, 5), m(), [np.array([0, 3]), np.array([4, 1])], axes=(0, 2)),
        call(m(4, 3), m(0, 3), [m.indices(0, size=4)], axes=(0,)),
    ],
    index_put,
    large=lambda m: call(m(*LARGE), m(400, 259), [each_once(m, 1, 517)[0, :400]], axes=(0,)),
    no_expanded="of positions that are named twice, the last value wins, and which one that is depends on the operand",
)
for name, function in (("scatter", scatter), ("scatter_add", scatter_add)):
    add(
        name,
        lambda m: [
            call(m(3, 5), each_once(m, 3, 5), m(3, 4)),
            call(m(3, 5), each_once(m, 5, 3).T, m(5), axis=0),
            call(m(3, 5), each_once(m, 2, 5), m()),
            call(m(3, 5), m.indices(3, 0, size=5), m(3, 0)),
        ],
        function,
        large=lambda m: call(m(*LARGE), each_once(m, 517, 259), m(517, 258)),
    )


def scatter_combine(x: Array, indices: Array, values: Array, axis: int, reduce: str) -> Array:
    out = x.copy()
    function = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}[reduce]
    function.at(out, along_key(indices, axis), np.broadcast_to(values, indices.shape))
    return out


add(
    "scatter_combine",
    lambda m: (
        [
            call(m(3, 5), m.indices(3, 9, size=5), m(3, 9), axis=1, reduce=reduce)
            for reduce in (("prod",) if m.dtype in COMPLEX else ("prod", "amax", "amin"))
        ]
        + [
            call(m(4, 3), m.indices(6, 2, size=4), m(2), axis=0, reduce="prod"),
            call(m(4, 3), m.indices(6, 2, size=4), m(), axis=0, reduce="prod"),
            call(m(3, 5), m.indices(3, 0, size=5), m(3, 0), axis=-1, reduce="prod"),
        ]
    ),
    scatter_combine,
    large=lambda m: call(m(*LARGE), m.indices(517, 300, size=259), m(517, 300), axis=1, reduce="amax"),
    no_specials="the oracle's extremes and products of NaN and infinities depend on the order of positions",
)

# ---- sorting ----


def bucketize(x: Array, boundaries: Array, right: bool = False) -> Array:
    side = "right" if right else "left"
    if np.ndim(boundaries) == 1:
        return np.searchsorted(boundaries, x, side)
    lines = [np.searchsorted(boundaries[i], x[i], side) for i in np.ndindex(boundaries.shape[:-1])]
    return np.reshape(lines, x.shape)


def order(x: Array, axis: int = -1, descending: bool = False, nan_last: bool = True) -> Array:
    """Return positions in sorted order, equal elements as they came."""
    if not descending or (nan_last and x.dtype.kind == "f"):
        return np.argsort(-x if descending else x, axis=axis, kind="stable")
    backwards = np.flip(x, axis)
    return np.flip(x.shape[axis] - 1 - np.argsort(backwards, axis=axis, kind="stable"), axis)


def topk(x: Array, k: int, axis: int = -1, largest: bool = True) -> tuple[Array, Array]:
    at = np.take(order(x, axis, largest, nan_last=False), np.arange(k), axis=axis)
    return np.take_along_axis(x, at, axis), at


def sorts(make: Make) -> list[Sample]:
    return [
        call(make(3, 7)),
        call(make(3, 7), axis=0, descending=True),
        call(make(1)),
        call(make(0, 3)),
        call(make(200)),
    ]


NO_SORT_AXIS = "there is no axis to sort"
add(
    "sort",
    sorts,
    lambda x, axis=-1, descending=False: np.take_along_axis(x, order(x, axis, descending), axis),
    large=lambda m: call(m(*LARGE)),
    no_rank0=NO_SORT_AXIS,
)
add("argsort", sorts, order, large=lambda m: call(m(*LARGE)), no_rank0=NO_SORT_AXIS)
add(
    "topk",
    lambda m: [call(m(3, 7), k=2), call(m(7, 3), k=3, axis=0, largest=False), call(m(3, 7), k=0), call(m(0, 3), k=2)],
    topk,
    large=lambda m: call(m(*LARGE), k=5),
    no_rank0=NO_SORT_AXIS,
)

add(
    "bucketize",
    lambda m: [
        call(m(3, 7), np.sort(m(9))),
        call(m(3, 7), np.sort(m(9)), right=True),
        call(m(2, 3, 4), np.sort(m(2, 3, 5), axis=-1)),
        call(m(), np.sort(m(9))),
        call(m(3), m(0)),
        call(m(0, 2), np.sort(m(3))),
    ],
    bucketize,
    large=lambda m: call(m(*LARGE), np.sort(m(100))),
    no_specials="boundaries must be sorted",
)

# ---- creation, random numbers, updates ----

DEEP = "the bits are compared with an independent generator by the family's own tests"
NO_OPERAND = "it has no operand of that kind"
add(
    "full",
    lambda m: [call(shape=s, fill_value=m.dtype == "bool" or 3, dtype=m.dtype) for s in ((2, 3), (), (0, 2))],
    lambda shape, fill_value, dtype: np.full(shape, fill_value),  # noqa: ARG005
    large=lambda m: call(shape=LARGE, fill_value=m.dtype == "bool" or 3, dtype=m.dtype),
    no_specials=NO_OPERAND,
)
add(
    "ramp",
    lambda m: [call(start=1, step=3, count=n, dtype=m.dtype) for n in (17, 0, 1)],
    lambda start, step, count, dtype: start + step * np.arange(count),  # noqa: ARG005
    large=lambda m: (
        call(start=1, step=1, count=100, dtype=m.dtype)
        if m.dtype in ("int8", "uint8")
        else call(start=1, step=0, count=100_000, dtype=m.dtype)
    ),
    no_specials=NO_OPERAND,
    no_rank0="it makes one axis",
)
add(
    "eye",
    lambda m: [
        call(rows=3, columns=4, dtype=m.dtype),
        call(rows=3, columns=3, k=-1, dtype=m.dtype),
        call(rows=0, columns=2, dtype=m.dtype),
    ],
    lambda rows, columns, dtype, k=0: np.eye(rows, columns, k, bool if dtype == "bool" else float),
    no_large="it is filled by one task",
    no_specials=NO_OPERAND,
    no_rank0="it makes a matrix",
)
add(
    "random_key",
    lambda m: [call(m.key())],
    lambda state: (state, state + np.array([0, 1], np.uint64)),
    no_large="it writes one number",
    no_empty="a state is two numbers",
    no_rank0="a state is two numbers",
)
for name, attrs in {
    "random_uniform": {"low": -1.0, "high": 2.0},
    "random_normal": {"mean": 1.0, "std": 2.0},
    "random_randint": {"low": 0, "high": 100},
    "random_bernoulli": {"p": 0.3},
}.items():

    def attrs_of(make: Make, name: str = name, attrs: dict[str, Any] = attrs) -> dict[str, Any]:
        return attrs if name == "random_bernoulli" else {**attrs, "dtype": make.dtype}

    add(
        name,
        lambda make, of=attrs_of: [call(make.key(), shape=shape, **of(make)) for shape in ((3, 5), (), (0, 2))],
        no_oracle=DEEP,
        large=lambda make, of=attrs_of: call(make.key(), shape=LARGE, **of(make)),
    )
add(
    "random_permutation",
    lambda m: [call(m.key(), n=n) for n in (10, 0, 1)],
    no_oracle=DEEP,
    large=lambda m: call(m.key(), n=100_000),
    no_rank0="it makes one axis",
)
for name, low, high in (
    ("random_bernoulli_each", 0.0, 1.0),
    ("random_geometric", 0.1, 1.0),
    ("random_poisson", 0.5, 30.0),
    ("random_gamma", 0.2, 5.0),
):

    def shapes_of(make: Make, low: float = low, high: float = high) -> list[Sample]:
        return [
            call(make.key(), make(3, 5, low=low, high=high)),
            call(make.key(), make(low=low, high=high)),
            call(make.key(), make(0, 2, low=low, high=high)),
            call(make.key(), make(3, 1, low=low, high=high), shape=(2, 3, 20)),
        ]

    add(
        name,
        shapes_of,
        no_oracle=DEEP,
        large=lambda make, low=low, high=high: call(make.key(), make(*LARGE, low=low, high=high)),
        no_differences="a rejected proposal makes a draw jump" if name == "random_gamma" else "",
    )
add(
    "random_gamma_slope",
    lambda m: [call(m(*shape, low=0.5, high=5.0), m(*shape, low=0.1, high=8.0)) for shape in ((3, 5), (), (0, 2))],
    no_oracle="the family's own tests compare it with differences of the incomplete gamma function",
    large=lambda m: call(m(*LARGE, low=0.5, high=5.0), m(*LARGE, low=0.1, high=8.0)),
)
add(
    "random_binomial",
    lambda m: [
        call(m.key(), np.ceil(m(3, 5, low=1.0, high=60.0)), m(5, low=0.0, high=1.0)),
        call(m.key(), np.ceil(m(low=1.0, high=60.0)), m(low=0.0, high=1.0)),
        call(m.key(), np.ceil(m(0, 2, low=1.0, high=60.0)), m(low=0.0, high=1.0)),
    ],
    no_oracle=DEEP,
    large=lambda m: call(m.key(), np.ceil(m(*LARGE, low=1.0, high=60.0)), m(LARGE[1], low=0.0, high=1.0)),
)
add(
    "random_truncated_normal",
    lambda m: [call(m.key(), m(*s, low=-3.0, high=0.5), m(*s, low=1.0, high=4.0)) for s in ((3, 5), (), (0, 2))],
    no_oracle=DEEP,
    large=lambda m: call(m.key(), m(*LARGE, low=-3.0, high=0.5), m(*LARGE, low=1.0, high=4.0)),
    no_differences="a rejected proposal makes a draw jump",
)


def truncated_slope(low: Array, draw: Array, high: Array, by_high: bool = False) -> Array:
    first, here, last = (scipy.special.ndtr(x) for x in (low, draw, high))
    end = high if by_high else low
    share = (here - first if by_high else last - here) / (last - first)
    return np.exp((draw * draw - end * end) / 2) * share


add(
    "random_truncated_normal_slope",
    lambda m: [
        call(m(*s, low=-3.0, high=-1.0), m(*s, low=-1.0, high=1.0), m(*s, low=1.0, high=3.0), by_high=by_high)
        for s in ((3, 5), (), (0, 2))
        for by_high in (False, True)
    ],
    truncated_slope,
    relative=True,
    no_specials="tests/ops/test_random_distributions.py has its limits",
    large=lambda m: call(m(*LARGE, low=-3.0, high=-1.0), m(*LARGE, low=-1.0, high=1.0), m(*LARGE, low=1.0, high=3.0)),
)
add(
    "random_multinomial",
    lambda m: [
        call(m.key(), m(3, 9, low=0.1, high=1.0), count=4),
        call(m.key(), m(9, low=0.1, high=1.0), count=40, replacement=True),
        call(m.key(), m(0, 9, low=0.1, high=1.0), count=2),
    ],
    no_oracle=DEEP,
    large=lambda m: call(m.key(), m(4, 900, low=0.1, high=1.0), count=9000, replacement=True),
    no_rank0="it draws along an axis",
)
add(
    "dropout",
    lambda m: [call(m(*shape), m.key(), p=0.3) for shape in ((3, 5), (), (0, 2))],
    no_oracle=DEEP,
    large=lambda m: call(m(*LARGE), m.key(), p=0.3),
)
add(
    "dropout_adjoint",
    lambda m: [call(m(*shape), mask(m, *shape), p=0.25) for shape in ((3, 5), (), (0, 2))],
    lambda g, mask, p: np.where(mask, g / (1 - p), 0.0),
    large=lambda m: call(m(*LARGE), mask(m, *LARGE), p=0.25),
)


def sgd_update(
    operands: list[Array],
    count: int,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> tuple[Array, ...]:
    out = list(operands)
    for i in range(count):
        g = out[count + i] + weight_decay * out[i] if weight_decay else out[count + i]
        if momentum:
            first = out[3 * count + i] == 0
            buffer = out[2 * count + i] = np.where(first, g, momentum * out[2 * count + i] + g)
            out[3 * count + i] = out[3 * count + i] + 1
            g = g + momentum * buffer if nesterov else buffer
        out[i] = out[i] - lr * g
    return tuple(out)


add(
    "sgd_update",
    lambda m: [
        call([m(3, 5), m(), m(3, 5), m()], count=2, lr=0.1, weight_decay=0.1),
        call([m(3, 5), m(3, 5), m(3, 5), np.array(0)], count=1, lr=0.1, momentum=0.9, nesterov=True),
        call([m(3, 5), m(3, 5), m(3, 5), np.array(2)], count=1, lr=0.1, momentum=0.9),
        call([m(0, 2), m(0, 2)], count=1, lr=0.1),
    ],
    sgd_update,
    large=lambda m: call([m(*LARGE), m(*LARGE)], count=1, lr=0.1, weight_decay=0.1),
)


def adam_update(
    operands: list[Array],
    count: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    amsgrad: bool = False,
    maximize: bool = False,
) -> tuple[Array, ...]:
    out = list(operands)
    for i in range(count):
        p, g, m, v = (out[k * count + i] for k in range(4))
        step = out[-count + i] + 1
        g = -g if maximize else g
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        largest = np.maximum(out[4 * count + i], v) if amsgrad else v
        p = p - lr / (1 - beta1**step) * m / (np.sqrt(largest / (1 - beta2**step)) + 1e-8)
        out[i], out[2 * count + i], out[3 * count + i], out[-count + i] = p, m, v, step
        if amsgrad:
            out[4 * count + i] = largest
    return tuple(out)


def rmsprop_update(
    operands: list[Array],
    count: int,
    lr: float,
    alpha: float = 0.99,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Array, ...]:
    out = list(operands)
    for i in range(count):
        g = out[count + i] + weight_decay * out[i]
        square = out[2 * count + i] = alpha * out[2 * count + i] + (1 - alpha) * g**2
        if centered:
            mean = out[3 * count + i] = alpha * out[3 * count + i] + (1 - alpha) * g
            square = square - mean**2
        move = g / (np.sqrt(square) + 1e-8)
        if momentum:
            move = out[-count + i] = momentum * out[-count + i] + move
        out[i] = out[i] - lr * move
    return tuple(out)


def adagrad_update(
    operands: list[Array], count: int, lr: float, lr_decay: float = 0.0, weight_decay: float = 0.0
) -> tuple[Array, ...]:
    out = list(operands)
    for i in range(count):
        g = out[count + i] + weight_decay * out[i]
        total = out[2 * count + i] = out[2 * count + i] + g**2
        out[i] = out[i] - lr / (1 + out[3 * count + i] * lr_decay) * g / (np.sqrt(total) + 1e-10)
        out[3 * count + i] = out[3 * count + i] + 1
    return tuple(out)


UPDATE_SPECIALS = "what the oracle squares in float64 overflows in float32; the optimizers' own tests look at these"


# Second moments stay away from zero, where the root magnifies what half types round.
def moments(m: Make, *shape: int) -> Array:
    return m(*shape, low=0.5, high=2.0)


add(
    "adam_update",
    lambda m: [
        call(
            [m(3, 5), m(), m(3, 5), m(), m(3, 5), m(), moments(m, 3, 5), moments(m), np.array(0), np.array(7)],
            count=2,
            lr=0.1,
            weight_decay=0.1,
        ),
        call(
            [*(m(3, 5) for _ in range(3)), moments(m, 3, 5), moments(m, 3, 5), np.array(2)],
            count=1,
            lr=0.1,
            amsgrad=True,
        ),
        call(
            [*(m(4) for _ in range(3)), moments(m, 4), np.array(2)],
            count=1,
            lr=0.1,
            beta1=0.25,
            weight_decay=0.5,
            decoupled=True,
            maximize=True,
        ),
        call([m(0, 2) for _ in range(4)] + [np.array(0)], count=1, lr=0.1),
    ],
    adam_update,
    no_specials=UPDATE_SPECIALS,
    large=lambda m: call([*(m(*LARGE) for _ in range(3)), moments(m, *LARGE), np.array(3)], count=1, lr=0.1),
)
add(
    "rmsprop_update",
    lambda m: [
        call([m(3, 5), m(), m(3, 5), m(), moments(m, 3, 5), moments(m)], count=2, lr=0.1, weight_decay=0.1),
        call([m(3, 5), m(3, 5), moments(m, 3, 5), m(3, 5)], count=1, lr=0.1, momentum=0.5),
        call([m(3, 5), m(3, 5), m(3, 5, low=4.0, high=6.0), m(3, 5)], count=1, lr=0.1, centered=True, alpha=0.75),
        call([m(0, 2) for _ in range(3)], count=1, lr=0.1),
    ],
    rmsprop_update,
    no_specials=UPDATE_SPECIALS,
    large=lambda m: call([m(*LARGE), m(*LARGE), moments(m, *LARGE), m(*LARGE)], count=1, lr=0.1, momentum=0.5),
)
add(
    "adagrad_update",
    lambda m: [
        call([m(3, 5), m(), m(3, 5), m(), moments(m, 3, 5), moments(m), np.array(0), np.array(4)], count=2, lr=0.1),
        call([m(3, 5), m(3, 5), moments(m, 3, 5), np.array(4)], count=1, lr=0.1, lr_decay=0.5, weight_decay=0.1),
        call([m(0, 2) for _ in range(3)] + [np.array(0)], count=1, lr=0.1),
    ],
    adagrad_update,
    no_specials=UPDATE_SPECIALS,
    large=lambda m: call([m(*LARGE), m(*LARGE), moments(m, *LARGE), np.array(1)], count=1, lr=0.1),
)

# ---- norms ----


def normalized(x: Array, axes: tuple[int, ...], eps: float, centered: bool = True) -> tuple[Array, Array]:
    """Return x with mean 0 and mean square 1 over the axes, and what it was multiplied by."""
    d = x - x.mean(axes, keepdims=True) if centered else x
    rstd = 1.0 / np.sqrt((d * d).mean(axes, keepdims=True) + eps)
    return d * rstd, rstd


def norm_gradients(
    g: Array, x: Array, w: Array, axes: tuple[int, ...], over: tuple[int, ...], eps: float, centered: bool = True
) -> tuple[Array, Array, Array]:
    """Return the gradients by x, weight and bias; `w` broadcasts against x, and stands on the axes not in `over`."""
    hat, rstd = normalized(x, axes, eps, centered)
    gw = g * w
    dx = gw - hat * (gw * hat).mean(axes, keepdims=True)
    if centered:
        dx = dx - gw.mean(axes, keepdims=True)
    return dx * rstd, (g * hat).sum(over), g.sum(over)


def channels_of(v: Array | None, x: Array, otherwise: float) -> Array:
    return np.full(1, otherwise) if v is None else v.reshape((-1,) + (1,) * (x.ndim - 2))


def affine(y: Array, x: Array, weight: Array | None, bias: Array | None) -> Array:
    return y * channels_of(weight, x, 1.0) + channels_of(bias, x, 0.0)


def layer_norm(x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5) -> Array:
    y = normalized(x, (-1,), eps)[0]
    return y * (1.0 if weight is None else weight) + (0.0 if bias is None else bias)


def rms_norm(x: Array, weight: Array | None = None, eps: float = 1e-5) -> Array:
    return normalized(x, (-1,), eps, False)[0] * (1.0 if weight is None else weight)


def channel_groups(x: Array, groups: int) -> Array:
    return x.reshape((x.shape[0], groups, x.shape[1] // groups, math.prod(x.shape[2:])))


def group_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, groups: int = 1, eps: float = 1e-5
) -> Array:
    return affine(normalized(channel_groups(x, groups), (2, 3), eps)[0].reshape(x.shape), x, weight, bias)


def batch_axes(x: Array) -> tuple[int, ...]:
    return tuple(i for i in range(x.ndim) if i != 1)


def batch_norm_train(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    num_batches: Array | None = None,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, ...]:
    y = affine(normalized(x, batch_axes(x), eps)[0], x, weight, bias)
    share = momentum if momentum is not None else 1.0 / (1 if num_batches is None else num_batches + 1)
    if running_mean is not None:
        running_mean = (1 - share) * running_mean + share * x.mean(batch_axes(x))
    if running_var is not None:
        running_var = (1 - share) * running_var + share * x.var(batch_axes(x), ddof=1)
    counted = None if num_batches is None else num_batches + 1
    return y, *(v for v in (x, weight, bias, running_mean, running_var, counted) if v is not None)


def batch_norm(
    x: Array, mean: Array, variance: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    return affine((x - channels_of(mean, x, 0.0)) / np.sqrt(channels_of(variance, x, 1.0) + eps), x, weight, bias)


def layer_norm_backward(g: Array, x: Array, weight: Array | None = None, eps: float = 1e-5) -> tuple[Array, ...]:
    return norm_gradients(g, x, np.ones(1) if weight is None else weight, (-1,), tuple(range(x.ndim - 1)), eps)


def rms_norm_backward(g: Array, x: Array, weight: Array | None = None, eps: float = 1e-5) -> tuple[Array, ...]:
    w = np.ones(1) if weight is None else weight
    return norm_gradients(g, x, w, (-1,), tuple(range(x.ndim - 1)), eps, False)[:2]


def group_norm_backward(
    g: Array, x: Array, weight: Array | None = None, groups: int = 1, eps: float = 1e-5
) -> tuple[Array, ...]:
    w = np.ones((1, 1, 1)) if weight is None else weight.reshape((groups, -1, 1))
    dx, dw, db = norm_gradients(channel_groups(g, groups), channel_groups(x, groups), w, (2, 3), (0, 3), eps)
    return dx.reshape(x.shape), dw.reshape(-1), db.reshape(-1)


def batch_norm_backward(g: Array, x: Array, weight: Array | None = None, eps: float = 1e-5) -> tuple[Array, ...]:
    return norm_gradients(g, x, channels_of(weight, x, 1.0), batch_axes(x), batch_axes(x), eps)


NORM_SPECIALS = "an infinity or NaN takes its whole line with it; the family's own tests look at that"
NORM_RANK0 = "there is no axis to normalize over"
NORM_SCALE = 16.0
add(
    "layer_norm",
    lambda m: [
        call(m(3, 5), m(5), m(5)),
        call(m(2, 3, 40), m(40), None, eps=0.25),
        call(m(7)),
        call(m(2, 9), None, m(9)),
        call(m(0, 3), m(3), m(3)),
    ],
    layer_norm,
    large=lambda m: call(m(*LARGE), m(LARGE[1]), m(LARGE[1])),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)
add(
    "rms_norm",
    lambda m: [call(m(3, 5), m(5)), call(m(2, 3, 40), eps=0.25), call(m(7), m(7)), call(m(0, 3), m(3))],
    rms_norm,
    large=lambda m: call(m(*LARGE), m(LARGE[1])),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)
add(
    "group_norm",
    lambda m: [
        call(m(3, 6), m(6), m(6), groups=2),
        call(m(2, 4, 5), m(4), m(4), groups=2),
        call(m(2, 4, 3, 7), m(4), None, groups=4, eps=0.25),
        call(m(2, 4, 3, 7), groups=1),
        call(m(0, 4, 3), m(4), m(4), groups=2),
    ],
    group_norm,
    large=lambda m: call(m(37, 32, 65), m(32), m(32), groups=4),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)


def batches(m: Make) -> list[Sample]:
    def running(c: int) -> list[Array]:
        return [] if m.interior else [m(c), m(c, low=0.5), np.array(3)]

    return [
        call(m(7, 5), m(5), m(5), *running(5)),
        call(m(3, 4, 5), m(4), m(4), *running(4), momentum=None),
        call(m(2, 3, 4, 9), None, m(3), *running(3)[:2], momentum=0.5, eps=0.25),
        call(m(6, 40)),
    ]


add(
    "batch_norm_train",
    batches,
    batch_norm_train,
    large=lambda m: call(m(37, 32, 65), m(32), m(32)),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    no_empty="a channel needs two values",
    no_expanded="only what it writes must have distinct elements; the family's own tests look at that",
    scale=NORM_SCALE,
)
add(
    "batch_norm",
    lambda m: [
        call(m(7, 5), m(5), m(5, low=0.5), m(5), m(5)),
        call(m(3, 4, 5), m(4), m(4, low=0.5)),
        call(m(2, 3, 4, 9), m(3), m(3, low=0.5), m(3), None, eps=0.25),
        call(m(0, 3, 2), m(3), m(3, low=0.5)),
    ],
    batch_norm,
    large=lambda m: call(m(37, 32, 65), m(32), m(32, low=0.5), m(32), m(32)),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)
for name, function in (("layer_norm_backward", layer_norm_backward), ("rms_norm_backward", rms_norm_backward)):
    add(
        name,
        lambda m: [
            call(m(3, 5), m(3, 5), m(5)),
            call(m(2, 3, 40), m(2, 3, 40), eps=0.25),
            call(m(7), m(7), m(7)),
            call(m(0, 3), m(0, 3), m(3)),
        ],
        function,
        large=lambda m: call(m(*LARGE), m(*LARGE), m(LARGE[1])),
        no_specials=NORM_SPECIALS,
        no_rank0=NORM_RANK0,
        scale=NORM_SCALE,
    )
add(
    "group_norm_backward",
    lambda m: [
        call(m(3, 6), m(3, 6), m(6), groups=2),
        call(m(2, 4, 5), m(2, 4, 5), m(4), groups=2),
        call(m(2, 4, 3, 7), m(2, 4, 3, 7), groups=4, eps=0.25),
        call(m(0, 4, 3), m(0, 4, 3), m(4), groups=2),
    ],
    group_norm_backward,
    large=lambda m: call(m(37, 32, 65), m(37, 32, 65), m(32), groups=4),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    scale=NORM_SCALE,
)
add(
    "batch_norm_backward",
    lambda m: [
        call(m(7, 5), m(7, 5), m(5)),
        call(m(3, 4, 5), m(3, 4, 5)),
        call(m(2, 3, 4, 9), m(2, 3, 4, 9), m(3), eps=0.25),
    ],
    batch_norm_backward,
    large=lambda m: call(m(37, 32, 65), m(37, 32, 65), m(32)),
    no_specials=NORM_SPECIALS,
    no_rank0=NORM_RANK0,
    no_empty="a channel needs two values",
    scale=NORM_SCALE,
)

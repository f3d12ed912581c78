"""Elementwise ops, and those whose operands are chosen or cast one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

import gorgo as gg
from samples.rows import (
    ALL,
    COMPLEX,
    INTEGERS,
    LARGE,
    REGISTRY,
    Array,
    Make,
    Row,
    Sample,
    add,
    call,
    mask,
    round_to_bfloat16,
    widen,
)

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


def gelu_tanh(x: Array) -> Array:
    # 0.5 (1 + tanh u) as a logistic function: the former cancels in the left tail.
    return x * scipy.special.expit(2.0 * np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))


def floor_divide(a: Array, b: Array) -> Array:
    # Beside infinities NumPy has NaN and -1, the array API the quotient rounded down.
    infinite = np.isinf(a) | np.isinf(b)
    whole = np.floor_divide(a, b)
    return np.where(infinite, np.floor(np.divide(a, b)), whole) if np.any(infinite) else whole


def erfinv(x: Array) -> Array:
    # SciPy takes five microseconds for a number outside of the domain, and accuracy.py has half of all float32.
    return np.copysign(scipy.special.erfinv(np.where(np.abs(x) <= 1, x, np.nan)), x)


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
unary("hardsigmoid", lambda x: np.clip((x + 3) / 6, 0, 1), -5, 5)
unary("hardswish", lambda x: np.where(x <= -3, 0.0, np.where(x >= 3, x, x * (np.clip(x, -3, 3) + 3) / 6)), -5, 5)
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
unary("erfinv", erfinv, -0.99, 0.99)

binary("add", np.add, -5, 5)
binary("subtract", np.subtract, -5, 5)
binary("multiply", np.multiply, -5, 5)
binary("divide", np.divide, 0.5, 5)
binary("floor_divide", floor_divide, 0.5, 5)
binary("remainder", np.remainder, 0.5, 5)
binary("pow", np.power, 0.1, 3)
binary("maximum", np.maximum, -5, 5)
binary("minimum", np.minimum, -5, 5)
binary("leaky_relu", lambda x, slope: np.where(x > 0, x, slope * x), -5, 5)
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


# What capture makes of chains; tests/test_fusion.py has the rest.
def fused_words(dtype: str) -> list[int]:
    """Return the program x * y + x over two operands, as core/fused.h has it."""
    number = {"float32": 11, "float64": 12}[dtype]
    add, multiply, none = 30, 32, 0xFF
    return [op | number << 8 | a << 16 | b << 24 | none << 32 for op, a, b in ((multiply, 0, 1), (add, 2, 0))]


def fused_call(make: Make, *shapes: tuple[int, ...]) -> Sample:
    return call([make(*shape) for shape in shapes], code=fused_words(make.dtype), results=[3])


add(
    "fused",
    lambda make: [
        fused_call(make, (7, 33), (7, 33)),
        fused_call(make, (), ()),
        fused_call(make, (0, 3), (3,)),
        fused_call(make, (5, 1), (1, 3)),
    ],
    lambda operands, **_program: operands[0] * operands[1] + operands[0],
    large=lambda make: fused_call(make, LARGE, LARGE),
    no_specials="tests/test_fusion.py compares special values bit for bit with the ops one by one",
)

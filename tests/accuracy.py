"""How far elementwise functions are from the truth: `python tests/accuracy.py`, on demand.

Every float32 (float16, bfloat16) there is goes through every function of one operand, and its result is compared with
that of NumPy or SciPy in float64; where the two are further apart than the limit allows, mpmath decides with 60 digits.
Functions of two operands and float64 are sampled, float64 against mpmath alone. An error is given in units of the last
place: the distance to the true value over the spacing of numbers of the result's dtype there.

    python tests/accuracy.py exp tanh                # all 2**32 numbers; a minute or so for a function and a core
    python tests/accuracy.py --every 65537           # every 65537th
    python tests/accuracy.py --dtype float64 --samples 20000
    GORGO_ISA=avx2 python tests/accuracy.py          # another instruction set

Exit status 1 if a limit is exceeded. test_accuracy.py runs it with few numbers.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from samples.elementwise import BINARY, UNARY
from samples.rows import REGISTRY, Array, round_to_bfloat16

import gorgo as gg

# op: most units of the last place that its result may be off. What is exact or rounds once has 0.5.
LIMITS: dict[str, float] = {
    **dict.fromkeys(("negative", "abs", "sign", "floor", "ceil", "trunc", "round"), 0.0),
    **dict.fromkeys(("square", "sqrt", "reciprocal", "relu", "add", "multiply", "divide"), 0.5),
    **dict.fromkeys(("rsqrt", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan"), 1.0),
    **dict.fromkeys(("asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc"), 1.0),
    **dict.fromkeys(("sigmoid", "logit", "softplus", "silu", "gelu", "gelu_tanh", "sinc", "erfinv"), 1.0),
    **dict.fromkeys(("lgamma", "digamma", "pow"), 2.0),
    **dict.fromkeys(("atan2", "hypot"), 1.0),
}
# float64 has the C library for many of these, and formulas of several steps for the others.
LIMITS64: dict[str, float] = {op: limit if limit <= 0.5 else 2.0 for op, limit in LIMITS.items()}
# Below 0 digamma is the difference of two terms; next to its zeros float64 shows what each has lost.
FROM_ZERO_64 = ("digamma",)
CHUNK = 1 << 20
SECOND_OPINIONS = 2000  # at most so many float32 results of a chunk are put to mpmath


def exact(op: str) -> Callable[..., Any] | None:
    """Return the function in mpmath, or None where float64 rounds no more than the result does."""
    import mpmath as mp

    mp.mp.dps = 60
    two_over_pi = mp.sqrt(mp.mpf(2) / mp.pi)
    table: dict[str, Callable[..., Any]] = {
        "square": lambda x: x * x,
        "sqrt": mp.sqrt,
        "rsqrt": lambda x: 1 / mp.sqrt(x),
        "reciprocal": lambda x: 1 / x,
        "exp": mp.exp,
        "exp2": lambda x: mp.mpf(2) ** x,
        "expm1": mp.expm1,
        "log": mp.log,
        "log1p": mp.log1p,
        "log2": lambda x: mp.log(x, 2),
        "log10": mp.log10,
        "sin": mp.sin,
        "cos": mp.cos,
        "tan": mp.tan,
        "asin": mp.asin,
        "acos": mp.acos,
        "atan": mp.atan,
        "sinh": mp.sinh,
        "cosh": mp.cosh,
        "tanh": mp.tanh,
        "asinh": mp.asinh,
        "acosh": mp.acosh,
        "atanh": mp.atanh,
        "erf": mp.erf,
        "erfc": mp.erfc,
        "erfinv": mp.erfinv,
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "logit": lambda x: mp.log(x / (1 - x)),
        "softplus": lambda x: mp.log1p(mp.exp(x)),
        "silu": lambda x: x / (1 + mp.exp(-x)),
        "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
        "gelu_tanh": lambda x: x / (1 + mp.exp(-2 * two_over_pi * (x + mp.mpf("0.044715") * x**3))),
        "sinc": mp.sincpi,
        "lgamma": lambda x: mp.re(mp.loggamma(x)),
        "digamma": mp.digamma,
        "pow": lambda x, y: x**y,
        "atan2": mp.atan2,
        "hypot": mp.hypot,
        "add": lambda x, y: x + y,
        "multiply": lambda x, y: x * y,
        "divide": lambda x, y: x / y,
    }
    return table.get(op)


@dataclass(frozen=True)
class Format:
    """A binary format: digits of its significand, exponent of its smallest normal number, largest number."""

    dtype: str
    digits: int
    least: int
    largest: float

    def round(self, x: Array) -> Array:
        """Return float64 numbers rounded to the format, as float32 or float64."""
        with np.errstate(all="ignore"):
            if self.dtype == "bfloat16":
                # By way of float32, to odd, so that the second rounding sees what the first one dropped.
                near = x.astype(np.float32)
                bits = near.view(np.uint32).copy()
                inexact = np.isfinite(near) & (near.astype(np.float64) != x)
                away = inexact & (np.abs(near.astype(np.float64)) > np.abs(x))
                bits = np.where(away, bits - 1, bits) | inexact.astype(np.uint32)
                return round_to_bfloat16(bits.view(np.float32))
            return x if self.dtype == "float64" else x.astype(self.dtype).astype(np.float32)

    def all(self, every: int) -> Iterator[Array]:
        """Yield each `every`-th number of the format, in chunks of float32."""
        count = 1 << (32 if self.dtype == "float32" else 16)
        for begin in range(0, count, CHUNK * every):
            bits = np.arange(begin, min(begin + CHUNK * every, count), every, dtype=np.uint64)
            if self.dtype == "float32":
                yield bits.astype(np.uint32).view(np.float32)
            elif self.dtype == "float16":
                yield bits.astype(np.uint16).view(np.float16).astype(np.float32)
            else:
                yield (bits.astype(np.uint32) << 16).view(np.float32)

    def spacing(self, x: Array) -> Array:
        """Return the distance of neighbouring numbers at x."""
        exponent = np.where(x == 0, self.least, np.frexp(x)[1] - 1)
        return np.ldexp(1.0, np.maximum(exponent, self.least) - self.digits + 1)

    def units(self, got: Array, true: Array) -> Array:
        """Return the distance of results from true values in units of the last place; infinite where kinds differ."""
        rounded = self.round(true)
        with np.errstate(all="ignore"):
            off = np.abs(got.astype(np.float64) - true) / self.spacing(true)
        off = np.where(np.isnan(got) | np.isnan(true), np.where(np.isnan(got) & np.isnan(true), 0.0, np.inf), off)
        infinite = np.isinf(got) | np.isinf(rounded)
        # Next to the largest number either answer is within a place of the other.
        beside = (np.minimum(np.abs(got), np.abs(rounded)) == self.largest) & (np.sign(got) == np.sign(rounded))
        off = np.where(infinite, np.where(got == rounded, 0.0, np.where(beside, 1.0, np.inf)), off)
        zeros = (got == 0) & (rounded == 0) & (np.signbit(got) != np.signbit(rounded))
        return np.where(zeros, np.inf, off)


FORMATS = {
    "float16": Format("float16", 11, -14, 65504.0),
    "bfloat16": Format("bfloat16", 8, -126, float.fromhex("0x1.fep127")),
    "float32": Format("float32", 24, -126, float(np.finfo(np.float32).max)),
    "float64": Format("float64", 53, -1022, float(np.finfo(np.float64).max)),
}


@dataclass
class Report:
    """What was found for an op."""

    op: str
    count: int = 0
    worst: float = 0.0
    at: tuple[float, ...] = ()
    got: float = 0.0
    inexact: int = 0  # results that are not the nearest number; float64 can't tell of itself
    beyond: int = 0  # results past the limit

    def add(self, units: Array, operands: list[Array], got: Array, limit: float) -> None:
        """Take in results that are not the nearest number."""
        self.inexact += len(units)
        self.beyond += int(np.count_nonzero(units > limit))
        if len(units) and units.max() > self.worst:
            i = int(units.argmax())
            self.worst, self.at, self.got = float(units[i]), tuple(float(x[i]) for x in operands), float(got[i])


def limit_of(op: str, dtype: str) -> float:
    """Return the most units of the last place that a result may be off."""
    return LIMITS64[op] if dtype == "float64" else LIMITS[op]


def sampled(format: Format, count: int, seed: int) -> Array:
    """Return numbers of a format: half of any bits, half of ordinary size."""
    rng = np.random.default_rng(seed)
    kind, bits = (np.float64, np.uint64) if format.dtype == "float64" else (np.float32, np.uint32)
    any_bits = rng.integers(0, 1 << (8 * np.dtype(kind).itemsize), count - count // 2, dtype=bits).view(kind)
    usual = rng.standard_normal(count // 2) * 2.0 ** rng.integers(-8, 4, count // 2)
    with np.errstate(invalid="ignore"):  # signalling NaNs are among any bits
        return format.round(np.concatenate([any_bits.astype(np.float64), usual])).astype(kind)


def run(op: str, operands: list[Array], dtype: str) -> Array:
    """Return our results, as float32 or float64."""
    y = REGISTRY[op](*[gg.asarray(x, dtype=dtype) for x in operands])
    return np.asarray(y.astype("float64" if dtype == "float64" else "float32"))


def truth(op: str, operands: list[Array]) -> Array:
    """Return the results of NumPy or SciPy in float64."""
    oracle: Callable[..., Array] = UNARY[op][0] if op in UNARY else BINARY[op][0]
    with np.errstate(all="ignore"):
        return np.asarray(oracle(*[x.astype(np.float64) for x in operands]), np.float64)


def decide(format: Format, op: str, operands: list[Array], got: Array, guess: Array) -> Array:
    """Return the units by mpmath; where it has nothing to say (poles, infinities), by the guess."""
    import mpmath as mp

    function = exact(op)
    units = format.units(got, guess)
    if function is None:  # what float64 does exactly
        return units
    for i in range(len(got)):
        x = [float(v[i]) for v in operands]
        if not (np.all(np.isfinite(x)) and np.isfinite(got[i]) and np.isfinite(guess[i])):
            continue
        if guess[i] == 0 and got[i] == 0:  # of zeros the guess knows the sign; SciPy's erfc is 0 too soon
            continue
        true = function(*[mp.mpf(v) for v in x])
        exponent = max(mp.frexp(true)[1] - 1, format.least) if true else format.least
        units[i] = abs(mp.mpf(float(got[i])) - true) / mp.ldexp(1, exponent - format.digits + 1)
    return units


def examine(format: Format, op: str, operands: list[Array], limit: float) -> tuple[Array, list[Array], Array]:
    """Return the units, operands and results of those results that are not the nearest number."""
    got, true = run(op, operands, format.dtype), truth(op, operands)
    nearest = format.round(true)
    equal = (got == nearest) & (np.signbit(got) == np.signbit(nearest))
    if format.dtype == "float64":  # float64 can't tell which float64 is the nearest
        equal &= ~np.isfinite(true)
    at = np.flatnonzero(~(equal | (np.isnan(got) & np.isnan(nearest))))
    operands, got, true = [x[at] for x in operands], got[at].astype(np.float64), true[at]
    units = format.units(got, true)
    doubtful = np.arange(len(units)) if format.dtype == "float64" else np.flatnonzero(units > limit)
    if format.dtype != "float64":
        doubtful = doubtful[:SECOND_OPINIONS]
    if len(doubtful):
        units[doubtful] = decide(format, op, [x[doubtful] for x in operands], got[doubtful], true[doubtful])
    return units, operands, got


def measure(op: str, dtype: str = "float32", *, every: int = 1, samples: int = 1 << 20, jobs: int = 1) -> Report:
    """Return how far an op's results are from the truth over all numbers of a dtype, or over samples."""
    format, limit, report = FORMATS[dtype], limit_of(op, dtype), Report(op)

    def chunks() -> Iterator[list[Array]]:
        if dtype == "float64" or op in BINARY:
            for begin in range(0, samples, CHUNK):
                count = min(CHUNK, samples - begin)
                x = [sampled(format, count, 2 * begin + i) for i in range(2 if op in BINARY else 1)]
                yield [np.abs(v) for v in x] if dtype == "float64" and op in FROM_ZERO_64 else x
        else:
            yield from ([x] for x in format.all(every))

    def take(done: concurrent.futures.Future[Any]) -> None:
        report.add(*done.result(), limit)

    waiting: list[concurrent.futures.Future[Any]] = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for operands in chunks():
            report.count += len(operands[0])
            waiting.append(pool.submit(examine, format, op, operands, limit))
            while len(waiting) > jobs:
                take(waiting.pop(0))
        for done in waiting:
            take(done)
    return report


def plot(reports: list[Report], dtype: str, path: str) -> None:
    """Draw the worst errors beside their limits."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.25 * len(reports) + 1))
    names = [r.op for r in reports]
    axes.barh(names, [min(r.worst, 8) for r in reports], color="tab:blue", label="worst")
    axes.plot([limit_of(name, dtype) for name in names], names, "k|", markersize=9, label="limit")
    axes.invert_yaxis()
    axes.set_xlabel(f"units of the last place of {dtype}")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table, and return 1 if a limit is exceeded."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ops", nargs="*", metavar="op", help=f"of {', '.join(LIMITS)}; all by default")
    parser.add_argument("--dtype", choices=FORMATS, default="float32")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th number")
    parser.add_argument("--samples", type=int, metavar="N", help="of float64 (10,000), of two operands (4,194,304)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="threads")
    parser.add_argument("--plot", metavar="FILE", help="draw the errors")
    arguments = parser.parse_args(argv)
    for op in arguments.ops:
        if op not in LIMITS:
            parser.error(f"op must be one of {', '.join(LIMITS)}, got {op}")
    if arguments.every < 1 or arguments.jobs < 1:
        parser.error("--every and --jobs must be at least 1")
    gg.set_num_threads(1)
    samples = arguments.samples or (10_000 if arguments.dtype == "float64" else 1 << 22)
    print(f"{arguments.dtype} on {gg._core._config()['isa']}")
    print(f"{'':<12}{'numbers':>14}{'worst, ulp':>12}{'not nearest':>13}{'limit':>7}  at")
    reports = []
    for op in tqdm(arguments.ops or list(LIMITS), disable=None, leave=False):
        r = measure(op, arguments.dtype, every=arguments.every, samples=samples, jobs=arguments.jobs)
        reports.append(r)
        where = f"{', '.join(x.hex() for x in r.at)} -> {r.got.hex()}" if r.at else "-"
        passed = f"   {r.beyond} beyond" if r.beyond else ""
        inexact = "-" if arguments.dtype == "float64" else f"{r.inexact / r.count:.2%}"
        limit = limit_of(op, arguments.dtype)
        tqdm.write(f"{op:<12}{r.count:>14,}{r.worst:>12.4g}{inexact:>13}{limit:>7g}  {where}{passed}")
    if arguments.plot:
        plot(reports, arguments.dtype, arguments.plot)
    return 1 if any(r.beyond for r in reports) else 0


if __name__ == "__main__":
    sys.exit(main())

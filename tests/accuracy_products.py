"""How far float32 products and convolutions are from the truth: `python tests/accuracy_products.py`, on demand.

The truth is NumPy's product in float64; beside Gorgo's stands SGEMM, which is NumPy's in float32. For a convolution and
its gradients both multiply the matrix of windows. Two measures over all seeds: the relative Frobenius error, and the
worst error of an element in units of the product of the sizes, |A| |B|.

    python tests/accuracy_products.py --seeds 100
    GORGO_ISA=avx2 python tests/accuracy_products.py --precision high

Exit status 1 if a limit is exceeded. test_accuracy_products.py runs it with few seeds.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import gorgo as gg

Array = np.ndarray
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _with_exponents(most: int) -> Draw:
    return lambda rng, shape: rng.standard_normal(shape) * np.exp2(rng.uniform(-most, most, shape))


DATA: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.random(shape),
    "exponents of -20 to 20": _with_exponents(20),
    "exponents of -40 to 40": _with_exponents(40),
}
SHAPES = [(64, 64, 64), (128, 128, 128), (256, 256, 256), (96, 512, 96), (128, 1000, 128), (96, 4096, 96), (8, 300, 96)]
# n, c, o, size, kernel, stride: padding is half a kernel.
CONVOLUTIONS = [
    (2, 64, 64, 14, 3, 1),
    (1, 48, 64, 17, 5, 2),
    (1, 64, 48, 15, 3, 2),
    (2, 96, 80, 12, 1, 1),
    (2, 160, 64, 13, 3, 1),
]
BY = ["forward", "by data", "by weights"]
PRECISIONS = ["highest", "high", "medium"]

# "highest" may not be less accurate than SGEMM beyond this. The base set has no multiply-adds: it rounds products too.
MOST_FROBENIUS = 2.0 if gg._core._config()["isa"] == "base" else 1.1
MOST_WORST = 2.0
# What two pieces of bfloat16, or one, leave of a product: two factors are off by half a unit of their last digit each,
# and of two pieces the product of the low ones is left out.
LEFT_OUT = {"high": 2 * 2.0**-17 + 2.0**-16, "medium": 2 * 2.0**-8 + 2.0**-16}


@dataclass
class Errors:
    """Of all seeds: the root mean square of relative Frobenius errors, and the worst element's."""

    frobenius: float
    worst: float


def errors(found: list[Array], true: list[Array], sizes: list[Array]) -> Errors:
    squares, worst = [], 0.0
    for x, t, size in zip(found, true, sizes, strict=True):
        off = x.astype(np.float64) - t
        squares.append(np.sum(off**2) / np.sum(t**2))
        worst = max(worst, float(np.max(np.abs(off) / size)))
    return Errors(float(np.sqrt(np.mean(squares))), worst)


@contextlib.contextmanager
def precision_of(precision: str) -> Iterator[None]:
    """Set how float32 is multiplied inside."""
    before = gg.get_float32_matmul_precision()
    gg.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        gg.set_float32_matmul_precision(before)


def measure_factors(
    draw: Callable[[int], tuple[Array, Array, Array]], seeds: int, precision: str
) -> tuple[Errors, Errors]:
    """Return Gorgo's errors and SGEMM's: of each seed there are a product as Gorgo has it, and its factors."""
    ours, theirs, true, sizes = [], [], [], []
    with precision_of(precision):
        for seed in range(seeds):
            found, a, b = draw(seed)
            ours.append(found)
            theirs.append(a @ b)
            true.append(a.astype(np.float64) @ b.astype(np.float64))
            sizes.append(np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64))
    return errors(ours, true, sizes), errors(theirs, true, sizes)


def is_comparable(case: tuple[int, ...], by: str) -> bool:
    """Say whether SGEMM's sums are those that a convolution without tiles must match.

    Minimal filtering's errors are in proportion to other sizes (docs/determinism.md); and of a gradient that a stride
    spreads, SGEMM sums zeros for the most part, which are not rounded.
    """
    *_, kernel, stride = case
    return gg._core._config()["isa"] == "amx" or not ((kernel, stride) == (3, 1) or (by == "by data" and stride > 1))


def windows(x: Array, kernel: int, stride: int) -> Array:
    """Return the matrix of windows, one in each row."""
    found = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.ascontiguousarray(found.transpose(0, 2, 3, 1, 4, 5)).reshape(-1, x.shape[1] * kernel * kernel)


def padded(x: Array, before: int, after: int) -> Array:
    return np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))


def measure_convolution(kind: str, case: tuple[int, ...], by: str, seeds: int, precision: str) -> tuple[Errors, Errors]:
    """Return Gorgo's errors and SGEMM's."""
    n, c, o, size, kernel, stride = case
    padding = kernel // 2
    pixels = (size + 2 * padding - kernel) // stride + 1

    def draw(seed: int) -> tuple[Array, Array, Array]:
        rng = np.random.default_rng([seed, *case])
        shapes = ((n, c, size, size), (o, c, kernel, kernel), (n, o, pixels, pixels))
        x, weight, g = (DATA[kind](rng, shape).astype(np.float32) for shape in shapes)
        leaves = [gg.asarray(a).requires_grad_() for a in (x, weight)]
        out = gg.conv2d(*leaves, stride=stride, padding=padding)
        if by == "forward":
            found = np.asarray(out.detach()).transpose(0, 2, 3, 1).reshape(-1, o)
            return found, windows(padded(x, padding, padding), kernel, stride), weight.reshape(o, -1).T
        of_x, of_weight = (np.asarray(a) for a in gg.grad(out, leaves, gg.asarray(g)))
        if by == "by weights":
            matrix = windows(padded(x, padding, padding), kernel, stride)
            return of_weight.reshape(o, -1), g.transpose(1, 0, 2, 3).reshape(o, -1), matrix
        spread = np.zeros((n, o, (pixels - 1) * stride + 1, (pixels - 1) * stride + 1), np.float32)
        spread[:, :, ::stride, ::stride] = g
        before = kernel - 1 - padding
        matrix = windows(padded(spread, before, size + kernel - 1 - before - spread.shape[2]), kernel, 1)
        turned = weight[:, :, ::-1, ::-1].transpose(0, 2, 3, 1).reshape(-1, c)
        return of_x.transpose(0, 2, 3, 1).reshape(-1, c), matrix, turned

    return measure_factors(draw, seeds, precision)


def measure(kind: str, shape: tuple[int, int, int], seeds: int, precision: str) -> tuple[Errors, Errors]:
    """Return Gorgo's errors and SGEMM's."""
    m, k, n = shape

    def draw(seed: int) -> tuple[Array, Array, Array]:
        rng = np.random.default_rng([seed, m, k, n])
        a, b = (DATA[kind](rng, size).astype(np.float32) for size in ((m, k), (k, n)))
        return np.asarray(gg.asarray(a) @ gg.asarray(b)), a, b

    return measure_factors(draw, seeds, precision)


def beyond(precision: str, ours: Errors, theirs: Errors) -> bool:
    """Say whether a limit is exceeded."""
    if precision == "highest":
        return ours.frobenius > MOST_FROBENIUS * theirs.frobenius or ours.worst > MOST_WORST * theirs.worst
    return ours.worst > LEFT_OUT[precision] + MOST_WORST * theirs.worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="(20)")
    parser.add_argument("--precision", choices=PRECISIONS, default="highest", help="(highest)")
    options = parser.parse_args()
    config = gg._core._config()
    print(f"{config['isa']} ({config['isas_built']}), {options.precision}, {options.seeds} seeds")
    print("| data | m x k x n, or a convolution | SGEMM's errors | Gorgo's | ratios |\n|---|---|---|---|---|")
    failed = False

    def tell(kind: str, what: str, ours: Errors, theirs: Errors) -> bool:
        is_beyond = beyond(options.precision, ours, theirs)
        print(
            f"| {kind} | {what} | {theirs.frobenius:.2e}, {theirs.worst:.2e} "
            f"| {ours.frobenius:.2e}, {ours.worst:.2e} "
            f"| {ours.frobenius / theirs.frobenius:.2f}, {ours.worst / theirs.worst:.2f}{' !' * is_beyond} |"
        )
        return is_beyond

    for kind in DATA:
        for shape in SHAPES:
            failed |= tell(kind, " x ".join(map(str, shape)), *measure(kind, shape, options.seeds, options.precision))
        for case in CONVOLUTIONS:
            for by in BY:
                if is_comparable(case, by):
                    found = measure_convolution(kind, case, by, options.seeds, options.precision)
                    failed |= tell(kind, f"{case} {by}", *found)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())

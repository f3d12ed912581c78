"""How far products of float32 matrices are from the truth: `python tests/accuracy_products.py`, on demand.

The truth is NumPy's product in float64; beside Gorgo's stands SGEMM, which is NumPy's in float32. Two measures over all
seeds: the relative Frobenius error, and the worst error of an element in units of the product of the sizes, |A| |B|.

    python tests/accuracy_products.py --seeds 100
    GORGO_ISA=avx2 python tests/accuracy_products.py --precision high

Exit status 1 if a limit is exceeded. test_accuracy_products.py runs it with few seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import gorgo as gg

Array = np.ndarray
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]


def _with_exponents(most: int) -> Draw:
    return lambda rng, shape: rng.standard_normal(shape) * np.exp2(rng.uniform(-most, most, shape))


DATA: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.random(shape),
    "exponents of -20 to 20": _with_exponents(20),
    "exponents of -40 to 40": _with_exponents(40),
}
SHAPES = [(64, 64, 64), (128, 128, 128), (256, 256, 256), (96, 512, 96), (128, 1000, 128), (96, 4096, 96), (8, 300, 96)]
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


def measure(kind: str, shape: tuple[int, int, int], seeds: int, precision: str) -> tuple[Errors, Errors]:
    """Return Gorgo's errors and SGEMM's."""
    m, k, n = shape
    ours, theirs, true, sizes = [], [], [], []
    before = gg.get_float32_matmul_precision()
    gg.set_float32_matmul_precision(precision)
    try:
        for seed in range(seeds):
            rng = np.random.default_rng([seed, m, k, n])
            a, b = (DATA[kind](rng, size).astype(np.float32) for size in ((m, k), (k, n)))
            ours.append(np.asarray(gg.asarray(a) @ gg.asarray(b)))
            theirs.append(a @ b)
            true.append(a.astype(np.float64) @ b.astype(np.float64))
            sizes.append(np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64))
    finally:
        gg.set_float32_matmul_precision(before)
    return errors(ours, true, sizes), errors(theirs, true, sizes)


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
    print("| data | m x k x n | SGEMM's errors | Gorgo's | ratios |\n|---|---|---|---|---|")
    failed = False
    for kind in DATA:
        for shape in SHAPES:
            ours, theirs = measure(kind, shape, options.seeds, options.precision)
            is_beyond = beyond(options.precision, ours, theirs)
            failed |= is_beyond
            print(
                f"| {kind} | {' x '.join(map(str, shape))} | {theirs.frobenius:.2e}, {theirs.worst:.2e} "
                f"| {ours.frobenius:.2e}, {ours.worst:.2e} "
                f"| {ours.frobenius / theirs.frobenius:.2f}, {ours.worst / theirs.worst:.2f}{' !' * is_beyond} |"
            )
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())

"""Square float32 matmul from 16 to 2048, and the two shapes of a small network's layers.

Operands are normal random data, since a machine multiplies zeros faster. Read first: harness.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Prepared, relative_error, ring_of, toy
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable

EVERYBODY = ("numpy", "torch", "jax", "cupy", "gorgo")


def matmul_case(m: int, k: int, n: int) -> Case:
    """Build `a @ b` of (m, k) and (k, n)."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]

            def operands(rng: np.random.Generator) -> tuple[Any, ...]:
                return rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)

            raw = ring_of(operands, bytes_each=4 * (m * k + k * n))
            ring = [(library.asarray(loaded, a), library.asarray(loaded, b)) for a, b in raw]
            a, b = raw[-1]

            def verify(result: Any) -> float:
                return relative_error(library.to_numpy(result), a.astype(np.float64) @ b.astype(np.float64))

            return Prepared("a @ b", ("a", "b"), ring, {}, verify)

        return make

    return Case(
        f"matmul {m}x{k}x{n}",
        {library: maker(library) for library in EVERYBODY},
        # Against the largest element of the result; rounding grows with the root of k.
        tolerance=1e-6 * max(1.0, (k / 64) ** 0.5),
        flop=2.0 * m * k * n,
    )


SIZES = (16, 32, 64) if toy() else (16, 32, 64, 128, 256, 512, 1024, 2048)
CASES = [matmul_case(n, n, n) for n in SIZES]
CASES += [matmul_case(32, 64, 128)] if toy() else [matmul_case(32, 64, 128), matmul_case(64, 784, 256)]

"""Square matmul of float32 from 16 to 2048 and of float64 from 256, and the two shapes of a small network's layers.

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


def matmul_case(m: int, k: int, n: int, dtype: str = "float32") -> Case:
    """Build `a @ b` of (m, k) and (k, n)."""
    size = np.dtype(dtype).itemsize

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]

            def operands(rng: np.random.Generator) -> tuple[Any, ...]:
                return rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)

            raw = ring_of(operands, bytes_each=size * (m * k + k * n))
            ring = [(library.asarray(loaded, a), library.asarray(loaded, b)) for a, b in raw]
            a, b = raw[-1]

            def verify(result: Any) -> float:
                return relative_error(library.to_numpy(result), a.astype(np.float64) @ b.astype(np.float64))

            return Prepared("a @ b", ("a", "b"), ring, {}, verify)

        return make

    double = dtype == "float64"
    return Case(
        f"matmul {m}x{k}x{n}" + (", float64" if double else ""),
        # JAX has float64 for all of a process or for nothing.
        {library: maker(library) for library in EVERYBODY if not (double and library == "jax")},
        # Against the largest element of the result; rounding grows with the root of k.
        tolerance=(2e-15 if double else 1e-6) * max(1.0, (k / 64) ** 0.5),
        flop=2.0 * m * k * n,
        kind=dtype,
        read=float(size * (m * k + k * n)),
        written=float(size * m * n),
    )


SIZES = (16, 32, 64) if toy() else (16, 32, 64, 128, 256, 512, 1024, 2048)
CASES = [matmul_case(n, n, n) for n in SIZES]
CASES += [matmul_case(n, n, n, "float64") for n in ((64,) if toy() else (256, 512, 1024, 2048))]
CASES += [matmul_case(32, 64, 128)] if toy() else [matmul_case(32, 64, 128), matmul_case(64, 784, 256)]

"""Elementary functions of float32 and float64, beside NumPy and PyTorch.

16,384 elements lie in the second-level cache, a million outside of it. The arguments are where a function does its
usual work: no overflow, no denormals, no argument that a circular function reduces in many steps.
Read first: harness.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special

from bench.harness import Case, Prepared, relative_error, ring_of, toy
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable

# Name in the array API, the ends of the arguments, NumPy's name where there is one, the oracle.
FUNCTIONS: list[tuple[str, tuple[float, float], str | None, Callable[..., np.ndarray]]] = [
    ("exp2", (-3.0, 3.0), "exp2", np.exp2),
    ("expm1", (-3.0, 3.0), "expm1", np.expm1),
    ("log1p", (0.01, 10.0), "log1p", np.log1p),
    ("log2", (0.01, 10.0), "log2", np.log2),
    ("sin", (-3.0, 3.0), "sin", np.sin),
    ("tan", (-3.0, 3.0), "tan", np.tan),
    ("atan", (-3.0, 3.0), "arctan", np.arctan),
    ("asin", (-1.0, 1.0), "arcsin", np.arcsin),
    ("sinh", (-3.0, 3.0), "sinh", np.sinh),
    ("tanh", (-3.0, 3.0), "tanh", np.tanh),
    ("asinh", (-3.0, 3.0), "arcsinh", np.arcsinh),
    ("erf", (-3.0, 3.0), None, scipy.special.erf),
    ("pow", (0.1, 3.0), "power", np.power),
]


def case(
    name: str, ends: tuple[float, float], numpy_name: str | None, oracle: Callable[..., np.ndarray], dtype: str, n: int
) -> Case:
    """Build a case over n random numbers; pow has two operands."""
    operands = ("x", "y") if name == "pow" else ("x",)
    names = {"torch": name, "gorgo": name} | ({} if numpy_name is None else {"numpy": numpy_name})
    itemsize = np.dtype(dtype).itemsize

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]
            raw = ring_of(
                lambda rng: tuple(rng.uniform(*ends, n).astype(dtype) for _ in operands),
                bytes_each=(len(operands) + 1) * itemsize * n,
            )
            ring = [tuple(library.asarray(loaded, x) for x in each) for each in raw]

            def verify(result: Any) -> float:
                return relative_error(library.to_numpy(result), oracle(*(x.astype(np.float64) for x in raw[-1])))

            scope = {"function": getattr(loaded, names[library_name])}
            return Prepared(f"function({', '.join(operands)})", operands, ring, scope, verify)

        return make

    return Case(
        f"{name}, {dtype}, {n} elements",
        {library: maker(library) for library in names},
        tolerance=1e-6 if dtype == "float32" else 1e-14,
        read=float(itemsize * n * len(operands)),
        written=float(itemsize * n),
    )


CASES = [
    case(*function, dtype, n)
    for n in ((1_024,) if toy() else (16_384, 1_000_000))
    for dtype in ("float32", "float64")
    for function in FUNCTIONS
]

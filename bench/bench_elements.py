"""Elements one by one, in dtypes beside float32 and matrices that lie across: small integers, casts, quotients, sums.

16,384 elements lie in the second-level cache, a million outside of it. Results are whole numbers, or rounded once, so
that they are compared exactly or nearly so. JAX has no int64 unless told so. Read first: harness.py.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from bench.harness import Case, Prepared, relative_error, ring_of, toy
from bench.libraries import LIBRARIES

# How each library spells a cast.
CASTS = {"numpy": "x.astype(m.{0})", "torch": "x.to(m.{0})", "jax": "x.astype(m.{0})", "gorgo": "x.astype(m.{0})"}


def made_case(text: str, n: int, dtype: str, body: str | dict[str, str], oracle: str, result: str) -> Case:
    """Build a case from an expression of x and y, of `dtype`; `m` is the library.

    `oracle` is the same for float64 NumPy, `result` the dtype of the result, or "one" for a single element.
    """
    bodies = dict.fromkeys(("numpy", "torch", "jax", "gorgo"), body) if isinstance(body, str) else body
    item = np.dtype(dtype).itemsize

    def random(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if dtype == "complex64":
            x, y = (rng.standard_normal(n) + 1j * rng.standard_normal(n) for _ in range(2))
            return x.astype(dtype), y.astype(dtype)
        # Sums and products of them fit a byte; as floats they are no whole numbers.
        part = 0.25 if dtype.startswith("float") else 0.0
        return tuple((rng.integers(1, 11, n) + part).astype(dtype) for _ in range(2))  # type: ignore[return-value]

    def maker(library_name: str) -> Any:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]
            module = importlib.import_module("jax.numpy") if library_name == "jax" else loaded
            function = eval(f"lambda x, y: {bodies[library_name]}", {"m": module})
            if library_name == "jax":
                function = loaded.jit(function)
            raw = ring_of(random, bytes_each=2 * n * item)
            ring = [tuple(library.asarray(loaded, each) for each in operands) for operands in raw]

            def verify(got: Any) -> float:
                x, y = (v.astype(np.complex128 if dtype == "complex64" else np.float64) for v in raw[-1])
                expected = np.asarray(eval(oracle, {"m": np, "x": x, "y": y}))
                return relative_error(np.asarray(library.to_numpy(got)).astype(np.float64), expected)

            return Prepared("function(x, y)", ("x", "y"), ring, {"function": function}, verify)

        return make

    operands = 1 + ("y" in oracle)
    return Case(
        f"{text}, {n} elements",
        {library: maker(library) for library in bodies},
        tolerance=1e-6,
        read=float(operands * n * item),
        written=8.0 if result == "one" else float(n * np.dtype(result).itemsize),
    )


def cast_case(n: int, source: str, target: str) -> Case:
    bodies = {library: body.format(target) for library, body in CASTS.items()}
    oracle = "m.trunc(x)" if source.startswith("float") else "x"
    return made_case(f"{source} to {target}", n, source, bodies, oracle, target)


def everything_of(n: int) -> list[Case]:
    """Build the cases over n elements."""
    width = 40 if toy() else math.isqrt(n)
    x, across, y = f"x.reshape(-1, {width})", f"y.reshape({width}, -1).T", f"y.reshape(-1, {width})"
    return [
        made_case("float32 x.T + y.T", n, "float32", f"{x}.T + {y}.T", f"{x}.T + {y}.T", "float32"),
        made_case("float32 x + y.T", n, "float32", f"{x} + {across}", f"{x} + {across}", "float32"),
        made_case("float32 sqrt(x.T)", n, "float32", f"m.sqrt({x}.T)", f"m.sqrt({x}.T)", "float32"),
        made_case("uint8 x + y", n, "uint8", "x + y", "x + y", "uint8"),
        made_case("int8 x * y", n, "int8", "x * y", "x * y", "int8"),
        made_case("int16 x < y", n, "int16", "x < y", "x < y", "bool"),
        made_case("int8 x >> 1", n, "int8", "x >> 1", "x // 2", "int8"),
        cast_case(n, "uint8", "float32"),
        cast_case(n, "float32", "uint8"),
        cast_case(n, "float32", "int32"),
        made_case("uint8 sum", n, "uint8", "m.sum(x)", "m.sum(x)", "one"),
        made_case("int8 argmax", n, "int8", "m.argmax(x)", "m.argmax(x)", "one"),
        made_case("float32 argmax", n, "float32", "m.argmax(x)", "m.argmax(x)", "one"),
        made_case("int64 x // 7", n, "int64", dict.fromkeys(("numpy", "torch", "gorgo"), "x // 7"), "x // 7", "int64"),
        made_case("int8 x // y", n, "int8", "x // y", "x // y", "int8"),
        made_case("float32 fmod", n, "float32", "m.fmod(x, y)", "m.fmod(x, y)", "float32"),
        made_case("complex64 abs", n, "complex64", "m.abs(x)", "m.abs(x)", "float32"),
    ]


CASES = [case for n in ((1_000,) if toy() else (16_384, 1_000_000)) for case in everything_of(n)]

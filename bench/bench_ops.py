"""What one call costs: tiny operands, so that the time is the library's own and not the arithmetic's.

Each case is one statement, the same for all libraries as far as their names allow. Read first: harness.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Prepared, relative_error, ring_of
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F32 = np.float32
EVERYBODY = ("numpy", "torch", "jax", "cupy", "gorgo")


def one_operand(
    name: str,
    shape: tuple[int, ...],
    statement: str,
    expected: Callable[[np.ndarray], np.ndarray],
    *,
    libraries: tuple[str, ...] = EVERYBODY,
    statements: Mapping[str, str] | None = None,
    requires_grad: bool = False,
    note: str = "",
) -> Case:
    """Build a case over one random operand `a`."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]
            raw = ring_of(lambda rng: (rng.standard_normal(shape).astype(F32),))
            ring = [(library.asarray(loaded, a),) for (a,) in raw]
            if requires_grad and library_name != "numpy":
                for (a,) in ring:
                    a.requires_grad = True

            def verify(result: Any) -> float:
                want = np.asarray(expected(raw[-1][0].astype(np.float64)))
                return relative_error(library.to_numpy(result), want)

            return Prepared((statements or {}).get(library_name, statement), ("a",), ring, {}, verify)

        return make

    return Case(name, {library: maker(library) for library in libraries}, note=note)


def empty_case(shape: tuple[int, int]) -> Case:
    """Build the case of a fresh array that nobody writes to."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            module = loaded.numpy if library_name == "jax" else loaded
            # float32 is the default of torch and Gorgo, and naming it would cost them a keyword.
            statement = "empty(shape)" if library_name in ("gorgo", "torch") else "empty(shape, dtype)"
            scope = {"empty": module.empty, "shape": shape, "dtype": F32}

            def verify(result: Any) -> float:
                return 0.0 if tuple(result.shape) == shape and "float32" in str(result.dtype) else float("inf")

            return Prepared(statement, (), (), scope, verify)

        return make

    return Case(f"empty {shape[0]}x{shape[1]}", {library: maker(library) for library in EVERYBODY})


def square_backward(library_name: str) -> Callable[[Any], Prepared]:
    """Build `(x * x).sum().backward()` on four elements; jax differentiates a compiled function instead."""

    def make(loaded: Any) -> Prepared:
        library = LIBRARIES[library_name]
        raw = ring_of(lambda rng: (rng.standard_normal(4).astype(F32),))
        ring = [(library.asarray(loaded, x),) for (x,) in raw]
        want = 2 * raw[-1][0].astype(np.float64)
        if library_name == "jax":
            gradient = loaded.jit(loaded.grad(lambda x: (x * x).sum()))
            return Prepared(
                "gradient(x)",
                ("x",),
                ring,
                {"gradient": gradient},
                lambda result: relative_error(library.to_numpy(result), want),
            )
        for (x,) in ring:
            x.requires_grad = True

        def verify(_: Any) -> float:
            x = ring[-1][0]
            # Timing has summed many gradients into .grad; one fresh call shows a single one.
            x.grad = None
            (x * x).sum().backward()
            return relative_error(library.to_numpy(x.grad), want)

        return Prepared("(x * x).sum().backward()", ("x",), ring, {}, verify)

    return make


def replay_of_five(library_name: str) -> Callable[[Any], Prepared]:
    """Build four additions of five tensors recorded once: with 4 elements each, nearly all is replay and guards."""

    def make(loaded: Any) -> Prepared:
        library = LIBRARIES[library_name]
        raw = ring_of(lambda rng: tuple(rng.standard_normal(4).astype(F32) for _ in range(5)))
        ring = [tuple(library.asarray(loaded, a) for a in row) for row in raw]

        def total(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
            return a + b + c + d + e

        compiled = {"gorgo.compile": lambda: loaded.compile(total), "jax": lambda: loaded.jit(total)}
        function = compiled.get(library_name, lambda: total)()
        want = np.sum(raw[-1], axis=0, dtype=np.float64)
        return Prepared(
            "total(a, b, c, d, e)",
            ("a", "b", "c", "d", "e"),
            ring,
            {"total": function},
            lambda result: relative_error(library.to_numpy(result), want),
        )

    return make


REPLAY = "replay of a + b + c + d + e, 4 elements"
CASES = [
    one_operand("a + a, 16 elements", (16,), "a + a", lambda a: a + a),
    one_operand("2 * a, 16 elements", (16,), "2 * a", lambda a: 2 * a),
    one_operand("a @ a, 4x4", (4, 4), "a @ a", lambda a: a @ a),
    one_operand("a.sum(), 16 elements", (16,), "a.sum()", lambda a: a.sum()),
    one_operand("a.reshape(4, 4)", (16,), "a.reshape(4, 4)", lambda a: a.reshape(4, 4)),
    one_operand("a[3:7]", (16,), "a[3:7]", lambda a: a[3:7]),
    empty_case((1024, 1024)),
    one_operand(
        "a + a, gradient recorded",
        (16,),
        "a + a",
        lambda a: a + a,
        libraries=("numpy", "torch", "gorgo"),
        requires_grad=True,
        note="NumPy's is its plain add",
    ),
    Case(
        "(x * x).sum().backward(), 4 elements",
        {library: square_backward(library) for library in ("torch", "jax", "gorgo")},
        note="jax: jit(grad(f))(x)",
    ),
    Case(
        REPLAY,
        {library: replay_of_five(library) for library in ("numpy", "torch", "jax", "gorgo", "gorgo.compile")},
        note="jax: jit; numpy and torch: the plain expression",
    ),
]

"""Square products of bfloat16, of float32 at "medium", and of 8-bit integers with sums in int32, from 64 to 2048.

onnxruntime is fed through bound operands, which spares it copies; the models are made by the package onnx. Read first:
harness.py.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Prepared, relative_error, ring_of, toy
from bench.libraries import LIBRARIES, as_bfloat16, narrowed, widened

if TYPE_CHECKING:
    from collections.abc import Callable

Bytes = tuple[np.ndarray, np.ndarray]


def bfloat16_case(n: int) -> Case:
    """Build `a @ b` of (n, n) and (n, n), whose elements are bfloat16's own."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:

            def operands(rng: np.random.Generator) -> tuple[Any, ...]:
                return tuple(as_bfloat16(rng.standard_normal((n, n)).astype(np.float32)) for _ in range(2))

            raw = ring_of(operands, bytes_each=4 * n * n)
            a, b = raw[-1]

            def verify(result: Any) -> float:
                return relative_error(widened(library_name, result), a.astype(np.float64) @ b.astype(np.float64))

            ring = [tuple(narrowed(library_name, loaded, x) for x in arrays) for arrays in raw]
            return Prepared("a @ b", ("a", "b"), ring, {}, verify)

        return make

    libraries = ("torch", "jax", "gorgo")
    # The result's own rounding.
    return Case(
        f"bfloat16 {n}",
        {name: maker(name) for name in libraries},
        tolerance=2.0**-8,
        flop=2.0 * n**3,
        kind="bfloat16",
        read=4.0 * n**2,
        written=2.0 * n**2,
    )


def medium_case(n: int) -> Case:
    """Build `a @ b` of (n, n) and (n, n) in float32, whose factors may be rounded to bfloat16."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]

            def operands(rng: np.random.Generator) -> tuple[Any, ...]:
                return tuple(rng.standard_normal((n, n)).astype(np.float32) for _ in range(2))

            raw = ring_of(operands, bytes_each=8 * n * n)
            a, b = raw[-1]

            # The setting is the process's, which has other cases too.
            def product(x: Any, y: Any) -> Any:
                loaded.set_float32_matmul_precision("medium")
                try:
                    return x @ y
                finally:
                    loaded.set_float32_matmul_precision("highest")

            def verify(result: Any) -> float:
                return relative_error(library.to_numpy(result), a.astype(np.float64) @ b.astype(np.float64))

            ring = [tuple(library.asarray(loaded, x) for x in arrays) for arrays in raw]
            return Prepared("f(a, b)", ("a", "b"), ring, {"f": product}, verify)

        return make

    return Case(
        f"float32 at medium {n}",
        {name: maker(name) for name in ("torch", "gorgo")},
        tolerance=2.0**-8,
        flop=2.0 * n**3,
        kind="bfloat16",
        read=8.0 * n**2,
        written=4.0 * n**2,
    )


def bound(onnxruntime: Any, ring: list[Bytes]) -> tuple[Any, list[tuple[Any]]]:
    """Return what runs MatMulInteger over one set of operands, and the sets."""
    onnx = importlib.import_module("onnx")
    helper, (a, b) = onnx.helper, ring[0]
    kinds = [helper.np_dtype_to_tensor_dtype(x.dtype) for x in (a, b)]
    inputs = [helper.make_tensor_value_info(name, kind, a.shape) for name, kind in zip("ab", kinds, strict=True)]
    output = helper.make_tensor_value_info("c", onnx.TensorProto.INT32, a.shape)
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "product", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sets = []
    for pair in ring:
        binding = session.io_binding()
        for name, x in zip("ab", pair, strict=True):
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(x))
        binding.bind_ortvalue_output("c", onnxruntime.OrtValue.ortvalue_from_shape_and_type(a.shape, np.int32))
        sets.append((binding,))

    def run(binding: Any) -> Any:
        session.run_with_iobinding(binding)
        return binding

    return run, sets


def bytes_case(n: int, dtype: type) -> Case:
    """Build the product of (n, n) of a dtype and (n, n) int8, in int32."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]

            def operands(rng: np.random.Generator) -> Bytes:
                a, b = (rng.integers(0, 256, (n, n)).astype(np.uint8) for _ in range(2))
                return a.view(dtype), b.view(np.int8)

            raw = ring_of(operands, bytes_each=2 * n * n)
            a, b = raw[-1]

            def verify(result: Any) -> float:
                got = result.get_outputs()[0] if library_name == "onnxruntime" else result
                return relative_error(library.to_numpy(got), a.astype(np.float64) @ b.astype(np.float64))

            if library_name == "onnxruntime":
                run, sets = bound(loaded, raw)
                return Prepared("run(a)", ("a",), sets, {"run": run}, verify)
            ring = [(library.asarray(loaded, x), library.asarray(loaded, y)) for x, y in raw]
            product = loaded._int_mm if library_name == "torch" else loaded.matmul_integer
            return Prepared("f(a, b)", ("a", "b"), ring, {"f": product}, verify)

        return make

    # PyTorch multiplies int8 with int8 alone.
    libraries = ["torch"] if dtype is np.int8 else []
    libraries += ["onnxruntime"] if importlib.util.find_spec("onnx") else []
    libraries += ["gorgo"]
    name = f"{np.dtype(dtype).name} by int8 {n}"
    return Case(
        name,
        {library: maker(library) for library in libraries},
        tolerance=0.0,
        flop=2.0 * n**3,
        kind="bytes",
        read=2.0 * n**2,
        written=4.0 * n**2,
    )


SIZES = (32, 64) if toy() else (64, 128, 256, 512, 1024, 2048)
CASES = [bfloat16_case(n) for n in SIZES]
CASES += [medium_case(n) for n in SIZES]
CASES += [bytes_case(n, dtype) for dtype in (np.uint8, np.int8) for n in SIZES]

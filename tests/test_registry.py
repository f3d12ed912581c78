"""The matrix: every op of the registry over dtypes, layouts, edges, gradients, capture, instruction sets and threads.

What is particular to an op stands in its row of samples; nothing here names one. An op without a row fails.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import ALL, FLOATS, REGISTRY, ROWS, Make, Row, Sample, round_to_bfloat16, widen

import gorgo as gg

Array = Any
Put = Callable[[Array], Any]  # makes the tensor of an operand
REDUCED = os.environ.get("GORGO_REDUCED") == "1"  # under a sanitizer: fewer dtypes
FEW = {"float32", "float64", "int32", "complex64", "bool", "uint64"}
FACTS = {name: op.__op_facts__ for name, op in REGISTRY.items()}
WITH_ROW = sorted(set(ROWS) & set(REGISTRY))


def dtypes_of(row: Row) -> list[str]:
    return [d for d in row.dtypes if not REDUCED or d in FEW] or row.dtypes


def main_dtype(row: Row) -> str:
    return next((d for d in ("float32", "complex64", "int32", "bool") if d in row.dtypes), row.dtypes[0])


# ---- operands and results ----


def tensor(x: Any, dtype: str) -> Any:
    """Return the tensor of an operand; float32 arrays stand for bfloat16 ones."""
    if isinstance(x, list):
        return [tensor(v, dtype) for v in x]
    if not isinstance(x, np.ndarray):
        return x
    t = gg.asarray(x.copy())
    return t.astype("bfloat16") if dtype == "bfloat16" and x.dtype == np.float32 else t


def arrays_in(args: Any) -> Iterator[Array]:
    for x in args:
        if isinstance(x, list):
            yield from arrays_in(x)
        elif isinstance(x, np.ndarray):
            yield x


def tensors_in(args: Any) -> list[gg.Tensor]:
    return [t for x in args for t in (tensors_in(x) if isinstance(x, list) else [x]) if isinstance(t, gg.Tensor)]


def array(t: gg.Tensor) -> Array:
    t = t.detach()
    return np.asarray(t.astype("float32") if str(t.dtype).endswith("bfloat16") else t)


def flat(result: Any) -> list[Any]:
    if result is None:
        return []
    return list(result) if isinstance(result, tuple | list) else [result]


def writes(op: str) -> bool:
    return any(slot["mutates"] for slot in FACTS[op]["slots"])


def run(op: str, args: list[Any], attrs: dict[str, Any]) -> list[gg.Tensor]:
    """Call an op; what it writes counts among its results."""
    out = flat(ROWS[op](*args, **attrs))
    return out + tensors_in(args) if writes(op) else out


def results(op: str, sample: Sample, dtype: str) -> list[Array]:
    return [array(t) for t in run(op, [tensor(a, dtype) for a in sample.args], sample.attrs)]


def assert_same_bits(got: list[Array], expected: list[Array], what: str) -> None:
    assert len(got) == len(expected), what
    for g, e in zip(got, expected, strict=True):
        assert (g.dtype, g.shape) == (e.dtype, e.shape), what
        if g.tobytes() != e.tobytes():
            np.testing.assert_array_equal(g, e, what)  # NaNs may differ in their payload, zeros not in their sign
            zero = e == 0
            np.testing.assert_array_equal(np.signbit(g.real[zero]), np.signbit(e.real[zero]), what)


def assert_near(got: Array, expected: Any, dtype: str, row: Row, what: str) -> None:
    expected = np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    if got.dtype.kind not in "fc":
        assert expected.dtype.kind in "fc" or got.dtype.kind == expected.dtype.kind or expected.dtype.kind in "iu", what
        if got.dtype.kind == "b" or expected.dtype.kind == "b":
            assert got.dtype == expected.dtype, what
        np.testing.assert_array_equal(got, expected.astype(got.dtype), what)
        return
    precision = "bfloat16" if dtype == "bfloat16" and got.dtype == np.float32 else str(got.dtype)
    tolerance = row.tolerance(precision)
    with np.errstate(all="ignore"):
        if precision == "bfloat16":
            expected = round_to_bfloat16(expected)
        elif got.dtype.kind == "f":
            expected = expected.astype(got.dtype)
    finite = np.abs(expected[np.isfinite(expected)])
    floor = 0.1 if row.relative else max(float(finite.max(initial=0.0)), 0.1)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * floor, err_msg=what)


def oracle_of(row: Row, sample: Sample) -> list[Array]:
    if sample.expected is not None:
        return flat(sample.expected)
    assert row.oracle is not None
    args = [widen(a) for a in sample.args]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return flat(row.oracle(*args, **sample.attrs))


def samples_of(op: str, dtype: str) -> list[Sample]:
    return ROWS[op].samples(Make(op, dtype))


def described(op: str, dtype: str, sample: Sample) -> str:
    return f"{op} {dtype} {[getattr(a, 'shape', a) for a in sample.args]} {sample.attrs}"


# ---- the registry itself ----


def test_every_op_has_a_row_and_every_row_an_op() -> None:
    assert not sorted(set(REGISTRY) - set(ROWS)), "ops without a row in tests/samples"
    assert not sorted(set(ROWS) - set(REGISTRY)), "rows of tests/samples without an op"


@pytest.mark.parametrize("op", sorted(REGISTRY))
def test_facts_are_complete(op: str) -> None:
    facts = FACTS[op]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", op)
    assert re.match(r"[A-Z].*[.]", facts["doc"]), "the first line of the doc is a sentence"
    assert "\n" not in facts["doc"]
    assert len(facts["doc"]) <= 120
    assert facts["differentiable"] != bool(facts["not_differentiable"]), "a gradient rule or a reason, not both"
    assert (facts["onnx"] is None) != (facts["onnx_reason"] is None), "an ONNX operator or a reason, not both"
    assert (facts["onnx_since"] >= 1) == (facts["onnx"] is not None)
    without = facts["view"] or facts["transfer"]
    assert without == (not facts["dtypes"]), "a kernel for some dtype, but for views and copies between devices"
    names = [s["name"] for s in facts["slots"]] + [f["name"] for f in facts["fields"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("op", sorted(name for name in REGISTRY if not FACTS[name]["internal"]))
def test_public_ops_are_bound_and_documented(op: str) -> None:
    function = getattr(gg, op, None) or getattr(gg._core, op)
    doc = function.__doc__
    for heading in ("Args:", "Returns:"):
        assert heading in doc or (heading == "Returns:" and not FACTS[op]["outputs"]), f"{op}: {heading} is missing"
    arguments = doc[doc.index("Args:") : doc.index("Returns:") if "Returns:" in doc else None]
    for part in (*FACTS[op]["slots"], *FACTS[op]["fields"]):
        if function is REGISTRY[op] or type(function) is type(REGISTRY[op]):
            assert re.search(rf"\b{part['name']}\b", arguments), f"{op}: the doc says nothing of {part['name']}"
    slots = FACTS[op]["slots"]
    if slots and slots[0]["kind"] != "list":
        assert op.startswith("random_") or hasattr(gg.Tensor, op), f"Tensor.{op} is missing"


@pytest.mark.parametrize("op", WITH_ROW)
def test_rows_cover_kernels_and_edges(op: str) -> None:
    row, facts = ROWS[op], FACTS[op]
    assert not set(facts["dtypes"]) - set(row.dtypes), "dtypes with a kernel that the row leaves out"
    assert not set(row.dtypes) - set(ALL)
    assert (row.oracle is None) == bool(row.no_oracle)
    assert (row.large is None) == bool(row.no_large)
    shapes = [
        shape
        for sample in samples_of(op, main_dtype(row))
        for shape in [*(a.shape for a in arrays_in(sample.args)), *[tuple(sample.attrs.get("shape", (1,)))]]
    ]
    counts = [s.attrs.get(k) for s in samples_of(op, main_dtype(row)) for k in ("count", "n", "rows")]
    assert any(0 in shape for shape in shapes) or 0 in counts or row.no_empty, "no empty sample, and no reason"
    assert () in shapes or row.no_rank0, "no sample of rank 0, and no reason"


# ---- values ----


@pytest.mark.parametrize("op", WITH_ROW)
def test_values_equal_the_oracles(op: str) -> None:
    row = ROWS[op]
    for dtype in dtypes_of(row):
        for sample in samples_of(op, dtype):
            got, what = results(op, sample, dtype), described(op, dtype, sample)
            if row.oracle is None:
                assert got, what
                continue
            expected = oracle_of(row, sample)
            assert len(got) == len(expected), what
            for g, e in zip(got, expected, strict=True):
                assert_near(g, e, dtype, row, what)


def with_specials(sample: Sample) -> Sample:
    def spoiled(x: Any) -> Any:
        if isinstance(x, list):
            return [spoiled(v) for v in x]
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or x.size < 2:
            return x
        x = x.copy()
        values = [np.nan, np.inf, -np.inf, 0.0, -0.0]
        for i, value in enumerate(values[: x.size - 1]):
            x.reshape(-1)[i * x.size // len(values)] = value
        return x

    return Sample([spoiled(a) for a in sample.args], sample.attrs)


@pytest.mark.parametrize(
    "op",
    [op for op in WITH_ROW if ROWS[op].oracle and not ROWS[op].no_specials and set(FLOATS) & set(ROWS[op].dtypes)],
)
def test_nan_and_infinities(op: str) -> None:
    row = ROWS[op]
    for dtype in [d for d in FLOATS if d in dtypes_of(row)]:
        for sample in samples_of(op, dtype):
            special = with_specials(sample)
            for g, e in zip(results(op, special, dtype), oracle_of(row, special), strict=True):
                assert_near(g, e, dtype, row, described(op, dtype, sample))


# ---- layouts ----


def flipped(x: Array, put: Put) -> tuple[Any, Array]:
    return gg.flip(put(np.asarray(np.flip(x)))), x


def transposed(x: Array, put: Put) -> tuple[Any, Array]:
    return gg.permute_dims(put(np.asarray(x.T).copy(order="C")), tuple(reversed(range(x.ndim)))), x


def stepped(x: Array, put: Put) -> tuple[Any, Array]:
    wide = np.ones(tuple(2 * n + 1 for n in x.shape), x.dtype)
    cut = tuple(slice(2 * n - 1, None, -2) if n else slice(0, 0) for n in x.shape)
    wide[cut] = x
    view = put(wide)[cut]
    return view, x


def offset(x: Array, put: Put) -> tuple[Any, Array]:
    return put(np.stack([np.ones_like(x), x]))[1], x


def expanded(x: Array, put: Put) -> tuple[Any, Array]:
    base = x[tuple(slice(0, 1) if i % 2 == 0 and n else slice(None) for i, n in enumerate(x.shape))]
    return gg.broadcast_to(put(np.asarray(base)), x.shape), np.broadcast_to(base, x.shape)


def unaligned(x: Array, put: Put) -> tuple[Any, Array]:
    """Return the same elements, one after the other, beginning in the middle of a vector."""
    flat = np.concatenate([np.ones(3, x.dtype), x.reshape(-1), np.ones(3, x.dtype)])
    return put(flat)[3 : 3 + x.size].reshape(x.shape), x


def laid_out(x: Any, put: Put, layout: Any) -> tuple[Any, Any]:
    """Return an operand in another layout, and the array that it then stands for."""
    if isinstance(x, list):
        both = [laid_out(v, put, layout) for v in x]
        return [t for t, _ in both], [v for _, v in both]
    return layout(x, put) if isinstance(x, np.ndarray) else (x, x)


LAYOUTS = [flipped, transposed, stepped, offset, expanded]


@pytest.mark.parametrize("op", [op for op in WITH_ROW if FACTS[op]["slots"]])
def test_layouts_give_the_same_result(op: str) -> None:
    row = ROWS[op]
    for dtype, layout in itertools.product({main_dtype(row), dtypes_of(row)[-1]}, LAYOUTS):
        if layout is expanded and row.no_expanded:
            continue
        for sample in samples_of(op, dtype):
            what = f"{layout.__name__}: {described(op, dtype, sample)}"
            both = [laid_out(a, functools.partial(tensor, dtype=dtype), layout) for a in sample.args]
            views = [t for t, _ in both]
            bent = any(not t.is_contiguous() for t in tensors_in(views))
            if row.contiguous_only and bent:
                with pytest.raises(ValueError, match=rf"{op}: .*contiguous"):
                    run(op, views, sample.attrs)
                continue
            if writes(op) and layout is expanded and bent:
                with pytest.raises((ValueError, RuntimeError), match=op):
                    run(op, views, sample.attrs)
                continue
            got = [array(t) for t in run(op, views, sample.attrs)]
            plain = Sample([v for _, v in both], sample.attrs)
            expected = results(op, plain, dtype)
            if not row.rough_layouts:
                assert_same_bits(got, expected, what)
                continue
            assert len(got) == len(expected), what
            for g, e in zip(got, expected, strict=True):
                assert_near(g, e, dtype, row, what)


@pytest.mark.parametrize("op", [op for op in WITH_ROW if FACTS[op]["slots"]])
def test_alignment_does_not_change_bits(op: str) -> None:
    row = ROWS[op]
    for dtype in dtypes_of(row):
        cases = samples_of(op, dtype)
        if row.large is not None and dtype == main_dtype(row):
            cases = [*cases, row.large(Make(op, dtype))]
        for sample in cases:
            views = [laid_out(a, functools.partial(tensor, dtype=dtype), unaligned)[0] for a in sample.args]
            assert all(t.is_contiguous() for t in tensors_in(views))
            got = [array(t) for t in run(op, views, sample.attrs)]
            assert_same_bits(got, results(op, sample, dtype), f"unaligned: {described(op, dtype, sample)}")


# ---- gradients ----


def gradient_dtypes(op: str) -> list[str]:
    return [d for d in ("float64", "complex128") if d in ROWS[op].dtypes]


class Projected:
    """A sample as a real function of its inexact operands: the products of its results with fixed weights, summed."""

    def __init__(self, op: str, sample: Sample, dtype: str) -> None:
        self.op, self.sample = op, sample
        self.rng = np.random.default_rng(7)
        self.points = [a for a in arrays_in(sample.args) if a.dtype == dtype]
        self.is_point = [a.dtype == dtype for a in arrays_in(sample.args)]
        outs = self.outputs([tensor(a, dtype) for a in self.points])
        self.weights = [self.draw(array(t)) for t in outs]

    def draw(self, like: Array) -> Array:
        x = self.rng.standard_normal(like.shape)
        return np.asarray(x + 1j * self.rng.standard_normal(like.shape) if like.dtype.kind == "c" else x)

    def outputs(self, points: list[Any]) -> list[Any]:
        fresh, flags = iter(points), iter(self.is_point)

        def filled(x: Any) -> Any:
            if isinstance(x, list):
                return [filled(v) for v in x]
            if not isinstance(x, np.ndarray):
                return x
            return next(fresh) if next(flags) else gg.asarray(x)

        out = flat(ROWS[self.op](*[filled(a) for a in self.sample.args], **self.sample.attrs))
        return [t for t in out if array(t).dtype.kind in "fc"]

    def value(self, points: list[Array], weights: list[Array]) -> float:
        outs = self.outputs([gg.asarray(p) for p in points])
        return sum(float(np.sum(np.conj(w) * array(t)).real) for w, t in zip(weights, outs, strict=True))

    def gradients(self, points: list[Any], weights: list[Any], **options: Any) -> list[Any]:
        return list(gg.grad(self.outputs(points), points, weights, allow_unused=True, **options))


H = 1e-4


def difference(value: Any, xs: list[Array], which: int, direction: Array) -> float:
    """Return the slope of `value` along a direction of one of its arguments, to fourth order."""

    def at(k: int) -> float:
        return float(value([x + k * H * direction if i == which else x for i, x in enumerate(xs)]))

    return (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * H)


def product(a: Array | None, b: Array) -> float:
    return 0.0 if a is None else float(np.sum(np.conj(a) * b).real)


def assert_slope(ours: Array | None, direction: Array, slope: float, scale: float, what: str) -> None:
    size = scale + (0.0 if ours is None else float(np.sum(np.abs(ours) * np.abs(direction))))
    got = product(ours, direction)
    assert abs(got - slope) <= 1e-7 * size, f"{what}: gradient says {got}, differences {slope}"


DIFFERENTIABLE = [op for op in WITH_ROW if FACTS[op]["differentiable"] and gradient_dtypes(op)]


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if not ROWS[op].no_differences])
def test_gradients_of_both_orders_equal_differences(op: str) -> None:
    row = ROWS[op]
    for dtype in gradient_dtypes(op):
        for sample in row.samples(Make(op, dtype, interior=True)):
            f, what = Projected(op, sample, dtype), described(op, dtype, sample)
            if not f.points or not f.weights:
                continue

            def leaves(xs: list[Array]) -> list[gg.Tensor]:
                return [gg.asarray(x.copy()).requires_grad_() for x in xs]

            points = leaves(f.points)
            if not any(t.requires_grad for t in f.outputs(points)):
                pytest.fail(f"{what}: no result requires a gradient, though the op has a rule")
            plain = [gg.asarray(w) for w in f.weights]
            first = [None if g is None else array(g) for g in f.gradients(points, plain)]
            directions = [f.draw(p) for p in f.points]
            size = abs(f.value(f.points, f.weights)) + 1.0
            for i, d in enumerate(directions):
                if first[i] is not None:
                    assert first[i].shape == f.points[i].shape, what
                slope = difference(lambda xs, f=f: f.value(xs, f.weights), f.points, i, d)
                assert_slope(first[i], d, slope, size, f"{what}: operand {i}")

            # The composed gradient equals the fused one, and its own gradient equals differences of the fused one.
            xs = leaves([*f.points, *f.weights])
            count = len(f.points)
            composed = f.gradients(xs[:count], xs[count:], create_graph=True)
            for mine, other in zip(composed, first, strict=True):
                a = np.zeros(1) if mine is None else array(mine)
                np.testing.assert_allclose(
                    a, np.zeros(1) if other is None else other, rtol=1e-11, atol=1e-12, err_msg=what
                )

            def projection(all_xs: list[Array], f: Projected = f, count: int = count, ds: Any = directions) -> float:
                plain = [gg.asarray(x) for x in all_xs]
                grads = f.gradients([p.requires_grad_() for p in plain[:count]], plain[count:])
                return sum(product(d, array(g)) for g, d in zip(grads, ds, strict=True) if g is not None)

            terms = [
                (g, gg.asarray(d))
                for g, d in zip(composed, directions, strict=True)
                if g is not None and g.requires_grad
            ]
            second: list[Any] = [None] * len(xs)
            if row.no_second:
                with pytest.raises(NotImplementedError, match=re.escape(row.no_second)):
                    gg.grad([g for g, _ in terms], xs, [d for _, d in terms], allow_unused=True)
                continue
            if terms:
                second = list(gg.grad([g for g, _ in terms], xs, [d for _, d in terms], allow_unused=True))
            size = abs(projection([*f.points, *f.weights])) + 1.0
            for i, x in enumerate([*f.points, *f.weights]):
                d = f.draw(x)
                slope = difference(projection, [*f.points, *f.weights], i, d)
                ours = None if second[i] is None else array(second[i])
                assert_slope(ours, d, slope, 10.0 * size, f"{what}: second gradient, operand {i}")


@pytest.mark.parametrize("op", [op for op in WITH_ROW if not FACTS[op]["differentiable"]])
def test_ops_without_a_gradient_say_why(op: str) -> None:
    reason = FACTS[op]["not_differentiable"]
    for dtype in gradient_dtypes(op):
        for sample in samples_of(op, dtype):
            args = [tensor(a, dtype) for a in sample.args]
            leaves = [t for t in tensors_in(args) if array(t).dtype.kind in "fc"]
            if not leaves:
                continue
            for t in leaves:
                t.requires_grad_()
            if writes(op):
                with pytest.raises(RuntimeError, match=op):
                    ROWS[op](*args, **sample.attrs)
                continue
            for out in flat(ROWS[op](*args, **sample.attrs)):
                if array(out).dtype.kind not in "fc":
                    assert not out.requires_grad
                    continue
                with pytest.raises(NotImplementedError, match=f"^{op}: .*{re.escape(reason)}"):
                    gg.grad(out, leaves, gg.ones(out.shape, dtype=out.dtype), allow_unused=True)


# ---- capture ----


@pytest.mark.parametrize("op", WITH_ROW)
def test_capture_equals_eager(op: str) -> None:
    row = ROWS[op]
    dtypes = {main_dtype(row)} if REDUCED else {main_dtype(row), row.dtypes[0], row.dtypes[-1]}
    for dtype in sorted(dtypes):
        for sample in samples_of(op, dtype):
            what = described(op, dtype, sample)

            def function(*args: Any, attrs: dict[str, Any] = sample.attrs) -> list[Any]:
                return flat(ROWS[op](*args, **attrs))

            def fresh(sample: Sample = sample, dtype: str = dtype) -> list[Any]:
                return [tensor(a, dtype) for a in sample.args]

            compiled = gg.compile(function)
            if FACTS[op]["data_dependent"] or FACTS[op]["transfer"]:
                with pytest.raises(RuntimeError, match=op):
                    compiled(*fresh())
                continue
            expected = results(op, sample, dtype)
            for time in ("first", "second", "third"):
                args = fresh()
                got = [array(t) for t in compiled(*args)]
                if writes(op):
                    got += [array(t) for t in tensors_in(args)]
                assert_same_bits(got, expected, f"{time} compiled call of {what}")
            assert compiled.recordings == 1, what
            if writes(op) or not tensors_in(fresh()):
                continue
            graph = gg.graph.trace(function, *fresh())
            graph.verify()
            assert_same_bits([array(t) for t in graph.run(*tensors_in(fresh()))], expected, f"graph of {what}")


CAPTURED = [op for op in DIFFERENTIABLE if "float32" in ROWS[op].dtypes and not FACTS[op]["transfer"]]


@pytest.mark.parametrize("op", CAPTURED)
def test_captured_gradients_equal_eager_ones(op: str) -> None:
    for sample in ROWS[op].samples(Make(op, "float32", interior=True)):
        floats = [i for i, a in enumerate(sample.args) if isinstance(a, np.ndarray) and a.dtype == np.float32]

        def gradients(*args: Any, sample: Sample = sample, floats: list[int] = floats) -> list[Any]:
            for i in floats:
                args[i].requires_grad_()
            outs = [t for t in flat(ROWS[op](*args, **sample.attrs)) if t.requires_grad]
            if not outs:
                return []
            weights = [gg.ones(t.shape, dtype=t.dtype) for t in outs]
            return [g for g in gg.grad(outs, [args[i] for i in floats], weights, allow_unused=True) if g is not None]

        if not floats:
            continue
        what = described(op, "float32", sample)
        expected = [array(g) for g in gradients(*[tensor(a, "float32") for a in sample.args])]
        compiled = gg.compile(gradients)
        for time in ("first", "second"):
            got = [array(g) for g in compiled(*[tensor(a, "float32") for a in sample.args])]
            assert_same_bits(got, expected, f"{time} compiled gradient of {what}")


# ---- threads and instruction sets ----


@pytest.fixture
def _threads_are_restored() -> Iterator[None]:
    before = gg.get_num_threads()
    yield
    gg.set_num_threads(before)


@pytest.mark.usefixtures("_threads_are_restored")
@pytest.mark.parametrize("op", [op for op in WITH_ROW if ROWS[op].large])
def test_one_thread_and_two_give_the_same_bits(op: str) -> None:
    row = ROWS[op]
    dtype = main_dtype(row)
    assert row.large is not None
    sample = row.large(Make(op, dtype))
    with_gradient = FACTS[op]["differentiable"] and dtype == "float32"

    def everything() -> list[Array]:
        args = [tensor(a, dtype) for a in sample.args]
        leaves = [t for t in tensors_in(args) if array(t).dtype == np.float32] if with_gradient else []
        for t in leaves:
            t.requires_grad_()
        outs = run(op, args, sample.attrs)
        roots = [t for t in outs if t.requires_grad]
        grads = gg.grad(roots, leaves, roots, allow_unused=True) if roots and not writes(op) else []
        return [array(t) for t in outs] + [array(g) for g in grads if g is not None]

    gg.set_num_threads(1)
    one = everything()
    gg.set_num_threads(2)
    before = gg._core._shared_calls()
    two = everything()
    assert gg._core._shared_calls() > before, "the row's large sample is no work for two threads"
    assert_same_bits(two, one, f"two threads: {described(op, dtype, sample)}")


def every_result() -> dict[tuple[str, str, int], list[Array]]:
    """Return the results of all samples; what the instruction sets are compared by."""
    out = {}
    for op in WITH_ROW:
        dtypes = dtypes_of(ROWS[op])
        for dtype in dtypes if not REDUCED else {main_dtype(ROWS[op])}:
            for k, sample in enumerate(samples_of(op, dtype)):
                out[op, dtype, k] = results(op, sample, dtype)
    return out


def isas() -> list[str]:
    config = gg._core._config()
    built: list[str] = config["isas_built"].split()  # ascending
    # AMX emulated runs wherever AVX-512 does, if it is asked for.
    is_emulated = built[-1] == "amx_emulated" and config["isa_available"].startswith("avx512")
    return built[: built.index(config["isa_available"]) + 1] + ["amx"] * is_emulated


@pytest.mark.skipif(len(isas()) < 2, reason="this machine has only the base instruction set")
def test_each_instruction_set_equals_base(tmp_path: Path) -> None:
    code = (
        "import pickle, sys; sys.path.insert(0, sys.argv[1]); import gorgo, test_registry as t; "
        "assert gorgo._core._config()['isa'] == sys.argv[3]; "
        "open(sys.argv[2], 'wb').write(pickle.dumps(t.every_result()))"
    )
    found = {}
    for isa in isas():
        path = tmp_path / isa
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent), str(path), isa],
            env={**os.environ, "GORGO_ISA": isa},
            check=True,
        )
        found[isa] = pickle.loads(path.read_bytes())
    base = found.pop("base")
    for isa, mine in found.items():
        assert mine.keys() == base.keys()
        for (op, dtype, k), arrays in mine.items():
            for g, e in zip(arrays, base[op, dtype, k], strict=True):
                assert_near(g, e, dtype, ROWS[op], f"{isa} against base: {op} {dtype}, sample {k}")

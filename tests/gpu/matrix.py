"""The matrix of tests/test_registry.py on a card: which cases there are, and how one is run.

A case is a check, an op, a dtype and a sample (its number, or all samples of that dtype). Rows, oracles, layouts and
tolerances are those of the CPU's matrix; here they only meet operands on DEVICE. What the row leaves to the family's
own tests for want of an oracle is compared with what the CPU gives.
Invariant: a case looks at all of its samples before it fails, and leaves nothing enqueued.
Read next: test_matrix.py (the tests), isolation.py (the processes they run in).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import test_registry as registry
from gpu.without_kernels import reason_for
from samples import FLOATS, ROWS, Make, Sample
from test_registry import FACTS, WITH_ROW, Array, assert_near, assert_same_bits, described, flat, tensors_in, writes

import gorgo as gg

DEVICE = "cuda:0"
CARD = DEVICE in gg._core._config()["devices"]
NO_CARD = "needs a CUDA card and a build with CUDA"


class Case(NamedTuple):
    check: str
    op: str
    dtype: str
    sample: int = -1  # -1: all

    def __str__(self) -> str:
        return f"{self.op}-{self.dtype}" + ("" if self.sample < 0 else f"-{self.sample}")


class NoKernelError(Exception):
    """An op that has no kernel on the card for a dtype, as without_kernels.py says it should be."""


# ---- which cases there are ----
# Expanded, a channel has one value and no variance: what is left of its gradient is rounding, 1 / sqrt(eps) times
# enlarged.
OF_ONE_VALUE = ("batch_norm_backward",)


def dtypes_on_card(op: str) -> list[str]:
    """Return the dtypes of the row that the card can compute; a view goes wherever its elements can be copied."""
    facts = FACTS["copy"] if FACTS[op]["view"] else FACTS[op]
    return [d for d in ROWS[op].dtypes if d in facts["cuda_dtypes"]]


def few_dtypes(op: str) -> list[str]:
    here = dtypes_on_card(op)
    main = next((d for d in ("float32", "int32", "bool") if d in here), None)
    return list(dict.fromkeys([main or here[0], here[-1]])) if here else []


def cases(check: str) -> Iterator[Case]:
    """Yield the cases of one check."""
    for op in WITH_ROW:
        row, facts = ROWS[op], FACTS[op]
        if check == "values":
            for dtype in dtypes_on_card(op):
                for k in range(len(registry.samples_of(op, dtype))):
                    yield Case(check, op, dtype, k)
        elif check == "large":
            if row.large is not None:
                wanted = dict.fromkeys([*few_dtypes(op)[:1], "bfloat16", "float64"])
                yield from (Case(check, op, d) for d in wanted if d in dtypes_on_card(op))
        elif check == "specials":
            if row.oracle is not None and not row.no_specials:
                yield from (Case(check, op, d) for d in dtypes_on_card(op) if d in FLOATS)
        elif check == "layouts":
            if facts["slots"]:
                yield from (Case(check, op, d) for d in few_dtypes(op))
        elif check == "capture":
            yield from (Case(check, op, d) for d in few_dtypes(op))
        elif check in INTERIOR:
            wanted = ("float32", "float64") if check == "gradients" else ("float32",)
            if facts["differentiable"]:
                yield from (Case(check, op, d) for d in dtypes_on_card(op) if d in wanted)
        else:
            raise ValueError(f"no check is called {check}")


# ---- operands and results ----


def put(x: Any, dtype: str) -> Any:
    """Return an operand on the card."""
    if isinstance(x, list):
        return [put(v, dtype) for v in x]
    t = registry.tensor(x, dtype)
    return t.to(DEVICE) if isinstance(t, gg.Tensor) else t


def array(t: gg.Tensor) -> Array:
    """Return the elements of a result, which must have stayed where its operands were."""
    assert t.device == DEVICE, f"a result on {t.device}"
    return registry.array(t.detach().to("cpu"))


# What makes a tensor from numbers alone has no operand that says where.
CREATION: dict[str, Callable[..., gg.Tensor]] = {
    "full": lambda shape, fill_value, dtype: gg.full(shape, fill_value, dtype=dtype, device=DEVICE),
    "ramp": lambda start, step, count, dtype: (
        gg.arange(start, start + step * count, step, dtype=dtype, device=DEVICE)
        if step
        else gg.full((count,), start, dtype=dtype, device=DEVICE)
    ),
    "eye": lambda rows, columns, dtype, k=0: gg.eye(rows, columns, k=k, dtype=dtype, device=DEVICE),
}


def apply(op: str, args: list[Any], attrs: dict[str, Any]) -> list[gg.Tensor]:
    """Call an op on operands that lie on the card."""
    return flat(CREATION[op](**attrs)) if op in CREATION else flat(ROWS[op](*args, **attrs))


def run(op: str, args: list[Any], attrs: dict[str, Any]) -> list[gg.Tensor]:
    """Call an op; what it writes counts among its results."""
    out = apply(op, args, attrs)
    return out + tensors_in(args) if writes(op) else out


def results(op: str, sample: Sample, dtype: str) -> list[Array]:
    return [array(t) for t in run(op, [put(a, dtype) for a in sample.args], sample.attrs)]


def expected_of(op: str, sample: Sample, dtype: str) -> list[Array]:
    if ROWS[op].oracle is None and sample.expected is None:
        return registry.results(op, sample, dtype)
    return registry.oracle_of(ROWS[op], sample)


def assert_all_near(got: list[Array], expected: list[Array], op: str, dtype: str, what: str) -> None:
    assert len(got) == len(expected), f"{what}: {len(got)} results, expected {len(expected)}"
    for g, e in zip(got, expected, strict=True):
        assert_near(g, e, dtype, ROWS[op], what)


# ---- the checks ----


def check_values(op: str, dtype: str, sample: Sample) -> None:
    got, what = results(op, sample, dtype), described(op, dtype, sample)
    assert_all_near(got, expected_of(op, sample, dtype), op, dtype, what)
    assert_same_bits(results(op, sample, dtype), got, f"the same call again: {what}")


def check_large(op: str, dtype: str, sample: Sample) -> None:
    """Compare with the CPU, since many an oracle takes long; both round."""
    got, expected = results(op, sample, dtype), registry.results(op, sample, dtype)
    row = dataclasses.replace(ROWS[op], scale=4 * ROWS[op].scale)
    what = described(op, dtype, sample)
    assert len(got) == len(expected), f"{what}: {len(got)} results, expected {len(expected)}"
    for g, e in zip(got, expected, strict=True):
        assert_near(g, e, dtype, row, what)
    assert_same_bits(results(op, sample, dtype), got, f"the same call again: {what}")


def check_specials(op: str, dtype: str, sample: Sample) -> None:
    check_values(op, dtype, registry.with_specials(sample))


def check_layouts(op: str, dtype: str, sample: Sample) -> None:
    row = ROWS[op]
    for layout in (*registry.LAYOUTS, registry.unaligned):
        if layout is registry.expanded and (row.no_expanded or op in OF_ONE_VALUE):
            continue
        what = f"{layout.__name__}: {described(op, dtype, sample)}"
        both = [registry.laid_out(a, functools.partial(put, dtype=dtype), layout) for a in sample.args]
        views, plain = [t for t, _ in both], Sample([v for _, v in both], sample.attrs)
        bent = any(not t.is_contiguous() for t in tensors_in(views))
        refused = row.contiguous_only or (writes(op) and layout is registry.expanded)
        if refused and bent:
            with pytest.raises((ValueError, RuntimeError), match=op):
                run(op, views, sample.attrs)
            continue
        got = [array(t) for t in run(op, views, sample.attrs)]
        same = FACTS[op]["elementwise"] or FACTS[op]["view"]
        if same and not row.rough_layouts:
            assert_same_bits(got, results(op, plain, dtype), what)
        else:
            assert_all_near(got, results(op, plain, dtype), op, dtype, what)


def gradients(op: str, dtype: str, sample: Sample, to: Callable[[Any], Any]) -> list[gg.Tensor | None]:
    """Return the gradients by the operands of the dtype, for weights of the results that depend on shapes alone."""
    points: list[gg.Tensor] = []

    def filled(x: Any) -> Any:
        if isinstance(x, list):
            return [filled(v) for v in x]
        t = to(x)
        if isinstance(x, np.ndarray) and x.dtype == dtype:
            points.append(t.requires_grad_())
        return t

    outs = [t for t in flat(ROWS[op](*[filled(a) for a in sample.args], **sample.attrs)) if t.requires_grad]
    if not points or not outs:
        return []
    rng = np.random.default_rng(7)
    weights = [to(np.asarray(rng.standard_normal(t.shape)).astype(str(t.dtype).rsplit(".", 1)[-1])) for t in outs]
    return list(gg.grad(outs, points, weights, allow_unused=True))


def check_gradients(op: str, dtype: str, sample: Sample) -> None:
    what = f"gradient of {described(op, dtype, sample)}"
    got = [None if g is None else array(g) for g in gradients(op, dtype, sample, lambda x: put(x, dtype))]
    there = gradients(op, dtype, sample, lambda x: registry.tensor(x, dtype))
    expected = [None if g is None else registry.array(g) for g in there]
    assert [g is None for g in got] == [e is None for e in expected], what
    # Both round, and a gradient is several ops.
    tolerance = 8 * ROWS[op].tolerance(dtype)
    for g, e in zip(got, expected, strict=True):
        if g is not None and e is not None:
            floor = max(float(np.abs(e[np.isfinite(e)]).max(initial=0.0)), 1.0)
            np.testing.assert_allclose(g, e, rtol=tolerance, atol=tolerance * floor, err_msg=what)


def check_captured_gradients(op: str, dtype: str, sample: Sample) -> None:
    what = described(op, dtype, sample)
    floats = [i for i, a in enumerate(sample.args) if isinstance(a, np.ndarray) and a.dtype == dtype]
    if not floats:
        return

    def function(*args: Any) -> list[Any]:
        for i in floats:
            args[i].requires_grad_()
        outs = [t for t in flat(ROWS[op](*args, **sample.attrs)) if t.requires_grad]
        if not outs:
            return []
        weights = [gg.ones(t.shape, dtype=t.dtype, device=DEVICE) for t in outs]
        return [g for g in gg.grad(outs, [args[i] for i in floats], weights, allow_unused=True) if g is not None]

    expected = [array(g) for g in function(*[put(a, dtype) for a in sample.args])]
    compiled = gg.compile(function)
    for time in ("first", "second", "third"):
        got = [array(g) for g in compiled(*[put(a, dtype) for a in sample.args])]
        assert_same_bits(got, expected, f"{time} compiled gradient of {what}")


def check_capture(op: str, dtype: str, sample: Sample) -> None:
    what = described(op, dtype, sample)

    def function(*args: Any) -> list[Any]:
        return apply(op, list(args), sample.attrs)

    def fresh() -> list[Any]:
        return [put(a, dtype) for a in sample.args]

    compiled = gg.compile(function)
    if FACTS[op]["data_dependent"]:
        with pytest.raises(RuntimeError, match=op):
            compiled(*fresh())
        return
    expected = results(op, sample, dtype)
    for time in ("first", "second", "third"):
        args = fresh()
        got = [array(t) for t in compiled(*args)]
        if writes(op):
            got += [array(t) for t in tensors_in(args)]
        assert_same_bits(got, expected, f"{time} compiled call of {what}")
    assert compiled.recordings == 1, f"{what}: {compiled.recordings} recordings"


CHECKS = {
    "values": check_values,
    "large": check_large,
    "specials": check_specials,
    "layouts": check_layouts,
    "capture": check_capture,
    "gradients": check_gradients,
    "captured_gradients": check_captured_gradients,
}
INTERIOR = ("gradients", "captured_gradients")
NO_KERNEL = re.compile(r"^(\w+): dtype must have a kernel on \S+, got (\w+)")


def samples_of(case: Case) -> list[Sample]:
    row = ROWS[case.op]
    if case.check == "large":
        assert row.large is not None
        return [row.large(Make(case.op, case.dtype))]
    found = row.samples(Make(case.op, case.dtype, interior=case.check in INTERIOR))
    return found if case.sample < 0 else [found[case.sample]]


def run_sample(case: Case, sample: Sample) -> None:
    """Run one check of one sample; NoKernelError where the card is known to lack what it takes."""
    try:
        CHECKS[case.check](case.op, case.dtype, sample)
        gg.cuda.synchronize()
    except TypeError as error:
        lacking = NO_KERNEL.match(str(error))
        reason = reason_for(*lacking.groups()) if lacking is not None else None
        if lacking is None or reason is None:
            raise
        raise NoKernelError(f"no CUDA kernel of {lacking[1]} for {lacking[2]}: {reason}") from None
    if gg.memory.debug_mode():
        damage = gg.memory.check_guards()
        assert not damage, f"{described(case.op, case.dtype, sample)}: {damage}"


def card_answers() -> bool:
    """Say whether the card still computes; a fault in a kernel ends a process's use of it."""
    try:
        gg.cuda.synchronize()
        return bool((gg.ones((2,), device=DEVICE) + 1).tolist() == [2.0, 2.0])
    except Exception:
        return False


def judge(case: Case) -> None:
    """Run a case: fail with all that is wrong, or skip for want of a kernel that is known to be lacking."""
    failures, lacking = [], ""
    for sample in samples_of(case):
        try:
            run_sample(case, sample)
        except NoKernelError as error:
            lacking = str(error)
        except Exception:
            failures.append(f"{described(case.op, case.dtype, sample)}\n{traceback.format_exc(limit=-4)}")
            if not card_answers():
                failures.append("the card answers no more")
                break
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)
    if lacking:
        pytest.skip(lacking)

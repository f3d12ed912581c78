"""Anything at any op: every call gives a result that holds together or an error of ours, and never harm.

Calls are drawn from what the registry says of each op: a row of samples with a few places changed, or operands
and attributes out of nothing. GORGO_FUZZ sets the number of calls for each op (200 take half an hour);
GORGO_FUZZ_LOG names a file that holds the call being made, for the case that the process does not survive it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import (
    ERRORS,
    LOG,
    ROOM_BYTES,
    Operand,
    bounds,
    dtypes,
    elements,
    few_ints,
    floats,
    fuzz,
    ints,
    layouts,
    made,
    operands,
    timed,
    wild,
)
from hypothesis import given
from hypothesis import strategies as st
from samples import REGISTRY, ROWS, Make

import gorgo as gg

Array = Any
FACTS = {name: op.__op_facts__ for name, op in REGISTRY.items()}
MOST_ELEMENTS = ROOM_BYTES


@pytest.fixture(autouse=True, scope="module")
def bounded() -> Iterator[None]:
    with bounds():
        yield


# ---- attributes ----


def attribute(facts: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return what an attribute of this kind may be, wild things now and then."""
    kind = facts["kind"].rstrip("?")
    fitting: st.SearchStrategy[Any] = {
        "bool": st.booleans(),
        "int": ints,
        "float": floats,
        "ints": st.one_of(few_ints, ints),
        "dtype": dtypes,
        "scalar": st.one_of(floats, ints),
        "host": st.one_of(floats, floats.map(lambda v: gg._core.HostCell(v))),
        "choice": st.sampled_from(facts["words"] or [""]),
    }[kind]
    if facts["kind"].endswith("?"):
        fitting = st.one_of(fitting, st.none())
    return st.one_of(fitting, fitting, fitting, fitting, wild)


# ---- calls ----


@dataclass(repr=False)
class Call:
    args: list[Any]
    attrs: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        try:
            return f"{self.args} {self.attrs}"
        except ValueError:
            return "(arguments that cannot be printed)"


def as_operand(x: Any, dtype: str) -> Any:
    if isinstance(x, list):
        return [as_operand(v, dtype) for v in x]
    if not isinstance(x, np.ndarray):
        return x
    return Operand(x, "bfloat16" if dtype == "bfloat16" and x.dtype == np.float32 else str(x.dtype))


SAMPLES: dict[tuple[str, str], list[Call]] = {}


def samples(op: str, dtype: str) -> list[Call]:
    if (op, dtype) not in SAMPLES:
        with np.errstate(all="ignore"):
            drawn = ROWS[op].samples(Make(op, dtype))
        SAMPLES[op, dtype] = [Call([as_operand(a, dtype) for a in s.args], dict(s.attrs)) for s in drawn]
    return SAMPLES[op, dtype]


def changed(draw: Any, x: Any) -> Any:
    """Return another operand in the place of this one: its likes, or anything."""
    how = draw(st.integers(0, 7))
    if isinstance(x, list) and x and how < 6:
        at = draw(st.integers(0, len(x) - 1))
        return [*x[:at], changed(draw, x[at]), *x[at + 1 :]] if how else x[:-1]
    if isinstance(x, Operand) and how < 6:
        a, dtype = x.elements, x.dtype
        if how == 0:
            dtype = draw(dtypes)
            a = a.real if dtype not in ("complex64", "complex128") else a
        elif how == 1 and a.ndim:  # an axis longer, shorter or gone
            axis = draw(st.integers(0, a.ndim - 1))
            index = draw(st.sampled_from([slice(0, 0), slice(0, 1), slice(1, None), 0]))
            a = a[(slice(None),) * axis + (index,)] if a.shape[axis] else a
        elif how == 2:
            a = a[None]
        elif how == 3:
            a = elements(a.shape, dtype, "extreme")
        with np.errstate(all="ignore"):
            return Operand(np.asarray(a), dtype, draw(layouts), draw(st.booleans()))
    return draw(operands()) if how < 7 else draw(wild)


@st.composite
def calls(draw: Any, op: str) -> Call:
    facts = FACTS[op]
    fields = {f["name"]: f for f in facts["fields"]}
    if op in ROWS and draw(st.integers(0, 3)):
        call = draw(st.sampled_from(samples(op, draw(st.sampled_from(ROWS[op].dtypes)))))
        args, attrs = list(call.args), dict(call.attrs)
        for _ in range(draw(st.integers(0, 3))):
            places = len(args) + len(fields)
            if not places:
                break
            at = draw(st.integers(0, places - 1))
            if at < len(args):
                args[at] = changed(draw, args[at])
            else:
                name = list(fields)[at - len(args)]
                attrs[name] = draw(attribute(fields[name]))
        return Call(args, attrs)
    args = []
    for slot in facts["slots"]:
        number = st.one_of(floats, ints) if slot["takes_scalar"] else operands()
        one = st.one_of(operands(), operands(), operands(), number, wild)
        if slot["kind"] == "list":
            one = st.one_of(st.lists(operands(), max_size=8), st.lists(one, max_size=4), wild)
        args.append(draw(one))
    attrs = {n: draw(attribute(f)) for n, f in fields.items() if f["required"] or draw(st.booleans())}
    return Call(args, attrs)


def tensors_in(x: Any) -> list[gg.Tensor]:
    if isinstance(x, gg.Tensor):
        return [x]
    return [t for v in x for t in tensors_in(v)] if isinstance(x, list | tuple) else []


def bytes_of(t: gg.Tensor) -> tuple[Any, ...]:
    """Return shape, dtype and, unless it is a view of a few elements as many, elements; all NaNs are one."""
    if t.size > MOST_ELEMENTS:
        return (t.shape, str(t.dtype), b"")
    a = np.asarray(t.detach().astype("float32") if t.dtype == gg.bfloat16 else t.detach())
    if a.dtype.kind in "fc":
        a = np.where(np.isnan(a), np.array(np.nan, a.dtype), a)
    return (t.shape, str(t.dtype), a.tobytes())


def public_name(op: str) -> str:
    """Return the op that this internal one serves or whose gradient it computes, in whose name it may speak."""
    if op == "scatter_combine":
        return "scatter_reduce"
    if op == "random_parameter":
        return r"\w+"
    return re.sub(r"_(backward|adjoint|curvature|gather|grad(_input|_weight)?)$", "", op)


def outcome(work: Callable[[], Any], name: str) -> Any:
    """Return what comes out; an error of ours counts as an answer, with its kind and message."""
    try:
        with timed():
            return work()
    except tuple(ERRORS) as error:
        kind, text = type(error), str(error)
    if text.startswith("Raises: "):  # the object's own error passes through
        return kind, text
    assert kind in ERRORS, f"{kind.__name__}: {text}"
    begins = (
        r"cpu memory: allocation of \d+ bytes" if kind is gg.OutOfMemoryError else rf"({name}|{public_name(name)}): "
    )
    assert re.match(begins, text), f"the message must begin with {name}, got {text!r}"
    assert re.search(r"\d|got ", text), f"the message must have figures, got {text!r}"
    return kind, text


def is_error(x: Any) -> bool:
    return isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], type)


def note(op: str, call: Call) -> None:
    if LOG:
        Path(LOG).write_text(f"{op} {call!r}\n")


@pytest.mark.parametrize("op", sorted(REGISTRY))
def test_any_call_gives_a_sound_result_or_an_error_of_ours(op: str) -> None:
    function, facts = REGISTRY[op], FACTS[op]
    writes = any(slot["mutates"] for slot in facts["slots"]) or op.endswith("_update")

    @fuzz
    @given(calls(op), st.booleans())
    def body(call: Call, create_graph: bool) -> None:
        note(op, call)

        def eager() -> Any:
            args = made(call.args)
            before = [] if writes else [bytes_of(t) for t in tensors_in(args)]
            out = tensors_in(function(*args, **made(call.attrs)))
            after = [bytes_of(t) for t in tensors_in(args)]
            assert writes or after == before, "operands changed"
            return [bytes_of(t) for t in out], after

        first = outcome(eager, op)
        assert outcome(eager, op) == first, "a second call gives something else"
        if is_error(first):
            return
        check_capture(op, call, first[0])
        check_without_elements(op, call, first[0])
        check_gradient(op, call, create_graph)

    body()


def check_capture(op: str, call: Call, expected: list[Any]) -> None:
    args, attrs = made(call.args), made(call.attrs)

    def function(*tensors: gg.Tensor) -> list[gg.Tensor]:
        fresh = iter(tensors)
        return tensors_in(REGISTRY[op](*replaced(args, fresh), **attrs))

    compiled = gg.compile(function)
    for time in ("recorded", "replayed"):
        got = outcome(lambda: [bytes_of(t) for t in compiled(*tensors_in(made(call.args)))], op)
        if is_error(got):
            refused = FACTS[op]["data_dependent"] or FACTS[op]["transfer"] or "written through a view" in got[1]
            assert refused, f"{time}: {got}"
            return
        assert got == expected, f"{time} is another result than eager"


def replaced(x: Any, fresh: Iterator[gg.Tensor]) -> Any:
    if isinstance(x, gg.Tensor):
        return next(fresh)
    return type(x)(replaced(v, fresh) for v in x) if isinstance(x, list | tuple) else x


def without_elements(x: Any) -> Any:
    if isinstance(x, Operand):
        return gg.empty(x.elements.shape, dtype=x.dtype, device="null")
    return type(x)(without_elements(v) for v in x) if isinstance(x, list | tuple) else x


def check_without_elements(op: str, call: Call, expected: list[Any]) -> None:
    """Shapes and dtypes come from shapes and dtypes alone."""
    args = without_elements(call.args)
    if FACTS[op]["data_dependent"] or FACTS[op]["transfer"] or not tensors_in(args):
        return
    got = outcome(lambda: tensors_in(REGISTRY[op](*args, **made(call.attrs))), op)
    assert not is_error(got), got
    assert [(t.shape, str(t.dtype)) for t in got] == [e[:2] for e in expected]


def check_gradient(op: str, call: Call, create_graph: bool) -> None:
    args = made(call.args)
    leaves = [t for t in tensors_in(args) if t.requires_grad]
    if not leaves:
        return
    outs = outcome(lambda: tensors_in(REGISTRY[op](*args, **made(call.attrs))), op)
    roots = [] if is_error(outs) else [t for t in outs if t.requires_grad]
    if not roots:
        return

    def gradient() -> list[Any]:
        ones = [gg.ones(t.shape, dtype=t.dtype) for t in roots]
        return list(gg.grad(roots, leaves, ones, allow_unused=True, create_graph=create_graph))

    got = outcome(gradient, rf"({op}|grad|\w+)")
    if is_error(got):
        assert got[0] in (NotImplementedError, gg.OutOfMemoryError), got
        return
    for g, leaf in zip(got, leaves, strict=True):
        assert g is None or (g.shape, g.dtype) == (leaf.shape, leaf.dtype), f"a gradient of {g.shape} {g.dtype}"


# ---- shapes too large for any memory ----

huge_sizes = st.sampled_from(
    [0, 1, 2, 3, 4, 7, 1000, 2**20, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**61, 2**62, 2**63 - 1]
)
few_sizes = st.sampled_from([0, 1, 2, 3, 4, 6, 8])


@st.composite
def huge_operands(draw: Any) -> Any:
    dtype = draw(dtypes)
    size = st.one_of(few_sizes, few_sizes, huge_sizes)
    shape = draw(st.lists(size, max_size=6).map(tuple))
    count = 1
    for n in shape:
        count *= n
    if count * 16 >= 2**63:
        shape = shape[:1] if shape and shape[0] * 16 < 2**63 else ()
    return gg.empty(shape, dtype=dtype, device="null")


@pytest.mark.parametrize("op", sorted(REGISTRY))
def test_sizes_beyond_any_memory_overflow_nothing(op: str) -> None:
    facts = FACTS[op]

    @fuzz
    @given(st.data())
    def body(data: st.DataObject) -> None:
        args: list[Any] = []
        same = data.draw(huge_operands())
        for slot in facts["slots"]:
            one = st.one_of(st.just(same), huge_operands())
            args.append(data.draw(st.lists(one, max_size=4) if slot["kind"] == "list" else one))
        attrs = {
            f["name"]: data.draw(attribute(f)) for f in facts["fields"] if f["required"] or data.draw(st.booleans())
        }
        note(op, Call(args, attrs))

        def work() -> list[gg.Tensor]:
            return tensors_in(REGISTRY[op](*args, **made(attrs)))

        got = outcome(work, op)
        if is_error(got):
            return
        for t in got:
            count = 1
            for n in t.shape:
                assert n >= 0
                count *= n
            assert count < 2**63
        assert [(t.shape, t.dtype) for t in work()] == [(t.shape, t.dtype) for t in got]

    body()

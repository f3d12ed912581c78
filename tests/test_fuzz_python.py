"""Anything at any Python function or layer: what comes out is a result or an error of a documented kind.

Arguments are drawn by what the signature says of them, with wild things among them; operands of a call share a shape
most of the time, so that many draws get beyond the checks. Settings are those of test_fuzz.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from fuzzing import (
    ERRORS,
    LOG,
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
    shapes,
    timed,
    wild,
)
from hypothesis import given
from hypothesis import strategies as st

import gorgo as gg
from gorgo import nn, optim

# No function of its arguments, or one with an effect that the other tests would feel.
LEFT_OUT = {
    "compile": "takes a function",
    "load": "reads a file: tests/test_io.py damages them",
    "save": "writes a file",
    "printoptions": "changes how tensors are printed",
    "set_printoptions": "changes how tensors are printed",
    "profile": "takes no arguments that matter",
    "show_config": "prints",
    "get_printoptions": "takes nothing",
    "key_of": "is not public",
    "seed": "changes the default generator",
    "set_state": "changes the default generator",
    "manual_seed": "changes the default generator",
}
DOCUMENTED = ERRORS | {KeyError}  # what a group or a state must hold
WORDS = re.compile(r"'([a-z_]+)'")


@pytest.fixture(autouse=True, scope="module")
def bounded() -> Iterator[None]:
    state = gg.random.get_state()
    with bounds():
        yield
    gg.random.set_state(state)


def functions() -> dict[str, Callable[..., Any]]:
    """Return the public functions that are written in Python, by name."""
    found: dict[str, Callable[..., Any]] = {}
    places = [("", gg, [*gg._LAZY_NAMES]), ("random.", gg.random, dir(gg.random))]
    places += [("nn.functional.", nn.functional, dir(nn.functional)), ("nn.init.", nn.init, dir(nn.init))]
    for prefix, module, names in places:
        for name in names:
            value = getattr(module, name)
            if isinstance(value, FunctionType) and not name.startswith("_") and value.__module__.startswith("gorgo"):
                found[prefix + name] = value
    return {name: f for name, f in found.items() if name.rpartition(".")[2] not in LEFT_OUT}


def classes(module: Any, base: type) -> dict[str, type]:
    values = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {n: c for n, c in values.items() if isinstance(c, type) and issubclass(c, base) and c is not base}


FUNCTIONS = functions()
LAYERS = classes(nn, nn.Module)
OPTIMIZERS = classes(optim, optim.Optimizer)
SCHEDULES = classes(optim.lr_scheduler, optim.lr_scheduler.LRScheduler)
small = st.integers(1, 4)


@st.composite
def fitting(draw: Any, shape: tuple[int, ...]) -> Operand:
    """Return a tensor of this shape or one of its likes."""
    how = draw(st.integers(0, 9))
    if how == 8 and shape:
        shape = shape[:-1]
    elif how == 9:
        shape = (*shape, 2)
    dtype = draw(st.one_of(st.sampled_from(["float32", "float64"]), dtypes))
    return Operand(elements(shape, dtype, draw(st.sampled_from(["plain"] * 3 + ["extreme"]))), dtype, draw(layouts))


def argument(name: str, annotation: str, words: list[str], shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Return what an argument may be, by its annotation."""
    tensor = st.one_of(fitting(shape), fitting(shape), operands())
    options: list[st.SearchStrategy[Any]] = []
    first = annotation.partition("|")[0]
    if re.search(r"Sequence\[gg.Tensor\]|Iterable\[gg.Tensor\]|\*arrays|\*tensors", annotation):
        options += [st.lists(tensor, max_size=4)]
    elif re.search(r"Tensor|Real|Weights|State", annotation):
        options += [tensor] * 2
    if re.search(r"Sequence\[int\]|tuple\[int|Shape|Size|Width|Axes|Axis|Lengths", annotation):
        options += [few_ints, st.lists(small, min_size=1, max_size=4).map(tuple)]
    if re.search(r"\bint\b|Size|Width|Axes|Axis|Lengths", annotation):
        options += [small, small, ints if "num_layers" not in name else small]
    if re.search(r"float|Real", annotation):
        options += [floats]
    if "bool" in annotation:
        options += [st.booleans()]
    if "str" in first or " str" in annotation:
        options += [st.sampled_from(words or [""])]
    if "dtype" in annotation or name == "dtype":
        options += [st.one_of(st.none(), dtypes, dtypes.map(lambda d: getattr(gg, d)))]
    if "Callable" in annotation:
        options += [st.sampled_from([gg.relu, lambda *a: a[0], lambda *_: None])]
    if "Module" in annotation:
        options += [st.sampled_from([nn.ReLU(), nn.Linear(2, 2)])]
    if "Any" in annotation or not options:
        options += [wild, tensor, st.none()]
    if "None" in annotation:
        options += [st.none()]
    return st.one_of(*options)


@st.composite
def arguments(draw: Any, function: Any, first: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments by position and by keyword."""
    shape = draw(shapes)
    words = WORDS.findall(inspect.getdoc(function) or "")
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for p in [*inspect.signature(function).parameters.values()][first:]:
        optional = p.default is not p.empty
        if p.name == "device" or (optional and draw(st.integers(0, 2)) == 0):
            continue
        one = argument(p.name, str(p.annotation), words, shape)
        if p.kind is p.VAR_POSITIONAL:
            args += draw(st.lists(one, max_size=3))
        elif p.kind is p.VAR_KEYWORD:
            continue
        elif optional or p.kind is p.KEYWORD_ONLY:
            kwargs[p.name] = draw(
                st.one_of(one, one, one, one, one, one, wild if "Tensor" not in str(p.annotation) else one)
            )
        else:
            args.append(draw(one))
    return args, kwargs


def ours(work: Callable[[], Any], what: object) -> Any:
    """Return what comes out; None for an error of a documented kind."""
    if LOG:
        Path(LOG).write_text(f"{what}\n")
    try:
        with timed():
            return work()
    except tuple(DOCUMENTED):
        return None


def called(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    return function(*[made(a) for a in args], **{k: made(v) for k, v in kwargs.items()})


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_any_call_of_a_python_function_ends_in_a_result_or_a_documented_error(name: str) -> None:
    function = FUNCTIONS[name]

    @fuzz
    @given(arguments(function))
    def body(drawn: tuple[list[Any], dict[str, Any]]) -> None:
        ours(lambda: called(function, *drawn), (name, drawn))

    body()


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_any_layer_made_and_called_anyhow_ends_in_a_result_or_a_documented_error(name: str) -> None:
    layer = LAYERS[name]

    @fuzz
    @given(arguments(layer.__init__, 1), arguments(layer.forward, 1), st.booleans())
    def body(how: tuple[list[Any], dict[str, Any]], call: tuple[list[Any], dict[str, Any]], training: bool) -> None:
        built = ours(lambda: called(layer, *how), (name, how))
        if built is not None:
            built.train(training)
            assert repr(built)
            ours(lambda: called(built, *call), (name, how, call))

    body()


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_any_optimizer_made_anyhow_takes_a_step_or_says_why_not(name: str) -> None:
    kind = OPTIMIZERS[name]

    @fuzz
    @given(arguments(kind.__init__, 2), st.lists(operands(), max_size=3))
    def body(how: tuple[list[Any], dict[str, Any]], given_params: list[Operand]) -> None:
        params = [p().detach() for p in given_params]
        for p in params:
            if p.dtype.is_floating_point:
                p.requires_grad_()
                p.grad = gg.ones(p.shape, dtype=p.dtype)
        optimizer = ours(lambda: called(kind, [params, *how[0]], how[1]), (name, how, given_params))
        if optimizer is not None:
            ours(optimizer.step, (name, how, given_params))
            optimizer.load_state_dict(optimizer.state_dict())

    body()


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_any_schedule_made_anyhow_steps_or_says_why_not(name: str) -> None:
    kind = SCHEDULES[name]

    @fuzz
    @given(arguments(kind.__init__, 2))
    def body(how: tuple[list[Any], dict[str, Any]]) -> None:
        optimizer = optim.SGD([gg.ones((1,)).requires_grad_()], lr=0.1)
        schedule = ours(lambda: called(kind, [optimizer, *how[0]], how[1]), (name, how))
        if schedule is not None:
            for _ in range(3):
                ours(schedule.step, (name, how))

    body()

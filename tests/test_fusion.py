"""Fused elementwise chains: what is fused and what is not, and that captured stays eager's equal bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from fuse_chains import DTYPES, Chain, same_bits
from test_registry import REGISTRY

import gorgo as gg


def graph_of(function: Callable[..., Any], *args: gg.Tensor) -> gg.Graph:
    """Return the graph that a call records."""
    compiled = gg.compile(function)
    compiled(*args)
    graph: gg.Graph = compiled.graphs()[0]
    return graph


def ops(graph: gg.Graph) -> list[str]:
    """Return the names of the nodes' ops."""
    return [node[0] for node in graph.nodes]


def fused(function: Callable[..., Any], *args: gg.Tensor) -> list[str]:
    """Return the ops of the graph after fusion, which is checked."""
    graph = graph_of(function, *args).fused()
    graph.verify()
    return ops(graph)


@pytest.fixture(autouse=True)
def small_chains_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GORGO_FUSE", "always")


X = gg.random.normal(shape=(6, 5))
Y = gg.random.normal(shape=(6, 5))
ROW = gg.random.normal(shape=(5,))


def test_a_chain_is_one_node() -> None:
    graph = graph_of(lambda x, y: gg.sqrt(x * x + y * y) * 0.5 + x, X, Y)
    assert len(ops(graph)) == 6
    assert ops(graph.fused()) == ["fused"]
    assert len(ops(graph)) == 6, "the pass must leave its argument alone"


def test_one_op_alone_stays() -> None:
    assert fused(gg.tanh, X) == ["tanh"]
    assert fused(lambda x, y: (x + y) @ y.T, X, Y) == ["add", "permute_dims", "matmul"]


def test_values_wanted_outside_are_outputs() -> None:
    def f(x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        y = gg.exp(x)
        return y, gg.sum(y * 2)

    graph = graph_of(f, X).fused()
    assert ops(graph) == ["fused", "sum"]
    assert len(graph.nodes[0][2]) == 2


def test_other_shapes_stand_apart() -> None:
    # The row is squared once, not once for each line.
    assert fused(lambda x, r: gg.exp(r * r * 2.0) + gg.exp(x), X, ROW) == ["fused", "fused"]
    assert fused(lambda x: gg.sum(x * 2 + 1) * 3 + 1, X) == ["fused", "sum", "fused"]


def test_no_way_leads_out_and_back() -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        y = x * 2 + 1
        return gg.sum(y, axis=0) * y  # the sum needs y before the product can be made

    assert fused(f, X) == ["fused", "sum", "multiply"]


def test_two_groups_never_wait_for_each_other() -> None:
    def f(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        a = x + 1
        b = y + 1
        c = a * gg.sum(b)
        d = b * gg.sum(a)
        return c + d

    expected = f(X, Y)
    graph = graph_of(f, X, Y).fused()
    graph.verify()
    same_bits(graph.run(X, Y)[0], expected)


def test_draws_products_and_integers_are_not_fused() -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        return x * gg.random.uniform(shape=x.shape) + 1

    names = fused(f, X)
    assert "uniform" in "".join(names)
    assert names[-1] == "fused"
    i = gg.asarray([1, 2, 3])
    assert fused(lambda i: i * i + i, i) == ["multiply", "add"]
    assert fused(lambda x: gg.lgamma(x) + 1, X) == ["lgamma", "add"]


def test_limits_hold() -> None:
    tensors = [gg.random.normal(shape=(4,)) for _ in range(20)]

    def many(*args: gg.Tensor) -> gg.Tensor:
        total = args[0]
        for a in args[1:]:
            total = total + a
        return total

    graph = graph_of(many, *tensors).fused()
    graph.verify()
    assert 3 <= len(ops(graph)) <= 4  # of at most eight operands
    same_bits(graph.run(*tensors)[0], many(*tensors))

    def long(x: gg.Tensor) -> gg.Tensor:
        for _ in range(60):
            x = gg.tanh(x) + 0.5
        return x

    graph = graph_of(long, X).fused()
    assert len(ops(graph)) == 5  # of at most 24 instructions
    same_bits(graph.run(X)[0], long(X))


def test_gradients_are_fused_too() -> None:
    w = gg.random.normal(shape=(5,)).requires_grad_()

    def step(x: gg.Tensor) -> gg.Tensor:
        loss = gg.sum(gg.sigmoid(gg.tanh(x * w) * 2.0))
        loss.backward()
        return loss

    names = ops(graph_of(step, X).fused())
    assert names.count("fused") == 1  # forward and back: nothing between them waits for the loss
    assert not {"tanh_backward", "sigmoid_backward"} & set(names)


def test_writes_in_place() -> None:
    def f(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        before = x * 3 + 1
        x *= y
        x += 1
        return before + x

    compiled = gg.compile(f)
    for _ in range(3):
        a, b = X.copy(), X.copy()
        same_bits(compiled(a, Y), f(b, Y))
        same_bits(a, b)


def test_views_in_the_chain() -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        y = gg.exp(x) * 2
        y[1:3] += 1.0
        return y.T * y.T[::-1] - y.T

    compiled = gg.compile(f)
    for _ in range(3):
        same_bits(compiled(X), f(X))


def test_empty_and_scalars() -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        return gg.sqrt(x * x) + 1

    for shape in ((), (0,), (3, 0), (1,)):
        x = gg.ones(shape)
        compiled = gg.compile(f)
        for _ in range(3):
            same_bits(compiled(x), f(x))


def test_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        return gg.exp(x) * 2

    monkeypatch.setenv("GORGO_FUSE", "0")
    compiled = gg.compile(f)
    compiled(X)
    with gg.profile() as p:
        compiled(X)
    assert {e.op for e in p.events} == {"exp", "multiply"}


def test_only_what_leaves_the_caches_is_fused_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GORGO_FUSE", "1")
    chain = lambda x: gg.exp(x) * 2  # noqa: E731
    assert fused(chain, gg.ones((1 << 20,))) == ["fused"]
    assert fused(chain, gg.ones(((1 << 20) - 1,))) == ["exp", "multiply"]
    monkeypatch.setenv("GORGO_FUSE", "perhaps")
    with pytest.raises(ValueError, match="GORGO_FUSE: must be 1, true, on, yes or 0, false, off, no, got 'perhaps'"):
        fused(chain, X)


def test_a_recording_says_whether_a_device_may_compile_its_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(lambda x: gg.exp(x) * 2, X)
    assert "interpreted=False" in str(graph.fused())
    monkeypatch.setenv("GORGO_FUSE_COMPILE", "0")
    assert "interpreted=True" in str(graph.fused())
    monkeypatch.setenv("GORGO_FUSE_COMPILE", "never")
    with pytest.raises(ValueError, match=r"GORGO_FUSE_COMPILE: must be 1, .*, got 'never'"):
        graph.fused()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(12))
def test_random_chains(dtype: str, seed: int) -> None:
    chain = Chain(random.Random(seed * 7 + DTYPES.index(dtype)), dtype)
    args = chain.operands()
    expected = chain(*args)
    graph = graph_of(chain, *args).fused()
    graph.verify()
    compiled = gg.compile(chain)
    for _ in range(3):
        for got, want in zip(compiled(*args), expected, strict=True):
            same_bits(got, want)


# ---- programs that nobody should write ----

FLOAT32, FLOAT64 = 11, 12
ADD, NONE = 30, 0xFF


def word(op: int, dtype: int, *reads: int) -> int:
    """Return an instruction as core/fused.h has it."""
    a, b, c = [*reads, NONE, NONE, NONE][:3]
    return op | dtype << 8 | a << 16 | b << 24 | c << 32


SUM = word(ADD, FLOAT32, 0, 1)


@pytest.mark.parametrize(
    ("message", "operands", "code", "results"),
    [
        ("be over floats and bool", ["int64", "int64"], [SUM], [2]),
        ("be over floats and bool", ["float32"] * 2, [word(ADD, 200, 0, 1)], [2]),
        ("have few operands, got 9", ["float32"] * 9, [SUM], [9]),
        ("have few instructions, got 0", ["float32"] * 2, [], [2]),
        ("have few instructions, got 25", ["float32"] * 2, [SUM] * 25, [2]),
        ("have instructions that there are", ["float32"] * 2, [word(200, FLOAT32, 0, 1)], [2]),
        ("read what is there, got 5", ["float32"] * 2, [word(ADD, FLOAT32, 0, 5)], [2]),
        ("read dtypes that fit its instructions", ["float32", "bool"], [SUM], [2]),
        ("compute in one type", ["float32", "float64"], [word(ADD, FLOAT32, 0, 0), word(ADD, FLOAT64, 1, 1)], [2]),
        ("have few results, got 0", ["float32"] * 2, [SUM], []),
        ("give what its instructions make, got 1", ["float32"] * 2, [SUM], [1]),
    ],
)
def test_a_wrong_program_is_refused(message: str, operands: list[str], code: list[int], results: list[int]) -> None:
    run = REGISTRY["fused"]
    with pytest.raises(ValueError, match=f"^fused: program must {message}"):
        run([gg.ones((3,), dtype=dtype) for dtype in operands], code=code, results=results)


def test_a_program_over_too_many_axes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^fused: program must be over few axes, got 7"):
        REGISTRY["fused"]([gg.ones((1,) * 7)] * 2, code=[SUM], results=[2])

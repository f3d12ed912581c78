"""Epilogues: which ops become part of the op before them, and that captured stays eager's equal bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fuse_chains import DTYPES, same_bits
from test_fusion import graph_of, ops

import gorgo as gg


@pytest.fixture(autouse=True)
def on_the_cpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GORGO_FUSE", "always")


def joined(function: Callable[..., Any], *args: gg.Tensor) -> list[str]:
    """Return the ops of the graph as it runs, which is checked; the recorded graph must stay as it was."""
    recorded = graph_of(function, *args)
    before = str(recorded)
    graph = recorded.fused()
    graph.verify()
    assert str(recorded) == before
    return ops(graph)


X = gg.random.normal(shape=(6, 5))
W = gg.random.normal(shape=(4, 5))
B = gg.random.normal(shape=(4,))
IMAGES = gg.random.normal(shape=(2, 3, 6, 5))
KERNELS = gg.random.normal(shape=(4, 3, 3, 3))
SPREAD = gg.random.normal(shape=(3, 4, 3, 3))


def test_relu_becomes_part_of_what_it_reads() -> None:
    assert joined(lambda x: gg.relu(gg.linear(x, W, B)), X) == ["linear_relu"]
    assert joined(lambda x: gg.relu(gg.linear(x, W)), X) == ["linear_relu"]
    assert joined(lambda x: gg.relu(x @ W.T), X) == ["permute_dims", "matmul_relu"]
    assert joined(lambda x: gg.relu(gg.conv2d(x, KERNELS, padding=1)), IMAGES) == ["conv2d_relu"]
    assert joined(lambda x: gg.relu(gg.conv_transpose2d(x, SPREAD)), IMAGES) == ["conv_transpose2d_relu"]


def test_values_wanted_elsewhere_stay() -> None:
    def twice(x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        y = gg.linear(x, W, B)
        return gg.relu(y), gg.sum(y)

    assert joined(twice, X) == ["linear", "relu", "sum"]

    def result(x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        y = gg.linear(x, W, B)
        return gg.relu(y), y

    assert joined(result, X) == ["linear", "relu"]
    kept = gg.zeros((6, 4))

    def assigned(x: gg.Tensor) -> gg.Tensor:
        y = gg.linear(x, W, B)
        kept[...] = y
        return gg.relu(y)

    assert "linear" in joined(assigned, X)

    def through_a_view(x: gg.Tensor) -> gg.Tensor:
        return gg.relu(gg.linear(x, W, B).T)

    assert joined(through_a_view, X) == ["linear", "permute_dims", "relu"]


def test_other_ops_and_dtypes_stay() -> None:
    assert joined(lambda x: gg.negative(gg.linear(x, W, B)), X) == ["linear", "negative"]
    integers = gg.asarray([[1, -2], [3, 4]])
    assert joined(lambda x: gg.relu(x @ x), integers) == ["matmul", "relu"]
    assert joined(lambda x: gg.relu(gg.sum(x, axis=0)), X) == ["sum", "relu"]


def test_chains_come_first() -> None:
    assert joined(lambda x: gg.relu(gg.linear(x, W, B)) * 2 + 1, X) == ["linear", "fused"]


def test_by_default_a_cpu_joins_what_its_products_apply_in_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GORGO_FUSE", "1")
    assert joined(lambda x: gg.relu(gg.linear(x, W, B)), X) == ["linear_relu"]
    assert joined(lambda x: gg.relu(gg.conv2d(x, KERNELS)), IMAGES) == ["conv2d", "relu"]
    monkeypatch.setenv("GORGO_FUSE", "0")
    assert joined(lambda x: gg.relu(gg.linear(x, W, B)), X) == ["linear", "relu"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1, 40), (40, 100)),  # a row: along B, or across it
        ((100, 40), (40, 1)),  # a column
        ((3, 0), (0, 5)),
        ((31, 800), (800, 47)),  # several blocks of k
        ((200, 300), (300, 500)),  # several tasks
        ((6, 5, 7), (6, 7, 9)),  # a stack, several to a task
        ((3, 70, 90), (3, 90, 110)),
        ((4, 30, 7), (7, 9)),  # one factor for the stack
    ],
)
def test_products_of_all_kinds_equal_eager(a: tuple[int, ...], b: tuple[int, ...], dtype: str) -> None:
    draw = np.random.default_rng(8)
    x, w = (gg.asarray(draw.normal(size=shape)).astype(getattr(gg, dtype)) for shape in (a, b))
    bias = gg.asarray(draw.normal(size=b[-1:])).astype(getattr(gg, dtype))
    crossed = w.mT.copy()

    def run(x: gg.Tensor, w: gg.Tensor, crossed: gg.Tensor, saved: gg.Tensor) -> list[gg.Tensor]:
        gate = gg._core._registry["relu_backward"]
        results = [gg.relu(x @ w), gg.relu(x @ crossed.mT), gate(x @ w, saved)]
        return [*results, gg.relu(gg.linear(x, crossed, bias))] if w.ndim == 2 else results

    saved = gg.asarray(draw.normal(size=(x @ w).shape)).astype(getattr(gg, dtype))
    names = joined(run, x, w, crossed, saved)
    assert [name for name in names if name != "permute_dims"][:3] == [
        "matmul_relu",
        "matmul_relu",
        "matmul_relu_backward",
    ]
    compiled = gg.compile(run)
    across = saved.mT.copy().mT
    for last in (saved, saved, across, across):
        for got, want in zip(compiled(x, w, crossed, last), run(x, w, crossed, last), strict=True):
            same_bits(got, want)


def perceptron(dtype: Any) -> gg.nn.Module:
    gg.random.seed(5)
    nn = gg.nn
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)).to(dtype=dtype)


def convolutions(dtype: Any) -> gg.nn.Module:
    gg.random.seed(6)
    nn = gg.nn
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.ConvTranspose2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)),
    ).to(dtype=dtype)


def test_gates_become_part_of_gradients() -> None:
    net, labels = perceptron(gg.float32), gg.asarray([0, 1, 2, 0, 1, 2])

    def step(x: gg.Tensor) -> gg.Tensor:
        loss = gg.nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        return loss

    names = joined(step, X)
    assert names.count("linear_relu") == 2
    assert names.count("matmul_relu_backward") == 2
    assert not {"relu", "relu_backward"} & set(names)
    images = gg.random.normal(shape=(2, 3, 9, 9))
    net, labels = convolutions(gg.float32), labels[:2]
    names = joined(step, images)
    assert names.count("conv2d_relu") == 2
    assert "conv_transpose2d_relu" in names
    assert {"conv_transpose2d_relu_backward", "max_pool_grad_relu_backward", "matmul_relu_backward"} <= set(names)
    # The last one arrives flat, from the linear layer behind it.
    assert not {"relu", "relu_backward"} & set(names)


def test_changes_of_shape_are_seen_through() -> None:
    assert joined(lambda x: gg.relu(gg.linear(x, W, B).reshape((3, 8))), X) == ["linear_relu", "reshape"]
    assert joined(lambda x: gg.relu(gg.linear(x, W, B).reshape((3, 8)))[0] * 2, X)[:2] == ["linear_relu", "reshape"]

    def both(x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        y = gg.linear(x, W, B).reshape((3, 8))
        return gg.relu(y), y * 2

    assert joined(both, X) == ["linear", "reshape", "relu", "multiply"]
    same_bits(graph_of(both, X).fused().run(X)[0], both(X)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [perceptron, convolutions])
def test_training_equals_eager(make: Callable[[Any], gg.nn.Module], dtype: str) -> None:
    def run(captured: bool) -> list[gg.Tensor]:
        net = make(getattr(gg, dtype))
        optimizer = gg.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

        def step(x: gg.Tensor, labels: gg.Tensor) -> gg.Tensor:
            optimizer.zero_grad()
            loss = gg.nn.functional.cross_entropy(net(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        call = gg.compile(step) if captured else step
        noise = np.random.default_rng(2)
        shape = (6, 5) if make is perceptron else (6, 3, 9, 9)
        losses = []
        for _ in range(6):
            x = gg.asarray(noise.normal(size=shape)).astype(getattr(gg, dtype))
            losses.append(call(x, gg.asarray(noise.integers(0, 3, 6))).detach())
        return losses + [p.detach() for p in net.parameters()]

    for got, want in zip(run(True), run(False), strict=True):
        same_bits(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype: str) -> None:
    edges = np.array([[np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 65504.0, -3.0]])
    x = gg.asarray(edges.T).astype(getattr(gg, dtype))
    one = gg.ones((1, 1), dtype=getattr(gg, dtype))

    def f(x: gg.Tensor) -> gg.Tensor:
        return gg.relu(gg.linear(x, one))

    same_bits(gg.compile(f)(x), f(x))
    compiled = gg.compile(f)
    compiled(x)
    same_bits(compiled(x), f(x))


def test_writes_between_are_seen_as_in_an_eager_call() -> None:
    w = gg.random.normal(shape=(4, 5))

    def f(x: gg.Tensor, w: gg.Tensor) -> gg.Tensor:
        y = gg.linear(x, w)
        w *= 2.0
        z = gg.relu(y)
        x += 1.0
        return z

    a, b = (gg.asarray(np.asarray(X)).copy() for _ in range(2))
    u, v = w.copy(), w.copy()
    compiled = gg.compile(f)
    for _ in range(3):
        same_bits(compiled(a, u), f(b, v))
        same_bits(a, b)
        same_bits(u, v)


def test_a_saved_value_may_lie_anywhere_and_come_late() -> None:
    target = gg.zeros((4, 6)).T  # what is saved goes where an outer tensor lies, across its rows
    scale = gg.random.normal(shape=(5, 4)).requires_grad_()

    def f(x: gg.Tensor) -> gg.Tensor:
        y = gg.relu(x @ scale)
        with gg.no_grad():
            target[...] = y
        (g,) = gg.grad(y, [scale], y)
        return g

    expected = f(X)
    compiled = gg.compile(f)
    for _ in range(3):
        same_bits(compiled(X), expected)


def test_wrong_calls_are_refused() -> None:
    run = gg._core._registry["matmul_relu_backward"]
    with pytest.raises(
        ValueError, match=r"matmul_relu_backward: saved must be float32 .* result \(6, 4\), got .*\(6, 5\)"
    ):
        run(X, W.T, X)
    with pytest.raises(ValueError, match=r"saved must be float32 .* got float64"):
        run(X, W.T, gg.zeros((6, 4), dtype=gg.float64))
    with pytest.raises(TypeError, match="matmul_relu: operands must have a real floating dtype"):
        gg._core._registry["matmul_relu"](gg.asarray([[1]]), gg.asarray([[1]]))

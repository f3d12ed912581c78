"""Norm layers and Embedding against PyTorch's with the same state: values, gradients, running statistics, capture."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("LayerNorm", (7,), {}, (3, 7)),
    ("LayerNorm", ((4, 5),), {"eps": 1e-3}, (3, 4, 5)),
    ("LayerNorm", (7,), {"elementwise_affine": False}, (2, 3, 7)),
    ("LayerNorm", (7,), {"bias": False}, (3, 7)),
    ("RMSNorm", (7,), {}, (3, 7)),
    ("RMSNorm", ((4, 5),), {"eps": 1e-3}, (3, 4, 5)),
    ("RMSNorm", (7,), {"elementwise_affine": False}, (3, 7)),
    ("GroupNorm", (2, 6), {}, (3, 6)),
    ("GroupNorm", (3, 6), {"eps": 1e-3}, (3, 6, 4, 5)),
    ("GroupNorm", (1, 6), {"affine": False}, (3, 6, 4)),
    ("BatchNorm1d", (5,), {}, (8, 5)),
    ("BatchNorm1d", (5,), {"momentum": None}, (8, 5, 3)),
    ("BatchNorm1d", (5,), {"affine": False}, (8, 5)),
    ("BatchNorm2d", (5,), {"momentum": 0.3, "eps": 1e-3}, (3, 5, 4, 6)),
    ("BatchNorm2d", (5,), {"track_running_stats": False}, (3, 5, 4, 6)),
    ("BatchNorm3d", (4,), {}, (3, 4, 2, 3, 5)),
    ("InstanceNorm1d", (4,), {}, (3, 4, 6)),
    ("InstanceNorm1d", (4,), {"affine": True}, (4, 6)),
    ("InstanceNorm2d", (4,), {"affine": True, "track_running_stats": True}, (3, 4, 5, 6)),
    ("InstanceNorm3d", (4,), {"track_running_stats": True, "momentum": 0.3}, (3, 4, 2, 3, 5)),
]


def pair(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    theirs = getattr(torch.nn, name)(*args, **options, dtype=torch.float64)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=tuple(parameter.shape))))
    ours = getattr(nn, name)(*args, **options, dtype=gg.float64)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS, ids=str)
def test_layers_equal_pytorchs(
    name: str, args: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = pair(name, args, options)
    rng = np.random.default_rng(2)
    for step in range(4):
        if step == 3:
            ours.eval()
            theirs.eval()
        x, g = rng.normal(size=shape) * 2 + 1, rng.normal(size=shape)
        a, b = gg.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
        mine, other = ours(a), theirs(b)
        np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), rtol=1e-11, atol=1e-11)
        ours.zero_grad()
        theirs.zero_grad()
        mine.backward(gg.asarray(g))
        other.backward(torch.tensor(g))
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-11)
    state, peer = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(peer)
    for key, value in peer.items():
        np.testing.assert_allclose(state[key].numpy(), value.numpy(), rtol=1e-12, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_captured_training_step_follows_the_batches(momentum: float | None) -> None:
    rng = np.random.default_rng(3)
    batches = [gg.asarray(rng.normal(size=(6, 4)).astype(np.float32)) for _ in range(5)]

    def run(captured: bool) -> list[bytes]:
        layer = nn.BatchNorm1d(4, momentum=momentum)
        opt = gg.optim.SGD(layer.parameters(), lr=0.1)

        def step(x: gg.Tensor) -> gg.Tensor:
            opt.zero_grad()
            loss = (layer(x) - 0.5).square().mean()
            loss.backward()
            opt.step()
            return loss

        function = gg.compile(step) if captured else step
        losses = [function(x).detach().numpy().tobytes() for x in batches]
        if captured:
            assert function.recordings == 1
        assert layer.num_batches_tracked.item() == 5
        return [*losses, *(v.numpy().tobytes() for v in layer.state_dict().values())]

    assert run(True) == run(False)


def test_evaluation_mode_writes_nothing() -> None:
    layer = nn.BatchNorm2d(3).eval()
    before = {k: v.numpy().copy() for k, v in layer.state_dict().items()}
    layer(gg.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)))
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


def test_running_statistics_can_be_reset() -> None:
    layer = nn.BatchNorm1d(2)
    layer(gg.asarray([[1.0, 2.0], [3.0, 5.0]]))
    layer.reset_running_stats()
    state = layer.state_dict()
    assert (state["running_mean"].tolist(), state["running_var"].tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert state["num_batches_tracked"].item() == 0


@pytest.mark.parametrize("dtype", [gg.float32, gg.float64, gg.float16, gg.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: nn.LayerNorm(4, dtype=dtype, device="cpu"),
        lambda dtype: nn.RMSNorm(4, dtype=dtype, device="cpu"),
        lambda dtype: nn.GroupNorm(2, 4, dtype=dtype, device="cpu"),
        lambda dtype: nn.BatchNorm1d(4, dtype=dtype, device="cpu"),
        lambda dtype: nn.Embedding(4, 4, dtype=dtype, device="cpu"),
    ],
)
def test_dtype_and_device_of_parameters(make: Any, dtype: Any) -> None:
    layer = make(dtype)
    assert all(p.dtype == dtype for p in layer.parameters())
    x = gg.asarray([[0, 1, 2, 3], [1, 1, 0, 0]])
    assert layer(x if isinstance(layer, nn.Embedding) else x.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding_equals_pytorchs(padding_idx: int | None) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Embedding(6, 3, padding_idx=padding_idx, dtype=torch.float64)
    ours = nn.Embedding(6, 3, padding_idx=padding_idx, dtype=gg.float64)
    assert ours.padding_idx == theirs.padding_idx
    if padding_idx is not None:
        assert ours.weight.detach().numpy()[padding_idx].tolist() == [0.0] * 3
    ours.load_state_dict(theirs.state_dict())
    indices = np.array([[0, 2, 5], [5, 5, 1]])
    g = np.random.default_rng(0).normal(size=(2, 3, 3))
    mine, other = ours(gg.asarray(indices)), theirs(torch.tensor(indices))
    np.testing.assert_array_equal(mine.detach().numpy(), other.detach().numpy())
    mine.backward(gg.asarray(g))
    other.backward(torch.tensor(g))
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-14, atol=1e-15)


def test_padding_counts_from_the_end_too() -> None:
    table = gg.ones((4, 2)).requires_grad_()
    nn.functional.embedding(gg.asarray([3, -1, 0]), table, padding_idx=3).sum().backward()
    assert table.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_embedding_gradients_have_the_same_bits_for_one_thread_and_two() -> None:
    rng = np.random.default_rng(5)
    indices = gg.asarray(rng.integers(0, 50, size=(4000,)))
    g = gg.asarray(rng.normal(size=(4000, 33)).astype(np.float32))
    before = gg.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            gg.set_num_threads(threads)
            table = gg.ones((50, 33)).requires_grad_()
            nn.functional.embedding(indices, table).backward(g)
            results.append(table.grad.numpy().tobytes())
        assert results[0] == results[1]
    finally:
        gg.set_num_threads(before)


def test_one_hot_equals_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    indices = np.array([[0, 3], [2, 2]])
    for classes in (-1, 4, 7):
        mine = nn.functional.one_hot(gg.asarray(indices), classes)
        np.testing.assert_array_equal(mine.numpy(), torch.nn.functional.one_hot(torch.tensor(indices), classes).numpy())
        assert mine.dtype == gg.int64


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.LayerNorm(()), ValueError, "LayerNorm: normalized_shape must be positive sizes, got ()"),
        (
            lambda: nn.LayerNorm(3)(gg.ones((2, 4))),
            ValueError,
            "layer_norm: x must end in the axes (3,), got shape (2, 4)",
        ),
        (
            lambda: nn.RMSNorm((2, 3))(gg.ones((3,))),
            ValueError,
            "rms_norm: x must end in the axes (2, 3), got shape (3,)",
        ),
        (
            lambda: nn.functional.layer_norm(gg.ones((2, 3)), (2, 3), gg.ones((3, 2))),
            ValueError,
            "layer_norm: weight and bias must have shape (2, 3), got (3, 2)",
        ),
        (
            lambda: nn.GroupNorm(4, 6),
            ValueError,
            "GroupNorm: num_groups must divide num_channels, got groups 4, channels 6",
        ),
        (lambda: nn.BatchNorm1d(0), ValueError, "BatchNorm1d: num_features must be positive, got 0"),
        (
            lambda: nn.BatchNorm2d(3)(gg.ones((2, 3))),
            ValueError,
            "BatchNorm2d: x must have rank 4 and 3 channels on axis 1, got shape (2, 3)",
        ),
        (
            lambda: nn.BatchNorm1d(3)(gg.ones((2, 4))),
            ValueError,
            "BatchNorm1d: x must have rank 2 or 3 and 3 channels on axis 1, got shape (2, 4)",
        ),
        (
            lambda: nn.InstanceNorm1d(3)(gg.ones((2, 3, 1))),
            ValueError,
            "instance_norm: x must have two positions or more for each channel, got shape (2, 3, 1)",
        ),
        (
            lambda: nn.functional.batch_norm(gg.ones((2, 3)), None, None),
            ValueError,
            "batch_norm: running_mean and running_var must be given without training, got None",
        ),
        (lambda: nn.Embedding(0, 3), ValueError, "Embedding: sizes must be positive, got num_embeddings 0"),
        (lambda: nn.Embedding(3, 3, 3), ValueError, "Embedding: padding_idx must be in [-3, 3), got 3"),
        (lambda: nn.Embedding(3, 3)(gg.asarray([0, 3])), IndexError, "take: index must be in [-3, 3), got 3"),
        (
            lambda: nn.functional.embedding(gg.asarray([0]), gg.ones((3,))),
            ValueError,
            "embedding: weight must have shape (rows, size), got (3,)",
        ),
        (
            lambda: nn.functional.embedding(gg.asarray([0]), gg.ones((3, 2)), 5),
            ValueError,
            "embedding: padding_idx must be in [-3, 3), got 5",
        ),
        (
            lambda: nn.functional.one_hot(gg.asarray([0]), 0),
            ValueError,
            "one_hot: num_classes must be positive or -1, got 0",
        ),
        (
            lambda: nn.functional.one_hot(gg.zeros((0,), dtype=gg.int64)),
            ValueError,
            "one_hot: num_classes must be given without indices, got shape (0,)",
        ),
        (lambda: nn.functional.one_hot(gg.asarray([3]), 3), IndexError, "index must be in [-3, 3), got 3"),
    ],
)
def test_messages(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()

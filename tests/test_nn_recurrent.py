"""Recurrent cells and layers against PyTorch with its own state: values, gradients, directions, layouts, messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gorgo as gg

nn = gg.nn
Array = Any


def normal(*shape: int) -> Array:
    return np.random.default_rng([*shape]).normal(size=shape)


def pair(name: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    peer = getattr(torch.nn, name)(*args, dtype=torch.float64, **options)
    mine = getattr(nn, name)(*args, dtype=gg.float64, **options)
    mine.load_state_dict(peer.state_dict())
    return mine, peer


def flat(result: Any) -> list[Any]:
    return [t for part in result for t in flat(part)] if isinstance(result, tuple) else [result]


def check(mine: Any, peer: Any, x: Array, states: Any = None) -> None:
    torch = pytest.importorskip("torch")

    def leaf(a: Any, make: Any) -> Any:
        return tuple(leaf(v, make) for v in a) if isinstance(a, tuple) else make(a)

    ours, theirs = gg.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    states_ours = leaf(states, lambda a: gg.asarray(a).requires_grad_()) if states is not None else None
    states_theirs = leaf(states, lambda a: torch.tensor(a, requires_grad=True)) if states is not None else None
    got, expected = flat(mine(ours, states_ours)), flat(peer(theirs, states_theirs))
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)
    sum(t.square().sum() for t in got).backward()
    sum(t.square().sum() for t in expected).backward()
    leaves = [(ours, theirs)]
    if states is not None:
        leaves += list(zip(flat(states_ours), flat(states_theirs), strict=True))
    leaves += [(a, dict(peer.named_parameters())[name]) for name, a in mine.named_parameters()]
    for a, b in leaves:
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "batch_first": True},
        {"bidirectional": True, "bias": False},
        {"num_layers": 2, "bidirectional": True},
    ],
)
def test_layers_equal_pytorchs(name: str, options: dict[str, Any]) -> None:
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    for states in (None, normal(count, 2, 4)):
        mine, peer = pair(name, 3, 4, **options)
        x = normal(2, 6, 3) if options.get("batch_first") else normal(6, 2, 3)
        given = (states, 2 * states) if name == "LSTM" and states is not None else states
        check(mine, peer, x, given)
    mine, peer = pair(name, 3, 4, **options)
    single = normal(count, 4)
    check(mine, peer, normal(5, 3), (single, single) if name == "LSTM" else single)


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells_equal_pytorchs(name: str) -> None:
    for bias in (True, False):
        for lead in ((2,), ()):
            states = normal(*lead, 4)
            for given in (None, (states, 2 * states) if name == "LSTMCell" else states):
                mine, peer = pair(name, 3, 4, bias=bias)
                check(mine, peer, normal(*lead, 3), given)


def test_relu_instead_of_tanh() -> None:
    check(*pair("RNN", 3, 4, nonlinearity="relu"), normal(5, 2, 3))
    check(*pair("RNNCell", 3, 4, nonlinearity="relu"), normal(2, 3))


def test_dropout_stands_between_layers_in_training_only() -> None:
    layer, x = nn.GRU(3, 4, num_layers=2, dropout=0.5), gg.ones((5, 2, 3))
    assert layer(x)[0].tolist() != layer(x)[0].tolist()
    layer.eval()
    assert layer(x)[0].tolist() == layer(x)[0].tolist()
    one = nn.GRU(3, 4, dropout=0.5)
    assert one(x)[0].tolist() == one(x)[0].tolist()


def test_messages() -> None:
    with pytest.raises(ValueError, match="RNN: nonlinearity must be 'tanh' or 'relu', got 'gelu'"):
        nn.RNN(3, 4, nonlinearity="gelu")
    with pytest.raises(ValueError, match="LSTM: sizes must be positive, got input_size 3, hidden_size 0"):
        nn.LSTM(3, 0)
    with pytest.raises(ValueError, match="GRU: num_layers must be positive, got 0"):
        nn.GRU(3, 4, num_layers=0)
    with pytest.raises(ValueError, match=r"GRU: x must have shape \(..., 3\) of rank 2 or 3, got \(5, 2, 4\)"):
        nn.GRU(3, 4)(gg.zeros((5, 2, 4)))
    with pytest.raises(ValueError, match=r"GRU: states must have shape \(1, 2, 4\), got \(2, 4\)"):
        nn.GRU(3, 4)(gg.zeros((5, 2, 3)), gg.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"GRU: x must have a time, got none"):
        nn.GRU(3, 4)(gg.zeros((0, 2, 3)))
    with pytest.raises(ValueError, match=r"LSTMCell: x must have shape \(n, 3\) or without n, got \(2, 4\)"):
        nn.LSTMCell(3, 4)(gg.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"GRUCell: state must have shape \(2, 4\), got \(2, 5\)"):
        nn.GRUCell(3, 4)(gg.zeros((2, 3)), gg.zeros((2, 5)))


def test_a_captured_step_equals_the_eager_one() -> None:
    net = nn.LSTM(3, 4)
    x = gg.asarray(normal(5, 2, 3).astype(np.float32))

    def step(x: Any) -> list[Any]:
        out, _ = net(x)
        loss = out.square().mean()
        return [loss.detach(), *gg.grad([loss], list(net.parameters()))]

    eager = [t.numpy().tobytes() for t in step(x)]
    compiled = gg.compile(step)
    for _ in range(3):
        assert [t.numpy().tobytes() for t in compiled(x)] == eager

"""MultiheadAttention and transformer encoders against PyTorch with its own state: values, gradients, masks, layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gorgo as gg

nn = gg.nn
Array = Any


def normal(*shape: int) -> Array:
    return np.random.default_rng([*shape]).normal(size=shape)


def pair(**options: Any) -> tuple[Any, Any]:
    """Return a layer in float64 and PyTorch's, with the same parameters, none of them zero."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    peer = torch.nn.MultiheadAttention(8, 2, dtype=torch.float64, **options)
    for p in peer.parameters():
        torch.nn.init.normal_(p, std=0.4)
    mine = nn.MultiheadAttention(8, 2, dtype=gg.float64, **options)
    assert {k: tuple(v.shape) for k, v in mine.state_dict().items()} == {
        k: tuple(v.shape) for k, v in peer.state_dict().items()
    }
    mine.load_state_dict(peer.state_dict())
    return mine, peer


def check(mine: Any, peer: Any, arrays: list[Array], masks: dict[str, Array], **options: Any) -> None:
    torch = pytest.importorskip("torch")
    given = [gg.asarray(a).requires_grad_() for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    if len(arrays) == 1:
        given, theirs = given * 3, theirs * 3
    got, weights = mine(*given, **{k: gg.asarray(v) for k, v in masks.items()}, **options)
    expected, peer_weights = peer(*theirs, **{k: torch.tensor(v) for k, v in masks.items()}, **options)
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert (weights is None) == (peer_weights is None)
    if weights is not None:
        np.testing.assert_allclose(weights.detach().numpy(), peer_weights.detach().numpy(), rtol=1e-10, atol=1e-12)
    got.square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(given, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11)
    for (name, a), (_, b) in zip(sorted(mine.named_parameters()), sorted(peer.named_parameters()), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)


HIDDEN = np.triu(np.ones((5, 5), bool), 1)
PADDING = np.array([[False] * 5, [False, False, False, True, True], [False] * 4 + [True]])


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_self_attention_equals_pytorchs(batch_first: bool, need_weights: bool) -> None:
    x = normal(3, 5, 8) if batch_first else normal(5, 3, 8)
    for masks in (
        {},
        {"attn_mask": HIDDEN},
        {"key_padding_mask": PADDING},
        {"attn_mask": HIDDEN, "key_padding_mask": PADDING},
        {"attn_mask": normal(5, 5)},
        {"attn_mask": normal(6, 5, 5)},
        {"attn_mask": np.broadcast_to(HIDDEN, (6, 5, 5)).copy()},
        {"attn_mask": normal(5, 5), "key_padding_mask": np.where(PADDING, -np.inf, 0.0)},
    ):
        mine, peer = pair(batch_first=batch_first)
        check(mine, peer, [x], masks, need_weights=need_weights)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"kdim": 6, "vdim": 4},
        {"add_bias_kv": True},
        {"add_zero_attn": True},
        {"add_bias_kv": True, "add_zero_attn": True, "kdim": 3},
    ],
)
def test_options_and_cross_attention(options: dict[str, Any], need_weights: bool) -> None:
    mine, peer = pair(batch_first=True, **options)
    arrays = [normal(3, 4, 8), normal(3, 5, options.get("kdim", 8)), normal(3, 5, options.get("vdim", 8))]
    check(mine, peer, arrays, {"key_padding_mask": PADDING}, need_weights=need_weights)
    mine, peer = pair(batch_first=True, **options)
    check(mine, peer, arrays, {"attn_mask": HIDDEN[:4]}, need_weights=need_weights, average_attn_weights=False)


def test_a_single_case() -> None:
    mine, peer = pair()
    check(mine, peer, [normal(4, 8), normal(5, 8), normal(5, 8)], {"key_padding_mask": PADDING[1]})
    mine, peer = pair()
    check(mine, peer, [normal(5, 8)], {"attn_mask": HIDDEN}, need_weights=False)


def test_is_causal_hides_what_is_behind() -> None:
    for options in ({}, {"add_bias_kv": True}):
        layer, _ = pair(batch_first=True, **options)
        x = gg.asarray(normal(3, 5, 8))
        for padding in (None, gg.asarray(PADDING)):
            for need in (True, False):
                asked = layer(x, x, x, padding, need, is_causal=True)[0]
                told = layer(x, x, x, padding, need, gg.asarray(HIDDEN))[0]
                np.testing.assert_allclose(asked.detach().numpy(), told.detach().numpy(), rtol=1e-12)


def test_dropout_acts_in_training_only() -> None:
    layer = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = gg.asarray(normal(5, 3, 8).astype(np.float32))
    for need in (True, False):
        layer.train()
        assert layer(x, x, x, need_weights=need)[0].tolist() != layer(x, x, x, need_weights=need)[0].tolist()
        layer.eval()
        assert layer(x, x, x, need_weights=need)[0].tolist() == layer(x, x, x, need_weights=need)[0].tolist()


def test_messages() -> None:
    with pytest.raises(ValueError, match="num_heads must divide embed_dim, got num_heads 3, embed_dim 8"):
        nn.MultiheadAttention(8, 3)
    layer, x = nn.MultiheadAttention(8, 2), gg.zeros((5, 3, 8))
    with pytest.raises(ValueError, match=r"MultiheadAttention: query, key and value must .*\(3, 5, 7\)"):
        layer(gg.zeros((5, 3, 7)), x, x)
    with pytest.raises(ValueError, match=r"attn_mask must have shape \(5, 5\) or \(6, 5, 5\), got \(5, 4\)"):
        layer(x, x, x, attn_mask=gg.zeros((5, 4)))
    with pytest.raises(ValueError, match=r"key_padding_mask must have shape \(3, 5\), got \(5, 3\)"):
        layer(x, x, x, gg.zeros((5, 3), dtype=gg.bool))
    with pytest.raises(ValueError, match="activation must be 'relu' or 'gelu', got 'tanh'"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")


@pytest.mark.parametrize(
    "options",
    [{}, {"norm_first": True, "activation": "gelu"}, {"bias": False, "batch_first": True}],
)
def test_encoders_equal_pytorchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, dtype=torch.float64, **options)
    peer = torch.nn.TransformerEncoder(
        theirs, 2, torch.nn.LayerNorm(8, dtype=torch.float64), enable_nested_tensor=False
    )
    for p in peer.parameters():
        torch.nn.init.normal_(p, std=0.4)
    ours = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, dtype=gg.float64, **options)
    mine = nn.TransformerEncoder(ours, 2, nn.LayerNorm(8, dtype=gg.float64))
    mine.load_state_dict(peer.state_dict())
    first, second = (layer.linear1.weight for layer in mine.layers)
    assert first is not second
    x = normal(3, 5, 8) if options.get("batch_first") else normal(5, 3, 8)
    got = mine(gg.asarray(x), gg.asarray(HIDDEN), gg.asarray(PADDING))
    expected = peer(torch.tensor(x), torch.tensor(HIDDEN), torch.tensor(PADDING))
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-11)
    got.square().sum().backward()
    expected.square().sum().backward()
    for (name, a), (_, b) in zip(sorted(mine.named_parameters()), sorted(peer.named_parameters()), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-7, atol=1e-9, err_msg=name)


def test_a_captured_step_of_an_encoder_equals_the_eager_one() -> None:
    net = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    x = gg.asarray(normal(3, 5, 8).astype(np.float32))

    def step(x: Any) -> list[Any]:
        loss = net(x, is_causal=True).square().mean()
        return [loss.detach(), *gg.grad([loss], list(net.parameters()))]

    eager = [t.numpy().tobytes() for t in step(x)]
    compiled = gg.compile(step)
    for _ in range(3):
        assert [t.numpy().tobytes() for t in compiled(x)] == eager
    assert compiled.recordings == 1

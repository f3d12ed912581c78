"""Containers of modules and parameters, dropout of channels, and the small layers, beside PyTorch's."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import gorgo as gg

nn = gg.nn
F = gg.nn.functional


def lines(n: int) -> list[Any]:
    return [nn.Linear(2, i + 1) for i in range(n)]


@pytest.mark.parametrize("kind", ["ModuleList", "Sequential"])
def test_sequences_of_modules(kind: str) -> None:
    a, b, c, d = lines(4)
    seq = nn.ModuleList([a, b]) if kind == "ModuleList" else nn.Sequential(a, b)
    assert seq.append(c) is seq
    seq.insert(1, d)
    assert list(seq) == [a, d, b, c]
    assert [name for name, _ in seq.named_modules()] == ["", "0", "1", "2", "3"]
    assert (seq[0], seq[-1], len(seq)) == (a, c, 4)
    assert isinstance(seq[1:3], type(seq))
    assert list(seq[1:3]) == [d, b]
    assert seq.pop(1) is d
    seq[1] = d
    assert list(seq) == [a, d, c]
    del seq[0]
    assert list(seq) == [d, c]
    assert sorted(seq.state_dict()) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    del seq[:]
    assert len(seq) == 0
    seq.extend([a, b])
    assert list(seq) == [a, b]
    with pytest.raises(IndexError, match=rf"{kind}: index must be in \[-2, 2\), got 2"):
        seq[2]
    with pytest.raises(TypeError, match=rf"{kind}: modules must be gorgo.nn.Module, got int at 2"):
        seq.append(3)


def test_module_lists_add_up() -> None:
    a, b, c, _ = lines(4)
    both = nn.ModuleList([a]) + nn.ModuleList([b])
    both += [c]
    assert list(both) == [a, b, c]
    assert isinstance(both, nn.ModuleList)


def test_sequential_of_named_modules() -> None:
    net = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), second=nn.ReLU()))
    assert sorted(net.state_dict()) == ["first.bias", "first.weight"]
    assert net(gg.ones((1, 2))).shape == (1, 3)
    assert net.first is net[0]
    twice = nn.Linear(2, 2)
    assert len(list(nn.Sequential(twice, twice))) == 2


def test_mappings_of_modules() -> None:
    a, b, c, _ = lines(4)
    heads = nn.ModuleDict({"x": a})
    heads["y"] = b
    heads.update([("x", c)])
    assert list(heads) == ["x", "y"]
    assert (heads["x"], "y" in heads, len(heads)) == (c, True, 2)
    assert list(heads.items()) == [("x", c), ("y", b)]
    assert list(heads.keys()) == ["x", "y"]
    assert list(heads.values()) == [c, b]
    assert sorted(heads.state_dict()) == ["x.bias", "x.weight", "y.bias", "y.weight"]
    assert heads.pop("x") is c
    with pytest.raises(KeyError):
        del heads["x"]
    with pytest.raises(KeyError):
        heads["x"]
    with pytest.raises(ValueError, match=r"ModuleDict: keys must be free names without dots, got 'a.b'"):
        heads["a.b"] = a
    with pytest.raises(ValueError, match="got 'training'"):
        heads["training"] = a
    heads.clear()
    assert not list(heads.parameters())


def test_lists_and_mappings_of_parameters() -> None:
    values = nn.ParameterList([gg.ones((2,)), nn.Parameter(gg.zeros((3,)))])
    values.append(gg.zeros((1,)))
    values += [gg.zeros((4,))]
    assert [tuple(p.shape) for p in values] == [(2,), (3,), (1,), (4,)]
    assert all(isinstance(p, nn.Parameter) for p in values)
    values[1] = gg.full((5,), 2.0)
    assert values[-3].tolist() == [2.0] * 5
    assert sorted(values.state_dict()) == ["0", "1", "2", "3"]
    assert [tuple(p.shape) for p in values[2:]] == [(1,), (4,)]
    with pytest.raises(IndexError, match=r"ParameterList: index must be in \[-4, 4\), got 4"):
        values[4]
    with pytest.raises(TypeError, match="ParameterList: values must be tensors, got int at 4"):
        values.append(3)
    named = nn.ParameterDict({"a": gg.ones((2,))})
    named["b"] = gg.zeros((1,))
    assert sorted(named.keys()) == ["a", "b"]
    assert [k for k, _ in named.items()] == ["a", "b"]
    assert len(list(named.values())) == len(named) == 2
    assert named.pop("a").shape == (2,)
    assert "a" not in named
    with pytest.raises(ValueError, match="ParameterDict: keys must be free names without dots, got ''"):
        named[""] = gg.ones((1,))
    named.clear()
    assert list(named) == []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scales = values

    assert sorted(Net().state_dict()) == ["scales.0", "scales.1", "scales.2", "scales.3"]


@pytest.mark.parametrize(
    ("name", "shape", "channels"),
    [
        ("dropout1d", (20, 30, 4), 2),
        ("dropout1d", (600, 4), 1),
        ("dropout2d", (20, 30, 2, 3), 2),
        ("dropout2d", (20, 30, 2), 2),
        ("dropout3d", (20, 30, 2, 1, 2), 2),
        ("dropout3d", (600, 2, 1, 2), 1),
    ],
)
def test_whole_channels_are_dropped(name: str, shape: tuple[int, ...], channels: int) -> None:
    gg.random.seed(1)
    out = getattr(F, name)(gg.ones(shape), 0.25).numpy()
    by_channel = out.reshape((*shape[:channels], -1))
    assert (by_channel == by_channel[..., :1]).all()
    kept = by_channel[..., 0] != 0.0
    np.testing.assert_allclose(by_channel[kept], 1.0 / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 600)
    layer = getattr(nn, name.replace("dropout", "Dropout"))(0.25)
    assert (layer.eval()(gg.ones(shape)).numpy() == 1.0).all()
    x = gg.ones(shape).requires_grad_()
    gg.random.seed(1)
    getattr(F, name)(x, 0.25).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), out)
    with pytest.raises(ValueError, match=rf"{name}: p must be in \[0, 1\], got 1.5"):
        getattr(F, name)(gg.ones(shape), 1.5)
    with pytest.raises(ValueError, match=rf"{name}: x must have a rank of .*got shape \(3,\)"):
        getattr(F, name)(gg.ones((3,)))


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    gg.random.seed(2)
    x = gg.random.normal(0.0, 1.0, (200, 500), dtype=gg.float64)
    out = F.alpha_dropout(x, 0.3, training=True).numpy()
    assert abs(out.mean()) < 0.02
    assert abs(out.var() - 1.0) < 0.03
    # PyTorch's constants: what a dropped element becomes.
    scale = (0.7 * (1.0 + 0.3 * 1.7580993408473766**2)) ** -0.5
    dropped = np.isclose(out, scale * -1.7580993408473766 * 0.7, rtol=1e-12)
    assert abs(dropped.mean() - 0.3) < 0.01
    kept = ~dropped
    np.testing.assert_allclose(out[kept], scale * x.numpy()[kept] + scale * 1.7580993408473766 * 0.3, rtol=1e-12)
    channels = F.feature_alpha_dropout(gg.ones((50, 20, 3, 2)), 0.5, training=True).numpy().reshape(50, 20, -1)
    assert (channels == channels[..., :1]).all()
    assert len(np.unique(channels)) == 2
    assert (F.alpha_dropout(gg.ones((3,)), 1.0, training=True).numpy() == 0.0).all()
    assert (nn.AlphaDropout(0.5).eval()(gg.ones((3,))).numpy() == 1.0).all()
    assert nn.FeatureAlphaDropout(0.5)(gg.ones((2, 3, 4))).shape == (2, 3, 4)
    with pytest.raises(ValueError, match=r"feature_alpha_dropout: x must have shape \(n, c, ...\), got \(3,\)"):
        F.feature_alpha_dropout(gg.ones((3,)))
    with pytest.raises(ValueError, match=r"AlphaDropout: p must be in \[0, 1\], got -1"):
        nn.AlphaDropout(-1.0)


def test_unflatten() -> None:
    x = gg.ones((2, 12, 3))
    assert nn.Unflatten(1, (3, 4))(x).shape == (2, 3, 4, 3)
    assert nn.Unflatten(-2, (-1, 2))(x).shape == (2, 6, 2, 3)
    with pytest.raises(ValueError, match=r"Unflatten: unflattened_size must multiply to 12, axis 1 of x, got \(5, 2\)"):
        nn.Unflatten(1, (5, 2))(x)
    with pytest.raises(ValueError, match=r"Unflatten: axis must be in \[-3, 3\), got 3"):
        nn.Unflatten(3, (5, 2))(x)


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_bilinear_equals_pytorchs(lead: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    peer = torch.nn.Bilinear(3, 4, 2, dtype=torch.float64)
    mine = nn.Bilinear(3, 4, 2, dtype=gg.float64)
    mine.load_state_dict(peer.state_dict())
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(*lead, 3)), rng.normal(size=(*lead, 4))
    got, expected = mine(gg.asarray(a), gg.asarray(b)), peer(torch.tensor(a), torch.tensor(b))
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
    got.square().sum().backward()
    expected.square().sum().backward()
    np.testing.assert_allclose(mine.weight.grad.numpy(), peer.weight.grad.numpy(), rtol=1e-11)
    np.testing.assert_allclose(mine.bias.grad.numpy(), peer.bias.grad.numpy(), rtol=1e-11)
    with pytest.raises(ValueError, match="bilinear: x1 and x2 must end in weight's axes 3 and 4"):
        mine(gg.asarray(b), gg.asarray(a))
    with pytest.raises(ValueError, match="Bilinear: sizes must be positive, got 0, 1 and 2"):
        nn.Bilinear(0, 1, 2)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 7, 2, 3), (2, 3, 2, 2, 2)])
def test_local_response_norm_equals_pytorchs(shape: tuple[int, ...], size: int) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(size).normal(size=shape)
    ours, theirs = gg.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    got = nn.LocalResponseNorm(size, alpha=0.7, beta=0.6, k=1.5)(ours)
    expected = torch.nn.LocalResponseNorm(size, alpha=0.7, beta=0.6, k=1.5)(theirs)
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
    got.square().sum().backward()
    expected.square().sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-13)
    with pytest.raises(ValueError, match=r"local_response_norm: x must have shape \(n, c, ...\) of rank 3 or more"):
        F.local_response_norm(gg.ones((2, 3)), 2)
    with pytest.raises(ValueError, match="local_response_norm: size must be positive, got 0"):
        F.local_response_norm(gg.ones((2, 3, 4)), 0)


OWNERS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Linear", (3, 2), {}),
    ("Bilinear", (3, 2, 4), {}),
    ("Conv1d", (2, 3, 2), {}),
    ("Conv2d", (2, 3, 2), {}),
    ("Conv3d", (2, 3, 2), {}),
    ("ConvTranspose2d", (2, 3, 2), {}),
    ("Embedding", (4, 3), {}),
    ("LayerNorm", (3,), {}),
    ("RMSNorm", (3,), {}),
    ("GroupNorm", (1, 3), {}),
    ("BatchNorm1d", (3,), {}),
    ("BatchNorm2d", (3,), {}),
    ("BatchNorm3d", (3,), {}),
    ("InstanceNorm1d", (3,), {"affine": True}),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}),
    ("PReLU", (3,), {}),
    ("MultiheadAttention", (4, 2), {"add_bias_kv": True}),
    ("TransformerEncoderLayer", (4, 2, 8), {}),
    ("RNN", (3, 4), {}),
    ("GRU", (3, 4), {}),
    ("LSTM", (3, 4), {}),
    ("RNNCell", (3, 4), {}),
    ("GRUCell", (3, 4), {}),
    ("LSTMCell", (3, 4), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), OWNERS, ids=[name for name, _, _ in OWNERS])
def test_layers_that_own_tensors_take_device_and_dtype(
    name: str, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch")
    mine = getattr(nn, name)(*args, device="cpu", dtype=gg.float64, **options)
    peer = getattr(torch.nn, name)(*args, device="cpu", dtype=torch.float64, **options)
    own, theirs = mine.state_dict(), peer.state_dict()
    assert {k: (tuple(v.shape), str(v.dtype).split(".")[-1]) for k, v in own.items()} == {
        k: (tuple(v.shape), str(v.dtype).split(".")[-1]) for k, v in theirs.items()
    }
    assert [k for k, _ in mine.named_parameters()] == [k for k, _ in peer.named_parameters()]

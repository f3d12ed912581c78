"""Modules: their tree, their state, and their values against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 10)
    )


def test_parameters_have_dotted_names_in_order() -> None:
    assert [name for name, _ in small_net().named_parameters()] == ["0.weight", "0.bias", "5.weight", "5.bias"]


def test_a_parameter_is_a_tensor_that_says_so() -> None:
    p = nn.Parameter(gg.ones((2,)))
    assert isinstance(p, gg.Tensor)
    assert isinstance(p, nn.Parameter)
    assert not isinstance(gg.ones((2,)), nn.Parameter)


def test_shared_parameters_are_counted_once() -> None:
    layer = nn.Linear(3, 3)
    assert len(list(nn.Sequential(layer, layer).parameters())) == 2


def test_values_and_gradients_equal_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    gg.random.seed(0)
    net = small_net().eval()
    peer = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(64, 10),
    ).eval()
    net.load_state_dict(peer.state_dict())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 1, 8, 8)).astype(np.float32)
    t = rng.integers(0, 10, 5)
    loss = nn.functional.cross_entropy(net(gg.asarray(x)), gg.asarray(t))
    loss.backward()
    theirs = torch.nn.functional.cross_entropy(peer(torch.from_numpy(x)), torch.from_numpy(t))
    theirs.backward()
    np.testing.assert_allclose(loss.item(), theirs.item(), rtol=1e-5)
    for (name, ours), (_, other) in zip(net.named_parameters(), peer.named_parameters(), strict=True):
        np.testing.assert_allclose(np.asarray(ours.grad), other.grad.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


def test_state_dict_round_trip() -> None:
    gg.random.seed(1)
    a, b = small_net(), small_net()
    assert a[0].weight.tolist() != b[0].weight.tolist()
    b.load_state_dict(a.state_dict())
    assert a[0].weight.tolist() == b[0].weight.tolist()


def test_load_state_dict_refuses_what_does_not_fit() -> None:
    net = nn.Linear(2, 3)
    with pytest.raises(KeyError, match="missing"):
        net.load_state_dict({"weight": gg.ones((3, 2))})
    with pytest.raises(ValueError, match=r"weight must have shape \(3, 2\), got \(2, 2\)"):
        net.load_state_dict({"weight": gg.ones((2, 2)), "bias": gg.ones((3,))})
    net.load_state_dict({"weight": gg.ones((3, 2))}, strict=False)
    assert net.weight.tolist() == [[1.0, 1.0]] * 3


def test_train_and_eval_reach_every_module() -> None:
    net = small_net()
    net.eval()
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())


def test_dropout_scales_what_it_keeps() -> None:
    gg.random.seed(0)
    y = np.asarray(nn.Dropout(0.25)(gg.ones((10000,))))
    assert set(np.unique(y).tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.02


def test_attributes_before_init_and_wrong_members_are_refused() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.x = 1

    with pytest.raises(AttributeError, match="super"):
        Early()
    net = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="parameter 'weight' must be set to"):
        net.weight = gg.ones((2, 2))
    with pytest.raises(AttributeError, match="Linear has no attribute 'wieght'"):
        _ = net.wieght


def test_freezing() -> None:
    net = nn.Linear(2, 2)
    net.requires_grad_(False)
    assert not net(gg.ones((1, 2))).requires_grad


def test_repr_shows_the_tree() -> None:
    text = repr(small_net())
    assert "(0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))" in text
    assert "(5): Linear(in_features=64, out_features=10, bias=True)" in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(0, 2), "in_features 0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups 2"),
        (lambda: nn.Dropout(1.5), "got 1.5"),
        (lambda: nn.Flatten(3)(gg.ones((2, 2))), "rank 2"),
    ],
)
def test_messages(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("through", ["tensors", "arrays", "file"])
def test_pytorchs_weights_give_pytorchs_outputs(through: str, dtype: type, tmp_path: object) -> None:
    torch = pytest.importorskip("torch")

    class Ours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kind = {"dtype": np.dtype(dtype).name}
            self.features = nn.Sequential(
                nn.Conv2d(3, 6, 3, padding=1, **kind), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, groups=2, **kind)
            )
            self.head = nn.Linear(8 * 3 * 3, 5, **kind)

        def forward(self, x: gg.Tensor) -> gg.Tensor:
            return self.head(nn.functional.relu(self.features(x)).reshape((x.shape[0], -1)))

    class Theirs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = torch.nn.Sequential(
                torch.nn.Conv2d(3, 6, 3, padding=1),
                torch.nn.ReLU(),
                torch.nn.MaxPool2d(2),
                torch.nn.Conv2d(6, 8, 3, groups=2),
            )
            self.head = torch.nn.Linear(8 * 3 * 3, 5)

        def forward(self, x: object) -> object:
            return self.head(torch.nn.functional.relu(self.features(x)).flatten(1))

    torch.manual_seed(0)
    peer = Theirs().double()
    if dtype is np.float32:
        peer = peer.float()
    state = peer.state_dict()
    if through == "arrays":
        state = {name: t.numpy() for name, t in state.items()}
    elif through == "file":
        save_file = pytest.importorskip("safetensors.torch").save_file
        save_file(state, tmp_path / "peer.safetensors")
        state = gg.load(tmp_path / "peer.safetensors", mmap=True)
    net = Ours()
    assert net.load_state_dict(state) == ([], [])
    x = np.random.default_rng(0).standard_normal((4, 3, 10, 10)).astype(dtype)
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    expected = peer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(net(gg.asarray(x)).detach().numpy(), expected, rtol=tolerance, atol=tolerance)
    # The weights are copies: training one net leaves the other as it is.
    with gg.no_grad():
        net.head.weight.zero_()
    assert peer.head.weight.abs().sum().item() > 0


def test_load_state_dict_tells_all_that_does_not_fit() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = net[0].weight.tolist()
    state = {"0.weight": gg.ones((3, 2)), "0.bias": gg.ones((4,)), "1.weight": gg.ones((3, 1)), "extra": gg.ones(())}
    with pytest.raises(KeyError, match=r"the 4 of Sequential, got 1 missing \['1.bias'\] and 1 unexpected \['extra'\]"):
        net.load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"0.bias must have shape \(3,\), got \(4,\); 1.weight must have .* got \(3, 1\)"
    ):
        net.load_state_dict(state, strict=False)
    assert net[0].weight.tolist() == before
    with pytest.raises(TypeError, match=r"0\.weight must be a tensor or array, got list"):
        net.load_state_dict({"0.weight": [[1.0, 2.0]] * 3}, strict=False)
    with pytest.raises(TypeError, match="state must be tensors by name, got list"):
        net.load_state_dict([gg.ones((1,))])
    result = net.load_state_dict({"1.bias": gg.ones((1,)), "extra": gg.ones(())}, strict=False)
    assert result.missing_keys == ["0.weight", "0.bias", "1.weight"]
    assert result.unexpected_keys == ["extra"]
    assert net[1].bias.tolist() == [1.0]


def test_loading_into_frozen_and_narrow_parameters() -> None:
    torch = pytest.importorskip("torch")
    net = nn.Linear(2, 2, dtype=gg.bfloat16).requires_grad_(False)
    net.load_state_dict({"weight": torch.full((2, 2), 1.5, requires_grad=True), "bias": np.ones(2)})
    assert net.weight.dtype == gg.bfloat16
    assert net.weight.tolist() == [[1.5, 1.5]] * 2
    assert not any(p.requires_grad for p in net.parameters())


def test_frozen_parameters_stay_while_others_learn() -> None:
    gg.random.seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    opt = gg.optim.SGD(net.parameters(), lr=0.1)
    before = [p.tolist() for p in net.parameters()]
    net(gg.ones((4, 2))).sum().backward()
    opt.step()
    after = [p.tolist() for p in net.parameters()]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, False]
    net[0].requires_grad_()
    assert all(p.requires_grad for p in net.parameters())


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """Let the pool take this much more from the system, and no more."""
    limit = gg.memory.stats()["limit"]
    gg.memory.empty_cache()
    gg.memory.set_limit(gg.memory.stats()["reserved_bytes"] + size_bytes)
    try:
        yield
    finally:
        gg.memory.set_limit(limit)


class SmallAndLarge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Parameter(gg.zeros((8,))), nn.Parameter(gg.zeros((1 << 24,)))


def test_load_state_dict_without_memory_for_all_casts_changes_nothing() -> None:
    net = SmallAndLarge()
    state = {name: np.broadcast_to(1.0, p.shape) for name, p in net.named_parameters()}
    with room_for(1 << 20), pytest.raises(gg.OutOfMemoryError):
        net.load_state_dict(state)
    assert net.small.tolist() == [0.0] * 8
    net.load_state_dict(state)
    assert net.small.tolist() == [1.0] * 8


def test_an_optimizer_takes_over_a_state_or_nothing_of_it() -> None:
    net = SmallAndLarge()
    optimizer = gg.optim.Adam(net.parameters(), lr=0.5)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 0.25
    for entry in state["state"].values():
        entry["exp_avg"] = np.broadcast_to(1.0, entry["exp_avg"].shape)

    def unchanged() -> bool:
        group = optimizer.param_groups[0]
        moments = optimizer.state[id(net.small)]["exp_avg"]
        return group["lr"] == group.cells["lr"].value == 0.5 and moments.tolist() == [0.0] * 8

    with room_for(1 << 20), pytest.raises(gg.OutOfMemoryError):
        optimizer.load_state_dict(state)
    assert unchanged()
    small, options = state["state"][0], state["param_groups"][0]
    wrong = [
        ({"state": {7: {}}}, ValueError, r"parameters of the state must be numbers below 2, got 7"),
        (
            {"state": {0: {**small, "exp_avg": np.ones(9)}}},
            ValueError,
            r"exp_avg of parameter 0 must have shape \(8,\)",
        ),
        ({"param_groups": []}, ValueError, r"groups must have sizes \[2\], got \[\]"),
        ({"param_groups": [{**options, "lr": "a"}]}, TypeError, r"Adam: lr must be a number, got str"),
        ({"param_groups": [{**options, "betas": (0.5, 1.5)}]}, ValueError, r"Adam: betas must be in \[0, 1\), got"),
        ({"param_groups": [{**options, "betas": 0.5}]}, TypeError, r"betas must be two numbers, got 0.5"),
    ]
    for change, kind, message in wrong:
        with pytest.raises(kind, match=message):
            optimizer.load_state_dict({**state, **change})
        assert unchanged()
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0].cells["lr"].value == 0.25
    assert optimizer.state[id(net.small)]["exp_avg"].tolist() == [1.0] * 8


SIZED_LAYERS: list[tuple[Callable[..., nn.Module], dict[str, int | tuple[int, ...]]]] = [
    (nn.Linear, {"in_features": 3, "out_features": 2}),
    (nn.Flatten, {"start_axis": 1, "end_axis": -1}),
    (nn.Conv1d, {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1, "groups": 2}),
    (nn.Conv2d, {"in_channels": 2, "out_channels": 4, "kernel_size": (3, 3), "dilation": (1, 2)}),
    (nn.ConvTranspose2d, {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "stride": 2, "output_padding": 1}),
    (nn.MaxPool2d, {"kernel_size": 2, "stride": 2, "padding": 1}),
    (nn.AvgPool1d, {"kernel_size": 2, "divisor_override": 3}),
    (nn.LPPool2d, {"norm_type": 2, "kernel_size": (2, 1)}),
    (nn.ZeroPad2d, {"padding": 2}),
    (nn.BatchNorm2d, {"num_features": 3}),
    (nn.GroupNorm, {"num_groups": 2, "num_channels": 4}),
    (nn.LayerNorm, {"normalized_shape": 3}),
    (nn.RMSNorm, {"normalized_shape": (2, 3)}),
    (nn.Embedding, {"num_embeddings": 5, "embedding_dim": 2, "padding_idx": -1}),
    (nn.Bilinear, {"in1_features": 2, "in2_features": 3, "out_features": 4}),
    (nn.Unflatten, {"axis": 1, "unflattened_size": (2, 3)}),
    (nn.LocalResponseNorm, {"size": 2}),
    (nn.LSTM, {"input_size": 2, "hidden_size": 3, "num_layers": 2}),
    (nn.GRUCell, {"input_size": 2, "hidden_size": 3}),
    (nn.MultiheadAttention, {"embed_dim": 4, "num_heads": 2, "kdim": 3, "vdim": 5}),
    (nn.TransformerEncoderLayer, {"d_model": 4, "nhead": 2, "dim_feedforward": 3}),
    (nn.PReLU, {"num_parameters": 3}),
    (nn.Softmax, {"axis": -1}),
    (nn.AdaptiveAvgPool2d, {"output_size": 2}),
]


@pytest.mark.parametrize(("layer", "sizes"), SIZED_LAYERS, ids=[row[0].__name__ for row in SIZED_LAYERS])
def test_sizes_of_layers_are_whatever_has_an_index(layer: Any, sizes: dict[str, Any]) -> None:
    plain = layer(**sizes)
    given = {k: np.int64(v) if isinstance(v, int) else tuple(map(np.int64, v)) for k, v in sizes.items()}
    ours = layer(**given)
    assert repr(ours) == repr(plain)
    assert [(k, p.shape) for k, p in ours.state_dict().items()] == [(k, p.shape) for k, p in plain.state_dict().items()]


@pytest.mark.parametrize(
    ("layer", "name", "value", "got"),
    [
        (layer, name, value, got)
        for layer, sizes in SIZED_LAYERS
        for name in sizes
        if name not in ("norm_type", "output_size") and (layer, name) != (nn.Conv1d, "padding")  # a word too
        for value, got in (("a", "str 'a'"), (1.5, "float 1.5"), (True, "bool True"), ((1, None), None))
    ],
)
def test_sizes_of_layers_that_are_no_integers_are_refused(layer: Any, name: str, value: Any, got: str | None) -> None:
    sizes = {**next(s for one, s in SIZED_LAYERS if one is layer), name: value}
    said = rf"got {got}" if got else r"got (tuple \(1, None\)|NoneType None)"
    with pytest.raises(TypeError, match=rf"^\w+: (each of )?\w+ must be an integer, {said}$"):
        layer(**sizes)

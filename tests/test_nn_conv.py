"""Convolution layers and their functional forms against PyTorch: state, first values, paddings by name and by mode."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn

torch = pytest.importorskip("torch")

SIZES = {1: (11,), 2: (7, 9), 3: (6, 5, 7)}
CONV = [
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2, "groups": 2, "bias": False},
    {"kernel_size": 4, "padding": "same"},
    {"kernel_size": 3, "padding": "same", "dilation": 2, "groups": 2},
    {"kernel_size": 2, "padding": "valid"},
    {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
    {"kernel_size": 4, "padding": "same", "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": 3, "stride": 2, "padding_mode": "replicate"},
    {"kernel_size": 4, "padding": "same", "padding_mode": "replicate"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    {"kernel_size": 2, "padding": "same", "padding_mode": "circular", "bias": False},
]
TRANSPOSED = [
    {"kernel_size": 3},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 3, "padding": 1, "output_padding": 2, "groups": 2, "dilation": 2, "bias": False},
]
CASES = [
    *((f"Conv{axes}d", options) for axes in SIZES for options in CONV),
    *((f"ConvTranspose{axes}d", options) for axes in SIZES for options in TRANSPOSED),
]


def axes_of(name: str) -> int:
    return int(name[-2])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("name", "options"), CASES)
def test_pytorchs_state_gives_pytorchs_values_and_gradients(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    peer = getattr(torch.nn, name)(4, 6, **options, dtype=torch.float64)
    layer = getattr(nn, name)(4, 6, **options, dtype=gg.float64)
    assert layer.load_state_dict(peer.state_dict()) == ([], [])
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {
        k: tuple(v.shape) for k, v in peer.state_dict().items()
    }
    rng = np.random.default_rng(0)
    for batch in ((2,), ()):
        x = rng.standard_normal((*batch, 4, *SIZES[axes_of(name)]))
        mine, their = gg.asarray(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
        out, expected = layer(mine), peer(their)
        np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-12)
        (out * out).sum().backward()
        (expected * expected).sum().backward()
        np.testing.assert_allclose(mine.grad.numpy(), their.grad.numpy(), rtol=1e-10, atol=1e-11)
    for (key, a), (_, b) in zip(layer.named_parameters(), peer.named_parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-10, err_msg=key)


@pytest.mark.parametrize("name", [f"Conv{axes}d" for axes in SIZES] + [f"ConvTranspose{axes}d" for axes in SIZES])
def test_first_values_are_uniform_within_pytorchs_bound(name: str) -> None:
    gg.random.seed(3)
    layer = getattr(nn, name)(32, 64, 3, groups=4, dtype=gg.float64)
    taps = 3 ** axes_of(name)
    fan_in = (64 // 4 if "Transpose" in name else 32 // 4) * taps
    assert tuple(layer.weight.shape) == tuple(getattr(torch.nn, name)(32, 64, 3, groups=4).weight.shape)
    for parameter in (layer.weight, layer.bias):
        values = parameter.detach().numpy().ravel()
        bound = 1.0 / math.sqrt(fan_in)
        assert np.abs(values).max() <= bound
        # A uniform variable's mean and variance, each within five standard errors of a sample.
        assert abs(values.mean()) <= 5 * bound / math.sqrt(3 * values.size)
        assert abs(values.var() - bound**2 / 3) <= 5 * bound**2 * math.sqrt(4 / 45 / values.size)


@pytest.mark.parametrize(
    "name", ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtype_and_device_reach_the_parameters(name: str, dtype: str) -> None:
    layer = getattr(nn, name)(2, 3, 2, dtype=getattr(gg, dtype), device="cpu")
    assert [str(p.dtype) for p in layer.parameters()] == [str(getattr(gg, dtype))] * 2
    assert [str(p.device) for p in layer.parameters()] == [str(gg.zeros(1).device)] * 2
    out = layer(gg.ones((1, 2, *SIZES[axes_of(name)]), dtype=getattr(gg, dtype)))
    assert str(out.dtype) == str(getattr(gg, dtype))


def test_a_transposed_layer_reaches_the_size_that_is_asked_for() -> None:
    torch.manual_seed(0)
    options = {"kernel_size": 3, "stride": 3, "padding": 1}
    peer = torch.nn.ConvTranspose2d(2, 3, **options)
    layer = nn.ConvTranspose2d(2, 3, **options)
    layer.load_state_dict(peer.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 5)).astype(np.float32)
    for size in ((10, 13), (12, 15), (2, 3, 11, 14)):
        expected = peer(torch.from_numpy(x), output_size=size).detach().numpy()
        np.testing.assert_allclose(
            layer(gg.asarray(x), output_size=size).detach().numpy(), expected, rtol=1e-5, atol=1e-6
        )
    message = (
        "ConvTranspose2d: output_size must be between (10, 13) and (12, 15), got (13, 13) (x has shape (2, 2, 4, 5))"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(gg.asarray(x), output_size=(13, 13))
    with pytest.raises(ValueError, match="output_size must have 2 or 4 entries"):
        layer(gg.asarray(x), output_size=(13,))


@pytest.mark.parametrize("axes", SIZES)
def test_functional_forms_take_pytorchs_positional_arguments(axes: int) -> None:
    rng = np.random.default_rng(1)
    x, bias = rng.standard_normal((2, 4, *SIZES[axes])), rng.standard_normal(6)
    weight, back = rng.standard_normal((6, 2, *[3] * axes)), rng.standard_normal((4, 3, *[3] * axes))
    for name, operands, positional in (
        (f"conv{axes}d", (x, weight, bias), (2, 1, 2, 2)),
        (f"conv{axes}d", (x[0], weight, bias), (1, "same", 1, 2)),
        (f"conv_transpose{axes}d", (x, back, bias), (3, 1, 2, 2, 2)),
        (f"conv_transpose{axes}d", (x[0], back, bias), (1, 0, 0, 2)),
    ):
        found = getattr(nn.functional, name)(*map(gg.asarray, operands), *positional)
        expected = getattr(torch.nn.functional, name)(*map(torch.from_numpy, operands), *positional)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-11, atol=1e-12)


def test_repr_says_what_differs_from_the_defaults() -> None:
    assert repr(nn.Conv1d(4, 6, 3)) == "Conv1d(4, 6, kernel_size=(3,), stride=(1,))"
    layer = nn.Conv2d(4, 6, (3, 1), padding="same", dilation=2, groups=2, bias=False, padding_mode="circular")
    assert repr(layer) == (
        "Conv2d(4, 6, kernel_size=(3, 1), stride=(1, 1), padding='same', dilation=(2, 2), groups=2,"
        " padding_mode='circular', bias=False)"
    )
    assert "output_padding=(1, 1, 1)" in repr(nn.ConvTranspose3d(1, 1, 3, stride=2, output_padding=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv1d(2, 2, (3, 3)), "Conv1d: kernel_size must be an integer or 1 of them, got (3, 3)"),
        (lambda: nn.Conv3d(2, 2, 3, stride=(1, 2)), "Conv3d: stride must be an integer or 3 of them, got (1, 2)"),
        (lambda: nn.Conv2d(0, 2, 3), "Conv2d: channels must be positive, got 0 and 2"),
        (
            lambda: nn.ConvTranspose1d(3, 4, 3, groups=2),
            "ConvTranspose1d: groups must divide both channel counts, got groups 2, channels 3 and 4",
        ),
        (
            lambda: nn.Conv2d(1, 1, 3, padding_mode="mirror"),
            "Conv2d: padding_mode must be one of zeros, reflect, replicate, circular, got 'mirror'",
        ),
        (
            lambda: nn.Conv2d(1, 1, 3, padding="full"),
            "Conv2d: padding must be numbers, 'same' or 'valid', got 'full'",
        ),
        (
            lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"),
            "Conv2d: padding 'same' must come with stride 1, got stride (2, 2)",
        ),
        (
            lambda: nn.functional.conv1d(gg.ones((1, 4)), gg.ones((1, 1, 2)), stride=2, padding="same"),
            "conv1d: padding 'same' must come with stride 1, got stride 2",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect"),
            "ConvTranspose2d: padding_mode must be 'zeros', got 'reflect'",
        ),
    ],
)
def test_messages(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_transposed_convolution_has_no_padding_by_name() -> None:
    with pytest.raises(TypeError, match=r"^ConvTranspose2d: padding must be an integer, got str 'same'"):
        nn.ConvTranspose2d(1, 1, 3, padding="same")
